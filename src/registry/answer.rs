//! Answers to a discovery, on their way from `_drlisten` to the threads that wait for them.

use std::fmt;
use std::sync::Arc;

use crossbeam_channel::{Sender, TrySendError};

use super::transport::Transport;
use crate::types::AsaLocator;
use crate::wire::Message;

/// One answer to a discovery.
#[derive(Clone, Debug)]
pub(crate) enum DiscoveryAnswer {
    /// M_RESPONSE.
    Found(Found),
    /// In rapid mode: the first message of a negotiation, or the value itself (RFC 8990 §2.5.4.5).
    Rapid { message: Message, transport: Arc<dyn Transport> },
}

/// The content of an M_RESPONSE.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) locators: Vec<AsaLocator>,
    /// Milliseconds from now until the locators expire.
    pub(crate) ttl: u32,
    /// The interface on which it came in.
    pub(crate) ifi: u32,
    /// Whether it brought locators, all of which are known to be dead.
    pub(crate) stale: bool,
}

/// Where the answers to one discovery wait. Dropping it tells its readers that the discovery has ended.
pub(crate) trait Mailbox: fmt::Debug + Send + Sync {
    /// Adds an answer without waiting. Returns the number of answers that wait now.
    ///
    /// # Errors
    /// [`Undelivered`] if there is no room or no reader.
    fn put(&self, answer: DiscoveryAnswer) -> Result<usize, Undelivered>;
}

/// Why an answer could not be put into its mailbox.
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

/// The mailboxes of all that share a discovery. A mailbox that cannot take an answer does not keep it from the others.
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
