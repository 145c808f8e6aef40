//! The counters of the engine. Everything that is received, sent or dropped is counted in one of them. The threads, the
//! registries and the API count; [`Engine::stats`](crate::Engine::stats) reads.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::trace::{Event, Tracer};

/// Whether a counter counts drops.
macro_rules! is_drop {
    () => {
        false
    };
    (drop) => {
        true
    };
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident $(: $kind:ident)?,)*) => {
        /// The counters of an engine at one moment. All count from its start, except those that end in `_peak`, which
        /// are high-water marks.
        ///
        /// Everything that arrives or begins has exactly one outcome, and the outcome is counted once. So these
        /// equations hold for an idle engine; while it works, the left side may be ahead. The counters are read one by
        /// one, without a lock.
        ///
        /// 1. Every message has an outcome: `multicast_received` + `unicast_datagram_received` + `messages_received`
        ///    = `dropped_undecryptable` + `dropped_oversize` + `dropped_malformed` + `dropped_queue_full` +
        ///    `dropped_bad_source` + `dropped_insecure` + `noop_received` + `dropped_unknown_type` +
        ///    `own_multicast` + `announcements_received` + `dropped_not_announced` + `dropped_misplaced` + `dropped_dull` + `dropped_link_local_flood` +
        ///    `discoveries_received` + `floods_received` + `responses_received` + `rapid_received` +
        ///    `dropped_stray_response` + `negotiation_requests` + `synchronization_requests` +
        ///    `dropped_undecodable` + `dropped_evicted` + `replies_received` + `invalid_received` +
        ///    `dropped_bad_reply` + `items_received` + `dropped_asking_link` + `dropped_lost`.
        /// 2. Every discovery: `discoveries_received` = `discoveries_answered` + `discoveries_unanswered` +
        ///    `discoveries_relayed` + `dropped_relay_full` + `not_relayed_open` + `not_relayed_merged`.
        /// 3. Every response that is to be sent: `discoveries_answered` + `answers_relayed` = `responses_sent` +
        ///    `responses_failed` + `rapid_negotiations` + `dropped_responder_full` + `dropped_asker_limit` +
        ///    `dropped_response_rate` + `dropped_repeated_discovery`.
        /// 4. Every flood: `floods_received` = `floods_relayed` + `floods_not_relayed`.
        /// 5. Every response that is accepted: `responses_received` + `rapid_received` = `answers_delivered` +
        ///    `dropped_mailbox_full` + `dropped_late_answer`.
        /// 6. Every accepted connection: `connections_accepted` = `first_messages` + `dropped_bad_request` +
        ///    `dropped_reader_full` + `dropped_reader_failed` + `dropped_outside` +
        ///    `dropped_handshake_rate`.
        /// 7. Every request: `negotiation_requests` + `synchronization_requests` + `rapid_negotiations` =
        ///    `sessions_accepted` + `session_clashes` + `session_limit` + `requests_abandoned` + `synch_sent` +
        ///    `synch_failed` + `refused_wrong_kind` + `refused_not_admitted` + `refused_not_listening` + `refused_queue_full`.
        /// 8. Every session: `sessions_opened` + `sessions_accepted` + `discoveries_begun` +
        ///    `discoveries_relayed` + `not_relayed_merged` = `sessions_ended` +
        ///    [`Engine::open_sessions`](crate::Engine::open_sessions).
        /// 9. Every connection: `connections_accepted` + `connections_opened` = `connections_closed` + the open ones:
        ///    at most one for each session, and those that wait for their peers to close them.
        /// 10. Every message sent over TCP: `messages_sent` = `responses_sent` + `synch_sent` +
        ///     `session_messages_sent` + `refusals_sent` + `neighbour_messages_sent`.
        ///
        /// What the engine cannot see, it does not count: connections that the system refuses (`nstat`), and what a peer sends
        /// on a connection that is closed without being read further. Datagrams that the system drops before the engine
        /// receives them are not received: `receive_overflows` counts them apart.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats { $($(#[doc = $doc])* pub $name: u64,)* }

        impl Stats {
            /// Every counter with its name, in the order of their definition.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }

            /// Every counter, described, in the order of their definition: for programs that show or export them.
            #[must_use]
            pub fn described(&self) -> Vec<Described> {
                vec![$(Described {
                    name: stringify!($name),
                    about: concat!($($doc),*).trim_ascii(),
                    value: self.$name,
                },)*]
            }

            /// The name of a counter, if there is one of this name.
            #[cfg(feature = "ipc")]
            pub(crate) fn name(name: &str) -> Option<&'static str> {
                [$(stringify!($name)),*].into_iter().find(|known| *known == name)
            }

            /// Sets the counter of this name, if there is one.
            #[cfg(feature = "ipc")]
            pub(crate) fn set(&mut self, name: &str, count: u64) {
                match name {
                    $(stringify!($name) => self.$name = count,)*
                    _ => {}
                }
            }
        }

        /// The live counters.
        #[derive(Debug)]
        pub(crate) struct Counters { $(pub(crate) $name: Counter,)* tracer: Tracer }

        impl Counters {
            /// Counters that report drops to `tracer`.
            pub(crate) fn new(tracer: &Tracer) -> Self {
                Self { $($name: Counter::new(stringify!($name), tracer, is_drop!($($kind)?)),)* tracer: tracer.clone() }
            }

            /// The tracer for everything besides the counters.
            pub(crate) const fn tracer(&self) -> &Tracer {
                &self.tracer
            }

            pub(crate) fn snapshot(&self) -> Stats {
                let stats = Stats { $($name: self.$name.get(),)* };
                // Equation 10, by construction.
                let messages_sent = stats.responses_sent
                    + stats.synch_sent
                    + stats.session_messages_sent
                    + stats.refusals_sent
                    + stats.neighbour_messages_sent;
                Stats { messages_sent, ..stats }
            }
        }
    };
}

