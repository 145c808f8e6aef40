//! Explains messages to people: what a decoder makes of the bytes, and where and why it fails. Programs that show
//! traffic call it; the engine bases no decision on it.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::diagnostic::{self, Content, Item, Problem, Reading};
use super::summary::{SUMMARY, flags_in_words, shortened, summary, type_label};
use super::{DecodeError, Flags, Limits, Message, option};
use crate::constants::message_type::{
    M_DISCOVERY, M_END, M_FLOOD, M_INVALID, M_NEGOTIATE, M_NOOP, M_REQ_NEG, M_REQ_SYN, M_RESPONSE, M_SYNCH,
    M_WAIT,
};
use crate::constants::option_type::{
    O_ACCEPT, O_DECLINE, O_DIVERT, O_FQDN_LOCATOR, O_IPV4_LOCATOR, O_IPV6_LOCATOR, O_URI_LOCATOR,
};
use crate::constants::{message_type_name, option_type_name};
use crate::types::{Protocol, Value};

/// A message in words. All of its text can be written to a terminal: harmful characters are escaped.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Annotation {
    /// The result of [`decode`](super::decode()).
    pub message: Result<Message, DecodeError>,
    /// The message type; also that of a malformed message if it could be read.
    pub message_type: Option<u64>,
    /// The session identifier; also that of a malformed message if it could be read.
    pub session: Option<u32>,
    /// The message on one line of at most 512 characters.
    pub summary: String,
    /// The message in diagnostic notation (RFC 8949 §8) on several lines, each of which ends with a newline.
    /// `/ comments /` name every element. At most 64 KiB plus eight times the message.
    pub text: String,
    /// What is wrong, ordered by position. Empty, or all forgiven, if and only if `message` is `Ok`. At most 65
    /// entries.
    pub problems: Vec<Problem>,
}

/// The sender of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The initiator of the session.
    Initiator,
    /// The initiator's peer, which answers.
    Responder,
    /// Either of them, or not known.
    Either,
}

/// Which side sends messages of this type (RFC 8990 §2.8).
#[must_use]
pub const fn sender(message_type: u64) -> Sender {
    match message_type {
        M_DISCOVERY | M_REQ_NEG | M_REQ_SYN | M_FLOOD => Sender::Initiator,
        M_RESPONSE | M_SYNCH => Sender::Responder,
        _ => Sender::Either,
    }
}

/// Explains the bytes of one message, whatever they contain. Does not read bytes beyond [`Limits::size`]. Takes time
/// and memory in proportion to the message.
///
/// ```
/// use grasp::wire::{Limits, annotate};
/// let annotation = annotate(&[0x83, 0x07, 0x18, 0x2a, 0x19, 0x03, 0xe8], &Limits::default());
/// assert_eq!(annotation.summary, "M_WAIT session 42: 1000 ms");
/// assert!(annotation.text.contains(" / session identifier /"));
///
/// let annotation = annotate(&[0x83, 0x07, 0x18, 0x2a], &Limits::default());
/// assert_eq!(annotation.session, Some(42));
/// assert_eq!(annotation.problems[0].to_string(), "byte 4: ends too early: an item is missing here");
/// ```
#[must_use]
pub fn annotate(bytes: &[u8], limits: &Limits) -> Annotation {
    let message = super::decode(bytes, limits);
    let seen = bytes.get(..limits.size).unwrap_or(bytes);
    let Reading { mut item, problems, length } = diagnostic::read(seen, limits.depth);
    let mut reader = Reader { problems, end: length, message_type: None, session: None };
    reader.message(&mut item);
    let Reader { mut problems, message_type, session, .. } = reader;
    if bytes.len() > seen.len() {
        let what = format!("larger than {} bytes: the rest is not read", limits.size);
        problems.push(Problem { position: seen.len(), what, forgiven: false });
    } else if item.complete && length < bytes.len() {
        let what = format!("{} bytes follow the message", bytes.len().saturating_sub(length));
        problems.push(Problem { position: length, what, forgiven: false });
    }
    settle(&mut problems, &message);
    let mut text = diagnostic::print(&item, TEXT.saturating_add(bytes.len().saturating_mul(4)));
    if length < seen.len() {
        text.push_str("/ not read: ");
        text.push_str(&Value::Bytes(seen.get(length..).unwrap_or_default().to_vec()).to_string());
        text.push_str(" /\n");
    }
    for problem in &problems {
        let _ = writeln!(text, "/ !! {problem} /");
    }
    let summary = match &message {
        Ok(message) => summary(message),
        Err(error) => {
            let name = message_type.map_or_else(|| "not GRASP".to_owned(), type_label);
            let session = session.map_or_else(String::new, |session| format!(" session {session}"));
            let first = problems.iter().find(|problem| !problem.forgiven);
            format!("{name}{session}: {}", first.map_or_else(|| error.to_string(), ToString::to_string))
        }
    };
    Annotation { message, message_type, session, summary: shortened(&summary, SUMMARY), text, problems }
}

