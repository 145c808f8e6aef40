//! Flooding (RFC 8990 §2.5.6.2, RFC 8991 §2.3.7).

use crate::engine::{Engine, Here, here};
use crate::error::{Error, Result};
#[cfg(feature = "ipc")]
use crate::ipc::Form as _;
use crate::node::Links;
use crate::types::{AsaLocator, AsaNonce, Objective, TaggedObjective};
use crate::wire::WireLocator;

impl Engine {
    /// Sends objectives with their values to all nodes, in one message (RFC 8991 §2.3.7; graspy's `flood`).
    /// They are valid for `ttl` milliseconds, for ever if it is 0. This ASA must have registered every objective.
    /// This node's own flood cache gets them too.
    ///
    /// If the first locator is the unspecified address `::`, the flood is for the links only: every `::` is
    /// replaced by the link-local address of the interface that the message leaves by, and all loop counts
    /// are set to 1. A DULL instance (RFC 8990 §2.5.2), and a node that has only link-local addresses (§2.5.6.2), always
    /// set them to 1.
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// use grasp::{Objective, TaggedObjective};
    ///
    /// let asa = grasp::register_asa("Clock")?;
    /// let mut time = Objective::new("Time").with_value("12:00")?;
    /// time.synch = true;
    /// grasp::register_obj(asa, &time, Default::default())?;
    /// grasp::flood(asa, 60_000, &[TaggedObjective::new(time, None)])?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// In this order: [`Error::NoSecurity`], but not from a DULL instance that handles all the objectives;
    /// [`Error::NoObjective`]; for each objective [`Error::NotBoth`], [`Error::NotSynch`], [`Error::NoAsa`],
    /// [`Error::NotYourObj`]; [`Error::InvalidLoc`] for a locator that cannot be sent; [`Error::NoRandom`];
    /// [`Error::TooLarge`] if the message is larger than
    /// [`Config::multicast_send_size`](crate::Config::multicast_send_size). Then nothing is sent. A retry helps with
    /// `NoSecurity` once the substrate is up, and may help later with `NoRandom`.
    pub fn flood(&self, nonce: AsaNonce, ttl: u32, tagged: &[TaggedObjective]) -> Result<()> {
        let here = here!(self, node => node.ask("flood", &[nonce.form(), ttl.form(), tagged.form()]));
        here.check_floodable(nonce, tagged)?;
        let limit = here.core.multicast_send_limit();
        let plan = here.core.node.plan_flood(tagged, ttl, limit)?;
        let addresses = here.core.addresses();
        plan.begin(here.core.now());
        here.core.multicast(|ifi| plan.datagram(addresses.link_local(ifi)), Links::All);
        Ok(())
    }

    /// Makes all the checks of `flood` without flooding.
    pub(super) fn check_flood(&self, nonce: AsaNonce, ttl: u32, tagged: &[TaggedObjective]) -> Result<()> {
        let here = here!(self, node => node.ask("check_flood", &[nonce.form(), ttl.form(), tagged.form()]));
        here.check_floodable(nonce, tagged)?;
        here.core.node.plan_flood(tagged, ttl, here.core.multicast_send_limit()).map(drop)
    }

    /// The valid flooded values of an objective with their sources, oldest received first (RFC 8991 §2.3.7;
    /// graspy's `get_flood`). The list may be empty.
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// let asa = grasp::register_asa("Gray")?;
    /// let mut time = grasp::Objective::new("Time");
    /// time.synch = true;
    /// for flooded in grasp::get_flood(asa, &time)? {
    ///     println!("{} from {}", flooded.objective.value, flooded.source);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoAsa`], [`Error::NotSynch`]. A retry does not help.
    pub fn get_flood(&self, nonce: AsaNonce, objective: &Objective) -> Result<Vec<TaggedObjective>> {
        let here = here!(self, node => node.ask("get_flood", &[nonce.form(), objective.form()]));
        here.check_asa(nonce)?;
        if !objective.synch {
            return Err(Error::NotSynch);
        }
        Ok(here.core.node.registries.floods.lookup(&objective.name, here.core.now()))
    }

    /// Forgets a flooded value that [`get_flood`](Self::get_flood) has returned, because it is stale (RFC 8991
    /// §2.3.7; graspy's `expire_flood`). Does nothing if the value is no longer cached.
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// # let (asa, time) = (grasp::register_asa("Gray")?, grasp::Objective::new("Time"));
    /// for flooded in grasp::get_flood(asa, &time)? {
    ///     if flooded.objective.value.as_str() == Some("12:00") {
    ///         grasp::expire_flood(asa, &flooded)?;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoAsa`]. A retry does not help.
    pub fn expire_flood(&self, nonce: AsaNonce, tagged: &TaggedObjective) -> Result<()> {
        let here = here!(self, node => node.ask("expire_flood", &[nonce.form(), tagged.form()]));
        here.check_asa(nonce)?;
        here.core.node.registries.floods.expire(tagged);
        Ok(())
    }
}

impl Here {
    /// The checks of a flood that come before its message is built.
    fn check_floodable(&self, nonce: AsaNonce, tagged: &[TaggedObjective]) -> Result<()> {
        self.core.check_running()?;
        self.check_secure_or_dull(tagged.iter().map(|one| one.objective.name.as_str()))?;
        if tagged.is_empty() {
            return Err(Error::NoObjective);
        }
        for one in tagged {
            self.check_asa_obj(nonce, &one.objective, true)?;
        }
        let invalid =
            |source: &AsaLocator| source.locator.is_some() && WireLocator::from_locator(source).is_none();
        if tagged.iter().any(|one| invalid(&one.source)) { Err(Error::InvalidLoc) } else { Ok(()) }
    }
}
