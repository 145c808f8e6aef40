//! How much there may be of anything: the one bounded map, the one kind of permit, and rates. Nothing here knows what it
//! bounds; `node` and `registry` decide.

mod map;
mod quota;

pub(crate) use map::{BoundedMap, Capacity};
pub(crate) use quota::{Bounds, Cause, Neighbour, Permit, Quota, RateLimit, Refused};
