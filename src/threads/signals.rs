//! Signals belong to the program: no thread of the engine handles any, and none of its waits is interrupted.

use std::io;
use std::thread::{Builder, JoinHandle};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// The signals that a thread causes itself by a bug, and those that profilers send to the threads they sample.
const OPEN: [Signal; 8] = [
    Signal::SIGABRT,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGPROF,
    Signal::SIGSEGV,
    Signal::SIGSYS,
    Signal::SIGTRAP,
];

/// Starts a thread that receives none of the program's signals. It inherits the signal mask, so there is no moment in
/// which it could receive one.
pub(super) fn start(thread: Builder, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let mut blocked = SigSet::all();
    OPEN.into_iter().for_each(|signal| blocked.remove(signal));
    let before = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let started = thread.spawn(body);
    // Neither call can fail: the masks are valid.
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
    started
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_the_signals_of_the_program_blocked_and_its_starter_has_not() {
        let own = SigSet::thread_get_mask().unwrap();
        let (tx, rx) = crossbeam_channel::bounded(1);
        let thread = start(Builder::new(), move || tx.send(SigSet::thread_get_mask().unwrap()).unwrap());
        let blocked = rx.recv().unwrap();
        thread.unwrap().join().unwrap();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGALRM, Signal::SIGCHLD, Signal::SIGUSR1] {
            assert!(blocked.contains(signal), "{signal}");
        }
        for signal in OPEN {
            assert_eq!(blocked.contains(signal), own.contains(signal), "{signal}");
        }
        assert_eq!(SigSet::thread_get_mask().unwrap(), own);
    }
}
