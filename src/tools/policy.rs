//! Answers offers, on the side that listens and on the side that asks. For `grasp` and for prompts.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::words;
use crate::{AsaNonce, Engine, Error, Negotiation, Objective, SessionNonce, Value};

/// The ways to answer, for help and errors.
pub const POLICIES: &str = "accept, decline [REASON], half, offer VALUE, wait TIME";

/// How offers are answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Policy {
    /// Accepts what is offered.
    Accept,
    /// Declines, perhaps with a reason.
    Decline(Option<String>),
    /// Meets the peer halfway between its own last offer and the peer's; accepts when there is nothing in
    /// between. For whole numbers, and arrays that end with one.
    Half,
    /// Offers this and nothing else; accepts this and nothing else.
    Offer(Value),
    /// Asks for this many milliseconds, and accepts when half of them are over.
    Wait(u32),
}

/// The next step.
#[derive(Debug, PartialEq)]
enum Answer {
    Accept,
    Decline(Option<String>),
    Counter(Value),
}

impl Policy {
    /// Reads one of [`POLICIES`]; without words it is `accept`.
    ///
    /// # Errors
    /// A sentence, if it is none of these.
    pub fn parse(args: &[&str]) -> Result<Self, String> {
        match args {
            [] | ["accept"] => Ok(Self::Accept),
            ["decline"] => Ok(Self::Decline(None)),
            ["decline", reason @ ..] => {
                Ok(Self::Decline(Some(reason.join(" ").trim_matches('"').to_owned())))
            }
            ["half"] => Ok(Self::Half),
            ["offer", value] => words::value(value).map(Self::Offer),
            ["wait", time] => words::milliseconds(time).map(Self::Wait),
            [other, ..] => Err(format!("{other} is not a way to answer; there are: {POLICIES}")),
        }
    }

    /// `mine` is what this side offered last, if it did.
    fn answer(&self, mine: Option<&Value>, theirs: &Value) -> Answer {
        match self {
            Self::Accept | Self::Wait(_) => Answer::Accept,
            Self::Decline(reason) => Answer::Decline(reason.clone()),
            Self::Offer(value) if value == theirs => Answer::Accept,
            Self::Offer(value) => Answer::Counter(value.clone()),
            Self::Half => halfway(mine.and_then(number).unwrap_or(0), theirs),
        }
    }
}

impl std::fmt::Display for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Accept => f.write_str("accepts every offer"),
            Self::Decline(_) => f.write_str("declines every offer"),
            Self::Half => f.write_str("meets every offer halfway"),
            Self::Offer(value) => write!(f, "offers {value}"),
            Self::Wait(time) => write!(f, "asks for {time} ms and accepts"),
        }
    }
}

fn halfway(mine: i128, theirs: &Value) -> Answer {
    match number(theirs) {
        None => Answer::Decline(Some("there is no half of this".to_owned())),
        Some(asked) if mine.abs_diff(asked) <= 1 => Answer::Accept,
        // i128 is wide enough: both numbers have 64 bits.
        Some(asked) => Answer::Counter(with_number(theirs, mine.midpoint(asked))),
    }
}

/// The whole number that a value is, or that stands last in its array, as in graspy's `["NZD", 47]`.
fn number(value: &Value) -> Option<i128> {
    match value {
        Value::Integer(number) => Some(*number),
        Value::Array(items) => items.last().and_then(|last| last.as_i64()).map(i128::from),
        _ => None,
    }
}

fn with_number(value: &Value, number: i128) -> Value {
    match value {
        Value::Array(items) => {
            let mut items = items.clone();
            if let Some(last) = items.last_mut() {
                *last = Value::Integer(number);
            }
            Value::Array(items)
        }
        _ => Value::Integer(number),
    }
}

/// One side of a negotiation.
pub struct Side<'a> {
    /// The engine that the session is open in.
    pub engine: &'a Engine,
    /// The ASA that the session belongs to.
    pub nonce: AsaNonce,
    /// Gets a line for each step.
    pub say: &'a dyn Fn(String),
    /// Ends a pause when its last sender is dropped.
    pub over: &'a Receiver<()>,
    /// How this side answers.
    pub policy: Policy,
}

