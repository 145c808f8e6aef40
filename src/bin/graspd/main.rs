//! `graspd`: one GRASP node for all processes of a machine (RFC 8991 §1). It runs an engine, lets processes use it through a
//! socket, publishes static objectives, and serves metrics. docs/operations.md is for those who run it.
//!
//! | file | what |
//! |---|---|
//! | `file` | reads TOML, and says what is wrong in which line |
//! | `settings`, `access`, `statics` | the keys of the configuration, the rules for processes, the static objectives |
//! | `configuration`, `print` | all of these together; as a file again |
//! | `node` | what runs: `publish`, `clients`, `metrics` |
//! | `notify`, `logging`, `signals` | the service manager, the log, signals |
//! | `pages` | the man page and completions |
#![forbid(unsafe_code)]

mod access;
mod clients;
mod configuration;
mod file;
mod logging;
mod metrics;
mod node;
mod notify;
mod pages;
mod print;
mod publish;
mod settings;
mod signals;
mod statics;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use log::LevelFilter;

use configuration::Configuration;
use file::Problem;
use node::{Failure, Node, count};
use notify::Notify;
use signals::{Asked, Signals};

/// The file that is read if none is named.
const FILE: &str = "/etc/grasp/graspd.toml";
/// How often links and addresses are looked at.
const LOOK: Duration = Duration::from_secs(3);
/// It could not start or continue.
const FAILED: u8 = 1;
/// Another graspd serves the socket: EX_UNAVAILABLE of sysexits.h.
const TWICE: u8 = 69;
/// The configuration has a problem: EX_CONFIG of sysexits.h.
const BAD_CONFIGURATION: u8 = 78;

/// A GRASP node for all processes of this machine
///
/// It speaks GRASP (RFC 8990) for them, which reach it by a Unix socket (RFC 8991 §1). It runs in the foreground, as an ordinary
/// user. SIGHUP reads the configuration again, SIGTERM and SIGINT end it. Exit status: 0 ended by a signal, 1 cannot start, 2
/// wrong arguments, 69 another graspd runs, 78 the configuration has a problem.
#[derive(Debug, Parser)]
#[command(name = "graspd", version)]
struct Arguments {
    /// The configuration. If it is not given, /etc/grasp/graspd.toml is read if it exists.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration and say what is wrong with it; start nothing.
    #[arg(long)]
    check: bool,
    /// Print the configuration with every key, its meaning and its permitted values; start nothing.
    #[arg(long)]
    print_config: bool,
    /// Print the man page.
    #[arg(long, hide = true)]
    man: bool,
    /// Print the completions for a shell.
    #[arg(long, hide = true, value_name = "SHELL")]
    completions: Option<clap_complete::Shell>,
}

impl Arguments {
    fn file(&self) -> Option<&Path> {
        self.config.as_deref().or_else(|| usual(Path::new(FILE)))
    }
}

/// The file that is read if no other one is given, unless there is none. One that may not be looked for is no reason to run without
/// its rules: reading it says what is wrong.
fn usual(file: &Path) -> Option<&Path> {
    Some(file).filter(|file| !matches!(file.try_exists(), Ok(false)))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    logging::start(LevelFilter::Info);
    if let Some(shell) = arguments.completions {
        return printed(|out| pages::completions(shell, out));
    }
    if arguments.man {
        return printed(|out| pages::man(out));
    }
    let file = arguments.file();
    let configuration = match Configuration::read(file) {
        Ok(configuration) => configuration,
        Err(problems) => {
            // --check and --print-config print lines like those of a compiler; at a start they go into the log.
            let asked = arguments.check || arguments.print_config;
            let say =
                |problem: &Problem| if asked { eprintln!("{problem}") } else { log::error!("{problem}") };
            problems.iter().for_each(say);
            return BAD_CONFIGURATION.into();
        }
    };
    if arguments.print_config {
        return printed(|out| out.write_all(print::print(&configuration).as_bytes()));
    }
    if arguments.check {
        return printed(|out| writeln!(out, "The configuration is good."));
    }
    logging::set_level(configuration.log_level());
    // Before any thread starts, so that all of them block the signals.
    let signals = match Signals::take() {
        Ok(signals) => signals,
        Err(error) => {
            log::error!("signals cannot be waited for: {error}");
            return FAILED.into();
        }
    };
    run(&arguments, file, configuration, &signals)
}

