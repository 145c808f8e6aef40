//! Negotiation (RFC 8990 §2.5.5, RFC 8991 §2.3.5): the asking side, and the steps of both sides. `listening` has the rest of
//! the answering side.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::reach::{Failures, Reached};
use super::{Peer, step};
use crate::engine::{Engine, Here, here};
use crate::error::{Error, Result};
#[cfg(feature = "ipc")]
use crate::ipc::Form as _;
use crate::node::{Await, NegotiationReply, negotiation_reply};
use crate::registry::{Exchange, Transport, TransportError};
use crate::trace::Ending;
use crate::types::{AsaLocator, AsaNonce, Objective, SessionNonce, Value};
use crate::wire::{Body, Message, Outcome};

/// The pause after an M_WAIT, or after a request whose answer is not awaited: graspy reads one message at a time, and
/// loses another one that arrives together with it.
const PAUSE: Duration = Duration::from_millis(25);

/// The errors of reading from a connection that the peer has closed and that holds no more messages.
const NOTHING_SAID: [Error; 3] = [Error::NoPeer, Error::NoNegReply, Error::NoSession];

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
    /// `request_negotiate`; graspy's `req_negotiate`). Without a peer, one is discovered, and the first answer
    /// is used; if that peer cannot be reached, another one is discovered, within `timeout` if it is given. Waits `timeout`
    /// milliseconds for the answer, 60000 by default. A peer that asks for more time gets it, up to
    /// [`Config::wait_limit`](crate::Config::wait_limit).
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// use grasp::{Negotiation, Objective};
    ///
    /// let asa = grasp::register_asa("Gray")?;
    /// let mut money = Objective::new("EX3").with_value(("NZD", 47))?;
    /// money.neg = true;
    /// grasp::register_obj(asa, &money, Default::default())?;
    /// match grasp::req_negotiate(asa, &money, None, Some(5000)) {
    ///     Ok(Negotiation::Agreed(money)) => println!("got {}", money.value),
    ///     Ok(Negotiation::Offer(session, offer)) => {
    ///         println!("offered {}", offer.value);
    ///         grasp::end_negotiate(asa, session, true, None)?;
    ///     }
    ///     Err(error) => println!("{error}; retry: {:?}", error.retry()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Before anything is sent, in this order: [`Error::NotBoth`], [`Error::NoAsa`], [`Error::NotYourObj`],
    /// [`Error::NotNeg`], [`Error::NoSecurity`], [`Error::OtherNamespace`], [`Error::NoRandom`], [`Error::NoDiscReply`],
    /// [`Error::TooLarge`], [`Error::SockErrNegRq`], [`Error::SessionLimit`]. [`Error::Declined`] with the peer's reason. If
    /// there is no answer, or a wrong one: [`Error::NoPeer`], [`Error::CborFail`], [`Error::NoValidStep`], [`Error::InvalidNeg`],
    /// [`Error::InvalidEnd`], [`Error::NoNegReply`]. A retry may help with `NoRandom`, `NoDiscReply`, `SockErrNegRq`,
    /// `SessionLimit`, `NoPeer` and `NoNegReply`.
    pub fn req_negotiate(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
        peer: Option<&AsaLocator>,
        timeout: Option<u32>,
    ) -> Result<Negotiation> {
        self.negotiate_with(nonce, objective, peer, timeout).map(|(answer, _)| answer)
    }

    /// Like `req_negotiate`, but also returns the peer.
    pub(super) fn negotiate_with(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
        peer: Option<&AsaLocator>,
        timeout: Option<u32>,
    ) -> Result<(Negotiation, Peer)> {
        let here = here!(self, node => node.ask("req_negotiate", &[nonce.form(), objective.form(), peer.form(), timeout.form()]));
        here.check_negotiable(nonce, objective)?;
        if peer.is_none()
            && here.core.node.config.rapid_negotiation
            && let Some(answer) = here.ask_rapidly(objective)?
            && let Some(id) = answer.message.session()
        {
            let (session, exchange) = here.open(nonce, id, objective, answer.transport)?;
            let deadline = Instant::now() + here.timeout(timeout);
            let first = Some(answer.message);
            let answer = here.await_reply(session, &exchange, objective, deadline, first)?;
            return Ok((answer, Peer::of(exchange.transport.as_ref(), None)));
        }
        let (session, exchange, peer) = here.request(nonce, objective, peer, timeout)?;
        let deadline = Instant::now() + here.timeout(timeout);
        Ok((here.await_reply(session, &exchange, objective, deadline, None)?, peer))
    }

    /// Sends a request and does not wait for the answer: calls of [`gsend`](Self::gsend) and [`grecv`](Self::grecv)
    /// follow (graspy's `req_negotiate` with `noloop`, which returns `noReply` for success).
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// let asa = grasp::register_asa("Client")?;
    /// let mut talk = grasp::Objective::new("EX3");
    /// talk.neg = true;
    /// grasp::register_obj(asa, &talk, Default::default())?;
    /// let session = grasp::req_negotiate_noloop(asa, &talk, None, None)?;
    /// grasp::gsend(asa, session, &"How are you?".into())?;
    /// println!("{}", grasp::grecv(asa, session, 5000)?);
    /// grasp::end_negotiate(asa, session, true, None)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`req_negotiate`](Self::req_negotiate) before the answer.
    pub fn req_negotiate_noloop(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
        peer: Option<&AsaLocator>,
        timeout: Option<u32>,
    ) -> Result<SessionNonce> {
        self.open_with(nonce, objective, peer, timeout).map(|(session, _)| session)
    }

    /// Like `req_negotiate_noloop`, but also returns the peer.
    pub(super) fn open_with(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
        peer: Option<&AsaLocator>,
        timeout: Option<u32>,
    ) -> Result<(SessionNonce, Peer)> {
        let here = here!(self, node => node.ask("open", &[nonce.form(), objective.form(), peer.form(), timeout.form()]));
        here.check_negotiable(nonce, objective)?;
        let (session, exchange, peer) = here.request(nonce, objective, peer, timeout)?;
        exchange.transport.pause_before_next(PAUSE);
        Ok((session, peer))
    }

    /// Makes a counter-offer and waits for the answer (RFC 8990 §2.8.7, RFC 8991 §2.3.5; graspy's
    /// `negotiate_step`). Takes the objective as it was last returned, with a new value: this call lowers the loop count.
    /// Waits `timeout` milliseconds for the answer, 60000 by default.
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// # let asa = grasp::register_asa("Gray")?;
    /// # let money = grasp::Objective::new("EX3");
    /// use grasp::{Negotiation, Value};
    ///
    /// let mut answer = grasp::req_negotiate(asa, &money, None, None)?;
    /// for wish in [90_i64, 80, 70] {
    ///     let Negotiation::Offer(session, mut offer) = answer else { break };
    ///     // The objective goes back as it came, with another value.
    ///     offer.value = Value::from(wish);
    ///     answer = grasp::negotiate_step(asa, session, &offer, None)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Before anything is sent, in this order: [`Error::NotBoth`], [`Error::NoAsa`], [`Error::NotYourObj`],
    /// [`Error::NotNeg`], [`Error::NoSecurity`], [`Error::NoSession`], [`Error::NoSocket`], [`Error::NotYourSession`],
    /// [`Error::InvalidNeg`] for another objective than the session's or a change between dry run and live,
    /// [`Error::LoopExhausted`], [`Error::TooLarge`]; the session stays open. Then
    /// [`Error::SockErrNegStep`] and those of [`req_negotiate`](Self::req_negotiate), which end the session. If the peer has
    /// closed the connection, what it sent before is the answer.
    pub fn negotiate_step(
        &self,
        nonce: AsaNonce,
        session: SessionNonce,
        objective: &Objective,
        timeout: Option<u32>,
    ) -> Result<Negotiation> {
        let here = here!(self, node => node.ask("negotiate_step", &[nonce.form(), session.form(), objective.form(), timeout.form()]));
        here.check_asa_obj(nonce, objective, false)?;
        if !objective.neg {
            return Err(Error::NotNeg);
        }
        let exchange = here.exchange(nonce, session)?;
        if *objective.name != *exchange.name || objective.dry != exchange.dry {
            return Err(Error::InvalidNeg);
        }
        // RFC 8990 §2.8.7: the sender subtracts one, and never sends zero.
        let loop_count = objective.loop_count.saturating_sub(1);
        if loop_count == 0 {
            return Err(Error::LoopExhausted);
        }
        let bytes = match here.test_message(session.id_value) {
            Some(bytes) => bytes,
            None => {
                let mut offer = step(session.id_value, objective);
                offer.objective.loop_count = loop_count;
                here.encode_unicast(Body::Negotiate(offer))?
            }
        };
        let sent = here.send(session, &exchange, &bytes, here.connect_deadline(), Error::SockErrNegStep);
        match sent {
            Ok(()) => {
                let deadline = Instant::now() + here.timeout(timeout);
                here.await_reply(session, &exchange, objective, deadline, None)
            }
            Err(error) => here.last_word(session, &exchange, objective, error),
        }
    }

    /// Asks the peer to wait `timeout` milliseconds for the next message, 60000 by default (RFC 8990 §2.8.9,
    /// RFC 8991 §2.3.5; graspy's `negotiate_wait`). Does not wait itself.
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// # let (asa, money) = (grasp::register_asa("Briggs")?, grasp::Objective::new("EX3"));
    /// let (session, request) = grasp::listen_negotiate(asa, &money)?;
    /// // Ten seconds to decide.
    /// grasp::negotiate_wait(asa, session, Some(10_000))?;
    /// println!("{} is a lot", request.value);
    /// grasp::end_negotiate(asa, session, true, None)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoAsa`], [`Error::NoSecurity`], [`Error::NoSession`], [`Error::NoSocket`], [`Error::NotYourSession`];
    /// [`Error::SockErrWait`], which ends the session, unless a message that the peer sent before it closed the connection is
    /// unread: then [`negotiate_step`](Self::negotiate_step) returns that message, or
    /// [`end_negotiate`](Self::end_negotiate) ends the session.
    pub fn negotiate_wait(&self, nonce: AsaNonce, session: SessionNonce, timeout: Option<u32>) -> Result<()> {
        let here =
            here!(self, node => node.ask("negotiate_wait", &[nonce.form(), session.form(), timeout.form()]));
        here.check_asa(nonce)?;
        let exchange = here.exchange(nonce, session)?;
        let time = timeout.filter(|given| *given > 0).unwrap_or(here.core.node.config.default_timeout);
        let bytes = here.encode_unicast(Body::Wait { session: session.id_value, time })?;
        here.send(session, &exchange, &bytes, here.connect_deadline(), Error::SockErrWait)?;
        exchange.transport.pause_before_next(PAUSE);
        Ok(())
    }

    /// Ends a negotiation by accepting what the peer last offered, or by declining with an optional reason
    /// (RFC 8990 §2.8.8, RFC 8991 §2.3.5; graspy's `end_negotiate`).
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// # let (asa, money) = (grasp::register_asa("Briggs")?, grasp::Objective::new("EX3"));
    /// let (session, request) = grasp::listen_negotiate(asa, &money)?;
    /// match request.value.as_i64() {
    ///     Some(..100) => grasp::end_negotiate(asa, session, true, None)?,
    ///     _ => grasp::end_negotiate(asa, session, false, Some("too much"))?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoAsa`]; [`Error::NoSession`], harmless if the session has ended already; [`Error::NoSocket`],
    /// [`Error::NotYourSession`], [`Error::TooLarge`]. These leave the session as it is. After [`Error::SockErrEnd`] it is over, and
    /// after [`Error::NoSecurity`], which means that the peer is not told. A retry does not help.
    pub fn end_negotiate(
        &self,
        nonce: AsaNonce,
        session: SessionNonce,
        accept: bool,
        reason: Option<&str>,
    ) -> Result<()> {
        let here = here!(self, node => node.ask("end_negotiate", &[nonce.form(), session.form(), accept.form(), reason.form()]));
        let reason = reason.filter(|text| !text.is_empty()).map(str::to_owned);
        let outcome = if accept { Outcome::Accept } else { Outcome::Decline(reason) };
        here.finish(nonce, session, Body::End { session: session.id_value, outcome })
    }

    /// Tells the peer that its last message was invalid, and ends the session (RFC 8990 §2.8.12, RFC 8991
    /// §2.3.5; graspy's `send_invalid`). `info` is any value; `None` means "No information".
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// # let (asa, money) = (grasp::register_asa("Briggs")?, grasp::Objective::new("EX3"));
    /// let (session, request) = grasp::listen_negotiate(asa, &money)?;
    /// if request.value.as_i64().is_none() {
    ///     grasp::send_invalid(asa, session, Some("a number is expected".into()))?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`end_negotiate`](Self::end_negotiate).
    pub fn send_invalid(&self, nonce: AsaNonce, session: SessionNonce, info: Option<Value>) -> Result<()> {
        let here =
            here!(self, node => node.ask("send_invalid", &[nonce.form(), session.form(), info.form()]));
        let content = Some(info.unwrap_or_else(|| Value::from("No information")));
        here.finish(nonce, session, Body::Invalid { session: session.id_value, content })
    }

    /// The name of a session's peer as the authority of its domain has certified it (RFC 8994 §6.2.2), such as
    /// `fd89b714f3db00000200000064000000+area51.research@acp.example.com`. `None` where certificates do not secure the connection. An ASA
    /// may look at it before it answers, and [`end_negotiate`](Self::end_negotiate) with a peer that it does not want.
    ///
    /// # Errors
    /// [`Error::NoSession`] if the session has ended, [`Error::NotYourSession`] if it is another ASA's, [`Error::NoSecurity`]. A retry does
    /// not help.
    pub fn certified_name(&self, nonce: AsaNonce, session: SessionNonce) -> Result<Option<String>> {
        let here = here!(self, node => node.ask("certified_name", &[nonce.form(), session.form()]));
        here.check_asa(nonce)?;
        Ok(here.exchange(nonce, session)?.transport.certified_name())
    }
}

