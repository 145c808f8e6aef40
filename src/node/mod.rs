//! Decides what happens with a datagram, an answer, a request, a session message, or a call. Events and the current
//! time go in; effects come out, and the outcome of each event is counted.
//!
//! This module uses no socket, no thread, no channel and no clock, and no lock except those of the registries and
//! quotas. `threads` and `api` feed it and carry out its effects; the simulator does the same on virtual time, and the
//! fuzzers drive it directly.
//!
//! | event | method | effect |
//! |---|---|---|
//! | a datagram has come | [`Node::gate`], [`Node::take_datagram`], then [`Node::datagram`] | [`Effect`] |
//! | a connection was accepted | [`Node::connection`], [`Node::first_message`] | |
//! | a message of a neighbour's connection | [`Node::take_from_neighbour`], then [`Node::datagram`] | [`Effect`] |
//! | an answer to a discovery | [`Node::answer`] | into the mailbox of the discovery |
//! | an answer to a relayed discovery | [`Relay::pass_on`] | a [`Response`] |
//! | the wait of a merged discovery is over | [`Relay::go_on`] | [`Links`] |
//! | a request | [`Node::request`] | [`Requested`] |
//! | an ASA asks | [`Node::search`], [`Search::next`] | [`Step`] |
//! | a message in a session | [`Await::message`] | [`NegotiationReply`], [`SynchReply`] |
//! | time | [`Node::purge`] | |

mod adjacency;
mod answer;
mod discovery;
mod flood;
mod gate;
mod locators;
mod merging;
mod outgoing;
mod quotas;
mod relay;
mod reply;
mod request;
mod response;
mod search;

pub(crate) use adjacency::{Carried, Membership, Opening};
pub(crate) use discovery::{all_locators, local_locators};
pub(crate) use gate::{Datagram, FirstMessage};
pub(crate) use locators::{Via, acceptable};
pub(crate) use merging::Links;
pub(crate) use relay::{Relay, RelayTask};
pub(crate) use reply::{Await, NegotiationReply, SynchReply, negotiation_reply, synch_reply};
pub(crate) use request::{Place, Refusal, Requested};
pub(crate) use response::{Response, Ticket};
#[cfg(feature = "_simulator")]
pub(crate) use search::Search;
pub(crate) use search::{RapidAnswer, Step, Wanted, is_there};

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use crate::bounds::Neighbour;
use crate::config::{Config, Relay as Relaying};
use crate::configger::Sizes;
use crate::error::{Error, Result};
use crate::outcome::{Case, DiscoveryOutcome, FloodOutcome, MessageOutcome};
use crate::registry::{Addresses, Registries};
use crate::seldom::Seldom;
use crate::stats::Counters;
#[cfg(any(test, feature = "_simulator"))]
use crate::stats::Stats;
use crate::trace::{Event, Tracer};
use crate::types::{AsaNonce, Objective, SessionId};
use crate::wire::{Body, Limits};
use quotas::Quotas;

/// How many times an identifier is drawn before giving up; each draw fails with a probability of about one in a
/// million.
const DRAWS: usize = 100;

/// Where a datagram came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Index of the interface it came in on.
    pub(crate) ifi: u32,
    pub(crate) source: Ipv6Addr,
    /// The source port, to which a response goes (RFC 8990 §2.8.4).
    pub(crate) port: u16,
    /// Whether it was sent to the group, and not only to this node.
    pub(crate) multicast: bool,
}

impl Arrival {
    /// The neighbour that sent it.
    pub(crate) const fn neighbour(&self) -> Neighbour {
        (self.ifi, self.source)
    }
}

/// An action that the caller must carry out.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Send a message to an asker.
    Respond(Response),
    /// Open the negotiation that a discovery asks for in rapid mode: hand it to a listener, with a connection to the
    /// asker; send the response if there is no listener.
    Negotiate { session: u32, objective: Objective, otherwise: Response },
    /// Send a flood on to the other interfaces.
    RelayFlood { except: u32, session: u32, datagram: Vec<u8>, case: Case<FloodOutcome> },
    /// Open a relay: send a discovery on, and pass the answers to the asker until the time is over.
    RelayDiscovery(RelayTask),
}

