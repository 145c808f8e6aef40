//! The stream below a connection: a TCP socket, or TLS on one between members of a domain. Used by `tcp`, which adds messages,
//! limits and counters. Every wait has an absolute deadline.

use std::io;
#[cfg(feature = "domain")]
use std::io::ErrorKind;
use std::net::{Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6, TcpStream};
use std::time::Instant;

#[cfg(feature = "domain")]
use super::wait::For;
use super::wait::{self, Reading};
use crate::types::as_ipv6;
#[cfg(feature = "domain")]
use secured::Secured;

/// A stream of bytes to a peer. Threads may read and write at the same time, one each.
#[derive(Debug)]
pub(super) struct Channel {
    socket: TcpStream,
    reading: Reading,
    #[cfg(feature = "domain")]
    secured: Secured,
}

impl Channel {
    /// Without TLS.
    pub(super) fn plain(socket: TcpStream) -> Self {
        Self {
            socket,
            reading: Reading::default(),
            #[cfg(feature = "domain")]
            secured: Secured::never(),
        }
    }

    pub(super) const fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Reads what is there; `None` if there is nothing yet. 0 means the end of the stream.
    pub(super) fn read_present(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        #[cfg(feature = "domain")]
        if self.secured.is_wanted() {
            return self.secured.read_present(&self.socket, buffer);
        }
        wait::read_present(&self.socket, buffer)
    }

    /// Whether something has come that a read would not wait for, although the socket has nothing.
    pub(super) fn is_readable(&self) -> bool {
        #[cfg(feature = "domain")]
        if self.secured.is_wanted() {
            return self.secured.is_readable();
        }
        false
    }

    /// Whether the peer, which TLS has authenticated, is still a member. `again` checks its certificates again, by present credentials.
    /// Always without TLS.
    #[cfg(feature = "domain")]
    pub(super) fn is_member(&self, again: bool) -> bool {
        self.secured.is_member(again)
    }

    /// Reads what comes first, waiting for it until the deadline. 0 means the end of the stream; `None` that the deadline has passed,
    /// or that this thread must stop waiting.
    pub(super) fn read(&self, buffer: &mut [u8], deadline: Instant) -> io::Result<Option<usize>> {
        #[cfg(feature = "domain")]
        if self.secured.is_wanted() {
            return self.secured.read(&self.socket, &self.reading, buffer, deadline);
        }
        self.reading.read(&self.socket, buffer, deadline)
    }

    /// Writes everything, waiting for room until the deadline. Calls `wrote` with the number of bytes after each write.
    ///
    /// # Errors
    /// `TimedOut` once the deadline has passed: then the stream is of no more use.
    pub(super) fn write_all(&self, bytes: &[u8], deadline: Instant, wrote: impl Fn(usize)) -> io::Result<()> {
        #[cfg(feature = "domain")]
        if self.secured.is_wanted() {
            let sealed = self.secured.seal(&self.socket, bytes)?;
            return wait::write_all(&self.socket, &sealed, deadline, wrote);
        }
        wait::write_all(&self.socket, bytes, deadline, wrote)
    }

    /// What goes out for a message, in this order with all else.
    pub(super) fn seal<'a>(&self, bytes: &'a [u8]) -> io::Result<std::borrow::Cow<'a, [u8]>> {
        #[cfg(feature = "domain")]
        if self.secured.is_wanted() {
            return self.secured.seal(&self.socket, bytes).map(Into::into);
        }
        Ok(bytes.into())
    }

    /// Whether there is unread data.
    pub(super) fn has_input(&self) -> bool {
        #[cfg(feature = "domain")]
        if self.secured.is_wanted() {
            return self.secured.state(&self.socket) == secured::State::Input;
        }
        wait::has_input(&self.socket)
    }

    /// Whether the peer has closed the stream and everything it sent has been read.
    pub(super) fn has_ended(&self) -> bool {
        #[cfg(feature = "domain")]
        if self.secured.is_wanted() {
            return self.secured.state(&self.socket) == secured::State::Ended;
        }
        wait::has_ended(&self.socket)
    }

    /// Tells the peer that nothing more comes, if TLS secures the stream. Nobody may write at this moment.
    pub(super) fn say_goodbye(&self) {
        #[cfg(feature = "domain")]
        self.secured.say_goodbye(&self.socket);
    }

    /// Closes the stream in both directions, and wakes whoever waits for it. `is_writing` says whether a thread writes at this
    /// moment: then the peer gets no goodbye of TLS, which would come in the middle of a message.
    pub(super) fn close(&self, is_writing: bool) {
        #[cfg(feature = "domain")]
        if !is_writing {
            self.secured.say_goodbye(&self.socket);
        }
        #[cfg(not(feature = "domain"))]
        let _ = is_writing;
        // The peer may have closed first: then nothing remains to be done.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// The local address of a socket; unspecified if the system does not tell.
pub(super) fn local_of(socket: &TcpStream) -> SocketAddrV6 {
    socket.local_addr().map_or_else(|_| SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0), mapped)
}

