//! The session registry (graspy's `_session_id_cache`): what is open, under which identifier, with whom
//! (RFC 8990 §2.7). Also remembers this node's latest identifiers, to know its own multicasts when they come
//! back, and what it has relayed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crossbeam_channel::Sender;
use parking_lot::Mutex;

use super::answer::DiscoveryAnswer;
use super::recent::Recent;
use super::transport::{Neighbour, Transport};
use crate::error::{Error, Result};
use crate::stats::{Counter, Counters};
use crate::trace::{Ending, Event, Later, SessionEvent, SessionKind};
use crate::types::{AsaNonce, SessionNonce, as_ipv6};

/// How many of this node's own identifiers are remembered after their end.
const RECENT_LIMIT: usize = 4096;
/// How often a new identifier is drawn before giving up; each draw fails with a chance of about one in a million.
const DRAWS: usize = 100;

/// A negotiation, synchronization or messaging session.
#[derive(Clone, Debug)]
pub(crate) struct Dialogue {
    /// The ASA that opened or accepted it: with its end the session ends.
    pub(crate) owner: AsaNonce,
    pub(crate) transport: Arc<dyn Transport>,
    /// The objective's name: every step is about it.
    pub(crate) name: Arc<str>,
    /// A session is wholly live or wholly a dry run (RFC 8990 §2.10.2).
    pub(crate) dry: bool,
}

/// The identifier with the peer's address; with the initiator's for a relayed discovery; with none for what
/// began here.
type Key = (u32, Option<IpAddr>);

fn key_of(nonce: SessionNonce) -> Key {
    (nonce.id_value, nonce.id_source.map(IpAddr::V6))
}

#[derive(Debug)]
enum Session {
    /// The handle of an ASA, kept here so that it never equals a session identifier.
    AsaHandle,
    /// A discovery that collects answers.
    Discovery { initiator: IpAddr, name: String, mailbox: Sender<DiscoveryAnswer> },
    /// A connection with a peer.
    Dialogue(Dialogue),
}

impl Session {
    /// What is told of it.
    fn event(&self, (session, source): Key) -> SessionEvent {
        let (kind, peer, objective) = match self {
            // ASAs are not told of.
            Self::AsaHandle => (SessionKind::Dialogue, None, ""),
            Self::Discovery { name, .. } => match source {
                None => (SessionKind::Discovery, None, name.as_str()),
                Some(initiator) => (SessionKind::RelayedDiscovery, Some(as_ipv6(initiator)), name.as_str()),
            },
            Self::Dialogue(dialogue) => {
                (SessionKind::Dialogue, Some(dialogue.transport.peer()), &*dialogue.name)
            }
        };
        SessionEvent { session, kind, peer, objective: objective.to_owned() }
    }
}

/// Open sessions by identifier and source.
#[derive(Debug)]
pub(crate) struct SessionRegistry {
    inner: Mutex<Inner>,
    limit: usize,
    per_peer: usize,
    relay_memory: usize,
    counters: Arc<Counters>,
}

struct Inner {
    active: HashMap<Key, Session>,
    /// How many of them are the handles of ASAs.
    handles: usize,
    /// How many of them were opened by which peer.
    accepted: HashMap<Neighbour, usize>,
    own: Recent<u32, IpAddr>,
    relayed: Recent<(u32, IpAddr), u64>,
    flooded: Recent<(u32, IpAddr), u64>,
    /// Numbers for new identifiers.
    random: Vec<u32>,
    draw: Draw,
}

/// Adds random numbers, as many as are cheap at a time; none if there are none.
type Draw = fn(&mut Vec<u32>);

/// How many numbers are drawn at a time.
const BLOCK: usize = 64;

/// The system's strong generator (RFC 8990 §2.7), asked for a block at a time.
fn draw_block(random: &mut Vec<u32>) {
    let mut bytes = [0; 4 * BLOCK];
    if getrandom::fill(&mut bytes).is_ok() {
        random.extend(bytes.as_chunks().0.iter().map(|number| u32::from_ne_bytes(*number)));
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("active", &self.active.len()).finish_non_exhaustive()
    }
}

impl SessionRegistry {
    pub(crate) fn new(limit: usize, per_peer: usize, relay_memory: usize, counters: Arc<Counters>) -> Self {
        Self { per_peer, ..Self::with_generator(limit, relay_memory, counters, draw_block) }
    }

