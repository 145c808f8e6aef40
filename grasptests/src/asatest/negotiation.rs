//! The rounds in which two threads bargain over EX2. Both pretend to be ASAs that know nothing but what the
//! other says, and react to it; how each ended is judged afterwards by the numbers they had drawn.
//!
//! Neg1 has reserves and gives no more than three quarters of them; Neg2 has a wish and is stubborn:
//!
//! ```text
//! Neg2                                    Neg1
//!  |-- the wish ---------------------------->| declines USD; accepts up to half of the reserves
//!  |<------------- half of the reserves -----|
//!  | accepts three quarters of the wish
//!  |-- three quarters of the wish ---------->|
//!  |<---------------------------- wait ------|
//!  | gives up if that was too short          | sleeps
//!  |<---- three quarters of the reserves ----|
//!  |-- three fifths, or rubbish ------------>|
//!  |<------------------------- declined -----|
//! ```

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use grasp::{
    Asa, AsaNonce, Discover, Error, Negotiation, Objective, RegisterObj, SessionNonce, Value, tprint,
};

use super::draw::{Branch, Deck, Draw, Ending, SLEEP};
use super::report::{During, Outcome, Report, check, sentence};
use super::{BRANCHES, Options, Pace};

/// How long a step waits for its answer, in milliseconds. Less than Neg1 sleeps at any pace: without its
/// M_WAIT, Neg2 would give up each time.
const STEP_TIMEOUT: u32 = 1000;

/// How long Neg2 looks for Neg1, in milliseconds.
const DISCOVERY_TIMEOUT: u32 = 5000;

/// How long an ASA may take to register; far more than it does.
const SOON: Duration = Duration::from_secs(10);

/// Plays all rounds. The first that does not end as it must ends them all.
pub(super) fn run(options: Options, report: &Report) -> Outcome {
    let mut deck = Deck::new(options.seed);
    let mut reached = Vec::new();
    for number in 1..=options.rounds {
        let draw = deck.deal();
        let branch = draw.branch();
        tprint!("Round", number, "of", options.rounds, "-", branch.name());
        let (neg1, neg2) = round(draw, options.pace).map_err(|why| format!("round {number}: {why}"))?;
        check!(
            draw.is_end(&neg1, &neg2),
            "round {number} ({}, {draw:?}): Neg1 ended with {neg1:?}, Neg2 with {neg2:?}",
            branch.name()
        );
        report.reached(branch);
        reached.push(branch);
    }
    let missing = Branch::ALL.into_iter().find(|branch| !reached.contains(branch));
    match missing.filter(|_| reached.len() >= BRANCHES) {
        Some(branch) => Err(format!("{} rounds without: {}", reached.len(), branch.name())),
        None => Ok(()),
    }
}

/// Plays one round.
fn round(draw: Draw, pace: Pace) -> Outcome<(Ending, Ending)> {
    let (tell, told) = bounded(1);
    let neg1 = spawn("Neg1", move || Neg1 { draw, pace }.play(&tell))?;
    // Registered until both have ended: Neg2 uses it, too.
    let Ok(asa) = told.recv_timeout(SOON) else {
        return Err(format!("Neg1 did not register: {:?}", join("Neg1", neg1)));
    };
    let nonce = asa.nonce();
    pace.settle(10_000);
    let neg2 = spawn("Neg2", move || Neg2 { draw, pace, nonce }.play());
    let neg2 = neg2.and_then(|thread| join("Neg2", thread));
    // If Neg2 has never asked, Neg1 still listens; otherwise this means nothing to it.
    if neg2.is_err() {
        let _ = grasp::stop_negotiate(nonce, &ex2());
    }
    let neg1 = join("Neg1", neg1);
    match (neg1, neg2) {
        (Ok(neg1), Ok(neg2)) => Ok((neg1, neg2)),
        (Ok(neg1), Err(why)) => Err(format!("{why} (Neg1: {neg1:?})")),
        (Err(why), Ok(neg2)) => Err(format!("{why} (Neg2: {neg2:?})")),
        (Err(why), Err(too)) => Err(format!("{why}; {too}")),
    }
}

/// Starts a thread, in the same network as this one.
fn spawn(
    name: &str,
    body: impl FnOnce() -> Outcome<Ending> + Send + 'static,
) -> Outcome<JoinHandle<Outcome<Ending>>> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(body);
    spawned.map_err(|error| format!("{name} cannot be started: {error}"))
}

fn join(name: &str, thread: JoinHandle<Outcome<Ending>>) -> Outcome<Ending> {
    thread.join().unwrap_or_else(|panic| Err(sentence(&*panic))).map_err(|why| format!("{name}: {why}"))
}

fn ex2() -> Objective {
    let mut objective = Objective::new("EX2");
    objective.neg = true;
    objective
}

