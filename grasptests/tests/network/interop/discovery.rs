//! Discovery of each by the other.

use std::time::{Duration, Instant};

use grasp::Locator;

use crate::interop::needs_graspy;
use crate::interop::pair::Pair;
use crate::interop::side::{How, negotiable, synchronizable};

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn each_finds_what_the_other_offers_and_nothing_else() {
    needs_graspy!(120);
    let pair = Pair::start();
    assert_eq!(pair.graspy.address(), pair.graspy_node.ula());
    pair.both("discovery", |asker, answerer, name| {
        let offered = synchronizable(name, 1);
        answerer.register(&offered, How { discoverable: true, ttl: Some(60_000), ..How::default() });
        let found = asker.find(&offered);
        assert_eq!(found.locator, pair.node(answerer).ula().map(Locator::Ipv6));
        assert!(found.port.is_some_and(|port| port > 1024) && !found.diverted);
        let life = found.expire.saturating_sub(grasp::monotonic_ms());
        assert!((20_000..=60_000).contains(&life), "{life} ms are left of a minute");
        assert_eq!(found.ifi, Some(pair.node(asker).interface_index("eth0").unwrap()));
        // From the cache, and afresh.
        assert_eq!(asker.discover(&offered, 0, false)[0].port, found.port);
        assert_eq!(asker.discover(&offered, 0, true)[0].port, found.port);
    });
    pair.both("nobody offers it", |asker, _, name| {
        let started = Instant::now();
        assert_eq!(asker.discover(&synchronizable(name, 1), 1000, false), []);
        assert!(started.elapsed() >= Duration::from_millis(990));
    });
    pair.both("nobody listens to it", |asker, answerer, name| {
        answerer.register(&negotiable(name, 1), How::default());
        asker.register(&negotiable(name, 1), How::default());
        assert_eq!(asker.discover(&negotiable(name, 1), 0, false), []);
    });
    pair.both("for the link only", |asker, answerer, name| {
        let offered = synchronizable(name, 1);
        answerer.register(&offered, How { local: true, ..How::default() });
        answerer.serve(&offered);
        let found = asker.find(&offered);
        assert_eq!(found.locator, pair.node(answerer).link_local("eth0").ok().map(Locator::Ipv6));
        assert_eq!(found.ifi, Some(pair.node(asker).interface_index("eth0").unwrap()));
        // It works, with the interface as the zone.
        assert_eq!(
            asker.synchronize(&offered, Some(&found), crate::interop::TIMEOUT).unwrap().value,
            1.into()
        );
    });
}
