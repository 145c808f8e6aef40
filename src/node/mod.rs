//! The one decider: what becomes of a datagram, an answer, a request, a message in a session, or a call. Events go in with
//! the time; effects come out, and what has become of the event is counted.
//!
//! No socket, no thread, no channel and no clock in here, and no lock but those of the registries and quotas. `threads` and
//! `api` feed it and carry out its effects; the simulator does the same on virtual time, and the fuzzers drive it directly.
//!
//! | event | method | effect |
//! |---|---|---|
//! | a datagram has come | [`Node::gate`], [`Node::take_datagram`], then [`Node::datagram`] | [`Effect`] |
//! | a connection was accepted | [`Node::connection`], [`Node::first_message`] | |
//! | an answer to a discovery | [`Node::answer`] | into the mailbox of the discovery |
//! | an answer to a relayed discovery | [`Relay::pass_on`] | a [`Response`] |
//! | a request | [`Node::request`] | [`Requested`] |
//! | an ASA asks | [`Node::search`], [`Search::next`] | [`Step`] |
//! | a message in a session | [`Await::message`] | [`NegotiationReply`], [`SynchReply`] |
//! | time | [`Node::purge`] | |

mod answer;
mod discovery;
mod flood;
mod gate;
mod locators;
mod outgoing;
mod quotas;
mod relay;
mod reply;
mod request;
mod response;
mod search;

pub(crate) use discovery::{all_locators, local_locators};
pub(crate) use gate::{Datagram, FirstMessage};
pub(crate) use locators::{Via, acceptable};
#[cfg(feature = "_simulator")]
pub(crate) use relay::Relay;
pub(crate) use relay::RelayTask;
pub(crate) use reply::{Await, NegotiationReply, SynchReply, negotiation_reply, synch_reply};
pub(crate) use request::{Place, Refusal, Requested};
pub(crate) use response::{Response, Ticket};
#[cfg(feature = "_simulator")]
pub(crate) use search::Search;
pub(crate) use search::{RapidAnswer, Step, Wanted, is_there};

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bounds::Neighbour;
use crate::config::Config;
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

/// How often an identifier is drawn before giving up; each draw fails with a chance of about one in a million.
const DRAWS: usize = 100;

/// Where a datagram came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Index of the interface it came in on.
    pub(crate) ifi: u32,
    pub(crate) source: Ipv6Addr,
    /// The source port, which is where a response goes (RFC 8990 §2.8.4).
    pub(crate) port: u16,
    /// Sent to the group; otherwise to this node alone.
    pub(crate) multicast: bool,
}

impl Arrival {
    /// Who has sent it here.
    pub(crate) const fn neighbour(&self) -> Neighbour {
        (self.ifi, self.source)
    }
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Send a message to an asker.
    Respond(Response),
    /// Open the negotiation that a discovery asks for, in rapid mode: hand it to whoever listens, with a
    /// connection to the asker; send the response if nobody does.
    Negotiate { session: u32, objective: Objective, otherwise: Response },
    /// Send a flood on to the other interfaces.
    RelayFlood { except: u32, session: u32, datagram: Vec<u8>, case: Case<FloodOutcome> },
    /// Open a relay: send a discovery on, and pass what is found to the asker until the time is over.
    RelayDiscovery(RelayTask),
}

/// One GRASP node: everything that decisions depend on and change.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) registries: Registries,
    pub(crate) counters: Arc<Counters>,
    pub(crate) sizes: Sizes,
    quotas: Quotas,
    /// Whether messages are protected: then a recording of one must not make this node do anything twice.
    protected: bool,
    secure: AtomicBool,
    test_divert: AtomicBool,
    diagnoses: Seldom,
}

impl Node {
    pub(crate) fn new(config: Config, protected: bool) -> Arc<Self> {
        let counters = Arc::<Counters>::default();
        Arc::new(Self {
            registries: Registries::new(&config, &counters),
            counters,
            sizes: Sizes::new(&config),
            quotas: Quotas::new(&config),
            protected,
            secure: AtomicBool::new(false),
            test_divert: AtomicBool::new(false),
            diagnoses: Seldom::default(),
            config,
        })
    }

    /// The counters at this moment.
    #[cfg(any(test, feature = "_simulator"))]
    pub(crate) fn stats(&self) -> Stats {
        self.counters.snapshot()
    }

    /// Where is told what happens.
    pub(crate) fn tracer(&self) -> &Tracer {
        self.counters.tracer()
    }

    pub(crate) fn addresses(&self) -> Arc<Addresses> {
        self.registries.links.get()
    }

    /// Whether the substrate is secure, as last told. Never in a DULL instance (RFC 8990 §2.5.2).
    pub(crate) fn is_secure(&self) -> bool {
        self.secure.load(Ordering::Relaxed)
    }

    /// The substrate is up or down. Returns whether that is news.
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

    /// What a unicast message may be.
    pub(crate) fn unicast_limits(&self) -> Limits {
        Limits { size: self.sizes.unicast(), depth: self.config.nesting }
    }

    /// What a multicast message may be.
    fn multicast_limits(&self) -> Limits {
        Limits { size: self.sizes.multicast(), depth: self.config.nesting }
    }

    /// An identifier that is neither in use nor recently was (RFC 8990 §2.7).
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

    /// When something that was learnt now for `ttl` milliseconds expires: after `learned_ttl_limit` at the latest. 0 is for
    /// ever.
    fn expiry(&self, ttl: u32, now: u64) -> u64 {
        let limit = self.config.learned_ttl_limit;
        let ttl = if ttl == 0 { limit } else { ttl.min(limit) };
        now.saturating_add(ttl.into())
    }

    /// Decides about a datagram that has waited its turn.
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
                // RFC 8990 §2.5.2: a DULL instance takes nothing that has come, or could go, further than the link.
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

    /// What began here is known by session and initiator, also if it comes back by way of a relay. What was only
    /// relayed from here comes from our own socket.
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

    /// Whether this node relays: it has somewhere else to relay to, and is no DULL instance (RFC 8990 §2.5.2,
    /// §2.5.4.4).
    fn may_relay(&self, origin: Origin) -> bool {
        origin == Origin::Other && !self.config.dull && self.addresses().links.len() > 1
    }

    /// Clears away what has expired, and what was learnt on interfaces that are gone.
    pub(crate) fn purge(&self, now: u64) {
        self.registries.floods.purge(now);
        let addresses = self.addresses();
        self.registries.discovery.purge(now, |ifi| addresses.links.iter().any(|link| link.ifi == ifi));
    }

    /// Tells that a multicast is sent on.
    fn tell_relayed(&self, session: u32, except: u32) {
        self.tracer().emit(|| Event::Relayed { session, except });
    }
}

/// A multicast that is to be handled.
struct Heard<'a> {
    arrival: Arrival,
    id: SessionId,
    origin: Origin,
    /// The datagram as it came, which is what a relay sends on.
    raw: &'a [u8],
    now: u64,
}

/// Whose multicast this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Another node's.
    Other,
    /// This node's own, and the configuration wants it handled, though never relayed.
    Own,
    /// This node's own.
    Ignore,
}

#[cfg(test)]
mod tests;
