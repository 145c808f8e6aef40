//! Reads the thermometer, wherever it is.

use grasp::{Config, Error, Objective, tprint};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = match std::env::args().nth(1) {
        Some(name) => Config::new().interfaces(Some(vec![name])),
        None => Config::new(),
    };
    grasp::configure(config)?;

    // An objective that is only read need not be registered.
    let asa = grasp::register_asa("Reader")?;
    let mut temperature = Objective::new("example:temperature");
    temperature.synch = true;
    // Timeouts are in milliseconds.
    match grasp::synchronize(asa, &temperature, None, Some(2000)) {
        Ok(answer) => match answer.value_as::<i64>() {
            Ok(degrees) => tprint!("It is", degrees, "degrees"),
            // A value from the network may be anything.
            Err(_) => tprint!("Strange:", answer.value),
        },
        Err(Error::NotFloodDisc) => tprint!("There is no thermometer"),
        Err(error) => tprint!("Error", error.code(), error),
    }
    grasp::deregister_asa(asa, "Reader")?;
    Ok(())
}
