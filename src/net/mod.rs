//! Sockets: the interfaces of this machine, the multicast sockets, and TCP with deadlines. The only module that names
//! socket2 and if_addrs. Called by `threads` and `api`.

pub(crate) mod changes;
mod channel;
mod choice;
pub(crate) mod connect;
pub(crate) mod descriptors;
pub(crate) mod host;
pub(crate) mod interfaces;
pub(crate) mod listener;
#[cfg(feature = "ipc")]
pub(crate) mod local;
pub(crate) mod multicast;
pub(crate) mod namespace;
mod netlink;
pub(crate) mod overflow;
pub(crate) mod resolve;
pub(crate) mod tcp;
pub(crate) mod wait;
pub(crate) mod waker;
#[cfg(feature = "ipc")]
pub(crate) mod watch;