impl Here {
    fn check_negotiable(&self, nonce: AsaNonce, objective: &Objective) -> Result<()> {
        self.check_asa_obj(nonce, objective, false)?;
        if !objective.neg {
            return Err(Error::NotNeg);
        }
        self.check_secure()?;
        self.core.check_namespace()
    }

    fn request(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
        peer: Option<&AsaLocator>,
        timeout: Option<u32>,
    ) -> Result<(SessionNonce, Exchange, Peer)> {
        let id = self.core.node.new_id()?;
        let bytes = self.encode_unicast(Body::RequestNegotiate(step(id, objective)));
        let failures = Failures {
            nobody: Error::NoDiscReply,
            unsendable: bytes.as_ref().err().cloned(),
            unreached: Error::SockErrNegRq,
        };
        let Reached::Peer(connection, locator) = self.reach(nonce, objective, peer, timeout, &failures)?
        else {
            return Err(failures.nobody);
        };
        let deadline = self.connect_deadline();
        let transport: Arc<dyn Transport> = Arc::new(connection);
        let peer = Peer::of(transport.as_ref(), Some(locator));
        let (session, exchange) = self.open(nonce, id, objective, transport)?;
        self.send(session, &exchange, &bytes?, deadline, Error::SockErrNegRq)?;
        Ok((session, exchange, peer))
    }

