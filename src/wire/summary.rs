//! Describes messages on one line. Called by [`annotate`](super::annotate()).

use super::{Body, Flags, Message, Outcome, WireLocator, WireObjective, WireOption};
use crate::constants::message_type_name;
use crate::types::Value;

/// Describes a message on one line.
pub(super) fn summary(message: &Message) -> String {
    let name = type_label(message.message_type());
    let Some(session) = message.session() else { return name };
    let mut line = format!("{name} session {session}");
    let rest = match &message.body {
        Body::Noop | Body::Unknown { .. } => return line,
        Body::Discovery { initiator, objective, .. } => format!(" from {initiator}: {}", in_words(objective)),
        Body::Response(response) => {
            let options: Vec<String> = response.options.iter().filter_map(option_in_words).collect();
            let objective = response.objective.as_ref();
            let objective = objective.map_or_else(String::new, |it| format!("; {}", in_words(it)));
            format!(" to {} ttl {} ms: {}{objective}", response.initiator, response.ttl, listed(&options))
        }
        Body::RequestNegotiate(step)
        | Body::RequestSynchronize(step)
        | Body::Negotiate(step)
        | Body::Synch(step) => format!(": {}", in_words(&step.objective)),
        Body::End { outcome: Outcome::Accept, .. } => ": accepted".to_owned(),
        Body::End { outcome: Outcome::Decline(None), .. } => ": declined".to_owned(),
        Body::End { outcome: Outcome::Decline(Some(reason)), .. } => {
            format!(": declined: {}", quoted(reason))
        }
        Body::Wait { time, .. } => format!(": {time} ms"),
        Body::Flood(flood) => {
            let objectives: Vec<String> = flood
                .objectives
                .iter()
                .take(LISTED.saturating_add(1))
                .map(|(objective, locator)| match locator {
                    Some(locator) => format!("{} at {}", in_words(objective), locator_in_words(locator)),
                    None => in_words(objective),
                })
                .collect();
            format!(" from {} ttl {} ms: {}", flood.initiator, flood.ttl, listed(&objectives))
        }
        Body::Invalid { content: Some(content), .. } => format!(": {}", value_in_words(content)),
        Body::Invalid { content: None, .. } => return line,
    };
    line.push_str(&rest);
    line
}

fn listed(words: &[String]) -> String {
    let shown: Vec<&str> = words.iter().take(LISTED).map(String::as_str).collect();
    let more = if words.len() > LISTED { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

fn in_words(objective: &WireObjective) -> String {
    let WireObjective { name, flags, loop_count, value } = objective;
    let value = value.as_ref().map_or_else(|| "no value".to_owned(), value_in_words);
    format!("{} ({}) loop count {loop_count}: {value}", quoted(name), flags_in_words(*flags))
}

fn option_in_words(option: &WireOption) -> Option<String> {
    match option {
        WireOption::Locator(locator) => Some(locator_in_words(locator)),
        WireOption::Divert(locators) => {
            let locators: Vec<String> =
                locators.iter().take(LISTED.saturating_add(1)).map(locator_in_words).collect();
            Some(format!("divert to {}", listed(&locators)))
        }
        WireOption::Other(_) => None,
    }
}

fn locator_in_words(locator: &WireLocator) -> String {
    use crate::types::Locator::{Fqdn, Ipv6, Uri};
    let place = match &locator.locator {
        Ipv6(address) if locator.port.is_some() => format!("[{address}]"),
        Fqdn(text) | Uri(text) => quoted(text),
        other => other.to_string(),
    };
    let port = locator.port.map_or_else(String::new, |port| format!(":{port}"));
    let protocol = locator.protocol.map_or_else(String::new, |it| format!(" {it}"));
    format!("{place}{port}{protocol}")
}

fn value_in_words(value: &Value) -> String {
    match value.embedded() {
        Some(Ok(inside)) => shortened(&format!("24(<<{inside}>>)"), WORDS),
        _ => shortened(&value.to_string(), WORDS),
    }
}

fn quoted(text: &str) -> String {
    shortened(&Value::from(text).to_string(), WORDS)
}

/// Shortens a text to `length` characters.
pub(super) fn shortened(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        None => text.to_owned(),
        Some(_) => {
            let kept: String = text.chars().take(length.saturating_sub(3)).collect();
            format!("{kept}...")
        }
    }
}

/// The name of a message type, or its number if it has none.
pub(super) fn type_label(message_type: u64) -> String {
    message_type_name(message_type)
        .map_or_else(|| format!("unknown message type {message_type}"), ToOwned::to_owned)
}

/// The names of the flags that are set.
pub(super) fn flags_in_words(flags: Flags) -> String {
    let mut names: Vec<String> = Vec::new();
    let mut unknown = flags.0;
    for (bit, name) in FLAGS {
        if flags.has(bit) {
            names.push(name.to_owned());
            unknown &= !bit;
        }
    }
    if unknown != 0 {
        names.push(format!("unknown {unknown:#x}"));
    }
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

/// The names of the flags (RFC 8990 §2.10.2).
const FLAGS: [(u64, &str); 4] = [
    (Flags::F_DISC, "F_DISC"),
    (Flags::F_NEG, "F_NEG"),
    (Flags::F_SYNCH, "F_SYNCH"),
    (Flags::F_NEG_DRY, "F_NEG_DRY"),
];
/// The longest summary, in characters.
pub(super) const SUMMARY: usize = 512;
/// The longest part of a name or value in a summary, in characters.
const WORDS: usize = 80;
/// The number of options or objectives that a summary lists.
const LISTED: usize = 3;
