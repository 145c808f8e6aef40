//! Describes what an engine does in sentences for the log: one line for each discovery, response, session, relay and
//! flood. `_story` writes them; it is an ordinary listener: see [`Engine::trace`](crate::Engine::trace).

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddrV6;

use log::Level;

use super::echo::Echoes;
use super::{Carrier, Direction, Ending, Event, MessageEvent, SessionEvent, SessionKind, TraceEvent};
use crate::plain::Plain;
use crate::wire::{Body, Limits, Response, annotate};

/// The number of sessions that are remembered. If there are more, lines say less.
const REMEMBERED: usize = 4096;

/// Describes events in words.
#[derive(Debug, Default)]
pub(crate) struct Story {
    matters: HashMap<u32, Matter>,
    echoes: Echoes,
}

/// What is known about a session.
#[derive(Debug)]
struct Matter {
    what: &'static str,
    objective: String,
    /// When it was first seen, in milliseconds.
    since: u64,
    answers: usize,
}

impl Story {
    /// The sentence for an event, and its log level. `name` returns the name of an interface.
    pub(crate) fn tell(
        &mut self,
        event: &TraceEvent,
        name: impl Fn(u32) -> Option<String>,
    ) -> Option<(Level, String)> {
        let now = event.monotonic_ms;
        let text = match &event.event {
            Event::Message(message) => self.message(message, now, &name)?,
            Event::SessionOpened(session) => self.opened(session, now)?,
            Event::SessionEnded(session, how) => self.ended(session, how, now),
            Event::Relayed { session, except } => {
                let matter = self.named(*session);
                format!(
                    "relays {matter}, which came on {}, to the other interfaces",
                    Interface(*except, &name)
                )
            }
            Event::Dropped { reason } => return Some((Level::Trace, format!("drops something: {reason}"))),
            _ => return None,
        };
        Some((Level::Debug, text))
    }

    fn remember(&mut self, session: u32, what: &'static str, objective: &str, since: u64) -> bool {
        if self.matters.len() >= REMEMBERED {
            self.matters.clear();
        }
        let is_new = !self.matters.contains_key(&session);
        self.matters.entry(session).or_insert_with(|| Matter {
            what,
            objective: Plain(objective).to_string(),
            since,
            answers: 0,
        });
        is_new
    }

    fn named(&self, session: u32) -> String {
        match self.matters.get(&session) {
            Some(Matter { what, objective, .. }) => format!("{what} {session} of {objective}"),
            None => format!("session {session}"),
        }
    }

    fn opened(&mut self, session: &SessionEvent, now: u64) -> Option<String> {
        let SessionEvent { session: id, kind, peer, objective } = session;
        let what = match kind {
            SessionKind::Exchange => "session",
            SessionKind::Discovery | SessionKind::RelayedDiscovery => "discovery",
        };
        self.remember(*id, what, objective, now);
        // A discovery is described when it ends, and a relayed one when it is relayed.
        let peer = peer.filter(|_| *kind == SessionKind::Exchange)?;
        Some(format!("{} with {peer} begins", self.named(*id)))
    }

    fn ended(&mut self, session: &SessionEvent, how: &Ending, now: u64) -> String {
        let SessionEvent { session: id, kind, peer, objective } = session;
        self.remember(*id, "session", objective, now);
        let named = self.named(*id);
        let Some(Matter { since, answers, .. }) = self.matters.remove(id) else { return named };
        let took = now.saturating_sub(since);
        let with = peer.map(|peer| format!(" with {peer}")).unwrap_or_default();
        let answered = match answers {
            0 => "nobody answered".to_owned(),
            1 => "1 answer".to_owned(),
            _ => format!("{answers} answers"),
        };
        match kind {
            SessionKind::Exchange => format!("{named}{with} is over after {took} ms: {how}"),
            SessionKind::Discovery => format!("{named} is over after {took} ms: {answered}"),
            SessionKind::RelayedDiscovery => {
                format!("relaying {named}{} is over after {took} ms: {answered}", with.replace("with", "for"))
            }
        }
    }

    fn message(
        &mut self,
        event: &MessageEvent,
        now: u64,
        name: &impl Fn(u32) -> Option<String>,
    ) -> Option<String> {
        if event.carrier != Carrier::Tcp && self.echoes.is_echo(event) {
            return None;
        }
        let annotation = annotate(&event.bytes, &Limits { size: event.bytes.len(), ..Limits::default() });
        let message = annotation.message.ok()?;
        let comes = event.direction == Direction::In;
        let peer = Peer(event.peer, event.ifi, name);
        match &message.body {
            Body::Discovery { session, objective, .. } => {
                self.remember(*session, "discovery", &objective.name, now);
                None
            }
            Body::Response(Response { session, .. }) => {
                if let Some(matter) = self.matters.get_mut(session) {
                    matter.answers += usize::from(comes);
                }
                let (named, summary) = (self.named(*session), annotation.summary);
                Some(match comes {
                    true => format!("{named} is answered by {peer}: {summary}"),
                    false => format!("answers {named} of {peer}: {summary}"),
                })
            }
            Body::Flood(flood) => {
                let (objective, _) = flood.objectives.first()?;
                // The flood came on several interfaces or once more, and has already been described.
                let is_new = self.remember(flood.session, "flood", &objective.name, now);
                let summary = annotation.summary;
                is_new.then(|| match comes {
                    true => format!("is told by {peer}: {summary}"),
                    false => format!("tells all neighbours: {summary}"),
                })
            }
            _ => None,
        }
    }
}

