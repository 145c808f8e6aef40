//! The built-in Configger (graspy's `_figger`): floods of the objective GraspConfig change the maximum size of
//! messages, within bounds. `_mhandler` calls it when GraspConfig was flooded, and so does `flood`.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::Config;
use crate::objectives::GRASP_CONFIG as NAME;
use crate::registry::FloodCache;
use crate::seldom::Seldom;
use crate::types::Value;

/// The keys of its value: the largest multicast and the largest unicast message in bytes.
const MULTICAST: i64 = 3;
const UNICAST: i64 = 4;
/// The accepted sizes, as in graspy: from RFC 8990's default, to which it can be set back here, to ten times that.
const BOUNDS: std::ops::Range<usize> = 2048..20_480;

/// Whether floods of this name are for the Configger.
pub(crate) fn is_meant(name: &str) -> bool {
    name == NAME
}

/// The current maximum sizes of messages.
#[derive(Debug)]
pub(crate) struct Sizes {
    unicast: AtomicUsize,
    multicast: AtomicUsize,
    enabled: bool,
    changes: Seldom,
}

impl Sizes {
    /// Starts with the configured sizes. A DULL instance has no security, so it ignores GraspConfig.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            unicast: AtomicUsize::new(config.unicast_size),
            multicast: AtomicUsize::new(config.multicast_size),
            enabled: config.figging && !config.dull,
            changes: Seldom::default(),
        }
    }

    pub(crate) fn unicast(&self) -> usize {
        self.unicast.load(Ordering::Relaxed)
    }

    pub(crate) fn multicast(&self) -> usize {
        self.multicast.load(Ordering::Relaxed)
    }

    /// The largest multicast message that may ever be accepted.
    pub(crate) fn largest_multicast(&self) -> usize {
        if self.enabled { self.multicast().max(BOUNDS.end) } else { self.multicast() }
    }

    /// Applies the latest valid flood of GraspConfig, if there is one.
    pub(crate) fn follow(&self, floods: &FloodCache, now: u64) {
        let latest = if self.enabled { floods.latest(NAME, now) } else { None };
        let Some(Value::Map(entries)) = latest.map(|tagged| tagged.objective.value) else { return };
        for (key, value) in &entries {
            let size = value.as_i64().and_then(|size| usize::try_from(size).ok());
            let Some(size) = size.filter(|size| BOUNDS.contains(size)) else { continue };
            let (name, current) = match key.as_i64() {
                Some(MULTICAST) => ("multicast", &self.multicast),
                Some(UNICAST) => ("unicast", &self.unicast),
                _ => continue,
            };
            if current.swap(size, Ordering::Relaxed) != size
                && let Some(unsaid) = self.changes.may_say(now)
            {
                log::info!("GraspConfig: {name} messages of up to {size} bytes{unsaid}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{AsaLocator, Objective, TaggedObjective};

    fn sizes_after(config: Config, value: Value) -> (usize, usize) {
        let room = crate::bounds::Capacity { entries: 5, bytes: 1 << 20 };
        let floods = FloodCache::new(room, room, std::sync::Arc::default());
        let sizes = Sizes::new(&config);
        let objective = Objective { value, ..Objective::new(NAME) };
        floods.insert(TaggedObjective { objective, source: AsaLocator::null() }, None);
        sizes.follow(&floods, 0);
        (sizes.unicast(), sizes.multicast())
    }

    fn map(entries: &[(i64, Value)]) -> Value {
        Value::Map(entries.iter().map(|(key, value)| (Value::from(*key), value.clone())).collect())
    }

    #[test]
    fn sizes_within_bounds_are_taken_and_others_left() {
        let flooded = map(&[(2, 1.into()), (3, 8192.into()), (4, 5000.into())]);
        assert_eq!(sizes_after(Config::new(), flooded.clone()), (5000, 8192));
        assert_eq!(sizes_after(Config::new().figging(false), flooded.clone()), (2048, 2048));
        assert_eq!(sizes_after(Config::new().dull(true), flooded), (2048, 2048));
        for bad in [
            Value::from(2047),
            Value::from(20_480),
            Value::from(-1),
            Value::from("8192"),
            Value::from(5000.0),
        ] {
            assert_eq!(sizes_after(Config::new(), map(&[(3, bad.clone()), (4, bad)])), (2048, 2048));
        }
        assert_eq!(sizes_after(Config::new(), Value::from(9)), (2048, 2048));
        assert_eq!(sizes_after(Config::new().unicast_size(9000), map(&[(4, 2048.into())])), (2048, 2048));
    }
}
