//! `--lab --domain`: certificates for the nodes of a private network, in files that only this user reads and that go with it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use grasp::domain::{AcpAddress, Algorithm, Authority, NodeName};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The domain of the nodes.
const DOMAIN: &str = "lab.example";
/// How long their authority lasts: longer than any run.
const LASTS: Duration = Duration::from_secs(30 * 86_400);

/// The authority of a network, and a directory of files for each node.
pub(crate) struct Members {
    authority: Authority,
    directory: PathBuf,
}

impl Members {
    pub(crate) fn new() -> Result<Self, Failure> {
        let directory = std::env::temp_dir().join(format!("asa-examples-domain-{}", std::process::id()));
        // It fails if somebody else has made it.
        DirBuilder::new().mode(0o700).create(&directory)?;
        let authority = Authority::create(DOMAIN, Algorithm::P256, SystemTime::now(), LASTS)?;
        Ok(Self { authority, directory })
    }

    /// Writes the files of a node, and returns their directory.
    pub(crate) fn files_of(&self, node: &str) -> Result<PathBuf, Failure> {
        let directory = self.directory.join(node);
        DirBuilder::new().mode(0o700).create(&directory)?;
        let name = NodeName::new(AcpAddress::Zero, node, DOMAIN)?;
        let credentials = self.authority.credentials(&name, SystemTime::now())?;
        let anchors: String = credentials.anchors().iter().map(grasp::domain::Certificate::to_pem).collect();
        let lists: String = credentials.lists().iter().map(grasp::domain::RevocationList::to_pem).collect();
        write(&directory, "node.crt", &credentials.certificate().to_pem())?;
        write(&directory, "node.key", &credentials.key().to_pem()?)?;
        write(&directory, "anchors.crt", &anchors)?;
        write(&directory, "domain.crl", &lists)?;
        Ok(directory)
    }
}

fn write(directory: &Path, file: &str, text: &str) -> Result<(), Failure> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(directory.join(file))?;
    Ok(file.write_all(text.as_bytes())?)
}

impl Drop for Members {
    fn drop(&mut self) {
        // What is left is of no use to anybody: the authority is gone.
        let _ = fs::remove_dir_all(&self.directory);
    }
}
