//! What an engine writes is for the user who runs it.

use std::os::unix::fs::PermissionsExt as _;

use grasp::{Config, Discover, Objective};
use grasptests::isolated;
use grasptests::nodes::one;
use rustix::fs::Mode;

#[test]
fn nobody_else_may_read_a_capture() {
    isolated!();
    // Nothing but what the engine asks for keeps others out.
    rustix::process::umask(Mode::empty());
    let directory = std::env::temp_dir().join(format!("grasp-private-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let (_lab, host) = one(Config::new().pcap(Some(directory.join("capture.pcapng"))));
    host.run(|engine, asa| {
        engine.discover(asa, &Objective::new("EX1"), None, Discover::default()).unwrap();
        engine.shutdown();
    });
    let modes: Vec<_> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap())
        .map(|about| (about.permissions().mode() & 0o777, about.len() > 0))
        .collect();
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(modes, [(0o600, true)]);
}
