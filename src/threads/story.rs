//! `_story`: tells the log what the engine does, as a listener of its trace, where the log wants to know. It holds up nobody:
//! what the log does not take in time is lost, and said.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{contain, spawn};
use crate::core::Core;
use crate::trace::story::Story;

/// How many events may wait to be told.
const CAPACITY: usize = 16_384;
/// How long it goes on telling when the engine has been stopped.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// The target of its lines, for filters such as `RUST_LOG=grasp::story=debug`.
const TARGET: &str = "grasp::story";

/// Starts the thread, if the log that the program has set up wants debug lines.
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
            // What is left when the engine stops is told as long as that takes no time.
            if core.is_stopping() && stopping.get_or_insert_with(Instant::now).elapsed() > LAST_WORDS {
                break;
            }
            // The log is the program's own code.
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
