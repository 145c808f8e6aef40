//! The lab itself: what nodes, links and routes do, and what they do when they fail.

use std::{
    env,
    io::{Read as _, Write as _},
    net::{Ipv6Addr, SocketAddrV6, TcpListener, TcpStream},
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use grasp_lab::{
    ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, Lab, LabError, LinkOptions, Node, RawUdp, Topology, eventually,
    isolated, process,
};

type Outcome = Result<(), LabError>;

/// What must happen, happens within this.
const SOON: Duration = Duration::from_secs(10);

/// What must not happen gets this much time to happen wrongly.
const WHILE: Duration = Duration::from_millis(150);

fn shout(from: &RawUdp, text: &str) -> Outcome {
    from.send(text.as_bytes(), ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT)
}

/// Whether the text is the next thing heard.
fn hears(socket: &RawUdp, text: &str) -> Result<bool, LabError> {
    Ok(socket.receive(SOON)?.is_some_and(|datagram| datagram.bytes == text.as_bytes()))
}

/// Sends a megabyte over TCP from one node to an address of another, and waits until all of it is there.
fn carries_tcp(from: &Node, to: &Node, address: Ipv6Addr) -> bool {
    let listener = to.run(|| TcpListener::bind((address, 0))).expect("listen");
    let port = listener.local_addr().expect("bound").port();
    let reader = to.spawn("reader", move || {
        let mut total = 0;
        let (mut stream, _) = listener.accept()?;
        let mut buffer = [0; 16384];
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok::<_, std::io::Error>(total),
                length => total += length,
            }
        }
    });
    from.run(|| {
        let mut stream = TcpStream::connect_timeout(&(address, port).into(), SOON).expect("connect");
        stream.write_all(&vec![7; 1_000_000]).expect("send");
    });
    reader.join().expect("the reader ends").expect("receive") == 1_000_000
}

#[test]
fn two_nodes_hear_each_other_by_multicast() -> Outcome {
    isolated!();
    let lab = Lab::new()?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    let link = lab.link(&a, &b)?;
    let (at_a, at_b) = (RawUdp::neighbors(&a, "eth0")?, RawUdp::neighbors(&b, "eth0")?);
    shout(&at_a, "ping")?;
    let ping = at_b.receive(SOON)?.expect("the ping");
    assert_eq!(ping.bytes, b"ping");
    assert_eq!(*ping.source.ip(), link.link_local(&a));
    assert_eq!(*ping.source.ip(), a.link_local("eth0")?);
    assert_eq!(ping.source.scope_id(), b.interface_index("eth0")?);
    at_b.send(b"pong", *ping.source.ip(), ping.source.port())?;
    assert!(hears(&at_a, "pong")?);
    Ok(())
}

#[test]
fn a_chosen_source_address_and_port_are_what_the_receiver_sees() -> Outcome {
    isolated!();
    let lab = Lab::new()?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    let link = lab.link(&a, &b)?;
    let ula = link.ula(&a).expect("a ULA");
    let at_a = RawUdp::open(&a, "eth0", ula, 4711)?;
    let at_b = RawUdp::neighbors(&b, "eth0")?;
    shout(&at_a, "from afar")?;
    let heard = at_b.receive(SOON)?.expect("the datagram");
    assert_eq!((*heard.source.ip(), heard.source.port()), (ula, 4711));
    assert_eq!((*at_a.local()?.ip(), at_a.local()?.port()), (ula, 4711));
    Ok(())
}

#[test]
fn everybody_on_a_lan_hears_everybody() -> Outcome {
    isolated!();
    let lab = Lab::new()?;
    let nodes = [lab.node("a")?, lab.node("b")?, lab.node("c")?];
    let lan = lab.lan(&nodes.each_ref())?;
    assert_eq!(lan.members().len(), 3);
    let sockets =
        nodes.iter().map(|node| RawUdp::neighbors(node, "eth0")).collect::<Result<Vec<_>, LabError>>()?;
    for (i, speaker) in sockets.iter().enumerate() {
        let text = format!("this is {i}");
        shout(speaker, &text)?;
        for (_, listener) in sockets.iter().enumerate().filter(|&(j, _)| j != i) {
            assert!(hears(listener, &text)?);
        }
    }
    // A fourth comes later.
    let late = lab.node("d")?;
    assert_eq!(lan.attach(&late)?, "eth0");
    let at_late = RawUdp::neighbors(&late, "eth0")?;
    shout(&sockets[0], "welcome")?;
    assert!(hears(&at_late, "welcome")?);
    Ok(())
}

