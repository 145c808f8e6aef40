//! Many interfaces, interfaces that are parts of others or on one link, and DULL instances on each.

use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::time::{Duration, Instant};

use grasp::{Config, Discover, DullInstances, Engine, Objective, RegisterObj, StartError};
use grasptests::isolated;
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, Lab, LabError, Node, eventually, process};
use grasptests::nodes::{Host, SOON, discoverable, joined, negotiable, negotiate};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use parking_lot::Mutex;

/// Keeps the warnings of the engine.
struct Warnings(Mutex<Vec<String>>);

static WARNINGS: Warnings = Warnings(Mutex::new(Vec::new()));

impl log::Log for Warnings {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.level() <= log::Level::Warn && record.target().starts_with("grasp::") {
            self.0.lock().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

fn keep_warnings() {
    log::set_logger(&WARNINGS).expect("the first logger");
    log::set_max_level(log::LevelFilter::Warn);
}

/// The warnings so far that say this.
fn warnings(text: &str) -> Vec<String> {
    let all = WARNINGS.0.lock();
    all.iter().filter(|warning| warning.contains(text)).cloned().collect()
}

/// A node with so many interfaces, each with a link of its own.
fn with_interfaces(lab: &Lab, count: u16) -> Result<Node, LabError> {
    let node = lab.node("many")?;
    for number in 0..count {
        let name = format!("vlan{number}");
        node.make_bridge(&name)?;
        node.add_address(&name, Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 9, number + 1), 64)?;
    }
    Ok(node)
}

/// Two ASAs of a host negotiate.
fn negotiate_within(host: &Host) {
    let shared = RegisterObj { discoverable: true, overlap: true, ..RegisterObj::default() };
    let asker = host.another("asker");
    host.register_with(&negotiable("EX3", 0), shared.clone());
    asker.register_with(&negotiable("EX3", 0), shared);
    negotiate(&asker, host, None);
}

fn limit_descriptors(soft: u64, hard: u64) {
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("the limit");
}

#[test]
fn an_interface_takes_four_descriptors_and_an_objective_one() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let node = with_interfaces(&lab, 20)?;
    const LIMIT: usize = 600;
    limit_descriptors(LIMIT as u64, LIMIT as u64);
    let before = taken(LIMIT);
    let host = Host::start(&node, Config::new());
    assert_eq!(host.engine.links().len(), 20);
    let taken = |more: usize| taken(LIMIT) == before + more;
    // What is not for interfaces: to be told of changes, and to end; to be found by other engines of this host, to be woken, and
    // port 7017 of TCP.
    const OTHERS: usize = 2 + 3;
    eventually(SOON, "four are taken by each interface", || taken(20 * 4 + OTHERS));
    for number in 0..10 {
        host.register_with(&negotiable(&format!("EX{number}"), 0), discoverable());
    }
    // A thread that waits for a connection has none set aside.
    let listening = || process::thread_names().iter().filter(|name| *name == "_tcp_listen").count() == 10;
    eventually(SOON, "all listen", listening);
    eventually(SOON, "one is taken by each objective", || taken(20 * 4 + OTHERS + 10));
    Ok(())
}

/// How many descriptors of a limit are taken, those included that the system has set aside and shows nowhere.
fn taken(limit: usize) -> usize {
    let opened: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).take(limit).collect();
    limit - opened.len()
}

#[test]
fn the_soft_limit_is_raised_where_interfaces_and_sessions_need_it() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let node = with_interfaces(&lab, 60)?;
    limit_descriptors(200, 4000);
    let config = Config::new().reserved_descriptors(100);
    let host = Host::start(&node, config);
    assert_eq!(host.engine.links().len(), 60);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit");
    let open = u64::try_from(process::descriptors()).expect("not many");
    // What else the engine has open is of the 100.
    assert!(soft + 10 >= open + 100 && soft < open + 150, "{soft} for {open} and 100");
    assert_eq!((hard, host.engine.stats().interfaces_left_out), (4000, 0));
    Ok(())
}

#[test]
fn interfaces_leave_descriptors_to_sessions_and_a_warning_says_what_to_set() -> Result<(), LabError> {
    isolated!();
    keep_warnings();
    let lab = Lab::new()?;
    let node = with_interfaces(&lab, 60)?;
    let other = lab.node("other")?;
    limit_descriptors(200, 200);
    let host = Host::start(&node, Config::new());
    let used = host.engine.links().len();
    assert!((15..=25).contains(&used), "{used} of 60 interfaces in half of 200 descriptors");
    assert_eq!(host.engine.stats().interfaces_left_out, 60 - u64::try_from(used).expect("not many"));
    let said = warnings("interfaces are left out");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("ulimit -n") && said[0].contains("Config::interfaces"), "{said:?}");
    // An interface that appears takes none of what is left, and what is used works.
    let spare = process::descriptors();
    lab.link(&node, &other)?;
    eventually(SOON, "it is left out too", || warnings("interfaces are left out").len() == 2);
    assert_eq!(host.engine.links().len(), used);
    eventually(SOON, "no descriptor is taken", || process::descriptors() <= spare + 8);
    negotiate_within(&host);
    assert_eq!(host.engine.stats().interfaces_failed, 0);
    // Not said with every look.
    assert_eq!(warnings("interfaces are left out").len(), 2);
    Ok(())
}

