//! `grasp decode`, and the program `grasp-decode`: shows the GRASP messages (RFC 8990) in a capture, a file or hex, explained element by element.
//!
//! `input` determines the kind of input; `file`, `link`, `packet` and `stream` extract the messages from a capture;
//! `record` holds the information about a message and prints it. [`crate::wire::annotate`] explains the messages. All
//! input is untrusted: nothing panics, memory is bounded, and harmful characters are escaped.

mod capture;
mod file;
mod input;
mod link;
mod packet;
mod record;
mod stream;

use std::error::Error;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::acp;
use crate::config::environment;
use crate::wire::Limits;
use crate::{QuadsKeys, keyfile};
use clap::Parser;
use zeroize::Zeroizing;

pub use capture::Report;
pub use record::{Record, Style, Transport};

/// Shows GRASP messages: from hex, a file, the standard input, or a capture (pcap, pcapng).
///
/// The exit status is 0 if every message is valid, 1 if one is malformed or there is none, 2 if the input or the
/// command line is wrong, or if a capture or a packet in it is truncated.
#[derive(Debug, Parser)]
#[command(name = "grasp-decode", version)]
pub struct Decode {
    /// A file, "-" for standard input, or the message in hex. Several pieces of hex are joined.
    #[arg(default_value = "-")]
    input: Vec<String>,

    /// Print one line per message.
    #[arg(long, conflicts_with = "json")]
    summary: bool,

    /// Print one JSON object per message, on one line.
    #[arg(long)]
    json: bool,

    /// Print only the messages of this session.
    #[arg(long, value_name = "ID")]
    session: Option<u32>,

    /// The maximum message size in bytes. An engine accepts 2048 unless it is configured otherwise.
    #[arg(long, value_name = "BYTES", default_value_t = 65535)]
    max_size: u32,

    /// Decrypt QUADS with the keys in this file. Otherwise GRASP_QUADS_KEYFILE or GRASP_QUADS_PASSWORD is used.
    #[arg(long, value_name = "FILE")]
    keyfile: Option<PathBuf>,

    /// Show all messages of a packet, or of input that is not a capture. Without this option, messages beyond a limit
    /// are only counted: a message may have two bytes, and the output about each is long.
    #[arg(long)]
    all: bool,

    /// Prompt for the QUADS password.
    #[arg(long, conflicts_with = "keyfile")]
    password: bool,
}

/// Counts the messages that one packet completes, or those in input that is not a capture.
#[derive(Default)]
struct Crowd {
    frame: u64,
    members: usize,
    hidden: u64,
}

impl Crowd {
    fn has_too_many(&mut self, frame: u64) -> bool {
        if self.frame != frame {
            (self.frame, self.members) = (frame, 0);
        }
        self.members += 1;
        let hides = self.members > if frame == 0 { MOST_IN_ALL } else { MOST_IN_A_PACKET };
        self.hidden += u64::from(hides);
        hides
    }
}

/// How many messages of one packet are shown. GRASP sends one or two.
const MOST_IN_A_PACKET: usize = 32;
/// How many messages are shown if there are no packets.
const MOST_IN_ALL: usize = 10_000;

/// How messages are read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The limits for reading a message.
    pub limits: Limits,
    /// The QUADS keys: data that is not readable as it is gets decrypted.
    pub keys: Option<QuadsKeys>,
}

/// Passes every message of any input to `show`. Hex and captures are recognized; anything else is read as consecutive
/// messages.
///
/// # Errors
/// If the input cannot be read. A damaged capture is shown up to the damage, and [`Report::damaged`] is set.
pub fn decode(
    input: impl io::Read + Send,
    options: &Options,
    show: &mut dyn FnMut(Record),
) -> Result<Report, Box<dyn Error>> {
    input::decode(input, options, show)
}

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::from(Decode::parse().run("grasp-decode"))
}

fn is_closed_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

impl Decode {
    /// Does what the command line says, and returns the exit status. `program` begins what is said on the standard error.
    #[must_use]
    pub fn run(&self, program: &str) -> u8 {
        self.show(program).unwrap_or_else(|error| {
            // Whoever closed the output (`| head`) does not want to know.
            if !is_closed_pipe(&*error) {
                let _ = writeln!(io::stderr(), "{program}: {error}");
            }
            2
        })
    }

    fn show(&self, program: &str) -> Result<u8, Box<dyn Error>> {
        let size = usize::try_from(self.max_size)?;
        let options = Options { limits: Limits { size, ..Limits::default() }, keys: self.keys()? };
        let style = match (self.summary, self.json) {
            (true, _) => Style::Summary,
            (_, true) => Style::Json,
            _ => Style::Text,
        };
        let mut out = BufWriter::new(io::stdout().lock());
        let (mut shown, mut sealed, mut malformed, mut truncated, mut failed) =
            (0u64, 0u64, false, false, None);
        let mut crowd = Crowd::default();
        let mut show = |record: Record| {
            if failed.is_some() || self.session.is_some_and(|session| record.session() != Some(session)) {
                return;
            }
            shown += 1;
            truncated |= record.truncated;
            malformed |= record.annotation.message.is_err() && !record.truncated;
            sealed += u64::from(options.keys.is_none() && record.may_be_sealed());
            if crowd.has_too_many(record.frame) && !self.all {
                return;
            }
            // A user who watches a live capture sees each message when it arrives.
            failed = record.print(style, &mut out).and_then(|()| out.flush()).err();
        };
        let report = match input::open(&self.input)? {
            input::Source::Hex(bytes) => decode(bytes.as_slice(), &options, &mut show),
            input::Source::Reader(reader) => decode(reader, &options, &mut show),
        };
        if let Some(error) = failed {
            return Err(error.into());
        }
        out.flush()?;
        let report = report?;
        for line in report.lines() {
            writeln!(io::stderr(), "{program}: {line}")?;
        }
        if crowd.hidden > 0 && !self.all {
            let hidden = crowd.hidden;
            writeln!(io::stderr(), "{program}: {hidden} messages were too many for their packet (--all)")?;
        }
        if sealed > 0 {
            writeln!(
                io::stderr(),
                "{program}: {sealed} may be encrypted: QUADS needs a key (--keyfile, --password)"
            )?;
        }
        if shown == 0 {
            writeln!(io::stderr(), "{program}: no GRASP message found")?;
        }
        let unread = shown == 0 && !report.unsupported.is_empty();
        Ok(match (report.damaged || truncated || unread, malformed || shown == 0) {
            (true, _) => 2,
            (false, true) => 1,
            (false, false) => 0,
        })
    }

    fn keys(&self) -> Result<Option<QuadsKeys>, Box<dyn Error>> {
        if self.password {
            let password = Zeroizing::new(rpassword::prompt_password("Password: ")?);
            return Ok(QuadsKeys::from_password(&password));
        }
        if let Some(path) = &self.keyfile {
            return keyfile::read(path).map_err(|error| format!("{}: {error}", path.display()).into());
        }
        Ok(acp::keys_from_environment(environment::keys())?)
    }
}
