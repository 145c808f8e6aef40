//! tshark with the dissector.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The fields of every packet in a capture, in the order asked for: for each packet its number and, for each
/// field, its values.
pub(crate) fn fields(capture: &Path, names: &[&str]) -> Vec<(u64, Vec<Vec<String>>)> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../contrib/wireshark/grasp.lua");
    let mut command = Command::new("tshark");
    command.args(["-X", &format!("lua_script:{script}"), "-o", "tcp.try_heuristic_first:TRUE", "-n"]);
    command.arg("-r").arg(capture).args(["-T", "fields", "-E", "separator=/t", "-E", "aggregator=|"]);
    command.args(["-e", "frame.number"]);
    for name in names {
        command.args(["-e", name]);
    }
    let started = Instant::now();
    let output = command.output().expect("tshark starts: is it installed?");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    // "Running as user root" is all that it may say.
    assert!(!errors.to_lowercase().contains("lua"), "{errors}");
    assert!(started.elapsed() < Duration::from_secs(100), "{:?}", started.elapsed());
    let values = |field: &str| match field {
        "" => Vec::new(),
        field => field.split('|').map(str::to_owned).collect(),
    };
    text.lines()
        .map(|line| {
            let mut columns = line.split('\t');
            let number = columns.next().and_then(|number| number.parse().ok()).expect(line);
            (number, columns.map(values).collect())
        })
        .collect()
}
