//! `grasp monitor`: what the node does, event by event.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value as Json, json};

use super::command::Monitor;
use super::failure::{Failure, Outcome};
use super::output::{hex, locator_json};
use super::plain;
use super::run::{LOOK, Run, next_event};
use super::shown::merge;
use crate::trace::story::Story;
use crate::trace::{
    Cache, Carrier, Direction, Event, MessageEvent, Removal, SessionEvent, SessionKind, TraceEvent,
};
use crate::wire::{Limits, annotate};

/// `grasp monitor`
pub(super) fn monitor(run: &mut Run<'_>, verb: &Monitor) -> Outcome {
    let trace = run.engine.trace();
    let deadline = run.deadline();
    let mut names = interfaces(run);
    let mut story = Story::default();
    let (mut shown, mut lost): (u64, u64) = (0, 0);
    while verb.count.is_none_or(|count| shown < count) {
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            break;
        }
        let look = Instant::now() + LOOK;
        let Some(event) = next_event(&trace, deadline.map_or(look, |deadline| deadline.min(look))) else {
            run.check_node()?;
            names = interfaces(run);
            continue;
        };
        if trace.lost() > lost {
            run.lost(trace.lost() - lost)?;
            lost = trace.lost();
        }
        // The story needs every event, so that it knows what later events are about.
        let sentence = story.tell(&event, |ifi| names.get(&ifi).cloned()).map(|(_, sentence)| sentence);
        if verb.objective.as_ref().is_some_and(|wanted| !concerns(&event.event, wanted)) {
            continue;
        }
        if run.options.json {
            run.json(&event_json(&event, &names))?;
            shown += 1;
            continue;
        }
        let sentence = match (&event.event, sentence) {
            (Event::Message(message), _) if verb.verbose => Some(in_full(message)),
            (_, Some(sentence)) => Some(sentence),
            (event, None) if verb.verbose => in_words(event),
            _ => None,
        };
        if let Some(sentence) = sentence {
            run.say(format_args!("{} {sentence}", time(&event)))?;
            shown += 1;
        }
    }
    if shown > 0 { Ok(()) } else { Err(Failure::nothing("nothing has happened")) }
}

impl Run<'_> {
    /// Says that events are missing.
    fn lost(&mut self, count: u64) -> Outcome {
        if self.options.json {
            return self.json(&json!({ "event": "lost", "count": count }));
        }
        self.say(format_args!("... {count} events are missing here: they came too fast"))
    }
}

fn interfaces(run: &Run<'_>) -> BTreeMap<u32, String> {
    run.engine.links().into_iter().map(|(ifi, _)| ifi).zip(run.engine.link_names()).collect()
}

/// The time of day in UTC.
fn time(event: &TraceEvent) -> String {
    jiff::Timestamp::try_from(event.time)
        .map_or_else(|_| "-".to_owned(), |time| time.strftime("%H:%M:%S%.3f").to_string())
}

/// Whether an event concerns an objective whose name contains this text.
fn concerns(event: &Event, wanted: &str) -> bool {
    match event {
        Event::Message(message) => annotated(message).summary.contains(wanted),
        Event::SessionOpened(session) | Event::SessionEnded(session, _) => session.objective.contains(wanted),
        Event::CacheAdded(entry) | Event::CacheRemoved(entry, _) => entry.objective.contains(wanted),
        _ => false,
    }
}

fn annotated(message: &MessageEvent) -> crate::wire::Annotation {
    annotate(&message.bytes, &Limits { size: message.bytes.len(), ..Limits::default() })
}

/// A message, element by element.
fn in_full(message: &MessageEvent) -> String {
    let annotation = annotated(message);
    let arrow = if message.direction == Direction::In { "from" } else { "to" };
    format!(
        "{} {arrow} {}: {}\n{}",
        carrier(message.carrier),
        message.peer,
        annotation.summary,
        annotation.text
    )
}

