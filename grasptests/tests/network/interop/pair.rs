//! One of ours and one graspy on a link.

use std::thread;

use grasp::Objective;
use grasptests::lab::{Lab, Node};

use crate::interop::graspy::Graspy;
use crate::interop::ours::Ours;
use crate::interop::side::{How, Reply, Session, Side};

pub(crate) struct Pair {
    pub(crate) ours: Ours,
    pub(crate) graspy: Graspy,
    pub(crate) our_node: Node,
    pub(crate) graspy_node: Node,
    _lab: Lab,
}

impl Pair {
    pub(crate) fn start() -> Self {
        let lab = Lab::new().unwrap();
        let (our_node, graspy_node) = (lab.node("ours").unwrap(), lab.node("graspys").unwrap());
        lab.link(&our_node, &graspy_node).unwrap();
        let [graspy] = Graspy::start([&graspy_node]);
        Self { ours: Ours::start(&our_node), graspy, our_node, graspy_node, _lab: lab }
    }

    /// Runs a scenario in both roles: asker, answerer, and a name for its objective.
    pub(crate) fn both(&self, what: &str, scenario: impl Fn(&dyn Side, &dyn Side, &str)) {
        println!("--- {what}: ours asks");
        scenario(&self.ours, &self.graspy, &format!("{what} 1"));
        println!("--- {what}: graspy asks");
        scenario(&self.graspy, &self.ours, &format!("{what} 2"));
    }

    /// The node of a side.
    pub(crate) fn node(&self, side: &dyn Side) -> &Node {
        if side.is_graspy() { &self.graspy_node } else { &self.our_node }
    }
}

/// A negotiation: the answerer listens, the asker finds it and asks, and both go on as they are told.
#[track_caller]
pub(crate) fn negotiate(
    (asker, asks): (&dyn Side, impl FnOnce(Reply)),
    (answerer, answers): (&dyn Side, impl FnOnce(Session, Objective) + Send),
    objective: &Objective,
    timeout: u32,
) {
    asker.register(objective, How::default());
    answerer.register(objective, How::default());
    thread::scope(|scope| {
        let answering = scope.spawn(|| {
            let (session, asked) = answerer.listen(objective);
            answers(session, asked);
        });
        let peer = asker.find(objective);
        asks(asker.request(objective, Some(&peer), timeout));
        answering.join().unwrap();
    });
}
