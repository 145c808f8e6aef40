//! What can be read on a link and in captures of a secure domain: announcements, and nothing else.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use grasp::objectives::AN_ACP;
use grasp::tools::decode::{self, Options, Record, Report};
use grasp::wire::Body;
use grasp::{Acp, Config, Discover, Objective, TaggedObjective};
use grasptests::domains::{authority, credentials};
use grasptests::lab::eventually;
use grasptests::nodes::{Host, SOON, discoverable, linked, negotiable, negotiate_about, synchronizable};
use grasptests::{isolated, own_engine};

/// What is looked for, in names and values.
const MARKER: &str = "Zwiebelkuchen";

/// A directory for captures, removed in the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("grasp-captures-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How often a capture has the marker.
fn marked(path: &Path) -> usize {
    let bytes = std::fs::read(path).unwrap();
    bytes.windows(MARKER.len()).filter(|window| *window == MARKER.as_bytes()).count()
}

/// What grasp-decode reads in a capture.
fn decoded(path: &Path) -> (Vec<Record>, Report) {
    let mut records = Vec::new();
    let file = std::fs::File::open(path).unwrap();
    let report = decode::decode(file, &Options::default(), &mut |record| records.push(record)).unwrap();
    (records, report)
}

/// Discovers, negotiates, synchronizes and floods between two nodes, with the marker in names and values. The link is captured, and so is
/// each engine by its own settings.
fn talk(directory: &Directory, settings: [Config; 2]) {
    let (lab, _, a, b) = linked();
    let capture = lab.capture(directory.0.join("link.pcapng")).unwrap();
    let [one, other] = settings.map(|config| config.pcap(Some(directory.0.join("engine.pcapng"))));
    let asker = Host::start(&a, one.name(Some("asker".into())));
    let server = Host::start(&b, other.name(Some("server".into())));
    let (talked, served) = (format!("{MARKER}-negotiated"), format!("{MARKER}-served"));
    server.register_with(&negotiable(&talked, MARKER), discoverable());
    asker.register(&negotiable(&talked, MARKER));
    let value = synchronizable(&served, MARKER);
    server.register(&value);
    server.run(|engine, asa| engine.listen_synchronize(asa, &value)).unwrap();
    eventually(SOON, "it is discovered", || {
        let options = Discover { flush: true, enough: Some(1), ..Discover::default() };
        let found = asker.run(|engine, asa| engine.discover(asa, &Objective::new(&talked), None, options));
        found.is_ok_and(|found| !found.is_empty())
    });
    negotiate_about(&talked, &asker, &server, None);
    let wanted = synchronizable(&served, ());
    let got = asker.run(|engine, asa| engine.synchronize(asa, &wanted, None, Some(10_000))).unwrap();
    assert_eq!(got.value.as_str(), Some(MARKER));
    let flooded = synchronizable(&format!("{MARKER}-flooded"), MARKER);
    server.register(&flooded);
    let tagged = [TaggedObjective::new(flooded.clone(), None)];
    server.run(|engine, asa| engine.flood(asa, 59_000, &tagged)).unwrap();
    eventually(SOON, "the flood arrives", || {
        let found = asker.run(|engine, asa| engine.get_flood(asa, &flooded));
        found.is_ok_and(|found| found.len() == 1)
    });
    asker.engine.shutdown();
    server.engine.shutdown();
    capture.finish().unwrap();
}

#[test]
fn on_a_link_nothing_but_announcements_is_in_the_clear() {
    isolated!();
    own_engine!();
    let directory = Directory::new();
    let authority = authority();
    talk(&directory, [1, 2].map(|number| Config::new().acp(Acp::Domain(credentials(&authority, number)))));
    for name in ["link", "engine-asker", "engine-server"] {
        let path = directory.0.join(format!("{name}.pcapng"));
        assert_eq!(marked(&path), 0, "{name}");
        let (records, report) = decoded(&path);
        assert!(!records.is_empty(), "{name}: announcements are there");
        for record in records {
            let message = record.annotation.message.expect("a message");
            let Body::Flood(flood) = message.body else { panic!("{name}: {message:?} is in the clear") };
            assert!(flood.objectives.iter().all(|(objective, _)| objective.name == AN_ACP), "{flood:?}");
        }
        // One connection of neighbours, and at least two for the sessions.
        assert!(report.tls >= 3 && report.lines()[0].contains("secured by TLS"), "{name}: {report:?}");
        assert!(!report.damaged);
    }
}

#[test]
fn without_a_domain_the_same_is_on_the_link() {
    isolated!();
    own_engine!();
    let directory = Directory::new();
    talk(&directory, [1, 2].map(|_| Config::new().acp(Acp::Layer2)));
    for name in ["link", "engine-asker", "engine-server"] {
        let path = directory.0.join(format!("{name}.pcapng"));
        assert!(marked(&path) > 5, "{name}: {}", marked(&path));
        assert_eq!(decoded(&path).1.tls, 0);
    }
}

