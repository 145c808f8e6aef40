//! Tests of what the calls decide by themselves.

use std::net::Ipv6Addr;

use super::*;
use crate::types::Protocol;

#[test]
fn a_message_may_be_as_large_as_the_limit() {
    assert!(too_large(2048, 2048).is_ok());
    assert_eq!(too_large(2049, 2048), Err(Error::TooLarge { size: 2049, limit: 2048 }));
}

#[test]
fn a_name_that_was_answered_leads_to_no_address_of_this_machine_except_its_own() {
    let far: IpAddr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into();
    let here: IpAddr = Ipv6Addr::LOCALHOST.into();
    let named = |name: &str, address| may_be_named(&AsaLocator::fqdn(name, Protocol::Tcp, 1), address);
    assert!(named("peer.example", far) && !named("peer.example", here));
    assert!(named("localhost", here) && named("localhost.", here) && !named("localhost.example", here));
    assert!(may_be_named(&AsaLocator::new(Ipv6Addr::LOCALHOST, None), here));
}

#[test]
fn a_typed_objective_is_made_from_one_without_its_value() {
    let objective = Objective { synch: true, value: 7.into(), ..Objective::new("EX1") };
    let typed = TypedObjective::<i64>::from(objective.clone());
    assert_eq!(*typed.objective(), Objective { value: crate::types::Value::Null, ..objective });
}
