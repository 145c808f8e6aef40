//! The network namespace of the calling thread, in which its new sockets are created (namespaces(7)).

use rustix::fs::readlink;

/// A network namespace. While a socket in it is open, no other namespace has the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Namespace(Vec<u8>);

impl Namespace {
    /// Returns the namespace of the calling thread; `None` if the system does not tell, for instance without /proc.
    pub(crate) fn current() -> Option<Self> {
        // For instance `net:[4026531840]`. Reading the link takes half as long as stat(2) on its target, and every
        // connection does it.
        let name = readlink("/proc/thread-self/ns/net", Vec::with_capacity(32)).ok()?;
        Some(Self(name.into_bytes()))
    }
}
