//! A connection between a node and a client, which carries whole items. Used by both sides.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::cbor::{ItemScanner, Limits, Progress};
use crate::interrupt;
use crate::net::wait::{For, wait, write_all};

/// The longest wait of a read that nothing interrupts. A thread that waits longer looks at its deadlines in between.
pub(crate) const LONGEST: Duration = Duration::from_secs(10);
/// How much is read at a time.
const PIECE: usize = 4096;
/// A buffer that has grown beyond this is freed once it is empty.
const KEPT: usize = 16 * 1024;

/// A connected socket. Any thread may write; one at a time reads, with its [`Incoming`].
#[derive(Debug)]
pub(crate) struct Pipe {
    stream: UnixStream,
    /// Held while a message is written.
    writing: Mutex<()>,
    sent: AtomicU64,
}

impl Pipe {
    /// Takes a connected socket. With a `patience`, each read ends after that much time without a byte.
    pub(crate) fn new(stream: UnixStream, patience: Option<Duration>) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(patience)?;
        Ok(Self { stream, writing: Mutex::new(()), sent: AtomicU64::new(0) })
    }

    pub(crate) const fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Sends one item. An error closes the connection, because a part of the item may have been sent.
    pub(crate) fn send(&self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
        let one = self.writing.try_lock_until(deadline);
        let sent = match &one {
            Some(_) => write_all(&self.stream, bytes, deadline, |count| {
                self.sent.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
            }),
            None => Err(io::ErrorKind::TimedOut.into()),
        };
        drop(one);
        sent.inspect_err(|_| self.close())
    }

    /// How many bytes have been sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends the connection in both directions, which wakes every thread that waits for it.
    pub(crate) fn close(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// The received bytes that are not a whole item yet.
#[derive(Debug)]
pub(crate) struct Incoming {
    buffer: Vec<u8>,
    scanner: ItemScanner,
    /// How much of the buffer the scanner has seen.
    seen: usize,
    received: u64,
}

/// The result of reading.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// The bytes of one item.
    Item(Vec<u8>),
    /// No whole item arrived in time.
    Nothing,
    /// The other side has closed, or the connection has failed.
    End,
    /// The bytes are not CBOR within the limits.
    Garbage,
}

impl Incoming {
    pub(crate) const fn new(limits: Limits) -> Self {
        Self { buffer: Vec::new(), scanner: ItemScanner::new(limits), seen: 0, received: 0 }
    }

    /// Whether every received byte has been taken.
    pub(crate) const fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// How many bytes have been received.
    pub(crate) const fn received(&self) -> u64 {
        self.received
    }

    /// Reads until an item is whole. Without a deadline, waits until the connection ends or the pipe's patience is over. With
    /// a deadline, waits no longer than that, and no longer than this thread may wait at a time.
    pub(crate) fn next(&mut self, pipe: &Pipe, deadline: Option<Instant>) -> Read {
        loop {
            match self.whole() {
                Ok(Some(item)) => return Read::Item(item),
                Ok(None) => {}
                Err(()) => return Read::Garbage,
            }
            if let Some(deadline) = deadline {
                let left = deadline.saturating_duration_since(Instant::now());
                // The timeout of the socket saves a system call if nothing can interrupt this thread.
                let short = left < LONGEST || interrupt::slice(LONGEST) < LONGEST;
                if short && !matches!(wait(&pipe.stream, For::Input, deadline), Ok(true)) {
                    return Read::Nothing;
                }
            }
            match self.fill(&pipe.stream) {
                Ok(0) => return Read::End,
                Ok(_) => {}
                Err(error) if is_over(error.kind()) => return Read::Nothing,
                Err(_) => return Read::End,
            }
        }
    }

    /// Reads what has arrived, and waits if that is nothing.
    fn fill(&mut self, mut stream: &UnixStream) -> io::Result<usize> {
        let mut piece = [0; PIECE];
        let count = loop {
            match io::Read::read(&mut stream, &mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.buffer.extend_from_slice(piece.get(..count).unwrap_or_default());
        self.received += u64::try_from(count).unwrap_or(0);
        Ok(count)
    }

    /// Takes an item off the buffer if a whole one is there.
    fn whole(&mut self) -> Result<Option<Vec<u8>>, ()> {
        let fresh = self.buffer.get(self.seen..).unwrap_or_default();
        if fresh.is_empty() {
            return Ok(None);
        }
        let progress = self.scanner.feed(fresh).map_err(|_| ())?;
        self.seen = self.buffer.len();
        let Progress::Complete(length) = progress else { return Ok(None) };
        let rest = self.buffer.split_off(length.min(self.buffer.len()));
        let item = std::mem::replace(&mut self.buffer, rest);
        self.scanner.reset();
        self.seen = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT {
            self.buffer = Vec::new();
        }
        Ok(Some(item))
    }
}

/// Whether an error of a read is only a timeout.
const fn is_over(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::ipc::message::{limits, request_limit};

    fn pair() -> (Pipe, UnixStream, Incoming) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Pipe::new(ours, Some(LONGEST)).unwrap(), theirs, Incoming::new(limits(request_limit(2048))))
    }

    #[test]
    fn items_come_out_whole_however_they_are_cut() {
        let (pipe, mut theirs, mut incoming) = pair();
        let soon = Some(Instant::now() + Duration::from_secs(5));
        theirs.write_all(&[0x82, 1, 2, 0x81]).unwrap();
        assert_eq!(incoming.next(&pipe, soon), Read::Item(vec![0x82, 1, 2]));
        assert_eq!(incoming.next(&pipe, Some(Instant::now())), Read::Nothing);
        theirs.write_all(&[7, 0x80, 0x80]).unwrap();
        for item in [vec![0x81, 7], vec![0x80], vec![0x80]] {
            assert_eq!(incoming.next(&pipe, soon), Read::Item(item));
        }
        theirs.write_all(&[0xff]).unwrap();
        assert_eq!(incoming.next(&pipe, soon), Read::Garbage);
        assert_eq!(incoming.received(), 8);
    }

    #[test]
    fn the_end_and_what_is_too_large_are_seen() {
        let (pipe, theirs, mut incoming) = pair();
        drop(theirs);
        assert_eq!(incoming.next(&pipe, None), Read::End);
        assert!(pipe.send(&[0x80], Instant::now() + LONGEST).is_err());
        let (pipe, mut theirs, mut incoming) = pair();
        // A byte string of 2 GiB, as it says.
        theirs.write_all(&[0x81, 0x5a, 0x80, 0, 0, 0]).unwrap();
        assert_eq!(incoming.next(&pipe, None), Read::Garbage);
    }

    #[test]
    fn who_does_not_read_is_waited_for_until_the_deadline_only() {
        let (pipe, _theirs, _) = pair();
        let started = Instant::now();
        let sent = pipe.send(&vec![0; 16 << 20], started + Duration::from_millis(100));
        assert!(sent.is_err() && started.elapsed() < LONGEST);
        assert!(pipe.sent() > 0);
    }
    /// What would come after that is of no use to anybody.
    #[test]
    fn who_cannot_write_in_time_because_another_one_writes_ends_the_connection() {
        let (pipe, _theirs, _) = pair();
        std::thread::scope(|scope| {
            let first = scope.spawn(|| pipe.send(&vec![0; 16 << 20], Instant::now() + 6 * LONGEST));
            while pipe.sent() == 0 {
                std::thread::yield_now();
            }
            let started = Instant::now();
            assert!(pipe.send(&[0x80], started + Duration::from_millis(50)).is_err());
            assert!(first.join().unwrap().is_err() && started.elapsed() < 2 * LONGEST);
        });
    }
}
