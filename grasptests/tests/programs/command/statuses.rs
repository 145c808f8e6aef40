//! Each exit status, and how what is wrong is said.

use std::time::Duration;

use grasp::ipc::{self, Access, ServerOptions, Who};
use grasp::{Objective, RegisterObj};
use grasptests::isolated;

use super::{Ended, Scene};

/// The end must have this status, and a sentence with this in it.
#[track_caller]
fn ends(ended: &Ended, status: i32, sentence: &str) {
    assert!(ended.status == status && ended.errors.contains(sentence), "not {status} {sentence}: {ended:?}");
}

#[test]
fn what_is_not_there_is_nothing_and_what_is_wrong_is_a_usage() {
    isolated!();
    let scene = Scene::new();
    ends(&scene.grasp(&["status"]), 0, "");
    ends(&scene.grasp(&["sessions"]), 1, "no session is open");
    ends(&scene.grasp(&["floods", "EX1", "--timeout", "50"]), 1, "no flood of EX1 has come");
    ends(
        &scene.grasp(&["discover", "EX9", "--loop-count", "1", "--timeout", "200"]),
        1,
        "EX9: nobody answers",
    );
    ends(
        &scene.grasp(&["get", "EX9", "--timeout", "200"]),
        1,
        "EX9: Not flooded and no reply to discovery (33 notFloodDisc)",
    );
    ends(&scene.grasp(&["watch", "EX9", "--timeout", "100"]), 1, "no flood of EX9 has come");
    for (words, sentence) in [
        (&["frob"][..], "unrecognized subcommand"),
        (&["discover"], "<NAME>"),
        (&["flood", "EX1", "[1"], "closing bracket is missing"),
        (&["flood", "EX1"], "a value is missing"),
        (&["get", "EX1", "--as", "nonsense"], "AN_join_registrar"),
        (&["status", "--timeout", "soon"], "not a number of milliseconds"),
        (&["publish", "AN_join_registrar", "--at", "[fe80::1]:1"], "link-local"),
        (&["publish", "AN_Proxy", "--at", "[fe80::1]:1", "--loop-count", "2"], "must not leave the link"),
        (&["publish", "AN_Join_Registrar", "EST-TLS"], "is not AN_join_registrar"),
        (&["publish", "PrefixManager", "[6, 48]"], "is negotiated"),
        (&["listen", "EX1", "perhaps"], "not a way to answer"),
    ] {
        ends(&scene.grasp(words), 2, sentence);
    }
}

#[test]
fn without_a_node_that_is_said_with_what_to_do() {
    isolated!();
    let scene = Scene::new();
    let nowhere = scene.directory.file("nowhere.sock");
    for words in [&["status"][..], &["reload"], &["discover", "EX1"]] {
        let words = [words, &["--socket", &nowhere]].concat();
        ends(&scene.grasp(&words), 3, "start graspd");
    }
    // The node goes while the command watches.
    let watching = scene.start(true, &["objectives", "--watch"]);
    grasptests::lab::eventually(
        super::SOON,
        "it is connected, and follows events by another connection",
        || scene.server.clients().len() > 1,
    );
    scene.node.shutdown();
    ends(&watching.end(), 3, "the node has gone");
}

#[test]
fn what_the_node_or_the_peer_refuses_is_refused() {
    isolated!();
    let scene = Scene::new();
    let money = Objective { neg: true, ..Objective::new("EX3") };
    scene.far.run(|| {
        let (engine, asa) = (scene.peer.engine(), scene.peer.nonce());
        engine.register_obj(asa, &money, RegisterObj::default()).expect("registered");
    });
    let (peer, objective) = (scene.peer.engine().clone(), money.clone());
    let asa = scene.peer.nonce();
    let listener = scene.far.spawn("listener", move || {
        let (session, _) = peer.listen_negotiate(asa, &objective).expect("a request");
        peer.end_negotiate(asa, session, false, Some("too much")).expect("declined");
    });
    ends(&scene.grasp(&["negotiate", "EX3", "100"]), 4, "EX3: Declined (1 declined): \"too much\"");
    listener.join().expect("it has answered");

    let path = scene.directory.file("closed.sock");
    let nothing = ServerOptions::new(&path).access(Access::new().everything(Who::User(4711)));
    let start = || ipc::Server::start(&scene.node, nothing);
    let _closed = scene.near.run(start).expect("a second socket");
    ends(&scene.grasp(&["status", "--socket", &path]), 4, "does not let this user look inside");
    ends(&scene.grasp(&["get", "EX1", "--socket", &path]), 4, "does not permit");
}

#[test]
fn a_peer_that_does_not_answer_is_waited_for_no_longer_than_said() {
    isolated!();
    let scene = Scene::new();
    let money = Objective { neg: true, ..Objective::new("EX3") };
    let (peer, asa) = (scene.peer.engine().clone(), scene.peer.nonce());
    scene.far.run(|| peer.register_obj(asa, &money, RegisterObj::default())).expect("registered");
    let silent = scene.far.spawn("silent", move || peer.listen_negotiate(asa, &money).map(drop));
    let started = std::time::Instant::now();
    ends(
        &scene.grasp(&["negotiate", "EX3", "100", "--timeout", "2s"]),
        5,
        "EX3: No reply to negotiation step",
    );
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
    silent.join().expect("no panic").expect("a request");
    ends(&scene.grasp(&["listen", "EX4", "--count", "1", "--timeout", "100"]), 5, "EX4: nobody asked");
}
