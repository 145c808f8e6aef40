//! Lists of revoked certificates (CRLs, RFC 5280 §5).

use std::fmt;
use std::time::SystemTime;

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject as _;
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_cert::crl::{CertificateList, RevokedCert, TbsCertList};
use x509_cert::der::asn1::{OctetString, Uint};
use x509_cert::der::oid::AssociatedOid as _;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, CrlNumber};
use x509_cert::name::Name;

use super::certificate::{extension, to_pem};
use super::{Certificate, LIST_LIMIT, MalformedError, PrivateKey, Serial, Unwritten, signed, time};
use crate::plain::Plain;

/// A list of revoked certificates that could be read. That says nothing about its signature.
#[derive(Clone)]
pub struct RevocationList {
    der: CertificateRevocationListDer<'static>,
    read: CertificateList,
    /// For the check.
    judged: std::sync::Arc<CertRevocationList<'static>>,
}

/// A revoked certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Its number.
    pub serial: Serial,
    /// Since when.
    pub since: SystemTime,
}

impl RevocationList {
    /// Reads one in DER, of at most [`LIST_LIMIT`] bytes.
    ///
    /// # Errors
    /// [`MalformedError`]. A retry does not help.
    pub fn from_der(der: &[u8]) -> Result<Self, MalformedError> {
        if der.len() > LIST_LIMIT {
            return Err(MalformedError::TooLarge);
        }
        let malformed = MalformedError::NotOne("revocation list (or one of a kind that is not supported)");
        let read = CertificateList::from_der(der).map_err(|_| malformed)?;
        let judged = OwnedCertRevocationList::from_der(der).map_err(|_| malformed)?;
        let der = CertificateRevocationListDer::from(der.to_vec());
        Ok(Self { der, read, judged: std::sync::Arc::new(judged.into()) })
    }

    /// Reads the only one of a text in PEM. What else is in the text is ignored.
    ///
    /// # Errors
    /// As [`RevocationList::from_der`].
    pub fn from_pem(text: &[u8]) -> Result<Self, MalformedError> {
        match CertificateRevocationListDer::pem_slice_iter(text).next() {
            Some(Ok(der)) => Self::from_der(&der),
            Some(Err(_)) => Err(MalformedError::NotPem),
            None => Err(MalformedError::None("revocation list")),
        }
    }

    /// The list in DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The list in PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        to_pem("X509 CRL", &self.der)
    }

    /// Who has signed it, as RFC 4514 writes it, without what would steer a terminal.
    #[must_use]
    pub fn issuer(&self) -> String {
        Plain(&self.read.tbs_cert_list.issuer.to_string()).to_string()
    }

    /// When it was made.
    #[must_use]
    pub fn made(&self) -> SystemTime {
        self.read.tbs_cert_list.this_update.to_system_time()
    }

    /// By when there is to be a newer one; `None` if it does not say.
    #[must_use]
    pub fn next(&self) -> Option<SystemTime> {
        self.read.tbs_cert_list.next_update.map(|next| next.to_system_time())
    }

    /// Which one it is: they count up. `None` if it does not say, or has no number of at most 64 bits.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        let extensions = self.read.tbs_cert_list.crl_extensions.as_ref()?;
        let number = extensions.iter().find(|extension| extension.extn_id == CrlNumber::OID)?;
        let number = CrlNumber::from_der(number.extn_value.as_bytes()).ok()?;
        let bytes = number.0.as_bytes();
        let short = bytes.len() <= size_of::<u64>();
        short.then(|| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// The certificates that are revoked.
    pub fn revoked(&self) -> impl Iterator<Item = Revoked> {
        let revoked = self.read.tbs_cert_list.revoked_certificates.iter().flatten();
        revoked.map(|one| Revoked {
            serial: Serial(one.serial_number.clone()),
            since: one.revocation_date.to_system_time(),
        })
    }

    /// Whether it is about the certificates of this authority, by its name.
    #[must_use]
    pub fn is_of(&self, authority: &Certificate) -> bool {
        &self.read.tbs_cert_list.issuer == authority.read().tbs_certificate().subject()
    }

    /// Whether the key of this authority has signed it.
    #[must_use]
    pub fn is_signed_by(&self, authority: &Certificate) -> bool {
        let list = &self.read;
        list.tbs_cert_list.to_der().is_ok_and(|body| {
            authority.public_key().has_signed(&body, &list.signature_algorithm, list.signature.raw_bytes())
        })
    }

    /// Whether it is of the same authority as another, and newer.
    pub(super) fn replaces(&self, other: &Self) -> bool {
        let order = |list: &Self| (list.number(), list.made());
        self.read.tbs_cert_list.issuer == other.read.tbs_cert_list.issuer && order(self) > order(other)
    }

    pub(super) fn same_issuer(&self, other: &Self) -> bool {
        self.read.tbs_cert_list.issuer == other.read.tbs_cert_list.issuer
    }

    pub(super) fn judged(&self) -> &CertRevocationList<'static> {
        &self.judged
    }

    /// Signs a list with the key of an authority of this name.
    pub(super) fn sign(
        revoked: &[Revoked],
        number: u64,
        (made, next): (SystemTime, SystemTime),
        issuer: &Name,
        by: &PrivateKey,
    ) -> Result<Self, Unwritten> {
        let one = |one: &Revoked| {
            Ok(RevokedCert {
                serial_number: one.serial.0.clone(),
                revocation_date: time(one.since)?,
                crl_entry_extensions: None,
            })
        };
        let revoked = revoked.iter().map(one).collect::<Result<Vec<_>, Unwritten>>()?;
        let key_identifier = Some(OctetString::new(by.public().identifier())?);
        let authority = AuthorityKeyIdentifier { key_identifier, ..AuthorityKeyIdentifier::default() };
        let list: TbsCertList = TbsCertList {
            version: x509_cert::Version::V2,
            signature: by.algorithm().signature(),
            issuer: issuer.clone(),
            this_update: time(made)?,
            next_update: Some(time(next)?),
            // An empty list has to be left out (RFC 5280 §5.1.2.6).
            revoked_certificates: (!revoked.is_empty()).then_some(revoked),
            crl_extensions: Some(vec![
                extension(&authority, false)?,
                extension(&CrlNumber(Uint::new(&number.to_be_bytes())?), false)?,
            ]),
        };
        Self::from_der(&signed(list.to_der()?, by)?).map_err(|_| Unwritten)
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RevocationList({:?} of {})", self.number(), self.issuer())
    }
}
