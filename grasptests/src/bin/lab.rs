//! A private network on this machine with a GRASP engine in every node, and a prompt for trying things:
//! `cargo run -p grasptests --bin lab -- --topology ring:5`. docs/lab.md shows how.

use std::{
    error::Error,
    io::{self, BufRead as _},
    process::ExitCode,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use crossbeam_channel::{Receiver, bounded, never};
use grasptests::lab::{self, LabError, Topology};
use rustyline::{DefaultEditor, error::ReadlineError};

#[path = "../labcli/mod.rs"]
mod labcli;

use labcli::{Bench, Impairment, Printer, Session, Wanted};

/// Starts a private network on this machine with a GRASP engine in every node, and a prompt for trying things.
#[derive(Debug, Parser)]
#[command(name = "lab", version)]
struct Arguments {
    /// line:N, ring:N, star:N, lan:N, grid:WxH or tree:BRANCHESxDEPTH
    #[arg(long, default_value = "line:3", value_parser = topology)]
    topology: Topology,
    /// Delay of every link in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay: u32,
    /// Share of the frames that every link loses, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percentage)]
    loss: f64,
    /// A secure domain: each node has a certificate, TLS secures sessions and carries the multicasts from neighbour to neighbour
    #[arg(long)]
    domain: bool,
    /// Carry out this line and do not prompt; may be repeated. The first that fails ends it with status 1
    #[arg(long = "command", value_name = "LINE")]
    commands: Vec<String>,
    /// Do not prompt: run until --for is over, or after the commands, or until interrupted
    #[arg(long)]
    no_prompt: bool,
    /// Do not prompt: run for so long, after the commands if there are any
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// What the engines log to standard error: error, warn, info, debug, trace, or any filter of env_logger
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

impl Arguments {
    /// Whether commands are read from standard input.
    const fn prompts(&self) -> bool {
        self.seconds.is_none() && self.commands.is_empty() && !self.no_prompt
    }
}

fn topology(text: &str) -> Result<Topology, LabError> {
    let topology: Topology = text.parse()?;
    topology.plan()?;
    Ok(topology)
}

fn percentage(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=100.0).contains(share));
    share.ok_or_else(|| "a percentage is a number from 0 to 100".to_owned())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lab: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether every command given as an argument succeeded.
fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    // First of all, while there is one thread.
    lab::enter()?;
    let mut logger = env_logger::Builder::from_default_env();
    if let Some(level) = &arguments.log {
        logger.parse_filters(level);
    }
    logger.init();
    let printer = Arc::new(Printer::new());
    let started = Instant::now();
    let delay = Duration::from_millis(arguments.delay.into());
    let impairment = (!delay.is_zero() || arguments.loss > 0.0)
        .then_some(Impairment { delay, loss_percent: arguments.loss });
    let interrupts = if arguments.prompts() && printer.is_terminal() { interrupts()? } else { never() };
    let network = Wanted { topology: arguments.topology, impairment, domain: arguments.domain };
    let bench = Bench::build(&network, Arc::clone(&printer), interrupts)?;
    introduce(&bench, arguments, started.elapsed());
    let mut session = Session::new(bench);
    let succeeded = arguments.commands.iter().all(|line| session.is_over() || session.execute(line));
    match arguments.seconds {
        _ if !succeeded || session.is_over() => {}
        Some(seconds) => thread::sleep(Duration::from_secs(seconds)),
        None if !arguments.commands.is_empty() => {}
        None if arguments.no_prompt => loop {
            // The interrupt ends the process, and the kernel takes the namespaces away with it.
            thread::park();
        },
        None => converse(&mut session, &printer)?,
    }
    session.shut_down();
    Ok(succeeded)
}

/// From now on Ctrl-C says so here, and ends nothing by itself.
fn interrupts() -> Result<Receiver<()>, ctrlc::Error> {
    let (interrupt, interrupts) = bounded(1);
    ctrlc::set_handler(move || _ = interrupt.try_send(()))?;
    Ok(interrupts)
}

fn introduce(bench: &Bench, arguments: &Arguments, took: Duration) {
    let Bench { cables, printer, places, .. } = bench;
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (nodes, links) = (counted(places.len(), "node"), counted(cables.len(), "link"));
    let impairment =
        bench.impairment.map_or_else(String::new, |impairment| format!(", each with {impairment}"));
    let domain = if arguments.domain { ", all in a secure domain" } else { "" };
    printer.say(format_args!(
        "{}: {nodes} ({}), {links}{impairment}, an engine that relays in each node{domain}; up after {} ms",
        arguments.topology,
        bench.node_names(),
        took.as_millis()
    ));
    printer.say("try: @n2 listen EX1 half, discover EX1, negotiate EX1 100, flood EX2 7, @all floods EX2, cut 1, links");
    printer.say(
        "commands are for n1 until you say node n2; help lists the verbs, quit or the end of the input ends",
    );
}

/// Reads commands until the end. None of them decides about the exit status: errors are part of trying.
fn converse(session: &mut Session, printer: &Printer) -> Result<(), Box<dyn Error>> {
    if printer.is_terminal() {
        return edit(session, printer);
    }
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    while !session.is_over() {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        session.execute(&String::from_utf8_lossy(&line));
    }
    Ok(())
}

/// The same with a person: lines can be edited, the keys up and down bring earlier ones back, Ctrl-R searches them. Ctrl-C
/// drops the line, or ends a command that takes long; Ctrl-D ends the lab.
fn edit(session: &mut Session, printer: &Printer) -> Result<(), Box<dyn Error>> {
    let mut editor = DefaultEditor::new()?;
    printer.print_with(editor.create_external_printer()?);
    while !session.is_over() {
        match editor.readline(&session.prompt()) {
            Ok(line) => {
                editor.add_history_entry(line.trim())?;
                session.forget_interrupts();
                session.execute(&line);
            }
            Err(ReadlineError::Interrupted) => printer.say("quit or Ctrl-D ends the lab"),
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
