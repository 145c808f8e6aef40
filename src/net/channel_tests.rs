//! A member that misbehaves below the messages: in the records of TLS.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, SystemTime};

use super::*;
use crate::domain::{Algorithm, Authority, Kept};
use crate::tls::{Identity, Session};

const SECOND: Duration = Duration::from_secs(1);

fn soon() -> Instant {
    Instant::now() + 30 * SECOND
}

/// A channel to a member that has accepted the connection, and does what a test wants. The handshake is over; what the member has to say
/// at its end, which is a ticket, is still to be sent.
fn opened() -> (Channel, Session, TcpStream, Vec<u8>) {
    let now = SystemTime::now();
    let authority = Authority::create("acp.example.com", Algorithm::P256, now, 3600 * SECOND).unwrap();
    let identity = || {
        let made = authority.credentials(&"0@acp.example.com".parse().unwrap(), now).unwrap();
        std::sync::Arc::new(Identity::new(std::sync::Arc::new(Kept::new(made)), None).unwrap())
    };
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let at = listener.local_addr().unwrap();
    let tap = Tap::new(std::sync::Arc::default(), mapped(at));
    let channel = Channel::secured(TcpStream::connect(at).unwrap(), identity(), tap);
    let (mut theirs, _) = listener.accept().unwrap();
    let mut session = identity().indiscreet_server().unwrap();
    let rest = std::thread::scope(|scope| {
        let opening = std::thread::Builder::new()
            .spawn_scoped(scope, || channel.establish(Opening::Here, soon()).unwrap())
            .unwrap();
        let mut chunk = [0; 4096];
        let rest = loop {
            let said = session.drain();
            if !session.is_handshaking() {
                break said;
            }
            theirs.write_all(&said).unwrap();
            let count = theirs.read(&mut chunk).unwrap();
            assert!(count > 0, "it gives up");
            session.take_in(chunk.get(..count).unwrap()).unwrap();
        };
        opening.join().unwrap();
        rest
    });
    (channel, session, theirs, rest)
}

/// Sends what fits into the buffers of the system.
fn fill(mut stream: &TcpStream, bytes: &[u8]) -> usize {
    stream.set_nonblocking(true).unwrap();
    let mut sent = 0;
    while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
        match stream.write(rest) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    sent
}

#[test]
fn a_look_and_a_read_end_although_the_peer_sends_tickets_without_end() {
    let (channel, session, mut theirs, ticket) = opened();
    theirs.write_all(&ticket).unwrap();
    let sent = fill(&theirs, &session.into_tickets(100_000));
    assert!(sent > 256 * 1024, "{sent} bytes are too few for this test");
    assert!(wait::wait(&channel.socket, For::Input, soon()).unwrap());
    assert!(!channel.has_input());
    assert!(wait::has_input(&channel.socket), "a look has taken everything");
    assert!(!channel.has_ended());
    assert!(wait::has_input(&channel.socket), "a look has taken everything");
    assert_eq!(channel.read_present(&mut [0; 8]).unwrap(), None);
    assert!(wait::has_input(&channel.socket), "a read has taken everything");
}

#[test]
fn a_peer_that_says_goodbye_has_ended_and_what_it_sends_then_is_nothing() {
    let (channel, mut session, mut theirs, ticket) = opened();
    theirs.write_all(&ticket).unwrap();
    theirs.write_all(&session.seal(b"last").unwrap()).unwrap();
    theirs.write_all(&session.close()).unwrap();
    let mut buffer = [0; 8];
    assert_eq!(channel.read(&mut buffer, soon()).unwrap(), Some(4));
    let waiting = soon();
    while !channel.has_ended() {
        assert!(Instant::now() < waiting, "it has not ended");
        std::thread::yield_now();
    }
    theirs.write_all(b"more").unwrap();
    assert!(channel.has_ended() && !channel.has_input());
    assert_eq!(channel.read(&mut buffer, soon()).unwrap(), Some(0));
}

#[test]
fn a_peer_whose_records_are_wrong_has_ended_for_whoever_looks_next() {
    let (channel, _session, mut theirs, ticket) = opened();
    theirs.write_all(&ticket).unwrap();
    theirs.write_all(b"\x17\x03\x03\x00\x20 what nobody of us has ever sealed").unwrap();
    let waiting = soon();
    while !channel.has_ended() {
        assert!(Instant::now() < waiting, "it has not ended");
        std::thread::yield_now();
    }
    assert!(!channel.has_input());
    assert!(channel.has_ended(), "it has ended only once");
    assert_eq!(channel.read(&mut [0; 8], soon()).unwrap(), Some(0));
}

#[test]
fn nobody_says_goodbye_in_the_middle_of_a_message() {
    for (is_writing, says) in [(true, false), (false, true)] {
        let (channel, _session, mut theirs, _) = opened();
        channel.close(is_writing);
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).unwrap();
        assert_eq!(!heard.is_empty(), says);
    }
}

#[test]
fn a_ticket_that_nobody_has_read_does_not_reset_the_connection_behind_the_last_message() {
    let (channel, mut session, mut theirs, ticket) = opened();
    theirs.write_all(&ticket).unwrap();
    assert!(wait::wait(&channel.socket, For::Input, soon()).unwrap());
    channel.write_all(b"last", soon(), |_| {}).unwrap();
    channel.close(false);
    drop(channel);
    let mut heard = Vec::new();
    theirs.read_to_end(&mut heard).unwrap();
    assert!(theirs.take_error().unwrap().is_none(), "the connection is reset");
    session.take_in(&heard).unwrap();
    let mut buffer = [0; 8];
    assert_eq!(session.read(&mut buffer), crate::tls::Plain::Bytes(4));
}

#[test]
fn tickets_without_end_do_not_extend_the_deadline_of_a_read() {
    let (channel, session, mut theirs, ticket) = opened();
    theirs.write_all(&ticket).unwrap();
    fill(&theirs, &session.into_tickets(100_000));
    let started = Instant::now();
    assert_eq!(channel.read(&mut [0; 8], started).unwrap(), None);
    // The second wait is in the read itself.
    let deadline = Instant::now() + Duration::from_millis(1300);
    assert_eq!(channel.read(&mut [0; 8], deadline).unwrap(), None);
    assert!(Instant::now() >= deadline && started.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_thread_that_waits_in_a_read_keeps_nobody_from_sending_looking_or_closing() {
    let (channel, mut session, mut theirs, ticket) = opened();
    theirs.write_all(&ticket).unwrap();
    let channel = std::sync::Arc::new(channel);
    let reader = std::sync::Arc::clone(&channel);
    let (tx, rx) = std::sync::mpsc::channel();
    let read = move || loop {
        let mut buffer = [0; 8];
        let read = reader.read(&mut buffer, soon()).unwrap();
        if tx.send((read, buffer)).is_err() || read == Some(0) {
            return;
        }
    };
    let thread = std::thread::Builder::new().spawn(read).unwrap();
    for text in [*b"a       ", *b"b       ", *b"c       "] {
        channel.write_all(b"question", soon(), |_| {}).unwrap();
        assert!(!channel.has_ended());
        theirs.write_all(&session.seal(&text).unwrap()).unwrap();
        assert_eq!(rx.recv().unwrap(), (Some(8), text));
    }
    channel.close(false);
    assert_eq!(rx.recv().unwrap().0, Some(0));
    thread.join().unwrap();
}
