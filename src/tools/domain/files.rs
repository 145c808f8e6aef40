//! The directories of authorities and nodes: files that are never half written, never written through a symbolic link, and for
//! their owner only where they are keys. Whoever changes one holds its lock, which is a file for its owner only: everybody who can
//! look into a directory could lock that, and hold up a renewal without end.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, Uid};

use crate::domain::{KeyFileError, PrivateKey};
use crate::private_file::{self, ROOT};
use crate::tools::failure::{Failure, Status};

/// The mode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    /// Its owner only: keys.
    Owner,
    /// Everybody may read it.
    All,
}

/// The file that whoever changes a directory locks. It stays.
const LOCK: &str = ".lock";
/// How long the lock is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A directory, which stays the same whatever its path leads to meanwhile.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    descriptor: OwnedFd,
    owner: (u32, u32),
    mode: u32,
    /// The lock, if this holds it.
    lock: Option<OwnedFd>,
}

impl Directory {
    /// Opens one that is there.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotADirectory => Failure::usage(format!("{} is no directory", path.display())),
            _ => Failure::usage(format!("{} cannot be opened: {error}", path.display())),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor =
            rustix::fs::open(path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        let about = File::from(descriptor.try_clone().map_err(failed)?).metadata().map_err(failed)?;
        let (owner, mode) = ((about.uid(), about.gid()), about.mode());
        Ok(Self { path: path.to_owned(), descriptor, owner, mode, lock: None })
    }

    /// Opens one, or makes it, with this mode.
    pub(super) fn make(path: &Path, mode: u32) -> Result<Self, Failure> {
        match std::fs::DirBuilder::new().mode(mode).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(Failure::usage(format!("{} cannot be created: {error}", path.display())));
            }
        }
        Self::open(path)
    }

    /// Waits until nobody else changes it, and lets nobody else until this is dropped.
    pub(super) fn lock(mut self, patience: Option<u32>) -> Result<Self, Failure> {
        let failed = |path: &Path, error: io::Error| {
            Failure::usage(format!("{} cannot be locked: {error}", path.display()))
        };
        let lock = self.lock_file().map_err(|error| failed(&self.path, error))?;
        let patience = patience.map_or(PATIENCE, |time| Duration::from_millis(time.into()));
        let until = Instant::now() + patience;
        loop {
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    self.lock = Some(lock);
                    return Ok(self);
                }
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => {
                    thread::sleep(Duration::from_millis(10));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let text = format!("another grasp domain works on {}", self.path.display());
                    return Err(Failure::new(Status::TimedOut, text));
                }
                Err(error) => return Err(failed(&self.path, error.into())),
            }
        }
    }

    fn lock_file(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let new = flags | OFlags::CREATE | OFlags::EXCL;
        match rustix::fs::openat(&self.descriptor, LOCK, new, Mode::RUSR | Mode::WUSR) {
            Ok(file) => give(&file, self.owner).map(|()| file),
            Err(rustix::io::Errno::EXIST) => {
                Ok(rustix::fs::openat(&self.descriptor, LOCK, flags, Mode::empty())?)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// To whom the files in it may belong: the user that runs this, or, if that is root, the owner of the directory.
    pub(super) fn own(&self) -> u32 {
        match rustix::process::geteuid().as_raw() {
            ROOT => self.owner.0,
            own => own,
        }
    }

    /// Whether others than its owner may put other files in the place of those in it.
    pub(super) const fn others_may_write(&self) -> bool {
        self.mode & 0o022 != 0
    }

    /// Whether there is something of this name, even if it leads nowhere.
    pub(super) fn has(&self, name: &str) -> bool {
        rustix::fs::statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Reads the keys of a file in it. That is no symbolic link: root may work on the directory of another user.
    pub(super) fn keys(&self, name: &str) -> Result<Vec<PrivateKey>, KeyFileError> {
        PrivateKey::all_in(&self.descriptor, &self.file(name), self.own())
    }

    /// Writes a file: readers see all of it or what was there before. It belongs to whoever the old one belonged to, else to the owner
    /// of the directory, if root writes it. What is no regular file is left alone.
    pub(super) fn write(&self, name: &str, contents: &[u8], whom: For) -> Result<(), Failure> {
        let failed = |error: io::Error| {
            Failure::usage(format!("{} cannot be written: {error}", self.file(name).display()))
        };
        let owner = match rustix::fs::statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => self.owner,
            Err(error) => return Err(failed(error.into())),
            Ok(about) if FileType::from_raw_mode(about.st_mode) == FileType::RegularFile => {
                (about.st_uid, about.st_gid)
            }
            Ok(_) => {
                return Err(failed(io::Error::other(
                    "there is something else than a regular file, such as a symbolic link, which is not followed",
                )));
            }
        };
        // Whoever holds the lock may remove what an interrupted one has left.
        let beside = format!(".{name}.new");
        let _ = rustix::fs::unlinkat(&self.descriptor, &beside, AtFlags::empty());
        self.beside(&beside, contents, whom, owner)
            .and_then(|()| Ok(rustix::fs::renameat(&self.descriptor, &beside, &self.descriptor, name)?))
            .and_then(|()| Ok(rustix::fs::fsync(&self.descriptor)?))
            .map_err(|error| {
                // Reports the first error, not one of removing what is left.
                let _ = rustix::fs::unlinkat(&self.descriptor, &beside, AtFlags::empty());
                failed(error)
            })
    }

    fn beside(&self, name: &str, contents: &[u8], whom: For, owner: (u32, u32)) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.descriptor, name, flags, Mode::RUSR | Mode::WUSR)?;
        give(&file, owner)?;
        if whom == For::All {
            rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH)?;
        }
        let mut file = File::from(file);
        file.write_all(contents)?;
        file.sync_all()
    }
}

/// Gives a new file to its owner, if root has made it.
fn give(file: &OwnedFd, (user, group): (u32, u32)) -> io::Result<()> {
    if rustix::process::geteuid().as_raw() == ROOT && (user, group) != (ROOT, ROOT) {
        rustix::fs::fchown(file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
    }
    Ok(())
}

/// Reads a file that somebody else has made: a request, the certificate of a peer.
pub(super) fn read(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| Failure::usage(format!("{} cannot be read: {error}", path.display()));
    let file = private_file::open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("it is no regular file")));
    }
    let bytes = private_file::bounded(file, most).map_err(failed)?;
    if bytes.len() > most { Err(failed(io::Error::other("it is too large"))) } else { Ok(bytes) }
}
