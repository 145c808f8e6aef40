//! One node on virtual time, with whatever can come to it: datagrams, answers, requests, replies in sessions, calls of
//! its ASA, time.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use arbitrary::{Result, Unstructured};
use grasp::simulation::{Endpoint, Output, SimulatedNode};
use grasp::wire::{self, Body, Limits, Message, WireObjective};
use grasp::{Acp, Config, Error, Objective, Rate};

use super::shapes::{self, NAMES};
use crate::accounts::discrepancies;

const DISCOVERED: usize = 4;
const LOCATORS: usize = 3;
const FLOODED: usize = 5;
const SESSIONS: usize = 6;
const RELAYS: usize = 3;
const RESPONDERS: usize = 4;
const PER_ASKER: usize = 2;
const MEMORY: usize = 8;
/// An objective up to this size, in bytes, fits into a message of multicast.
const LARGE: usize = 1100;
/// How long it is certain that nothing is relayed twice, in milliseconds (RFC 8990 §2.5.4.4).
const WINDOW: u64 = 120_000;

/// The first byte chooses the configuration, the others are what happens, step by step.
///
/// After each step every cache and memory is within its bound. A relayed message goes out on the other links only,
/// once, with one loop count less and otherwise byte for byte as it came. A response goes to the asker that it is for.
/// An answer is accepted if its discovery has begun here or is relayed, and never otherwise. In the end everything
/// that has come is accounted for.
pub fn handlers(input: &[u8]) {
    let Some((&choice, steps)) = input.split_first() else { return };
    super::play(Scene::new(choice), steps, Scene::step, Scene::check_bounds, Scene::finish);
}

struct Scene {
    node: SimulatedNode,
    config: Config,
    dull: bool,
    now: u64,
    links: Vec<Endpoint>,
    /// Identifiers that were in a message to or from the node.
    known: Vec<(u32, IpAddr)>,
    /// Discoveries that have begun here or were relayed.
    asked: Vec<(u32, IpAddr)>,
    relayed: HashMap<(u32, IpAddr), u64>,
    responses: Vec<Endpoint>,
}

