//! What this node sends of its own: floods (RFC 8990 §2.8.11) and discoveries (§2.8.4).

use super::*;
use crate::node::outgoing::discovery_datagram;

#[test]
fn a_flood_is_for_the_links_only_if_its_first_tag_says_so() {
    let node = Fixture::new(Config::new());
    let objective = Objective { synch: true, loop_count: 6, ..Objective::new("F0") };
    let counts = |address| {
        let tagged =
            TaggedObjective::new(objective.clone(), Some(AsaLocator::new(address, None).with_port(7)));
        let bytes = node.plan_flood(&[tagged], 0, 1000).unwrap().datagram(None);
        let Body::Flood(flood) = decode(&bytes, &Limits::default()).unwrap().body else {
            panic!("{bytes:?}")
        };
        flood.objectives[0].0.loop_count
    };
    assert_eq!((counts(Ipv6Addr::UNSPECIFIED), counts(Ipv6Addr::LOCALHOST)), (1, 6));
}

#[test]
fn an_own_flood_for_the_links_is_cached_with_the_address_of_the_first() {
    let node = Fixture::new(Config::new());
    let source = AsaLocator::new(Ipv6Addr::UNSPECIFIED, None).with_port(7);
    let tagged = TaggedObjective::new(Objective { synch: true, ..Objective::new("F0") }, Some(source));
    node.plan_flood(&[tagged], 0, 1000).unwrap().begin(0);
    let cached = node.registries.floods.lookup("F0", 0);
    let expected = AsaLocator::new(node.addresses().links[0].address, Some(2)).with_port(7);
    assert_eq!(cached[0].source, expected);
}

#[test]
fn a_discovery_goes_without_its_value_where_there_is_no_room_for_it() {
    let objective = Objective { value: Value::Text("x".repeat(500)), ..Objective::new("EX1") };
    let id = SessionId { session: 7, initiator: INITIATOR };
    let value = |limit| {
        let bytes = discovery_datagram(id, &objective, limit)?;
        let Body::Discovery { objective, .. } = decode(&bytes, &Limits::default()).unwrap().body else {
            panic!()
        };
        Some(objective.value)
    };
    assert_eq!(value(1000), Some(Some(objective.value.clone())));
    assert_eq!((value(100), value(10)), (Some(None), None));
}

#[test]
fn a_flood_goes_no_further_than_the_address_of_its_node_reaches() {
    let tagged = TaggedObjective::new(
        Objective { synch: true, loop_count: 6, ..Objective::new("F0") },
        Some(AsaLocator::new(Ipv6Addr::LOCALHOST, None).with_port(7)),
    );
    let far = |config: Config, addresses: Addresses| {
        let node = Fixture::new(config);
        node.registries.links.set(&Arc::new(addresses));
        let bytes = node.plan_flood(std::slice::from_ref(&tagged), 0, 1000).unwrap().datagram(Some(PEER));
        let Body::Flood(flood) = decode(&bytes, &Limits::default()).unwrap().body else { panic!() };
        let source = flood.objectives[0].1.as_ref().unwrap();
        assert_eq!(Some(source), WireLocator::from_locator(&tagged.source).as_ref(), "not ::, so it stays");
        flood.objectives[0].0.loop_count
    };
    assert_eq!(far(Config::new(), addresses(&[2])), 6);
    assert_eq!(far(Config::new(), Addresses { global: None, ..addresses(&[2]) }), 1);
    assert_eq!(far(Config::new().dull(true), addresses(&[2])), 1);
}

#[test]
fn a_flood_may_be_as_large_as_the_limit_and_lives_here_as_long_as_elsewhere() {
    let node = Fixture::new(Config::new());
    let tagged = [TaggedObjective::new(Objective { synch: true, ..Objective::new("F0") }, None)];
    let size = node.plan_flood(&tagged, 0, usize::MAX).unwrap().datagram(None).len();
    assert!(node.plan_flood(&tagged, 0, size).is_ok());
    assert!(matches!(node.plan_flood(&tagged, 0, size - 1), Err(Error::TooLarge { .. })));
    for (ttl, expire) in [(0, 0), (500, 600)] {
        node.plan_flood(&tagged, ttl, 1000).unwrap().begin(100);
        assert_eq!(node.registries.floods.list()[0].source.expire, expire);
    }
}
