//! The check whether a peer is a member of the domain (RFC 8994 §6.2.3). That the peer has the private key of its certificate is what
//! TLS proves (rule 1); the rest is here.

use std::fmt;
use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    ALL_VERIFICATION_ALGS, EndEntityCert, Error, ExpirationPolicy, KeyUsage, RevocationOptionsBuilder,
    UnknownStatusPolicy, VerifiedPath, anchor_from_trusted_cert,
};

use super::{
    AcpAddress, CERTIFICATE_LIMIT, CHAIN_LIMIT, Certificate, Credentials, NodeName, NodeNameInCertificate,
    Serial, Shown,
};

/// What is asked of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    now: SystemTime,
    role: Role,
    secure_channel: bool,
    revocation: Revocation,
}

/// As what a peer shows its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It has opened the connection.
    Client,
    /// It has accepted the connection.
    Server,
}

/// What is asked of revocation lists. A certificate that a list of its authority revokes is refused in any case, even if there should
/// be a newer list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Revocation {
    /// It is enough that no list revokes it: a node may be cut off from the source of lists (RFC 8994 §6.2.3, rule 3).
    #[default]
    IfKnown,
    /// There has to be a list of its authority that is not over.
    Required,
}

impl Rules {
    /// Those for a peer in this role, at this time: it is a member, and its certificate is not known to be revoked.
    #[must_use]
    pub const fn at(now: SystemTime, role: Role) -> Self {
        Self { now, role, secure_channel: false, revocation: Revocation::IfKnown }
    }

    /// The same for the present.
    pub(crate) fn now(role: Role) -> Self {
        Self::at(SystemTime::now(), role)
    }

    /// Whether the connection is to be a secure channel between neighbours: the name of the peer needs an address (RFC 8994 §6.2.3, rule
    /// 5). Defaults to false.
    #[must_use]
    pub const fn secure_channel(mut self, is_one: bool) -> Self {
        self.secure_channel = is_one;
        self
    }

    /// What is asked of revocation lists. Defaults to [`Revocation::IfKnown`].
    #[must_use]
    pub const fn revocation(mut self, asked: Revocation) -> Self {
        self.revocation = asked;
        self
    }
}

/// A peer that is a member of the domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, as the authority has certified it.
    pub name: NodeName,
    /// The number of its certificate.
    pub serial: Serial,
    /// Until when its certificate is valid: a connection should not last longer.
    pub until: SystemTime,
    /// What revocation lists say.
    pub revocation: RevocationState,
}

impl Member {
    /// Whether its certificate is still valid.
    pub(crate) fn is_current(&self) -> bool {
        SystemTime::now() < self.until
    }
}

/// What revocation lists say of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationState {
    /// It is not revoked.
    Good,
    /// It is not on the list, but there should have been a newer list.
    ListOver,
    /// There is no list of its authority.
    NoList,
}

