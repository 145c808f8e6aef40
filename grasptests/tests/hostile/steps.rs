//! A peer that closes, breaks off or stalls at each step of a negotiation, a synchronization and an exchange of
//! messages, as initiator and as responder.

use std::time::Duration;

use grasp::{AsaLocator, Config, Engine, Error, Negotiation, Objective, Value};
use grasptests::isolated;
use grasptests::nodes::{Host, RawPeer, RawStream, negotiable, synchronizable, within};

use crate::scene::{LATER, Scene, call, neg_of, negotiates, syn_of};

/// How the peer fails.
#[derive(Clone, Copy, Debug)]
enum Failure {
    Close,
    Reset,
    /// Says nothing more, and keeps the connection.
    Stall,
}

const FAILURES: [Failure; 3] = [Failure::Close, Failure::Reset, Failure::Stall];

/// Fails, and returns what is to be kept until the test has seen the consequences.
fn fail(stream: RawStream, how: Failure) -> Option<RawStream> {
    match how {
        Failure::Close => drop(stream),
        Failure::Reset => stream.reset(),
        Failure::Stall => return Some(stream),
    }
    None
}

/// Where the peer fails.
#[derive(Clone, Debug)]
enum Doing {
    Send(Vec<u8>),
    Hear,
}

fn half(message: &Value) -> Doing {
    let bytes = message.encode();
    Doing::Send(bytes[..bytes.len() / 2].to_vec())
}

fn whole(message: &Value) -> Doing {
    Doing::Send(message.encode())
}

fn does(stream: &mut RawStream, script: &[Doing]) {
    for doing in script {
        match doing {
            Doing::Send(bytes) => stream.write(bytes),
            Doing::Hear => drop(stream.hear()),
        }
    }
}

/// What an initiator does before it fails: everything that a negotiation with the victim consists of.
fn initiations(name: &str, session: u32) -> Vec<Vec<Doing>> {
    let request = cbor!([3, session, [name, 3, 6, 1]]);
    let step = cbor!([5, session, [name, 3, 4, 1]]);
    let (wait, accept) = (cbor!([7, session, 300]), cbor!([6, session, [101]]));
    let asked = || vec![whole(&request), Doing::Hear];
    let then = |more: Vec<Doing>| [asked(), more].concat();
    vec![
        vec![],
        vec![half(&request)],
        vec![whole(&request)],
        asked(),
        then(vec![half(&wait)]),
        then(vec![whole(&wait)]),
        then(vec![whole(&wait), half(&step)]),
        then(vec![half(&step)]),
        then(vec![whole(&step)]),
        then(vec![half(&accept)]),
        then(vec![whole(&accept)]),
        // The step and the end at once, which is one too much.
        then(vec![whole(&step), whole(&accept)]),
    ]
}

#[test]
fn an_initiator_that_fails_at_any_step_of_a_negotiation() {
    isolated!();
    let scene = Scene::new(Config::new().request_deadline(Duration::from_millis(700)));
    scene.survives(|scene| {
        let name = neg_of(&scene.victim);
        let at = scene.port_of(&name);
        let count = initiations(&name, 0).len();
        let mut kept = Vec::new();
        let growth = scene.counted(|| {
            for (session, (which, how)) in (0..).zip((0..count).flat_map(|n| FAILURES.map(|how| (n, how)))) {
                let mut stream = call(scene, at);
                does(&mut stream, &initiations(&name, session)[which]);
                kept.extend(fail(stream, how));
            }
        });
        // Beside those that stall others are served.
        negotiates(&scene.friend, &scene.victim).unwrap();
        // The victim's steps have a second, its readers less.
        growth.at_least("no whole request", |s| s.dropped_bad_request, 6);
        growth.at_least("sessions", |s| s.sessions_accepted, 3 * (count - 2) - 2);
        grasptests::lab::eventually(LATER, "all sessions end", || scene.victim.engine.open_sessions() == 0);
        drop(kept);
    });
}

