//! The objective registry (graspy's `_obj_registry`): the objectives that this node supports, their owners and their
//! listeners.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::Transport;
use super::request::{Close, NegotiationRequest, SynchRequest};
use crate::bounds::HashMap;
use crate::bounds::Neighbour;
use crate::error::{Error, Result};
use crate::types::{AsaLocator, AsaNonce, Objective, ObjectiveView};

/// The parts of a registration besides the objective.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    pub(crate) ttl: u32,
    pub(crate) discoverable: bool,
    pub(crate) overlap: bool,
    pub(crate) local: bool,
    pub(crate) rapid: bool,
    pub(crate) locators: Vec<AsaLocator>,
    pub(crate) port: u16,
    pub(crate) listener: Option<Arc<dyn Close>>,
}

/// The data with which a discovery is answered.
#[derive(Clone, Debug)]
pub(crate) struct Offering {
    pub(crate) objective: Objective,
    pub(crate) ttl: u32,
    pub(crate) local: bool,
    pub(crate) rapid: bool,
    pub(crate) locators: Vec<AsaLocator>,
    pub(crate) port: u16,
    pub(crate) owners: Vec<AsaNonce>,
}

/// The uses of an objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) neg: bool,
    pub(crate) synch: bool,
}

/// Where a negotiation request goes.
#[derive(Debug)]
pub(crate) enum Dispatch {
    /// To this channel. If a listener is free, it takes the request; otherwise the request waits for one that has just
    /// returned to listen again. `waiting` requests wait for this owner now.
    Listener { tx: Sender<NegotiationRequest>, owner: AsaNonce, free: bool, waiting: usize },
    /// Nobody listens.
    NotListening,
    /// The queue is full: as many requests wait as the limits allow.
    QueueFull,
}

/// Registered objectives by name.
#[derive(Debug)]
pub(crate) struct ObjectiveRegistry {
    inner: Mutex<HashMap<String, Entry>>,
    limit: usize,
}

#[derive(Debug)]
struct Entry {
    objective: Objective,
    owners: Vec<AsaNonce>,
    registration: Registration,
    negotiation: HashMap<AsaNonce, Queue>,
    /// The owner that listens for synchronization, with its queue.
    synchronization: Option<(AsaNonce, Sender<SynchRequest>)>,
}

/// The requests for one owner. The channel has no room of its own: a request waits with its reader, so nothing is lost
/// when a listener returns or stops.
#[derive(Debug)]
struct Queue {
    tx: Sender<NegotiationRequest>,
    rx: Receiver<NegotiationRequest>,
    listeners: usize,
    waiting: usize,
    /// The number of waiting requests of each peer.
    peers: HashMap<Neighbour, usize>,
    /// The time at which a listener last returned, or was announced, in milliseconds.
    returned: Option<u64>,
}

/// How many requests may wait for the listeners of one ASA, beyond one for each listener: in total, and of one peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueLimits {
    pub(crate) all: usize,
    pub(crate) per_peer: usize,
}

impl Queue {
    /// Whether the peer has as many waiting requests as it may have. Requests from this machine are not limited.
    fn has_its_share(&self, transport: &dyn Transport, limit: usize) -> bool {
        let waiting = self.peers.get(&transport.neighbour()).copied().unwrap_or(0);
        waiting >= limit + self.listeners && !transport.is_from_here()
    }
}

impl Entry {
    fn is_discoverable(&self) -> bool {
        let listened = !self.negotiation.is_empty() || self.synchronization.is_some();
        self.objective.discoverable && (self.registration.discoverable || listened)
    }

    /// The queue of an owner, which is made if there is none.
    fn queue_of(&mut self, nonce: AsaNonce) -> &mut Queue {
        self.negotiation.entry(nonce).or_insert_with(|| {
            let (tx, rx) = bounded(0);
            Queue { tx, rx, listeners: 0, waiting: 0, peers: HashMap::default(), returned: None }
        })
    }

