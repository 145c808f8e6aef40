//! The askers that a response has reached. A part of the responses in progress, by default half, is reserved for them,
//! no matter how many others ask.

use parking_lot::Mutex;

use crate::bounds::{BoundedMap, Capacity, Neighbour};

/// The number of askers that are remembered; the one reached longest ago is forgotten first.
const KNOWN: usize = 1024;

/// The askers that were reached, each with its port.
#[derive(Debug)]
pub(crate) struct AskerRegistry(Mutex<BoundedMap<Neighbour, u16>>);

impl AskerRegistry {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(BoundedMap::new(Capacity::entries(KNOWN))))
    }

    pub(crate) fn is_known(&self, asker: Neighbour) -> bool {
        self.0.lock().get(&asker).is_some()
    }

    /// Records that a response has reached an asker at this port.
    pub(crate) fn reached(&self, asker: Neighbour, port: u16) {
        self.0.lock().insert(asker, port, 0);
    }

    /// Records that a response has not reached an asker, which makes it unknown again. A failure at another port does
    /// not count: anybody can ask in the asker's name, from a port where nobody takes the answer.
    pub(crate) fn failed(&self, asker: Neighbour, port: u16) {
        let mut known = self.0.lock();
        if known.get(&asker) == Some(&port) {
            known.remove(&asker);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn whoever_asks_in_anothers_name_does_not_make_it_unknown() {
        let (askers, asker) = (AskerRegistry::new(), (2, Ipv6Addr::LOCALHOST));
        askers.reached(asker, 7);
        askers.failed(asker, 8);
        assert!(askers.is_known(asker));
        askers.failed(asker, 7);
        assert!(!askers.is_known(asker));
    }
}
