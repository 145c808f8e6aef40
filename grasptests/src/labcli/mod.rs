//! The parts of the program `lab` (`bin/lab.rs`): a network with an engine in every node, and a prompt.
//!
//! | file | what |
//! |---|---|
//! | `bench` | the network with its engines, and how words name its parts |
//! | `session` | which verbs there are; carries a line out |
//! | `asks` | the verbs of GRASP |
//! | `listen`, `policy` | objectives that are listened for, and how offers are answered |
//! | `wires` | the verbs of the network: links, addresses |
//! | `words`, `printer`, `failure` | taking lines apart, printing, errors |

mod asks;
mod bench;
mod failure;
mod listen;
mod policy;
mod printer;
mod session;
mod wires;
mod words;

pub(crate) use bench::{Bench, Impairment};
pub(crate) use printer::Printer;
pub(crate) use session::Session;