#[test]
fn interfaces_beyond_the_limit_are_left_out_with_a_warning() -> Result<(), LabError> {
    isolated!();
    keep_warnings();
    let lab = Lab::new()?;
    let node = with_interfaces(&lab, 12)?;
    let host = Host::start(&node, Config::new().interface_limit(10));
    let links = host.engine.links();
    assert_eq!((links.len(), host.engine.stats().interfaces_left_out), (10, 2));
    let said = warnings("Config::interface_limit");
    assert!(
        said.len() == 1 && said[0].starts_with("2 interfaces are left out, vlan10 to vlan11"),
        "{said:?}"
    );
    // Those in use stay, and one that goes makes room.
    lab.link(&node, &lab.node("other")?)?;
    eventually(SOON, "the new one is left out", || host.engine.stats().interfaces_left_out == 3);
    assert_eq!(host.engine.links(), links);
    node.set_up("vlan3", false)?;
    eventually(SOON, "another takes its place", || {
        let now = host.engine.links();
        now.len() == 10 && now != links
    });
    Ok(())
}

#[test]
fn a_host_with_1000_interfaces_works() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let node = with_interfaces(&lab, 1000)?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit");
    assert!(hard >= 5000, "this test needs 5000 descriptors: {hard}");
    limit_descriptors(1024, hard);
    let started = Instant::now();
    let host = Host::start(&node, Config::new().interface_limit(1000));
    let time = started.elapsed();
    assert_eq!(host.engine.links().len(), 1000);
    negotiate_within(&host);
    let asked =
        host.run(|engine, asa| engine.discover(asa, &Objective::new("EX1"), None, Discover::default()));
    assert_eq!(asked.expect("discover"), []);
    let (threads, memory) = (host.engine.thread_count(), process::resident_kib());
    println!("1,000 interfaces: started in {time:?}, {threads} threads, {memory} KiB");
    node.set_up("vlan500", false)?;
    eventually(SOON * 3, "one is left", || host.engine.links().len() == 999);
    assert_eq!((host.engine.stats().panics, host.engine.stats().thread_failed), (0, 0));
    Ok(())
}

/// Two nodes on a link, by two interfaces of the first.
fn twice_on_a_link(lab: &Lab) -> Result<(Node, Node), LabError> {
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    lab.link(&a, &b)?;
    lab.link(&a, &b)?;
    Ok((a, b))
}

#[test]
fn a_port_of_a_bridge_is_not_used_beside_the_bridge() -> Result<(), LabError> {
    isolated!();
    keep_warnings();
    let lab = Lab::new()?;
    let (a, b) = twice_on_a_link(&lab)?;
    let host = Host::start(&a, Config::new());
    assert_eq!(host.engine.links().len(), 2);
    a.make_bridge("br0")?;
    a.add_address("br0", Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xb), 64)?;
    a.set_bridge("eth0", Some("br0"))?;
    let used = |names: &[&str]| {
        let mut expected: Vec<_> = names.iter().map(|name| a.interface_index(name).expect("one")).collect();
        expected.sort_unstable();
        host.engine.links().iter().map(|(ifi, _)| *ifi).collect::<Vec<_>>() == expected
    };
    eventually(SOON, "the port is left, and the bridge used", || used(&["br0", "eth1"]));
    // It still has its addresses: a fresh engine leaves it alone too.
    assert!(a.addresses("eth0")?.iter().any(|(address, _)| address.is_unicast_link_local()));
    let fresh = a.run(|| Engine::start(Config::new())).expect("start");
    assert_eq!(fresh.links(), host.engine.links());
    let only = Config::new().interfaces(Some(vec!["eth0".to_owned()]));
    let refused = a.run(|| Engine::start(only));
    assert!(matches!(refused, Err(StartError::NoInterface)), "{refused:?}");
    assert_eq!(warnings("eth0 is left out: it is a part of br0").len(), 1);
    host.register_with(&negotiable("EX3", 0), discoverable());
    let asker = Host::start(&b, Config::new());
    asker.register(&negotiable("EX3", 0));
    negotiate(&asker, &host, None);
    a.set_bridge("eth0", None)?;
    eventually(SOON, "it is a link of its own again", || used(&["br0", "eth0", "eth1"]));
    Ok(())
}

