//! The socket over which the engines of one host find each other and talk: a Unix socket that keeps messages whole
//! (SOCK_SEQPACKET), with an abstract name. On Linux such names belong to the network namespace, as port 7017 does, and vanish
//! with their process. Used by `_host`. Nothing here waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, accept_with,
    bind, connect, listen, recv, send, shutdown, socket_with,
};

/// The name, without the leading zero byte. Engines with other messages use another name.
const NAME: &[u8] = b"grasp-7017.1";
/// How many engines the system may hold for us until we accept them.
const BACKLOG: i32 = 128;
/// The longest message, in bytes: the largest UDP datagram, with the fields before it.
pub(crate) const LONGEST: usize = 65_536 + 64;
const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

fn socket() -> io::Result<(OwnedFd, SocketAddrUnix)> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None)?;
    Ok((socket, SocketAddrUnix::new_abstract_name(NAME)?))
}

/// The socket that holds the name, and listens. There can be one in a network namespace.
#[derive(Debug)]
pub(crate) struct Door(OwnedFd);

impl Door {
    /// Takes the name.
    ///
    /// # Errors
    /// `AddrInUse` if another socket holds the name.
    pub(crate) fn open() -> io::Result<Self> {
        let (socket, name) = socket()?;
        bind(&socket, &name)?;
        listen(&socket, BACKLOG)?;
        Ok(Self(socket))
    }

    /// Accepts a waiting connection; `None` if there is none.
    pub(crate) fn accept(&self) -> Option<Link> {
        accept_with(&self.0, FLAGS).ok().map(Link)
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The result of reading from a connection.
#[derive(Debug)]
pub(crate) enum Read<'a> {
    Message(&'a [u8]),
    /// Nothing waits.
    Nothing,
    /// The other side is gone, or has sent something that is not a message.
    End,
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// The other side does not read.
    Full,
    /// The other side is gone, or the message is too long.
    Failed,
}

/// A connection between two engines.
#[derive(Debug)]
pub(crate) struct Link(OwnedFd);

impl Link {
    /// Connects to the engine that holds the name.
    ///
    /// # Errors
    /// `ConnectionRefused` if nobody holds the name, or its holder is not listening yet.
    pub(crate) fn connect() -> io::Result<Self> {
        let (socket, name) = socket()?;
        connect(&socket, &name)?;
        Ok(Self(socket))
    }

    /// Whether the other process belongs to root or to the user of this process. Processes of other users could silence this
    /// engine, or make it say what they like; root and its own user, who may debug it, can do so anyway.
    pub(crate) fn is_trusted(&self) -> bool {
        let own = rustix::process::geteuid().as_raw();
        getsockopt(&self.0, PeerCredentials).is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own)
    }

    /// Sends a message, if there is room for it at once.
    pub(crate) fn send(&self, message: &[u8]) -> Result<(), Unsent> {
        loop {
            match send(&self.0, message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                // The other side does not read, or the kernel has no memory for the message now.
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => return Err(Unsent::Full),
                Err(_) => return Err(Unsent::Failed),
            }
        }
    }

    /// Reads a message into the buffer, if one is there.
    pub(crate) fn read<'a>(&self, buffer: &'a mut [u8]) -> Read<'a> {
        loop {
            match recv(&self.0, &mut *buffer, RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
                // An empty message looks like the end; no engine sends one.
                Ok((length, whole)) if length == 0 || whole > length => return Read::End,
                Ok((length, _)) => return buffer.get(..length).map_or(Read::End, Read::Message),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Read::Nothing,
                Err(_) => return Read::End,
            }
        }
    }

    /// Ends the connection for both sides, also for threads that use it now.
    pub(crate) fn close(&self) {
        let _ = shutdown(&self.0, Shutdown::Both);
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Link, Link) {
        let (one, other) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None).unwrap();
        (Link(one), Link(other))
    }

    #[test]
    fn messages_are_read_whole_and_what_is_none_ends_the_connection() {
        let read = |sent: &[&[u8]]| {
            let (ours, theirs) = pair();
            sent.iter().for_each(|message| theirs.send(message).unwrap());
            let mut buffer = [0; 4];
            match ours.read(&mut buffer) {
                Read::Message(message) => Some(message.to_vec()),
                Read::Nothing => None,
                Read::End => Some(vec![255]),
            }
        };
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[&[1, 2, 3, 4], &[5]]), Some(vec![1, 2, 3, 4]));
        assert_eq!(read(&[&[1, 2, 3, 4, 5]]), Some(vec![255]), "longer than any of ours");
        assert_eq!(read(&[&[]]), Some(vec![255]));
        let (ours, theirs) = pair();
        drop(theirs);
        assert!(matches!(ours.read(&mut [0; 4]), Read::End));
        assert_eq!(ours.send(&[1]), Err(Unsent::Failed));
    }

    #[test]
    fn whoever_does_not_read_is_not_waited_for() {
        let (ours, theirs) = pair();
        let unsent = (0..100_000).find_map(|_| ours.send(&[0; 1000]).err());
        assert_eq!(unsent, Some(Unsent::Full));
        theirs.close();
        assert_eq!(ours.send(&[1]), Err(Unsent::Failed));
        assert!(ours.is_trusted(), "it is this process");
    }
}
