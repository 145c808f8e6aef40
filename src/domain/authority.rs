//! The authority of a domain: a key whose certificate every node trusts, and which signs theirs. It is in memory here; the command
//! `grasp domain` keeps one in a directory, tests and labs make one for themselves.

use std::fmt;
use std::time::{Duration, SystemTime};

use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{Ia5StringRef, ObjectIdentifier, SetOfVec, Utf8StringRef};
use x509_cert::der::{Any, Decode, Encode};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};

use super::certificate::Plan;
use super::name::is_domain;
use super::{
    Algorithm, Certificate, Credentials, CredentialsError, DomainError, KeyError, NodeName, PrivateKey,
    PublicKey, RevocationList, Revoked, Serial, Unwritten,
};

/// id-domainComponent
const DOMAIN_COMPONENT: ObjectIdentifier = ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25");

/// Certificates are valid from a little before they are made, for nodes whose clocks are a little behind.
const EARLIER: Duration = Duration::from_secs(300);

/// The authority of a domain: its key and its certificate.
///
/// Its certificate says for which domain it is, by domain components (RFC 4519) in its subject, and that there is no authority below
/// it.
#[derive(Debug)]
pub struct Authority {
    key: PrivateKey,
    certificate: Certificate,
    domain: String,
}

/// What a certificate of a node is to say.
#[derive(Clone, Debug)]
pub struct Issue<'a> {
    /// The name of the node, in the authority's domain.
    pub name: &'a NodeName,
    /// The node's key.
    pub key: &'a PublicKey,
    /// A name for people, which stands in the subject and has no other meaning; at most 64 characters.
    pub label: Option<&'a str>,
    /// When it is issued. It is valid from five minutes earlier on.
    pub now: SystemTime,
    /// How long it is valid from now on, at most as long as the authority itself.
    pub lifetime: Duration,
}

