//! The command with graspd, as they are installed.

use grasptests::isolated;
use grasptests::lab::{Node, eventually};
use grasptests::nodes::linked;

use super::{Ended, SOON, command};
use crate::graspd::daemon::{Graspd, Place};

/// Runs the command in a node, through the socket of its graspd.
fn grasp(node: &Node, place: &Place, words: &[&str]) -> Ended {
    let socket = place.0.join("grasp.sock");
    Ended::from(command(node, words).env("GRASP_SOCKET", socket).output().expect("it starts"))
}

#[test]
fn a_node_of_a_host_is_looked_into_used_and_told_to_reload() {
    isolated!();
    let (_lab, _link, a, b) = linked();
    let (near, far) = (Place::new(""), Place::new(""));
    near.objective("clock", "name = 'Clock'\nvalue = 'noon'\nflood_every = 1000");
    let (here, _there) = (Graspd::start(&a, &near), Graspd::start(&b, &far));
    let objectives = grasp(&a, &near, &["objectives", "--json"]).objects();
    assert_eq!((&objectives[0]["objective"], &objectives[0]["value"]), (&"Clock".into(), &"noon".into()));
    // From the other host, by that host's own node.
    let read = |value: &str| {
        let got = grasp(&b, &far, &["floods", "Clock", "--as", "text", "--timeout", "5s"]);
        got.status == 0 && got.out.contains(value)
    };
    eventually(SOON, "the value comes", || read("noon"));

    near.objective("clock", "name = 'Clock'\nvalue = 'one'\nflood_every = 1000");
    let said = grasp(&a, &near, &["reload"]).done();
    assert!(said.starts_with(&format!("process {} reads its configuration again", here.pid())), "{said}");
    here.says("the configuration is in force");
    eventually(SOON, "the other value comes", || read("one"));

    let doctor = grasp(&a, &near, &["doctor", "--listen", "1200ms"]);
    assert!(doctor.out.contains("ok    port 7017: held by graspd-tested"), "{doctor:?}");
}
