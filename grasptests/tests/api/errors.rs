//! Errors as a caller sees them.

use std::error::Error as _;
use std::net::Ipv6Addr;

use grasp::{AsaLocator, Config, Engine, Error, Protocol, Retry, StartError, Why};
use grasptests::isolated;
use grasptests::nodes::{RawPeer, RawStream, failure, negotiable, one, synchronizable};

/// A connection that fails says why, and is still what graspy calls it.
#[test]
fn a_failed_connection_says_why() {
    isolated!();
    let (_lab, host) = one(Config::new().connect_timeout(std::time::Duration::from_millis(300)));
    host.register(&negotiable("EX3", 1));
    let ask = |peer: &AsaLocator| {
        failure(host.run(|engine, asa| engine.req_negotiate(asa, &negotiable("EX3", 1), Some(peer), None)))
    };
    let own = host.node.ula().unwrap();
    let refused = ask(&AsaLocator::new(own, None).with_port(9));
    assert_eq!((&refused, refused.why()), (&Error::SockErrNegRq, Some(Why::Refused)));
    assert!(refused.source().is_some() && refused.retry() == Retry::Later);
    assert!(
        refused.to_string().ends_with(&format!("the peer refuses the connection ([{own}]:9)")),
        "{refused}"
    );
    let unreachable = ask(&AsaLocator::new("2001:db8::1".parse::<Ipv6Addr>().unwrap(), None));
    assert_eq!(unreachable.why(), Some(Why::Unreachable), "{unreachable}");
    let silent = ask(&AsaLocator::new(silent_neighbour(own), None));
    assert_eq!(silent.why(), Some(Why::TimedOut), "{silent}");
    for nowhere in [
        AsaLocator::uri("coap://[::1]/"),
        AsaLocator::null(),
        AsaLocator::new(own, None).with_protocol(Protocol::Udp),
    ] {
        let error = ask(&nowhere);
        assert_eq!((error.why(), error.retry()), (Some(Why::Unresolved), Retry::No), "{error}");
    }
    let get = |peer: &AsaLocator| {
        failure(host.run(|engine, asa| engine.synchronize(asa, &synchronizable("EX2", ()), Some(peer), None)))
    };
    let refused = get(&AsaLocator::new(own, None).with_port(9));
    assert_eq!((&refused, refused.why()), (&Error::SockErrSynRq, Some(Why::Refused)));
}

/// An address of the same network that nobody has.
fn silent_neighbour(own: Ipv6Addr) -> Ipv6Addr {
    let mut octets = own.octets();
    octets[15] ^= 0x55;
    octets.into()
}

#[test]
fn a_connection_that_is_reset_says_so() {
    isolated!();
    let (_lab, host) = one(Config::new());
    host.register(&negotiable("EX3", 1));
    let error = host.against(
        |stream, _| RawStream::reset(stream),
        |engine, asa, peer| engine.req_negotiate(asa, &negotiable("EX3", 1), Some(peer), None),
    );
    let error = failure(error);
    assert_eq!((&error, error.why()), (&Error::NoNegReply, Some(Why::Reset)), "{error}");
}

#[test]
fn a_limit_a_size_and_a_stopped_engine_have_their_own_words() {
    isolated!();
    let (_lab, host) = one(Config::new().session_limit(0));
    host.register(&negotiable("EX3", 1));
    let peer = RawPeer::on(&host.node);
    let locator = peer.locator();
    let ask = |value: Vec<u8>| {
        let objective = negotiable("EX3", value);
        failure(host.run(|engine, asa| engine.req_negotiate(asa, &objective, Some(&locator), None)))
    };
    assert!(matches!(ask(vec![0; 3000]), Error::TooLarge { size: 3000.., limit: 2048 }));
    let full = ask(vec![]);
    assert!(matches!(full, Error::SessionLimit) && full.retry() == Retry::Later, "{full}");
    host.engine.shutdown();
    let stopped = ask(vec![]);
    assert!(matches!(stopped, Error::Stopped), "{stopped}");
    for error in [full, stopped] {
        assert_eq!((&error, error.code(), error.name()), (&Error::Unspec, 3, "unspec"));
        assert_eq!(format!("{error:?}"), error.to_string());
    }
}

/// What `main` prints when it returns the error.
#[test]
fn an_engine_that_cannot_start_says_a_sentence() {
    isolated!();
    let lab = grasptests::lab::Lab::new().unwrap();
    let node = lab.node("a").unwrap();
    let error = node.run(|| Engine::start(Config::new())).expect_err("there is no interface");
    assert!(matches!(error, StartError::NoInterface));
    assert!(format!("{error:?}").starts_with("no usable interface"), "{error:?}");
}
