//! Sessions that TLS secures. Their floors are bare clients and servers of rustls with the same certificates, algorithms and mutual
//! authentication, with a thread for each connection; they check the path of a certificate, but neither names nor revocation lists.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use grasp::domain::{Credentials, Kept};
use grasp::{AsaLocator, Config, Objective};
use grasptests::domains::{authority, credentials, with_tls};
use grasptests::verifier::Verifier;
use parking_lot::Mutex;
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::ring::cipher_suite::{TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256};
use rustls::crypto::ring::kx_group::{SECP256R1, SECP384R1, X25519};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use super::bare::{BareServer, exchange, serve};
use super::figure::{Aim, Figure, Result, alternate, per_second};
use super::negotiation::steps_of;
use super::pair::{Pair, ROUND, negotiated, request_and_accept, steps};

/// Requests that are accepted at once, each on a new connection with a full handshake. Both clients begin each with credentials that
/// are new to them, so that there is nothing to resume.
pub(crate) fn connect(name: &str, rounds: usize) -> Result<Figure> {
    let setting = Setting::new()?;
    // The same credentials twice: what matters is that they are others than before.
    let twins = [setting.near.current(), another(&setting.near.current())?];
    let turn = AtomicBool::new(false);
    let figure = alternate(
        (name, "/s", Aim::RatioAtLeast(0.7)),
        rounds,
        || {
            setting.per_second(|| {
                let [one, other] = &twins;
                let next = if turn.fetch_xor(true, Ordering::Relaxed) { one } else { other };
                setting.near.replace(Arc::clone(next));
                setting.negotiate()
            })
        },
        || setting.per_second(|| setting.ask(&setting.floor.client()?, HandshakeKind::Full)),
    )?;
    setting.pair.check()?;
    Ok(figure)
}

/// The same with sessions that are resumed.
pub(crate) fn resumed(name: &str, rounds: usize) -> Result<Figure> {
    let setting = Setting::new()?;
    let client = setting.floor.client()?;
    // The first one of each has nothing to resume.
    setting.pair.asking().run(|| setting.negotiate())?;
    setting.pair.asking().run(|| setting.ask(&client, HandshakeKind::Full))?;
    let figure = alternate(
        (name, "/s", Aim::RatioAtLeast(0.7)),
        rounds,
        || setting.per_second(|| setting.negotiate()),
        || setting.per_second(|| setting.ask(&client, HandshakeKind::Resumed)),
    )?;
    setting.pair.check()?;
    Ok(figure)
}

/// Steps back and forth in one session.
pub(crate) fn step(name: &str, rounds: usize) -> Result<Figure> {
    let (pair, near, far) = members();
    let (offer, counter) = steps();
    let floor = Floor { near: near.current() };
    let bare = floor.serve(&pair, &far.current(), counter)?;
    let stream = Mutex::new(pair.asking().run(|| open(&bare, &floor.client()?))?);
    let aim = Aim::RatioAtLeast(0.8);
    steps_of(pair, (name, "/s", aim), rounds, || exchange(&mut *stream.lock(), &offer))
}

/// Two engines that are members of a domain, and their credentials.
fn members() -> (Pair, Arc<Kept>, Arc<Kept>) {
    let authority = authority();
    let (near, far) = (credentials(&authority, 1), credentials(&authority, 2));
    let config = |kept| Config::new().acp(with_tls(kept));
    (Pair::start_each(config(&near), config(&far)), near, far)
}

/// Two engines where each request is accepted, and their floor.
struct Setting {
    pair: Pair,
    near: Arc<Kept>,
    floor: Floor,
    bare: BareServer,
    request: Vec<u8>,
    objective: Objective,
    peer: AsaLocator,
}

impl Setting {
    fn new() -> Result<Self> {
        let (mut pair, near, far) = members();
        pair.accept_with(1);
        let (request, accept) = request_and_accept();
        let floor = Floor { near: near.current() };
        let bare = floor.serve(&pair, &far.current(), accept)?;
        let objective = negotiated();
        let peer = pair.locator(&objective)?;
        Ok(Self { pair, near, floor, bare, request, objective, peer })
    }

