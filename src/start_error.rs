//! Why an engine cannot start. Each text says what is missing and what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::constants::GRASP_LISTEN_PORT;

/// Why an engine cannot start. A retry helps once the cause is gone. `Display` and `Debug` print a sentence, so that
/// `main` may return the error.
#[non_exhaustive]
pub enum StartError {
    /// The system has no IPv6.
    NoIpv6(io::Error),
    /// No permitted interface is up with an IPv6 link-local address.
    NoInterface,
    /// Another program holds UDP port 7017 without sharing it.
    PortTaken(io::Error),
    /// The interfaces cannot be listed.
    Interfaces(io::Error),
    /// A socket cannot be created.
    Socket(io::Error),
    /// A thread cannot be started.
    Thread(io::Error),
    /// The system's random generator fails.
    Random,
    /// The certificate and the key that `GRASP_DOMAIN` names are not available; the text says why and what to do.
    Credentials(Box<dyn std::error::Error + Send + Sync>),
    /// The keys of a QUADS domain are not available; the text says why and what to do.
    Keys(Box<dyn std::error::Error + Send + Sync>),
    /// The ACP of [`Acp::Fallback`](crate::Acp::Fallback) protects each message, as QUADS does: no domain can take its place.
    Fallback,
    /// The page of speech bubbles cannot be served.
    Bubbles(io::Error),
    /// No node listens at the socket that was to be connected to.
    NoNode {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The node does not take this process as a client; its sentence says why. The protocol's version may be another one.
    NodeRefuses(String),
    /// The process-wide engine is already running.
    AlreadyRunning,
    /// The process-wide engine is being started, and the caller would have to wait for itself: for instance, a logger
    /// has called a free function. A retry helps a little later, and at once from another thread.
    Starting,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIpv6(_) => f.write_str(
                "this system has no IPv6, which GRASP needs: enable it (on Linux: sysctl net.ipv6.conf.all.disable_ipv6=0)",
            ),
            Self::NoInterface => f.write_str(
                "no usable interface: GRASP needs one that is up, permitted by the configuration and has an IPv6 link-local address",
            ),
            Self::PortTaken(_) => write!(
                f,
                "UDP port {GRASP_LISTEN_PORT} is held exclusively by another program: stop it (on Linux: ss -ulpn sport = :{GRASP_LISTEN_PORT} names it)"
            ),
            Self::Interfaces(error) => write!(f, "the network interfaces cannot be listed: {error}"),
            Self::Socket(error) => write!(
                f,
                "a socket cannot be made: {error}; check the limits on open files and the address settings"
            ),
            Self::Thread(error) => {
                write!(f, "a thread cannot be started: {error}; check the limits on threads and memory")
            }
            Self::Random => f.write_str("the system's random generator does not answer: session identifiers need it"),
            Self::Fallback => f.write_str(
                "an ACP that protects each message, such as QUADS, has no domain in reserve: name the interfaces of an ACP",
            ),
            Self::Credentials(error) => write!(f, "no certificate for the domain (GRASP_DOMAIN): {error}"),
            Self::Keys(error) => write!(f, "no keys for QUADS: {error}"),
            Self::Bubbles(error) => {
                write!(f, "speech bubbles cannot be served: {error}; GRASP_BUBBLES says where, for instance a free port")
            }
            Self::NoNode { path, cause } => write!(
                f,
                "no node listens at {}: {cause}; start one, or name the socket of another in GRASP_SOCKET",
                path.display()
            ),
            Self::NodeRefuses(why) => f.write_str(why),
            Self::AlreadyRunning => {
                f.write_str("the process-wide engine is already running: configure it before its first use")
            }
            Self::Starting => f.write_str(
                "the process-wide engine is just being started: whoever it calls meanwhile, a logger for instance, cannot use it yet",
            ),
        }
    }
}

/// Prints the sentence of `Display`, because this is what people see when `main` returns the error.
impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoIpv6(error)
            | Self::PortTaken(error)
            | Self::Interfaces(error)
            | Self::Socket(error)
            | Self::Bubbles(error)
            | Self::Thread(error) => Some(error),
            Self::NoNode { cause, .. } => Some(cause),
            Self::Credentials(error) | Self::Keys(error) => Some(error.as_ref()),
            Self::Fallback
            | Self::NoInterface
            | Self::Random
            | Self::NodeRefuses(_)
            | Self::AlreadyRunning
            | Self::Starting => None,
        }
    }
}
