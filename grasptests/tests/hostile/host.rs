//! What other processes of the host can do to its engines by way of the socket by which these know each other.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv6Addr, Shutdown, SocketAddrV6, TcpStream};
use std::os::fd::AsFd as _;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::faults::is_real_root;
use grasp::Config;
use grasp::wire::{self, Body, Flags, Message};
use grasptests::isolated;
use grasptests::lab::{GRASP_LISTEN_PORT, Lab, Node, RawUdp, eventually};
use grasptests::nodes::{Host, RawStream, SOON, discoverable, flagged, linked, negotiable};
use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::{Gid, Uid, setresgid, setresuid};
use socket2::{Domain, SockAddr, Socket, Type};

/// The name that the front holds.
const NAME: &str = "\0grasp-7017.1";
/// A member says that it does not relay, and has no interface.
const STATUS: &[u8] = &[4, 0, 0, 0];
/// A front says that the member does not relay, and that it hears nowhere.
const ROLE: &[u8] = &[1, 0, 0, 0];

fn socket(node: &Node) -> Socket {
    let socket = node.run(|| Socket::new(Domain::UNIX, Type::from(libc::SOCK_SEQPACKET), None));
    let socket = socket.expect("a socket");
    socket.set_read_timeout(Some(SOON)).expect("a timeout");
    socket
}

fn connected(node: &Node) -> Socket {
    let socket = socket(node);
    socket.connect(&SockAddr::unix(NAME).unwrap()).expect("there is a front");
    socket
}

/// Takes the name before any engine does.
fn holding(node: &Node) -> Socket {
    let socket = socket(node);
    socket.bind(&SockAddr::unix(NAME).unwrap()).expect("the name is free");
    socket.listen(8).expect("it listens");
    socket
}

/// Whether the other side has closed, after whatever it said.
fn is_closed(mut socket: &Socket) -> bool {
    let mut buffer = [0; 1 << 17];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return true,
            Err(_) => return false,
        }
    }
}

/// Two engines on one node, which answer questions of the other, one of them the front.
struct Scene {
    _lab: Lab,
    a: Node,
    b: Node,
    front: Host,
    member: Host,
}

impl Scene {
    fn new() -> Self {
        let (lab, _, a, b) = linked();
        let [front, member] = ["front", "member"].map(|name| offering(&a, name));
        Self { _lab: lab, a, b, front, member }
    }

    /// Both can be asked.
    fn works(&self) {
        for name in ["front", "member"] {
            assert!(is_found(&self.a, &self.b, name), "{name}");
        }
        for host in [&self.front, &self.member] {
            host.expect_quiet();
            assert_eq!(host.engine.stats().panics, 0);
        }
    }
}

fn offering(node: &Node, name: &str) -> Host {
    let host = Host::start(node, Config::new().watch_interval(Duration::from_millis(100)));
    host.register_with(&negotiable(name, 0), discoverable());
    host
}

fn discovery(node: &Node, name: &str) -> Vec<u8> {
    let initiator = node.link_local("eth0").unwrap().into();
    let objective = flagged(7, name, Flags::F_DISC, 1, ()).objective;
    wire::encode(&Message::new(Body::Discovery { session: 7, initiator, objective }))
}

/// Whether a question by TCP is answered.
fn is_found(a: &Node, b: &Node, name: &str) -> bool {
    let to: Ipv6Addr = a.ula().expect("an address");
    let mut stream = RawStream::connect(b, to, GRASP_LISTEN_PORT);
    stream.write(&discovery(b, name));
    stream.read().is_some()
}

