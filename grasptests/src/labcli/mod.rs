//! The parts of the program `lab` (`bin/lab.rs`): a network with an engine in every node, and a prompt.
//!
//! | file | what |
//! |---|---|
//! | `bench` | the network with its engines, and how words name its parts |
//! | `session` | which verbs there are; carries a line out |
//! | `asks` | the verbs of GRASP |
//! | `command` | those of the command `grasp` |
//! | `listen` | objectives that are listened for; how offers are answered is [`grasp::tools::policy`] |
//! | `wires` | the verbs of the network: links, addresses |
//! | `printer`, `failure` | printing, errors; lines are taken apart by [`grasp::tools::words`] |

mod asks;
mod bench;
mod command;
mod failure;
mod listen;
mod printer;
mod session;
mod wires;

pub(crate) use bench::{Bench, Impairment, Wanted};
pub(crate) use printer::Printer;
pub(crate) use session::Session;
