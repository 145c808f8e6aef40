//! A node that has no port left.

use std::fs;
use std::net::{Ipv6Addr, TcpListener, UdpSocket};

use grasp::{Config, Error, RegisterObj, StartError};
use grasptests::isolated;
use grasptests::nodes::{AT_ONCE, failure, negotiable, two, within};

use super::{negotiate, start_error};

/// A range of very few ports.
const FIRST: u16 = 50_000;
const LAST: u16 = 50_007;

#[test]
fn without_ports_calls_fail_at_once_and_all_recovers() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    for host in [&near, &far] {
        host.register(&negotiable("EX1", 0));
    }
    negotiate(&near, &far);
    let peer = far.locator("EX1");
    let range = "/proc/sys/net/ipv4/ip_local_port_range";
    let (before, taken) = near.run(|_, _| {
        let before = fs::read_to_string(range).expect("the range of ports");
        fs::write(range, format!("{FIRST} {LAST}"))
            .expect("the range of ports can be set: in a container /proc/sys must be writable");
        let ports = || FIRST..=LAST;
        let tcp: Vec<_> =
            ports().filter_map(|port| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).ok()).collect();
        let udp: Vec<_> =
            ports().filter_map(|port| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).ok()).collect();
        (before, (tcp, udp))
    });
    within(AT_ONCE, || {
        near.run(|engine, asa| {
            let registered = engine.register_obj(asa, &negotiable("EX3", 1), RegisterObj::default());
            assert_eq!(failure(registered), Error::ObjFull);
            let asked = engine.req_negotiate(asa, &negotiable("EX1", 1), Some(&peer), None);
            assert_eq!(failure(asked), Error::SockErrNegRq);
        });
        let error = start_error(&near);
        assert!(matches!(error, StartError::Socket(_)), "{error:?}");
    });
    drop(taken);
    near.run(|engine, asa| {
        engine.register_obj(asa, &negotiable("EX3", 1), RegisterObj::default()).expect("a port");
        fs::write(range, before.trim()).expect("the range of before");
    });
    negotiate(&near, &far);
    near.expect_quiet();
}