#[test]
fn an_interface_that_cannot_be_opened_keeps_no_others_from_being_used() -> Result<(), LabError> {
    isolated!();
    keep_warnings();
    let lab = Lab::new()?;
    let (a, _b) = twice_on_a_link(&lab)?;
    let group = SocketAddrV6::new(ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, 0, a.interface_index("eth0")?);
    let exclusive = a.run(|| UdpSocket::bind(group)).expect("the port is free");
    let engine = a.run(|| Engine::start(Config::new())).expect("the engine starts");
    let links: Vec<_> = engine.links().iter().map(|(ifi, _)| *ifi).collect();
    assert_eq!(links, [a.interface_index("eth1")?]);
    eventually(SOON, "it is said", || warnings("held exclusively").len() == 1);
    drop(exclusive);
    eventually(6 * SOON, "the other is used once it can be", || engine.links().len() == 2);
    Ok(())
}

#[test]
fn two_interfaces_on_one_link_are_warned_of_once() -> Result<(), LabError> {
    isolated!();
    keep_warnings();
    let lab = Lab::new()?;
    let (a, b) = twice_on_a_link(&lab)?;
    // The other node is the switch that both are plugged into.
    b.make_bridge("br0")?;
    b.set_bridge("eth0", Some("br0"))?;
    b.set_bridge("eth1", Some("br0"))?;
    let host = Host::start(&a, Config::new());
    for _ in 0..3 {
        let asked =
            host.run(|engine, asa| engine.discover(asa, &Objective::new("EX1"), None, Discover::default()));
        assert_eq!(asked.expect("discover"), []);
    }
    eventually(SOON, "both are warned of", || warnings("on the same link").len() == 2);
    let said = warnings("on the same link");
    assert!(said.iter().all(|text| text.contains("eth0") && text.contains("eth1")), "{said:?}");
    assert!(warnings("").iter().all(|text| !text.contains("panicked")));
    Ok(())
}

#[test]
fn c_dull_01_each_link_has_a_dull_instance_which_comes_and_goes_with_it() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let (a, b, c, d) = (lab.node("a")?, lab.node("b")?, lab.node("c")?, lab.node("d")?);
    lab.link(&a, &b)?;
    lab.link(&a, &c)?;
    // Before the normal engine, which may not have everything yet when it has started.
    let (threads, descriptors) = (process::threads(), process::descriptors());
    let normal = Host::start(&a, Config::new());
    let all = a.run(|| DullInstances::start(Config::new())).expect("start");
    let first = all.instances();
    assert_eq!(first.iter().map(|one| one.interface.as_str()).collect::<Vec<_>>(), ["eth0", "eth1"]);
    assert!(first.iter().all(|one| one.engine.links().len() == 1 && one.engine.links()[0].0 == one.ifi));
    // What is known on one link is not on the other.
    let ex4 = Objective { synch: true, ..Objective::new("EX4") };
    let neighbour =
        Host { engine: b.run(|| Engine::start(Config::new().dull(true))).expect("start"), ..normal.clone() };
    let asa = neighbour.engine.register_asa("b").expect("an ASA");
    b.run(|| neighbour.engine.register_obj(asa, &ex4, RegisterObj::default())).expect("register");
    neighbour.engine.flood(asa, 0, &[grasp::TaggedObjective::new(ex4.clone(), None)]).expect("flood");
    let asas: Vec<_> = first.iter().map(|one| one.engine.register_asa("acp").expect("an ASA")).collect();
    let flooded = |at: usize| first[at].engine.get_flood(asas[at], &ex4).expect("get_flood").len();
    eventually(SOON, "the flood arrives", || flooded(0) == 1);
    assert_eq!(flooded(1), 0);
    // They follow their links.
    let known = first.clone();
    let links = std::sync::Arc::new(all);
    let waiting = std::sync::Arc::clone(&links);
    let waiter = a.spawn("waiter", move || waiting.wait_for_change(&known, Duration::from_secs(60)));
    let third = lab.link(&a, &d)?;
    assert_eq!(joined(waiter).last().map(|one| one.interface.clone()), Some("eth2".to_owned()));
    let three = links.instances();
    assert!(three.len() == 3 && three[..2] == first[..]);
    third.remove()?;
    let two = links.wait_for_change(&three, Duration::from_secs(60));
    assert!(two == first, "{two:?}");
    assert_eq!(three[2].engine.register_asa("late"), Err(grasp::Error::Unspec));
    links.shutdown();
    assert!(links.instances().is_empty());
    assert_eq!(first[0].engine.register_asa("late"), Err(grasp::Error::Unspec));
    drop((links, first, two, three, neighbour, normal));
    eventually(SOON, "nothing is left", || {
        process::threads() <= threads && process::descriptors() <= descriptors
    });
    Ok(())
}
