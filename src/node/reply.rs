//! What an answer within a session means (RFC 8990 §2.8.6 to §2.8.12; graspy's `_negloop`).

use std::time::{Duration, Instant};

use super::Node;
use crate::error::Error;
use crate::outcome::MessageOutcome;
use crate::registry::Exchange;
use crate::types::Objective;
use crate::wire::{Body, DecodeError, Flags, Message, Outcome, decode};

/// Waiting for the peer's next message in a session. The peer may ask for more time repeatedly, but gets at most
/// `wait_limit` in total.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Await {
    deadline: Instant,
    patience: Instant,
}

impl Await {
    /// Begins to wait until `deadline`.
    pub(crate) fn new(node: &Node, deadline: Instant, now: Instant) -> Self {
        Self { deadline, patience: now + Duration::from_millis(node.config.wait_limit.into()) }
    }

    /// When waiting ends, as of now.
    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// M_WAIT: this many milliseconds from now replace the remaining time (RFC 8990 §2.8.9).
    pub(crate) fn extend(&mut self, time: u32, now: Instant) {
        self.deadline = (now + Duration::from_millis(time.into())).min(self.patience);
    }
}

/// The meaning of a session message, which also determines how it is counted.
trait Meaning {
    fn fits(&self) -> bool;
    fn insecure() -> Self;
}

impl Meaning for NegotiationReply {
    fn fits(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }

    fn insecure() -> Self {
        Self::Failed(Error::NoSecurity)
    }
}

impl Meaning for SynchReply {
    fn fits(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }

    fn insecure() -> Self {
        Self::Failed(Error::NoSecurity)
    }
}

impl Node {
    /// Returns the meaning of a message received in a negotiation.
    pub(crate) fn negotiation_message(
        &self,
        session: u32,
        exchange: &Exchange,
        bytes: &[u8],
    ) -> NegotiationReply {
        self.message(bytes, |received| negotiation_reply(session, &exchange.name, exchange.dry, received))
    }

    /// Returns the meaning of a message received after a request for a value.
    pub(crate) fn synch_message(&self, session: u32, exchange: &Exchange, bytes: &[u8]) -> SynchReply {
        self.message(bytes, |received| synch_reply(session, &exchange.name, received))
    }

    /// Decodes the next message of a session, classifies it, and counts it accordingly.
    fn message<R: Meaning>(
        &self,
        bytes: &[u8],
        classify: impl FnOnce(Result<Message, DecodeError>) -> R,
    ) -> R {
        let case = self.received();
        if !self.is_secure() {
            case.settle(MessageOutcome::Insecure);
            return R::insecure();
        }
        let received = decode(bytes, &self.unicast_limits());
        let of_type = match received.as_ref().map(|message| &message.body) {
            Ok(Body::Noop) => Some(MessageOutcome::Noop),
            Ok(Body::Unknown { .. }) => Some(MessageOutcome::UnknownType),
            Ok(Body::Invalid { .. }) => Some(MessageOutcome::Invalid),
            _ => None,
        };
        let meaning = classify(received);
        let of_meaning = if meaning.fits() { MessageOutcome::Reply } else { MessageOutcome::BadReply };
        case.settle(of_type.unwrap_or(of_meaning));
        meaning
    }
}

/// The meaning of the peer's message for the waiting side of a negotiation.
#[derive(Debug, PartialEq)]
pub(crate) enum NegotiationReply {
    /// M_NEGOTIATE: it is this side's turn.
    Offer(Objective),
    /// M_END with accept.
    Accepted,
    /// M_END with decline.
    Declined(Option<String>),
    /// M_WAIT: this many milliseconds replace the remaining timeout.
    Wait(u32),
    /// Not relevant: keep waiting.
    Ignore,
    /// The session has failed.
    Failed(Error),
}

/// Classifies a message received in a negotiation about `name`, in the order of graspy's checks.
pub(crate) fn negotiation_reply(
    session: u32,
    name: &str,
    dry: bool,
    received: Result<Message, DecodeError>,
) -> NegotiationReply {
    let message = match received {
        Ok(message) => message,
        Err(DecodeError::InvalidEnd { session: Some(id) }) if id == session => {
            return NegotiationReply::Failed(Error::InvalidEnd);
        }
        Err(error) if is_not_cbor(&error) => return NegotiationReply::Failed(Error::CborFail),
        Err(_) => return NegotiationReply::Failed(Error::NoValidStep),
    };
    match message.body {
        // RFC 8990 §2.8.13, §2.8.2: M_NOOP and unknown messages are only discarded.
        Body::Noop | Body::Unknown { .. } => NegotiationReply::Ignore,
        Body::Negotiate(step) if step.session == session => {
            let (objective, flags) = (&step.objective, step.objective.flags);
            let negotiable = flags.has(Flags::F_NEG) && !flags.has(Flags::F_SYNCH);
            // RFC 8990 §2.10.2: a session is wholly live or wholly a dry run.
            if objective.name != name || !negotiable || flags.has(Flags::F_NEG_DRY) != dry {
                NegotiationReply::Failed(Error::InvalidNeg)
            } else if objective.loop_count == 0 {
                // RFC 8990 §2.8.7: a loop count of zero is never sent.
                NegotiationReply::Failed(Error::NoValidStep)
            } else {
                NegotiationReply::Offer(step.objective.into_objective())
            }
        }
        Body::Wait { session: id, time } if id == session => NegotiationReply::Wait(time),
        Body::End { session: id, outcome } if id == session => match outcome {
            Outcome::Accept => NegotiationReply::Accepted,
            Outcome::Decline(reason) => NegotiationReply::Declined(reason.filter(|text| !text.is_empty())),
        },
        _ => NegotiationReply::Failed(Error::NoValidStep),
    }
}

/// The meaning of the peer's message for an asker that waits for a value.
#[derive(Debug, PartialEq)]
pub(crate) enum SynchReply {
    /// M_SYNCH with the value.
    Value(Objective),
    /// Not relevant: keep waiting.
    Ignore,
    /// No usable answer.
    Failed(Error),
}

/// Classifies a message received after M_REQ_SYN (RFC 8990 §2.8.10).
pub(crate) fn synch_reply(session: u32, name: &str, received: Result<Message, DecodeError>) -> SynchReply {
    match received.map(|message| message.body) {
        Ok(Body::Noop | Body::Unknown { .. }) => SynchReply::Ignore,
        Ok(Body::Synch(step)) if step.session == session && step.objective.name == name => {
            SynchReply::Value(step.objective.into_objective())
        }
        Err(error) if is_not_cbor(&error) => SynchReply::Failed(Error::CborFail),
        _ => SynchReply::Failed(Error::NoValidSynch),
    }
}

/// Whether the bytes were not a CBOR item within the limits, rather than an item that is not a message.
const fn is_not_cbor(error: &DecodeError) -> bool {
    matches!(
        error,
        DecodeError::Truncated
            | DecodeError::TooLarge { .. }
            | DecodeError::TooDeep { .. }
            | DecodeError::Malformed { .. }
            | DecodeError::TrailingBytes
    )
}