/// How a negotiation ended, if it did not fail.
#[derive(Clone, Debug, PartialEq)]
pub enum Concluded {
    /// Both sides agreed on this.
    Agreed(Value),
    /// This side declined.
    Declined,
}

impl std::fmt::Debug for Side<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Side").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Side<'_> {
    fn say(&self, text: impl std::fmt::Display) {
        (self.say)(text.to_string());
    }

    /// Answers an offer, and those that follow, until the negotiation is over. `mine` is what this side has
    /// offered or asked for.
    ///
    /// # Errors
    /// Those of [`Engine::negotiate_step`], [`Engine::negotiate_wait`] and [`Engine::end_negotiate`], which say whether the
    /// session is over. [`Error::Stopped`] if `over` ends a pause: then the session is still open.
    pub fn negotiate(
        &self,
        session: SessionNonce,
        mut mine: Option<Value>,
        mut offer: Objective,
    ) -> Result<Concluded, Error> {
        loop {
            match self.policy.answer(mine.as_ref(), &offer.value) {
                Answer::Accept => {
                    if let Policy::Wait(time) = self.policy {
                        self.wait(session, time)?;
                    }
                    self.say(format_args!("accepts {}", offer.value));
                    self.engine.end_negotiate(self.nonce, session, true, None)?;
                    return Ok(Concluded::Agreed(offer.value));
                }
                Answer::Decline(reason) => return self.decline(session, reason.as_deref()),
                Answer::Counter(_) if offer.loop_count <= 1 => {
                    return self.decline(session, Some("no step is left"));
                }
                Answer::Counter(value) => {
                    let step = Objective { value: value.clone(), ..offer };
                    self.say(format_args!(
                        "offers {value} (loop count {})",
                        step.loop_count.saturating_sub(1)
                    ));
                    match self.engine.negotiate_step(self.nonce, session, &step, None)? {
                        Negotiation::Agreed(_) => {
                            self.say(format_args!("agreed on {value}"));
                            return Ok(Concluded::Agreed(value));
                        }
                        Negotiation::Offer(_, next) => {
                            self.say(format_args!(
                                "is offered {} (loop count {})",
                                next.value, next.loop_count
                            ));
                            (mine, offer) = (Some(value), next);
                        }
                    }
                }
            }
        }
    }

    fn wait(&self, session: SessionNonce, time: u32) -> Result<(), Error> {
        self.engine.negotiate_wait(self.nonce, session, Some(time))?;
        self.say(format_args!("asks for {time} ms"));
        match self.over.recv_timeout(Duration::from_millis(time.into()) / 2) {
            Err(RecvTimeoutError::Timeout) | Ok(()) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err(Error::Stopped),
        }
    }

    fn decline(&self, session: SessionNonce, reason: Option<&str>) -> Result<Concluded, Error> {
        self.say(reason.map_or_else(|| "declines".to_owned(), |reason| format!("declines: {reason}")));
        self.engine.end_negotiate(self.nonce, session, false, reason)?;
        Ok(Concluded::Declined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_parsed() {
        assert_eq!(Policy::parse(&[]).unwrap(), Policy::Accept);
        assert_eq!(
            Policy::parse(&["decline", "too", "much"]).unwrap(),
            Policy::Decline(Some("too much".into()))
        );
        assert_eq!(Policy::parse(&["offer", "5"]).unwrap(), Policy::Offer(Value::from(5)));
        assert!(Policy::parse(&["maybe"]).unwrap_err().contains("half"));
        assert!(Policy::parse(&["offer"]).is_err() && Policy::parse(&["wait", "x"]).is_err());
    }

    #[test]
    fn halves_meet() {
        let answer = |mine: i128, theirs: Value| Policy::Half.answer(Some(&Value::Integer(mine)), &theirs);
        assert_eq!(answer(0, Value::from(100)), Answer::Counter(Value::from(50)));
        assert_eq!(answer(100, Value::from(50)), Answer::Counter(Value::from(75)));
        assert_eq!(answer(5, Value::from(6)), Answer::Accept);
        let money = |amount| Value::from(vec![Value::from("NZD"), Value::from(amount)]);
        assert_eq!(answer(0, money(48)), Answer::Counter(money(24)));
        assert!(matches!(answer(0, Value::from("all")), Answer::Decline(Some(_))));
    }
}
