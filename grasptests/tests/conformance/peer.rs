//! A peer made by hand: a multicast socket, a TCP port of the same number for responses, and connections that
//! carry bytes. It shares no code with the engine but the form of CBOR values.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddrV6, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use grasp::Value;
use grasp::wire::{ItemScanner, Limits, Progress};
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, Link, Node, RawUdp};
use socket2::{Domain, Protocol, Socket, Type};

/// How long something may take that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// How long is waited for something that must not happen.
pub(crate) const QUIET: Duration = Duration::from_millis(250);

/// The message types (RFC 8990 §4), written out once more.
pub(crate) const DISCOVERY: i64 = 1;
pub(crate) const RESPONSE: i64 = 2;
pub(crate) const FLOOD: i64 = 9;

/// A node of the link without an engine.
pub(crate) struct Peer {
    pub(crate) node: Node,
    /// The link-local address.
    pub(crate) address: Ipv6Addr,
    /// The unique local address, if the link has any.
    pub(crate) global: Option<Ipv6Addr>,
    pub(crate) link: Link,
    interface: String,
    index: u32,
    udp: RawUdp,
    responses: TcpListener,
    ears: RawUdp,
    next_session: AtomicU32,
}

/// A multicast of the engine, with where it came from.
pub(crate) struct Heard {
    pub(crate) message: Value,
    pub(crate) bytes: Vec<u8>,
    pub(crate) source: SocketAddrV6,
    pub(crate) at: Instant,
}

impl Heard {
    /// Where the engine wants the responses.
    pub(crate) fn answer_to(&self) -> (Ipv6Addr, u16) {
        (*self.source.ip(), self.source.port())
    }
}

impl Peer {
    /// On a node that is attached to the link.
    pub(crate) fn new(node: &Node, link: &Link) -> Self {
        let interface = link.interface(node).unwrap();
        let (address, global) = (link.link_local(node), link.ula(node));
        let index = node.interface_index(&interface).unwrap();
        let udp = RawUdp::open(node, &interface, address, 0).unwrap();
        let port = udp.local().unwrap().port();
        let responses = node.run(|| TcpListener::bind(SocketAddrV6::new(address, port, 0, index))).unwrap();
        responses.set_nonblocking(true).unwrap();
        let ears = RawUdp::neighbors(node, &interface).unwrap();
        let next_session = AtomicU32::new(0x7000_0000);
        Self {
            node: node.clone(),
            address,
            global,
            link: link.clone(),
            interface,
            index,
            udp,
            responses,
            ears,
            next_session,
        }
    }

    /// What this peer writes into the initiator field.
    pub(crate) fn initiator(&self) -> Vec<u8> {
        self.global.unwrap_or(self.address).octets().to_vec()
    }

    /// Sends to the group.
    pub(crate) fn multicast(&self, message: &Value) {
        self.multicast_bytes(&message.encode());
    }

