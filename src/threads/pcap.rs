//! `_pcap`: writes what the engine sends and receives into a pcapng file, as a listener of its trace. It holds up
//! nobody: what it cannot write in time is lost, and counted.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::spawn;
use crate::core::Core;
use crate::net::wait::{self, For};
use crate::trace::Trace;
use crate::trace::pcapng::Capture;

/// How many events may wait to be written.
const CAPACITY: usize = 16_384;
/// How often it is looked whether the engine is being shut down, while a pipe has no room.
const GLANCE: Duration = Duration::from_millis(100);
/// How long a pipe may take at shutdown to be drained.
const LAST_WORD: Duration = Duration::from_secs(1);
/// How many engines may write beside each other under one name.
const FILES: u32 = 99;

/// Starts the thread, if a capture is wanted. That it cannot be written is no reason not to run: it is said.
pub(crate) fn start(core: &Arc<Core>) -> io::Result<()> {
    let Some(path) = core.config.pcap.file() else { return Ok(()) };
    let capture = open(path).and_then(|(path, file)| {
        let file = Output { file, core: Arc::clone(core), until: None };
        Ok((path, Capture::new(BufWriter::new(file))?))
    });
    match capture {
        Ok((path, capture)) => {
            log::info!("what is sent and received is written to {}", path.display());
            let trace = core.counters.tracer().subscribe(CAPACITY);
            spawn(core, "_pcap", move |core| {
                if let Err(error) = run(core, capture, &trace) {
                    log::warn!("the capture {} ends here: {error}", path.display());
                }
                core.counters.capture_lost.raise_to(usize::try_from(trace.lost()).unwrap_or(usize::MAX));
            })
        }
        Err(error) => {
            log::warn!("nothing is written to {}: {error}", path.display());
            Ok(())
        }
    }
}

fn run(core: &Core, mut capture: Capture<BufWriter<Output>>, trace: &Trace) -> io::Result<()> {
    let name = |ifi| core.interface_name(ifi);
    while let Ok(event) = trace.recv() {
        capture.write(&event, name)?;
        while let Ok(event) = trace.try_recv() {
            capture.write(&event, name)?;
        }
        capture.flush()?;
        core.counters.capture_lost.raise_to(usize::try_from(trace.lost()).unwrap_or(usize::MAX));
    }
    capture.finish(trace.lost(), SystemTime::now())
}

/// The file, which may be a pipe that nobody drains: at shutdown that is waited for a moment only.
#[derive(Debug)]
struct Output {
    file: File,
    core: Arc<Core>,
    /// When waiting ends, since the engine is being shut down.
    until: Option<Instant>,
}

impl Output {
    /// Waits for room.
    fn wait(&mut self) -> io::Result<()> {
        loop {
            let now = Instant::now();
            if self.core.is_stopping() {
                self.until.get_or_insert(now + LAST_WORD);
            }
            if self.until.is_some_and(|until| until <= now) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if wait::wait(&self.file, For::Room, now + GLANCE)? {
                return Ok(());
            }
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait()?,
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Opens the file, for its owner only, so that neither that nor writing waits for somebody who reads a pipe. While another engine writes it, this one takes the same name with a number.
fn open(path: &Path) -> io::Result<(PathBuf, File)> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600).custom_flags(nix::libc::O_NONBLOCK);
    }
    for number in 1..=FILES {
        let mut name = path.as_os_str().to_owned();
        if number > 1 {
            name.push(format!(".{number}"));
        }
        let file = options.open(&name)?;
        match file.try_lock() {
            Ok(()) => {
                // A pipe or a device cannot be cut, and need not be.
                if file.metadata()?.is_file() {
                    file.set_len(0)?;
                }
                return Ok((name.into(), file));
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}
