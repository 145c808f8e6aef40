//! Keys of nodes and authorities: ECDSA on P-256 and P-384, and Ed25519.

use std::fmt;
#[cfg(feature = "tools")]
use std::os::fd::AsFd;
use std::path::Path;

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use webpki::ALL_VERIFICATION_ALGS;
use x509_cert::der::asn1::{Any, BitString, ObjectIdentifier};
use x509_cert::der::pem::{self, LineEnding};
use x509_cert::der::{Decode, Encode};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use zeroize::Zeroizing;

use super::{KeyFileError, Unwritten};
use crate::private_file;

/// A kind of key. Peers may have others: what they sign is checked for RSA with at least 2048 bits, too (RFC 8994 §6.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA with SHA-256 on the curve P-256. Every node supports it (RFC 8994 §6.2.1).
    #[default]
    P256,
    /// ECDSA with SHA-384 on the curve P-384.
    P384,
    /// Ed25519 (RFC 8410).
    Ed25519,
}

/// id-ecPublicKey
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// secp256r1
const CURVE_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// secp384r1
const CURVE_384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
/// ecdsa-with-SHA256
const ECDSA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
/// ecdsa-with-SHA384
const ECDSA_384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
/// id-Ed25519
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::P256, Self::P384, Self::Ed25519];

    fn ecdsa(self) -> Option<&'static EcdsaSigningAlgorithm> {
        match self {
            Self::P256 => Some(&ECDSA_P256_SHA256_ASN1_SIGNING),
            Self::P384 => Some(&ECDSA_P384_SHA384_ASN1_SIGNING),
            Self::Ed25519 => None,
        }
    }

    /// How a signature by such a key is called.
    pub(super) fn signature(self) -> AlgorithmIdentifierOwned {
        let oid = match self {
            Self::P256 => ECDSA_256,
            Self::P384 => ECDSA_384,
            Self::Ed25519 => ED25519,
        };
        AlgorithmIdentifierOwned { oid, parameters: None }
    }

    /// How such a key is called.
    fn key(self) -> AlgorithmIdentifierOwned {
        match self {
            Self::P256 => AlgorithmIdentifierOwned { oid: EC, parameters: Some(Any::from(CURVE_256)) },
            Self::P384 => AlgorithmIdentifierOwned { oid: EC, parameters: Some(Any::from(CURVE_384)) },
            Self::Ed25519 => AlgorithmIdentifierOwned { oid: ED25519, parameters: None },
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::Ed25519 => "Ed25519",
        })
    }
}

