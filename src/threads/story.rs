//! `_story`: writes what the engine does to the log, as a listener of its trace, if the log wants it. It delays nobody:
//! events that the log does not accept in time are lost, and their number is logged.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{contain, spawn};
use crate::core::Core;
use crate::trace::story::Story;

/// How many events may wait to be logged.
const CAPACITY: usize = 16_384;
/// How long it continues to log after the engine has stopped.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// The log target of its lines, for filters such as `RUST_LOG=grasp::story=debug`.
const TARGET: &str = "grasp::story";

/// Starts the thread if the program's logger wants debug lines.
pub(crate) fn start(core: &Arc<Core>) -> io::Result<()> {
    if !log::log_enabled!(target: TARGET, log::Level::Debug) {
        return Ok(());
    }
    let trace = core.node.counters.tracer().subscribe(CAPACITY);
    spawn(core, "_story", move |core| {
        let node = core.node.config.node_name();
        let (mut story, mut lost) = (Story::default(), 0);
        log::debug!(target: TARGET, "{node}: starts");
        let mut stopping = None;
        while let Ok(event) = trace.recv() {
            // After the engine has stopped, logs the remaining events only for a short time.
            if core.is_stopping() && stopping.get_or_insert_with(Instant::now).elapsed() > LAST_WORDS {
                break;
            }
            // The logger is the program's own code.
            contain(core, "telling the log", || {
                if let Some((level, line)) = story.tell(&event, |ifi| core.interface_name(ifi)) {
                    log::log!(target: TARGET, level, "{node}: {line}");
                }
            });
            let now = trace.lost();
            if now > lost {
                log::debug!(target: TARGET, "{node}: {} events were not told in time", now - lost);
                lost = now;
            }
        }
        log::debug!(target: TARGET, "{node}: has stopped");
    })
}