    /// With a generator of one's own; the system's strong one otherwise (RFC 8990 §2.7).
    fn with_generator(limit: usize, relay_memory: usize, counters: Arc<Counters>, draw: Draw) -> Self {
        let inner = Inner {
            active: HashMap::new(),
            handles: 0,
            accepted: HashMap::new(),
            own: Recent::default(),
            relayed: Recent::default(),
            flooded: Recent::default(),
            random: Vec::new(),
            draw,
        };
        Self { inner: Mutex::new(inner), limit, per_peer: limit, relay_memory, counters }
    }

    /// Takes up a session, counts it and tells of it.
    fn begin(
        &self,
        inner: &mut Inner,
        events: &mut Later<'_>,
        key: Key,
        session: Session,
        begun: Option<&Counter>,
    ) {
        events.push(|| Event::SessionOpened(session.event(key)));
        let displaced = inner.active.insert(key, session);
        self.counters.sessions_ended.add_many(displaced.into_iter().count());
        begun.into_iter().for_each(Counter::add);
        self.counters.sessions_peak.raise_to(inner.open_count());
    }

    /// A handle for a new ASA.
    pub(crate) fn new_asa_handle(&self) -> Result<AsaNonce> {
        let mut inner = self.inner.lock();
        let id = inner.new_id()?;
        inner.active.insert((id, None), Session::AsaHandle);
        inner.handles += 1;
        Ok(AsaNonce(id))
    }

    pub(crate) fn remove_asa_handle(&self, nonce: AsaNonce) {
        let mut inner = self.inner.lock();
        if matches!(inner.active.get(&(nonce.0, None)), Some(Session::AsaHandle)) {
            inner.active.remove(&(nonce.0, None));
            inner.handles -= 1;
        }
    }

    /// Opens a discovery. Its identifier is known as this node's own from here on.
    pub(crate) fn open_discovery(
        &self,
        initiator: IpAddr,
        name: &str,
        mailbox: Sender<DiscoveryAnswer>,
    ) -> Result<u32> {
        let mut events = self.counters.tracer().later();
        let mut inner = self.inner.lock();
        let id = inner.new_id()?;
        let session = Session::Discovery { initiator, name: name.to_owned(), mailbox };
        self.begin(&mut inner, &mut events, (id, None), session, Some(&self.counters.discoveries_begun));
        inner.own.insert(id, initiator, RECENT_LIMIT);
        Ok(id)
    }

    /// Opens a relayed discovery under the identifier it came with. `false` if there is one already.
    pub(crate) fn open_relay(
        &self,
        id: u32,
        initiator: IpAddr,
        name: &str,
        mailbox: Sender<DiscoveryAnswer>,
    ) -> bool {
        let mut events = self.counters.tracer().later();
        let mut inner = self.inner.lock();
        let key = (id, Some(initiator));
        if inner.active.contains_key(&key) {
            return false;
        }
        let session = Session::Discovery { initiator, name: name.to_owned(), mailbox };
        self.begin(&mut inner, &mut events, key, session, Some(&self.counters.discoveries_relayed));
        true
    }

    /// An identifier for a flood; it needs no open session.
    pub(crate) fn flood_id(&self, initiator: IpAddr) -> Result<u32> {
        let mut inner = self.inner.lock();
        let id = inner.new_id()?;
        inner.own.insert(id, initiator, RECENT_LIMIT);
        Ok(id)
    }

    /// Whether a multicast with this identifier and initiator began at this node (RFC 8990 §2.7).
    pub(crate) fn is_own(&self, id: u32, initiator: IpAddr) -> bool {
        self.inner.lock().own.get(&id) == Some(&initiator)
    }

    /// Where the answers to a discovery go, this node's own or one that it relays, and the name of what is
    /// looked for (RFC 8990 §2.8.5).
    pub(crate) fn mailbox(&self, id: u32, initiator: IpAddr) -> Option<(Sender<DiscoveryAnswer>, String)> {
        let inner = self.inner.lock();
        for key in [(id, None), (id, Some(initiator))] {
            match inner.active.get(&key) {
                Some(Session::Discovery { initiator: own, name, mailbox }) if *own == initiator => {
                    return Some((mailbox.clone(), name.clone()));
                }
                _ => {}
            }
        }
        None
    }

