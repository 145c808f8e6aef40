//! Rapid mode (RFC 8990 §2.5.4.5, §2.5.5.1, §2.5.6.3) between two nodes.

use grasp::{Asa, Config, Discover, Engine, Error, Negotiation, Objective, RegisterObj, Value};
use grasptests::isolated;
use grasptests::lab::{Lab, LabError, Node};

fn negotiable(value: i64) -> Objective {
    let mut objective = Objective::new("EX3");
    (objective.neg, objective.value) = (true, Value::from(value));
    objective
}

fn synchronizable(value: impl Into<Value>) -> Objective {
    let mut objective = Objective::new("EX2");
    (objective.synch, objective.value) = (true, value.into());
    objective
}

/// A client and a server on one link.
struct Pair {
    nodes: [Node; 2],
    client: Asa,
    server: Asa,
    _lab: Lab,
}

impl Pair {
    fn new(client: Config, server: Config) -> Result<Self, LabError> {
        let lab = Lab::new()?;
        let (a, b) = (lab.node("client")?, lab.node("server")?);
        lab.link(&a, &b)?;
        let start = |node: &Node, config| {
            node.run(|| Asa::register(&Engine::start(config).expect("start"), node.name()).expect("register"))
        };
        let (client, server) = (start(&a, client), start(&b, server));
        let rapid = RegisterObj { rapid: true, ..RegisterObj::default() };
        b.run(|| {
            server.engine().register_obj(server.nonce(), &negotiable(0), rapid.clone()).expect("EX3");
            server.engine().register_obj(server.nonce(), &synchronizable(()), rapid).expect("EX2");
            server.engine().listen_synchronize(server.nonce(), &synchronizable("now")).expect("listen");
        });
        a.run(|| client.engine().register_obj(client.nonce(), &negotiable(0), RegisterObj::default()))
            .expect("EX3");
        Ok(Self { nodes: [a, b], client, server, _lab: lab })
    }

    /// Answers one request with a higher value, and accepts what comes then.
    fn serve(&self) -> std::thread::JoinHandle<(u8, Negotiation)> {
        let (engine, nonce) = (self.server.engine().clone(), self.server.nonce());
        let (ready, go) = crossbeam_channel::bounded(1);
        let server = self.nodes[1].spawn("server", move || {
            ready.send(()).expect("the test waits");
            let (session, mut offer) = engine.listen_negotiate(nonce, &negotiable(0)).expect("a request");
            let loop_count = offer.loop_count;
            offer.value = Value::from(offer.value.as_i64().expect("a number") + 1);
            let answer = engine.negotiate_step(nonce, session, &offer, Some(5000)).expect("an answer");
            if let Negotiation::Offer(session, _) = answer {
                engine.end_negotiate(nonce, session, true, None).expect("the end");
            }
            (loop_count, answer)
        });
        go.recv().expect("the server starts");
        grasptests::lab::eventually(std::time::Duration::from_secs(5), "the server listens", || {
            self.server.engine().dump(true).contains("EX3 ASA: ")
                && self.server.engine().dump(true).contains("Listen: 1 Port")
        });
        server
    }

    fn negotiate(&self) -> Result<Negotiation, Error> {
        self.nodes[0].run(|| {
            self.client.engine().req_negotiate(self.client.nonce(), &negotiable(10), None, Some(5000))
        })
    }

    fn negotiates(&self, expected: i64) {
        let server = self.serve();
        let Ok(Negotiation::Offer(session, mut offer)) = self.negotiate() else { panic!("an offer") };
        assert_eq!(offer.value, Value::from(expected));
        offer.value = Value::from(20);
        let end = self.client.engine().negotiate_step(self.client.nonce(), session, &offer, Some(5000));
        assert!(matches!(end, Ok(Negotiation::Agreed(_))), "{end:?}");
        let (_, answer) = server.join().expect("no panic");
        assert!(matches!(answer, Negotiation::Offer(_, offer) if offer.value == Value::from(20)));
    }
}

#[test]
fn c_rap_05_a_negotiation_begins_with_the_answer_to_its_discovery() -> Result<(), LabError> {
    isolated!();
    let on = || Config::new().rapid_negotiation(true);
    let pair = Pair::new(on(), on())?;
    pair.negotiates(11);
    let (client, server) = (pair.client.engine().stats(), pair.server.engine().stats());
    assert_eq!((client.rapid_received, client.responses_received), (1, 0));
    assert_eq!((server.negotiation_requests, server.sessions_accepted), (0, 1));
    assert_eq!((pair.client.engine().open_sessions(), pair.server.engine().open_sessions()), (0, 0));
    Ok(())
}

#[test]
fn c_rap_03_without_it_on_both_sides_the_discovery_goes_on_as_ever() -> Result<(), LabError> {
    isolated!();
    let on = || Config::new().rapid_negotiation(true);
    for (client, server) in [(on(), Config::new()), (Config::new(), on())] {
        let pair = Pair::new(client, server)?;
        pair.negotiates(11);
        assert_eq!(pair.client.engine().stats().rapid_received, 0);
        assert_eq!(pair.server.engine().stats().negotiation_requests, 1);
    }
    Ok(())
}

#[test]
fn c_rap_06_nobody_listening_is_answered_with_an_ordinary_response() -> Result<(), LabError> {
    isolated!();
    let on = || Config::new().rapid_negotiation(true);
    let pair = Pair::new(on(), on())?;
    let discoverable = RegisterObj { rapid: true, discoverable: true, ..RegisterObj::default() };
    let (engine, nonce) = (pair.server.engine(), pair.server.nonce());
    engine.deregister_obj(nonce, &negotiable(0)).unwrap();
    pair.nodes[1].run(|| engine.register_obj(nonce, &negotiable(0), discoverable)).unwrap();
    assert_eq!(pair.negotiate(), Err(Error::NoPeer));
    assert_eq!(pair.client.engine().stats().rapid_received, 0);
    assert!(pair.client.engine().stats().responses_received > 0);
    Ok(())
}

#[test]
fn c_rap_05_a_value_comes_as_m_synch_or_in_the_response() -> Result<(), LabError> {
    isolated!();
    for (message, rapid) in [(true, 1), (false, 0)] {
        let config = || Config::new().rapid_synch_message(message);
        let pair = Pair::new(config(), config())?;
        let engine = pair.client.engine();
        let nonce = pair.client.nonce();
        let value = pair.nodes[0].run(|| engine.synchronize(nonce, &synchronizable(()), None, Some(5000)));
        assert_eq!(value.expect("a value").value, Value::from("now"));
        assert_eq!(engine.stats().rapid_received, rapid);
        assert_eq!(pair.server.engine().stats().synchronization_requests, 0, "no second connection");
        // A plain discovery finds the locator all the same.
        let found =
            pair.nodes[0].run(|| engine.discover(nonce, &synchronizable(()), None, Discover::default()));
        assert_eq!(found.expect("discover").len(), 1);
    }
    Ok(())
}
