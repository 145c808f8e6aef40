//! `--bubbles`: a page of speech bubbles for this example, and with `--lab` for every peer, all side by side.
//!
//! A socket stays in the network namespace in which it was created. So all sockets are created here, before anything
//! moves into the private network of `--lab`, which no browser can reach; each peer gets its own as standard input.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use grasp::{Bubbles, Config, tprint};

use crate::{Common, network};

/// The pages of this program and of the peers that it starts.
pub(crate) struct Pages {
    own: Bubbles,
    peers: Vec<TcpListener>,
}

impl Pages {
    /// Opens the sockets. None without `--bubbles`.
    pub(crate) fn open(common: &Common, name: &str) -> io::Result<Option<Self>> {
        if !common.bubbles {
            return Ok(None);
        }
        let own = Bubbles::from_environment(name)?;
        let ip = own.address()?.ip();
        let peers = common.lab.iter().map(|_| TcpListener::bind((ip, 0))).collect::<io::Result<_>>()?;
        Ok(Some(Self { own, peers }))
    }

    /// Prints the address of the page, unless it appears beside another, and lets the engine serve it.
    pub(crate) fn serve(&self, config: Config) -> io::Result<Config> {
        if network::role().is_none() {
            let ports = self.peers.iter().map(|peer| Ok(peer.local_addr()?.port().to_string()));
            let ports = ports.collect::<io::Result<Vec<_>>>()?.join(",");
            let beside = if ports.is_empty() { ports } else { format!("?beside={ports}") };
            tprint!(format!("Speech bubbles at {}{beside}", self.own.url()));
        }
        Ok(config.bubbles(Some(self.own.clone())))
    }

    /// Gives the next peer its socket.
    pub(crate) fn give(&mut self, peer: &mut Command) {
        if !self.peers.is_empty() {
            let socket = OwnedFd::from(self.peers.remove(0));
            peer.stdin(Stdio::from(socket)).env("GRASP_BUBBLES", "stdin").arg("--bubbles");
        }
    }
}
