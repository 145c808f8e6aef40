//! Answers requests, for the examples that only listen: [`Asa::serve`] with the rounds of the command line.
//! [`briggs`](crate::briggs) does the same step by step.

use std::sync::Arc;
use std::time::Duration;

use grasp::{Asa, Objective, Session, Stop};
use parking_lot::Mutex;

use crate::{Outcome, Run};

/// How many requests are answered at a time. Further peers are refused, and may try again.
const AT_A_TIME: usize = 64;
/// How often to check whether serving has ended by itself.
const LOOK: Duration = Duration::from_millis(200);

/// Answers each request to negotiate an objective, up to 64 at a time, until the example must stop or has completed its
/// rounds. Returns when the last answer is finished. Declines a session that `answer` leaves open.
///
/// # Errors
/// Those of [`Asa::serve`], and the reason why serving has ended if nobody has stopped it.
pub fn serve(
    asa: &Asa,
    objective: &Objective,
    run: &mut Run,
    answer: impl Fn(Session, Run) + Send + Sync + 'static,
) -> Outcome {
    let done = Stop::new();
    let stopping = done.clone();
    let _stopping = run.stop().wake_while(move || stopping.request());
    // The stop may have been requested before.
    if !run.has_rounds() {
        return Ok(());
    }
    let (rounds, last) = (Arc::new(Mutex::new(run.fork())), done.clone());
    let server = asa.serve(objective, AT_A_TIME, move |session| {
        let round = {
            let mut rounds = rounds.lock();
            let round = rounds.next_round().then(|| rounds.fork());
            if !rounds.has_rounds() {
                last.request();
            }
            round
        };
        match round {
            Some(run) => answer(session, run),
            // Accepted by another thread at the same moment as the last one.
            None => _ = session.decline(Some("The server stops")),
        }
    })?;
    while !done.wait(LOOK) && server.is_serving() {}
    let failure = server.failure();
    server.stop();
    failure.map_or(Ok(()), |error| Err(error.into()))
}