/// A peer, with the interface to it.
struct Peer<'a, N>(SocketAddrV6, u32, &'a N);

impl<N: Fn(u32) -> Option<String>> fmt::Display for Peer<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(peer, ifi, name) = self;
        let ifi = if *ifi == 0 { peer.scope_id() } else { *ifi };
        write!(f, "[{}]:{}", peer.ip(), peer.port())?;
        if ifi == 0 { Ok(()) } else { write!(f, " on {}", Interface(ifi, name)) }
    }
}

/// The name of an interface, or its number if it has none.
struct Interface<'a, N>(u32, &'a N);

impl<N: Fn(u32) -> Option<String>> fmt::Display for Interface<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.1)(self.0) {
            Some(name) => f.write_str(&name),
            None => write!(f, "interface {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;
    use std::time::SystemTime;

    use super::*;
    use crate::error::Error;

    fn at(monotonic_ms: u64, event: Event) -> TraceEvent {
        TraceEvent { time: SystemTime::UNIX_EPOCH, monotonic_ms, thread: "test".into(), event }
    }

    fn session(number: u32, kind: SessionKind, objective: &str) -> SessionEvent {
        let peer = (kind != SessionKind::Discovery).then(|| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9));
        SessionEvent { session: number, kind, peer, objective: objective.to_owned() }
    }

    fn line(story: &mut Story, monotonic_ms: u64, event: Event) -> Option<String> {
        let told = story.tell(&at(monotonic_ms, event), |ifi| (ifi == 3).then(|| "eth0".to_owned()));
        told.map(|(_, line)| line)
    }

    #[test]
    fn a_session_is_told_with_its_objective_peer_time_and_cause() {
        let (mut story, exchange) = (Story::default(), session(7, SessionKind::Exchange, "EX\n3"));
        assert_eq!(
            line(&mut story, 1000, Event::SessionOpened(exchange.clone())).unwrap(),
            r"session 7 of EX\n3 with fd00::9 begins"
        );
        let declined = Ending::Declined(Some("mean\u{1b}".to_owned()));
        assert_eq!(
            line(&mut story, 1012, Event::SessionEnded(exchange.clone(), declined)).unwrap(),
            r"session 7 of EX\n3 with fd00::9 is over after 12 ms: declined: mean\u{1b}"
        );
        // A session whose beginning was lost.
        let failed = Ending::Failed(Error::NoPeer);
        assert_eq!(
            line(&mut story, 2000, Event::SessionEnded(exchange, failed)).unwrap(),
            format!(r"session 7 of EX\n3 with fd00::9 is over after 0 ms: failed: {}", Error::NoPeer)
        );
    }

    #[test]
    fn a_relay_names_what_it_relays_and_an_interface_without_a_name_is_a_number() {
        let mut story = Story::default();
        let relayed = session(8, SessionKind::RelayedDiscovery, "EX3");
        assert_eq!(line(&mut story, 5, Event::SessionOpened(relayed.clone())), None, "it is told once");
        assert_eq!(
            line(&mut story, 5, Event::Relayed { session: 8, except: 3 }).unwrap(),
            "relays discovery 8 of EX3, which came on eth0, to the other interfaces"
        );
        assert_eq!(
            line(&mut story, 5, Event::Relayed { session: 9, except: 4 }).unwrap(),
            "relays session 9, which came on interface 4, to the other interfaces"
        );
        assert_eq!(
            line(&mut story, 605, Event::SessionEnded(relayed, Ending::Discovered)).unwrap(),
            "relaying discovery 8 of EX3 for fd00::9 is over after 600 ms: nobody answered"
        );
        let dropped = story.tell(&at(6, Event::Dropped { reason: "dropped_oversize" }), |_| None);
        assert_eq!(dropped.unwrap().0, Level::Trace);
    }

    #[test]
    fn what_it_remembers_is_bounded() {
        let mut story = Story::default();
        for number in 0..20_000 {
            line(&mut story, 1, Event::SessionOpened(session(number, SessionKind::Discovery, "EX3")));
            assert!(story.matters.len() <= REMEMBERED);
        }
    }
}
