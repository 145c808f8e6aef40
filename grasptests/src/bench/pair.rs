//! Two nodes on one link with an engine each: one asks, the other answers.

use std::thread::JoinHandle;
use std::time::Duration;

use grasp::wire::{self, Body, Message, Outcome, Step, WireObjective};
use grasp::{AsaLocator, Config, Engine, Negotiation, Objective, RegisterObj};
use grasptests::lab::{Lab, Node, eventually};
use grasptests::nodes::{Host, SOON, first_answer, linked, negotiable, synchronizable};

use super::figure::Result;

/// What is negotiated; the value is what ASAs of the examples exchange.
pub(crate) fn negotiated() -> Objective {
    negotiable("EX3", grasp::Value::Array(vec!["NZD".into(), 47.into()]))
}

/// What is synchronized.
pub(crate) fn synchronized() -> Objective {
    synchronizable("EX2", grasp::Value::Array(vec!["NZD".into(), 47.into()]))
}

/// The engines and the listeners of the one that answers, which end with it.
#[derive(Debug)]
pub(crate) struct Pair {
    _lab: Lab,
    pub(crate) asker: Host,
    pub(crate) answerer: Host,
    listeners: Vec<JoinHandle<()>>,
}

impl Pair {
    /// Starts both with the same settings; both have what is negotiated, the answerer what is synchronized.
    pub(crate) fn start(config: Config) -> Self {
        Self::start_each(config.clone(), config)
    }

    /// Starts the asker with the first settings, the answerer with the others.
    pub(crate) fn start_each(near: Config, far: Config) -> Self {
        let (lab, _, a, b) = linked();
        a.run(spare_ports);
        let (asker, answerer) = (Host::start(&a, near), Host::start(&b, far));
        asker.register(&negotiated());
        for objective in [negotiated(), synchronized()] {
            answerer.register_with(&objective, RegisterObj { discoverable: true, ..RegisterObj::default() });
        }
        Self { _lab: lab, asker, answerer, listeners: Vec::new() }
    }

    /// The node that asks.
    pub(crate) fn asking(&self) -> &Node {
        &self.asker.node
    }

    /// The node that answers.
    pub(crate) fn answering(&self) -> &Node {
        &self.answerer.node
    }

    /// Has so many threads accept every negotiation at once.
    pub(crate) fn accept_with(&mut self, threads: usize) {
        self.listen_with(threads, |engine, asa, session, _| {
            // The client notices what goes wrong here: it gets no answer.
            let _ = engine.end_negotiate(asa, session, true, None);
        });
    }

    /// Has so many threads listen, each of which answers what it has got and listens again.
    pub(crate) fn listen_with(
        &mut self,
        threads: usize,
        answer: impl Fn(&Engine, grasp::AsaNonce, grasp::SessionNonce, Objective) + Clone + Send + 'static,
    ) {
        for _ in 0..threads {
            let answer = answer.clone();
            let listener = self.answerer.thread(move |engine, asa| {
                let wanted = negotiated();
                loop {
                    match engine.listen_negotiate(asa, &wanted) {
                        Ok((session, asked)) => answer(engine, asa, session, asked),
                        Err(_) => return,
                    }
                }
            });
            self.listeners.push(listener);
        }
        eventually(SOON, "everybody listens", || self.answerer.listeners("EX3") == self.listeners.len());
    }

    /// Serves what is synchronized.
    pub(crate) fn serve(&self) -> Result<()> {
        let value = synchronized();
        Ok(self.answerer.run(|engine, asa| engine.listen_synchronize(asa, &value))?)
    }

    /// Discovers an objective of the answerer.
    pub(crate) fn locator(&self, objective: &Objective) -> Result<AsaLocator> {
        let mut found = Vec::new();
        eventually(SOON, "the objective is discovered", || {
            let asked = |engine: &Engine, asa| engine.discover(asa, objective, Some(1000), first_answer());
            found = self.asker.run(asked).unwrap_or_default();
            !found.is_empty()
        });
        found.pop().ok_or_else(|| "nothing is discovered".into())
    }

    /// One negotiation that is accepted at once. The caller is in the asker's node.
    pub(crate) fn negotiate(&self, objective: &Objective, peer: &AsaLocator) -> Result<()> {
        match self.asker.engine.req_negotiate(self.asker.asa, objective, Some(peer), None)? {
            Negotiation::Agreed(_) => Ok(()),
            Negotiation::Offer(..) => Err("an offer where acceptance was due".into()),
        }
    }

    /// Nothing may have panicked or been left open.
    pub(crate) fn check(&self) -> Result<()> {
        for host in [&self.asker, &self.answerer] {
            let panics = host.engine.stats().panics;
            if panics > 0 {
                return Err(format!("{panics} threads of the engine panicked").into());
            }
        }
        Ok(())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.asker.engine.shutdown();
        self.answerer.engine.shutdown();
        for listener in self.listeners.drain(..) {
            let _ = listener.join();
        }
    }
}

/// Lets the asker's system take a port again a second after its connection has ended, and not after a minute, and take more ports. A
/// minute of ports is fewer connections than are measured: the search for a free one would be what is measured, for the
/// engine and for its floor.
fn spare_ports() {
    for (name, value) in [("tcp_tw_reuse", "1"), ("ip_local_port_range", "1024 65535")] {
        // Where it is not allowed, the figures of connections are slower, and more so the more there have been before.
        let _ = std::fs::write(format!("/proc/sys/net/ipv4/{name}"), value);
    }
}

/// The bytes of a request and of the answer that accepts it, for the floor.
pub(crate) fn request_and_accept() -> (Vec<u8>, Vec<u8>) {
    let session = 0x8765_4321;
    let objective = WireObjective::from_objective(&negotiated());
    let end = Body::End { session, outcome: Outcome::Accept };
    (bytes(Body::RequestNegotiate(Step { session, objective })), bytes(end))
}

/// The bytes of a request for a value, and of the value.
pub(crate) fn request_and_value() -> (Vec<u8>, Vec<u8>) {
    let session = 0x8765_4321;
    let step = || Step { session, objective: WireObjective::from_objective(&synchronized()) };
    (bytes(Body::RequestSynchronize(step())), bytes(Body::Synch(step())))
}

/// The bytes of a step, and of one back.
pub(crate) fn steps() -> (Vec<u8>, Vec<u8>) {
    let step = || Step { session: 0x8765_4321, objective: WireObjective::from_objective(&negotiated()) };
    (bytes(Body::Negotiate(step())), bytes(Body::Negotiate(step())))
}

/// The bytes of a message.
pub(crate) fn bytes(body: Body) -> Vec<u8> {
    wire::encode(&Message::new(body))
}

/// How long one round of a rate takes.
pub(crate) const ROUND: Duration = Duration::from_millis(400);
