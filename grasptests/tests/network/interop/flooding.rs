//! Floods of each in the cache of the other.

use std::ops::RangeInclusive;

use grasp::{AsaLocator, Config, Locator, Protocol, TaggedObjective, Value, monotonic_ms};
use grasptests::lab::{Lab, eventually};

use crate::interop::SOON;
use crate::interop::graspy::Graspy;
use crate::interop::needs_graspy;
use crate::interop::ours::Ours;
use crate::interop::pair::Pair;
use crate::interop::side::{How, Side, synchronizable};

/// The lifetime in milliseconds that a side may still see of a flood with this one, if it has just come: `None` if it
/// stays for ever. Our engine keeps nothing for ever that another node has flooded.
fn left(receiver: &dyn Side, ttl: u32) -> Option<RangeInclusive<u64>> {
    let ttl = match ttl {
        0 if receiver.is_graspy() => return None,
        0 => Config::new().caches().learned_ttl_limit(),
        ttl => ttl,
    };
    let ttl = u64::from(ttl);
    Some(ttl - 40_000..=ttl)
}

/// The lifetime in milliseconds that is left of an entry; `None` if it stays for ever.
fn life(tagged: &TaggedObjective) -> Option<u64> {
    (tagged.source.expire != 0).then(|| tagged.source.expire.saturating_sub(monotonic_ms()))
}

/// Waits until what is flooded of an objective is in a side's cache.
#[track_caller]
pub(crate) fn arrived(side: &dyn Side, name: &str, count: usize) -> Vec<TaggedObjective> {
    let mut found = Vec::new();
    eventually(SOON, "the flood arrives", || {
        found = side.flooded(&synchronizable(name, ()));
        found.len() == count
    });
    found
}

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn flooded_objectives_arrive_with_their_tags_and_lives() {
    needs_graspy!(120);
    let pair = Pair::start();
    pair.both("flood", |receiver, sender, name| {
        let tags = [
            AsaLocator::null(),
            AsaLocator::new("fd00:77::1".parse::<std::net::Ipv6Addr>().unwrap(), None).with_port(4711),
            AsaLocator::fqdn("пример.example", Protocol::Udp, 53),
            AsaLocator {
                protocol: Some(Protocol::Tcp),
                port: Some(443),
                ..AsaLocator::uri("https://example/")
            },
        ];
        let values =
            [Value::from("нуль"), 6.into(), Value::from(vec![Value::from(1.5), Value::Null]), Value::Null];
        let tagged: Vec<_> = tags
            .iter()
            .zip(&values)
            .enumerate()
            .map(|(number, (tag, value))| {
                let mut objective = synchronizable(&format!("{name} {number}"), value.clone());
                objective.loop_count = 3 + u8::try_from(number).unwrap();
                sender.register(&objective, How::default());
                TaggedObjective::new(objective, Some(tag.clone()))
            })
            .collect();
        let ifi = pair.node(receiver).interface_index("eth0").ok();
        for ttl in [0, 90_000] {
            sender.flood(ttl, &tagged);
            for sent in &tagged {
                let mut got = arrived(receiver, &sent.objective.name, 1);
                eventually(SOON, "the life is the new one", || {
                    got = receiver.flooded(&sent.objective);
                    match (left(receiver, ttl), life(&got[0])) {
                        (Some(left), Some(life)) => left.contains(&life),
                        (left, life) => left.is_none() && life.is_none(),
                    }
                });
                let got = &got[0];
                assert_eq!(got.objective, sent.objective);
                let (tag, kept) = (&sent.source, &got.source);
                assert_eq!((&kept.locator, kept.protocol, kept.port), (&tag.locator, tag.protocol, tag.port));
                assert_eq!(kept.ifi, ifi.filter(|_| !(receiver.is_graspy() && tag.locator.is_none())));
            }
        }
        // The first one that has arrived is a value to synchronize with.
        assert_eq!(receiver.synchronize(&tagged[1].objective, None, 100).unwrap().value, Value::from(6));
    });
    pair.both("embedded and expiring", |receiver, sender, name| {
        let embedded = Value::EncodedCbor(Value::from(vec![Value::from(1), "два".into()]).encode());
        let tagged = TaggedObjective::new(synchronizable(name, embedded.clone()), None);
        sender.register(&tagged.objective, How::default());
        sender.flood(3000, std::slice::from_ref(&tagged));
        assert_eq!(arrived(receiver, name, 1)[0].objective.value, receiver.seen(&embedded));
        arrived(receiver, name, 0);
    });
    pair.both("for the link only", |receiver, sender, name| {
        let unspecified = AsaLocator::new(std::net::Ipv6Addr::UNSPECIFIED, None).with_port(1234);
        let tagged = TaggedObjective::new(synchronizable(name, 1), Some(unspecified));
        sender.register(&tagged.objective, How::default());
        sender.flood(0, std::slice::from_ref(&tagged));
        let got = arrived(receiver, name, 1).swap_remove(0);
        assert_eq!(got.source.locator, pair.node(sender).link_local("eth0").ok().map(Locator::Ipv6));
        assert_eq!((got.objective.loop_count, got.source.port), (1, Some(1234)));
    });
}

/// graspy's Configger looks once, four seconds after the start: the flood has to be there by then.
#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn the_configuration_objective_is_taken_by_both() {
    needs_graspy!(120);
    let lab = Lab::new().unwrap();
    let (near, far) = (lab.node("ours").unwrap(), lab.node("graspys").unwrap());
    lab.link(&near, &far).unwrap();
    let ours = Ours::start(&near);
    let configuration = |multicast: i64, unicast: i64| {
        let pairs = [(1, 15), (2, 1), (3, multicast), (4, unicast)];
        let pairs = pairs.map(|(key, value): (i64, i64)| (key.into(), value.into()));
        let mut objective = synchronizable("GraspConfig", Value::Map(pairs.into()));
        objective.loop_count = 15;
        TaggedObjective::new(objective, None)
    };
    let (asked, theirs) = (configuration(4000, 5000), configuration(2048, 2048));
    ours.register(&asked.objective, How::default());
    let graspy = Graspy::launch(&far, false);
    eventually(SOON, "Configger has taken the sizes", || {
        ours.flood(120_000, std::slice::from_ref(&asked));
        std::thread::sleep(std::time::Duration::from_millis(200));
        graspy.sizes() == (Some(4000), Some(5000))
    });
    graspy.ready();
    graspy.register(&theirs.objective, How::default());
    // Nobody replaces a value that our node has flooded itself: with the same tag, graspy's is refused.
    graspy.flood(120_000, std::slice::from_ref(&theirs));
    eventually(SOON, "the value without a tag is refused", || ours.engine.stats().flood_entries_refused > 0);
    let values = || -> Vec<_> {
        ours.flooded(&theirs.objective).into_iter().map(|tagged| tagged.objective.value).collect()
    };
    assert_eq!(values(), std::slice::from_ref(&asked.objective.value));
    assert_eq!(ours.engine.message_sizes(), (5000, 4000));
    let address = graspy.address().expect("graspy has an address");
    let tagged =
        TaggedObjective::new(theirs.objective.clone(), Some(AsaLocator::new(address, None).with_port(0)));
    graspy.flood(120_000, std::slice::from_ref(&tagged));
    eventually(SOON, "ours follows graspy's", || ours.engine.message_sizes() == (2048, 2048));
    assert_eq!(values(), [asked.objective.value, theirs.objective.value]);
}
