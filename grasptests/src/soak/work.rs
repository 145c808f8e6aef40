//! What the callers of the soak do: every call of the API, at random, with peers on other nodes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use grasp::{AsaLocator, Discover, Error, Negotiation, Objective, RegisterObj, TaggedObjective, Value};

use super::haggle::{Ask, Kind, SHORT, STEP, Side};
use super::network::{Here, NODES, Path, count_of, flooded, negotiated, rapid, synchronized};
use super::report::{Call, LIFE, NET};
use super::{CALLERS, HANGS, Shared};
use crate::nodes::{negotiable, synchronizable};
use crate::simulator::random::Random;

/// The timeout of a discovery in milliseconds: time enough to ask again.
const DISCOVERY: u32 = 3000;
/// How long connecting takes at most, in milliseconds: what `Config::connect_timeout` is by default.
const CONNECT: u32 = 5000;
/// How long floods are valid, in milliseconds.
const FLOOD_TTL: u32 = 20_000;

/// Starts the callers of all nodes.
pub(super) fn start(shared: &Arc<Shared>) -> Vec<JoinHandle<()>> {
    let caller = |number: usize| {
        let shared = Arc::clone(shared);
        let node = shared.network.nodes[number / CALLERS].clone();
        node.spawn("caller", move || Caller::new(&shared, number).work())
    };
    (0..NODES * CALLERS).map(caller).collect()
}

struct Caller<'a> {
    shared: &'a Shared,
    number: usize,
    node: usize,
    random: Random,
}

impl<'a> Caller<'a> {
    fn new(shared: &'a Shared, number: usize) -> Self {
        let random = Random::new(shared.settings.seed ^ ((number as u64 + 1) << 40));
        Self { shared, number, node: number / CALLERS, random }
    }

    fn work(mut self) {
        while self.shared.pace() {
            let slot = &self.shared.under_way[self.number];
            *slot.lock() = Some(("an operation", Instant::now() + HANGS));
            // Looked at after the caller has said that it is busy: the rest waits for those who are.
            if !self.shared.resting.load(Ordering::SeqCst)
                && let Some(here) = self.shared.network.here(self.node)
            {
                self.one(&here);
            }
            *slot.lock() = None;
        }
    }

    fn one(&mut self, here: &Here) {
        match self.random.below(20) {
            0..=2 => drop(self.discover(here)),
            3..=8 => self.negotiate(here),
            9..=11 => self.synchronize(here),
            12 => self.publish(here),
            13 => self.rapid(here),
            14 | 15 => self.flood(here),
            16 | 17 => self.get_flood(here),
            18 => self.register(here),
            _ => self.misuse(here),
        }
    }

