//! Storms inside the border of a QUADS domain, from someone without its key. `tests/acp.rs` has every cut and flip
//! of one ciphertext.

use std::io::Write as _;

use grasp::{Acp, Config, QuadsKeys};
use grasptests::isolated;
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT};

use crate::scene::{Scene, dial};

#[test]
fn a_storm_of_what_does_not_open_does_not_disturb_the_domain() {
    isolated!();
    let config = || Config::new().acp(Acp::Quads(QuadsKeys::from_password("secret").expect("keys")));
    let short = std::time::Duration::from_millis(700);
    let scene = Scene::with(config().request_deadline(short), config());
    let other = QuadsKeys::from_password("other").expect("keys");
    // In the clear, of another domain, whole blocks of noise, no whole blocks.
    let message = cbor!([9, 7, (vec![0; 16]), 0, [["flood:nobody", 5, 1, 1], []]]).encode();
    let storm =
        [message.clone(), other.seal(&message), vec![0x5a; 1024], vec![0x5a; 1021], vec![0x5a; 2048], vec![]];
    scene.survives(|scene| {
        let socket = scene.at_link_local();
        let growth = scene.counted(|| {});
        for sent in 1..=4000 {
            socket.send(&storm[sent % storm.len()], ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
            if sent % 50 == 0 {
                growth.at_least("received", |s| s.multicast_received, sent);
            }
        }
        growth.is("does not open", |s| s.dropped_undecryptable + s.dropped_malformed, 4000);
        growth.at_least("most has no message inside", |s| s.dropped_undecryptable, 2000);
        assert_eq!(growth.of(|s| s.flood_entries_cached), 0);
        let ports = scene.ports();
        let growth = scene.counted(|| {
            scene.attacker.run(|| {
                let mut open = Vec::new();
                for number in 0..300 {
                    let mut stream = dial(ports[number % 3]);
                    let piece = &storm[number % storm.len()];
                    // It may be closed before all is written. Longer than any message, until it is.
                    while open.len() % 7 == 0 && !piece.is_empty() && stream.write_all(piece).is_ok() {}
                    let _ = stream.write_all(piece);
                    open.push(stream);
                }
            });
        });
        growth.is("broken", |s| s.dropped_bad_request + s.dropped_misplaced, 300);
    });
}
