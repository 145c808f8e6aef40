//! Requests that come to the port of an objective, on their way to a listener, and the port itself.

use std::fmt;
use std::sync::Arc;

use super::Transport;
use crate::outcome::{Case, RequestOutcome};
use crate::types::Objective;

/// A listening socket that ends with its objective.
pub(crate) trait Close: fmt::Debug + Send + Sync {
    /// Closes the socket and ends its thread.
    fn close(&self);
}

/// A request that opens a negotiation, on its way to a listener.
#[derive(Debug)]
pub(crate) struct NegotiationRequest {
    pub(crate) session: u32,
    pub(crate) objective: Objective,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) case: Case<RequestOutcome>,
}

impl NegotiationRequest {
    /// Closes the connection (RFC 8990 §2.8.6).
    pub(crate) fn refuse(self, why: RequestOutcome) {
        self.case.settle(why);
        self.transport.close();
    }
}

/// A request for the current value, on its way to the objective's `_synch_listen`.
#[derive(Debug)]
pub(crate) struct SynchRequest {
    pub(crate) session: u32,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) case: Case<RequestOutcome>,
}
