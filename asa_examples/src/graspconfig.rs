//! graspconfig: floods the objective GraspConfig, which sets the maximum size of GRASP messages for the nodes of a
//! network.
//!
//! A graspy node applies it when its built-in ASA Configger looks next, and accepts sizes above 2048 and below 20480
//! bytes. Nodes of this project apply it at once, and can return to 2048.
//!
//! The value is a map with numbers for keys:
//!
//! | key | value |
//! |---|---|
//! | 0 | the sender's address, 16 bytes |
//! | 1 | the loop count at the start of the flood |
//! | 2 | the version of GRASP: 1 |
//! | 3 | the largest multicast message, in bytes |
//! | 4 | the largest unicast message, in bytes |

use std::fs;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use clap::Parser;
use grasp::{Objective, RegisterObj, TaggedObjective, Value, objectives, tprint};
use serde::Deserialize;

use crate::{Common, Example, Outcome, Run};

/// Floods the largest message sizes for all nodes (GraspConfig), about every minute. A round is a flood.
#[derive(Debug, Parser)]
#[command(name = "graspconfig", version)]
pub struct GraspConfig {
    #[command(flatten)]
    common: Common,

    /// The largest multicast message in bytes.
    #[arg(long, default_value_t = DEFAULT_SIZE, value_parser = clap::value_parser!(u32).range(SIZES))]
    max_multicast: u32,

    /// The largest unicast message in bytes.
    #[arg(long, default_value_t = DEFAULT_SIZE, value_parser = clap::value_parser!(u32).range(SIZES))]
    max_unicast: u32,

    /// The number of hops that the flood may go.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u8).range(1..))]
    sender_loop_count: u8,

    /// A JSON file with any of max_multicast, max_unicast, sender_loop_count and grasp_version; it takes precedence. It
    /// is read again before each flood.
    #[arg(long)]
    file: Option<PathBuf>,
}

const DEFAULT_SIZE: u32 = 2048;
/// The range that receivers accept; the smallest is their default.
const SIZES: std::ops::RangeInclusive<i64> = 2048..=20_479;

impl Example for GraspConfig {
    const NAME: &'static str = "GRASPconfig";
    const INTRODUCTION: [&'static str; 3] = [
        "GRASPconfig floods the largest sizes of messages to all nodes of the network (GraspConfig).",
        "They change theirs within bounds: those of graspy within 70 seconds, those of this project at once.",
        "It needs no peer. Ctrl-C ends it.",
    ];

    fn common(&self) -> &Common {
        &self.common
    }

    fn run(self, mut run: Run) -> Outcome {
        let asa = grasp::register_asa(Self::NAME)?;
        tprint!("ASA GRASPconfig registered OK");
        let mut configuration = Objective::new(objectives::GRASP_CONFIG);
        configuration.synch = true;
        grasp::register_obj(asa, &configuration, RegisterObj::default())?;
        tprint!("Objective", configuration.name, "registered OK");

        while run.next_round() {
            match self.settings() {
                Ok(settings) => {
                    let sender = grasp::process_engine()?.session_locator();
                    configuration.loop_count = settings.sender_loop_count;
                    configuration.value = settings.value(sender);
                    // Valid for twice the interval between floods, so that one may get lost; long enough for graspy,
                    // which counts in seconds.
                    let ttl = run.paced(120_000).max(10_000);
                    let tagged = TaggedObjective::new(configuration.clone(), None);
                    match grasp::flood(asa, ttl, &[tagged]) {
                        Ok(()) => tprint!("Flooded", settings),
                        Err(error) => tprint!("Flood error:", error),
                    }
                }
                Err(error) => tprint!("Could not use the configuration file:", error),
            }
            run.pause(60.0);
        }
        grasp::deregister_asa(asa, Self::NAME)?;
        tprint!("ASA exiting");
        Ok(())
    }
}

impl GraspConfig {
    /// Returns the settings of the file, and those of the command line for settings that the file does not have.
    fn settings(&self) -> Result<Settings, Box<dyn std::error::Error + Send + Sync>> {
        let file = match &self.file {
            Some(path) => serde_json::from_str(&fs::read_to_string(path)?)?,
            None => File::default(),
        };
        let settings = Settings {
            sender_loop_count: file.sender_loop_count.unwrap_or(self.sender_loop_count),
            grasp_version: file.grasp_version.unwrap_or(1),
            max_multicast: file.max_multicast.unwrap_or(self.max_multicast),
            max_unicast: file.max_unicast.unwrap_or(self.max_unicast),
        };
        for size in [settings.max_multicast, settings.max_unicast] {
            if !SIZES.contains(&size.into()) {
                return Err(format!("{size} bytes are not between 2048 and 20479").into());
            }
        }
        if settings.sender_loop_count == 0 {
            return Err("sender_loop_count is 0".into());
        }
        Ok(settings)
    }
}

/// The format of the file, which is that of graspy's `graspconf.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    sender_loop_count: Option<u8>,
    grasp_version: Option<u32>,
    max_multicast: Option<u32>,
    max_unicast: Option<u32>,
}

#[derive(Debug, PartialEq)]
struct Settings {
    sender_loop_count: u8,
    grasp_version: u32,
    max_multicast: u32,
    max_unicast: u32,
}

impl Settings {
    fn value(&self, sender: Ipv6Addr) -> Value {
        let &Self { sender_loop_count, grasp_version: version, max_multicast, max_unicast } = self;
        objectives::GraspConfig { sender, sender_loop_count, version, max_multicast, max_unicast }.into()
    }
}

impl std::fmt::Display for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { sender_loop_count, max_multicast, max_unicast, .. } = self;
        write!(f, "max_multicast {max_multicast}, max_unicast {max_unicast}, {sender_loop_count} hops")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_the_original_is_understood() {
        let text =
            r#"{"sender_loop_count": 15, "grasp_version": 1, "max_multicast": 8192, "max_unicast": 5000}"#;
        let file: File = serde_json::from_str(text).unwrap();
        assert_eq!((file.sender_loop_count, file.max_multicast), (Some(15), Some(8192)));
        assert!(serde_json::from_str::<File>(r#"{"max_hops": 3}"#).is_err());
    }

    #[test]
    fn sizes_out_of_bounds_are_refused() {
        let parse = |size: &str| GraspConfig::try_parse_from(["graspconfig", "--max-unicast", size]);
        assert!(parse("2047").is_err() && parse("20480").is_err());
        assert_eq!(parse("20479").unwrap().settings().unwrap().max_unicast, 20_479);
    }
}
