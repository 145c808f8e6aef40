//! `_drlisten`: accepts the responses to the discoveries of one interface and hands each to the session that
//! waits for it (RFC 8990 §2.8.4).

use std::io;
use std::sync::Arc;

use crossbeam_channel::TrySendError;

use super::reader::accept_loop;
use super::spawn;
use crate::core::Core;
use crate::net::listener::Listener;
use crate::proto::handle_answer;
use crate::registry::Transport;

/// Starts the thread of an interface.
pub(super) fn start(core: &Arc<Core>, ifi: u32, listener: Arc<Listener>) -> io::Result<()> {
    spawn(core, "_drlisten", move |core| {
        accept_loop(core, &listener, move |core, connection, message| {
            if !core.may_exchange() {
                core.counters.dropped_insecure.add();
                return None;
            }
            let transport: Arc<dyn Transport> = connection;
            let answer = core.with_node(|node| handle_answer(node, ifi, &transport, message, core.now()));
            // A connection that nobody has taken up is closed when it is dropped.
            if let Some(delivery) = answer {
                match delivery.mailbox.try_send(delivery.answer) {
                    Ok(()) => {
                        core.counters.answers_delivered.add();
                        core.counters.mailbox_peak.raise_to(delivery.mailbox.len());
                    }
                    Err(TrySendError::Full(_)) => core.counters.dropped_mailbox_full.add(),
                    // The discovery ended just now; what it asked for is in the cache.
                    Err(TrySendError::Disconnected(_)) => core.counters.dropped_late_answer.add(),
                }
            }
            None
        });
    })
}
