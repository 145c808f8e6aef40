//! Several engines on one host: who hears port 7017 for all, who relays, and what becomes of both when one ends.

use std::cell::Cell;
use std::io::Read as _;
use std::net::{Ipv6Addr, SocketAddrV6, TcpListener, UdpSocket};
use std::os::fd::AsFd as _;
use std::process::{Child, Stdio};
use std::time::Duration;

use grasp::wire::{self, Body, Flags, Flood, Limits, Message, Response, WireObjective, WireOption};
use grasp::{Acp, Config, DullInstances, QuadsKeys, Relay};
use grasptests::isolated;
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, Lab, Node, RawUdp, eventually};
use grasptests::nodes::{Host, RawStream, SOON, at_once, discoverable, flagged, negotiable};
use nix::poll::{PollFd, PollFlags, poll};

/// How often a question is repeated that gets no answer: it may have come while the front changed.
const AGAIN: u16 = 200;

/// A host in the middle of a line, with an asker before it and a watcher behind it.
struct Line {
    lab: Lab,
    near: Node,
    middle: Node,
    listener: TcpListener,
    asker: RawUdp,
    watcher: RawUdp,
    /// Sends on the watcher's link from the middle.
    marker: RawUdp,
    session: Cell<u32>,
}

impl Line {
    fn new() -> Self {
        let lab = Lab::new().expect("a lab");
        let [near, middle, far] = ["near", "middle", "far"].map(|name| lab.node(name).expect("a node"));
        lab.link(&near, &middle).expect("a link");
        lab.link(&middle, &far).expect("a link");
        lab.route_all().expect("routes");
        let (address, ifi) = (near.link_local("eth0").unwrap(), near.interface_index("eth0").unwrap());
        let listener = near.run(|| TcpListener::bind(SocketAddrV6::new(address, 0, 0, ifi))).expect("a port");
        let asker = RawUdp::open(&near, "eth0", address, listener.local_addr().unwrap().port()).unwrap();
        let watcher = RawUdp::neighbors(&far, "eth0").expect("a watcher");
        let marker = RawUdp::open(&middle, "eth1", middle.link_local("eth1").unwrap(), 0).expect("a socket");
        Self { lab, near, middle, listener, asker, watcher, marker, session: Cell::new(0) }
    }

    fn new_session(&self) -> u32 {
        self.session.set(self.session.get() + 1);
        self.session.get()
    }

    /// Starts engines in the middle, each with an objective of its own.
    fn start(&self, count: usize, config: &Config) -> Vec<Host> {
        let start = |number| {
            let host = Host::start(&self.middle, config.clone());
            host.register_with(&negotiable(&format!("EX{number}"), 0), discoverable());
            host
        };
        (0..count).map(start).collect()
    }

    fn discovery(&self, name: &str, loop_count: u8) -> (u32, Vec<u8>) {
        let session = self.new_session();
        let objective = flagged(session, name, Flags::F_DISC, loop_count, ()).objective;
        let initiator = self.near.link_local("eth0").unwrap().into();
        (session, wire::encode(&Message::new(Body::Discovery { session, initiator, objective })))
    }

    /// Asks the middle alone by UDP until it answers.
    fn ask_by_udp(&self, name: &str) -> Response {
        let to = self.middle.link_local("eth0").unwrap();
        let mut answer = None;
        eventually(SOON, &format!("{name} is found by UDP"), || {
            let (_, bytes) = self.discovery(name, 1);
            self.asker.send(&bytes, to, GRASP_LISTEN_PORT).expect("it is sent");
            let mut waiting = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
            if poll(&mut waiting, AGAIN).expect("it can wait") > 0 {
                let message = RawStream::new(self.listener.accept().unwrap().0).hear();
                answer = Some(response(message));
            }
            answer.as_ref().is_some_and(|answer| answer.session == self.session.get())
        });
        answer.expect("an answer")
    }

    /// Asks by TCP. `None` if the connection is closed without an answer.
    fn ask_by_tcp(&self, name: &str) -> Option<Response> {
        let to = SocketAddrV6::new(self.middle.ula().expect("an address"), GRASP_LISTEN_PORT, 0, 0);
        let (_, bytes) = self.discovery(name, 1);
        let mut stream = None;
        eventually(SOON, "the port is open", || {
            stream = self.near.run(|| std::net::TcpStream::connect(to)).ok();
            stream.is_some()
        });
        let mut stream = RawStream::new(stream?);
        stream.write(&bytes);
        let answer = stream.read()?;
        Some(response(wire::decode(&answer, &Limits::default()).expect("a message")))
    }

