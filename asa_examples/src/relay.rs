//! relay: an engine without ASAs, for a node that only relays discoveries and floods between its interfaces
//! (RFC 8990 §2.5.4.4, §2.5.6.2). graspy calls it the gremlin.

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
        // It may start before the network does.
        config.wait_for_interfaces(true)
    }

    fn run(self, run: Run) -> Outcome {
        // The first call of the API starts an engine, which relays by itself from then on.
        let engine = grasp::process_engine()?;
        let wanted = &self.common.interface;
        let mut known = None;
        loop {
            // Interfaces appear and disappear; it prints every change.
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