impl Authority {
    /// Makes an authority for a domain: a new key, and a certificate that is valid for `lifetime` from `now` on.
    ///
    /// # Errors
    /// If the name of the domain is none, or the system's random generator fails, after which a retry may help.
    pub fn create(
        domain: &str,
        algorithm: Algorithm,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Self, AuthorityError> {
        is_domain(domain).map_err(AuthorityError::Domain)?;
        let domain = domain.to_ascii_lowercase();
        let key = PrivateKey::generate(algorithm).map_err(AuthorityError::Key)?;
        let public = key.public();
        let subject = subject(&domain, public)?;
        let plan = Plan {
            serial: &Serial::random()?,
            subject: &subject,
            from: earlier(now),
            until: later(now, lifetime)?,
            key: public,
            name: None,
        };
        let certificate = plan.sign(&subject, &key)?;
        Ok(Self { key, certificate, domain })
    }

    /// An authority that was made before.
    ///
    /// # Errors
    /// If the certificate is not that of the key, or not that of the authority of a domain. A retry does not help.
    pub fn from_parts(key: PrivateKey, certificate: Certificate) -> Result<Self, AuthorityError> {
        if &certificate.public_key() != key.public() {
            return Err(AuthorityError::OtherKey);
        }
        let domain = domain_of(&certificate).filter(|_| certificate.is_authority());
        let domain = domain.ok_or(AuthorityError::NoAuthority)?;
        Ok(Self { key, certificate, domain })
    }

    /// The domain, in small letters.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Its certificate: the anchor of trust of every node.
    #[must_use]
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Its key.
    #[must_use]
    pub const fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// Issues a certificate with a new serial number.
    ///
    /// # Errors
    /// If the name is of another domain, the key of a kind that nodes do not have, or the authority is not valid now. A retry helps
    /// only after a failure of the system's random generator.
    pub fn issue(&self, issue: &Issue<'_>) -> Result<Certificate, AuthorityError> {
        if !issue.name.domain().eq_ignore_ascii_case(&self.domain) {
            return Err(AuthorityError::OtherDomain {
                name: issue.name.to_string(),
                domain: self.domain.clone(),
            });
        }
        if issue.key.algorithm().is_none() {
            return Err(AuthorityError::UnsupportedKey);
        }
        let (from, end) = (self.certificate.valid_from(), self.certificate.valid_until());
        if issue.now < from || issue.now >= end {
            return Err(AuthorityError::NotNow { from, until: end });
        }
        let mut subject = RdnSequence::default();
        if let Some(label) = issue.label.filter(|label| !label.is_empty()) {
            if label.chars().count() > 64 {
                return Err(AuthorityError::Label);
            }
            subject.push(common_name(label)?);
        }
        let plan = Plan {
            serial: &Serial::random()?,
            subject: &named(&subject)?,
            from: earlier(issue.now).max(from),
            until: later(issue.now, issue.lifetime)?.min(end),
            key: issue.key,
            name: Some(issue.name),
        };
        Ok(plan.sign(self.name(), &self.key)?)
    }

    /// Signs the list of the revoked certificates, with a number that is higher than that of the one before.
    ///
    /// # Errors
    /// If the list is too long, or the system's random generator fails.
    pub fn revocation_list(
        &self,
        revoked: &[Revoked],
        number: u64,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<RevocationList, AuthorityError> {
        let times = (now, later(now, lifetime)?);
        Ok(RevocationList::sign(revoked, number, times, self.name(), &self.key)?)
    }

    /// What a node needs, for tests and labs: a new key, a certificate for a day, and an empty revocation list.
    ///
    /// # Errors
    /// As [`Authority::issue`], and [`CredentialsError`] if the authority itself is not in order.
    pub fn credentials(&self, name: &NodeName, now: SystemTime) -> Result<Credentials, AuthorityError> {
        let day = Duration::from_secs(86_400);
        let key = PrivateKey::generate(self.key.algorithm()).map_err(AuthorityError::Key)?;
        let issue = Issue { name, key: key.public(), label: None, now, lifetime: day };
        let certificate = self.issue(&issue)?;
        let list = self.revocation_list(&[], 1, now, day)?;
        let made = Credentials::new(vec![certificate], key, vec![self.certificate.clone()], vec![list]);
        made.map_err(|error| AuthorityError::Credentials(Box::new(error)))
    }

    fn name(&self) -> &Name {
        self.certificate.read().tbs_certificate().subject()
    }
}

fn earlier(now: SystemTime) -> SystemTime {
    now.checked_sub(EARLIER).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn later(now: SystemTime, by: Duration) -> Result<SystemTime, AuthorityError> {
    now.checked_add(by).ok_or(AuthorityError::Unwritten)
}

/// Two authorities of one domain have different names, so that nobody confuses them and their lists.
fn subject(domain: &str, key: &PublicKey) -> Result<Name, Unwritten> {
    let mut subject = RdnSequence::default();
    for label in domain.rsplit('.') {
        subject.push(attribute(DOMAIN_COMPONENT, Any::from(Ia5StringRef::new(label)?))?);
    }
    let number: String = key.identifier().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    subject.push(common_name(&format!("GRASP domain authority {number}"))?);
    named(&subject)
}

fn named(parts: &RdnSequence) -> Result<Name, Unwritten> {
    Ok(Name::from_der(&parts.to_der()?)?)
}

fn common_name(text: &str) -> Result<RelativeDistinguishedName, Unwritten> {
    let oid = ObjectIdentifier::new("2.5.4.3").map_err(|_| Unwritten)?;
    attribute(oid, Any::from(Utf8StringRef::new(text)?))
}

fn attribute(oid: ObjectIdentifier, value: Any) -> Result<RelativeDistinguishedName, Unwritten> {
    let set = SetOfVec::from_iter([AttributeTypeAndValue { oid, value }])?;
    Ok(RelativeDistinguishedName::from(set))
}

/// The domain in the subject of an authority.
fn domain_of(certificate: &Certificate) -> Option<String> {
    let subject = certificate.read().tbs_certificate().subject();
    let labels = subject.iter().filter(|attribute| attribute.oid == DOMAIN_COMPONENT);
    let labels = labels.map(|attribute| Ia5StringRef::try_from(&attribute.value).ok());
    let mut labels: Vec<_> = labels.collect::<Option<Vec<_>>>()?;
    labels.reverse();
    let domain = labels.iter().map(|label| label.as_str()).collect::<Vec<_>>().join(".");
    is_domain(&domain).is_ok().then(|| domain.to_ascii_lowercase())
}

/// Why an authority cannot be made, or does not issue something.
#[derive(Debug)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The name of the domain is malformed.
    Domain(DomainError),
    /// The key cannot be made or read.
    Key(KeyError),
    /// The certificate is that of another key.
    OtherKey,
    /// The certificate is not that of the authority of a domain.
    NoAuthority,
    /// The name of the node is one of another domain.
    OtherDomain {
        /// The name.
        name: String,
        /// The domain of the authority.
        domain: String,
    },
    /// The node's key is neither P-256 nor P-384 nor Ed25519.
    UnsupportedKey,
    /// The authority's own certificate is not valid now.
    NotNow {
        /// It is from then on.
        from: SystemTime,
        /// It is until then.
        until: SystemTime,
    },
    /// The label is longer than 64 characters.
    Label,
    /// What it has issued does not fit together.
    Credentials(Box<CredentialsError>),
    /// The system's random generator does not answer, or a time is one that no calendar has.
    Unwritten,
}

impl From<Unwritten> for AuthorityError {
    fn from(Unwritten: Unwritten) -> Self {
        Self::Unwritten
    }
}

impl fmt::Display for AuthorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use super::Shown;
        match self {
            Self::Domain(error) => write!(f, "the name of the domain is malformed: {error}"),
            Self::Key(error) => error.fmt(f),
            Self::OtherKey => f.write_str("the certificate of the authority is not that of its key"),
            Self::NoAuthority => f.write_str("the certificate is not that of the authority of a domain"),
            Self::OtherDomain { name, domain } => write!(f, "{name} is not a name in the domain {domain}"),
            Self::UnsupportedKey => f.write_str("the key of the node is neither P-256 nor P-384 nor Ed25519"),
            Self::NotNow { from, until } => write!(
                f,
                "the authority is valid from {} until {}: if that is over, make a new one; if not, the clock of this machine is wrong",
                Shown(*from),
                Shown(*until)
            ),
            Self::Label => f.write_str("a label has at most 64 characters"),
            Self::Credentials(error) => error.fmt(f),
            Self::Unwritten => {
                f.write_str("the system's random generator does not answer, or the clock is wrong")
            }
        }
    }
}

impl std::error::Error for AuthorityError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Domain(error) => Some(error),
            Self::Key(error) => Some(error),
            Self::Credentials(error) => Some(error),
            _ => None,
        }
    }
}
