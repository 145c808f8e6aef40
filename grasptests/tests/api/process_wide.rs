//! The engine of the process: free functions, the names of RFC 8991, and several processes on one host.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use grasp::graspi::{self, AsaHandle};
use grasp::ipc::{Server, ServerOptions};
use grasp::{
    Answer, Asa, Config, Discover, Engine, Error, Negotiation, Objective, RegisterObj, Result, SkipDialogue,
    StartError, TaggedObjective, Value,
};
use grasptests::isolated;
use grasptests::lab::{Lab, eventually};
use grasptests::nodes::{
    Host, SOON, discoverable, failure, first_answer, joined, linked, negotiable, offer, synchronizable,
};

const LONG: Option<u32> = Some(30_000);

#[test]
fn the_first_call_starts_the_engine_and_says_what_is_missing() {
    isolated!();
    let lab = Lab::new().unwrap();
    let a = lab.node("a").unwrap();
    grasp::dump_all(false);
    a.run(|| {
        let error = failure(grasp::register_asa("early"));
        assert_eq!(error.code(), 3);
        assert!(
            matches!(&error, Error::NotStarted(why) if matches!(**why, StartError::NoInterface)),
            "{error}"
        );
        assert!(error.to_string().contains("no usable interface"), "{error}");
    });
    lab.lan(&[&a]).unwrap();
    a.run(|| {
        let asa = grasp::register_asa("early").unwrap();
        assert_eq!(failure(grasp::register_asa("early")), Error::DupAsa, "one engine for all calls");
        assert_eq!(grasp::process_engine().unwrap().links().len(), 1);
        assert!(matches!(grasp::configure(Config::new()), Err(StartError::AlreadyRunning)));
        let guard = Asa::new("guarded").unwrap();
        grasp::shutdown();
        assert_eq!(failure(guard.engine().register_asa("late")), Error::Unspec);
        // The next call starts a new engine, which knows nothing of the old one.
        grasp::configure(Config::new().asa_limit(1)).unwrap();
        assert_eq!(failure(grasp::deregister_asa(asa, "early")), Error::NoAsa);
        grasp::register_asa("early").unwrap();
        assert_eq!(failure(grasp::register_asa("second")), Error::AsaFull);
        grasp::shutdown();
        grasp::shutdown();
    });
}

#[test]
fn first_calls_of_several_threads_make_one_engine() {
    isolated!();
    let (_lab, _, a, _) = linked();
    let threads: Vec<_> = (0..8)
        .map(|number| a.spawn("first", move || grasp::register_asa(&format!("asa {number}"))))
        .collect();
    let mut handles: Vec<_> = threads.into_iter().map(|thread| joined(thread).unwrap()).collect();
    let dump = grasp::process_engine().unwrap().dump(false);
    assert!((0..8).all(|number| dump.contains(&format!("asa {number} handle: "))), "{dump}");
    handles.sort_unstable();
    handles.dedup();
    assert_eq!(handles.len(), 8);
    grasp::shutdown();
}

#[test]
fn answers_given_beforehand_hold() {
    isolated!();
    let (_lab, _, a, _) = linked();
    a.run(|| {
        let answers = SkipDialogue {
            be_dull: Answer::Yes,
            selfing: Answer::Yes,
            silent: true,
            ..SkipDialogue::default()
        };
        grasp::skip_dialogue(answers);
        let expected = Config::new().diagnose(true).dull(true).listen_self(true).silent(true);
        let engine = grasp::process_engine().unwrap();
        assert_eq!(format!("{:?}", engine.config()), format!("{expected:?}"));
        grasp::shutdown();
        grasp::set_printing(false, false);
    });
}

