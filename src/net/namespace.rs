//! The network namespace of the calling thread, in which its new sockets are created (namespaces(7)).

use std::cell::RefCell;
use std::time::{Duration, Instant};

use rustix::fs::readlink;

/// How long a thread that has been seen in a namespace is believed to be there: asking the system takes longer than any other check of a
/// request.
const BELIEVED: Duration = Duration::from_millis(100);

thread_local! {
    static SEEN: RefCell<Option<(Namespace, Instant)>> = const { RefCell::new(None) };
}

/// A network namespace. While a socket in it is open, no other namespace has the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Namespace(Vec<u8>);

impl Namespace {
    /// Returns the namespace of the calling thread; `None` if the system does not tell, for instance without /proc.
    pub(crate) fn current() -> Option<Self> {
        // For instance `net:[4026531840]`. Reading the link takes half as long as stat(2) on its target.
        let name = readlink("/proc/thread-self/ns/net", Vec::with_capacity(32)).ok()?;
        Some(Self(name.into_bytes()))
    }

    /// Whether the calling thread is in this namespace, or has been a moment ago. Yes if the system does not tell.
    pub(crate) fn may_be_current(&self) -> bool {
        // A thread that is ending remembers nothing.
        let believed = |seen: &RefCell<Option<(Self, Instant)>>| {
            seen.borrow().as_ref().is_some_and(|(seen, at)| seen == self && at.elapsed() < BELIEVED)
        };
        if SEEN.try_with(believed).unwrap_or(false) {
            return true;
        }
        let Some(current) = Self::current() else { return true };
        let is_here = current == *self;
        let _ = SEEN.try_with(|seen| seen.replace(Some((current, Instant::now()))));
        is_here
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_believed_to_stay_for_a_moment_and_never_to_be_elsewhere() {
        let here = Namespace::current().unwrap();
        let elsewhere = Namespace(b"net:[1]".to_vec());
        let remember = |namespace: &Namespace, at| SEEN.replace(Some((namespace.clone(), at)));
        assert!(!elsewhere.may_be_current() && here.may_be_current());
        remember(&elsewhere, Instant::now());
        assert!(here.may_be_current(), "what is remembered never speaks against the caller");
        remember(&elsewhere, Instant::now());
        assert!(elsewhere.may_be_current());
        remember(&elsewhere, Instant::now().checked_sub(BELIEVED).unwrap());
        assert!(!elsewhere.may_be_current());
    }
}
