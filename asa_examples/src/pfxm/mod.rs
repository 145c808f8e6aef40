//! pfxm3: the management of IPv6 and IPv4 edge prefixes (RFC 8992), as a simulation: no prefix gets into any
//! router.
//!
//! An *origin* has a pool of prefixes. All others start with none, ask for some when they need them, use them
//! up little by little, and give to others from what they have, so that a tree grows by itself. docs/pfxm3.md
//! tells how, and what happens to a prefix when a negotiation fails half way.
//!
//! | file | what |
//! |---|---|
//! | `prefix`, `pool` | prefixes, and which are free |
//! | `ledger` | who has which prefix, and which are in doubt |
//! | `message` | the values of the objectives |
//! | `negotiation` | the decisions of both sides |
//! | `asa` | threads and calls of GRASP: all the rest is without |

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
