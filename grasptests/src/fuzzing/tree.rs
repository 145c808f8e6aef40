//! Decodes messages in a plain and slow way: the scanner looks at the shape, then all becomes a tree of values, and then a message.
//! The decoder of the engine does it in one pass and must find the same.

use std::net::IpAddr;
use std::vec::IntoIter;

use grasp::constants::message_type::{
    M_DISCOVERY, M_END, M_FLOOD, M_INVALID, M_NEGOTIATE, M_NOOP, M_REQ_NEG, M_REQ_SYN, M_RESPONSE, M_SYNCH,
    M_WAIT,
};
use grasp::constants::option_type::{
    O_ACCEPT, O_DECLINE, O_DIVERT, O_FQDN_LOCATOR, O_IPV4_LOCATOR, O_IPV6_LOCATOR, O_URI_LOCATOR,
};
use grasp::wire::{
    Body, DecodeError, Flags, Flood, ItemScanner, Limits, Message, Outcome, Progress, Response, Step,
    WireLocator, WireObjective, WireOption,
};
use grasp::{Locator, Protocol, Value};

/// What `wire::decode` must return.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Message, DecodeError> {
    if bytes.len() > limits.size {
        return Err(DecodeError::TooLarge { limit: limits.size });
    }
    match tree(bytes, limits)? {
        (tree, length) if length == bytes.len() => message(tree),
        _ => Err(DecodeError::TrailingBytes),
    }
}

/// What `wire::decode_prefix` must return.
pub(super) fn decode_prefix(bytes: &[u8], limits: &Limits) -> Result<(Message, usize), DecodeError> {
    let (tree, length) = tree(bytes, limits)?;
    Ok((message(tree)?, length))
}

fn tree(bytes: &[u8], limits: &Limits) -> Result<(Value, usize), DecodeError> {
    match ItemScanner::new(*limits).feed(bytes)? {
        Progress::Complete(length) => {
            Ok((Value::decode(bytes.get(..length).ok_or(DecodeError::Truncated)?)?, length))
        }
        Progress::Incomplete => Err(DecodeError::Truncated),
    }
}

fn message(value: Value) -> Result<Message, DecodeError> {
    let Value::Array(items) = value else { return Err(DecodeError::NotAMessage) };
    let mut elements = Elements { items: items.into_iter(), session: None };
    let message_type = elements.items.next().as_ref().and_then(uint).ok_or(DecodeError::NotAMessage)?;
    match message_type {
        M_NOOP => Ok(Message { body: Body::Noop, extra: elements.rest() }),
        M_DISCOVERY => elements.discovery(),
        M_RESPONSE => elements.response(),
        M_REQ_NEG => {
            elements.step(true).map(|(step, extra)| Message { body: Body::RequestNegotiate(step), extra })
        }
        M_REQ_SYN => {
            elements.step(false).map(|(step, extra)| Message { body: Body::RequestSynchronize(step), extra })
        }
        M_NEGOTIATE => {
            elements.step(true).map(|(step, extra)| Message { body: Body::Negotiate(step), extra })
        }
        M_END => elements.end(),
        M_WAIT => elements.wait(),
        M_SYNCH => elements.step(true).map(|(step, extra)| Message { body: Body::Synch(step), extra }),
        M_FLOOD => elements.flood(),
        M_INVALID => elements.invalid(),
        _ => Ok(elements.unknown(message_type)),
    }
}

struct Elements {
    items: IntoIter<Value>,
    session: Option<u32>,
}

impl Elements {
    fn discovery(mut self) -> Result<Message, DecodeError> {
        let session = self.session()?;
        let initiator = self.initiator()?;
        let objective = self.objective(false)?;
        let second = |value: &Value| matches!(value.as_array(), Some([Value::Text(_), ..]));
        if self.items.as_slice().iter().any(second) {
            return Err(self.wrong("a second objective"));
        }
        let body = Body::Discovery { session, initiator, objective };
        Ok(Message { body, extra: self.rest() })
    }