    /// Opens a session of this ASA on a connection with a peer.
    pub(super) fn open(
        &self,
        nonce: AsaNonce,
        id: u32,
        objective: &Objective,
        transport: Arc<dyn Transport>,
    ) -> Result<(SessionNonce, Exchange)> {
        let exchange =
            Exchange { owner: nonce, transport, name: objective.name.as_str().into(), dry: objective.dry };
        let session = self.core.node.open_exchange(id, exchange.clone())?;
        self.check_still(nonce, session, &exchange)?;
        if self.ends_with_its_substrate(session, &exchange) {
            return Err(Error::NoSecurity);
        }
        Ok((session, exchange))
    }

    /// Ends a session whose connection began before another substrate came into force: those that were open then have ended. Returns
    /// whether it is one.
    pub(super) fn ends_with_its_substrate(&self, session: SessionNonce, exchange: &Exchange) -> bool {
        let is_secured = exchange.transport.is_secured();
        let is_one = is_secured.is_some_and(|is_secured| !self.core.is_secured_as_now(is_secured));
        if is_one {
            self.end(session, exchange, Ending::Stopped);
        }
        is_one
    }

    /// Ends a session that was opened during a deregistration or a shutdown, which may have missed it.
    pub(super) fn check_still(
        &self,
        nonce: AsaNonce,
        session: SessionNonce,
        exchange: &Exchange,
    ) -> Result<()> {
        let registered = || self.core.node.registries.asas.check(nonce);
        self.core.check_not_stopped().and_then(|()| registered()).inspect_err(|_| {
            self.end(session, exchange, Ending::Stopped);
        })
    }

