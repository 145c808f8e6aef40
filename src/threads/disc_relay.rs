//! `_disc_relay`: relays one discovery to the other interfaces, and sends what is found there back to the
//! asker as it comes, until its time is over (RFC 8990 §2.5.4.4).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, after, bounded, select};

use super::responder;
use super::run;
use super::shares::Neighbour;
use super::slot::Slot;
use crate::core::Core;
use crate::proto::{Arrival, relayed_response};
use crate::registry::{DiscoveryAnswer, Found};
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
            let relay = Relay { core, asker, id: (session, initiator), name: &name, answers };
            core.counters.tracer().emit(|| Event::Relayed { session, except: asker.ifi });
            core.multicast(|_| datagram.clone(), Some(asker.ifi));
            relay.pass_on(Duration::from_millis(timeout));
        } else {
            core.counters.not_relayed_open.add();
        }
        drop((slot, share));
    });
    if spawned.is_err() {
        core.counters.dropped_relay_full.add();
    }
}

/// A relayed discovery that is open. Its session ends when it is dropped, whatever became of it.
struct Relay<'a> {
    core: &'a Arc<Core>,
    asker: Arrival,
    id: (u32, IpAddr),
    name: &'a str,
    answers: Receiver<DiscoveryAnswer>,
}

impl Relay<'_> {
    /// Sends what comes to the asker, until the time is over or the engine ends.
    fn pass_on(&self, time: Duration) {
        let deadline = after(time);
        loop {
            select! {
                recv(self.answers) -> answer => match answer {
                    // What comes in rapid mode is for the initiator alone.
                    Ok(DiscoveryAnswer::Rapid { .. }) => self.core.counters.answers_unused.add(),
                    Ok(DiscoveryAnswer::Found(answer)) => self.respond(&answer),
                    Err(_) => return,
                },
                recv(deadline) -> _ => return,
                // Shutdown ends the sessions that it finds: this one may have come just then.
                recv(self.core.stop_signal()) -> _ => return,
            }
        }
    }

    fn respond(&self, answer: &Found) {
        let Self { core, asker, id, name, .. } = self;
        let now = core.now();
        let response = core.with_node(|node| relayed_response(node, asker.ifi, *id, name, answer, now));
        if let Some(response) = response {
            core.counters.answers_relayed.add();
            responder::start(core, *asker, &response);
        } else {
            core.counters.answers_not_relayed.add();
        }
    }
}

impl Drop for Relay<'_> {
    fn drop(&mut self) {
        let (session, initiator) = self.id;
        self.core.registries.sessions.end_discovery(session, Some(initiator));
        self.core.counters.answers_unused.add_many(self.answers.try_iter().count());
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;
    use std::time::Instant;

    use super::*;
    use crate::threads::tests::core;

    #[test]
    fn shutdown_waits_for_no_relay_that_has_just_begun() {
        let asker = Arrival { ifi: 2, source: Ipv6Addr::LOCALHOST, port: 1, multicast: true };
        let started = Instant::now();
        for _ in 0..50 {
            let core = core();
            // What the largest loop count gives: longer than shutdown waits.
            start(&core, asker, (7, asker.source.into()), "EX1".to_owned(), 25_000, Vec::new());
            core.shutdown();
            assert_eq!((core.threads.count(), core.registries.sessions.open_count()), (0, 0));
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }
}
