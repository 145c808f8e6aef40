//! Files that are for their owner only: keys. The engine and the tools read and write them by these functions, for QUADS
//! (`acp::keyfile`) and for domains (`domain`).
//!
//! What is read is asked of the open file, so that nobody can replace it in between. What is written is a new file that has its
//! mode from the beginning, and nothing is written through a symbolic link.
#![deny(clippy::as_conversions, clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used)]

use std::fmt;
use std::fs::File;
#[cfg(feature = "quads")]
use std::io::Write as _;
use std::io::{self, Read as _};
#[cfg(feature = "tools")]
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
#[cfg(feature = "quads")]
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
#[cfg(feature = "tools")]
use rustix::io::Errno;
use zeroize::Zeroizing;

/// Reads a file of at most `most` bytes that nobody but its owner, who is the user `own` or root, can read or write.
pub(crate) fn read_as(path: &Path, most: usize, own: u32) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    read_open(open(path), path, most, own)
}

/// The same for a file of this path in an open directory, whatever its path leads to meanwhile. A symbolic link is not followed: it would
/// let the owner of the directory have another key read, which only root can.
#[cfg(feature = "tools")]
pub(crate) fn read_in(
    directory: impl AsFd,
    path: &Path,
    most: usize,
    own: u32,
) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let name = path.file_name().unwrap_or_default();
    let file = rustix::fs::openat(directory, name, LOOKING | OFlags::NOFOLLOW, Mode::empty());
    let file = file.map(File::from).map_err(|error| match error {
        Errno::LOOP => io::Error::other("it is a symbolic link, which is not followed"),
        error => error.into(),
    });
    read_open(file, path, most, own)
}

fn read_open(
    file: io::Result<File>,
    path: &Path,
    most: usize,
    own: u32,
) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let io = |error| KeyFileError::Io { path: path.to_owned(), error };
    let file = file.map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(KeyFileError::NotAFile { path: path.to_owned() });
    }
    // The owner of the file can replace the key at any time.
    let owner = metadata.uid();
    if owner != own && owner != ROOT {
        return Err(KeyFileError::Foreign { path: path.to_owned(), owner, own });
    }
    if metadata.mode() & OTHERS != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    let bytes = Zeroizing::new(bounded(file, most).map_err(io)?);
    if bytes.len() > most {
        return Err(KeyFileError::Malformed { path: path.to_owned(), line: 0, what: "it is too large" });
    }
    Ok(bytes)
}

/// How to open what may be anything. Without `NONBLOCK`, opening a named pipe would wait for its writer.
const LOOKING: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Opens what may be anything.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    Ok(File::from(rustix::fs::open(path, LOOKING, Mode::empty())?))
}

/// Reads a file to its end, or to one byte more than `most`.
pub(crate) fn bounded(file: File, most: usize) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let length = file.metadata().map(|metadata| metadata.len()).unwrap_or_default().min(limit);
    // Large enough that the buffer never grows, which would copy a key.
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(most).saturating_add(64));
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Creates a file that only its owner can read and write. What is there is left alone.
#[cfg(feature = "quads")]
pub(crate) fn create(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(contents).and_then(|()| file.sync_all()).inspect_err(|_| {
        // Half a key file is useless. Reports the first error, not one of removing the file.
        let _ = std::fs::remove_file(path);
    })
}

/// Why a key file cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It cannot be opened or read.
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is a directory, a device or the like, not a regular file.
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Its group or others can read or write it.
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It belongs to another user, who could put another key into it.
    Foreign {
        /// The file.
        path: PathBuf,
        /// The user that it belongs to.
        owner: u32,
        /// The user that this process runs as.
        own: u32,
    },
    /// Its content is not that of a key file.
    Malformed {
        /// The file.
        path: PathBuf,
        /// In which line, from 1; 0 if it is not about one line.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => write!(f, "the key file {} cannot be read: {error}", path.display()),
            Self::NotAFile { path } => write!(f, "the key file {} is not a regular file", path.display()),
            Self::Exposed { path, mode } => write!(
                f,
                "the key file {path} can be read or written by others than its owner (mode {mode:04o}): restrict it (chmod 600 {path}), and make a new key if somebody may have read it",
                path = path.display()
            ),
            Self::Foreign { path, owner, own } => write!(
                f,
                "the key file {path} belongs to user {owner}, who can put another key into it: it has to be owned by root or by user {own}, as whom this program runs (chown {own} {path}), and the key should be a new one",
                path = path.display()
            ),
            Self::Malformed { path, line: 0, what } => {
                write!(f, "the key file {} is malformed: {what}", path.display())
            }
            Self::Malformed { path, line, what } => {
                write!(f, "line {line} of the key file {} is malformed: {what}", path.display())
            }
        }
    }
}

impl std::error::Error for KeyFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// The user that may own any key file.
pub(crate) const ROOT: u32 = 0;
/// The permission bits that let the group or others read or write.
const OTHERS: u32 = 0o066;
