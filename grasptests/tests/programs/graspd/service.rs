//! Its life: start, ready, twice, reload, watchdog, the end; and what others find of its static objectives.

use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::time::{Duration, Instant};

use grasp::{Config, Engine, Objective, TaggedObjective};
use grasptests::lab::{Lab, LabError, Node, eventually, isolated};
use grasptests::nodes::{Host, first_answer, joined, linked};
use nix::sys::signal::Signal;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;

use super::daemon::{Graspd, Place, SOON};

fn value(name: &str) -> Objective {
    Objective { synch: true, ..Objective::new(name) }
}

/// What a host has been flooded of an objective, in words.
fn flooded(host: &Host, name: &str) -> Vec<String> {
    let found = host.run(|engine, asa| engine.get_flood(asa, &value(name))).expect("it may be asked");
    found.iter().map(|one| format!("{} from {}", one.objective.value, one.source)).collect()
}

#[test]
fn both_signals_end_it_within_a_second() -> Result<(), LabError> {
    isolated!();
    let (_lab, _, a, _) = linked();
    let place = Place::new("");
    place.objective("a", "name = 'A'\nvalue = 1");
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut graspd = Graspd::start(&a, &place);
        let asked = Instant::now();
        graspd.signal(signal);
        assert_eq!(graspd.ends().code(), Some(0));
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        graspd.tells("STOPPING=1");
        graspd.says(&format!("ending because of {signal}"));
    }
    Ok(())
}

/// Those that the tests of this module cause: each of them is in the document, and no other.
#[test]
fn the_signals_and_exit_statuses_in_the_document_are_those_that_are_tested() {
    let document = include_str!("../../../../docs/operations.md");
    let column = |heading: &str| -> Vec<&str> {
        let (_, rest) = document.split_once(heading).expect("a table");
        let rows = rest.lines().skip(2).take_while(|line| line.starts_with('|'));
        rows.filter_map(|line| line.split('`').nth(1)).collect()
    };
    assert_eq!(column("| signal |"), ["SIGHUP", "SIGTERM", "SIGINT"]);
    assert_eq!(column("| exit status |"), ["0", "1", "2", "69", "78"]);
}

#[test]
fn a_second_one_on_the_same_socket_is_refused_with_a_sentence() -> Result<(), LabError> {
    isolated!();
    let (_lab, _, a, _) = linked();
    let place = Place::new("");
    let mut first = Graspd::start(&a, &place);
    let second = place.run(&a, &[]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(69), "{said}");
    assert!(said.contains("another graspd serves /") && said.contains("or set socket.path"), "{said}");
    // One that was killed has left its socket behind, which is in nobody's way.
    first.signal(Signal::SIGKILL);
    first.ends();
    Graspd::start(&a, &place).says("serves /");
    Ok(())
}

#[test]
fn without_an_interface_it_does_not_start_and_says_why() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let node = lab.node("alone")?;
    let output = Place::new("").run(&node, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("no usable interface"), "{said}");
    let usage = Place::new("").run(&node, &["--what"]);
    assert_eq!(usage.status.code(), Some(2));
    Graspd::start(&node, &Place::new("[links]\nwait_for_interfaces = true")).says("serves /");
    Ok(())
}

#[test]
fn static_objectives_are_flooded_and_answered_and_reloaded() -> Result<(), LabError> {
    isolated!();
    let (_lab, _, a, b) = linked();
    let place = Place::new("");
    place.objective(
        "registrar",
        "name = 'AN_join_registrar'\nvalue = 'EST-TLS'\nloop_count = 255\nlocator = { port = 443 }",
    );
    place.objective("asked", "name = 'Asked'\nvalue = [1, { a = true }]\nflood_every = 0\nttl = 60000");
    place.objective("other", "name = 'Other'\nneg = true\nlocator = { address = '2001:db8::7', port = 77 }");
    let host = Host::start(&b, Config::new());
    let graspd = Graspd::start(&a, &place);
    let address = a.ula().expect("it has one");
    let registrar = format!("\"EST-TLS\" from [{address}]:443");
    eventually(SOON, "the registrar is flooded", || {
        flooded(&host, "AN_join_registrar") == [registrar.clone()]
    });
    let synchronized = || host.run(|engine, asa| engine.synchronize(asa, &value("Asked"), None, Some(5000)));
    eventually(SOON, "it is answered", || {
        synchronized().is_ok_and(|one| one.value.to_string() == "[1, {\"a\": true}]")
    });
    let other = Objective { neg: true, ..Objective::new("Other") };
    let found = host
        .run(|engine, asa| engine.discover(asa, &other, Some(5000), first_answer()))
        .expect("it may be asked");
    assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), ["[2001:db8::7]:77"]);

    place.objective(
        "registrar",
        "name = 'AN_join_registrar'\nvalue = 'BRSKI_JP'\nlocator = { fqdn = 'r.example', port = 8443 }",
    );
    std::fs::remove_file(place.0.join("objectives.d/asked.toml")).expect("it was there");
    graspd.reload();
    graspd.says("the configuration is in force");
    let brski = "\"BRSKI_JP\" from r.example:8443".to_owned();
    eventually(SOON, "the other value is flooded", || {
        flooded(&host, "AN_join_registrar").iter().any(|one| one.starts_with(&brski))
    });
    eventually(SOON, "what is gone is not answered", || {
        host.run(|engine, asa| engine.synchronize(asa, &value("Asked"), None, Some(500))).is_err()
    });
    Ok(())
}

