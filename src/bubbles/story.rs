//! Converts trace events to the JSON that the page understands, one object per event. Names, values and reasons from
//! peers are only strings in it.

use std::net::Ipv6Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::clock::millis;
use crate::constants::message_type_name;
use crate::trace::echo::Echoes;
use crate::trace::{Carrier, Direction, Event, MessageEvent, TraceEvent};
use crate::wire::{Body, Limits, Outcome, WireLocator, WireOption, annotate};

/// The longest text of an event, in bytes.
const TEXT: usize = 16 * 1024;
/// The longest text on an arrow, in bytes.
const BRIEF: usize = 200;

/// Describes the events of an engine for the page.
#[derive(Debug, Default)]
pub(crate) struct Story {
    echoes: Echoes,
}

impl Story {
    /// The event that marks the start of an engine.
    pub(crate) fn start() -> String {
        json!({ "kind": "start", "time": milliseconds(SystemTime::now()) }).to_string()
    }

    /// Describes an event if the page shows it. `name` returns the name of an interface.
    pub(crate) fn tell(
        &mut self,
        event: &TraceEvent,
        name: impl Fn(u32) -> Option<String>,
    ) -> Option<String> {
        let mut told = match &event.event {
            Event::Line(text) => json!({ "kind": "line", "text": cut(text, TEXT) }),
            Event::Message(message) if self.echoes.is_echo(message) => return None,
            Event::Message(message) => tell_message(message, name(message.ifi)),
            Event::SessionEnded(session, how) => {
                let objective = &session.objective;
                let text = format!("{:?} of {objective} {how}", session.kind);
                let mut told = note(&text, Some(session.session), objective);
                told["peer"] = session.peer.map(readable).into();
                told
            }
            Event::Relayed { session, .. } => note("relays", Some(*session), ""),
            // Every engine hears its own multicasts.
            Event::Dropped { reason: "own_multicast" } => return None,
            Event::Dropped { reason } => {
                let mut told = note(reason, None, "");
                told["bad"] = true.into();
                told
            }
            _ => return None,
        };
        told["time"] = milliseconds(event.time).into();
        told["thread"] = (*event.thread).into();
        Some(told.to_string())
    }

