//! Encodes a [`Message`] (RFC 8990 §2.8, §4) with definite lengths and the shortest form of every number
//! (RFC 8949 §4.1). graspy writes the same, except for floats.

use std::net::IpAddr;

use super::{Body, Message, Outcome, WireLocator, WireObjective, WireOption};
use crate::cbor::codec::{write, write_bytes, write_text};
use crate::cbor::head::{self, Major};
use crate::constants::option_type::{
    O_ACCEPT, O_DECLINE, O_DIVERT, O_FQDN_LOCATOR, O_IPV4_LOCATOR, O_IPV6_LOCATOR, O_URI_LOCATOR,
};
use crate::types::{Locator, Protocol, Value};

/// Encodes a message. Does not check any size limit: the caller compares the length (RFC 8990 §2.5.3, §2.8.3).
///
/// `extra` is written after the elements of the message type. So if the last element is absent, the first `extra` takes
/// its place.
#[must_use]
pub fn encode(message: &Message) -> Vec<u8> {
    let mut elements = Elements { count: 0, bytes: Vec::with_capacity(USUAL) };
    // A placeholder for the head, which is known only at the end.
    elements.bytes.push(0);
    elements.uint(message.message_type());
    if let Some(session) = message.session() {
        elements.uint(u64::from(session));
    }
    elements.body(&message.body);
    message.extra.iter().for_each(|value| elements.value(value));

    head::replace_first(&mut elements.bytes, Major::Array, elements.count);
    elements.bytes
}

/// The length in bytes that most messages do not exceed.
const USUAL: usize = 128;

/// The elements of a message, counted as they are written.
struct Elements {
    count: usize,
    bytes: Vec<u8>,
}

impl Elements {
    fn body(&mut self, body: &Body) {
        match body {
            Body::Noop | Body::Unknown { .. } => {}
            Body::Discovery { initiator, objective, .. } => {
                self.initiator(*initiator);
                self.objective(objective);
            }
            Body::Response(response) => {
                self.initiator(response.initiator);
                self.uint(u64::from(response.ttl));
                response.options.iter().for_each(|option| self.option(option));
                response.objective.iter().for_each(|objective| self.objective(objective));
            }
            Body::RequestNegotiate(step)
            | Body::RequestSynchronize(step)
            | Body::Negotiate(step)
            | Body::Synch(step) => self.objective(&step.objective),
            Body::End { outcome, .. } => self.outcome(outcome),
            Body::Wait { time, .. } => self.uint(u64::from(*time)),
            Body::Flood(flood) => {
                self.initiator(flood.initiator);
                self.uint(u64::from(flood.ttl));
                for (objective, locator) in &flood.objectives {
                    let out = self.next();
                    head::put(out, Major::Array, 2);
                    write_objective(out, objective);
                    match locator {
                        Some(locator) => write_locator(out, locator),
                        // RFC 8990 §2.8.11: an empty array means that there is no locator.
                        None => head::put(out, Major::Array, 0),
                    }
                }
            }
            Body::Invalid { content, .. } => content.iter().for_each(|content| self.value(content)),
        }
    }

    /// Counts one more element and returns the buffer for it.
    const fn next(&mut self) -> &mut Vec<u8> {
        self.count = self.count.saturating_add(1);
        &mut self.bytes
    }

    fn uint(&mut self, number: u64) {
        head::put(self.next(), Major::Unsigned, number);
    }

    fn value(&mut self, value: &Value) {
        write(self.next(), value);
    }

    fn initiator(&mut self, address: IpAddr) {
        write_address(self.next(), address);
    }

    fn objective(&mut self, objective: &WireObjective) {
        write_objective(self.next(), objective);
    }

    fn option(&mut self, option: &WireOption) {
        match option {
            WireOption::Locator(locator) => write_locator(self.next(), locator),
            WireOption::Divert(locators) => {
                let out = self.next();
                head::put_length(out, Major::Array, locators.len().saturating_add(1));
                head::put(out, Major::Unsigned, O_DIVERT);
                locators.iter().for_each(|locator| write_locator(out, locator));
            }
            WireOption::Other(value) => self.value(value),
        }
    }

    fn outcome(&mut self, outcome: &Outcome) {
        let out = self.next();
        match outcome {
            Outcome::Accept => {
                head::put(out, Major::Array, 1);
                head::put(out, Major::Unsigned, O_ACCEPT);
            }
            Outcome::Decline(None) => {
                head::put(out, Major::Array, 1);
                head::put(out, Major::Unsigned, O_DECLINE);
            }
            Outcome::Decline(Some(reason)) => {
                head::put(out, Major::Array, 2);
                head::put(out, Major::Unsigned, O_DECLINE);
                write_text(out, reason);
            }
        }
    }
}

fn write_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => write_bytes(out, &address.octets()),
        IpAddr::V6(address) => write_bytes(out, &address.octets()),
    }
}

/// Writes four elements always, also in a Divert; null for a missing protocol or port of a URI (RFC 8990 §2.9.5.4).
fn write_locator(out: &mut Vec<u8>, locator: &WireLocator) {
    head::put(out, Major::Array, 4);
    match &locator.locator {
        Locator::Ipv6(address) => {
            head::put(out, Major::Unsigned, O_IPV6_LOCATOR);
            write_address(out, (*address).into());
        }
        Locator::Ipv4(address) => {
            head::put(out, Major::Unsigned, O_IPV4_LOCATOR);
            write_address(out, (*address).into());
        }
        Locator::Fqdn(name) => {
            head::put(out, Major::Unsigned, O_FQDN_LOCATOR);
            write_text(out, name);
        }
        Locator::Uri(uri) => {
            head::put(out, Major::Unsigned, O_URI_LOCATOR);
            write_text(out, uri);
        }
    }
    for number in [locator.protocol.map(Protocol::number), locator.port.map(u64::from)] {
        match number {
            Some(number) => head::put(out, Major::Unsigned, number),
            None => head::put_simple(out, head::NULL),
        }
    }
}

fn write_objective(out: &mut Vec<u8>, objective: &WireObjective) {
    head::put(out, Major::Array, if objective.value.is_some() { 4 } else { 3 });
    write_text(out, &objective.name);
    head::put(out, Major::Unsigned, objective.flags.0);
    head::put(out, Major::Unsigned, u64::from(objective.loop_count));
    objective.value.iter().for_each(|value| write(out, value));
}
