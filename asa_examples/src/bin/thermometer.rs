//! A thermometer that any node of the network can find and read.

use std::time::Duration;

use grasp::{Config, Objective, RegisterObj, tprint};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The first call starts the engine of this process. It asks no questions if it is configured before.
    grasp::configure(interface(Config::new()))?;

    let asa = grasp::register_asa("Thermometer")?;
    // A name with a colon is private.
    let mut temperature = Objective::new("example:temperature");
    temperature.synch = true;
    grasp::register_obj(asa, &temperature, RegisterObj::default())?;
    tprint!("Serving", temperature.name, "- Ctrl-C ends it");

    for degrees in 15.. {
        temperature.value = degrees.into();
        // The first call starts to answer requests, later ones replace the value. It returns at once.
        grasp::listen_synchronize(asa, &temperature)?;
        tprint!("It is now", degrees);
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

/// Uses the interface that the command line names, or all that are up.
fn interface(config: Config) -> Config {
    match std::env::args().nth(1) {
        Some(name) => config.interfaces(Some(vec![name])),
        None => config,
    }
}