    pub(crate) fn multicast_bytes(&self, bytes: &[u8]) {
        self.udp.send(bytes, ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
    }

    /// Sends to port 7017 of one address, from a socket at `from`, whose port is that of this peer.
    pub(crate) fn unicast(&self, message: &Value, from: Ipv6Addr, to: Ipv6Addr) {
        self.socket_at(from).send(&message.encode(), to, GRASP_LISTEN_PORT).unwrap();
    }

    /// Sends to the group from another of the node's addresses.
    pub(crate) fn multicast_from(&self, message: &Value, from: Ipv6Addr) {
        self.socket_at(from).send(&message.encode(), ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
    }

    fn socket_at(&self, address: Ipv6Addr) -> RawUdp {
        let port = self.udp.local().unwrap().port();
        RawUdp::open(&self.node, &self.interface, address, port).unwrap()
    }

    /// A discovery message of this peer.
    pub(crate) fn discovery(&self, session: u32, name: &str) -> Value {
        cbor!([1, session, (self.initiator()), [name, 1, 6, ()]])
    }

    /// Asks who supports an objective.
    pub(crate) fn ask(&self, session: u32, name: &str) {
        self.multicast(&self.discovery(session, name));
    }

    /// The next M_RESPONSE. This side closes first, as graspy does.
    pub(crate) fn response(&self) -> Value {
        self.response_within(SOON).expect("a response")
    }

    pub(crate) fn response_within(&self, within: Duration) -> Option<Value> {
        let mut stream = self.accept_response(within)?;
        let message = stream.receive();
        assert!(stream.rest.is_empty(), "a message too many: {:02x?}", stream.rest);
        Some(message)
    }

    /// Where responses come to, seen from a node whose interface on the link has this index.
    pub(crate) fn responses_at(&self, ifi: u32) -> SocketAddrV6 {
        SocketAddrV6::new(self.address, self.responses.local_addr().unwrap().port(), 0, ifi)
    }

    /// The connection by which a response comes.
    pub(crate) fn accept_response(&self, within: Duration) -> Option<Stream> {
        accept(&self.responses, within)
    }

    /// The next response is of this session, and no other comes.
    pub(crate) fn only_response(&self, session: u32) -> Value {
        let response = self.response();
        assert_eq!(sid(&response), session, "{response}");
        assert!(self.response_within(QUIET).is_none(), "another response");
        response
    }

    /// Good discoveries until one is answered: where the objective is served. Waits for its listener to begin.
    pub(crate) fn locate(&self, name: &str) -> (Ipv6Addr, u16) {
        let deadline = Instant::now() + SOON;
        while Instant::now() < deadline {
            let session = self.next_session.fetch_add(1, Ordering::Relaxed);
            self.ask(session, name);
            while let Some(response) = self.response_within(QUIET) {
                if sid(&response) == session {
                    let locator = &items(&response)[4];
                    return (ipv6(&items(locator)[1]), port(&items(locator)[3]));
                }
            }
        }
        panic!("{name} is not found");
    }

    /// Connects to an address of the engine's node.
    pub(crate) fn connect(&self, to: (Ipv6Addr, u16)) -> Stream {
        self.try_connect(to).unwrap()
    }

    pub(crate) fn try_connect(&self, (address, port): (Ipv6Addr, u16)) -> std::io::Result<Stream> {
        let scope = if address.is_unicast_link_local() { self.index } else { 0 };
        let to = SocketAddrV6::new(address, port, 0, scope).into();
        self.node.run(|| TcpStream::connect_timeout(&to, SOON)).map(Stream::new)
    }

    /// As `connect`, from another of the node's addresses.
    pub(crate) fn connect_from(&self, from: Ipv6Addr, (address, port): (Ipv6Addr, u16)) -> Stream {
        let connect = || {
            let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
            socket.bind(&SocketAddrV6::new(from, 0, 0, 0).into())?;
            socket.connect(&SocketAddrV6::new(address, port, 0, self.index).into())?;
            Ok::<_, std::io::Error>(socket)
        };
        Stream::new(self.node.run(connect).unwrap().into())
    }

    /// Connects to where an objective is served.
    pub(crate) fn call(&self, name: &str) -> Stream {
        self.connect(self.locate(name))
    }

    /// A TCP port on all addresses of this node.
    pub(crate) fn listen(&self) -> Server {
        let listener = self.node.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0))).unwrap();
        Server::new(listener)
    }

    /// The next multicast of a type.
    pub(crate) fn heard(&self, message_type: i64) -> Heard {
        self.heard_within(message_type, SOON).expect("a multicast of the engine")
    }

    pub(crate) fn heard_within(&self, message_type: i64, within: Duration) -> Option<Heard> {
        let of_type = |bytes: &[u8]| {
            let message = Value::decode(bytes).expect("one CBOR item");
            (items(&message)[0].as_i64() == Some(message_type)).then_some(message)
        };
        let wanted = self.ears.receive_matching(within, |datagram| of_type(&datagram.bytes).is_some());
        wanted.unwrap().and_then(|datagram| {
            let message = of_type(&datagram.bytes)?;
            Some(Heard { message, bytes: datagram.bytes, source: datagram.source, at: Instant::now() })
        })
    }

    /// The next discovery of this name, not a late repetition of another.
    pub(crate) fn heard_looking_for(&self, name: &str) -> Heard {
        loop {
            let heard = self.heard(DISCOVERY);
            if items(&items(&heard.message)[3])[0] == cbor!(name) {
                return heard;
            }
        }
    }

    /// Every datagram of the engine, whatever it is.
    pub(crate) fn hears_anything(&self, within: Duration) -> bool {
        self.ears.receive(within).unwrap().is_some()
    }

    /// Sends a message to the port from which a discovery came.
    pub(crate) fn reply(&self, to: &Heard, message: &Value) {
        self.connect(to.answer_to()).send(message);
    }

    /// Answers a discovery with these options.
    pub(crate) fn respond(&self, to: &Heard, ttl: u32, options: Vec<Value>) {
        self.reply(to, &response(to, ttl, options));
    }

    /// A locator option for a port of this node.
    pub(crate) fn locator(&self, port: u16) -> Value {
        locator(self.global.unwrap_or(self.address), port)
    }
}

