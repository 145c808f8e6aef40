//! The examples of the RFCs, as bytes where they have them, and what is wrong with objectives of others.

use std::net::Ipv6Addr;

use super::*;
use crate::types::{AsaLocator, TaggedObjective};
use crate::wire::{Body, Limits, decode};

/// What a message floods, as its receivers see it.
fn flooded(hex: &str) -> Vec<TaggedObjective> {
    let bytes: Value = format!("h'{hex}'").parse().unwrap();
    let message = decode(bytes.as_bytes().unwrap(), &Limits::default()).unwrap();
    let Body::Flood(flood) = message.body else { panic!("no flood") };
    flood
        .objectives
        .iter()
        .map(|(objective, locator)| {
            let source = locator.clone().map(|locator| locator.into_locator(Some(2), 0, false));
            TaggedObjective::new(objective.to_objective(), source)
        })
        .collect()
}

fn texts(findings: &[Finding]) -> Vec<Aspect> {
    findings.iter().map(|finding| finding.aspect).collect()
}

fn described(tagged: &TaggedObjective) -> String {
    let known = Known::of(&tagged.objective.name).unwrap();
    known.describe(&tagged.objective.value).unwrap()
}

/// RFC 8994 §6.4: two methods of one node in one message.
const ACP: &str = "86091a0293690450fe80000000000000c0011001feef00001a00033450828466414e5f414350040165494b457632\
    84186750fe80000000000000c0011001feef000011193a98828466414e5f41435004016444544c5384186750fe80000000000000c00\
    11001feef000011194268";
/// RFC 8994 §6.2.5.1.
const EST: &str = "85091a00bc4e4f50fd89b714f3db000020000006400000011a000334508284675352562e6573740418fff684186750fd89b7\
    14f3db00002000000640000001061901bb";
/// RFC 8995 §4.1.1.
const PROXY: &str = "85091a00bc4e5050fe80000000000000c0011001feef00001a0002bf20828468414e5f50726f787904016084186750fe80\
    000000000000c0011001feef00000619115b";
/// Of a node of another implementation: one hop only, and the flag that it can be discovered.
const OTHER: &str = "85091ad61785ad502607f0b0000f000200000000000005f71a0001d4c0828471414e5f6a6f696e5f7265676973747261720501\
    674553542d544c53841867502607f0b0000f000200000000000005f7061850";

#[test]
fn the_examples_of_the_rfcs_are_as_their_definitions_say() {
    for (hex, words) in
        [(ACP, &["method IKEv2", "method DTLS"][..]), (EST, &["service"]), (PROXY, &["join proxy"])]
    {
        let all = flooded(hex);
        assert_eq!(all.iter().map(described).collect::<Vec<_>>(), words);
        for tagged in &all {
            assert_eq!(check(tagged, Hops::None), [], "{tagged:?}");
            assert_eq!(check(tagged, Hops::Some), [], "{tagged:?}");
            // What a node of ours would flood is the same, but for the value and the locator.
            let own = Known::of(&tagged.objective.name).unwrap().objective(&tagged.objective.name);
            assert_eq!(Objective { value: tagged.objective.value.clone(), ..own }, tagged.objective);
        }
    }
}

#[test]
fn a_registrar_that_others_flood_wrongly_is_found_out() {
    let [other] = flooded(OTHER).try_into().unwrap();
    assert_eq!(described(&other), "registrar by EST-TLS");
    let findings = check(&other, Hops::Some);
    assert_eq!(texts(&findings), [Aspect::Flags, Aspect::LoopCount]);
    assert!(findings.iter().all(|finding| finding.severity == Severity::Odd));
    assert!(findings[1].text.contains("the loop count 1, and should have 255"), "{findings:?}");
    assert_eq!(check(&other, Hops::None)[1].severity, Severity::Wrong);
}

fn registrar(change: impl FnOnce(&mut TaggedObjective)) -> Vec<Aspect> {
    let address: Ipv6Addr = "fd89:b714:f3db::1".parse().unwrap();
    let objective = Known::JoinRegistrar.objective("").with_value(EST_TLS).unwrap();
    let mut tagged = TaggedObjective::new(objective, Some(AsaLocator::new(address, None).with_port(8443)));
    assert_eq!(check(&tagged, Hops::None), []);
    change(&mut tagged);
    let findings = check(&tagged, Hops::None);
    assert!(findings.iter().all(|finding| finding.text.contains("RFC 8995")), "{findings:?}");
    texts(&findings)
}

