//! The network namespace of the calling thread: where the sockets are that it makes (namespaces(7)).

use rustix::fs::readlink;

/// A network namespace. While a socket is open in it no other has the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Namespace(Vec<u8>);

impl Namespace {
    /// That of the calling thread; `None` where the system does not say, without /proc for instance.
    pub(crate) fn current() -> Option<Self> {
        // `net:[4026531840]`. To read the link takes half as long as to look at what it leads to, and each connection asks.
        let name = readlink("/proc/thread-self/ns/net", Vec::with_capacity(32)).ok()?;
        Some(Self(name.into_bytes()))
    }
}
