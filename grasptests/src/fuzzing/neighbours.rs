//! One node whose connections with neighbours carry its multicasts, on virtual time: announcements, greetings, connections that come and
//! go, and what is said over them.

use std::net::{IpAddr, Ipv6Addr};

use arbitrary::{Result, Unstructured};
use grasp::simulation::{Endpoint, Output, SimulatedNode};
use grasp::wire::{self, Body, Flags, Flood, Limits, Message, WireLocator, WireObjective};
use grasp::{Acp, Config, Locator, Objective, Protocol, Value};

use super::shapes;
use crate::accounts::discrepancies;

/// Neighbours on one link.
const PLACES: usize = 3;
/// Connections of one certified name on one link, as the engine has it.
const OF_ONE: usize = 8;
/// Attempts to connect at a time: with members, and with others.
const OPENINGS: usize = 2 * 32;
const LINKS: u8 = 2;

/// The bytes are what happens, step by step.
///
/// The node connects with nobody but the sender of an announcement. Nobody is a neighbour at an address or on a link that its connection
/// is not of. There are never more neighbours than places, nor more connections of one name than it may have. What a neighbour asks is
/// answered to it, at the port of its greeting, and nothing it says goes back to its link. In the end everything is accounted for.
pub fn neighbours(input: &[u8]) {
    super::play(Scene::new(), input, Scene::step, Scene::check_bounds, Scene::finish);
}

struct Scene {
    node: SimulatedNode,
    now: u64,
    known: Vec<(u32, IpAddr)>,
    responses: Vec<Endpoint>,
}