    /// How many copies of a multicast of this session come out behind the host, once `done`.
    fn copies(&self, session: u32, done: impl Fn() -> bool) -> usize {
        eventually(SOON, "it has been decided about", done);
        // What was sent before it has come before it.
        let last = self.new_session();
        self.marker.send(&flood(last, 1), ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).expect("it is sent");
        let mut copies = 0;
        loop {
            let datagram = self.watcher.receive(SOON).expect("it can receive").expect("the marker");
            match session_of(&datagram.bytes) {
                Some(heard) if heard == last => return copies,
                heard => copies += usize::from(heard == Some(session)),
            }
        }
    }

    /// How often a flood comes out behind the host.
    fn flood_through(&self, hosts: &[Host]) -> usize {
        let before: u64 = hosts.iter().map(|host| host.engine.stats().floods_received).min().unwrap();
        let session = self.new_session();
        self.asker.send(&flood(session, 5), ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).expect("it is sent");
        let decided = |host: &Host| {
            let stats = host.engine.stats();
            stats.floods_received > before
                && sends_nothing(host)
                && stats.floods_received == stats.floods_relayed + stats.floods_not_relayed
        };
        self.copies(session, || hosts.iter().all(decided))
    }

    /// How often a discovery of what nobody has comes out behind the host.
    fn discover_through(&self, hosts: &[Host]) -> usize {
        let received = |host: &Host| host.engine.stats().discoveries_received;
        let before: Vec<_> = hosts.iter().map(received).collect();
        let (session, bytes) = self.discovery("nobody has it", 5);
        self.asker.send(&bytes, ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).expect("it is sent");
        self.copies(session, || {
            hosts.iter().zip(&before).all(|(host, before)| {
                let stats = host.engine.stats();
                let decided = stats.discoveries_relayed + stats.discoveries_unanswered;
                received(host) > *before && sends_nothing(host) && stats.discoveries_received <= decided
            })
        })
    }
}

fn response(message: Message) -> Response {
    match message.body {
        Body::Response(response) => response,
        other => panic!("no response but {other:?}"),
    }
}

/// Where the objective is: those that ask by a global address are not told of link-local ones.
fn port(response: &Response) -> u16 {
    let port = response.options.iter().find_map(|option| match option {
        WireOption::Locator(locator) => locator.port,
        _ => None,
    });
    port.expect("a locator with a port")
}

/// A flood of a node behind the asker.
fn flood(session: u32, loop_count: u8) -> Vec<u8> {
    let initiator = "fd63:6d92::77".parse::<Ipv6Addr>().expect("an address").into();
    let flags = Flags(Flags::F_DISC | Flags::F_SYNCH);
    let objective = WireObjective { name: "flooded".into(), flags, loop_count, value: Some(session.into()) };
    let flood = Flood { session, initiator, ttl: 60_000, objectives: vec![(objective, None)] };
    wire::encode(&Message::new(Body::Flood(flood)))
}

/// Whether everything has gone out that is relayed, to the one other link.
fn sends_nothing(host: &Host) -> bool {
    let stats = host.engine.stats();
    stats.multicast_sent == stats.discoveries_relayed + stats.floods_relayed
}

fn session_of(bytes: &[u8]) -> Option<u32> {
    match wire::decode(bytes, &Limits::default()).ok()?.body {
        Body::Discovery { session, .. } | Body::Flood(Flood { session, .. }) => Some(session),
        _ => None,
    }
}

/// Waits until so many relay.
fn wait_for_relays(hosts: &[Host], count: usize) {
    let relaying = || hosts.iter().filter(|host| host.engine.state().relaying).count();
    eventually(SOON, &format!("{count} relay"), || relaying() == count);
}

#[test]
fn c_resp_12_a_discovery_for_one_node_reaches_every_engine_of_the_host() {
    isolated!();
    let line = Line::new();
    let mut hosts = line.start(3, &Config::new());
    for round in 0..2 {
        for name in ["EX0", "EX1", "EX2"].into_iter().skip(round) {
            let port = port(&line.ask_by_udp(name));
            assert_eq!(line.ask_by_tcp(name).map(|found| self::port(&found)), Some(port), "{name}");
        }
        assert!(line.ask_by_tcp("EX9").is_none(), "nobody has it");
        // The first to start is the front; after it, either.
        let handed_on: Vec<_> = hosts.iter().map(|host| host.engine.stats().handed_on).collect();
        assert!(handed_on.iter().filter(|count| **count > 0).count() == 1 && (round > 0 || handed_on[0] > 0));
        hosts.iter().for_each(Host::expect_quiet);
        hosts.remove(0).engine.shutdown();
    }
    line.ask_by_udp("EX2");
    assert!(line.ask_by_tcp("EX2").is_some());
}

