//! Discoveries that come to port 7017 by TCP (RFC 8990 §2.5.4.2). The front answers them on their connection, for itself and for
//! its members, each of which decides as if it had been asked itself.

use std::io;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::acp::Protection;
use crate::bounds::Neighbour;
use crate::core::Core;
use crate::net::host::Link;
use crate::net::listener::Listener;
use crate::net::tcp::Connection;
use crate::node::Requested;
use crate::outcome::{Case, MessageOutcome};
use crate::registry::{Transport, TransportError};
use crate::threads::reader::{Rest, accept_loop};
use crate::threads::{responder, spawn};
use crate::wire::{Body, Message, decode, encode};
use crate::workers::host::Said;

/// Starts the thread that accepts connections to port 7017. It ends when the listener is closed.
pub(super) fn start(core: &Arc<Core>, listener: Arc<Listener>) -> io::Result<()> {
    spawn(core, "_host_listen", move |core| accept_loop(core, &listener, Core::framing, take))
}

/// Handles the first message of a connection. Only discoveries are for this port: requests go to the port of an objective.
fn take(
    _: &Arc<Core>,
    connection: Arc<Connection>,
    message: Message,
    case: Case<MessageOutcome>,
) -> Option<Rest> {
    if matches!(message.body, Body::Discovery { .. }) {
        // This waits for the members.
        return Some(Box::new(move |core| answer(core, &connection, message, case)));
    }
    case.settle(MessageOutcome::Misplaced);
    connection.close();
    None
}

/// Sends what this engine and its members answer, each in a message of its own, as if the question had come by multicast.
fn answer(core: &Arc<Core>, connection: &Arc<Connection>, message: Message, case: Case<MessageOutcome>) {
    let deadline = Instant::now() + core.node.config.response_timeout;
    let asker = connection.neighbour();
    let bytes = encode(&message);
    let sealed = core.protection.as_ref().map(|protection| protection.seal(&bytes));
    let bytes = sealed.unwrap_or(bytes);
    let answers = core.host.ask(asker, &bytes, &core.node.counters);
    let own = Question::new(asker, Way::Here(Arc::clone(connection)));
    let mut is_answered = false;
    if let Some(Requested::Respond(response, own)) = core.node.request(message, case, own, core.now()) {
        is_answered |= responder::say(core, response, own.as_ref());
    }
    while let Some(answer) = answers.next(deadline) {
        // A member of another domain cannot have understood the question.
        let opened = match &core.protection {
            None => Some(answer),
            Some(protection) => protection.open(&answer),
        };
        let message = opened.filter(|opened| decode(opened, &core.node.unicast_limits()).is_ok());
        is_answered |= message.is_some_and(|message| connection.send(&message, deadline).is_ok());
    }
    // The side that closes first keeps the port in TIME_WAIT.
    if is_answered {
        core.closing.add(Arc::clone(connection) as Arc<dyn Transport>)
    } else {
        connection.close()
    }
}

/// How an answer reaches the asker.
#[derive(Debug)]
pub(super) enum Way {
    /// On its connection.
    Here(Arc<Connection>),
    /// Through the front, which has asked with this number.
    Front { link: Arc<Link>, number: u64, protection: Option<Arc<dyn Protection>> },
}

/// The way to an asker, as a transport for `responder`. Other engines use the asker's connection, too: so this sends one answer,
/// and does not close the connection. If there is no answer, the front is told so.
#[derive(Debug)]
pub(super) struct Question {
    asker: Neighbour,
    way: Way,
    is_answered: AtomicBool,
}

impl Question {
    pub(super) fn new(asker: Neighbour, way: Way) -> Arc<Self> {
        Arc::new(Self { asker, way, is_answered: AtomicBool::new(false) })
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        if let (Way::Front { link, number, .. }, false) =
            (&self.way, self.is_answered.load(Ordering::Relaxed))
        {
            // If this fails, the front is gone or does not read: then it finds out by itself.
            let _ = link.send(&Said::Answer { number: *number, bytes: None }.encode());
        }
    }
}

impl Transport for Question {
    fn send(&self, message: &[u8], deadline: Instant) -> Result<(), TransportError> {
        match &self.way {
            Way::Here(connection) => connection.send(message, deadline),
            Way::Front { link, number, protection } => {
                let sealed = protection.as_ref().map(|protection| protection.seal(message));
                let bytes = Some(sealed.as_deref().unwrap_or(message));
                let sent = link.send(&Said::Answer { number: *number, bytes }.encode());
                self.is_answered.store(sent.is_ok(), Ordering::Relaxed);
                sent.map_err(|_| TransportError::Closed)
            }
        }
    }

    fn receive(&self, _: Instant) -> Result<Vec<u8>, TransportError> {
        Err(TransportError::Closed)
    }

    fn has_unread(&self) -> bool {
        false
    }

    fn is_over(&self) -> bool {
        true
    }

    fn pause_before_next(&self, _: Duration) {}

    fn close(&self) {}

    fn reset(&self) {}

    fn peer(&self) -> Ipv6Addr {
        self.asker.1
    }

    fn neighbour(&self) -> Neighbour {
        self.asker
    }

    fn is_from_here(&self) -> bool {
        match &self.way {
            Way::Here(connection) => connection.is_from_here(),
            Way::Front { .. } => false,
        }
    }
}
