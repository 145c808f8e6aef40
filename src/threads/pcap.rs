//! `_pcap`: writes the engine's traffic into a pcapng file, as a listener of its trace. It delays nobody: events that
//! it cannot write in time are lost and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::spawn;
use crate::core::Core;
use crate::net::wait::{self, For};
use crate::trace::Trace;
use crate::trace::pcapng::{Capture, Link};

/// How many events may wait to be written.
const CAPACITY: usize = 16_384;
/// How often to check for shutdown while a pipe has no room.
const GLANCE: Duration = Duration::from_millis(100);
/// How long shutdown waits for a pipe to be drained.
const LAST_WORD: Duration = Duration::from_secs(1);
/// How many files of one name may exist side by side.
const FILES: u32 = 9999;
/// How many characters of a node's name go into a file name.
const LONGEST_NAME: usize = 64;

/// Starts the thread if a capture is configured. A capture that cannot be opened is logged, not fatal.
pub(crate) fn start(core: &Arc<Core>) -> io::Result<()> {
    let Some(path) = core.node.config.pcap.file() else { return Ok(()) };
    let link = if core.node.config.pcap_ethernet { Link::Ethernet } else { Link::Raw };
    let clear = core.node.config.pcap_clear;
    let capture = open(path, &core.node.config.node_name()).and_then(|(path, file)| {
        let file = Output { file, core: Arc::clone(core), until: None };
        Ok((path, Capture::new(BufWriter::new(file), link, clear)?))
    });
    match capture {
        Ok((path, capture)) => {
            log::info!("what is sent and received is written to {}", path.display());
            if clear && core.uses_tls() {
                log::warn!("{} has in the clear what TLS secures (pcap_clear)", path.display());
            }
            let trace = core.node.counters.tracer().subscribe_to(CAPACITY, !clear);
            spawn(core, "_pcap", move |core| {
                if let Err(error) = run(core, capture, &trace) {
                    log::warn!("the capture {} ends here: {error}", path.display());
                }
                core.node.counters.capture_lost.raise_to(usize::try_from(trace.lost()).unwrap_or(usize::MAX));
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
        core.node.counters.capture_lost.raise_to(usize::try_from(trace.lost()).unwrap_or(usize::MAX));
    }
    capture.finish(trace.lost(), SystemTime::now())
}

/// The output file, which may be a pipe that nobody drains: at shutdown the thread waits for it only briefly.
#[derive(Debug)]
struct Output {
    file: File,
    core: Arc<Core>,
    /// When waiting ends because the engine is shutting down.
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

/// Opens an existing pipe or device in non-blocking mode, so that neither opening nor writing waits for a reader.
/// Otherwise creates a new file with the node's name in its own, readable by the owner only. Leaves existing files and
/// links alone and tries the next number instead.
fn open(path: &Path, node: &str) -> io::Result<(PathBuf, File)> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    match std::fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_fifo() || there.file_type().is_char_device() => {
            let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
            return Ok((path.to_owned(), options.custom_flags(flags.bits().cast_signed()).open(path)?));
        }
        _ => {}
    }
    options.create_new(true);
    for number in 1..=FILES {
        let path = named(path, node, number);
        match options.open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Names the file for node `n1`: `grasp.pcapng` becomes `grasp-n1.pcapng`, `grasp-n1.2.pcapng` and so on.
fn named(path: &Path, node: &str, number: u32) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    let harmless = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    let node: String = node.chars().take(LONGEST_NAME).map(harmless).collect();
    name.push(format!("-{node}"));
    if number > 1 {
        name.push(format!(".{number}"));
    }
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::{env, fs, process};

    use super::*;

    #[test]
    fn the_name_has_the_nodes_and_a_number_and_leads_nowhere_else() {
        let name = |path: &str, node: &str, number| named(Path::new(path), node, number);
        assert_eq!(name("/tmp/grasp.pcapng", "n1", 1), Path::new("/tmp/grasp-n1.pcapng"));
        assert_eq!(name("grasp.pcapng", "n1", 2), Path::new("grasp-n1.2.pcapng"));
        assert_eq!(name("dir.d/grasp", "../../etc/x", 1), Path::new("dir.d/grasp-.._.._etc_x"));
        let long = name("a.b", &"ß".repeat(300), 1);
        assert_eq!(long.as_os_str().len(), 1 + 1 + LONGEST_NAME + 2);
    }

    #[test]
    fn what_is_there_is_never_overwritten_followed_or_shared() {
        let directory = env::temp_dir().join(format!("grasp-captures-{}", process::id()));
        fs::create_dir(&directory).unwrap();
        let path = directory.join("grasp.pcapng");
        let precious = directory.join("precious");
        fs::write(&precious, "precious").unwrap();
        // A world-readable file of another user with the first name, and links with the next names.
        fs::write(directory.join("grasp-n1.pcapng"), "the one before").unwrap();
        fs::set_permissions(directory.join("grasp-n1.pcapng"), fs::Permissions::from_mode(0o666)).unwrap();
        symlink(&precious, directory.join("grasp-n1.2.pcapng")).unwrap();
        symlink(directory.join("nowhere"), directory.join("grasp-n1.3.pcapng")).unwrap();
        symlink(&precious, &path).unwrap();
        let (opened, file) = open(&path, "n1").unwrap();
        assert_eq!(opened.file_name(), Some(OsStr::new("grasp-n1.4.pcapng")));
        assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o600);
        assert_eq!(open(&path, "n1").unwrap().0.file_name(), Some(OsStr::new("grasp-n1.5.pcapng")));
        assert_eq!(open(&path, "n2").unwrap().0.file_name(), Some(OsStr::new("grasp-n2.pcapng")));
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        assert_eq!(fs::read_to_string(directory.join("grasp-n1.pcapng")).unwrap(), "the one before");
        assert!(!directory.join("nowhere").exists());
        fs::remove_dir_all(&directory).unwrap();
        let nowhere = open(&directory.join("a.pcapng"), "n1").unwrap_err();
        assert_eq!(nowhere.kind(), io::ErrorKind::NotFound, "another number would not help");
        // A device is opened as it is.
        assert_eq!(open(Path::new("/dev/null"), "n1").unwrap().0, Path::new("/dev/null"));
    }
}
