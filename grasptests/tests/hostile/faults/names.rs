//! A name in a locator, and a name server that never answers.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use grasp::{AsaLocator, Config, Error, Protocol};
use grasptests::isolated;
use grasptests::lab::{eventually, process};
use grasptests::nodes::{AT_ONCE, SOON, failure, joined, negotiable, synchronizable, two, within};

use super::negotiate;

/// What is left for looking up and connecting.
const CONNECT: Duration = Duration::from_secs(1);

#[test]
fn a_name_server_that_never_answers_holds_up_no_call_and_nobody_else() {
    isolated!();
    let (_lab, near, far) = two(Config::new().connect_timeout(CONNECT));
    for host in [&near, &far] {
        host.register(&negotiable("EX1", 0));
    }
    let server =
        near.run(|_, _| UdpSocket::bind((Ipv4Addr::LOCALHOST, 53))).expect("the port of a name server");
    server.set_nonblocking(true).unwrap();
    let named = AsaLocator::fqdn("peer.example", Protocol::Tcp, 7017);
    let asking = near.thread(move |engine, asa| {
        // Whoever waits for the resolver waits for minutes.
        process::replace_file("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:30 attempts:5\n")
            .unwrap();
        process::replace_file("/etc/nsswitch.conf", "hosts: dns\n").unwrap();
        within(CONNECT + AT_ONCE, || {
            let asked = engine.req_negotiate(asa, &negotiable("EX1", 1), Some(&named), None);
            assert_eq!(failure(asked), Error::SockErrNegRq);
        });
        within(CONNECT + AT_ONCE, || {
            let asked = engine.synchronize(asa, &synchronizable("EX2", 1), Some(&named), None);
            assert_eq!(failure(asked), Error::SockErrSynRq);
        });
    });
    let is_asked = || server.recv(&mut [0; 512]).is_ok();
    eventually(SOON, "the system's resolver asks the name server", is_asked);
    negotiate(&near, &far);
    joined(asking);
    near.expect_quiet();
    // The lookups go on: they are the system's.
    within(AT_ONCE, || near.engine.shutdown());
}
