//! Waiting for sockets until an absolute deadline. Every wait of the engine on a descriptor ends up here.
//!
//! Heads up: a timeout that is given to the system as a duration begins anew after a signal, and, where the system restarts the
//! call itself, after the process was stopped (signal(7)). So the time left is calculated again after each return.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::interrupt;

/// The longest single poll. Where poll(2) is made of ppoll(2), as on arm64, a stop of the process (SIGSTOP) stretches it.
const LONGEST: Duration = Duration::from_secs(1);

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// Something to read, or the end.
    Input,
    /// Room to write, a connection that is made, or an error.
    Room,
}

impl For {
    const fn flags(self) -> PollFlags {
        match self {
            Self::Input => PollFlags::POLLIN,
            Self::Room => PollFlags::POLLOUT,
        }
    }
}

/// Waits until a descriptor is ready or has failed. `false` once the deadline has passed, or this thread is to wait no
/// longer ([`interruptible`](crate::interruptible)).
pub(crate) fn wait(descriptor: impl AsFd, what: For, deadline: Instant) -> io::Result<bool> {
    Ok(wait_any(&[descriptor.as_fd()], what, deadline)?.is_some())
}

/// Waits until one of some descriptors is ready or has failed. Returns the position of the first one; `None` where
/// [`wait`] returns `false`.
pub(crate) fn wait_any(
    descriptors: &[BorrowedFd<'_>],
    what: For,
    deadline: Instant,
) -> io::Result<Option<usize>> {
    let mut waiting: Vec<_> =
        descriptors.iter().map(|descriptor| PollFd::new(*descriptor, what.flags())).collect();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        match poll(&mut waiting, whole_milliseconds(interrupt::slice(left.min(LONGEST)))) {
            Ok(0) | Err(Errno::EINTR) => {
                if interrupt::is_over() {
                    return Ok(None);
                }
            }
            Ok(_) => return Ok(waiting.iter().position(|one| one.any().unwrap_or(true))),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits for something to read or the end, without a deadline: for whoever is woken by a shutdown of the socket.
pub(crate) fn wait_for_input(descriptor: impl AsFd) -> io::Result<()> {
    let mut waiting = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut waiting, PollTimeout::NONE) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Rounded up: rounded down, the last millisecond would be spent in polls of no time.
fn whole_milliseconds(time: Duration) -> PollTimeout {
    let milliseconds = time.as_nanos().div_ceil(1_000_000);
    u16::try_from(milliseconds).map_or_else(|_| PollTimeout::from(u16::MAX), PollTimeout::from)
}

/// Reads what is there, and waits for it until the deadline. 0 is the end of the stream.
///
/// # Errors
/// `TimedOut` once the deadline has passed.
#[cfg(feature = "bubbles")]
pub(crate) fn read(socket: impl AsFd, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
    loop {
        if let Some(count) = read_present(&socket, buffer)? {
            return Ok(count);
        }
        if !wait(&socket, For::Input, deadline)? {
            return Err(ErrorKind::TimedOut.into());
        }
    }
}

/// Reads what is there; `None` if that is nothing yet. 0 is the end of the stream.
pub(crate) fn read_present(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match recv(&socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((_, count)) => return Ok(Some(count)),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether something that has come can still be read.
pub(crate) fn has_input(socket: impl AsFd) -> bool {
    let mut byte = [0];
    matches!(recv(&socket, &mut byte, RecvFlags::DONTWAIT | RecvFlags::PEEK), Ok((_, count)) if count > 0)
}

/// Whether the peer has closed or broken off, and nothing that it has sent is left to read.
pub(crate) fn has_ended(socket: impl AsFd) -> bool {
    let mut byte = [0];
    match recv(&socket, &mut byte, RecvFlags::DONTWAIT | RecvFlags::PEEK) {
        Ok((_, count)) => count == 0,
        Err(error) => !matches!(error, rustix::io::Errno::AGAIN | rustix::io::Errno::INTR),
    }
}

/// Writes everything, and waits for room until the deadline. Tells `wrote` how many bytes have been written each time.
///
/// # Errors
/// `TimedOut` once the deadline has passed; what has been written until then is.
pub(crate) fn write_all(
    socket: impl AsFd,
    mut bytes: &[u8],
    deadline: Instant,
    wrote: impl Fn(usize),
) -> io::Result<()> {
    while !bytes.is_empty() {
        match send(&socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => {
                wrote(count);
                bytes = bytes.get(count..).unwrap_or_default();
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                if !wait(&socket, For::Room, deadline)? {
                    return Err(ErrorKind::TimedOut.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, client)
    }

    #[test]
    fn waiting_ends_with_what_is_waited_for_or_with_the_deadline() {
        let (ours, theirs) = pair();
        let started = Instant::now();
        assert!(!wait(&ours, For::Input, started + Duration::from_millis(1200)).unwrap());
        assert!(started.elapsed() >= Duration::from_millis(1200));
        assert!(!wait(&ours, For::Room, started).unwrap(), "the deadline has passed");
        let late = started + Duration::from_secs(60);
        assert!(wait(&ours, For::Room, late).unwrap());
        drop(theirs);
        let descriptors = [ours.as_fd()];
        assert_eq!(
            wait_any(&descriptors, For::Input, late).unwrap(),
            Some(0),
            "the end is something to read"
        );
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn times_are_rounded_up_to_milliseconds() {
        for (time, rounded) in [(1, 1_u16), (1_000_000, 1), (1_000_001, 2), (999_000_000, 999)] {
            assert_eq!(whole_milliseconds(Duration::from_nanos(time)), PollTimeout::from(rounded));
        }
    }
}
