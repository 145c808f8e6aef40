//! The ASA: its command line, its threads and its GRASP calls.
//!
//! | thread | does |
//! |---|---|
//! | pfxm3 | asks for prefixes when there are too few |
//! | listener | waits for requests; an `offerer` thread answers each |
//! | delegator | uses up prefixes (not in an origin) |
//! | joiner | joins free prefixes |
//! | flooder | floods the parameters (in an origin only) |

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::thread::{Builder, Scope, ScopedJoinHandle, scope};
use std::time::{Duration, Instant};

use clap::Parser;
use grasp::{
    AsaLocator, AsaNonce, Discover, Error, Negotiation, Objective, RegisterObj, SessionNonce,
    TaggedObjective, Value, tprint, ttprint,
};
use parking_lot::Mutex;

use super::{Answer, Family, Form, LONGEST, Ledger, Message, Pool, Prefix};
use super::{answer, ending, judge, parameters, wish};
use crate::{Common, Example, Outcome, Run};

/// How many IPv6 subnets a node wants at the start.
const STARTER_PACK: u128 = 32;
/// The node asks for IPv4 if it has fewer /24 than this.
const FEW_IPV4: u128 = 8;
/// The prefix length requested in IPv4, unless others want more.
const IPV4_LENGTH: u8 = 20;
/// The length of the IPv4 prefixes that are used up one by one.
const IPV4_SUBNET: u8 = 26;
/// How long an answer to a request may take. This is shorter than the giver's wait, so that the asker closes the
/// connection, and the giver sees that nothing was accepted.
const ANSWER: u32 = 5_000;
/// How long the giver waits for the end of a negotiation.
const END: u32 = 60_000;
/// How many offers may be pending at the same time.
const OPEN_OFFERS: usize = 64;

/// Manages prefixes for a network's edge: gives IPv6 and IPv4 prefixes to nodes that ask, and asks for some.
#[derive(Debug, Parser)]
#[command(name = "pfxm3", version)]
pub struct Pfxm3 {
    #[command(flatten)]
    common: Common,

    /// Acts as the origin: starts with a pool, and floods parameters for the others.
    #[arg(long)]
    origin: bool,

    /// The origin's IPv6 pool.
    #[arg(long, value_name = "PREFIX", default_value = "2001:db8::/32", value_parser = ipv6_pool)]
    pool: Prefix,

    /// The origin's IPv4 pool.
    #[arg(long, value_name = "PREFIX", default_value = "10.0.0.0/8", value_parser = ipv4_pool)]
    pool4: Prefix,

    /// Has no IPv4 pool, and does not ask for IPv4.
    #[arg(long)]
    no_ipv4: bool,

    /// The length of the IPv6 subnets in use.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u8).range(48..=i64::from(LONGEST)))]
    subnet_length: u8,

    /// Uses up a subnet every second, instead of every 10 to 60 seconds.
    #[arg(long)]
    quick: bool,

    /// Uses the form with CBOR tags (RFC 9164): objective PrefixManagerT.
    #[arg(long)]
    tags: bool,

    /// Ends after it has used a subnet of each IP version.
    #[arg(long)]
    until_served: bool,

    /// Frees a prefix after this many seconds if it is not known whether a peer has accepted it; only safe if such
    /// peers have certainly disappeared by then [default: never].
    #[arg(long, value_name = "SECONDS")]
    reclaim_after: Option<u64>,
}

fn ipv6_pool(text: &str) -> Result<Prefix, String> {
    pool(text, Family::V6, 3..=127)
}

fn ipv4_pool(text: &str) -> Result<Prefix, String> {
    pool(text, Family::V4, 3..=32)
}

fn pool(text: &str, family: Family, lengths: std::ops::RangeInclusive<u8>) -> Result<Prefix, String> {
    let prefix: Prefix = text.parse().map_err(|error: super::PrefixError| error.to_string())?;
    if prefix.family() != family || !lengths.contains(&prefix.length()) {
        return Err(format!("not an {family} prefix of length {} to {}", lengths.start(), lengths.end()));
    }
    // In messages, zero bytes mean that there is no prefix.
    if prefix.bytes().iter().all(|byte| *byte == 0) {
        return Err("the unspecified address is no pool".to_owned());
    }
    Ok(prefix)
}

