//! Speech bubbles (graspy's `init_bubble_text`): a page for the browser that shows live what an ASA prints, and next to
//! it the messages with each peer. Only with the feature `bubbles`; `threads/bubbles.rs` serves it.

pub(crate) mod http;
mod hub;
pub(crate) mod story;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::Arc;

pub(crate) use hub::Hub;

use crate::config::environment;

/// Where a page of speech bubbles is served, and its caption. Clones are the same page, also for several engines in
/// succession: an open browser page continues with the next engine.
#[derive(Clone, Debug)]
pub struct Bubbles {
    pub(crate) caption: String,
    pub(crate) listener: Arc<TcpListener>,
    pub(crate) hub: Arc<Hub>,
}

impl Bubbles {
    /// A page at an address; with port 0 the system chooses one. Anybody who can reach the address can read, in the
    /// clear, what this engine sends and receives: use a loopback address unless the network is yours.
    ///
    /// # Errors
    /// If the address cannot be listened on. A retry helps once it is free.
    pub fn bind(caption: &str, address: SocketAddr) -> io::Result<Self> {
        Self::from_listener(caption, TcpListener::bind(address)?)
    }

    /// A page on a socket that already listens. It stays in the network namespace in which it was created.
    ///
    /// # Errors
    /// If the socket cannot be used. A retry does not help.
    pub fn from_listener(caption: &str, listener: TcpListener) -> io::Result<Self> {
        listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let epoch = getrandom::u32().map_err(|_| io::ErrorKind::Unsupported)?;
        let hub = Arc::new(Hub::new(epoch.into()));
        Ok(Self { caption: caption.to_owned(), listener: Arc::new(listener), hub })
    }

    /// A page at the place that the environment variable `GRASP_BUBBLES` names: a port of 127.0.0.1, an address with a
    /// port, or `stdin` if standard input is a listening socket, as inetd and systemd provide it. The default is a port
    /// of 127.0.0.1 that the system chooses.
    ///
    /// # Errors
    /// If the variable has any other value, and as [`bind`](Self::bind).
    pub fn from_environment(caption: &str) -> io::Result<Self> {
        let place = environment::bubbles();
        if place == "stdin" {
            let socket = io::stdin().as_fd().try_clone_to_owned()?;
            return Self::from_listener(caption, socket.into());
        }
        Self::bind(caption, address(&place)?)
    }

    /// The address at which the page is served.
    ///
    /// # Errors
    /// If the system does not report the address. A retry does not help.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The same page with another caption.
    #[must_use]
    pub fn with_caption(self, caption: &str) -> Self {
        Self { caption: caption.to_owned(), ..self }
    }

    /// The page's address for a browser.
    #[must_use]
    pub fn url(&self) -> String {
        self.address().map_or_else(|_| String::new(), |address| format!("http://{address}/"))
    }
}

/// Parses an address with a port, or a loopback port; an empty text means port 0.
fn address(place: &str) -> io::Result<SocketAddr> {
    let local = |port| SocketAddr::from((IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    if place.is_empty() {
        return Ok(local(0));
    }
    let given = place.parse().ok().or_else(|| place.parse().ok().map(local));
    given.ok_or_else(|| {
        let text = format!(
            "{}={place:?} is neither a port, nor an address with a port, nor stdin",
            environment::BUBBLES
        );
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_one_of_loopback_and_anything_else_must_be_said() {
        assert_eq!(address("").unwrap().to_string(), "127.0.0.1:0");
        assert_eq!(address("8017").unwrap().to_string(), "127.0.0.1:8017");
        assert_eq!(address("[::]:8017").unwrap().to_string(), "[::]:8017");
        for wrong in ["65536", "any", "-1", "localhost:1"] {
            assert!(address(wrong).unwrap_err().to_string().contains("GRASP_BUBBLES"), "{wrong}");
        }
    }

    #[test]
    fn a_page_tells_the_port_that_the_system_chose() {
        let page = Bubbles::bind("Gray", address("").unwrap()).unwrap();
        assert!(page.address().unwrap().port() > 0);
        assert!(page.url().starts_with("http://127.0.0.1:"));
    }
}
