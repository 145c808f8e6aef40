//! The session registry (graspy's `_session_id_cache`): the open sessions, their identifiers and their peers
//! (RFC 8990 §2.7).

use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::answer::Mailbox;
use super::merging::{Merging, RelayOpened, follow, with_followers};
use super::transport::Transport;
use crate::bounds::HashMap;
use crate::bounds::{Bounds, Cause, Neighbour, Permit, Quota};
use crate::error::{Error, Result};
use crate::stats::Counters;
use crate::trace::{Ending, Event, Later, SessionEvent, SessionKind};
use crate::types::{AsaNonce, SessionId, SessionNonce, as_ipv6};
use crate::wire::Flags;

/// A negotiation, synchronization or messaging session.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// The ASA that opened or accepted it: the session ends when this ASA ends.
    pub(crate) owner: AsaNonce,
    pub(crate) transport: Arc<dyn Transport>,
    /// The name of the objective: every step is about it.
    pub(crate) name: Arc<str>,
    /// A session is wholly live or wholly a dry run (RFC 8990 §2.10.2).
    pub(crate) dry: bool,
}

/// The identifier and a source: the peer's address, or the initiator's for a relayed discovery; none for sessions that
/// began here.
pub(super) type Key = (u32, Option<IpAddr>);

fn key_of(nonce: SessionNonce) -> Key {
    (nonce.id_value, nonce.id_source.map(IpAddr::V6))
}

#[derive(Debug)]
pub(super) enum Session {
    /// A discovery of this node that collects answers for all its mailboxes.
    Discovery(OpenDiscovery),
    /// A discovery of another node, which this node relays.
    Relay(OpenRelay),
    /// A connection with a peer. If the peer opened it, the permit counts it against the peer's share.
    Exchange(
        Exchange,
        #[expect(dead_code, reason = "held until the session ends")] Option<Permit<Neighbour>>,
    ),
}

/// A discovery of this node.
#[derive(Debug)]
pub(super) struct OpenDiscovery {
    pub(super) initiator: IpAddr,
    pub(super) question: Question,
    answered: bool,
    /// Whether relayed discoveries wait for its answers, too.
    pub(super) followed: bool,
    mailboxes: Vec<Arc<dyn Mailbox>>,
}

impl OpenDiscovery {
    fn mailbox(&self) -> Arc<dyn Mailbox> {
        match self.mailboxes.as_slice() {
            [only] => Arc::clone(only),
            all => Arc::new(all.to_vec()),
        }
    }
}

/// What opening a discovery has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    New,
    /// The discovery with this identifier, asked at this time, has the mailbox, too.
    Joined(u32, u64),
    /// The identifier is in use.
    InUse,
}

/// The question of a discovery of this node.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// The name that is looked for.
    pub(crate) name: Arc<str>,
    /// The flags and loop count; `None` if nobody else can use the answers.
    pub(crate) shared: Option<(Flags, u8)>,
    /// When it was asked.
    pub(crate) asked: u64,
}

/// A discovery that is being relayed.
#[derive(Debug)]
pub(crate) struct OpenRelay {
    pub(crate) name: Arc<str>,
    pub(crate) flags: Flags,
    /// The loop count that it is relayed with.
    pub(crate) loop_count: u8,
    /// The asker's interface: nothing that comes from this interface answers the discovery.
    pub(crate) asker_ifi: u32,
    pub(crate) mailbox: Arc<dyn Mailbox>,
    pub(crate) opened: u64,
    pub(crate) cause: Cause,
    pub(crate) merging: Merging,
    /// Its relay permit, held until the relay ends.
    pub(crate) _place: Permit<Neighbour>,
}

/// Where the answers to a discovery go.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) mailbox: Arc<dyn Mailbox>,
    /// The name that is looked for.
    pub(crate) name: Arc<str>,
    /// The interface that a relayed discovery came from; `None` for a discovery of this node.
    pub(crate) asker_ifi: Option<u32>,
}

