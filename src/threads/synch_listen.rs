//! `_synch_listen`: answers the synchronization requests for one objective with its current value (RFC 8990
//! §2.5.6.1, §2.8.10).

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Receiver;

use super::{contain, spawn};
use crate::core::Core;
use crate::registry::SynchRequest;
use crate::wire::{Body, Message, Step, WireObjective, encode};

/// Starts the thread of an objective. It ends when nobody can send it requests any more: after
/// `stop_synchronize`, deregistration or shutdown.
pub(crate) fn start(core: &Arc<Core>, name: String, requests: Receiver<SynchRequest>) -> io::Result<()> {
    spawn(core, "_synch_listen", move |core| {
        for request in requests {
            // A panic must not end serving.
            contain(core, "answering with a value", || answer(core, &name, &request));
            request.transport.close();
        }
    })
}

fn answer(core: &Core, name: &str, request: &SynchRequest) {
    let Some(objective) = core.registries.objectives.get(name) else {
        core.counters.refused_not_listening.add();
        return;
    };
    let step = Step { session: request.session, objective: WireObjective::from(objective) };
    let deadline = Instant::now() + core.config.response_timeout;
    match request.transport.send(&encode(&Message::new(Body::Synch(step))), deadline) {
        Ok(()) => core.counters.synch_sent.add(),
        Err(error) => {
            core.counters.synch_failed.add();
            log::debug!("no value of {name:?} to {}: {error:?}", request.transport.peer());
        }
    }
}