/// Lets the decoder have the last word on whether the message is accepted.
fn settle(problems: &mut Vec<Problem>, message: &Result<Message, DecodeError>) {
    match message {
        Ok(_) => problems.iter_mut().for_each(|problem| problem.forgiven = true),
        Err(error) if problems.iter().all(|problem| problem.forgiven) => {
            // The reader above does not know of this problem.
            problems.push(Problem { position: 0, what: format!("refused: {error}"), forgiven: false });
        }
        Err(_) => {}
    }
    // Problems that spoil the message must not be lost among forgiven ones.
    problems.sort_by_key(|problem| (problem.forgiven, problem.position));
    if let Some(more) = problems.len().checked_sub(PROBLEMS).filter(|more| *more > 0) {
        problems.truncate(PROBLEMS);
        let forgiven = problems.last().is_some_and(|problem| problem.forgiven);
        let position = problems.last().map_or(0, |problem| problem.position);
        problems.push(Problem { position, what: format!("{more} more problems"), forgiven });
    }
    problems.sort_by_key(|problem| problem.position);
}

/// Names the known elements of a message, and records what is missing.
struct Reader {
    problems: Vec<Problem>,
    /// Where the message ends, as far as it was read.
    end: usize,
    message_type: Option<u64>,
    session: Option<u32>,
}

/// The elements that have not been checked yet.
type Elements<'a> = std::slice::IterMut<'a, Item>;

impl Reader {
    fn wrong(&mut self, item: &mut Item, what: &str) {
        item.note = format!("!! {what}");
        self.problems.push(Problem { position: item.position, what: what.to_owned(), forgiven: false });
    }

    fn forgive(&mut self, item: &mut Item, what: &str) {
        item.note = what.to_owned();
        self.problems.push(Problem { position: item.position, what: what.to_owned(), forgiven: true });
    }

    fn message(&mut self, item: &mut Item) {
        let complete = item.complete;
        let Some(items) = item.array() else {
            if complete {
                self.wrong(item, "a GRASP message is an array");
            }
            return;
        };
        let mut elements = items.iter_mut();
        let Some(first) = elements.next() else {
            if complete {
                self.wrong(item, "no message type");
            }
            return;
        };
        let Some(message_type) = first.uint() else {
            return self.wrong(first, "not a message type: an unsigned integer is expected");
        };
        self.message_type = Some(message_type);
        first.note = match sender(message_type) {
            _ if message_type == M_FLOOD => format!("{}, to everyone", type_label(message_type)),
            Sender::Initiator => format!("{}, from the initiator", type_label(message_type)),
            Sender::Responder => format!("{}, from the responder", type_label(message_type)),
            Sender::Either => type_label(message_type),
        };
        let mut elements = Known { elements, complete };
        self.body(message_type, &mut elements);
        for item in elements.elements {
            if message_type == M_DISCOVERY && is_objective(item) {
                self.wrong(item, "a second objective");
            } else if message_type_name(message_type).is_some() {
                self.extra(item);
            }
        }
    }

    fn body(&mut self, message_type: u64, elements: &mut Known<'_>) {
        match message_type {
            M_NOOP => {}
            M_DISCOVERY => {
                self.session(elements);
                self.initiator(elements);
                self.objective_of(elements, false);
            }
            M_RESPONSE => self.response(elements),
            M_REQ_NEG | M_NEGOTIATE | M_SYNCH | M_REQ_SYN => {
                self.session(elements);
                self.objective_of(elements, message_type != M_REQ_SYN);
            }
            M_END => self.end(elements),
            M_WAIT => {
                self.session(elements);
                if let Some(item) = self.element(elements, "waiting time") {
                    self.number(item, "waiting time", milliseconds);
                }
            }
            M_FLOOD => self.flood(elements),
            M_INVALID => {
                self.session(elements);
                if let Some(item) = elements.elements.next() {
                    item.note = "diagnostic content".to_owned();
                }
            }
            _ => {
                let session = elements.elements.as_slice().first().and_then(Item::uint);
                if session.is_some_and(|session| u32::try_from(session).is_ok()) {
                    self.session(elements);
                }
            }
        }
    }

