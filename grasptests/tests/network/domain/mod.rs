//! Networks of a secure domain: TLS between neighbours and for sessions.

mod changes;
mod neighbours;
mod substrates;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use grasp::domain::{Algorithm, Authority, Credentials, Issue, Kept, PrivateKey, Revoked, Serial};
use grasp::{Acp, Config, Discover, Objective, Stats, TaggedObjective};
use grasptests::domains::{credentials, name};
use grasptests::lab::{Lab, Node, eventually};
use grasptests::nodes::{Host, SOON, discoverable, negotiable, negotiate_about, synchronizable};

/// A member of a domain.
pub(crate) struct Member {
    pub(crate) host: Host,
    pub(crate) kept: Arc<Kept>,
}

/// How often a member looks at its interfaces and its credentials.
pub(crate) const LOOKS: Duration = Duration::from_millis(200);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// The settings of all members.
pub(crate) fn settings() -> Config {
    Config::new().watch_interval(LOOKS)
}

impl Member {
    pub(crate) fn start(node: &Node, authority: &Authority, number: u8) -> Self {
        let kept = credentials(authority, number);
        Self::start_with(node, Acp::Domain(Arc::clone(&kept)), kept)
    }

    pub(crate) fn start_with(node: &Node, acp: Acp, kept: Arc<Kept>) -> Self {
        let host = Host::start(node, settings().acp(acp));
        host.register_with(&negotiable("EX3", 0), discoverable());
        Self { host, kept }
    }

    pub(crate) fn stats(&self) -> Stats {
        self.host.engine.stats()
    }

    /// How many neighbours it has.
    pub(crate) fn neighbours(&self) -> u64 {
        let stats = self.stats();
        stats.neighbours_joined - stats.neighbours_left
    }

    /// Everything that two members do with each other, whoever is between them.
    #[track_caller]
    pub(crate) fn works_with(&self, other: &Self, name: &str) {
        // Names of its own, so that no cache answers.
        let (talk, value) = (negotiable(name, 0), synchronizable(&format!("{name}-value"), 7));
        other.host.register_with(&talk, discoverable());
        other.host.register(&value);
        other.host.run(|engine, asa| engine.listen_synchronize(asa, &value)).expect("it serves");
        self.host.register(&talk);
        eventually(SOON, "it is discovered", || {
            let options = Discover { flush: true, enough: Some(1), ..Discover::default() };
            let asked =
                self.host.run(|engine, asa| engine.discover(asa, &Objective::new(name), None, options));
            asked.is_ok_and(|found| !found.is_empty())
        });
        negotiate_about(name, &self.host, &other.host, None);
        let wanted = synchronizable(value.name.as_str(), ());
        let got = self.host.run(|engine, asa| engine.synchronize(asa, &wanted, None, Some(5000)));
        assert_eq!(got.expect("a value").value, value.value);
        self.floods_to(&[other], &format!("{name}-flood"));
    }

    /// Floods a value, which reaches the others. In a domain a datagram would have no room for it.
    #[track_caller]
    pub(crate) fn floods_to(&self, others: &[&Self], name: &str) {
        let length = if self.neighbours() > 0 { 1900 } else { 900 };
        let flooded = synchronizable(name, "x".repeat(length));
        self.host.register(&flooded);
        self.host
            .run(|engine, asa| engine.flood(asa, 59_000, &[TaggedObjective::new(flooded.clone(), None)]))
            .expect("it floods");
        for other in others {
            eventually(SOON, &format!("the flood {name} arrives at {}", other.host.node.name()), || {
                let found = other.host.run(|engine, asa| engine.get_flood(asa, &synchronizable(name, ())));
                found.is_ok_and(|found| found.len() == 1 && found[0].objective.value == flooded.value)
            });
        }
    }
}

/// Members in a row, each on a link with the next.
pub(crate) fn line(lab: &Lab, authority: &Authority, count: u8) -> Vec<Member> {
    let nodes: Vec<_> = (0..count).map(|number| lab.node(&format!("n{number}")).unwrap()).collect();
    for pair in nodes.windows(2) {
        lab.link(&pair[0], &pair[1]).unwrap();
    }
    lab.route_all().unwrap();
    nodes.iter().zip(1..).map(|(node, number)| Member::start(node, authority, number)).collect()
}

/// Credentials of the node with this number that last for so long.
pub(crate) fn lasting(authority: &Authority, number: u8, lifetime: Duration) -> Credentials {
    let name = name(number).parse().unwrap();
    let key = PrivateKey::generate(Algorithm::P256).unwrap();
    let issue = Issue { name: &name, key: key.public(), label: None, now: SystemTime::now(), lifetime };
    let certificate = authority.issue(&issue).unwrap();
    Credentials::new(vec![certificate], key, vec![authority.certificate().clone()], Vec::new()).unwrap()
}

/// The same credentials, with a list that revokes their own certificate.
pub(crate) fn revoked(authority: &Authority, of: &Credentials) -> Credentials {
    with_list(authority, of, of.certificate().serial())
}

/// The same credentials, with a list that revokes the certificate with this number.
pub(crate) fn with_list(authority: &Authority, of: &Credentials, serial: Serial) -> Credentials {
    let revoked = Revoked { serial, since: SystemTime::now() };
    let list = authority.revocation_list(&[revoked], 2, SystemTime::now(), DAY).unwrap();
    let key = PrivateKey::from_pkcs8(of.key().pkcs8().secret_pkcs8_der()).unwrap();
    Credentials::new(vec![of.certificate().clone()], key, of.anchors().to_vec(), vec![list]).unwrap()
}