/// A private key. Its encoding is wiped from memory when it is dropped; what ring makes of it for signing is not. `Debug` shows its
/// algorithm only.
pub struct PrivateKey {
    pkcs8: Zeroizing<Vec<u8>>,
    pair: Pair,
    public: PublicKey,
    algorithm: Algorithm,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// The most that an encoded key may have, in bytes. One of ours has 185.
const MOST: usize = 512;
/// The most that a file of keys may have, in bytes.
const FILE_LIMIT: usize = 8 * 1024;

/// What stands before the 32 random bytes of a key for Ed25519 (RFC 8410 §7). ring writes the public key behind them, too, which
/// OpenSSL does not read.
const ED25519_PREFIX: [u8; 16] = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

impl PrivateKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// [`KeyError::Random`]. A retry may help.
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let Some(ecdsa) = algorithm.ecdsa() else {
            let mut pkcs8 = Zeroizing::new([0; ED25519_PREFIX.len() + 32]);
            let (prefix, seed) = pkcs8.split_at_mut(ED25519_PREFIX.len());
            prefix.copy_from_slice(&ED25519_PREFIX);
            getrandom::fill(seed).map_err(|_| KeyError::Random)?;
            return Self::from_pkcs8(pkcs8.as_slice());
        };
        let made = EcdsaKeyPair::generate_pkcs8(ecdsa, &SystemRandom::new());
        Self::from_pkcs8(made.map_err(|_| KeyError::Random)?.as_ref())
    }

    /// Reads a key in the encoding PKCS#8.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`]. A retry does not help.
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() > MOST {
            return Err(KeyError::Unsupported);
        }
        for algorithm in Algorithm::ALL {
            let pair = match algorithm.ecdsa() {
                Some(ecdsa) => EcdsaKeyPair::from_pkcs8(ecdsa, bytes, &SystemRandom::new()).map(Pair::Ecdsa),
                // That of OpenSSL has no public key in it to compare with.
                None => Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes).map(Pair::Ed25519),
            };
            if let Ok(pair) = pair {
                let public = pair.public(algorithm).map_err(|_| KeyError::Unsupported)?;
                return Ok(Self { pkcs8: Zeroizing::new(bytes.to_vec()), pair, public, algorithm });
            }
        }
        Err(KeyError::Unsupported)
    }

    /// Reads the keys of a file that only its owner can read, who is the user `own` or root.
    pub(crate) fn all_from_file(path: &Path, own: u32) -> Result<Vec<Self>, KeyFileError> {
        Self::all_from_text(&private_file::read_as(path, FILE_LIMIT, own)?, path)
    }

    /// The same for a file of this path in an open directory, if it is no symbolic link.
    #[cfg(feature = "tools")]
    pub(crate) fn all_in(directory: impl AsFd, path: &Path, own: u32) -> Result<Vec<Self>, KeyFileError> {
        Self::all_from_text(&private_file::read_in(directory, path, FILE_LIMIT, own)?, path)
    }

    fn all_from_text(text: &[u8], path: &Path) -> Result<Vec<Self>, KeyFileError> {
        Self::all_from_pem(text).map_err(|error| {
            let what = error.sentence();
            KeyFileError::Malformed { path: path.to_owned(), line: 0, what }
        })
    }

    /// Reads the keys of a text in PEM, PKCS#8, one or two: while a key is being replaced, its file has the old one and the new.
    fn all_from_pem(text: &[u8]) -> Result<Vec<Self>, KeyError> {
        let text = std::str::from_utf8(text).map_err(|_| KeyError::NoPem)?;
        if text.len() > FILE_LIMIT {
            return Err(KeyError::Unsupported);
        }
        let mut keys = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(BEGIN) {
            let from = rest.get(at..).unwrap_or_default();
            let end = from.find(END).ok_or(KeyError::NoPem)?.saturating_add(END.len());
            let (one, after) = from.split_at_checked(end).ok_or(KeyError::NoPem)?;
            let mut buffer = Zeroizing::new([0; 2 * MOST]);
            let (_, der) = pem::decode(one.as_bytes(), buffer.as_mut_slice()).map_err(|_| KeyError::NoPem)?;
            keys.push(Self::from_pkcs8(der)?);
            if keys.len() > 2 {
                return Err(KeyError::Several);
            }
            rest = after;
        }
        match keys.is_empty() {
            false => Ok(keys),
            true if text.contains("BEGIN ENCRYPTED PRIVATE KEY") => Err(KeyError::Encrypted),
            true if text.contains("PRIVATE KEY-----") => Err(KeyError::OtherForm),
            true => Err(KeyError::NoPem),
        }
    }

    /// The key in PEM, PKCS#8.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] if it has no encoding, as every key that was made or read has.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        pem::encode_string("PRIVATE KEY", LineEnding::LF, &self.pkcs8)
            .map(Zeroizing::new)
            .map_err(|_| KeyError::Unsupported)
    }

    /// The key in PKCS#8, for TLS; nothing is copied.
    #[must_use]
    pub fn pkcs8(&self) -> PrivatePkcs8KeyDer<'_> {
        PrivatePkcs8KeyDer::from(self.pkcs8.as_slice())
    }

    /// What kind it is.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its public part.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unwritten> {
        let signature = match &self.pair {
            Pair::Ecdsa(pair) => pair.sign(&SystemRandom::new(), message).map_err(|_| Unwritten)?,
            Pair::Ed25519(pair) => pair.sign(message),
        };
        Ok(signature.as_ref().to_vec())
    }
}

impl Pair {
    fn public(&self, algorithm: Algorithm) -> Result<PublicKey, x509_cert::der::Error> {
        let point = match self {
            Self::Ecdsa(pair) => pair.public_key().as_ref(),
            Self::Ed25519(pair) => pair.public_key().as_ref(),
        };
        let subject_public_key = BitString::from_bytes(point)?;
        Ok(PublicKey(SubjectPublicKeyInfoOwned { algorithm: algorithm.key(), subject_public_key }))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.algorithm)
    }
}

/// A public key, as certificates have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(pub(super) SubjectPublicKeyInfoOwned);

