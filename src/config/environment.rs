//! The environment variables that configure an engine. Nothing else in the library reads the environment. An empty variable
//! counts as not set.

use std::env::var_os;
#[cfg(any(feature = "quads", feature = "bubbles"))]
use std::env::{VarError, var};
use std::ffi::OsString;
use std::path::PathBuf;

use super::{Config, Pcap};
use crate::acp::KeysWanted;

/// The socket of the node that this process is a client of.
#[cfg(feature = "ipc")]
const SOCKET: &str = "GRASP_SOCKET";
/// The directory of an ordinary user's sockets.
#[cfg(feature = "ipc")]
const RUNTIME: &str = "XDG_RUNTIME_DIR";
/// The file for the capture.
const PCAP: &str = "GRASP_PCAP";
/// Whether the packets of the capture have Ethernet headers.
const PCAP_ETHERNET: &str = "GRASP_PCAP_ETHERNET";
/// Whether messages that TLS secures are in the clear in the capture.
const PCAP_CLEAR: &str = "GRASP_PCAP_CLEAR";
/// The file for the secrets of TLS connections, if a setting permits it.
#[cfg(feature = "domain")]
const KEY_LOG: &str = "SSLKEYLOGFILE";
/// Where the page of speech bubbles is served.
#[cfg(feature = "bubbles")]
pub(crate) const BUBBLES: &str = "GRASP_BUBBLES";
/// The directory with the certificate and the key of a node in a domain.
#[cfg(feature = "domain")]
const DOMAIN: &str = "GRASP_DOMAIN";
/// The file with the keys of a QUADS domain.
#[cfg(feature = "quads")]
const KEYFILE: &str = "GRASP_QUADS_KEYFILE";
/// The password of a QUADS domain.
#[cfg(feature = "quads")]
const PASSWORD: &str = "GRASP_QUADS_PASSWORD";

impl Config {
    /// Completes the settings with those of the environment. The keys of QUADS are not a setting: they are read when the
    /// substrate is chosen.
    pub(crate) fn with_environment(mut self) -> Self {
        if self.pcap == Pcap::Environment
            && let Some(file) = path(PCAP)
        {
            self.pcap = Pcap::File(file);
        }
        self.pcap_ethernet |= path(PCAP_ETHERNET).is_some();
        self.pcap_clear |= path(PCAP_CLEAR).is_some();
        self
    }
}

fn path(name: &str) -> Option<PathBuf> {
    var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from)
}

/// The file for the secrets of TLS connections.
#[cfg(feature = "domain")]
pub(crate) fn key_log() -> Option<PathBuf> {
    path(KEY_LOG)
}

/// The socket of the node that this process is to be a client of, if the environment names one.
#[cfg(feature = "ipc")]
pub(crate) fn socket() -> Option<PathBuf> {
    path(SOCKET)
}

/// The directory of an ordinary user's sockets.
#[cfg(feature = "ipc")]
pub(crate) fn runtime_directory() -> Option<PathBuf> {
    path(RUNTIME)
}

#[cfg(any(feature = "quads", feature = "bubbles"))]
fn text(name: &str) -> Result<Option<String>, VarError> {
    match var(name) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(feature = "bubbles")]
pub(crate) fn bubbles() -> String {
    text(BUBBLES).ok().flatten().unwrap_or_default()
}

/// Which certificates, or keys of a QUADS domain, the environment names.
pub(crate) fn keys() -> KeysWanted {
    KeysWanted {
        #[cfg(feature = "domain")]
        domain: path(DOMAIN),
        #[cfg(feature = "quads")]
        file: path(KEYFILE),
        #[cfg(feature = "quads")]
        password: text(PASSWORD).transpose(),
    }
}
