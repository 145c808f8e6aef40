//! The parts of the program `bench` (`bin/bench.rs`): how fast the engine is, next to what bare sockets do with the
//! same pattern of connections and messages in the same network.
//!
//! | file | what |
//! |---|---|
//! | `figure` | figures, aims, and measuring in turns |
//! | `report` | the table and the JSON file |
//! | `pair`, `negotiation` | two engines: negotiation, synchronization |
//! | `bare` | the floors over TCP |
//! | `codec` | encoding and decoding |

mod bare;
mod codec;
mod figure;
mod negotiation;
mod pair;
mod report;

pub(crate) use figure::{Figure, Result};
pub(crate) use report::{HEADING, json, row};

/// What is measured, in the order of the table.
pub(crate) const NAMES: [&str; 7] = [
    "negotiate_connect",
    "negotiate_connect_16",
    "negotiate_step",
    "synchronize",
    "cpu_per_negotiation",
    "codec_encode",
    "codec_decode",
];

/// What a run is to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How often each figure is measured.
    pub(crate) rounds: usize,
}

/// Measures what a name stands for. Some have several figures.
pub(crate) fn measure(name: &str, plan: &Plan) -> Result<Vec<Figure>> {
    let rounds = plan.rounds;
    let one = match name {
        "negotiate_connect" => negotiation::connect(name, 1, rounds)?,
        "negotiate_connect_16" => negotiation::connect(name, 16, rounds)?,
        "negotiate_step" => negotiation::step(name, rounds)?,
        "synchronize" => negotiation::synchronize(name, rounds)?,
        "codec_encode" | "codec_decode" => return codec::measure(name, rounds),
        "cpu_per_negotiation" => negotiation::cost(name, rounds)?,
        other => return Err(format!("there is no figure {other}").into()),
    };
    Ok(vec![one])
}