    /// Where an answer in rapid mode to a discovery of this node goes; it names the session only.
    pub(crate) fn own_mailbox(&self, id: u32) -> Option<Sender<DiscoveryAnswer>> {
        match self.inner.lock().active.get(&(id, None)) {
            Some(Session::Discovery { mailbox, .. }) => Some(mailbox.clone()),
            _ => None,
        }
    }

    /// Opens a session towards a peer. Fails with `SessionLimit`.
    pub(crate) fn open_dialogue(&self, id: u32, dialogue: Dialogue) -> Result<SessionNonce> {
        let mut events = self.counters.tracer().later();
        let mut inner = self.inner.lock();
        if inner.is_full(self.limit) {
            return Err(Error::SessionLimit);
        }
        let (session, opened) = (Session::Dialogue(dialogue), &self.counters.sessions_opened);
        self.begin(&mut inner, &mut events, (id, None), session, Some(opened));
        Ok(SessionNonce { id_value: id, id_source: None })
    }

    /// An identifier for a request (RFC 8990 §2.7).
    pub(crate) fn request_id(&self) -> Result<u32> {
        self.inner.lock().new_id()
    }

    /// Takes up a session that a peer opened. `IDclash` if one with this identifier is open with it (RFC 8990
    /// §2.8.6), `SessionLimit` at the limits, of all or of one peer. Those of this machine have no limit of their
    /// own.
    pub(crate) fn accept_dialogue(&self, id: u32, dialogue: Dialogue) -> Result<SessionNonce> {
        let mut events = self.counters.tracer().later();
        let mut inner = self.inner.lock();
        let source = dialogue.transport.peer();
        let peer = IpAddr::V6(source);
        if inner.is_open_with(id, dialogue.transport.as_ref()) {
            return Err(Error::IdClash);
        }
        let neighbour = dialogue.transport.neighbour();
        let count = inner.accepted.get(&neighbour).copied().unwrap_or(0);
        let has_its_share = count >= self.per_peer && !dialogue.transport.is_from_here();
        if has_its_share || inner.is_full(self.limit) {
            return Err(Error::SessionLimit);
        }
        inner.accepted.insert(neighbour, count + 1);
        let (session, accepted) = (Session::Dialogue(dialogue), &self.counters.sessions_accepted);
        self.begin(&mut inner, &mut events, (id, Some(peer)), session, Some(accepted));
        Ok(SessionNonce { id_value: id, id_source: Some(source) })
    }

    /// Whether a session with this identifier is open with the peer of a connection, whichever side began it
    /// (RFC 8990 §2.8.6).
    pub(crate) fn is_open_with(&self, id: u32, transport: &dyn Transport) -> bool {
        self.inner.lock().is_open_with(id, transport)
    }

    /// The dialogue of a session: `noSession` if there is none, `noSocket` if it is no dialogue.
    pub(crate) fn dialogue(&self, nonce: SessionNonce) -> Result<Dialogue> {
        match self.inner.lock().active.get(&key_of(nonce)) {
            None => Err(Error::NoSession),
            Some(Session::Dialogue(dialogue)) => Ok(dialogue.clone()),
            Some(_) => Err(Error::NoSocket),
        }
    }

    /// Ends a session and returns its dialogue, whose transport the caller closes. `None` if it is none, or none
    /// any more.
    pub(crate) fn end(&self, nonce: SessionNonce, how: Ending) -> Option<Dialogue> {
        match self.remove(key_of(nonce), how, |session| matches!(session, Session::Dialogue(_))) {
            Some(Session::Dialogue(dialogue)) => Some(dialogue),
            _ => None,
        }
    }