/// The same objective, about so much money.
fn worth(mut objective: Objective, currency: &str, amount: u32) -> Objective {
    objective.value = Value::from(vec![Value::from(currency), Value::from(amount)]);
    objective
}

/// The amount that a peer names, in the currency that is dealt in.
fn amount(objective: &Objective) -> Outcome<u32> {
    let (currency, amount) = money(objective)?;
    check!(currency == "NZD", "{} is not in NZD", objective.value);
    Ok(amount)
}

fn money(objective: &Objective) -> Outcome<(String, u32)> {
    objective.value_as().map_err(|error| format!("{} is no money: {error}", objective.value))
}

/// Each message of a negotiation lowers the loop count by one.
fn check_count(objective: &Objective, expected: u8) -> Outcome {
    check!(objective.loop_count == expected, "loop count {} is not {expected}", objective.loop_count);
    Ok(())
}

/// A failed step must have ended its session.
fn check_ended(nonce: AsaNonce, session: SessionNonce) -> Outcome {
    let again = grasp::end_negotiate(nonce, session, false, None);
    check!(again == Err(Error::NoSession), "the session is still open: {again:?}");
    Ok(())
}

/// Who has money.
struct Neg1 {
    draw: Draw,
    pace: Pace,
}

impl Neg1 {
    fn play(&self, tell: &Sender<Asa>) -> Outcome<Ending> {
        let wait = self.pace.scaled(self.draw.wait);
        tprint!("Reserves: $", self.draw.reserves, "wait:", wait);
        let asa = Asa::new("Neg1").during("register Neg1")?;
        let nonce = asa.nonce();
        grasp::register_obj(nonce, &ex2(), RegisterObj::default()).during("register EX2")?;
        tell.send(asa).map_err(|_| "nobody waits for Neg1")?;
        let (session, asked) = grasp::listen_negotiate(nonce, &ex2()).during("listen for EX2")?;
        tprint!("Asked for", asked.name, asked.value);
        let source = session.id_source.ok_or("a session that a peer opened must name its source")?;
        tprint!("The request came from", source);
        check_count(&asked, 6)?;
        let (currency, wish) = money(&asked)?;
        let end = |accept, reason: Option<&str>| {
            grasp::end_negotiate(nonce, session, accept, reason).during("end the negotiation")
        };
        let ending = if currency != "NZD" {
            end(false, Some("Invalid currency"))?;
            Ending::Declined("Invalid currency".to_owned())
        } else if 2 * wish <= self.draw.reserves {
            end(true, None)?;
            Ending::Agreed(wish)
        } else {
            self.bargain(nonce, session, asked)?
        };
        tprint!("Exit:", format!("{ending:?}"));
        Ok(ending)
    }

    /// Offers half of the reserves, then, after a while, three quarters.
    fn bargain(&self, nonce: AsaNonce, session: SessionNonce, asked: Objective) -> Outcome<Ending> {
        let offer = worth(asked, "NZD", self.draw.half());
        let step1 = grasp::negotiate_step(nonce, session, &offer, Some(STEP_TIMEOUT));
        tprint!("Step 1 gave:", shown(&step1));
        let demand = match step1.during("step 1")? {
            Negotiation::Agreed(agreed) => return Ok(Ending::Agreed(amount(&agreed)?)),
            Negotiation::Offer(same, demand) => {
                check!(same == session, "step 1 changed the session: {same:?}");
                demand
            }
        };
        check_count(&demand, 4)?;
        let wait = self.pace.scaled(self.draw.wait);
        grasp::negotiate_wait(nonce, session, Some(wait)).during("ask for time")?;
        tprint!("Asked to wait", wait, "ms, sleeping", self.pace.scaled(SLEEP));
        self.pace.sleep(SLEEP);
        tprint!("Woke up");
        let offer = worth(demand, "NZD", self.draw.reserves * 3 / 4);
        let step2 = grasp::negotiate_step(nonce, session, &offer, Some(STEP_TIMEOUT));
        tprint!("Step 2 gave:", shown(&step2));
        match step2 {
            Ok(Negotiation::Offer(_, last)) => {
                check_count(&last, 2)?;
                let reason = self.draw.reason();
                grasp::end_negotiate(nonce, session, false, Some(reason)).during("decline")?;
                Ok(Ending::Declined(reason.to_owned()))
            }
            Ok(Negotiation::Agreed(agreed)) => Ok(Ending::Agreed(amount(&agreed)?)),
            Err(error) => {
                check_ended(nonce, session)?;
                Ok(Ending::Failed(2, error))
            }
        }
    }
}

/// Who wants money.
struct Neg2 {
    draw: Draw,
    pace: Pace,
    /// Neg1's: it lets Neg2 pass for an owner of EX2, which one has to be to ask for it.
    nonce: AsaNonce,
}

