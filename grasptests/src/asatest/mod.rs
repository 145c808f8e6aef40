//! ASAtest: a walk through the API of an ASA, with everything that may go wrong on the way.
//!
//! One engine, the one of the process, which hears its own multicasts; several ASAs that find each other, share
//! values and bargain. The steps, names and numbers are those of the suite that came with the first
//! implementation of GRASP. What differs is said where it does.
//!
//! | file | what |
//! |---|---|
//! | `steps` | the steps, in order |
//! | `negotiation` | the rounds in which two threads bargain over EX2 |
//! | `draw` | what chance decides in a round, and how the round must end |
//! | `pace` | how long the pauses are |
//! | `report` | what becomes of the steps |

mod draw;
mod negotiation;
mod pace;
mod report;
mod steps;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;

pub(crate) use draw::BRANCHES;
pub(crate) use pace::Pace;

use report::Report;

/// What may be chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// The same seed makes the same rounds.
    pub(crate) seed: u64,
    /// How many times EX2 is negotiated.
    pub(crate) rounds: u32,
    pub(crate) pace: Pace,
    /// As a member of a secure domain.
    pub(crate) domain: bool,
    /// Detailed diagnostics.
    pub(crate) test_mode: bool,
}

/// Runs the suite in the network of the calling thread, prints the transcript and the summary, and returns
/// whether everything held. It ends, whatever happens.
pub(crate) fn run(options: Options, out: &mut impl Write) -> bool {
    let report = Arc::new(Report::default());
    let (done, finished) = bounded(1);
    let suite = {
        let report = Arc::clone(&report);
        // A thread started here is in the same network as this one.
        thread::Builder::new().name("testASA".to_owned()).spawn(move || {
            let all = catch_unwind(AssertUnwindSafe(|| steps::run(options, &report)));
            if all.is_err() {
                report.fail("the suite itself", "it panicked between two steps");
            }
            // The receiver is gone only after the deadline, when nobody wants to know.
            let _ = done.send(());
        })
    };
    let limit = deadline(options);
    match suite {
        Err(error) => report.fail("the suite itself", &format!("its thread cannot be started: {error}")),
        Ok(_) if finished.recv_timeout(limit).is_err() => {
            report.interrupt(&format!("the suite did not end within {} s", limit.as_secs()));
        }
        Ok(suite) => {
            // It has said that it is done.
            let _ = suite.join();
        }
    }
    // A closed standard output does not change what the exit status says.
    let _ = report.write(out);
    report.passed()
}

/// Far more than the suite takes.
fn deadline(options: Options) -> Duration {
    let (base, each) = match options.pace {
        Pace::Quick => (60, 10),
        Pace::Original => (300, 120),
    };
    Duration::from_secs(base + each * u64::from(options.rounds))
}
