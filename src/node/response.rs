//! Decides which responses are sent. Limits apply to the number of responses at a time and to their rate: in total, per
//! asker, and for askers that no response has reached before, whose addresses may be forged.

use std::sync::Arc;

use super::{Arrival, Effect, Node, Place};
use crate::bounds::{Neighbour, Permit, Refused};
use crate::outcome::{Case, ResponseOutcome};
use crate::registry::{Done, NegotiationRequest, Transport};
use crate::types::{Objective, SessionId};
use crate::wire::Message;

/// A message to an asker that may be sent.
#[derive(Debug)]
pub(crate) struct Response {
    /// The asker, to which the response goes out of the interface that the discovery came in by (RFC 8990 §2.8.5).
    pub(crate) to: Arrival,
    pub(crate) message: Message,
    pub(crate) ticket: Ticket,
}

/// The right to send one response. If it is dropped unused, the response counts as dropped because no responder was
/// free.
#[derive(Debug)]
pub(crate) struct Ticket {
    node: Arc<Node>,
    to: Arrival,
    /// The discovery to remember as answered, if this one must be answered only once.
    once: Option<SessionId>,
    case: Option<Case<ResponseOutcome>>,
    _share: Permit<Neighbour>,
    _stranger: Option<Permit<()>>,
}

impl Ticket {
    /// Records that the response was sent.
    pub(crate) fn sent(mut self) {
        self.reached();
        if let Some(case) = self.case.take() {
            case.settle(ResponseOutcome::Sent);
        }
    }

    /// Records that the asker could not be reached.
    pub(crate) fn failed(mut self) {
        self.node.registries.askers.failed(self.to.neighbour(), self.to.port);
        if let Some(case) = self.case.take() {
            case.settle(ResponseOutcome::Failed);
        }
        self.forget();
    }

    /// Offers the connection to a negotiation listener instead of sending a response. `hand_over` returns the request
    /// if no listener takes it. Returns whether a listener took it.
    pub(crate) fn offer(
        &mut self,
        session: u32,
        objective: Objective,
        transport: Arc<dyn Transport>,
        now: u64,
        hand_over: impl FnOnce(&Place, NegotiationRequest) -> std::result::Result<(), NegotiationRequest>,
    ) -> bool {
        // Counts as a request instead of a response once a listener has taken it.
        let case = Case::deferred(&self.node.counters, |count| &count.rapid_negotiations);
        let request = NegotiationRequest { session, objective, transport, case };
        let handed = match self.node.place_for(&request, now) {
            Ok(place) => hand_over(&place, request),
            Err(_) => Err(request),
        };
        if let Err(request) = handed {
            request.case.withdraw();
            return false;
        }
        self.reached();
        self.case.take().into_iter().for_each(Case::withdraw);
        true
    }

    fn reached(&self) {
        self.node.registries.askers.reached(self.to.neighbour(), self.to.port);
    }

    fn forget(&self) {
        if let Some(id) = self.once {
            self.node.registries.recent.forget(Done::Answered, id);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.case.is_some() {
            self.forget();
        }
    }
}

impl Node {
    /// Answers a discovery if the asker may get another response now.
    pub(super) fn respond(
        self: &Arc<Self>,
        to: Arrival,
        id: SessionId,
        message: Message,
        case: Case<ResponseOutcome>,
        now: u64,
    ) -> Option<Effect> {
        let once = self.answers_once(to, id, now);
        if self.protected && once.is_none() {
            case.settle(ResponseOutcome::Repeated);
            return None;
        }
        self.admit_response(to, message, once, case, now).map(Effect::Respond)
    }

    /// An attacker without the keys can replay a recorded discovery from any address, so each one is answered once
    /// within its lifetime. Returns the discovery if it is remembered now.
    fn answers_once(&self, to: Arrival, id: SessionId, now: u64) -> Option<SessionId> {
        let until = now.saturating_add(self.memory());
        let first =
            self.protected && self.registries.recent.remember(Done::Answered, id, to.neighbour(), now, until);
        first.then_some(id)
    }

    /// Takes the permits and tokens of a response, or counts why there is no response.
    pub(super) fn admit_response(
        self: &Arc<Self>,
        to: Arrival,
        message: Message,
        once: Option<SessionId>,
        case: Case<ResponseOutcome>,
        now: u64,
    ) -> Option<Response> {
        match self.take_permits(to, now) {
            Ok((share, stranger)) => {
                self.counters.responders_peak.raise_to(self.quotas.responses.used());
                let node = Arc::clone(self);
                let ticket = Ticket { node, to, once, case: Some(case), _share: share, _stranger: stranger };
                Some(Response { to, message, ticket })
            }
            Err(outcome) => {
                case.settle(outcome);
                if let Some(id) = once {
                    self.registries.recent.forget(Done::Answered, id);
                }
                None
            }
        }
    }

    fn take_permits(
        &self,
        to: Arrival,
        now: u64,
    ) -> Result<(Permit<Neighbour>, Option<Permit<()>>), ResponseOutcome> {
        let asker = to.neighbour();
        let share = self.quotas.responses.take(asker).map_err(|refused| match refused {
            Refused::All => ResponseOutcome::ResponderFull,
            Refused::Share => ResponseOutcome::AskerLimit,
        })?;
        let known = self.registries.askers.is_known(asker);
        let stranger = if known {
            None
        } else {
            Some(self.quotas.strangers.take(()).map_err(|_| ResponseOutcome::ResponderFull)?)
        };
        let permitted = (known || self.quotas.stranger_rate.allow((), 1, now))
            && self.quotas.response_rate.allow(asker, 1, now);
        if permitted { Ok((share, stranger)) } else { Err(ResponseOutcome::Rate) }
    }
}
