//! The accounts of an engine: whatever arrives or begins has one outcome that is counted once. These are the
//! equations in the documentation of [`Stats`], to be checked after every test that has troubled an engine.

#![allow(clippy::panic, reason = "helpers of tests fail by panicking")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use grasp::{Engine, Stats};

/// How long an engine may take to be at rest.
const REST: Duration = Duration::from_secs(10);

/// One equation: counters on both sides, by name.
#[derive(Clone, Copy, Debug)]
struct Law {
    about: &'static str,
    arrivals: &'static [&'static str],
    outcomes: &'static [&'static str],
}

const LAWS: &[Law] = &[
    Law {
        about: "every message has an outcome",
        arrivals: &["multicast_received", "unicast_datagram_received", "messages_received"],
        outcomes: &[
            "dropped_undecryptable",
            "dropped_oversize",
            "dropped_malformed",
            "dropped_queue_full",
            "dropped_bad_source",
            "dropped_insecure",
            "noop_received",
            "dropped_unknown_type",
            "own_multicast",
            "announcements_received",
            "dropped_not_announced",
            "dropped_misplaced",
            "dropped_dull",
            "dropped_link_local_flood",
            "discoveries_received",
            "floods_received",
            "responses_received",
            "rapid_received",
            "dropped_stray_response",
            "negotiation_requests",
            "synchronization_requests",
            "dropped_undecodable",
            "dropped_evicted",
            "replies_received",
            "invalid_received",
            "dropped_bad_reply",
            "items_received",
            "dropped_asking_link",
            "dropped_lost",
        ],
    },
    Law {
        about: "every discovery is answered, relayed, or not",
        arrivals: &["discoveries_received"],
        outcomes: &[
            "discoveries_answered",
            "discoveries_unanswered",
            "discoveries_relayed",
            "dropped_relay_full",
            "not_relayed_open",
            "not_relayed_merged",
        ],
    },
    Law {
        about: "every response is sent, or not",
        arrivals: &["discoveries_answered", "answers_relayed"],
        outcomes: &[
            "responses_sent",
            "responses_failed",
            "rapid_negotiations",
            "dropped_responder_full",
            "dropped_asker_limit",
            "dropped_response_rate",
            "dropped_repeated_discovery",
        ],
    },
    Law {
        about: "every flood is relayed, or not",
        arrivals: &["floods_received"],
        outcomes: &["floods_relayed", "floods_not_relayed"],
    },
    Law {
        about: "every accepted response reaches its mailbox, or not",
        arrivals: &["responses_received", "rapid_received"],
        outcomes: &["answers_delivered", "dropped_mailbox_full", "dropped_late_answer"],
    },
    Law {
        about: "every accepted connection brings a first message, or not",
        arrivals: &["connections_accepted"],
        outcomes: &[
            "first_messages",
            "dropped_bad_request",
            "dropped_reader_full",
            "dropped_reader_failed",
            "dropped_outside",
            "dropped_handshake_rate",
        ],
    },
    Law {
        about: "every request becomes a session, is served, or is refused",
        arrivals: &["negotiation_requests", "synchronization_requests", "rapid_negotiations"],
        outcomes: &[
            "sessions_accepted",
            "session_clashes",
            "session_limit",
            "requests_abandoned",
            "synch_sent",
            "synch_failed",
            "refused_wrong_kind",
            "refused_not_admitted",
            "refused_not_listening",
            "refused_queue_full",
        ],
    },
    Law {
        about: "every message over TCP is a response, a value, of a session, a refusal, or for a neighbour",
        arrivals: &["messages_sent"],
        outcomes: &[
            "responses_sent",
            "synch_sent",
            "session_messages_sent",
            "refusals_sent",
            "neighbour_messages_sent",
        ],
    },
];

const SESSIONS_BEGUN: &[&str] = &[
    "sessions_opened",
    "sessions_accepted",
    "discoveries_begun",
    "discoveries_relayed",
    "not_relayed_merged",
];

/// What does not add up in the counters of an engine that has nothing in its hands and so many sessions open,
/// a line each. Empty if everything has been accounted for.
#[must_use]
pub fn discrepancies(stats: &Stats, open_sessions: usize) -> Vec<String> {
    let open = u64::try_from(open_sessions).unwrap_or(u64::MAX);
    let mut wrong: Vec<_> = LAWS.iter().filter_map(|law| discrepancy(stats, law)).collect();
    let (begun, ended) = (sum(stats, SESSIONS_BEGUN), stats.sessions_ended);
    if begun != ended.saturating_add(open) {
        wrong.push(format!("every session ends: {begun} begun, {ended} ended, {open} open"));
    }
    let (connected, closed) =
        (stats.connections_accepted + stats.connections_opened, stats.connections_closed);
    let neighbours = stats.neighbours_joined.saturating_sub(stats.neighbours_left);
    if connected < closed || connected - closed > open.saturating_add(neighbours) {
        wrong.push(format!(
            "every connection is closed: {connected} made, {closed} closed, {open} sessions, {neighbours} neighbours"
        ));
    }
    if stats.panics != 0 {
        wrong.push(format!("{} threads panicked", stats.panics));
    }
    wrong
}

