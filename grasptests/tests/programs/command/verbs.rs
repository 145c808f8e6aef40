//! Each verb.

use std::fs;
use std::time::{Duration, Instant};

use grasp::{Objective, Value};
use grasptests::isolated;
use grasptests::lab::eventually;

use super::{Directory, Ended, PROGRAM, SOON, Scene};

#[test]
fn views_show_what_the_node_holds_to_people_and_to_programs() {
    isolated!();
    let scene = Scene::new();
    scene.tell("EX1", Value::from(vec![Value::from("NZD"), Value::from(47)]));
    let ula = scene.near.ula().expect("a ULA").to_string();
    let status = scene.grasp(&["status"]).done();
    assert!(status.contains(&ula) && status.contains("\nfloods           1\n"), "{status}");
    let status = scene.grasp(&["status", "--json"]).objects();
    assert_eq!((&status[0]["floods"], &status[0]["address"]), (&1.into(), &ula.into()), "{status:?}");

    let floods = scene.grasp(&["floods"]).done();
    let line = floods.lines().nth(1).unwrap();
    assert!(
        floods.starts_with("OBJECTIVE  VALUE ") && line.starts_with("EX1        [\"NZD\", 47]  "),
        "{floods}"
    );
    let floods = scene.grasp(&["floods", "EX*", "--json"]).objects();
    assert_eq!(floods[0]["value"], serde_json::json!(["NZD", 47]));
    assert_eq!(floods[0]["flags"]["synch"], true);

    let client = grasp::Engine::connect(&scene.socket).expect("a client");
    let asa = grasp::Asa::register(&client, "Gray").expect("an ASA");
    let money = Objective { neg: true, ..Objective::new("EX3") };
    client.register_obj(asa.nonce(), &money, grasp::RegisterObj::default()).expect("registered");
    assert!(
        scene.grasp(&["asas"]).done().lines().any(|line| line.starts_with("Gray ") && line.ends_with(" EX3"))
    );
    let objectives = scene.grasp(&["objectives", "--json"]).objects();
    assert_eq!((&objectives[0]["objective"], &objectives[0]["asas"][0]), (&"EX3".into(), &"Gray".into()));
    let from = scene.node.flood_cache()[0].from.expect("a neighbour").1.to_string();
    let peers = scene.grasp(&["peers"]).done();
    assert!(peers.contains("flood EX1") && peers.contains(&from), "{peers}");
    let stats = scene.grasp(&["stats", "flood", "--json"]).objects();
    assert_eq!(stats[0]["flood_entries_cached"], 1, "{stats:?}");
    assert!(scene.grasp(&["stats", "--all"]).done().lines().count() > 50);
}

#[test]
fn what_there_is_is_discovered_browsed_and_got() {
    isolated!();
    let scene = Scene::new();
    scene.offer("EX1", Value::from(vec![Value::from("NZD"), Value::from(47)]));
    let found = scene.grasp(&["discover", "EX1", "--json"]).objects();
    let ula = scene.far.ula().expect("a ULA").to_string();
    assert_eq!(
        (&found[0]["objective"], &found[0]["address"]),
        (&"EX1".into(), &ula.clone().into()),
        "{found:?}"
    );
    let browsed = scene.grasp(&["browse", "EX1"]).done();
    assert!(browsed.contains("discovery") && browsed.contains(&ula), "{browsed}");

    assert_eq!(scene.grasp(&["get", "EX1"]).done(), "[\"NZD\", 47]\n");
    assert_eq!(scene.alone(&["get", "EX1", "--as", "hex"]).done(), "82634e5a44182f\n");
    let got = scene.grasp(&["get", "EX1", "--json"]).objects();
    assert_eq!((&got[0]["by"], &got[0]["value"][1]), (&"peer".into(), &47.into()), "{got:?}");
    let file = scene.directory.file("value");
    assert_eq!(scene.grasp(&["get", "EX1", "--as", "cbor", "--write", &file]).done(), "");
    assert_eq!(fs::read(&file).unwrap(), [0x82, 0x63, b'N', b'Z', b'D', 0x18, 47]);
    assert_eq!(fs::read_dir(&scene.directory.0).unwrap().count(), 2, "nothing is left beside it");
    let wrong = scene.grasp(&["get", "EX1", "--as", "GraspConfig"]);
    assert!(wrong.status == 4 && wrong.errors.contains("EX1: the value is not a map"), "{wrong:?}");
    let asked = format!("[{}]:{}", ula, found[0]["port"]);
    assert_eq!(scene.grasp(&["get", "EX1", "--from", &asked]).done(), "[\"NZD\", 47]\n");
}

