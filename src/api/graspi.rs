//! The API under the names and with the semantics of RFC 8991 (graspy's `graspi`), on the engine of the process.
//!
//! | here, RFC 8991 | crate root, graspy |
//! |---|---|
//! | `register_objective` | `register_obj` |
//! | `deregister_objective` | `deregister_obj` |
//! | `discover` with `minimum_ttl`, timeout 0 for the cache alone | `discover` |
//! | `request_negotiate` | `req_negotiate` |
//! | `stop_listen_negotiate` | `stop_negotiate` |
//! | `stop_listen_synchronize` | `stop_synchronize` |
//!
//! Where RFC 8991 returns an error code and four values, Rust returns a [`Result`](crate::Result): counter-offer
//! and acceptance are in [`Negotiation`], a declining peer's reason is in [`Error::Declined`](crate::Error::Declined).
//! The messaging extension (gsend, grecv) is not part of RFC 8991.

pub use super::process::{
    deregister_asa, deregister_obj, deregister_obj as deregister_objective, dump_all, end_negotiate,
    expire_flood, flood, get_flood, listen_negotiate, listen_synchronize, negotiate_step, negotiate_wait,
    register_asa, register_obj, register_obj as register_objective, req_negotiate as request_negotiate,
    send_invalid, skip_dialogue, stop_negotiate, stop_negotiate as stop_listen_negotiate, stop_synchronize,
    stop_synchronize as stop_listen_synchronize, synchronize,
};
pub use super::{Negotiation, RegisterObj};
pub use crate::error::{Error, etext};
pub use crate::types::{
    AsaLocator, AsaNonce as AsaHandle, Objective, SessionNonce as SessionHandle, TaggedObjective,
};
pub use crate::{tprint, ttprint};

use super::Discover;
use super::process::process_engine;
use crate::error::Result;

/// Finds peers that support an objective (RFC 8991 §2.3.4). Cached locators that expire within `minimum_ttl`
/// milliseconds are forgotten first, all of them if it is 0. With `timeout` 0 what remains in the cache is
/// returned, and no message is sent; otherwise discovery goes on for `timeout` milliseconds if nothing remains.
///
/// # Errors
/// Those of [`Engine::discover`](crate::Engine::discover).
pub fn discover(
    asa_handle: AsaHandle,
    objective: &Objective,
    timeout: u32,
    minimum_ttl: u32,
) -> Result<Vec<AsaLocator>> {
    process_engine()?.discover_by_rfc(asa_handle, objective, timeout, minimum_ttl)
}

impl crate::Engine {
    /// [`graspi::discover`](discover) on this engine.
    ///
    /// # Errors
    /// Those of [`discover`](Self::discover).
    pub fn discover_by_rfc(
        &self,
        asa_handle: AsaHandle,
        objective: &Objective,
        timeout: u32,
        minimum_ttl: u32,
    ) -> Result<Vec<AsaLocator>> {
        let minimum_ttl = Some(minimum_ttl);
        // With timeout 0 only the cache counts.
        let enough = (timeout == 0).then_some(0);
        self.discover(asa_handle, objective, Some(timeout), Discover { minimum_ttl, enough, flush: false })
    }
}
