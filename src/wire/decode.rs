//! Decodes bytes to [`Message`] (RFC 8990 §2.8, §4). Accepts any well-formed encoding of CBOR. Elements after those
//! that a message needs are kept in [`Message::extra`]: unknown options are not fatal (RFC 8990 §2.8.2).

use std::net::IpAddr;
use std::vec::IntoIter;

use super::option::{self, uint};
use super::{
    Body, DecodeError, Flood, Limits, Message, Response, Step, WireLocator, WireObjective, WireOption, cbor,
};
use crate::constants::message_type::{
    M_DISCOVERY, M_END, M_FLOOD, M_INVALID, M_NEGOTIATE, M_NOOP, M_REQ_NEG, M_REQ_SYN, M_RESPONSE, M_SYNCH,
    M_WAIT,
};
use crate::types::Value;

/// Decodes a datagram: exactly one message.
///
/// # Errors
/// Any [`DecodeError`]: the sender is at fault, and a retry does not help.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Message, DecodeError> {
    // RFC 8990 §2.8.3: the parser protects itself against messages that are too long.
    if bytes.len() > limits.size {
        return Err(DecodeError::TooLarge { limit: limits.size });
    }
    message(cbor::decode(bytes, limits)?)
}

/// Decodes the message at the start of `bytes`; returns it with its length.
///
/// # Errors
/// Any [`DecodeError`]. After [`DecodeError::Truncated`] a retry with more bytes helps.
pub fn decode_prefix(bytes: &[u8], limits: &Limits) -> Result<(Message, usize), DecodeError> {
    let (value, length) = cbor::decode_prefix(bytes, limits)?;
    Ok((message(value)?, length))
}

/// ```cddl
/// grasp-message = (message .within message-structure) / noop-message
/// message-structure = [MESSAGE_TYPE, session-id, ?initiator, *grasp-option]
/// MESSAGE_TYPE = 0..255
/// noop-message = [M_NOOP]
/// ```
fn message(value: Value) -> Result<Message, DecodeError> {
    let Value::Array(items) = value else { return Err(DecodeError::NotAMessage) };
    let mut elements = Elements { items: items.into_iter(), session: None };
    let message_type = elements.items.next().as_ref().and_then(uint).ok_or(DecodeError::NotAMessage)?;
    match message_type {
        M_NOOP => Ok(Message { body: Body::Noop, extra: elements.rest() }), // RFC 8990 §2.8.13
        M_DISCOVERY => elements.discovery(),
        M_RESPONSE => elements.response(),
        M_REQ_NEG => elements.step(true).map(|(step, extra)| (Body::RequestNegotiate(step), extra).into()),
        // RFC 8990 §2.10.3 requires a value in all messages except Discovery and Response. A request to synchronize
        // asks for the value, so it is accepted without one.
        M_REQ_SYN => elements.step(false).map(|(step, extra)| (Body::RequestSynchronize(step), extra).into()),
        M_NEGOTIATE => elements.step(true).map(|(step, extra)| (Body::Negotiate(step), extra).into()),
        M_END => elements.end(),
        M_WAIT => elements.wait(),
        M_SYNCH => elements.step(true).map(|(step, extra)| (Body::Synch(step), extra).into()),
        M_FLOOD => elements.flood(),
        M_INVALID => elements.invalid(),
        _ => Ok(elements.unknown(message_type)),
    }
}

impl From<(Body, Vec<Value>)> for Message {
    fn from((body, extra): (Body, Vec<Value>)) -> Self {
        Self { body, extra }
    }
}

/// The elements of a message that have not been read yet.
struct Elements {
    items: IntoIter<Value>,
    session: Option<u32>,
}

impl Elements {
    /// ```cddl
    /// discovery-message = [M_DISCOVERY, session-id, initiator, objective]
    /// ```
    fn discovery(mut self) -> Result<Message, DecodeError> {
        let session = self.session()?;
        let initiator = self.initiator()?;
        let objective = self.objective(false)?;
        // RFC 8990 §2.8.4: a discovery asks for exactly one objective.
        let second = |value: &Value| matches!(value.as_array(), Some([Value::Text(_), ..]));
        if self.items.as_slice().iter().any(second) {
            return Err(self.wrong("a second objective"));
        }
        let body = Body::Discovery { session, initiator, objective };
        Ok(Message { body, extra: self.rest() })
    }

