//! The locators of this node, and how many of them fit into a message.

use super::*;
use crate::node::discovery::{all_locators, local_locators, that_fit};
use crate::registry::Offering;

fn offering(node: &Fixture, locators: Vec<AsaLocator>) -> Offering {
    node.register("EX1", |registration| registration.locators = locators);
    node.registries.objectives.offering("EX1").unwrap()
}

#[test]
fn asas_of_one_engine_find_each_other_at_one_address_or_at_all_that_were_registered() {
    let node = Fixture::new(Config::new());
    let own = offering(&node, Vec::new());
    let places = |addresses: &Addresses, offering: &Offering| -> Vec<_> {
        let found = local_locators(addresses, offering);
        found.into_iter().map(|one| (one.locator, one.port)).collect()
    };
    let of = |address: Ipv6Addr, port| (AsaLocator::new(address, None).locator, Some(port));
    let both = Addresses { links: addresses(&[2]).links, ..addresses(&[2]) };
    assert_eq!(places(&both, &own), [of(both.global.unwrap(), 4711)]);
    assert_eq!(places(&Addresses::default(), &own), [of(Ipv6Addr::LOCALHOST, 4711)]);
    let registered = Fixture::new(Config::new());
    let two = offering(&registered, vec![global(7, 2), global(8, 2)]);
    assert_eq!(places(&both, &two).len(), 2);
    assert_eq!(all_locators(&both, &two), [global(7, 2), global(8, 2)]);
    let all: Vec<_> = all_locators(&both, &own).into_iter().map(|one| (one.locator, one.port)).collect();
    assert_eq!(all, [of(both.global.unwrap(), 4711), of(both.links[0].address, 4711)]);
}

#[test]
fn only_a_name_of_more_than_255_bytes_goes_last() {
    let name = |length: usize| AsaLocator::fqdn(&"x".repeat(length), Protocol::Tcp, 1);
    let order = |length| {
        let wire = [name(length), global(5, 2)].iter().filter_map(WireLocator::from_locator).collect();
        that_fit(wire).into_iter().map(|one| one.locator.memory()).collect::<Vec<_>>()
    };
    let address = order(1)[1];
    assert_eq!(order(255), [255, address]);
    assert_eq!(order(256), [address, 256]);
}
