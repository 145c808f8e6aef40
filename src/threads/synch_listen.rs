//! `_synch_listen`: answers the synchronization requests for one objective with its current value (RFC 8990
//! §2.5.6.1, §2.8.10). The thread that has received a request sends a short value itself: no peer can make that wait.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Receiver;

use super::responder::SMALL;
use super::{contain, spawn};
use crate::core::Core;
use crate::outcome::RequestOutcome;
use crate::registry::SynchRequest;
use crate::wire::encode;

/// Starts the thread of an objective. It ends once nobody can send it requests any more: after `stop_synchronize`,
/// deregistration or shutdown.
pub(crate) fn start(core: &Arc<Core>, name: String, requests: Receiver<SynchRequest>) -> io::Result<()> {
    spawn(core, "_synch_listen", move |core| {
        for request in requests {
            // A panic must not end serving.
            contain(core, "answering with a value", || answer(core, &name, request));
        }
    })
}

/// Answers a request in the thread that has received it. Returns the request if the value is too long for that.
pub(super) fn answer_at_once(core: &Core, name: &str, request: SynchRequest) -> Option<SynchRequest> {
    match core.node.value_for(name, request.session).map(|value| encode(&value)) {
        Some(value) if value.len() > SMALL => return Some(request),
        value => tell(core, name, request, value),
    }
    None
}

fn answer(core: &Core, name: &str, request: SynchRequest) {
    let value = core.node.value_for(name, request.session).map(|value| encode(&value));
    tell(core, name, request, value);
}

/// Sends the value, if the objective still has one.
fn tell(core: &Core, name: &str, request: SynchRequest, value: Option<Vec<u8>>) {
    let SynchRequest { transport, case, .. } = request;
    let outcome = match value {
        None => RequestOutcome::NotListening,
        Some(value) => match transport.send(&value, Instant::now() + core.node.config.response_timeout) {
            Ok(()) => RequestOutcome::ValueSent,
            Err(error) => {
                log::debug!("no value of {name:?} to {}: {error:?}", transport.peer());
                RequestOutcome::ValueNotSent
            }
        },
    };
    case.settle(outcome);
    if outcome == RequestOutcome::ValueSent {
        core.closing.add(transport);
    } else {
        transport.close();
    }
}
