//! What a discovery is answered with, on its way from `threads::drlisten` to who has asked.

use std::sync::Arc;

use super::transport::Transport;
use crate::types::AsaLocator;
use crate::wire::Message;

/// What answers a discovery.
#[derive(Debug)]
pub(crate) enum DiscoveryAnswer {
    /// M_RESPONSE.
    Found(Found),
    /// In rapid mode: the first message of a negotiation, or the value itself (RFC 8990 §2.5.4.5).
    Rapid { message: Message, transport: Arc<dyn Transport> },
}

/// What an M_RESPONSE brought to a discovery.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) locators: Vec<AsaLocator>,
    /// Milliseconds from now until the locators expire.
    pub(crate) ttl: u32,
    /// The interface it came in on.
    pub(crate) ifi: u32,
}
