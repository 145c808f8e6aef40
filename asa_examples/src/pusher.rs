//! pusher: hands out files, block by block, in a negotiation of the objective 411:mvFile. [`getter`](crate::getter)
//! asks for them.
//!
//! ```text
//!   getter                                pusher
//!     |-- M_REQ_NEG    "notes.txt" ------->|
//!     |<- M_NEGOTIATE  1024 bytes ---------|
//!     |-- M_NEGOTIATE  "ACK" ------------->|
//!     |         ...                        |
//!     |<- M_NEGOTIATE  no bytes: the end --|
//!     |-- M_END        accept ------------>|
//! ```
//!
//! If a file is not available, the answer is M_END with a reason. Each side adds one to the loop count in every step,
//! so that it never runs out. All this is as in graspy, and interoperates with it; one thing is added: a client that
//! asks for `NAME.sha256` gets the digest of NAME, in the format of the program sha256sum, if there is no file of that
//! name.

use std::io::{self, Read};
use std::path::PathBuf;

use clap::Parser;
use grasp::{
    Asa, AsaNonce, Error, Negotiation, Objective, RegisterObj, SessionNonce, Value, tprint, ttprint,
};
use sha2::{Digest, Sha256};

use crate::offered::Directory;
use crate::{Common, Example, Outcome, Run, plain, serve};

/// The objective: a private name, with a colon in it (RFC 8990 §2.10.1).
pub const MOVE_FILE: &str = "411:mvFile";
/// How long clients and relays may remember the pusher's locator, in milliseconds. Each start uses another port; this
/// is how long the old one may still be found.
const TTL: u32 = 10_000;
/// Bytes in a block: with the surrounding message well below the limit of 2048.
pub const BLOCK: usize = 1024;
/// How long the other side may take for a block, in milliseconds.
pub const BLOCK_TIMEOUT: u32 = 5000;

/// Hands out the files of a directory to clients that ask (411:mvFile). A round is a transfer.
#[derive(Debug, Parser)]
#[command(name = "pusher", version)]
pub struct Pusher {
    #[command(flatten)]
    common: Common,

    /// The directory whose files, and those below it, are handed out to any client. Excluded are files outside it,
    /// targets of links, names that begin with a dot, files that others may not read, and keys.
    #[arg(long, required = true)]
    directory: PathBuf,
}

impl Example for Pusher {
    const NAME: &'static str = "Pusher";
    const INTRODUCTION: [&'static str; 3] = [
        "Pusher hands out files to whoever asks, in blocks, over negotiations of 411:mvFile.",
        "It serves several clients at once, and only files below its --directory that everyone may read.",
        "Run getter on a node of the same network. Ctrl-C ends it.",
    ];

    fn common(&self) -> &Common {
        &self.common
    }

    fn run(self, mut run: Run) -> Outcome {
        let directory = Directory::open(&self.directory)?;
        let asa = Asa::new(Self::NAME)?;
        tprint!("ASA pusher registered OK");
        let mut files = Objective::new(MOVE_FILE);
        (files.neg, files.loop_count) = (true, 4);
        let options = RegisterObj { ttl: Some(TTL), ..RegisterObj::default() };
        grasp::register_obj(asa.nonce(), &files, options)?;
        tprint!("Objective", files.name, "registered OK");

        tprint!("pusher is listening, with the files of", self.directory.display());
        let owner = asa.nonce();
        serve(&asa, &files, &mut run, move |session, run| {
            let request = session.objective().clone();
            Transfer { asa: owner, session: session.nonce(), directory: &directory, run }.serve(request);
        })?;
        drop(asa);
        tprint!("ASA exiting");
        Ok(())
    }
}

/// The transfer of one file to one client.
struct Transfer<'a> {
    asa: AsaNonce,
    session: SessionNonce,
    directory: &'a Directory,
    run: Run,
}

