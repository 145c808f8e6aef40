//! Neighbours of a simulated node, for fuzzing: what `_mclisten`, `_watcher`, `_neigh_listen` and `_neighbour` pass to the node, on
//! connections without a peer.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Endpoint, Output, SimulatedNode};
use crate::node::{Arrival, Carried, Membership, Opening};
use crate::registry::{Adjacent, NeighbourId, OpenedBy, Transport};

/// The connections of a simulated node that carry multicasts, and its attempts to get more.
#[derive(Debug, Default)]
pub(super) struct Adjacencies {
    openings: Vec<Opening>,
    up: Vec<Up>,
}

/// The state of a `_neighbour` thread.
#[derive(Debug)]
struct Up {
    membership: Membership,
    end: Arc<End>,
    _transport: Arc<dyn Transport>,
}

/// A neighbour that takes everything.
#[derive(Debug)]
struct End {
    name: Option<String>,
    retired: AtomicBool,
}

impl Adjacent for End {
    fn offer(&self, _: &[u8]) -> bool {
        true
    }

    fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    fn close(&self) {}

    fn certified_name(&self) -> Option<String> {
        self.name.clone()
    }

    fn is_member(&self, _: bool) -> bool {
        true
    }
}

const fn endpoint(id: NeighbourId) -> Endpoint {
    Endpoint { ifi: id.ifi, address: id.address, port: id.port }
}

impl SimulatedNode {
    /// Has connections carry the multicasts from now on.
    pub fn carry_by_connections(&self) {
        self.node.set_carried(Carried::OverTls);
    }

    /// Receives a datagram where it announces neighbours. Returns with whom the node connects, which
    /// [`SimulatedNode::end_opening`] is to end.
    pub fn receive_announcement(&mut self, from: Endpoint, bytes: &[u8], now: u64) -> Option<Endpoint> {
        let arrival = Arrival { ifi: from.ifi, source: from.address, port: from.port, multicast: true };
        let case = self.node.gate(&arrival, bytes.len())?;
        let opening = self.node.take_announcement(case, arrival, bytes, now)?;
        let with = endpoint(opening.id);
        self.adjacencies.openings.push(opening);
        Some(with)
    }

    /// Begins to connect with those that are wanted now.
    pub fn open_wanted(&mut self, now: u64) {
        for id in self.node.wanted_neighbours(now) {
            self.adjacencies.openings.extend(self.node.opening(id, now));
        }
    }

    /// How many neighbours the node is about to connect with.
    #[must_use]
    pub fn openings(&self) -> usize {
        self.adjacencies.openings.len()
    }

    /// Ends the oldest attempt to connect. After a success the neighbour's first message comes.
    pub fn end_opening(&mut self, succeeded: bool) {
        if !self.adjacencies.openings.is_empty() {
            let opening = self.adjacencies.openings.remove(0);
            if succeeded {
                opening.succeeded();
            }
        }
    }

    /// Receives the first message of a connection that this node has opened or not, with a neighbour of this certified name. Returns who
    /// is a neighbour now.
    pub fn receive_greeting(
        &mut self,
        (ifi, peer): (u32, Ipv6Addr),
        name: Option<&str>,
        opened_here: bool,
        bytes: &[u8],
        now: u64,
    ) -> Option<Endpoint> {
        let (message, case, transport) = self.first_message(ifi, peer, bytes)?;
        let id = self.node.greeted(ifi, peer, &message, case)?;
        self.node.authenticated(id.neighbour(), true);
        let place = self.node.neighbour_place(id, name.map(str::to_owned))?;
        let end = Arc::new(End { name: name.map(str::to_owned), retired: AtomicBool::new(false) });
        let by = if opened_here { OpenedBy::Here } else { OpenedBy::There };
        let membership = self.node.join(id, by, Arc::clone(&end) as Arc<_>, place, now);
        if membership.is_superfluous() {
            end.retire();
        }
        self.adjacencies.up.push(Up { membership, end, _transport: transport });
        Some(endpoint(id))
    }

    /// Ends a connection.
    pub fn end_neighbour(&mut self, index: usize) {
        if index < self.adjacencies.up.len() {
            self.adjacencies.up.remove(index);
        }
    }

    /// Receives a message over one of the connections, from this neighbour.
    pub fn receive_from_neighbour(
        &mut self,
        index: usize,
        bytes: &[u8],
        now: u64,
    ) -> Option<(Endpoint, Vec<Output>)> {
        let id = self.adjacencies.up.get(index)?.membership.id;
        let arrival = Arrival { ifi: id.ifi, source: id.address, port: id.port, multicast: true };
        let datagram = self.node.take_from_neighbour(arrival, bytes, now);
        let mut outputs = datagram.map(|datagram| self.handle(*datagram, now)).unwrap_or_default();
        outputs.extend(self.pass_on(now));
        outputs.extend(self.take_answers(now));
        Some((endpoint(id), outputs))
    }

    /// The connections that are up, and those of them that are to say nothing more.
    #[must_use]
    pub fn connections(&self) -> (usize, usize) {
        let retired = self.adjacencies.up.iter().filter(|one| one.end.retired.load(Ordering::Relaxed));
        (self.adjacencies.up.len(), retired.count())
    }

    /// How many neighbours there are.
    #[must_use]
    pub fn neighbours(&self) -> usize {
        self.node.registries.adjacencies.len()
    }
}