    fn count_ended<'a>(&self, ended: impl IntoIterator<Item = &'a Session>) {
        let sessions = ended.into_iter().filter(|session| !matches!(session, Session::AsaHandle));
        self.counters.sessions_ended.add_many(sessions.count());
    }

    /// Ends a discovery; `source` is the initiator of one that is relayed.
    pub(crate) fn end_discovery(&self, id: u32, source: Option<IpAddr>) {
        let which = |session: &Session| matches!(session, Session::Discovery { .. });
        self.remove((id, source), Ending::Discovered, which);
    }

    fn remove(&self, key: Key, how: Ending, which: impl Fn(&Session) -> bool) -> Option<Session> {
        let session = {
            let mut inner = self.inner.lock();
            let session = match inner.active.entry(key) {
                Entry::Occupied(entry) if which(entry.get()) => entry.remove(),
                _ => return None,
            };
            if let Session::Dialogue(dialogue) = &session {
                inner.forget(key, dialogue);
            }
            session
        };
        self.count_ended([&session]);
        self.counters.tracer().emit(|| Event::SessionEnded(session.event(key), how));
        Some(session)
    }

    /// Remembers a flood until `expire`. `false` if it is known: a copy that comes late by a longer way must not
    /// displace what has been flooded since.
    pub(crate) fn is_new_flood(&self, id: u32, initiator: IpAddr, now: u64, expire: u64) -> bool {
        let mut inner = self.inner.lock();
        let known = inner.flooded.get(&(id, initiator)).is_some_and(|until| *until > now);
        if !known {
            let limit = self.relay_memory;
            let forgotten = inner.flooded.insert((id, initiator), expire, limit);
            self.count_forgotten(forgotten, now);
        }
        !known
    }

    /// Whether a multicast is remembered as relayed (RFC 8990 §2.5.4.4, §2.5.6.2).
    pub(crate) fn was_relayed(&self, id: u32, initiator: IpAddr, now: u64) -> bool {
        self.inner.lock().relayed.get(&(id, initiator)).is_some_and(|until| *until > now)
    }

    /// Remembers until `expire` that a multicast is relayed. When the memory is full the oldest is forgotten.
    pub(crate) fn mark_relayed(&self, id: u32, initiator: IpAddr, now: u64, expire: u64) {
        let limit = self.relay_memory;
        let forgotten = self.inner.lock().relayed.insert((id, initiator), expire, limit);
        self.count_forgotten(forgotten, now);
    }

    /// Counts what would have been remembered longer.
    fn count_forgotten(&self, forgotten: Option<u64>, now: u64) {
        if forgotten.is_some_and(|until| until > now) {
            self.counters.relay_memory_evicted.add();
        }
    }

    /// How many relayed multicasts are remembered.
    #[cfg(feature = "_simulator")]
    pub(crate) fn relayed_count(&self) -> usize {
        self.inner.lock().relayed.order.len()
    }

    /// Ends the sessions of an ASA; the caller closes the transports.
    pub(crate) fn end_owned(&self, owner: AsaNonce) -> Vec<Dialogue> {
        let mut events = self.counters.tracer().later();
        let mut ended = Vec::new();
        let mut inner = self.inner.lock();
        inner.active.retain(|key, session| match session {
            Session::Dialogue(dialogue) if dialogue.owner == owner => {
                ended.push((*key, dialogue.clone()));
                events.push(|| Event::SessionEnded(session.event(*key), Ending::Stopped));
                false
            }
            _ => true,
        });
        ended.iter().for_each(|(key, dialogue)| inner.forget(*key, dialogue));
        self.counters.sessions_ended.add_many(ended.len());
        ended.into_iter().map(|(_, dialogue)| dialogue).collect()
    }

    /// Ends everything, at shutdown: the caller closes the transports; waiting discoveries see their mailbox close.
    pub(crate) fn end_all(&self) -> Vec<Dialogue> {
        let ended = {
            let mut inner = self.inner.lock();
            inner.handles = 0;
            inner.accepted.clear();
            std::mem::take(&mut inner.active)
        };
        self.count_ended(ended.values());
        for (key, session) in ended.iter().filter(|(_, session)| !matches!(session, Session::AsaHandle)) {
            self.counters.tracer().emit(|| Event::SessionEnded(session.event(*key), Ending::Stopped));
        }
        let dialogues = ended.into_values().filter_map(|session| match session {
            Session::Dialogue(dialogue) => Some(dialogue),
            _ => None,
        });
        dialogues.collect()
    }

    /// Number of open sessions, the handles of ASAs not counted.
    pub(crate) fn open_count(&self) -> usize {
        self.inner.lock().open_count()
    }

    /// Open sessions, without the handles of ASAs: identifier, source, what is told of them, and the ASA that has them.
    pub(crate) fn views(&self) -> Vec<(u32, Option<IpAddr>, SessionEvent, Option<AsaNonce>)> {
        let inner = self.inner.lock();
        let open = inner.active.iter().filter(|(_, session)| !matches!(session, Session::AsaHandle));
        let mut views: Vec<_> = open
            .map(|(key, session)| {
                let owner = match session {
                    Session::Dialogue(dialogue) => Some(dialogue.owner),
                    Session::AsaHandle | Session::Discovery { .. } => None,
                };
                (key.0, key.1, session.event(*key), owner)
            })
            .collect();
        views.sort_unstable_by_key(|(id, source, ..)| (*id, *source));
        views
    }
}

