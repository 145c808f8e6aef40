//! Waits for sockets until an absolute deadline. Every wait of the engine on a descriptor ends up here.
//!
//! Heads up: a timeout that is passed to the system as a duration starts again after a signal and, if the system itself
//! restarts the call, after the process was stopped (signal(7)). So the remaining time is recalculated after each
//! return.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::interrupt;

/// The longest single poll. On systems that implement poll(2) with ppoll(2), such as arm64, stopping the process
/// (SIGSTOP) prolongs it.
const LONGEST: Duration = Duration::from_secs(1);

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// Data to read, or the end of the stream.
    Input,
    /// Room to write, an established connection, or an error.
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

/// Waits until a descriptor is ready or has failed. Returns `false` once the deadline has passed, or if this thread
/// must stop waiting ([`interruptible`](crate::interruptible)).
pub(crate) fn wait(descriptor: impl AsFd, what: For, deadline: Instant) -> io::Result<bool> {
    Ok(wait_any(&[descriptor.as_fd()], what, deadline)?.is_some())
}

/// Waits until one of several descriptors is ready or has failed. Returns the index of the first one; `None` in the
/// cases in which [`wait`] returns `false`.
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

/// Waits for data or the end of the stream, without a deadline: for threads that a shutdown of the socket wakes up.
pub(crate) fn wait_for_input(descriptor: impl AsFd) -> io::Result<()> {
    wait_for_inputs(&[descriptor.as_fd()], None).map(drop)
}