/// One of [`Stats`], described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Described {
    /// The name of the field.
    pub name: &'static str,
    /// What it counts: a sentence or two.
    pub about: &'static str,
    /// The number.
    pub value: u64,
}

impl Described {
    /// Whether it is a high-water mark, and no count.
    #[must_use]
    pub fn is_peak(&self) -> bool {
        self.name.ends_with("_peak")
    }
}

/// One counter that only grows.
#[derive(Debug)]
pub(crate) struct Counter {
    number: AtomicU64,
    name: &'static str,
    /// The tracer for drops; `None` for other counters. So counting and tracing agree.
    tracer: Option<Tracer>,
}

impl Default for Counters {
    fn default() -> Self {
        Self::new(&Tracer::default())
    }
}

impl Counter {
    fn new(name: &'static str, tracer: &Tracer, is_drop: bool) -> Self {
        Self { number: AtomicU64::new(0), name, tracer: is_drop.then(|| tracer.clone()) }
    }

    pub(crate) fn add(&self) {
        self.number.fetch_add(1, Ordering::Relaxed);
        if let Some(tracer) = &self.tracer {
            tracer.emit(|| Event::Dropped { reason: self.name });
        }
    }

    /// Adds several at once, for instance bytes.
    pub(crate) fn add_many(&self, count: usize) {
        self.number.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Keeps the largest value, for high-water marks.
    pub(crate) fn raise_to(&self, value: usize) {
        self.number.fetch_max(u64::try_from(value).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }
}

counters! {
    // Datagrams in and out.
    /// Datagrams received on the multicast sockets.
    multicast_received,
    /// Datagrams received on the unicast sockets of port 7017.
    unicast_datagram_received,
    /// Bytes of all datagrams received, as they arrived.
    datagram_bytes_received,
    /// Errors that the system reported instead of a datagram.
    receive_failed: drop,
    /// Datagrams that the system dropped because the receive buffer of a socket was full: the engine is overloaded. Asked for
    /// every `watch_interval`; not in the trace.
    receive_overflows,
    /// Datagrams sent, one per interface.
    multicast_sent,
    /// Bytes of all datagrams sent.
    datagram_bytes_sent,
    /// Datagrams that could not be sent on an interface.
    multicast_send_failed: drop,

    // The outcome of a message before anything is done about it. Messages over TCP are included.
    /// Dropped: datagrams longer than the limit.
    dropped_oversize: drop,
    /// Dropped: datagrams that cannot be opened with the keys of this domain.
    dropped_undecryptable: drop,
    /// Dropped: datagrams that are not a GRASP message, or are malformed.
    dropped_malformed: drop,
    /// Dropped: a message of a type that this version does not know.
    dropped_unknown_type: drop,
    /// Dropped: a message of a type that does not belong where it arrived.
    dropped_misplaced: drop,
    /// Ignored: M_NOOP.
    noop_received: drop,
    /// Dropped: a datagram whose source is not a link-local address.
    dropped_bad_source: drop,
    /// Dropped: there is no secure substrate, or not on this interface any more.
    dropped_insecure: drop,
    /// Ignored: this engine's own multicasts.
    own_multicast: drop,
    /// Dropped: a flood whose initiator is link-local and whose loop count is not 1.
    dropped_link_local_flood: drop,
    /// Dropped by the rules for a DULL instance.
    dropped_dull: drop,
    /// Dropped: the queue between _mclisten and _mhandler, or this neighbour's share of it, was full.
    dropped_queue_full: drop,
    /// Dropped: a message without an outcome, because a panic ended its handling.
    dropped_lost: drop,
    /// High-water mark of the queue between _mclisten and _mhandler.
    queue_peak,

    // Discoveries of other nodes, and the answers to them.
    /// M_DISCOVERY received, after all filters.
    discoveries_received,
    /// Discoveries that this node answers, for itself or from its cache.
    discoveries_answered,
    /// Discoveries that are neither answered nor relayed.
    discoveries_unanswered,
    /// Answers to relayed discoveries that this node passes on to the asker.
    answers_relayed,
    /// Answers to relayed discoveries with nothing that the asker can use, or has not been given.
    answers_not_relayed,
    /// M_RESPONSE sent in answer to a discovery, or M_SYNCH in its place.
    responses_sent,
    /// Responses that could not be delivered.
    responses_failed: drop,
    /// Discoveries answered in rapid mode by a negotiation: the connection was handed to a listening ASA.
    rapid_negotiations,
    /// Dropped: responses for which no responder thread was free.
    dropped_responder_full: drop,
    /// Dropped: responses to an asker that already has as many responses in progress as it may have.
    dropped_asker_limit: drop,
    /// Dropped: responses above the rate limit: in total, for this asker, or for askers that no response has reached
    /// yet.
    dropped_response_rate: drop,
    /// Dropped: responses to a discovery that this node has answered before, if messages are protected: it may be a
    /// replayed recording.
    dropped_repeated_discovery: drop,
    /// High-water mark of the responses in progress.
    responders_peak,

    // Discoveries of this node.
    /// Discoveries started by ASAs here; each repetition counts.
    discoveries_begun,
    /// How often a discovery of an ASA joined the discovery of another, instead of sending its own.
    discoveries_joined,
    /// M_RESPONSE received and accepted.
    responses_received,
    /// Answers in rapid mode received: M_NEGOTIATE, M_WAIT, M_END or M_SYNCH in place of M_RESPONSE.
    rapid_received,
    /// Dropped: responses that belong to no open discovery.
    dropped_stray_response: drop,
    /// Dropped: responses to a relayed discovery that came from the link that asked.
    dropped_asking_link: drop,
    /// Locators in responses that cannot be true, and are not cached: those of this machine, unspecified or group
    /// addresses, and those of another link.
    locators_refused,
    /// Responses put into the mailbox of their discovery.
    answers_delivered,
    /// Dropped: an M_RESPONSE found the mailbox of its discovery full.
    dropped_mailbox_full: drop,
    /// Dropped: the discovery ended while its response was being handled. The response is in the cache nevertheless.
    dropped_late_answer: drop,
    /// Delivered but not used: the discovery already had what it needed, or the answer came in rapid mode without being
    /// asked for. The locators are in the cache nevertheless. An answer that arrives at the moment of the end is not
    /// counted here.
    answers_unused,
    /// High-water mark of the mailbox of a discovery.
    mailbox_peak,
    /// Entries evicted from the discovery cache for lack of room: objectives, and locators of an objective.
    discovery_cache_evicted,
    /// Locators and values removed from the discovery cache because they expired or their interface is gone.
    discovery_cache_expired,
    /// High-water mark of the objectives in the discovery cache.
    discovery_cache_peak,

    // Floods.
    /// M_FLOOD received, after all filters.
    floods_received,
    /// Not cached: copies of a flood that was received before.
    duplicate_floods: drop,
    /// Objectives of received floods put into the flood cache.
    flood_entries_cached,
    /// Objectives of received floods that are not cached: a DULL instance does not handle them, their tag cannot be
    /// true, or they would replace a value of this node.
    flood_entries_refused: drop,
    /// Entries evicted from the flood cache for lack of room.
    flood_cache_evicted,
    /// Entries removed from the flood cache because they expired.
    flood_cache_expired,
    /// High-water mark of the flood cache.
    flood_cache_peak,
    /// M_FLOOD sent by ASAs here.
    floods_sent,

    // Relaying.
    /// Discoveries relayed.
    discoveries_relayed,
    /// Floods relayed.
    floods_relayed,
    /// Floods not relayed: for one of the following reasons, or because there is no other interface to send them to.
    floods_not_relayed,
    /// Not relayed: the loop count was used up.
    not_relayed_loop_count: drop,
    /// Not relayed: seen before.
    not_relayed_duplicate: drop,
    /// Discoveries not relayed: one with this identifier is still being relayed.
    not_relayed_open: drop,
    /// Discoveries not relayed at once: an equal one of another initiator had just been relayed, whose answers they wait for.
    not_relayed_merged: drop,
    /// Of these, the discoveries that were relayed after all, because no answer had come.
    merged_relayed,
    /// Answers to relayed discoveries that are not passed on, because enough locators have been.
    answers_over_limit: drop,
    /// Not relayed: the rate limit for relayed discoveries, in total or for this neighbour, was reached.
    dropped_discovery_rate: drop,
    /// Not relayed: the rate limit for relayed floods, in total or for this neighbour, was reached.
    dropped_flood_rate: drop,
    /// Discoveries not relayed: no relay slot was free.
    dropped_relay_full: drop,
    /// Not relayed: another engine of this host relays for all of them.
    not_relayed_elsewhere,
    /// High-water mark of the open relayed discoveries.
    relays_peak,
    /// Identifiers of relayed or received multicasts that were forgotten early for lack of room.
    relay_memory_evicted,

    // Neighbours, where connections with them carry multicasts.
    /// Announcements of this node that went out of an interface.
    announcements_sent,
    /// Announcements of neighbours received, as datagrams and as the first messages of their connections.
    announcements_received,
    /// Dropped: what announces no neighbour by the method of this node, where only that may come.
    dropped_not_announced: drop,
    /// Neighbours that this node has become connected with.
    neighbours_joined,
    /// Of those, neighbours that it is connected with no longer.
    neighbours_left,
    /// High-water mark of the neighbours.
    neighbours_peak,
    /// Connections closed: there were too many neighbours on the link, or too many connections of this neighbour.
    dropped_neighbour_limit: drop,
    /// Connections closed with neighbours that were no longer members of the domain.
    neighbours_expelled: drop,
    /// Multicasts, each for one neighbour, and announcements that open a connection, sent or waiting for the neighbour to take them.
    neighbour_messages_sent,
    /// Of those, multicasts that a neighbour did not take in time: too many waited.
    dropped_neighbour_queue: drop,

    // Connections, and what is sent over them.
    /// TCP connections accepted.
    connections_accepted,
    /// TCP connections that could not be accepted.
    accept_failed: drop,
    /// TCP connections opened by this node.
    connections_opened,
    /// Peers that could not be connected to.
    connections_failed: drop,
    /// TCP connections closed, no matter which side opened them.
    connections_closed,
    /// Of those, connections that this node reset: it had sent the last message, and the peer did not close in time.
    connections_reset,
    /// TCP connections with peers that are no members of the domain, do not speak TLS, or cannot be neighbours: their names have no address.
    connections_not_secured: drop,
    /// Messages, or other CBOR items, sent over TCP.
    messages_sent,
    /// Complete messages, or other CBOR items, received over TCP.
    messages_received,
    /// Bytes sent over TCP, as sent.
    bytes_sent,
    /// Bytes received over TCP, as received.
    bytes_received,
    /// Accepted connections that sent, in time, a message that is or may be a valid first one.
    first_messages,
    /// Connections closed: all readers were busy, and this one had waited longest.
    dropped_reader_full: drop,
    /// Connections closed: no thread could be started to read from them.
    dropped_reader_failed: drop,
    /// Dropped: connections that came in on an interface that must not be used.
    dropped_outside: drop,
    /// Connections closed: too many peers that had not authenticated before wanted to, where TLS secures connections.
    dropped_handshake_rate: drop,
    /// Connections closed: no complete request arrived in time, or a broken one did.
    dropped_bad_request: drop,
    /// Of those, connections with a complete CBOR item that is not a GRASP message.
    dropped_undecodable: drop,
    /// Dropped: a message arrived on a connection that had just been closed to make room.
    dropped_evicted: drop,
    /// High-water mark of the connections that wait for their first message.
    readers_peak,

    // Requests and sessions.
    /// M_REQ_NEG received.
    negotiation_requests,
    /// M_REQ_SYN received.
    synchronization_requests,
    /// Requests closed because no ASA listens for the objective or has registered it.
    refused_not_listening: drop,
    /// Requests closed because the maximum number of requests was already waiting.
    refused_queue_full: drop,
    /// Requests closed because their kind does not fit the objective.
    refused_wrong_kind: drop,
    /// Requests refused by an ASA's own hook, [`Engine::admit`](crate::Engine::admit).
    refused_not_admitted: drop,
    /// Requests whose listener was deregistered or shut down at the moment when it got them, or for which no thread
    /// could be started to wait for a listener.
    requests_abandoned: drop,
    /// Peers told that their request is refused because of a limit, or by an ASA's hook: M_END with O_DECLINE.
    refusals_sent,
    /// High-water mark of the requests that wait for one listener.
    request_queue_peak,
    /// M_SYNCH sent in answer to a request.
    synch_sent,
    /// M_SYNCH that could not be sent.
    synch_failed: drop,
    /// Sessions opened by ASAs here.
    sessions_opened,
    /// Sessions opened by peers.
    sessions_accepted,
    /// Sessions ended, by either side, and discoveries ended, this node's own and relayed ones.
    sessions_ended,
    /// Of those, sessions whose peer closed the connection long before, and which their ASA had not ended.
    sessions_abandoned,
    /// High-water mark of the open sessions.
    sessions_peak,
    /// Sessions refused because their identifier was in use with the same peer.
    session_clashes: drop,
    /// Sessions of peers refused because of the limit on sessions.
    session_limit: drop,
    /// Sessions that ASAs here could not open because of the limit on sessions.
    sessions_not_opened: drop,
    /// Messages sent in sessions by ASAs here: requests, steps, ends, and the messages of `gsend`.
    session_messages_sent,
    /// Messages of a session that could not be sent. The session has ended.
    session_sends_failed: drop,
    /// Valid answers received in sessions: M_NEGOTIATE, M_WAIT, M_END, M_SYNCH.
    replies_received,
    /// M_INVALID received in sessions.
    invalid_received,
    /// Answers received in sessions that fit no step, or are not messages. The session has ended.
    dropped_bad_reply: drop,
    /// Waits for an answer that ended without one. The session has ended.
    replies_missing,
    /// CBOR items received by `grecv`.
    items_received,

    // Other engines of this host.
    /// Datagrams and questions that this engine has heard at port 7017 and handed on, one for each other engine of the host.
    handed_on,
    /// Dropped: what another engine of the host had no room for.
    dropped_handed_on: drop,
    /// Connections of other processes of this host closed: of other users, with no message of ours, or one too many.
    members_refused: drop,

    // The engine itself.
    /// Threads that panicked. Always 0 unless this engine has a bug.
    panics: drop,
    /// Threads that could not be started.
    thread_failed: drop,
    /// High-water mark of the threads.
    threads_peak,
    /// Interfaces that were taken into use.
    interfaces_added,
    /// Interfaces that are no longer used.
    interfaces_removed,
    /// Interfaces that could be used but are left out; counted each time that this or its reason changes.
    interfaces_left_out,
    /// How often an interface could not be taken into use.
    interfaces_failed: drop,
    /// Events that are missing in the capture ([`Config::pcap`](crate::Config::pcap)) because the disk was too slow.
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
        let described = counters.snapshot().described();
        let named: Vec<_> = described.iter().map(|one| (one.name, one.value)).collect();
        assert_eq!(named, counters.snapshot().named());
        assert!(
            described.iter().all(|one| one.about.ends_with('.') && !one.about.contains('\n')),
            "{described:#?}"
        );
        assert_eq!(described.iter().find(|one| one.is_peak()).map(|one| one.name), Some("queue_peak"));
        let counted = counters.snapshot().named();
        assert!(reasons.iter().all(|reason| counted.contains(&(reason, 1))));
    }
}