    fn own(&mut self, nonce: AsaNonce) {
        if !self.owners.contains(&nonce) {
            self.owners.push(nonce);
        }
    }

    fn disown(&mut self, nonce: AsaNonce) {
        self.owners.retain(|owner| *owner != nonce);
        self.negotiation.remove(&nonce);
        self.stop_synchronize(nonce);
    }

    fn stop_synchronize(&mut self, nonce: AsaNonce) {
        self.synchronization = self.synchronization.take().filter(|(owner, _)| *owner != nonce);
    }
}

impl ObjectiveRegistry {
    pub(crate) fn new(limit: usize) -> Self {
        Self { inner: Mutex::default(), limit }
    }

    /// Whether `register` would succeed. Checks for `objFull` before `objReg`. `Ok(true)` if it would only add an
    /// owner.
    pub(crate) fn may_register(&self, name: &str, overlap: bool) -> Result<bool> {
        Self::check(&self.inner.lock(), self.limit, name, overlap)
    }

    fn check(inner: &HashMap<String, Entry>, limit: usize, name: &str, overlap: bool) -> Result<bool> {
        let entry = inner.get(name);
        if entry.is_none() && inner.len() >= limit {
            return Err(Error::ObjFull);
        }
        match entry {
            None => Ok(false),
            Some(entry) if entry.registration.overlap && overlap => Ok(true),
            Some(_) if inner.len() >= limit => Err(Error::ObjFull),
            Some(_) => Err(Error::ObjReg),
        }
    }

    /// Registers an objective, or adds an owner to one that overlaps. If another thread has registered the objective in
    /// the meantime with a socket of its own, returns the socket to close.
    pub(crate) fn register(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
        registration: Registration,
    ) -> Result<Option<Arc<dyn Close>>> {
        let mut inner = self.inner.lock();
        Self::check(&inner, self.limit, &objective.name, registration.overlap)?;
        if let Some(entry) = inner.get_mut(&objective.name) {
            entry.own(nonce);
            return Ok(registration.listener);
        }
        let entry = Entry {
            objective: objective.clone(),
            owners: vec![nonce],
            registration,
            negotiation: HashMap::default(),
            synchronization: None,
        };
        inner.insert(objective.name.clone(), entry);
        Ok(None)
    }

    /// Adds an owner to an objective that overlaps. `false` if there is no such objective: it may have just been
    /// removed.
    pub(crate) fn add_owner(&self, nonce: AsaNonce, name: &str) -> bool {
        let mut inner = self.inner.lock();
        let entry = inner.get_mut(name).filter(|entry| entry.registration.overlap);
        entry.map(|entry| entry.own(nonce)).is_some()
    }

    /// Removes an ASA from the owners of an objective: `notObj` if the objective is not registered, `notYourObj` if
    /// only others own it. Returns the socket to close if this was the last owner.
    pub(crate) fn deregister(&self, nonce: AsaNonce, name: &str) -> Result<Option<Arc<dyn Close>>> {
        let mut inner = self.inner.lock();
        let entry = inner.get_mut(name).ok_or(Error::NotObj)?;
        if !entry.owners.contains(&nonce) {
            return Err(Error::NotYourObj);
        }
        entry.disown(nonce);
        if !entry.owners.is_empty() {
            return Ok(None);
        }
        Ok(inner.remove(name).and_then(|entry| entry.registration.listener))
    }

    /// Removes an ASA from the owners of every objective. Returns the sockets to close.
    pub(crate) fn deregister_all(&self, nonce: AsaNonce) -> Vec<Arc<dyn Close>> {
        let mut inner = self.inner.lock();
        let mut orphans = Vec::new();
        inner.retain(|_, entry| {
            entry.disown(nonce);
            if entry.owners.is_empty() {
                orphans.extend(entry.registration.listener.take());
            }
            !entry.owners.is_empty()
        });
        orphans
    }

