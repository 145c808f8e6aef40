//! Briggs, the banker: floods one value, serves another, and gives money to clients that ask, several at a time.
//! [`gray`](crate::gray) is its client.
//!
//! | objective | what Briggs does |
//! |---|---|
//! | EX1 | floods the time as a text, every four seconds |
//! | EX2 | serves `[1, "two", 3]` by synchronization, in rapid mode |
//! | EX3 | negotiates `["NZD", amount]`, live and as a dry run |
//!
//! In a negotiation, Briggs has random reserves. It grants a request for up to half of them at once. Otherwise it
//! offers half, and 10 more in each step, up to six tenths. Now and then it asks for time to think.

use std::thread;

use clap::Parser;
use grasp::{
    AsaNonce, Error, Negotiation, Objective, RegisterObj, SessionNonce, TaggedObjective, Value, tprint,
};

use crate::{Common, Example, Outcome, Run, plain};

/// The banker: floods EX1, serves EX2, and negotiates EX3 with every client. A round is a negotiation.
#[derive(Debug, Parser)]
#[command(name = "briggs", version)]
pub struct Briggs {
    #[command(flatten)]
    common: Common,
}

impl Example for Briggs {
    const NAME: &'static str = "Briggs";
    const INTRODUCTION: [&'static str; 3] = [
        "Briggs is the banker: it floods the time (EX1), serves a value (EX2) and gives out money (EX3).",
        "It negotiates with several clients at once; the sum that it has is random each time.",
        "Run gray on a node of the same network. Ctrl-C ends it.",
    ];

    fn common(&self) -> &Common {
        &self.common
    }

    fn run(self, mut run: Run) -> Outcome {
        // An ASA registers itself, then its objectives.
        let asa = grasp::register_asa(Self::NAME)?;
        tprint!("ASA Briggs registered OK");

        let mut ex1 = Objective::new("EX1");
        (ex1.synch, ex1.loop_count) = (true, 4);
        grasp::register_obj(asa, &ex1, RegisterObj::default())?;

        let mut ex2 = Objective::new("EX2").with_value((1, "two", 3))?;
        (ex2.synch, ex2.loop_count) = (true, 4);
        grasp::register_obj(asa, &ex2, RegisterObj { rapid: true, ..RegisterObj::default() })?;

        let mut ex3 = Objective::new("EX3").with_value(("NZD", 0))?;
        (ex3.neg, ex3.dry) = (true, true);
        // Gray may run on the same node and registers EX3 too: both must permit the overlap.
        grasp::register_obj(asa, &ex3, RegisterObj { overlap: true, ..RegisterObj::default() })?;
        tprint!("Objectives EX1, EX2 and EX3 registered OK");

        // The engine serves EX2 from now on; this returns at once.
        grasp::listen_synchronize(asa, &ex2)?;
        tprint!("Listening for synch requests for EX2");

        // listen_negotiate has no timeout: this wakes it when the user stops the program.
        let waking = ex3.clone();
        run.stop().wake_with(move || _ = grasp::stop_negotiate(asa, &waking));

        // At its end the scope waits for its threads: the flooder, and the negotiations in progress.
        thread::scope(|scope| -> Outcome {
            let flooding = run.fork();
            let flooder = thread::Builder::new().name("Flooder".to_owned());
            let flooder = flooder.spawn_scoped(scope, move || flood_for_ever(asa, ex1, &flooding))?;

            tprint!("Ready to negotiate EX3 as listener");
            while run.next_round() {
                let reserves = run.random().i64(100..=400);
                let wait = run.random().u32(9000..=20000);
                tprint!("Reserves: $", reserves, "Wait:", wait, "ms");
                match grasp::listen_negotiate(asa, &ex3) {
                    // One thread per client, so that the next client does not wait.
                    Ok((session, request)) => {
                        let mut teller = Teller { asa, session, reserves, wait, run: run.fork() };
                        let thread = thread::Builder::new().name("Teller".to_owned());
                        thread.spawn_scoped(scope, move || teller.serve(request))?;
                    }
                    Err(_) if run.stopping() => {}
                    // Not caused by a peer: the engine refuses such requests and continues to listen.
                    Err(error) => {
                        run.stop().request();
                        return Err(error.into());
                    }
                }
            }
            // It would continue for ever if --rounds is the reason to end.
            run.stop().request();
            let _ = flooder.join();
            Ok(())
        })?;

        grasp::deregister_asa(asa, Self::NAME)?;
        tprint!("ASA exiting");
        Ok(())
    }
}