impl Credentials {
    /// Checks whether a peer is a member of this node's domain (RFC 8994 §6.2.3, rules 2 to 5). The peer's certificate comes first; TLS
    /// has to have proved that the peer has its key.
    ///
    /// It does bounded work, whatever the peer sends: at most [`CHAIN_LIMIT`] certificates of [`CERTIFICATE_LIMIT`] bytes are read, and
    /// two of authorities of one name are tried, so that a stranger causes the check of some twenty signatures at most.
    ///
    /// # Errors
    /// [`NotMember`], whose text says why for people. A retry helps if a clock was wrong, or once one side has another certificate.
    pub fn check(&self, chain: &[CertificateDer<'_>], rules: &Rules) -> Result<Member, NotMember> {
        let (first, others) = chain.split_first().ok_or(NotMember::NoCertificate)?;
        if chain.len() > CHAIN_LIMIT {
            return Err(NotMember::TooMany { count: chain.len() });
        }
        if let Some(large) = chain.iter().find(|certificate| certificate.len() > CERTIFICATE_LIMIT) {
            return Err(NotMember::TooLarge { bytes: large.len() });
        }
        let certificate = Certificate::from_der(first).map_err(|_| NotMember::Malformed)?;
        let peer = EndEntityCert::try_from(first).map_err(|error| not_member(error, &certificate, rules))?;
        let revocation = self.path(&peer, &tried(others), &certificate, rules)?;
        if !certificate.may_authenticate() {
            return Err(NotMember::Usage);
        }
        let name = certificate.node_name().map_err(NotMember::NodeName)?;
        if !name.same_domain(self.name()) {
            let (own, theirs) = (self.name().domain().to_owned(), name.domain().to_owned());
            return Err(NotMember::OtherDomain { own, theirs });
        }
        if rules.secure_channel && name.address() == AcpAddress::Omitted {
            return Err(NotMember::NoAddress);
        }
        Ok(Member { name, serial: certificate.serial(), until: certificate.valid_until(), revocation })
    }

    /// Checks whether peers with the same anchors and lists take this node for a member.
    ///
    /// # Errors
    /// As [`Credentials::check`].
    pub fn check_own(&self, rules: &Rules) -> Result<Member, NotMember> {
        self.check(self.chain(), rules)
    }

    /// Looks for a path to an anchor, and says what is known of revocations on it.
    fn path(
        &self,
        peer: &EndEntityCert<'_>,
        others: &[CertificateDer<'_>],
        certificate: &Certificate,
        rules: &Rules,
    ) -> Result<RevocationState, NotMember> {
        let refused = |error| not_member(error, certificate, rules);
        let now =
            |anchor: &&Certificate| anchor.valid_from() <= rules.now && rules.now <= anchor.valid_until();
        let anchors: Vec<TrustAnchor<'_>> = self
            .anchors()
            .iter()
            .filter(now)
            .filter_map(|anchor| anchor_from_trusted_cert(anchor.der()).ok())
            .collect();
        if anchors.is_empty() {
            return Err(NotMember::NoAnchor { now: rules.now });
        }
        let lists: Vec<_> = self.lists().iter().map(|list| list.judged()).collect();
        let verify = |expiration, unknown| {
            let revocation = RevocationOptionsBuilder::new(&lists).ok();
            let revocation = revocation.map(|options| {
                options.with_expiration_policy(expiration).with_status_policy(unknown).build()
            });
            let usage = match rules.role {
                Role::Client => KeyUsage::client_auth(),
                Role::Server => KeyUsage::server_auth(),
            };
            let since = rules.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let time = UnixTime::since_unix_epoch(since);
            let algorithms = ALL_VERIFICATION_ALGS;
            peer.verify_for_usage(
                algorithms,
                &anchors,
                others,
                time,
                usage,
                revocation,
                Some(&authorities_may_sign),
            )
            .map(drop)
        };
        if lists.is_empty() {
            verify(ExpirationPolicy::Ignore, UnknownStatusPolicy::Allow).map_err(refused)?;
            return rules.lacks(RevocationState::NoList);
        }
        let state = match verify(ExpirationPolicy::Enforce, UnknownStatusPolicy::Deny) {
            Ok(()) => return Ok(RevocationState::Good),
            Err(Error::CrlExpired { .. }) => RevocationState::ListOver,
            Err(Error::UnknownRevocationStatus) => RevocationState::NoList,
            Err(error) => return Err(refused(error)),
        };
        // What is not known for certain may still be on a list, however old that is.
        verify(ExpirationPolicy::Ignore, UnknownStatusPolicy::Allow).map_err(refused)?;
        rules.lacks(state)
    }
}

impl Rules {
    /// What follows from the lack of a current list.
    const fn lacks(&self, state: RevocationState) -> Result<RevocationState, NotMember> {
        match self.revocation {
            Revocation::IfKnown => Ok(state),
            Revocation::Required => Err(NotMember::RevocationUnknown { state, now: self.now }),
        }
    }
}

/// How many certificates of authorities with the same name are tried: one that is being replaced, or that two others have signed, has two.
const OF_ONE_NAME: usize = 2;

/// The certificates of authorities with which paths are looked for. With seven of one name there are thousands of paths, and a stranger
/// could make a node check a hundred signatures.
fn tried<'a>(others: &'a [CertificateDer<'_>]) -> Vec<CertificateDer<'a>> {
    let mut subjects = Vec::new();
    let mut is_tried = |der: &&CertificateDer<'_>| {
        let Ok(one) = Certificate::from_der(der) else { return false };
        let subject = one.read().tbs_certificate().subject().clone();
        let before = subjects.iter().filter(|other| **other == subject).count();
        subjects.push(subject);
        before < OF_ONE_NAME
    };
    others.iter().filter(|der| is_tried(der)).map(|der| CertificateDer::from(der.as_ref())).collect()
}

/// RFC 5280 §6.1.4 (n), which webpki leaves to its callers.
fn authorities_may_sign(path: &VerifiedPath<'_>) -> Result<(), Error> {
    let may = |der: CertificateDer<'_>| Certificate::from_der(&der).is_ok_and(|one| one.is_authority());
    match path.intermediate_certificates().all(|one| may(one.der())) {
        true => Ok(()),
        false => Err(Error::EndEntityUsedAsCa),
    }
}

fn not_member(error: Error, certificate: &Certificate, rules: &Rules) -> NotMember {
    let at = |time: UnixTime| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()));
    let at = |time| at(time).unwrap_or(SystemTime::UNIX_EPOCH);
    match error {
        Error::CertNotValidYet { not_before, .. } => {
            NotMember::NotYetValid { from: at(not_before), now: rules.now }
        }
        Error::CertExpired { not_after, .. } => NotMember::Expired { until: at(not_after), now: rules.now },
        Error::UnknownIssuer if certificate.is_self_signed() => NotMember::SelfSigned,
        Error::UnknownIssuer => NotMember::UnknownIssuer { issuer: certificate.issuer() },
        Error::InvalidSignatureForPublicKey => NotMember::Signature { issuer: certificate.issuer() },
        Error::CertRevoked => NotMember::Revoked { serial: certificate.serial() },
        Error::InvalidCrlSignatureForPublicKey | Error::IssuerNotCrlSigner => NotMember::ListSignature,
        Error::CaUsedAsEndEntity => NotMember::AuthorityAsNode,
        Error::EndEntityUsedAsCa => NotMember::NodeAsAuthority,
        Error::PathLenConstraintViolated | Error::MaximumPathDepthExceeded => NotMember::PathTooLong,
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => NotMember::Usage,
        Error::BadDer | Error::BadDerTime | Error::MalformedExtensions | Error::TrailingData(_) => {
            NotMember::Malformed
        }
        other => NotMember::Invalid { why: format!("{other:?}") },
    }
}