impl Session {
    /// What the trace says about it.
    fn event(&self, (session, source): Key) -> SessionEvent {
        let (kind, peer, objective) = match self {
            Self::Discovery(open) => (SessionKind::Discovery, None, &open.question.name),
            Self::Relay(relay) => (SessionKind::RelayedDiscovery, source.map(as_ipv6), &relay.name),
            Self::Exchange(exchange, _) => {
                (SessionKind::Exchange, Some(exchange.transport.peer()), &exchange.name)
            }
        };
        SessionEvent { session, kind, peer, objective: (**objective).to_owned() }
    }
}

/// Open sessions by identifier and source.
#[derive(Debug)]
pub(crate) struct SessionRegistry {
    pub(super) inner: Mutex<HashMap<Key, Session>>,
    limit: usize,
    /// Counts the sessions that each peer has opened here.
    accepted: Quota<Neighbour>,
    /// The sessions whose peers had closed the connection at the last check, each with the time at which this was first
    /// seen.
    left: Mutex<HashMap<Key, u64>>,
    counters: Arc<Counters>,
}

impl SessionRegistry {
    pub(crate) fn new(limit: usize, per_peer: usize, counters: Arc<Counters>) -> Self {
        let accepted = Quota::new(Bounds { all: usize::MAX, each: per_peer });
        Self { inner: Mutex::default(), limit, accepted, left: Mutex::default(), counters }
    }

    /// Adds a session and reports it to the trace.
    fn begin(&self, inner: &mut HashMap<Key, Session>, events: &mut Later<'_>, key: Key, session: Session) {
        events.push(|| Event::SessionOpened(session.event(key)));
        let displaced = inner.insert(key, session);
        self.counters.sessions_ended.add_many(displaced.into_iter().count());
        self.counters.sessions_peak.raise_to(inner.len());
    }

    /// Whether a session that began here is open under this identifier.
    pub(crate) fn is_in_use(&self, id: u32) -> bool {
        self.inner.lock().contains_key(&(id, None))
    }

    /// Opens a discovery of this node, unless another thread has opened one meanwhile that can be joined
    /// ([`join_discovery`](Self::join_discovery)): threads that all find none at the same moment are to share one.
    pub(crate) fn open_discovery(
        &self,
        id: SessionId,
        question: Question,
        since: u64,
        mailbox: Arc<dyn Mailbox>,
    ) -> Opened {
        let mut events = self.counters.tracer().later();
        let mut inner = self.inner.lock();
        if let Some((id, asked)) = self.join(&mut inner, &question, since, &mailbox) {
            return Opened::Joined(id, asked);
        }
        let key = (id.session, None);
        if inner.contains_key(&key) {
            return Opened::InUse;
        }
        let (initiator, mailboxes) = (id.initiator, vec![mailbox]);
        let open = OpenDiscovery { initiator, question, answered: false, followed: false, mailboxes };
        self.begin(&mut inner, &mut events, key, Session::Discovery(open));
        self.counters.discoveries_begun.add();
        Opened::New
    }

    /// Adds a mailbox to a discovery that asks the same, was asked at `since` or later, and has had no answer yet:
    /// earlier answers would be lost to a mailbox that joins later. Returns the identifier of the discovery and when it
    /// was asked.
    pub(crate) fn join_discovery(
        &self,
        question: &Question,
        since: u64,
        mailbox: &Arc<dyn Mailbox>,
    ) -> Option<(u32, u64)> {
        self.join(&mut self.inner.lock(), question, since, mailbox)
    }

    fn join(
        &self,
        inner: &mut HashMap<Key, Session>,
        question: &Question,
        since: u64,
        mailbox: &Arc<dyn Mailbox>,
    ) -> Option<(u32, u64)> {
        question.shared?;
        let open = inner.iter_mut().filter_map(|(key, session)| match session {
            Session::Discovery(open) => Some((key.0, open)),
            _ => None,
        });
        let same = |open: &OpenDiscovery| {
            (&open.question.name, open.question.shared) == (&question.name, question.shared)
                && open.question.asked >= since
                && !open.answered
                && !open.mailboxes.iter().any(|known| Arc::ptr_eq(known, mailbox))
        };
        let (id, open) = open.filter(|(_, open)| same(open)).max_by_key(|(_, open)| open.question.asked)?;
        open.mailboxes.push(Arc::clone(mailbox));
        self.counters.discoveries_joined.add();
        Some((id, open.question.asked))
    }

