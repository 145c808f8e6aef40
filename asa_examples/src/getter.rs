//! getter: fetches files from a [`pusher`](crate::pusher), whose module documentation shows the messages.
//!
//! A file gets its name only when it is complete and, if the pusher knows its digest, verified. Until then it is called
//! `NAME.part`, and is removed when the transfer fails.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use grasp::{
    AsaNonce, Discover, Error, Negotiation, Objective, RegisterObj, Retry, SessionNonce, Value, tprint,
    ttprint,
};

use crate::pusher::{BLOCK_TIMEOUT, MOVE_FILE, Progress, digest};
use crate::{Common, Example, Outcome, Run, plain, reason};

/// Fetches files from a pusher (411:mvFile), and ends. The exit status is 0 if all files were received and verified.
#[derive(Debug, Parser)]
#[command(name = "getter", version)]
pub struct Getter {
    #[command(flatten)]
    common: Common,

    /// The files to fetch, by their names at the pusher.
    #[arg(required = true)]
    files: Vec<String>,

    /// The directory for the files; it is created if necessary.
    #[arg(long, default_value = "got")]
    directory: PathBuf,

    /// The largest accepted file, in bytes: a pusher may send without end.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    max_size: u64,

    /// How many times to look for a pusher before giving up, with pauses that grow from 1 to 16 seconds.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    attempts: u32,
}

impl Example for Getter {
    const NAME: &'static str = "Getter";
    const INTRODUCTION: [&'static str; 3] = [
        "Getter fetches files in blocks over negotiations of 411:mvFile, and checks them.",
        "A transfer that is interrupted leaves nothing behind.",
        "Run pusher on a node of the same network. Ctrl-C ends it, and so does the last file.",
    ];

    fn common(&self) -> &Common {
        &self.common
    }

    fn run(self, run: Run) -> Outcome {
        fs::create_dir_all(&self.directory)?;
        let asa = grasp::register_asa(Self::NAME)?;
        tprint!("ASA getter registered OK");
        let mut files = Objective::new(MOVE_FILE);
        (files.neg, files.loop_count) = (true, 10);
        grasp::register_obj(asa, &files, RegisterObj::default())?;
        tprint!("Objective", files.name, "registered OK");

        let fetcher = Fetcher { asa, files, attempts: self.attempts, largest: self.max_size, run };
        let mut failures = 0;
        for name in &self.files {
            if let Err(error) = fetcher.fetch(name, &self.directory) {
                tprint!("Could not get", name, format_args!("- {error}"));
                failures += 1;
            }
        }
        grasp::deregister_asa(asa, Self::NAME)?;
        tprint!("ASA exiting");
        if failures == 0 { Ok(()) } else { Err(format!("{failures} files could not be fetched").into()) }
    }
}

struct Fetcher {
    asa: AsaNonce,
    files: Objective,
    attempts: u32,
    largest: u64,
    run: Run,
}

impl Fetcher {
    /// Fetches one file and checks it. Its name may be a path; here it gets the last part of that.
    fn fetch(&self, name: &str, directory: &Path) -> Outcome {
        let last = Path::new(name).file_name().ok_or("not the name of a file")?;
        let started = Instant::now();
        let part = Part::create(directory.join(last))?;
        let mut file = &part.file;
        let bytes = self.transfer(name, self.largest, |block| match block {
            [] => file.sync_all(),
            block => file.write_all(block),
        })?;
        let seconds = started.elapsed().as_secs_f64();
        tprint!("Transfer succeeded:", bytes, "bytes in", format_args!("{seconds:.1} s"));
        self.check(name, &part)?;
        let path = part.keep()?;
        tprint!("Got", path.display());
        Ok(())
    }

    /// Compares the digest with that of the pusher, if the pusher has one.
    fn check(&self, name: &str, part: &Part) -> Outcome {
        let mut line = Vec::new();
        // The peer may send anything instead, of any length.
        let taken = self.transfer(&format!("{name}.sha256"), LONGEST_DIGEST, |block| {
            line.extend_from_slice(block);
            Ok(())
        });
        if let Err(error) = taken {
            tprint!("Not checked: the pusher has no digest for it -", error);
            return Ok(());
        }
        let line = String::from_utf8_lossy(&line);
        let expected = line.split_whitespace().next().unwrap_or_default();
        let actual = digest(File::open(&part.path)?)?;
        if actual != expected {
            return Err(format!("its digest is {actual}, but the pusher has {}", plain(expected)).into());
        }
        tprint!("Checked: SHA-256", actual);
        Ok(())
    }

