//! `graspd` on the interfaces of an ACP with TLS: credentials in files, which a reload reads again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use grasp::domain::{Algorithm, Authority, Certificate, Credentials, Issue, Kept, PrivateKey, Revoked};
use grasp::{Acp, Asa, Config, Engine, Source};
use grasptests::lab::{LabError, eventually, isolated};
use grasptests::nodes::{linked, synchronizable};

use super::daemon::{Graspd, Place, SOON};

const DAY: Duration = Duration::from_secs(86_400);

/// Writes what a node has into a directory, as `grasp domain issue` does.
fn write(
    directory: &Path,
    chain: &Certificate,
    key: &PrivateKey,
    authority: &Authority,
    revoked: &[Revoked],
) {
    let list = authority.revocation_list(revoked, 7, SystemTime::now(), DAY).expect("a list");
    fs::create_dir_all(directory).expect("a directory");
    for (file, text) in [
        ("node.crt", chain.to_pem()),
        ("anchors.crt", authority.certificate().to_pem()),
        ("domain.crl", list.to_pem()),
        ("node.key", key.to_pem().expect("a key").to_string()),
    ] {
        let path = directory.join(file);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
    }
}

fn issued(authority: &Authority, name: &str) -> (Certificate, PrivateKey) {
    let key = PrivateKey::generate(Algorithm::P256).expect("a key");
    let name = name.parse().expect("a name");
    let issue =
        Issue { name: &name, key: key.public(), label: None, now: SystemTime::now(), lifetime: 30 * DAY };
    (authority.issue(&issue).expect("a certificate"), key)
}

#[test]
fn members_get_values_from_it_until_a_reload_reads_that_they_are_revoked() -> Result<(), LabError> {
    isolated!();
    let (_lab, _, a, b) = linked();
    let authority =
        Authority::create("acp.example.com", Algorithm::P256, SystemTime::now(), 60 * DAY).expect("one");
    let (certificate, key) = issued(&authority, "0@acp.example.com");
    let configuration = |directory: &str| {
        format!("[acp]\nkind = 'interfaces'\ninterfaces = ['eth0']\ncredentials = '{directory}'")
    };
    let place = Place::new(&configuration("domain"));
    place.objective("a", "name = 'A'\nvalue = 1");
    let directory = place.0.join("domain");
    let refused = place.run(&a, &["--check"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() != Some(0) && said.contains("acp.credentials: "), "{said}");
    write(&directory, &certificate, &key, &authority, &[]);
    let graspd = Graspd::start(&a, &place);

    let (own, own_key) = issued(&authority, "fd89b714f3db00000200000064000001@acp.example.com");
    let anchors = vec![authority.certificate().clone()];
    let credentials = Credentials::new(vec![own.clone()], own_key, anchors, Vec::new()).expect("credentials");
    let acp = Acp::InterfacesWithTls {
        names: vec!["eth0".into()],
        credentials: Arc::new(Kept::new(credentials)),
        neighbours: false,
    };
    let engine = b.run(|| Engine::start(Config::new().acp(acp))).expect("an engine");
    let asa = Asa::register(&engine, "asker").expect("an ASA");
    let get = || b.run(|| asa.synchronize(&synchronizable("A", ()), None, Some(2000)));
    let mut got = get();
    eventually(SOON, "the value is got", || {
        got = get();
        got.is_ok()
    });
    let Source::Peer(peer) = got.expect("a value").source else { panic!("it is not flooded") };
    assert_eq!(peer.name.as_deref(), Some("0@acp.example.com"));

    // A reload with a file that is broken changes nothing.
    fs::write(directory.join("domain.crl"), "nonsense").expect("a file");
    graspd.reload();
    graspd.says("acp.credentials: ");
    graspd.says("nothing is changed");
    assert!(get().is_ok());
    // Nor does one with another directory, which needs a restart.
    let revoked_there = Revoked { serial: own.serial(), since: SystemTime::now() };
    write(&place.0.join("other"), &certificate, &key, &authority, &[revoked_there]);
    place.configure(&configuration("other"));
    graspd.reload();
    graspd.says("need a restart: acp.credentials");
    assert!(get().is_ok());
    place.configure(&configuration("domain"));
    let revoked = Revoked { serial: own.serial(), since: SystemTime::now() };
    write(&directory, &certificate, &key, &authority, &[revoked]);
    graspd.reload();
    eventually(SOON, "it is in force", || graspd.count("the configuration is in force") == 2);
    assert!(get().is_err(), "a session with it could have been resumed");
    Ok(())
}
