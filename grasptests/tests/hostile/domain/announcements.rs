//! Announcements in the names of others: datagrams are not authenticated.

use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use grasptests::isolated;
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, Node, RawUdp, eventually};

use super::{Domain, announcement, announcement_by, announcement_for, intruder, kernel_file, neighbours};
use crate::scene::{LATER, Scene, nobody};

/// How often each member tries one address: at once, and then a second.
const AT_ONCE: u64 = 4;
/// How many attempts to connect are in progress on one link.
const OPENINGS: usize = 16;

/// A socket that says everything in anybody's name.
fn forger(node: &Node) -> RawUdp {
    let socket = RawUdp::open(node, "eth0", Ipv6Addr::UNSPECIFIED, 0).unwrap();
    socket.allow_spoofing().unwrap();
    socket
}

/// Announces to the group, in the name of the source. Queues may be full.
fn announce(socket: &RawUdp, source: Ipv6Addr, bytes: &[u8]) {
    let _ = socket.send_as(source, bytes, ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT);
}

/// How many connections were tried with a node, with ports that are open or not.
fn tried(node: &Node) -> u64 {
    let table = kernel_file(node, "net/snmp");
    let mut lines = table.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, numbers) = (lines.next().unwrap(), lines.next().unwrap());
    let fields = names.split_whitespace().zip(numbers.split_whitespace());
    let wanted = fields.filter(|(name, _)| ["PassiveOpens", "OutRsts"].contains(name));
    wanted.map(|(_, number)| number.parse::<u64>().unwrap()).sum()
}

#[test]
fn an_announcement_that_leads_elsewhere_than_to_its_sender_leads_nowhere() {
    isolated!();
    let domain = Domain::new();
    let third = domain.scene._lab.node("third").unwrap();
    domain.scene.link.attach(&third).unwrap();
    let (own, victim) = (domain.attacker(), domain.scene.link.link_local(&third));
    let port = intruder::listen(&third, victim).local_addr().unwrap().port();
    let socket = forger(&domain.scene.attacker);
    let wrong = [
        announcement_by("GRASP-TLS", own, victim, port),
        announcement_by("GRASP-TLS", victim, victim, port),
        announcement_by("GRASP-TLS", victim, own, port),
        announcement_by("GRASP-TCP", own, own, port),
        announcement_by("IKEv2", own, own, port),
        announcement_by("GRASP-TLS", own, own, 0),
    ];
    domain.survives(|domain| {
        let before = tried(&third);
        let growth = domain.scene.counted(|| {
            for _ in 0..20 {
                wrong.iter().for_each(|bytes| announce(&socket, own, bytes));
            }
        });
        growth.is("none is one", |s| s.dropped_not_announced, 20 * wrong.len());
        assert_eq!(tried(&third), before);
    });
}