    fn per_second(&self, work: impl Fn() -> Result<()> + Sync + Send) -> Result<f64> {
        self.pair.asking().run(|| per_second(1, ROUND, |_| work()))
    }

    fn negotiate(&self) -> Result<()> {
        self.pair.negotiate(&self.objective, &self.peer)
    }

    /// Connects, sends, receives, closes; the handshake has to be of this kind.
    fn ask(&self, client: &Arc<ClientConfig>, kind: HandshakeKind) -> Result<()> {
        let mut stream = open(&self.bare, client)?;
        exchange(&mut stream, &self.request)?;
        if stream.conn.handshake_kind() != Some(kind) {
            return Err(format!("not a handshake of the kind {kind:?}").into());
        }
        stream.conn.send_close_notify();
        Ok(stream.flush()?)
    }
}

/// The same in another place, which no client has seen.
fn another(credentials: &Credentials) -> Result<Arc<Credentials>> {
    let key = grasp::domain::PrivateKey::from_pkcs8(credentials.key().pkcs8().secret_pkcs8_der())?;
    let chain = vec![credentials.certificate().clone()];
    let (anchors, lists) = (credentials.anchors().to_vec(), credentials.lists().to_vec());
    Ok(Arc::new(Credentials::new(chain, key, anchors, lists)?))
}

/// The client's side of the floor, from which its server comes, too.
pub(super) struct Floor {
    pub(super) near: Arc<Credentials>,
}

impl Floor {
    /// What a client begins with: nothing to resume.
    pub(super) fn client(&self) -> Result<Arc<ClientConfig>> {
        // What rustls itself checks of a server, without a name: the certificates have none that it knows.
        let (roots, provider) = (roots(&self.near)?, Arc::new(provider()));
        let algorithms = provider.signature_verification_algorithms.all;
        let verifier = Verifier::new(Arc::clone(&provider), move |certificate, above, now| {
            let certificate = ParsedCertificate::try_from(certificate)?;
            verify_server_cert_signed_by_trust_anchor(&certificate, &roots, above, now, algorithms)
        });
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(self.near.chain().to_vec(), key(&self.near))?;
        client.resumption = Resumption::in_memory_sessions(1024);
        client.enable_sni = false;
        Ok(Arc::new(client))
    }

    /// Starts a server that answers every message with the same bytes until the client closes.
    fn serve(&self, pair: &Pair, far: &Credentials, answer: Vec<u8>) -> Result<BareServer> {
        let roots = Arc::new(roots(&self.near)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::new(provider())).build()?;
        let mut server = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(far.chain().to_vec(), key(far))?;
        server.ticketer = ring::Ticketer::new()?;
        server.send_tls13_tickets = 1;
        let server = Arc::new(server);
        BareServer::serve_with(pair.answering(), move |stream| {
            // A client that is not answered fails, and with it the measurement.
            let Ok(connection) = ServerConnection::new(Arc::clone(&server)) else { return };
            let mut stream = StreamOwned::new(connection, stream);
            serve(&mut stream, &answer);
            stream.conn.send_close_notify();
            let _ = stream.flush();
        })
    }
}

/// Connects. The handshake takes place with the first message.
fn open(bare: &BareServer, client: &Arc<ClientConfig>) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    let stream = bare.connect()?;
    stream.set_nodelay(true)?;
    let name = ServerName::IpAddress(stream.peer_addr()?.ip().into());
    Ok(StreamOwned::new(ClientConnection::new(Arc::clone(client), name)?, stream))
}

/// The algorithms of the engine's connections.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256],
        kx_groups: vec![X25519, SECP256R1, SECP384R1],
        ..ring::default_provider()
    }
}

fn roots(credentials: &Credentials) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for anchor in credentials.anchors() {
        roots.add(anchor.der().clone())?;
    }
    Ok(roots)
}

fn key(credentials: &Credentials) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(credentials.key().pkcs8().clone_key())
}
