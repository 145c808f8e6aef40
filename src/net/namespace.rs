//! The network namespace of the calling thread: where the sockets are that it makes (namespaces(7)).

use std::os::unix::fs::MetadataExt as _;

/// A network namespace. While a socket is open in it no other has the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Namespace {
    device: u64,
    inode: u64,
}

impl Namespace {
    /// That of the calling thread; `None` where the system does not say, without /proc for instance.
    pub(crate) fn current() -> Option<Self> {
        let file = std::fs::metadata("/proc/thread-self/ns/net").ok()?;
        Some(Self { device: file.dev(), inode: file.ino() })
    }
}