/// Asserts that everything an engine has received, sent, begun and accepted is accounted for once it is at rest.
/// Waits for that; an engine that is still busy after 10 seconds, or a counter that is missing or goes up twice,
/// fails with the equations that do not hold. Open sessions are no failure.
///
/// To be called at the end of a test, while the engine runs and nobody sends to it any more.
#[track_caller]
pub fn assert_accounts(engine: &Engine) {
    let deadline = Instant::now() + REST;
    loop {
        let (stats, open) = (engine.stats(), engine.open_sessions());
        let wrong = discrepancies(&stats, open);
        if wrong.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "not accounted for:\n{}\n{stats:#?}", wrong.join("\n"));
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn discrepancy(stats: &Stats, law: &Law) -> Option<String> {
    let (arrivals, outcomes) = (sum(stats, law.arrivals), sum(stats, law.outcomes));
    (arrivals != outcomes).then(|| {
        let mut line = format!("{}: {arrivals} came and {outcomes} are accounted for;", law.about);
        for name in law.arrivals.iter().chain(law.outcomes) {
            let count = value(stats, name);
            if count > 0 {
                let _ = write!(line, " {name} {count}");
            }
        }
        line
    })
}

fn sum(stats: &Stats, names: &[&str]) -> u64 {
    names.iter().map(|name| value(stats, name)).sum()
}

fn value(stats: &Stats, name: &str) -> u64 {
    let named = stats.named().into_iter().find(|(known, _)| *known == name);
    named.unwrap_or_else(|| panic!("there is no counter {name}")).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_has_done_nothing_is_in_order_and_every_counter_exists() {
        assert_eq!(discrepancies(&Stats::default(), 0), Vec::<String>::new());
    }

    /// The equations in the documentation, by number: the names on both sides.
    fn documented() -> Vec<(Vec<&'static str>, Vec<&'static str>)> {
        let source = include_str!("../../src/stats.rs");
        let (_, text) = source.split_once("/// 1. ").unwrap();
        let (text, _) = text.split_once("/// What the engine cannot see").unwrap();
        let mut lines: Vec<Vec<&str>> = vec![Vec::new()];
        for line in text.lines().map(|line| line.trim_start().trim_start_matches("///")) {
            let numbered = line.trim_start().split_once(". ").is_some_and(|(n, _)| n.parse::<u32>().is_ok());
            if numbered {
                lines.push(Vec::new());
            }
            lines.last_mut().unwrap().push(line);
        }
        let sides = |item: Vec<&'static str>| {
            let mut sides = (Vec::new(), Vec::new());
            let mut right = false;
            for line in item {
                for (number, part) in line.split('`').enumerate() {
                    if number % 2 == 0 {
                        right |= part.contains('=');
                    } else if right {
                        sides.1.push(part);
                    } else {
                        sides.0.push(part);
                    }
                }
            }
            sides
        };
        lines.into_iter().map(sides).collect()
    }

    #[test]
    fn what_is_checked_is_what_is_documented() {
        let documented = documented();
        assert_eq!(documented.len(), 10);
        // Sessions and connections have equations of their own form.
        let plain = documented.iter().enumerate().filter(|(number, _)| ![7, 8].contains(number));
        let plain: Vec<_> = plain.map(|(_, (left, right))| (&left[..], &right[..])).collect();
        let checked: Vec<_> = LAWS.iter().map(|law| (law.arrivals, law.outcomes)).collect();
        assert_eq!(plain, checked);
        assert_eq!(documented[7].0, SESSIONS_BEGUN);
    }

    #[test]
    fn what_is_lost_or_counted_twice_shows() {
        let mut stats = Stats::default();
        stats.floods_received = 2;
        stats.multicast_received = 2;
        stats.floods_relayed = 1;
        stats.connections_opened = 3;
        stats.sessions_opened = 2;
        stats.sessions_ended = 1;
        assert_eq!(
            discrepancies(&stats, 1),
            [
                "every flood is relayed, or not: 2 came and 1 are accounted for; floods_received 2 floods_relayed 1",
                "every connection is closed: 3 made, 0 closed, 1 sessions, 0 neighbours",
            ]
        );
    }
}
