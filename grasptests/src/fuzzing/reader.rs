//! What comes over a TCP connection, in pieces and in time.

use std::io::Write as _;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use grasp::acp::Protection;
use grasp::simulation::{ReceiveError, SimulatedAssembly, SimulatedConnection};
use grasp::wire::Limits;
use parking_lot::Mutex;
use socket2::SockRef;

use super::{keys, limits};

/// Waits for what has been sent already: over only on a machine that stands still.
const PATIENCE: Duration = Duration::from_secs(20);
/// Waits for what will not come.
const SHORT: Duration = Duration::from_millis(2);
/// How much later than its deadline a call may return on a busy machine.
const LATE: Duration = Duration::from_secs(10);

/// The first byte chooses the limits; bit 0 of the second one encryption, bit 1 whether there is a socket, bit 2
/// whether the peer writes while we read, bits 3 and 4 how the peer ends, the others, with the third byte, how
/// long its pieces are. What follows is the stream; if it is encrypted, the first half of it is what a peer seals.
///
/// Over a socket, however it is cut, comes what the pieces are put together to without one. A call returns by
/// its deadline. An end has the error of the place where it is.
pub fn reader(input: &[u8]) {
    let [choice, how, piece, bytes @ ..] = input else { return };
    let limits = limits(*choice);
    let protection = (how & 1 != 0).then(|| Arc::new(keys()) as Arc<dyn Protection>);
    let stream = match &protection {
        None => bytes.to_vec(),
        Some(protection) => {
            let (clear, raw) = bytes.split_at(bytes.len() / 2);
            [&protection.seal(clear)[..], raw].concat()
        }
    };
    let piece = (usize::from(how >> 5) << 8 | usize::from(*piece)) + 1;
    let expected = assemble(&stream, piece, limits, protection.clone());
    let in_one = assemble(&stream, stream.len().max(1), limits, protection.clone());
    assert_eq!(expected, in_one, "in pieces of {piece}");
    if how & 2 != 0 {
        let end = End::ALL[usize::from(how >> 3) % 4];
        over_socket(&stream, piece, how & 4 != 0, end, &expected, (limits, protection));
    }
}

/// What a stream holds: its messages, and how it goes on behind them.
#[derive(Debug, PartialEq, Eq)]
struct Stream {
    messages: Vec<Vec<u8>>,
    behind: Behind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    /// Nothing.
    Empty,
    /// The beginning of a message.
    Begun,
    /// Something that is no message.
    Broken,
}

/// Feeds a stream in pieces.
fn assemble(stream: &[u8], piece: usize, limits: Limits, protection: Option<Arc<dyn Protection>>) -> Stream {
    let mut messages = Vec::new();
    let mut assembly = SimulatedAssembly::new(limits, protection.clone());
    for piece in stream.chunks(piece) {
        let mut rest = piece.to_vec();
        loop {
            match assembly.feed(&rest) {
                Ok(None) => break,
                Ok(Some(whole)) => {
                    assert!(whole.message.len() <= limits.size);
                    assert!(!whole.message.is_empty() && whole.rest.len() < rest.len().max(1));
                    messages.push(whole.message);
                    rest = whole.rest;
                    assembly = SimulatedAssembly::new(limits, protection.clone());
                }
                Err(_) => return Stream { messages, behind: Behind::Broken },
            }
        }
    }
    let behind = if assembly.is_empty() { Behind::Empty } else { Behind::Begun };
    Stream { messages, behind }
}

/// How the peer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It does not.
    Silent,
    /// It sends nothing more.
    Finished,
    /// It closes the connection.
    Closed,
    /// It breaks the connection off.
    Reset,
}

impl End {
    const ALL: [Self; 4] = [Self::Silent, Self::Finished, Self::Closed, Self::Reset];

    /// Ends. What has to be kept so that nothing more happens is returned.
    fn make(self, stream: TcpStream) -> Option<TcpStream> {
        match self {
            Self::Silent => return Some(stream),
            Self::Finished => {
                stream.shutdown(Shutdown::Write).expect("an open connection");
                return Some(stream);
            }
            Self::Closed => {}
            Self::Reset => {
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("an open connection");
            }
        }
        None
    }
}