/// As after a link that was cut: whoever has not answered at all does not wait like one that refuses.
#[test]
fn who_was_silent_is_tried_at_once_when_it_announces_itself_again() {
    isolated!(120);
    const PORT: u16 = 4711;
    let domain = Domain::new();
    let Scene { attacker, victim, .. } = &domain.scene;
    let (silent, socket) = (nobody(1), forger(attacker));
    let failed = victim.engine.stats().connections_failed;
    let began = Instant::now();
    announce(&socket, silent, &announcement(silent, PORT));
    eventually(LATER, "the attempt has failed", || victim.engine.stats().connections_failed > failed);
    attacker.add_address("eth0", silent, 64).unwrap();
    let scope = attacker.interface_index("eth0").unwrap();
    let at = std::net::SocketAddrV6::new(silent, PORT, 0, scope);
    let listener = attacker.run(|| std::net::TcpListener::bind(at)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let victims = domain.scene.link.link_local(&victim.node);
    eventually(LATER, "the victim connects", || {
        announce(&socket, silent, &announcement(silent, PORT));
        std::thread::sleep(Duration::from_millis(50));
        listener.accept().is_ok_and(|(_, peer)| peer.ip() == victims)
    });
    // One that had refused would have been tried ten seconds after the last time.
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
}

/// In a third party's name by forged source addresses: the third party is tried with, as often as any one address at most, whatever
/// ports it is to have.
#[test]
fn a_third_party_is_tried_no_more_often_than_any_one_address() {
    isolated!(120);
    let domain = Domain::new();
    let third = domain.scene._lab.node("third").unwrap();
    domain.scene.link.attach(&third).unwrap();
    let address = domain.scene.link.link_local(&third);
    let listener = intruder::listen(&third, address);
    let open = listener.local_addr().unwrap().port();
    let socket = forger(&domain.scene.attacker);
    domain.survives(|_| {
        let (before, began) = (tried(&third), Instant::now());
        for number in 0..4000_u16 {
            let port = if number % 2 == 0 { open } else { 2000 + number };
            announce(&socket, address, &announcement(address, port));
            std::thread::sleep(Duration::from_millis(1));
        }
        // What has begun ends: nobody answers at the open port.
        std::thread::sleep(Duration::from_secs(1));
        let (count, seconds) = (tried(&third) - before, began.elapsed().as_secs() + 1);
        eprintln!("{count} attempts in {seconds} s");
        // Two members are on the link.
        assert!(count > 0 && count <= 2 * (AT_ONCE + seconds), "{count} in {seconds} s");
    });
}

/// Thousands of neighbours that do not exist, and beside them one that leaves and comes back.
#[test]
fn invented_neighbours_take_few_threads_and_keep_no_member_away() {
    isolated!(240);
    let domain = Domain::new();
    let Scene { attacker, friend, victim, .. } = &domain.scene;
    let socket = forger(attacker);
    let threads = victim.engine.thread_count();
    domain.survives(|_| {
        let is_over = AtomicBool::new(false);
        let mut most = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                until(&is_over, |number| {
                    let address = nobody(number % 8000);
                    // Long enough to be tried, and not much longer than the attack.
                    let briefly = announcement_for(5000, "GRASP-TLS", address, (address, 7));
                    announce(&socket, address, &briefly);
                    std::thread::sleep(Duration::from_micros(300));
                });
            });
            let until = Instant::now() + Duration::from_secs(2);
            while Instant::now() < until {
                most = most.max(victim.engine.thread_count());
                std::thread::sleep(Duration::from_millis(10));
            }
            returns(friend, || most = most.max(victim.engine.thread_count()));
            is_over.store(true, Ordering::Relaxed);
        });
        assert!(most > threads && most <= threads + OPENINGS + 8, "{most} threads instead of {threads}");
    });
}

/// Ports that a member does not have, in its name, and meanwhile the member leaves and comes back.
#[test]
fn announcements_in_a_members_name_do_not_keep_it_away() {
    isolated!(240);
    let domain = Domain::new();
    let Scene { attacker, friend, victim, link, .. } = &domain.scene;
    let socket = forger(attacker);
    let both = [link.link_local(&friend.node), link.link_local(&victim.node)];
    domain.survives(|_| {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                until(&is_over, |number| {
                    let port = u16::try_from(number % 1000).unwrap() + 1;
                    both.iter().for_each(|one| announce(&socket, *one, &announcement(*one, port)));
                    std::thread::sleep(Duration::from_millis(1));
                });
            });
            std::thread::sleep(Duration::from_secs(1));
            returns(friend, || {});
            is_over.store(true, Ordering::Relaxed);
        });
    });
}

/// Does something again and again, until it is over or the test has failed.
fn until(is_over: &AtomicBool, mut body: impl FnMut(u32)) {
    let latest = Instant::now() + 3 * LATER;
    for number in 0.. {
        if is_over.load(Ordering::Relaxed) || Instant::now() > latest {
            return;
        }
        body(number);
    }
}

/// Its interface goes down and up again.
fn returns(friend: &grasptests::nodes::Host, mut meanwhile: impl FnMut()) {
    friend.node.set_up("eth0", false).unwrap();
    eventually(LATER, "it has lost its neighbour", || neighbours(friend) == 0);
    friend.node.set_up("eth0", true).unwrap();
    eventually(LATER, "and has it again", || {
        meanwhile();
        neighbours(friend) == 1
    });
}
