//! What a node shows to its peers, and what it asks of them: its credentials, which may be replaced while it runs, in the shape that
//! rustls wants.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::ring::cipher_suite::{TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256};
use rustls::crypto::ring::kx_group::{SECP256R1, SECP384R1, X25519};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, DistinguishedName, Error,
    KeyLog, NoKeyLog, OtherError, ServerConfig, ServerConnection, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::{KeyFile, Session, TlsError};
use crate::domain::{Credentials, Kept, Member, NotMember, Role, Rules};

/// How many sessions can be resumed, eight with each peer at most. A member may send tickets of 64 KiB with a chain of that size, from
/// as many addresses as it likes: together they take 32 MiB at most.
const RESUMABLE: usize = 256;

/// How long the result of a check is reused. A handshake checks a chain, and then the node asks who the member is; a peer that connects
/// repeatedly resumes its session each time. Reloaded credentials and lists take effect at once.
const CHECKED_FOR: Duration = Duration::from_secs(1);
/// How many of these are kept: of members only, with their chains, at most 128 KiB each.
const CHECKED: usize = 64;

/// A member that has just been checked.
struct Checked {
    by: Arc<Credentials>,
    role: Role,
    chain: Vec<CertificateDer<'static>>,
    at: Instant,
    member: Member,
}

/// The identity of a node for all its connections.
pub(crate) struct Identity {
    shown: Arc<Shown>,
    client: Mutex<Client>,
    server: Arc<ServerConfig>,
}

/// How connections are opened. Sessions are resumed with the credentials that they began with: with others there is nothing to resume.
type Client = (Arc<Credentials>, Arc<ClientConfig>);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.shown.kept.current().name().to_string()).finish()
    }
}

impl Identity {
    /// With credentials that may be read again at any time: later connections show and check by the new ones. The secrets of all
    /// connections go to `key_log`, if there is one.
    ///
    /// # Errors
    /// If the system's random generator fails.
    pub(crate) fn new(kept: Arc<Kept>, key_log: Option<Arc<KeyFile>>) -> Result<Self, TlsError> {
        let provider = Arc::new(provider());
        let key_log: Arc<dyn KeyLog> = match key_log {
            Some(file) => file,
            None => Arc::new(NoKeyLog),
        };
        let shown = Arc::new(Shown {
            kept,
            key_log: Arc::clone(&key_log),
            provider: Arc::clone(&provider),
            last: Mutex::new(None),
            checked: Mutex::default(),
        });
        let client = Mutex::new((shown.kept.current(), shown.client()?));
        let (verifier, resolver): (Arc<dyn ClientCertVerifier>, Arc<dyn ResolvesServerCert>) =
            (shown.clone(), shown.clone());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(resolver);
        // What resumes a session is with the peer: a stranger takes no memory here.
        server.ticketer = ring::Ticketer::new()?;
        server.send_tls13_tickets = 1;
        server.key_log = key_log;
        Ok(Self { shown, client, server: Arc::new(server) })
    }

    /// A connection that this node opens. A session with the same address is resumed if possible.
    pub(crate) fn client(&self, peer: IpAddr) -> Result<Session, TlsError> {
        let name = ServerName::IpAddress(peer.into());
        let connection = ClientConnection::new(self.client_config()?, name)?;
        Ok(Session::new(connection.into(), Arc::clone(&self.shown)))
    }

    fn client_config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let current = self.shown.kept.current();
        let mut client = self.client.lock();
        if !Arc::ptr_eq(&client.0, &current) {
            *client = (current, self.shown.client()?);
        }
        Ok(Arc::clone(&client.1))
    }

    /// How many checks of members are kept.
    #[cfg(test)]
    pub(super) fn kept_checks(&self) -> usize {
        self.shown.kept_checks()
    }

    /// A connection that this node accepts.
    pub(crate) fn server(&self) -> Result<Session, TlsError> {
        let connection = ServerConnection::new(Arc::clone(&self.server))?;
        Ok(Session::new(connection.into(), Arc::clone(&self.shown)))
    }

    /// One that gives its keys away ([`Session::into_tickets`]).
    #[cfg(test)]
    pub(crate) fn indiscreet_server(&self) -> Result<Session, TlsError> {
        let mut config = ServerConfig::clone(&self.server);
        config.enable_secret_extraction = true;
        let connection = ServerConnection::new(Arc::new(config))?;
        Ok(Session::new(connection.into(), Arc::clone(&self.shown)))
    }
}

