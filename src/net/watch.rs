//! Waiting for any of many descriptors (epoll(7)), of which most are watched only now and then. For `ipc`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// How many descriptors are told of at a time.
const BATCH: usize = 64;

/// Descriptors, each with a number.
#[derive(Debug)]
pub(crate) struct Watcher {
    epoll: OwnedFd,
}

impl Watcher {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Watches a descriptor from now on, for something to read.
    pub(crate) fn keep(&self, descriptor: impl AsFd, number: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, descriptor, EventData::new_u64(number), EventFlags::IN)?)
    }

    /// Adds a descriptor that is watched when it is [armed](Self::arm). It goes with its last duplicate.
    pub(crate) fn add(&self, descriptor: impl AsFd, number: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, descriptor, EventData::new_u64(number), EventFlags::ONESHOT)?)
    }

    /// Watches a descriptor until there is something to read, or the end: that is told once.
    pub(crate) fn arm(&self, descriptor: impl AsFd, number: u64) -> io::Result<()> {
        self.set(descriptor, number, EventFlags::IN | EventFlags::RDHUP | EventFlags::ONESHOT)
    }

    /// Watches a descriptor no longer.
    pub(crate) fn disarm(&self, descriptor: impl AsFd, number: u64) -> io::Result<()> {
        self.set(descriptor, number, EventFlags::ONESHOT)
    }

    fn set(&self, descriptor: impl AsFd, number: u64, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, descriptor, EventData::new_u64(number), flags)?)
    }

    /// Waits, without a deadline, and returns the numbers of those that there is something to read of.
    pub(crate) fn wait(&self) -> io::Result<Vec<u64>> {
        let mut events: Vec<Event> = Vec::with_capacity(BATCH);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
            Ok(_) => Ok(events.iter().map(|event| event.data.u64()).collect()),
            Err(rustix::io::Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_armed_is_told_once_and_what_is_kept_each_time() {
        let (watcher, pair) = (Watcher::new().unwrap(), || UnixStream::pair().unwrap());
        let ((kept, mut one), (armed, mut other)) = (pair(), pair());
        watcher.keep(&kept, 1).unwrap();
        watcher.add(&armed, 2).unwrap();
        one.write_all(&[0]).unwrap();
        other.write_all(&[0]).unwrap();
        assert_eq!(watcher.wait().unwrap(), [1], "nothing is armed");
        watcher.arm(&armed, 2).unwrap();
        let mut told = watcher.wait().unwrap();
        told.sort_unstable();
        assert_eq!(told, [1, 2]);
        assert_eq!(watcher.wait().unwrap(), [1], "once");
        watcher.arm(&armed, 2).unwrap();
        watcher.disarm(&armed, 2).unwrap();
        assert_eq!(watcher.wait().unwrap(), [1], "not any more");
        (&kept).read_exact(&mut [0]).unwrap();
        drop(other);
        watcher.arm(&armed, 2).unwrap();
        assert_eq!(watcher.wait().unwrap(), [2], "the end");
    }
}
