//! server: answers in a conversation with gsend and grecv, graspy's extension for messages of any form within a
//! session. [`client`](crate::client) opens it.
//!
//! A negotiation request opens the session and is not answered as such; then the client sends, the server answers, and
//! so on. Each message is one CBOR item. Any error ends the session.

use clap::Parser;
use grasp::{Asa, AsaNonce, Error, Objective, RegisterObj, Session, SessionNonce, Value, tprint, ttprint};

use crate::{Common, Example, Outcome, Run, serve};

/// How long the other side may take to answer, in milliseconds.
pub(crate) const ANSWER_TIMEOUT: u32 = 60_000;

/// Answers messages that clients send with gsend, in sessions of EX3. A round is a session.
#[derive(Debug, Parser)]
#[command(name = "server", version)]
pub struct Server {
    #[command(flatten)]
    common: Common,

    /// The text of the answer [default: the client's message].
    #[arg(long, value_name = "TEXT")]
    say: Option<String>,
}

impl Example for Server {
    const NAME: &'static str = "Server";
    const INTRODUCTION: [&'static str; 3] = [
        "Server holds conversations with gsend() and grecv() in sessions of EX3.",
        "It answers everything that it is told, and talks to several clients at once.",
        "Run client on a node of the same network. Ctrl-C ends it.",
    ];

    fn common(&self) -> &Common {
        &self.common
    }

    fn run(self, mut run: Run) -> Outcome {
        let asa = Asa::new(Self::NAME)?;
        tprint!("ASA Server registered OK");
        let mut ex3 = Objective::new("EX3").with_value("Hello!")?;
        ex3.neg = true;
        grasp::register_obj(asa.nonce(), &ex3, RegisterObj::default())?;
        tprint!("Objective EX3 registered OK");

        tprint!("Ready to negotiate EX3 as server");
        let owner = asa.nonce();
        serve(&asa, &ex3, &mut run, move |session, run| talk(owner, &session, self.say.as_deref(), &run))?;
        drop(asa);
        tprint!("ASA exiting");
        Ok(())
    }
}

/// One conversation, until the client has disconnected or the server must stop.
fn talk(asa: AsaNonce, session: &Session, say: Option<&str>, run: &Run) {
    let nonce = session.nonce();
    ttprint!("Session of", nonce.id_value);
    tprint!("Got message:", session.objective().value);
    // grecv waits up to a minute: ending the session wakes it.
    let end = move || _ = grasp::end_negotiate(asa, nonce, false, Some("The server stops"));
    let _waking = run.stop().wake_while(end);
    let error = loop {
        let said = match session.receive(ANSWER_TIMEOUT) {
            Ok(said) => said,
            Err(error) => break error,
        };
        if is_end(&said, nonce) {
            break Error::NoPeer;
        }
        tprint!("Peer said", said);
        let answer = say.map_or(said, Value::from);
        if let Err(error) = session.send(&answer) {
            break error;
        }
    };
    // A conversation normally ends when the client closes the connection.
    if error != Error::NoPeer {
        tprint!("Send/recv error:", error);
    }
    tprint!("End of session");
}

/// grecv returns any message, including the M_END (message type 6) of a client that ends the session.
fn is_end(said: &Value, session: SessionNonce) -> bool {
    matches!(said.as_array(), Some([kind, id, _]) if *kind == 6.into() && *id == session.id_value.into())
}