    /// The message that `make_invalid` or `make_badmess` puts in place of the next step.
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

    fn finish(&self, nonce: AsaNonce, session: SessionNonce, body: Body) -> Result<()> {
        self.check_asa(nonce)?;
        let how = match &body {
            Body::End { outcome: Outcome::Accept, .. } => Ending::Accepted,
            Body::End { outcome: Outcome::Decline(reason), .. } => Ending::Declined(reason.clone()),
            _ => Ending::Invalid,
        };
        let sessions = &self.core.node.registries.sessions;
        if let Err(error) = self.check_secure() {
            // Nothing is sent, and the session is over all the same: its ASA is done with it.
            if let Ok(exchange) = self.owned(nonce, session) {
                sessions.end(session, how);
                exchange.transport.close();
            }
            return Err(error);
        }
        let exchange = self.owned(nonce, session)?;
        let bytes = self.encode_unicast(body)?;
        // Ends before the message is sent: a waiting thread must not mistake the peer's reaction to it for an answer.
        sessions.end(session, how).ok_or(Error::NoSession)?;
        let sent = self.send(session, &exchange, &bytes, self.connect_deadline(), Error::SockErrEnd);
        exchange.transport.close();
        sent
    }

    /// Returns the exchange of a session of this ASA, or `NoSecurity`, `NoSession`, `NoSocket` or `NotYourSession`.
    pub(super) fn exchange(&self, nonce: AsaNonce, session: SessionNonce) -> Result<Exchange> {
        self.check_secure()?;
        self.owned(nonce, session)
    }