/// The M_RESPONSE to a discovery.
pub(crate) fn response(to: &Heard, ttl: u32, options: Vec<Value>) -> Value {
    let [_, session, initiator, ..] = items(&to.message) else { panic!("{}", to.message) };
    let head = vec![cbor!(RESPONSE), session.clone(), initiator.clone(), cbor!(ttl)];
    Value::Array([head, options].concat())
}

/// An IPv6 locator option.
pub(crate) fn locator(address: Ipv6Addr, port: u16) -> Value {
    cbor!([103, (address.octets().to_vec()), 6, port])
}

/// A TCP port of a peer.
pub(crate) struct Server {
    listener: TcpListener,
}

impl Server {
    pub(crate) fn new(listener: TcpListener) -> Self {
        listener.set_nonblocking(true).unwrap();
        Self { listener }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// The next connection.
    pub(crate) fn accept(&self) -> Stream {
        accept(&self.listener, SOON).expect("a connection of the engine")
    }

    pub(crate) fn nobody_comes(&self) -> bool {
        accept(&self.listener, QUIET).is_none()
    }
}

fn accept(listener: &TcpListener, within: Duration) -> Option<Stream> {
    let deadline = Instant::now() + within;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                return Some(Stream::new(stream));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// One end of a TCP connection with the engine.
pub(crate) struct Stream {
    pub(crate) socket: TcpStream,
    rest: Vec<u8>,
}

impl Stream {
    fn new(socket: TcpStream) -> Self {
        socket.set_nodelay(true).unwrap();
        Self { socket, rest: Vec::new() }
    }

    pub(crate) fn send(&mut self, message: &Value) {
        self.send_bytes(&message.encode());
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// The next message.
    pub(crate) fn receive(&mut self) -> Value {
        let bytes = self.receive_bytes();
        Value::decode(&bytes).unwrap()
    }

    /// The bytes of the next message.
    pub(crate) fn receive_bytes(&mut self) -> Vec<u8> {
        let limits = Limits { size: 1 << 20, depth: 64 };
        let deadline = Instant::now() + SOON;
        loop {
            if let Progress::Complete(end) = ItemScanner::new(limits).feed(&self.rest).unwrap() {
                let behind = self.rest.split_off(end);
                return std::mem::replace(&mut self.rest, behind);
            }
            match self.read_until(deadline) {
                Some(0) => panic!("closed after {:02x?}", self.rest),
                Some(_) => {}
                None => panic!("no message in time, only {:02x?}", self.rest),
            }
        }
    }

    /// The engine closes the connection, and sends nothing before.
    pub(crate) fn closed(&mut self) {
        assert!(self.rest.is_empty(), "a message before the end: {:02x?}", self.rest);
        let read = self.read_until(Instant::now() + SOON);
        assert_eq!(read, Some(0), "not closed, or a message before: {:02x?}", self.rest);
    }

    /// Nothing comes and the connection stays open.
    pub(crate) fn silent(&mut self) {
        let read = self.read_until(Instant::now() + QUIET);
        assert_eq!(read, None, "{:02x?}", self.rest);
    }

    /// Ends the connection with a reset, as a dying peer does.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// How much came, 0 at the end, nothing when the time was up.
    fn read_until(&mut self, deadline: Instant) -> Option<usize> {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(left)).unwrap();
        let mut chunk = [0; 4096];
        match self.socket.read(&mut chunk) {
            Ok(count) => {
                self.rest.extend_from_slice(&chunk[..count]);
                Some(count)
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => None,
                ErrorKind::ConnectionReset => Some(0),
                _ => panic!("{error}"),
            },
        }
    }
}

/// The elements of an array.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no array"))
}

/// The session identifier of a message.
pub(crate) fn sid(message: &Value) -> u32 {
    items(message)[1].as_i64().and_then(|sid| u32::try_from(sid).ok()).expect("a session identifier")
}

/// The address that a byte string of 16 is.
pub(crate) fn ipv6(value: &Value) -> Ipv6Addr {
    <[u8; 16]>::try_from(value.as_bytes().unwrap()).unwrap().into()
}

pub(crate) fn port(value: &Value) -> u16 {
    value.as_i64().and_then(|port| u16::try_from(port).ok()).expect("a port")
}
