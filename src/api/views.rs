//! The registries and the state of an engine as values (graspy's `_asa_registry`, `_obj_registry`, `_discovery_cache`,
//! `_flood_cache`, `_session_id_cache` and its flags). [`Engine::dump`] returns the same as text.

use std::net::{IpAddr, Ipv6Addr};

use crate::acp::AcpStatus;
use crate::engine::{Engine, here};
use crate::trace::{SessionEvent, SessionKind};
use crate::types::{AsaNonce, AsaView, DiscoveryView, FloodView, ObjectiveView, SessionNonce, as_ipv6};

/// An open session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionView {
    /// Its identifier. The source is the peer if the peer opened it, the initiator if this node relays it, and `None` if
    /// it began here.
    pub session: SessionNonce,
    /// What kind of session it is.
    pub kind: SessionKind,
    /// The objective's name.
    pub objective: String,
    /// The peer's address, if it is connected.
    pub peer: Option<Ipv6Addr>,
    /// The ASA that it belongs to, if it is an exchange.
    pub owner: Option<AsaNonce>,
}

/// The state of an engine at one moment, besides its settings ([`Engine::config`]).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineState {
    /// The substrate is secure, or trusted: sessions are possible. Never set in a DULL instance (RFC 8990 §2.5.2).
    pub secure: bool,
    /// Why the substrate is trusted, if it is not secure.
    pub trusting: Option<&'static str>,
    /// Messages are protected, as in a QUADS domain.
    pub sealed: bool,
    /// The engine is a DULL instance.
    pub dull: bool,
    /// The engine relays multicasts: it uses several interfaces (graspy's `_relay_needed`), and no other engine of the host
    /// relays in its place ([`Config::relay`](crate::Config::relay)).
    pub relaying: bool,
    /// The engine has been shut down.
    pub stopped: bool,
    /// The largest unicast message in bytes: as configured, unless GraspConfig has changed it.
    pub unicast_size: usize,
    /// The largest multicast message accepted, in bytes: as configured, unless GraspConfig has changed it.
    pub multicast_size: usize,
}

impl Engine {
    /// The registered ASAs, by name (graspy's `_asa_registry`).
    #[must_use]
    pub fn asas(&self) -> Vec<AsaView> {
        let here = here!(self, node => node.look("asas"));
        here.core
            .node
            .registries
            .asas
            .list()
            .into_iter()
            .map(|(name, nonce)| AsaView { name, nonce })
            .collect()
    }

    /// The registered objectives, by name (graspy's `_obj_registry`).
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // Where peers of EX3 connect to:
    /// let engine = grasp::process_engine()?;
    /// let port = engine.objectives().iter().find(|view| view.objective.name == "EX3").map(|view| view.port);
    /// # drop(port);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn objectives(&self) -> Vec<ObjectiveView> {
        let here = here!(self, node => node.look("objectives"));
        here.core.node.registries.objectives.list()
    }

    /// The discovery cache, by name (graspy's `_discovery_cache`).
    #[must_use]
    pub fn discovery_cache(&self) -> Vec<DiscoveryView> {
        let here = here!(self, node => node.look("discovery_cache"));
        let list = here.core.node.registries.discovery.list().into_iter();
        list.map(|(name, locators, rapid)| {
            let rapid_expire = rapid.as_ref().map_or(0, |rapid| rapid.expire);
            DiscoveryView { name, locators, rapid: rapid.map(|rapid| rapid.objective), rapid_expire }
        })
        .collect()
    }

    /// The flood cache with all names, oldest received first (graspy's `_flood_cache`). Unlike
    /// [`get_flood`](Self::get_flood) it needs no handle of an ASA, and may contain values that have expired in the last few
    /// seconds.
    #[must_use]
    pub fn flood_cache(&self) -> Vec<FloodView> {
        let here = here!(self, node => node.look("flood_cache"));
        let views = here.core.node.registries.floods.views().into_iter();
        views.map(|(tagged, from)| FloodView { tagged, from }).collect()
    }

    /// The open sessions, by identifier (graspy's `_session_id_cache`).
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionView> {
        let here = here!(self, node => node.look("sessions"));
        let mut views = here.core.node.registries.sessions.views();
        views.sort_unstable_by_key(|(key, ..)| *key);
        let view = |((id_value, source), event, owner)| {
            let (SessionEvent { kind, peer, objective, .. }, source): (_, Option<IpAddr>) = (event, source);
            let session = SessionNonce { id_value, id_source: source.map(as_ipv6) };
            SessionView { session, kind, objective, peer, owner }
        };
        views.into_iter().map(view).collect()
    }

    /// The state of the engine now.
    #[must_use]
    pub fn state(&self) -> EngineState {
        let here = here!(self, node => node.look("state"));
        let core = &here.core;
        let dull = core.node.config.dull;
        EngineState {
            secure: core.node.is_secure(),
            trusting: match core.substrate.status() {
                AcpStatus::Trusting(why) if !dull => Some(why),
                _ => None,
            },
            sealed: core.protection.is_some(),
            dull,
            relaying: core.node.is_relay(),
            stopped: core.is_stopping(),
            unicast_size: core.node.sizes.unicast(),
            multicast_size: core.node.sizes.multicast(),
        }
    }
}
