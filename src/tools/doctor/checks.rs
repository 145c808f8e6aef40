//! The checks of `doctor`: each draws conclusions from the evidence.

use std::collections::{BTreeMap, BTreeSet};

use super::super::plain;
use super::system::{Interface, State};
use super::{Diagnosis, Evidence};
use crate::constants::{ALL_GRASP_NEIGHBORS_6, GRASP_LISTEN_PORT};
use crate::objectives::{self, Hops, Severity};
use crate::types::TaggedObjective;

/// All findings, in the order in which problems are best fixed.
pub(super) fn diagnose(evidence: &Evidence) -> Vec<Diagnosis> {
    let checks = [interfaces, addresses, security, port, groups, multicast, duplicates, names, counters];
    checks.iter().flat_map(|check| check(evidence)).collect()
}

fn used(evidence: &Evidence) -> impl Iterator<Item = &Interface> {
    evidence.interfaces.iter().filter(|interface| evidence.used.contains(&interface.ifi))
}

fn named(evidence: &Evidence, ifi: u32) -> String {
    let known = evidence.interfaces.iter().find(|interface| interface.ifi == ifi);
    known.map_or_else(|| format!("interface {ifi}"), |interface| plain(&interface.name))
}

fn interfaces(evidence: &Evidence) -> Vec<Diagnosis> {
    let subject = "interfaces";
    let mut found = Vec::new();
    for name in &evidence.missing {
        let text = format!("{} is configured and does not exist", plain(name));
        found.push(Diagnosis::wrong(
            subject,
            text,
            "create it, or correct the name in the configuration; it is used once it appears",
        ));
    }
    if evidence.used.is_empty() {
        let advice = "bring an interface up and let it have an IPv6 link-local address: ip link set eth0 up; \
                      sysctl net.ipv6.conf.eth0.disable_ipv6=0";
        found.push(Diagnosis::wrong(subject, "the node uses none", advice));
        return found;
    }
    let names: Vec<_> = evidence.used.iter().map(|ifi| named(evidence, *ifi)).collect();
    found.push(Diagnosis::fine(subject, format!("the node uses {}", names.join(", "))));
    found
}

fn addresses(evidence: &Evidence) -> Vec<Diagnosis> {
    let subject = "addresses";
    let mut found = Vec::new();
    for interface in &evidence.interfaces {
        for address in &interface.addresses {
            let text = |what: &str| format!("{} on {} {what}", address.address, plain(&interface.name));
            found.extend(match address.state {
                State::Valid => None,
                State::Failed => Some(Diagnosis::wrong(
                    subject,
                    text("is that of another host on the link (dadfailed)"),
                    "give one of the two another address: often a cloned machine, or a loop in the cabling",
                )),
                State::Tentative => Some(Diagnosis::odd(
                    subject,
                    text("is not ready yet (tentative)"),
                    "wait two seconds; if it stays so, the link is down or multicast does not pass",
                )),
                State::Deprecated => Some(Diagnosis::odd(
                    subject,
                    text("is deprecated"),
                    "renew its lifetime, or remove it: peers that know it lose this node when it goes",
                )),
            });
        }
    }
    match &evidence.address {
        Some(address) => found
            .push(Diagnosis::fine(subject, format!("peers beyond the link reach this node at {address}"))),
        None => found.push(Diagnosis::odd(
            subject,
            "this node has no address of more than link scope",
            "give it a ULA or a global address, unless all peers are on the same link",
        )),
    }
    found
}

fn security(evidence: &Evidence) -> Vec<Diagnosis> {
    if evidence.secure {
        return Vec::new();
    }
    let advice = "bring the ACP up, or configure what secures the traffic: interfaces, or the keys of QUADS";
    vec![Diagnosis::wrong(
        "security",
        "there is no secure substrate: the node neither sends nor answers",
        advice,
    )]
}

fn port(evidence: &Evidence) -> Vec<Diagnosis> {
    let subject = "port 7017";
    let processes: BTreeSet<_> = evidence
        .holders
        .iter()
        .map(|holder| match &holder.process {
            Some((pid, name)) => format!("{} ({pid})", plain(name)),
            None => format!("a process of the user {}", holder.uid),
        })
        .collect();
    let listed = processes.iter().cloned().collect::<Vec<_>>().join(", ");
    vec![match processes.len() {
        0 => Diagnosis::wrong(
            subject,
            format!("nobody has UDP port {GRASP_LISTEN_PORT}"),
            "restart the node; if that does not help, look into its log",
        ),
        1 => Diagnosis::fine(subject, format!("held by {listed}")),
        2 if evidence.standalone => Diagnosis::odd(
            subject,
            format!("held by {listed}: this command is a node itself, beside the other one"),
            "leave out --standalone to look into the other one",
        ),
        _ => Diagnosis::odd(
            subject,
            format!("held by {listed}: each is a node of its own"),
            "run one graspd, and let the programs be its clients (GRASP_SOCKET)",
        ),
    }]
}

