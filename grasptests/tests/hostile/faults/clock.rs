//! A clock that is not what it was. Deadlines and lifetimes are times of clocks that never jump; a machine that sleeps
//! cannot be simulated here, but one that has been up for long can.

use std::fs;
use std::path::Path;
use std::process::Command;

use grasp::{Config, Discover, TaggedObjective};
use grasptests::isolated;
use grasptests::lab::{eventually, process};
use grasptests::nodes::{SOON, discoverable, negotiable, synchronizable, two};

use super::negotiate;

/// How long the machine seems to have been up, in seconds: 95 years. The system permits no more than 146.
const UP: u64 = 3_000_000_000;

#[test]
fn no_code_of_the_engine_decides_by_the_time_of_day() {
    fn look(directory: &Path) -> usize {
        let mut files = 0;
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            // Events and captures say when on the calendar something happened, and decide nothing. Certificates are valid by the
            // calendar.
            if [
                "domain",
                "tls",
                "acp/with_domain_tests.rs",
                "net/channel_tests.rs",
                "trace",
                "bubbles",
                "threads/pcap.rs",
                "ipc/event.rs",
                "ipc/document.rs",
                "bin/graspd/logging.rs",
            ]
            .iter()
            .any(|diary| path.ends_with(diary))
            {
                continue;
            }
            if path.is_dir() {
                files += look(&path);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                let wrong = ["SystemTime", "UNIX_EPOCH", "ClockId::Realtime", "gettimeofday"];
                let found = wrong.iter().find(|word| text.contains(**word));
                assert_eq!(found, None, "{}: it jumps when somebody sets it", path.display());
                files += 1;
            }
        }
        files
    }
    let files = look(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../src"));
    assert!(files > 50, "{files} files");
}

#[test]
#[ignore = "needs time namespaces that begin with exec: Linux 6.3"]
fn an_engine_works_on_a_machine_that_has_been_up_for_a_lifetime() {
    isolated!();
    if std::env::var_os("FAULTS_CLOCK").is_some() {
        return works();
    }
    let name = "faults::clock::an_engine_works_on_a_machine_that_has_been_up_for_a_lifetime";
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--ignored", "--nocapture", "--test-threads=1"]).env("FAULTS_CLOCK", "1");
    process::up_for(&mut command, UP);
    let child = command.output().expect("a child in a time namespace: Linux 6.3 or later");
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && said.contains("works at"),
        "{said}{}",
        String::from_utf8_lossy(&child.stderr)
    );
}

fn works() {
    let now = grasp::monotonic_ms();
    assert!(now > UP * 1000, "the clock says {now}");
    let (_lab, near, far) = two(Config::new());
    for host in [&near, &far] {
        host.register_with(&negotiable("EX1", 0), discoverable());
        host.register(&synchronizable("EX2", 1));
    }
    let found =
        near.run(|engine, asa| engine.discover(asa, &negotiable("EX1", 0), None, Discover::default()));
    let found = found.unwrap();
    assert!(found[0].expire > now && found[0].is_valid_at(grasp::monotonic_ms()), "{found:?}");
    negotiate(&near, &far);
    let tagged = TaggedObjective::new(synchronizable("EX2", 5), None);
    near.run(|engine, asa| engine.flood(asa, 1500, &[tagged])).unwrap();
    let flooded = || far.run(|engine, asa| engine.get_flood(asa, &synchronizable("EX2", 0))).unwrap();
    eventually(SOON, "the flood arrives", || flooded().len() == 1);
    eventually(SOON, "the flood expires", || flooded().is_empty());
    println!("works at {now} ms");
}
