//! `_disc_relay`: relays one discovery to the other interfaces, and sends what is found there back to the
//! asker as it comes, until its time is over (RFC 8990 §2.5.4.4).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{after, bounded, select};

use super::responder;
use super::run;
use super::shares::Neighbour;
use super::slot::Slot;
use crate::core::Core;
use crate::proto::{Arrival, relayed_response};
use crate::registry::DiscoveryAnswer;
use crate::trace::Event;

/// Leaves when dropped, whatever became of the relay.
#[derive(Debug)]
struct ShareGuard {
    core: Arc<Core>,
    neighbour: Neighbour,
}

impl Drop for ShareGuard {
    fn drop(&mut self) {
        self.core.relaying.leave(self.neighbour);
    }
}

/// Relays in a thread of its own, if one is free; otherwise the discovery is dropped and counted.
pub(super) fn start(
    core: &Arc<Core>,
    asker: Arrival,
    (session, initiator): (u32, IpAddr),
    name: String,
    timeout: u64,
    datagram: Vec<u8>,
) {
    let Some((slot, taken)) = Slot::take(&core.relays, core.config.relay_limit) else {
        core.counters.dropped_relay_full.add();
        return;
    };
    // A discovery with a large loop count stays open for up to 25 s: one neighbour must not fill all relays with those.
    let neighbour = (asker.ifi, asker.source);
    if !core.relaying.enter(neighbour, core.config.relays_per_neighbour) {
        core.counters.dropped_relay_full.add();
        return;
    }
    let share = ShareGuard { core: Arc::clone(core), neighbour };
    core.counters.relays_peak.raise_to(taken);
    let spawned = run(core, "_disc_relay", move |core: &Arc<Core>| {
        let (mailbox, answers) = bounded(core.config.response_queue);
        if core.registries.sessions.open_relay(session, initiator, &name, mailbox) {
            core.counters.tracer().emit(|| Event::Relayed { session, except: asker.ifi });
            core.multicast(|_| datagram.clone(), Some(asker.ifi));
            let deadline = after(Duration::from_millis(timeout));
            loop {
                select! {
                    recv(answers) -> answer => match answer {
                        // What comes in rapid mode is for the initiator alone.
                        Ok(DiscoveryAnswer::Rapid { .. }) => core.counters.answers_unused.add(),
                        Ok(DiscoveryAnswer::Found(answer)) => {
                            let (id, now) = ((session, initiator), core.now());
                            let response =
                                core.with_node(|node| relayed_response(node, asker.ifi, id, &name, &answer, now));
                            if let Some(response) = response {
                                core.counters.answers_relayed.add();
                                responder::start(core, asker, &response);
                            } else {
                                core.counters.answers_not_relayed.add();
                            }
                        }
                        Err(_) => break,
                    },
                    recv(deadline) -> _ => break,
                }
            }
            core.registries.sessions.end_discovery(session, Some(initiator));
            core.counters.answers_unused.add_many(answers.try_iter().count());
        } else {
            core.counters.not_relayed_open.add();
        }
        drop((slot, share));
    });
    if spawned.is_err() {
        core.counters.dropped_relay_full.add();
    }
}