impl Example for Pfxm3 {
    const NAME: &'static str = "pfxm3";
    const INTRODUCTION: [&'static str; 3] = [
        "pfxm3 manages edge prefixes as in RFC 8992: it gives some to those who ask, and asks for some itself.",
        "It needs one node with --origin, which has the first pool. No real prefix is assigned to anything.",
        "It goes on until Ctrl-C (or see --until-served and --rounds); then it prints what it has.",
    ];

    fn common(&self) -> &Common {
        &self.common
    }

    fn run(self, mut run: Run) -> Outcome {
        let asa = grasp::register_asa(Self::NAME)?;
        let site = Site::new(asa, &self);
        site.register(&self)?;
        let (objective, open) = (site.objective(Value::Null), Arc::clone(&site.open));
        run.stop().wake_with(move || {
            let _ = grasp::stop_negotiate(asa, &objective);
            let sessions = open.lock().clone();
            sessions
                .into_iter()
                .for_each(|session| _ = grasp::end_negotiate(asa, session, false, Some("Stopping")));
        });
        let outcome = scope(|threads| {
            let started = site.start(threads, &self, &mut run);
            let outcome = started.and_then(|()| site.ask_as_needed(&self, &mut run));
            // The other threads end too, whatever the reason.
            run.stop().request();
            outcome
        });
        site.print_books();
        grasp::deregister_asa(asa, Self::NAME)?;
        outcome
    }
}

/// The state that the threads share.
#[derive(Debug)]
struct Site {
    asa: AsaNonce,
    form: Form,
    unit: u8,
    books: Mutex<Books>,
    /// The sessions in which an offer is pending.
    open: Arc<Mutex<Vec<SessionNonce>>>,
}

#[derive(Debug, Default)]
struct Books {
    ledger: Ledger,
    /// How many subnets of IPv6, and how many /24 of IPv4, should be free.
    need: u128,
    need4: u128,
}

impl Books {
    fn have(&self, unit: u8) -> (u128, u128) {
        (self.ledger.pool().subnets(Family::V6, unit), self.ledger.pool().subnets(Family::V4, 24))
    }

    /// Other nodes want a prefix that the pool cannot provide, so it must grow. They will ask again.
    fn nudge(&mut self, unit: u8, request: &Message) {
        let (have, have4) = self.have(unit);
        match request.family {
            Family::V6 => {
                let more = 1 << unit.saturating_sub(request.length.max(32));
                self.need = self.need.max(have.saturating_add(more));
            }
            Family::V4 => {
                let more = 1 << 24_u8.saturating_sub(request.length.max(16));
                self.need4 = self.need4.max(have4.saturating_add(more));
            }
        }
    }

    fn wish(&self, family: Family, unit: u8) -> Option<u8> {
        let (have, have4) = self.have(unit);
        match family {
            Family::V6 => wish(unit, self.need, have).map(|length| length.max(32)),
            Family::V4 if self.need4 > have4 => wish(24, self.need4, have4).map(|length| length.max(16)),
            Family::V4 => (have4 < FEW_IPV4).then_some(IPV4_LENGTH),
        }
    }
}

impl Site {
    fn new(asa: AsaNonce, options: &Pfxm3) -> Self {
        let mut books = Books::default();
        if options.origin {
            books.ledger.receive(options.pool);
            if !options.no_ipv4 {
                books.ledger.receive(options.pool4);
            }
        } else {
            books.need = STARTER_PACK;
        }
        let form = if options.tags { Form::Tags } else { Form::Array };
        Self { asa, form, unit: options.subnet_length, books: Mutex::new(books), open: Arc::default() }
    }

    fn objective(&self, value: Value) -> Objective {
        Objective { neg: true, loop_count: 4, value, ..Objective::new(self.form.objective()) }
    }

