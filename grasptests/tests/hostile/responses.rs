//! Responses that are asked for in the name of others. `closing` has those whose asker takes them.

use std::net::{Ipv6Addr, SocketAddrV6, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use grasp::{Config, Rate};
use grasptests::isolated;
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, RawUdp};

use crate::scene::{Scene, neg_of};

/// Takes connections and ends them, until it is over. Returns how many.
fn take_all(listener: &TcpListener, over: &AtomicBool) -> usize {
    listener.set_nonblocking(true).unwrap();
    let mut taken = 0;
    while !over.load(Ordering::Relaxed) {
        match listener.accept().map(|(stream, _): (TcpStream, _)| drop(stream)) {
            Ok(()) => taken += 1,
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    taken
}

/// Questions in the name of a bystander make this node connect to it. It does so no more often than the rate for one asker
/// allows.
#[test]
fn questions_in_the_name_of_a_bystander_trouble_it_no_more_than_the_rate_allows() {
    isolated!();
    let rate = Rate::new(5, 20);
    let scene = Scene::new(Config::new().asker_response_rate(rate));
    let name = neg_of(&scene.victim);
    let session = AtomicU32::new(0);
    scene.survives(|scene| {
        let bystander = scene.link.link_local(&scene.friend.node);
        let ifi = scene.friend.node.interface_index("eth0").unwrap();
        let bound = || TcpListener::bind(SocketAddrV6::new(bystander, 0, 0, ifi)).unwrap();
        let listener = scene.friend.node.run(bound);
        let port = listener.local_addr().unwrap().port();
        let socket = RawUdp::open(&scene.attacker, "eth0", Ipv6Addr::UNSPECIFIED, port).unwrap();
        socket.allow_spoofing().unwrap();
        let (started, over) = (Instant::now(), AtomicBool::new(false));
        let growth = scene.counted(|| {});
        let taken = std::thread::scope(|scope| {
            let taking = scope.spawn(|| take_all(&listener, &over));
            for _ in 0..500 {
                let session = session.fetch_add(1, Ordering::Relaxed);
                let asked = cbor!([1, session, (bystander.octets().to_vec()), [(name.as_str()), 1, 1, ()]]);
                socket.send_as(bystander, &asked.encode(), ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
            growth.is("received", |s| s.discoveries_received, 500);
            over.store(true, Ordering::Relaxed);
            taking.join().unwrap()
        });
        let seconds = usize::try_from(started.elapsed().as_secs()).unwrap() + 1;
        let allowed = 20 + 5 * seconds;
        assert!(taken <= allowed, "{taken} of {allowed}");
        growth.at_least("over the rate", |s| s.dropped_response_rate + s.dropped_asker_limit, 500 - allowed);
        assert!(growth.of(|s| s.dropped_response_rate) > 0);
    });
}