#[test]
fn a_line_of_four_carries_tcp_from_end_to_end() -> Outcome {
    isolated!();
    let lab = Lab::new()?;
    let line = lab.build(Topology::Line(4))?;
    let [first, .., last] = line.nodes.as_slice() else { panic!("four nodes") };
    let address = last.ula().expect("a ULA");
    assert_eq!(Some(address), line.links[2].ula(last));
    assert!(carries_tcp(first, last, address));
    Ok(())
}

#[test]
fn every_pair_of_a_grid_has_a_route() -> Outcome {
    isolated!();
    let lab = Lab::new()?;
    let grid = lab.build("grid:3x3".parse()?)?;
    let corner = &grid.nodes[8];
    let to = corner.ula().expect("a ULA");
    let receiver = RawUdp::open(corner, "eth0", Ipv6Addr::UNSPECIFIED, 5000)?;
    for node in &grid.nodes[..8] {
        let sender = RawUdp::open(node, "eth0", node.ula().expect("a ULA"), 0)?;
        sender.send(node.name().as_bytes(), to, 5000)?;
        assert!(hears(&receiver, node.name())?, "from {}", node.name());
    }
    Ok(())
}

#[test]
fn a_ring_is_routed_round_a_broken_link() -> Outcome {
    isolated!();
    let lab = Lab::new()?;
    let ring = lab.build(Topology::Ring(4))?;
    let (from, to) = (&ring.nodes[0], &ring.nodes[1]);
    let address = ring.links[1].ula(to).expect("a ULA");
    assert!(carries_tcp(from, to, address));
    ring.links[0].cut()?;
    lab.route_all()?;
    assert!(carries_tcp(from, to, address));
    ring.links[0].heal()?;
    lab.route_all()?;
    assert!(carries_tcp(from, to, address));
    Ok(())
}

#[test]
fn a_cut_link_is_silent_and_a_healed_one_is_not() -> Outcome {
    isolated!();
    let lab = Lab::new()?;
    let nodes = [lab.node("a")?, lab.node("b")?, lab.node("c")?];
    let [a, b, c] = &nodes;
    let lan = lab.lan(&[a, b, c])?;
    let (at_a, at_b, at_c) =
        (RawUdp::neighbors(a, "eth0")?, RawUdp::neighbors(b, "eth0")?, RawUdp::neighbors(c, "eth0")?);
    for round in 0..10 {
        let (lost, found) = (format!("lost {round}"), format!("found {round}"));
        lan.cut()?;
        shout(&at_a, &lost)?;
        lan.heal()?;
        shout(&at_a, &found)?;
        assert!(hears(&at_b, &found)?);
        assert!(hears(&at_c, &found)?);
        // One node only.
        lan.cut_node(b)?;
        shout(&at_a, &lost)?;
        lan.heal_node(b)?;
        shout(&at_a, &found)?;
        assert!(hears(&at_c, &lost)?);
        assert!(hears(&at_c, &found)?);
        assert!(hears(&at_b, &found)?);
    }
    assert_eq!(at_b.receive(WHILE)?, None);
    Ok(())
}

#[test]
fn an_unplugged_node_sees_it_and_keeps_its_addresses() -> Outcome {
    isolated!();
    let lab = Lab::new()?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    let link = lab.link(&a, &b)?;
    let at_b = RawUdp::neighbors(&b, "eth0")?;
    let at_a = RawUdp::neighbors(&a, "eth0")?;
    let before = a.addresses("eth0")?;
    for round in 0..5 {
        assert!(a.has_carrier("eth0")?);
        link.unplug()?;
        assert!(!a.has_carrier("eth0")?);
        assert_eq!(a.addresses("eth0")?, before);
        link.heal()?;
        let text = format!("back {round}");
        shout(&at_a, &text)?;
        assert!(hears(&at_b, &text)?);
    }
    Ok(())
}