    /// Opens a relayed discovery under the identifier that it came with. It is merged with an equal discovery that was asked or relayed
    /// at `since` or later, if `since` is given and there is one.
    pub(crate) fn open_relay(&self, id: SessionId, mut relay: OpenRelay, since: Option<u64>) -> RelayOpened {
        let mut events = self.counters.tracer().later();
        let mut inner = self.inner.lock();
        let key = (id.session, Some(id.initiator));
        if inner.contains_key(&key) {
            return RelayOpened::InUse;
        }
        let first = since.and_then(|since| follow(&mut inner, id.initiator, &relay, since));
        relay.merging = Merging::new(relay.opened, first.map(|(key, _)| key));
        self.begin(&mut inner, &mut events, key, Session::Relay(relay));
        first.map_or(RelayOpened::New, |(_, first)| RelayOpened::Merged(first))
    }

    /// Ends one relay to make room for another. Considers the relays that were opened before `since`, only those of one
    /// neighbour if `of` is given; among these, ends the oldest one of the cause with the most relays. Among equals, the key
    /// decides, so that a run of the simulator can be repeated. `false` if there is none.
    pub(crate) fn displace_relay(&self, of: Option<Neighbour>, since: u64) -> bool {
        let victim = {
            let inner = self.inner.lock();
            let relays = inner.iter().filter_map(|(key, session)| match session {
                Session::Relay(relay) if of.is_none_or(|of| of == relay.cause.0) => Some((*key, relay)),
                _ => None,
            });
            let relays: Vec<_> = relays.collect();
            let mut shares: HashMap<Cause, usize> = HashMap::default();
            relays.iter().for_each(|(_, relay)| *shares.entry(relay.cause).or_insert(0) += 1);
            let old = relays.iter().filter(|(_, relay)| relay.opened < since);
            let share = |relay: &OpenRelay| shares.get(&relay.cause).copied().unwrap_or(0);
            old.max_by_key(|(key, relay)| (share(relay), u64::MAX - relay.opened, *key)).map(|(key, _)| *key)
        };
        let is_relay = |session: &Session| matches!(session, Session::Relay(_));
        victim.is_some_and(|key| self.remove(key, Ending::Stopped, is_relay).is_some())
    }

    /// Where the answers to a discovery go, whether the discovery is this node's own or relayed (RFC 8990 §2.8.5).
    pub(crate) fn waiting(&self, id: SessionId) -> Option<Waiting> {
        let mut inner = self.inner.lock();
        if let Some(Session::Discovery(open)) = inner.get_mut(&(id.session, None))
            && open.initiator == id.initiator
        {
            open.answered = true;
            let (mailbox, name, followed) = (open.mailbox(), Arc::clone(&open.question.name), open.followed);
            let mailbox = with_followers(&inner, (id.session, None), followed, mailbox);
            return Some(Waiting { mailbox, name, asker_ifi: None });
        }
        let key = (id.session, Some(id.initiator));
        match inner.get(&key) {
            Some(Session::Relay(relay)) => Some(Waiting {
                mailbox: with_followers(&inner, key, relay.merging.is_followed(), Arc::clone(&relay.mailbox)),
                name: Arc::clone(&relay.name),
                asker_ifi: Some(relay.asker_ifi),
            }),
            _ => None,
        }
    }

    /// Where an answer in rapid mode to a discovery of this node goes; such an answer names only the session.
    pub(crate) fn own_mailbox(&self, id: u32) -> Option<Arc<dyn Mailbox>> {
        match self.inner.lock().get(&(id, None)) {
            Some(Session::Discovery(open)) => Some(open.mailbox()),
            _ => None,
        }
    }

    /// Opens a session with a peer. Fails with `SessionLimit`.
    pub(crate) fn open_exchange(&self, id: u32, exchange: Exchange) -> Result<SessionNonce> {
        let mut events = self.counters.tracer().later();
        let mut inner = self.inner.lock();
        if inner.len() >= self.limit {
            self.counters.sessions_not_opened.add();
            return Err(Error::SessionLimit);
        }
        self.begin(&mut inner, &mut events, (id, None), Session::Exchange(exchange, None));
        self.counters.sessions_opened.add();
        Ok(SessionNonce { id_value: id, id_source: None })
    }