#[test]
fn garbage_of_a_process_of_this_host_ends_its_connection_and_nothing_else() {
    isolated!();
    let scene = Scene::new();
    let garbage: [&[u8]; 7] = [
        &[0],
        &[9, 9],
        &[1, 1, 0, 0],
        &[4],
        &[4, 1, 255, 255],
        &[6, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[7; 70_000],
    ];
    for bytes in garbage {
        let mut other = connected(&scene.a);
        other.write_all(bytes).expect("it is sent");
        assert!(is_closed(&other), "{:?}", bytes.get(..10));
    }
    // As a member first.
    let mut other = connected(&scene.a);
    other.write_all(STATUS).expect("it is sent");
    assert!(other.read(&mut [0; 100]).expect("a role") > 3);
    // An answer to what nobody has asked is no harm.
    other.write_all(&[5, 0, 0, 0, 0, 0, 0, 0, 77, 1, 2]).expect("it is sent");
    assert!(is_found(&scene.a, &scene.b, "member"));
    other.write_all(&[3]).expect("it is sent");
    assert!(is_closed(&other));
    assert!(scene.front.engine.stats().members_refused >= 7);
    scene.works();
}

/// What a member answers is passed on where it is a message.
#[test]
fn nonsense_for_an_answer_is_not_passed_on_and_none_is_waited_for_no_longer_than_for_any_other() {
    isolated!();
    let scene = Scene::new();
    let mut other = connected(&scene.a);
    other.write_all(STATUS).expect("it is sent");
    let mut buffer = [0; 4096];
    assert!(other.read(&mut buffer).expect("a role") > 3);
    // A number: CBOR, and no message.
    let answering = std::thread::Builder::new().spawn(move || {
        loop {
            let length = other.read(&mut buffer).expect("a question");
            if buffer[0] == 3 {
                let answer = [&[5], &buffer[1..9], &[5]].concat();
                other.write_all(&answer).expect("it is sent");
                assert!(length > 20);
                return other;
            }
        }
    });
    assert!(!is_found(&scene.a, &scene.b, "nobody has it"));
    // It stays, and says nothing more.
    let _other = answering.unwrap().join().unwrap();
    let started = Instant::now();
    assert!(!is_found(&scene.a, &scene.b, "nobody has it"), "the connection is closed");
    let waited = started.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(6)).contains(&waited), "{waited:?}");
    assert!(is_found(&scene.a, &scene.b, "member"));
}

#[test]
fn a_member_that_does_not_read_is_not_waited_for_and_has_to_go() {
    isolated!();
    let scene = Scene::new();
    let mut idle = connected(&scene.a);
    idle.write_all(STATUS).expect("it is sent");
    let mut kept = [0; 100];
    assert!(idle.read(&mut kept).expect("a role") > 3);
    let neighbour = RawUdp::open(&scene.b, "eth0", scene.b.link_local("eth0").unwrap(), 0).unwrap();
    let to = scene.a.link_local("eth0").unwrap();
    let front = || scene.front.engine.stats();
    let received = || scene.member.engine.stats().unicast_datagram_received;
    // What has no room here is not missed there.
    eventually(SOON * 3, "it is gone", || {
        let before = received();
        (0..20).for_each(|_| neighbour.send(&[0xff; 1000], to, GRASP_LISTEN_PORT).expect("it is sent"));
        eventually(SOON, "the other member has them", || received() == before + 20);
        let mut gone = [PollFd::new(idle.as_fd(), PollFlags::empty())];
        poll(&mut gone, 0_u8).expect("it can look") > 0
    });
    assert!(front().dropped_handed_on > 0);
    assert!(is_closed(&idle));
    assert_eq!(scene.member.engine.stats().dropped_handed_on, 0);
    scene.works();
}

