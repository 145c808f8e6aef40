//! Rapid mode (RFC 8990 §2.5.4.5, §2.5.5.1, §2.5.6.3).

use grasp::{Config, Error};
use grasptests::isolated;

use crate::bench::{Bench, negotiable, synchronizable};
use crate::peer::{DISCOVERY, RESPONSE, items};

#[test]
fn c_rap_01_in_rapid_mode_a_first_discovery_carries_the_wish() {
    isolated!();
    let bench = Bench::with(Config::new().rapid_negotiation(true));
    let wish = negotiable("EX3", "wanted");
    bench.register(&wish);
    let result = bench.run(|engine, asa| engine.req_negotiate(asa, &wish, None, Some(100)));
    assert_eq!(result, Err(Error::NoDiscReply));
    let mut heard = || items(&bench.peer.heard(DISCOVERY).message)[3..].to_vec();
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
        bench.peer.multicast(&cbor!([1, session, (bench.peer.initiator()), [name, flags, 6, 99]]));
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
