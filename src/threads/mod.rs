//! The threads of an engine. Only this module starts threads.
//!
//! ```text
//!   _mclisten  (interfaces x)    multicasts in --+
//!   _uclisten  (interfaces x)    datagrams in ---+-> bounded queue -> _mhandler (1x) -> node
//!                                                                        | effects
//!                                      _responder (bounded) <------------+
//!                                      _disc_relay (bounded) <-----------+--> datagrams out
//!   _host      (1x)              the other engines of this host: hears for them, or is handed what one has heard
//!   _host_listen (0x or 1x)      accepts questions to port 7017, for all engines of this host
//!   _drlisten  (interfaces x) -> _reader (bounded) -> node -> mailbox of the discovery
//!   _neigh_listen (interfaces x) -> _neighbour (neighbours x) -> the same queue, where connections carry multicasts
//!   _tcp_listen (objectives x) -> _reader (bounded) -> node -> listen_negotiate
//!                                                           +-> _synch_listen (objectives x)
//!   _watcher   (1x)              interfaces and addresses; removes expired entries
//!   _dull_watcher (0x or 1x)     interfaces, for DULL instances on all of them
//!   _flooder   (repeated floods x)  floods again, for `api`
//!   _pcap      (0x or 1x)        writes the capture, if configured
//!   _story     (0x or 1x)        writes to the log, if that wants debug lines
//!   _ipc_listen (servers x) -> _ipc (clients x, and one per call that waits), for `ipc`
//!   _bubble_feed, _bubbles, _bubble_client (bounded)  the page, if enabled
//! ```
//!
//! Threads for short activities, `_reader`, `_responder`, `_disc_relay` and `_ipc`, wait briefly for another activity before
//! they end (`pool`).
//! Every thread has a name, and its handle is kept and joined. A panic ends one activity, and is logged and counted.

#[cfg(feature = "bubbles")]
mod bubbles;
mod disc_relay;
mod drlisten;
mod host;
mod mclisten;
mod mhandler;
mod neighbours;
mod pcap;
mod pool;
mod reader;
mod resolver;
mod responder;
mod signals;
mod story;
mod synch_listen;
mod tcp_listen;
mod watcher;

#[cfg(feature = "bubbles")]
pub(crate) use bubbles::start as start_bubbles;
pub(crate) use host::start as start_host;
pub(crate) use mhandler::{queue, start as start_mhandler};
pub(crate) use pcap::start as start_pcap;
pub(crate) use pool::run;
pub(crate) use resolver::resolve;
pub(crate) use story::start as start_story;
pub(crate) use synch_listen::start as start_synch_listen;
pub(crate) use tcp_listen::start as start_tcp_listen;
pub(crate) use watcher::{refresh, start as start_watcher, start_dull as start_dull_watcher};

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::Builder;

use crate::core::Core;

/// The stack size of every thread: decoding recurses no deeper than the nesting limit.
const STACK: usize = 256 * 1024;

/// Starts a thread, unless the engine is shutting down: then all threads end, and none may start afterwards. The name
/// has at most 15 bytes, because Linux shows no more. A panic in `body` ends only this thread.
pub(crate) fn spawn(
    core: &Arc<Core>,
    name: &'static str,
    body: impl FnOnce(&Arc<Core>) + Send + 'static,
) -> io::Result<()> {
    debug_assert!(name.len() <= 15, "{name}");
    let own = Arc::clone(core);
    let started = core.threads.start(
        || core.is_stopping(),
        |number| {
            signals::start(Builder::new().name(name.to_owned()).stack_size(STACK), move || {
                OF_AN_ENGINE.set(true);
                contain(&own, name, || body(&own));
                own.threads.end(number);
            })
        },
    );
    match started {
        Ok(live) => core.node.counters.threads_peak.raise_to(live),
        Err(error) => {
            core.node.counters.thread_failed.add();
            if let Some(unsaid) = core.threads.may_say(core.now()) {
                log::warn!("{name} cannot be started: {error}{unsaid}");
            }
            return Err(error);
        }
    }
    Ok(())
}

thread_local! {
    static OF_AN_ENGINE: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread belongs to an engine, as in a call of a logger or a substrate.
pub(crate) fn is_engine_thread() -> bool {
    OF_AN_ENGINE.get()
}

/// Starts a thread that runs an ASA's own code. It does not belong to the engine and has a stack of the usual size; the
/// caller waits for its end.
pub(crate) fn start_asa(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    signals::start(Builder::new().name(name.to_owned()), body).map(drop)
}

/// Runs `body`. A panic ends only that. Logging belongs in here too: the logger is the program's and may panic.
fn contain(core: &Core, what: &str, body: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(body)).is_err() {
        core.node.counters.panics.add();
        let tell = || {
            log::error!(
                "{what} panicked: this is a bug of the engine or of its logger; everything else goes on"
            )
        };
        let _ = catch_unwind(tell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acp::Acp;
    use crate::config::Config;

    /// An engine without interfaces.
    pub(super) fn core() -> Arc<Core> {
        let config = Config::new().acp(Acp::Layer2);
        let substrate = crate::acp::substrate(&config.acp, Default::default()).unwrap();
        Arc::new(Core::new(config, substrate, Vec::new()))
    }
}
