//! Flooding (RFC 8990 §2.5.6.2, RFC 8991 §2.3.7).

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::types::{AsaLocator, AsaNonce, Objective, TaggedObjective};
use crate::wire::WireLocator;

impl Engine {
    /// Sends objectives with their values to everyone, in one message (RFC 8991 §2.3.7; graspy's `flood`).
    /// They are valid for `ttl` milliseconds, for ever if it is 0. Every objective must be registered by this
    /// ASA. This node's own flood cache gets them too.
    ///
    /// If the first locator is the unspecified address `::`, the flood is for the links only: every `::` is
    /// replaced by the link-local address of the interface that the message leaves by, and all loop counts
    /// are 1. So they are in a DULL instance (RFC 8990 §2.5.2), and on a node that has link-local addresses
    /// only (§2.5.6.2).
    ///
    /// # Errors
    /// In this order: [`Error::NoSecurity`] unless this is a DULL instance that handles all of them; [`Error::Unspec`] if there is no
    /// objective; for each objective [`Error::NotBoth`], [`Error::NotSynch`], [`Error::NoAsa`],
    /// [`Error::NotYourObj`]; [`Error::InvalidLoc`] for a locator that cannot be sent; [`Error::Unspec`] if the
    /// message is larger than [`Config::multicast_send_size`](crate::Config::multicast_send_size). Nothing is
    /// sent then. A retry helps with none but the first.
    pub fn flood(&self, nonce: AsaNonce, ttl: u32, tagged: &[TaggedObjective]) -> Result<()> {
        self.core.check_running()?;
        self.check_secure_or_dull(tagged.iter().map(|one| one.objective.name.as_str()))?;
        if tagged.is_empty() {
            return Err(Error::Unspec);
        }
        for one in tagged {
            self.check_asa_obj(nonce, &one.objective, true)?;
        }
        let invalid =
            |source: &AsaLocator| source.locator.is_some() && WireLocator::from_locator(source).is_none();
        if tagged.iter().any(|one| invalid(&one.source)) {
            return Err(Error::InvalidLoc);
        }
        let limit = self.core.multicast_send_limit();
        let plan = self.core.node.plan_flood(tagged, ttl, limit, self.core.now())?;
        let addresses = self.core.addresses();
        self.core.multicast(|ifi| plan.datagram(addresses.link_local(ifi)), None);
        Ok(())
    }

    /// The valid flooded values of an objective with their sources, oldest received first (RFC 8991 §2.3.7;
    /// graspy's `get_flood`). The list may be empty.
    ///
    /// # Errors
    /// [`Error::NoAsa`], [`Error::NotSynch`]. A retry does not help.
    pub fn get_flood(&self, nonce: AsaNonce, objective: &Objective) -> Result<Vec<TaggedObjective>> {
        self.check_asa(nonce)?;
        if !objective.synch {
            return Err(Error::NotSynch);
        }
        Ok(self.core.node.registries.floods.lookup(&objective.name, self.core.now()))
    }

    /// Forgets a flooded value that [`get_flood`](Self::get_flood) has returned, because it is stale (RFC 8991
    /// §2.3.7; graspy's `expire_flood`). One that is not cached any more is none.
    ///
    /// # Errors
    /// [`Error::NoAsa`]. A retry does not help.
    pub fn expire_flood(&self, nonce: AsaNonce, tagged: &TaggedObjective) -> Result<()> {
        self.check_asa(nonce)?;
        self.core.node.registries.floods.expire(tagged);
        Ok(())
    }
}
