//! The information about a message, and how it is printed.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use crate::wire::{Annotation, Body, DecodeError, Sender, sender};
use serde_json::{Value, json};

use super::super::output::{hex, json_line};
use super::super::plain;

/// A message, with the information from its capture.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Record {
    /// The number of the packet in the capture that completed it, counted from 1; 0 without a capture.
    pub frame: u64,
    /// The time, in nanoseconds since 1970.
    pub time: Option<i128>,
    /// The name of the interface, if the capture has it.
    pub interface: Option<String>,
    /// The transport, the sender and the receiver.
    pub transport: Option<(Transport, SocketAddr, SocketAddr)>,
    /// Whether the initiator of the session sent it (`true`) or its peer.
    pub from_initiator: Option<bool>,
    /// Whether it was encrypted (it is shown decrypted).
    pub encrypted: bool,
    /// The rest is missing from the capture; the part that exists is valid.
    pub truncated: bool,
    /// What happened during the capture or transfer, such as bytes that are missing before it.
    pub remark: Option<String>,
    /// The message, decrypted.
    pub bytes: Vec<u8>,
    /// The explanation of the message.
    pub annotation: Annotation,
}

/// How a message was carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// In a connection.
    Tcp,
}

/// How messages are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Element by element.
    Text,
    /// On one line.
    Summary,
    /// As a JSON object on one line (docs/decode.md).
    Json,
}

impl Record {
    /// A message without further information.
    pub(super) const fn new(bytes: Vec<u8>, annotation: Annotation) -> Self {
        Self {
            frame: 0,
            time: None,
            interface: None,
            transport: None,
            from_initiator: None,
            encrypted: false,
            truncated: false,
            remark: None,
            bytes,
            annotation,
        }
    }

    /// Returns the message, marked as truncated if `cut` says that its end is missing from the capture.
    pub(super) fn cut_off(self, cut: bool) -> Self {
        // A message with another fault is malformed, whatever follows.
        let wrong = self.annotation.problems.iter().filter(|problem| !problem.forgiven).count();
        let truncated = cut && self.annotation.message == Err(DecodeError::Truncated) && wrong == 1;
        Self { truncated, ..self }
    }

    /// The session, if there is one.
    #[must_use]
    pub const fn session(&self) -> Option<u32> {
        self.annotation.session
    }

    /// Determines the sender from the message type, if possible.
    pub(super) const fn sender_by_type(annotation: &Annotation) -> Option<bool> {
        match annotation.message_type {
            Some(message_type) => match sender(message_type) {
                Sender::Initiator => Some(true),
                Sender::Responder => Some(false),
                Sender::Either => None,
            },
            None => None,
        }
    }

    /// Whether it is not GRASP but consists of whole AES blocks, as sent by QUADS.
    pub(super) fn may_be_sealed(&self) -> bool {
        let is_whole = self.bytes.len().is_multiple_of(16) && !self.bytes.is_empty();
        is_whole && self.annotation.message_type.is_none()
    }

    /// Prints the message.
    ///
    /// # Errors
    /// If writing to `out` fails.
    pub fn print(&self, style: Style, out: &mut dyn Write) -> io::Result<()> {
        match style {
            Style::Summary => writeln!(out, "{}{}", self.heading(), self.annotation.summary),
            Style::Json => json_line(&self.json(), out),
            Style::Text => {
                writeln!(out, "{}{}", self.heading(), self.annotation.summary)?;
                writeln!(out, "{}", self.annotation.text)
            }
        }
    }

    /// The name of the interface, limited in length: a capture may contain a name of any length, and it is printed with
    /// every message.
    fn interface(&self) -> Option<&str> {
        let name = self.interface.as_deref()?;
        Some(name.char_indices().nth(LONGEST_NAME).map_or(name, |(end, _)| name.get(..end).unwrap_or(name)))
    }

    fn heading(&self) -> String {
        let mut words = Vec::new();
        if self.frame > 0 {
            words.push(format!("#{}", self.frame));
        }
        words.extend(self.time.map(time_in_words));
        words.extend(self.interface().map(plain));
        if let Some((transport, source, destination)) = &self.transport {
            let arrow = match self.from_initiator {
                _ if is_multicast(destination.ip()) => "multicast",
                Some(true) => "initiator to responder",
                Some(false) => "responder to initiator",
                None => "direction unknown",
            };
            words.push(format!("{} {source} > {destination} ({arrow})", transport.name()));
        }
        if self.encrypted {
            words.push("[QUADS]".to_owned());
        }
        words.extend(self.remark.as_ref().map(|remark| format!("[{remark}]")));
        let heading = words.join(" ");
        if heading.is_empty() { heading } else { format!("{heading}: ") }
    }

    fn json(&self) -> Value {
        let Annotation { message, message_type, session, summary, text, problems, .. } = &self.annotation;
        let address = |pick: fn(&(Transport, SocketAddr, SocketAddr)) -> SocketAddr| {
            self.transport.as_ref().map(|transport| pick(transport).to_string())
        };
        let initiator = match message.as_ref().map(|message| &message.body) {
            Ok(Body::Discovery { initiator, .. }) => Some(initiator.to_string()),
            Ok(Body::Response(response)) => Some(response.initiator.to_string()),
            Ok(Body::Flood(flood)) => Some(flood.initiator.to_string()),
            _ => None,
        };
        let problems: Vec<Value> = problems
            .iter()
            .map(|it| json!({"position": it.position, "what": it.what, "forgiven": it.forgiven}))
            .collect();
        json!({
            "frame": (self.frame > 0).then_some(self.frame),
            "time": self.time.map(seconds),
            "interface": self.interface(),
            "transport": self.transport.map(|(transport, ..)| transport.name()),
            "source": address(|(_, source, _)| *source),
            "destination": address(|(.., destination)| *destination),
            "direction": match (self.from_initiator, &self.transport) {
                (_, Some((.., destination))) if is_multicast(destination.ip()) => Some("multicast"),
                (Some(true), _) => Some("initiator"),
                (Some(false), _) => Some("responder"),
                (None, _) => None,
            },
            "encrypted": self.encrypted,
            "truncated": self.truncated,
            "remark": self.remark,
            "valid": message.is_ok(),
            "error": message.as_ref().err().map(DecodeError::reason),
            "message_type": message_type,
            "type": message_type.and_then(crate::constants::message_type_name),
            "session": session,
            "initiator": initiator,
            "summary": summary,
            "diagnostic": text,
            "problems": problems,
            "length": self.bytes.len(),
            "hex": hex(&self.bytes),
        })
    }
}

impl Transport {
    const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

const fn is_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_multicast(),
        IpAddr::V6(address) => address.is_multicast(),
    }
}

fn seconds(nanoseconds: i128) -> String {
    format!("{}.{:09}", nanoseconds.div_euclid(NANO), nanoseconds.rem_euclid(NANO))
}

/// The time of day in UTC, or seconds if it is beyond the calendar.
fn time_in_words(nanoseconds: i128) -> String {
    match jiff::Timestamp::from_nanosecond(nanoseconds) {
        Ok(time) => format!("{time:.6}"),
        Err(_) => seconds(nanoseconds),
    }
}

/// An interface name has up to 15 bytes in Linux, and more elsewhere.
const LONGEST_NAME: usize = 64;
const NANO: i128 = 1_000_000_000;