#[test]
fn delay_is_what_was_asked_for() -> Outcome {
    isolated!();
    let delay = Duration::from_millis(40);
    let lab = Lab::new()?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    let link = lab.link(&a, &b)?;
    let (at_a, at_b) = (RawUdp::neighbors(&a, "eth0")?, RawUdp::neighbors(&b, "eth0")?);
    link.set_impairment(delay, 0.0)?;
    for round in 0..5 {
        let text = round.to_string();
        let start = Instant::now();
        shout(&at_a, &text)?;
        assert!(hears(&at_b, &text)?);
        let there = start.elapsed();
        assert!(there >= delay, "{there:?}");
        println!("one way: {there:?}");
        shout(&at_b, &text)?;
        assert!(hears(&at_a, &text)?);
        assert!(start.elapsed() >= delay * 2);
    }
    let start = Instant::now();
    assert!(carries_tcp(&a, &b, link.ula(&b).expect("a ULA")));
    println!("a megabyte by TCP: {:?}", start.elapsed());
    link.clear_impairment()?;
    shout(&at_a, "clear")?;
    assert!(hears(&at_b, "clear")?);
    Ok(())
}

#[test]
fn loss_is_about_what_was_asked_for() -> Outcome {
    isolated!();
    let lab = Lab::new()?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    let link = lab.link(&a, &b)?;
    let (at_a, at_b) = (RawUdp::neighbors(&a, "eth0")?, RawUdp::neighbors(&b, "eth0")?);
    link.set_impairment(Duration::ZERO, 50.0)?;
    let mut heard = 0;
    for _ in 0..10 {
        for _ in 0..20 {
            shout(&at_a, "maybe")?;
        }
        while at_b.receive(Duration::from_millis(20))?.is_some() {
            heard += 1;
        }
    }
    assert!((60..=140).contains(&heard), "{heard} of 200");
    link.set_impairment(Duration::ZERO, 100.0)?;
    shout(&at_a, "never")?;
    assert_eq!(at_b.receive(WHILE)?, None);
    // A cut in between does not end the impairment.
    link.cut()?;
    link.heal()?;
    shout(&at_a, "never")?;
    assert_eq!(at_b.receive(WHILE)?, None);
    assert!(link.set_impairment(Duration::ZERO, 101.0).is_err());
    Ok(())
}

#[test]
fn addresses_come_and_go() -> Outcome {
    isolated!();
    let lab = Lab::new()?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    let link = lab.lan_with(&[&a, &b], LinkOptions::link_local_only())?;
    assert_eq!(a.addresses("eth0")?, [(link.link_local(&a), 64)]);
    assert_eq!((link.prefix(), link.ula(&a), a.ula()), (None, None, None));
    let extra = Ipv6Addr::new(0xfd12, 0, 0, 0, 0, 0, 0, 1);
    a.add_address("eth0", extra, 64)?;
    assert_eq!(a.ula(), Some(extra));
    // Usable at once.
    a.run(|| TcpListener::bind((extra, 0))).expect("bind");
    assert!(a.add_address("eth0", extra, 64).is_err());

    // Down and up again gives back what the kernel forgets.
    let all = a.addresses("eth0")?;
    a.set_up("eth0", false)?;
    a.set_up("eth0", false)?;
    assert!(!a.addresses("eth0")?.contains(&(extra, 64)));
    a.set_up("eth0", true)?;
    assert_eq!(a.addresses("eth0")?, all);
    let at_b = RawUdp::neighbors(&b, "eth0")?;
    shout(&RawUdp::neighbors(&a, "eth0")?, "up again")?;
    assert!(hears(&at_b, "up again")?);

    a.remove_address("eth0", extra, 64)?;
    assert_eq!(a.ula(), None);
    assert!(a.run(|| TcpListener::bind((extra, 0))).is_err());
    assert!(a.interface_index("eth9").is_err());
    Ok(())
}