    /// Accepts a session that a peer opened. `IDclash` if a session with this identifier is open with this peer
    /// (RFC 8990 §2.8.6); `SessionLimit` if the limit for all sessions or for one peer is reached. Peers on this
    /// machine have no limit of their own.
    pub(crate) fn accept_exchange(&self, id: u32, exchange: Exchange) -> Result<SessionNonce> {
        let mut events = self.counters.tracer().later();
        let mut inner = self.inner.lock();
        let source = exchange.transport.peer();
        if is_open_with(&inner, id, exchange.transport.as_ref()) {
            return Err(Error::IdClash);
        }
        let local = exchange.transport.is_from_here();
        let share = if local { None } else { Some(self.accepted.take(exchange.transport.neighbour())) };
        let (Ok(share), true) = (share.transpose(), inner.len() < self.limit) else {
            return Err(Error::SessionLimit);
        };
        let key = (id, Some(IpAddr::V6(source)));
        self.begin(&mut inner, &mut events, key, Session::Exchange(exchange, share));
        Ok(SessionNonce { id_value: id, id_source: Some(source) })
    }

    /// Whether a session with this identifier is open with the peer of a connection, whichever side began it
    /// (RFC 8990 §2.8.6).
    pub(crate) fn is_open_with(&self, id: u32, transport: &dyn Transport) -> bool {
        is_open_with(&self.inner.lock(), id, transport)
    }

    /// The exchange of a session: `noSession` if there is none, `noSocket` if the session is a discovery.
    pub(crate) fn exchange(&self, nonce: SessionNonce) -> Result<Exchange> {
        match self.inner.lock().get(&key_of(nonce)) {
            None => Err(Error::NoSession),
            Some(Session::Exchange(exchange, _)) => Ok(exchange.clone()),
            Some(_) => Err(Error::NoSocket),
        }
    }

    /// Ends a session and returns its exchange; the caller closes its transport. `None` if the session is not an
    /// exchange or has already ended.
    pub(crate) fn end(&self, nonce: SessionNonce, how: Ending) -> Option<Exchange> {
        match self.remove(key_of(nonce), how, |session| matches!(session, Session::Exchange(..))) {
            Some(Session::Exchange(exchange, _)) => Some(exchange),
            _ => None,
        }
    }

    /// Removes a mailbox from a discovery of this node. The discovery ends when its last mailbox is removed.
    pub(crate) fn leave_discovery(&self, id: u32, mailbox: &Arc<dyn Mailbox>) {
        if let Some(Session::Discovery(open)) = self.inner.lock().get_mut(&(id, None)) {
            open.mailboxes.retain(|one| !Arc::ptr_eq(one, mailbox));
        }
        let which =
            |session: &Session| matches!(session, Session::Discovery(open) if open.mailboxes.is_empty());
        self.remove((id, None), Ending::Discovered, which);
    }

    /// Ends a relayed discovery.
    pub(crate) fn end_relay(&self, id: SessionId) {
        let which = |session: &Session| matches!(session, Session::Relay(_));
        self.remove((id.session, Some(id.initiator)), Ending::Discovered, which);
    }

    fn remove(&self, key: Key, how: Ending, which: impl Fn(&Session) -> bool) -> Option<Session> {
        let session = match self.inner.lock().entry(key) {
            Entry::Occupied(entry) if which(entry.get()) => entry.remove(),
            _ => return None,
        };
        self.counters.sessions_ended.add();
        self.counters.tracer().emit(|| Event::SessionEnded(session.event(key), how));
        Some(session)
    }

    /// Ends all sessions of an ASA; the caller closes the transports.
    pub(crate) fn end_owned(&self, owner: AsaNonce) -> Vec<Exchange> {
        let owned =
            |session: &Session| matches!(session, Session::Exchange(exchange, _) if exchange.owner == owner);
        self.end_where(owned)
    }

    /// Ends all sessions, at shutdown: the caller closes the transports, and waiting discoveries see their mailbox
    /// close.
    pub(crate) fn end_all(&self) -> Vec<Exchange> {
        self.end_where(|_| true)
    }

