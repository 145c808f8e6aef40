//! The smallest program with an engine, whose memory and wakeups `bench` measures: nothing is in it that an ASA would not have. It says
//! that it is ready, and ends with its standard input.

use grasp::{Config, Engine};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::start(Config::new())?;
    println!("ready");
    std::io::stdin().read_line(&mut String::new())?;
    engine.shutdown();
    Ok(())
}
