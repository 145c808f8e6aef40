//! The command line of `grasp`: its verbs and options. Help, man pages and completions come from here.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

use super::decode::Decode;
use super::domain::Domain;
use super::keys::QuadsMaker;
use super::words;
use crate::types::{AsaLocator, Value};

/// Looks inside a GRASP node (RFC 8990), and uses it: finds, gets, floods, publishes and negotiates objectives.
///
/// It talks to the node of this host, graspd, through its socket. With --standalone it is a node itself for as long as it runs.
/// Texts and values of peers are shown so that they cannot steer a terminal.
#[derive(Debug, Parser)]
#[command(name = "grasp", version, propagate_version = true, after_help = STATUSES)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) options: Options,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

const STATUSES: &str =
    "Exit status: 0 done, 1 nothing found, 2 wrong usage, 3 no node, 4 refused, 5 no answer in time.";

/// The options of all verbs.
#[derive(Args, Clone, Debug)]
pub(super) struct Options {
    /// Print JSON: one object per line
    #[arg(long, global = true, help_heading = "Global options")]
    pub(super) json: bool,
    /// How long to wait, in milliseconds, or as 5s, 2min, 1h
    #[arg(long, global = true, value_name = "TIME", value_parser = words::milliseconds, help_heading = "Global options")]
    pub(super) timeout: Option<u32>,
    /// The socket of the node [default: GRASP_SOCKET, $XDG_RUNTIME_DIR/grasp.sock, /run/grasp/grasp.sock]
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        help_heading = "Global options",
        conflicts_with = "standalone"
    )]
    pub(super) socket: Option<PathBuf>,
    /// Do not use the node of this host: be a node while this command runs
    #[arg(long, global = true, help_heading = "Global options")]
    pub(super) standalone: bool,
    /// With --standalone: use this interface only; may be repeated
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    pub(super) interface: Vec<String>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Show the state of the node
    Status(Watched),
    /// Show the registered ASAs and their objectives
    Asas(Watched),
    /// Show the registered objectives
    Objectives(Watched),
    /// Show the nodes that this one knows, and how it knows them
    Peers(Watched),
    /// Find who offers an objective
    Discover(Discover),
    /// Show what there is in the network: flooded and discovered objectives
    Browse(Browse),
    /// Get the current value of an objective: flooded, or from a peer (synchronization)
    Get(Get),
    /// Tell all nodes a value, once or at regular intervals
    Flood(Flood),
    /// Show the values that were flooded
    Floods(Floods),
    /// Report when a flooded objective appears, changes or disappears
    Watch(Watch),
    /// Ask a peer for a value, and answer its offers
    Negotiate(Negotiate),
    /// Answer the requests of others to negotiate an objective
    Listen(Listen),
    /// Serve the value of an objective, and flood it, until interrupted
    Publish(Publish),
    /// Show the open sessions
    Sessions(Watched),
    /// Show the counters of the node
    Stats(Stats),
    /// Report what the node does, as it does it
    Monitor(Monitor),
    /// Show the GRASP messages in hex, a file or a capture, element by element
    Decode(Decode),
    /// Make the key file of a network that uses QUADS encryption, from a password
    Keys(QuadsMaker),
    /// Keep a domain of certificates: its authority, the certificates of nodes, the revocation list
    #[command(subcommand)]
    Domain(Domain),
    /// Look for problems that occur in practice, and say what to do
    Doctor(Doctor),
    /// Make the node read its configuration again
    Reload,
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write one for each verb into a directory
    Man {
        /// Where to write the pages
        #[arg(value_name = "DIRECTORY")]
        directory: Option<PathBuf>,
    },
}

/// The option of the verbs that show a state.
#[derive(Args, Clone, Debug)]
pub(super) struct Watched {
    /// Show it again whenever it changes; --timeout ends that
    #[arg(long)]
    pub(super) watch: bool,
}

