//! `_disc_relay`: relays one discovery to the other interfaces, and sends the answers back to the asker as they arrive,
//! until the relay's time is over (RFC 8990 §2.5.4.4).

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{after, bounded, select};

use super::responder;
use super::run;
use crate::core::Core;
use crate::node::RelayTask;

/// Relays in a separate thread. If none can be started, the task is dropped and counted.
pub(super) fn start(core: &Arc<Core>, task: RelayTask) {
    // `run` has logged its error, and the task counts that it was not opened.
    let _ = run(core, "_disc_relay", move |core: &Arc<Core>| relay(core, task));
}

fn relay(core: &Arc<Core>, mut task: RelayTask) {
    let (mailbox, answers) = bounded(core.node.config.response_queue);
    let (datagram, except) = (std::mem::take(&mut task.datagram), task.asker.ifi);
    let deadline = after(Duration::from_millis(task.timeout));
    let Some(relay) = task.open(Arc::new(mailbox), core.now()) else { return };
    core.multicast(|_| datagram.clone(), Some(except));
    loop {
        select! {
            recv(answers) -> answer => match answer {
                Ok(answer) => {
                    if let Some(response) = relay.pass_on(&answer, core.now()) {
                        responder::start(core, response);
                    }
                }
                // Another relay needs the permit.
                Err(_) => break,
            },
            recv(deadline) -> _ => break,
            // Shutdown ends the sessions that it finds; this one may have been added afterwards.
            recv(core.stop_signal()) -> _ => break,
        }
    }
    relay.leave(answers.try_iter().count());
}
