//! `_disc_relay`: relays one discovery to the other interfaces, and sends the answers back to the asker as they arrive,
//! until the relay's time is over (RFC 8990 §2.5.4.4). One that is merged with an equal discovery goes on after a while.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{after, bounded, never, select};

use super::responder;
use super::run;
use crate::core::Core;
use crate::node::{Links, RelayTask};

/// Relays in a separate thread. If none can be started, the task is dropped and counted.
pub(super) fn start(core: &Arc<Core>, task: RelayTask) {
    // `run` has logged its error, and the task counts that it was not opened.
    let _ = run(core, "_disc_relay", move |core: &Arc<Core>| relay(core, task));
}

fn relay(core: &Arc<Core>, mut task: RelayTask) {
    let (mailbox, answers) = bounded(core.node.config.response_queue);
    let datagram = std::mem::take(&mut task.datagram);
    let deadline = after(Duration::from_millis(task.timeout));
    let Some(mut relay) = task.open(Arc::new(mailbox), core.now()) else { return };
    let send = |links: Option<Links>| {
        links.into_iter().for_each(|links| core.multicast(|_| datagram.clone(), links));
    };
    send(relay.links());
    let goes_on = relay.goes_on_after().map_or_else(never, |wait| after(Duration::from_millis(wait)));
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
            recv(goes_on) -> _ => send(relay.go_on(core.now())),
            recv(deadline) -> _ => break,
            // Shutdown ends the sessions that it finds; this one may have been added afterwards.
            recv(core.stop_signal()) -> _ => break,
        }
    }
    relay.leave(answers.try_iter().count());
}