type Protected = (Limits, Option<Arc<dyn Protection>>);

fn over_socket(
    stream: &[u8],
    piece: usize,
    meanwhile: bool,
    end: End,
    expected: &Stream,
    (limits, protection): Protected,
) {
    let (ours, mut theirs) = pair();
    let peer = ours.peer_addr().expect("a connected socket");
    let connection = SimulatedConnection::new(ours, peer, limits, protection);
    let (sent, done) = bounded(1);
    if meanwhile {
        let pieces = stream.chunks(piece).map(<[u8]>::to_vec).collect();
        writer().send(Job { stream: theirs, pieces, end, done: sent }).expect("the writer lives");
    } else {
        for piece in stream.chunks(piece) {
            // Our side may have refused the stream only after this.
            theirs.write_all(piece).expect("the buffer is large enough");
        }
        sent.send(end.make(theirs)).expect("there is room");
    }
    if end == End::Reset {
        // What has come, and has not been read yet, may be lost with the connection.
        let kept = done.recv().expect("the writer has ended");
        let mut received = 0;
        while let Ok(message) = timed(&connection, SHORT) {
            assert_eq!(Some(&message), expected.messages.get(received));
            received += 1;
        }
        drop(kept);
        return;
    }
    for message in &expected.messages {
        assert_eq!(timed(&connection, PATIENCE).as_ref(), Ok(message));
    }
    let _kept = done.recv().expect("the writer has ended");
    let wanted = match (expected.behind, end) {
        (Behind::Broken, _) | (Behind::Begun, End::Finished | End::Closed) => ReceiveError::Broken,
        (Behind::Empty, End::Finished | End::Closed) => ReceiveError::Closed,
        (_, _) => ReceiveError::Timeout,
    };
    let patience = if wanted == ReceiveError::Timeout { SHORT } else { PATIENCE };
    assert_eq!(timed(&connection, patience), Err(wanted), "{expected:?} {end:?}");
    let stats = connection.stats();
    assert!(stats.bytes_received <= u64::try_from(stream.len()).expect("few"));
}

/// Receives, and is back in time.
fn timed(connection: &SimulatedConnection, timeout: Duration) -> Result<Vec<u8>, ReceiveError> {
    let started = Instant::now();
    let received = connection.receive(timeout);
    assert!(started.elapsed() < timeout + LATE, "{:?} late", started.elapsed());
    received
}

/// Two ends of a connection on loopback.
fn pair() -> (TcpStream, TcpStream) {
    static LISTENER: OnceLock<Mutex<TcpListener>> = OnceLock::new();
    let listener = LISTENER.get_or_init(|| Mutex::new(TcpListener::bind("[::1]:0").expect("a port"))).lock();
    let theirs = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("a connection");
    let (ours, _) = listener.accept().expect("the connection");
    // The system would keep the ports of closed connections back for a minute: there are not enough of them.
    SockRef::from(&ours).set_linger(Some(Duration::ZERO)).expect("an open connection");
    theirs.set_nodelay(true).expect("an open connection");
    (ours, theirs)
}

/// What the peer does while we read.
struct Job {
    stream: TcpStream,
    pieces: Vec<Vec<u8>>,
    end: End,
    done: Sender<Option<TcpStream>>,
}

/// The peer that writes while we read.
fn writer() -> &'static Sender<Job> {
    static WRITER: OnceLock<Sender<Job>> = OnceLock::new();
    WRITER.get_or_init(|| {
        let (tx, jobs) = bounded::<Job>(1);
        let write = move || {
            for mut job in jobs {
                for piece in &job.pieces {
                    // The other side may have given up on what came before.
                    if job.stream.write_all(piece).is_err() {
                        break;
                    }
                    std::thread::yield_now();
                }
                let _ = job.done.send(job.end.make(job.stream));
            }
        };
        std::thread::Builder::new().name("writer".to_owned()).spawn(write).expect("a thread");
        tx
    })
}