#[test]
fn a_front_that_says_nothing_or_nonsense_is_passed_over() {
    isolated!();
    let (_lab, _, a, b) = linked();
    let name = holding(&a);
    let started = Instant::now();
    let host = offering(&a, "alone");
    assert!(started.elapsed() < 2 * SOON, "{:?}", started.elapsed());
    // It hears by itself, as one that has no others.
    let neighbour = RawUdp::open(&b, "eth0", b.link_local("eth0").unwrap(), 0).unwrap();
    let to = a.link_local("eth0").unwrap();
    neighbour.send(&discovery(&b, "alone"), to, GRASP_LISTEN_PORT).expect("it is sent");
    eventually(SOON, "it hears", || host.engine.stats().discoveries_answered == 1);
    // It asks again and again: one says that it hears on no interface, and then what is no message.
    let deadline = Instant::now() + SOON;
    let (mut heard, mut buffer) = (0, [0; 4096]);
    while heard < 2 {
        assert!(Instant::now() < deadline, "it asks");
        let (mut asking, _) = name.accept().expect("it asks");
        // The first may have waited here for too long.
        let Ok(1..) = asking.read(&mut buffer) else { continue };
        if asking.write_all(ROLE).is_ok() && asking.write_all(&[77]).is_ok() {
            assert!(is_closed(&asking));
            heard += 1;
        }
    }
    drop(name);
    eventually(SOON, "it is the front", || is_open(&a, &b));
    assert!(is_found(&a, &b, "alone"));
    assert_eq!(host.engine.stats().panics, 0);
}

