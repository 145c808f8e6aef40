//! Merging of equal discoveries (`Config::merge_window`). A relay that has just relayed a discovery does not relay an equal one of another
//! initiator everywhere again: the second one gets the answers to the first. It is sent at once only where the first one was not, on the
//! link of the first asker, whose node or neighbours may know more. If nothing has come after half of the time that a hop takes, it is
//! relayed to the remaining links.
//!
//! So whoever asks the same first, with whatever intention, delays others by 50 ms for each relay, which is within the time that they allow.
//! If what they get does not help them, they ask again, and who asks again within ten seconds is not merged. `relay` decides by this which
//! links to ask; what is merged with what is in `registry::SessionRegistry`, where each merged discovery has a relay's permit.

use super::Relay;
use super::relay::HOP_TIME;

/// How long a merged discovery waits for the answers to another one, in milliseconds. All relays on its way may wait: half of the time of
/// their hops remains.
const MERGED_FOR: u64 = HOP_TIME / 2;

/// The links that a multicast is sent out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    All,
    Only(u32),
    Except(u32),
    ExceptBoth(u32, u32),
}

impl Links {
    pub(crate) const fn include(self, ifi: u32) -> bool {
        match self {
            Self::All => true,
            Self::Only(one) => ifi == one,
            Self::Except(one) => ifi != one,
            Self::ExceptBoth(one, other) => ifi != one && ifi != other,
        }
    }
}

impl Relay {
    /// The links to send the discovery out of at once.
    pub(crate) fn links(&self) -> Option<Links> {
        match self.first {
            None => Some(Links::Except(self.asker.ifi)),
            Some(first) => first.asker_ifi.filter(|ifi| *ifi != self.asker.ifi).map(Links::Only),
        }
    }

    /// When to call [`go_on`](Self::go_on), in milliseconds after the relay was opened; `None` if the discovery is not merged.
    pub(crate) fn goes_on_after(&self) -> Option<u64> {
        self.first.map(|_| MERGED_FOR)
    }

    /// The wait of a merged discovery is over. Returns the links to send it out of now; `None` if an answer has been passed on and others
    /// may follow, or the relay has ended.
    pub(crate) fn go_on(&mut self, now: u64) -> Option<Links> {
        let first = self.first.take()?;
        let sessions = &self.node.registries.sessions;
        if (self.has_passed && sessions.is_following(self.id)) || !sessions.relay_merged(self.id, now) {
            return None;
        }
        self.node.counters.merged_relayed.add();
        self.node.tell_relayed(self.id.session, self.asker.ifi);
        let own = self.asker.ifi;
        Some(first.asker_ifi.map_or(Links::Except(own), |ifi| Links::ExceptBoth(own, ifi)))
    }
}
