//! What a peer that connects to an objective's port may ask (RFC 8990 §2.8.6).

use crate::registry::Kind;
use crate::types::Objective;
use crate::wire::{Body, Flags, Message};

/// The first message on a connection, sorted.
#[derive(Debug, PartialEq)]
pub(crate) enum Request {
    /// M_REQ_NEG for an objective that is negotiated here.
    Negotiate { session: u32, objective: Objective },
    /// M_REQ_SYN for an objective that is synchronized here.
    Synchronize { session: u32, name: String },
    /// A request of the other kind than the objective's.
    WrongKind,
    /// A request for something that is not registered here.
    Unregistered,
    /// Not a request at all.
    Other,
}

/// Sorts a request. `registered` says of which kind an objective of this node is, by name: any of its ports will do
/// for any of its objectives, as in graspy.
pub(crate) fn classify_request(message: Message, registered: impl Fn(&str) -> Option<Kind>) -> Request {
    let (negotiate, step) = match message.body {
        Body::RequestNegotiate(step) => (true, step),
        Body::RequestSynchronize(step) => (false, step),
        _ => return Request::Other,
    };
    let Some(own) = registered(&step.objective.name) else { return Request::Unregistered };
    let flags = step.objective.flags;
    match negotiate {
        // RFC 8990 §2.10.3: negotiation objectives are negotiated, synchronization objectives synchronized. One that says it
        // is both would be refused by every call of the ASA that took it up.
        true if own.neg && flags.has(Flags::F_NEG) && !flags.has(Flags::F_SYNCH) => {
            Request::Negotiate { session: step.session, objective: step.objective.into_objective() }
        }
        false if own.synch && !flags.has(Flags::F_NEG) => {
            Request::Synchronize { session: step.session, name: step.objective.name }
        }
        _ => Request::WrongKind,
    }
}
