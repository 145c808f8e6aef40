//! Events of a trace as the page understands them: JSON, one object an event. Names, values and reasons of strangers
//! are strings in it and nothing else.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::constants::message_type_name;
use crate::trace::echo::Echoes;
use crate::trace::{Direction, Event, MessageEvent, TraceEvent, Transport};
use crate::wire::{Body, Limits, annotate};

/// The longest text of one event, in bytes.
const TEXT: usize = 16 * 1024;

/// What an engine tells the page, event by event.
#[derive(Debug, Default)]
pub(crate) struct Story {
    echoes: Echoes,
}

impl Story {
    /// The beginning of an engine.
    pub(crate) fn start() -> String {
        json!({ "kind": "start" }).to_string()
    }

    /// An event, if the page shows it.
    pub(crate) fn tell(&mut self, event: &TraceEvent) -> Option<String> {
        let mut told = match &event.event {
            Event::Line(text) => json!({ "kind": "line", "text": cut(text) }),
            Event::Message(message) if self.echoes.is_echo(message) => return None,
            Event::Message(message) => tell_message(message),
            Event::SessionEnded(session, how) => {
                let objective = &session.objective;
                note(&format!("{:?} of {objective} {how}", session.kind), Some(session.session), objective)
            }
            Event::Relayed { session, .. } => note("relays", Some(*session), ""),
            // Everyone hears the own multicasts.
            Event::Dropped { reason: "own_multicast" } => return None,
            Event::Dropped { reason } => {
                let mut told = note(reason, None, "");
                told["bad"] = true.into();
                told
            }
            _ => return None,
        };
        let since = event.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        told["time"] = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).into();
        told["thread"] = (*event.thread).into();
        Some(told.to_string())
    }

    /// What the page is told when it could not be told everything.
    pub(crate) fn lost(count: u64) -> String {
        let text = format!("{count} events went by too fast to be shown");
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let mut told = note(&text, None, "");
        (told["bad"], told["time"], told["thread"]) = (true.into(), time.into(), "".into());
        told.to_string()
    }
}

fn note(text: &str, session: Option<u32>, objective: &str) -> Value {
    json!({ "kind": "note", "text": cut(text), "session": session, "objective": cut(objective) })
}

fn tell_message(message: &MessageEvent) -> Value {
    let annotation = annotate(&message.bytes, &Limits { size: usize::MAX, ..Limits::default() });
    let objective = annotation.message.as_ref().ok().and_then(|message| objective(&message.body));
    let name = annotation.message_type.and_then(message_type_name).unwrap_or("unknown");
    let peer = match message.peer.ip().to_ipv4_mapped() {
        Some(address) => address.to_string(),
        None => message.peer.ip().to_string(),
    };
    let mut told = Map::new();
    let mut set = |key: &str, value: Value| told.insert(key.to_owned(), value);
    set("kind", "message".into());
    set("direction", if message.direction == Direction::In { "in" } else { "out" }.into());
    let transport = match message.transport {
        Transport::Multicast => "multicast",
        Transport::UnicastDatagram => "datagram",
        Transport::Tcp => "TCP",
    };
    set("transport", transport.into());
    set("address", format!("{peer} port {}", message.peer.port()).into());
    set("peer", peer.into());
    set("ifi", message.ifi.into());
    set("length", message.on_wire().len().into());
    set("sealed", message.sealed.is_some().into());
    set("type", name.into());
    set("bad", annotation.message.is_err().into());
    set("session", annotation.session.into());
    set("objective", objective.map(cut).into());
    set("text", cut(&format!("{}\n\n{}", annotation.summary, annotation.text)).into());
    told.into()
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

/// No more of a text than the page needs.
fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT);
    match text.get(..end) {
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
        serde_json::from_str(&Story::default().tell(&trace.recv().unwrap()).unwrap()).unwrap()
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
        let message = |bytes: &[u8]| {
            let address = std::net::SocketAddrV6::new(std::net::Ipv6Addr::LOCALHOST, 7, 0, 0);
            told(Event::Message(MessageEvent {
                direction: Direction::In,
                transport: Transport::Tcp,
                local: address,
                peer: address,
                ifi: 0,
                bytes: bytes.into(),
                sealed: None,
            }))
        };
        // [5, 9, ["EX3", 3, 6, 42]]: M_NEGOTIATE.
        let step = message(&[0x83, 5, 9, 0x84, 0x63, b'E', b'X', b'3', 3, 6, 0x18, 42]);
        assert_eq!((&step["type"], &step["objective"]), (&json!("M_NEGOTIATE"), &json!("EX3")));
        assert_eq!((&step["session"], &step["bad"]), (&json!(9), &json!(false)));
        let text = step["text"].as_str().unwrap();
        assert!(
            text.starts_with("M_NEGOTIATE session 9: ") && text.contains("/ session identifier /"),
            "{text}"
        );
        let nonsense = message(&[0xff, 0x00]);
        assert_eq!((&nonsense["type"], &nonsense["bad"]), (&json!("unknown"), &json!(true)));
    }
}