/// The name of an objective.
#[derive(Args, Clone, Debug)]
pub(super) struct Named {
    /// The objective's name
    #[arg(value_name = "NAME", value_parser = words::name)]
    pub(super) name: String,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Discover {
    #[command(flatten)]
    pub(super) named: Named,
    /// Forget what is cached, and ask the network
    #[arg(long)]
    pub(super) fresh: bool,
    /// Collect answers until the time is over, instead of ending with the first
    #[arg(long)]
    pub(super) all: bool,
    /// How far the discovery goes: 1 is this link
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub(super) loop_count: Option<u8>,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Browse {
    /// Names, or beginnings of names followed by a star, such as SRV.* [default: all]
    #[arg(value_name = "NAME")]
    pub(super) names: Vec<String>,
    #[command(flatten)]
    pub(super) shown: Shown,
    #[command(flatten)]
    pub(super) watched: Watched,
}

/// How values are shown.
#[derive(Args, Clone, Debug)]
pub(super) struct Shown {
    /// How values are shown and written: words (those of the objective's definition), value (diagnostic notation),
    /// json, text, hex, cbor, or the name of a well-known objective
    #[arg(long = "as", value_name = "TYPE", value_parser = super::shown::Form::parse)]
    pub(super) form: Option<super::shown::Form>,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Get {
    #[command(flatten)]
    pub(super) named: Named,
    /// Ask this peer
    #[arg(long, value_name = "LOCATOR", value_parser = words::locator)]
    pub(super) from: Option<AsaLocator>,
    #[command(flatten)]
    pub(super) shown: Shown,
    /// Write the value into this file, completely or not at all
    #[arg(long, value_name = "FILE")]
    pub(super) write: Option<PathBuf>,
}

/// The options of the verbs that tell all nodes a value.
#[derive(Args, Clone, Debug)]
pub(super) struct Told {
    /// How long the value is valid; 0 is for ever [default: as the objective's definition says; else three intervals,
    /// or for ever if it is flooded once]
    #[arg(long, value_name = "TIME", value_parser = words::milliseconds)]
    pub(super) ttl: Option<u32>,
    /// How far the value goes: 1 is this link [default: as the objective's definition says, else 6]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub(super) loop_count: Option<u8>,
    /// Where the service is: the locator to send with the value
    #[arg(long, value_name = "LOCATOR", value_parser = words::locator, conflicts_with = "port")]
    pub(super) at: Option<AsaLocator>,
    /// Where the service is: this port of this node's address
    #[arg(long, value_name = "PORT")]
    pub(super) port: Option<u16>,
    /// The transport protocol of the locator
    #[arg(long, value_name = "PROTOCOL", value_parser = ["tcp", "udp", "ipv6"], default_value = "tcp")]
    pub(super) protocol: String,
    /// Do it even if it does not agree with the objective's definition
    #[arg(long)]
    pub(super) anyway: bool,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Flood {
    #[command(flatten)]
    pub(super) named: Named,
    /// The value, in JSON or diagnostic notation; a single word is text
    #[arg(value_name = "VALUE", value_parser = words::value, allow_hyphen_values = true)]
    pub(super) value: Option<Value>,
    /// Flood it at this interval, until interrupted or until --timeout is over
    #[arg(long, value_name = "TIME", value_parser = words::milliseconds)]
    pub(super) every: Option<u32>,
    #[command(flatten)]
    pub(super) told: Told,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Publish {
    #[command(flatten)]
    pub(super) named: Named,
    /// The value, in JSON or diagnostic notation; a single word is text [default: as the objective's definition says]
    #[arg(value_name = "VALUE", value_parser = words::value, allow_hyphen_values = true)]
    pub(super) value: Option<Value>,
    /// The interval of the floods; with 0 the value is only served [default: as the objective's definition says, else 60 s]
    #[arg(long, value_name = "TIME", value_parser = words::milliseconds)]
    pub(super) every: Option<u32>,
    #[command(flatten)]
    pub(super) told: Told,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Floods {
    /// The objective's name, or the beginning of names followed by a star [default: all]
    #[arg(value_name = "NAME")]
    pub(super) name: Option<String>,
    #[command(flatten)]
    pub(super) shown: Shown,
    #[command(flatten)]
    pub(super) watched: Watched,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Watch {
    #[command(flatten)]
    pub(super) named: Named,
    #[command(flatten)]
    pub(super) shown: Shown,
    /// Keep this file up to date: a line for each value that is valid now. The file is never half written
    #[arg(long, value_name = "FILE")]
    pub(super) write: Option<PathBuf>,
    /// Run this command in a shell for each change, with GRASP_EVENT (added, changed, removed), GRASP_OBJECTIVE, GRASP_LOCATOR,
    /// GRASP_ADDRESS, GRASP_PORT, GRASP_PROTOCOL and GRASP_VALUE, and the change as JSON on its standard input
    #[arg(long, value_name = "COMMAND")]
    pub(super) exec: Option<String>,
    /// How long a command may run until it is killed
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = words::milliseconds)]
    pub(super) exec_time: u32,
    /// End after this many changes
    #[arg(long, value_name = "N")]
    pub(super) count: Option<u64>,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Negotiate {
    #[command(flatten)]
    pub(super) named: Named,
    /// What is asked for, in JSON or diagnostic notation; a single word is text
    #[arg(value_name = "VALUE", value_parser = words::value, allow_hyphen_values = true)]
    pub(super) value: Value,
    #[command(flatten)]
    pub(super) answers: Answers,
    /// Ask this peer
    #[arg(long, value_name = "LOCATOR", value_parser = words::locator)]
    pub(super) with: Option<AsaLocator>,
    /// How many steps both sides may make together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub(super) loop_count: Option<u8>,
    /// A dry run
    #[arg(long)]
    pub(super) dry: bool,
}

/// How offers are answered.
#[derive(Args, Clone, Debug)]
pub(super) struct Answers {
    /// How offers are answered: accept, decline [REASON], half, offer VALUE, wait TIME
    #[arg(value_name = "ANSWER")]
    pub(super) answer: Vec<String>,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Listen {
    #[command(flatten)]
    pub(super) named: Named,
    #[command(flatten)]
    pub(super) answers: Answers,
    /// End after this many negotiations
    #[arg(long, value_name = "N")]
    pub(super) count: Option<u64>,
    /// Accept dry runs, too
    #[arg(long)]
    pub(super) dry: bool,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Stats {
    /// Show only counters whose names contain this text
    #[arg(value_name = "TEXT")]
    pub(super) text: Option<String>,
    /// Show counters that are 0, too
    #[arg(long)]
    pub(super) all: bool,
    #[command(flatten)]
    pub(super) watched: Watched,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Monitor {
    /// Show messages element by element
    #[arg(long, short)]
    pub(super) verbose: bool,
    /// Show only what concerns objectives whose names contain this text
    #[arg(long, value_name = "TEXT")]
    pub(super) objective: Option<String>,
    /// End after this many events
    #[arg(long, value_name = "N")]
    pub(super) count: Option<u64>,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Doctor {
    /// How long to listen to the network
    #[arg(long = "listen", value_name = "TIME", default_value = "3s", value_parser = words::milliseconds)]
    pub(super) listen: u32,
}

/// The definition, for help, man pages and completions.
pub(super) fn definition() -> clap::Command {
    Cli::command()
}
