//! Certificates (RFC 5280): what of them people and the check of membership want to know, and how the authority makes them. webpki
//! judges them.

use std::fmt;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_cert::der::asn1::{ContextSpecific, Ia5StringRef, ObjectIdentifier, OctetString};
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::pem::{self, LineEnding};
use x509_cert::der::{Any, Decode, Encode, TagMode, TagNumber};
use x509_cert::ext::pkix::name::{GeneralName, OtherName};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::ext::{Criticality, Extension};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::Validity;

use super::{
    Algorithm, CERTIFICATE_LIMIT, NodeName, NodeNameError, PrivateKey, PublicKey, Unwritten, sequence,
    signed, time,
};
use crate::plain::Plain;

/// id-on-AcpNodeName (RFC 8994 §6.2.2.1)
const ON_ACP_NODE_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.8.10");
/// id-kp-serverAuth and id-kp-clientAuth: each node is both.
const PURPOSES: [ObjectIdentifier; 2] =
    [ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1"), ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2")];

/// A certificate that could be read. That says nothing about its worth: see [`Credentials::check`](super::Credentials::check).
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: CertificateDer<'static>,
    read: x509_cert::Certificate,
}

impl Certificate {
    /// Reads one in DER, of at most [`CERTIFICATE_LIMIT`] bytes.
    ///
    /// # Errors
    /// [`MalformedError`]. A retry does not help.
    pub fn from_der(der: &[u8]) -> Result<Self, MalformedError> {
        if der.len() > CERTIFICATE_LIMIT {
            return Err(MalformedError::TooLarge);
        }
        let read =
            x509_cert::Certificate::from_der(der).map_err(|_| MalformedError::NotOne("certificate"))?;
        Ok(Self { der: CertificateDer::from(der.to_vec()), read })
    }

    /// Reads those of a text in PEM, in their order, at least one and at most `most`. What else is in the text is ignored.
    ///
    /// # Errors
    /// As [`Certificate::from_der`].
    pub fn all_from_pem(text: &[u8], most: usize) -> Result<Vec<Self>, MalformedError> {
        let mut all = Vec::new();
        for der in CertificateDer::pem_slice_iter(text) {
            let der = der.map_err(|_| MalformedError::NotPem)?;
            all.push(Self::from_der(&der)?);
            if all.len() > most {
                return Err(MalformedError::TooMany { most });
            }
        }
        if all.is_empty() { Err(MalformedError::None("certificate")) } else { Ok(all) }
    }

    /// The certificate in DER, as TLS sends it.
    #[must_use]
    pub const fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The certificate in PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        to_pem("CERTIFICATE", &self.der)
    }

    /// The number that the authority has given it.
    #[must_use]
    pub fn serial(&self) -> Serial {
        Serial(self.read.tbs_certificate().serial_number().clone())
    }

    /// From when on it is valid.
    #[must_use]
    pub fn valid_from(&self) -> SystemTime {
        self.read.tbs_certificate().validity().not_before.to_system_time()
    }

    /// Until when it is valid.
    #[must_use]
    pub fn valid_until(&self) -> SystemTime {
        self.read.tbs_certificate().validity().not_after.to_system_time()
    }

    /// Whether half of its lifetime is over, so that it is time to renew it (RFC 8994 §6.2.5.2).
    #[must_use]
    pub fn is_due(&self, now: SystemTime) -> bool {
        let (from, until) = (self.valid_from(), self.valid_until());
        let half = until.duration_since(from).unwrap_or_default() / 2;
        now.duration_since(from).is_ok_and(|age| age >= half)
    }

    /// Whom it is about, as RFC 4514 writes it, without what would steer a terminal.
    #[must_use]
    pub fn subject(&self) -> String {
        Plain(&self.read.tbs_certificate().subject().to_string()).to_string()
    }

    /// Who has signed it, in the same form.
    #[must_use]
    pub fn issuer(&self) -> String {
        Plain(&self.read.tbs_certificate().issuer().to_string()).to_string()
    }

    /// The common name of the subject, without what would steer a terminal.
    #[must_use]
    pub fn label(&self) -> Option<String> {
        let name = self.read.tbs_certificate().subject().common_name().ok()??;
        Some(Plain(&name.value()).to_string())
    }

    /// Whether it says that it is signed by itself.
    #[must_use]
    pub fn is_self_signed(&self) -> bool {
        self.read.tbs_certificate().subject() == self.read.tbs_certificate().issuer()
    }

    /// Its public key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.read.tbs_certificate().subject_public_key_info().clone())
    }

    /// Whether it is that of an authority, which may sign certificates.
    #[must_use]
    pub fn is_authority(&self) -> bool {
        let constraints = self.read.tbs_certificate().get_extension::<BasicConstraints>();
        let may = matches!(constraints, Ok(Some((_, constraints))) if constraints.ca);
        may && self.may(KeyUsages::KeyCertSign)
    }

    /// Whether a node may prove with it who it is, as far as its key usage goes.
    pub(super) fn may_authenticate(&self) -> bool {
        self.may(KeyUsages::DigitalSignature)
    }

    /// Whether the key may be used so: nothing is said about it, or this is (RFC 5280 §4.2.1.3).
    fn may(&self, usage: KeyUsages) -> bool {
        match self.read.tbs_certificate().get_extension::<KeyUsage>() {
            Ok(Some((_, usages))) => usages.0.contains(usage),
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// The name of the node (RFC 8994 §6.2.2.1).
    ///
    /// # Errors
    /// If it has none, several, or a malformed one. A retry does not help.
    pub fn node_name(&self) -> Result<NodeName, NodeNameInCertificate> {
        let names = self.read.tbs_certificate().get_extension::<SubjectAltName>();
        let Some((_, names)) = names.map_err(|_| NodeNameInCertificate::Malformed)? else {
            return Err(NodeNameInCertificate::Missing);
        };
        node_name(&names)
    }

    pub(super) const fn read(&self) -> &x509_cert::Certificate {
        &self.read
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} {})", self.serial(), self.subject())
    }
}

