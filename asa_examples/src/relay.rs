//! relay: an engine without ASAs, for a node that only passes discoveries and floods on between its interfaces
//! (RFC 8990 §2.5.4.4, §2.5.6.2). Known from graspy as the gremlin.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Parser;
use grasp::{Config, tprint};

use crate::{Common, Example, Outcome, Run, plain};

/// Relays discoveries and floods between the interfaces of this node, and nothing else.
#[derive(Debug, Parser)]
#[command(name = "relay", version)]
pub struct Relay {
    #[command(flatten)]
    common: Common,
}

impl Example for Relay {
    const NAME: &'static str = "Relay";
    const INTRODUCTION: [&'static str; 3] = [
        "Relay is a GRASP engine without any ASA of its own.",
        "It passes discoveries and floods on between the interfaces of this node.",
        "It runs until SIGTERM or Ctrl-C ends it; then it prints what it has relayed.",
    ];

    fn common(&self) -> &Common {
        &self.common
    }

    fn config(&self, config: Config) -> Config {
        // It starts with the machine, maybe before the network does.
        config.wait_for_interfaces(true)
    }

    fn run(self, run: Run) -> Outcome {
        // An engine starts with the first call of the API, and relays from then on by itself.
        let engine = grasp::process_engine()?;
        let wanted = &self.common.interface;
        let mut known = None;
        loop {
            // Interfaces come and go; it says so when they do.
            let now: BTreeSet<String> = engine.link_names().into_iter().collect();
            if known.as_ref() != Some(&now) {
                let names: Vec<_> = now.iter().map(|name| plain(name)).collect();
                tprint!("Daemon running on", names.len(), "interfaces:", names.join(" "));
                for missing in wanted.iter().filter(|name| !now.contains(*name)) {
                    tprint!(
                        "Waiting for interface",
                        plain(missing),
                        "- it is not there, not up, or has no IPv6"
                    );
                }
                known = Some(now);
            }
            if run.stop().wait(Duration::from_secs(1)) {
                break;
            }
        }
        let stats = engine.stats();
        let (discoveries, floods) = (stats.discoveries_relayed, stats.floods_relayed);
        tprint!("Daemon stopping:", discoveries, "discoveries and", floods, "floods relayed");
        Ok(())
    }
}
