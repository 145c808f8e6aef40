//! The floors over TCP: what bare sockets do with the same bytes between the same two nodes, with a thread for each
//! connection.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddrV6, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use grasptests::lab::Node;

use super::figure::Result;

/// A message is read with one call: it is smaller than this.
const CHUNK: usize = 2048;

/// A bare server: for each connection a thread.
#[derive(Debug)]
pub(crate) struct BareServer {
    address: SocketAddrV6,
    node: Node,
    stopping: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl BareServer {
    /// Starts one that answers every message with the same bytes until the client closes, as the engine does: whoever has
    /// opened a connection closes it first, so that its own host keeps the port that stays in use for a while.
    pub(crate) fn start(node: &Node, answer: Vec<u8>) -> Result<Self> {
        Self::serve_with(node, move |mut stream| serve(&mut stream, &answer))
    }

    /// Starts it on a node with a unique local address.
    pub(crate) fn serve_with(node: &Node, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Result<Self> {
        let ula = node.ula().ok_or("the node has no address")?;
        let listener = node.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)))?;
        let address = SocketAddrV6::new(ula, listener.local_addr()?.port(), 0, 0);
        let stopping = Arc::new(AtomicBool::new(false));
        let (serve, stop) = (Arc::new(serve), Arc::clone(&stopping));
        let accepting = node.spawn("bare-accept", move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                // A client that is not answered fails, and with it the measurement.
                let (Ok(stream), serve) = (stream, Arc::clone(&serve)) else { continue };
                let _ = thread::Builder::new().spawn(move || {
                    let _ = stream.set_nodelay(true);
                    serve(stream);
                });
            }
        });
        Ok(Self { address, node: node.clone(), stopping, accepting: Some(accepting) })
    }

    /// Connects from the caller's node.
    pub(crate) fn connect(&self) -> Result<TcpStream> {
        Ok(TcpStream::connect(self.address)?)
    }

    /// Connects, sends, receives, closes.
    pub(crate) fn ask(&self, question: &[u8]) -> Result<()> {
        exchange(&mut self.connect()?, question)
    }
}

impl Drop for BareServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        let woken = self.node.run(|| TcpStream::connect(self.address));
        if let (Ok(_), Some(accepting)) = (woken, self.accepting.take()) {
            let _ = accepting.join();
        }
    }
}

/// Answers every message with the same bytes until the client closes.
pub(crate) fn serve(stream: &mut (impl Read + Write), answer: &[u8]) {
    let mut chunk = [0; CHUNK];
    while stream.read(&mut chunk).is_ok_and(|count| count > 0) {
        if stream.write_all(answer).is_err() {
            return;
        }
    }
}

/// Sends a message and receives one.
pub(crate) fn exchange(stream: &mut (impl Read + Write), question: &[u8]) -> Result<()> {
    let mut chunk = [0; CHUNK];
    stream.write_all(question)?;
    match stream.read(&mut chunk)? {
        0 => Err("a bare connection was closed without an answer".into()),
        _ => Ok(()),
    }
}
