//! Unix stream sockets, for `ipc`: a path where one node listens, and who is at the other end.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::fs::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};

/// How many connections the system holds until they are accepted.
const BACKLOG: i32 = 128;
/// How long a node that is there has to take a connection that only looks whether it is.
const GLANCE: Duration = Duration::from_millis(500);
/// The mode of a socket that is not ready yet: for its owner only.
const PRIVATE: u32 = 0o600;

/// The process at the other end of a connection, as it was when it connected (SO_PEERCRED, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) pid: u32,
}

/// Connects to whoever listens at a path.
///
/// # Errors
/// `TimedOut` if nobody takes the connection in time.
pub(crate) fn connect(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    // A connection waits for room in the queue of the listener no longer than that (unix(7), socket(7)).
    socket.set_write_timeout(Some(left))?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => {
            socket.set_write_timeout(None)?;
            Ok(socket.into())
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(ErrorKind::TimedOut.into()),
        Err(error) => Err(error),
    }
}

/// Listens at a path, for those whom the mode and the group of the socket let in. A socket that nobody listens at any more is
/// replaced.
///
/// # Errors
/// `AddrInUse` if somebody listens there, or if what is there is no socket.
pub(crate) fn listen(path: &Path, mode: u32, group: Option<u32>) -> io::Result<UnixListener> {
    if let Ok(there) = fs::symlink_metadata(path) {
        if !there.file_type().is_socket() {
            return Err(in_use(path, "is no socket"));
        }
        match connect(path, Instant::now() + GLANCE) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(error),
            Ok(_) | Err(_) => return Err(in_use(path, "is the socket of a node that runs")),
        }
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The file gets the mode that the socket has: nobody else connects before the group is set.
    fchmod(&socket, Mode::from_raw_mode(PRIVATE))?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Without a group nothing is asked of the system, which may forbid it (systemd's `@chown`).
    let ready = group
        .map_or(Ok(()), |group| chown(path, None, Some(group)))
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .and_then(|()| socket.listen(BACKLOG));
    match ready {
        Ok(()) => Ok(socket.into()),
        Err(error) => {
            let _ = fs::remove_file(path);
            Err(error)
        }
    }
}

fn in_use(path: &Path, why: &str) -> io::Error {
    io::Error::new(ErrorKind::AddrInUse, format!("{} {why}", path.display()))
}

/// What tells a file from another of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    place: (u64, u64),
    /// The system gives the number of a file that is gone to the next one.
    changed: (i64, i64),
}

/// That of the file which is at a path now.
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    let file = fs::symlink_metadata(path).ok()?;
    Some(Identity { place: (file.dev(), file.ino()), changed: (file.ctime(), file.ctime_nsec()) })
}

/// Who is at the other end.
pub(crate) fn credentials(stream: impl AsFd) -> io::Result<Credentials> {
    // Not by rustix, whose process identifiers cannot be 0, which is that of a process in another PID namespace.
    let peer = getsockopt(&stream, PeerCredentials)?;
    Ok(Credentials { uid: peer.uid(), gid: peer.gid(), pid: u32::try_from(peer.pid()).unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_node_listens_at_a_path_and_a_socket_that_was_left_is_replaced() {
        let directory = std::env::temp_dir().join(format!("grasp-local-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("a.sock");
        let soon = || Instant::now() + Duration::from_secs(10);
        let first = listen(&path, 0o640, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(listen(&path, 0o640, None).unwrap_err().kind(), ErrorKind::AddrInUse);
        let known = identity(&path);
        drop(first);
        assert_eq!(connect(&path, soon()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let second = listen(&path, 0o600, None).unwrap();
        assert_ne!(identity(&path), known);
        let ours = connect(&path, soon()).unwrap();
        let theirs = second.accept().unwrap().0;
        for end in [&ours, &theirs] {
            assert_eq!(credentials(end).unwrap().pid, std::process::id());
        }
        fs::write(directory.join("file"), "").unwrap();
        assert_eq!(listen(&directory.join("file"), 0o600, None).unwrap_err().kind(), ErrorKind::AddrInUse);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_node_that_takes_no_connection_is_not_waited_for_and_its_socket_is_left() {
        let path = std::env::temp_dir().join(format!("grasp-busy-{}", std::process::id()));
        let busy = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        busy.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        busy.listen(0).unwrap();
        let soon = || Instant::now() + Duration::from_millis(50);
        let mut made = Vec::new();
        let error = loop {
            match connect(&path, soon()) {
                Ok(stream) => made.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(listen(&path, 0o600, None).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert!(fs::symlink_metadata(&path).is_ok());
        fs::remove_file(&path).unwrap();
    }
}
