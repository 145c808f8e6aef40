//! Publishes static objectives on an engine: registers them, floods them at regular intervals, and answers requests for them.
//! `node` has one publisher for the normal instance and one for each DULL instance.

use std::net::Ipv6Addr;

use grasp::{Asa, AsaLocator, Engine, Error, Flooding, Locator, Port, RegisterObj, TaggedObjective};

use crate::statics::{Place, Static};

/// The name of the ASA that owns the static objectives.
pub(crate) const ASA: &str = "graspd";

/// The static objectives of an engine. Dropping this withdraws them.
#[derive(Debug)]
pub(crate) struct Publisher {
    asa: Asa,
    published: Vec<Published>,
}

/// A published objective.
#[derive(Debug)]
struct Published {
    wanted: Static,
    /// The node's address in its locator.
    own: Option<Ipv6Addr>,
    flooding: Option<Flooding>,
    /// It could not be served, for instance without a secure substrate: `look` tries again.
    waiting: bool,
}

/// The name of an objective that cannot be published, and why.
pub(crate) type Failure = (String, Error);

impl Publisher {
    /// Registers the ASA. Publishes nothing yet.
    pub(crate) fn new(engine: &Engine) -> Result<Self, Error> {
        Ok(Self { asa: Asa::register(engine, ASA)?, published: Vec::new() })
    }

    /// Publishes these objectives and no others. Unchanged ones continue without a gap. If one cannot be published, everything
    /// is as before.
    pub(crate) fn replace(&mut self, wanted: &[Static]) -> Result<(), Failure> {
        let before: Vec<_> = self.published.iter().map(|one| one.wanted.clone()).collect();
        self.change_to(wanted).inspect_err(|_| {
            if let Err((name, error)) = self.change_to(&before) {
                log::error!("the objective {name} is not published any more: {error}");
            }
        })
    }

    /// Publishes objectives with new names first: if one of them cannot be published, no other one has changed, not even for a moment.
    fn change_to(&mut self, wanted: &[Static]) -> Result<(), Failure> {
        let known: Vec<_> = self.published.iter().map(|one| one.wanted.objective.name.clone()).collect();
        for new in wanted.iter().filter(|one| !known.contains(&one.objective.name)) {
            self.add(new)?;
        }
        let (stay, go): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.published).into_iter().partition(|one| wanted.contains(&one.wanted));
        self.published = stay;
        go.into_iter().for_each(|one| self.withdraw(one));
        for new in wanted {
            if self.published.iter().all(|one| one.wanted != *new) {
                self.add(new)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, new: &Static) -> Result<(), Failure> {
        let published = self.publish(new).map_err(|error| (new.objective.name.clone(), error))?;
        self.published.push(published);
        Ok(())
    }

    fn publish(&self, wanted: &Static) -> Result<Published, Error> {
        let (engine, nonce) = (self.asa.engine(), self.asa.nonce());
        let own = own_address(engine);
        // An objective for the links only has the link-local address of each link.
        let locator = wanted.locator.as_ref().map(|place| place.locator(own.filter(|_| !wanted.dull)));
        let registration = RegisterObj {
            ttl: Some(wanted.ttl),
            discoverable: wanted.objective.discoverable,
            // Peers that want to negotiate are sent to the locator at once; values are served here.
            locators: locator.clone().filter(|_| wanted.objective.neg).into_iter().collect(),
            // Peers remember the port for as long as `ttl`, also from a run of graspd that was killed.
            port: Port::Last,
            ..RegisterObj::default()
        };
        engine.register_obj(nonce, &wanted.objective, registration)?;
        let served = self.serve(wanted, locator);
        let waiting = matches!(served, Err(Error::NoSecurity));
        let flooding = match served {
            Err(error) if !waiting => {
                // Undoes the registration.
                let _ = engine.deregister_obj(nonce, &wanted.objective);
                return Err(error);
            }
            served => served.ok().flatten(),
        };
        Ok(Published { wanted: wanted.clone(), own, flooding, waiting })
    }

    /// Answers requests, and floods.
    fn serve(&self, wanted: &Static, locator: Option<AsaLocator>) -> Result<Option<Flooding>, Error> {
        let (engine, nonce) = (self.asa.engine(), self.asa.nonce());
        // A DULL instance takes no requests (RFC 8990 §2.5.2).
        if wanted.objective.synch && !wanted.dull {
            engine.listen_synchronize(nonce, &wanted.objective)?;
        }
        if wanted.flood_every == 0 {
            return Ok(None);
        }
        let tagged = TaggedObjective::new(wanted.objective.clone(), locator);
        engine.flood_every(nonce, wanted.flood_every, wanted.ttl, &[tagged]).map(Some)
    }

    fn withdraw(&self, one: Published) {
        // Dropping would not wait for a flood that is being sent, which has the old value.
        if let Some(flooding) = one.flooding {
            flooding.stop();
        }
        // The engine may have ended.
        let _ = self.asa.engine().deregister_obj(self.asa.nonce(), &one.wanted.objective);
    }

    /// Gives objectives at the node's own address its new address, and begins floods that could not begin before.
    pub(crate) fn look(&mut self) {
        let own = own_address(self.asa.engine());
        let stale = |one: &Published| {
            let moved = matches!(one.wanted.locator, Some(Place::Here { .. })) && one.own != own;
            let over = one
                .flooding
                .as_ref()
                .and_then(Flooding::error)
                .is_some_and(|error| error != Error::NoSecurity);
            one.waiting || moved || over
        };
        let (renew, keep): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.published).into_iter().partition(stale);
        self.published = keep;
        for one in renew {
            let (wanted, again) = (one.wanted.clone(), one.waiting);
            self.withdraw(one);
            let published = self.publish(&wanted).unwrap_or_else(|error| {
                // Logged once, and tried until it succeeds.
                if !again {
                    log::warn!("the objective {} is not published: {error}", wanted.objective.name);
                }
                Published { wanted, own, flooding: None, waiting: true }
            });
            self.published.push(published);
        }
    }

    /// How many objectives are published.
    pub(crate) fn count(&self) -> usize {
        self.published.len()
    }
}

fn own_address(engine: &Engine) -> Option<Ipv6Addr> {
    match engine.my_address() {
        Some(Locator::Ipv6(address)) => Some(address),
        _ => None,
    }
}