    /// Forgets everything, at shutdown: the channels of blocked listeners close. Returns the sockets to close.
    pub(crate) fn clear(&self) -> Vec<Arc<dyn Close>> {
        let entries = std::mem::take(&mut *self.inner.lock());
        entries.into_values().filter_map(|entry| entry.registration.listener).collect()
    }

    /// Returns `notYourObj` unless this ASA has registered the objective.
    pub(crate) fn check_owner(&self, nonce: AsaNonce, name: &str) -> Result<()> {
        let inner = self.inner.lock();
        let owned = inner.get(name).is_some_and(|entry| entry.owners.contains(&nonce));
        if owned { Ok(()) } else { Err(Error::NotYourObj) }
    }

    /// The answer to a discovery of this name, if the objective can be discovered now.
    pub(crate) fn offering(&self, name: &str) -> Option<Offering> {
        let inner = self.inner.lock();
        let entry = inner.get(name).filter(|entry| entry.is_discoverable())?;
        let registration = &entry.registration;
        Some(Offering {
            objective: entry.objective.clone(),
            ttl: registration.ttl,
            local: registration.local,
            rapid: registration.rapid,
            locators: registration.locators.clone(),
            port: registration.port,
            owners: entry.owners.clone(),
        })
    }

    /// Starts listening for negotiations, and makes the objective discoverable.
    pub(crate) fn begin_listening(
        &self,
        nonce: AsaNonce,
        name: &str,
    ) -> Result<Receiver<NegotiationRequest>> {
        let mut inner = self.inner.lock();
        let entry =
            inner.get_mut(name).filter(|entry| entry.owners.contains(&nonce)).ok_or(Error::NotYourObj)?;
        let queue = entry.queue_of(nonce);
        queue.listeners += 1;
        Ok(queue.rx.clone())
    }

    /// Records that an ASA is about to listen: requests wait for it as for a listener that has just returned.
    pub(crate) fn about_to_listen(&self, nonce: AsaNonce, name: &str, now: u64) {
        if let Some(entry) = self.inner.lock().get_mut(name).filter(|entry| entry.owners.contains(&nonce)) {
            entry.queue_of(nonce).returned = Some(now);
        }
    }

    /// Records that a listener has returned, with a request or because it was stopped. If it was stopped, its queue is
    /// gone; a queue of the same name may belong to listeners that started since, and stays as it is.
    pub(crate) fn listener_returned(
        &self,
        nonce: AsaNonce,
        name: &str,
        requests: &Receiver<NegotiationRequest>,
        now: u64,
    ) {
        let mut inner = self.inner.lock();
        let queue = inner.get_mut(name).and_then(|entry| entry.negotiation.get_mut(&nonce));
        if let Some(queue) = queue.filter(|queue| queue.rx.same_channel(requests)) {
            queue.listeners = queue.listeners.saturating_sub(1);
            queue.returned = Some(now);
        }
    }

    /// Stops one ASA's listening: its blocked listeners wake, and waiting requests are refused.
    pub(crate) fn stop_negotiate(&self, nonce: AsaNonce, name: &str) {
        if let Some(entry) = self.inner.lock().get_mut(name) {
            entry.negotiation.remove(&nonce);
        }
    }

    /// Decides where a request for this objective goes. A request with the result `Listener` counts as waiting until
    /// `dispatched`.
    pub(crate) fn dispatch(
        &self,
        name: &str,
        transport: &dyn Transport,
        now: u64,
        grace: u64,
        limits: QueueLimits,
    ) -> Dispatch {
        let peer = transport.neighbour();
        let mut inner = self.inner.lock();
        let Some(entry) = inner.get_mut(name) else { return Dispatch::NotListening };
        let ready = |queue: &Queue| {
            queue.listeners > 0 || queue.returned.is_some_and(|at| now.saturating_sub(at) <= grace)
        };
        // The owner with the most listeners that no waiting request will take.
        let best = entry.negotiation.iter_mut().filter(|(_, queue)| ready(queue)).max_by_key(|(_, queue)| {
            (queue.listeners.saturating_sub(queue.waiting), usize::MAX - queue.waiting)
        });
        match best {
            None => Dispatch::NotListening,
            Some((_, queue)) if queue.waiting >= limits.all + queue.listeners => Dispatch::QueueFull,
            Some((_, queue)) if queue.has_its_share(transport, limits.per_peer) => Dispatch::QueueFull,
            Some((owner, queue)) => {
                let free = queue.listeners > queue.waiting;
                queue.waiting += 1;
                *queue.peers.entry(peer).or_insert(0) += 1;
                Dispatch::Listener { tx: queue.tx.clone(), owner: *owner, free, waiting: queue.waiting }
            }
        }
    }

