//! Rapid mode (RFC 8990 §2.5.4.5, §2.5.5.1, §2.5.6.3).

use grasp::{Asa, Config, Error, Negotiation, Objective, RegisterObj, Value};
use grasptests::isolated;

use crate::bench::{Bench, negotiable, synchronizable};
use crate::peer::{DISCOVERY, QUIET, RESPONSE, SOON, Stream, items, sid};

#[test]
fn c_rap_01_a_discovery_that_is_none_of_a_negotiation_carries_no_wish() {
    isolated!();
    for loop_count in [1, 6] {
        let bench = Bench::with(Config::new().rapid_negotiation(true));
        let objective = Objective { loop_count, ..negotiable("EX3", "value") };
        drop(bench.discover(&objective, 100, Default::default()));
        assert_eq!(items(&bench.peer.heard(DISCOVERY).message)[3..], [cbor!(["EX3", 3, loop_count, ()])]);
    }
}

#[test]
fn c_rap_01_in_rapid_mode_a_first_discovery_carries_the_wish() {
    isolated!();
    let bench = Bench::with(Config::new().rapid_negotiation(true));
    let wish = negotiable("EX3", "wanted");
    bench.register(&wish);
    let result = bench.run(|engine, asa| engine.req_negotiate(asa, &wish, None, Some(100)));
    assert_eq!(result, Err(Error::NoDiscReply));
    let heard = || items(&bench.peer.heard(DISCOVERY).message)[3..].to_vec();
    assert_eq!(heard(), [cbor!(["EX3", 3, 1, "wanted"])]);
    assert_eq!(heard(), [cbor!(["EX3", 3, 6, ()])], "then it goes on as ever");
}

#[test]
fn c_rap_02_by_default_a_discovery_with_a_value_is_answered_with_a_response() {
    isolated!();
    let bench = Bench::new();
    let _server = bench.accept_all("EX3");
    bench.peer.locate("EX3");
    bench.publish(&synchronizable("EX4", 1));
    for (session, name, flags) in [(7, "EX3", 3), (8, "EX4", 5)] {
        bench.peer.multicast(&cbor!([1, session, (bench.peer.initiator()), [name, flags, 1, 99]]));
        let response = bench.peer.only_response(session);
        assert_eq!(items(&response)[0], cbor!(RESPONSE));
        assert_eq!(items(&response).len(), 5, "no objective: {response}");
    }
    assert_eq!(bench.engine.stats().negotiation_requests, 0, "nobody has begun to negotiate");
}

#[test]
fn c_rap_03_discovery_proceeds_as_without_a_value() {
    isolated!();
    let bench = Bench::new();
    bench.publish(&synchronizable("EX4", 1));
    let at = bench.peer.locate("EX4");
    bench.peer.multicast(&cbor!([1, 7, (bench.peer.initiator()), ["EX4", 5, 6, 99]]));
    let response = bench.peer.response();
    assert_eq!(items(&response)[4], crate::peer::locator(at.0, at.1));
    let mut stream = bench.peer.connect(at);
    stream.send(&cbor!([4, 8, ["EX4", 5, 6, ()]]));
    assert_eq!(stream.receive(), cbor!([8, 8, ["EX4", 5, 6, 1]]));
}

fn rapid() -> Config {
    Config::new().rapid_negotiation(true).rapid_synch_message(true)
}

/// The engine wants to negotiate without knowing a peer: its discovery, and what the call returns.
fn wish(bench: &Bench) -> (crate::peer::Heard, std::thread::JoinHandle<grasp::Result<Negotiation>>) {
    let objective = Objective { loop_count: 4, ..negotiable("EX3", "wanted") };
    bench.register_with(&objective, RegisterObj::default());
    let call = bench.spawn(move |engine, asa| engine.req_negotiate(asa, &objective, None, Some(800)));
    (bench.peer.heard(DISCOVERY), call)
}

fn answer(bench: &Bench, to: &crate::peer::Heard, message: &Value) -> Stream {
    let mut stream = bench.peer.connect(to.answer_to());
    stream.send(message);
    stream
}

#[test]
fn c_rap_04_the_initiator_sets_its_timer_as_for_a_request() {
    isolated!();
    let bench = Bench::with(rapid());
    let (heard, call) = wish(&bench);
    let session = sid(&heard.message);
    // An answer that asks for time, and then nothing for longer than that.
    let mut stream = answer(&bench, &heard, &cbor!([7, session, 300]));
    stream.closed();
    assert_eq!(call.join().unwrap(), Err(Error::NoNegReply));
}

