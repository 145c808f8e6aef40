//! pfxm3: manages IPv6 and IPv4 edge prefixes (RFC 8992), in simulation: no prefix is configured in any router.
//!
//! An *origin* has a pool of prefixes. All other nodes start with none, ask for some when they need them, use them up
//! little by little, and give parts of them to others, so that a tree grows by itself. docs/pfxm3.md describes this,
//! and what happens to a prefix when a negotiation fails halfway.
//!
//! | file | contents |
//! |---|---|
//! | `pool` | which prefixes are free |
//! | `ledger` | who has which prefix, and which are in doubt |
//! | `negotiation` | the decisions of both sides |
//! | `asa` | threads and GRASP calls; the other files have none |
//!
//! Prefixes and the values of the objectives are those of [`grasp::objectives`].

mod asa;
mod ledger;
mod negotiation;
mod pool;

pub use asa::Pfxm3;
pub use grasp::objectives::prefix::{Family, Prefix, PrefixError};
pub use grasp::objectives::{BadMessage, Form, Parameters, PrefixMessage as Message, Role};
pub use ledger::{Ending, Ledger, Ticket};
pub use negotiation::{Answer, LONGEST, answer, ending, judge, wish};
pub use pool::Pool;

/// The value of `PrefixManager.Params` that origins flood: roles of radio access networks. Made up, and only shown by those who
/// receive it.
#[must_use]
pub fn parameters() -> grasp::Value {
    let role = |(role, prefix_length): (&str, u8)| Role { role: role.to_owned(), prefix_length };
    Parameters([("RSG", 34), ("ASG", 44), ("CSG", 56)].map(role).to_vec()).into()
}
