//! The neighbours that this node has, or wants, connections with that carry its multicasts ([`Adjacent`]): those that have announced
//! themselves, and those that it is connected with. Used where [`Neighbours`](crate::acp::Neighbours) asks for it; `node` decides.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::bounds::{BoundedMap, Capacity, Neighbour, Permit};

/// How many announced neighbours are remembered.
const ANNOUNCED: usize = 1024;
/// How many of these at one address: the engines of a host. Anybody on the link can announce in another's name.
const AT_ONE_ADDRESS: usize = 4;
/// How many neighbours are remembered that have been connected with: no announcement in whatever name displaces them.
const PROVEN: usize = 256;
/// The first pause after a failed attempt to connect, in milliseconds, which doubles up to the longest (RFC 8994 §6.4).
const FIRST_PAUSE: u64 = 10_000;
const LONGEST_PAUSE: u64 = 640_000;

/// A neighbour on a link, as it announces itself. A host has one for each of its engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NeighbourId {
    /// Index of the interface to the link.
    pub(crate) ifi: u32,
    /// The neighbour's link-local address there.
    pub(crate) address: Ipv6Addr,
    /// The port where it accepts connections of neighbours.
    pub(crate) port: u16,
}

impl NeighbourId {
    /// The neighbour as quotas count it.
    pub(crate) const fn neighbour(&self) -> Neighbour {
        (self.ifi, self.address)
    }
}

/// A connection with a neighbour that carries multicasts and the answers to them. `net::tcp::Adjacency` is the real one.
pub(crate) trait Adjacent: fmt::Debug + Send + Sync {
    /// Sends a message, now or once the neighbour takes it. Never waits. Returns `false` if the connection is over.
    fn offer(&self, message: &[u8]) -> bool;
    /// Says nothing more, and takes what the neighbour still says: another connection has taken its place.
    fn retire(&self);
    /// Ends it.
    fn close(&self);
    /// The neighbour's certified name; `None` where certificates do not secure the connection.
    fn certified_name(&self) -> Option<String>;
    /// Whether the neighbour is still a member of the domain; `again` checks its certificates again, by present credentials.
    fn is_member(&self, again: bool) -> bool;
}

/// Who has opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenedBy {
    Here,
    There,
}

/// How an attempt to connect with a neighbour has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    Reached,
    /// Without any answer, as while the link is cut.
    Silent,
    /// With another failure.
    Refused,
}

/// What becomes of a new connection.
#[derive(Debug)]
pub(crate) enum Joined {
    /// It carries multicasts from now on, under this number.
    New(u64),
    /// It takes the place of this one, which is to retire.
    InPlaceOf(Arc<dyn Adjacent>, u64),
    /// There is a better one already: this one is to retire.
    Superfluous,
    /// It has no place on the link, and the neighbour had none before.
    OneTooMany,
}

struct Established {
    number: u64,
    by: OpenedBy,
    adjacent: Arc<dyn Adjacent>,
    place: Option<Permit<u32>>,
}

/// A neighbour that has announced itself.
#[derive(Debug)]
struct Announced {
    /// Until when the announcement is valid.
    until: u64,
    /// Not before this time is it tried again.
    not_before: u64,
    /// How many attempts have failed in a row.
    failed: u32,
    /// An attempt is in progress.
    is_tried: bool,
    /// The last attempt had no answer at all.
    was_silent: bool,
}

impl Announced {
    const fn new(until: u64) -> Self {
        Self { until, not_before: 0, failed: 0, is_tried: false, was_silent: false }
    }

    const fn is_wanted(&self, now: u64) -> bool {
        now < self.until && now >= self.not_before && !self.is_tried
    }
}

#[derive(Debug)]
struct Inner {
    established: BTreeMap<NeighbourId, Established>,
    announced: BoundedMap<NeighbourId, Announced, Neighbour>,
    /// Those that have been connected with. They are not among `announced`.
    proven: BoundedMap<NeighbourId, Announced, Neighbour>,
    last: u64,
}

impl Inner {
    fn known(&mut self, id: &NeighbourId) -> Option<&mut Announced> {
        if self.proven.get(id).is_some() { self.proven.get_mut(id) } else { self.announced.get_mut(id) }
    }
}

impl fmt::Debug for Established {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Established").field("adjacent", &self.adjacent).finish_non_exhaustive()
    }
}

/// The neighbours of one engine.
#[derive(Debug)]
pub(crate) struct AdjacencyRegistry(Mutex<Inner>);