#[test]
fn a_capture_has_in_the_clear_what_tls_secures_only_if_a_setting_says_so() {
    isolated!();
    own_engine!();
    let directory = Directory::new();
    let authority = authority();
    let config = |number| Config::new().acp(Acp::Domain(credentials(&authority, number)));
    talk(&directory, [config(1).pcap_clear(true), config(2)]);
    assert_eq!(marked(&directory.0.join("engine-server.pcapng")), 0);
    let clear = directory.0.join("engine-asker.pcapng");
    let (records, report) = decoded(&clear);
    assert_eq!(report.tls, 0, "the messages are there in place of the records");
    assert!(records.iter().all(|record| record.annotation.message.is_ok()));
    let types: BTreeSet<_> = records.iter().map(|record| record.annotation.message_type).collect();
    assert!(types.len() > 5 && marked(&clear) > 5, "{types:?}, {}", marked(&clear));
    let text = std::fs::read(&clear).unwrap();
    assert!(String::from_utf8_lossy(&text[..200]).contains("in the clear, not as they were on the wire"));
}

/// The variable that names the file for the secrets of TLS.
const KEY_LOG: &str = "SSLKEYLOGFILE";

/// The file that the variable names, in a process of its own in which this test of the module runs; `None` where that has passed: the
/// tests of a process share its environment.
#[track_caller]
fn with_key_log(test: &str) -> Option<PathBuf> {
    if let Some(file) = std::env::var_os(KEY_LOG) {
        return Some(file.into());
    }
    let directory = Directory::new();
    let mut alone = Command::new(std::env::current_exe().unwrap());
    alone.args([&format!("captures::{test}"), "--exact", "--include-ignored"]);
    let output = alone.env(KEY_LOG, directory.0.join("secrets")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    None
}

#[test]
fn secrets_are_written_only_if_a_setting_and_the_variable_ask_for_it() {
    let Some(file) = with_key_log("secrets_are_written_only_if_a_setting_and_the_variable_ask_for_it") else {
        return;
    };
    isolated!();
    own_engine!();
    let authority = authority();
    let config = |number| Config::new().acp(Acp::Domain(credentials(&authority, number)));
    talk(&Directory::new(), [config(1), config(2)]);
    assert!(!file.exists(), "the variable alone has no effect");
    talk(&Directory::new(), [config(1).tls_key_log(true), config(2)]);
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
    let secrets = std::fs::read_to_string(&file).unwrap();
    for label in ["CLIENT_HANDSHAKE_TRAFFIC_SECRET ", "CLIENT_TRAFFIC_SECRET_0 ", "SERVER_TRAFFIC_SECRET_0 "]
    {
        assert!(secrets.lines().filter(|line| line.starts_with(label)).count() >= 3, "{label}: {secrets}");
    }
}

/// What tshark with the dissector shows of a capture: the types of the messages, and the names in them.
fn dissected(capture: &Path, secrets: Option<&Path>) -> (BTreeSet<String>, BTreeSet<String>) {
    let dissector = concat!(env!("CARGO_MANIFEST_DIR"), "/../contrib/wireshark/grasp.lua");
    let mut command = Command::new("tshark");
    command.args(["-n", "-X", &format!("lua_script:{dissector}")]);
    if let Some(secrets) = secrets {
        command.args(["-o", &format!("tls.keylog_file:{}", secrets.display())]);
    }
    command.arg("-r").arg(capture).args(["-T", "fields", "-E", "separator=/t", "-E", "aggregator=|"]);
    let output = command.args(["-e", "grasp.type", "-e", "grasp.objective.name"]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).to_lowercase();
    // "Running as user root" is all that it may say.
    assert!(output.status.success() && !errors.contains("lua"), "{errors}");
    let (mut types, mut names) = (BTreeSet::new(), BTreeSet::new());
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        for (column, values) in line.split('\t').zip([&mut types, &mut names]) {
            values.extend(column.split('|').filter(|value| !value.is_empty()).map(str::to_owned));
        }
    }
    (types, names)
}

/// Both the capture of the link and that of an engine: Wireshark has the secrets from the file, and the messages from the dissector.
#[test]
#[ignore = "needs tshark"]
fn tshark_decrypts_a_capture_with_the_secrets_and_shows_its_messages() {
    let Some(secrets) = with_key_log("tshark_decrypts_a_capture_with_the_secrets_and_shows_its_messages")
    else {
        return;
    };
    isolated!();
    own_engine!();
    let (directory, authority) = (Directory::new(), authority());
    let config = |number| Config::new().acp(Acp::Domain(credentials(&authority, number))).tls_key_log(true);
    talk(&directory, [config(1), config(2)]);
    for name in ["link", "engine-asker", "engine-server"] {
        let capture = directory.0.join(format!("{name}.pcapng"));
        let announced = BTreeSet::from([AN_ACP.to_owned()]);
        assert_eq!(dissected(&capture, None).1, announced, "{name} without the secrets");
        let (types, names) = dissected(&capture, Some(&secrets));
        // A discovery, its response, a negotiation of an offer and its end, a synchronization, a flood.
        let expected = [1, 2, 3, 5, 6, 4, 8, 9].map(|number: u8| number.to_string());
        assert!(expected.iter().all(|number| types.contains(number)), "{name}: {types:?}");
        for what in ["negotiated", "served", "flooded"] {
            assert!(names.contains(&format!("{MARKER}-{what}")), "{name}: {names:?}");
        }
    }
}