/// Floods the time repeatedly until Briggs stops, because a node that starts later has missed the earlier floods
/// (RFC 8990 §2.5.6.2 leaves the interval to the ASA).
fn flood_for_ever(asa: AsaNonce, mut ex1: Objective, run: &Run) {
    tprint!("Flooding EX1 for ever");
    loop {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC from Briggs");
        ex1.value = Value::from(now.to_string());
        // The lifetime covers the next floods, so that there is a value as long as Briggs runs, even if a flood is
        // lost. At a quick pace it is longer, because graspy counts in seconds.
        let ttl = run.paced(12_000).max(10_000);
        if let Err(error) = grasp::flood(asa, ttl, &[TaggedObjective::new(ex1.clone(), None)]) {
            tprint!("Flood failure:", error);
        }
        if !run.pause(4.0) {
            return;
        }
    }
}

/// One negotiation with one client.
struct Teller {
    asa: AsaNonce,
    session: SessionNonce,
    reserves: i64,
    wait: u32,
    run: Run,
}

impl Teller {
    fn serve(&mut self, request: Objective) {
        match self.negotiate(request) {
            Ok(()) => {}
            Err(Error::Declined(Some(reason))) => tprint!("Declined:", plain(&reason)),
            // The exhausted loop count is the only error that leaves the session open.
            Err(Error::LoopExhausted) => self.decline(&Error::LoopExhausted.to_string()),
            Err(error) => tprint!("Failed:", error),
        }
    }

    fn negotiate(&mut self, request: Objective) -> grasp::Result<()> {
        // The value came from the network: it may be anything. value_as looks into embedded CBOR by itself, but the
        // client should get its answers in the same form.
        let embedded = matches!(request.value, Value::EncodedCbor(_));
        if embedded {
            tprint!("CBOR value decoded");
        }
        let Ok((currency, mut wish)) = request.value_as::<(String, i64)>() else {
            tprint!("Not an amount of money:", request.value);
            return grasp::send_invalid(self.asa, self.session, Some("not an amount of money".into()));
        };
        tprint!("Got request for", plain(&currency), wish);
        if request.dry {
            tprint!("Dry run");
        }
        if currency != "NZD" {
            self.decline("Invalid currency");
            return Ok(());
        }
        if wish <= self.reserves / 2 {
            tprint!("Request accepted");
            return grasp::end_negotiate(self.asa, self.session, true, None);
        }

        tprint!("Starting negotiation");
        let mut offer = self.reserves / 2;
        let mut answer = request;
        loop {
            tprint!("Offering NZD", offer);
            answer.value = money("NZD", offer, embedded);
            // The objective goes back as received, with another value: it contains the loop count.
            answer = match grasp::negotiate_step(self.asa, self.session, &answer, Some(1000))? {
                Negotiation::Agreed(_) => {
                    tprint!("Negotiation succeeded");
                    return Ok(());
                }
                Negotiation::Offer(_, answer) => answer,
            };
            if let Ok((_, new_wish)) = answer.value_as::<(String, i64)>() {
                wish = new_wish;
            }
            tprint!("Loop ct", answer.loop_count, "request", wish);

            if self.run.random().bool() {
                self.think()?;
            }
            if 10 * offer >= 6 * self.reserves {
                self.decline(self.no_money());
                return Ok(());
            }
            // Always a little mean.
            offer = if offer + 10 > wish { wish.saturating_sub(1) } else { offer + 10 };
        }
    }

    /// Asks the client to be patient, for no particular reason. Sometimes the time requested is shorter than the time
    /// taken, so that the client loses patience.
    fn think(&self) -> grasp::Result<()> {
        grasp::negotiate_wait(self.asa, self.session, Some(self.run.paced(self.wait)))?;
        tprint!("Tried wait: OK");
        self.run.pause(10.0);
        tprint!("Woke up");
        Ok(())
    }

    /// English or Russian: a reason can be any text.
    const fn no_money(&self) -> &'static str {
        if self.reserves % 2 == 1 { "Insufficient funds" } else { "Недостаточно средств" }
    }

    fn decline(&self, reason: &str) {
        tprint!("Failed", reason);
        if let Err(error) = grasp::end_negotiate(self.asa, self.session, false, Some(reason)) {
            tprint!("end_negotiate error:", error);
        }
    }
}

/// The value of EX3: an array of two, as it is or as embedded CBOR (tag 24).
pub(crate) fn money(currency: &str, amount: i64, embedded: bool) -> Value {
    let value = Value::from(vec![Value::from(currency), Value::from(amount)]);
    if embedded { value.encoded_cbor() } else { value }
}
