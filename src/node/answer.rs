//! Handles answers to discoveries, to this node's own and to relayed ones (RFC 8990 §2.5.4.3, §2.8.5).

use std::net::Ipv6Addr;
use std::sync::Arc;

use super::Node;
use super::discovery::LONG;
use super::locators::{Via, acceptable};
use crate::outcome::{AnswerOutcome, Case, MessageOutcome};
use crate::registry::{DiscoveryAnswer, Found, Mailbox, RapidValue, Transport, Undelivered};
use crate::types::{AsaLocator, SessionId};
use crate::wire::{Body, Message, Response, WireLocator, WireOption};

impl Node {
    /// Handles a message that arrived on the port that a discovery was sent from: caches it, and puts it into the
    /// mailbox of the waiting discovery. The connection goes along if it may be needed, and closes when it is dropped.
    pub(crate) fn answer(
        &self,
        ifi: u32,
        transport: &Arc<dyn Transport>,
        message: Message,
        case: Case<MessageOutcome>,
        now: u64,
    ) {
        if !self.may_handle() {
            return case.settle(MessageOutcome::Insecure);
        }
        // RFC 8990 §2.5.2: a DULL instance accepts nothing from beyond the link.
        if self.config.dull && !transport.peer().is_unicast_link_local() {
            return case.settle(MessageOutcome::Dull);
        }
        let session = match &message.body {
            Body::Response(response) => return self.response(ifi, transport.peer(), response, case, now),
            // RFC 8990 §2.5.4.5: in rapid mode these arrive instead of M_RESPONSE.
            Body::Negotiate(step) | Body::Synch(step) if !self.config.dull => step.session,
            Body::End { session, .. } | Body::Wait { session, .. } if !self.config.dull => *session,
            _ => return case.settle(MessageOutcome::Misplaced),
        };
        let Some(mailbox) = self.registries.sessions.own_mailbox(session) else {
            return case.settle(MessageOutcome::StrayResponse);
        };
        let answer = DiscoveryAnswer::Rapid { message, transport: Arc::clone(transport) };
        self.deliver(mailbox.as_ref(), answer, case.becomes(MessageOutcome::Rapid));
    }

    /// Handles an M_RESPONSE if a discovery with this session and initiator is open (§2.8.5) and has asked on the link
    /// it came from.
    pub(super) fn response(
        &self,
        ifi: u32,
        peer: Ipv6Addr,
        response: &Response,
        case: Case<MessageOutcome>,
        now: u64,
    ) {
        let id = SessionId { session: response.session, initiator: response.initiator };
        let Some(waiting) = self.registries.sessions.waiting(id) else {
            return case.settle(MessageOutcome::StrayResponse);
        };
        // A relay asks on the other links. A node on the asker's own link can answer directly; an answer from it here
        // could only be forged.
        if waiting.asker_ifi == Some(ifi) {
            return case.settle(MessageOutcome::AskingLink);
        }
        let case = case.becomes(MessageOutcome::Response);
        let ttl = if response.ttl == 0 { LONG } else { response.ttl }.min(self.config.learned_ttl_limit);
        let expire = now.saturating_add(ttl.into());
        let locators = self.believed(ifi, peer, response, expire);
        let rapid = response
            .objective
            .as_ref()
            .filter(|objective| objective.name == *waiting.name && objective.value.is_some())
            .map(|objective| RapidValue { objective: objective.to_objective(), expire })
            .filter(|rapid| rapid.objective.synch);
        let said = locators.len();
        let locators = self.registries.discovery.insert(&waiting.name, locators, rapid, now);
        let stale = locators.is_empty() && said > 0;
        let found = Found { locators, ttl, ifi, stale };
        self.deliver(waiting.mailbox.as_ref(), DiscoveryAnswer::Found(found), case);
    }

    /// Returns the plausible locators of a response.
    fn believed(&self, ifi: u32, peer: Ipv6Addr, response: &Response, expire: u64) -> Vec<AsaLocator> {
        let mut locators = Vec::new();
        for option in &response.options {
            let (found, diverted): (&[WireLocator], bool) = match option {
                WireOption::Locator(locator) => (std::slice::from_ref(locator), false),
                // RFC 8990 §2.5.2: a DULL instance neither sends nor accepts a Divert.
                WireOption::Divert(locators) if !self.config.dull => (locators, true),
                WireOption::Divert(_) | WireOption::Other(_) => continue,
            };
            let via = if diverted { Via::Relay } else { Via::Link(peer) };
            let (good, bad): (Vec<_>, Vec<_>) = found.iter().partition(|one| acceptable(&one.locator, via));
            self.counters.locators_refused.add_many(bad.len());
            locators
                .extend(good.into_iter().map(|one| one.clone().into_locator(Some(ifi), expire, diverted)));
        }
        locators
    }

    fn deliver(&self, mailbox: &dyn Mailbox, answer: DiscoveryAnswer, case: Case<AnswerOutcome>) {
        match mailbox.put(answer) {
            Ok(waiting) => {
                self.counters.mailbox_peak.raise_to(waiting);
                case.settle(AnswerOutcome::Delivered);
            }
            Err(Undelivered::Full) => case.settle(AnswerOutcome::MailboxFull),
            // The discovery has just ended; the answer is in the cache.
            Err(Undelivered::Gone) => case.settle(AnswerOutcome::Late),
        }
    }
}
