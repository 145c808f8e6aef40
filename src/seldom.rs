//! Rate-limits log lines that a peer can trigger, so that a storm does not fill the log.

use std::fmt;

use parking_lot::Mutex;

/// How many times per minute one line may be logged.
const TIMES: u32 = 60;
const MINUTE: u64 = 60_000;

/// Counts how often one line has been logged.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    since: u64,
    times: u32,
    unsaid: u64,
}

/// How many lines were suppressed since the last one; appended to a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unsaid(u64);

impl fmt::Display for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, " ({} times more, not said)", self.0) }
    }
}

impl Seldom {
    /// Whether the line may be logged at `now`, in milliseconds of the engine's clock; if so, returns the number of
    /// suppressed lines.
    pub(crate) fn may_say(&self, now: u64) -> Option<Unsaid> {
        let mut said = self.0.lock();
        if now.saturating_sub(said.since) >= MINUTE {
            (said.since, said.times) = (now, 0);
        }
        if said.times >= TIMES {
            said.unsaid += 1;
            return None;
        }
        said.times += 1;
        Some(Unsaid(std::mem::take(&mut said.unsaid)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_said_so_often_a_minute_and_what_was_left_out_is_told() {
        let seldom = Seldom::default();
        let said = (0..1000).filter(|now| seldom.may_say(500_000 + now) == Some(Unsaid(0))).count();
        assert_eq!(said, 60);
        let later = seldom.may_say(560_000).map(|unsaid| unsaid.to_string());
        assert_eq!(later.as_deref(), Some(" (940 times more, not said)"));
        assert_eq!(seldom.may_say(560_001), Some(Unsaid(0)));
    }
}
