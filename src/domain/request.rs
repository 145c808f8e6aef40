//! Requests for certificates (PKCS#10, RFC 2986): a node makes one with its key, and the key stays with it.

use std::fmt;

use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject as _;
use x509_cert::der::asn1::{Any, BitString, SetOfVec};
use x509_cert::der::oid::AssociatedOid as _;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::name::Name;
use x509_cert::request::{CertReq, CertReqInfo, ExtensionReq, Version};

use super::certificate::{extension, names, node_name, to_pem};
use super::{
    CERTIFICATE_LIMIT, MalformedError, NodeName, NodeNameInCertificate, PrivateKey, PublicKey, Unwritten,
};

/// A request for a certificate, whose sender has the private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    der: Vec<u8>,
    key: PublicKey,
    name: Option<NodeName>,
}

impl Request {
    /// Makes a request for a name, with a key that goes nowhere.
    ///
    /// # Errors
    /// [`RequestError::Unwritten`] if the system's random generator fails. A retry may help.
    pub fn new(key: &PrivateKey, name: &NodeName) -> Result<Self, RequestError> {
        let der = Self::signed(key, name).map_err(|Unwritten| RequestError::Unwritten)?;
        Self::from_der(&der)
    }

    fn signed(key: &PrivateKey, name: &NodeName) -> Result<Vec<u8>, Unwritten> {
        let mut info = CertReqInfo {
            version: Version::V1,
            subject: Name::default(),
            public_key: key.public().0.clone(),
            attributes: SetOfVec::default(),
        };
        let wanted = ExtensionReq(vec![extension(&names(name)?, true)?]);
        info.attributes.insert(wanted.try_into()?)?;
        let signature = BitString::from_bytes(&key.sign(&info.to_der()?)?)?;
        Ok(CertReq { info, algorithm: key.algorithm().signature(), signature }.to_der()?)
    }

    /// Reads one in DER, and checks that its sender has the private key.
    ///
    /// # Errors
    /// [`RequestError`]. A retry does not help.
    pub fn from_der(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > CERTIFICATE_LIMIT {
            return Err(RequestError::Malformed(MalformedError::TooLarge));
        }
        let malformed = RequestError::Malformed(MalformedError::NotOne("request for a certificate"));
        let read = CertReq::from_der(der).map_err(|_| malformed)?;
        let key = PublicKey(read.info.public_key.clone());
        if key.algorithm().is_none() {
            return Err(RequestError::Key);
        }
        let body = read.info.to_der().map_err(|_| malformed)?;
        if !key.has_signed(&body, &read.algorithm, read.signature.raw_bytes()) {
            return Err(RequestError::Signature);
        }
        let name = match wanted(&read.info).map_err(RequestError::Name)? {
            Some(names) => match node_name(&names) {
                Ok(name) => Some(name),
                Err(NodeNameInCertificate::Missing) => None,
                Err(error) => return Err(RequestError::Name(error)),
            },
            None => None,
        };
        Ok(Self { der: der.to_vec(), key, name })
    }

    /// Reads the first of a text in PEM.
    ///
    /// # Errors
    /// As [`Request::from_der`].
    pub fn from_pem(text: &[u8]) -> Result<Self, RequestError> {
        match CertificateSigningRequestDer::pem_slice_iter(text).next() {
            Some(Ok(der)) => Self::from_der(&der),
            Some(Err(_)) => Err(RequestError::Malformed(MalformedError::NotPem)),
            None => Err(RequestError::Malformed(MalformedError::None("request for a certificate"))),
        }
    }

    /// The request in PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        to_pem("CERTIFICATE REQUEST", &self.der)
    }

    /// The public key that is to be certified.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// The name that is asked for, if one is.
    #[must_use]
    pub const fn node_name(&self) -> Option<&NodeName> {
        self.name.as_ref()
    }
}

/// The names that a request wants to have in the certificate.
fn wanted(info: &CertReqInfo) -> Result<Option<SubjectAltName>, NodeNameInCertificate> {
    let malformed = NodeNameInCertificate::Malformed;
    let mut found = None;
    for value in
        info.attributes.iter().filter(|one| one.oid == ExtensionReq::OID).flat_map(|one| one.values.iter())
    {
        let extensions: ExtensionReq = Any::decode_as(value).map_err(|_| malformed)?;
        for extension in extensions.0.iter().filter(|extension| extension.extn_id == SubjectAltName::OID) {
            if found.is_some() {
                return Err(NodeNameInCertificate::Several);
            }
            let names = SubjectAltName::from_der(extension.extn_value.as_bytes()).map_err(|_| malformed)?;
            found = Some(names);
        }
    }
    Ok(found)
}

/// Why a request cannot be made or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// It is none.
    Malformed(MalformedError),
    /// Its key is neither P-256 nor P-384 nor Ed25519.
    Key,
    /// It is not signed with its own key: it was changed, or its sender does not have the private key.
    Signature,
    /// The name of a node in it is malformed.
    Name(NodeNameInCertificate),
    /// It cannot be made: the system's random generator does not answer.
    Unwritten,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => error.fmt(f),
            Self::Key => f.write_str("its key is neither P-256 nor P-384 nor Ed25519"),
            Self::Signature => f.write_str(
                "it is not signed with its own key: it was changed, or who made it does not have that key",
            ),
            Self::Name(error) => error.fmt(f),
            Self::Unwritten => f.write_str("the system's random generator does not answer"),
        }
    }
}

impl std::error::Error for RequestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Malformed(error) => Some(error),
            Self::Name(error) => Some(error),
            _ => None,
        }
    }
}