impl PublicKey {
    /// Of which kind it is, if it is one that a node of ours may have.
    #[must_use]
    pub fn algorithm(&self) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.key() == self.0.algorithm)
    }

    /// A fingerprint: the first 20 bytes of the SHA-256 of the key (RFC 7093 §2), which certificates have as its identifier.
    #[must_use]
    pub fn identifier(&self) -> [u8; 20] {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.0.subject_public_key.raw_bytes());
        let mut identifier = [0; 20];
        for (to, from) in identifier.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        identifier
    }

    /// Whether this key has signed a message so.
    pub(super) fn has_signed(
        &self,
        message: &[u8],
        how: &AlgorithmIdentifierOwned,
        signature: &[u8],
    ) -> bool {
        // The content of a sequence, which is how webpki names algorithms.
        let content = |algorithm: &AlgorithmIdentifierOwned| {
            let der = algorithm.to_der().ok()?;
            Some(Any::from_der(&der).ok()?.value().to_vec())
        };
        let (Some(key), Some(how)) = (content(&self.0.algorithm), content(how)) else { return false };
        let point = self.0.subject_public_key.raw_bytes();
        ALL_VERIFICATION_ALGS.iter().any(|algorithm| {
            algorithm.public_key_alg_id().as_ref() == key
                && algorithm.signature_alg_id().as_ref() == how
                && algorithm.verify_signature(point, message, signature).is_ok()
        })
    }
}

/// Why a private key cannot be made or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no key in PEM.
    NoPem,
    /// It is encrypted.
    Encrypted,
    /// It is in another form than PKCS#8.
    OtherForm,
    /// It is malformed, or of another kind than P-256, P-384 and Ed25519.
    Unsupported,
    /// There are more than two.
    Several,
    /// The system's random generator fails.
    Random,
}

impl KeyError {
    const fn sentence(self) -> &'static str {
        match self {
            Self::NoPem => "it has no private key in PEM (BEGIN PRIVATE KEY)",
            Self::Encrypted => {
                "the key is encrypted, and nobody is there to type a password: decrypt it (openssl pkcs8 -in FILE -out NEW), in a file of mode 0600"
            }
            Self::OtherForm => {
                "the key is not in PKCS#8: convert it (openssl pkcs8 -topk8 -nocrypt -in FILE -out NEW)"
            }
            Self::Unsupported => "the key is malformed, or neither P-256 nor P-384 nor Ed25519",
            Self::Several => "it has more than two keys",
            Self::Random => "the system's random generator does not answer",
        }
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl std::error::Error for KeyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_key_signs_and_is_read_again() {
        for algorithm in Algorithm::ALL {
            let key = PrivateKey::generate(algorithm).unwrap();
            let again = PrivateKey::all_from_pem(key.to_pem().unwrap().as_bytes()).unwrap().remove(0);
            assert_eq!((again.algorithm(), again.public()), (algorithm, key.public()));
            let signature = again.sign(b"message").unwrap();
            let how = algorithm.signature();
            assert!(key.public().has_signed(b"message", &how, &signature), "{algorithm}");
            assert!(!key.public().has_signed(b"another", &how, &signature), "{algorithm}");
            let other = PrivateKey::generate(algorithm).unwrap();
            assert!(!other.public().has_signed(b"message", &how, &signature), "{algorithm}");
            assert_eq!(key.public().algorithm(), Some(algorithm));
        }
    }

    #[test]
    fn a_key_does_not_show_itself() {
        let key = PrivateKey::generate(Algorithm::P256).unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey(P-256)");
    }

    #[test]
    fn what_is_no_key_is_refused_with_what_to_do() {
        let key = PrivateKey::generate(Algorithm::P256).unwrap();
        let text = key.to_pem().unwrap();
        let read = |text: &str| PrivateKey::all_from_pem(text.as_bytes()).map(|keys| keys.len());
        assert_eq!(read(&text.repeat(2)), Ok(2));
        assert_eq!(read(&text.repeat(3)), Err(KeyError::Several));
        assert_eq!(read(""), Err(KeyError::NoPem));
        assert_eq!(read(&text.replace(END, "")), Err(KeyError::NoPem));
        assert_eq!(read(&text.replace("MIG", "!!!")), Err(KeyError::NoPem));
        assert_eq!(read(&text.replace("MIG", "MIH")), Err(KeyError::Unsupported));
        assert_eq!(read(&text.replace("PRIVATE", "EC PRIVATE")), Err(KeyError::OtherForm));
        assert_eq!(read(&text.replace("PRIVATE", "ENCRYPTED PRIVATE")), Err(KeyError::Encrypted));
        assert_eq!(read(&"x".repeat(FILE_LIMIT + 1)), Err(KeyError::Unsupported));
        assert_eq!(PrivateKey::all_from_pem(&[0xff]).map(|keys| keys.len()), Err(KeyError::NoPem));
    }
}