/// Why a peer is no member of the domain.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotMember {
    /// It has shown no certificate.
    NoCertificate,
    /// It has shown more certificates than are looked at.
    TooMany {
        /// So many.
        count: usize,
    },
    /// A certificate is larger than is read.
    TooLarge {
        /// So large, in bytes.
        bytes: usize,
    },
    /// A certificate is malformed.
    Malformed,
    /// A certificate is not valid yet, by this node's clock.
    NotYetValid {
        /// From when on it is.
        from: SystemTime,
        /// What the clock says.
        now: SystemTime,
    },
    /// A certificate is not valid any more, by this node's clock.
    Expired {
        /// Until when it was.
        until: SystemTime,
        /// What the clock says.
        now: SystemTime,
    },
    /// No anchor of this node is valid now, by its clock.
    NoAnchor {
        /// What the clock says.
        now: SystemTime,
    },
    /// Its authority is none that this node trusts.
    UnknownIssuer {
        /// Who has signed it.
        issuer: String,
    },
    /// It is signed by itself.
    SelfSigned,
    /// It says that it is of an authority that this node trusts, and is not signed with that one's key.
    Signature {
        /// The authority.
        issuer: String,
    },
    /// It, or an authority between it and the anchor, is revoked.
    Revoked {
        /// The number of the peer's certificate.
        serial: Serial,
    },
    /// Nobody knows whether it is revoked, and [`Revocation::Required`] asks for it.
    RevocationUnknown {
        /// What is missing.
        state: RevocationState,
        /// What the clock says.
        now: SystemTime,
    },
    /// The revocation list of its authority is not signed by it.
    ListSignature,
    /// The peer shows the certificate of an authority as its own.
    AuthorityAsNode,
    /// A certificate on the path is not that of an authority.
    NodeAsAuthority,
    /// There are more authorities between it and the anchor than an authority permits, or than are looked at.
    PathTooLong,
    /// The certificate is for something else than proving who a node is.
    Usage,
    /// It does not name a node.
    NodeName(NodeNameInCertificate),
    /// It names a node of another domain.
    OtherDomain {
        /// This node's domain.
        own: String,
        /// The peer's.
        theirs: String,
    },
    /// Its name has no address, which secure channels need (RFC 8994 §6.2.3, rule 5).
    NoAddress,
    /// It is not valid for another reason, in webpki's words.
    Invalid {
        /// The reason.
        why: String,
    },
}