/// What a responder does before it fails, once it has heard the request of a session.
fn responses(name: &str, session: u32) -> Vec<Vec<Doing>> {
    let offer = cbor!([5, session, [name, 3, 5, 2]]);
    let (wait, accept) = (cbor!([7, session, 300]), cbor!([6, session, [101]]));
    let decline = cbor!([6, session, [102, "no"]]);
    vec![
        vec![],
        vec![half(&wait)],
        vec![whole(&wait)],
        vec![whole(&wait), half(&offer)],
        vec![half(&offer)],
        vec![whole(&offer)],
        // After the victim's step.
        vec![whole(&offer), Doing::Hear],
        vec![whole(&offer), Doing::Hear, half(&accept)],
        vec![whole(&offer), Doing::Hear, whole(&wait)],
        vec![half(&accept)],
        vec![whole(&accept)],
        vec![whole(&decline)],
    ]
}

/// Asks a responder made by hand that fails in its way. Returns what the call says, which must be soon.
fn ask_one_that_fails<R: Send>(
    scene: &Scene,
    script: impl Fn(u32) -> Vec<Doing> + Send + 'static,
    how: Failure,
    ask: impl FnOnce(&Engine, grasp::AsaNonce, &AsaLocator) -> R + Send,
) -> R {
    let peer = RawPeer::on(&scene.attacker);
    let address = scene.link.ula(&scene.attacker).unwrap();
    let at = AsaLocator::new(address, None).with_port(peer.port());
    let thread = scene.attacker.spawn("peer", move || {
        let mut stream = peer.accept();
        let session = stream.hear().session().expect("a request");
        does(&mut stream, &script(session));
        fail(stream, how)
    });
    let result = within(LATER / 3, || scene.victim.run(|engine, asa| ask(engine, asa, &at)));
    drop(thread.join().unwrap());
    result
}

#[test]
fn a_responder_that_fails_at_any_step_of_a_negotiation() {
    isolated!();
    let scene = Scene::new(Config::new());
    let wish = negotiable("wish", 1);
    scene.victim.register(&wish);
    const PATIENCE: Option<u32> = Some(400);
    scene.survives(|scene| {
        let count = responses("wish", 0).len();
        for which in 0..count {
            for how in FAILURES {
                let script = move |session| responses("wish", session).swap_remove(which);
                let reply = ask_one_that_fails(scene, script, how, |engine, asa, at| {
                    match engine.req_negotiate(asa, &wish, Some(at), PATIENCE) {
                        Ok(Negotiation::Offer(session, offer)) => {
                            engine.negotiate_step(asa, session, &offer, PATIENCE)
                        }
                        other => other,
                    }
                });
                let expected = match (which, how) {
                    // A reset may overtake what was sent before it.
                    (10, Failure::Close | Failure::Stall) => {
                        matches!(reply, Ok(Negotiation::Agreed(_)))
                    }
                    (11, Failure::Close | Failure::Stall) => matches!(reply, Err(Error::Declined(_))),
                    (10, Failure::Reset) => {
                        matches!(reply, Ok(Negotiation::Agreed(_))) || reply == Err(Error::NoNegReply)
                    }
                    (11, Failure::Reset) => {
                        matches!(reply, Err(Error::Declined(_))) || reply == Err(Error::NoNegReply)
                    }
                    _ => reply.as_ref().is_err_and(|error| {
                        [Error::NoNegReply, Error::NoPeer, Error::CborFail, Error::SockErrNegStep]
                            .contains(error)
                    }),
                };
                assert!(expected, "{which} {how:?}: {reply:?}");
                assert_eq!(scene.victim.engine.open_sessions(), 0, "{which} {how:?}");
            }
        }
    });
}

#[test]
fn an_asker_that_fails_at_any_step_of_a_synchronization() {
    isolated!();
    let scene = Scene::new(Config::new().request_deadline(Duration::from_millis(700)));
    scene.survives(|scene| {
        let name = syn_of(&scene.victim);
        let at = scene.port_of(&name);
        let request = cbor!([4, 7, [(name.as_str()), 5, 6, ()]]);
        let scripts = [
            vec![],
            vec![half(&request)],
            vec![whole(&request)],
            vec![whole(&request), Doing::Hear],
            vec![whole(&request), whole(&request)],
        ];
        let mut kept = Vec::new();
        let growth = scene.counted(|| {
            for script in &scripts {
                for how in FAILURES {
                    let mut stream = call(scene, at);
                    does(&mut stream, script);
                    kept.extend(fail(stream, how));
                }
            }
        });
        growth.at_least("no whole request", |s| s.dropped_bad_request, 6);
        growth.at_least("served", |s| s.synchronization_requests, 7);
        drop(kept);
    });
}

