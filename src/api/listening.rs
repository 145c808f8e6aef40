//! The answering side of negotiations (RFC 8990 §2.5.5, RFC 8991 §2.3.5): waiting for requests. Called by ASAs and by `serve`.

use crate::engine::{Engine, Here, here};
use crate::error::{Error, Result};
use crate::interrupt::{self, NotReceived};
#[cfg(feature = "ipc")]
use crate::ipc::Form as _;
use crate::types::{AsaNonce, Objective, SessionNonce};

impl Engine {
    /// Waits, without a time limit, for a peer that asks to negotiate an objective of this ASA (RFC 8991 §2.3.5;
    /// graspy's `listen_negotiate`). The objective can be discovered from now on. Several threads may listen;
    /// each request wakes one. Peers are refused while nobody listens: answer each request in a thread of its
    /// own, or listen again within [`Config::listen_grace`](crate::Config::listen_grace). The returned objective
    /// has the peer's value and loop count; if its `dry` is set, the peer wants a dry run.
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// let asa = grasp::register_asa("Briggs")?;
    /// let mut money = grasp::Objective::new("EX3");
    /// money.neg = true;
    /// grasp::register_obj(asa, &money, Default::default())?;
    /// // One request after the other; Asa::serve answers several at a time.
    /// loop {
    ///     let (session, request) = grasp::listen_negotiate(asa, &money)?;
    ///     println!("asked for {}", request.value);
    ///     grasp::end_negotiate(asa, session, true, None)?;
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotBoth`], [`Error::NoAsa`], [`Error::NotYourObj`], [`Error::NotNeg`], also if `discoverable`
    /// is not set, [`Error::NoSecurity`], with which a retry helps once the substrate is up. [`Error::NoSession`] after
    /// [`stop_negotiate`](Self::stop_negotiate) or a deregistration, [`Error::Stopped`] after shutdown. Nothing that a peer
    /// does is an error: a request beyond a limit, or with the identifier of an open session, is refused and counted. A peer
    /// that is refused because of a limit is told so.
    pub fn listen_negotiate(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
    ) -> Result<(SessionNonce, Objective)> {
        let here = here!(self, node => node.ask("listen_negotiate", &[nonce.form(), objective.form()]));
        here.check_listening(nonce, objective)?;
        loop {
            if let Some(accepted) = here.accept_next(nonce, objective)? {
                return Ok(accepted);
            }
        }
    }

    /// Makes the checks of listening, and announces that this ASA is about to listen: peers that ask in the meantime wait.
    pub(super) fn announce_listening(&self, nonce: AsaNonce, objective: &Objective) -> Result<()> {
        let here = here!(self, node => node.ask("announce_listening", &[nonce.form(), objective.form()]));
        here.check_listening(nonce, objective)?;
        here.core.node.registries.objectives.about_to_listen(nonce, &objective.name, here.core.now());
        Ok(())
    }

    /// Stops listening for negotiations (RFC 8991 §2.3.5 `stop_listen_negotiate`; graspy's `stop_negotiate`):
    /// this ASA's blocked [`listen_negotiate`](Self::listen_negotiate) calls return [`Error::NoSession`]. The
    /// objective can no longer be discovered, unless it was registered as discoverable. Open sessions continue.
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// # let (asa, money) = (grasp::register_asa("Briggs")?, grasp::Objective::new("EX3"));
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| while grasp::listen_negotiate(asa, &money).is_ok() {});
    ///     // The thread ends:
    ///     grasp::stop_negotiate(asa, &money)
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotBoth`], [`Error::NoAsa`], [`Error::NotYourObj`]. A retry does not help.
    pub fn stop_negotiate(&self, nonce: AsaNonce, objective: &Objective) -> Result<()> {
        let here = here!(self, node => node.ask("stop_negotiate", &[nonce.form(), objective.form()]));
        here.check_asa_obj(nonce, objective, false)?;
        here.core.node.registries.objectives.stop_negotiate(nonce, &objective.name);
        Ok(())
    }
}

impl Here {
    fn check_listening(&self, nonce: AsaNonce, objective: &Objective) -> Result<()> {
        self.check_asa_obj(nonce, objective, false)?;
        if !(objective.neg && objective.discoverable) {
            return Err(Error::NotNeg);
        }
        self.check_secure()
    }

    /// Waits for one request and accepts it. Returns `None` if that would exceed the limit on sessions, if a session with
    /// the same identifier is open with the peer (RFC 8990 §2.8.6), or if the request came by a substrate that is no longer
    /// in force: then the peer is refused, and the ASA, which has done nothing wrong, continues to listen.
    fn accept_next(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
    ) -> Result<Option<(SessionNonce, Objective)>> {
        let objectives = &self.core.node.registries.objectives;
        let requests = objectives.begin_listening(nonce, &objective.name)?;
        let request = interrupt::receive(&requests, None);
        objectives.listener_returned(nonce, &objective.name, &requests, self.core.now());
        // A request that is dropped counts as abandoned.
        self.core.check_not_stopped()?;
        let request = request.map_err(|error| match error {
            NotReceived::Disconnected => Error::NoSession,
            NotReceived::Over => Error::Unspec,
        })?;
        let (session, exchange, objective) = match self.core.node.accept(nonce, request) {
            Ok(accepted) => accepted,
            Err(refusal) => {
                self.core.refuse(refusal);
                return Ok(None);
            }
        };
        self.check_still(nonce, session, &exchange)?;
        let is_over = self.ends_with_its_substrate(session, &exchange);
        Ok((!is_over).then_some((session, objective)))
    }
}
