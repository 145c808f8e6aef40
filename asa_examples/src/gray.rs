//! Gray, the client of [`briggs`](crate::briggs): synchronizes three objectives, then asks for money without end.
//! docs/porting.md shows it side by side with the Python original.
//!
//! In a negotiation, Gray asks for a random sum. If the offer is less than nine tenths of it, Gray asks for nine
//! tenths, then for nine tenths of that, and so on; below seven tenths of the first sum it gives up.

use clap::Parser;
use grasp::{
    AsaLocator, AsaNonce, Discover, Error, Negotiation, Objective, RegisterObj, SessionNonce, Value,
};
use grasp::{tprint, ttprint};

use crate::briggs::money;
use crate::{Common, Example, Outcome, Run, reason};

/// The client: synchronizes EX1 and EX2, then asks for money (EX3) again and again. A round is a negotiation.
#[derive(Debug, Parser)]
#[command(name = "gray", version)]
pub struct Gray {
    #[command(flatten)]
    common: Common,
}

impl Example for Gray {
    const NAME: &'static str = "Gray";
    const INTRODUCTION: [&'static str; 3] = [
        "Gray is a client: it asks for two values (EX1, EX2) and one that nobody has, then for money (EX3).",
        "Sums, loop counts, dry runs and embedded CBOR are random; one sum in seven is in the wrong currency.",
        "Run briggs on a node of the same network. Ctrl-C ends it.",
    ];

    fn common(&self) -> &Common {
        &self.common
    }

    fn run(self, mut run: Run) -> Outcome {
        let asa = grasp::register_asa(Self::NAME)?;
        tprint!("ASA Gray registered OK");

        // An objective that is only synchronized need not be registered.
        let mut ex1 = Objective::new("EX1");
        (ex1.synch, ex1.loop_count) = (true, 4);
        let mut ex2 = Objective::new("EX2");
        (ex2.synch, ex2.loop_count) = (true, 4);
        let mut nonsense = Objective::new("Nonsense");
        nonsense.synch = true;

        let mut ex3 = Objective::new("EX3");
        ex3.neg = true;
        grasp::register_obj(asa, &ex3, RegisterObj { overlap: true, ..RegisterObj::default() })?;
        tprint!("Objective EX3 registered OK");

        // Time for Briggs to flood.
        run.pause(5.0);
        tprint!("Synchronization tests will start; some may fail.");
        for objective in [&ex1, &ex2, &nonsense, &ex2, &ex1] {
            if run.stopping() {
                break;
            }
            synchronize(asa, objective, &run);
        }

        tprint!("Ready to negotiate EX3 as requester");
        let mut failures = 0;
        while run.next_round() {
            let Some(peer) = find_peer(asa, &ex3, &run, &mut failures) else { break };
            let wish = Wish::new(&mut run);
            match wish.negotiate(asa, &mut ex3, &peer) {
                Ok(()) => {}
                Err(error) => {
                    tprint!("request_negotiate error:", reason(&error));
                    failures += 1;
                    tprint!("Fail count", failures);
                    run.pause(5.0);
                }
            }
            run.pause(5.0);
            synchronize(asa, &ex1, &run);
            show_floods(asa, &ex1);
        }

        grasp::deregister_asa(asa, Self::NAME)?;
        tprint!("ASA exiting");
        Ok(())
    }
}

/// Asks for a value: from the flood cache if it is there, otherwise from a peer.
fn synchronize(asa: AsaNonce, objective: &Objective, run: &Run) {
    let timeout = run.paced(5000).max(1000);
    match grasp::synchronize(asa, objective, None, Some(timeout)) {
        Ok(result) => tprint!("Synchronized", objective.name, result.value),
        Err(error) => tprint!("Synch failed", objective.name, error),
    }
}

/// Another way to read the value: shows all flooded values with their sources.
fn show_floods(asa: AsaNonce, objective: &Objective) {
    match grasp::get_flood(asa, objective) {
        Ok(flooded) => {
            for one in flooded {
                tprint!("Flooded", objective.name, "from", one.source, "=", one.objective.value);
            }
        }
        Err(error) => tprint!("get_flood failed", objective.name, error),
    }
}

