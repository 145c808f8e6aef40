//! What an answer within a session means (RFC 8990 §2.8.6 to §2.8.12; graspy's `_negloop`).

use crate::error::Error;
use crate::types::Objective;
use crate::wire::{Body, DecodeError, Flags, Message, Outcome};

/// What the peer's message means to whoever waits in a negotiation.
#[derive(Debug, PartialEq)]
pub(crate) enum NegotiationReply {
    /// M_NEGOTIATE: its turn to us.
    Offer(Objective),
    /// M_END with accept.
    Accepted,
    /// M_END with decline.
    Declined(Option<String>),
    /// M_WAIT: these milliseconds replace what is left of the timeout.
    Wait(u32),
    /// Nothing to us: go on waiting.
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
        // RFC 8990 §2.8.13, §2.8.2: M_NOOP and unknown messages are discarded, no more.
        Body::Noop | Body::Unknown { .. } => NegotiationReply::Ignore,
        Body::Negotiate(step) if step.session == session => {
            let (objective, flags) = (&step.objective, step.objective.flags);
            let negotiable = flags.has(Flags::F_NEG) && !flags.has(Flags::F_SYNCH);
            // RFC 8990 §2.10.2: a session is wholly live or wholly a dry run.
            if objective.name != name || !negotiable || flags.has(Flags::F_NEG_DRY) != dry {
                NegotiationReply::Failed(Error::InvalidNeg)
            } else if objective.loop_count == 0 {
                // RFC 8990 §2.8.7: a count of zero is never sent.
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

/// What the peer's message means to whoever waits for a value.
#[derive(Debug, PartialEq)]
pub(crate) enum SynchReply {
    /// M_SYNCH with the value.
    Value(Objective),
    /// Nothing to us: go on waiting.
    Ignore,
    /// Nothing that helps.
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

/// Whether the bytes were no CBOR item within the limits, as against an item that is no message.
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