impl Scene {
    fn new(choice: u8) -> Self {
        let dull = choice & 1 != 0;
        let mut config = Config::new()
            .dull(dull)
            .listen_self(choice & 2 != 0)
            .rapid_negotiation(choice & 4 != 0)
            .rapid_synch_message(choice & 8 != 0)
            .discovery_cache_limit(DISCOVERED)
            .locators_limit(LOCATORS)
            .flood_cache_limit(FLOODED)
            .session_limit(SESSIONS)
            .relay_limit(RELAYS)
            .merge_window(if choice & 0x10 != 0 { 50 } else { 0 })
            .expanding_discovery(choice & 0x20 != 0)
            .relay_answers(if choice & 0x40 != 0 { 1 } else { 32 })
            .responder_limit(RESPONDERS)
            .responders_per_asker(PER_ASKER)
            .relay_memory(MEMORY)
            .response_queue(2)
            .request_queue(1)
            .acp(if choice & 0x30 == 0x30 { Acp::None } else { Acp::Layer2 });
        if choice & 0x40 != 0 {
            config = config.discovery_relay_rate(Rate::new(1, 2)).neighbour_flood_relay_rate(Rate::new(1, 2));
        }
        if choice & 0x80 != 0 {
            config = config.dull_objectives(Some(vec![NAMES[0].to_owned()]));
        }
        let link = |ifi: u16| Endpoint {
            ifi: ifi.into(),
            address: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, ifi),
            port: 40_000 + ifi,
        };
        let links: Vec<_> = (2..=4).map(link).collect();
        let global = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, 1);
        let node = SimulatedNode::new(config.clone(), &links, global);
        Self {
            node,
            config,
            dull,
            now: 1000,
            links,
            known: Vec::new(),
            asked: Vec::new(),
            relayed: HashMap::new(),
            responses: Vec::new(),
        }
    }

    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        match u.int_in_range(0..=19)? {
            0..=6 => self.datagram(u)?,
            7..=9 => self.answer(u)?,
            10 | 11 => {
                let (peer, bytes) = (shapes::neighbour(u)?, self.bytes(u)?);
                self.node.receive_request(peer, &bytes, self.now);
            }
            12 => {
                let bytes = self.bytes(u)?;
                let sessions = self.node.sessions().len();
                let went_on = self.node.receive_reply(u.int_in_range(0..=3)?, &bytes);
                let ended = usize::from(went_on == Some(false));
                assert_eq!(self.node.sessions().len(), sessions - ended);
            }
            13 => {
                let objective = shapes::objective(u)?.to_objective();
                if let Ok(id) = self.node.open_session(shapes::neighbour(u)?, &objective, u.arbitrary()?) {
                    self.know((id, Ipv6Addr::LOCALHOST.into()));
                }
            }
            14 => self.node.end_session(u.int_in_range(0..=3)?),
            15 => self.registration(u)?,
            16 => {
                let objective = shapes::objective(u)?.to_objective();
                let outputs = if u.arbitrary()? {
                    self.node.discover(&objective, Some(u.int_in_range(0..=5000)?), self.now)
                } else {
                    self.node.flood(&objective, *u.choose(&[0, 1000])?, self.now)
                };
                match outputs {
                    Ok(outputs) => self.own(&outputs),
                    Err(Error::NoSecurity) => assert!(matches!(self.config.role().acp(), Acp::None)),
                    Err(error) => assert!(LARGE < encoded_length(&objective), "{error:?}"),
                }
            }
            17 => {
                if let Some(to) = self.responses.pop() {
                    self.node.response_sent(to);
                }
            }
            18 => self.node.purge(self.now),
            _ => {
                self.now += *u.choose(&[1, 50, 100, 600, 5000, WINDOW + 1])?;
                let outputs = self.node.advance(self.now);
                self.own(&outputs);
            }
        }
        Ok(())
    }

    /// A message, or mostly one, or any bytes.
    fn bytes(&self, u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
        if u.ratio(1, 16)? {
            return Ok(u.arbitrary::<&[u8]>()?.to_vec());
        }
        let mut bytes = wire::encode(&shapes::message(u, &self.known)?);
        if u.ratio(1, 16)? {
            let at = u.int_in_range(0..=bytes.len().saturating_sub(1))?;
            if let Some(byte) = bytes.get_mut(at) {
                *byte = u.arbitrary()?;
            }
        }
        Ok(bytes)
    }

    fn decoded(&self, bytes: &[u8]) -> Option<Message> {
        wire::decode(bytes, &Limits::default()).ok()
    }

    fn know(&mut self, id: (u32, IpAddr)) {
        if !self.known.contains(&id) {
            self.known.push(id);
        }
        if self.known.len() > 12 {
            self.known.remove(0);
        }
    }

    /// What the node has sent of its own.
    fn own(&mut self, outputs: &[Output]) {
        for output in outputs {
            let Output::Multicast { datagram, .. } = output else { continue };
            let message = self.decoded(datagram).expect("what is sent is a message");
            let id = identity(&message).expect("a discovery or a flood");
            self.know(id);
            if matches!(message.body, Body::Discovery { .. }) && !self.asked.contains(&id) {
                self.asked.push(id);
            }
        }
    }

    fn datagram(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let ifi = u32::from(u.int_in_range(2..=4_u8)?);
        let from = match u.int_in_range(0..=15)? {
            0 => *u.choose(&self.links)?,
            1 => Endpoint { ifi, address: Ipv6Addr::from(u.arbitrary::<u128>()?), port: 1 },
            _ => Endpoint { ifi, address: shapes::neighbour(u)?, port: 50_000 },
        };
        let bytes = self.bytes(u)?;
        let merged = self.node.stats().not_relayed_merged;
        let outputs = if u.ratio(1, 8)? {
            self.node.receive_unicast(from, &bytes, self.now)
        } else {
            self.node.receive_datagram(from, &bytes, self.now)
        };
        let message = self.decoded(&bytes);
        if self.node.stats().not_relayed_merged > merged {
            // It is open, although it may have to be sent nowhere yet.
            self.asked.extend(message.as_ref().and_then(identity));
        }
        let relayed: Vec<_> = outputs
            .iter()
            .filter_map(|output| match output {
                Output::Multicast { ifi, datagram } => Some((*ifi, datagram)),
                _ => None,
            })
            .collect();
        if !relayed.is_empty() {
            self.check_relayed(from, message.as_ref().expect("only messages are relayed"), &bytes, &relayed);
        }
        for output in &outputs {
            if let Output::Respond { to, message: response } = output {
                assert_eq!(*to, from, "the asker is answered");
                let response = self.decoded(response).expect("a response is a message");
                let asked = identity(message.as_ref().expect("only messages are answered"));
                assert_eq!(response.session(), asked.map(|(session, _)| session));
                if let Body::Response(response) = &response.body {
                    assert_eq!(Some(response.initiator), asked.map(|(_, initiator)| initiator));
                }
                self.responses.push(*to);
            }
        }
        if let Some(id) = message.as_ref().and_then(identity) {
            self.know(id);
        }
        Ok(())
    }

    fn check_relayed(
        &mut self,
        from: Endpoint,
        message: &Message,
        bytes: &[u8],
        relayed: &[(u32, &std::sync::Arc<[u8]>)],
    ) {
        assert!(!self.dull, "a DULL instance relays nothing");
        let (id, loop_count) = match &message.body {
            Body::Discovery { session, initiator, objective } => {
                self.asked.push((*session, *initiator));
                ((*session, *initiator), objective.loop_count)
            }
            Body::Flood(flood) => {
                let first = flood.objectives.first().expect("a flood has an objective");
                ((flood.session, flood.initiator), first.0.loop_count)
            }
            other => panic!("relayed: {other:?}"),
        };
        let expected = wire::with_loop_count(bytes, loop_count.checked_sub(1).expect("more than 0"));
        let mut links: Vec<_> = relayed.iter().map(|(ifi, _)| *ifi).collect();
        links.sort_unstable();
        links.dedup();
        assert_eq!(links.len(), relayed.len(), "once a link");
        // One that is merged is sent where the first one was not, which is one link.
        let window = self.config.get("merge_window").and_then(|window| window.as_i64()).expect("a number");
        let may_be_merged = window > 0 && matches!(message.body, Body::Discovery { .. });
        let all = links.len() == self.links.len() - 1 || (may_be_merged && links.len() == 1);
        assert!(!links.contains(&from.ifi) && all, "to all other links");
        for (_, datagram) in relayed {
            assert_eq!(Some(&datagram[..]), expected.as_deref(), "nothing but the loop count changes");
        }
        assert!(loop_count > 1);
        let before = self.relayed.insert(id, self.now);
        if self.node.stats().relay_memory_evicted == 0 {
            assert!(before.is_none_or(|then| self.now >= then + WINDOW), "{id:?} is relayed twice");
        }
    }

    fn answer(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let (ifi, bytes) = (u32::from(u.int_in_range(2..=4_u8)?), self.bytes(u)?);
        let peer =
            if u.ratio(7, 8)? { shapes::neighbour(u)? } else { Ipv6Addr::from(u.arbitrary::<u128>()?) };
        let before = self.node.stats();
        let outputs = self.node.receive_response(ifi, peer, &bytes, self.now);
        let after = self.node.stats();
        if after.responses_received > before.responses_received {
            let message = self.decoded(&bytes).expect("only messages are accepted");
            let id = identity(&message).expect("a response");
            assert!(self.asked.contains(&id), "{id:?} has asked nothing");
        } else {
            // A search of this node may have a time to look again meanwhile.
            let waits = |output: &Output| matches!(output, Output::Wake { .. });
            assert!(outputs.iter().all(waits), "what is not accepted is not passed on: {outputs:?}");
        }
        for output in &outputs {
            if let Output::Respond { to, message } = output {
                assert_ne!(to.ifi, ifi, "nothing goes back to where it came from");
                assert!(self.decoded(message).is_some(), "a response is a message");
                self.responses.push(*to);
            }
        }
        Ok(())
    }

    fn registration(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let name = *u.choose(&NAMES)?;
        match u.int_in_range(0..=3)? {
            0 => {
                let mut objective = Objective::new(name);
                let neg: bool = u.arbitrary()?;
                (objective.neg, objective.synch) = (neg, !neg);
                let locators = if u.ratio(1, 3)? { vec![shapes::locator(u)?] } else { Vec::new() };
                let how = (u.arbitrary()?, u.arbitrary()?);
                // It may be registered already.
                let _ = self.node.register_objective(&objective, how, locators);
            }
            1 => self.node.deregister(name),
            2 => self.node.listen(name, u.ratio(3, 4)?),
            _ => self.node.serve(&Objective { synch: true, value: 7.into(), ..Objective::new(name) }),
        }
        Ok(())
    }

    fn check_bounds(&self) {
        let (discovered, locators, flooded) = self.node.cached();
        assert!(discovered <= DISCOVERED && locators <= LOCATORS && flooded <= FLOODED);
        assert!(self.node.remembered() <= MEMORY);
        assert!(self.node.relays().0 <= RELAYS);
        assert!(self.node.sessions().len() <= SESSIONS);
        assert!(self.node.responses_on_their_way() <= RESPONDERS);
        assert_eq!(self.node.responses_on_their_way(), self.responses.len());
        let on_their_way = |asker: &&Endpoint| {
            self.responses.iter().filter(|to| (to.ifi, to.address) == (asker.ifi, asker.address)).count()
        };
        assert!(self.responses.iter().all(|asker| on_their_way(&asker) <= PER_ASKER));
    }

    /// Everything comes to an end, and is accounted for.
    fn finish(mut self) {
        for to in std::mem::take(&mut self.responses) {
            self.node.response_sent(to);
        }
        // A discovery asks again while it has time, which is less than one more step.
        for _ in 0..3 {
            self.now += 100_000;
            self.node.advance(self.now);
        }
        assert_eq!(self.node.relays().0, 0);
        assert_eq!(self.node.open_sessions(), self.node.sessions().len(), "discoveries end");
        while !self.node.sessions().is_empty() {
            self.node.end_session(0);
        }
        assert_eq!(self.node.open_sessions(), 0);
        let wrong = discrepancies(&self.node.stats(), 0);
        assert!(wrong.is_empty(), "{wrong:#?} {:?}", self.config);
    }
}

/// The length of a discovery of an objective.
fn encoded_length(objective: &Objective) -> usize {
    let objective = WireObjective::from_objective(objective);
    wire::encode(&Message::new(Body::Discovery {
        session: 0,
        initiator: Ipv6Addr::LOCALHOST.into(),
        objective,
    }))
    .len()
}

/// The session and initiator of what is multicast, and of a response.
fn identity(message: &Message) -> Option<(u32, IpAddr)> {
    match &message.body {
        Body::Discovery { session, initiator, .. } => Some((*session, *initiator)),
        Body::Response(response) => Some((response.session, response.initiator)),
        Body::Flood(flood) => Some((flood.session, flood.initiator)),
        _ => None,
    }
}