/// Looks for a peer until there is one. Returns None if Gray must stop.
fn find_peer(asa: AsaNonce, ex3: &Objective, run: &Run, failures: &mut u32) -> Option<AsaLocator> {
    while !run.stopping() {
        // After some failures the cache is no longer trusted.
        let flush = *failures > 3;
        if flush {
            *failures = 0;
            tprint!("Flushing EX3 discovery");
        }
        let options = Discover { flush, enough: Some(1), ..Discover::default() };
        match grasp::discover(asa, ex3, Some(1000), options) {
            Ok(found) if !found.is_empty() => {
                ttprint!("Discovered locator", found[0]);
                return found.into_iter().next();
            }
            Ok(_) => tprint!("Discovery failed"),
            Err(error) => {
                tprint!("Discovery failed:", error);
                run.pause(5.0);
            }
        }
        *failures += 1;
    }
    None
}

/// What Gray asks for in one negotiation.
struct Wish {
    currency: &'static str,
    amount: i64,
    loop_count: u8,
    dry: bool,
    /// Whether to send values as embedded CBOR, tag 24.
    embedded: bool,
}

impl Wish {
    fn new(run: &mut Run) -> Self {
        let amount = run.random().i64(10..=500);
        Self {
            // A wrong currency, to see what happens.
            currency: if amount % 7 == 0 { "USD" } else { "NZD" },
            amount,
            loop_count: run.random().u8(4..=20),
            dry: amount & 4 != 0,
            embedded: amount & 8 != 0,
        }
    }

    /// Runs one negotiation to its end. An error means that it did not take place.
    fn negotiate(&self, asa: AsaNonce, ex3: &mut Objective, peer: &AsaLocator) -> grasp::Result<()> {
        (ex3.loop_count, ex3.dry) = (self.loop_count, self.dry);
        ex3.value = money(self.currency, self.amount, self.embedded);
        let dry = if self.dry { "; dry run" } else { "" };
        tprint!("Asking for", self.currency, format_args!("{}{dry}", self.amount));
        if self.embedded {
            tprint!("Testing Tag 24");
        }
        match grasp::req_negotiate(asa, ex3, Some(peer), None)? {
            Negotiation::Agreed(answer) => tprint!("Negotiation succeeded", opened(&answer.value)),
            Negotiation::Offer(session, offer) => {
                if let Err(error) = self.haggle(asa, session, offer) {
                    tprint!("Peer reject:", reason(&error));
                    // The exhausted loop count is the only error that leaves the session open.
                    if error == Error::LoopExhausted {
                        let _ = grasp::end_negotiate(asa, session, false, Some(&error.to_string()));
                    }
                }
            }
        }
        Ok(())
    }

    /// Answers the peer's offer by asking for less and less.
    fn haggle(&self, asa: AsaNonce, session: SessionNonce, mut answer: Objective) -> grasp::Result<()> {
        let limit = self.amount * 7 / 10;
        let mut proffer = self.amount * 9 / 10;
        let mut offered = amount(asa, session, &answer)?;
        tprint!("Peer offered", offered);
        while offered < proffer {
            tprint!("Asking for", proffer);
            // The objective goes back as received, with another value: it contains the loop count.
            answer.value = money(self.currency, proffer, self.embedded);
            answer = match grasp::negotiate_step(asa, session, &answer, Some(1000))? {
                Negotiation::Agreed(answer) => {
                    tprint!("Negotiation succeeded", opened(&answer.value));
                    return Ok(());
                }
                Negotiation::Offer(_, answer) => answer,
            };
            offered = amount(asa, session, &answer)?;
            tprint!("Loop ct", answer.loop_count, "offered", offered);
            proffer = proffer * 9 / 10;
            if offered < proffer && proffer < limit {
                tprint!("Rejecting unacceptable offer");
                return grasp::end_negotiate(asa, session, false, Some("You are mean!"));
            }
        }
        grasp::end_negotiate(asa, session, true, None)?;
        tprint!("Negotiation succeeded", opened(&answer.value));
        Ok(())
    }
}

/// Returns the sum that a peer offers. A value from the network may be anything.
fn amount(asa: AsaNonce, session: SessionNonce, answer: &Objective) -> grasp::Result<i64> {
    match answer.value_as::<(String, i64)>() {
        Ok((_, amount)) => Ok(amount),
        Err(_) => {
            tprint!("Not an amount of money:", answer.value);
            grasp::send_invalid(asa, session, Some("not an amount of money".into()))?;
            Err(Error::NoValidStep)
        }
    }
}

/// Opens embedded CBOR for printing.
fn opened(value: &Value) -> Value {
    value.embedded().and_then(Result::ok).unwrap_or_else(|| value.clone())
}