fn groups(evidence: &Evidence) -> Vec<Diagnosis> {
    let subject = "multicast group";
    let without: Vec<_> = used(evidence)
        .filter(|interface| !interface.groups.contains(&ALL_GRASP_NEIGHBORS_6))
        .map(|interface| {
            let text =
                format!("the kernel is no member of {ALL_GRASP_NEIGHBORS_6} on {}", plain(&interface.name));
            Diagnosis::wrong(subject, text, "restart the node: it joins the group on each interface")
        })
        .collect();
    if without.is_empty() && !evidence.used.is_empty() {
        return vec![Diagnosis::fine(
            subject,
            format!("the kernel is a member of {ALL_GRASP_NEIGHBORS_6} on each interface"),
        )];
    }
    without
}

fn multicast(evidence: &Evidence) -> Vec<Diagnosis> {
    let subject = "neighbours";
    let heard = &evidence.heard;
    if evidence.used.is_empty() || !evidence.secure {
        return Vec::new();
    }
    let earlier = evidence.floods.iter().filter_map(|view| view.from);
    let mut neighbours: BTreeMap<u32, BTreeSet<_>> = BTreeMap::new();
    for (ifi, address) in heard.neighbours.iter().copied().chain(earlier) {
        neighbours.entry(ifi).or_default().insert(address);
    }
    let mut found = Vec::new();
    for (ifi, addresses) in &neighbours {
        let listed = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        found.push(Diagnosis::fine(subject, format!("heard on {}: {listed}", named(evidence, *ifi))));
    }
    let firewall = format!(
        "let UDP port {GRASP_LISTEN_PORT} to {ALL_GRASP_NEIGHBORS_6} pass in the firewall of this host (ip6tables, nft)"
    );
    if heard.sent > 0 && heard.own == 0 {
        found.push(Diagnosis::wrong(subject, "this node does not even hear its own multicasts", firewall));
    } else if neighbours.is_empty() {
        let text = "this node hears its own multicasts, but none of other nodes";
        let advice = format!(
            "if there are other nodes: their switch may filter multicast. Turn on an MLD querier, or snooping off (ip \
             link set br0 type bridge mcast_snooping 0). {}{}",
            firewall.get(..1).map(str::to_uppercase).unwrap_or_default(),
            firewall.get(1..).unwrap_or_default()
        );
        found.push(Diagnosis::odd(subject, text, advice));
    }
    for ifi in evidence.used.iter().filter(|ifi| !neighbours.is_empty() && !neighbours.contains_key(ifi)) {
        let text = format!("nobody was heard on {}", named(evidence, *ifi));
        found.push(Diagnosis::odd(subject, text, "nothing, if there is no other node on this link"));
    }
    found
}

fn duplicates(evidence: &Evidence) -> Vec<Diagnosis> {
    let impostors = evidence.heard.impostors.iter();
    let found = impostors.map(|(ifi, address)| {
        let text = format!("{address} on {} uses this node's address as its own", named(evidence, *ifi));
        let advice = "give one of the two another address: both lose answers that are for the other";
        Diagnosis::wrong("duplicate node", text, advice)
    });
    found.collect()
}

fn names(evidence: &Evidence) -> Vec<Diagnosis> {
    let flooded = evidence.floods.iter().flat_map(|view| {
        let whose = match view.from {
            Some((_, address)) => format!("flooded by way of {address}"),
            None => "flooded by this node".to_owned(),
        };
        let hops = if view.from.is_some() { Hops::Some } else { Hops::None };
        objectives::check(&view.tagged, hops).into_iter().map(move |finding| (finding, whose.clone()))
    });
    let registered = evidence.objectives.iter().flat_map(|objective| {
        let tagged = TaggedObjective::new(objective.clone(), None);
        let finding = objectives::check_name(&tagged.objective.name);
        finding.into_iter().map(|finding| (finding, "registered here".to_owned()))
    });
    let all: BTreeSet<_> = flooded
        .chain(registered)
        .map(|(finding, whose)| (finding.severity != Severity::Wrong, format!("{finding} ({whose})")))
        .collect();
    let advice = "correct the ASA that does this";
    all.into_iter()
        .map(|(is_odd, text)| match is_odd {
            true => Diagnosis::odd("objectives", text, advice),
            false => Diagnosis::wrong("objectives", text, advice),
        })
        .collect()
}