    fn register(&self, options: &Pfxm3) -> Result<(), Error> {
        grasp::register_obj(self.asa, &self.objective(Value::Null), RegisterObj::default())?;
        let mut params = params();
        if options.origin {
            params.value = parameters();
            grasp::register_obj(self.asa, &params, RegisterObj::default())?;
            return grasp::listen_synchronize(self.asa, &params);
        }
        // Nothing depends on the parameters; they are only shown.
        match grasp::synchronize(self.asa, &params, None, Some(3000)) {
            Ok(params) => tprint!("Parameters:", params.value),
            Err(error) => tprint!("No parameters:", error),
        }
        Ok(())
    }

    fn start<'scope>(
        &'scope self,
        threads: &'scope Scope<'scope, '_>,
        options: &'scope Pfxm3,
        run: &mut Run,
    ) -> Outcome {
        let listener = run.fork();
        thread(threads, "listener", move || self.listen(threads, &listener))?;
        let joiner = run.fork();
        thread(threads, "joiner", move || self.join(options, &joiner))?;
        let other = run.fork();
        if options.origin {
            thread(threads, "flooder", move || self.flood(&other))?;
        } else {
            thread(threads, "delegator", move || self.delegate(options, other))?;
        }
        Ok(())
    }

    // The giver

    fn listen<'scope>(&'scope self, threads: &'scope Scope<'scope, '_>, run: &Run) {
        // Peers should not find this node before it has something to give.
        while self.books.lock().ledger.pool().is_empty() {
            if !run.pause(1.0) {
                return;
            }
        }
        tprint!("Ready to negotiate", self.form.objective());
        while !run.stopping() {
            match grasp::listen_negotiate(self.asa, &self.objective(Value::Null)) {
                Ok((session, request)) => {
                    // In a separate thread, so that the next request need not wait. If no thread can be started, the
                    // connection closes with the session; nothing has been offered yet.
                    if let Err(error) = thread(threads, "offerer", move || self.give(session, request)) {
                        tprint!("Cannot answer:", error);
                        let _ = grasp::end_negotiate(self.asa, session, false, Some("Too busy"));
                    }
                }
                Err(_) if run.stopping() => return,
                // Not caused by a peer: the engine refuses such requests and continues to listen.
                Err(error) => {
                    tprint!("Cannot listen:", error);
                    run.stop().request();
                    return;
                }
            }
        }
    }

    /// Answers one request, and enters the result in the books.
    fn give(&self, session: SessionNonce, mut objective: Objective) {
        let decline = |reason: &str| {
            tprint!("Declined:", reason);
            if let Err(error) = grasp::end_negotiate(self.asa, session, false, Some(reason)) {
                ttprint!("Ending:", error);
            }
        };
        if objective.dry {
            return decline("No dry run of a prefix");
        }
        if self.open.lock().len() >= OPEN_OFFERS {
            return decline("Too busy");
        }
        let request = match self.form.decode(&objective.value) {
            Ok(request) => request,
            Err(error) => return decline(&error.to_string()),
        };
        tprint!("Got request for", request.family, "of length", request.length);
        let peer = session.id_source.unwrap_or(Ipv6Addr::UNSPECIFIED);
        let answer = {
            let mut books = self.books.lock();
            let answer = answer(&mut books.ledger, peer, &request);
            match answer {
                Answer::Offer(_, prefix) if prefix.length() <= request.length => {}
                Answer::Offer(..) | Answer::Decline(_) => books.nudge(self.unit, &request),
            }
            answer
        };
        let (ticket, prefix) = match answer {
            Answer::Offer(ticket, prefix) => (ticket, prefix),
            Answer::Decline(reason) => return decline(reason),
        };
        tprint!("Offering", prefix);
        let offer = Message { family: prefix.family(), length: prefix.length(), prefix: Some(prefix) };
        let value = self.form.encode(&offer);
        // A peer that encodes its value a second time gets it back in the same form.
        objective.value = if objective.value.embedded().is_some() { value.encoded_cbor() } else { value };
        self.open.lock().push(session);
        let result = grasp::negotiate_step(self.asa, session, &objective, Some(END));
        self.open.lock().retain(|other| *other != session);
        let ending = ending(&result);
        self.books.lock().ledger.conclude(ticket, ending, Instant::now());
        match result {
            Ok(Negotiation::Agreed(_)) => tprint!("Gave", prefix, "to", peer),
            Ok(Negotiation::Offer(..)) => decline("Insufficient resource"),
            Err(Error::LoopExhausted) => decline("Loop count exhausted"),
            Err(error) => tprint!("Did not give", prefix, "-", error, format_args!("({ending:?})")),
        }
    }

    // The asker

    /// Asks in rounds. An origin only counts the rounds.
    fn ask_as_needed(&self, options: &Pfxm3, run: &mut Run) -> Outcome {
        let families: &[Family] = if options.no_ipv4 { &[Family::V6] } else { &[Family::V6, Family::V4] };
        let mut asker = Asker::default();
        while run.next_round() {
            for family in families.iter().filter(|_| !options.origin) {
                let wish = self.books.lock().wish(*family, self.unit);
                if let Some(length) = wish.filter(|_| !run.stopping()) {
                    tprint!(family, "pool is low, asking for a prefix of length", length);
                    let request = Message { family: *family, length, prefix: None };
                    if let Err(error) = self.ask(&mut asker, request, run) {
                        tprint!("Got nothing:", error);
                    }
                }
            }
            let ((have, have4), delegated) = {
                let books = self.books.lock();
                (books.have(self.unit), books.ledger.delegated().to_vec())
            };
            ttprint!("Pool:", have, format_args!("/{}s,", self.unit), have4, "/24s");
            let served = |family: &Family| delegated.iter().any(|prefix| prefix.family() == *family);
            if !asker.served && families.iter().all(served) {
                tprint!("Served");
                asker.served = true;
            }
            if (options.until_served && asker.served) || !run.pause(if options.quick { 1.0 } else { 10.0 }) {
                break;
            }
        }
        Ok(())
    }

    fn ask(&self, asker: &mut Asker, mut request: Message, run: &mut Run) -> Outcome {
        let options = Discover { flush: true, ..Discover::default() };
        let found = grasp::discover(self.asa, &self.objective(Value::Null), Some(1000), options)?;
        let peer = asker.choose(found, run).ok_or("no peer discovered")?;
        let unsettled = self.books.lock().ledger.unsettled_with(&peer, request.family);
        // Not twice in a row, because naming a prefix requests one of exactly that length.
        let named = unsettled.filter(|prefix| asker.named.remove(&request.family) != Some(*prefix));
        if let Some(prefix) = named {
            asker.named.insert(request.family, prefix);
            request = Message { length: prefix.length(), prefix: Some(prefix), ..request };
        }
        let objective = self.objective(self.form.encode(&request));
        let (session, offer) = match grasp::req_negotiate(self.asa, &objective, Some(&peer), Some(ANSWER)) {
            Ok(Negotiation::Offer(session, offer)) => (session, offer),
            Ok(Negotiation::Agreed(_)) => return Err("the peer agreed, but gave no prefix".into()),
            Err(Error::Declined(reason)) => {
                return Err(format!("declined, {}", reason.as_deref().unwrap_or("no reason given")).into());
            }
            Err(error) => return Err(error.into()),
        };
        let judged = judge(&self.books.lock().ledger, &request, self.form.decode(&offer.value));
        let prefix = match judged {
            Ok(prefix) => prefix,
            Err(reason) => {
                grasp::end_negotiate(self.asa, session, false, Some(&reason))?;
                return Err(reason.into());
            }
        };
        // The prefix is ours from the moment that the acceptance could be sent, not before.
        let accepted = grasp::end_negotiate(self.asa, session, true, None);
        let mut books = self.books.lock();
        if let Some(other) = named.filter(|named| *named != prefix) {
            books.ledger.settle(&other);
        }
        if let Err(error) = accepted {
            books.ledger.regret(prefix, peer);
            return Err(error.into());
        }
        // Only this thread receives prefixes, so it is still true that the node had no part of it.
        books.ledger.receive(prefix);
        match prefix.family() {
            Family::V6 => books.need = 0,
            Family::V4 => books.need4 = 0,
        }
        drop(books);
        tprint!("Obtained", prefix);
        asker.good = Some(peer);
        Ok(())
    }

    // In the background

    fn delegate(&self, options: &Pfxm3, mut run: Run) {
        tprint!("Delegating", if options.quick { "quickly" } else { "slowly" });
        loop {
            let seconds = if options.quick { 1.0 } else { f64::from(run.random().u32(10..=60)) };
            if !run.pause(seconds) {
                return;
            }
            let mut books = self.books.lock();
            let mut delegated = vec![books.ledger.delegate(Family::V6, self.unit)];
            if delegated == [None] {
                books.need += 1;
            }
            if !options.no_ipv4 {
                delegated.push(books.ledger.delegate(Family::V4, IPV4_SUBNET));
            }
            drop(books);
            delegated.into_iter().flatten().for_each(|prefix| tprint!("Delegated", prefix));
        }
    }

    fn join(&self, options: &Pfxm3, run: &Run) {
        while run.pause(5.0) {
            let mut books = self.books.lock();
            let joined = books.ledger.join();
            let after = options.reclaim_after.map(Duration::from_secs);
            let reclaimed = after.map_or_else(Vec::new, |after| books.ledger.reclaim(after, Instant::now()));
            drop(books);
            if joined > 0 {
                ttprint!("Joined prefixes", joined, "times");
            }
            reclaimed.into_iter().for_each(|prefix| tprint!("Reclaimed", prefix));
        }
    }

    fn flood(&self, run: &Run) {
        let params = Objective { value: parameters(), ..params() };
        let tagged = [TaggedObjective::new(params, None)];
        loop {
            // Valid until just before the next flood.
            if let Err(error) = grasp::flood(self.asa, 59_000, &tagged) {
                tprint!("Cannot flood parameters:", error);
            }
            if !run.pause(60.0) {
                return;
            }
        }
    }

    fn print_books(&self) {
        let books = self.books.lock();
        let ledger = &books.ledger;
        let listed = |name: &str, prefixes: Vec<Prefix>| {
            let texts: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
            tprint!(name, if texts.is_empty() { "(none)".to_owned() } else { texts.join(" ") });
        };
        // Joining makes the list of prefixes in use shorter.
        let mut used = Pool::default();
        ledger.delegated().iter().for_each(|prefix| _ = used.insert(*prefix));
        used.join();
        listed("Books, free:", ledger.pool().iter().copied().collect());
        listed("Books, delegated:", used.iter().copied().collect());
        listed("Books, given:", ledger.given().map(|(prefix, _)| *prefix).collect());
        listed("Books, offered:", ledger.escrow().copied().collect());
        listed("Books, in doubt:", ledger.quarantine().map(|(prefix, _)| *prefix).collect());
        listed("Books, not taken:", ledger.unsettled().copied().collect());
    }
}

