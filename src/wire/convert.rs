//! Converts between wire types and the types of the ASA (RFC 8991 §2.3). Called by `api` and `node`.

use super::{Body, Flags, Message, WireLocator, WireObjective};
use crate::constants::message_type::{
    M_DISCOVERY, M_END, M_FLOOD, M_INVALID, M_NEGOTIATE, M_NOOP, M_REQ_NEG, M_REQ_SYN, M_RESPONSE, M_SYNCH,
    M_WAIT,
};
use crate::constants::message_type_name;
use crate::types::{AsaLocator, Locator, Objective, Value};

impl Message {
    /// A message without extra elements.
    #[must_use]
    pub const fn new(body: Body) -> Self {
        Self { body, extra: Vec::new() }
    }

    /// The session identifier. It is absent in M_NOOP (RFC 8990 §2.8.2), and in an unknown message whose second element
    /// is not one.
    #[must_use]
    pub const fn session(&self) -> Option<u32> {
        match &self.body {
            Body::Noop => None,
            Body::Unknown { session, .. } => *session,
            Body::Discovery { session, .. }
            | Body::End { session, .. }
            | Body::Wait { session, .. }
            | Body::Invalid { session, .. } => Some(*session),
            Body::Response(response) => Some(response.session),
            Body::Flood(flood) => Some(flood.session),
            Body::RequestNegotiate(step)
            | Body::RequestSynchronize(step)
            | Body::Negotiate(step)
            | Body::Synch(step) => Some(step.session),
        }
    }

    /// The message type (RFC 8990 §4).
    #[must_use]
    pub const fn message_type(&self) -> u64 {
        match &self.body {
            Body::Noop => M_NOOP,
            Body::Discovery { .. } => M_DISCOVERY,
            Body::Response(_) => M_RESPONSE,
            Body::RequestNegotiate(_) => M_REQ_NEG,
            Body::RequestSynchronize(_) => M_REQ_SYN,
            Body::Negotiate(_) => M_NEGOTIATE,
            Body::End { .. } => M_END,
            Body::Wait { .. } => M_WAIT,
            Body::Synch(_) => M_SYNCH,
            Body::Flood(_) => M_FLOOD,
            Body::Invalid { .. } => M_INVALID,
            Body::Unknown { message_type, .. } => *message_type,
        }
    }

    /// The name of the message type (RFC 8990 §4), or `unknown`.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match message_type_name(self.message_type()) {
            Some(name) => name,
            None => "unknown",
        }
    }
}

impl From<Body> for Message {
    fn from(body: Body) -> Self {
        Self::new(body)
    }
}

impl WireObjective {
    /// Converts an ASA's objective. It always has a value: null if the ASA gave none (RFC 8990 §2.10.3).
    #[must_use]
    pub fn from_objective(objective: &Objective) -> Self {
        objective.clone().into()
    }

    /// The objective as an ASA sees it, without the flags that this version does not know.
    #[must_use]
    pub fn to_objective(&self) -> Objective {
        self.clone().into_objective()
    }

    /// The objective as an ASA sees it, without the flags that this version does not know.
    #[must_use]
    pub fn into_objective(self) -> Objective {
        Objective {
            neg: self.flags.has(Flags::F_NEG),
            dry: self.flags.has(Flags::F_NEG_DRY),
            synch: self.flags.has(Flags::F_SYNCH),
            discoverable: self.flags.has(Flags::F_DISC),
            name: self.name,
            loop_count: self.loop_count,
            value: self.value.unwrap_or_default(),
        }
    }

    /// The objective as a CBOR item, as on the wire.
    pub(super) fn into_value(self) -> Value {
        let mut items = vec![Value::Text(self.name), Value::from(self.flags.0), Value::from(self.loop_count)];
        items.extend(self.value);
        Value::Array(items)
    }
}

impl From<Objective> for WireObjective {
    /// Like [`from_objective`](Self::from_objective), without a copy.
    fn from(objective: Objective) -> Self {
        let bits = [
            (objective.discoverable, Flags::F_DISC),
            (objective.neg, Flags::F_NEG),
            (objective.synch, Flags::F_SYNCH),
            (objective.dry, Flags::F_NEG_DRY),
        ];
        let flags = bits.into_iter().filter(|(set, _)| *set).fold(0, |flags, (_, bit)| flags | bit);
        Self {
            name: objective.name,
            flags: Flags(flags),
            loop_count: objective.loop_count,
            value: Some(objective.value),
        }
    }
}

impl WireLocator {
    /// Converts an ASA's locator. `None` for the null tag, and for a locator that lacks the protocol or the port: only
    /// a URI may lack them (RFC 8990 §2.9.5.4).
    #[must_use]
    pub fn from_locator(locator: &AsaLocator) -> Option<Self> {
        let AsaLocator { locator, protocol, port, .. } = locator;
        let wire = Self { locator: locator.clone()?, protocol: *protocol, port: *port };
        match wire.locator {
            Locator::Uri(_) => Some(wire),
            _ if wire.protocol.is_some() && wire.port.is_some() => Some(wire),
            _ => None,
        }
    }

    /// The locator as an ASA sees it, with what is known about its origin.
    #[must_use]
    pub fn into_locator(self, ifi: Option<u32>, expire: u64, diverted: bool) -> AsaLocator {
        let Self { locator, protocol, port } = self;
        AsaLocator { locator: Some(locator), ifi, expire, diverted, protocol, port }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Protocol;
    use std::net::Ipv6Addr;

    #[test]
    fn flags_have_the_numbers_of_the_rfc() {
        let mut objective = Objective::new("EX1");
        let flags = |objective: &Objective| WireObjective::from_objective(objective).flags.0;
        assert_eq!(flags(&objective), 1);
        objective.synch = true;
        assert_eq!(flags(&objective), 5);
        (objective.synch, objective.neg) = (false, true);
        assert_eq!(flags(&objective), 3);
        objective.dry = true;
        assert_eq!(flags(&objective), 11);
        objective.discoverable = false;
        assert_eq!(flags(&objective), 10);
    }

    #[test]
    fn an_objective_returns_from_the_wire() {
        for bits in 0..16u8 {
            let objective = Objective {
                neg: bits & 1 != 0,
                dry: bits & 2 != 0,
                synch: bits & 4 != 0,
                discoverable: bits & 8 != 0,
                loop_count: bits,
                value: Value::from(bits),
                ..Objective::new("EX1")
            };
            assert_eq!(WireObjective::from_objective(&objective).to_objective(), objective);
        }
        let bare = WireObjective { name: "EX1".into(), flags: Flags(1 << 40), loop_count: 1, value: None };
        assert_eq!(bare.to_objective().value, Value::Null);
        let null = WireObjective::from_objective(&Objective::new("EX1"));
        assert_eq!(null.value, Some(Value::Null));
    }

    #[test]
    fn only_a_uri_may_lack_protocol_and_port() {
        let ip = AsaLocator::new(Ipv6Addr::LOCALHOST, Some(3));
        let wire = WireLocator::from_locator(&ip).unwrap();
        assert_eq!((wire.protocol, wire.port), (Some(Protocol::Tcp), Some(7017)));
        assert_eq!(wire.into_locator(Some(3), 0, false), ip);
        assert_eq!(WireLocator::from_locator(&AsaLocator { port: None, ..ip.clone() }), None);
        assert_eq!(WireLocator::from_locator(&AsaLocator { protocol: None, ..ip }), None);
        assert_eq!(WireLocator::from_locator(&AsaLocator::null()), None);
        assert!(WireLocator::from_locator(&AsaLocator::uri("coap://[::1]")).is_some());
    }
}
