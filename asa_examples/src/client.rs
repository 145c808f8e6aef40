//! client: opens a conversation with gsend and grecv; [`server`](crate::server) is the other side.

use clap::Parser;
use grasp::{AsaNonce, Objective, RegisterObj, SessionNonce, Value, tprint};

use crate::server::ANSWER_TIMEOUT;
use crate::{Common, Example, Outcome, Run};

/// Sends messages to a server with gsend and waits for an answer to each. A round is a message.
#[derive(Debug, Parser)]
#[command(name = "client", version)]
pub struct Client {
    #[command(flatten)]
    common: Common,

    /// The text to send; may be repeated, and starts again from the first after the last.
    #[arg(long, value_name = "TEXT", default_value = "Hello, server!")]
    say: Vec<String>,
}

impl Example for Client {
    const NAME: &'static str = "Client";
    const INTRODUCTION: [&'static str; 3] = [
        "Client opens a session of EX3 and talks to its peer with gsend() and grecv().",
        "It says something, waits for the answer, and says the next thing a second later.",
        "Run server on a node of the same network. Ctrl-C ends it.",
    ];

    fn common(&self) -> &Common {
        &self.common
    }

    fn run(self, mut run: Run) -> Outcome {
        let asa = grasp::register_asa(Self::NAME)?;
        tprint!("ASA Client registered OK");
        let mut ex3 = Objective::new("EX3").with_value("Start")?;
        ex3.neg = true;
        grasp::register_obj(asa, &ex3, RegisterObj::default())?;
        tprint!("Objective EX3 registered OK");

        let mut things = self.say.iter().cycle();
        let mut said_all = false;
        while !said_all && !run.stopping() {
            tprint!("Ready to negotiate EX3 as client");
            // The request opens the session; nobody answers it as a negotiation.
            match grasp::req_negotiate_noloop(asa, &ex3, None, Some(1000)) {
                Ok(session) => {
                    tprint!("Session starting");
                    match talk(asa, session, &mut things, &mut run) {
                        Ok(()) => said_all = true,
                        // All errors are fatal: the session is dead.
                        Err(error) => tprint!("Send/recv error:", error),
                    }
                    // This tells the server; after an error the session has already ended.
                    let _ = grasp::end_negotiate(asa, session, true, None);
                    tprint!("End of session");
                }
                Err(error) => tprint!("req_negotiate error:", error),
            }
            if !said_all {
                run.pause(5.0);
            }
        }
        grasp::deregister_asa(asa, Self::NAME)?;
        tprint!("ASA exiting");
        Ok(())
    }
}

/// Sends one text after the other.
fn talk<'a>(
    asa: AsaNonce,
    session: SessionNonce,
    things: &mut impl Iterator<Item = &'a String>,
    run: &mut Run,
) -> grasp::Result<()> {
    // grecv waits up to a minute: ending the session wakes it.
    let _waking = run.stop().wake_while(move || _ = grasp::end_negotiate(asa, session, true, None));
    while run.next_round() {
        let Some(thing) = things.next() else { break };
        tprint!("Saying:", thing);
        grasp::gsend(asa, session, &Value::from(thing.as_str()))?;
        let answer = grasp::grecv(asa, session, ANSWER_TIMEOUT)?;
        tprint!("Peer replied:", answer);
        run.pause(1.0);
    }
    Ok(())
}
