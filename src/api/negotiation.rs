//! Negotiation (RFC 8990 §2.5.5, RFC 8991 §2.3.5).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Discover, step};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::interrupt::{self, NotReceived};
use crate::proto::{NegotiationReply, negotiation_reply};
use crate::registry::{Dialogue, Transport, TransportError};
use crate::trace::Ending;
use crate::types::{AsaLocator, AsaNonce, Objective, SessionNonce, Value};
use crate::wire::{Body, Message, Outcome};

/// How long nothing follows an M_WAIT, or a request that is not answered: graspy reads one message at a time and
/// loses what comes with it.
const PAUSE: Duration = Duration::from_millis(25);

/// How a request or a step of a negotiation was answered, if it did not fail.
#[derive(Clone, Debug, PartialEq)]
pub enum Negotiation {
    /// The peer accepts what was last offered to it. The session is over.
    Agreed(Objective),
    /// The peer makes an offer: it is this side's turn to step, wait or end.
    Offer(SessionNonce, Objective),
}

impl Engine {
    /// Asks a peer to negotiate an objective, which must be registered by this ASA (RFC 8991 §2.3.5
    /// `request_negotiate`; graspy's `req_negotiate`). Without a peer one is discovered, and the first answer
    /// is taken. Waits `timeout` milliseconds for the answer, 60000 by default; a peer that asks for time
    /// gets it.
    ///
    /// # Errors
    /// Before anything is sent, in this order: [`Error::NotBoth`], [`Error::NoAsa`], [`Error::NotYourObj`],
    /// [`Error::NotNeg`], [`Error::NoSecurity`], [`Error::NoDiscReply`], [`Error::Unspec`] if the objective is
    /// too large, [`Error::SockErrNegRq`]. [`Error::Declined`] with the peer's reason. If there is no answer,
    /// or a wrong one: [`Error::NoPeer`], [`Error::CborFail`], [`Error::NoValidStep`], [`Error::InvalidNeg`],
    /// [`Error::InvalidEnd`], [`Error::NoNegReply`]. A retry may help with `NoDiscReply`, `SockErrNegRq`,
    /// `NoPeer` and `NoNegReply`.
    pub fn req_negotiate(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
        peer: Option<&AsaLocator>,
        timeout: Option<u32>,
    ) -> Result<Negotiation> {
        self.check_negotiable(nonce, objective)?;
        if peer.is_none()
            && self.core.config.rapid_negotiation
            && let Some(answer) = self.ask_rapidly(objective)?
            && let Some(id) = answer.message.session()
        {
            let (session, dialogue) = self.open(nonce, id, objective, answer.transport)?;
            return self.await_reply(
                session,
                &dialogue,
                objective,
                self.timeout(timeout),
                Some(answer.message),
            );
        }
        let (session, dialogue) = self.request(nonce, objective, peer, timeout)?;
        self.await_reply(session, &dialogue, objective, self.timeout(timeout), None)
    }

    /// Sends a request and does not wait for an answer: [`gsend`](Self::gsend) and [`grecv`](Self::grecv)
    /// follow (graspy's `req_negotiate` with `noloop`, which returns `noReply` for success).
    ///
    /// # Errors
    /// As [`req_negotiate`](Self::req_negotiate) before the answer.
    pub fn req_negotiate_noloop(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
        peer: Option<&AsaLocator>,
        timeout: Option<u32>,
    ) -> Result<SessionNonce> {
        self.check_negotiable(nonce, objective)?;
        let (session, dialogue) = self.request(nonce, objective, peer, timeout)?;
        dialogue.transport.pause_before_next(PAUSE);
        Ok(session)
    }

    fn check_negotiable(&self, nonce: AsaNonce, objective: &Objective) -> Result<()> {
        self.check_asa_obj(nonce, objective, false)?;
        if !objective.neg {
            return Err(Error::NotNeg);
        }
        self.check_secure()
    }

    fn request(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
        peer: Option<&AsaLocator>,
        timeout: Option<u32>,
    ) -> Result<(SessionNonce, Dialogue)> {
        let found = match peer {
            Some(peer) => vec![peer.clone()],
            None => {
                self.find(nonce, objective, timeout, Discover { enough: Some(1), ..Discover::default() })?
            }
        };
        if found.is_empty() {
            return Err(Error::NoDiscReply);
        }
        let id = self.core.registries.sessions.request_id()?;
        let bytes = self.encode_unicast(Body::RequestNegotiate(step(id, objective)))?;
        let connection = self.connect(&objective.name, &found).ok_or(Error::SockErrNegRq)?;
        let transport: Arc<dyn Transport> = Arc::new(connection);
        let (session, dialogue) = self.open(nonce, id, objective, transport)?;
        self.send(session, &dialogue, &bytes, Error::SockErrNegRq)?;
        Ok((session, dialogue))
    }