    /// Ends the sessions whose peers closed the connection at least `grace` milliseconds ago, as far as this node
    /// noticed, and that have no unread data; the caller closes the transports.
    pub(crate) fn end_abandoned(&self, now: u64, grace: u64) -> Vec<Exchange> {
        let open: Vec<_> = {
            let inner = self.inner.lock();
            let exchanges = inner.iter().filter_map(|(key, session)| match session {
                Session::Exchange(exchange, _) => Some((*key, Arc::clone(&exchange.transport))),
                _ => None,
            });
            exchanges.collect()
        };
        let mut left = self.left.lock();
        let over = open.into_iter().filter(|(_, transport)| transport.is_over());
        let over = over.map(|(key, transport)| (key, transport, left.get(&key).copied().unwrap_or(now)));
        let (gone, fresh): (Vec<_>, Vec<_>) =
            over.partition(|(_, _, since)| now.saturating_sub(*since) >= grace);
        *left = fresh.into_iter().map(|(key, _, since)| (key, since)).collect();
        drop(left);
        let ended = gone.into_iter().filter_map(|(key, transport, _)| {
            let same = |session: &Session| {
                matches!(session, Session::Exchange(exchange, _) if Arc::ptr_eq(&exchange.transport, &transport))
            };
            match self.remove(key, Ending::Abandoned, same) {
                Some(Session::Exchange(exchange, _)) => Some(exchange),
                _ => None,
            }
        });
        let ended: Vec<_> = ended.collect();
        self.counters.sessions_abandoned.add_many(ended.len());
        ended
    }

    /// Ends the sessions whose peers are no members of the domain any more; the caller closes the transports.
    pub(crate) fn end_outsiders(&self, again: bool) -> Vec<Exchange> {
        let transports: Vec<_> = {
            let inner = self.inner.lock();
            let exchanges = inner.values().filter_map(|session| match session {
                Session::Exchange(exchange, _) => Some(Arc::clone(&exchange.transport)),
                _ => None,
            });
            exchanges.collect()
        };
        let outside: Vec<_> =
            transports.into_iter().filter(|transport| !transport.is_member(again)).collect();
        let is_outside =
            |transport: &Arc<dyn Transport>| outside.iter().any(|one| Arc::ptr_eq(one, transport));
        if outside.is_empty() {
            return Vec::new();
        }
        self.end_where(
            |session| matches!(session, Session::Exchange(exchange, _) if is_outside(&exchange.transport)),
        )
    }

    fn end_where(&self, which: impl Fn(&Session) -> bool) -> Vec<Exchange> {
        let mut events = self.counters.tracer().later();
        let ended: Vec<_> = self.inner.lock().extract_if(|_, session| which(session)).collect();
        self.counters.sessions_ended.add_many(ended.len());
        for (key, session) in &ended {
            events.push(|| Event::SessionEnded(session.event(*key), Ending::Stopped));
        }
        let exchanges = ended.into_iter().filter_map(|(_, session)| match session {
            Session::Exchange(exchange, _) => Some(exchange),
            _ => None,
        });
        exchanges.collect()
    }

    /// The number of open sessions.
    pub(crate) fn open_count(&self) -> usize {
        self.inner.lock().len()
    }

    /// The open sessions: key, description for the trace, and the ASA that owns the session.
    pub(crate) fn views(&self) -> Vec<(Key, SessionEvent, Option<AsaNonce>)> {
        let owner = |it: &Session| if let Session::Exchange(it, _) = it { Some(it.owner) } else { None };
        let inner = self.inner.lock();
        inner.iter().map(|(key, session)| (*key, session.event(*key), owner(session))).collect()
    }
}

fn is_open_with(inner: &HashMap<Key, Session>, id: u32, transport: &dyn Transport) -> bool {
    let theirs = inner.contains_key(&(id, Some(IpAddr::V6(transport.peer()))));
    let ours = inner.get(&(id, None)).filter(|_| !transport.is_from_here());
    theirs
        || matches!(ours, Some(Session::Exchange(exchange, _)) if exchange.transport.neighbour() == transport.neighbour())
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
