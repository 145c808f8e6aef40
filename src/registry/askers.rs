//! Which askers a response has reached: half of the responses on their way are for them, however many others ask.

use parking_lot::Mutex;

use crate::bounds::{BoundedMap, Capacity, Neighbour};

/// How many are remembered; the one reached longest ago is forgotten.
const KNOWN: usize = 1024;

/// Askers that were reached, with the port.
#[derive(Debug)]
pub(crate) struct AskerRegistry(Mutex<BoundedMap<Neighbour, u16>>);

impl AskerRegistry {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(BoundedMap::new(Capacity::entries(KNOWN))))
    }

    pub(crate) fn is_known(&self, asker: Neighbour) -> bool {
        self.0.lock().get(&asker).is_some()
    }

    /// A response has reached an asker at this port.
    pub(crate) fn reached(&self, asker: Neighbour, port: u16) {
        self.0.lock().insert(asker, port, 0);
    }

    /// A response has not reached an asker. It is unknown again; but not because of another port: anybody may ask in its
    /// name, from a port where nobody takes the answer.
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
