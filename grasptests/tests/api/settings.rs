//! Settings, as an engine that runs shows them.

use std::time::Duration;

use grasp::{Acp, Config, Engine, Rate};
use grasptests::lab::{Lab, eventually};
use grasptests::nodes::{Host, SOON, one};
use grasptests::{isolated, own_engine};

#[test]
fn every_group_shows_what_was_set() {
    let config = Config::new()
        .acp(Acp::Layer2)
        .dull_objectives(Some(vec!["AN_join".into()]))
        .interfaces(Some(vec!["eth0".into()]))
        .exclude_interfaces(vec!["eth1".into()])
        .connect_timeout(Duration::from_secs(1))
        .unicast_size(3000)
        .asa_limit(3)
        .flood_cache_limit(4)
        .flood_relay_rate(Rate::new(5, 6))
        .silent(true)
        .pcap(Some("x.pcapng".into()));
    assert!(matches!(config.role().acp(), Acp::Layer2));
    assert_eq!(config.role().dull_objectives(), Some(&["AN_join".to_owned()][..]));
    assert_eq!(config.links().interfaces(), Some(&["eth0".to_owned()][..]));
    assert_eq!(config.links().exclude_interfaces(), ["eth1"]);
    assert_eq!(config.times().connect_timeout(), Duration::from_secs(1));
    assert_eq!((config.sizes().unicast_size(), config.limits().asa_limit()), (3000, 3));
    assert_eq!(
        (config.caches().flood_cache_limit(), config.relaying().flood_relay_rate()),
        (4, Rate::new(5, 6))
    );
    assert!(config.output().silent() && config.output().pcap().is_some());
    assert_eq!(config.pcap(None).output().pcap(), None);
}

#[test]
fn what_no_engine_can_work_with_is_replaced_and_reported() {
    isolated!();
    own_engine!();
    let (_lab, host) = one(Config::new().multicast_size(usize::MAX).nesting(1000));
    let adjusted: Vec<_> = host.engine.adjusted().iter().map(ToString::to_string).collect();
    assert_eq!(adjusted.len(), 2, "{adjusted:?}");
    assert_eq!(host.engine.config().sizes().multicast_size(), 65_527);
    let dump = host.engine.dump(false);
    assert!(adjusted.iter().all(|line| dump.contains(line)), "{dump}");
    // It hears: a size without bounds made it deaf.
    host.register(&grasptests::nodes::synchronizable("EX1", ()));
}

#[test]
fn an_interface_that_does_not_exist_is_named_until_it_does() {
    isolated!();
    let lab = Lab::new().unwrap();
    let (a, b) = (lab.node("a").unwrap(), lab.node("b").unwrap());
    lab.link(&a, &b).unwrap();
    let config =
        Config::new().interfaces(Some(vec!["eth0".into(), "eth1".into(), "no-interface-has-this".into()]));
    let host = Host::start(&a, config);
    let missing = |engine: &Engine| host.node.run(|| engine.missing_interfaces());
    assert_eq!(missing(&host.engine), ["eth1", "no-interface-has-this"]);
    let dump = host.run(|engine, _| engine.dump(false));
    assert!(dump.contains("\neth1 is configured and does not exist\n"), "{dump}");
    lab.link(&a, &b).unwrap();
    eventually(SOON, "it is there", || missing(&host.engine) == ["no-interface-has-this"]);
}