#[test]
fn a_registrar_is_published_watched_and_written_into_a_file() {
    isolated!();
    let scene = Scene::new();
    let (file, told) = (scene.directory.file("registrar"), scene.directory.file("told"));
    let exec = format!("echo $GRASP_EVENT $GRASP_ADDRESS $GRASP_PORT $GRASP_PROTOCOL $GRASP_VALUE >> {told}");
    let words = [
        "watch",
        "AN_join_registrar",
        "--as",
        "words",
        "--write",
        &file,
        "--exec",
        &exec,
        "--count",
        "2",
        "--json",
    ];
    let watching = scene.start(true, &words);
    eventually(SOON, "the file is there, and empty", || fs::read(&file).is_ok_and(|text| text.is_empty()));
    let publishing = scene
        .start(false, &["publish", "AN_join_registrar", "--port", "8443", "--every", "500ms", "--ttl", "2s"]);
    let ula = scene.far.ula().expect("a ULA").to_string();
    let line = format!("[{ula}]:8443 registrar by EST-TLS\n");
    eventually(SOON, "the registrar is in the file", || {
        fs::read_to_string(&file).is_ok_and(|text| text == line)
    });
    let flooded = scene.grasp(&["floods", "AN_join_registrar", "--json"]).objects();
    assert_eq!(
        (&flooded[0]["loop_count"], &flooded[0]["flags"]["discoverable"]),
        (&255.into(), &false.into())
    );
    // It is served, too.
    let got = scene.grasp(&["get", "AN_join_registrar", "--as", "AN_join_registrar"]).done();
    assert_eq!(got, "registrar by EST-TLS\n");
    drop(publishing);
    eventually(SOON, "the file is empty again", || fs::read(&file).is_ok_and(|text| text.is_empty()));
    let events: Vec<_> = watching.end().objects().iter().map(|object| object["event"].clone()).collect();
    assert_eq!(events, ["added", "removed"]);
    let told = fs::read_to_string(told).unwrap();
    assert_eq!(
        told,
        format!("added {ula} 8443 TCP EST-TLS\nremoved {ula} 8443 TCP EST-TLS\n")
            .replace("EST-TLS", "\"EST-TLS\"")
    );
}

#[test]
fn a_command_that_takes_too_long_is_killed_with_what_it_has_started() {
    isolated!();
    let scene = Scene::new();
    let started = scene.directory.file("started");
    let exec = format!("sleep 600 & echo $! > {started}.new; mv {started}.new {started}; wait");
    let watching =
        scene.start(true, &["watch", "EX9", "--exec", &exec, "--exec-time", "500", "--count", "1"]);
    let publishing = scene.start(false, &["publish", "EX9", "1", "--every", "500ms", "--ttl", "60s"]);
    let mut process = None;
    eventually(SOON, "the command has started another one", || {
        process = fs::read_to_string(&started).ok().and_then(|text| text.trim().parse().ok());
        process.is_some()
    });
    let process = nix::unistd::Pid::from_raw(process.unwrap());
    let ended = watching.end();
    assert!(
        ended.status == 0 && ended.out.contains("added") && ended.errors.contains("was killed"),
        "{ended:?}"
    );
    drop(publishing);
    eventually(SOON, "that is killed, too", || {
        // Whoever waits for an orphan may not do it at once.
        let state = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        state.is_empty() || state.contains(") Z ")
    });
}

#[test]
fn two_commands_negotiate() {
    isolated!();
    let scene = Scene::new();
    let listening = scene.start(false, &["listen", "EX3", "half", "--count", "1", "--json"]);
    let agreed = scene
        .grasp(&["negotiate", "EX3", "[\"NZD\", 100]", "half", "--loop-count", "30", "--timeout", "20s"])
        .done();
    assert!(agreed.starts_with("is offered [\"NZD\", 50] (loop count 29)\n"), "{agreed}");
    let value = agreed.lines().last().unwrap().strip_prefix("EX3 = ").expect("what was agreed on").to_owned();
    let heard = listening.end().objects();
    assert_eq!(
        (&heard[0]["outcome"], &heard[0]["diagnostic"]),
        (&"agreed".into(), &value.into()),
        "{heard:?}"
    );
}

#[test]
fn what_the_node_does_is_told_as_it_does_it() {
    isolated!();
    let scene = Scene::new();
    let monitor = scene.start(true, &["monitor", "--json", "--objective", "EX7", "--count", "4"]);
    let sentences = scene.start(true, &["monitor", "--objective", "EX7", "--count", "1"]);
    // Whoever is not connected yet hears the next one.
    let flooding = scene.start(false, &["flood", "EX7", "7", "--every", "200ms"]);
    let events = monitor.end().objects();
    let flood = events.iter().find(|event| event["event"] == "message").expect("a message");
    assert!(flood["type"] == "M_FLOOD" && flood["direction"] == "in", "{events:?}");
    assert!(events.iter().any(|event| event["event"] == "cache_added"), "{events:?}");
    assert!(sentences.end().done().contains(" is told by ["));
    drop(flooding);
    let told = scene.grasp(&["flood", "EX8", "{\"a\": h'01'}", "--ttl", "1min", "--json"]).objects();
    assert_eq!((&told[0]["event"], &told[0]["ttl_ms"]), (&"floods".into(), &60_000.into()));
    let floods = scene.grasp(&["floods", "EX8", "--as", "json"]).done();
    assert!(floods.contains("{\"a\":\"01\"}"), "it stays valid: {floods}");
}

