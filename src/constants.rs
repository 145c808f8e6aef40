//! The numbers of RFC 8990, under the names that it uses. Defaults that the RFC does not fix are in
//! [`Config`](crate::Config).

use std::net::{Ipv4Addr, Ipv6Addr};

/// The IPv6 group of all GRASP neighbours (RFC 8990 §2.6).
pub const ALL_GRASP_NEIGHBORS_6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x13);
/// The IPv4 group of all GRASP neighbours (RFC 8990 §2.6). Like graspy, the engine uses only IPv6.
pub const ALL_GRASP_NEIGHBORS_4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 119);
/// The UDP port that receives the multicasts (RFC 8990 §2.6).
pub const GRASP_LISTEN_PORT: u16 = 7017;
/// The default timeout in milliseconds (RFC 8990 §2.6).
pub const GRASP_DEF_TIMEOUT: u32 = 60_000;
/// The default loop count (RFC 8990 §2.6).
pub const GRASP_DEF_LOOPCT: u8 = 6;
/// The default maximum size of a message in bytes (RFC 8990 §2.6).
pub const GRASP_DEF_MAX_SIZE: usize = 2048;

/// The protocol number of TCP, for locators (RFC 8990 §2.9.5.1).
pub const IPPROTO_TCP: u64 = 6;
/// The protocol number of UDP, for locators (RFC 8990 §2.9.5.1).
pub const IPPROTO_UDP: u64 = 17;
/// The protocol number of IPv6 in IP, which BRSKI uses in locators (RFC 8995).
pub const IPPROTO_IPV6: u64 = 41;

/// The message types (RFC 8990 §4).
pub mod message_type {
    /// Does nothing (RFC 8990 §2.8.13).
    pub const M_NOOP: u64 = 0;
    /// Asks which nodes support an objective (RFC 8990 §2.8.4).
    pub const M_DISCOVERY: u64 = 1;
    /// Answers a discovery (RFC 8990 §2.8.5).
    pub const M_RESPONSE: u64 = 2;
    /// Opens a negotiation (RFC 8990 §2.8.6).
    pub const M_REQ_NEG: u64 = 3;
    /// Asks for the current value (RFC 8990 §2.8.6).
    pub const M_REQ_SYN: u64 = 4;
    /// Makes a counter-offer (RFC 8990 §2.8.7).
    pub const M_NEGOTIATE: u64 = 5;
    /// Ends a negotiation (RFC 8990 §2.8.8).
    pub const M_END: u64 = 6;
    /// Asks the peer to wait (RFC 8990 §2.8.9).
    pub const M_WAIT: u64 = 7;
    /// Carries the current value (RFC 8990 §2.8.10).
    pub const M_SYNCH: u64 = 8;
    /// Carries values for all nodes (RFC 8990 §2.8.11).
    pub const M_FLOOD: u64 = 9;
    /// Reports that a received message was invalid (RFC 8990 §2.8.12).
    pub const M_INVALID: u64 = 99;
}

/// The option types (RFC 8990 §4).
pub mod option_type {
    /// Names other locators to use instead (RFC 8990 §2.9.2).
    pub const O_DIVERT: u64 = 100;
    /// The negotiation succeeded (RFC 8990 §2.9.3).
    pub const O_ACCEPT: u64 = 101;
    /// The negotiation failed (RFC 8990 §2.9.4).
    pub const O_DECLINE: u64 = 102;
    /// An IPv6 address (RFC 8990 §2.9.5.1).
    pub const O_IPV6_LOCATOR: u64 = 103;
    /// An IPv4 address (RFC 8990 §2.9.5.2).
    pub const O_IPV4_LOCATOR: u64 = 104;
    /// A fully qualified domain name (RFC 8990 §2.9.5.3).
    pub const O_FQDN_LOCATOR: u64 = 105;
    /// A URI (RFC 8990 §2.9.5.4).
    pub const O_URI_LOCATOR: u64 = 106;
}

/// The name of a message type (RFC 8990 §4).
#[must_use]
pub const fn message_type_name(number: u64) -> Option<&'static str> {
    Some(match number {
        message_type::M_NOOP => "M_NOOP",
        message_type::M_DISCOVERY => "M_DISCOVERY",
        message_type::M_RESPONSE => "M_RESPONSE",
        message_type::M_REQ_NEG => "M_REQ_NEG",
        message_type::M_REQ_SYN => "M_REQ_SYN",
        message_type::M_NEGOTIATE => "M_NEGOTIATE",
        message_type::M_END => "M_END",
        message_type::M_WAIT => "M_WAIT",
        message_type::M_SYNCH => "M_SYNCH",
        message_type::M_FLOOD => "M_FLOOD",
        message_type::M_INVALID => "M_INVALID",
        _ => return None,
    })
}

/// The name of an option type (RFC 8990 §4).
#[must_use]
pub const fn option_type_name(number: u64) -> Option<&'static str> {
    Some(match number {
        option_type::O_DIVERT => "O_DIVERT",
        option_type::O_ACCEPT => "O_ACCEPT",
        option_type::O_DECLINE => "O_DECLINE",
        option_type::O_IPV6_LOCATOR => "O_IPv6_LOCATOR",
        option_type::O_IPV4_LOCATOR => "O_IPv4_LOCATOR",
        option_type::O_FQDN_LOCATOR => "O_FQDN_LOCATOR",
        option_type::O_URI_LOCATOR => "O_URI_LOCATOR",
        _ => return None,
    })
}

/// The largest loop count of a DULL instance (RFC 8990 §2.5.2).
pub(crate) const DULL_LOOP_COUNT: u8 = 1;
