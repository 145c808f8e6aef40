//! What a node has to prove that it is a member, and to check that others are: its key, its chain of certificates, the anchors that it
//! trusts, revocation lists. The substrate keeps them, and has them read again while it runs.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use rustls_pki_types::CertificateDer;

use super::{
    CERTIFICATE_LIMIT, CHAIN_LIMIT, Certificate, KeyFileError, LIST_LIMIT, MalformedError, NodeName,
    NodeNameInCertificate, PrivateKey, RevocationList,
};
use crate::private_file::{self, ROOT};

/// The most anchors, and the most revocation lists. Two anchors are to be supported (RFC 8994 §6.2.4).
pub(crate) const MOST: usize = 16;
/// PEM is a third longer than DER; people write comments.
const TEXT: usize = 2;

/// The key and the certificates of a node, the anchors that it trusts, and revocation lists. They fit together: the certificate is
/// that of the key and names a node, the anchors are authorities, and the lists of the anchors are signed by them. Whether they are
/// valid now is another question: [`Credentials::check_own`].
///
/// `Debug` shows names only.
pub struct Credentials {
    /// The node's certificate first.
    chain: Vec<CertificateDer<'static>>,
    certificate: Certificate,
    key: PrivateKey,
    anchors: Vec<Certificate>,
    lists: Vec<RevocationList>,
    name: NodeName,
}

impl Credentials {
    /// Puts together what a node has: its certificate, followed by those of authorities below the anchor if there are any; the key of
    /// the certificate; the certificates of authorities that it trusts; revocation lists, the newest of each authority.
    ///
    /// # Errors
    /// [`CredentialsError`] if something does not fit. A retry does not help.
    pub fn new(
        chain: Vec<Certificate>,
        key: PrivateKey,
        anchors: Vec<Certificate>,
        lists: Vec<RevocationList>,
    ) -> Result<Self, CredentialsError> {
        Self::with_one_of(chain, vec![key], anchors, lists)
    }

    /// The same with that of several keys which is the certificate's.
    fn with_one_of(
        chain: Vec<Certificate>,
        keys: Vec<PrivateKey>,
        anchors: Vec<Certificate>,
        lists: Vec<RevocationList>,
    ) -> Result<Self, CredentialsError> {
        let certificate = chain.first().cloned().ok_or(CredentialsError::Empty("certificate"))?;
        if anchors.is_empty() {
            return Err(CredentialsError::Empty("anchor of trust"));
        }
        for (what, number, most) in [
            ("certificates in the chain", chain.len(), CHAIN_LIMIT),
            ("anchors of trust", anchors.len(), MOST),
            ("revocation lists", lists.len(), MOST),
        ] {
            if number > most {
                return Err(CredentialsError::TooMany { what, most });
            }
        }
        let public = certificate.public_key();
        let key = keys.into_iter().find(|key| key.public() == &public).ok_or(CredentialsError::OtherKey)?;
        let name = certificate.node_name().map_err(CredentialsError::NodeName)?;
        if let Some(none) = anchors.iter().find(|anchor| !anchor.is_authority()) {
            return Err(CredentialsError::NoAuthority { subject: none.subject() });
        }
        let forged = |list: &&RevocationList| {
            let mut named = anchors.iter().filter(|anchor| list.is_of(anchor)).peekable();
            named.peek().is_some() && !named.any(|anchor| list.is_signed_by(anchor))
        };
        if let Some(list) = lists.iter().find(forged) {
            return Err(CredentialsError::ListSignature { issuer: list.issuer() });
        }
        let chain = chain.iter().map(|certificate| certificate.der().clone()).collect();
        Ok(Self { chain, certificate, key, anchors, lists: newest(lists), name })
    }

    /// Reads them from files.
    ///
    /// # Errors
    /// [`CredentialsError`], whose text names the file and says what to do. A retry helps once that is done.
    pub fn load(files: &Files) -> Result<Self, CredentialsError> {
        Self::load_as(files, rustix::process::geteuid().as_raw())
    }