    /// Takes up a session of this ASA with a peer that is connected.
    pub(super) fn open(
        &self,
        nonce: AsaNonce,
        id: u32,
        objective: &Objective,
        transport: Arc<dyn Transport>,
    ) -> Result<(SessionNonce, Dialogue)> {
        let dialogue =
            Dialogue { owner: nonce, transport, name: objective.name.as_str().into(), dry: objective.dry };
        let opened = self.core.registries.sessions.open_dialogue(id, dialogue.clone());
        let session = opened.inspect_err(|_| self.core.counters.sessions_not_opened.add())?;
        self.check_still(nonce, session, &dialogue)?;
        Ok((session, dialogue))
    }

    /// Deregistration and shutdown end the sessions that they find: one that was opened just then ends itself.
    fn check_still(&self, nonce: AsaNonce, session: SessionNonce, dialogue: &Dialogue) -> Result<()> {
        self.check_asa(nonce).inspect_err(|_| {
            self.end(session, dialogue, Ending::Stopped);
        })
    }

    /// Makes a counter-offer and waits for the answer (RFC 8990 §2.8.7, RFC 8991 §2.3.5; graspy's
    /// `negotiate_step`). Takes the objective as it was last returned, with a new value: the loop count is
    /// lowered here. Waits `timeout` milliseconds, 60000 by default.
    ///
    /// # Errors
    /// Before anything is sent, in this order: [`Error::NotBoth`], [`Error::NoAsa`], [`Error::NotYourObj`],
    /// [`Error::NotNeg`], [`Error::NoSecurity`], [`Error::NoSession`], [`Error::NoSocket`],
    /// [`Error::InvalidNeg`] for another objective than the session's or a change between dry run and live,
    /// [`Error::LoopExhausted`], [`Error::Unspec`] if the objective is too large; the session stays open. Then
    /// [`Error::SockErrNegStep`] and those of [`req_negotiate`](Self::req_negotiate), which end the session.
    pub fn negotiate_step(
        &self,
        nonce: AsaNonce,
        session: SessionNonce,
        objective: &Objective,
        timeout: Option<u32>,
    ) -> Result<Negotiation> {
        self.check_asa_obj(nonce, objective, false)?;
        if !objective.neg {
            return Err(Error::NotNeg);
        }
        let dialogue = self.dialogue(session)?;
        if *objective.name != *dialogue.name || objective.dry != dialogue.dry {
            return Err(Error::InvalidNeg);
        }
        // RFC 8990 §2.8.7: the sender subtracts one, and never sends zero.
        let loop_count = objective.loop_count.saturating_sub(1);
        if loop_count == 0 {
            return Err(Error::LoopExhausted);
        }
        let bytes = match self.test_message(session.id_value) {
            Some(bytes) => bytes,
            None => {
                let mut offer = step(session.id_value, objective);
                offer.objective.loop_count = loop_count;
                self.encode_unicast(Body::Negotiate(offer))?
            }
        };
        self.send(session, &dialogue, &bytes, Error::SockErrNegStep)?;
        self.await_reply(session, &dialogue, objective, self.timeout(timeout), None)
    }

    /// What `make_invalid` and `make_badmess` want sent in place of the next step.
    fn test_message(&self, id: u32) -> Option<Vec<u8>> {
        let switches = &self.core.switches;
        let is_on =
            |switch: &AtomicBool| switch.load(Ordering::Relaxed) && switch.swap(false, Ordering::Relaxed);
        if is_on(&switches.make_invalid) {
            let content = Some(Value::from("Test of M_INVALID"));
            return self.encode_unicast(Body::Invalid { session: id, content }).ok();
        }
        // M_NEGOTIATE whose objective is a number.
        let bad = || Value::Array(vec![Value::from(5), Value::from(id), Value::from(0)]).encode();
        is_on(&switches.make_badmess).then(bad)
    }

    /// Asks the peer for so many milliseconds before the next message, 60000 by default (RFC 8990 §2.8.9,
    /// RFC 8991 §2.3.5; graspy's `negotiate_wait`). Does not wait itself.
    ///
    /// # Errors
    /// [`Error::NoAsa`], [`Error::NoSecurity`], [`Error::NoSession`], [`Error::NoSocket`];
    /// [`Error::SockErrWait`], which ends the session.
    pub fn negotiate_wait(&self, nonce: AsaNonce, session: SessionNonce, timeout: Option<u32>) -> Result<()> {
        self.check_asa(nonce)?;
        let dialogue = self.dialogue(session)?;
        let time = timeout.filter(|given| *given > 0).unwrap_or(self.core.config.default_timeout);
        let bytes = self.encode_unicast(Body::Wait { session: session.id_value, time })?;
        self.send(session, &dialogue, &bytes, Error::SockErrWait)?;
        dialogue.transport.pause_before_next(PAUSE);
        Ok(())
    }

