//! Which askers the ASAs of this node admit to their objectives: hooks of ASAs, which `node` asks about each request.

use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::bounds::HashMap;
use crate::types::AsaNonce;

/// Decides by the address of the asker, and by its certified name where certificates secure the connection.
pub(crate) type Admission = Arc<dyn Fn(Ipv6Addr, Option<&str>) -> bool + Send + Sync>;

/// The hooks, by objective.
#[derive(Default)]
pub(crate) struct AdmissionRegistry(RwLock<HashMap<String, Vec<(AsaNonce, Admission)>>>);

impl fmt::Debug for AdmissionRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AdmissionRegistry").field(&self.0.read().keys().collect::<Vec<_>>()).finish()
    }
}

impl AdmissionRegistry {
    /// Sets the hook of an ASA for an objective. Forgets those of ASAs that are not registered any more.
    pub(crate) fn set(
        &self,
        owner: AsaNonce,
        name: &str,
        hook: Admission,
        is_registered: impl Fn(AsaNonce) -> bool,
    ) {
        let mut hooks = self.0.write();
        hooks.retain(|_, of_objective| {
            of_objective.retain(|(owner, _)| is_registered(*owner));
            !of_objective.is_empty()
        });
        let of_objective = hooks.entry(name.to_owned()).or_default();
        of_objective.retain(|(other, _)| *other != owner);
        of_objective.push((owner, hook));
    }

    /// The hooks for an objective, with their owners. The caller asks them without the lock.
    pub(crate) fn of(&self, name: &str) -> Vec<(AsaNonce, Admission)> {
        self.0.read().get(name).cloned().unwrap_or_default()
    }
}