/// The only name of a node among several names.
pub(super) fn node_name(names: &SubjectAltName) -> Result<NodeName, NodeNameInCertificate> {
    let mut found = names.0.iter().filter_map(|name| match name {
        GeneralName::OtherName(name) if name.type_id == ON_ACP_NODE_NAME => Some(&name.value),
        _ => None,
    });
    let value = found.next().ok_or(NodeNameInCertificate::Missing)?;
    if found.next().is_some() {
        return Err(NodeNameInCertificate::Several);
    }
    let text = Ia5StringRef::try_from(value).map_err(|_| NodeNameInCertificate::Malformed)?;
    text.as_str().parse().map_err(NodeNameInCertificate::Invalid)
}

/// The names of a node's certificate.
pub(super) fn names(name: &NodeName) -> Result<SubjectAltName, Unwritten> {
    let value = Any::from(Ia5StringRef::new(&name.to_string())?);
    Ok(SubjectAltName(vec![GeneralName::OtherName(OtherName { type_id: ON_ACP_NODE_NAME, value })]))
}

/// Why a certificate or a request gives no name of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeNameInCertificate {
    /// It has none.
    Missing,
    /// It has more than one.
    Several,
    /// The names in it are not encoded as RFC 5280 and RFC 8994 have it.
    Malformed,
    /// The name does not follow the rules.
    Invalid(NodeNameError),
}

impl fmt::Display for NodeNameInCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it has no name of a node (id-on-AcpNodeName)"),
            Self::Several => f.write_str("it has more than one name of a node"),
            Self::Malformed => f.write_str("the names in it are malformed"),
            Self::Invalid(error) => write!(f, "the name of the node in it is malformed: {error}"),
        }
    }
}

impl std::error::Error for NodeNameInCertificate {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Invalid(error) => Some(error),
            _ => None,
        }
    }
}

/// Why something is no certificate, request or revocation list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MalformedError {
    /// It is larger than is read.
    TooLarge,
    /// There are more than are read.
    TooMany {
        /// So many are read.
        most: usize,
    },
    /// The text is no PEM.
    NotPem,
    /// There is none of these in the text.
    None(&'static str),
    /// It is none of these.
    NotOne(&'static str),
}

impl fmt::Display for MalformedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("it is too large"),
            Self::TooMany { most } => write!(f, "it has more than {most} certificates"),
            Self::NotPem => f.write_str("it is no text in PEM"),
            Self::None(what) => write!(f, "it has no {what} in PEM"),
            Self::NotOne(what) => write!(f, "what is in it is no {what}"),
        }
    }
}

impl std::error::Error for MalformedError {}

/// The number of a certificate, unique for its authority. Prints and reads hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial(pub(super) SerialNumber);