#[test]
fn each_rule_has_its_finding() {
    let link_local: Ipv6Addr = "fe80::1".parse().unwrap();
    assert_eq!(registrar(|it| it.objective.loop_count = 254), [Aspect::LoopCount]);
    assert_eq!(registrar(|it| it.objective.synch = false), [Aspect::Flags]);
    assert_eq!(registrar(|it| (it.objective.neg, it.objective.synch) = (true, false)), [Aspect::Flags]);
    assert_eq!(registrar(|it| it.objective.discoverable = true), [Aspect::Flags]);
    assert_eq!(registrar(|it| it.objective.value = Value::from(1)), [Aspect::Value]);
    assert_eq!(registrar(|it| it.source = AsaLocator::null()), [Aspect::Locator]);
    assert_eq!(registrar(|it| it.source.locator = Some(link_local.into())), [Aspect::Locator]);
    assert_eq!(registrar(|it| it.source.protocol = Some(Protocol::Other(132))), [Aspect::Protocol]);
    let mut proxy =
        TaggedObjective::new(Known::Proxy.objective(""), Some(AsaLocator::new(link_local, Some(1))));
    assert_eq!(check(&proxy, Hops::Some), []);
    proxy.objective.loop_count = 2;
    assert_eq!(texts(&check(&proxy, Hops::Some)), [Aspect::LoopCount]);
    let global: Ipv6Addr = "2001:db8::1".parse().unwrap();
    proxy.source.locator = Some(global.into());
    assert_eq!(texts(&check(&proxy, Hops::Some)), [Aspect::LoopCount, Aspect::Locator]);
}

#[test]
fn names_that_differ_in_case_or_by_a_hyphen_only_are_found_out() {
    for (wrong, right) in [
        ("AN_Join_Registrar", AN_JOIN_REGISTRAR),
        ("an-join-registrar", AN_JOIN_REGISTRAR),
        ("AN_proxy", AN_PROXY),
        ("prefixmanager.params", PREFIX_MANAGER_PARAMS),
        ("Srv.est", SRV_EST),
        ("SRV.EST", SRV_EST),
        ("srv.ldap", "SRV.ldap"),
    ] {
        let finding = check_name(wrong).unwrap_or_else(|| panic!("{wrong}"));
        assert!(finding.text.contains(&format!("is not {right}: ")), "{finding}");
    }
    for right in [AN_ACP, AN_JOIN_REGISTRAR, SRV_EST, "SRV.ldap", "EX1", "", "SRV", "x", "é€"] {
        assert_eq!(check_name(right), None);
    }
}

/// RFC 8992 §6.1, §6.2.
#[test]
fn prefixes_and_parameters_are_described() {
    let value: Value = "[6, 48, h'20010db80001']".parse().unwrap();
    assert_eq!(Known::PrefixManager.describe(&value).unwrap(), "2001:db8:1::/48");
    assert_eq!(Known::PrefixManager.describe(&"[6, 56]".parse().unwrap()).unwrap(), "any IPv6 /56");
    let text = r#"[[["role", "RSG"], ["prefix_length", 34]], [["role", "ASG"], ["prefix_length", 44]]]"#;
    let value: Value = text.parse().unwrap();
    assert_eq!(Known::PrefixManagerParams.describe(&value).unwrap(), "RSG /34, ASG /44");
    let parameters: Parameters = value.deserialize().unwrap();
    assert_eq!(Value::from(parameters).to_string(), text);
    for wrong in ["[6, 200]", "[5, 48]", "47"] {
        assert!(Known::PrefixManager.describe(&wrong.parse().unwrap()).is_err(), "{wrong}");
        assert!(Known::PrefixManagerParams.describe(&wrong.parse().unwrap()).is_err(), "{wrong}");
    }
}

#[test]
fn values_go_both_ways() {
    let service = Service {
        sender_loop_count: Some(255),
        service: Some("ldap".to_owned()),
        instance: Some("one".to_owned()),
        priority: Some(0),
        weight: Some(65_535),
        parameters: vec![("tls".to_owned(), Value::Bool(true))],
        ..Service::default()
    };
    let value = Value::from(service.clone());
    assert_eq!(value.deserialize::<Service>().unwrap(), service);
    assert_eq!(
        Known::Service.describe(&value).unwrap(),
        "service ldap, instance one, priority 0, weight 65535, tls=true"
    );
    assert_eq!(Value::from(Service::default()), Value::Null);
    let config = GraspConfig {
        sender: "fd00::1".parse().unwrap(),
        sender_loop_count: 15,
        version: 1,
        max_multicast: 8192,
        max_unicast: 5000,
    };
    let value = Value::from(config.clone());
    assert_eq!(value.deserialize::<GraspConfig>().unwrap(), config);
    assert_eq!(
        Known::GraspConfig.describe(&value).unwrap(),
        "multicasts up to 8192 bytes, unicasts up to 5000, from fd00::1"
    );
    for (method, right) in [
        ("\"IKEv2\"", true),
        ("[\"DTLS\", 1]", true),
        ("[[\"GRASP-TLS\", 2], 1]", true),
        ("\"-x\"", false),
        ("[]", false),
    ] {
        let value: Value = method.parse().unwrap();
        assert_eq!(value.deserialize::<AcpMethod>().is_ok(), right, "{method}");
    }
}
