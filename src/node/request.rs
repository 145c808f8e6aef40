//! Decides what a peer that connects to an objective's port may ask, and who handles the request (RFC 8990 §2.8.6).

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use super::{Arrival, Effect, Heard, Node, Origin, Response};
use crate::bounds::Neighbour;
use crate::error::{Error, Result};
use crate::outcome::{Case, DiscoveryOutcome, MessageOutcome, RequestOutcome};
use crate::registry::{Dispatch, Exchange, NegotiationRequest, QueueLimits, SynchRequest, Transport};
use crate::types::{AsaNonce, Objective, SessionId, SessionNonce};
use crate::wire::{Body, Flags, Message, Outcome, Step, WireObjective};

/// A request and who is to handle it.
#[derive(Debug)]
pub(crate) enum Requested {
    /// For a listener: hand it over with the slot.
    Negotiate(Place, NegotiationRequest),
    /// For the value of this objective, which the caller sends at once or leaves to the `_synch_listen` thread at the other end.
    Synchronize(String, Sender<SynchRequest>, SynchRequest),
    /// A discovery: send the response on the same connection.
    Respond(Response, Arc<dyn Transport>),
    /// For nobody; the peer must be told.
    Refuse(Refusal),
}

/// A request that nobody takes. It has been counted, and its connection must be closed.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) transport: Arc<dyn Transport>,
    /// What to send to the peer first if a limit is the reason, so that the peer does not conclude that there is no
    /// listener.
    pub(crate) farewell: Option<Box<Message>>,
}

impl Refusal {
    /// Counts a request to negotiate as refused. RFC 8990 §2.5.5 lets a negotiation end with M_END and O_DECLINE at any
    /// time; if nobody listens, §2.8.6 requires closing the connection.
    fn of(
        session: u32,
        transport: Arc<dyn Transport>,
        case: Case<RequestOutcome>,
        why: RequestOutcome,
    ) -> Self {
        case.settle(why);
        let reason = match why {
            RequestOutcome::SessionLimit => Some("too many sessions"),
            RequestOutcome::QueueFull => Some("too many requests"),
            RequestOutcome::NotAdmitted => Some("not admitted"),
            _ => None,
        };
        let decline = |reason: &str| {
            Box::new(Message::new(Body::End { session, outcome: Outcome::Decline(Some(reason.to_owned())) }))
        };
        Self { transport, farewell: reason.map(decline) }
    }
}

/// A slot among the requests that wait for a listener, freed on drop. A waiting request keeps its slot: a later request
/// must not take it.
#[derive(Debug)]
pub(crate) struct Place {
    node: Arc<Node>,
    tx: Sender<NegotiationRequest>,
    owner: AsaNonce,
    name: String,
    peer: Neighbour,
    /// How long to wait for the listener.
    patience: Duration,
}

impl Place {
    /// The channel on which the listener takes requests.
    pub(crate) const fn listener(&self) -> &Sender<NegotiationRequest> {
        &self.tx
    }

    /// How long the request may wait for a listener.
    pub(crate) const fn patience(&self) -> Duration {
        self.patience
    }

    /// Closes the connection of a request that no listener has taken (RFC 8990 §2.8.6).
    pub(crate) fn refuse(self, request: NegotiationRequest) {
        request.refuse(RequestOutcome::NotListening);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.node.registries.objectives.dispatched(self.owner, &self.name, &self.tx, self.peer);
    }
}

impl Node {
    /// Handles the first message on a connection to an objective's port. If nobody can handle it, counts it and closes
    /// its connection.
    pub(crate) fn request(
        self: &Arc<Self>,
        message: Message,
        case: Case<MessageOutcome>,
        transport: Arc<dyn Transport>,
        now: u64,
    ) -> Option<Requested> {
        if !self.is_secure() {
            case.settle(MessageOutcome::Insecure);
            transport.close();
            return None;
        }
        let (negotiate, step, case): (_, _, Case<RequestOutcome>) = match message.body {
            Body::RequestNegotiate(step) => (true, step, case.becomes(MessageOutcome::NegotiationRequest)),
            Body::RequestSynchronize(step) => {
                (false, step, case.becomes(MessageOutcome::SynchronizationRequest))
            }
            Body::Discovery { session, initiator, objective } => {
                let id = SessionId { session, initiator };
                return self.discovery_by_tcp(
                    id,
                    &objective,
                    transport,
                    case.becomes(MessageOutcome::Discovery),
                    now,
                );
            }
            _ => {
                case.settle(MessageOutcome::Misplaced);
                transport.close();
                return None;
            }
        };
        // Any port of this node works for any of its objectives, as in graspy.
        let outcome = match self.registries.objectives.kind(&step.objective.name) {
            None => RequestOutcome::NotListening,
            Some(own) if negotiate && own.neg && is_negotiable(&step.objective) => {
                let (session, objective) = (step.session, step.objective.into_objective());
                let request = NegotiationRequest { session, objective, transport, case };
                return match self.place_for(&request, now) {
                    Ok(place) => Some(Requested::Negotiate(place, request)),
                    Err(outcome) => {
                        let NegotiationRequest { session, transport, case, .. } = request;
                        Some(Requested::Refuse(Refusal::of(session, transport, case, outcome)))
                    }
                };
            }
            Some(own) if !negotiate && own.synch && !step.objective.flags.has(Flags::F_NEG) => {
                return self.synchronization(step, transport, case);
            }
            Some(_) => RequestOutcome::WrongKind,
        };
        case.settle(outcome);
        transport.close();
        None
    }