    /// ```cddl
    /// response-message = [M_RESPONSE, session-id, initiator, ttl,
    ///                     (+locator-option // divert-option), ?objective]
    /// ttl = 0..4294967295 ; in milliseconds
    /// ```
    fn response(mut self) -> Result<Message, DecodeError> {
        let session = self.session()?;
        let initiator = self.initiator()?;
        let ttl = match self.items.as_slice().first() {
            // graspy computes the ttl of a Divert from an expiry that may have passed. Its locators can be used now,
            // but must not be kept.
            Some(Value::Integer(..0)) => {
                self.items.next();
                1
            }
            _ => self.number("ttl")?,
        };
        let mut options = Vec::new();
        let mut objective: Option<WireObjective> = None;
        let mut extra = Vec::new();
        for element in self.items.by_ref() {
            let other = match element {
                Value::Array(items) => match option::objective(items) {
                    Ok(found) => {
                        // If there are several, the last one counts.
                        options
                            .extend(objective.replace(found).map(|one| WireOption::Other(one.into_value())));
                        options.extend(extra.drain(..).map(WireOption::Other));
                        continue;
                    }
                    Err(items) => {
                        if let Some(locator) = option::locator(&items) {
                            options.push(WireOption::Locator(locator));
                            continue;
                        }
                        if let Some(locators) = option::divert(&items) {
                            options.push(WireOption::Divert(locators));
                            continue;
                        }
                        Value::Array(items)
                    }
                },
                other => other,
            };
            // RFC 8990 §2.8.2: options that do not belong here are ignored. That is left to the reader of the
            // message.
            if objective.is_some() {
                extra.push(other);
            } else {
                options.push(WireOption::Other(other));
            }
        }
        if options.iter().all(|option| matches!(option, WireOption::Other(_))) {
            return Err(DecodeError::NoLocator { session: self.session });
        }
        let response = Response { session, initiator, ttl, options, objective };
        Ok(Message { body: Body::Response(response), extra })
    }

    /// ```cddl
    /// request-negotiation-message = [M_REQ_NEG, session-id, objective]
    /// request-synchronization-message = [M_REQ_SYN, session-id, objective]
    /// negotiation-message = [M_NEGOTIATE, session-id, objective]
    /// synch-message = [M_SYNCH, session-id, objective]
    /// ```
    fn step(mut self, needs_value: bool) -> Result<(Step, Vec<Value>), DecodeError> {
        let session = self.session()?;
        let objective = self.objective(needs_value)?;
        Ok((Step { session, objective }, self.rest()))
    }

    /// ```cddl
    /// end-message = [M_END, session-id, accept-option / decline-option]
    /// ```
    fn end(mut self) -> Result<Message, DecodeError> {
        let session = self.session()?;
        let invalid = DecodeError::InvalidEnd { session: self.session };
        let mut outcome = None;
        let mut extra = Vec::new();
        for element in self.items {
            match element.as_array() {
                Some(items) if option::is_outcome(items) => match option::outcome(items) {
                    Some(found) if outcome.is_none() => outcome = Some(found),
                    // RFC 8990 §2.8.8: exactly one option, and a well-formed one.
                    _ => return Err(invalid),
                },
                // RFC 8990 §2.8.2: options that do not belong here are not fatal.
                _ => extra.push(element),
            }
        }
        let outcome = outcome.ok_or(invalid)?;
        Ok(Message { body: Body::End { session, outcome }, extra })
    }

    /// ```cddl
    /// wait-message = [M_WAIT, session-id, waiting-time]
    /// waiting-time = 0..4294967295 ; in milliseconds
    /// ```
    fn wait(mut self) -> Result<Message, DecodeError> {
        let session = self.session()?;
        let time = self.number("waiting time")?;
        Ok(Message { body: Body::Wait { session, time }, extra: self.rest() })
    }