impl NotMember {
    /// Whether it would be explained by a wrong clock, here or where the certificate was issued.
    #[must_use]
    pub const fn may_be_the_clock(&self) -> bool {
        matches!(
            self,
            Self::NotYetValid { .. }
                | Self::Expired { .. }
                | Self::NoAnchor { .. }
                | Self::RevocationUnknown { state: RevocationState::ListOver, .. }
        )
    }
}

impl fmt::Display for NotMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |now: &SystemTime| format!("this node's clock says {}, is it right?", Shown(*now));
        match self {
            Self::NoCertificate => f.write_str("the peer shows no certificate"),
            Self::TooMany { count } => {
                write!(f, "the peer shows {count} certificates, more than the {CHAIN_LIMIT} that are looked at")
            }
            Self::TooLarge { bytes } => {
                write!(f, "a certificate has {bytes} bytes, more than the {CERTIFICATE_LIMIT} that are read")
            }
            Self::Malformed => f.write_str("a certificate is malformed"),
            Self::NotYetValid { from, now } => {
                write!(f, "not yet valid, but from {} on: {}", Shown(*from), clock(now))
            }
            Self::Expired { until, now } => {
                write!(f, "not valid any more since {}: {}", Shown(*until), clock(now))
            }
            Self::NoAnchor { now } => {
                write!(f, "no authority that this node trusts is valid at this time: {}", clock(now))
            }
            Self::UnknownIssuer { issuer } => {
                write!(f, "issued by an authority that this node does not trust: {issuer}")
            }
            Self::SelfSigned => f.write_str("signed by itself, not by the authority of the domain"),
            Self::Signature { issuer } => write!(
                f,
                "not signed with the key of the authority that it names, {issuer}: it is forged, or of an authority of the same name"
            ),
            Self::Revoked { serial } => {
                write!(f, "revoked: the certificate {serial}, or that of an authority above it")
            }
            Self::RevocationUnknown { state: RevocationState::ListOver, now } => write!(
                f,
                "whether it is revoked is unknown, because the revocation list is over: get a new one (grasp domain crl); {}",
                clock(now)
            ),
            Self::RevocationUnknown { .. } => {
                f.write_str("whether it is revoked is unknown, because there is no revocation list of its authority")
            }
            Self::ListSignature => f.write_str(
                "the revocation list of its authority is not signed by that authority: get it again (grasp domain crl)",
            ),
            Self::AuthorityAsNode => f.write_str("the certificate is that of an authority, not of a node"),
            Self::NodeAsAuthority => f.write_str("issued by somebody who is no authority"),
            Self::PathTooLong => f.write_str("there are too many authorities between it and one that this node trusts"),
            Self::Usage => f.write_str("the certificate is for something else than proving who a node is (key usage)"),
            Self::NodeName(error) => write!(f, "the certificate does not name a node: {error}"),
            Self::OtherDomain { own, theirs } => {
                write!(f, "a member of the domain {theirs}, and this node of {own}")
            }
            Self::NoAddress => f.write_str(
                "the name of the node has no address, without which it is a member, but no neighbour (RFC 8994 §6.2.3)",
            ),
            Self::Invalid { why } => write!(f, "not valid: {why}"),
        }
    }
}

impl std::error::Error for NotMember {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NodeName(error) => Some(error),
            _ => None,
        }
    }
}
