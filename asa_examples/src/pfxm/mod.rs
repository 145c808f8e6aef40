//! pfxm3: manages IPv6 and IPv4 edge prefixes (RFC 8992), in simulation: no prefix is configured in any router.
//!
//! An *origin* has a pool of prefixes. All other nodes start with none, ask for some when they need them, use them up
//! little by little, and give parts of them to others, so that a tree grows by itself. docs/pfxm3.md describes this,
//! and what happens to a prefix when a negotiation fails halfway.
//!
//! | file | contents |
//! |---|---|
//! | `prefix`, `pool` | prefixes, and the free ones |
//! | `ledger` | which node has which prefix, and which prefixes are in doubt |
//! | `message` | the values of the objectives |
//! | `negotiation` | the decisions of both sides |
//! | `asa` | threads and GRASP calls; the other files have none |

mod asa;
mod ledger;
mod message;
mod negotiation;
mod pool;
mod prefix;

pub use asa::Pfxm3;
pub use ledger::{Ending, Ledger, Ticket};
pub use message::{BadMessage, Form, Message, parameters};
pub use negotiation::{Answer, LONGEST, answer, ending, judge, wish};
pub use pool::Pool;
pub use prefix::{Family, Prefix, PrefixError};
