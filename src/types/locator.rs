//! Locators: `asa_locator` of RFC 8991 §2.3.2.3 and the locator options of RFC 8990 §2.9.5.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::constants::{GRASP_LISTEN_PORT, IPPROTO_IPV6, IPPROTO_TCP, IPPROTO_UDP};
use crate::plain::Plain;

/// The transport protocol of a locator (RFC 8990 §2.9.5.1). GRASP itself uses only TCP. A locator with another protocol
/// is passed on unchanged, for ASAs that can use it; the engine never connects to it.
///
/// Two protocols are equal if their numbers are.
///
/// ```
/// use grasp::Protocol;
/// assert_eq!(Protocol::from_number(41), Protocol::Ipv6);
/// assert_eq!(Protocol::from_number(132).to_string(), "protocol 132");
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Protocol {
    /// IANA's number 6.
    Tcp,
    /// IANA's number 17.
    Udp,
    /// IANA's number 41, IPv6 in IP: used by a join proxy of BRSKI that forwards statelessly (RFC 8995).
    Ipv6,
    /// Any other number. Numbers above 255 would be from a registry that does not exist yet (RFC 8990 §2.9.5.1,
    /// note 3).
    Other(u64),
}

impl Protocol {
    /// The protocol number; those up to 255 are IANA's.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Tcp => IPPROTO_TCP,
            Self::Udp => IPPROTO_UDP,
            Self::Ipv6 => IPPROTO_IPV6,
            Self::Other(number) => number,
        }
    }

    /// The protocol with this number.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        match number {
            IPPROTO_TCP => Self::Tcp,
            IPPROTO_UDP => Self::Udp,
            IPPROTO_IPV6 => Self::Ipv6,
            other => Self::Other(other),
        }
    }
}

/// `TCP`, `UDP`, `IPv6`, or `protocol` followed by the number.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::from_number(self.number()) {
            Self::Tcp => f.write_str("TCP"),
            Self::Udp => f.write_str("UDP"),
            Self::Ipv6 => f.write_str("IPv6"),
            Self::Other(number) => write!(f, "protocol {number}"),
        }
    }
}

impl PartialEq for Protocol {
    fn eq(&self, other: &Self) -> bool {
        self.number() == other.number()
    }
}

impl Eq for Protocol {}

impl std::hash::Hash for Protocol {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.number().hash(state);
    }
}

impl PartialOrd for Protocol {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Protocol {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.number().cmp(&other.number())
    }
}

/// The four kinds of locator (RFC 8990 §2.9.5.1 to §2.9.5.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Locator {
    /// An IPv6 address (§2.9.5.1). A link-local address is valid only on the interface that is stored with it.
    Ipv6(Ipv6Addr),
    /// An IPv4 address (§2.9.5.2).
    Ipv4(Ipv4Addr),
    /// A fully qualified domain name (§2.9.5.3).
    Fqdn(String),
    /// A URI (§2.9.5.4).
    Uri(String),
}

impl Locator {
    /// The memory that the locator uses besides its own size, in bytes.
    pub(crate) const fn memory(&self) -> usize {
        match self {
            Self::Ipv6(_) | Self::Ipv4(_) => 0,
            Self::Fqdn(text) | Self::Uri(text) => text.len(),
        }
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv6(address) => address.fmt(f),
            Self::Ipv4(address) => address.fmt(f),
            Self::Fqdn(text) | Self::Uri(text) => Plain(text).fmt(f),
        }
    }
}

impl From<IpAddr> for Locator {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::Ipv4(address),
            IpAddr::V6(address) => Self::Ipv6(address),
        }
    }
}

impl From<Ipv6Addr> for Locator {
    fn from(address: Ipv6Addr) -> Self {
        Self::Ipv6(address)
    }
}

impl From<Ipv4Addr> for Locator {
    fn from(address: Ipv4Addr) -> Self {
        Self::Ipv4(address)
    }
}

/// A locator with everything that is known about it (RFC 8991 §2.3.2.3; graspy's `asa_locator`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AsaLocator {
    /// The locator; `None` only in the source of a flooded objective that was sent without a locator.
    pub locator: Option<Locator>,
    /// The index of the interface on which it was learned; `None` if the ASA made it itself. A link-local address can
    /// be reached only with an interface.
    pub ifi: Option<u32>,
    /// When it expires, in milliseconds of [`monotonic_ms`](crate::monotonic_ms); 0 means never.
    pub expire: u64,
    /// Whether it came in a Divert option (RFC 8990 §2.9.2).
    pub diverted: bool,
    /// The transport protocol; only a URI may have none.
    pub protocol: Option<Protocol>,
    /// The port; only a URI may have none.
    pub port: Option<u16>,
}

impl AsaLocator {
    /// A locator with graspy's defaults: TCP, port 7017, valid for ever, not diverted.
    #[must_use]
    pub fn new(locator: impl Into<Locator>, ifi: Option<u32>) -> Self {
        Self { locator: Some(locator.into()), ifi, ..Self::null() }
    }