#[test]
fn a_reload_with_an_error_changes_nothing_and_says_so() -> Result<(), LabError> {
    isolated!();
    let (_lab, _, a, b) = linked();
    let place = Place::new("[log]\nlevel = 'info'");
    place.objective("a", "name = 'A'\nvalue = 1\nflood_every = 1000");
    let host = Host::start(&b, Config::new());
    let graspd = Graspd::start(&a, &place);
    eventually(SOON, "it is flooded", || flooded(&host, "A").len() == 1);

    place.objective("a", "name = 'A'\nvalue = 2\nflood_every = 1000");
    place.configure("[log]\nlevel = 'loud'");
    graspd.reload();
    graspd.says("graspd.toml:2: log.level must be off, error, warn, info, debug or trace; it is \"loud\"");
    graspd.says("nothing is changed: the configuration has 1 problem");
    // Nor does one that only the engine can find: a flood is larger than a datagram.
    place.configure("");
    place.objective("b", &format!("name = 'B'\nvalue = '{}'", "x".repeat(3000)));
    graspd.reload();
    graspd.says("nothing is changed: the objective B cannot be published: ");
    let before = host.engine.stats().floods_received;
    eventually(SOON, "it is flooded again", || host.engine.stats().floods_received > before);
    assert!(flooded(&host, "A").iter().all(|one| one.starts_with("1 from")), "{:?}", flooded(&host, "A"));

    // What a reload cannot change is named, each time; the rest is in force.
    std::fs::remove_file(place.0.join("objectives.d/b.toml")).expect("it was there");
    place.configure("[sizes]\nnesting = 7\n[log]\nlevel = 'debug'");
    graspd.reload();
    graspd.says("the configuration is in force, except for keys that need a restart: sizes.nesting");
    eventually(SOON, "the new value is flooded", || {
        flooded(&host, "A").iter().any(|one| one.starts_with("2 from"))
    });
    graspd.reload();
    eventually(SOON, "it is named again", || graspd.count("need a restart: sizes.nesting") == 2);
    Ok(())
}

#[test]
fn dull_instances_flood_what_is_for_links_only() -> Result<(), LabError> {
    isolated!();
    let (_lab, _, a, b) = linked();
    let place = Place::new("[dull]\nenabled = true\nobjectives = ['AN_ACP']");
    place.objective(
        "acp",
        "name = 'AN_ACP'\nvalue = 'IKEv2'\ndull = true\nlocator = { protocol = 'udp', port = 15000 }",
    );
    let host = Host::start(&b, Config::new().dull(true));
    let _graspd = Graspd::start(&a, &place);
    let link_local = a.link_local("eth0")?;
    let wanted = format!("\"IKEv2\" from [{link_local}");
    eventually(SOON, "it is flooded on the link", || {
        flooded(&host, "AN_ACP").iter().any(|one| one.starts_with(&wanted))
    });
    Ok(())
}

#[test]
fn the_watchdog_is_fed_through_an_abstract_socket_too() -> Result<(), LabError> {
    isolated!();
    let (_lab, _, a, _) = linked();
    let place = Place::new("");
    // The names of abstract sockets belong to the network namespace.
    let name = "graspd-test-notify";
    let manager =
        a.run(|| SocketAddr::from_abstract_name(name).and_then(|address| UnixDatagram::bind_addr(&address)));
    let mut command = command(&a);
    command.env("NOTIFY_SOCKET", format!("@{name}")).env("WATCHDOG_USEC", "200000");
    let graspd = Graspd::listening(&place, command, manager.expect("a socket"));
    let started = Instant::now();
    (0..5).for_each(|_| drop(graspd.tells("WATCHDOG=1")));
    assert!(
        started.elapsed() >= Duration::from_millis(300),
        "half of the time apart: {:?}",
        started.elapsed()
    );
    Ok(())
}

fn command(node: &Node) -> std::process::Command {
    node.command(env!("CARGO_BIN_EXE_graspd-tested"))
}

