//! What happens to everything that arrives or begins. Each such thing is a [`Case`], which is opened once and counted
//! then. Its outcome is one value, which counts what happened to it, and reports it to the trace if the counter is one
//! of drops. A case that is dropped without an outcome, for instance because its thread could not be started, gets the
//! outcome that its kind declares for this. So the equations of [`Stats`](crate::Stats) hold by construction.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::stats::{Counter, Counters};

/// One kind of outcome, with the counter for each value.
pub(crate) trait Outcome: Copy {
    /// The outcome of a case that was never settled.
    const LOST: Self;

    fn counter(self, counters: &Counters) -> &Counter;
}

/// Something that needs an outcome.
#[derive(Debug)]
#[must_use = "a case that is dropped counts as lost"]
pub(crate) struct Case<O: Outcome> {
    counters: Option<Arc<Counters>>,
    /// The counter of the arrival, if it is to be counted together with the outcome.
    arrival: Option<Which>,
    outcome: PhantomData<O>,
}

/// Chooses a counter.
type Which = fn(&Counters) -> &Counter;

impl<O: Outcome> Case<O> {
    /// Opens a case and counts its arrival or beginning.
    pub(crate) fn open(counters: &Arc<Counters>, arrival: impl FnOnce(&Counters) -> &Counter) -> Self {
        arrival(counters).add();
        Self { counters: Some(Arc::clone(counters)), arrival: None, outcome: PhantomData }
    }

    /// Opens a case whose beginning is counted only together with its outcome, when it is taken up.
    pub(crate) fn deferred(counters: &Arc<Counters>, arrival: Which) -> Self {
        Self { counters: Some(Arc::clone(counters)), arrival: Some(arrival), outcome: PhantomData }
    }

    /// Closes the case without counting: it was never taken up, or its outcome is counted elsewhere.
    pub(crate) fn withdraw(mut self) {
        self.counters = None;
    }

    /// Counts the outcome.
    pub(crate) fn settle(mut self, outcome: O) {
        self.count(outcome);
    }

    /// Counts the outcome, and opens the next case, which begins with this outcome.
    pub(crate) fn becomes<N: Outcome>(mut self, outcome: O) -> Case<N> {
        Case { counters: self.count(outcome), arrival: None, outcome: PhantomData }
    }

    fn count(&mut self, outcome: O) -> Option<Arc<Counters>> {
        let counters = self.counters.take()?;
        self.arrival.into_iter().for_each(|arrival| arrival(&counters).add());
        outcome.counter(&counters).add();
        Some(counters)
    }
}

impl<O: Outcome> Drop for Case<O> {
    fn drop(&mut self) {
        self.count(O::LOST);
    }
}

