//! The soak for less than a minute: its own program runs for hours.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use grasptests::{isolated, soak};

#[test]
fn nothing_is_unexpected_and_nothing_grows_in_two_short_cycles() {
    isolated!(240);
    let settings = soak::Settings {
        duration: Duration::from_secs(32),
        seed: 1,
        rate: 100,
        quads: false,
        cycle: Duration::from_secs(16),
    };
    let mut out = Vec::new();
    let result = soak::run(&settings, &AtomicBool::new(false), &mut out);
    println!("{}", String::from_utf8_lossy(&out));
    assert_eq!(result, Ok(()));
}
