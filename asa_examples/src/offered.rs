//! The files that [`pusher`](crate::pusher) hands out: those below a directory that the user has named, readable by
//! everyone.
//!
//! A name comes from the network. It is followed from the open directory, part by part, and never through a link: so
//! the opened file is the checked one, even if somebody moves files in the meantime.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};

use crate::pusher::digest;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory(OwnedFd);

impl Directory {
    /// Opens the directory that the user has named, following links.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Returns the file of this name, or the digest of a file, and its size.
    pub(crate) fn open_or_digest(&self, name: &str) -> io::Result<(Box<dyn Read>, u64)> {
        let file = match self.file(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match name.strip_suffix(".sha256") {
                Some(name) => {
                    let line = format!("{}  {name}\n", digest(self.file(name)?)?);
                    let size = line.len().try_into().unwrap_or(u64::MAX);
                    return Ok((Box::new(Cursor::new(line)), size));
                }
                None => return Err(error),
            },
            file => file?,
        };
        let size = file.metadata()?.len();
        Ok((Box::new(file), size))
    }

    /// Opens a file if it may be handed out.
    fn file(&self, name: &str) -> io::Result<File> {
        let parts: Vec<&str> = name.split('/').collect();
        let Some((last, above)) = parts.split_last() else { return Err(refused()) };
        // No `.` and `..`, no absolute name, no hidden file.
        if parts.iter().any(|part| part.is_empty() || part.starts_with('.')) || is_key_by_name(last) {
            return Err(refused());
        }
        let step = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut directory = self.0.try_clone()?;
        for part in above {
            directory = opened(openat(&directory, *part, step | OFlags::DIRECTORY, Mode::empty()))?;
        }
        // Opening a named pipe would wait for its writer.
        let flags = step | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(opened(openat(&directory, *last, flags, Mode::empty()))?);
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.mode() & FOR_ALL != FOR_ALL || is_key(&file)? {
            return Err(refused());
        }
        Ok(file)
    }
}

/// A link is not followed: it counts as a file that must not be handed out.
fn opened(outcome: rustix::io::Result<OwnedFd>) -> io::Result<OwnedFd> {
    outcome.map_err(|error| match error {
        rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR => refused(),
        error => error.into(),
    })
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "Not a file that is handed out")
}

/// Whether a file with this name probably contains a key.
fn is_key_by_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let extension = Path::new(&name).extension().and_then(|extension| extension.to_str());
    name == "quadsk.py"
        || matches!(extension, Some("key" | "pem" | "p12" | "pfx" | "jks" | "keystore" | "kdbx"))
}

/// Whether a file begins like a key: one of QUADS, in either form, or a private key in PEM.
fn is_key(file: &File) -> io::Result<bool> {
    let mut head = vec![0; HEAD];
    let length = file.read_at(&mut head, 0)?;
    let head = String::from_utf8_lossy(head.get(..length).unwrap_or_default());
    let assigned = |wanted: &str| {
        head.lines().any(|line| line.split_once('=').is_some_and(|(name, _)| name.trim() == wanted))
    };
    Ok(head.contains("PRIVATE KEY-----") || (assigned("key") && assigned("iv")))
}

