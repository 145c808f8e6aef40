//! What fuzzing does with one input. The targets in `fuzz/` are these functions behind libFuzzer; the test target
//! `fuzz_regressions` runs them on recorded and on randomly changed inputs without it.
//!
//! Each function takes any bytes and panics if something is wrong with the engine.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what is found is reported by panicking"
)]

mod decode;
mod handlers;
mod ipc;
mod neighbours;
mod quads;
mod reader;
pub mod seeds;
mod shapes;
mod tree;

pub use decode::{agrees, decode};
pub use handlers::handlers;
pub use ipc::ipc;
pub use neighbours::neighbours;
pub use quads::quads;
pub use reader::reader;

use arbitrary::{Result, Unstructured};
use grasp::QuadsKeys;
use grasp::wire::Limits;

/// A target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name, which is that of its directories.
    pub name: &'static str,
    /// What is done with an input.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 6] = [
    Target { name: "decode", run: decode },
    Target { name: "handlers", run: handlers },
    Target { name: "ipc", run: ipc },
    Target { name: "neighbours", run: neighbours },
    Target { name: "quads", run: quads },
    Target { name: "reader", run: reader },
];

/// Lets the bytes happen to a scene, step by step, and checks it after each step and in the end.
fn play<Scene>(
    mut scene: Scene,
    bytes: &[u8],
    step: impl Fn(&mut Scene, &mut Unstructured<'_>) -> Result<()>,
    check: impl Fn(&Scene),
    finish: impl FnOnce(Scene),
) {
    let mut u = Unstructured::new(bytes);
    while !u.is_empty() {
        // The bytes are used up: the last step was not complete.
        if step(&mut scene, &mut u).is_err() {
            break;
        }
        check(&scene);
    }
    finish(scene);
}

/// Some limits, the usual ones first.
fn limits(choice: u8) -> Limits {
    let size = [2048, 64, 17, 65_536];
    let depth = [32, 4, 1, 8];
    let pick = |from: [usize; 4], bits: u8| from.get(usize::from(bits % 4)).copied().unwrap_or(2048);
    Limits { size: pick(size, choice), depth: pick(depth, choice >> 2) }
}

/// Keys that cost no time to make.
fn keys() -> QuadsKeys {
    QuadsKeys::from_parts([7; 32], [9; 16])
}
