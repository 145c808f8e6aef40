//! A secure domain under attack, on both of its ports: that of neighbours, which announcements name, and that of an objective. Strangers
//! are not authenticated; members have a certificate of the domain, and a program that does what it likes.

mod announcements;
mod claims;
mod fallback;
mod forged;
mod intruder;
mod members;
mod storms;
mod strangers;

use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use grasp::domain::{Algorithm, Authority, Credentials, Kept, Revoked};
use grasp::wire::{Body, Flags, Flood, Message, WireLocator, WireObjective, encode};
use grasp::{Acp, Config, Locator, Protocol, Value};
use grasptests::domains::{DOMAIN, name};
use grasptests::lab::{Node, eventually};
use grasptests::nodes::Host;

use crate::scene::{LATER, Scene, neg_of};
use intruder::Intruder;

const DAY: Duration = Duration::from_secs(86_400);
/// The deadline for a first message, where a test waits for it.
const SHORT: Duration = Duration::from_millis(700);

/// Three members, each with the others for neighbours, and the attacker on the link of two of them.
struct Domain {
    authority: Authority,
    /// Of the victim, the friend and the far one.
    kept: [Arc<Kept>; 3],
    scene: Scene,
}

impl Domain {
    fn new() -> Self {
        Self::with(Config::new())
    }

    /// The victim has this configuration.
    fn with(config: Config) -> Self {
        Self::each(config, |kept| Acp::Domain(Arc::clone(kept)))
    }

    /// The same with other substrates: of the victim, the friend and the far one.
    fn each(config: Config, acp: impl FnMut(&Arc<Kept>) -> Acp) -> Self {
        let began = SystemTime::now() - 20 * DAY;
        let authority = Authority::create(DOMAIN, Algorithm::P256, began, 60 * DAY).expect("an authority");
        let kept = [1, 2, 3].map(|number| Arc::new(Kept::new(issued(&authority, &name(number)))));
        let [victims, friends, far_ones] = kept.each_ref().map(acp);
        let others = Config::new().watch_interval(WATCHED);
        let configs =
            [config.watch_interval(WATCHED).acp(victims), others.clone().acp(friends), others.acp(far_ones)];
        let domain = Self { authority, kept, scene: Scene::each(configs) };
        domain.is_whole();
        domain
    }

    /// All neighbours are there, and nobody else.
    #[track_caller]
    fn is_whole(&self) {
        eventually(LATER, "the members are neighbours of each other", || {
            let Scene { victim, friend, far, .. } = &self.scene;
            [(victim, 2), (friend, 1), (far, 1)].iter().all(|(host, wanted)| neighbours(host) == *wanted)
        });
    }

    /// As [`Scene::survives`]; the neighbours of before are there again after each attack.
    fn survives(&self, attack: impl Fn(&Self)) {
        self.scene.survives(|_| {
            attack(self);
            self.is_whole();
        });
    }

    /// A member of the domain in the attacker's hands.
    fn member(&self) -> Intruder {
        Intruder::with(&issued(&self.authority, &name(9)))
    }

    /// Whose certificate all others have on their lists from now on.
    fn revoke(&self, intruder: &Intruder) {
        let revoked = Revoked { serial: intruder.serial(), since: SystemTime::now() };
        for kept in &self.kept {
            let list =
                self.authority.revocation_list(std::slice::from_ref(&revoked), 2, SystemTime::now(), DAY);
            let old = kept.current();
            let key = grasp::domain::PrivateKey::from_pkcs8(old.key().pkcs8().secret_pkcs8_der()).unwrap();
            let chain = vec![old.certificate().clone()];
            let renewed = Credentials::new(chain, key, old.anchors().to_vec(), vec![list.unwrap()]);
            kept.replace(renewed.unwrap());
        }
    }

    /// Where the victim accepts neighbours on the attacker's link.
    fn neighbour_port(&self) -> SocketAddrV6 {
        let victim = self.scene.link.link_local(&self.scene.victim.node);
        let [port] = listening(&self.scene.victim, victim)[..] else { panic!("one port for neighbours") };
        SocketAddrV6::new(victim, port, 0, self.scene.attacker.interface_index("eth0").unwrap())
    }

    /// The port of neighbours, and that of an objective.
    fn ports(&self) -> [SocketAddrV6; 2] {
        [self.neighbour_port(), self.scene.port_of(&neg_of(&self.scene.victim))]
    }

    /// The attacker's link-local address.
    fn attacker(&self) -> Ipv6Addr {
        self.scene.link.link_local(&self.scene.attacker)
    }

    /// More link-local addresses of the attacker's.
    fn addresses(&self, count: u16) -> Vec<Ipv6Addr> {
        let address = |number| Ipv6Addr::new(0xfe80, 0, 0, 0, 0xbad, 0, 0, number);
        let had = self.scene.attacker.addresses("eth0").unwrap();
        let all: Vec<_> = (1..=count).map(address).collect();
        for one in all.iter().filter(|one| !had.iter().any(|(known, _)| known == *one)) {
            self.scene.attacker.add_address("eth0", *one, 64).unwrap();
        }
        all
    }
}

/// How often the engines look at their links.
const WATCHED: Duration = Duration::from_millis(200);

/// How many neighbours a host has.
fn neighbours(host: &Host) -> u64 {
    let stats = host.engine.stats();
    stats.neighbours_joined - stats.neighbours_left
}

/// What a member of this name has.
fn issued(authority: &Authority, name: &str) -> Credentials {
    authority.credentials(&name.parse().expect("a name"), SystemTime::now()).expect("credentials")
}

/// The TCP ports on which somebody listens at an address of a host, as the kernel shows them.
fn listening(host: &Host, address: Ipv6Addr) -> Vec<u16> {
    // Of the namespace that the thread is in.
    let table = kernel_file(&host.node, "net/tcp6");
    // Four words as the machine has them in memory.
    let shown: String = (address.octets().chunks(4))
        .map(|word| format!("{:08X}", u32::from_ne_bytes(word.try_into().expect("four bytes"))))
        .collect();
    let port = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        let (at, port) = local.split_once(':')?;
        (at == shown && state == "0A").then(|| u16::from_str_radix(port, 16).expect("a port"))
    };
    table.lines().filter_map(port).collect()
}

/// A file below /proc/thread-self, seen from a node.
fn kernel_file(node: &Node, file: &str) -> String {
    node.run(|| std::fs::read_to_string(format!("/proc/thread-self/{file}")).unwrap())
}

/// What announces a node there, by this method.
fn announcement_by(method: &str, initiator: Ipv6Addr, address: Ipv6Addr, port: u16) -> Vec<u8> {
    announcement_for(210_000, method, initiator, (address, port))
}

/// The same for so many milliseconds.
fn announcement_for(
    ttl: u32,
    method: &str,
    initiator: Ipv6Addr,
    (address, port): (Ipv6Addr, u16),
) -> Vec<u8> {
    let objective = WireObjective {
        name: "AN_ACP".to_owned(),
        flags: Flags(Flags::F_SYNCH),
        loop_count: 1,
        value: Some(Value::from(method)),
    };
    let locator =
        WireLocator { locator: Locator::Ipv6(address), protocol: Some(Protocol::Tcp), port: Some(port) };
    let objectives = vec![(objective, Some(locator))];
    encode(&Message::new(Body::Flood(Flood { session: 7, initiator: initiator.into(), ttl, objectives })))
}

/// What announces a node that is there.
fn announcement(address: Ipv6Addr, port: u16) -> Vec<u8> {
    announcement_by("GRASP-TLS", address, address, port)
}
