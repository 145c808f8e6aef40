//! Who is admitted to an objective: an ASA's own decision, before a request reaches it.

use std::sync::Arc;

use super::Peer;
use crate::engine::{Engine, here};
#[cfg(feature = "ipc")]
use crate::error::Error;
use crate::error::Result;
use crate::types::{AsaNonce, Objective};

impl Engine {
    /// Has the ASA decide for itself who may ask for an objective of its: `admits` is asked about each request to negotiate or to
    /// synchronize, before a listener gets it or a value is sent, and what it refuses is declined or closed, and counted
    /// (`refused_not_admitted`). [`Peer::name`] is the asker's certified name, where certificates secure the connection.
    ///
    /// A value that is flooded, or that goes out with the response to a discovery ([`RegisterObj::rapid`](crate::RegisterObj::rapid)), is not asked about: everybody in
    /// the domain gets it.
    ///
    /// It runs in the thread that receives requests, and must not wait. It holds until the ASA is deregistered, or sets another. If
    /// several ASAs have set one for the same objective, all of them have to agree.
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// # let engine = grasp::process_engine()?;
    /// # let (asa, money) = (grasp::register_asa("Bank")?, grasp::Objective::new("EX3"));
    /// let members = ["fd89b714f3db00000200000064000001@acp.example.com"];
    /// engine.admit(asa, &money, move |peer| peer.name.as_deref().is_some_and(|name| members.contains(&name)))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoAsa`](crate::Error::NoAsa), [`Error::NotYourObj`](crate::Error::NotYourObj);
    /// [`Error::Forbidden`](crate::Error::Forbidden) if the engine is in a node, which decides by its access rules. A
    /// retry does not help.
    pub fn admit(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
        admits: impl Fn(&Peer) -> bool + Send + Sync + 'static,
    ) -> Result<()> {
        let here = here!(
            self,
            _node => Err(Error::Forbidden("a node admits askers by its access rules only".into()))
        );
        here.check_asa(nonce)?;
        let registries = &here.core.node.registries;
        registries.objectives.check_owner(nonce, &objective.name)?;
        let hook = Arc::new(move |address: std::net::Ipv6Addr, name: Option<&str>| {
            let address = Some(address.to_canonical());
            admits(&Peer { address, locator: None, name: name.map(ToOwned::to_owned) })
        });
        registries.admission.set(nonce, &objective.name, hook, |asa| registries.asas.is_registered(asa));
        Ok(())
    }
}