    fn response(mut self) -> Result<Message, DecodeError> {
        let session = self.session()?;
        let initiator = self.initiator()?;
        let ttl = match self.items.as_slice().first() {
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
                Value::Array(items) => match objective_of(items) {
                    Ok(found) => {
                        // If there are several, the last one counts.
                        options.extend(objective.replace(found).map(|one| WireOption::Other(value_of(one))));
                        options.extend(extra.drain(..).map(WireOption::Other));
                        continue;
                    }
                    Err(items) => {
                        if let Some(locator) = locator(&items) {
                            options.push(WireOption::Locator(locator));
                            continue;
                        }
                        if let Some(locators) = divert(&items) {
                            options.push(WireOption::Divert(locators));
                            continue;
                        }
                        Value::Array(items)
                    }
                },
                other => other,
            };
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

    fn step(mut self, needs_value: bool) -> Result<(Step, Vec<Value>), DecodeError> {
        let session = self.session()?;
        let objective = self.objective(needs_value)?;
        Ok((Step { session, objective }, self.rest()))
    }

    fn end(mut self) -> Result<Message, DecodeError> {
        let session = self.session()?;
        let invalid = DecodeError::InvalidEnd { session: self.session };
        let mut outcome = None;
        let mut extra = Vec::new();
        for element in self.items {
            match element.as_array() {
                Some(items) if is_outcome(items) => match outcome_of(items) {
                    Some(found) if outcome.is_none() => outcome = Some(found),
                    _ => return Err(invalid),
                },
                _ => extra.push(element),
            }
        }
        let outcome = outcome.ok_or(invalid)?;
        Ok(Message { body: Body::End { session, outcome }, extra })
    }

    fn wait(mut self) -> Result<Message, DecodeError> {
        let session = self.session()?;
        let time = self.number("waiting time")?;
        Ok(Message { body: Body::Wait { session, time }, extra: self.rest() })
    }

    fn flood(mut self) -> Result<Message, DecodeError> {
        let session = self.session()?;
        let initiator = self.initiator()?;
        let ttl = self.number("ttl")?;
        let mut objectives = Vec::new();
        let mut extra = Vec::new();
        for element in self.items.by_ref() {
            match element {
                Value::Array(items) if option_type(&items).is_some() => {
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

    fn invalid(mut self) -> Result<Message, DecodeError> {
        let session = self.session()?;
        let content = self.items.next();
        Ok(Message { body: Body::Invalid { session, content }, extra: self.rest() })
    }

    fn unknown(mut self, message_type: u64) -> Message {
        let session = self.items.as_slice().first().and_then(uint);
        if session.is_some() {
            self.items.next();
        }
        Message { body: Body::Unknown { message_type, session }, extra: self.rest() }
    }

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
        let address = self.items.next().as_ref().and_then(address);
        address.ok_or_else(|| self.wrong("initiator"))
    }

    fn objective(&mut self, needs_value: bool) -> Result<WireObjective, DecodeError> {
        let element = self.items.next().unwrap_or_default();
        let objective = objective(element).ok_or_else(|| self.wrong("objective"))?;
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
        Some(items) if option_type(items).is_some() => locator(items),
        _ => return Err(wrong("locator option")),
    };
    Ok((objective, locator))
}

fn objective(element: Value) -> Option<WireObjective> {
    match element {
        Value::Array(items) => objective_of(items).ok(),
        _ => None,
    }
}

fn uint<T: TryFrom<i128>>(value: &Value) -> Option<T> {
    match value {
        Value::Integer(number @ 0..) => T::try_from(*number).ok(),
        _ => None,
    }
}

fn option_type(items: &[Value]) -> Option<u64> {
    items.first().and_then(uint)
}

fn address(value: &Value) -> Option<IpAddr> {
    let Value::Bytes(bytes) = value else { return None };
    <[u8; 16]>::try_from(bytes.as_slice())
        .map(IpAddr::from)
        .or_else(|_| <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from))
        .ok()
}

fn locator(items: &[Value]) -> Option<WireLocator> {
    let kind = option_type(items)?;
    let (locator, protocol, port) = match (kind, items) {
        (O_URI_LOCATOR, [_, Value::Text(uri)]) => (Locator::Uri(uri.clone()), None, None),
        (O_URI_LOCATOR, [_, Value::Text(uri), protocol, port]) => {
            let protocol = if protocol.is_null() { None } else { Some(transport(protocol)?) };
            let port = if port.is_null() { None } else { Some(uint(port)?) };
            (Locator::Uri(uri.clone()), protocol, port)
        }
        (_, [_, place, protocol, port]) => {
            let locator = match (kind, place) {
                (O_IPV6_LOCATOR, place) => address(place).filter(IpAddr::is_ipv6)?.into(),
                (O_IPV4_LOCATOR, place) => address(place).filter(IpAddr::is_ipv4)?.into(),
                (O_FQDN_LOCATOR, Value::Text(name)) => Locator::Fqdn(name.clone()),
                _ => return None,
            };
            (locator, Some(transport(protocol)?), Some(uint(port)?))
        }
        _ => return None,
    };
    Some(WireLocator { locator, protocol, port })
}

fn transport(value: &Value) -> Option<Protocol> {
    uint(value).map(Protocol::from_number)
}

fn divert(items: &[Value]) -> Option<Vec<WireLocator>> {
    match (option_type(items)?, items) {
        (O_DIVERT, [_, locators @ ..]) if !locators.is_empty() => {
            locators.iter().map(|value| value.as_array().and_then(locator)).collect()
        }
        _ => None,
    }
}

fn is_outcome(items: &[Value]) -> bool {
    matches!(option_type(items), Some(O_ACCEPT | O_DECLINE))
}

fn outcome_of(items: &[Value]) -> Option<Outcome> {
    match (option_type(items)?, items) {
        (O_ACCEPT, [_]) => Some(Outcome::Accept),
        (O_DECLINE, [_]) => Some(Outcome::Decline(None)),
        (O_DECLINE, [_, Value::Text(reason)]) => Some(Outcome::Decline(Some(reason.clone()))),
        _ => None,
    }
}

fn objective_of(items: Vec<Value>) -> Result<WireObjective, Vec<Value>> {
    let numbers = match items.as_slice() {
        [Value::Text(name), flags, count] | [Value::Text(name), flags, count, _] if !name.is_empty() => {
            uint(flags).zip(uint(count))
        }
        _ => None,
    };
    let Some((flags, loop_count)) = numbers else { return Err(items) };
    let mut items = items.into_iter();
    match items.next() {
        Some(Value::Text(name)) => {
            Ok(WireObjective { name, flags: Flags(flags), loop_count, value: items.nth(2) })
        }
        _ => Err(items.collect()),
    }
}

fn value_of(objective: WireObjective) -> Value {
    let mut items = vec![objective.name.into(), objective.flags.0.into(), objective.loop_count.into()];
    items.extend(objective.value);
    Value::Array(items)
}
