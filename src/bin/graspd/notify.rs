//! Tells the service manager the state of graspd, as sd_notify(3) does: in datagrams with lines of text, to the socket that the
//! environment names. Does nothing without a service manager.

use std::env;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Where the service manager listens.
#[derive(Debug, Default)]
pub(crate) struct Notify(Option<(UnixDatagram, SocketAddr)>);

impl Notify {
    /// The socket that `NOTIFY_SOCKET` names: a path, or an abstract name after an `@`.
    pub(crate) fn from_environment() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&name),
        };
        let socket = UnixDatagram::unbound().and_then(|socket| {
            // A manager that does not read must not block graspd.
            socket.set_nonblocking(true)?;
            Ok((socket, address?))
        });
        match socket {
            Ok(socket) => Self(Some(socket)),
            Err(error) => {
                log::warn!("the service manager cannot be told anything at {}: {error}", name.display());
                Self::default()
            }
        }
    }

    /// graspd is running.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", line(status)));
    }

    /// graspd is reading its configuration again; [`ready`](Self::ready) follows.
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let seconds = i128::from(now.tv_sec);
        let microseconds = seconds * 1_000_000 + i128::from(now.tv_nsec / 1000);
        self.send(&format!(
            "RELOADING=1\nMONOTONIC_USEC={microseconds}\nSTATUS=reading the configuration again"
        ));
    }

    /// graspd is ending.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=ending");
    }

    /// The status, in one line.
    pub(crate) fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", line(status)));
    }

    /// graspd is alive.
    pub(crate) fn watchdog(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, text: &str) {
        if let Some((socket, address)) = &self.0
            && let Err(error) = socket.send_to_addr(text.as_bytes(), address)
        {
            log::debug!("the service manager was not told: {error}");
        }
    }
}

/// Makes a text one line: a line break would begin another assignment.
fn line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// How often to tell the service manager that graspd is alive: half of the time that `WATCHDOG_USEC` gives, if it is
/// meant for this process.
pub(crate) fn watchdog_interval() -> Option<Duration> {
    let own = std::process::id().to_string();
    let is_other = env::var("WATCHDOG_PID").is_ok_and(|pid| pid != own);
    let microseconds: u64 = env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    (!is_other && microseconds > 0).then(|| Duration::from_micros(microseconds / 2))
}
