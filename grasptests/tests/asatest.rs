//! ASAtest, and the switches of the engine that it needs.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in helpers of tests too a failure is a panic")]

use grasp::{Asa, Config, Discover, Engine, Objective, RegisterObj};
use grasptests::isolated;
use grasptests::lab::{Lab, LabError};

#[test]
fn a_forced_divert_shows_in_what_is_discovered() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let node = lab.node("a")?;
    lab.link(&node, &lab.node("b")?)?;
    let engine = node.run(|| Engine::start(Config::new().listen_self(true))).expect("the engine starts");
    let asa = Asa::register(&engine, "Boot").unwrap();
    let mut boot = Objective::new("Boot");
    boot.synch = true;
    let options = RegisterObj { discoverable: true, ..RegisterObj::default() };
    node.run(|| engine.register_obj(asa.nonce(), &boot, options)).unwrap();
    let discover = |options| engine.discover(asa.nonce(), &boot, Some(5000), options).unwrap();
    let first = Discover { enough: Some(1), ..Discover::default() };

    let direct = discover(first);
    assert_eq!(direct.iter().map(|locator| locator.diverted).collect::<Vec<_>>(), [false]);
    engine.set_test_divert(true);
    let diverted = discover(first);
    assert_eq!(diverted.iter().map(|locator| locator.diverted).collect::<Vec<_>>(), [true]);
    assert_eq!((&diverted[0].locator, diverted[0].port), (&direct[0].locator, direct[0].port));
    engine.set_test_divert(false);
    assert!(!discover(first)[0].diverted, "the cache remembers the direct answer");
    Ok(())
}
