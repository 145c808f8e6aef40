//! An address of this node that peers on other links may use.

use std::net::Ipv6Addr;

/// An address of more than link scope: the one that is announced for its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnAddress {
    /// The interface that has it.
    pub(crate) ifi: u32,
    pub(crate) address: Ipv6Addr,
    /// Whether it belongs to a bridge that connects only containers and virtual machines of this host: other hosts
    /// often have a bridge with the same address.
    pub(crate) inner: bool,
}