impl Neg2 {
    fn play(&self) -> Outcome<Ending> {
        let wish = self.draw.wish;
        tprint!("Asking for $", wish);
        let _asa = Asa::new("Neg2").during("register Neg2")?;
        tprint!("Got nonce", self.nonce);
        // EX2 has another port in each round.
        let options = Discover { flush: true, enough: self.pace.enough(), ..Discover::default() };
        let found = grasp::discover(self.nonce, &ex2(), Some(DISCOVERY_TIMEOUT), options);
        let found = found.during("discover EX2")?;
        let peer = found.first().ok_or("EX2 was not discovered")?;
        tprint!("Discovered EX2 at", peer);
        let currency = if self.draw.currency_is_wrong() { "USD" } else { "NZD" };
        let asked = worth(ex2(), currency, wish);
        let (session, offer) = match grasp::req_negotiate(self.nonce, &asked, Some(peer), None) {
            Ok(Negotiation::Offer(session, offer)) => (session, offer),
            Ok(Negotiation::Agreed(agreed)) => return exit(Ending::Agreed(amount(&agreed)?)),
            Err(Error::Declined(reason)) => return exit(Ending::Declined(reason.unwrap_or_default())),
            Err(error) => return Err(format!("request EX2: {error}")),
        };
        tprint!("Requested, session:", format!("{session:?}"), "offer:", offer.value);
        check!(session.id_source.is_none(), "this side opened {session:?}");
        check_count(&offer, 5)?;
        let offered = amount(&offer)?;
        if 4 * offered >= 3 * wish {
            grasp::end_negotiate(self.nonce, session, true, None).during("accept")?;
            return exit(Ending::Agreed(offered));
        }
        exit(self.insist(session, offer)?)
    }

    /// Demands three quarters of the wish, then three fifths, and accepts no offer.
    fn insist(&self, session: SessionNonce, offer: Objective) -> Outcome<Ending> {
        let demand = worth(offer, "NZD", self.draw.wish * 3 / 4);
        let started = Instant::now();
        let step1 = grasp::negotiate_step(self.nonce, session, &demand, Some(STEP_TIMEOUT));
        tprint!("Step 1 gave:", shown(&step1));
        self.check_time(started.elapsed())?;
        let offer = match step1 {
            Ok(Negotiation::Offer(_, offer)) => offer,
            other => return self.ended(1, session, other),
        };
        check_count(&offer, 3)?;
        check!(amount(&offer)? == self.draw.reserves * 3 / 4, "the second offer is {}", offer.value);
        if self.draw.is_malformed() {
            tprint!("Sending a malformed message");
            // Neg1 waits for this very step: no other can take it for its own.
            grasp::process_engine().during("the engine")?.make_badmess();
        }
        let demand = worth(offer, "NZD", self.draw.wish * 3 / 5);
        let step2 = grasp::negotiate_step(self.nonce, session, &demand, Some(STEP_TIMEOUT));
        tprint!("Step 2 gave:", shown(&step2));
        self.ended(2, session, step2)
    }

    /// What a step means that brought no offer.
    fn ended(&self, step: u8, session: SessionNonce, reply: grasp::Result<Negotiation>) -> Outcome<Ending> {
        let ending = match reply {
            Ok(Negotiation::Offer(_, offer)) => {
                return Err(format!("step {step} brought another offer, {}", offer.value));
            }
            Ok(Negotiation::Agreed(agreed)) => Ending::Agreed(amount(&agreed)?),
            Err(Error::Declined(reason)) => Ending::Declined(reason.unwrap_or_default()),
            Err(error) => Ending::Failed(step, error),
        };
        check_ended(self.nonce, session)?;
        Ok(ending)
    }

    /// The first step ends when Neg1 wakes up or the time it asked for is over, whichever comes first: either
    /// way its own timeout is passed, or shortened, on Neg1's word.
    fn check_time(&self, took: Duration) -> Outcome {
        let expected = Duration::from_millis(self.pace.scaled(self.draw.wait.min(SLEEP)).into());
        // Timers of the kernel may run a tick fast.
        check!(took + Duration::from_millis(20) >= expected, "step 1 took {took:?} instead of {expected:?}");
        Ok(())
    }
}

fn exit(ending: Ending) -> Outcome<Ending> {
    tprint!("Exit:", format!("{ending:?}"));
    Ok(ending)
}

/// A reply, for the transcript.
fn shown(reply: &grasp::Result<Negotiation>) -> String {
    match reply {
        Ok(Negotiation::Agreed(objective)) => format!("agreed on {}", objective.value),
        Ok(Negotiation::Offer(_, objective)) => format!("an offer of {}", objective.value),
        Err(Error::Declined(reason)) => format!("Declined {}", reason.as_deref().unwrap_or_default()),
        Err(error) => error.to_string(),
    }
}