#[test]
fn every_free_function_reaches_the_engine_of_the_process() {
    isolated!();
    let (_lab, _, a, b) = linked();
    let far = Host::start(&b, Config::new());
    let (ex1, ex2) = (negotiable("EX1", 1), synchronizable("EX2", "two"));
    far.register(&ex1);
    far.register(&ex2);
    far.run(|engine, asa| engine.listen_synchronize(asa, &ex2)).unwrap();
    let locator = far.locator("EX1");
    let listen = || far.listen(&ex1);
    let end = |listener: std::thread::JoinHandle<Result<(grasp::SessionNonce, Objective)>>| {
        let (session, _) = joined(listener).unwrap();
        far.engine.end_negotiate(far.asa, session, true, None).unwrap();
    };
    let in_a = |body: &mut (dyn FnMut() + Send)| a.run(body);

    let mut asa = None;
    in_a(&mut || asa = Some(grasp::register_asa("client").unwrap()));
    let asa = asa.unwrap();
    in_a(&mut || {
        grasp::register_obj(asa, &ex1, discoverable()).unwrap();
        let got = grasp::synchronize(asa, &synchronizable("EX2", ()), None, LONG).unwrap();
        assert_eq!(got.value, Value::from("two"));
        let found = grasp::discover(asa, &ex2, LONG, Discover::default()).unwrap();
        assert_eq!(found[0].port, Some(far.port("EX2")));
    });

    let listener = listen();
    let client = a.spawn("client", {
        let (ex1, locator) = (ex1.clone(), locator.clone());
        move || grasp::req_negotiate(asa, &ex1, Some(&locator), LONG)
    });
    end(listener);
    assert!(matches!(joined(client), Ok(Negotiation::Agreed(_))));

    let listener = listen();
    let mut session = None;
    in_a(&mut || session = grasp::req_negotiate_noloop(asa, &ex1, Some(&locator), None).ok());
    let session = session.unwrap();
    let (theirs, held) = joined(listener).unwrap();
    far.engine.gsend(far.asa, theirs, &Value::from("hello")).unwrap();
    assert_eq!(grasp::grecv(asa, session, 10_000).unwrap(), Value::from("hello"));
    grasp::gsend(asa, session, &Value::from(1)).unwrap();
    assert_eq!(far.engine.grecv(far.asa, theirs, 10_000).unwrap(), Value::from(1));
    grasp::negotiate_wait(asa, session, None).unwrap();
    let answer = a.spawn("client", {
        let held = held.clone();
        move || grasp::negotiate_step(asa, session, &held, LONG)
    });
    assert!(far.engine.grecv(far.asa, theirs, 10_000).is_ok(), "M_WAIT");
    assert!(far.engine.grecv(far.asa, theirs, 10_000).is_ok(), "M_NEGOTIATE");
    let step = far.thread(move |engine, asa| engine.negotiate_step(asa, theirs, &held, LONG));
    assert!(matches!(joined(answer), Ok(Negotiation::Offer(..))));
    grasp::send_invalid(asa, session, None).unwrap();
    assert_eq!(joined(step), Err(Error::NoValidStep));
    assert_eq!(failure(grasp::end_negotiate(asa, session, true, None)), Error::NoSession);

    in_a(&mut || {
        let ex3 = synchronizable("EX3", 3);
        grasp::register_obj(asa, &ex3, discoverable()).unwrap();
        grasp::listen_synchronize(asa, &ex3).unwrap();
        grasp::stop_synchronize(asa, &ex3).unwrap();
        grasp::flood(asa, 0, &[TaggedObjective::new(ex3.clone(), None)]).unwrap();
        let flooded = grasp::get_flood(asa, &ex3).unwrap();
        grasp::expire_flood(asa, &flooded[0]).unwrap();
        assert!(grasp::get_flood(asa, &ex3).unwrap().is_empty());
        grasp::deregister_obj(asa, &ex3).unwrap();
    });
    let listener = a.spawn("listener", {
        let ex1 = ex1.clone();
        move || grasp::listen_negotiate(asa, &ex1)
    });
    let engine = grasp::process_engine().unwrap();
    eventually(SOON, "it listens", || engine.dump(true).contains("Listen: 1"));
    grasp::stop_negotiate(asa, &ex1).unwrap();
    assert_eq!(failure(joined(listener)), Error::NoSession);
    grasp::dump_all(true);
    grasp::deregister_asa(asa, "client").unwrap();
    drop(engine);
    grasp::shutdown();
}

#[test]
fn the_names_of_rfc_8991_are_the_same_engine() {
    isolated!();
    let (_lab, _, a, b) = linked();
    let far = Host::start(&b, Config::new());
    let ex1 = negotiable("EX1", 1);
    far.register_with(&ex1, discoverable());
    let listener = far.listen(&ex1);
    let client = a.spawn("client", || {
        let ex1 = negotiable("EX1", 1);
        let asa: AsaHandle = graspi::register_asa("client").unwrap();
        graspi::register_objective(asa, &ex1, RegisterObj::default()).unwrap();
        assert!(graspi::discover(asa, &ex1, 0, 1000).unwrap().is_empty(), "the cache alone");
        let mut found = Vec::new();
        eventually(SOON, "it is found", || {
            found = graspi::discover(asa, &ex1, 100, 1000).unwrap();
            !found.is_empty()
        });
        assert_eq!(graspi::discover(asa, &ex1, 0, 1000).unwrap(), found);
        let result = graspi::request_negotiate(asa, &ex1, Some(&found[0]), LONG);
        graspi::stop_listen_negotiate(asa, &ex1).unwrap();
        assert_eq!(failure(graspi::stop_listen_synchronize(asa, &ex1)), Error::NotSynch);
        assert_eq!(grasp::deregister_obj(asa, &ex1), Ok(()));
        assert_eq!(failure(graspi::deregister_objective(asa, &ex1)), Error::NotObj);
        graspi::deregister_asa(asa, "client").unwrap();
        (found, result)
    });
    let (session, _) = joined(listener).unwrap();
    far.engine.end_negotiate(far.asa, session, false, Some("no")).unwrap();
    let (found, result) = joined(client);
    assert_eq!((found.len(), found[0].port), (1, Some(far.port("EX1"))));
    assert_eq!(result, Err(Error::Declined(Some("no".into()))));
    assert_eq!(graspi::etext(1), Some("Declined"));
    grasp::shutdown();
}