/// Prints something and ends. A closed pipe, as with `head`, is not a failure.
fn printed(print: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> ExitCode {
    match print(&mut io::stdout().lock()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            log::error!("standard output: {error}");
            FAILED.into()
        }
        _ => ExitCode::SUCCESS,
    }
}

fn run(
    arguments: &Arguments,
    file: Option<&Path>,
    configuration: Configuration,
    signals: &Signals,
) -> ExitCode {
    let notify = Notify::from_environment();
    let mut node = match Node::start(configuration) {
        Ok(node) => node,
        Err(failure) => {
            let (text, status) = match failure {
                Failure::Engine(error) => (error.to_string(), FAILED),
                Failure::Other(text) => (text, FAILED),
                Failure::Twice(text) => (text, TWICE),
            };
            log::error!("{text}");
            notify.status(&text);
            return status.into();
        }
    };
    log::info!("graspd {} serves {}", env!("CARGO_PKG_VERSION"), node.socket());
    notify.ready(&node.status());
    let mut rhythm = Rhythm::new();
    loop {
        match signals.wait(rhythm.next()) {
            // If the file has been removed since the start, that is a problem, not a configuration without rules.
            Some(Asked::Reload) => reload(arguments.file().or(file), &mut node, &notify),
            Some(Asked::End(name)) => {
                log::info!("ending because of {name}");
                notify.stopping();
                node.stop();
                return ExitCode::SUCCESS;
            }
            None => {}
        }
        if rhythm.is_time_to_look() {
            node.look();
            rhythm.tell(&notify, &node);
        }
        rhythm.feed_watchdog(&notify);
    }
}

fn reload(file: Option<&Path>, node: &mut Node, notify: &Notify) {
    notify.reloading();
    match Configuration::read(file) {
        Err(problems) => {
            problems.iter().for_each(|problem| log::error!("{problem}"));
            let problems = count(problems.len(), "problem", "problems");
            log::error!("nothing is changed: the configuration has {problems}");
        }
        Ok(new) => match node.reload(new) {
            Ok(restart) if restart.is_empty() => log::info!("the configuration is in force"),
            Ok(restart) => {
                log::warn!(
                    "the configuration is in force, except for keys that need a restart: {}",
                    restart.join(", ")
                );
            }
            Err(error) => log::error!("nothing is changed: {error}"),
        },
    }
    notify.ready(&node.status());
}

/// The times of what is done at regular intervals.
struct Rhythm {
    look: Instant,
    watchdog: Option<(Duration, Instant)>,
    told: String,
}

impl Rhythm {
    fn new() -> Self {
        let watchdog = notify::watchdog_interval().map(|interval| (interval, Instant::now()));
        Self { look: Instant::now() + LOOK, watchdog, told: String::new() }
    }

    /// When something is to be done next.
    fn next(&self) -> Instant {
        self.watchdog.map_or(self.look, |(_, next)| next.min(self.look))
    }

    fn is_time_to_look(&mut self) -> bool {
        let now = Instant::now();
        let is_time = now >= self.look;
        if is_time {
            self.look = now + LOOK;
        }
        is_time
    }

    /// Tells the service manager the status, if it has changed.
    fn tell(&mut self, notify: &Notify, node: &Node) {
        let status = node.status();
        if status != self.told {
            notify.status(&status);
            self.told = status;
        }
    }

    fn feed_watchdog(&mut self, notify: &Notify) {
        if let Some((interval, next)) = &mut self.watchdog
            && Instant::now() >= *next
        {
            notify.watchdog();
            *next = Instant::now() + *interval;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_looked_for_is_not_taken_for_none() {
        let directory = std::env::temp_dir().join(format!("graspd-main-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (there, circle) = (directory.join("there"), directory.join("circle"));
        std::fs::write(&there, "").unwrap();
        std::os::unix::fs::symlink(&circle, &circle).unwrap();
        let found = [&there, &circle, &directory.join("none")].map(|file| usual(file).is_some());
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(found, [true, true, false]);
    }
}
