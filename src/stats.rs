//! What the engine counts. Everything that is received, sent or dropped is in one of these numbers; the
//! threads and the API count, [`Engine::stats`](crate::Engine::stats) reads.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::trace::{Event, Tracer};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of an engine at one moment. All count from its start.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats { $($(#[$doc])* pub $name: u64,)* }

        impl Stats {
            /// Every counter with its name, in the order of their definition.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }

        /// The living counters.
        #[derive(Debug)]
        pub(crate) struct Counters { $(pub(crate) $name: Counter,)* }

        impl Counters {
            /// Counters that tell what is dropped.
            pub(crate) fn new(tracer: &Tracer) -> Self {
                Self { $($name: Counter::new(stringify!($name), tracer),)* }
            }

            pub(crate) fn snapshot(&self) -> Stats {
                Stats { $($name: self.$name.get(),)* }
            }
        }
    };
}

/// One number that only grows.
#[derive(Debug)]
pub(crate) struct Counter {
    number: AtomicU64,
    name: &'static str,
    /// Who is told: only of what is dropped, so that counting and tracing agree.
    tracer: Option<Tracer>,
}

impl Default for Counters {
    fn default() -> Self {
        Self::new(&Tracer::default())
    }
}

/// Whether a counter counts what is dropped, refused, ignored or failed, rather than what is done.
fn is_drop(name: &str) -> bool {
    let kinds = ["dropped_", "refused_", "not_relayed_"];
    let others = [
        "multicast_send_failed",
        "noop_received",
        "own_multicast",
        "responses_failed",
        "duplicate_floods",
        "accept_failed",
        "session_clashes",
        "session_limit",
        "panics",
        "thread_failed",
    ];
    kinds.iter().any(|kind| name.starts_with(kind)) || others.contains(&name)
}

impl Counter {
    fn new(name: &'static str, tracer: &Tracer) -> Self {
        Self { number: AtomicU64::new(0), name, tracer: is_drop(name).then(|| tracer.clone()) }
    }

    pub(crate) fn add(&self) {
        self.number.fetch_add(1, Ordering::Relaxed);
        if let Some(tracer) = &self.tracer {
            tracer.emit(|| Event::Dropped { reason: self.name });
        }
    }

    /// Keeps the largest value seen: for high-water marks.
    pub(crate) fn raise_to(&self, value: usize) {
        self.number.fetch_max(u64::try_from(value).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }
}

counters! {
    /// Datagrams received on the multicast sockets.
    multicast_received,
    /// Datagrams received on the unicast sockets of port 7017.
    unicast_datagram_received,
    /// Datagrams sent, one per interface.
    multicast_sent,
    /// Datagrams that could not be sent on an interface.
    multicast_send_failed,
    /// Dropped: datagrams longer than the limit.
    dropped_oversize,
    /// Dropped: datagrams that do not open with the keys of this domain.
    dropped_undecryptable,
    /// Dropped: not a GRASP message, or not in its shape.
    dropped_malformed,
    /// Dropped: a message type that this version does not know.
    dropped_unknown_type,
    /// Dropped: a message type that does not belong where it came.
    dropped_misplaced,
    /// Ignored: M_NOOP.
    noop_received,
    /// Dropped: a datagram whose source is not a link-local address.
    dropped_bad_source,
    /// Dropped: there is no secure substrate.
    dropped_insecure,
    /// Ignored: this engine's own multicasts.
    own_multicast,
    /// Dropped: a flood whose initiator is link-local and whose loop count is not 1.
    dropped_link_local_flood,
    /// Dropped by the rules for a DULL instance.
    dropped_dull,
    /// Dropped: the queue between _mclisten and _mhandler was full.
    dropped_queue_full,
    /// High-water mark of that queue.
    queue_peak,
    /// M_DISCOVERY received, after all filters.
    discoveries_received,
    /// Discoveries that nothing here answers.
    discoveries_unanswered,
    /// M_RESPONSE sent in answer to a discovery.
    responses_sent,
    /// Responses that could not be delivered.
    responses_failed,
    /// Dropped: responses for which no responder thread was free.
    dropped_responder_full,
    /// Dropped: responses to an asker that has as many on their way as it may.
    dropped_asker_limit,
    /// M_RESPONSE received and accepted.
    responses_received,
    /// Answers in rapid mode received: M_NEGOTIATE, M_WAIT, M_END or M_SYNCH in place of M_RESPONSE.
    rapid_received,
    /// Dropped: responses of no discovery that is open here.
    dropped_stray_response,
    /// Dropped: an M_RESPONSE found the mailbox of its discovery full.
    dropped_mailbox_full,
    /// M_FLOOD received, after all filters.
    floods_received,
    /// Not cached: copies of a flood that has come before.
    duplicate_floods,
    /// Objectives put into the flood cache.
    flood_entries_cached,
    /// M_FLOOD sent by ASAs here.
    floods_sent,
    /// Discoveries relayed.
    discoveries_relayed,
    /// Floods relayed.
    floods_relayed,
    /// Not relayed: the loop count was used up.
    not_relayed_loop_count,
    /// Not relayed: seen before.
    not_relayed_duplicate,
    /// Not relayed: the rate at which discoveries are relayed, in all or for this neighbour, was reached.
    dropped_discovery_rate,
    /// Not relayed: the rate at which floods are relayed, in all or for this neighbour, was reached.
    dropped_flood_rate,
    /// Not relayed: no relay was free.
    dropped_relay_full,
    /// TCP connections accepted.
    connections_accepted,
    /// TCP connections that could not be accepted.
    accept_failed,
    /// Connections closed: all readers were busy and this one had waited longest.
    dropped_reader_full,
    /// Connections closed: no complete request in time, or a broken one.
    dropped_bad_request,
    /// M_REQ_NEG received.
    negotiation_requests,
    /// M_REQ_SYN received.
    synchronization_requests,
    /// Requests closed because nobody listens for the objective.
    refused_not_listening,
    /// Requests closed because as many as allowed were already waiting.
    refused_queue_full,
    /// Requests closed because their kind does not fit the objective.
    refused_wrong_kind,
    /// M_SYNCH sent.
    synch_sent,
    /// Sessions opened by ASAs here.
    sessions_opened,
    /// Sessions opened by peers.
    sessions_accepted,
    /// Sessions refused because their identifier was in use with the same peer.
    session_clashes,
    /// Sessions refused or ended because of the limit on sessions.
    session_limit,
    /// Threads that panicked. Always 0 unless this engine has a bug.
    panics,
    /// Threads that could not be started.
    thread_failed,
    /// Interfaces that came into use.
    interfaces_added,
    /// Interfaces that went out of use.
    interfaces_removed,
    /// Events that did not get into the capture ([`Config::pcap`](crate::Config::pcap)), because the disk was too slow.
    capture_lost,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_as_dropped_is_told_by_the_same_name_and_nothing_else_is() {
        let tracer = Tracer::default();
        let counters = Counters::new(&tracer);
        let trace = tracer.subscribe(10);
        counters.multicast_received.add();
        counters.dropped_malformed.add();
        counters.not_relayed_duplicate.add();
        counters.responses_sent.add();
        counters.refused_not_listening.add();
        tracer.end();
        let reasons: Vec<_> = trace
            .filter_map(|event| match event.event {
                Event::Dropped { reason } => Some(reason),
                _ => None,
            })
            .collect();
        assert_eq!(reasons, ["dropped_malformed", "not_relayed_duplicate", "refused_not_listening"]);
        let counted = counters.snapshot().named();
        assert!(reasons.iter().all(|reason| counted.contains(&(reason, 1))));
    }
}
