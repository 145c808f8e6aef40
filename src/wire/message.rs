//! The messages of RFC 8990 §2.8 as values. Everything that can be built here can be encoded. A decoded message encodes
//! to the same bytes if those were in CBOR's preferred form and in the order of the grammar. There are two exceptions,
//! where graspy's deviations are accepted: a negative ttl in M_RESPONSE becomes 1, and a short URI option gets its
//! nulls.

use std::net::IpAddr;

use crate::types::{Locator, Protocol, Value};

/// A message, with any elements that follow the known ones: options that this version does not know are kept, not
/// rejected (RFC 8990 §2.8.2).
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The content.
    pub body: Body,
    /// The elements after those that RFC 8990 defines for this type, in their order. In M_END and M_FLOOD also options
    /// between those elements; in M_RESPONSE only what follows the objective.
    pub extra: Vec<Value>,
}

impl Message {
    /// The approximate memory use in bytes.
    pub(crate) fn memory(&self) -> usize {
        let of = |objective: &WireObjective| {
            let value = objective.value.as_ref().map_or(0, Value::memory);
            objective.name.len().saturating_add(value)
        };
        let body = match &self.body {
            Body::Discovery { objective, .. } => of(objective),
            Body::RequestNegotiate(step)
            | Body::RequestSynchronize(step)
            | Body::Negotiate(step)
            | Body::Synch(step) => of(&step.objective),
            Body::Flood(flood) => {
                let locator = |locator: &Option<WireLocator>| locator.as_ref().map_or(0, WireLocator::memory);
                let parts = flood
                    .objectives
                    .iter()
                    .map(|entry| [size_of_val(entry), of(&entry.0), locator(&entry.1)]);
                parts.flatten().sum()
            }
            Body::Response(response) => {
                let options = response.options.iter().map(WireOption::memory);
                options.chain(response.objective.as_ref().map(of)).sum()
            }
            // These hold no more than they took on the wire, and that is counted elsewhere.
            Body::Noop | Body::End { .. } | Body::Wait { .. } | Body::Unknown { .. } => 0,
            Body::Invalid { content, .. } => content.as_ref().map_or(0, Value::memory),
        };
        let extra = self.extra.iter().map(Value::memory).sum::<usize>();
        size_of::<Self>().saturating_add(body).saturating_add(extra)
    }
}

/// The messages of RFC 8990, by type.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// `[0]` (§2.8.13).
    Noop,
    /// `[1, session-id, initiator, objective]` (§2.8.4).
    Discovery {
        /// Session identifier.
        session: u32,
        /// The initiator's address, which makes the session identifier unique.
        initiator: IpAddr,
        /// The objective that is looked for.
        objective: WireObjective,
    },
    /// `[2, session-id, initiator, ttl, (+locator-option // divert-option), ?objective]` (§2.8.5).
    Response(Response),
    /// `[3, session-id, objective]` (§2.8.6).
    RequestNegotiate(Step),
    /// `[4, session-id, objective]` (§2.8.6).
    RequestSynchronize(Step),
    /// `[5, session-id, objective]` (§2.8.7).
    Negotiate(Step),
    /// `[6, session-id, accept-option / decline-option]` (§2.8.8).
    End {
        /// Session identifier.
        session: u32,
        /// How the negotiation ended.
        outcome: Outcome,
    },
    /// `[7, session-id, waiting-time]` (§2.8.9).
    Wait {
        /// Session identifier.
        session: u32,
        /// The waiting time in milliseconds.
        time: u32,
    },
    /// `[8, session-id, objective]` (§2.8.10).
    Synch(Step),
    /// `[9, session-id, initiator, ttl, +[objective, (locator-option / [])]]` (§2.8.11).
    Flood(Flood),
    /// `[99, session-id, ?any]` (§2.8.12).
    Invalid {
        /// Session identifier.
        session: u32,
        /// Diagnostic content.
        content: Option<Value>,
    },
    /// A message type that this version does not know (§2.8.2). Its elements are in [`Message::extra`].
    Unknown {
        /// The message type.
        message_type: u64,
        /// The session identifier, if the second element can be one.
        session: Option<u32>,
    },
}

/// A message that consists of a session identifier and an objective: a request, an offer or a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Session identifier.
    pub session: u32,
    /// The objective.
    pub objective: WireObjective,
}

/// The content of M_RESPONSE (RFC 8990 §2.8.5).
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// Session identifier of the discovery.
    pub session: u32,
    /// Initiator of the discovery.
    pub initiator: IpAddr,
    /// How long the locators are valid, in milliseconds; 0 means long.
    pub ttl: u32,
    /// The options, in their order; at least one of them is a locator or a Divert.
    pub options: Vec<WireOption>,
    /// The objective, in rapid mode with its value.
    pub objective: Option<WireObjective>,
}

