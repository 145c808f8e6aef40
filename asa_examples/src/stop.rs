//! Stops the program: on Ctrl-C, on SIGTERM, or when the last peer of `--lab` has ended. [`Stop`] is the library's.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, select};
use grasp::{Stop, tprint};

use crate::Outcome;

/// How long an ASA may take to stop before its engine is shut down: a little longer than the calls of the examples that
/// nothing can wake.
const GRACE: Duration = Duration::from_secs(6);
/// How long it may take after that.
const LAST_GRACE: Duration = Duration::from_secs(5);
/// How often the wake-up is repeated, because the ASA may be just about to block.
const AGAIN: Duration = Duration::from_millis(100);

/// Creates a handle that Ctrl-C, SIGTERM and SIGHUP stop. Call it only once per process.
pub(crate) fn on_signals() -> Result<Stop, ctrlc::Error> {
    let stop = Stop::new();
    let handle = stop.clone();
    ctrlc::set_handler(move || handle.request())?;
    Ok(stop)
}

/// Waits for the end of the ASA's thread, which disconnects `ended`; when the ASA must stop, makes sure that it ends.
pub(crate) fn supervise(stop: &Stop, asa: JoinHandle<Outcome>, ended: &Receiver<()>) -> Outcome {
    select! {
        recv(ended) -> _ => {}
        recv(stop.signal()) -> _ => end(stop, ended)?,
    }
    asa.join().unwrap_or_else(|_| Err("it has panicked".into()))
}

fn end(stop: &Stop, ended: &Receiver<()>) -> Outcome {
    tprint!("Stopping");
    let since = Instant::now();
    let mut shut_down = false;
    while since.elapsed() < GRACE + LAST_GRACE {
        if since.elapsed() > GRACE && !shut_down {
            tprint!("Stopping the engine");
            // Calls of the API that block get an error. grasp::shutdown would do that too, but then the ASA's next call
            // would start a new engine.
            if let Ok(engine) = grasp::process_engine() {
                engine.shutdown();
            }
            shut_down = true;
        }
        stop.wake();
        if ended.recv_timeout(AGAIN) == Err(RecvTimeoutError::Disconnected) {
            return Ok(());
        }
    }
    Err("it does not stop".into())
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;

    #[test]
    fn what_blocks_is_woken() {
        let stop = Stop::new();
        let (sender, receiver) = bounded(1);
        stop.wake_with(move || _ = sender.try_send(()));
        let (ending, ended) = bounded::<()>(0);
        let body = move || {
            let _ending = ending;
            Ok(receiver.recv()?)
        };
        let asa = std::thread::Builder::new().spawn(body).unwrap();
        stop.request();
        assert!(supervise(&stop, asa, &ended).is_ok());
    }
}