/// The memory of the asking thread.
#[derive(Debug, Default)]
struct Asker {
    /// The peer that gave something.
    good: Option<AsaLocator>,
    /// The prefix that it named last.
    named: BTreeMap<Family, Prefix>,
    served: bool,
}

impl Asker {
    /// Chooses the peer that gave something last, if it was found; otherwise any.
    fn choose(&mut self, mut found: Vec<AsaLocator>, run: &mut Run) -> Option<AsaLocator> {
        let same = |a: &AsaLocator, b: &AsaLocator| (&a.locator, a.port) == (&b.locator, b.port);
        let good = self.good.take().and_then(|good| found.iter().position(|other| same(other, &good)));
        let index = good.or_else(|| (!found.is_empty()).then(|| run.random().usize(..found.len())))?;
        // It must prove itself again, so that an empty peer is not asked for ever.
        Some(found.swap_remove(index))
    }
}

fn params() -> Objective {
    Objective { synch: true, loop_count: 4, ..Objective::new("PrefixManager.Params") }
}

fn thread<'scope>(
    threads: &'scope Scope<'scope, '_>,
    name: &str,
    body: impl FnOnce() + Send + 'scope,
) -> std::io::Result<ScopedJoinHandle<'scope, ()>> {
    Builder::new().name(name.to_owned()).spawn_scoped(threads, body)
}
