//! The bounds of the engine: the one bounded map, the one kind of permit, and rate limits. This module does not know
//! what it bounds; `node` and `registry` decide that.

mod chain;
mod hash;
mod map;
mod quota;
mod ranking;

pub(crate) use hash::{HashMap, HashSet};
pub(crate) use map::BoundedMap;
pub(crate) use quota::{Bounds, Cause, Neighbour, Permit, Quota, RateLimit, Refused};
pub(crate) use ranking::Capacity;