    /// Whether the ASAs that have set a hook for an objective admit the peer.
    fn admits(&self, name: &str, peer: &dyn Transport) -> bool {
        let hooks = self.registries.admission.of(name);
        if hooks.is_empty() {
            return true;
        }
        let certified = peer.certified_name();
        let admits =
            |admission: &dyn Fn(Ipv6Addr, Option<&str>) -> bool| admission(peer.peer(), certified.as_deref());
        hooks.iter().all(|(owner, hook)| !self.registries.asas.is_registered(*owner) || admits(hook.as_ref()))
    }

    /// RFC 8990 §2.5.4.2: a discovery over TCP is answered on the same connection and is not relayed: a relay would
    /// have to connect to a port that nobody has announced.
    fn discovery_by_tcp(
        self: &Arc<Self>,
        id: SessionId,
        objective: &WireObjective,
        transport: Arc<dyn Transport>,
        case: Case<DiscoveryOutcome>,
        now: u64,
    ) -> Option<Requested> {
        let (ifi, source) = transport.neighbour();
        let arrival = Arrival { ifi, source, port: 0, multicast: false };
        let heard = Heard { arrival, id, origin: Origin::Own, raw: &[], now };
        match self.discovery(&heard, objective, case) {
            Some(Effect::Respond(response) | Effect::Negotiate { otherwise: response, .. }) => {
                Some(Requested::Respond(response, transport))
            }
            _ => {
                transport.close();
                None
            }
        }
    }

    /// RFC 8990 §2.8.6: a request with an identifier that is in use is dropped. For a request to negotiate, `accept`
    /// detects the clash.
    fn synchronization(
        &self,
        step: Step,
        transport: Arc<dyn Transport>,
        case: Case<RequestOutcome>,
    ) -> Option<Requested> {
        let session = step.session;
        let outcome = if self.registries.sessions.is_open_with(session, transport.as_ref()) {
            RequestOutcome::Clash
        } else if !self.admits(&step.objective.name, transport.as_ref()) {
            RequestOutcome::NotAdmitted
        } else if let Some(tx) = self.registries.objectives.synchronization(&step.objective.name) {
            let request = SynchRequest { session, transport, case };
            return Some(Requested::Synchronize(step.objective.name, tx, request));
        } else {
            RequestOutcome::NotListening
        };
        case.settle(outcome);
        transport.close();
        None
    }

    /// Takes a slot for a request at a listener, or returns why there is none.
    pub(crate) fn place_for(
        self: &Arc<Self>,
        request: &NegotiationRequest,
        now: u64,
    ) -> std::result::Result<Place, RequestOutcome> {
        let (transport, name) = (request.transport.as_ref(), &request.objective.name);
        if !self.admits(name, transport) {
            return Err(RequestOutcome::NotAdmitted);
        }
        let (grace, longest) = (self.config.listen_grace, self.config.connect_timeout);
        let limits = QueueLimits { all: self.config.request_queue, per_peer: self.config.requests_per_peer };
        match self.registries.objectives.dispatch(name, transport, now, whole_ms(grace), limits) {
            Dispatch::Listener { tx, owner, free, waiting } => {
                self.counters.request_queue_peak.raise_to(waiting);
                // On a busy machine, a caller that has begun to listen may not have reached the channel yet.
                let patience = if free { grace.max(longest) } else { grace };
                let (node, name, peer) = (Arc::clone(self), name.clone(), transport.neighbour());
                Ok(Place { node, tx, owner, name, peer, patience })
            }
            Dispatch::NotListening => Err(RequestOutcome::NotListening),
            Dispatch::QueueFull => Err(RequestOutcome::QueueFull),
        }
    }

    /// Accepts a session that a peer asks for, unless a session with this identity is open or the session limit is
    /// reached.
    pub(crate) fn accept(
        &self,
        owner: AsaNonce,
        request: NegotiationRequest,
    ) -> std::result::Result<(SessionNonce, Exchange, Objective), Refusal> {
        let NegotiationRequest { session, objective, transport, case } = request;
        let name = objective.name.as_str().into();
        let exchange = Exchange { owner, transport, name, dry: objective.dry };
        let outcome = match self.registries.sessions.accept_exchange(session, exchange.clone()) {
            Ok(nonce) => {
                case.settle(RequestOutcome::Accepted);
                return Ok((nonce, exchange, objective));
            }
            Err(Error::IdClash) => RequestOutcome::Clash,
            Err(_) => RequestOutcome::SessionLimit,
        };
        Err(Refusal::of(session, exchange.transport, case, outcome))
    }

    /// Ends the sessions whose peers closed the connection some time ago and left nothing unread: their ASAs have
    /// abandoned them. The caller closes the transports.
    pub(crate) fn end_abandoned(&self, now: u64) -> Vec<Exchange> {
        self.registries.sessions.end_abandoned(now, whole_ms(self.config.abandoned_after))
    }

    /// Opens a session with a peer that an ASA is connected to.
    pub(crate) fn open_exchange(&self, id: u32, exchange: Exchange) -> Result<SessionNonce> {
        self.registries.sessions.open_exchange(id, exchange)
    }

    /// Returns the answer to a request for a value, with the current value.
    pub(crate) fn value_for(&self, name: &str, session: u32) -> Option<Message> {
        let objective = self.registries.objectives.get(name)?;
        Some(Message::new(Body::Synch(Step { session, objective: WireObjective::from(objective) })))
    }
}

/// RFC 8990 §2.10.3: negotiation objectives are negotiated, synchronization objectives synchronized. If a request says
/// it is both, every later call of the accepting ASA would refuse it.
const fn is_negotiable(objective: &WireObjective) -> bool {
    objective.flags.has(Flags::F_NEG) && !objective.flags.has(Flags::F_SYNCH)
}

/// A duration in whole milliseconds.
fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