    /// The same for the user `own`, to whom the files may belong.
    pub(crate) fn load_as(files: &Files, own: u32) -> Result<Self, CredentialsError> {
        let keys = PrivateKey::all_from_file(&files.key, own).map_err(CredentialsError::Key)?;
        let chain = certificates(&files.certificate, CHAIN_LIMIT, own)?;
        let anchors = certificates(&files.anchors, MOST, own)?;
        let lists = files.lists.iter().map(|path| list(path, own)).collect::<Result<_, _>>()?;
        Self::with_one_of(chain, keys, anchors, lists)
    }

    /// The certificates that the node shows, its own first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The node's own certificate.
    #[must_use]
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The node's private key.
    #[must_use]
    pub const fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The authorities that the node trusts.
    #[must_use]
    pub fn anchors(&self) -> &[Certificate] {
        &self.anchors
    }

    /// The revocation lists, one of each authority.
    #[must_use]
    pub fn lists(&self) -> &[RevocationList] {
        &self.lists
    }

    /// The node's name.
    #[must_use]
    pub const fn name(&self) -> &NodeName {
        &self.name
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("name", &self.name.to_string())
            .field("anchors", &self.anchors)
            .field("lists", &self.lists)
            .finish_non_exhaustive()
    }
}

/// The newest list of each authority: only one is looked at.
fn newest(lists: Vec<RevocationList>) -> Vec<RevocationList> {
    let mut kept: Vec<RevocationList> = Vec::new();
    for list in lists {
        match kept.iter_mut().find(|one| one.same_issuer(&list)) {
            Some(one) if list.replaces(one) => *one = list,
            Some(_) => {}
            None => kept.push(list),
        }
    }
    kept
}

/// Where credentials are. All files are in PEM; the key is in PKCS#8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The node's certificate, followed by those of authorities below the anchor if there are any.
    pub certificate: PathBuf,
    /// The private key, which only its owner may read: this user, or root. It may have two keys, while one is being replaced.
    pub key: PathBuf,
    /// The certificates of the authorities that are trusted.
    pub anchors: PathBuf,
    /// Revocation lists, one a file.
    pub lists: Vec<PathBuf>,
}

impl Files {
    /// The files of a node as `grasp domain issue` writes them into a directory: `node.crt`, `node.key`, `anchors.crt` and
    /// `domain.crl`.
    #[must_use]
    pub fn in_directory(directory: impl AsRef<Path>) -> Self {
        let directory = directory.as_ref();
        Self {
            certificate: directory.join("node.crt"),
            key: directory.join("node.key"),
            anchors: directory.join("anchors.crt"),
            lists: vec![directory.join("domain.crl")],
        }
    }
}

/// Credentials that can be replaced while they are in use, by reading their files again for instance. Whoever has the old ones keeps
/// them for as long as it needs them.
#[derive(Debug)]
pub struct Kept {
    files: Option<Files>,
    current: RwLock<Arc<Credentials>>,
}

impl Kept {
    /// Reads the files.
    ///
    /// # Errors
    /// As [`Credentials::load`].
    pub fn load(files: Files) -> Result<Self, CredentialsError> {
        let current = RwLock::new(Arc::new(Credentials::load(&files)?));
        Ok(Self { files: Some(files), current })
    }

    /// Keeps credentials that are in no file.
    #[must_use]
    pub fn new(credentials: Credentials) -> Self {
        Self { files: None, current: RwLock::new(Arc::new(credentials)) }
    }

    /// Puts others in force, by value or as another keeper has them.
    pub fn replace(&self, credentials: impl Into<Arc<Credentials>>) {
        *self.current.write() = credentials.into();
    }

    /// The credentials that are in force.
    #[must_use]
    pub fn current(&self) -> Arc<Credentials> {
        Arc::clone(&self.current.read())
    }

    /// Reads the files again, if there are any. They are in force if nothing is wrong with them; else nothing changes.
    ///
    /// # Errors
    /// As [`Credentials::load`].
    pub fn reload(&self) -> Result<(), CredentialsError> {
        if let Some(files) = &self.files {
            self.replace(Credentials::load(files)?);
        }
        Ok(())
    }
}

/// Reads the certificates of a file that everybody may read, but only its owner may write.
pub(crate) fn certificates(path: &Path, most: usize, own: u32) -> Result<Vec<Certificate>, CredentialsError> {
    let text = trusted(path, TEXT * most * CERTIFICATE_LIMIT, own)?;
    Certificate::all_from_pem(&text, most).map_err(|why| malformed(path, why))
}