    /// The event that says that some events are missing.
    pub(crate) fn lost(count: u64) -> String {
        let text =
            format!("{count} events are missing here: they came too fast, or while nobody was connected");
        let mut told = note(&text, None, "");
        told["bad"] = true.into();
        told["time"] = milliseconds(SystemTime::now()).into();
        told["thread"] = "".into();
        told.to_string()
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn note(text: &str, session: Option<u32>, objective: &str) -> Value {
    json!({ "kind": "note", "text": cut(text, TEXT), "session": session, "objective": cut(objective, TEXT) })
}

/// An address as people write it: in a trace, IPv4 addresses are mapped.
fn readable(address: Ipv6Addr) -> String {
    address.to_canonical().to_string()
}

fn tell_message(message: &MessageEvent, interface: Option<String>) -> Value {
    let annotation = annotate(&message.bytes, &Limits { size: usize::MAX, ..Limits::default() });
    let body = annotation.message.as_ref().ok().map(|message| &message.body);
    let name = annotation.message_type.and_then(message_type_name).unwrap_or("unknown");
    let mut peer = readable(*message.peer.ip());
    if let Some(interface) = interface.as_ref().filter(|_| message.peer.ip().is_unicast_link_local()) {
        peer = format!("{peer}%{interface}");
    }
    let mut told = Map::new();
    let mut set = |key: &str, value: Value| told.insert(key.to_owned(), value);
    set("kind", "message".into());
    set("direction", if message.direction == Direction::In { "in" } else { "out" }.into());
    let carrier = match message.carrier {
        Carrier::Multicast => "multicast",
        Carrier::UnicastDatagram => "datagram",
        Carrier::Tcp => "TCP",
    };
    set("transport", carrier.into());
    set("address", format!("{peer} port {}", message.peer.port()).into());
    set("peer", peer.into());
    set("interface", interface.into());
    set("length", message.on_wire().len().into());
    set("sealed", message.sealed.is_some().into());
    set("type", name.into());
    set("bad", annotation.message.is_err().into());
    set("session", annotation.session.into());
    set("objective", body.and_then(objective).map(|name| cut(name, TEXT)).into());
    set("brief", body.and_then(brief).map(|text| cut(&text, BRIEF)).into());
    set("text", cut(&format!("{}\n\n{}", annotation.summary, annotation.text), TEXT).into());
    told.into()
}

/// The content of a message besides its objective: the offer, the outcome, the waiting time, the locator.
fn brief(body: &Body) -> Option<String> {
    let value = |value: &crate::Value| match value.embedded() {
        Some(Ok(inside)) => inside.to_string(),
        _ => value.to_string(),
    };
    match body {
        Body::RequestNegotiate(step) | Body::Negotiate(step) | Body::Synch(step) => {
            step.objective.value.as_ref().map(value)
        }
        Body::Flood(flood) => flood.objectives.first().and_then(|(it, _)| it.value.as_ref()).map(value),
        Body::End { outcome: Outcome::Accept, .. } => Some("accepted".to_owned()),
        Body::End { outcome: Outcome::Decline(None), .. } => Some("declined".to_owned()),
        Body::End { outcome: Outcome::Decline(Some(reason)), .. } => Some(format!("declined: {reason}")),
        Body::Wait { time, .. } => Some(format!("{time} ms")),
        Body::Response(response) => response.options.iter().find_map(|option| match option {
            WireOption::Locator(locator) => Some(place(locator)),
            WireOption::Divert(locators) => locators.first().map(|it| format!("divert to {}", place(it))),
            WireOption::Other(_) => None,
        }),
        Body::Invalid { content, .. } => content.as_ref().map(value),
        _ => None,
    }
}

fn place(locator: &WireLocator) -> String {
    let port = locator.port.map(|port| format!(" port {port}")).unwrap_or_default();
    format!("{}{port}", locator.locator)
}

fn objective(body: &Body) -> Option<&str> {
    match body {
        Body::Discovery { objective, .. } => Some(&objective.name),
        Body::RequestNegotiate(step)
        | Body::RequestSynchronize(step)
        | Body::Negotiate(step)
        | Body::Synch(step) => Some(&step.objective.name),
        Body::Flood(flood) => flood.objectives.first().map(|(objective, _)| &*objective.name),
        Body::Response(response) => response.objective.as_ref().map(|objective| &*objective.name),
        _ => None,
    }
}

/// Shortens a text to what the page needs.
fn cut(text: &str, most: usize) -> String {
    // No character has more than four bytes.
    let begin = (most.saturating_sub(3)..=most).rev().find_map(|end| text.get(..end));
    match begin {
        Some(begin) if begin.len() < text.len() => format!("{begin}…"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Tracer;

    fn told(event: Event) -> Value {
        let tracer = Tracer::default();
        let trace = tracer.subscribe(1);
        tracer.emit(|| event);
        let name = |ifi| (ifi == 2).then(|| "eth0".to_owned());
        serde_json::from_str(&Story::default().tell(&trace.recv().unwrap(), name).unwrap()).unwrap()
    }

    #[test]
    fn a_text_is_a_string_whatever_is_in_it() {
        let hostile = "</script><img src=x onerror=alert(1)>\n\"\\\u{202e}\u{2028}data: x";
        assert_eq!(told(Event::Line(hostile.to_owned()))["text"], hostile);
        let long = told(Event::Line("ä".repeat(TEXT)));
        assert!(long["text"].as_str().unwrap().len() <= TEXT + "…".len());
    }

    #[test]
    fn a_message_is_told_with_its_type_and_content_and_what_is_none_as_malformed() {
        let message_from = |address, bytes: &[u8]| {
            let address = std::net::SocketAddrV6::new(address, 7, 0, 0);
            told(Event::Message(MessageEvent {
                direction: Direction::In,
                carrier: Carrier::Tcp,
                local: address,
                peer: address,
                ifi: 2,
                bytes: bytes.into(),
                sealed: None,
                secured: false,
            }))
        };
        let message = |bytes: &[u8]| message_from(Ipv6Addr::LOCALHOST, bytes);
        // [5, 9, ["EX3", 3, 6, 42]]: M_NEGOTIATE.
        let step = message(&[0x83, 5, 9, 0x84, 0x63, b'E', b'X', b'3', 3, 6, 0x18, 42]);
        assert_eq!((&step["type"], &step["objective"]), (&json!("M_NEGOTIATE"), &json!("EX3")));
        assert_eq!((&step["session"], &step["bad"]), (&json!(9), &json!(false)));
        assert_eq!((&step["brief"], &step["interface"]), (&json!("42"), &json!("eth0")));
        let text = step["text"].as_str().unwrap();
        assert!(
            text.starts_with("M_NEGOTIATE session 9: ") && text.contains("/ session identifier /"),
            "{text}"
        );
        assert_eq!((&step["peer"], &step["address"]), (&json!("::1"), &json!("::1 port 7")));
        // A link-local address is ambiguous without its link.
        let link_local = message_from(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), b"\x81\x00");
        assert_eq!(link_local["peer"], "fe80::1%eth0");
        // [5, 9, ["EX3", 3, 6, 24(<<["NZD", 1]>>)]]: what is embedded is what is said.
        let embedded = message(b"\x83\x05\x09\x84\x63EX3\x03\x06\xd8\x18\x46\x82\x63NZD\x01");
        assert_eq!(embedded["brief"], "[\"NZD\", 1]");
        // [6, 9, [102, "no"]]: M_END; [7, 9, 1000]: M_WAIT.
        assert_eq!(message(b"\x83\x06\x09\x82\x18\x66\x62no")["brief"], "declined: no");
        assert_eq!(message(b"\x83\x07\x09\x19\x03\xe8")["brief"], "1000 ms");
        // [2, 9, initiator, 1000, [103, ::1, 6, 7017]]: M_RESPONSE.
        let one = [&[0x50][..], &Ipv6Addr::LOCALHOST.octets()].concat();
        let response = [&b"\x85\x02\x09"[..], &one, b"\x19\x03\xe8\x84\x18\x67", &one, b"\x06\x19\x1b\x69"];
        assert_eq!(message(&response.concat())["brief"], "::1 port 7017");
        let nonsense = message(&[0xff, 0x00]);
        assert_eq!(nonsense["brief"], Value::Null);
        assert_eq!((&nonsense["type"], &nonsense["bad"]), (&json!("unknown"), &json!(true)));
    }
}