    /// Ends a negotiation by accepting what the peer last offered, or by declining with an optional reason
    /// (RFC 8990 §2.8.8, RFC 8991 §2.3.5; graspy's `end_negotiate`).
    ///
    /// # Errors
    /// [`Error::NoAsa`], [`Error::NoSecurity`]; [`Error::NoSession`], harmless if the session has ended already;
    /// [`Error::NoSocket`]; [`Error::Unspec`] if the reason is too long; [`Error::SockErrEnd`]. But for the
    /// first four and `Unspec` the session is over.
    pub fn end_negotiate(
        &self,
        nonce: AsaNonce,
        session: SessionNonce,
        accept: bool,
        reason: Option<&str>,
    ) -> Result<()> {
        let reason = reason.filter(|text| !text.is_empty()).map(str::to_owned);
        let outcome = if accept { Outcome::Accept } else { Outcome::Decline(reason) };
        self.finish(nonce, session, Body::End { session: session.id_value, outcome })
    }

    /// Tells the peer that its last message was invalid, and ends the session (RFC 8990 §2.8.12, RFC 8991
    /// §2.3.5; graspy's `send_invalid`). `info` is any value; None is "No information".
    ///
    /// # Errors
    /// As [`end_negotiate`](Self::end_negotiate).
    pub fn send_invalid(&self, nonce: AsaNonce, session: SessionNonce, info: Option<Value>) -> Result<()> {
        let content = Some(info.unwrap_or_else(|| Value::from("No information")));
        self.finish(nonce, session, Body::Invalid { session: session.id_value, content })
    }

    fn finish(&self, nonce: AsaNonce, session: SessionNonce, body: Body) -> Result<()> {
        self.check_asa(nonce)?;
        let dialogue = self.dialogue(session)?;
        let how = match &body {
            Body::End { outcome: Outcome::Accept, .. } => Ending::Accepted,
            Body::End { outcome: Outcome::Decline(reason), .. } => Ending::Declined(reason.clone()),
            _ => Ending::Invalid,
        };
        let bytes = self.encode_unicast(body)?;
        // Ended before it is sent: a thread that waits must not take what the peer does then for the peer's word.
        self.core.registries.sessions.end(session, how).ok_or(Error::NoSession)?;
        let sent = self.send(session, &dialogue, &bytes, Error::SockErrEnd);
        dialogue.transport.close();
        sent
    }

    /// Waits, without limit, for a peer that asks to negotiate an objective of this ASA (RFC 8991 §2.3.5;
    /// graspy's `listen_negotiate`). The objective can be discovered from now on. Several threads may listen;
    /// each request wakes one. Peers are refused while nobody listens: answer each request in a thread of its
    /// own, or listen again within [`Config::listen_grace`](crate::Config::listen_grace). The objective
    /// comes back with the peer's value and loop count; if `dry` is set the peer wants a dry run.
    ///
    /// # Errors
    /// [`Error::NotBoth`], [`Error::NoAsa`], [`Error::NotYourObj`], [`Error::NotNeg`] also if `discoverable`
    /// is not set, [`Error::NoSecurity`]. [`Error::NoSession`] after [`stop_negotiate`](Self::stop_negotiate)
    /// or a deregistration, [`Error::Unspec`] after shutdown. [`Error::IdClash`]: listen again.
    pub fn listen_negotiate(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
    ) -> Result<(SessionNonce, Objective)> {
        self.check_asa_obj(nonce, objective, false)?;
        if !(objective.neg && objective.discoverable) {
            return Err(Error::NotNeg);
        }
        self.check_secure()?;
        loop {
            if let Some(accepted) = self.accept_next(nonce, objective)? {
                return Ok(accepted);
            }
        }
    }

    /// Waits for one request and takes it up. Nothing where that would be a session too many: then the peer is refused,
    /// and the ASA, which has done nothing wrong, goes on listening.
    fn accept_next(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
    ) -> Result<Option<(SessionNonce, Objective)>> {
        let objectives = &self.core.registries.objectives;
        let requests = objectives.begin_listening(nonce, &objective.name)?;
        let request = interrupt::receive(&requests, None);
        objectives.listener_returned(nonce, &objective.name, &requests, self.core.now());
        let count = &self.core.counters;
        self.core.check_running().inspect_err(|_| {
            if request.is_ok() {
                count.requests_abandoned.add();
            }
        })?;
        let request = request.map_err(|error| match error {
            NotReceived::Disconnected => Error::NoSession,
            NotReceived::Over => Error::Unspec,
        })?;
        let transport = request.transport;
        let dialogue = Dialogue {
            owner: nonce,
            transport: Arc::clone(&transport),
            name: objective.name.as_str().into(),
            dry: request.objective.dry,
        };
        let sessions = &self.core.registries.sessions;
        let session = match sessions.accept_dialogue(request.session, dialogue.clone()) {
            Ok(session) => session,
            Err(error) => {
                let (clash, count) = (error == Error::IdClash, &self.core.counters);
                if clash {
                    count.session_clashes.add()
                } else {
                    count.session_limit.add()
                }
                transport.close();
                return if clash { Err(error) } else { Ok(None) };
            }
        };
        self.check_still(nonce, session, &dialogue)?;
        Ok(Some((session, request.objective)))
    }

