//! What a discovery is answered with, on its way from `_drlisten` to whoever waits for it.

use std::fmt;
use std::sync::Arc;

use crossbeam_channel::{Sender, TrySendError};

use super::transport::Transport;
use crate::types::AsaLocator;
use crate::wire::Message;

/// What answers a discovery.
#[derive(Clone, Debug)]
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
    /// It brought locators, but only such as are known to be dead.
    pub(crate) stale: bool,
}

/// Where the answers to one discovery wait. Dropping it tells whoever reads them that the discovery has ended.
pub(crate) trait Mailbox: fmt::Debug + Send + Sync {
    /// Puts an answer in without waiting. Returns how many wait now.
    ///
    /// # Errors
    /// [`Undelivered`].
    fn put(&self, answer: DiscoveryAnswer) -> Result<usize, Undelivered>;
}

/// Why an answer is not in its mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undelivered {
    Full,
    /// Nobody reads it any more.
    Gone,
}

impl Mailbox for Sender<DiscoveryAnswer> {
    fn put(&self, answer: DiscoveryAnswer) -> Result<usize, Undelivered> {
        match self.try_send(answer) {
            Ok(()) => Ok(self.len()),
            Err(TrySendError::Full(_)) => Err(Undelivered::Full),
            Err(TrySendError::Disconnected(_)) => Err(Undelivered::Gone),
        }
    }
}

/// Those of all who share a discovery. One that cannot take an answer does not keep it from the others.
impl Mailbox for Vec<Arc<dyn Mailbox>> {
    fn put(&self, answer: DiscoveryAnswer) -> Result<usize, Undelivered> {
        let put = self.iter().map(|mailbox| mailbox.put(answer.clone()));
        put.reduce(|one, other| match (one, other) {
            (Ok(one), Ok(other)) => Ok(one.max(other)),
            (Ok(waiting), Err(_)) | (Err(_), Ok(waiting)) => Ok(waiting),
            (Err(Undelivered::Full), _) | (_, Err(Undelivered::Full)) => Err(Undelivered::Full),
            _ => Err(Undelivered::Gone),
        })
        .unwrap_or(Err(Undelivered::Gone))
    }
}