#[test]
fn a_port_that_a_program_holds_which_is_about_to_end_is_heard_then() {
    isolated!();
    let line = Line::new();
    let (address, ifi) =
        (line.middle.link_local("eth0").unwrap(), line.middle.interface_index("eth0").unwrap());
    let here = SocketAddrV6::new(address, GRASP_LISTEN_PORT, 0, ifi);
    let everywhere = (Ipv6Addr::UNSPECIFIED, GRASP_LISTEN_PORT);
    // No other look at the interfaces makes up for it.
    let config = Config::new().watch_interval(Duration::from_secs(3600));
    let udp = line.middle.run(|| UdpSocket::bind(here)).expect("nobody has it");
    let hosts = line.start(1, &config);
    drop(udp);
    line.ask_by_udp("EX0");
    assert!(line.ask_by_tcp("EX0").is_some());
    hosts.iter().for_each(|host| host.engine.shutdown());
    let tcp = line.middle.run(|| TcpListener::bind(everywhere)).expect("it is free again");
    let hosts = line.start(1, &config);
    drop(tcp);
    assert!(line.ask_by_tcp("EX0").is_some());
    line.ask_by_udp("EX0");
    hosts.iter().for_each(Host::expect_quiet);
}

#[test]
fn who_asks_by_tcp_for_what_nobody_has_does_not_wait_until_the_members_have_run_out_of_time() {
    isolated!();
    let line = Line::new();
    let hosts = line.start(3, &Config::new().response_timeout(Duration::from_secs(60)));
    assert!(line.ask_by_tcp("EX2").is_some(), "a member is asked");
    assert!(at_once(|| line.ask_by_tcp("EX9")).is_none());
    hosts.iter().for_each(Host::expect_quiet);
}

#[test]
fn the_port_by_tcp_is_for_discoveries_and_others_of_the_host_have_nothing_to_say_to_what_is_none() {
    isolated!();
    let line = Line::new();
    let hosts = line.start(2, &Config::new());
    let to = line.middle.ula().unwrap();
    for body in [
        Body::RequestNegotiate(flagged(7, "EX0", Flags::F_DISC | Flags::F_NEG, 6, 1)),
        Body::RequestNegotiate(flagged(7, "EX1", Flags::F_DISC | Flags::F_NEG, 6, 1)),
    ] {
        let mut stream = RawStream::connect(&line.near, to, GRASP_LISTEN_PORT);
        stream.say(body);
        stream.expect_end();
    }
    assert_eq!(hosts[0].engine.stats().dropped_misplaced, 2);
    assert_eq!(hosts[1].engine.stats().messages_received, 0);
    hosts.iter().for_each(Host::expect_quiet);
}

#[test]
fn ten_engines_of_one_host_relay_once_and_so_do_nine_when_the_first_has_ended() {
    isolated!();
    let line = Line::new();
    let mut hosts = line.start(10, &Config::new());
    for _ in 0..3 {
        wait_for_relays(&hosts, 1);
        let relays = || hosts.iter().map(|host| host.engine.state().relaying).collect::<Vec<_>>();
        assert_eq!(line.flood_through(&hosts), 1, "{:?}", relays());
        assert_eq!(line.discover_through(&hosts), 1, "{:?}", relays());
        let at = hosts.iter().position(|host| host.engine.state().relaying).unwrap();
        hosts.remove(at).engine.shutdown();
    }
    let elsewhere: u64 = hosts.iter().map(|host| host.engine.stats().not_relayed_elsewhere).sum();
    assert!(elsewhere >= 7 * 2, "{elsewhere}");
}

#[test]
fn an_engine_relays_always_or_never_if_it_is_told_to() {
    isolated!();
    let line = Line::new();
    let never = line.start(2, &Config::new().relay(Relay::Never));
    assert_eq!((line.flood_through(&never), line.discover_through(&never)), (0, 0));
    // One that may takes it over, though another came first.
    let once = line.start(2, &Config::new());
    wait_for_relays(&once, 1);
    let all = [never, once].concat();
    assert_eq!((line.flood_through(&all), line.discover_through(&all)), (1, 1));
    let always = line.start(2, &Config::new().relay(Relay::Always));
    wait_for_relays(&all, 0);
    let all = [all, always.clone()].concat();
    // One may hear what the other has relayed before the original, and send it back.
    assert!((1..=2).contains(&line.flood_through(&all)) && (1..=2).contains(&line.discover_through(&all)));
    for host in &always {
        let stats = host.engine.stats();
        assert_eq!((stats.floods_relayed, stats.discoveries_relayed), (1, 1));
    }
}

