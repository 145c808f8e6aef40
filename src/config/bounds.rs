//! The supported ranges of settings: `engine` replaces settings outside of them at the start, and reports them.

use std::fmt;
use std::time::Duration;

use super::Config;
use super::by_name::Written as _;
use crate::types::Value;

/// Upper bound for times: larger ones would overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// The shortest interval of `_watcher`.
const BRIEFEST_WATCH: Duration = Duration::from_millis(1);
/// The largest capacity of a queue, which allocates all of its room when it is created.
const LONGEST_QUEUE: usize = 65_536;
/// The deepest nesting that the stacks of the threads have room for.
const DEEPEST: usize = 128;
/// The largest datagram of UDP over IPv6 without jumbograms.
const LARGEST_DATAGRAM: usize = 65_527;
/// The largest unicast message: each connection keeps one in memory while it arrives.
const LARGEST_MESSAGE: usize = 16 << 20;
/// The smallest limit on messages that leaves the protocol usable: GRASP_DEF_MAX_SIZE is 2048, an IPv6 packet has 1280
/// bytes.
const SMALLEST_MESSAGE: usize = 64;

/// A setting outside the supported range, and what is used instead. `Display` is a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Adjusted {
    /// The setting, by its name in [`Config`].
    pub setting: &'static str,
    /// The value that was set.
    pub wanted: String,
    /// The value that is used.
    pub used: String,
}

impl fmt::Display for Adjusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be {}: {} is used", self.setting, self.wanted, self.used)
    }
}

/// The settings that have a range, for `$each`.
macro_rules! bounded {
    ($each:ident) => {
        $each! {
            watch_interval BRIEFEST_WATCH, LONGEST;
            connect_timeout Duration::ZERO, LONGEST;
            response_timeout Duration::ZERO, LONGEST;
            request_deadline Duration::ZERO, LONGEST;
            listen_grace Duration::ZERO, LONGEST;
            abandoned_after Duration::ZERO, LONGEST;
            interface_limit 1, usize::MAX;
            request_queue 0, LONGEST_QUEUE;
            requests_per_peer 0, LONGEST_QUEUE;
            multicast_queue 1, LONGEST_QUEUE;
            response_queue 1, LONGEST_QUEUE;
            relay_answers 1, usize::MAX;
            nesting 1, DEEPEST;
            unicast_size SMALLEST_MESSAGE, LARGEST_MESSAGE;
            multicast_size SMALLEST_MESSAGE, LARGEST_DATAGRAM;
            multicast_send_size SMALLEST_MESSAGE, LARGEST_DATAGRAM;
        }
    };
}

impl Config {
    /// Clamps settings to the supported ranges, and returns those that were changed.
    pub(crate) fn feasible(mut self) -> (Self, Vec<Adjusted>) {
        let mut adjusted = Vec::new();
        macro_rules! clamp {
            ($($name:ident $least:expr, $most:expr;)*) => {$(
                let used = self.$name.clamp($least, $most);
                if used != self.$name {
                    let (wanted, used) = (format!("{:?}", self.$name), format!("{used:?}"));
                    adjusted.push(Adjusted { setting: stringify!($name), wanted, used });
                }
                self.$name = used;
            )*};
        }
        bounded!(clamp);
        (self, adjusted)
    }

    /// The smallest and the largest value of a setting, if it has a range.
    pub(super) fn range(name: &str) -> Option<(Value, Value)> {
        macro_rules! find {
            ($($name:ident $least:expr, $most:expr;)*) => {$(
                if name == stringify!($name) {
                    // With the type of the setting.
                    let mut bound = Self::new();
                    bound.$name = $least;
                    let least = bound.$name.write()?;
                    bound.$name = $most;
                    return Some((least, bound.$name.write()?));
                }
            )*};
        }
        bounded!(find);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_done_is_left_and_what_cannot_is_reported() {
        let (_, adjusted) = Config::new().feasible();
        assert_eq!(adjusted, []);
        let config = Config::new()
            .multicast_size(usize::MAX)
            .connect_timeout(Duration::MAX)
            .response_queue(0)
            .nesting(129)
            .watch_interval(Duration::ZERO);
        let (config, adjusted) = config.feasible();
        let settings: Vec<_> = adjusted.iter().map(|one| one.setting).collect();
        assert_eq!(
            settings,
            ["watch_interval", "connect_timeout", "response_queue", "nesting", "multicast_size"]
        );
        assert_eq!((config.multicast_size, config.nesting, config.response_queue), (65_527, 128, 1));
        assert_eq!(adjusted[3].to_string(), "nesting cannot be 129: 128 is used");
    }
}
