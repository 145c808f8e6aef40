//! `_synch_listen`: answers the synchronization requests for one objective with its current value (RFC 8990
//! §2.5.6.1, §2.8.10).

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Receiver;

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

fn answer(core: &Core, name: &str, request: SynchRequest) {
    let SynchRequest { session, transport, case } = request;
    let outcome = match core.node.value_for(name, session) {
        None => RequestOutcome::NotListening,
        Some(value) => {
            let deadline = Instant::now() + core.node.config.response_timeout;
            match transport.send(&encode(&value), deadline) {
                Ok(()) => RequestOutcome::ValueSent,
                Err(error) => {
                    log::debug!("no value of {name:?} to {}: {error:?}", transport.peer());
                    RequestOutcome::ValueNotSent
                }
            }
        }
    };
    case.settle(outcome);
    if outcome == RequestOutcome::ValueSent {
        core.closing.add(transport);
    } else {
        transport.close();
    }
}
