//! Interfaces and addresses that come, go and change while an engine runs, and blocked calls go on.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::{Duration, Instant};

use grasp::{Acp, Asa, Config, Discover, Engine, Locator, Objective, RegisterObj, StartError};
use grasptests::isolated;
use grasptests::lab::{
    ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, Lab, LabError, Link, Node, eventually, process,
};
use grasptests::nodes::{Host, RawAsker, discoverable};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use socket2::SockRef;

/// What must happen, happens within this: the requirement says 5 seconds.
const SOON: Duration = Duration::from_secs(20);

fn negotiable() -> Objective {
    let mut objective = Objective::new("EX3");
    objective.neg = true;
    objective
}

/// Two nodes, of which the second offers EX3.
struct Pair {
    lab: Lab,
    near: Node,
    far: Node,
    link: Link,
    asker: Asa,
    server: Asa,
}

impl Pair {
    fn new() -> Result<Self, LabError> {
        let lab = Lab::new()?;
        let (near, far) = (lab.node("near")?, lab.node("far")?);
        let link = lab.link(&near, &far)?;
        let start = |node: &Node, name| {
            node.run(|| Asa::register(&Engine::start(Config::new()).expect("start"), name).expect("register"))
        };
        let (asker, server) = (start(&near, "asker"), start(&far, "server"));
        let options = RegisterObj { discoverable: true, ..RegisterObj::default() };
        far.run(|| server.engine().register_obj(server.nonce(), &negotiable(), options)).expect("register");
        Ok(Self { lab, near, far, link, asker, server })
    }

    /// Where EX3 is discovered, not from the cache.
    fn find(&self) -> Vec<Ipv6Addr> {
        let options = Discover { flush: true, enough: Some(1), ..Discover::default() };
        let found =
            self.near.run(|| self.asker.engine().discover(self.asker.nonce(), &negotiable(), None, options));
        let address = |locator| match locator {
            Some(Locator::Ipv6(address)) => Some(address),
            _ => None,
        };
        found.expect("discover").into_iter().filter_map(|found| address(found.locator)).collect()
    }

    fn finds(&self, address: Ipv6Addr) -> bool {
        self.find() == [address]
    }
}

#[test]
fn an_interface_that_appears_is_used_and_one_that_goes_is_left() -> Result<(), LabError> {
    isolated!();
    let pair = Pair::new()?;
    let engine = pair.server.engine();
    let third = pair.lab.node("third")?;
    let (threads, links) = (engine.thread_count(), engine.links().len());
    let descriptors = process::descriptors();
    let started = Instant::now();
    let second = pair.lab.link(&pair.far, &third)?;
    eventually(SOON, "the new interface is used", || engine.links().len() == links + 1);
    assert!(started.elapsed() < Duration::from_millis(1500), "the system tells: {:?}", started.elapsed());
    assert_eq!(engine.thread_count(), threads + 3);
    second.remove()?;
    eventually(SOON, "the interface is left", || engine.links().len() == links);
    eventually(SOON, "its threads end", || engine.thread_count() == threads);
    eventually(SOON, "its sockets are closed", || process::descriptors() <= descriptors);
    assert_eq!(engine.stats().panics, 0);
    Ok(())
}

#[test]
fn down_and_up_leave_registrations_and_blocked_calls_unharmed() -> Result<(), LabError> {
    isolated!();
    let pair = Pair::new()?;
    let expected = pair.link.ula(&pair.far).expect("a unique local address");
    assert!(pair.finds(expected));
    let (engine, nonce) = (pair.server.engine().clone(), pair.server.nonce());
    let listener = pair.far.spawn("listener", move || engine.listen_negotiate(nonce, &negotiable()));
    pair.far.set_up("eth0", false)?;
    eventually(SOON, "the interface is left", || pair.server.engine().links().is_empty());
    pair.far.set_up("eth0", true)?;
    eventually(SOON, "EX3 is found again", || pair.finds(expected));
    assert!(!listener.is_finished());
    let peer = pair.near.run(|| {
        let engine = pair.asker.engine();
        engine.register_obj(pair.asker.nonce(), &negotiable(), RegisterObj::default()).expect("register");
        engine.req_negotiate_noloop(pair.asker.nonce(), &negotiable(), None, Some(3000))
    });
    peer.expect("a connection");
    listener.join().expect("no panic").expect("a request");
    Ok(())
}