#[test]
fn a_server_that_fails_at_any_step_of_a_synchronization() {
    isolated!();
    let scene = Scene::new(Config::new());
    let value = synchronizable("value", ());
    let answers = |session: u32| {
        let synch = cbor!([8, session, ["value", 5, 6, 42]]);
        [vec![], vec![half(&synch)], vec![whole(&synch)]]
    };
    scene.survives(|scene| {
        for which in 0..3 {
            for how in FAILURES {
                let script = move |session| answers(session)[which].clone();
                let reply = ask_one_that_fails(scene, script, how, |engine, asa, at| {
                    engine.synchronize(asa, &value, Some(at), Some(400))
                });
                let failed = reply.as_ref().is_err_and(|error| {
                    [Error::NoListener, Error::NoSynchReply, Error::CborFail].contains(error)
                });
                let expected = match (which, how) {
                    (2, Failure::Reset) => failed || reply.is_ok(),
                    (2, _) => reply.is_ok(),
                    _ => failed,
                };
                assert!(expected, "{which} {how:?}: {reply:?}");
            }
        }
    });
}

/// Messages of any kind: the victim as client, then as server, of a peer that fails at each step.
#[test]
fn a_peer_that_fails_at_any_step_of_an_exchange_of_messages() {
    isolated!();
    let scene = Scene::new(Config::new());
    let any = Objective { neg: true, ..Objective::new("any") };
    scene.victim.register(&any);
    let message = cbor!(["a message", 1, 2, 3]);
    let scripts = {
        let (half, whole) = (half(&message), whole(&message));
        [vec![], vec![half.clone()], vec![whole.clone()], vec![whole, half]]
    };
    scene.survives(|scene| {
        for script in &scripts {
            let whole = script.iter().filter(|doing| matches!(doing, Doing::Send(b) if b.len() > 12)).count();
            for how in FAILURES {
                // As client.
                let mine = script.clone();
                let received = ask_one_that_fails(
                    scene,
                    move |_| mine.clone(),
                    how,
                    |engine, asa, at| {
                        let session = engine.req_negotiate_noloop(asa, &any, Some(at), None).unwrap();
                        // The peer may be gone.
                        let _ = engine.gsend(asa, session, &cbor!("hello"));
                        receive_all(engine, asa, session)
                    },
                );
                assert!(received <= whole, "{script:?} {how:?}: {received}");
                // As server.
                let received = serve_one_that_fails(&scene.victim, scene, script, how, &any);
                assert!(received <= whole, "{script:?} {how:?}: {received}");
                assert_eq!(scene.victim.engine.open_sessions(), 0);
            }
        }
        scene.victim.run(|engine, asa| engine.stop_negotiate(asa, &any)).unwrap();
    });
}

/// How many messages come until a call fails, which ends the session.
fn receive_all(engine: &Engine, asa: grasp::AsaNonce, session: grasp::SessionNonce) -> usize {
    let mut count = 0;
    loop {
        match engine.grecv(asa, session, 300) {
            Ok(_) => count += 1,
            Err(error)
                if [Error::NoPeer, Error::NoReply, Error::CborFail, Error::NoSession].contains(&error) =>
            {
                return count;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn serve_one_that_fails(
    server: &Host,
    scene: &Scene,
    script: &[Doing],
    how: Failure,
    any: &Objective,
) -> usize {
    let listener = server.listen(any);
    let mut stream = call(scene, scene.port_of("any"));
    stream.write(&cbor!([3, 7, ["any", 3, 6, ()]]).encode());
    let (session, _) = listener.join().unwrap().unwrap();
    does(&mut stream, script);
    let kept = fail(stream, how);
    let received = within(LATER / 3, || {
        server.run(|engine, asa| {
            // The peer may be gone.
            let _ = engine.gsend(asa, session, &cbor!("hello"));
            receive_all(engine, asa, session)
        })
    });
    drop(kept);
    received
}
