//! Printing and looking: `dump_all`, counters, configuration, error texts.

use grasp::{Config, Error, TaggedObjective, etext};
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, RawUdp, eventually};
use grasptests::nodes::{Host, SOON, discoverable, first_answer, negotiable, synchronizable, two, watched};
use grasptests::{cbor, isolated, own_engine};

fn headings(dump: &str) -> Vec<&str> {
    let lines: Vec<_> = dump.lines().collect();
    let is_rule = |line: &str| !line.is_empty() && line.chars().all(|character| character == '-');
    lines.windows(2).filter(|pair| is_rule(pair[1])).map(|pair| pair[0]).collect()
}

#[test]
fn a_dump_shows_every_registry() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    let ex2 = synchronizable("EX2", "flooded");
    far.register_with(&negotiable("EX1", "offered"), discoverable());
    near.register(&ex2);
    near.register(&negotiable("EX1", "asked"));
    near.engine.flood(near.asa, 0, &[TaggedObjective::new(ex2, None)]).unwrap();
    let found =
        near.run(|engine, asa| engine.discover(asa, &negotiable("EX1", 1), Some(30_000), first_answer()));
    assert_eq!(found.unwrap().len(), 1);
    let dump = near.engine.dump(false);
    let address = near.node.ula().unwrap();
    let (mine, session) = (format!("My address: {address}"), format!("Session locator: {address}"));
    let headings_of_all = headings(&dump);
    let count = headings_of_all[0].strip_prefix("Thread count: ").unwrap();
    assert!(count.parse::<usize>().unwrap() >= near.engine.links().len() + 2, "{count}");
    assert_eq!(
        headings_of_all[1..],
        [
            mine.as_str(),
            &session,
            "Link local zone index(es):",
            "State:",
            "ASA registry contents:",
            "Objective registry contents:",
            "Discovery cache contents:",
            "Flood cache contents:",
            "Session ID cache contents:",
        ]
    );
    let far_locator = format!("[{}]:{}", far.node.ula().unwrap(), far.port("EX1"));
    for part in
        ["a handle: ", "EX1 ASA: ", "Neg: true", "\"asked\"", "\"flooded\"", &far_locator, "ASA handle"]
    {
        assert!(dump.contains(part), "{part} is missing in:\n{dump}");
    }
    let partial = near.engine.dump(true);
    assert_eq!(headings(&partial), ["Objective registry contents:", "Flood cache contents:"]);
    near.engine.dump_all(true);
}

#[test]
fn the_counters_have_names_and_the_configuration_can_be_read() {
    isolated!();
    own_engine!();
    let config = Config::new().asa_limit(7).objective_ttl(5);
    let (_lab, near, _far) = two(config.clone());
    assert_eq!(format!("{:?}", near.engine.config()), format!("{config:?}"));
    near.register(&synchronizable("EX1", 1));
    let flood =
        |host: &Host| host.engine.flood(host.asa, 0, &[TaggedObjective::new(synchronizable("EX1", 1), None)]);
    flood(&near).unwrap();
    let stats = near.engine.stats();
    let named = stats.named();
    assert!(named.contains(&("floods_sent", 1)) && named.contains(&("panics", 0)), "{named:?}");
    assert_eq!(stats.floods_sent, 1);
}

#[test]
fn every_code_has_graspys_text() {
    let texts: Vec<_> = (0..40).map(|code| etext(code).unwrap_or_default()).collect();
    assert!(texts.iter().all(|text| !text.is_empty()));
    for error in [
        Error::Declined(None),
        Error::NoReply,
        Error::AsaFull,
        Error::NotOverlap,
        Error::NoDiscReply,
        Error::IdClash,
        Error::NotFloodDisc,
        Error::InvalidLoc,
        Error::SockErr,
    ] {
        assert_eq!(error.to_string(), texts[usize::from(error.code())], "{error:?}");
    }
    assert_eq!(texts[23], "Negotiation peer not listening");
}

#[test]
fn what_peers_have_written_steers_no_terminal_and_looks_like_no_other_line() {
    isolated!();
    let (_lab, host, node, _) = watched(Config::new());
    let forged = "\u{1b}[2J\nEX1 ASA: 1 Listen: 1 Port: 22 ";
    let initiator = cbor!(node.link_local("eth0").unwrap().octets().to_vec());
    let flood = cbor!([9, 7, initiator, 60_000, [[forged, 5, 1, forged], [106, forged, 6, 80]]]);
    let neighbour = RawUdp::neighbors(&node, "eth0").unwrap();
    neighbour.send(&flood.encode(), ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
    eventually(SOON, "it is cached", || host.engine.stats().flood_entries_cached == 1);
    let dump = host.engine.dump(false);
    assert!(dump.contains("Port: 22") && !dump.contains("\nEX1"), "{dump:?}");
    assert!(!dump.contains(|character: char| character.is_control() && character != '\n'), "{dump:?}");
}