/// Tells a process started by the next test that it is the other one.
const ROLE: &str = "GRASP_TEST_ROLE";

/// The other process: serves one negotiation and one value with the free functions, until its input ends.
fn serve() {
    let asa = grasp::register_asa("server").unwrap();
    let (ex1, ex2) = (negotiable("EX1", 0), synchronizable("EX2", "from the other process"));
    grasp::register_obj(asa, &ex1, discoverable()).unwrap();
    grasp::register_obj(asa, &ex2, discoverable()).unwrap();
    grasp::listen_synchronize(asa, &ex2).unwrap();
    println!("ready {}", std::process::id());
    let (session, asked) = grasp::listen_negotiate(asa, &ex1).unwrap();
    let doubled = Objective { value: (asked.value.as_i64().unwrap() * 2).into(), ..asked };
    let end = grasp::negotiate_step(asa, session, &doubled, LONG).unwrap();
    assert!(matches!(end, Negotiation::Agreed(agreed) if agreed.value == Value::from(42)));
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    grasp::shutdown();
}

#[test]
fn two_processes_on_one_host_work_together() {
    if env::var_os(ROLE).is_some() {
        return serve();
    }
    isolated!();
    let (_lab, _, a, _) = linked();
    let mut server = a.command(env::current_exe().unwrap());
    let server = server
        .args(["process_wide::two_processes_on_one_host_work_together", "--exact", "--nocapture"])
        .env(ROLE, "server")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut server = server.spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let ready = lines.by_ref().map_while(std::io::Result::ok).find(|line| line.contains("ready "));
    let ready = ready.expect("the other process is ready");
    assert!(!ready.ends_with(&format!("ready {}", std::process::id())), "it is another one: {ready}");

    let host = Host::start(&a, Config::new());
    host.register(&negotiable("EX1", 21));
    host.run(|engine: &Engine, asa| {
        let found = engine.discover(asa, &negotiable("EX1", 21), LONG, first_answer()).unwrap();
        assert_eq!(found[0].locator, a.ula().map(grasp::Locator::Ipv6), "the same address, another port");
        assert_ne!(found[0].port, Some(host.port("EX1")));
        let (session, held) = offer(engine.req_negotiate(asa, &negotiable("EX1", 21), None, LONG));
        assert_eq!(held.value, Value::from(42));
        engine.end_negotiate(asa, session, true, None).unwrap();
        let got = engine.synchronize(asa, &synchronizable("EX2", ()), None, LONG).unwrap();
        assert_eq!(got.value, Value::from("from the other process"));
    });
    drop(server.stdin.take());
    let passed = lines.map_while(std::io::Result::ok).any(|line| line.contains("test result: ok. 1 passed"));
    assert!(server.wait().unwrap().success() && passed);
}

/// The process of the next test: prints, and shows its engine.
fn print() {
    grasp::tprint!("item", 1, "item", 2);
    grasp::ttprint!("only in test mode");
    grasp::set_printing(true, false);
    grasp::ttprint!("in test mode");
    grasp::set_printing(true, true);
    grasp::tprint!("silenced");
    grasp::set_printing(false, false);
    grasp::dump_all(true);
    grasp::register_asa("printer").unwrap();
    println!("it runs");
    grasp::dump_all(true);
    grasp::shutdown();
}

#[test]
fn what_is_printed_depends_on_the_mode_and_the_engine_is_shown_where_one_runs() {
    if env::var_os(ROLE).is_some() {
        return print();
    }
    isolated!();
    let (_lab, _, a, _) = linked();
    let mut printer = a.command(env::current_exe().unwrap());
    let name = "process_wide::what_is_printed_depends_on_the_mode_and_the_engine_is_shown_where_one_runs";
    let printer = printer.args([name, "--exact", "--nocapture"]).env(ROLE, "printer");
    let output = printer.stdin(Stdio::null()).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}");
    let (before, after) = printed.split_once("it runs\n").expect("it runs");
    let has = |line: &str| before.lines().any(|printed| printed.ends_with(line));
    assert!(has(" item 1 item 2") && has(" in test mode"), "{before}");
    assert!(!has(" only in test mode") && !has("silenced") && !before.contains("Flood cache"), "{before}");
    assert!(after.contains("Objective registry contents:") && after.contains("Flood cache"), "{after}");
}

#[test]
fn the_process_may_be_the_client_of_a_node() {
    isolated!();
    let (_lab, _, a, _) = linked();
    let engine = a.run(|| Engine::start(Config::new())).unwrap();
    let path = grasptests::through_socket::path();
    let server = a.run(|| Server::start(&engine, ServerOptions::new(&path))).unwrap();
    grasp::connect(&path).unwrap();
    assert!(matches!(grasp::connect(&path), Err(StartError::AlreadyRunning)));
    grasp::register_asa("client").unwrap();
    assert_eq!(engine.asas()[0].name, "client");
    grasp::shutdown();
    eventually(SOON, "it is gone", || engine.asas().is_empty());
    assert!(matches!(grasp::connect(path.with_extension("none")), Err(StartError::NoNode { .. })));
    drop(server);
}