    /// The same while the substrate is down.
    fn owned(&self, nonce: AsaNonce, session: SessionNonce) -> Result<Exchange> {
        // The handle of an ASA, given as a session, has no socket.
        let is_handle = |id| self.core.node.registries.asas.is_registered(AsaNonce(id));
        let exchange = self.core.node.registries.sessions.exchange(session).map_err(|error| match error {
            Error::NoSession if session.id_source.is_none() && is_handle(session.id_value) => Error::NoSocket,
            error => error,
        })?;
        if exchange.owner == nonce { Ok(exchange) } else { Err(Error::NotYourSession) }
    }

    /// Sends a message. A failure ends the session, unless a message that the peer sent before it closed the connection is
    /// unread: see `last_word`.
    pub(super) fn send(
        &self,
        session: SessionNonce,
        exchange: &Exchange,
        bytes: &[u8],
        deadline: Instant,
        error: Error,
    ) -> Result<()> {
        let count = &self.core.node.counters;
        match exchange.transport.send(bytes, deadline) {
            Ok(()) => {
                count.session_messages_sent.add();
                Ok(())
            }
            Err(cause) => {
                count.session_sends_failed.add();
                log::debug!("{session:?}: {error}: {cause:?}");
                if matches!(cause, TransportError::Timeout) || !self.has_last_word(session, exchange) {
                    self.end(session, exchange, (&error).into());
                }
                Err(error.not_sent(cause, exchange.transport.peer()))
            }
        }
    }