    /// Fetches all blocks, up to `most` bytes, and passes each to `take`; the last is empty. Returns the number of
    /// bytes.
    fn transfer(
        &self,
        name: &str,
        most: u64,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
        let (session, mut answer) = self.ask(name)?;
        let mut progress = Progress::new("Got", plain(name), None);
        tprint!("Starting transfer of", plain(name));
        loop {
            // Plain bytes, even if they look like CBOR and a graspy pusher has marked them as CBOR.
            let Some(block) = answer.value.as_bytes() else {
                grasp::send_invalid(self.asa, session, Some("a block of bytes was expected".into()))?;
                return Err(format!("not a block: {}", answer.value).into());
            };
            if u64::try_from(block.len()).unwrap_or(u64::MAX) > most.saturating_sub(progress.bytes) {
                let _ = grasp::end_negotiate(self.asa, session, false, Some("The receiver takes no more"));
                return Err(interrupted(&progress, &format!("it is larger than {most} bytes")));
            }
            if let Err(error) = take(block) {
                let _ = grasp::end_negotiate(self.asa, session, false, Some("The receiver cannot write"));
                return Err(error.into());
            }
            if block.is_empty() {
                // The last block, and nothing is missing: the transport is TCP.
                grasp::end_negotiate(self.asa, session, true, None)?;
                return Ok(progress.bytes);
            }
            progress.add(block.len());
            if self.run.stopping() {
                let _ = grasp::end_negotiate(self.asa, session, false, Some("The receiver stops"));
                return Err(interrupted(&progress, "stopped"));
            }
            answer.value = Value::from("ACK");
            answer.loop_count = answer.loop_count.saturating_add(1);
            ttprint!("Sending ACK for more");
            answer = match grasp::negotiate_step(self.asa, session, &answer, Some(BLOCK_TIMEOUT)) {
                Ok(Negotiation::Offer(_, answer)) => answer,
                Ok(Negotiation::Agreed(_)) => return Err(interrupted(&progress, "the pusher has ended it")),
                Err(error) => return Err(interrupted(&progress, &reason(&error))),
            };
        }
    }

    /// Asks for a file until there is a pusher; returns its first block.
    fn ask(&self, name: &str) -> Result<(SessionNonce, Objective), String> {
        let mut request = self.files.clone();
        request.value = Value::from(name);
        let mut pause = 1.0;
        for attempt in 1.. {
            tprint!("Asking for", plain(name));
            match self.ask_once(&request) {
                Ok(Negotiation::Offer(session, answer)) => return Ok((session, answer)),
                Ok(Negotiation::Agreed(_)) => return Err("Unexpected reply".to_owned()),
                Err(error) if attempt < self.attempts && error.retry() == Retry::Later => {
                    tprint!("No pusher found yet");
                }
                Err(error) => return Err(reason(&error)),
            }
            // RFC 8990 §2.5.4.3: repeated discoveries back off.
            if !self.run.pause(pause) {
                break;
            }
            pause = (2.0 * pause).min(16.0);
        }
        Err("stopped".to_owned())
    }

    fn ask_once(&self, request: &Objective) -> grasp::Result<Negotiation> {
        // Without a locator, req_negotiate would discover a peer itself, but for as long as it waits for an answer.
        let options = Discover { enough: Some(1), ..Discover::default() };
        let found = grasp::discover(self.asa, request, Some(1000), options)?;
        // An unreachable locator is forgotten, and not found again.
        let peer = found.first().ok_or(Error::NoDiscReply)?;
        grasp::req_negotiate(self.asa, request, Some(peer), Some(BLOCK_TIMEOUT))
    }
}

fn interrupted(progress: &Progress, why: &str) -> Box<dyn std::error::Error + Send + Sync> {
    format!("transfer interrupted after {} bytes: {why}", progress.bytes).into()
}

/// The longest line with a digest: 64 digits and a file name.
const LONGEST_DIGEST: u64 = 8192;

/// A file that is being received. It is removed on drop unless it was kept.
struct Part {
    file: File,
    path: PathBuf,
    target: PathBuf,
    kept: bool,
}

impl Part {
    fn create(target: PathBuf) -> io::Result<Self> {
        let mut path = target.clone().into_os_string();
        path.push(".part");
        let path = PathBuf::from(path);
        Ok(Self { file: File::create(&path)?, path, target, kept: false })
    }

    /// Gives the file its name.
    fn keep(mut self) -> io::Result<PathBuf> {
        fs::rename(&self.path, &self.target)?;
        self.kept = true;
        Ok(self.target.clone())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}
