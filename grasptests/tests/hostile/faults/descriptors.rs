//! A process that has no descriptor left.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use grasp::{AsaLocator, Config, Discover, Error, RegisterObj, StartError};
use grasptests::isolated;
use grasptests::lab::{eventually, process};
use grasptests::nodes::{AT_ONCE, Host, SOON, failure, negotiable, synchronizable, two, within};
use nix::sys::resource::Resource;
use socket2::{Domain, SockAddr, Socket, Type};

use super::{Limit, computed, negotiate, quiet, start_error};

/// How often accepting fails before it is looked how long that took.
const TRIES: u64 = 20;

/// Sockets made while there were descriptors, to connect with later.
fn sockets(host: &Host, count: usize) -> Vec<Socket> {
    host.run(|_, _| (0..count).map(|_| Socket::new(Domain::IPV6, Type::STREAM, None).unwrap()).collect())
}

/// Connects with a port of the host, which has no descriptor to accept with: it goes on trying, and does not spin.
fn accepting_fails(host: &Host, port: u16, clients: &[Socket]) {
    let target = SockAddr::from(std::net::SocketAddrV6::new(Ipv6Addr::LOCALHOST, port, 0, 0));
    for client in clients {
        host.run(|_, _| client.connect(&target)).expect("the system holds the connection");
    }
    let failed = || host.engine.stats().accept_failed;
    eventually(SOON, "accepting fails", || failed() > 0);
    let (before, spent, began) = (failed(), computed(), Instant::now());
    eventually(SOON, "it goes on trying", || failed() >= before + TRIES);
    let (tries, spent, took) = (failed() - before, computed() - spent, began.elapsed());
    assert!(took >= Duration::from_millis(25 * TRIES), "{tries} tries in {took:?}");
    assert!(spent < took.mul_f32(0.7), "computed for {spent:?} in {took:?}");
}

#[test]
fn without_descriptors_calls_fail_at_once_nothing_spins_and_all_recovers() {
    isolated!();
    // The engine would raise the limit by itself.
    let (_lab, near, far) = two(Config::new().raise_descriptor_limit(false));
    for host in [&near, &far] {
        host.register(&negotiable("EX1", 0));
    }
    far.register(&synchronizable("EX2", 1));
    far.run(|engine, asa| engine.listen_synchronize(asa, &synchronizable("EX2", 1))).unwrap();
    let (neg, synch) = (far.locator("EX1"), far.locator("EX2"));
    let (port, threads) = (far.port("EX1"), near.engine.thread_count());
    let clients = sockets(&far, 3);
    let limit = Limit::set(Resource::RLIMIT_NOFILE, process::next_descriptor());

    within(AT_ONCE, || {
        near.run(|engine, asa| {
            let asked = engine.req_negotiate(asa, &negotiable("EX1", 1), Some(&neg), None);
            assert_eq!(failure(asked), Error::SockErrNegRq);
            let asked = engine.synchronize(asa, &synchronizable("EX2", 1), Some(&synch), None);
            assert_eq!(failure(asked), Error::SockErrSynRq);
            let registered = engine.register_obj(asa, &negotiable("EX3", 1), RegisterObj::default());
            assert_eq!(failure(registered), Error::ObjFull);
            // Neither needs a descriptor.
            engine.register_obj(asa, &grasp::Objective::new("EX4"), RegisterObj::default()).unwrap();
            assert_eq!(engine.get_flood(asa, &synchronizable("EX2", 1)), Ok(vec![]));
        });
        let error = start_error(&near);
        let told = matches!(error, StartError::Socket(_) | StartError::Interfaces(_) | StartError::Thread(_));
        assert!(told, "{error:?}");
    });
    // Answers cannot be accepted.
    let found =
        near.run(|engine, asa| engine.discover(asa, &negotiable("EX5", 1), None, Discover::default()));
    assert_eq!(found, Ok(vec![]));

    accepting_fails(&far, port, &clients);

    drop(limit);
    eventually(SOON, "what has waited is accepted", || far.engine.stats().connections_accepted >= 3);
    drop(clients);
    negotiate(&near, &far);
    near.run(|engine, asa| engine.register_obj(asa, &negotiable("EX3", 1), RegisterObj::default())).unwrap();
    let value = near.run(|engine, asa| {
        engine.synchronize(asa, &synchronizable("EX2", 0), Some(&AsaLocator { ifi: None, ..synch }), None)
    });
    assert_eq!(value.unwrap().value, 1.into());
    quiet(&near, threads + 2);
}

/// A program that shuts itself in has no use for descriptors; then the system refuses even to wait for one.
#[test]
fn a_process_that_may_have_no_descriptor_does_not_spin() {
    isolated!();
    let (_lab, near, _far) = two(Config::new().raise_descriptor_limit(false));
    near.register(&negotiable("EX1", 0));
    let (port, clients) = (near.port("EX1"), sockets(&near, 1));
    let limit = Limit::set(Resource::RLIMIT_NOFILE, 0);
    accepting_fails(&near, port, &clients);
    within(AT_ONCE, || near.engine.shutdown());
    drop(limit);
}