impl Inner {
    /// A dialogue has ended, which its peer had opened if it has a source.
    fn forget(&mut self, (_, source): Key, dialogue: &Dialogue) {
        let neighbour = dialogue.transport.neighbour();
        if source.is_some()
            && let Some(count) = self.accepted.get_mut(&neighbour)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.accepted.remove(&neighbour);
            }
        }
    }

    fn is_open_with(&self, id: u32, transport: &dyn Transport) -> bool {
        let peer = transport.peer();
        let theirs = self.active.contains_key(&(id, Some(IpAddr::V6(peer))));
        let ours = self.active.get(&(id, None)).filter(|_| !transport.is_from_here());
        theirs || matches!(ours, Some(Session::Dialogue(dialogue)) if dialogue.transport.peer() == peer)
    }

    fn open_count(&self) -> usize {
        self.active.len().saturating_sub(self.handles)
    }

    /// Whether as many sessions are open as may be.
    fn is_full(&self, limit: usize) -> bool {
        self.open_count() >= limit
    }

    /// An identifier that is neither in use nor recently was (RFC 8990 §2.7).
    fn new_id(&mut self) -> Result<u32> {
        for _ in 0..DRAWS {
            if self.random.is_empty() {
                (self.draw)(&mut self.random);
            }
            let id = self.random.pop().ok_or(Error::NoRandom)?;
            if !self.active.contains_key(&(id, None)) && self.own.get(&id).is_none() {
                return Ok(id);
            }
        }
        Err(Error::NoRandom)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use std::net::Ipv6Addr;

    use super::*;
    use crate::registry::Nowhere;

    fn dialogue() -> Dialogue {
        dialogue_with(Ipv6Addr::LOCALHOST)
    }

    fn dialogue_with(peer: Ipv6Addr) -> Dialogue {
        dialogue_on(0, peer)
    }

    fn dialogue_on(zone: u32, peer: Ipv6Addr) -> Dialogue {
        let transport = Arc::new(Nowhere(peer, zone));
        Dialogue { owner: AsaNonce(1), transport, name: "EX1".into(), dry: false }
    }

    #[test]
    fn equal_link_local_addresses_on_two_links_are_two_peers() {
        let sessions = SessionRegistry::new(10, 2, 10, Arc::default());
        let address = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        for (id, zone) in [(1, 2), (2, 2), (3, 3), (4, 3)] {
            sessions.accept_dialogue(id, dialogue_on(zone, address)).unwrap();
        }
        assert_eq!(sessions.accept_dialogue(5, dialogue_on(2, address)), Err(Error::Unspec));
        assert_eq!(sessions.end_owned(AsaNonce(1)).len(), 4);
        assert!(sessions.inner.lock().accepted.is_empty());
    }

    #[test]
    fn one_peer_has_its_share_and_gets_it_back() {
        let sessions = SessionRegistry::new(10, 2, 10, Arc::default());
        let dialogue = |last| dialogue_with(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last));
        let first = sessions.accept_dialogue(1, dialogue(1)).unwrap();
        sessions.accept_dialogue(2, dialogue(1)).unwrap();
        assert_eq!(sessions.accept_dialogue(3, dialogue(1)), Err(Error::Unspec));
        sessions.accept_dialogue(3, dialogue(2)).unwrap();
        sessions.end(first, Ending::Stopped).unwrap();
        assert!(sessions.end(first, Ending::Stopped).is_none());
        sessions.accept_dialogue(4, dialogue(1)).unwrap();
        assert_eq!(sessions.accept_dialogue(5, dialogue(1)), Err(Error::Unspec));
        assert_eq!(sessions.end_owned(AsaNonce(1)).len(), 3);
        assert!(sessions.inner.lock().accepted.is_empty());
    }

    #[test]
    fn a_clash_leads_to_another_draw_and_handles_are_no_sessions() {
        static DRAWN: AtomicU32 = AtomicU32::new(0);
        // Draws 5, 5, 6, 6, 7, 7, ...: every value twice.
        let sessions = SessionRegistry::with_generator(10, 10, Arc::default(), |random| {
            random.push(5 + DRAWN.fetch_add(1, Ordering::Relaxed) / 2)
        });
        let handle = sessions.new_asa_handle().unwrap();
        assert_eq!(handle, AsaNonce(5));
        let initiator = IpAddr::V6(Ipv6Addr::LOCALHOST);
        assert_eq!(sessions.flood_id(initiator).unwrap(), 6);
        let next = sessions.request_id().unwrap();
        assert_eq!(next, 7, "6 is remembered although it has ended");
        let fake = SessionNonce { id_value: handle.0, id_source: None };
        assert!(matches!(sessions.dialogue(fake), Err(Error::NoSocket)));
        let unknown = SessionNonce { id_value: 99, id_source: None };
        assert!(matches!(sessions.dialogue(unknown), Err(Error::NoSession)));
    }

    #[test]
    fn a_generator_that_repeats_itself_is_given_up() {
        let sessions = SessionRegistry::with_generator(10, 10, Arc::default(), |random| random.push(5));
        sessions.new_asa_handle().unwrap();
        assert_eq!(sessions.request_id(), Err(Error::Unspec));
    }

    #[test]
    fn equal_identifiers_from_two_sources_are_two_sessions() {
        let sessions = SessionRegistry::new(10, 10, 10, Arc::default());
        let (a, b) = (Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);
        let first = sessions.accept_dialogue(7, dialogue_with(a)).unwrap();
        sessions.accept_dialogue(7, dialogue_with(b)).unwrap();
        assert_eq!(sessions.accept_dialogue(7, dialogue_with(a)), Err(Error::IdClash));
        assert!(sessions.end_owned(AsaNonce(2)).is_empty());
        assert!(sessions.end(first, Ending::Accepted).is_some());
        sessions.accept_dialogue(7, dialogue_with(a)).unwrap();
        sessions.open_dialogue(8, dialogue_with(a)).unwrap();
        assert_eq!(
            sessions.accept_dialogue(8, dialogue_with(a)),
            Err(Error::IdClash),
            "we opened it with that peer"
        );
        sessions.accept_dialogue(8, dialogue_with(b)).unwrap();
        assert_eq!(sessions.end_owned(AsaNonce(1)).len(), 4);
        assert!(sessions.end_all().is_empty());
    }

    #[test]
    fn sessions_and_memories_are_bounded() {
        let sessions = SessionRegistry::new(1, 1, 2, Arc::default());
        let handle = sessions.new_asa_handle().unwrap();
        let open = sessions.open_dialogue(1, dialogue()).unwrap();
        assert_eq!(sessions.open_dialogue(2, dialogue()), Err(Error::Unspec));
        sessions.remove_asa_handle(handle);
        sessions.remove_asa_handle(handle);
        assert_eq!(sessions.open_count(), 1, "handles are no sessions");
        sessions.end(open, Ending::Stopped);
        sessions.open_dialogue(2, dialogue()).unwrap();
        let initiator = IpAddr::V6(Ipv6Addr::LOCALHOST);
        for id in 0..3 {
            sessions.mark_relayed(id, initiator, 0, 100);
        }
        assert!(sessions.was_relayed(2, initiator, 99));
        assert!(!sessions.was_relayed(2, initiator, 100), "forgotten after its time");
        assert!(!sessions.was_relayed(0, initiator, 1), "forgotten for want of room");
    }

    #[test]
    fn answers_find_the_discovery_with_their_identifier_and_initiator() {
        let sessions = SessionRegistry::new(10, 10, 10, Arc::default());
        let (tx, _rx) = crossbeam_channel::bounded(1);
        let own = IpAddr::V6(Ipv6Addr::LOCALHOST);
        let id = sessions.open_discovery(own, "EX1", tx.clone()).unwrap();
        assert!(sessions.mailbox(id, own).is_some() && sessions.is_own(id, own));
        assert!(sessions.mailbox(id, IpAddr::V6(Ipv6Addr::UNSPECIFIED)).is_none());
        assert!(sessions.open_relay(id, IpAddr::V6(Ipv6Addr::UNSPECIFIED), "EX1", tx.clone()));
        assert!(!sessions.open_relay(id, IpAddr::V6(Ipv6Addr::UNSPECIFIED), "EX1", tx));
        assert!(sessions.mailbox(id, IpAddr::V6(Ipv6Addr::UNSPECIFIED)).is_some());
        sessions.end_discovery(id, None);
        assert!(sessions.mailbox(id, own).is_none() && sessions.is_own(id, own));
    }
}
