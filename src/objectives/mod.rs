//! The objectives that others have defined: their names, values and rules. AN_ACP (RFC 8994), AN_join_registrar and AN_Proxy (RFC
//! 8995), PrefixManager and its parameters (RFC 8992), `SRV.*` (RFC 8994 and draft-eckert-anima-grasp-dnssd), and GraspConfig of
//! graspy. Pure. Used by ASAs, and by the command `grasp`, which shows and checks them.
//!
//! ```
//! use grasp::objectives::{AN_JOIN_REGISTRAR, Hops, Known, check};
//! use grasp::{AsaLocator, TaggedObjective};
//!
//! let known = Known::of(AN_JOIN_REGISTRAR).unwrap();
//! let registrar = known.objective(AN_JOIN_REGISTRAR).with_value("EST-TLS").unwrap();
//! let address: std::net::Ipv6Addr = "fda3:79a6:f6ee:0:200:0:6400:1".parse().unwrap();
//! let tagged = TaggedObjective::new(registrar, Some(AsaLocator::new(address, None).with_port(8443)));
//! assert!(check(&tagged, Hops::None).is_empty());
//! ```

mod check;
pub mod prefix;
mod prefix_manager;
mod values;

#[cfg(test)]
mod tests;

pub use check::{Aspect, Finding, Hops, Severity, check, check_name};
pub use prefix_manager::{BadMessage, Form, Message as PrefixMessage, Parameters, Role};
pub use values::{AcpMethod, GraspConfig, NotOfThisKind, Service};

use crate::types::{Objective, Protocol, Value};

/// The secure channels that a node offers to its neighbours, on one link (RFC 8994 §6.4).
pub const AN_ACP: &str = "AN_ACP";
/// Where a registrar of BRSKI is, for join proxies, in the whole domain (RFC 8995 §4.3).
pub const AN_JOIN_REGISTRAR: &str = "AN_join_registrar";
/// Where a join proxy of BRSKI is, for pledges, on one link (RFC 8995 §4.1.1).
pub const AN_PROXY: &str = "AN_Proxy";
/// Negotiation of address prefixes (RFC 8992 §6.1).
pub const PREFIX_MANAGER: &str = "PrefixManager";
/// Which nodes get prefixes of which length, flooded (RFC 8992 §6.2).
pub const PREFIX_MANAGER_PARAMS: &str = "PrefixManager.Params";
/// How the names of services begin (draft-eckert-anima-grasp-dnssd).
pub const SRV: &str = "SRV.";
/// Where EST servers are, for the renewal of certificates (RFC 8994 §6.2.5.1).
pub const SRV_EST: &str = "SRV.est";
/// The limits on the sizes of messages, flooded (graspy).
pub const GRASP_CONFIG: &str = "GraspConfig";

/// The protocol of a registrar that speaks EST over TLS: the value of AN_join_registrar (RFC 8995 §4.3).
pub const EST_TLS: &str = "EST-TLS";

/// A kind of objective that this module knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Known {
    /// [`AN_ACP`].
    Acp,
    /// [`AN_JOIN_REGISTRAR`].
    JoinRegistrar,
    /// [`AN_PROXY`].
    Proxy,
    /// [`PREFIX_MANAGER`].
    PrefixManager,
    /// [`PREFIX_MANAGER_PARAMS`].
    PrefixManagerParams,
    /// Any name that begins with [`SRV`].
    Service,
    /// [`GRASP_CONFIG`].
    GraspConfig,
}

/// What the definition of a kind of objective says.
pub(crate) struct Rules {
    pub(crate) name: &'static str,
    /// Where it is defined.
    pub(crate) source: &'static str,
    /// It is negotiated; otherwise flooded or synchronized.
    pub(crate) negotiated: bool,
    /// It may be discovered: the flag is set.
    pub(crate) discoverable: bool,
    /// The loop count that it is sent with.
    pub(crate) loop_count: u8,
    /// No other loop count is permitted.
    pub(crate) strict_loop_count: bool,
    /// How often it is flooded, and how long a flood is valid, in milliseconds.
    pub(crate) times: Option<(u32, u32)>,
    /// A flood needs a locator.
    pub(crate) needs_locator: bool,
    /// The locator is a link-local address (`Some(true)`) or of larger scope.
    pub(crate) link_local: Option<bool>,
    /// The transport protocols of its locator; any if empty.
    pub(crate) protocols: &'static [Protocol],
}

