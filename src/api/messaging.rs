//! gsend and grecv: any CBOR over an open session (graspy's extension; neither in RFC 8991 nor in `graspi`).
//! The server listens with `listen_negotiate`, the client opens the session with `req_negotiate_noloop`; either ends it
//! with `end_negotiate`.

use std::time::{Duration, Instant};

use super::too_large;
use crate::engine::{Engine, here};
use crate::error::{Error, Result};
#[cfg(feature = "ipc")]
use crate::ipc::Form as _;
use crate::outcome::MessageOutcome;
use crate::registry::TransportError;
use crate::types::{AsaNonce, SessionNonce, Value};

impl Engine {
    /// Sends one CBOR item to the peer of a session (graspy's `gsend`).
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// # let (asa, talk) = (grasp::register_asa("Server")?, grasp::Objective::new("EX3"));
    /// let (session, _) = grasp::listen_negotiate(asa, &talk)?;
    /// let said = grasp::grecv(asa, session, 60_000)?;
    /// grasp::gsend(asa, session, &said)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoAsa`], [`Error::NoSecurity`], [`Error::NoSession`], [`Error::NoSocket`], [`Error::NotYourSession`],
    /// [`Error::TooLarge`] if the item is larger than [`Config::unicast_size`](crate::Config::unicast_size);
    /// [`Error::SockErr`], which ends the session, unless a message that the peer sent before it closed the connection is
    /// unread: then [`grecv`](Self::grecv) returns that message, and its next call ends the session. A retry helps with
    /// `NoSecurity` once the substrate is up.
    pub fn gsend(&self, nonce: AsaNonce, session: SessionNonce, message: &Value) -> Result<()> {
        let here = here!(self, node => node.ask("gsend", &[nonce.form(), session.form(), message.form()]));
        here.check_asa(nonce)?;
        let exchange = here.exchange(nonce, session)?;
        let bytes = message.encode();
        too_large(bytes.len(), here.core.node.sizes.unicast())?;
        here.send(session, &exchange, &bytes, here.connect_deadline(), Error::SockErr)
    }

    /// Receives one CBOR item from the peer of a session within `timeout` milliseconds (graspy's `grecv`).
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// # let (asa, talk) = (grasp::register_asa("Client")?, grasp::Objective::new("EX3"));
    /// let session = grasp::req_negotiate_noloop(asa, &talk, None, None)?;
    /// grasp::gsend(asa, session, &"How are you?".into())?;
    /// match grasp::grecv(asa, session, 5000) {
    ///     Ok(answer) => println!("{answer}"),
    ///     Err(grasp::Error::NoReply) => println!("no answer within five seconds"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoAsa`], [`Error::NoSecurity`], [`Error::NoSession`], also if another thread ends the session in the meantime,
    /// [`Error::NoSocket`], [`Error::NotYourSession`]. The following end the session: [`Error::NoPeer`] if the peer has closed
    /// the connection, [`Error::CborFail`], [`Error::NoReply`] if nothing arrives in time, `NoSecurity` if the substrate goes
    /// down while this waits. Then a new session may succeed.
    pub fn grecv(&self, nonce: AsaNonce, session: SessionNonce, timeout: u32) -> Result<Value> {
        let here = here!(self, node => node.ask("grecv", &[nonce.form(), session.form(), timeout.form()]));
        here.check_asa(nonce)?;
        let exchange = here.exchange(nonce, session)?;
        let limits = here.core.node.unicast_limits();
        let received = here.receive(&exchange, Instant::now() + Duration::from_millis(timeout.into()));
        let error = match received {
            // The substrate went down while this waited.
            Ok(_) if !here.core.node.is_secure() => {
                here.core.node.received().settle(MessageOutcome::Insecure);
                Error::NoSecurity
            }
            Ok(bytes) => {
                here.core.node.received().settle(MessageOutcome::Item);
                match crate::wire::cbor::decode(&bytes, &limits) {
                    Ok(value) => return Ok(value),
                    Err(_) => Error::CborFail,
                }
            }
            Err(TransportError::Closed) => Error::NoPeer,
            Err(TransportError::Broken) => Error::CborFail,
            Err(cause) => Error::NoReply.not_answered(cause),
        };
        let was_open = here.end(session, &exchange, (&error).into());
        here.core.check_running()?;
        // If another thread ended the session, the error of the closed socket does not come from the peer.
        Err(if was_open { error } else { Error::NoSession })
    }
}