    /// ```cddl
    /// flood-message = [M_FLOOD, session-id, initiator, ttl, +[objective, (locator-option / [])]]
    /// ```
    fn flood(mut self) -> Result<Message, DecodeError> {
        let session = self.session()?;
        let initiator = self.initiator()?;
        let ttl = self.number("ttl")?;
        let mut objectives = Vec::new();
        let mut extra = Vec::new();
        for element in self.items.by_ref() {
            match element {
                // RFC 8990 §2.8.2: an option that does not belong here is not fatal.
                Value::Array(items) if option::option_type(&items).is_some() => {
                    extra.push(Value::Array(items));
                }
                element => objectives.push(flooded(element, self.session)?),
            }
        }
        if objectives.is_empty() {
            return Err(self.wrong("flooded objective"));
        }
        Ok(Message { body: Body::Flood(Flood { session, initiator, ttl, objectives }), extra })
    }

    /// ```cddl
    /// invalid-message = [M_INVALID, session-id, ?any]
    /// ```
    fn invalid(mut self) -> Result<Message, DecodeError> {
        let session = self.session()?;
        let content = self.items.next();
        Ok(Message { body: Body::Invalid { session, content }, extra: self.rest() })
    }

    /// RFC 8990 §2.8.2: the receiver discards messages of unknown type. So it needs a value to log and perhaps to
    /// answer.
    fn unknown(mut self, message_type: u64) -> Message {
        let session = self.items.as_slice().first().and_then(uint);
        if session.is_some() {
            self.items.next();
        }
        Message { body: Body::Unknown { message_type, session }, extra: self.rest() }
    }

    /// ```cddl
    /// session-id = 0..4294967295 ; up to 32 bits
    /// ```
    fn session(&mut self) -> Result<u32, DecodeError> {
        let session = self.number("session identifier")?;
        self.session = Some(session);
        Ok(session)
    }

    fn number(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        let number = self.items.next().as_ref().and_then(uint);
        number.ok_or_else(|| self.wrong(what))
    }

    fn initiator(&mut self) -> Result<IpAddr, DecodeError> {
        let address = self.items.next().as_ref().and_then(option::address);
        address.ok_or_else(|| self.wrong("initiator"))
    }

    fn objective(&mut self, needs_value: bool) -> Result<WireObjective, DecodeError> {
        let element = self.items.next().unwrap_or_default();
        let objective = objective(element).ok_or_else(|| self.wrong("objective"))?;
        // RFC 8990 §2.10.3: only some messages may carry an objective without a value.
        if needs_value && objective.value.is_none() {
            return Err(DecodeError::MissingValue { session: self.session });
        }
        Ok(objective)
    }

    const fn wrong(&self, what: &'static str) -> DecodeError {
        DecodeError::WrongElement { what, session: self.session }
    }

    fn rest(self) -> Vec<Value> {
        self.items.collect()
    }
}

/// Parses `[objective, (locator-option / [])]`. An element that is not such a pair spoils the whole message, because it
/// is no longer clear what the sender meant by the others. If the option in the pair is unknown, malformed or not a
/// locator, only the option is discarded (RFC 8990 §2.8.2; §2.9.2 to §2.9.4 for options of other messages), and the
/// objective has no locator.
fn flooded(
    element: Value,
    session: Option<u32>,
) -> Result<(WireObjective, Option<WireLocator>), DecodeError> {
    let wrong = |what| DecodeError::WrongElement { what, session };
    let Value::Array(pair) = element else { return Err(wrong("flooded objective")) };
    let [first, second] = <[Value; 2]>::try_from(pair).map_err(|_| wrong("flooded objective"))?;
    let objective = objective(first).ok_or_else(|| wrong("objective"))?;
    if objective.value.is_none() {
        return Err(DecodeError::MissingValue { session });
    }
    let locator = match second.as_array() {
        Some([]) => None,
        Some(items) if option::option_type(items).is_some() => option::locator(items),
        _ => return Err(wrong("locator option")),
    };
    Ok((objective, locator))
}

fn objective(element: Value) -> Option<WireObjective> {
    match element {
        Value::Array(items) => option::objective(items).ok(),
        _ => None,
    }
}
