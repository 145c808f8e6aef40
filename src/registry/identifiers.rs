//! Session identifiers of this node: draws strong random numbers, and remembers those that its multicasts carried, so
//! that the node recognizes them when they come back (RFC 8990 §2.7).

use std::fmt;
use std::net::IpAddr;

use parking_lot::Mutex;

use crate::bounds::{BoundedMap, Capacity};
use crate::error::{Error, Result};

/// The number of this node's own identifiers that are remembered after their end.
const RECENT_LIMIT: usize = 4096;
/// The number of draws before giving up; each draw fails with a chance of about one in a million.
const DRAWS: usize = 100;
/// The number of random numbers that are drawn at a time.
const BLOCK: usize = 64;

/// Draws a block of random numbers; draws none on failure.
type Draw = Box<dyn FnMut(&mut Vec<u32>) + Send>;

/// Draws a block from the system's strong generator (RFC 8990 §2.7).
fn draw_block(random: &mut Vec<u32>) {
    let mut bytes = [0; 4 * BLOCK];
    if getrandom::fill(&mut bytes).is_ok() {
        random.extend(bytes.as_chunks().0.iter().map(|number| u32::from_ne_bytes(*number)));
    }
}

/// Draws identifiers, and remembers those of this node's multicasts with their initiator.
pub(crate) struct Identifiers {
    inner: Mutex<Inner>,
}

struct Inner {
    own: BoundedMap<u32, IpAddr>,
    random: Vec<u32>,
    draw: Draw,
}

impl fmt::Debug for Identifiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identifiers").finish_non_exhaustive()
    }
}

impl Identifiers {
    pub(crate) fn new() -> Self {
        Self::with_generator(draw_block)
    }

    /// Like `new`, with another generator.
    pub(crate) fn with_generator(draw: impl FnMut(&mut Vec<u32>) + Send + 'static) -> Self {
        let own = BoundedMap::new(Capacity::entries(RECENT_LIMIT));
        Self { inner: Mutex::new(Inner { own, random: Vec::new(), draw: Box::new(draw) }) }
    }

    /// Draws from another generator from now on: the simulator's runs can be repeated.
    #[cfg(feature = "_simulator")]
    pub(crate) fn draw_from(&self, draw: impl FnMut(&mut Vec<u32>) + Send + 'static) {
        let mut inner = self.inner.lock();
        inner.random.clear();
        inner.draw = Box::new(draw);
    }

    /// Draws a number that no recent multicast of this node carried.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub(crate) fn draw(&self) -> Result<u32> {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        for _ in 0..DRAWS {
            if inner.random.is_empty() {
                (inner.draw)(&mut inner.random);
            }
            let id = inner.random.pop().ok_or(Error::NoRandom)?;
            if inner.own.get(&id).is_none() {
                return Ok(id);
            }
        }
        Err(Error::NoRandom)
    }

    /// Remembers an identifier as that of one of this node's multicasts.
    pub(crate) fn own(&self, id: u32, initiator: IpAddr) {
        self.inner.lock().own.insert(id, initiator, 0);
    }

    /// Whether this node started the multicast with this identifier and initiator (RFC 8990 §2.7).
    pub(crate) fn is_own(&self, id: u32, initiator: IpAddr) -> bool {
        self.inner.lock().own.get(&id) == Some(&initiator)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const INITIATOR: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    #[test]
    fn a_number_that_was_used_lately_is_drawn_again() {
        static DRAWN: AtomicU32 = AtomicU32::new(0);
        // Draws 5, 5, 6, 6, 7, 7, ...: every value twice.
        let draw = |random: &mut Vec<u32>| random.push(5 + DRAWN.fetch_add(1, Ordering::Relaxed) / 2);
        let identifiers = Identifiers::with_generator(draw);
        let first = identifiers.draw().unwrap();
        identifiers.own(first, INITIATOR);
        assert_eq!((first, identifiers.draw().unwrap()), (5, 6));
        assert!(identifiers.is_own(5, INITIATOR) && !identifiers.is_own(5, Ipv6Addr::UNSPECIFIED.into()));
        assert!(!identifiers.is_own(6, INITIATOR));
    }

    #[test]
    fn the_system_is_asked_for_a_whole_block() {
        let mut random = Vec::new();
        draw_block(&mut random);
        assert_eq!(random.len(), BLOCK);
        // Two blocks that are equal come once in 2^2048.
        let first = random.split_off(0);
        draw_block(&mut random);
        assert_ne!(first, random);
    }

    #[test]
    fn a_generator_that_repeats_itself_is_given_up() {
        let identifiers = Identifiers::with_generator(|random: &mut Vec<u32>| random.push(5));
        identifiers.own(5, INITIATOR);
        assert_eq!(identifiers.draw(), Err(Error::NoRandom));
        assert_eq!(Identifiers::with_generator(|_: &mut Vec<u32>| ()).draw(), Err(Error::NoRandom));
    }
}