    /// A domain name, which the engine resolves before it connects (RFC 8990 §2.8.6).
    #[must_use]
    pub fn fqdn(name: &str, protocol: Protocol, port: u16) -> Self {
        let (protocol, port) = (Some(protocol), Some(port));
        Self { locator: Some(Locator::Fqdn(name.to_owned())), protocol, port, ..Self::null() }
    }

    /// A URI. It is passed on unchanged; the engine cannot connect to it.
    #[must_use]
    pub fn uri(uri: &str) -> Self {
        Self { locator: Some(Locator::Uri(uri.to_owned())), protocol: None, port: None, ..Self::null() }
    }

    /// The null tag: the source of a flooded objective that was sent without a locator.
    #[must_use]
    pub const fn null() -> Self {
        let (protocol, port) = (Some(Protocol::Tcp), Some(GRASP_LISTEN_PORT));
        Self { locator: None, ifi: None, expire: 0, diverted: false, protocol, port }
    }

    /// The same locator with another port.
    #[must_use]
    pub const fn with_port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// The same locator with another transport protocol.
    #[must_use]
    pub const fn with_protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// The same locator on another interface, by index.
    #[must_use]
    pub const fn with_ifi(mut self, ifi: u32) -> Self {
        self.ifi = Some(ifi);
        self
    }

    /// The same locator with another expiry, in milliseconds of [`monotonic_ms`](crate::monotonic_ms); 0 means never.
    #[must_use]
    pub const fn with_expire(mut self, expire: u64) -> Self {
        self.expire = expire;
        self
    }

    /// The same locator, marked as from a Divert option or not.
    #[must_use]
    pub const fn with_diverted(mut self, diverted: bool) -> Self {
        self.diverted = diverted;
        self
    }

    /// Whether the locator is an IPv6 or IPv4 address.
    #[must_use]
    pub const fn is_ipaddress(&self) -> bool {
        matches!(self.locator, Some(Locator::Ipv6(_) | Locator::Ipv4(_)))
    }

    /// Whether the locator is a fully qualified domain name.
    #[must_use]
    pub const fn is_fqdn(&self) -> bool {
        matches!(self.locator, Some(Locator::Fqdn(_)))
    }

    /// Whether the locator is a URI.
    #[must_use]
    pub const fn is_uri(&self) -> bool {
        matches!(self.locator, Some(Locator::Uri(_)))
    }

    /// Whether the locator is an IPv6 link-local address.
    #[must_use]
    pub const fn is_link_local(&self) -> bool {
        matches!(self.locator, Some(Locator::Ipv6(address)) if address.is_unicast_link_local())
    }

    /// The approximate memory use in bytes.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Self>() + self.locator.as_ref().map_or(0, Locator::memory)
    }

    /// Whether it is still valid at `now`, in milliseconds of [`monotonic_ms`](crate::monotonic_ms).
    #[must_use]
    pub const fn is_valid_at(&self, now: u64) -> bool {
        self.expire == 0 || self.expire > now
    }
}

/// Address and port as in a URI, with the interface of a link-local address, and with the protocol if it is not TCP.
impl fmt::Display for AsaLocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.locator {
            None => f.write_str("none")?,
            Some(Locator::Ipv6(address)) => match self.ifi.filter(|_| address.is_unicast_link_local()) {
                Some(ifi) => write!(f, "[{address}%{ifi}]")?,
                None => write!(f, "[{address}]")?,
            },
            Some(locator) => locator.fmt(f)?,
        }
        match self.port {
            Some(port) if self.locator.is_some() => write!(f, ":{port}"),
            _ => Ok(()),
        }?;
        match self.protocol {
            Some(protocol) if protocol != Protocol::Tcp && self.locator.is_some() => write!(f, " {protocol}"),
            _ => Ok(()),
        }
    }
}

/// The address of a peer as sessions store it: an IPv4 address is mapped.
pub(crate) fn as_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(address) => address.to_ipv6_mapped(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_equal_by_number_and_print_their_names() {
        for number in [0, 1, 6, 17, 41, 132, 255, 256, u64::MAX] {
            assert_eq!(Protocol::from_number(number).number(), number);
            assert_eq!(Protocol::Other(number), Protocol::from_number(number));
        }
        assert_ne!(Protocol::Tcp, Protocol::Udp);
        let names = [6, 17, 41, 132].map(|number| Protocol::Other(number).to_string());
        assert_eq!(names, ["TCP", "UDP", "IPv6", "protocol 132"]);
    }

    #[test]
    fn every_field_of_a_locator_can_be_set_and_is_printed_if_it_matters() {
        let address = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        let locator = AsaLocator::new(address, None).with_ifi(3).with_port(4443);
        assert_eq!(locator.to_string(), "[fe80::1%3]:4443");
        let proxy = locator.with_protocol(Protocol::Ipv6).with_expire(17).with_diverted(true);
        assert_eq!(proxy.to_string(), "[fe80::1%3]:4443 IPv6");
        assert_eq!((proxy.ifi, proxy.expire, proxy.diverted), (Some(3), 17, true));
        assert_eq!(AsaLocator::null().with_protocol(Protocol::Udp).to_string(), "none");
    }
}