impl Serial {
    /// A new one, at random.
    ///
    /// # Errors
    /// If the system's random generator fails. A retry may help.
    pub(super) fn random() -> Result<Self, Unwritten> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|_| Unwritten)?;
        // Positive, and always of the same length.
        if let Some(first) = bytes.first_mut() {
            *first = *first & 0x7f | 0x40;
        }
        Ok(Self(SerialNumber::new(&bytes)?))
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::str::FromStr for Serial {
    type Err = MalformedError;

    fn from_str(text: &str) -> Result<Self, MalformedError> {
        let malformed = MalformedError::NotOne("serial number");
        // As OpenSSL prints it, too.
        let digits: String = text.chars().filter(|character| *character != ':').collect();
        if digits.len() > 40 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(malformed);
        }
        let (pairs, odd) = digits.as_bytes().as_chunks::<2>();
        let byte = |pair: &[u8; 2]| {
            std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
        };
        let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
        let bytes = bytes.filter(|bytes| odd.is_empty() && !bytes.is_empty()).ok_or(malformed)?;
        SerialNumber::new(&bytes).map(Self).map_err(|_| malformed)
    }
}

/// What the authority writes into a certificate.
pub(super) struct Plan<'a> {
    pub(super) serial: &'a Serial,
    pub(super) subject: &'a Name,
    pub(super) from: SystemTime,
    pub(super) until: SystemTime,
    pub(super) key: &'a PublicKey,
    /// A node's name, or none for the certificate of the authority itself.
    pub(super) name: Option<&'a NodeName>,
}

impl Plan<'_> {
    /// Signs it with the key of an authority of this name.
    pub(super) fn sign(&self, issuer: &Name, by: &PrivateKey) -> Result<Certificate, Unwritten> {
        let explicit = |number, value: Vec<u8>| -> Result<Vec<u8>, Unwritten> {
            let value = Any::from_der(&value)?;
            Ok(ContextSpecific { tag_number: TagNumber(number), tag_mode: TagMode::Explicit, value }
                .to_der()?)
        };
        let validity: Validity = Validity::new(time(self.from)?, time(self.until)?);
        let body = sequence(&[
            // Version 3.
            explicit(0, 2_u8.to_der()?)?,
            self.serial.0.to_der()?,
            by.algorithm().signature().to_der()?,
            issuer.to_der()?,
            validity.to_der()?,
            self.subject.to_der()?,
            self.key.0.to_der()?,
            explicit(3, self.extensions(by)?.to_der()?)?,
        ])?;
        Certificate::from_der(&signed(body, by)?).map_err(|_| Unwritten)
    }

    fn extensions(&self, by: &PrivateKey) -> Result<Vec<Extension>, Unwritten> {
        let own = SubjectKeyIdentifier(OctetString::new(self.key.identifier())?);
        let authority = AuthorityKeyIdentifier {
            key_identifier: Some(OctetString::new(by.public().identifier())?),
            ..AuthorityKeyIdentifier::default()
        };
        let mut all = vec![self.extension(&own)?, self.extension(&authority)?];
        let Some(name) = self.name else {
            // No authority below this one.
            let constraints = BasicConstraints { ca: true, path_len_constraint: Some(0) };
            all.push(self.extension(&constraints)?);
            all.push(self.extension(&KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign))?);
            return Ok(all);
        };
        let usages = match self.key.algorithm() {
            Some(Algorithm::Ed25519) => KeyUsages::DigitalSignature.into(),
            // RFC 8994 §6.2.1: a key on a curve says that it agrees on keys, too, if it says anything.
            _ => KeyUsages::DigitalSignature | KeyUsages::KeyAgreement,
        };
        all.push(self.extension(&BasicConstraints { ca: false, path_len_constraint: None })?);
        all.push(self.extension(&KeyUsage(usages))?);
        all.push(self.extension(&ExtendedKeyUsage(PURPOSES.to_vec()))?);
        all.push(self.extension(&names(name)?)?);
        Ok(all)
    }

    fn extension<T: AssociatedOid + Criticality + Encode>(&self, of: &T) -> Result<Extension, Unwritten> {
        extension(of, of.criticality(self.subject, &[]))
    }
}

/// An extension, encoded.
pub(super) fn extension<T: AssociatedOid + Encode>(of: &T, critical: bool) -> Result<Extension, Unwritten> {
    Ok(Extension { extn_id: T::OID, critical, extn_value: OctetString::new(of.to_der()?)? })
}

/// Something in PEM. Less than a gigabyte has a length.
pub(super) fn to_pem(label: &'static str, der: &[u8]) -> String {
    pem::encode_string(label, LineEnding::LF, der).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_read_as_they_are_written() {
        let serial = Serial::random().unwrap();
        assert_eq!(serial.to_string().len(), 32);
        assert_eq!(serial.to_string().parse(), Ok(serial.clone()));
        assert_eq!("4A:0b".parse::<Serial>().unwrap().to_string(), "4a0b");
        for text in ["", "4", "4g", "0x4a", &"ab".repeat(21)] {
            assert!(text.parse::<Serial>().is_err(), "{text}");
        }
    }
}