#[test]
fn each_domain_and_each_set_of_interfaces_of_a_host_has_its_relay() {
    isolated!();
    let line = Line::new();
    let keys = || QuadsKeys::from_password("another domain").unwrap();
    let on = |names: [&str; 2]| Config::new().interfaces(Some(names.map(str::to_owned).into()));
    let plain = line.start(2, &on(["eth0", "eth1"]).acp(Acp::Layer2));
    let sealed = line.start(2, &Config::new().acp(Acp::Quads(keys())));
    wait_for_relays(&plain, 1);
    wait_for_relays(&sealed, 1);
    // What is sealed reaches the members that can open it, by way of a front that cannot.
    let (_, bytes) = line.discovery("EX1", 1);
    let to = line.middle.link_local("eth0").unwrap();
    line.asker.send(&keys().seal(&bytes), to, GRASP_LISTEN_PORT).expect("it is sent");
    eventually(SOON, "it is answered", || sealed[1].engine.stats().responses_sent == 1);
    // To a third interface only those relay that have it.
    let third = line.lab.node("third").unwrap();
    line.lab.link(&line.middle, &third).unwrap();
    let other = line.start(2, &on(["eth0", "eth2"]).acp(Acp::Layer2));
    wait_for_relays(&other, 1);
    wait_for_relays(&plain, 1);
}

#[test]
fn what_the_front_does_not_hear_a_member_hears_itself() {
    isolated!();
    let line = Line::new();
    let on = |name: &str| Config::new().interfaces(Some(vec![name.to_owned()]));
    let front = line.start(1, &on("eth1"));
    let member = Host::start(&line.middle, Config::new());
    member.register_with(&negotiable("EX1", 0), discoverable());
    line.ask_by_udp("EX1");
    assert_eq!(front[0].engine.stats().unicast_datagram_received, 0);
}

#[test]
fn dull_instances_of_a_host_are_found_beside_the_other_engines_and_never_lead_them() {
    isolated!();
    let line = Line::new();
    let config = Config::new().watch_interval(Duration::from_millis(50));
    let dull = line.middle.run(|| DullInstances::start(config.clone())).expect("start");
    let offer = |number: usize| {
        let engine = dull.instances()[number].engine.clone();
        let asa = engine.register_asa("dull").unwrap();
        let host = Host { node: line.middle.clone(), engine, asa };
        host.register_with(&negotiable("local", 0), discoverable());
        host
    };
    let first = offer(0);
    line.ask_by_udp("local");
    let hosts = line.start(3, &config);
    wait_for_relays(&hosts, 1);
    assert_eq!(line.flood_through(&hosts), 1);
    line.ask_by_udp("EX0");
    line.ask_by_udp("EX2");
    line.ask_by_udp("local");
    assert_eq!(first.engine.stats().handed_on, 0);
}

/// What a process of a test below does: an engine that offers an objective until it is killed.
#[test]
#[ignore = "a part of other tests, which start it as a process"]
fn offers_until_it_is_killed() {
    let Ok(name) = std::env::var(OFFER) else { return };
    let engine = grasp::Engine::start(Config::new()).expect("start");
    let asa = engine.register_asa(&name).expect("an ASA");
    engine.register_obj(asa, &negotiable(&name, 0), discoverable()).expect("register");
    println!("\n{READY}");
    // Its standard input ends with the test, should that fail.
    let _ = std::io::stdin().read(&mut [0]);
}

const OFFER: &str = "GRASPTESTS_OFFER";
const READY: &str = "it offers";

/// Kills a process when it is dropped.
struct Process(Child);

impl Process {
    fn offering(node: &Node, name: &str) -> Self {
        let mut command = node.command(std::env::current_exe().expect("this program"));
        command.args(["host::offers_until_it_is_killed", "--exact", "--ignored", "--nocapture"]);
        command.env(OFFER, name).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Self(command.spawn().expect("it starts"));
        let mut said = Vec::new();
        let stdout = process.0.stdout.as_mut().expect("its output");
        let mut byte = [0];
        while !said.ends_with(READY.as_bytes()) {
            assert_eq!(stdout.read(&mut byte).expect("it says something"), 1, "it has started");
            said.push(byte[0]);
        }
        process
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_front_that_is_killed_is_replaced() {
    isolated!();
    let line = Line::new();
    let names = ["EX0", "EX1", "EX2"];
    let mut processes: Vec<_> = names.map(|name| Process::offering(&line.middle, name)).into();
    for killed in 0..names.len() {
        for name in &names[killed..] {
            let port = port(&line.ask_by_udp(name));
            assert_eq!(line.ask_by_tcp(name).map(|found| self::port(&found)), Some(port), "{name}");
        }
        // It has no time to say farewell.
        drop(processes.remove(0));
    }
}