#[test]
fn routes_survive_an_interface_that_was_down() -> Outcome {
    isolated!();
    let lab = Lab::new()?;
    let line = lab.build(Topology::Line(3))?;
    let to = line.nodes[2].ula().expect("a ULA");
    line.nodes[0].set_up("eth0", false)?;
    line.nodes[0].set_up("eth0", true)?;
    assert!(carries_tcp(&line.nodes[0], &line.nodes[2], to));
    Ok(())
}

#[test]
fn links_can_be_taken_away() -> Outcome {
    isolated!();
    let lab = Lab::new()?;
    let nodes = [lab.node("a")?, lab.node("b")?, lab.node("c")?];
    let [a, b, c] = &nodes;
    let first = lab.link(a, b)?;
    let second = lab.lan(&[a, b, c])?;
    assert_eq!(second.interface(a)?, "eth1");
    first.remove()?;
    first.remove()?;
    assert!(a.interface_index("eth0").is_err());
    assert!(first.attach(c).is_err());
    second.detach(b)?;
    assert!(second.detach(b).is_err());
    assert!(b.interface_index("eth1").is_err());
    let at_c = RawUdp::neighbors(c, "eth0")?;
    shout(&RawUdp::neighbors(a, "eth1")?, "still here")?;
    assert!(hears(&at_c, "still here")?);
    assert_eq!(second.attach(b)?, "eth2");
    Ok(())
}

/// Not a test of its own: what [`a_program_starts_inside_its_node`] starts.
#[test]
fn helper_shows_its_interfaces() {
    println!("{}", std::fs::read_to_string("/proc/self/net/dev").unwrap());
}

#[test]
fn a_program_starts_inside_its_node() -> Outcome {
    isolated!();
    let lab = Lab::new()?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    let shows = |node: &Node| {
        let mut program = node.command(env::current_exe().unwrap());
        let output =
            program.args(["basics::helper_shows_its_interfaces", "--exact", "--nocapture"]).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    lab.link(&a, &b)?;
    lab.link(&a, &b)?;
    assert!(shows(&a).contains("eth1:"));
    let c = lab.node("c")?;
    assert!(!shows(&c).contains("eth0:"));
    Ok(())
}

#[test]
fn threads_stay_in_their_node() -> Outcome {
    isolated!();
    let lab = Lab::new()?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    let link = lab.link(&a, &b)?;
    let mine = link.link_local(&a);
    let index = a.interface_index("eth0")?;
    let binds = move || TcpListener::bind(SocketAddrV6::new(mine, 0, 0, index)).is_ok();
    assert!(!binds());
    assert!(a.run(binds));
    assert!(!b.run(binds));
    // A thread started by a thread inside is inside.
    let nested = a.spawn("outer", move || {
        std::thread::Builder::new().name("inner".into()).spawn(binds).unwrap().join().unwrap()
    });
    assert!(nested.join().unwrap());
    // Borrows, and hands on panics.
    let mut count = 0;
    a.run(|| count += 1);
    assert_eq!(count, 1);
    let panic = catch_unwind(AssertUnwindSafe(|| a.run(|| panic!("as it should")))).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"as it should"));
    Ok(())
}

#[test]
fn nothing_is_left_of_a_lab() -> Outcome {
    isolated!();
    let before = (process::threads(), process::descriptors());
    {
        let lab = Lab::new()?;
        let network = lab.build(Topology::Ring(5))?;
        network.links[0].set_impairment(Duration::from_millis(1), 0.0)?;
        eventually(SOON, "the link has its thread", || {
            process::thread_names().iter().any(|name| name == "lab-wire")
        });
        assert!(process::resident_kib() > 0);
    }
    eventually(SOON, "threads and descriptors are as before", || {
        (process::threads(), process::descriptors()) == before
    });
    Ok(())
}

#[test]
fn a_lab_needs_an_isolated_process() {
    assert!(matches!(Lab::new(), Err(LabError::NotIsolated)));
}