/// Waits until some of the descriptors have something to read or have ended, and returns which. Callers without a deadline
/// include a [`Waker`](super::waker::Waker) or a socket that a shutdown wakes.
pub(crate) fn wait_for_inputs(
    descriptors: &[BorrowedFd<'_>],
    deadline: Option<Instant>,
) -> io::Result<Vec<bool>> {
    let mut waiting: Vec<_> =
        descriptors.iter().map(|descriptor| PollFd::new(*descriptor, PollFlags::POLLIN)).collect();
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map_or(PollTimeout::NONE, |left| whole_milliseconds(left.min(LONGEST)));
        let over = left.is_some_and(|left| left.is_zero());
        match poll(&mut waiting, timeout) {
            Ok(0) if over => return Ok(vec![false; descriptors.len()]),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(waiting.iter().map(|one| one.any().unwrap_or(true)).collect()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A descriptor, and whether room to write is waited for besides input.
#[derive(Debug)]
pub(crate) struct Watched<'a> {
    pub(crate) descriptor: BorrowedFd<'a>,
    pub(crate) for_room: bool,
}

/// Waits until the descriptor is ready, the other one has input, or the deadline has passed, if there is one. Returns whether the other
/// one has input.
pub(crate) fn wait_with(
    watched: &Watched<'_>,
    other: BorrowedFd<'_>,
    deadline: Option<Instant>,
) -> io::Result<bool> {
    let flags = if watched.for_room { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
    let mut waiting = [PollFd::new(watched.descriptor, flags), PollFd::new(other, PollFlags::POLLIN)];
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(false);
        }
        let timeout = left.map_or(PollTimeout::NONE, |left| whole_milliseconds(left.min(LONGEST)));
        match poll(&mut waiting, timeout) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(waiting.get(1).is_some_and(|other| other.any().unwrap_or(true))),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Rounds up: with rounding down, the last millisecond would be spent in polls of zero length.
fn whole_milliseconds(time: Duration) -> PollTimeout {
    let milliseconds = time.as_nanos().div_ceil(1_000_000);
    u16::try_from(milliseconds).map_or_else(|_| PollTimeout::from(u16::MAX), PollTimeout::from)
}

/// Reads the available data, waiting for it until the deadline. 0 means the end of the stream.
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

/// Reads the available data; `None` if there is none yet. 0 means the end of the stream.
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

/// How a stream waits for data: at first with poll(2), and from the second wait on in the read itself, which saves a call per message of a
/// long session. A read can wait only for the fixed time that the socket has been told once; what is left after that is polled.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    waits: AtomicU8,
}

impl Reading {
    const NOT_YET: u8 = 0;
    const ONCE: u8 = 1;
    const IN_READS: u8 = 2;
    /// The system has refused the time.
    const IN_POLLS: u8 = 3;

    /// Reads what comes first, waiting for it until the deadline. 0 means the end of the stream; `None` is returned in the cases in which
    /// [`wait`] returns `false`.
    pub(crate) fn read(
        &self,
        socket: &TcpStream,
        buffer: &mut [u8],
        deadline: Instant,
    ) -> io::Result<Option<usize>> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // The system's timers for this may be late by an eighth.
            if interrupt::slice(left) < LONGEST + LONGEST / 4 || !self.may_wait(socket) {
                if !wait(socket, For::Input, deadline)? {
                    return Ok(None);
                }
                if let Some(count) = read_present(socket, buffer)? {
                    return Ok(Some(count));
                }
                continue;
            }
            match recv(socket, &mut *buffer, RecvFlags::empty()) {
                Ok((_, count)) => return Ok(Some(count)),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {
                    if interrupt::is_over() {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether a read of the socket itself waits, for `LONGEST`.
    fn may_wait(&self, socket: &TcpStream) -> bool {
        let next = match self.waits.load(Ordering::Relaxed) {
            Self::NOT_YET => Self::ONCE,
            Self::ONCE => {
                let told =
                    socket.set_read_timeout(Some(LONGEST)).and_then(|()| socket.set_nonblocking(false));
                if told.is_ok() { Self::IN_READS } else { Self::IN_POLLS }
            }
            decided => return decided == Self::IN_READS,
        };
        self.waits.store(next, Ordering::Relaxed);
        next == Self::IN_READS
    }
}

/// Whether there is unread data.
pub(crate) fn has_input(socket: impl AsFd) -> bool {
    let mut byte = [0];
    matches!(recv(&socket, &mut byte, RecvFlags::DONTWAIT | RecvFlags::PEEK), Ok((_, count)) if count > 0)
}

/// Whether the peer has closed or reset the connection and everything it sent has been read.
pub(crate) fn has_ended(socket: impl AsFd) -> bool {
    let mut byte = [0];
    match recv(&socket, &mut byte, RecvFlags::DONTWAIT | RecvFlags::PEEK) {
        Ok((_, count)) => count == 0,
        Err(error) => !matches!(error, rustix::io::Errno::AGAIN | rustix::io::Errno::INTR),
    }
}

/// Writes as much as there is room for. Returns how many bytes.
pub(crate) fn write_present(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match send(&socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => return Ok(count),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(0),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes everything, waiting for room until the deadline. Calls `wrote` with the number of bytes after each write.
///
/// # Errors
/// `TimedOut` once the deadline has passed; part of the data may have been written.
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
    use std::io::Write as _;
    use std::net::TcpListener;

    use socket2::SockRef;

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

    #[test]
    fn of_several_descriptors_those_are_told_that_have_something() {
        let (ours, mut theirs) = pair();
        let (quiet, _other) = pair();
        let descriptors = [quiet.as_fd(), ours.as_fd()];
        let started = Instant::now();
        let soon = Some(started + Duration::from_millis(1200));
        assert_eq!(wait_for_inputs(&descriptors, soon).unwrap(), [false, false]);
        assert!(started.elapsed() >= Duration::from_millis(1200), "more than one poll");
        let sender = std::thread::Builder::new().spawn(move || {
            std::thread::sleep(Duration::from_millis(1100));
            theirs.write_all(&[1]).map(|()| theirs)
        });
        wait_for_input(&ours).unwrap();
        assert!(has_input(&ours), "it has waited for longer than one poll");
        assert_eq!(wait_for_inputs(&descriptors, None).unwrap(), [false, true]);
        sender.unwrap().join().unwrap().unwrap();
    }

    #[test]
    fn looking_whether_there_is_something_takes_nothing_and_does_not_wait() {
        let (ours, mut theirs) = pair();
        assert!(!has_input(&ours) && !has_ended(&ours));
        theirs.write_all(&[7]).unwrap();
        assert!(wait(&ours, For::Input, Instant::now() + Duration::from_secs(60)).unwrap());
        drop(theirs);
        for _ in 0..2 {
            assert!(has_input(&ours) && !has_ended(&ours), "what was sent before the end counts");
        }
        let mut buffer = [0; 9];
        assert_eq!((read_present(&ours, &mut buffer).unwrap(), buffer[0]), (Some(1), 7));
        assert!(wait(&ours, For::Input, Instant::now() + Duration::from_secs(60)).unwrap());
        assert!(!has_input(&ours) && has_ended(&ours));
    }

    #[test]
    fn a_read_that_waits_itself_ends_with_its_deadline_with_data_and_with_the_end() {
        let (ours, mut theirs) = pair();
        ours.set_nonblocking(true).unwrap();
        let (reading, mut buffer) = (Reading::default(), [0; 9]);
        let mut within = |ms| {
            let started = Instant::now();
            let read = reading.read(&ours, &mut buffer, started + Duration::from_millis(ms)).unwrap();
            (read, started.elapsed())
        };
        let waits = || SockRef::from(&ours).nonblocking().map(|nonblocking| !nonblocking).unwrap();
        theirs.write_all(&[7]).unwrap();
        assert_eq!(within(60_000).0, Some(1));
        assert!(!waits(), "most connections are waited for only once");
        // The first second in a read, the rest in a poll.
        let (read, took) = within(1300);
        assert!(read.is_none() && took >= Duration::from_millis(1300), "{read:?} {took:?}");
        assert!(waits());
        assert_eq!(within(0).0, None);
        let (read, took) = within(50);
        assert!(read.is_none() && (50..900).contains(&took.as_millis()), "{read:?} {took:?}");
        let sender = std::thread::Builder::new().spawn(move || {
            std::thread::sleep(Duration::from_millis(1100));
            theirs.write_all(&[1, 2]).unwrap();
        });
        assert_eq!((within(60_000).0, within(60_000).0), (Some(2), Some(0)));
        sender.unwrap().join().unwrap();
    }

    #[test]
    fn a_read_that_waits_itself_ends_when_its_thread_must_stop() {
        let (ours, _theirs) = pair();
        let reading = Reading::default();
        // The last one waits in the read.
        for (interval, waits) in [(10, Reading::NOT_YET), (2000, Reading::ONCE), (2000, Reading::IN_READS)] {
            let started = Instant::now();
            let asked = move || started.elapsed() > Duration::from_millis(20);
            let deadline = started + Duration::from_secs(60);
            let read = || reading.read(&ours, &mut [0; 9], deadline).unwrap();
            assert_eq!(interrupt::interruptible(Duration::from_millis(interval), asked, read), None);
            assert!(started.elapsed() < Duration::from_secs(30));
            assert_eq!(reading.waits.load(Ordering::Relaxed), waits);
        }
    }

    #[test]
    #[cfg(feature = "bubbles")]
    fn reading_waits_for_data_until_the_deadline() {
        let (ours, mut theirs) = pair();
        let mut buffer = [0; 9];
        let late = read(&ours, &mut buffer, Instant::now() + Duration::from_millis(20)).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::TimedOut);
        let sender = std::thread::Builder::new().spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            theirs.write_all(&[1, 2]).map(|()| theirs)
        });
        assert_eq!(read(&ours, &mut buffer, Instant::now() + Duration::from_secs(60)).unwrap(), 2);
        sender.unwrap().join().unwrap().unwrap();
    }

    #[test]
    fn a_waker_is_readable_from_waking_to_clearing() {
        let waker = super::super::waker::Waker::new().unwrap();
        let woken = || wait_for_inputs(&[waker.as_fd()], Some(Instant::now())).unwrap() == [true];
        assert!(!woken());
        waker.wake();
        waker.wake();
        assert!(woken() && woken());
        waker.clear();
        assert!(!woken());
    }
}
