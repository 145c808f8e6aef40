//! The arguments and results of the calls as items of a message between a node and its clients. `ipc::form` has those of the
//! basic types; docs/ipc.md specifies all of them.

use super::{Discover, EngineState, Negotiation, Peer, Port, RegisterObj, SessionView, Source, Synchronized};
use crate::acp::TRUSTING_LINKS;
use crate::ipc::{Fields, Form, Formed, fields};
use crate::types::{AsaLocator, Objective, SessionNonce, Value};

/// Null is `Any`, a number is `Fixed`, "last" is `Last`.
impl Form for Port {
    fn form(&self) -> Value {
        match self {
            Self::Any => Value::Null,
            Self::Fixed(port) => port.form(),
            Self::Last => "last".form(),
        }
    }
}

impl Formed for Port {
    fn read(value: Value) -> Option<Self> {
        match value {
            Value::Null => Some(Self::Any),
            Value::Text(text) => (text == "last").then_some(Self::Last),
            number => u16::read(number).map(Self::Fixed),
        }
    }
}

impl Form for RegisterObj {
    fn form(&self) -> Value {
        let set = |set: bool| set.then_some(true).form();
        let locators = (!self.locators.is_empty()).then_some(&self.locators);
        fields([
            ("ttl", self.ttl.form()),
            ("discoverable", set(self.discoverable)),
            ("overlap", set(self.overlap)),
            ("local", set(self.local)),
            ("rapid", set(self.rapid)),
            ("locators", locators.form()),
            ("port", self.port.form()),
        ])
    }
}

impl Formed for RegisterObj {
    fn read(value: Value) -> Option<Self> {
        let mut fields = Fields::read(value)?;
        Some(Self {
            ttl: fields.take("ttl")?,
            discoverable: fields.take_or("discoverable")?,
            overlap: fields.take_or("overlap")?,
            local: fields.take_or("local")?,
            rapid: fields.take_or("rapid")?,
            locators: fields.take_or("locators")?,
            port: fields.take("port")?,
        })
    }
}

impl Form for Discover {
    fn form(&self) -> Value {
        fields([
            ("flush", self.flush.then_some(true).form()),
            ("minimum_ttl", self.minimum_ttl.form()),
            ("enough", self.enough.form()),
        ])
    }
}

impl Formed for Discover {
    fn read(value: Value) -> Option<Self> {
        let mut fields = Fields::read(value)?;
        Some(Self {
            flush: fields.take_or("flush")?,
            minimum_ttl: fields.take("minimum_ttl")?,
            enough: fields.take("enough")?,
        })
    }
}

/// `[session, objective]`; the session is null if the peer accepts.
impl Form for Negotiation {
    fn form(&self) -> Value {
        match self {
            Self::Agreed(objective) => (None::<SessionNonce>, objective).form(),
            Self::Offer(session, objective) => (session, objective).form(),
        }
    }
}

impl Formed for Negotiation {
    fn read(value: Value) -> Option<Self> {
        let (session, objective) = <(Option<SessionNonce>, Objective)>::read(value)?;
        Some(match session {
            None => Self::Agreed(objective),
            Some(session) => Self::Offer(session, objective),
        })
    }
}

/// `[address, locator, name]`.
impl Form for Peer {
    fn form(&self) -> Value {
        (self.address, self.locator.as_ref(), self.name.as_deref()).form()
    }
}

impl Formed for Peer {
    fn read(value: Value) -> Option<Self> {
        let Value::Array(mut items) = value else { return None };
        if items.len() == 2 {
            // A node from before TLS tells no name.
            items.push(Value::Null);
        }
        let (address, locator, name) = Formed::read(Value::Array(items))?;
        Some(Self { address, locator, name })
    }
}

/// `[objective, flooded, peer]`: one of the last two is null.
impl Form for Synchronized {
    fn form(&self) -> Value {
        let (flooded, peer) = match &self.source {
            Source::Flooded(locator) => (Some(locator), None),
            Source::Peer(peer) => (None, Some(peer)),
        };
        (&self.objective, flooded, peer).form()
    }
}

impl Formed for Synchronized {
    fn read(value: Value) -> Option<Self> {
        let (objective, flooded, peer) = <(_, Option<AsaLocator>, Option<Peer>)>::read(value)?;
        let source = flooded.map(Source::Flooded).or_else(|| peer.map(Source::Peer))?;
        Some(Self { objective, source })
    }
}

impl Form for SessionView {
    fn form(&self) -> Value {
        fields([
            ("session", self.session.form()),
            ("kind", self.kind.form()),
            ("objective", self.objective.form()),
            ("peer", self.peer.form()),
            ("owner", self.owner.form()),
        ])
    }
}

impl Formed for SessionView {
    fn read(value: Value) -> Option<Self> {
        let mut fields = Fields::read(value)?;
        Some(Self {
            session: fields.take("session")?,
            kind: fields.take("kind")?,
            objective: fields.take("objective")?,
            peer: fields.take("peer")?,
            owner: fields.take("owner")?,
        })
    }
}