#[test]
fn c_rap_04_the_loop_count_of_the_discovery_is_for_the_link_and_that_of_the_offers_as_for_a_request() {
    isolated!();
    let bench = Bench::with(rapid());
    let (heard, call) = wish(&bench);
    assert_eq!(items(&heard.message)[3], cbor!(["EX3", 3, 1, "wanted"]));
    let session = sid(&heard.message);
    let mut stream = answer(&bench, &heard, &cbor!([5, session, ["EX3", 3, 5, "less"]]));
    let Ok(Negotiation::Offer(handle, offer)) = call.join().unwrap() else { panic!("no offer") };
    assert_eq!((offer.value.clone(), offer.loop_count), (Value::from("less"), 5));
    drop(bench.spawn(move |engine, asa| engine.negotiate_step(asa, handle, &offer, None)));
    assert_eq!(stream.receive(), cbor!([5, session, ["EX3", 3, 4, "less"]]));
}

#[test]
fn c_rap_05_a_wish_is_answered_by_the_negotiation_itself() {
    isolated!();
    let bench = Bench::with(rapid());
    let server = Asa::register(&bench.engine, "server").unwrap();
    let objective = negotiable("EX3", 0);
    let options = RegisterObj { rapid: true, ..RegisterObj::default() };
    bench.home.run(|| bench.engine.register_obj(server.nonce(), &objective, options)).unwrap();
    let (engine, nonce) = (bench.engine.clone(), server.nonce());
    let serving = bench.home.spawn("server", move || {
        let (session, mut offer) = engine.listen_negotiate(nonce, &negotiable("EX3", 0)).unwrap();
        assert_eq!(offer.value, Value::from("wanted"));
        offer.value = Value::from("less");
        engine.negotiate_step(nonce, session, &offer, None).unwrap();
        engine.end_negotiate(nonce, session, true, None).unwrap();
    });
    bench.peer.locate("EX3");
    bench.peer.multicast(&cbor!([1, 7, (bench.peer.initiator()), ["EX3", 3, 1, "wanted"]]));
    let mut stream = bench.peer.accept_response(SOON).expect("a connection");
    assert_eq!(stream.receive(), cbor!([5, 7, ["EX3", 3, 5, "less"]]));
    stream.send(&cbor!([5, 7, ["EX3", 3, 4, "even less"]]));
    assert_eq!(stream.receive(), cbor!([6, 7, [101]]));
    stream.closed();
    serving.join().unwrap();
    assert!(bench.peer.response_within(QUIET).is_none(), "in place of a response");
}

#[test]
fn c_rap_05_a_discovery_of_a_value_is_answered_by_the_value() {
    isolated!();
    let bench = Bench::with(rapid());
    let options = RegisterObj { rapid: true, discoverable: true, ..RegisterObj::default() };
    bench.register_with(&synchronizable("EX4", "now"), options);
    bench.peer.multicast(&cbor!([1, 7, (bench.peer.initiator()), ["EX4", 5, 1, ()]]));
    assert_eq!(bench.peer.only_response(7), cbor!([8, 7, ["EX4", 5, 6, "now"]]));
    let call = bench.spawn(|engine, asa| engine.synchronize(asa, &synchronizable("EX5", ()), None, None));
    let heard = bench.peer.heard(DISCOVERY);
    answer(&bench, &heard, &cbor!([8, (sid(&heard.message)), ["EX5", 5, 6, "there"]]));
    assert_eq!(call.join().unwrap().unwrap().value, Value::from("there"));
}

#[test]
fn c_rap_05_a_wish_that_is_granted_at_once_is_agreed() {
    isolated!();
    let bench = Bench::with(rapid());
    let (heard, call) = wish(&bench);
    answer(&bench, &heard, &cbor!([6, (sid(&heard.message)), [101]]));
    let Ok(Negotiation::Agreed(agreed)) = call.join().unwrap() else { panic!("not agreed") };
    assert_eq!(agreed.value, Value::from("wanted"));
}

#[test]
fn c_rap_06_after_an_ordinary_response_the_negotiation_is_ordinary() {
    isolated!();
    let bench = Bench::with(rapid());
    let server = bench.peer.listen();
    let (heard, call) = wish(&bench);
    bench.peer.respond(&heard, 60_000, vec![bench.peer.locator(server.port())]);
    let mut stream = server.accept();
    let request = stream.receive();
    assert_eq!(request, cbor!([3, (sid(&request)), ["EX3", 3, 4, "wanted"]]));
    assert_ne!(sid(&request), sid(&heard.message));
    stream.send(&cbor!([6, (sid(&request)), [101]]));
    assert!(matches!(call.join().unwrap(), Ok(Negotiation::Agreed(_))));
}

/// Nobody has asked for it: discovery goes on.
#[test]
fn c_rap_06_an_answer_in_rapid_mode_does_not_end_an_ordinary_discovery() {
    isolated!();
    let bench = Bench::new();
    let found = bench.discover_first("EX1");
    let heard = bench.peer.heard(DISCOVERY);
    answer(&bench, &heard, &cbor!([6, (sid(&heard.message)), [102]]));
    answer(&bench, &heard, &cbor!([8, (sid(&heard.message)), ["EX1", 5, 6, 1]]));
    bench.peer.respond(&heard, 60_000, vec![bench.peer.locator(1)]);
    assert_eq!(found.join().unwrap().unwrap().len(), 1);
}