fn counters(evidence: &Evidence) -> Vec<Diagnosis> {
    let stats = &evidence.counters;
    let subject = "traffic";
    let mut found = Vec::new();
    let mut count = |number: u64, is_wrong: bool, text: &str, advice: &str| {
        if number > 0 {
            let text = format!("{number} {text}");
            found.push(match is_wrong {
                true => Diagnosis::wrong(subject, text, advice),
                false => Diagnosis::odd(subject, text, advice),
            });
        }
    };
    count(
        stats.dropped_link_local_flood,
        true,
        "floods with a link-local initiator and a loop count over 1 were dropped (RFC 8990 §2.5.6.2)",
        "their sender needs an address of more than link scope, or the loop count 1: grasp monitor -v shows who it is",
    );
    count(
        stats.dropped_undecryptable,
        true,
        "datagrams do not open with the keys of this node",
        "some nodes of this link have other keys, or none: give all the same (grasp keys)",
    );
    count(
        stats.dropped_malformed,
        false,
        "datagrams are not GRASP messages",
        "something else uses port 7017, or messages are encrypted and this node has no keys: grasp monitor -v shows them",
    );
    count(
        stats.multicast_send_failed,
        false,
        "multicasts could not be sent",
        "look into the node's log for the interface and the cause",
    );
    count(
        stats.interfaces_failed,
        true,
        "times an interface could not be used",
        "look into the node's log for the cause",
    );
    count(stats.panics, true, "threads of the node panicked", "report it with the node's log: this is a bug");
    found
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::super::system::{Holder, read_interfaces, read_sockets};
    use super::super::{Heard, Level};
    use super::*;
    use crate::objectives::Known;
    use crate::types::{AsaLocator, FloodView, Objective};

    const IF_INET6: &str = "\
00000000000000000000000000000001 01 80 10 80       lo
fe800000000000000000000000000001 02 40 20 80     eth0
fd000000000000000000000000000001 02 40 00 80     eth0
";
    const IGMP6: &str = "\
1    lo              ff020000000000000000000000000001     1 0000000C 0
2    eth0            ff020000000000000000000000000013     1 00000004 0
2    eth0            ff020000000000000000000000000001     1 0000000C 0
";

    fn neighbour() -> (u32, Ipv6Addr) {
        (2, "fe80::2".parse().unwrap())
    }

    /// A node without a problem.
    fn healthy() -> Evidence {
        Evidence {
            interfaces: read_interfaces(IF_INET6, IGMP6),
            used: vec![2],
            holders: vec![Holder { process: Some((47, "graspd".to_owned())), uid: 0 }],
            secure: true,
            address: Some("fd00::1".to_owned()),
            heard: Heard { sent: 1, own: 1, neighbours: [neighbour()].into(), impostors: [].into() },
            ..Evidence::default()
        }
    }

    /// What is found after a change, but for what is fine.
    fn found(change: impl FnOnce(&mut Evidence)) -> Vec<(Level, &'static str, String)> {
        let mut evidence = healthy();
        change(&mut evidence);
        let found = diagnose(&evidence).into_iter().filter(|one| one.level != Level::Fine);
        found
            .map(|one| {
                assert!(!one.advice.is_empty(), "{one:?}");
                (one.level, one.subject, format!("{} -> {}", one.text, one.advice))
            })
            .collect()
    }

    /// One thing is found, at this level, with this in it.
    #[track_caller]
    fn finds(level: Level, text: &str, change: impl FnOnce(&mut Evidence)) {
        match found(change).as_slice() {
            [(is, _, said)] if *is == level && said.contains(text) => {}
            other => panic!("not {level:?} {text}: {other:#?}"),
        }
    }

    fn flood(objective: Objective, address: &str, from: Option<(u32, Ipv6Addr)>) -> FloodView {
        let address: Ipv6Addr = address.parse().unwrap();
        FloodView { tagged: TaggedObjective::new(objective, Some(AsaLocator::new(address, Some(2)))), from }
    }

    #[test]
    fn nothing_is_found_where_nothing_is_wrong() {
        assert_eq!(found(|_| {}), []);
        assert!(diagnose(&healthy()).len() >= 4);
    }

    #[test]
    fn interfaces_and_addresses_are_looked_at() {
        finds(Level::Wrong, "ether is configured", |it| it.missing = vec!["ether".to_owned()]);
        finds(Level::Wrong, "the node uses none", |it| it.used.clear());
        let state = |flags: &'static str| {
            move |it: &mut Evidence| {
                it.interfaces = read_interfaces(&IF_INET6.replace("20 80", &format!("20 {flags}")), IGMP6)
            }
        };
        finds(Level::Wrong, "another host on the link", state("c8"));
        finds(Level::Odd, "not ready yet", state("40"));
        finds(Level::Odd, "is deprecated", state("20"));
        finds(Level::Odd, "no address of more than link scope", |it| it.address = None);
        finds(Level::Wrong, "no secure substrate", |it| it.secure = false);
    }

    #[test]
    fn the_port_and_the_group_are_looked_at() {
        finds(Level::Wrong, "nobody has UDP port 7017", |it| it.holders.clear());
        let other = Holder { process: None, uid: 1000 };
        finds(Level::Odd, "a process of the user 1000, graspd (47): each is a node of its own", |it| {
            it.holders.push(other.clone())
        });
        finds(Level::Odd, "a node itself", |it| (it.holders.push(other.clone()), it.standalone = true).1);
        finds(Level::Wrong, "no member of ff02::13 on eth0", |it| {
            it.interfaces = read_interfaces(IF_INET6, &IGMP6.replace("0013", "0014"));
        });
    }

    #[test]
    fn a_filter_for_multicast_is_told_from_loneliness_of_one_link() {
        finds(Level::Wrong, "does not even hear its own", |it| it.heard.own = 0);
        finds(Level::Odd, "mcast_snooping 0", |it| it.heard.neighbours.clear());
        // A flood that came earlier is a sign of life.
        assert_eq!(
            found(|it| {
                it.heard.neighbours.clear();
                it.floods.push(flood(
                    Objective { synch: true, ..Objective::new("EX1") },
                    "fd00::9",
                    Some(neighbour()),
                ));
            }),
            []
        );
        finds(Level::Odd, "nobody was heard on interface 3", |it| it.used.push(3));
        finds(Level::Wrong, "uses this node's address as its own", |it| {
            _ = it.heard.impostors.insert(neighbour())
        });
    }

    #[test]
    fn objectives_that_others_do_not_find_are_named() {
        finds(Level::Wrong, "AN_Join_Registrar is not AN_join_registrar", |it| {
            it.objectives.push(Objective::new("AN_Join_Registrar"));
        });
        let registrar = Known::JoinRegistrar.objective("").with_value("EST-TLS").unwrap();
        let low = Objective { loop_count: 6, ..registrar };
        finds(Level::Odd, "the loop count 6", |it| {
            it.floods.push(flood(low.clone(), "fd00::2", Some(neighbour())))
        });
        finds(Level::Wrong, "the loop count 6", |it| it.floods.push(flood(low.clone(), "fd00::2", None)));
    }

    #[test]
    fn counters_are_looked_at() {
        finds(Level::Wrong, "7 floods with a link-local initiator", |it| {
            it.counters.dropped_link_local_flood = 7
        });
        finds(Level::Wrong, "do not open", |it| it.counters.dropped_undecryptable = 1);
        finds(Level::Odd, "not GRASP messages", |it| it.counters.dropped_malformed = 1);
        finds(Level::Odd, "could not be sent", |it| it.counters.multicast_send_failed = 1);
        finds(Level::Wrong, "could not be used", |it| it.counters.interfaces_failed = 1);
        finds(Level::Wrong, "this is a bug", |it| it.counters.panics = 1);
    }

    #[test]
    fn sockets_are_read_from_the_kernels_table() {
        let udp6 = "  sl  local_address remote_address st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  10: 00000000000000000000000000000000:1B69 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000   104        0 34567 2 0000000000000000 0
  11: 00000000000000000000000000000000:14E9 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000   105        0 34568 2 0000000000000000 0
";
        assert_eq!(read_sockets(udp6).into_iter().collect::<Vec<_>>(), [(34_567, 104)]);
        assert!(read_sockets("nonsense\n").is_empty());
        assert!(read_interfaces("nonsense", "1 2 3").is_empty());
    }
}