/// The reason that is shown for a trusted substrate that is not of this library.
const TRUSTING: &str = "the node trusts its substrate, which does not secure anything";

impl Form for EngineState {
    fn form(&self) -> Value {
        fields([
            ("secure", self.secure.form()),
            ("trusting", self.trusting.form()),
            ("sealed", self.sealed.form()),
            ("dull", self.dull.form()),
            ("relaying", self.relaying.form()),
            ("stopped", self.stopped.form()),
            ("unicast_size", self.unicast_size.form()),
            ("multicast_size", self.multicast_size.form()),
        ])
    }
}

impl Formed for EngineState {
    fn read(value: Value) -> Option<Self> {
        let mut fields = Fields::read(value)?;
        let trusting: Option<String> = fields.take("trusting")?;
        Some(Self {
            secure: fields.take_or("secure")?,
            trusting: trusting.map(|why| if why == TRUSTING_LINKS { TRUSTING_LINKS } else { TRUSTING }),
            sealed: fields.take_or("sealed")?,
            dull: fields.take_or("dull")?,
            relaying: fields.take_or("relaying")?,
            stopped: fields.take_or("stopped")?,
            unicast_size: fields.take_or("unicast_size")?,
            multicast_size: fields.take_or("multicast_size")?,
        })
    }
}

/// The state of a node that is gone.
impl Default for EngineState {
    fn default() -> Self {
        Self {
            secure: false,
            trusting: None,
            sealed: false,
            dull: false,
            relaying: false,
            stopped: true,
            unicast_size: 0,
            multicast_size: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::net::Ipv6Addr;

    use super::*;
    use crate::trace::SessionKind;
    use crate::types::AsaNonce;

    /// What arrives is what was sent, and nothing else can be read as it.
    fn survives<T: Form + Formed + PartialEq + Debug>(one: T) {
        assert_eq!(T::read(one.form()), Some(one));
        assert_eq!(T::read(Value::from(-1)), None);
        assert_eq!(T::read(Value::Text("first".to_owned())), None);
    }

    #[test]
    fn a_peer_of_a_node_that_tells_no_names_has_none() {
        let (address, locator) = ("fd00::1".parse().ok(), None);
        let before = (address, locator.as_ref()).form();
        assert_eq!(Peer::read(before), Some(Peer { address, locator, name: None }));
    }

    #[test]
    fn whatever_is_asked_or_answered_arrives_as_it_was_sent() {
        let objective = || Objective { neg: true, value: Value::from(7), ..Objective::new("EX1") };
        let session = SessionNonce { id_value: 7, id_source: Some(Ipv6Addr::LOCALHOST) };
        let locator = || AsaLocator::new(Ipv6Addr::LOCALHOST, Some(2)).with_port(9);
        for port in [Port::Any, Port::Fixed(7017), Port::Last] {
            survives(port);
        }
        survives(RegisterObj::default());
        for change in [
            |options: &mut RegisterObj| options.ttl = Some(5),
            |options: &mut RegisterObj| options.discoverable = true,
            |options: &mut RegisterObj| options.overlap = true,
            |options: &mut RegisterObj| options.local = true,
            |options: &mut RegisterObj| options.rapid = true,
            |options: &mut RegisterObj| {
                options.locators = vec![AsaLocator::fqdn("a", crate::types::Protocol::Tcp, 1)]
            },
            |options: &mut RegisterObj| options.port = Port::Fixed(1),
        ] {
            let mut options = RegisterObj::default();
            change(&mut options);
            survives(options);
        }
        survives(Discover::default());
        survives(Discover { flush: true, minimum_ttl: Some(5), enough: Some(1) });
        survives(Negotiation::Agreed(objective()));
        survives(Negotiation::Offer(session, objective()));
        let name = Some("0@acp.example.com".to_owned());
        let peer = Peer { address: Some(Ipv6Addr::LOCALHOST.into()), locator: Some(locator()), name };
        survives(peer.clone());
        survives(Peer::default());
        for source in [Source::Flooded(locator()), Source::Peer(peer)] {
            survives(Synchronized { objective: objective(), source });
        }
        survives(SessionView {
            session,
            kind: SessionKind::RelayedDiscovery,
            objective: "EX1".to_owned(),
            peer: Some(Ipv6Addr::LOCALHOST),
            owner: Some(AsaNonce(7)),
        });
    }

    #[test]
    fn the_state_of_an_engine_arrives_with_a_word_on_what_it_trusts() {
        survives(EngineState::default());
        let sizes =
            EngineState { unicast_size: 1, multicast_size: 2, stopped: false, ..EngineState::default() };
        for state in [
            EngineState { secure: true, trusting: Some(TRUSTING_LINKS), ..sizes.clone() },
            EngineState { sealed: true, dull: true, ..sizes.clone() },
            EngineState { relaying: true, ..sizes.clone() },
        ] {
            survives(state);
        }
        let own = EngineState { trusting: Some("the user's own words"), ..sizes };
        assert_eq!(EngineState::read(own.form()).unwrap().trusting, Some(TRUSTING));
    }
}
