//! A peer by rustls itself, which shows what it likes, and takes whatever it is shown.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddrV6, TcpListener, TcpStream};
use std::sync::Arc;

use grasp::domain::{Certificate, Credentials, PrivateKey, Serial};
use grasp::wire::{self, ItemScanner, Limits, Message, Progress};
use grasptests::lab::Node;
use grasptests::verifier::Verifier;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use socket2::{Domain, SockRef, Socket, Type};

use crate::scene::LATER;

/// What is shown to others.
pub(super) struct Intruder {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    serial: Option<Serial>,
}

impl Intruder {
    /// As somebody with these credentials.
    pub(super) fn with(credentials: &Credentials) -> Self {
        let mut intruder = Self::showing(credentials.chain().to_vec(), credentials.key());
        intruder.serial = Some(credentials.certificate().serial());
        intruder
    }

    /// With these certificates and this key.
    pub(super) fn showing(chain: Vec<CertificateDer<'static>>, key: &PrivateKey) -> Self {
        Self { chain, key: PrivateKeyDer::Pkcs8(key.pkcs8().clone_key()), serial: None }
    }

    /// With a certificate that is the key's own.
    pub(super) fn with_certificate(certificate: &Certificate, key: &PrivateKey) -> Self {
        Self::showing(vec![certificate.der().clone()], key)
    }

    /// And more certificates.
    pub(super) fn and(mut self, more: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        self.chain.extend(more);
        self
    }

    pub(super) fn serial(&self) -> Serial {
        self.serial.clone().expect("it has credentials")
    }

    fn client(&self) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder().dangerous().with_custom_certificate_verifier(anybody());
        let mut config = match self.chain.is_empty() {
            true => builder.with_no_client_auth(),
            false => builder.with_client_auth_cert(self.chain.clone(), self.key.clone_key()).unwrap(),
        };
        config.enable_sni = false;
        Arc::new(config)
    }

    fn server(&self) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder().with_client_cert_verifier(anybody());
        Arc::new(builder.with_single_cert(self.chain.clone(), self.key.clone_key()).unwrap())
    }

    /// Connects, from an address if it is given, and shakes hands as far as a client can see.
    pub(super) fn reach_from(
        &self,
        node: &Node,
        from: Option<Ipv6Addr>,
        to: SocketAddrV6,
    ) -> io::Result<Talk> {
        let stream = node.run(|| dial_from(from, to))?;
        let name = ServerName::IpAddress(std::net::IpAddr::from(*to.ip()).into());
        let connection = ClientConnection::new(self.client(), name).unwrap();
        Talk::new(stream, connection.into())
    }

    /// As a neighbour on the link: connects, greets, and hears the greeting.
    pub(super) fn join(&self, node: &Node, from: Ipv6Addr, port: u16, to: SocketAddrV6) -> io::Result<Talk> {
        let mut talk = self.reach_from(node, Some(from), to)?;
        talk.say(&super::announcement(from, port))?;
        let greeting = talk.hear()?;
        assert!(matches!(greeting.body, wire::Body::Flood(_)), "{greeting:?}");
        Ok(talk)
    }

    /// Takes a connection that somebody has opened.
    pub(super) fn accept(&self, listener: &TcpListener) -> io::Result<Talk> {
        let (stream, _) = listener.accept()?;
        self.serve(stream)
    }

    /// The same once it is accepted.
    pub(super) fn serve(&self, stream: TcpStream) -> io::Result<Talk> {
        Talk::new(stream, ServerConnection::new(self.server()).unwrap().into())
    }
}

/// Connects from the node that the calling thread is in.
pub(super) fn dial_from(from: Option<Ipv6Addr>, to: SocketAddrV6) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    if let Some(from) = from {
        socket.bind(&SocketAddrV6::new(from, 0, 0, to.scope_id()).into())?;
    }
    socket.connect_timeout(&to.into(), LATER)?;
    Ok(socket.into())
}

/// Listens at an address of a node.
pub(super) fn listen(node: &Node, address: Ipv6Addr) -> TcpListener {
    let scope = node.interface_index("eth0").unwrap();
    node.run(|| TcpListener::bind(SocketAddrV6::new(address, 0, 0, scope))).unwrap()
}

/// A connection.
pub(super) struct Talk {
    pub(super) stream: TcpStream,
    connection: Connection,
    rest: Vec<u8>,
}

impl Talk {
    fn new(mut stream: TcpStream, mut connection: Connection) -> io::Result<Self> {
        stream.set_read_timeout(Some(LATER))?;
        stream.set_write_timeout(Some(LATER))?;
        stream.set_nodelay(true)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(Self { stream, connection, rest: Vec::new() })
    }

    /// Seals and sends.
    pub(super) fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(16 * 1024) {
            self.connection.writer().write_all(piece)?;
            while self.connection.wants_write() {
                self.connection.write_tls(&mut self.stream)?;
            }
        }
        Ok(())
    }

    /// Changes its keys, and asks the other side for the same.
    pub(super) fn change_keys(&mut self) -> io::Result<()> {
        self.connection.refresh_traffic_keys().map_err(io::Error::other)?;
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.stream)?;
        }
        Ok(())
    }

    /// Says that nothing more comes, and keeps the connection.
    pub(super) fn half_close(&mut self) {
        self.connection.send_close_notify();
        let _ = self.connection.write_tls(&mut self.stream);
    }

    /// Some of what the other side says; 0 bytes are the end.
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut chunk = [0; 4096];
        loop {
            match self.connection.reader().read(&mut chunk) {
                Ok(count) => return Ok(chunk[..count].to_vec()),
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                Err(_) => {}
            }
            if self.connection.read_tls(&mut self.stream)? == 0 {
                return Ok(Vec::new());
            }
            self.connection.process_new_packets().map_err(io::Error::other)?;
        }
    }

    /// The next message.
    pub(super) fn hear(&mut self) -> io::Result<Message> {
        loop {
            let mut scanner = ItemScanner::new(LIMITS);
            if let Ok(Progress::Complete(length)) = scanner.feed(&self.rest) {
                let message = wire::decode(&self.rest[..length], &LIMITS).expect("it says messages");
                self.rest.drain(..length);
                return Ok(message);
            }
            let more = self.read()?;
            if more.is_empty() {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.rest.extend(more);
        }
    }

    /// Waits for the end, however it comes. Returns how many bytes of GRASP came before.
    pub(super) fn end(&mut self) -> usize {
        let mut count = self.rest.len();
        loop {
            match self.read() {
                Ok(more) if !more.is_empty() => count += more.len(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("it does not end"),
                _ => return count,
            }
        }
    }

    /// Resets the connection when it is dropped.
    pub(super) fn reset(&self) {
        SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }
}

const LIMITS: Limits = Limits { size: 65_536, depth: 64 };

fn anybody() -> Arc<Verifier> {
    Verifier::of_anybody(Arc::new(ring::default_provider()))
}