/// The algorithms: symmetric keys of 256 bits, and the curves that every node has (RFC 8994 §6.2.1, §6.9.2).
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256],
        kx_groups: vec![X25519, SECP256R1, SECP384R1],
        ..ring::default_provider()
    }
}

/// Shows this node's certificate and checks those of peers, by the credentials that are in force.
pub(super) struct Shown {
    kept: Arc<Kept>,
    key_log: Arc<dyn KeyLog>,
    provider: Arc<CryptoProvider>,
    /// The last credentials as rustls wants them.
    last: Mutex<Option<(Arc<Credentials>, Arc<CertifiedKey>)>>,
    checked: Mutex<VecDeque<Checked>>,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kept.fmt(f)
    }
}

impl Shown {
    /// How connections are opened, with nothing to resume.
    fn client(self: &Arc<Self>) -> Result<Arc<ClientConfig>, TlsError> {
        let (verifier, resolver): (Arc<dyn ServerCertVerifier>, Arc<dyn ResolvesClientCert>) =
            (self.clone(), self.clone());
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(resolver);
        client.resumption = Resumption::in_memory_sessions(RESUMABLE);
        // Peers are known by their addresses, which TLS does not tell (RFC 6066 §3).
        client.enable_sni = false;
        client.key_log = Arc::clone(&self.key_log);
        Ok(Arc::new(client))
    }

    /// The node's certificates with its key; `None` if rustls does not take the key, which it does.
    fn certified(&self) -> Option<Arc<CertifiedKey>> {
        let current = self.kept.current();
        let mut last = self.last.lock();
        if let Some((of, key)) = &*last
            && Arc::ptr_eq(of, &current)
        {
            return Some(Arc::clone(key));
        }
        let key = PrivateKeyDer::Pkcs8(current.key().pkcs8());
        let signing = ring::sign::any_supported_type(&key).ok()?;
        let certified = Arc::new(CertifiedKey::new(current.chain().to_vec(), signing));
        *last = Some((current, Arc::clone(&certified)));
        Some(certified)
    }

    /// Whether the owner of a chain is a member now, or was a second ago by the same credentials.
    pub(super) fn check(&self, chain: &[CertificateDer<'_>], role: Role) -> Result<Member, NotMember> {
        let (by, now) = (self.kept.current(), SystemTime::now());
        {
            let mut checked = self.checked.lock();
            checked.retain(|one| Arc::ptr_eq(&one.by, &by) && one.at.elapsed() < CHECKED_FOR);
            let known =
                checked.iter().find(|one| one.role == role && one.chain == chain && now < one.member.until);
            if let Some(known) = known {
                return Ok(known.member.clone());
            }
        }
        let member = by.check(chain, &Rules::at(now, role))?;
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        let mut checked = self.checked.lock();
        checked.truncate(CHECKED - 1);
        checked.push_front(Checked { by, role, chain, at: Instant::now(), member: member.clone() });
        Ok(member)
    }

    /// How many checks are kept.
    #[cfg(test)]
    pub(super) fn kept_checks(&self) -> usize {
        self.checked.lock().len()
    }

    fn verify(
        &self,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        role: Role,
    ) -> Result<(), Error> {
        let chain: Vec<_> = std::iter::once(first).chain(others).cloned().collect();
        let refused = |why| Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))));
        self.check(&chain, role).map(drop).map_err(refused)
    }

    fn signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What both verifiers say of signatures. There is no TLS 1.2 here.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(Error::General("TLS 1.2 is not supported".to_owned()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.signature(message, cert, dss)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.schemes()
        }
    };
}

impl ServerCertVerifier for Shown {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, intermediates, Role::Server)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

impl ClientCertVerifier for Shown {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A member knows which certificate to show.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates, Role::Client)?;
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }
}
