//! Answering requests in threads, for the examples that listen and do nothing else.
//! [`briggs`](crate::briggs) does the same step by step.

use std::thread;

use grasp::{AsaNonce, Objective, SessionNonce};

use crate::{Outcome, Run};

/// Answers each request to negotiate an objective in a thread of its own, called `name`, until the example is
/// to stop or has had its rounds. Returns when the last thread has ended.
///
/// # Errors
/// Those of [`grasp::listen_negotiate`], and if no thread can be started.
pub fn serve(
    asa: AsaNonce,
    objective: &Objective,
    run: &mut Run,
    name: &str,
    answer: impl Fn(SessionNonce, Objective, Run) + Sync,
) -> Outcome {
    // listen_negotiate has no timeout: this is what wakes it.
    let waking = objective.clone();
    let _waking = run.stop().wake_while(move || _ = grasp::stop_negotiate(asa, &waking));
    let answer = &answer;
    thread::scope(|scope| {
        while run.next_round() {
            match grasp::listen_negotiate(asa, objective) {
                Ok((session, request)) => {
                    let run = run.fork();
                    let thread = thread::Builder::new().name(name.to_owned());
                    thread.spawn_scoped(scope, move || answer(session, request, run))?;
                }
                Err(_) if run.stopping() => {}
                // Not a peer's doing: such requests are refused, and it goes on listening by itself.
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    })
}