/// Readable by everyone.
const FOR_ALL: u32 = 0o004;
/// How much of a file is checked for a key.
const HEAD: usize = 8192;

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use grasp::{QuadsKeys, keyfile};
    use tempfile::TempDir;

    use super::*;

    /// A directory with a file `good`, opened.
    fn directory() -> (TempDir, Directory) {
        let place = TempDir::new().unwrap();
        let directory = Directory::open(place.path()).unwrap();
        put(&place, "good", "good", 0o644);
        (place, directory)
    }

    fn put(place: &TempDir, name: &str, text: &str, mode: u32) {
        let path = place.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }

    fn handed_out(directory: &Directory, name: &str) -> Result<String, io::ErrorKind> {
        let (mut source, size) = directory.open_or_digest(name).map_err(|error| error.kind())?;
        let mut text = String::new();
        source.read_to_string(&mut text).unwrap();
        assert_eq!(u64::try_from(text.len()).unwrap(), size);
        Ok(text)
    }

    fn is_refused(directory: &Directory, name: &str) {
        let refused = Err(io::ErrorKind::PermissionDenied);
        assert_eq!(handed_out(directory, name), refused, "{name}");
        // Nor its digest, which would confirm a guess.
        assert_eq!(handed_out(directory, &format!("{name}.sha256")), refused, "{name}");
    }

    #[test]
    fn files_below_the_directory_are_handed_out_and_nothing_else() {
        let (place, directory) = directory();
        put(&place, "below/deep/file", "deep", 0o444);
        assert_eq!(handed_out(&directory, "good").unwrap(), "good");
        assert_eq!(handed_out(&directory, "below/deep/file").unwrap(), "deep");
        let line = handed_out(&directory, "good.sha256").unwrap();
        assert_eq!(line, format!("{}  good\n", digest(&b"good"[..]).unwrap()));
        for outside in [
            "../good",
            "/etc/passwd",
            "below",
            ".",
            "..",
            "",
            "below/",
            "/",
            "below/../good",
            "./good",
            "good/good",
        ] {
            is_refused(&directory, outside);
        }
        assert_eq!(handed_out(&directory, "none"), Err(io::ErrorKind::NotFound));
        assert_eq!(handed_out(&directory, "none/none"), Err(io::ErrorKind::NotFound));
    }

    #[test]
    fn what_is_hidden_private_or_a_key_is_not_handed_out() {
        let (place, directory) = directory();
        put(&place, ".profile", "hidden", 0o644);
        put(&place, ".ssh/config", "hidden", 0o644);
        put(&place, "below/.env", "hidden", 0o644);
        put(&place, "private", "for its owner only", 0o600);
        put(&place, "of-the-group", "for its group only", 0o640);
        for name in [".profile", ".ssh/config", "below/.env", "private", "of-the-group"] {
            is_refused(&directory, name);
        }
        let keys = QuadsKeys::from_parts([7; 32], [9; 16]);
        for (number, form) in [keyfile::Form::Hex, keyfile::Form::Python].into_iter().enumerate() {
            let name = format!("harmless{number}.txt");
            let path = place.path().join(&name);
            keyfile::write(&path, Some(&keys), form).unwrap();
            // As graspy writes it, and as copies often have it.
            fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
            is_refused(&directory, &name);
        }
        put(&place, "id", "-----BEGIN OPENSSH PRIVATE KEY-----\n", 0o644);
        put(&place, "quadsk.py", "", 0o644);
        put(&place, "Host.KEY", "", 0o644);
        put(&place, "host.pem", "", 0o644);
        for name in ["id", "quadsk.py", "Host.KEY", "host.pem"] {
            is_refused(&directory, name);
        }
        put(&place, "recipe", "key=C major\n", 0o644);
        assert!(handed_out(&directory, "recipe").is_ok());
    }

    #[test]
    fn no_link_is_followed_wherever_it_leads() {
        let (place, directory) = directory();
        let outside = TempDir::new().unwrap();
        put(&outside, "secret", "secret", 0o644);
        put(&place, ".hidden", "hidden", 0o644);
        symlink(outside.path().join("secret"), place.path().join("link")).unwrap();
        symlink(outside.path(), place.path().join("way")).unwrap();
        symlink(".hidden", place.path().join("innocent")).unwrap();
        for name in ["link", "way/secret", "innocent"] {
            is_refused(&directory, name);
        }
        // The directory that the user names may be a link.
        let named = outside.path().join("named");
        symlink(place.path(), &named).unwrap();
        assert_eq!(handed_out(&Directory::open(&named).unwrap(), "good").unwrap(), "good");
    }

    #[test]
    fn a_pipe_is_refused_without_waiting() {
        let (place, directory) = directory();
        let mode = Mode::from_raw_mode(0o666);
        let pipe = place.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        fs::set_permissions(&pipe, Permissions::from_mode(0o644)).unwrap();
        is_refused(&directory, "pipe");
    }

    /// A directory is repeatedly swapped for a link and back while files are requested: a request never returns the
    /// file that the link leads to.
    #[test]
    fn what_is_swapped_meanwhile_does_not_lead_out() {
        let (place, directory) = directory();
        let outside = TempDir::new().unwrap();
        put(&outside, "file", "secret", 0o644);
        put(&place, "inside/file", "fine", 0o644);
        let (below, aside, link) =
            (place.path().join("below"), place.path().join("inside"), place.path().join("link"));
        symlink(outside.path(), &link).unwrap();
        std::thread::scope(|scope| {
            // Dropping it, even because of a failure, ends the swapper.
            let (swapping, over) = crossbeam_channel::bounded::<()>(0);
            let swapper = std::thread::Builder::new().name("swapper".to_owned());
            let swap = move || {
                while over.try_recv() == Err(crossbeam_channel::TryRecvError::Empty) {
                    for place in [&aside, &link] {
                        fs::rename(place, &below).unwrap();
                        fs::rename(&below, place).unwrap();
                    }
                }
            };
            swapper.spawn_scoped(scope, swap).unwrap();
            let mut fine = 0;
            for _ in 0..20_000 {
                match handed_out(&directory, "below/file") {
                    Ok(text) => {
                        assert_eq!(text, "fine");
                        fine += 1;
                    }
                    Err(kind) => assert!(
                        matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied),
                        "{kind}"
                    ),
                }
            }
            drop(swapping);
            println!("{fine} of 20000 were there at the right moment");
        });
    }
}