impl AdjacencyRegistry {
    pub(crate) fn new() -> Self {
        let map =
            |entries| BoundedMap::with_shares(Capacity::entries(entries), Capacity::entries(AT_ONE_ADDRESS));
        let (announced, proven) = (map(ANNOUNCED), map(PROVEN));
        Self(Mutex::new(Inner { established: BTreeMap::new(), announced, proven, last: 0 }))
    }

    /// Remembers an announcement that is valid until `until`.
    pub(crate) fn announced(&self, id: NeighbourId, until: u64) {
        let mut inner = self.0.lock();
        match inner.known(&id) {
            Some(known) => {
                known.until = until;
                if std::mem::take(&mut known.was_silent) {
                    known.not_before = 0;
                }
                inner.announced.touch(&id);
            }
            None => {
                inner.announced.insert_for(id.neighbour(), (), id, Announced::new(until), 0);
            }
        }
    }

    /// Remembers, until then, a neighbour that has been connected with, whatever is announced in its name.
    pub(crate) fn proven(&self, id: NeighbourId, until: u64) {
        let mut inner = self.0.lock();
        let known = inner.announced.remove(&id).or_else(|| inner.proven.remove(&id));
        let mut one = known.unwrap_or_else(|| Announced::new(until));
        one.until = one.until.max(until);
        inner.proven.insert_for(id.neighbour(), (), id, one, 0);
    }

    /// Whether it has been connected with, at this port.
    pub(crate) fn is_proven(&self, id: NeighbourId) -> bool {
        self.0.lock().proven.get(&id).is_some()
    }

    /// The neighbours to connect with now: announced, not connected, and not tried too recently. Those first that have been connected
    /// with before.
    pub(crate) fn wanted(&self, now: u64) -> Vec<NeighbourId> {
        let inner = self.0.lock();
        let is_wanted = |(id, one): &(&NeighbourId, &Announced)| {
            one.is_wanted(now) && !inner.established.contains_key(*id)
        };
        inner.proven.iter().chain(inner.announced.iter()).filter(is_wanted).map(|(id, _)| *id).collect()
    }

    /// Whether it is one of those.
    pub(crate) fn wanted_now(&self, id: NeighbourId, now: u64) -> bool {
        let mut inner = self.0.lock();
        !inner.established.contains_key(&id) && inner.known(&id).is_some_and(|one| one.is_wanted(now))
    }

    /// The same, and an attempt begins if so.
    pub(crate) fn begin(&self, id: NeighbourId, now: u64) -> bool {
        let mut inner = self.0.lock();
        if inner.established.contains_key(&id) {
            return false;
        }
        match inner.known(&id) {
            Some(one) if one.is_wanted(now) => {
                one.is_tried = true;
                true
            }
            _ => false,
        }
    }

