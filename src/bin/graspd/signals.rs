//! Signals: they are blocked, and read from a descriptor, so that `main` can wait for them with a deadline.

use std::io;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::AsFd as _;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGTERM or SIGINT, by its name.
    End(&'static str),
}

/// The signals of this process.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

impl Signals {
    /// Blocks them for this thread and those that it starts from now on.
    pub(crate) fn take() -> io::Result<Self> {
        let mut signals = SigSet::empty();
        [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT].into_iter().for_each(|signal| signals.add(signal));
        signals.thread_block()?;
        Ok(Self(SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// Waits for a signal until the deadline.
    pub(crate) fn wait(&self, deadline: Instant) -> Option<Asked> {
        loop {
            if let Ok(Some(info)) = self.0.read_signal() {
                let signal =
                    i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
                return match signal {
                    Some(Signal::SIGHUP) => Some(Asked::Reload),
                    Some(Signal::SIGINT) => Some(Asked::End("SIGINT")),
                    _ => Some(Asked::End("SIGTERM")),
                };
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let milliseconds = u16::try_from(left.as_millis().saturating_add(1)).unwrap_or(u16::MAX);
            let mut waiting = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            match poll(&mut waiting, PollTimeout::from(milliseconds)) {
                Ok(_) | Err(Errno::EINTR) => {}
                // No other error is expected; the caller continues, and waits again.
                Err(_) => return None,
            }
        }
    }
}