    /// Takes the next element, which must be present.
    fn element<'a>(&mut self, elements: &mut Known<'a>, what: &str) -> Option<&'a mut Item> {
        let next = elements.elements.next();
        if next.is_none() && elements.complete {
            let what = format!("{what} is missing");
            self.problems.push(Problem { position: self.end, what, forgiven: false });
        }
        // The reason why it is not complete has already been recorded.
        next.filter(|item| item.complete || matches!(item.content, Content::Array(_)))
    }

    fn session(&mut self, elements: &mut Known<'_>) {
        let Some(item) = self.element(elements, "session identifier") else { return };
        match item.uint().and_then(|number| u32::try_from(number).ok()) {
            Some(session) => {
                self.session = Some(session);
                item.note = "session identifier".to_owned();
            }
            None => self.wrong(item, "not a session identifier: 0 to 4294967295 is expected"),
        }
    }

    fn initiator(&mut self, elements: &mut Known<'_>) {
        let Some(item) = self.element(elements, "initiator") else { return };
        match item.leaf().and_then(address) {
            Some(address) => item.note = format!("initiator {address}"),
            None => self.wrong(item, "not an initiator: 4 or 16 bytes are expected"),
        }
    }

    fn number(&mut self, item: &mut Item, name: &str, words: impl FnOnce(u32) -> String) {
        match item.uint().and_then(|number| u32::try_from(number).ok()) {
            Some(number) => item.note = format!("{name}: {}", words(number)),
            None => self.wrong(item, &format!("not a {name}: 0 to 4294967295 is expected")),
        }
    }

    /// RFC 8990 §2.8.5.
    fn response(&mut self, elements: &mut Known<'_>) {
        self.session(elements);
        self.initiator(elements);
        if let Some(item) = self.element(elements, "ttl") {
            if let Some(Value::Integer(..0)) = item.leaf() {
                self.forgive(item, "a negative ttl");
            } else {
                self.number(item, "ttl", milliseconds);
            }
        }
        let mut locators = false;
        for item in elements.elements.by_ref() {
            if is_objective(item) {
                // Without flags and a loop count it is not an objective, and a response does not need one.
                let before = self.problems.len();
                self.objective(item, false);
                self.problems.iter_mut().skip(before).for_each(|problem| problem.forgiven = true);
                continue;
            }
            let before = self.problems.len();
            match item.array().and_then(|items| items.first()).and_then(Item::uint) {
                Some(O_DIVERT) => self.divert(item),
                Some(O_IPV6_LOCATOR..=O_URI_LOCATOR) => self.locator(item),
                _ => {
                    self.extra(item);
                    continue;
                }
            }
            locators |= before == self.problems.len();
            self.problems.iter_mut().skip(before).for_each(|problem| problem.forgiven = true);
        }
        if !locators && elements.complete {
            let what = "no locator and no divert option that can be used".to_owned();
            self.problems.push(Problem { position: self.end, what, forgiven: false });
        }
    }

    /// RFC 8990 §2.8.8.
    fn end(&mut self, elements: &mut Known<'_>) {
        self.session(elements);
        let mut outcomes = 0u8;
        for item in elements.elements.by_ref() {
            match item.array().and_then(|items| items.first()).and_then(Item::uint) {
                Some(O_ACCEPT | O_DECLINE) => {
                    self.outcome(item);
                    if outcomes > 0 {
                        self.wrong(item, "a second outcome");
                    }
                    outcomes = outcomes.saturating_add(1);
                }
                _ => self.extra(item),
            }
        }
        if outcomes == 0 && elements.complete {
            let what = "accept or decline option is missing".to_owned();
            self.problems.push(Problem { position: self.end, what, forgiven: false });
        }
    }

    /// RFC 8990 §2.9.3, §2.9.4.
    fn outcome(&mut self, item: &mut Item) {
        let complete = item.complete;
        let Some(items) = item.array() else { return };
        let Some((first, rest)) = items.split_first_mut() else { return };
        let kind = first.uint();
        first.note = kind.and_then(option_type_name).unwrap_or_default().to_owned();
        match (kind, rest) {
            (_, []) => {}
            (Some(O_DECLINE), [reason]) if matches!(reason.leaf(), Some(Value::Text(_))) || !complete => {
                reason.note = "reason".to_owned();
            }
            (Some(O_DECLINE), [reason]) => self.wrong(reason, "not a reason: text is expected"),
            (_, [surplus, ..]) => self.wrong(surplus, "one element too many"),
        }
    }

    /// RFC 8990 §2.8.11.
    fn flood(&mut self, elements: &mut Known<'_>) {
        self.session(elements);
        self.initiator(elements);
        if let Some(item) = self.element(elements, "ttl") {
            self.number(item, "ttl", milliseconds);
        }
        let mut objectives = false;
        for item in elements.elements.by_ref() {
            if item.array().and_then(|items| items.first()).is_some_and(|first| first.uint().is_some()) {
                self.extra(item);
                continue;
            }
            objectives = true;
            self.flooded(item);
        }
        if !objectives && elements.complete {
            let what = "a flood without an objective".to_owned();
            self.problems.push(Problem { position: self.end, what, forgiven: false });
        }
    }

    fn flooded(&mut self, item: &mut Item) {
        let complete = item.complete;
        match item.array() {
            Some([objective, locator]) => {
                self.objective(objective, true);
                let whole = locator.complete;
                match locator.array().map(|items| items.is_empty()) {
                    Some(true) if whole => locator.note = "no locator".to_owned(),
                    Some(_) => self.flooded_locator(locator),
                    None if whole => self.wrong(locator, "not a locator option or an empty array"),
                    None => {}
                }
            }
            Some([objective]) if !complete => self.objective(objective, true),
            _ if !complete => {}
            _ => self.wrong(item, "not a pair of an objective and its locator"),
        }
    }

    /// An option that is not a locator leaves the objective without one (RFC 8990 §2.8.2).
    fn flooded_locator(&mut self, item: &mut Item) {
        let before = self.problems.len();
        self.locator(item);
        if item.array().and_then(|items| items.first()).is_some_and(|first| first.uint().is_some()) {
            self.problems.iter_mut().skip(before).for_each(|problem| problem.forgiven = true);
        }
    }

    fn objective_of(&mut self, elements: &mut Known<'_>, needs_value: bool) {
        if let Some(item) = self.element(elements, "objective") {
            self.objective(item, needs_value);
        }
    }

    /// RFC 8990 §2.10.1.
    fn objective(&mut self, item: &mut Item, needs_value: bool) {
        let complete = item.complete;
        let Some(items) = item.array() else {
            if complete {
                self.wrong(item, "not an objective: an array is expected");
            }
            return;
        };
        let mut parts = items.iter_mut();
        let mut missing = None;
        match parts.next() {
            Some(name) => match name.leaf() {
                Some(Value::Text(text)) if !text.is_empty() => name.note = "objective name".to_owned(),
                Some(Value::Text(_)) => self.wrong(name, "an objective without a name"),
                _ if name.complete => self.wrong(name, "not an objective name: text is expected"),
                _ => {}
            },
            None => missing = Some("objective name is missing"),
        }
        match parts.next() {
            Some(flags) => match flags.uint() {
                Some(bits) => flags.note = format!("flags: {}", flags_in_words(Flags(bits))),
                None if flags.complete => {
                    self.wrong(flags, "not objective flags: an unsigned integer is expected")
                }
                None => {}
            },
            None => missing = missing.or(Some("objective flags are missing")),
        }
        match parts.next() {
            Some(count) => match count.uint() {
                Some(..=255) => count.note = "loop count".to_owned(),
                _ if count.complete => self.wrong(count, "not a loop count: 0 to 255 is expected"),
                _ => {}
            },
            None => missing = missing.or(Some("loop count is missing")),
        }
        match parts.next() {
            Some(value) => value.note = "value".to_owned(),
            None if needs_value => missing = missing.or(Some("the objective has no value")),
            None => {}
        }
        if let Some(surplus) = parts.next() {
            self.wrong(surplus, "one element too many in an objective");
        }
        if let Some(missing) = missing.filter(|_| complete) {
            self.wrong(item, missing);
        }
    }

    /// RFC 8990 §2.9.2.
    fn divert(&mut self, item: &mut Item) {
        let complete = item.complete;
        let Some((first, locators)) = item.array().and_then(|items| items.split_first_mut()) else { return };
        first.note = option_type_name(O_DIVERT).unwrap_or_default().to_owned();
        if locators.is_empty() && complete {
            return self.wrong(item, "a divert option without a locator");
        }
        locators.iter_mut().for_each(|locator| self.locator(locator));
    }

    /// RFC 8990 §2.9.5.
    fn locator(&mut self, item: &mut Item) {
        let complete = item.complete;
        let Some((first, rest)) = item.array().and_then(|items| items.split_first_mut()) else {
            if complete {
                self.wrong(item, "not a locator option");
            }
            return;
        };
        let kind = first.uint();
        match kind {
            Some(kind @ O_IPV6_LOCATOR..=O_URI_LOCATOR) => {
                first.note = option_type_name(kind).unwrap_or_default().to_owned();
            }
            _ if complete => return self.wrong(first, "not the type of a locator option"),
            _ => return,
        }
        let is_uri = kind == Some(O_URI_LOCATOR);
        if let Some(place) = rest.first_mut() {
            let address = place.leaf().and_then(address);
            let is_text = matches!(place.leaf(), Some(Value::Text(_)));
            match (kind, address) {
                _ if !place.complete => {}
                (Some(O_IPV6_LOCATOR), Some(IpAddr::V6(address))) => place.note = address.to_string(),
                (Some(O_IPV4_LOCATOR), Some(IpAddr::V4(address))) => place.note = address.to_string(),
                (Some(O_FQDN_LOCATOR), _) if is_text => place.note = "domain name".to_owned(),
                (Some(O_URI_LOCATOR), _) if is_text => place.note = "URI".to_owned(),
                (Some(O_IPV6_LOCATOR), _) => self.wrong(place, "not an IPv6 address: 16 bytes are expected"),
                (Some(O_IPV4_LOCATOR), _) => self.wrong(place, "not an IPv4 address: 4 bytes are expected"),
                _ => self.wrong(place, "text is expected"),
            }
        }
        if let Some(transport) = rest.get_mut(1) {
            match transport.uint().map(Protocol::from_number) {
                Some(protocol) => transport.note = protocol.to_string(),
                None if is_uri && transport.leaf().is_some_and(Value::is_null) => {
                    transport.note = "no transport protocol".to_owned();
                }
                None if transport.complete => {
                    self.wrong(transport, "not a transport protocol: a number is expected")
                }
                None => {}
            }
        }
        if let Some(port) = rest.get_mut(2) {
            match port.uint() {
                Some(..=0xffff) => port.note = "port".to_owned(),
                None if is_uri && port.leaf().is_some_and(Value::is_null) => port.note = "no port".to_owned(),
                _ if port.complete => self.wrong(port, "not a port: 0 to 65535 is expected"),
                _ => {}
            }
        }
        let lone_uri = is_uri && rest.len() == 1;
        if let Some(surplus) = rest.get_mut(3) {
            self.wrong(surplus, "one element too many in a locator option");
        } else if complete && rest.len() < 3 && !lone_uri {
            self.wrong(item, "a locator option with too few elements");
        }
    }

    /// Notes an element that does not belong to this message: not fatal (RFC 8990 §2.8.2).
    fn extra(&mut self, item: &mut Item) {
        if !item.complete || !item.note.is_empty() {
            return;
        }
        let kind = item.array().and_then(|items| items.first()).and_then(Item::uint);
        let what = match kind {
            Some(kind) => match option_type_name(kind) {
                Some(name) => format!("an {name} option does not belong here"),
                None => "an option that is not known".to_owned(),
            },
            None => "an element that does not belong here".to_owned(),
        };
        self.forgive(item, &what);
    }
}

/// The elements of a message, and whether they are complete.
struct Known<'a> {
    elements: Elements<'a>,
    complete: bool,
}

fn is_objective(item: &Item) -> bool {
    match &item.content {
        Content::Array(items) => matches!(items.first().and_then(Item::leaf), Some(Value::Text(_))),
        _ => false,
    }
}

fn milliseconds(time: u32) -> String {
    format!("{time} ms")
}

/// How long the text of a short message may be, in bytes.
const TEXT: usize = 48 * 1024;
/// The largest number of problems that are reported.
const PROBLEMS: usize = 64;
/// The address that an element is.
fn address(leaf: &Value) -> Option<IpAddr> {
    match leaf {
        Value::Bytes(bytes) => option::address(bytes),
        _ => None,
    }
}