macro_rules! outcomes {
    ($($(#[$doc:meta])* $name:ident, lost $lost:ident { $($variant:ident => $counter:ident,)* })*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($variant,)* }

        impl Outcome for $name {
            const LOST: Self = Self::$lost;

            fn counter(self, counters: &Counters) -> &Counter {
                match self { $(Self::$variant => &counters.$counter,)* }
            }
        }
    )* };
}

outcomes! {
    /// The outcome of a message: a datagram, or an item over TCP.
    MessageOutcome, lost Lost {
        Undecryptable => dropped_undecryptable,
        Oversize => dropped_oversize,
        Malformed => dropped_malformed,
        QueueFull => dropped_queue_full,
        BadSource => dropped_bad_source,
        Insecure => dropped_insecure,
        Noop => noop_received,
        UnknownType => dropped_unknown_type,
        Own => own_multicast,
        Announced => announcements_received,
        NotAnnounced => dropped_not_announced,
        Misplaced => dropped_misplaced,
        Dull => dropped_dull,
        LinkLocalFlood => dropped_link_local_flood,
        Discovery => discoveries_received,
        Flood => floods_received,
        Response => responses_received,
        Rapid => rapid_received,
        StrayResponse => dropped_stray_response,
        AskingLink => dropped_asking_link,
        NegotiationRequest => negotiation_requests,
        SynchronizationRequest => synchronization_requests,
        Undecodable => dropped_undecodable,
        Evicted => dropped_evicted,
        Reply => replies_received,
        Invalid => invalid_received,
        BadReply => dropped_bad_reply,
        Item => items_received,
        Lost => dropped_lost,
    }

    /// The outcome of a discovery that is to be handled.
    DiscoveryOutcome, lost Unanswered {
        Answered => discoveries_answered,
        Unanswered => discoveries_unanswered,
        Relayed => discoveries_relayed,
        RelayFull => dropped_relay_full,
        RelayOpen => not_relayed_open,
        Merged => not_relayed_merged,
    }

    /// The outcome of a response that is to be sent.
    ResponseOutcome, lost ResponderFull {
        Sent => responses_sent,
        Failed => responses_failed,
        ResponderFull => dropped_responder_full,
        AskerLimit => dropped_asker_limit,
        Rate => dropped_response_rate,
        Repeated => dropped_repeated_discovery,
    }

    /// The outcome of a flood that is to be handled.
    FloodOutcome, lost NotRelayed {
        Relayed => floods_relayed,
        NotRelayed => floods_not_relayed,
    }

    /// The outcome of an answer that a discovery waits for.
    AnswerOutcome, lost Late {
        Delivered => answers_delivered,
        MailboxFull => dropped_mailbox_full,
        Late => dropped_late_answer,
    }

    /// The outcome of an accepted connection.
    ConnectionOutcome, lost ReaderFailed {
        FirstMessage => first_messages,
        BadRequest => dropped_bad_request,
        ReaderFull => dropped_reader_full,
        ReaderFailed => dropped_reader_failed,
        Outside => dropped_outside,
        HandshakeRate => dropped_handshake_rate,
    }

    /// The outcome of a request to negotiate or synchronize.
    RequestOutcome, lost Abandoned {
        Accepted => sessions_accepted,
        Clash => session_clashes,
        SessionLimit => session_limit,
        Abandoned => requests_abandoned,
        ValueSent => synch_sent,
        ValueNotSent => synch_failed,
        WrongKind => refused_wrong_kind,
        NotAdmitted => refused_not_admitted,
        NotListening => refused_not_listening,
        QueueFull => refused_queue_full,
    }
}

/// Why a multicast is not relayed although it could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotRelayed {
    LoopCount,
    Duplicate,
    DiscoveryRate,
    FloodRate,
    Elsewhere,
}

impl NotRelayed {
    pub(crate) fn count(self, counters: &Counters) {
        let counter = match self {
            Self::LoopCount => &counters.not_relayed_loop_count,
            Self::Duplicate => &counters.not_relayed_duplicate,
            Self::DiscoveryRate => &counters.dropped_discovery_rate,
            Self::FloodRate => &counters.dropped_flood_rate,
            Self::Elsewhere => &counters.not_relayed_elsewhere,
        };
        counter.add();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_has_one_outcome_whatever_becomes_of_it() {
        let counters = Arc::<Counters>::default();
        let open = || Case::<MessageOutcome>::open(&counters, |count| &count.multicast_received);
        open().settle(MessageOutcome::Oversize);
        drop(open());
        let discovery: Case<DiscoveryOutcome> = open().becomes(MessageOutcome::Discovery);
        let response: Case<ResponseOutcome> = discovery.becomes(DiscoveryOutcome::Answered);
        drop(response);
        let stats = counters.snapshot();
        assert_eq!((stats.multicast_received, stats.dropped_oversize, stats.dropped_lost), (3, 1, 1));
        assert_eq!((stats.discoveries_received, stats.discoveries_answered), (1, 1));
        assert_eq!(stats.dropped_responder_full, 1);
        let deferred = || Case::<RequestOutcome>::deferred(&counters, |count| &count.rapid_negotiations);
        deferred().withdraw();
        deferred().settle(RequestOutcome::Accepted);
        drop(deferred());
        let stats = counters.snapshot();
        assert_eq!((stats.rapid_negotiations, stats.sessions_accepted, stats.requests_abandoned), (2, 1, 1));
    }
}
