//! The verbs of `grasp`, the operator's command, and the programs that became verbs of it, `grasp-decode` and `quadsmaker`. They
//! are a part of the library, so that other programs, such as a prompt, do the same with the same code. ASAs do not need this.
//!
//! | file | what |
//! |---|---|
//! | `command` | the verbs and their options |
//! | `run` | what a verb runs with: the engine, an ASA, where it prints |
//! | `views` | verbs that show what the node holds: status, asas, objectives, peers, sessions, stats, floods |
//! | `asks`, `tells` | verbs that ask the network, and verbs that tell it something |
//! | `watch`, `monitor`, `doctor` | verbs that follow events, and the one that looks for problems |
//! | `decode`, `keys` | captures; key files |
//! | `domain` | a domain of certificates: its authority and the files of nodes |
//! | `shown`, `output`, `failure` | forms of values; tables, JSON, files; exit statuses |
//! | `words`, `policy` | reading what people type; answering offers |
//! | `pages`, `reload` | man pages and completions; making the node read its configuration again |

mod asks;
mod command;
pub mod decode;
mod doctor;
mod domain;
mod failure;
pub mod keys;
mod monitor;
mod output;
mod pages;
pub mod policy;
mod reload;
mod run;
mod shown;
mod tells;
mod views;
mod watch;
pub mod words;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser as _;

use command::{Cli, Verb};
use failure::Outcome;
use run::Run;

pub use failure::{Failure, Status, sentence, status};

use crate::engine::Engine;

/// Makes a text from the network safe for terminals: the characters that control a terminal are escaped.
#[must_use]
pub fn plain(text: &str) -> String {
    // As CBOR's diagnostic notation has it, but without its quotation marks.
    let quoted = crate::Value::from(text).to_string();
    quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(&quoted).to_owned()
}

/// The `main` of the program `grasp`: carries out its command line.
#[must_use]
pub fn main() -> ExitCode {
    // This ends the program itself if the command line is wrong, with status 2, or asks for help.
    let cli = Cli::parse();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = carry_out(cli, None, &mut out).and_then(|()| Ok(out.flush()?));
    let status = match done {
        Ok(()) => Status::Done,
        Err(failure) => {
            // Prints what was found before the failure. This may fail, too: nobody may be reading any more.
            let _ = out.flush();
            if !failure.is_silent() {
                let _ = writeln!(io::stderr(), "grasp: {failure}");
            }
            failure.status()
        }
    };
    ExitCode::from(status.code())
}

/// Carries out a command line, given as words that begin with the verb, on an engine, and prints to `out`. Only `decode` prints
/// to the standard output, whatever `out` is. The exit status of the program would be [`Failure::status`].
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = grasp::Engine::start(grasp::Config::new())?;
/// grasp::tools::run(&engine, &["objectives", "--json"], &mut std::io::stdout())?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Failure`], whose text says what is wrong; for a wrong line it includes the usage. A retry may help after
/// [`Status::NoNode`] and [`Status::TimedOut`].
pub fn run(engine: &Engine, words: &[&str], out: &mut dyn Write) -> Outcome {
    match Cli::try_parse_from(["grasp"].iter().chain(words)) {
        Ok(cli) => carry_out(cli, Some(engine), out),
        Err(error) if !error.use_stderr() => {
            write!(out, "{error}")?;
            Ok(())
        }
        Err(error) => Err(Failure::usage(error.to_string().trim_end())),
    }
}

/// The names of the verbs.
#[must_use]
pub fn verbs() -> Vec<String> {
    let definition = command::definition();
    definition.get_subcommands().map(|verb| verb.get_name().to_owned()).collect()
}

fn carry_out(cli: Cli, engine: Option<&Engine>, out: &mut dyn Write) -> Outcome {
    let Cli { options, verb } = cli;
    match verb {
        Verb::Decode(decode) => return ended(decode.run("grasp decode")),
        Verb::Keys(keys) => {
            let said = keys.run().map_err(|error| Failure::usage(format!("keys: {error}")))?;
            writeln!(out, "{said}")?;
            return Ok(());
        }
        Verb::Domain(domain) => return domain.run(&options, out),
        Verb::Reload => return reload::reload(&options, out),
        Verb::Completions { shell } => return pages::completions(shell, out),
        Verb::Man { directory } => return pages::man(directory.as_deref(), out),
        _ => {}
    }
    let engine = match engine {
        Some(engine) => engine.clone(),
        None => run::engine(&options)?,
    };
    let mut run = Run::new(engine, out, options);
    with_engine(&mut run, verb)
}

/// The verbs that need an engine.
fn with_engine(run: &mut Run<'_>, verb: Verb) -> Outcome {
    match verb {
        Verb::Status(watched) => views::show(run, &watched, "", |engine| Ok(views::status(engine))),
        Verb::Asas(watched) => {
            views::show(run, &watched, "no ASA is registered", |engine| Ok(views::asas(engine)))
        }
        Verb::Objectives(watched) => {
            views::show(run, &watched, "no objective is registered", |engine| Ok(views::objectives(engine)))
        }
        Verb::Peers(watched) => {
            views::show(run, &watched, "no peer is known", |engine| Ok(views::peers(engine)))
        }
        Verb::Sessions(watched) => {
            views::show(run, &watched, "no session is open", |engine| Ok(views::sessions(engine)))
        }
        Verb::Stats(verb) => {
            let empty = "no such counter, or all of them are 0 (see --all)";
            views::show(run, &verb.watched, empty, |engine| Ok(views::stats(engine, &verb)))
        }
        Verb::Discover(verb) => asks::discover(run, &verb),
        Verb::Browse(verb) => asks::browse(run, &verb),
        Verb::Get(verb) => asks::get(run, &verb),
        Verb::Negotiate(verb) => asks::negotiate(run, &verb),
        Verb::Flood(verb) => tells::flood(run, &verb),
        Verb::Publish(verb) => tells::publish(run, &verb),
        Verb::Listen(verb) => tells::listen(run, &verb),
        Verb::Floods(verb) => views::floods(run, &verb),
        Verb::Watch(verb) => watch::watch(run, &verb),
        Verb::Monitor(verb) => monitor::monitor(run, &verb),
        Verb::Doctor(verb) => doctor::doctor(run, &verb),
        // `carry_out` has carried them out.
        Verb::Decode(_)
        | Verb::Keys(_)
        | Verb::Domain(_)
        | Verb::Reload
        | Verb::Completions { .. }
        | Verb::Man { .. } => Ok(()),
    }
}

/// Converts the exit status of a verb that has printed everything itself.
fn ended(code: u8) -> Outcome {
    match code {
        0 => Ok(()),
        1 => Err(Failure::nothing("")),
        _ => Err(Failure::usage("")),
    }
}