impl Transfer<'_> {
    fn serve(&self, request: Objective) {
        tprint!("Got request for", request.value);
        if request.dry {
            return self.decline("Dry run not supported");
        }
        let Ok(name) = request.value_as::<String>() else {
            return self.decline("A file name was expected");
        };
        let (source, size) = match self.directory.open_or_digest(&name) {
            Ok(opened) => opened,
            Err(error) => {
                tprint!("File open error");
                return self.decline(&error.to_string());
            }
        };
        let mut progress = Progress::new("Sent", plain(&name), Some(size));
        tprint!("Starting transfer of", plain(&name), format_args!("({size} bytes)"));
        match self.push(request, source, &mut progress) {
            Ok(()) => tprint!("Ended transfer of", plain(&name)),
            // The client has disconnected, does not answer, or has stopped the transfer.
            Err(error) => tprint!("Transfer interrupted after", progress.bytes, "bytes:", error),
        }
    }

    /// Sends block after block until the client accepts the empty last one.
    fn push(&self, request: Objective, mut source: impl Read, progress: &mut Progress) -> Outcome {
        // A client that embeds its CBOR gets its blocks in the same form.
        let embedded = matches!(request.value, Value::EncodedCbor(_));
        let mut step = request;
        loop {
            let mut block = vec![0; BLOCK];
            let length = match fill(&mut source, &mut block) {
                Ok(length) if !self.run.stopping() => length,
                Ok(_) => {
                    self.decline("The sender stops");
                    return Err("the sender stops".into());
                }
                Err(error) => {
                    self.decline(&error.to_string());
                    return Err(error.into());
                }
            };
            block.truncate(length);
            ttprint!("Sending", length, "bytes");
            step.value = if embedded { Value::from(block).encoded_cbor() } else { Value::from(block) };
            step.loop_count = step.loop_count.saturating_add(1);
            step = match grasp::negotiate_step(self.asa, self.session, &step, Some(BLOCK_TIMEOUT)) {
                Ok(Negotiation::Agreed(_)) if length == 0 => return Ok(()),
                Ok(Negotiation::Agreed(_)) => return Err("the client needs no more".into()),
                Ok(Negotiation::Offer(_, step)) => step,
                Err(Error::Declined(Some(reason))) => return Err(plain(&reason).into()),
                Err(error) => return Err(error.into()),
            };
            if length == 0 || !step.value_as::<String>().is_ok_and(|text| text == "ACK") {
                tprint!("Unexpected reply: loop count", step.loop_count, "value", step.value);
                self.decline("Unexpected reply");
                return Err("unexpected reply".into());
            }
            progress.add(length);
        }
    }

    fn decline(&self, reason: &str) {
        tprint!("Failed", reason);
        if let Err(error) = grasp::end_negotiate(self.asa, self.session, false, Some(reason)) {
            tprint!("end_negotiate error:", error);
        }
    }
}

/// Reads until the block is full or the file ends; returns the number of bytes.
fn fill(source: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < block.len() {
        match source.read(&mut block[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Returns the SHA-256 digest of the input in hexadecimal digits.
pub(crate) fn digest(mut source: impl Read) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut block = vec![0; 64 * BLOCK];
    loop {
        match fill(&mut source, &mut block)? {
            0 => return Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            length => digest.update(&block[..length]),
        }
    }
}

/// The progress of a transfer; prints a line for every tenth of it, or for every 100 blocks if the size is not known.
pub(crate) struct Progress {
    pub(crate) bytes: u64,
    verb: &'static str,
    name: String,
    size: Option<u64>,
    next: u64,
}

impl Progress {
    pub(crate) fn new(verb: &'static str, name: String, size: Option<u64>) -> Self {
        let mut progress = Self { bytes: 0, verb, name, size, next: 0 };
        progress.next = progress.interval();
        progress
    }

    fn interval(&self) -> u64 {
        let hundred_blocks = 100 * BLOCK as u64;
        self.size.map_or(hundred_blocks, |size| (size / 10).max(hundred_blocks / 10))
    }

    pub(crate) fn add(&mut self, length: usize) {
        self.bytes += length as u64;
        if self.bytes < self.next {
            return;
        }
        self.next = self.bytes + self.interval();
        match self.size.filter(|size| *size > 0) {
            Some(size) => {
                let percent = 100 * self.bytes / size;
                tprint!(
                    self.verb,
                    self.bytes,
                    "of",
                    size,
                    "bytes of",
                    self.name,
                    format_args!("({percent} %)")
                );
            }
            None => tprint!(self.verb, self.bytes, "bytes of", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_sha256sum() {
        assert_eq!(
            digest(&b"abc"[..]).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
