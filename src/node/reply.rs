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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Step, WireObjective};

    fn means(body: Body) -> NegotiationReply {
        negotiation_reply(7, "EX1", false, Ok(Message::new(body)))
    }

    fn step(session: u32, name: &str, flags: u64, loop_count: u8) -> Step {
        let objective = WireObjective { name: name.to_owned(), flags: Flags(flags), loop_count, value: None };
        Step { session, objective }
    }

    #[test]
    fn an_offer_is_one_of_this_session_about_this_objective_as_live_as_it() {
        let offer =
            |session, name, flags, loop_count| means(Body::Negotiate(step(session, name, flags, loop_count)));
        assert!(matches!(offer(7, "EX1", Flags::F_NEG, 1), NegotiationReply::Offer(_)));
        for (session, name, flags, loop_count, error) in [
            (8, "EX1", Flags::F_NEG, 1, Error::NoValidStep),
            (7, "EX2", Flags::F_NEG, 1, Error::InvalidNeg),
            (7, "EX1", Flags::F_DISC, 1, Error::InvalidNeg),
            (7, "EX1", Flags::F_NEG | Flags::F_SYNCH, 1, Error::InvalidNeg),
            (7, "EX1", Flags::F_NEG | Flags::F_NEG_DRY, 1, Error::InvalidNeg),
            (7, "EX1", Flags::F_NEG, 0, Error::NoValidStep),
        ] {
            assert_eq!(offer(session, name, flags, loop_count), NegotiationReply::Failed(error));
        }
    }

    #[test]
    fn waiting_and_the_end_are_of_this_session_too() {
        let end = |session, outcome| means(Body::End { session, outcome });
        assert_eq!(means(Body::Wait { session: 7, time: 5 }), NegotiationReply::Wait(5));
        assert_eq!(end(7, Outcome::Accept), NegotiationReply::Accepted);
        assert_eq!(
            end(7, Outcome::Decline(Some("no".to_owned()))),
            NegotiationReply::Declined(Some("no".to_owned()))
        );
        assert_eq!(end(7, Outcome::Decline(Some(String::new()))), NegotiationReply::Declined(None));
        for other in [means(Body::Wait { session: 8, time: 5 }), end(8, Outcome::Accept)] {
            assert_eq!(other, NegotiationReply::Failed(Error::NoValidStep));
        }
        let end_of = |session| Err(DecodeError::InvalidEnd { session: Some(session) });
        for (session, error) in [(7, Error::InvalidEnd), (8, Error::NoValidStep)] {
            assert_eq!(negotiation_reply(7, "EX1", false, end_of(session)), NegotiationReply::Failed(error));
        }
    }

    #[test]
    fn a_value_is_one_of_this_request() {
        let synch = |session, name| {
            synch_reply(7, "EX1", Ok(Message::new(Body::Synch(step(session, name, Flags::F_SYNCH, 1)))))
        };
        assert!(matches!(synch(7, "EX1"), SynchReply::Value(_)));
        for other in [synch(8, "EX1"), synch(7, "EX2")] {
            assert_eq!(other, SynchReply::Failed(Error::NoValidSynch));
        }
        assert_eq!(synch_reply(7, "EX1", Ok(Message::new(Body::Noop))), SynchReply::Ignore);
        assert_eq!(synch_reply(7, "EX1", Err(DecodeError::Truncated)), SynchReply::Failed(Error::CborFail));
    }

    #[test]
    fn a_peer_may_ask_for_time_again_and_again_but_for_so_much_in_all() {
        let node = Node::new(crate::config::Config::new().wait_limit(1000), false);
        let now = Instant::now();
        let ms = |ms| now + Duration::from_millis(ms);
        let mut waiting = Await::new(&node, ms(50), now);
        assert_eq!(waiting.deadline(), ms(50));
        waiting.extend(300, ms(40));
        assert_eq!(waiting.deadline(), ms(340));
        waiting.extend(20, ms(300));
        assert_eq!(waiting.deadline(), ms(320), "it replaces what is left");
        waiting.extend(900, ms(310));
        assert_eq!(waiting.deadline(), ms(1000));
    }
}