/// Converts an address to IPv6, mapping an IPv4 address.
pub(super) fn mapped(address: SocketAddr) -> SocketAddrV6 {
    match address {
        SocketAddr::V6(address) => address,
        SocketAddr::V4(_) => SocketAddrV6::new(as_ipv6(address.ip()), address.port(), 0, 0),
    }
}

/// The error of a stream that is not secured yet: nothing goes out in the clear.
#[cfg(feature = "domain")]
fn not_secured() -> io::Error {
    io::Error::new(ErrorKind::NotConnected, "TLS is not established")
}

#[cfg(feature = "domain")]
pub(super) use secured::{Opening, Tap};

#[cfg(feature = "domain")]
mod secured {
    use std::sync::{Arc, OnceLock};

    use parking_lot::Mutex;

    use super::*;
    use crate::domain::{Member, NodeName};
    use crate::stats::Counters;
    use crate::tls::{Identity, Plain, Session, TlsError};
    use crate::trace::{Direction, Event};

    /// How much of the network is read at a time.
    const CHUNK: usize = 4096;
    /// How many times a look at a stream reads the network: enough for a ticket with a long chain, and soon over, since `_watcher` looks
    /// at many streams.
    const LOOKED_AT: usize = 4;

    /// Which side opens the connection.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::net) enum Opening {
        Here,
        There,
    }

    /// What is known of a stream without taking anything from it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum State {
        Input,
        Nothing,
        Ended,
    }

    /// Tells the capture what TLS sends and receives on a connection.
    #[derive(Debug)]
    pub(in crate::net) struct Tap {
        counters: Arc<Counters>,
        peer: SocketAddrV6,
    }

    impl Tap {
        pub(in crate::net) const fn new(counters: Arc<Counters>, peer: SocketAddrV6) -> Self {
            Self { counters, peer }
        }

        fn tell(&self, socket: &TcpStream, direction: Direction, bytes: &[u8]) {
            if !bytes.is_empty() {
                self.counters.tracer().emit_records(|| Event::Records {
                    local: local_of(socket),
                    peer: self.peer,
                    direction,
                    bytes: bytes.into(),
                });
            }
        }
    }

    /// TLS on a socket, once the peer is authenticated.
    #[derive(Debug, Default)]
    pub(super) struct Secured {
        identity: Option<Arc<Identity>>,
        tap: Option<Tap>,
        /// Boxed, since most connections have none.
        established: OnceLock<Box<Established>>,
    }

    #[derive(Debug)]
    struct Established {
        session: Mutex<Session>,
        /// Locked by whoever takes something from the socket, before the session.
        taking: Mutex<()>,
        member: Member,
    }

    impl Channel {
        /// With TLS, which [`Channel::establish`] begins. Until then nothing is read or written.
        pub(in crate::net) fn secured(socket: TcpStream, identity: Arc<Identity>, tap: Tap) -> Self {
            let secured = Secured { identity: Some(identity), tap: Some(tap), established: OnceLock::new() };
            Self { socket, reading: Reading::default(), secured }
        }

        /// Sends what TLS says for itself.
        fn say(&self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
            self.secured.tell(&self.socket, Direction::Out, bytes);
            wait::write_all(&self.socket, bytes, deadline, |_| {})
        }

        /// The peer's name as its authority has certified it. `None` without TLS, and before it is established.
        pub(in crate::net) fn peer_name(&self) -> Option<&NodeName> {
            Some(&self.secured.established.get()?.member.name)
        }

        /// The peer's name and the number of its certificate: members without an address have the same name.
        pub(in crate::net) fn peer_certificate(&self) -> Option<String> {
            let member = &self.secured.established.get()?.member;
            Some(format!("{} {}", member.name, member.serial))
        }

        /// Authenticates both sides before the deadline. Does nothing on a stream without TLS.
        ///
        /// # Errors
        /// `TlsError` as the source of the error if the peer is no member or does not speak TLS 1.3.
        pub(in crate::net) fn establish(&self, opening: Opening, deadline: Instant) -> io::Result<()> {
            let Some(identity) = &self.secured.identity else { return Ok(()) };
            if self.secured.established.get().is_some() {
                return Ok(());
            }
            let mut session = match opening {
                Opening::Here => identity.client(self.socket.peer_addr()?.ip()),
                Opening::There => identity.server(),
            }
            .map_err(failed)?;
            while session.is_handshaking() {
                self.exchange(&mut session, deadline)?;
            }
            self.say(&session.drain(), deadline)?;
            let member = match session.member() {
                Ok(member) => member,
                Err(why) => {
                    // A resumed session: TLS itself is content.
                    let _ = self.say(&session.close(), Instant::now());
                    return Err(failed(TlsError::NotMember(why)));
                }
            };
            let established = Established { session: Mutex::new(session), taking: Mutex::default(), member };
            let _ = self.secured.established.set(Box::new(established));
            Ok(())
        }

        /// Sends what the session has to say, and takes in what comes next.
        fn exchange(&self, session: &mut Session, deadline: Instant) -> io::Result<()> {
            self.say(&session.drain(), deadline)?;
            if !session.is_handshaking() {
                return Ok(());
            }
            if !wait::wait(&self.socket, For::Input, deadline)? {
                return Err(ErrorKind::TimedOut.into());
            }
            let mut chunk = [0; CHUNK];
            let Some(count) = wait::read_present(&self.socket, &mut chunk)? else { return Ok(()) };
            let Some(bytes) = chunk.get(..count).filter(|bytes| !bytes.is_empty()) else {
                return Err(ErrorKind::UnexpectedEof.into());
            };
            self.secured.tell(&self.socket, Direction::In, bytes);
            session.take_in(bytes).map_err(|error| {
                // Tells the peer why, if there is room at once.
                let _ = self.say(&session.drain(), Instant::now());
                failed(error)
            })
        }
    }

    fn failed(error: TlsError) -> io::Error {
        // No call of the system on a socket fails so.
        io::Error::new(ErrorKind::InvalidData, error)
    }

    impl Secured {
        pub(super) const fn never() -> Self {
            Self { identity: None, tap: None, established: OnceLock::new() }
        }

        pub(super) fn is_member(&self, again: bool) -> bool {
            let Some(established) = self.established.get() else { return !self.is_wanted() };
            if again { established.session.lock().member().is_ok() } else { established.member.is_current() }
        }

        fn tell(&self, socket: &TcpStream, direction: Direction, bytes: &[u8]) {
            if let Some(tap) = &self.tap {
                tap.tell(socket, direction, bytes);
            }
        }

        pub(super) const fn is_wanted(&self) -> bool {
            self.identity.is_some()
        }

        pub(super) fn is_readable(&self) -> bool {
            self.established.get().is_some_and(|one| one.session.lock().is_readable())
        }

        pub(super) fn read_present(
            &self,
            socket: &TcpStream,
            buffer: &mut [u8],
        ) -> io::Result<Option<usize>> {
            let established = self.established.get().ok_or_else(not_secured)?;
            let _taking = established.taking.lock();
            let mut session = established.session.lock();
            // Once: the caller looks at its deadline before it comes again. A peer may say nothing in records without end.
            if !session.is_readable() && !self.take_in(&mut session, socket)? {
                return Ok(None);
            }
            Ok(plaintext(&mut session, buffer))
        }

        pub(super) fn read(
            &self,
            socket: &TcpStream,
            reading: &Reading,
            buffer: &mut [u8],
            deadline: Instant,
        ) -> io::Result<Option<usize>> {
            let established = self.established.get().ok_or_else(not_secured)?;
            let _taking = established.taking.lock();
            let mut chunk = [0; CHUNK];
            loop {
                if let Some(count) = plaintext(&mut established.session.lock(), buffer) {
                    return Ok(Some(count));
                }
                // Whoever sends needs the session meanwhile.
                let read = reading.read(socket, &mut chunk, deadline).transpose();
                let Some(read) = read else { return Ok(None) };
                self.took(&mut established.session.lock(), socket, read.map(|count| chunk.get(..count)))?;
            }
        }

        pub(super) fn seal(&self, socket: &TcpStream, bytes: &[u8]) -> io::Result<Vec<u8>> {
            let established = self.established.get().ok_or_else(not_secured)?;
            let mut session = established.session.lock();
            let sealed = session.seal(bytes).map_err(failed)?;
            self.tell(socket, Direction::Out, &sealed);
            Ok(sealed)
        }

        pub(super) fn state(&self, socket: &TcpStream) -> State {
            let Some(established) = self.established.get() else { return State::Nothing };
            let mut session = established.session.lock();
            self.look(established, &mut session, socket);
            match (session.has_plaintext(), session.is_readable()) {
                (true, _) => State::Input,
                (false, true) => State::Ended,
                (false, false) => State::Nothing,
            }
        }

        /// Tells the peer that nothing more comes, if there is room. Nobody may write at this moment.
        pub(super) fn say_goodbye(&self, socket: &TcpStream) {
            if let Some(established) = self.established.get()
                && let Some(mut session) = established.session.try_lock()
            {
                // If a ticket stayed unread, the system would reset the connection, and not send again what is lost of the last message.
                self.look(established, &mut session, socket);
                let goodbye = session.close();
                self.tell(socket, Direction::Out, &goodbye);
                let _ = wait::write_all(socket, &goodbye, Instant::now(), |_| {});
            }
        }

        /// Takes in what TLS says for itself, which is neither data nor the end. A peer may say that without end: the rest is for the
        /// next look, or for the thread that waits for it at this moment.
        fn look(&self, established: &Established, session: &mut Session, socket: &TcpStream) {
            let Some(_taking) = established.taking.try_lock() else { return };
            for _ in 0..LOOKED_AT {
                if session.is_readable() || !self.take_in(session, socket).unwrap_or(true) {
                    return;
                }
            }
        }

        /// Takes in what the network has, without waiting. Returns whether there was anything, the end included.
        fn take_in(&self, session: &mut Session, socket: &TcpStream) -> io::Result<bool> {
            let mut chunk = [0; CHUNK];
            let Some(read) = wait::read_present(socket, &mut chunk).transpose() else { return Ok(false) };
            self.took(session, socket, read.map(|count| chunk.get(..count)))?;
            Ok(true)
        }

        /// Takes in what a read has returned; nothing is the end.
        fn took(
            &self,
            session: &mut Session,
            socket: &TcpStream,
            read: io::Result<Option<&[u8]>>,
        ) -> io::Result<()> {
            // The system tells of an error only once.
            match read.inspect_err(|_| session.end())? {
                Some([]) | None => session.end(),
                Some(bytes) => {
                    self.tell(socket, Direction::In, bytes);
                    session.take_in(bytes).map_err(failed)?;
                }
            }
            Ok(())
        }
    }

    /// What can be read at once: how many bytes, or 0 for the end.
    fn plaintext(session: &mut Session, buffer: &mut [u8]) -> Option<usize> {
        match session.read(buffer) {
            Plain::Bytes(count) => Some(count),
            Plain::End => Some(0),
            Plain::Nothing => None,
        }
    }
}

#[cfg(test)]
#[cfg(feature = "domain")]
#[path = "channel_tests.rs"]
mod tests;
