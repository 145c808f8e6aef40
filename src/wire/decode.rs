//! Decodes bytes to [`Message`] (RFC 8990 §2.8, §4). Accepts any well-formed encoding of CBOR. Elements after those
//! that a message needs are kept in [`Message::extra`]: unknown options are not fatal (RFC 8990 §2.8.2).

use std::net::IpAddr;

use super::option::{self, Element};
use super::{
    Body, DecodeError, Flood, Limits, Message, Response, Step, WireLocator, WireObjective, WireOption, cbor,
};
use crate::cbor::head::Head;
use crate::cbor::items::{self, Items};
use crate::constants::message_type::{
    M_DISCOVERY, M_END, M_FLOOD, M_INVALID, M_NEGOTIATE, M_NOOP, M_REQ_NEG, M_REQ_SYN, M_RESPONSE, M_SYNCH,
    M_WAIT,
};
use crate::constants::option_type::{O_ACCEPT, O_DECLINE};
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
    let mut items = Items::new(bytes, limits);
    let message = message(&mut items);
    match &message {
        Ok(_) if items.unread() == 0 => message,
        Ok(_) => Err(DecodeError::TrailingBytes),
        // Whatever is wrong with the bytes as CBOR comes first.
        Err(_) => match cbor::check_prefix(bytes, limits)? {
            length if length == bytes.len() => message,
            _ => Err(DecodeError::TrailingBytes),
        },
    }
}

/// Decodes the message at the start of `bytes`; returns it with its length.
///
/// # Errors
/// Any [`DecodeError`]. After [`DecodeError::Truncated`] a retry with more bytes helps.
pub fn decode_prefix(bytes: &[u8], limits: &Limits) -> Result<(Message, usize), DecodeError> {
    let mut items = Items::new(bytes, limits);
    let before = items.unread();
    match message(&mut items) {
        Ok(message) => Ok((message, before.saturating_sub(items.unread()))),
        Err(error) => cbor::check_prefix(bytes, limits).and(Err(error)),
    }
}

/// Reads a message in one pass. Its error counts only if the bytes are well-formed and within the limits.
///
/// ```cddl
/// grasp-message = (message .within message-structure) / noop-message
/// message-structure = [MESSAGE_TYPE, session-id, ?initiator, *grasp-option]
/// MESSAGE_TYPE = 0..255
/// noop-message = [M_NOOP]
/// ```
fn message(items: &mut Items<'_>) -> Result<Message, DecodeError> {
    let mut left = items.enter().ok_or(DecodeError::NotAMessage)?;
    let message_type = items.next(&mut left).and_then(Items::uint).ok_or(DecodeError::NotAMessage)?;
    let mut elements = Elements { items, left, session: None };
    let body = match message_type {
        M_NOOP => Body::Noop, // RFC 8990 §2.8.13
        M_DISCOVERY => return elements.discovery(),
        M_RESPONSE => return elements.response(),
        M_REQ_NEG => Body::RequestNegotiate(elements.step(true)?),
        // RFC 8990 §2.10.3 requires a value in all messages except Discovery and Response. A request to synchronize
        // asks for the value, so it is accepted without one.
        M_REQ_SYN => Body::RequestSynchronize(elements.step(false)?),
        M_NEGOTIATE => Body::Negotiate(elements.step(true)?),
        M_END => return elements.end(),
        // wait-message = [M_WAIT, session-id, waiting-time]
        // waiting-time = 0..4294967295 ; in milliseconds
        M_WAIT => {
            let session = elements.session()?;
            Body::Wait { session, time: elements.number("waiting time")? }
        }
        M_SYNCH => Body::Synch(elements.step(true)?),
        M_FLOOD => return elements.flood(),
        M_INVALID => elements.invalid()?,
        _ => return elements.unknown(message_type),
    };
    Ok(Message { body, extra: elements.rest()? })
}

/// The elements of a message that have not been read yet.
struct Elements<'a, 'b> {
    items: &'a mut Items<'b>,
    left: items::Elements,
    session: Option<u32>,
}