/// Describes the events that the story leaves out.
fn in_words(event: &Event) -> Option<String> {
    Some(match event {
        Event::Connected { peer, direction, .. } => match direction {
            Direction::In => format!("{peer} connects"),
            Direction::Out => format!("connects to {peer}"),
        },
        Event::Secured { peer, name, .. } => format!("{peer} is {}", plain(name)),
        Event::Disconnected { peer, .. } => format!("closes the connection with {peer}"),
        Event::CacheAdded(entry) => {
            format!(
                "{} is added to the {} cache: {}",
                plain(&entry.objective),
                cache(entry.cache),
                entry.locator
            )
        }
        Event::CacheRemoved(entry, why) => {
            let (name, cache) = (plain(&entry.objective), cache(entry.cache));
            format!("{name} leaves the {cache} cache ({}): {}", removal(*why), entry.locator)
        }
        Event::Line(line) => format!("says: {}", plain(line)),
        _ => return None,
    })
}

const fn carrier(carrier: Carrier) -> &'static str {
    match carrier {
        Carrier::Multicast => "multicast",
        Carrier::UnicastDatagram => "datagram",
        Carrier::Tcp => "tcp",
    }
}

const fn cache(cache: Cache) -> &'static str {
    match cache {
        Cache::Discovery => "discovery",
        Cache::Flood => "flood",
    }
}

const fn removal(why: Removal) -> &'static str {
    match why {
        Removal::Expired => "expired",
        Removal::Evicted => "evicted",
        Removal::Forgotten => "forgotten",
    }
}

fn event_json(event: &TraceEvent, names: &BTreeMap<u32, String>) -> Json {
    let mut object = match &event.event {
        Event::Message(message) => message_json(message, names),
        Event::Connected { local, peer, direction } => json!({
            "event": "connected", "local": local.to_string(), "peer": peer.to_string(), "direction": way(*direction),
        }),
        Event::Secured { local, peer, name } => json!({
            "event": "secured", "local": local.to_string(), "peer": peer.to_string(), "name": name,
        }),
        Event::Disconnected { local, peer } => {
            json!({ "event": "disconnected", "local": local.to_string(), "peer": peer.to_string() })
        }
        Event::SessionOpened(session) => session_json("session_opened", session),
        Event::SessionEnded(session, ending) => {
            let mut object = session_json("session_ended", session);
            merge(&mut object, json!({ "ending": ending.to_string() }));
            object
        }
        Event::CacheAdded(entry) => json!({
            "event": "cache_added", "cache": cache(entry.cache), "objective": entry.objective,
            "locator": locator_json(&entry.locator),
        }),
        Event::CacheRemoved(entry, why) => json!({
            "event": "cache_removed", "cache": cache(entry.cache), "objective": entry.objective,
            "locator": locator_json(&entry.locator), "why": removal(*why),
        }),
        Event::Relayed { session, except } => {
            json!({ "event": "relayed", "session": session, "from_interface": names.get(except), "index": except })
        }
        Event::Dropped { reason } => json!({ "event": "dropped", "reason": reason }),
        Event::Line(line) => json!({ "event": "line", "text": line }),
        // Told to captures only.
        Event::Records { .. } => json!({ "event": "records" }),
    };
    let time = jiff::Timestamp::try_from(event.time).ok().map(|time| time.to_string());
    merge(&mut object, json!({ "time": time, "thread": &*event.thread }));
    object
}

fn message_json(message: &MessageEvent, names: &BTreeMap<u32, String>) -> Json {
    let annotation = annotated(message);
    json!({
        "event": "message",
        "direction": way(message.direction),
        "transport": carrier(message.carrier),
        "local": message.local.to_string(),
        "peer": message.peer.to_string(),
        "interface": names.get(&message.ifi),
        "type": annotation.message_type.and_then(crate::constants::message_type_name),
        "session": annotation.session,
        "summary": annotation.summary,
        "valid": annotation.message.is_ok(),
        "sealed": message.sealed.is_some(),
        "hex": hex(&message.bytes),
    })
}

fn session_json(event: &str, session: &SessionEvent) -> Json {
    let kind = match session.kind {
        SessionKind::Discovery => "discovery",
        SessionKind::RelayedDiscovery => "relayed discovery",
        SessionKind::Exchange => "exchange",
    };
    json!({
        "event": event, "session": session.session, "kind": kind, "objective": session.objective,
        "peer": session.peer.map(|peer| peer.to_canonical().to_string()),
    })
}

const fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "in",
        Direction::Out => "out",
    }
}
