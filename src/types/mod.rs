//! The data types of the API (RFC 8991 §2.3), which ASAs use and the wire carries.

mod handle;
mod locator;
mod objective;
mod own_address;
mod view;

pub use crate::cbor::Value;
pub(crate) use handle::SessionId;
pub use handle::{AsaNonce, SessionNonce};
pub(crate) use locator::as_ipv6;
pub use locator::{AsaLocator, Locator, Protocol};
pub use objective::{Objective, TaggedObjective};
pub(crate) use own_address::OwnAddress;
pub use view::{AsaView, DiscoveryView, FloodView, ObjectiveView};
