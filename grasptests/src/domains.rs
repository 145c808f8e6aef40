//! Domains of certificates for tests and the bench: nodes whose connections TLS secures, and the files of a peer that is no engine.

#![allow(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use grasp::Acp;
use grasp::domain::{Algorithm, Authority, Kept};

/// The domain of every authority here.
pub const DOMAIN: &str = "acp.example.com";

const DAY: Duration = Duration::from_secs(86_400);

/// An authority, different from all others.
#[must_use]
pub fn authority() -> Authority {
    Authority::create(DOMAIN, Algorithm::P256, SystemTime::now(), 30 * DAY).expect("an authority")
}

/// The name of the node with this number.
#[must_use]
pub fn name(number: u8) -> String {
    named(number.into())
}

fn named(number: u16) -> String {
    format!("fd89b714f3db0000020000006400{number:04x}@{DOMAIN}")
}

/// What the node with this number has.
#[must_use]
pub fn credentials(authority: &Authority, number: u8) -> Arc<Kept> {
    member(authority, number.into())
}

/// The same in a network of more than 255 nodes.
#[must_use]
pub fn member(authority: &Authority, number: u16) -> Arc<Kept> {
    let name = named(number).parse().expect("a name");
    Arc::new(Kept::new(authority.credentials(&name, SystemTime::now()).expect("credentials")))
}

/// TLS on the first interface of a node.
#[must_use]
pub fn with_tls(credentials: &Arc<Kept>) -> Acp {
    Acp::InterfacesWithTls {
        names: vec!["eth0".into()],
        credentials: Arc::clone(credentials),
        neighbours: false,
    }
}

/// The files of a node: `node.crt`, `node.key`, `anchors.crt` and `domain.crl`, as `grasp domain issue` calls them. They are removed when
/// this is dropped.
#[derive(Debug)]
pub struct Saved(PathBuf);

impl Saved {
    /// Writes them.
    #[must_use]
    pub fn new(credentials: &Kept) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let saved =
            Self(std::env::temp_dir().join(format!("grasp-credentials-{}-{number}", std::process::id())));
        std::fs::create_dir(&saved.0).expect("a directory");
        let credentials = credentials.current();
        let key = credentials.key().to_pem().expect("PEM");
        let anchors: String = credentials.anchors().iter().map(grasp::domain::Certificate::to_pem).collect();
        let lists: String = credentials.lists().iter().map(grasp::domain::RevocationList::to_pem).collect();
        let write = |file, text: &str| std::fs::write(saved.0.join(file), text).expect("a file");
        write("node.crt", &credentials.certificate().to_pem());
        write("node.key", &key);
        let for_owner = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(saved.0.join("node.key"), for_owner).expect("a mode");
        write("anchors.crt", &anchors);
        write("domain.crl", &lists);
        saved
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.0
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