    /// Stops listening for negotiations (RFC 8991 §2.3.5 `stop_listen_negotiate`; graspy's `stop_negotiate`):
    /// this ASA's blocked [`listen_negotiate`](Self::listen_negotiate) calls return [`Error::NoSession`]. The
    /// objective can be discovered no longer, unless it was registered so. Open sessions go on.
    ///
    /// # Errors
    /// [`Error::NotBoth`], [`Error::NoAsa`], [`Error::NotYourObj`]. A retry does not help.
    pub fn stop_negotiate(&self, nonce: AsaNonce, objective: &Objective) -> Result<()> {
        self.check_asa_obj(nonce, objective, false)?;
        self.core.registries.objectives.stop_negotiate(nonce, &objective.name);
        Ok(())
    }

    /// The dialogue of a session: `noSecurity`, `noSession`, `noSocket`.
    pub(super) fn dialogue(&self, session: SessionNonce) -> Result<Dialogue> {
        self.check_secure()?;
        self.core.registries.sessions.dialogue(session)
    }

    /// Sends; a failure ends the session.
    pub(super) fn send(
        &self,
        session: SessionNonce,
        dialogue: &Dialogue,
        bytes: &[u8],
        error: Error,
    ) -> Result<()> {
        let count = &self.core.counters;
        match dialogue.transport.send(bytes, self.core.config.connect_timeout) {
            Ok(()) => {
                count.session_messages_sent.add();
                Ok(())
            }
            Err(cause) => {
                count.session_sends_failed.add();
                log::debug!("{session:?}: {error}: {cause:?}");
                self.end(session, dialogue, (&error).into());
                Err(error)
            }
        }
    }

    /// Ends a session on this side. `false` if another thread has done so already.
    pub(super) fn end(&self, session: SessionNonce, dialogue: &Dialogue, how: Ending) -> bool {
        let was_open = self.core.registries.sessions.end(session, how).is_some();
        dialogue.transport.close();
        was_open
    }

    /// graspy's `_negloop`: waits for the peer's answer, unless it is there, and longer if it asks for time.
    fn await_reply(
        &self,
        session: SessionNonce,
        dialogue: &Dialogue,
        offered: &Objective,
        timeout: Duration,
        mut first: Option<Message>,
    ) -> Result<Negotiation> {
        let mut left = timeout;
        // However often the peer asks for time, it gets no more than this.
        let patience = Instant::now().checked_add(Duration::from_millis(self.core.config.wait_limit.into()));
        loop {
            let started = Instant::now();
            let classify =
                |received| negotiation_reply(session.id_value, &dialogue.name, dialogue.dry, received);
            let received = match first.take() {
                Some(message) => Ok(classify(Ok(message))),
                None => self
                    .receive(dialogue, left, classify, |reply| !matches!(reply, NegotiationReply::Failed(_))),
            };
            let reply = match received {
                Ok(reply) => reply,
                Err(TransportError::Closed) => NegotiationReply::Failed(Error::NoPeer),
                Err(TransportError::Broken) => NegotiationReply::Failed(Error::CborFail),
                Err(TransportError::Timeout | TransportError::Failed) => {
                    NegotiationReply::Failed(Error::NoNegReply)
                }
            };
            let error = match reply {
                NegotiationReply::Offer(objective) => return Ok(Negotiation::Offer(session, objective)),
                NegotiationReply::Accepted => {
                    self.end(session, dialogue, Ending::Accepted);
                    return Ok(Negotiation::Agreed(offered.clone()));
                }
                NegotiationReply::Wait(time) => {
                    let most = patience.map(|until| until.saturating_duration_since(Instant::now()));
                    left = Duration::from_millis(time.into()).min(most.unwrap_or(Duration::MAX));
                    continue;
                }
                NegotiationReply::Ignore => {
                    left = left.saturating_sub(started.elapsed());
                    continue;
                }
                NegotiationReply::Declined(reason) => Error::Declined(reason),
                NegotiationReply::Failed(error) => error,
            };
            let was_open = self.end(session, dialogue, (&error).into());
            self.core.check_running()?;
            // Another thread ended the session: what the closed socket says is not the peer's word.
            return Err(if was_open { error } else { Error::NoSession });
        }
    }
}