#[test]
fn fronts_that_end_at_once_are_joined_no_more_than_ten_times_in_a_row() {
    isolated!();
    let (_lab, _, a, b) = linked();
    let name = holding(&a);
    let (ended, listening) = (Arc::new(AtomicUsize::new(0)), name.try_clone().expect("another handle"));
    let counter = Arc::clone(&ended);
    let ending = std::thread::Builder::new().spawn(move || {
        while listening.accept().is_ok() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    let host = Host::start(&a, Config::new().watch_interval(Duration::from_secs(3600)));
    host.register_with(&negotiable("alone", 0), discoverable());
    let neighbour = RawUdp::open(&b, "eth0", b.link_local("eth0").unwrap(), 0).unwrap();
    let to = a.link_local("eth0").unwrap();
    neighbour.send(&discovery(&b, "alone"), to, GRASP_LISTEN_PORT).expect("it is sent");
    eventually(SOON, "it hears", || host.engine.stats().discoveries_answered == 1);
    // Once at the start, and once more for each change of its interfaces since.
    let (mut seen, mut since) = (0, Instant::now());
    eventually(SOON, "it is content with being alone", || {
        let now = ended.load(Ordering::SeqCst);
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(500)
    });
    assert!(seen > 0 && seen % 11 == 0 && seen <= 55, "{seen}");
    name.shutdown(Shutdown::Both).expect("it listens");
    ending.unwrap().join().unwrap();
}

#[test]
fn a_front_takes_up_no_more_members_than_there_are_places_for() {
    isolated!();
    let scene = Scene::new();
    let places: Vec<_> = (1..64).map(|_| connected(&scene.a)).collect();
    let one_more = connected(&scene.a);
    assert!(is_closed(&one_more));
    assert_eq!(scene.front.engine.stats().members_refused, 1);
    drop(places);
    scene.works();
}

#[test]
fn a_member_takes_nothing_from_its_front_for_an_interface_that_it_does_not_use_or_hears_itself() {
    isolated!();
    let (_lab, _, a, b) = linked();
    let mut name = holding(&a);
    let ifi = a.interface_index("eth0").unwrap();
    let source = b.link_local("eth0").unwrap();
    // It hears on this interface itself, as on all that the front does not.
    let handed_on = |ifi: u32| {
        let head = [&[2][..], &ifi.to_be_bytes(), &source.octets(), &50_000_u16.to_be_bytes()].concat();
        [head, discovery(&b, "member")].concat()
    };
    let hears = [&[1, 0][..], &1_u16.to_be_bytes(), &ifi.to_be_bytes()].concat();
    let starting = a.clone();
    let member = a.spawn("starts", move || offering(&starting, "member"));
    let (mut link, _) = name.accept().expect("it asks");
    let mut buffer = [0; 4096];
    assert!(link.read(&mut buffer).expect("it says what it is") > 0);
    link.write_all(&hears).expect("it is sent");
    let host = grasptests::nodes::joined(member);
    let received = || host.engine.stats().unicast_datagram_received;
    link.write_all(&handed_on(ifi + 99)).expect("it is sent");
    link.write_all(&handed_on(ifi)).expect("it is sent");
    eventually(SOON, "it takes what is for it", || received() == 1);
    link.write_all(ROLE).expect("it is sent");
    link.write_all(&handed_on(ifi)).expect("it is sent");
    link.write_all(&hears).expect("it is sent");
    link.write_all(&handed_on(ifi)).expect("it is sent");
    eventually(SOON, "it takes what is for it", || received() >= 2);
    assert_eq!(received(), 2);
    let _ = name.flush();
}

/// Another user's process, which is killed when this is dropped.
struct Other(Child);

impl Other {
    /// Starts it, and waits for what it says when it has done its part.
    fn user(node: &Node, part: &str) -> Self {
        let mut command = node.command(std::env::current_exe().expect("this program"));
        command.args(["host::acts_as_another_user", "--exact", "--ignored", "--nocapture"]);
        let mut other = Self(command.env(PART, part).stdout(Stdio::piped()).spawn().expect("it starts"));
        let (mut said, mut byte) = (Vec::new(), [0]);
        while !said.ends_with(DONE.as_bytes()) {
            let read = other.0.stdout.as_mut().expect("its output").read(&mut byte);
            assert_eq!(read.expect("it says something"), 1, "it has done its part");
            said.push(byte[0]);
        }
        other
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const PART: &str = "GRASPTESTS_PART";
const HOLD: &str = "hold the name";
const JOIN: &str = "join";
const DONE: &str = "the part is done";

#[test]
#[ignore = "a part of another test, which starts it as a process"]
fn acts_as_another_user() {
    let Ok(part) = std::env::var(PART) else { return };
    let (user, group) = (Uid::from_raw(64_017), Gid::from_raw(64_017));
    setresgid(group, group, group).expect("another group");
    setresuid(user, user, user).expect("another user");
    let mut socket = Socket::new(Domain::UNIX, Type::from(libc::SOCK_SEQPACKET), None).expect("a socket");
    let name = SockAddr::unix(NAME).unwrap();
    if part == JOIN {
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket.connect(&name).expect("there is a front");
        // It may be refused before it has said anything.
        let _ = socket.write_all(STATUS);
        assert!(is_closed(&socket));
        println!("\n{DONE}");
        return;
    }
    socket.bind(&name).expect("the name is free");
    socket.listen(8).expect("it listens");
    println!("\n{DONE}");
    let mut kept = Vec::new();
    while let Ok((mut one, _)) = socket.accept() {
        let _ = one.write_all(ROLE);
        kept.push(one);
    }
}

#[test]
fn what_another_users_process_holds_is_passed_over_and_it_is_refused_as_a_member() {
    isolated!();
    if !is_real_root() {
        println!("there is no other user in a user namespace");
        return;
    }
    let (_lab, _, a, b) = linked();
    let holder = Other::user(&a, HOLD);
    let host = offering(&a, "alone");
    let neighbour = RawUdp::open(&b, "eth0", b.link_local("eth0").unwrap(), 0).unwrap();
    neighbour.send(&discovery(&b, "alone"), a.link_local("eth0").unwrap(), GRASP_LISTEN_PORT).unwrap();
    eventually(SOON, "it hears by itself", || host.engine.stats().discoveries_answered == 1);
    drop(holder);
    eventually(SOON, "it is the front", || is_open(&a, &b));
    drop(Other::user(&a, JOIN));
    assert_eq!(host.engine.stats().members_refused, 1);
    assert!(is_found(&a, &b, "alone"));
}

/// Whether the port can be connected to.
fn is_open(a: &Node, b: &Node) -> bool {
    let to = SocketAddrV6::new(a.ula().expect("an address"), GRASP_LISTEN_PORT, 0, 0);
    b.run(|| TcpStream::connect(to)).is_ok()
}