/// One GRASP node: everything that decisions depend on or change.
#[derive(Debug)]
pub(crate) struct Node {
    /// Shared, because thousands of simulated nodes have the same.
    pub(crate) config: Arc<Config>,
    pub(crate) registries: Registries,
    pub(crate) counters: Arc<Counters>,
    pub(crate) sizes: Sizes,
    quotas: Quotas,
    /// Whether messages are protected. If so, a replayed message must not make this node act twice.
    protected: bool,
    secure: AtomicBool,
    /// A [`Carried`].
    carried: AtomicU8,
    /// Whether it relays for its host, where one engine of several does.
    relays_for_host: AtomicBool,
    test_divert: AtomicBool,
    diagnoses: Seldom,
    /// Neighbours that come and go.
    neighbourhood: Seldom,
}

impl Node {
    pub(crate) fn new(config: impl Into<Arc<Config>>, protected: bool) -> Arc<Self> {
        let config = config.into();
        let counters = Arc::<Counters>::default();
        Arc::new(Self {
            registries: Registries::new(&config, &counters),
            counters,
            sizes: Sizes::new(&config),
            quotas: Quotas::new(&config),
            protected,
            secure: AtomicBool::new(false),
            carried: AtomicU8::new(0),
            relays_for_host: AtomicBool::new(true),
            test_divert: AtomicBool::new(false),
            diagnoses: Seldom::default(),
            neighbourhood: Seldom::default(),
            config,
        })
    }

    /// The counters at this moment.
    #[cfg(any(test, feature = "_simulator"))]
    pub(crate) fn stats(&self) -> Stats {
        self.counters.snapshot()
    }

    /// The tracer that reports what happens.
    pub(crate) fn tracer(&self) -> &Tracer {
        self.counters.tracer()
    }

    pub(crate) fn addresses(&self) -> Arc<Addresses> {
        self.registries.links.get()
    }

    /// Whether the substrate is secure, as last reported. Never in a DULL instance (RFC 8990 §2.5.2).
    pub(crate) fn is_secure(&self) -> bool {
        self.secure.load(Ordering::Relaxed)
    }

    /// Records whether the substrate is up. Returns whether that is a change.
    pub(crate) fn set_secure(&self, up: bool) -> bool {
        let secure = up && !self.config.dull;
        self.secure.swap(secure, Ordering::Relaxed) != secure
    }

    /// Whether messages are handled at all: without security, only those a DULL instance may handle (RFC 8990 §2.5.1,
    /// §2.5.2).
    fn may_handle(&self) -> bool {
        self.is_secure() || self.config.dull
    }

    /// graspy's `_test_divert`: answer every discovery from the cache, as if nothing were registered.
    pub(crate) fn set_test_divert(&self, on: bool) {
        self.test_divert.store(on, Ordering::Relaxed);
    }

    pub(crate) fn test_divert(&self) -> bool {
        self.test_divert.load(Ordering::Relaxed)
    }

    /// The size and nesting limits of a unicast message.
    pub(crate) fn unicast_limits(&self) -> Limits {
        Limits { size: self.sizes.unicast(), depth: self.config.nesting }
    }

    /// The size and nesting limits of a multicast message.
    fn multicast_limits(&self) -> Limits {
        Limits { size: self.sizes.multicast(), depth: self.config.nesting }
    }

    /// Draws an identifier that is neither in use nor was used recently (RFC 8990 §2.7).
    pub(crate) fn new_id(&self) -> Result<u32> {
        let identifiers = &self.registries.identifiers;
        for _ in 0..DRAWS {
            let id = identifiers.draw()?;
            if self.is_free(AsaNonce(id)) {
                return Ok(id);
            }
        }
        Err(Error::NoRandom)
    }

    /// Whether a number is neither that of an ASA nor that of a session. 0 is nobody's.
    pub(crate) fn is_free(&self, nonce: AsaNonce) -> bool {
        let AsaNonce(id) = nonce;
        id != 0 && !self.registries.sessions.is_in_use(id) && !self.registries.asas.is_registered(nonce)
    }

    /// Returns when information learned now with a lifetime of `ttl` milliseconds expires: after `learned_ttl_limit` at
    /// the latest. A `ttl` of 0 means for ever.
    fn expiry(&self, ttl: u32, now: u64) -> u64 {
        let limit = self.config.learned_ttl_limit;
        let ttl = if ttl == 0 { limit } else { ttl.min(limit) };
        now.saturating_add(ttl.into())
    }

