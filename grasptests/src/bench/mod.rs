//! The parts of the program `bench` (`bin/bench.rs`): how fast the engine is, next to what bare sockets do with the
//! same pattern of connections and messages in the same network.
//!
//! | file | what |
//! |---|---|
//! | `figure` | figures, aims, and measuring in turns |
//! | `report` | the table and the JSON file |
//! | `pair`, `negotiation` | two engines: negotiation, synchronization |
//! | `bare` | the floors over TCP |
//! | `neighbours` | what neighbours in a secure domain cost |
//! | `tls` | sessions that TLS secures, and their floors |
//! | `discovery`, `floods` | discoveries and floods, with their own floors |
//! | `codec` | encoding and decoding |
//! | `growth` | how costs grow with what is registered and cached |
//! | `ipc` | the socket between a node and its clients |
//! | `graspy` | the same for graspy |
//! | `peers` | what a user would choose instead, doing the same jobs |
//! | `saturation` | where a network of engines saturates |
//! | `python` | our Python module, next to graspy and the Rust API |
//! | `process` | processes of their own: memory, wakeups, start |

mod bare;
mod codec;
mod discovery;
mod figure;
mod floods;
mod graspy;
mod growth;
mod ipc;
mod negotiation;
mod neighbours;
mod pair;
pub(crate) mod peers;
mod process;
mod python;
mod report;
mod saturation;
mod tls;

use figure::Aim;
pub(crate) use figure::{Figure, Result};
pub(crate) use graspy::measure as measure_graspy;
pub(crate) use growth::print as print_growth;
pub(crate) use process::{ROLE, play};
pub(crate) use python::print as print_python;
pub(crate) use report::{HEADING, complaint, json, row};
pub(crate) use saturation::print as print_saturation;

/// What is measured, in the order of the table.
pub(crate) const NAMES: [&str; 25] = [
    "negotiate_connect",
    "negotiate_connect_16",
    "negotiate_step",
    "synchronize",
    "discover_first",
    "discover_5_hops",
    "flood_hop",
    "floods_handled",
    "codec_encode",
    "codec_decode",
    "cpu_per_negotiation",
    "open_sessions",
    "idle",
    "graspd_idle",
    "startup",
    "network_flood_100",
    "ipc_call",
    "ipc_negotiate",
    "ipc_clients",
    "tls_connect",
    "tls_resumed",
    "tls_step",
    "domain_discover_first",
    "domain_discover_5_hops",
    "domain_neighbours",
];

/// Measures what a name stands for. Some have several figures.
pub(crate) fn measure(name: &str, rounds: usize) -> Result<Vec<Figure>> {
    let one = match name {
        "negotiate_connect" => negotiation::connect(name, 1, rounds)?,
        "negotiate_connect_16" => negotiation::connect(name, 16, rounds)?,
        "negotiate_step" => negotiation::step(name, rounds)?,
        "synchronize" => negotiation::synchronize(name, rounds)?,
        "discover_first" => discovery::first(name, 1, Aim::RatioAtMost(1.3), rounds)?,
        "discover_5_hops" => discovery::first(name, 5, Aim::RatioAtMost(2.0), rounds)?,
        "flood_hop" => floods::hop(name, rounds)?,
        "floods_handled" => floods::handled(name, rounds)?,
        "network_flood_100" => floods::network(name, rounds)?,
        "ipc_call" => return ipc::call(name, rounds),
        "ipc_negotiate" => ipc::negotiate(name, rounds)?,
        "ipc_clients" => return ipc::clients(name),
        "tls_connect" => tls::connect(name, rounds)?,
        "tls_resumed" => tls::resumed(name, rounds)?,
        "tls_step" => tls::step(name, rounds)?,
        "domain_discover_first" => discovery::first_in_domain(name, 1, Aim::RatioAtMost(1.5), rounds)?,
        "domain_discover_5_hops" => discovery::first_in_domain(name, 5, Aim::RatioAtMost(2.0), rounds)?,
        "domain_neighbours" => return neighbours::cost(name),
        "open_sessions" => process::open_sessions(name)?,
        "idle" => return process::idle(name),
        "graspd_idle" => return process::graspd_idle(name),
        "startup" => process::startup(name, rounds)?,
        "codec_encode" | "codec_decode" => return codec::measure(name, rounds),
        "cpu_per_negotiation" => negotiation::cost(name, rounds)?,
        other => return Err(format!("there is no figure {other}").into()),
    };
    Ok(vec![one])
}