impl Scene {
    fn new() -> Self {
        let config =
            Config::new().acp(Acp::Layer2).neighbours_per_link(PLACES).relay_limit(3).responder_limit(4);
        let link = |ifi: u8| Endpoint {
            ifi: ifi.into(),
            // Among those of its neighbours.
            address: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 3),
            port: 40_000,
        };
        let links: Vec<_> = (2..2 + LINKS).map(link).collect();
        let node = SimulatedNode::new(config, &links, Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, 1));
        node.carry_by_connections();
        let _ = node.offer(&Objective { neg: true, ..Objective::new("EX1") }, 4711);
        Self { node, now: 1000, known: Vec::new(), responses: Vec::new() }
    }

    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        match u.int_in_range(0..=15)? {
            0..=2 => self.announcement(u)?,
            3..=5 => self.greeting(u)?,
            6..=10 => self.message(u)?,
            11 => {
                let last = self.node.connections().0.saturating_sub(1);
                self.node.end_neighbour(u.int_in_range(0..=last)?);
            }
            12 => self.node.end_opening(u.arbitrary()?),
            13 => self.node.open_wanted(self.now),
            14 => {
                if let Some(to) = self.responses.pop() {
                    self.node.response_sent(to);
                }
                self.node.purge(self.now);
            }
            _ => {
                self.now += *u.choose(&[1, 600, 5000, 10_000, 240_000])?;
                let outputs = self.node.advance(self.now);
                self.check(None, &outputs);
            }
        }
        Ok(())
    }

    fn peer(u: &mut Unstructured<'_>) -> Result<(u32, Ipv6Addr)> {
        Ok((u32::from(u.int_in_range(2..=1 + LINKS)?), shapes::neighbour(u)?))
    }

    /// What announces this neighbour, or nearly, or anything.
    fn announcing(&self, u: &mut Unstructured<'_>, peer: Ipv6Addr) -> Result<Vec<u8>> {
        if u.ratio(1, 8)? {
            return self.bytes(u);
        }
        let other = |u: &mut Unstructured<'_>| if u.ratio(7, 8)? { Ok(peer) } else { shapes::neighbour(u) };
        let objective = WireObjective {
            name: "AN_ACP".to_owned(),
            flags: Flags(Flags::F_SYNCH),
            loop_count: u8::from(u.ratio(15, 16)?),
            value: Some(Value::from(*u.choose(&["GRASP-TLS", "GRASP-TLS", "GRASP-TLS", "GRASP-TCP"])?)),
        };
        let locator = WireLocator {
            locator: Locator::Ipv6(other(u)?),
            protocol: Some(*u.choose(&[Protocol::Tcp, Protocol::Tcp, Protocol::Udp])?),
            port: Some(u.int_in_range(0..=12)?),
        };
        let flood = Flood {
            session: 7,
            initiator: other(u)?.into(),
            ttl: *u.choose(&[210_000, 210_000, 0, 1, u32::MAX])?,
            objectives: vec![(objective, Some(locator))],
        };
        self.changed(u, wire::encode(&Message::new(Body::Flood(flood))))
    }

    fn bytes(&self, u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
        if u.ratio(1, 16)? {
            return Ok(u.arbitrary::<&[u8]>()?.to_vec());
        }
        let message = wire::encode(&shapes::message(u, &self.known)?);
        self.changed(u, message)
    }

    /// Mostly not.
    fn changed(&self, u: &mut Unstructured<'_>, mut bytes: Vec<u8>) -> Result<Vec<u8>> {
        if u.ratio(1, 16)? {
            let at = u.int_in_range(0..=bytes.len().saturating_sub(1))?;
            if let Some(byte) = bytes.get_mut(at) {
                *byte = u.arbitrary()?;
            }
        }
        Ok(bytes)
    }

    fn announcement(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let (ifi, address) = Self::peer(u)?;
        let bytes = self.announcing(u, address)?;
        let before = self.node.neighbours();
        if let Some(with) =
            self.node.receive_announcement(Endpoint { ifi, address, port: 7 }, &bytes, self.now)
        {
            assert_eq!((with.ifi, with.address), (ifi, address), "nobody else is tried");
            assert_ne!(with.port, 0);
        }
        assert_eq!(self.node.neighbours(), before, "who announces itself is no neighbour");
        Ok(())
    }

    fn greeting(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let peer = Self::peer(u)?;
        let bytes = self.announcing(u, peer.1)?;
        let name = *u.choose(&[None, Some("0@example"), Some("1@example"), Some("2@example")])?;
        let joined = self.node.receive_greeting(peer, name, u.arbitrary()?, &bytes, self.now);
        if let Some(id) = joined {
            assert_eq!((id.ifi, id.address), peer, "nobody is taken for another");
            assert!(wire::decode(&bytes, &Limits::default()).is_ok());
        }
        Ok(())
    }

    fn message(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let bytes = self.bytes(u)?;
        let last = self.node.connections().0.saturating_sub(1);
        let heard = self.node.receive_from_neighbour(u.int_in_range(0..=last)?, &bytes, self.now);
        if let Some((from, outputs)) = heard {
            self.check(Some((from, &bytes)), &outputs);
        }
        if let Ok(message) = wire::decode(&bytes, &Limits::default()) {
            if let Body::Discovery { session, initiator, .. } = message.body {
                self.known.push((session, initiator));
            }
            if self.known.len() > 12 {
                self.known.remove(0);
            }
        }
        Ok(())
    }

    fn check(&mut self, cause: Option<(Endpoint, &[u8])>, outputs: &[Output]) {
        for output in outputs {
            match output {
                Output::Multicast { ifi, .. } => {
                    assert!(cause.is_none_or(|(from, _)| from.ifi != *ifi), "nothing goes back to its link");
                }
                Output::Respond { to, message } => {
                    assert!(wire::decode(message, &Limits::default()).is_ok(), "a response is a message");
                    let is_answer = cause.is_some_and(|(_, bytes)| {
                        let asked = wire::decode(bytes, &Limits::default());
                        asked.is_ok_and(|asked| matches!(asked.body, Body::Discovery { .. }))
                    });
                    if is_answer {
                        assert_eq!(Some(*to), cause.map(|(from, _)| from), "the asker is answered");
                    }
                    self.responses.push(*to);
                }
                Output::Wake { .. } | Output::Found { .. } => {}
            }
        }
    }

    fn check_bounds(&self) {
        let (links, names) = (usize::from(LINKS), 4 + 6);
        let (up, retired) = self.node.connections();
        assert!(self.node.neighbours() <= PLACES * links);
        assert!(up <= OF_ONE * names * links && up - retired >= self.node.neighbours());
        assert!(self.node.openings() <= OPENINGS);
        let stats = self.node.stats();
        let now = u64::try_from(self.node.neighbours()).unwrap();
        assert_eq!(stats.neighbours_joined - stats.neighbours_left, now);
    }

    /// Everything comes to an end, and is accounted for.
    fn finish(mut self) {
        while self.node.connections().0 > 0 {
            self.node.end_neighbour(0);
        }
        while self.node.openings() > 0 {
            self.node.end_opening(false);
        }
        for to in std::mem::take(&mut self.responses) {
            self.node.response_sent(to);
        }
        self.now += 1_000_000;
        self.node.advance(self.now);
        self.node.purge(self.now);
        self.node.open_wanted(self.now);
        assert_eq!((self.node.openings(), self.node.neighbours()), (0, 0), "what was announced is forgotten");
        let wrong = discrepancies(&self.node.stats(), 0);
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