    /// Whether the session is open and holds an unread message of the peer.
    fn has_last_word(&self, session: SessionNonce, exchange: &Exchange) -> bool {
        self.core.node.registries.sessions.exchange(session).is_ok() && exchange.transport.has_unread()
    }

    /// After sending has failed with `error`: returns what the peer said before it closed the connection, or `error` if that
    /// is nothing.
    fn last_word(
        &self,
        session: SessionNonce,
        exchange: &Exchange,
        offered: &Objective,
        error: Error,
    ) -> Result<Negotiation> {
        if !self.has_last_word(session, exchange) {
            return Err(error);
        }
        // Both the message and the end of the connection have arrived already: this does not wait.
        match self.await_reply(session, exchange, offered, self.connect_deadline(), None) {
            Err(nothing) if NOTHING_SAID.contains(&nothing) => Err(error),
            said => said,
        }
    }

    /// Ends a session on this side. `false` if another thread has done so already.
    pub(super) fn end(&self, session: SessionNonce, exchange: &Exchange, how: Ending) -> bool {
        let was_open = self.core.node.registries.sessions.end(session, how).is_some();
        exchange.transport.close();
        was_open
    }

    /// graspy's `_negloop`: waits for the peer's answer, longer if the peer asks for time. `first` is a message that is
    /// there already.
    fn await_reply(
        &self,
        session: SessionNonce,
        exchange: &Exchange,
        offered: &Objective,
        deadline: Instant,
        mut first: Option<Message>,
    ) -> Result<Negotiation> {
        let (node, id) = (&self.core.node, session.id_value);
        let mut waiting = Await::new(node, deadline, Instant::now());
        loop {
            let reply = match first.take() {
                Some(message) => negotiation_reply(id, &exchange.name, exchange.dry, Ok(message)),
                None => match self.receive(exchange, waiting.deadline()) {
                    Ok(bytes) => node.negotiation_message(id, exchange, &bytes),
                    Err(TransportError::Closed) => NegotiationReply::Failed(Error::NoPeer),
                    Err(TransportError::Broken) => NegotiationReply::Failed(Error::CborFail),
                    Err(cause) => NegotiationReply::Failed(Error::NoNegReply.not_answered(cause)),
                },
            };
            let error = match reply {
                NegotiationReply::Offer(objective) => return Ok(Negotiation::Offer(session, objective)),
                NegotiationReply::Accepted => {
                    self.end(session, exchange, Ending::Accepted);
                    return Ok(Negotiation::Agreed(offered.clone()));
                }
                NegotiationReply::Wait(time) => {
                    waiting.extend(time, Instant::now());
                    continue;
                }
                NegotiationReply::Ignore => continue,
                NegotiationReply::Declined(reason) => Error::Declined(reason),
                NegotiationReply::Failed(error) => error,
            };
            let was_open = self.end(session, exchange, (&error).into());
            self.core.check_running()?;
            self.check_secure()?;
            // If another thread ended the session, the error of the closed socket does not come from the peer.
            return Err(if was_open { error } else { Error::NoSession });
        }
    }
}