    /// An attempt is over. The next one waits, counted from `since`: 10 s, and after each further failure twice as long. If the neighbour
    /// did not answer, it waits no longer than until the neighbour announces itself again: then the link between them is there again.
    /// It waits after a success too: the connection is not taken up yet, or may have ended already.
    pub(crate) fn tried(&self, id: NeighbourId, how: Tried, since: u64) {
        if let Some(one) = self.0.lock().known(&id) {
            one.is_tried = false;
            one.was_silent = how == Tried::Silent;
            one.failed = if how == Tried::Reached { 0 } else { one.failed.saturating_add(1) };
            let doubled = 1_u64.checked_shl(one.failed.saturating_sub(1)).unwrap_or(u64::MAX);
            one.not_before = since.saturating_add(FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE));
        }
    }

    /// Takes up a connection with a neighbour. Of two that both sides have opened at once, both sides keep the one that the lower
    /// of their addresses has opened; of two that one side has opened, the newer one. Without a place of its own it takes that of the
    /// connection that it replaces.
    pub(crate) fn join(
        &self,
        id: NeighbourId,
        own: (Ipv6Addr, u16),
        by: OpenedBy,
        adjacent: Arc<dyn Adjacent>,
        place: Option<Permit<u32>>,
    ) -> Joined {
        let mut inner = self.0.lock();
        let is_lower = own < (id.address, id.port);
        let kept = if is_lower { OpenedBy::Here } else { OpenedBy::There };
        if inner.established.get(&id).is_some_and(|known| known.by != by && known.by == kept) {
            return Joined::Superfluous;
        }
        let place = place.or_else(|| inner.established.get_mut(&id).and_then(|known| known.place.take()));
        if place.is_none() {
            return Joined::OneTooMany;
        }
        inner.last = inner.last.wrapping_add(1);
        let number = inner.last;
        match inner.established.insert(id, Established { number, by, adjacent, place }) {
            Some(before) => Joined::InPlaceOf(before.adjacent, number),
            None => Joined::New(number),
        }
    }

    /// A connection is over. Returns whether it was the one in use.
    pub(crate) fn leave(&self, id: NeighbourId, number: u64) -> bool {
        let mut inner = self.0.lock();
        let is_it = inner.established.get(&id).is_some_and(|known| known.number == number);
        if is_it {
            inner.established.remove(&id);
        }
        is_it
    }

    /// The connection with a neighbour.
    pub(crate) fn get(&self, id: NeighbourId) -> Option<Arc<dyn Adjacent>> {
        self.0.lock().established.get(&id).map(|known| Arc::clone(&known.adjacent))
    }

    /// The connections, with the neighbours.
    pub(crate) fn all(&self) -> Vec<(NeighbourId, Arc<dyn Adjacent>)> {
        let inner = self.0.lock();
        inner.established.iter().map(|(id, known)| (*id, Arc::clone(&known.adjacent))).collect()
    }

    /// Whether there is a connection with a neighbour at this address.
    pub(crate) fn has(&self, (ifi, address): Neighbour) -> bool {
        let inner = self.0.lock();
        let first = NeighbourId { ifi, address, port: 0 };
        inner.established.range(first..).next().is_some_and(|(id, _)| id.neighbour() == (ifi, address))
    }

    /// How many neighbours there are.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().established.len()
    }

    /// Forgets announcements that are no longer valid.
    pub(crate) fn purge(&self, now: u64) {
        let mut inner = self.0.lock();
        inner.announced.extract(|_, one| now >= one.until && !one.is_tried);
        inner.proven.extract(|_, one| now >= one.until && !one.is_tried);
    }

    /// Forgets the announcements of an interface, or all of them, and returns the connections there, which the caller closes. Whoever was
    /// connected with is remembered: it may be found again before it announces itself.
    pub(crate) fn end(&self, ifi: Option<u32>) -> Vec<Arc<dyn Adjacent>> {
        let mut inner = self.0.lock();
        let is_there = |id: &NeighbourId| ifi.is_none_or(|ifi| id.ifi == ifi);
        inner.announced.extract(|id, _| is_there(id));
        let (gone, kept) =
            std::mem::take(&mut inner.established).into_iter().partition(|(id, _)| is_there(id));
        inner.established = kept;
        drop(inner);
        let gone: BTreeMap<NeighbourId, Established> = gone;
        gone.into_values().map(|known| known.adjacent).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::{Bounds, Quota};

    #[derive(Debug)]
    struct Mute;

    impl Adjacent for Mute {
        fn offer(&self, _: &[u8]) -> bool {
            true
        }
        fn retire(&self) {}
        fn close(&self) {}
        fn certified_name(&self) -> Option<String> {
            None
        }
        fn is_member(&self, _: bool) -> bool {
            true
        }
    }

    const HIGH: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
    const LOW: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

    fn id(address: Ipv6Addr) -> NeighbourId {
        NeighbourId { ifi: 2, address, port: 7 }
    }

    /// What one side keeps of two connections with the other, in the order in which it sees them.
    fn kept(own: Ipv6Addr, other: Ipv6Addr, order: [OpenedBy; 2]) -> OpenedBy {
        let (registry, quota) = (AdjacencyRegistry::new(), Quota::new(Bounds::all(9)));
        for by in order {
            let place = quota.take(2).ok();
            registry.join(id(other), (own, 7), by, Arc::new(Mute), place);
        }
        assert_eq!((registry.len(), quota.used()), (1, 1));
        registry.0.lock().established.values().next().unwrap().by
    }

    #[test]
    fn both_sides_keep_the_same_of_two_simultaneous_connections() {
        for order in [[OpenedBy::Here, OpenedBy::There], [OpenedBy::There, OpenedBy::Here]] {
            assert_eq!(kept(LOW, HIGH, order), OpenedBy::Here);
            assert_eq!(kept(HIGH, LOW, order), OpenedBy::There);
        }
    }

    #[test]
    fn one_side_that_opens_again_has_lost_the_first() {
        let (registry, quota) = (AdjacencyRegistry::new(), Quota::new(Bounds::all(9)));
        let join = |by| registry.join(id(HIGH), (LOW, 7), by, Arc::new(Mute), quota.take(2).ok());
        let Joined::New(first) = join(OpenedBy::There) else { panic!("there was none") };
        let Joined::InPlaceOf(_, second) = join(OpenedBy::There) else { panic!("the newer one is kept") };
        assert!(!registry.leave(id(HIGH), first), "the older one is not in use any more");
        assert!(registry.leave(id(HIGH), second) && registry.len() == 0);
    }

    #[test]
    fn a_neighbour_that_cannot_be_reached_is_tried_ever_less_often() {
        let registry = AdjacencyRegistry::new();
        registry.announced(id(HIGH), u64::MAX);
        let mut now = 0;
        for pause in [10, 20, 40, 80, 160, 320, 640, 640, 640] {
            assert_eq!(registry.wanted(now), [id(HIGH)]);
            assert!(registry.begin(id(HIGH), now) && !registry.begin(id(HIGH), now), "once at a time");
            registry.tried(id(HIGH), Tried::Refused, now);
            // To announce itself again does not help it.
            registry.announced(id(HIGH), u64::MAX);
            assert!(registry.wanted(now + pause * 1000 - 1).is_empty(), "{pause}");
            now += pause * 1000;
        }
        assert!(registry.begin(id(HIGH), now));
        registry.tried(id(HIGH), Tried::Reached, now);
        // Its connection is about to be taken up.
        assert!(registry.wanted(now + 9_999).is_empty());
        for pause in [10_000, 10_000, 20_000] {
            now += pause;
            assert!(registry.begin(id(HIGH), now), "a success ends that");
            registry.tried(id(HIGH), Tried::Refused, now);
        }
    }

    #[test]
    fn a_neighbour_that_was_silent_is_tried_again_when_it_announces_itself() {
        let registry = AdjacencyRegistry::new();
        registry.announced(id(HIGH), u64::MAX);
        for _ in 0..3 {
            assert!(registry.begin(id(HIGH), 0));
            registry.tried(id(HIGH), Tried::Silent, 0);
            assert!(registry.wanted(0).is_empty());
            registry.announced(id(HIGH), u64::MAX);
        }
        // One that refuses is not.
        assert!(registry.begin(id(HIGH), 0));
        registry.tried(id(HIGH), Tried::Refused, 0);
        registry.announced(id(HIGH), u64::MAX);
        assert!(registry.wanted(70_000).is_empty(), "the fourth failure in a row");
        assert_eq!(registry.wanted(80_000), [id(HIGH)]);
    }

    #[test]
    fn what_is_announced_in_one_name_displaces_only_that() {
        let registry = AdjacencyRegistry::new();
        registry.announced(id(HIGH), 100);
        (1000..3000).for_each(|port| registry.announced(NeighbourId { port, ..id(LOW) }, 100));
        let wanted = registry.wanted(0);
        assert!(wanted.contains(&id(HIGH)));
        assert_eq!(wanted.len(), 1 + AT_ONE_ADDRESS);
        registry.purge(100);
        assert!(registry.wanted(0).is_empty());
    }

    #[test]
    fn a_neighbour_that_connects_again_keeps_its_place_and_a_new_one_needs_one() {
        let (registry, quota) = (AdjacencyRegistry::new(), Quota::new(Bounds::all(1)));
        let join =
            |who| registry.join(id(who), (LOW, 7), OpenedBy::There, Arc::new(Mute), quota.take(2).ok());
        assert!(matches!(join(HIGH), Joined::New(_)));
        let Joined::InPlaceOf(_, second) = join(HIGH) else { panic!("it has a place") };
        assert!(matches!(join(Ipv6Addr::LOCALHOST), Joined::OneTooMany));
        assert!(registry.leave(id(HIGH), second) && quota.used() == 0);
    }

    #[test]
    fn nothing_that_is_announced_displaces_whom_this_node_was_connected_with() {
        let registry = AdjacencyRegistry::new();
        registry.announced(id(HIGH), 100);
        registry.proven(id(HIGH), 200);
        (1000..3000).for_each(|port| registry.announced(NeighbourId { port, ..id(HIGH) }, 300));
        assert_eq!(registry.wanted(0).first(), Some(&id(HIGH)));
        assert!(registry.is_proven(id(HIGH)) && !registry.is_proven(NeighbourId { port: 2999, ..id(HIGH) }));
        // What is known of its failures stays known.
        assert!(registry.begin(id(HIGH), 0));
        registry.tried(id(HIGH), Tried::Refused, 0);
        registry.proven(id(HIGH), 200);
        assert!(!registry.wanted_now(id(HIGH), 150));
        registry.end(None);
        assert!(registry.is_proven(id(HIGH)) && registry.wanted(100).is_empty());
        registry.purge(200);
        assert!(!registry.is_proven(id(HIGH)));
    }
}