impl Elements<'_, '_> {
    /// ```cddl
    /// discovery-message = [M_DISCOVERY, session-id, initiator, objective]
    /// ```
    fn discovery(mut self) -> Result<Message, DecodeError> {
        let session = self.session()?;
        let initiator = self.initiator()?;
        let objective = self.objective(false)?;
        let extra = self.rest()?;
        // RFC 8990 §2.8.4: a discovery asks for exactly one objective.
        let second = |value: &Value| matches!(value.as_array(), Some([Value::Text(_), ..]));
        if extra.iter().any(second) {
            return Err(self.wrong("a second objective"));
        }
        Ok(Message { body: Body::Discovery { session, initiator, objective }, extra })
    }

    /// ```cddl
    /// response-message = [M_RESPONSE, session-id, initiator, ttl,
    ///                     (+locator-option // divert-option), ?objective]
    /// ttl = 0..4294967295 ; in milliseconds
    /// ```
    fn response(mut self) -> Result<Message, DecodeError> {
        let session = self.session()?;
        let initiator = self.initiator()?;
        let ttl = match self.items.peek() {
            // graspy computes the ttl of a Divert from an expiry that may have passed. Its locators can be used now,
            // but must not be kept.
            Some(Head::Negative(_)) if self.more() => {
                self.items.head();
                1
            }
            _ => self.number("ttl")?,
        };
        let mut options = Vec::new();
        let mut objective: Option<WireObjective> = None;
        let mut extra = Vec::new();
        while self.more() {
            let before = self.items.clone();
            match option::element(self.items) {
                Some(Element::Objective(found)) => {
                    // If there are several, the last one counts.
                    options.extend(objective.replace(found).map(|one| WireOption::Other(one.into_value())));
                    options.extend(extra.drain(..).map(WireOption::Other));
                }
                Some(Element::Option(option)) => options.push(option),
                // RFC 8990 §2.8.2: options that do not belong here are ignored. That is left to the reader of the
                // message.
                None => {
                    *self.items = before;
                    let other = self.value()?;
                    if objective.is_some() {
                        extra.push(other);
                    } else {
                        options.push(WireOption::Other(other));
                    }
                }
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
    #[inline]
    fn step(&mut self, needs_value: bool) -> Result<Step, DecodeError> {
        let session = self.session()?;
        let objective = self.objective(needs_value)?;
        Ok(Step { session, objective })
    }

    /// ```cddl
    /// end-message = [M_END, session-id, accept-option / decline-option]
    /// ```
    fn end(mut self) -> Result<Message, DecodeError> {
        let session = self.session()?;
        let invalid = DecodeError::InvalidEnd { session: self.session };
        let mut outcome = None;
        let mut extra = Vec::new();
        while self.more() {
            match option::option_type(self.items) {
                Some(O_ACCEPT | O_DECLINE) => match option::outcome(self.items) {
                    Some(found) if outcome.is_none() => outcome = Some(found),
                    // RFC 8990 §2.8.8: exactly one option, and a well-formed one.
                    _ => return Err(invalid),
                },
                // RFC 8990 §2.8.2: options that do not belong here are not fatal.
                _ => extra.push(self.value()?),
            }
        }
        let outcome = outcome.ok_or(invalid)?;
        Ok(Message { body: Body::End { session, outcome }, extra })
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
        while self.more() {
            // RFC 8990 §2.8.2: an option that does not belong here is not fatal.
            if option::option_type(self.items).is_some() {
                extra.push(self.value()?);
            } else {
                objectives.push(self.flooded()?);
            }
        }
        if objectives.is_empty() {
            return Err(self.wrong("flooded objective"));
        }
        Ok(Message { body: Body::Flood(Flood { session, initiator, ttl, objectives }), extra })
    }

    /// Reads `[objective, (locator-option / [])]`. An element that is not such a pair spoils the whole message, because
    /// it is no longer clear what the sender meant by the others.
    fn flooded(&mut self) -> Result<(WireObjective, Option<WireLocator>), DecodeError> {
        let mut before = self.items.clone();
        self.pair().map_err(|error| match before.value() {
            Some(Value::Array(pair)) if pair.len() == 2 => error,
            _ => self.wrong("flooded objective"),
        })
    }

    fn pair(&mut self) -> Result<(WireObjective, Option<WireLocator>), DecodeError> {
        let mut pair = self.items.enter().ok_or_else(|| self.wrong("flooded objective"))?;
        let first = self.items.next(&mut pair).and_then(option::objective);
        let objective = first.ok_or_else(|| self.wrong("objective"))?;
        if objective.value.is_none() {
            return Err(DecodeError::MissingValue { session: self.session });
        }
        let second = self.items.next(&mut pair).and_then(locator_or_none);
        let locator = second.ok_or_else(|| self.wrong("locator option"))?;
        self.items.leave(pair).ok_or_else(|| self.wrong("flooded objective"))?;
        Ok((objective, locator))
    }

    /// ```cddl
    /// invalid-message = [M_INVALID, session-id, ?any]
    /// ```
    fn invalid(&mut self) -> Result<Body, DecodeError> {
        let session = self.session()?;
        let content = if self.more() { Some(self.value()?) } else { None };
        Ok(Body::Invalid { session, content })
    }

    /// RFC 8990 §2.8.2: the receiver discards messages of unknown type. So it needs a value to log and perhaps to
    /// answer.
    fn unknown(mut self, message_type: u64) -> Result<Message, DecodeError> {
        let before = (self.items.clone(), self.left);
        let session = self.items.next(&mut self.left).and_then(Items::uint);
        if session.is_none() {
            (*self.items, self.left) = before;
        }
        Ok(Message { body: Body::Unknown { message_type, session }, extra: self.rest()? })
    }

    /// ```cddl
    /// session-id = 0..4294967295 ; up to 32 bits
    /// ```
    #[inline]
    fn session(&mut self) -> Result<u32, DecodeError> {
        let session = self.number("session identifier")?;
        self.session = Some(session);
        Ok(session)
    }

    #[inline]
    fn number(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        let number = self.items.next(&mut self.left).and_then(Items::uint);
        number.ok_or_else(|| self.wrong(what))
    }

    #[inline]
    fn initiator(&mut self) -> Result<IpAddr, DecodeError> {
        let bytes = self.items.next(&mut self.left).and_then(Items::bytes);
        bytes.and_then(|bytes| option::address(&bytes)).ok_or_else(|| self.wrong("initiator"))
    }

    #[inline]
    fn objective(&mut self, needs_value: bool) -> Result<WireObjective, DecodeError> {
        let objective = self.items.next(&mut self.left).and_then(option::objective);
        let objective = objective.ok_or_else(|| self.wrong("objective"))?;
        // RFC 8990 §2.10.3: only some messages may carry an objective without a value.
        if needs_value && objective.value.is_none() {
            return Err(DecodeError::MissingValue { session: self.session });
        }
        Ok(objective)
    }

    /// Reads any element.
    fn value(&mut self) -> Result<Value, DecodeError> {
        // The message is decoded again to say what it is.
        self.items.value().ok_or(DecodeError::malformed("not an item"))
    }

    /// Whether there is one more element, which must be read then.
    fn more(&mut self) -> bool {
        self.items.more(&mut self.left)
    }

    const fn wrong(&self, what: &'static str) -> DecodeError {
        DecodeError::WrongElement { what, session: self.session }
    }

    /// Reads all other elements. Mostly there are none.
    #[inline]
    fn rest(&mut self) -> Result<Vec<Value>, DecodeError> {
        if self.more() { self.extra() } else { Ok(Vec::new()) }
    }

    /// Reads an element that there is, and those after it.
    fn extra(&mut self) -> Result<Vec<Value>, DecodeError> {
        let mut extra = vec![self.value()?];
        while self.more() {
            extra.push(self.value()?);
        }
        Ok(extra)
    }
}

/// Reads a locator option or an empty array. If the option is unknown, malformed or not a locator, only the option is
/// discarded (RFC 8990 §2.8.2; §2.9.2 to §2.9.4 for options of other messages), and the objective has no locator.
fn locator_or_none(items: &mut Items<'_>) -> Option<Option<WireLocator>> {
    if option::option_type(items).is_none() {
        let empty = items.enter()?;
        items.leave(empty)?;
        return Some(None);
    }
    let before = items.clone();
    let locator = option::locator(items);
    if locator.is_none() {
        *items = before;
        items.value()?;
    }
    Some(locator)
}
