//! `RUST_LOG=debug` tells the story of a healthy run: who looked for what, who answered, who relayed, what came of it.

use grasp::{Config, Discover, Negotiation, TaggedObjective};
use grasptests::isolated;
use grasptests::lab::{Lab, LabError, Topology, eventually};
use grasptests::nodes::{Host, SOON, negotiable, synchronizable};
use parking_lot::Mutex;

/// Remembers the lines of the story.
struct Listener(Mutex<Vec<String>>);

static LISTENER: Listener = Listener(Mutex::new(Vec::new()));

impl log::Log for Listener {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.target() == "grasp::story" {
            println!("{} {}", record.level(), record.args());
            self.0.lock().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Waits for a line with all of these words.
#[track_caller]
fn told(words: &[&str]) {
    eventually(SOON, &format!("a line with {words:?}"), || {
        LISTENER.0.lock().iter().any(|line| words.iter().all(|word| line.contains(word)))
    });
}

#[test]
fn a_healthy_run_is_told_with_engine_peer_objective_interface_and_cause() -> Result<(), LabError> {
    isolated!();
    log::set_logger(&LISTENER).expect("the first logger");
    log::set_max_level(log::LevelFilter::Debug);
    let lab = Lab::new()?;
    let nodes = lab.build(Topology::Line(3))?.nodes;
    let start = |number: usize| {
        let node = &nodes[number];
        Host::start(node, Config::new().name(Some(format!("node{number}"))))
    };
    let (asker, relay, server) = (start(0), start(1), start(2));
    for host in [&asker, &server] {
        host.register(&negotiable("EX3", 0));
    }
    let listening = server.listen(&negotiable("EX3", 0));
    let once = Discover { enough: Some(1), ..Discover::default() };
    let found =
        asker.run(|engine, asa| engine.discover(asa, &negotiable("EX3", 0), Some(20_000), once)).unwrap();
    assert_eq!(found.len(), 1);
    told(&["node0: ", "discovery", "of EX3 is over after", "ms: 1 answer"]);
    told(&["node0: ", "of EX3 is answered by [fe80::", "on eth0", "M_RESPONSE"]);
    told(&["node1: relays discovery", "of EX3, which came on eth0"]);
    told(&["node1: relaying discovery", "of EX3 for fd00:", "is over after", "1 answer"]);
    told(&["node2: answers discovery", "of EX3", "on eth0", "M_RESPONSE"]);

    let asked = asker
        .thread(move |engine, asa| engine.req_negotiate(asa, &negotiable("EX3", 7), found.first(), None));
    let (session, _) = listening.join().unwrap().unwrap();
    server.engine.end_negotiate(server.asa, session, true, None).unwrap();
    assert!(matches!(asked.join().unwrap(), Ok(Negotiation::Agreed(_))));
    for engine in ["node0", "node2"] {
        told(&[&format!("{engine}: session {} of EX3 with fd00:", session.id_value), "begins"]);
        let over = format!("{engine}: session {} of EX3 with fd00:", session.id_value);
        told(&[&over, "is over after", "ms: accepted"]);
    }
    let nothing =
        asker.run(|engine, asa| engine.discover(asa, &negotiable("EX4", 0), Some(100), once)).unwrap();
    assert_eq!(nothing, []);
    told(&["node0: ", "discovery", "of EX4 is over after", "ms: nobody answered"]);

    // A name with which somebody would like to write lines of his own.
    let flooded = synchronizable("EX\n2\u{202e}", 1);
    asker.register(&flooded);
    asker.run(|engine, asa| engine.flood(asa, 0, &[TaggedObjective::new(flooded.clone(), None)])).unwrap();
    told(&["node0: tells all neighbours: M_FLOOD session", r"EX\n2\u202e"]);
    told(&["node2: is told by [fe80::", "on eth0: M_FLOOD session", r"EX\n2\u202e"]);
    told(&["node1: relays flood", r"of EX\n2\u{202e}, which came on eth0"]);
    for host in [&asker, &relay, &server] {
        host.engine.shutdown();
    }
    told(&["node1: has stopped"]);
    let lines = LISTENER.0.lock();
    // One line each: nothing comes back of what a node has sent itself, and nothing is told twice.
    let count = |start: &str, word: &str| {
        lines.iter().filter(|line| line.starts_with(start) && line.contains(word)).count()
    };
    assert_eq!(count("node0: is told by", "M_FLOOD"), 0);
    assert_eq!(count("node2: is told by", "M_FLOOD"), 1);
    assert_eq!(count("node1: relays flood", ""), 1);
    assert!(lines.iter().all(|line| !line.contains(['\n', '\u{202e}'])), "{lines:#?}");
    Ok(())
}