/// The rules of an objective about which its definition says nothing.
const FREE: Rules = Rules {
    name: "",
    source: "",
    negotiated: false,
    discoverable: true,
    loop_count: crate::constants::GRASP_DEF_LOOPCT,
    strict_loop_count: false,
    times: None,
    needs_locator: false,
    link_local: None,
    protocols: &[],
};

/// Flooded every minute within the link, and valid for three minutes (RFC 8995 §4.1.1).
const ON_THE_LINK: Rules = Rules {
    discoverable: false,
    loop_count: 1,
    strict_loop_count: true,
    times: Some((60_000, 180_000)),
    needs_locator: true,
    link_local: Some(true),
    ..FREE
};

/// The same within the domain (RFC 8995 §4.3).
const IN_THE_DOMAIN: Rules = Rules { loop_count: 255, link_local: Some(false), ..ON_THE_LINK };

impl Known {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Acp,
        Self::JoinRegistrar,
        Self::Proxy,
        Self::PrefixManager,
        Self::PrefixManagerParams,
        Self::Service,
        Self::GraspConfig,
    ];

    /// The kind of the objective with this name; `None` if this module does not know it.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| match known {
            Self::Service => name.starts_with(SRV),
            known => known.name() == name,
        })
    }

    pub(crate) const fn rules(self) -> Rules {
        match self {
            // RFC 8994 §6.4: three and a half intervals, so that two of three may be lost.
            Self::Acp => Rules {
                name: AN_ACP,
                source: "RFC 8994 §6.4",
                times: Some((60_000, 210_000)),
                needs_locator: false,
                ..ON_THE_LINK
            },
            Self::JoinRegistrar => Rules {
                name: AN_JOIN_REGISTRAR,
                source: "RFC 8995 §4.3",
                protocols: &[Protocol::Tcp, Protocol::Udp],
                ..IN_THE_DOMAIN
            },
            Self::Proxy => Rules {
                name: AN_PROXY,
                source: "RFC 8995 §4.1.1",
                protocols: &[Protocol::Tcp, Protocol::Udp, Protocol::Ipv6],
                ..ON_THE_LINK
            },
            Self::PrefixManager => {
                Rules { name: PREFIX_MANAGER, source: "RFC 8992 §6.1", negotiated: true, ..FREE }
            }
            Self::PrefixManagerParams => {
                Rules { name: PREFIX_MANAGER_PARAMS, source: "RFC 8992 §6.2", ..FREE }
            }
            Self::Service => Rules {
                name: "SRV.*",
                source: "RFC 8994 §6.2.5.1",
                times: Some((60_000, 210_000)),
                strict_loop_count: false,
                needs_locator: false,
                ..IN_THE_DOMAIN
            },
            Self::GraspConfig => Rules {
                name: GRASP_CONFIG,
                source: "graspy",
                loop_count: 15,
                times: Some((60_000, 180_000)),
                ..FREE
            },
        }
    }

    /// The name; `SRV.*` for all services.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.rules().name
    }

    /// The document that defines it.
    #[must_use]
    pub const fn source(self) -> &'static str {
        self.rules().source
    }

    /// Whether it is negotiated. Otherwise it is flooded or synchronized.
    #[must_use]
    pub const fn is_negotiated(self) -> bool {
        self.rules().negotiated
    }

    /// Whether it stays on the link of its sender.
    #[must_use]
    pub const fn stays_on_the_link(self) -> bool {
        matches!(self.rules().link_local, Some(true))
    }

    /// How often it is flooded, and how long a flood is valid, in milliseconds, if its definition says so.
    #[must_use]
    pub const fn times(self) -> Option<(u32, u32)> {
        self.rules().times
    }

    /// An objective of this kind with the flags and the loop count of its definition, without a value. `name` is for
    /// services: others have one name only.
    #[must_use]
    pub fn objective(self, name: &str) -> Objective {
        let rules = self.rules();
        let name = if self == Self::Service { name } else { rules.name };
        Objective {
            neg: rules.negotiated,
            synch: !rules.negotiated,
            discoverable: rules.discoverable,
            loop_count: rules.loop_count,
            ..Objective::new(name)
        }
    }

    /// The value in the words of its definition, on one line, safe for terminals.
    ///
    /// # Errors
    /// [`NotOfThisKind`] if this is not a value of such an objective. A retry does not help.
    pub fn describe(self, value: &Value) -> Result<String, NotOfThisKind> {
        values::describe(self, value)
    }
}
