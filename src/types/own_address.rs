//! An address of this node that peers off its link may use.

use std::net::Ipv6Addr;

/// An address of more than link scope: the one that is offered of its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnAddress {
    /// The interface that has it.
    pub(crate) ifi: u32,
    pub(crate) address: Ipv6Addr,
    /// It is that of a bridge which leads nowhere but to containers and virtual machines of this host: other hosts often
    /// have a bridge with the same address.
    pub(crate) inner: bool,
}
