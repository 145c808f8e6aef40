//! A ring of five nodes, ours and graspy's in turn, in which everyone asks for what is two hops away, again and again. Each question
//! comes to its answerer on two ways, and each relay hears it from two sides.

use std::time::{Duration, Instant};

use grasptests::lab::{Lab, Topology};

use crate::interop::graspy::Graspy;
use crate::interop::needs_graspy;
use crate::interop::ours::Ours;
use crate::interop::side::{How, Side, synchronizable};

/// How long it is asked, in minutes.
const MINUTES: &str = "GRASP_RING_MINUTES";

/// Who asks whom, by the number of their nodes.
const PAIRS: [(usize, usize); 4] = [(0, 2), (0, 3), (1, 3), (4, 2)];

/// Long enough for ours to ask again, which the first question through a relay of graspy needs; in milliseconds.
const LONG: u32 = 3000;

fn minutes() -> u64 {
    std::env::var(MINUTES).map_or(1, |text| text.parse().expect("a whole number of minutes"))
}

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn no_discovery_in_a_mixed_ring_comes_back_empty() {
    needs_graspy!(120 + 60 * minutes());
    let lab = Lab::new().unwrap();
    let nodes = lab.build(Topology::Ring(5)).unwrap().nodes;
    let graspys = [1, 3].map(|index: usize| Graspy::launch(&nodes[index], false));
    let ours = [0, 2, 4].map(|index: usize| Ours::start(&nodes[index]));
    graspys.iter().for_each(Graspy::ready);
    let side =
        |index: usize| -> &dyn Side { if index % 2 == 1 { &graspys[index / 2] } else { &ours[index / 2] } };
    let objective = |index: usize| synchronizable(&format!("at {index}"), index as u64);
    // Short lives: what relays have cached expires again and again.
    for index in [2, 3] {
        side(index).register(&objective(index), How { ttl: Some(20_000), ..How::default() });
        side(index).serve(&objective(index));
    }
    let end = Instant::now() + Duration::from_secs(60 * minutes());
    // All at the same time, as in a network.
    let ask = &|(asker, answerer): (usize, usize)| {
        let (mut asked, mut empty, mut longest) = (0, Vec::new(), Duration::ZERO);
        while Instant::now() < end {
            let started = Instant::now();
            if side(asker).discover(&objective(answerer), LONG, true).is_empty() {
                println!("{asker} has not found what {answerer} has, question {asked}");
                empty.push(asked);
            }
            longest = longest.max(started.elapsed());
            asked += 1;
        }
        println!(
            "{asker} asked for what {answerer} has {asked} times, for {longest:?} at most; empty: {empty:?}"
        );
        empty.len()
    };
    let empty: usize = std::thread::scope(|scope| {
        let askers = PAIRS.map(|pair| scope.spawn(move || ask(pair)));
        askers.into_iter().map(|asker| asker.join().expect("it asks")).sum()
    });
    assert_eq!(empty, 0);
}