#[test]
fn the_doctor_finds_a_healthy_node_healthy_and_names_what_is_not() {
    isolated!();
    let scene = Scene::new();
    scene.tell("EX1", Value::from(1));
    let found = scene.grasp(&["doctor", "--listen", "1s"]).done();
    for text in [
        "ok    interfaces: the node uses ",
        "ok    multicast group: ",
        "ok    port 7017: held by ",
        "ok    neighbours: heard on ",
    ] {
        assert!(found.contains(text), "{text}\n{found}");
    }
    scene.tell("AN_Join_Registrar", Value::from("EST-TLS"));
    let ill = scene.grasp(&["doctor", "--listen", "600ms", "--json"]);
    assert!(ill.status == 1 && ill.errors.contains("1 problem"), "{ill:?}");
    assert!(ill.out.contains("AN_Join_Registrar is not AN_join_registrar"), "{ill:?}");
    // With nobody on the link.
    let lab = grasptests::lab::Lab::new().expect("a lab");
    let (lonely, deaf) = (lab.node("lonely").expect("a node"), lab.node("deaf").expect("a node"));
    lab.link(&lonely, &deaf).expect("a link");
    let command =
        super::command(&lonely, &["--standalone", "doctor", "--listen", "1s"]).output().expect("it starts");
    let alone = Ended::from(command).done();
    assert!(
        alone.contains("note  neighbours: this node hears its own multicasts, but none of other nodes"),
        "{alone}"
    );
}

#[test]
fn pages_and_completions_mention_every_verb() {
    let directory = Directory::new();
    let run = |words: &[&str]| {
        Ended::from(std::process::Command::new(PROGRAM).args(words).output().expect("it starts")).done()
    };
    let pages = directory.file("");
    run(&["man", &pages]);
    let page = run(&["man"]);
    let verbs = grasp::tools::verbs();
    assert!(verbs.len() >= 22, "{verbs:?}");
    for verb in verbs.iter().filter(|verb| *verb != "help") {
        let own = fs::read_to_string(directory.file(&format!("grasp-{verb}.1"))).expect(verb);
        assert!(
            own.contains(&format!(".TH GRASP-{} 1", verb.to_uppercase())) && own.contains("\\-\\-json"),
            "{verb}: {own}"
        );
        assert!(page.contains(&format!("grasp\\-{verb}(1)")), "{verb}: {page}");
    }
    // And the verbs of verbs.
    let issue = fs::read_to_string(directory.file("grasp-domain-issue.1")).expect("a page");
    assert!(issue.contains(".TH GRASP-DOMAIN-ISSUE 1") && issue.contains("\\-\\-csr"), "{issue}");
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]);
        let missing: Vec<_> = verbs.iter().filter(|verb| !script.contains(verb.as_str())).collect();
        assert!(missing.is_empty(), "{shell}: {missing:?}");
    }
}

#[test]
fn captures_and_keys_are_verbs() {
    let directory = Directory::new();
    let run = |words: &[&str]| {
        Ended::from(std::process::Command::new(PROGRAM).args(words).output().expect("it starts"))
    };
    assert_eq!(run(&["decode", "--summary", "8307011864"]).done(), "M_WAIT session 1: 100 ms\n");
    assert_eq!(run(&["decode", "8307"]).status, 1);
    let decoded = run(&["decode", "--json", "8307011864"]).objects();
    assert_eq!(decoded[0]["type"], "M_WAIT");
    let key = directory.file("quadsk.key");
    assert!(run(&["keys", "--no-key", "--output", &key]).done().contains("says that nothing is encrypted"));
    let again = run(&["keys", "--no-key", "--output", &key]);
    assert!(again.status == 2 && again.errors.contains("exists"), "{again:?}");
}

/// The best of some runs: the machine may be busy.
#[test]
fn the_status_is_there_at_once() {
    isolated!();
    let scene = Scene::new();
    let once = || {
        let started = Instant::now();
        scene.grasp(&["status"]).done();
        started.elapsed()
    };
    let best = (0..30).map(|_| once()).min().unwrap();
    println!("grasp status takes {best:?}");
    assert!(best < Duration::from_millis(20), "{best:?}");
}