/// The content of M_FLOOD (RFC 8990 §2.8.11).
#[derive(Clone, Debug, PartialEq)]
pub struct Flood {
    /// Session identifier.
    pub session: u32,
    /// The address of the node that began the flood.
    pub initiator: IpAddr,
    /// How long the values are valid, in milliseconds; 0 means for ever.
    pub ttl: u32,
    /// The objectives, at least one, each with its locator if it has one.
    pub objectives: Vec<(WireObjective, Option<WireLocator>)>,
}

/// How a negotiation ended (RFC 8990 §2.9.3, §2.9.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `[101]`.
    Accept,
    /// `[102, ?reason]`.
    Decline(Option<String>),
}

/// An option (RFC 8990 §2.9).
#[derive(Clone, Debug, PartialEq)]
pub enum WireOption {
    /// `[103..106, ...]`.
    Locator(WireLocator),
    /// `[100, +locator-option]`.
    Divert(Vec<WireLocator>),
    /// An option that is unknown or does not belong here, unchanged.
    Other(Value),
}

impl WireOption {
    fn memory(&self) -> usize {
        let inside = match self {
            Self::Locator(locator) => locator.memory(),
            Self::Divert(locators) => locators.iter().map(WireLocator::memory).sum(),
            Self::Other(value) => value.memory(),
        };
        size_of::<Self>().saturating_add(inside)
    }
}

/// A locator option (RFC 8990 §2.9.5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WireLocator {
    /// The address, name or URI.
    pub locator: Locator,
    /// The transport protocol; absent only for a URI.
    pub protocol: Option<Protocol>,
    /// The port; absent only for a URI.
    pub port: Option<u16>,
}

impl WireLocator {
    fn memory(&self) -> usize {
        size_of::<Self>().saturating_add(self.locator.memory())
    }
}

/// An objective option `[name, flags, loop-count, ?value]` (RFC 8990 §2.10.1).
#[derive(Clone, Debug, PartialEq)]
pub struct WireObjective {
    /// The name.
    pub name: String,
    /// The flags, including unknown bits.
    pub flags: Flags,
    /// The loop count.
    pub loop_count: u8,
    /// The value; absent only in discoveries and responses (§2.10.3).
    pub value: Option<Value>,
}

/// The objective flags (RFC 8990 §2.10.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flags(pub u64);

impl Flags {
    /// Valid for discovery.
    pub const F_DISC: u64 = 1;
    /// Valid for negotiation.
    pub const F_NEG: u64 = 1 << 1;
    /// Valid for synchronization.
    pub const F_SYNCH: u64 = 1 << 2;
    /// Negotiation is a dry run.
    pub const F_NEG_DRY: u64 = 1 << 3;

    /// Whether all bits of `mask` are set.
    #[must_use]
    pub const fn has(self, mask: u64) -> bool {
        self.0 & mask == mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The queue of datagrams is bounded by this number for messages of every type.
    #[test]
    fn what_is_large_in_memory_is_known_to_be() {
        let large = Value::Array(vec![Value::from(0); 1000]);
        let least = large.memory();
        let objective = WireObjective {
            name: "EX1".to_owned(),
            flags: Flags(1),
            loop_count: 6,
            value: Some(large.clone()),
        };
        let step = || Step { session: 1, objective: objective.clone() };
        let initiator = IpAddr::from([0; 16]);
        let uri = || WireLocator { locator: Locator::Uri("x".repeat(least)), protocol: None, port: None };
        let response = |option, objective| {
            Body::Response(Response { session: 1, initiator, ttl: 1, options: vec![option], objective })
        };
        let flood = |objective, locator| {
            Body::Flood(Flood { session: 1, initiator, ttl: 1, objectives: vec![(objective, locator)] })
        };
        let bare = || WireObjective { value: None, ..objective.clone() };
        let bodies = [
            Body::Discovery { session: 1, initiator, objective: objective.clone() },
            Body::RequestNegotiate(step()),
            Body::Synch(step()),
            response(WireOption::Locator(uri()), None),
            response(WireOption::Divert(vec![uri()]), None),
            response(WireOption::Other(large.clone()), None),
            response(WireOption::Divert(Vec::new()), Some(objective.clone())),
            flood(objective.clone(), None),
            flood(bare(), Some(uri())),
            Body::Invalid { session: 1, content: Some(large.clone()) },
        ];
        for body in bodies {
            let message = Message::new(body);
            assert!(message.memory() >= least, "{message:?}");
        }
        assert!(Message { extra: vec![large], ..Message::new(Body::Noop) }.memory() >= least);
    }
}