/// Reads the revocation list of such a file.
pub(crate) fn list(path: &Path, own: u32) -> Result<RevocationList, CredentialsError> {
    let text = trusted(path, TEXT * LIST_LIMIT, own)?;
    RevocationList::from_pem(&text).map_err(|why| malformed(path, why))
}

fn malformed(path: &Path, why: MalformedError) -> CredentialsError {
    CredentialsError::Malformed { path: path.to_owned(), why }
}

/// Reads a file that everybody may read, but only its owner may write, who is `own` or root: it says who is trusted.
pub(crate) fn trusted(path: &Path, most: usize, own: u32) -> Result<Vec<u8>, CredentialsError> {
    let io = |error| CredentialsError::Io { path: path.to_owned(), error };
    let file = private_file::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(io(io::Error::other("it is not a regular file")));
    }
    let (owner, mode) = (metadata.uid(), metadata.mode());
    if owner != own && owner != ROOT {
        return Err(CredentialsError::Foreign { path: path.to_owned(), owner, own });
    }
    if mode & 0o022 != 0 {
        return Err(CredentialsError::Writable { path: path.to_owned(), mode: mode & 0o7777 });
    }
    let bytes = private_file::bounded(file, most).map_err(io)?;
    if bytes.len() > most { Err(malformed(path, MalformedError::TooLarge)) } else { Ok(bytes) }
}

/// Why credentials cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The file of the private key.
    Key(KeyFileError),
    /// A file cannot be read.
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file is not what it should be.
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        why: MalformedError,
    },
    /// A file can be written by others than its owner, who could choose whom the node trusts.
    Writable {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file belongs to another user, who could do the same.
    Foreign {
        /// The file.
        path: PathBuf,
        /// The user that it belongs to.
        owner: u32,
        /// The user that it has to belong to, if not to root.
        own: u32,
    },
    /// There is none of these.
    Empty(&'static str),
    /// There are too many of these.
    TooMany {
        /// Of what.
        what: &'static str,
        /// So many may be there.
        most: usize,
    },
    /// The certificate is that of another key.
    OtherKey,
    /// The certificate does not name a node.
    NodeName(NodeNameInCertificate),
    /// An anchor is not the certificate of an authority.
    NoAuthority {
        /// Whose it is.
        subject: String,
    },
    /// A revocation list in the name of an anchor is not signed by it.
    ListSignature {
        /// In whose name it is.
        issuer: String,
    },
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(error) => error.fmt(f),
            Self::Io { path, error } => write!(f, "{} cannot be read: {error}", path.display()),
            Self::Malformed { path, why } => write!(f, "{} cannot be used: {why}", path.display()),
            Self::Writable { path, mode } => write!(
                f,
                "{path} can be written by others than its owner (mode {mode:04o}), who could choose whom this node trusts: restrict it (chmod go-w {path}), and look whether it was changed",
                path = path.display()
            ),
            Self::Foreign { path, owner, own } => write!(
                f,
                "{path} belongs to user {owner}, who could choose whom this node trusts: it has to be owned by root or by user {own} (chown {own} {path})",
                path = path.display()
            ),
            Self::Empty(what) => write!(f, "there is no {what}"),
            Self::TooMany { what, most } => write!(f, "there are more than {most} {what}"),
            Self::OtherKey => f.write_str("the certificate of the node is not that of its key"),
            Self::NodeName(error) => write!(f, "the certificate of the node cannot be used: {error}"),
            Self::NoAuthority { subject } => {
                write!(f, "an anchor of trust is not the certificate of an authority: {subject}")
            }
            Self::ListSignature { issuer } => {
                write!(
                    f,
                    "the revocation list of {issuer} is not signed by it: get it again from the authority"
                )
            }
        }
    }
}

impl std::error::Error for CredentialsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Key(error) => Some(error),
            Self::Io { error, .. } => Some(error),
            Self::Malformed { why, .. } => Some(why),
            Self::NodeName(error) => Some(error),
            _ => None,
        }
    }
}
