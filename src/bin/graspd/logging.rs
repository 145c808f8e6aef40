//! The log on standard error: for journald with the priority of each line, for people with the time of day in UTC. The level can
//! change while the program runs.

use std::env;
use std::io::{self, Write as _};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::fs::fstat;

/// Writes lines.
#[derive(Debug)]
struct Logger {
    journald: bool,
}

static LOGGER: LazyLock<Logger> = LazyLock::new(|| Logger { journald: is_journald() });

/// Starts the log.
pub(crate) fn start(level: LevelFilter) {
    // Nothing else in this program sets a logger.
    if log::set_logger(&*LOGGER).is_ok() {
        set_level(level);
    }
}

/// Changes the level.
pub(crate) fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// Whether standard error is the stream that `JOURNAL_STREAM` names, by device and inode: it may have been redirected.
fn is_journald() -> bool {
    let Ok(named) = env::var("JOURNAL_STREAM") else { return false };
    fstat(io::stderr()).is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        let mut lines = String::new();
        for line in text.lines() {
            if self.journald {
                lines.push_str(&format!("<{}>{line}\n", priority(record.level())));
            } else {
                lines.push_str(&format!("{} {:<5} {line}\n", time_of_day(), record.level()));
            }
        }
        // In one piece, so that lines of several threads do not mix. An error of standard error cannot be reported anywhere.
        let _ = io::stderr().lock().write_all(lines.as_bytes());
    }

    fn flush(&self) {}
}

/// The priority of syslog(3).
const fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Hours, minutes, seconds and milliseconds of UTC.
fn time_of_day() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, milliseconds) = (now.as_secs() % 86_400, now.subsec_millis());
    format!("{:02}:{:02}:{:02}.{milliseconds:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
