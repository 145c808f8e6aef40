//! Who has how much of what is bounded: relays by neighbour, responses on their way by asker. One neighbour must not
//! take all of it.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv6Addr;

use parking_lot::Mutex;

/// A neighbour: the interface, and its link-local address there.
pub(crate) type Neighbour = (u32, Ipv6Addr);

/// How many askers are remembered that a response has reached; the one reached longest ago is forgotten.
const KNOWN: usize = 1024;

/// Activities by neighbour.
#[derive(Debug, Default)]
pub(crate) struct Shares(Mutex<HashMap<Neighbour, usize>>);

impl Shares {
    /// Counts one more of a neighbour, unless it has as many as it may.
    pub(crate) fn enter(&self, neighbour: Neighbour, limit: usize) -> bool {
        let mut shares = self.0.lock();
        let count = shares.entry(neighbour).or_insert(0);
        let free = *count < limit.max(1);
        *count += usize::from(free);
        free
    }

    /// One of a neighbour has ended.
    pub(crate) fn leave(&self, neighbour: Neighbour) {
        let mut shares = self.0.lock();
        if let Some(count) = shares.get_mut(&neighbour) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                shares.remove(&neighbour);
            }
        }
    }
}

/// Responses on their way. One that cannot be reached must not take all threads, nor may those that do not exist: an
/// address is soon invented.
#[derive(Debug, Default)]
pub(crate) struct Askers {
    shares: Shares,
    known: Mutex<Known>,
}

/// Whom a response has reached, and how many are on their way to others.
#[derive(Debug, Default)]
struct Known {
    reached: HashMap<Neighbour, Reached>,
    order: BTreeMap<u64, Neighbour>,
    next: u64,
    strangers: usize,
}

/// When one was reached, in their order, and at which port.
#[derive(Clone, Copy, Debug)]
struct Reached {
    number: u64,
    port: u16,
}

/// A response that is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    asker: Neighbour,
    port: u16,
    stranger: bool,
}

impl Admitted {
    /// To whom.
    #[cfg(feature = "_simulator")]
    pub(crate) const fn asker(&self) -> Neighbour {
        self.asker
    }
}

/// Why a response may not be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAdmitted {
    /// This asker has as many on their way as it may.
    Asker,
    /// There are as many for strangers as there may be.
    Strangers,
}

impl Askers {
    /// Counts a response to an asker, if it may have one more, and if strangers may where it is one.
    pub(crate) fn enter(
        &self,
        asker: Neighbour,
        port: u16,
        per_asker: usize,
        strangers: usize,
    ) -> Result<Admitted, NotAdmitted> {
        if !self.shares.enter(asker, per_asker) {
            return Err(NotAdmitted::Asker);
        }
        let mut known = self.known.lock();
        let stranger = !known.reached.contains_key(&asker);
        if stranger && known.strangers >= strangers.max(1) {
            drop(known);
            self.shares.leave(asker);
            return Err(NotAdmitted::Strangers);
        }
        known.strangers += usize::from(stranger);
        Ok(Admitted { asker, port, stranger })
    }

    /// A response has reached its asker or not, and is on its way no more. Who was reached and is so no more is a stranger
    /// again; but not because of another port: anybody may ask in its name, from a port where nobody takes the answer.
    pub(crate) fn leave(&self, admitted: Admitted, reached: bool) {
        let Admitted { asker, port, stranger } = admitted;
        self.shares.leave(asker);
        let mut known = self.known.lock();
        known.strangers = known.strangers.saturating_sub(usize::from(stranger));
        if reached || known.reached.get(&asker).is_some_and(|before| before.port == port) {
            known.forget(asker);
        }
        if reached {
            known.remember(asker, port);
        }
    }
}

impl Known {
    fn forget(&mut self, asker: Neighbour) {
        if let Some(reached) = self.reached.remove(&asker) {
            self.order.remove(&reached.number);
        }
    }

    fn remember(&mut self, asker: Neighbour, port: u16) {
        if self.reached.len() >= KNOWN
            && let Some((_, longest_ago)) = self.order.pop_first()
        {
            self.reached.remove(&longest_ago);
        }
        self.reached.insert(asker, Reached { number: self.next, port });
        self.order.insert(self.next, asker);
        self.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbour(number: u128) -> Neighbour {
        (2, Ipv6Addr::from(number))
    }

    #[test]
    fn a_neighbour_has_its_share_and_gets_it_back() {
        let shares = Shares::default();
        assert_eq!((0..9).filter(|_| shares.enter(neighbour(1), 3)).count(), 3);
        assert!(shares.enter(neighbour(2), 3));
        shares.leave(neighbour(1));
        assert!(shares.enter(neighbour(1), 3) && !shares.enter(neighbour(1), 3));
        (0..9).for_each(|_| shares.leave(neighbour(1)));
        shares.leave(neighbour(2));
        assert!(shares.0.lock().is_empty());
    }

    #[test]
    fn strangers_leave_room_for_those_who_were_reached() {
        let askers = Askers::default();
        let friend = askers.enter(neighbour(0), 7, 8, 4).unwrap();
        askers.leave(friend, true);
        let strangers: Vec<_> =
            (1..9).filter_map(|number| askers.enter(neighbour(number), 7, 8, 4).ok()).collect();
        assert_eq!(strangers.len(), 4);
        assert_eq!(askers.enter(neighbour(9), 7, 8, 4), Err(NotAdmitted::Strangers));
        let friend = askers.enter(neighbour(0), 7, 1, 4).unwrap();
        assert_eq!(askers.enter(neighbour(0), 7, 1, 4), Err(NotAdmitted::Asker));
        // Somebody else has asked in its name.
        askers.leave(friend, true);
        let forged = askers.enter(neighbour(0), 8, 1, 4).unwrap();
        askers.leave(forged, false);
        let friend = askers.enter(neighbour(0), 7, 1, 4).unwrap();
        // Who cannot be reached any more is a stranger again.
        askers.leave(friend, false);
        assert_eq!(askers.enter(neighbour(0), 7, 1, 4), Err(NotAdmitted::Strangers));
        strangers.into_iter().for_each(|stranger| askers.leave(stranger, false));
        assert!(askers.enter(neighbour(9), 7, 8, 4).is_ok());
    }

    #[test]
    fn so_many_are_known_and_no_more() {
        let askers = Askers::default();
        for number in 0..3000 {
            let admitted = askers.enter(neighbour(number), 7, 1, 1).unwrap();
            askers.leave(admitted, true);
        }
        let known = askers.known.lock();
        assert_eq!((known.reached.len(), known.order.len(), known.strangers), (KNOWN, KNOWN, 0));
        assert!(known.reached.contains_key(&neighbour(2999)) && !known.reached.contains_key(&neighbour(0)));
    }
}