#[test]
fn lines_have_priorities_where_standard_error_is_the_journal() -> Result<(), LabError> {
    isolated!();
    let (_lab, _, a, _) = linked();
    let place = Place::new("[acp]\nkind = 'layer2'");
    // The journal says which stream is its own by device and inode.
    let journal = std::fs::File::create(place.0.join("journal")).expect("a file");
    let metadata = std::fs::metadata(place.0.join("journal")).expect("it is there");
    let stream = {
        use std::os::unix::fs::MetadataExt as _;
        format!("{}:{}", metadata.dev(), metadata.ino())
    };
    let mut command = command(&a);
    command.arg("--config").arg(place.0.join("graspd.toml")).env("JOURNAL_STREAM", stream);
    let mut child = command.stderr(journal).spawn().expect("graspd starts");
    let read = || std::fs::read_to_string(place.0.join("journal")).expect("text");
    eventually(SOON, "it serves", || read().contains("serves /"));
    child.kill().expect("it runs");
    child.wait().expect("a child");
    let lines = read();
    assert!(
        lines.contains("<4>the simple layer 2 ACP trusts everything") && lines.contains("<6>graspd "),
        "{lines}"
    );
    Ok(())
}

#[test]
fn processes_use_it_within_the_rules_which_a_reload_changes() -> Result<(), LabError> {
    isolated!();
    let (_lab, _, a, b) = linked();
    let own = nix::unistd::getuid();
    let rule = |names: &str| {
        format!("[[access]]\nusers = [{own}]\nact = true\nwatch = true\nregister = {names}\nflood = {names}")
    };
    let place = Place::new(&rule("['EX*']"));
    place.objective("a", "name = 'A'\nvalue = 1");
    let host = Host::start(&b, Config::new());
    let graspd = Graspd::start(&a, &place);
    let client = a.run(|| Engine::connect(place.0.join("grasp.sock"))).expect("it is let in");
    let asa = client.register_asa("client").expect("it may act");
    assert_eq!(client.asas().len(), 2, "that of the static objectives is there, too");
    let register = |name: &str| client.register_obj(asa, &value(name), Default::default());
    assert_eq!(register("EX1"), Ok(()));
    let refused = register("Time").expect_err("it is not permitted").to_string();
    assert!(refused.contains("may not register \"Time\", but EX*; nobody may"), "{refused}");
    let tagged = TaggedObjective::new(value("EX1").with_value(5).expect("CBOR"), None);
    assert_eq!(client.flood(asa, 60_000, std::slice::from_ref(&tagged)), Ok(()));
    eventually(SOON, "it is flooded", || flooded(&host, "EX1").iter().any(|one| one.starts_with("5 from")));

    place.configure(&rule("['EX*', 'Time']"));
    graspd.reload();
    assert_eq!(register("Time"), Ok(()));
    graspd.tells("STATUS=1 process on 1 interface, 2 objectives of processes, 1 of files");
    drop(client);
    graspd.tells("STATUS=0 processes on 1 interface, 0 objectives of processes, 1 of files");
    Ok(())
}

#[test]
fn a_socket_that_the_service_manager_gives_is_served_and_left() -> Result<(), LabError> {
    isolated!();
    let (_lab, _, a, _) = linked();
    let place = Place::new("");
    let path = place.0.join("given.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    place.write("graspd.toml", "[socket]\npath = 'stdin'\n");
    let not_given = place.run(&a, &[]);
    let said = String::from_utf8_lossy(&not_given.stderr).into_owned();
    assert!(
        not_given.status.code() == Some(1) && said.contains("standard input is not a Unix socket"),
        "{said}"
    );
    for round in 0..2 {
        let given = listener.try_clone().expect("a descriptor");
        // Who connects before it runs is served all the same.
        let early = (round == 1).then(|| {
            a.spawn("early", {
                let path = path.clone();
                move || Engine::connect(path)
            })
        });
        let mut graspd = Graspd::start_on(&a, &place, OwnedFd::from(given).into());
        let client = match early {
            Some(early) => joined(early),
            None => a.run(|| Engine::connect(&path)),
        };
        assert!(client.expect("it is let in").register_asa("client").is_ok());
        let server = getsockopt(&UnixStream::connect(&path).expect("it listens"), PeerCredentials);
        assert_eq!(
            server.expect("its credentials").pid(),
            graspd.pid().as_raw(),
            "reload signals graspd, not whoever gave the socket"
        );
        graspd.signal(Signal::SIGTERM);
        assert_eq!(graspd.ends().code(), Some(0));
    }
    assert!(path.exists(), "it belongs to the service manager");
    Ok(())
}

#[test]
fn processes_that_wait_for_something_do_not_hold_up_its_end() -> Result<(), LabError> {
    isolated!();
    let (_lab, _, a, _) = linked();
    let place = Place::new("");
    let mut graspd = Graspd::start(&a, &place);
    let client = a.run(|| Engine::connect(place.0.join("grasp.sock"))).expect("it is let in");
    let asa = client.register_asa("client").expect("it may act");
    let objective = Objective { neg: true, ..Objective::new("EX1") };
    assert_eq!(client.register_obj(asa, &objective, Default::default()), Ok(()));
    let waiting = a.spawn("waiting", move || client.listen_negotiate(asa, &objective));
    graspd.tells("STATUS=1 process on 1 interface, 1 objective of processes");
    let asked = Instant::now();
    graspd.signal(Signal::SIGTERM);
    assert_eq!(graspd.ends().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert!(joined(waiting).is_err());
    Ok(())
}
