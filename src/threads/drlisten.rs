//! `_drlisten`: accepts the responses to the discoveries of one interface and hands each to the waiting session
//! (RFC 8990 §2.8.4).

use std::io;
use std::sync::Arc;

use super::reader::accept_loop;
use super::spawn;
use crate::core::Core;
use crate::net::listener::Listener;
use crate::registry::Transport;

/// Starts the thread of an interface.
pub(super) fn start(core: &Arc<Core>, ifi: u32, listener: Arc<Listener>) -> io::Result<()> {
    spawn(core, "_drlisten", move |core| {
        accept_loop(core, &listener, Core::framing, move |core, connection, message, case| {
            let transport: Arc<dyn Transport> = connection;
            core.node.answer(ifi, &transport, message, case, core.now());
            None
        });
    })
}
