//! Answering requests, for the examples that listen and do nothing else: [`Asa::serve`] with the rounds of the command line.
//! [`briggs`](crate::briggs) does the same step by step.

use std::sync::Arc;
use std::time::Duration;

use grasp::{Asa, Objective, Session, Stop};
use parking_lot::Mutex;

use crate::{Outcome, Run};

/// How many requests are answered at a time. Peers beyond that are refused, and may try again.
const AT_A_TIME: usize = 64;
/// How often it is looked whether serving has ended by itself.
const LOOK: Duration = Duration::from_millis(200);

/// Answers each request to negotiate an objective, up to 64 at a time, until the example is to stop or has had its rounds.
/// Returns when the last answer is over. A session that `answer` leaves open is declined.
///
/// # Errors
/// Those of [`Asa::serve`], and why serving has ended if nobody has stopped it.
pub fn serve(
    asa: &Asa,
    objective: &Objective,
    run: &mut Run,
    answer: impl Fn(Session, Run) + Send + Sync + 'static,
) -> Outcome {
    let done = Stop::new();
    let stopping = done.clone();
    let _stopping = run.stop().wake_while(move || stopping.request());
    // It may have been requested before.
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
            // Taken up by another thread in the same moment as the last one.
            None => _ = session.decline(Some("The server stops")),
        }
    })?;
    while !done.wait(LOOK) && server.is_serving() {}
    let failure = server.failure();
    server.stop();
    failure.map_or(Ok(()), |error| Err(error.into()))
}
