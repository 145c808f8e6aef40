//! A server with a bound on its threads, and its stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::bounded;
use grasp::{Asa, Config, Error, Negotiation, Stop};
use grasptests::isolated;
use grasptests::lab::eventually;
use grasptests::nodes::{Host, SOON, failure, joined, negotiable, two};

fn guard(host: &Host) -> Asa {
    host.run(|engine, _| {
        let asa = Asa::register(engine, "server").unwrap();
        engine.register_obj(asa.nonce(), &negotiable("EX3", 0), Default::default()).unwrap();
        asa
    })
}

/// Asks on a thread of its own.
fn ask(near: &Host, far: &Host) -> std::thread::JoinHandle<grasp::Result<Negotiation>> {
    let locator = far.locator("EX3");
    near.thread(move |engine, asa| engine.req_negotiate(asa, &negotiable("EX3", 1), Some(&locator), None))
}

fn asked(near: &Host, far: &Host) -> grasp::Result<Negotiation> {
    joined(ask(near, far))
}

#[test]
fn no_more_threads_answer_than_are_allowed_and_the_server_stops_cleanly() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    near.register(&negotiable("EX3", 1));
    let asa = guard(&far);
    let (at_work, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (release, gate) = bounded::<()>(0);
    let counters = (Arc::clone(&at_work), Arc::clone(&most));
    let server = far
        .node
        .run(|| {
            asa.serve(&negotiable("EX3", 0), 2, move |session| {
                let now = counters.0.fetch_add(1, Ordering::SeqCst) + 1;
                counters.1.fetch_max(now, Ordering::SeqCst);
                let _ = gate.recv();
                counters.0.fetch_sub(1, Ordering::SeqCst);
                session.accept().unwrap();
            })
        })
        .unwrap();
    let askers: Vec<_> = (0..2).map(|_| ask(&near, &far)).collect();
    eventually(SOON, "both are answered", || server.answering() == 2);
    assert!(server.is_serving());
    // No third: it is refused once nobody has listened for a while.
    let third = asked(&near, &far);
    assert_eq!(failure(third), Error::NoPeer);
    drop(release);
    for asker in askers {
        assert!(matches!(joined(asker), Ok(Negotiation::Agreed(_))));
    }
    assert!(matches!(asked(&near, &far), Ok(Negotiation::Agreed(_))));
    assert_eq!(most.load(Ordering::SeqCst), 2);
    eventually(SOON, "none is answered any more", || server.answering() == 0);
    server.stop();
    assert_eq!(far.listeners("EX3"), 0);
    assert_eq!(failure(asked(&near, &far)), Error::NoPeer);
}

#[test]
fn what_a_handler_leaves_open_is_declined_and_its_panic_ends_nothing_else() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    near.register(&negotiable("EX3", 1));
    let asa = guard(&far);
    let requests = AtomicUsize::new(0);
    let server = far
        .node
        .run(|| {
            asa.serve(&negotiable("EX3", 0), 1, move |session| {
                match requests.fetch_add(1, Ordering::SeqCst) {
                    0 => {}
                    1 => panic!("a bug of an ASA"),
                    _ => session.accept().unwrap(),
                }
            })
        })
        .unwrap();
    assert_eq!(failure(asked(&near, &far)), Error::Declined(None));
    assert_eq!(failure(asked(&near, &far)), Error::Declined(None));
    assert!(matches!(asked(&near, &far), Ok(Negotiation::Agreed(_))));
    assert!(server.is_serving());
    drop(server);
    eventually(SOON, "nobody listens", || far.listeners("EX3") == 0);
}

#[test]
fn one_handle_stops_a_server_that_runs_and_its_end_is_seen_otherwise() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    near.register(&negotiable("EX3", 1));
    let asa = guard(&far);
    let serve = || far.node.run(|| asa.serve(&negotiable("EX3", 0), 4, |session| session.accept().unwrap()));
    let stop = Stop::new();
    let (server, handle) = (serve().unwrap(), stop.clone());
    let running = far.node.spawn("runs", move || server.run_until(&handle));
    assert!(matches!(asked(&near, &far), Ok(Negotiation::Agreed(_))));
    stop.request();
    joined(running);
    assert_eq!(failure(asked(&near, &far)), Error::NoPeer);

    let server = serve().unwrap();
    far.run(|engine, _| engine.deregister_obj(asa.nonce(), &negotiable("EX3", 0))).unwrap();
    eventually(SOON, "it has ended", || !server.is_serving());
    assert!(matches!(server.failure(), Some(Error::NoSession | Error::NotYourObj)), "{:?}", server.failure());
    assert_eq!(failure(serve()), Error::NotYourObj);
}

#[test]
fn stopping_waits_for_the_requests_that_are_being_answered() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    near.register(&negotiable("EX3", 1));
    let asa = guard(&far);
    let (release, gate) = bounded::<()>(0);
    let server = far
        .node
        .run(|| {
            asa.serve(&negotiable("EX3", 0), 1, move |session| {
                let _ = gate.recv();
                session.accept().unwrap();
            })
        })
        .unwrap();
    let asker = ask(&near, &far);
    eventually(SOON, "it is answered", || server.answering() == 1);
    let (stopped, is_stopped) = bounded(1);
    let stopping = far.node.spawn("stops", move || {
        server.stop();
        stopped.send(()).unwrap();
    });
    assert!(is_stopped.recv_timeout(Duration::from_millis(200)).is_err(), "the request is not answered yet");
    drop(release);
    assert!(is_stopped.recv_timeout(SOON).is_ok());
    joined(stopping);
    assert!(matches!(joined(asker), Ok(Negotiation::Agreed(_))));
}