#[test]
fn answers_and_the_session_locator_follow_the_addresses() -> Result<(), LabError> {
    isolated!();
    let pair = Pair::new()?;
    let engine = pair.server.engine();
    let old = pair.link.ula(&pair.far).expect("a unique local address");
    let (global, new) = ("2001:db8::7".parse().expect("address"), Ipv6Addr::new(0xfd07, 0, 0, 0, 0, 0, 0, 7));
    assert_eq!(engine.session_locator(), old);
    // A global address does not displace a unique local one.
    pair.far.add_address("eth0", global, 64)?;
    assert!(pair.finds(old));
    pair.far.remove_address("eth0", old, 64)?;
    eventually(SOON, "the global address takes over", || engine.session_locator() == global);
    // It is kept while it is valid.
    pair.far.add_address("eth0", new, 64)?;
    assert!(pair.finds(global));
    assert_eq!(engine.session_locator(), global);
    pair.far.remove_address("eth0", global, 64)?;
    eventually(SOON, "the unique local one takes over", || engine.session_locator() == new);
    eventually(SOON, "answers give it", || pair.finds(new));
    pair.far.remove_address("eth0", new, 64)?;
    let link_local = pair.link.link_local(&pair.far);
    eventually(SOON, "only the link-local one is left", || engine.session_locator() == link_local);
    eventually(SOON, "answers give that", || pair.finds(link_local));
    Ok(())
}

#[test]
fn another_link_local_address_replaces_the_sockets() -> Result<(), LabError> {
    isolated!();
    let pair = Pair::new()?;
    let engine = pair.server.engine();
    let (old, new) = (pair.link.link_local(&pair.far), Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 7, 7));
    let (threads, descriptors) = (engine.thread_count(), process::descriptors());
    pair.far.add_address("eth0", new, 64)?;
    pair.far.remove_address("eth0", old, 64)?;
    eventually(SOON, "the new address is used", || engine.links().iter().any(|(_, address)| *address == new));
    eventually(SOON, "EX3 is found", || !pair.find().is_empty());
    eventually(SOON, "nothing is left over", || {
        engine.thread_count() == threads && process::descriptors() <= descriptors
    });
    Ok(())
}

#[test]
fn the_configuration_names_interfaces() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    lab.link(&a, &b)?;
    lab.link(&a, &b)?;
    let links = |config: Config| a.run(|| Engine::start(config).map(|engine| engine.links()));
    let index = |name| a.interface_index(name).expect("an interface");
    let only = links(Config::new().interfaces(Some(vec!["eth1".to_owned()]))).expect("start");
    assert_eq!(only.iter().map(|(ifi, _)| *ifi).collect::<Vec<_>>(), [index("eth1")]);
    let without = links(Config::new().exclude_interfaces(vec!["eth1".to_owned()])).expect("start");
    assert_eq!(without.iter().map(|(ifi, _)| *ifi).collect::<Vec<_>>(), [index("eth0")]);
    let none = links(Config::new().interfaces(Some(vec!["eth7".to_owned()])));
    assert!(matches!(none, Err(StartError::NoInterface)), "{none:?}");
    let waiting = Config::new().interfaces(Some(vec!["eth2".to_owned()])).wait_for_interfaces(true);
    let engine = a.run(|| Engine::start(waiting)).expect("it waits");
    assert!(engine.links().is_empty());
    lab.link(&a, &b)?;
    eventually(SOON, "eth2 is used", || engine.links().len() == 1);
    Ok(())
}

#[test]
fn c_dull_01_a_dull_instance_uses_one_interface_beside_another_engine() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    lab.link(&a, &b)?;
    lab.link(&a, &b)?;
    let normal = a.run(|| Engine::start(Config::new())).expect("start");
    let config = Config::new().dull(true).interfaces(Some(vec!["eth1".to_owned()]));
    let dull = a.run(|| Engine::start(config)).expect("start");
    let any = a.run(|| Engine::start(Config::new().dull(true))).expect("start");
    assert_eq!((normal.links().len(), dull.links().len(), any.links().len()), (2, 1, 1));
    assert_eq!(dull.links()[0].0, a.interface_index("eth1")?);
    // Their data are their own.
    let secret = Asa::register(&normal, "asa").expect("register");
    let other = Asa::register(&dull, "asa").expect("the name is free in the other engine");
    let mut objective = Objective::new("EX1");
    objective.synch = true;
    for (engine, asa) in [(&normal, &secret), (&dull, &other)] {
        a.run(|| engine.register_obj(asa.nonce(), &objective, RegisterObj::default())).expect("register");
    }
    normal.flood(secret.nonce(), 0, &[grasp::TaggedObjective::new(objective.clone(), None)]).expect("flood");
    assert_eq!(normal.get_flood(secret.nonce(), &objective).expect("flooded").len(), 1);
    assert!(dull.get_flood(other.nonce(), &objective).expect("nothing").is_empty());
    Ok(())
}

