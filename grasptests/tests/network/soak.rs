//! The soak for less than a minute: its own program runs for hours.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use grasptests::isolated;
use grasptests::soak::{self, Security};

#[track_caller]
fn two_short_cycles(security: Security) -> String {
    let settings = soak::Settings {
        duration: Duration::from_secs(32),
        seed: 1,
        rate: 100,
        security,
        cycle: Duration::from_secs(16),
    };
    let mut out = Vec::new();
    let result = soak::run(&settings, &AtomicBool::new(false), &mut out);
    let out = String::from_utf8_lossy(&out).into_owned();
    println!("{out}");
    assert_eq!(result, Ok(()));
    out
}

#[test]
fn nothing_is_unexpected_and_nothing_grows_in_two_short_cycles() {
    isolated!(240);
    two_short_cycles(Security::Links);
}

#[test]
fn the_same_in_a_domain() {
    isolated!(360);
    let out = two_short_cycles(Security::Domain);
    assert!(out.contains("all neighbours were connected within"), "{out}");
}
