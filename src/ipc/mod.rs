//! One node for many processes (RFC 8991 §1: a GRASP core that ASAs reach over IPC). A node, `graspd` for instance, lets
//! other processes in with a [`Server`]; they are its clients, and use it with
//! [`Engine::connect`](crate::Engine::connect), or with the free functions and `GRASP_SOCKET`. docs/ipc.md specifies the
//! protocol for clients in other languages.
//!
//! ```text
//!   ASA threads of a client                 node
//!     call -> Client -> Pipe  ~ socket ~  Pipe -> _ipc (1 a client, 1 more a call that waits) -> api
//! ```
//!
//! What a client registers belongs to its connection: when that ends, for whatever reason, the node deregisters its ASAs,
//! which ends their sessions, and cancels its calls. Each client has limits ([`ClientLimits`]) and rights ([`Access`]).
//!
//! `engine` and `api` call this module, which does not depend on them. `api/node.rs` carries out the calls of clients.

mod access;
mod client;
mod connection;
#[cfg(test)]
mod document;
mod event;
mod fault;
mod form;
mod journal;
mod message;
mod server;
mod stream;

pub use access::{Access, Who};
pub(crate) use access::{Deed, Right};
pub(crate) use client::{Client, trace};
pub(crate) use connection::Connection;
pub(crate) use form::{Fields, Form, Formed, fields};
pub(crate) use message::Arguments;
pub use message::VERSION;
pub use server::{ClientLimits, ClientView, Server, ServerOptions};
pub(crate) use server::{Refused, Service};

use std::path::PathBuf;

use crate::config::environment;

/// The socket of the system's node.
const SYSTEM: &str = "/run/grasp/grasp.sock";
/// The name of the socket of a user's own node.
const OWN: &str = "grasp.sock";

/// The socket at which a client finds its node: the one that `GRASP_SOCKET` names; else, for an ordinary user,
/// `$XDG_RUNTIME_DIR/grasp.sock`, if it exists; else `/run/grasp/grasp.sock`.
#[must_use]
pub fn default_path() -> PathBuf {
    if let Some(named) = environment::socket() {
        return named;
    }
    let own = environment::runtime_directory().map(|directory| directory.join(OWN));
    let is_ordinary = !rustix::process::getuid().is_root();
    own.filter(|own| is_ordinary && own.exists()).unwrap_or_else(|| SYSTEM.into())
}
