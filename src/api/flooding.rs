//! Flooding (RFC 8990 §2.5.6.2, RFC 8991 §2.3.7).

use std::net::{IpAddr, Ipv6Addr};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::proto::Addresses;
use crate::types::{AsaLocator, AsaNonce, Locator, Objective, TaggedObjective};
use crate::wire::{Body, Flood, Message, WireLocator, WireObjective, encode};

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
        let first = tagged.first().ok_or(Error::Unspec)?;
        for one in tagged {
            self.check_asa_obj(nonce, &one.objective, true)?;
        }
        let invalid =
            |source: &AsaLocator| source.locator.is_some() && WireLocator::from_locator(source).is_none();
        if tagged.iter().any(|one| invalid(&one.source)) {
            return Err(Error::InvalidLoc);
        }
        let addresses = self.core.addresses();
        let initiator = addresses.session_locator();
        let link_only =
            is_unspecified(&first.source) || self.core.config.dull || initiator.is_unicast_link_local();
        let mut tagged = tagged.to_vec();
        if link_only {
            tagged.iter_mut().for_each(|one| one.objective.loop_count = 1);
        }
        let session = self.core.registries.sessions.flood_id(IpAddr::V6(initiator))?;
        let datagram = |link_local: Option<Ipv6Addr>| {
            let objectives = tagged.iter().map(|one| {
                let source = with_address(&one.source, link_local);
                (WireObjective::from_objective(&one.objective), WireLocator::from_locator(&source))
            });
            let flood =
                Flood { session, initiator: IpAddr::V6(initiator), ttl, objectives: objectives.collect() };
            encode(&Message::new(Body::Flood(flood)))
        };
        // An address is 16 bytes whichever it is.
        if datagram(None).len() > self.core.config.multicast_send_size {
            return Err(Error::Unspec);
        }
        self.cache_own(&tagged, &addresses, ttl);
        self.core.multicast(|ifi| datagram(addresses.link_local(ifi)), None);
        self.core.counters.floods_sent.add();
        Ok(())
    }

    /// An ASA's own floods are in its node's flood cache.
    fn cache_own(&self, tagged: &[TaggedObjective], addresses: &Addresses, ttl: u32) {
        let expire = if ttl == 0 { 0 } else { self.core.now().saturating_add(ttl.into()) };
        let link = addresses.links.first();
        for one in tagged {
            let mut source = with_address(&one.source, link.map(|link| link.address));
            source.expire = expire;
            if source.is_link_local() {
                source.ifi = source.ifi.or_else(|| link.map(|link| link.ifi));
            }
            self.core.registries.floods.insert(TaggedObjective { objective: one.objective.clone(), source });
        }
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
        Ok(self.core.registries.floods.lookup(&objective.name, self.core.now()))
    }

    /// Forgets a flooded value that [`get_flood`](Self::get_flood) has returned, because it is stale (RFC 8991
    /// §2.3.7; graspy's `expire_flood`). One that is not cached any more is none.
    ///
    /// # Errors
    /// [`Error::NoAsa`]. A retry does not help.
    pub fn expire_flood(&self, nonce: AsaNonce, tagged: &TaggedObjective) -> Result<()> {
        self.check_asa(nonce)?;
        self.core.registries.floods.expire(tagged);
        Ok(())
    }
}

fn is_unspecified(source: &AsaLocator) -> bool {
    source.locator == Some(Locator::Ipv6(Ipv6Addr::UNSPECIFIED))
}

/// The source with `::` replaced by an interface's address.
fn with_address(source: &AsaLocator, link_local: Option<Ipv6Addr>) -> AsaLocator {
    match link_local {
        Some(address) if is_unspecified(source) => {
            AsaLocator { locator: Some(Locator::Ipv6(address)), ..source.clone() }
        }
        _ => source.clone(),
    }
}