#[test]
fn addresses_that_change_all_the_time_do_not_keep_the_engine_busy() -> Result<(), LabError> {
    isolated!();
    let pair = Pair::new()?;
    let address = Ipv6Addr::new(0xfd00, 99, 0, 0, 0, 0, 0, 1);
    // The other engine stays out of the figure: it has a `_watcher` too, which has nothing to do.
    let (before, started) = (process::time_of_threads("_watcher"), Instant::now());
    let mut changes = 0;
    while started.elapsed() < Duration::from_secs(2) {
        pair.far.add_address("eth0", address, 64)?;
        pair.far.remove_address("eth0", address, 64)?;
        changes += 2;
    }
    let (busy, time) = (process::time_of_threads("_watcher") - before, started.elapsed());
    assert!(changes > 100, "{changes} changes");
    assert!(!busy.is_zero(), "the system tells");
    assert!(busy * 5 < time, "{busy:?} of {time:?}, {changes} changes");
    let expected = pair.link.ula(&pair.far).expect("a ULA");
    eventually(SOON, "the address after all changes is used", || pair.finds(expected));
    assert_eq!(pair.server.engine().stats().panics, 0);
    Ok(())
}

#[test]
fn group_memberships_that_the_system_forgets_are_renewed() -> Result<(), LabError> {
    isolated!();
    let pair = Pair::new()?;
    let engine = pair.server.engine();
    let expected = pair.link.ula(&pair.far).expect("a unique local address");
    let link_local = pair.link.link_local(&pair.far);
    for _ in 0..10 {
        // Over before anyone can look: the interface has the same number and addresses as before.
        pair.far.set_mtu("eth0", 1000)?;
        pair.far.set_mtu("eth0", 1500)?;
        pair.far.add_address("eth0", link_local, 64)?;
        pair.far.add_address("eth0", expected, 64)?;
        eventually(SOON, "EX3 is found again", || pair.finds(expected));
    }
    assert_eq!((engine.links().len(), engine.stats().panics), (1, 0));
    Ok(())
}

/// The system may forget a membership, and nothing else of the interface changes.
#[test]
fn a_membership_that_is_gone_is_renewed_without_any_other_change() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let (near, far) = (lab.node("near")?, lab.node("far")?);
    let link = lab.link(&near, &far)?;
    // The asker speaks in the clear, whatever the environment says.
    let config = Config::new().acp(Acp::Layer2).watch_interval(Duration::from_millis(100));
    let host = Host::start(&far, config);
    host.register_with(&negotiable(), discoverable());
    let asker = RawAsker::on(&near);
    assert!(asker.answer_of(&host, 1, "EX3").is_some());
    // This process looks for the engine's socket in the group, and leaves the group with it.
    let own = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).expect("this process");
    let ifi = far.interface_index("eth0")?;
    let group = SocketAddrV6::new(ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, 0, ifi).into();
    let mut left = 0;
    for number in std::fs::read_dir("/proc/self/fd").expect("descriptors") {
        let name = number.expect("a descriptor").file_name();
        let number = name.to_str().and_then(|name| name.parse().ok()).expect("a number");
        // The directory's own is closed by now, perhaps.
        let Ok(socket) = pidfd_getfd(&own, number, PidfdGetfdFlags::empty()) else { continue };
        let socket = SockRef::from(&socket);
        if socket.local_addr().is_ok_and(|address| address.as_socket() == Some(group)) {
            left += i32::from(socket.leave_multicast_v6(&ALL_GRASP_NEIGHBORS, ifi).is_ok());
        }
    }
    assert_eq!(left, 1, "the engine's socket is found");
    eventually(SOON, "the interface is used anew", || host.engine.stats().interfaces_added == 2);
    assert!(asker.answer_of(&host, 1_000_000, "EX3").is_some());
    assert_eq!((host.engine.links().len(), host.engine.stats().panics), (1, 0));
    drop(link);
    Ok(())
}