    /// Handles a datagram that has waited in the queue.
    pub(crate) fn datagram(self: &Arc<Self>, datagram: Datagram, now: u64) -> Option<Effect> {
        let Datagram { arrival, message, raw, case, .. } = datagram;
        match message.body {
            Body::Discovery { session, initiator, objective } => {
                let id = SessionId { session, initiator };
                let origin = self.origin(&arrival, id);
                if origin == Origin::Ignore {
                    case.settle(MessageOutcome::Own);
                    return None;
                }
                // RFC 8990 §2.5.2: a DULL instance ignores messages that have come, or could go, beyond the link.
                let beyond_link = self.config.dull && objective.loop_count != 1;
                if beyond_link || !self.config.permits(&objective.name) {
                    case.settle(MessageOutcome::Dull);
                    return None;
                }
                let case: Case<DiscoveryOutcome> = case.becomes(MessageOutcome::Discovery);
                self.discovery(&Heard { arrival, id, origin, raw: &raw, now }, &objective, case)
            }
            Body::Flood(flood) => {
                let id = SessionId { session: flood.session, initiator: flood.initiator };
                match self.origin(&arrival, id) {
                    Origin::Ignore => {
                        case.settle(MessageOutcome::Own);
                        None
                    }
                    origin => self.flood(&Heard { arrival, id, origin, raw: &raw, now }, &flood, case),
                }
            }
            _ => {
                case.settle(MessageOutcome::Misplaced);
                None
            }
        }
    }

    /// A message that started at this node is recognized by its session and initiator, even if it comes back through a
    /// relay. A message that this node only relayed comes from its own socket.
    fn origin(&self, arrival: &Arrival, id: SessionId) -> Origin {
        let own = self.registries.identifiers.is_own(id.session, id.initiator);
        if !own && !self.addresses().are_source_of(arrival.ifi, arrival.source, arrival.port) {
            Origin::Other
        } else if own && self.config.listen_self {
            Origin::Own
        } else {
            Origin::Ignore
        }
    }

    /// Whether this node, or another engine of its host in its place, relays: it has another link to relay to, and is not a
    /// DULL instance (RFC 8990 §2.5.2, §2.5.4.4).
    fn may_relay(&self, origin: Origin) -> bool {
        origin == Origin::Other && self.can_relay() && self.addresses().links.len() > 1
    }

    /// Whether the configuration lets it relay.
    pub(crate) fn can_relay(&self) -> bool {
        !self.config.dull && self.config.relay != Relaying::Never
    }

    /// Another engine of the host relays in this one's place, or does no longer.
    pub(crate) fn set_relays_for_host(&self, on: bool) {
        self.relays_for_host.store(on, Ordering::Relaxed);
    }

    /// Whether it relays itself what is to be relayed. Otherwise it remembers that as if it did: its turn may come.
    fn relays_itself(&self) -> bool {
        self.config.relay == Relaying::Always || self.relays_for_host.load(Ordering::Relaxed)
    }

    /// Whether it relays to other links what comes from one.
    pub(crate) fn is_relay(&self) -> bool {
        self.may_relay(Origin::Other) && self.relays_itself()
    }

    /// Removes expired entries, and entries learned on interfaces that no longer exist.
    pub(crate) fn purge(&self, now: u64) {
        self.registries.floods.purge(now);
        self.registries.adjacencies.purge(now);
        let addresses = self.addresses();
        self.registries.discovery.purge(now, |ifi| addresses.links.iter().any(|link| link.ifi == ifi));
    }

    /// Traces that a multicast is relayed.
    fn tell_relayed(&self, session: u32, except: u32) {
        self.tracer().emit(|| Event::Relayed { session, except });
    }
}

/// A multicast to be handled.
struct Heard<'a> {
    arrival: Arrival,
    id: SessionId,
    origin: Origin,
    /// The received datagram, which a relay sends on.
    raw: &'a [u8],
    now: u64,
}

/// The origin of a multicast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Another node's.
    Other,
    /// This node's own. The configuration wants it handled, though never relayed.
    Own,
    /// This node's own.
    Ignore,
}

#[cfg(test)]
mod tests;
