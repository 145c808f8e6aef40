//! A member: handles the datagrams that the front hands on as if it had received them itself, and answers the front's questions.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use super::hear;
use super::question::{Question, Way};
use crate::bounds::Neighbour;
use crate::core::Core;
use crate::net::host::{LONGEST, Link, Read};
use crate::net::wait::wait_for_inputs;
use crate::net::waker::Waker;
use crate::node::{Arrival, FirstMessage, Requested};
use crate::outcome::MessageOutcome;
use crate::threads::mhandler::Queue;
use crate::threads::{contain, mclisten, responder};
use crate::wire::Body;
use crate::workers::host::{Said, Standing, Status, Told};

/// Takes the role that the front gives. Returns whether the standing has changed.
pub(super) fn take_role(core: &Core, relays: bool, hears: Vec<u32>) -> bool {
    core.node.set_relays_for_host(relays);
    core.host.set_standing(Standing::Member { hears: hears.into_iter().collect() })
}

/// Follows the front until it or this engine ends.
pub(super) fn follow(core: &Arc<Core>, queue: &Queue, link: &Arc<Link>, waker: &Waker) {
    let mut buffer = vec![0; LONGEST];
    let mut said: Option<Status> = None;
    while !core.is_stopping() {
        let status = core.host.status();
        if said.as_ref() != Some(&status) {
            if link.send(&Said::Status(status.clone()).encode()).is_err() {
                return;
            }
            said = Some(status);
        }
        match wait_for_inputs(&[waker.as_fd(), link.as_fd()], None).as_deref() {
            Ok([woken, _]) => {
                if *woken {
                    waker.clear();
                }
            }
            _ => return,
        }
        loop {
            match link.read(&mut buffer) {
                Read::Message(message) => {
                    let Some(told) = Told::decode(message) else { return };
                    // A panic must not end following.
                    contain(core, "handling what the front has handed on", || take(core, queue, link, told));
                }
                Read::Nothing => break,
                Read::End => return,
            }
            if core.is_stopping() {
                return;
            }
        }
    }
}

fn take(core: &Arc<Core>, queue: &Queue, link: &Arc<Link>, told: Told<'_>) {
    match told {
        Told::Role { relays, hears } => {
            if take_role(core, relays, hears) {
                hear(core, queue);
            }
        }
        Told::Datagram { ifi, source, port, bytes } => {
            // Not on an interface that this engine does not use, or where it receives itself.
            if core.addresses().link_local(ifi).is_some() && !core.host.hears(ifi) {
                mclisten::take(core, Arrival { ifi, source, port, multicast: false }, bytes, false, queue);
            }
        }
        Told::Question { number, ifi, source, bytes } => answer(core, link, number, (ifi, source), bytes),
    }
}

/// Answers a discovery that has come to the front by TCP, or says that there is no answer.
fn answer(core: &Arc<Core>, link: &Arc<Link>, number: u64, asker: Neighbour, bytes: &[u8]) {
    let way = Way::Front { link: Arc::clone(link), number, protection: core.protection.clone() };
    let question = Question::new(asker, way);
    let opened = match &core.protection {
        None => bytes.to_vec(),
        // The question is of another domain.
        Some(protection) => match protection.open(bytes) {
            None => return,
            Some(opened) => opened,
        },
    };
    let FirstMessage::Message(message, case) = core.node.first_message(&opened) else { return };
    if !matches!(message.body, Body::Discovery { .. }) {
        return case.settle(MessageOutcome::Misplaced);
    }
    if let Some(Requested::Respond(response, question)) =
        core.node.request(*message, case, question, core.now())
    {
        responder::say(core, response, question.as_ref());
    }
}
