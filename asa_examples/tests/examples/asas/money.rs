//! briggs and gray.

use grasp_lab::{Lab, LabError, isolated};
use rustix::process::Signal;

use crate::asas::program::Program;
use crate::example;

const PACE: &[&str] = &["--pace", "0.02"];

/// How a negotiation can end, as (what Gray says, what Briggs says).
const ENDINGS: &[(&str, &str, &str)] = &[
    ("granted at once", "Negotiation succeeded [\"NZD\"", "Request accepted"),
    ("agreed after some steps", "Negotiation succeeded [\"NZD\"", "Negotiation succeeded"),
    ("wrong currency", "request_negotiate error: Invalid currency", "Failed Invalid currency"),
    ("Gray gives up", "Rejecting unacceptable offer", "Declined: You are mean!"),
    ("no money, in English", "Peer reject: Insufficient funds", "Failed Insufficient funds"),
    ("no money, in Russian", "Peer reject: Недостаточно средств", "Failed Недостаточно средств"),
    ("too many steps", "Peer reject: Loop count exhausted", "Loop count exhausted"),
    ("Briggs thinks too long", "Peer reject: No reply to negotiation step", "Failed: "),
];

fn missing(briggs: &Program, grays: &[Program]) -> Vec<&'static str> {
    let reached = |(_, gray, banker): &&(&str, &str, &str)| {
        grays.iter().any(|one| one.count(gray) > 0) && briggs.count(banker) > 0
    };
    ENDINGS.iter().filter(|ending| !reached(ending)).map(|(what, ..)| *what).collect()
}

#[test]
fn briggs_negotiates_with_three_grays_and_every_kind_of_ending_is_reached() -> Result<(), LabError> {
    isolated!(180);
    const ROUNDS: usize = 25;
    let lab = Lab::new()?;
    let nodes = ["briggs", "gray1", "gray2", "gray3"].map(|name| lab.node(name).unwrap());
    lab.lan(&nodes.each_ref())?;
    let mut briggs = Program::start(&nodes[0], example!("briggs"), &[PACE, &["--seed", "7"]].concat());
    briggs.says("Ready to negotiate EX3 as listener");
    let mut grays: Vec<Program> = Vec::new();
    // Random endings take as long as they take; seven out of eight are there after the first round of grays.
    for round in 0..6 {
        let mut new: Vec<Program> = (1..4)
            .map(|number| {
                let (seed, rounds) = ((10 * round + number).to_string(), ROUNDS.to_string());
                let options = [PACE, &["--seed", &seed, "--rounds", &rounds]].concat();
                Program::start(&nodes[number], example!("gray"), &options)
            })
            .collect();
        for gray in &mut new {
            assert!(gray.ends().success());
            assert_eq!(gray.count("Asking for NZD") + gray.count("Asking for USD"), ROUNDS);
            let ends = ["Negotiation succeeded", "Rejecting", "Peer reject", "request_negotiate error"];
            assert_eq!(ends.iter().map(|end| gray.count(end)).sum::<usize>(), ROUNDS, "one end each");
            assert!(gray.count("Synchronized EX1") >= ROUNDS / 2);
            assert_eq!(gray.count("Synchronized EX2 [1, \"two\", 3]"), 2);
            assert_eq!(gray.count("Synch failed Nonsense Not flooded and no reply to discovery"), 1);
            assert_eq!(gray.count("panicked"), 0);
        }
        grays.append(&mut new);
        let missing = missing(&briggs, &grays);
        println!("After {} rounds not yet seen: {missing:?}", grays.len() * ROUNDS);
        if missing.is_empty() {
            break;
        }
    }
    assert_eq!(missing(&briggs, &grays), [""; 0]);
    // All the features were drawn, too.
    for feature in ["Dry run", "CBOR value decoded", "Tried wait: OK"] {
        assert!(briggs.count(feature) > 0, "{feature}");
    }
    assert!(briggs.count("Got request for") >= 3 * ROUNDS);
    briggs.signal(Signal::TERM);
    assert!(briggs.ends().success());
    briggs.says("ASA exiting");
    assert_eq!(briggs.count("panicked"), 0);
    Ok(())
}

#[test]
fn briggs_ends_after_its_rounds() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let (near, far) = (lab.node("briggs")?, lab.node("gray")?);
    lab.link(&near, &far)?;
    let mut briggs = Program::start(&near, example!("briggs"), &[PACE, &["--rounds", "3"]].concat());
    let gray = Program::start(&far, example!("gray"), PACE);
    assert!(briggs.ends().success());
    assert_eq!(briggs.count("Got request for"), 3);
    // How three rounds end is a matter of luck.
    gray.says("Asking for");
    Ok(())
}