    /// Begins to wait for a call between this node and another.
    fn call(&self, what: &'static str, peer: usize, milliseconds: u32) -> Call<'a> {
        let limit = Duration::from_millis(milliseconds.into());
        *self.shared.under_way[self.number].lock() = Some((what, Instant::now() + limit));
        Call::new(self.shared, what, Path::between(self.node, peer), limit)
    }

    fn peer(&mut self) -> usize {
        (self.node + 1 + self.random.below(NODES - 1)) % NODES
    }

    /// Discovers what another node offers; returns whose it is and where.
    fn discover(&mut self, here: &Here) -> Option<(usize, AsaLocator)> {
        let peer = self.peer();
        let flush = self.random.chance(0.5);
        let enough = self.random.chance(0.8).then_some(1);
        let objective = [negotiated(peer), synchronized(peer, 0)][self.random.below(2)].clone();
        let call = self.call(if flush { "discover, flush" } else { "discover" }, peer, DISCOVERY);
        let options = Discover { flush, enough, ..Discover::default() };
        // Who collects until the end gets only what is still valid then.
        let timeout = enough.map(|_| DISCOVERY);
        let found = here.engine.discover(here.client, &objective, timeout, options);
        let found = call.judge(found, &[LIFE])?;
        let elsewhere = |one: &&AsaLocator| !self.shared.network.is_at(one.locator.as_ref(), peer);
        if let Some(wrong) = found.iter().find(elsewhere) {
            call.wrong(&format!("{} is found at {wrong}", objective.name));
        }
        let first = match found.into_iter().next() {
            Some(first) => first,
            // Who collects asks once only, and a busy machine may be late for that.
            None if enough.is_none() => {
                call.forgiven("nothing");
                self.find(here, peer, &objective)?
            }
            None => {
                call.missing("nothing is found within 3 s");
                return None;
            }
        };
        objective.neg.then_some((peer, first))
    }

    fn negotiate(&mut self, here: &Here) {
        let found = if self.random.chance(0.4) { self.discover(here) } else { None };
        let (peer, locator) = match found {
            Some((peer, locator)) => (peer, Some(locator)),
            None => (self.peer(), None),
        };
        let mut kind = Kind::ALL[self.random.below(Kind::ALL.len())];
        if kind == Kind::Exhausted && locator.is_none() {
            // The discovery would have the same loop count, and go no further than the link.
            kind = Kind::Decline;
        }
        let most = if kind == Kind::Wait { 2 } else { 7 };
        let (number, rounds) = (self.random.below(1000) as i64, self.random.below(most) as i64);
        let ask = Ask { kind, number, rounds, from: self.node };
        let mut objective = Objective { value: ask.value(), ..negotiated(peer) };
        if kind == Kind::Exhausted {
            objective.loop_count = 1;
        }
        let path = Path::between(self.node, peer);
        let side = Side::new(self.shared, &here.engine, here.client, path);
        let search = if locator.is_some() { 0 } else { DISCOVERY };
        if kind == Kind::Messages {
            let call = self.call("req_negotiate, noloop", peer, search + 2 * CONNECT);
            let opened =
                here.engine.req_negotiate_noloop(here.client, &objective, locator.as_ref(), Some(DISCOVERY));
            if let Some(session) = call.judge(opened, &[NET, LIFE]) {
                self.messages(here, &side, session, ask);
            }
            return;
        }
        let timeout = if kind == Kind::Silent { SHORT } else { STEP };
        let patience = if kind == Kind::Wait { 3 * STEP } else { timeout };
        let call = self.call("req_negotiate", peer, search + 2 * CONNECT + patience);
        let reply = here.engine.req_negotiate(here.client, &objective, locator.as_ref(), Some(timeout));
        match (kind, reply) {
            (Kind::Haggle | Kind::AskerDeclines, Ok(Negotiation::Offer(session, offer))) => {
                call.ok();
                if !side.check("the first counter-offer", &offer.value, ask_after(ask)) {
                    side.end(session, false, None);
                } else if kind == Kind::Haggle {
                    side.haggle(session, offer, ask_after(ask));
                } else {
                    side.end(session, false, Some(&ask_after(ask).reason()));
                }
            }
            (Kind::Haggle | Kind::Wait, Ok(Negotiation::Agreed(agreed))) => {
                call.ok();
                side.check("what was agreed", &agreed.value, ask);
                if kind == Kind::Haggle {
                    side.check_rounds(ask);
                }
            }
            (Kind::Decline | Kind::Exhausted, Err(Error::Declined(Some(reason))))
                if reason == ask.reason() =>
            {
                call.ok();
            }
            (Kind::Invalid, Err(Error::NoValidStep)) => call.ok(),
            (Kind::Silent, Err(Error::NoNegReply)) => call.ok(),
            (_, Ok(other)) => call.wrong(&format!("{kind:?} is answered with {other:?}")),
            (_, other) => drop(call.judge(other, &[NET, LIFE])),
        }
    }

    fn messages(&self, here: &Here, side: &Side<'_>, session: grasp::SessionNonce, ask: Ask) {
        for round in 0..ask.rounds {
            let call = side.call("gsend", CONNECT);
            let number = Value::from(ask.number + 2 * round);
            if call.judge(here.engine.gsend(here.client, session, &number), &[NET, LIFE]).is_none() {
                return;
            }
            let call = side.call("grecv", STEP);
            let got = here.engine.grecv(here.client, session, STEP);
            match call.judge(got, &[NET, LIFE]) {
                Some(got) if got.as_i64() == Some(ask.number + 2 * round + 1) => {}
                Some(got) => call.wrong(&format!("{got} in round {round} of {ask:?}")),
                None => return,
            }
        }
        side.end(session, true, None);
    }

    fn synchronize(&mut self, here: &Here) {
        let found = if self.random.chance(0.3) { self.find_value(here) } else { None };
        let (peer, locator) = found.map_or_else(|| (self.peer(), None), |(peer, at)| (peer, Some(at)));
        let least = self.shared.values[peer].known.load(Ordering::SeqCst);
        let call = self.call("synchronize", peer, DISCOVERY + 2 * CONNECT + STEP);
        let got =
            here.engine.synchronize(here.client, &synchronized(peer, 0), locator.as_ref(), Some(DISCOVERY));
        let Some(got) = call.judge(got, &[NET, LIFE]) else { return };
        let most = self.shared.values[peer].begun.load(Ordering::SeqCst);
        if !count_of(&got.value, peer).is_some_and(|count| (least..=most).contains(&count)) {
            call.wrong(&format!("{} of n{} where {least} to {most} was due", got.value, peer + 1));
        }
    }

    fn find_value(&mut self, here: &Here) -> Option<(usize, AsaLocator)> {
        let peer = self.peer();
        self.find(here, peer, &synchronized(peer, 0)).map(|first| (peer, first))
    }

    /// Where an objective of another node is, with time to ask twice.
    fn find(&self, here: &Here, peer: usize, objective: &Objective) -> Option<AsaLocator> {
        let call = self.call("discover", peer, DISCOVERY);
        let options = Discover { enough: Some(1), ..Discover::default() };
        let found = here.engine.discover(here.client, objective, Some(DISCOVERY), options);
        let found = call.judge(found, &[LIFE])?;
        if found.is_empty() {
            call.missing("nothing is found within 3 s");
        }
        found.into_iter().next()
    }

    /// Serves the next value.
    fn publish(&self, here: &Here) {
        let own = &self.shared.values[self.node];
        let Some(_alone) = own.flooding.try_lock() else { return };
        let count = own.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let call = self.call("listen_synchronize", self.node, 0);
        let served = here.engine.listen_synchronize(here.server, &synchronized(self.node, count));
        if call.judge(served, &[LIFE]).is_some() {
            own.known.store(count, Ordering::SeqCst);
        } else {
            // Not served: an engine that starts again serves what was known.
            own.begun.fetch_max(count, Ordering::SeqCst);
        }
    }

    fn rapid(&mut self, here: &Here) {
        let peer = self.peer();
        let call = self.call("synchronize, rapid", peer, DISCOVERY + 2 * CONNECT + STEP);
        let got = here.engine.synchronize(here.client, &rapid(peer), None, Some(DISCOVERY));
        let Some(got) = call.judge(got, &[NET, LIFE]) else { return };
        if count_of(&got.value, peer) != Some(0) {
            call.wrong(&format!("{} of n{}", got.value, peer + 1));
        }
    }

    /// Floods the next value, and waits until another node has it.
    fn flood(&mut self, here: &Here) {
        let own = &self.shared.values[self.node];
        let count = {
            let _alone = own.flooding.lock();
            let count = own.flooded.fetch_add(1, Ordering::SeqCst) + 1;
            let tagged = TaggedObjective::new(flooded(self.node, count), None);
            let call = self.call("flood", self.node, 0);
            if call.judge(here.engine.flood(here.server, FLOOD_TTL, &[tagged]), &[LIFE]).is_none() {
                return;
            }
            count
        };
        let peer = self.peer();
        let call = self.call("flood arrives", peer, STEP);
        let deadline = Instant::now() + Duration::from_millis(STEP.into());
        loop {
            let Some(there) = self.shared.network.here(peer) else { return call.missing("no engine there") };
            let got = there.engine.get_flood(there.client, &flooded(self.node, 0));
            let Some(got) = call.judge(got, &[LIFE]) else { return };
            if got.iter().any(|one| count_of(&one.objective.value, self.node) >= Some(count)) {
                return;
            }
            // Another caller there has had it, and expired it before it was seen here.
            if own.expired[peer].load(Ordering::SeqCst) >= count {
                return;
            }
            if Instant::now() > deadline {
                return call.missing("the flood does not arrive");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn get_flood(&mut self, here: &Here) {
        let peer = self.random.below(NODES);
        let call = self.call("get_flood", self.node, 0);
        let Some(got) = call.judge(here.engine.get_flood(here.client, &flooded(peer, 0)), &[LIFE]) else {
            return;
        };
        let theirs = &self.shared.values[peer];
        let most = theirs.flooded.load(Ordering::SeqCst);
        for one in &got {
            if !count_of(&one.objective.value, peer).is_some_and(|count| (1..=most).contains(&count)) {
                call.wrong(&format!("{} of n{} where {most} is the last", one.objective.value, peer + 1));
            }
        }
        if let Some(one) = got.first().filter(|_| self.random.chance(0.1)) {
            // Said before it is done, so that whoever misses it knows why.
            let count = count_of(&one.objective.value, peer).unwrap_or_default();
            theirs.expired[self.node].fetch_max(count, Ordering::SeqCst);
            let call = self.call("expire_flood", self.node, 0);
            call.judge(here.engine.expire_flood(here.client, one), &[LIFE]);
        }
    }

    /// An ASA with an objective of each kind, for a moment.
    fn register(&self, here: &Here) {
        let engine = &here.engine;
        let name = format!("T{}", self.number);
        let call = self.call("register", self.node, 0);
        let Some(asa) = call.judge(engine.register_asa(&name), &[LIFE]) else { return };
        let objectives = [
            negotiable(&format!("{name}n"), 1),
            synchronizable(&format!("{name}s"), 1),
            Objective::new(format!("{name}p")),
        ];
        for objective in &objectives {
            call.judge(engine.register_obj(asa, objective, RegisterObj::default()), &[LIFE]);
        }
        call.judge(engine.listen_synchronize(asa, &objectives[1]), &[LIFE]);
        call.judge(engine.deregister_obj(asa, &objectives[0]), &[LIFE]);
        call.judge(engine.deregister_asa(asa, &name), &[LIFE]);
    }

    /// Calls that must fail, each with its error.
    fn misuse(&self, here: &Here) {
        let call = self.call("misuse", self.node, 0);
        let (engine, other) = (&here.engine, negotiable("unknown", 1));
        let nobody = grasp::SessionNonce { id_value: 1, id_source: None };
        let failures = [
            (engine.register_asa("server").err(), Error::DupAsa),
            (engine.deregister_obj(here.client, &other).err(), Error::NotObj),
            (engine.end_negotiate(here.client, nobody, true, None).err(), Error::NoSession),
            (engine.listen_negotiate(here.client, &other).err(), Error::NotYourObj),
            (engine.flood(here.client, 0, &[]).err(), Error::Unspec),
        ];
        for (found, expected) in failures {
            match found {
                Some(found) if found == expected => call.ok(),
                Some(found) => drop(call.judge::<()>(Err(found), &[LIFE])),
                None => call.missing(&format!("no {}", expected.name())),
            }
        }
    }
}

/// The first counter-offer to a request.
const fn ask_after(ask: Ask) -> Ask {
    Ask { number: ask.number + 1, rounds: ask.rounds - 1, ..ask }
}
