//! Writes the inputs that fuzzing begins with into `grasptests/fuzz/corpus`, a directory a target:
//! `cargo run -p grasptests --bin fuzz_seeds`.

use std::path::Path;

use grasptests::fuzzing::{TARGETS, seeds};

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for target in TARGETS {
        let directory = corpus.join(target.name);
        std::fs::create_dir_all(&directory)?;
        let inputs = seeds::of(target.name);
        for (number, input) in inputs.iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{number:03}")), input)?;
        }
        println!("{}: {} inputs in {}", target.name, inputs.len(), directory.display());
    }
    Ok(())
}
