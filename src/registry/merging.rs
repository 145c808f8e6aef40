//! Which discoveries a relay merges (`Config::merge_window`): what the session registry knows of equal ones. `node::merging` decides by it
//! what to send. Everything here is part of an open relay, and bounded by the relays' permits.

use std::net::IpAddr;
use std::sync::Arc;

use super::answer::Mailbox;
use super::session::{Key, OpenRelay, Session, SessionRegistry};
use crate::bounds::HashMap;
use crate::types::SessionId;

/// What a relayed discovery has to do with equal ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Merging {
    /// Since when it has been relayed to all links; `None` while it waits for the answers to another one.
    since: Option<u64>,
    /// The discovery whose answers it gets, too.
    follows: Option<Key>,
    /// Whether others get its answers.
    followed: bool,
}

impl Merging {
    /// Of a relay that is opened now, and follows another discovery or not.
    pub(super) fn new(now: u64, follows: Option<Key>) -> Self {
        Self { since: follows.is_none().then_some(now), follows, followed: false }
    }

    pub(super) const fn is_followed(self) -> bool {
        self.followed
    }
}

/// The discovery that another one is merged with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct First {
    /// The interface that it came in on, to which it was not sent; `None` for a discovery of this node.
    pub(crate) asker_ifi: Option<u32>,
}

/// What opening a relay has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RelayOpened {
    New,
    /// It waits for the answers to an equal discovery.
    Merged(First),
    /// One is open under this identifier.
    InUse,
}

impl SessionRegistry {
    /// Whether the discovery that this one is merged with is still open, so that more answers may come.
    pub(crate) fn is_following(&self, id: SessionId) -> bool {
        let inner = self.inner.lock();
        match inner.get(&(id.session, Some(id.initiator))) {
            Some(Session::Relay(relay)) => relay.merging.follows.is_some_and(|key| inner.contains_key(&key)),
            _ => false,
        }
    }

    /// Records that a merged discovery is relayed now. It still gets the answers to the other one. `false` if it has ended.
    pub(crate) fn relay_merged(&self, id: SessionId, now: u64) -> bool {
        match self.inner.lock().get_mut(&(id.session, Some(id.initiator))) {
            Some(Session::Relay(relay)) => {
                relay.merging.since = Some(now);
                true
            }
            _ => false,
        }
    }
}

/// Finds the latest discovery of another initiator with the same name and flags that asks everyone whom this one would ask, since `since`
/// or later, and records that it is followed. One with a smaller loop count does not reach as far, and one that itself waits for others has
/// asked nobody; one of the same initiator has failed, which is why it asks again. Among equals, the key decides, so that a run of the
/// simulator can be repeated.
pub(super) fn follow(
    inner: &mut HashMap<Key, Session>,
    initiator: IpAddr,
    relay: &OpenRelay,
    since: u64,
) -> Option<(Key, First)> {
    let asks = |session: &Session| match session {
        Session::Discovery(open) => {
            let (flags, loop_count) = open.question.shared?;
            let same = open.question.name == relay.name && flags == relay.flags;
            let reaches = loop_count >= relay.loop_count && open.initiator != initiator;
            (same && reaches).then_some((open.question.asked, None))
        }
        Session::Relay(first) => {
            let same = first.name == relay.name && first.flags == relay.flags;
            let reaches = first.loop_count >= relay.loop_count && first.cause.1 != initiator;
            first.merging.since.filter(|_| same && reaches).map(|asked| (asked, Some(first.asker_ifi)))
        }
        Session::Exchange(..) => None,
    };
    let all = inner.iter().filter_map(|(key, session)| Some((asks(session)?, *key)));
    let ((_, asker_ifi), key) = all.filter(|((asked, _), _)| *asked >= since).max()?;
    match inner.get_mut(&key)? {
        Session::Discovery(open) => open.followed = true,
        Session::Relay(first) => first.merging.followed = true,
        Session::Exchange(..) => return None,
    }
    Some((key, First { asker_ifi }))
}

/// The mailbox of a discovery, with those of the relays that wait for its answers.
pub(super) fn with_followers(
    inner: &HashMap<Key, Session>,
    key: Key,
    followed: bool,
    own: Arc<dyn Mailbox>,
) -> Arc<dyn Mailbox> {
    if !followed {
        return own;
    }
    let followers = inner.values().filter_map(|session| match session {
        Session::Relay(relay) if relay.merging.follows == Some(key) => Some(Arc::clone(&relay.mailbox)),
        _ => None,
    });
    Arc::new(std::iter::once(own).chain(followers).collect::<Vec<_>>())
}