    /// Records that a request given out by `dispatch` was taken or refused.
    pub(crate) fn dispatched(
        &self,
        nonce: AsaNonce,
        name: &str,
        tx: &Sender<NegotiationRequest>,
        peer: Neighbour,
    ) {
        let mut inner = self.inner.lock();
        let queue = inner.get_mut(name).and_then(|entry| entry.negotiation.get_mut(&nonce));
        if let Some(queue) = queue.filter(|queue| queue.tx.same_channel(tx)) {
            queue.waiting = queue.waiting.saturating_sub(1);
            if let Some(count) = queue.peers.get_mut(&peer) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    queue.peers.remove(&peer);
                }
            }
        }
    }

    /// The uses of a registered objective, to check what a request may ask for.
    pub(crate) fn kind(&self, name: &str) -> Option<Kind> {
        let inner = self.inner.lock();
        inner.get(name).map(|entry| Kind { neg: entry.objective.neg, synch: entry.objective.synch })
    }

    /// The registered objective with its current value.
    pub(crate) fn get(&self, name: &str) -> Option<Objective> {
        self.inner.lock().get(name).map(|entry| entry.objective.clone())
    }

    /// Sets the value that synchronization serves; the flags and loop count of the first call stay, as in graspy.
    /// Returns the receiving end for a new `_synch_listen` if none is running.
    pub(crate) fn begin_synchronization(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
        queue_limit: usize,
    ) -> Result<Option<Receiver<SynchRequest>>> {
        let mut inner = self.inner.lock();
        let entry = inner
            .get_mut(&objective.name)
            .filter(|entry| entry.owners.contains(&nonce))
            .ok_or(Error::NotYourObj)?;
        entry.objective.value = objective.value.clone();
        if entry.synchronization.is_some() {
            return Ok(None);
        }
        entry.objective.loop_count = objective.loop_count;
        let (tx, rx) = bounded(queue_limit);
        entry.synchronization = Some((nonce, tx));
        Ok(Some(rx))
    }

    /// Stops synchronization: its thread ends, and further requests are refused.
    pub(crate) fn stop_synchronize(&self, nonce: AsaNonce, name: &str) {
        if let Some(entry) = self.inner.lock().get_mut(name) {
            entry.stop_synchronize(nonce);
        }
    }

    /// The channel for requests for the current value, if any owner serves it.
    pub(crate) fn synchronization(&self, name: &str) -> Option<Sender<SynchRequest>> {
        let inner = self.inner.lock();
        inner.get(name).and_then(|entry| entry.synchronization.as_ref()).map(|(_, tx)| tx.clone())
    }

    /// Lists all objectives by name.
    pub(crate) fn list(&self) -> Vec<ObjectiveView> {
        let inner = self.inner.lock();
        let mut list: Vec<_> = inner
            .values()
            .map(|entry| ObjectiveView {
                objective: entry.objective.clone(),
                owners: entry.owners.clone(),
                listening: entry.negotiation.values().map(|queue| queue.listeners).sum::<usize>()
                    + usize::from(entry.synchronization.is_some()),
                port: entry.registration.port,
                discoverable: entry.registration.discoverable,
                overlap: entry.registration.overlap,
                local: entry.registration.local,
                rapid: entry.registration.rapid,
                ttl: entry.registration.ttl,
                locators: entry.registration.locators.clone(),
            })
            .collect();
        list.sort_by(|a, b| a.objective.name.cmp(&b.objective.name));
        list
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use crate::registry::Nowhere;
    use crate::types::Value;

    const A: AsaNonce = AsaNonce(1);
    const B: AsaNonce = AsaNonce(2);
    const PEER: Nowhere = Nowhere(Ipv6Addr::LOCALHOST, 0);
    const OTHER: Nowhere = Nowhere(Ipv6Addr::LOCALHOST, 1);
    const LIMITS: QueueLimits = QueueLimits { all: 1, per_peer: 1 };

    fn registration(overlap: bool) -> Registration {
        Registration {
            ttl: 1000,
            discoverable: false,
            overlap,
            local: false,
            rapid: false,
            locators: Vec::new(),
            port: 0,
            listener: None,
        }
    }

    fn registry_with(name: &str, overlap: bool) -> ObjectiveRegistry {
        let registry = ObjectiveRegistry::new(2);
        registry.register(A, &Objective::new(name), registration(overlap)).unwrap();
        registry
    }

    #[test]
    fn registration_obeys_limit_and_overlap() {
        let registry = registry_with("a", false);
        let refused = registry.register(B, &Objective::new("a"), registration(true));
        assert!(matches!(refused, Err(Error::ObjReg)));
        registry.register(A, &Objective::new("b"), registration(true)).unwrap();
        assert_eq!(registry.may_register("c", false), Err(Error::ObjFull));
        assert_eq!(registry.may_register("a", false), Err(Error::ObjFull));
        registry.register(B, &Objective::new("b"), registration(true)).unwrap();
        registry.deregister(A, "b").unwrap();
        assert_eq!(registry.check_owner(A, "b"), Err(Error::NotYourObj));
        registry.check_owner(B, "b").unwrap();
        assert!(matches!(registry.deregister(A, "b"), Err(Error::NotYourObj)));
        assert!(matches!(registry.deregister(A, "z"), Err(Error::NotObj)));
        registry.deregister_all(B);
        assert_eq!(registry.list().len(), 1);
    }

    #[derive(Debug)]
    struct NoSocket;

    impl Close for NoSocket {
        fn close(&self) {}
    }

    #[test]
    fn of_two_that_register_at_the_same_time_one_keeps_its_socket() {
        let registry = ObjectiveRegistry::new(2);
        let with_socket = || Registration { listener: Some(Arc::new(NoSocket)), ..registration(true) };
        assert!(!registry.add_owner(A, "a"));
        assert!(registry.register(A, &Objective::new("a"), with_socket()).unwrap().is_none());
        assert!(registry.register(B, &Objective::new("a"), with_socket()).unwrap().is_some());
        assert!(registry.add_owner(B, "a"));
        assert!(registry.deregister(A, "a").unwrap().is_none());
        assert!(registry.deregister(B, "a").unwrap().is_some());
        assert!(!registry.add_owner(A, "a"), "nobody has it any more");
    }

    #[test]
    fn listening_makes_discoverable_and_stopping_ends_it() {
        let registry = registry_with("a", false);
        assert!(registry.offering("a").is_none());
        let rx = registry.begin_listening(A, "a").unwrap();
        assert!(registry.offering("a").is_some());
        registry.stop_negotiate(A, "a");
        assert!(registry.offering("a").is_none());
        assert!(rx.recv().is_err(), "a blocked listener wakes");
    }

    #[test]
    fn requests_wait_only_for_listeners_and_only_so_many() {
        let registry = registry_with("a", false);
        assert!(matches!(registry.dispatch("a", &PEER, 0, 200, LIMITS), Dispatch::NotListening));
        let rx = registry.begin_listening(A, "a").unwrap();
        let Dispatch::Listener { tx, owner: A, free: true, .. } =
            registry.dispatch("a", &PEER, 0, 200, LIMITS)
        else {
            panic!("nobody is free")
        };
        assert!(matches!(
            registry.dispatch("a", &PEER, 0, 200, LIMITS),
            Dispatch::Listener { owner: A, free: false, .. }
        ));
        assert!(matches!(registry.dispatch("a", &PEER, 0, 200, LIMITS), Dispatch::QueueFull));
        registry.dispatched(A, "a", &tx, PEER.neighbour());
        registry.dispatched(A, "a", &tx, PEER.neighbour());
        registry.listener_returned(A, "a", &rx, 1000);
        assert!(matches!(
            registry.dispatch("a", &PEER, 1200, 200, LIMITS),
            Dispatch::Listener { owner: A, .. }
        ));
        assert!(matches!(registry.dispatch("a", &PEER, 1201, 200, LIMITS), Dispatch::NotListening));
    }

    #[test]
    fn requests_wait_for_an_announced_listener_of_an_owner() {
        let registry = registry_with("a", false);
        registry.about_to_listen(B, "a", 1000);
        assert!(matches!(registry.dispatch("a", &PEER, 1000, 200, LIMITS), Dispatch::NotListening));
        registry.about_to_listen(A, "a", 1000);
        assert!(matches!(registry.dispatch("a", &PEER, 1200, 200, LIMITS), Dispatch::Listener { .. }));
        assert!(matches!(registry.dispatch("a", &PEER, 1201, 200, LIMITS), Dispatch::NotListening));
    }

    #[test]
    fn one_peer_has_its_share_of_the_queue() {
        let registry = registry_with("a", false);
        let _rx = registry.begin_listening(A, "a").unwrap();
        let limits = QueueLimits { all: 9, per_peer: 2 };
        let queued = |peer| match registry.dispatch("a", peer, 0, 200, limits) {
            Dispatch::Listener { tx, .. } => Some(tx),
            _ => None,
        };
        let queues: Vec<_> = (0..9).filter_map(|_| queued(&PEER)).collect();
        assert_eq!(queues.len(), 3, "two, and one for the listener");
        assert!(queued(&OTHER).is_some());
        registry.dispatched(A, "a", &queues[0], PEER.neighbour());
        assert!(queued(&PEER).is_some() && queued(&PEER).is_none());
    }

    #[test]
    fn a_listener_that_was_stopped_takes_nothing_from_those_that_listen_since() {
        let registry = registry_with("a", false);
        let stopped = registry.begin_listening(A, "a").unwrap();
        let Dispatch::Listener { tx, .. } = registry.dispatch("a", &PEER, 0, 200, LIMITS) else {
            panic!("nobody listens")
        };
        registry.stop_negotiate(A, "a");
        let _listening = registry.begin_listening(A, "a").unwrap();
        assert!(matches!(
            registry.dispatch("a", &PEER, 0, 200, LIMITS),
            Dispatch::Listener { free: true, .. }
        ));
        // The old listener wakes only now, on a busy machine, and the old request is refused only now.
        registry.listener_returned(A, "a", &stopped, 0);
        registry.dispatched(A, "a", &tx, PEER.neighbour());
        assert!(matches!(
            registry.dispatch("a", &PEER, 1000, 200, LIMITS),
            Dispatch::Listener { free: false, .. }
        ));
        assert!(matches!(registry.dispatch("a", &PEER, 1000, 200, LIMITS), Dispatch::QueueFull));
    }

    #[test]
    fn a_second_listen_synchronize_replaces_the_value_only() {
        let registry = registry_with("a", false);
        let mut objective = Objective::new("a");
        objective.loop_count = 3;
        objective.value = Value::from(1);
        assert!(registry.begin_synchronization(A, &objective, 5).unwrap().is_some());
        objective.loop_count = 9;
        objective.value = Value::from(2);
        assert!(registry.begin_synchronization(A, &objective, 5).unwrap().is_none());
        let current = registry.get("a").unwrap();
        assert_eq!((current.loop_count, current.value), (3, Value::from(2)));
        assert!(matches!(registry.begin_synchronization(B, &objective, 5), Err(Error::NotYourObj)));
    }
}
