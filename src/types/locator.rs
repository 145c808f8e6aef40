//! Where a peer is: `asa_locator` of RFC 8991 §2.3.2.3 and the locator options of RFC 8990 §2.9.5.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Plain;
use crate::constants::GRASP_LISTEN_PORT;

/// The transport protocol of a locator (RFC 8990 §2.9.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// IANA's number 6.
    Tcp,
    /// IANA's number 17.
    Udp,
}

impl Protocol {
    /// IANA's protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// The protocol with this number, if a GRASP locator may have it.
    #[must_use]
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            _ => None,
        }
    }
}

/// The four kinds of locator (RFC 8990 §2.9.5.1 to §2.9.5.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Locator {
    /// An IPv6 address (§2.9.5.1). A link-local one is valid on the interface named beside it.
    Ipv6(Ipv6Addr),
    /// An IPv4 address (§2.9.5.2).
    Ipv4(Ipv4Addr),
    /// A fully qualified domain name (§2.9.5.3).
    Fqdn(String),
    /// A URI (§2.9.5.4).
    Uri(String),
}

impl Locator {
    /// How much memory it takes besides itself, in bytes.
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

/// A locator with all that is known of it (RFC 8991 §2.3.2.3; graspy's `asa_locator`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AsaLocator {
    /// Where; `None` only in the source of a flooded objective that was sent without a locator.
    pub locator: Option<Locator>,
    /// The index of the interface where it was learnt; `None` for one made by the ASA itself. A
    /// link-local address can be reached only with it.
    pub ifi: Option<u32>,
    /// When it ceases to be valid, in milliseconds of [`monotonic_ms`](crate::monotonic_ms); 0 is never.
    pub expire: u64,
    /// It came in a Divert option (RFC 8990 §2.9.2).
    pub diverted: bool,
    /// The transport protocol; only a URI may go without one.
    pub protocol: Option<Protocol>,
    /// The port; only a URI may go without one.
    pub port: Option<u16>,
}

impl AsaLocator {
    /// A locator with graspy's defaults: TCP, port 7017, valid for ever, not diverted.
    #[must_use]
    pub fn new(locator: impl Into<Locator>, ifi: Option<u32>) -> Self {
        Self { locator: Some(locator.into()), ifi, ..Self::null() }
    }

    /// A name that the engine resolves before it connects (RFC 8990 §2.8.6).
    #[must_use]
    pub fn fqdn(name: &str, protocol: Protocol, port: u16) -> Self {
        let (protocol, port) = (Some(protocol), Some(port));
        Self { locator: Some(Locator::Fqdn(name.to_owned())), protocol, port, ..Self::null() }
    }

    /// A URI, carried faithfully; the engine cannot connect to it.
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

    /// How much memory it takes, about, in bytes.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Self>() + self.locator.as_ref().map_or(0, Locator::memory)
    }

    /// Whether it is still valid at `now`, in milliseconds of [`monotonic_ms`](crate::monotonic_ms).
    #[must_use]
    pub const fn is_valid_at(&self, now: u64) -> bool {
        self.expire == 0 || self.expire > now
    }
}

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
        }
    }
}
/// The address of a peer as sessions know it: an IPv4 one is mapped.
pub(crate) fn as_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(address) => address.to_ipv6_mapped(),
    }
}
