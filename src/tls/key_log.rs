//! Writes the secrets of TLS connections into a file, with which Wireshark decrypts a capture (the format of `SSLKEYLOGFILE`). Only a
//! setting and an environment variable together cause that: `core` opens the file, `identity` hands it to rustls.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustls::KeyLog;
use zeroize::Zeroizing;

/// The permission bits that let the group or others do anything.
const OTHERS: u32 = 0o077;

/// The file.
pub(crate) struct KeyFile(Mutex<File>);

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile").finish_non_exhaustive()
    }
}

impl KeyFile {
    /// Opens a file to append to it, or creates it for its owner only. Several engines and programs may share it.
    ///
    /// # Errors
    /// If the system refuses, or if anybody but its owner, who is this user, could read or write it. A link is not followed.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        // Without NONBLOCK, opening a named pipe would wait for its reader.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600).custom_flags(flags.bits().cast_signed());
        let file = options.open(path)?;
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        if about.uid() != rustix::process::geteuid().as_raw() || about.mode() & OTHERS != 0 {
            return Err(io::Error::other("others than this user can read or write it"));
        }
        Ok(Self(Mutex::new(file)))
    }
}

impl KeyLog for KeyFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut line =
            Zeroizing::new(Vec::with_capacity(label.len() + 2 * (client_random.len() + secret.len()) + 3));
        line.extend_from_slice(label.as_bytes());
        for part in [client_random, secret] {
            line.push(b' ');
            for byte in part {
                // Writing to memory does not fail.
                let _ = write!(line, "{byte:02x}");
            }
        }
        line.push(b'\n');
        // One write, so that lines of several writers do not mix. A full disk ends no connection.
        let _ = self.0.lock().write_all(&line);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::{env, fs, process};

    use super::*;

    #[test]
    fn the_file_is_for_its_owner_only_and_leads_nowhere_else() {
        let directory = env::temp_dir().join(format!("grasp-key-log-{}", process::id()));
        fs::create_dir(&directory).unwrap();
        let path = directory.join("keys");
        for secret in [[1, 0xab], [2, 0xcd]] {
            KeyFile::open(&path).unwrap().log("SERVER_TRAFFIC_SECRET_0", &[0, 0xff], &secret);
        }
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let lines = "SERVER_TRAFFIC_SECRET_0 00ff 01ab\nSERVER_TRAFFIC_SECRET_0 00ff 02cd\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), lines, "the second opening appends");
        let link = directory.join("link");
        symlink(&path, &link).unwrap();
        assert!(KeyFile::open(&link).is_err() && KeyFile::open(&directory).is_err());
        assert!(KeyFile::open(Path::new("/dev/null")).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(KeyFile::open(&path).unwrap_err().to_string().contains("others"));
        assert_eq!(fs::read_to_string(&path).unwrap(), lines);
        fs::remove_dir_all(&directory).unwrap();
    }
}
