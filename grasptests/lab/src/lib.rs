//! Private networks of Linux network namespaces on this machine, for tests and demonstrations.
//!
//! A test begins with [`isolated!`](crate::isolated), which runs it in a process of its own inside new
//! namespaces; a program begins with [`enter`]. Then [`Lab::new`] makes an empty lab, [`Lab::node`] machines,
//! and [`Lab::link`] and [`Lab::lan`] cables between them, or [`Lab::build`] a whole [`Topology`].
//!
//! It works as root and as an ordinary user, and needs no program (`ip`, `tc`, `unshare`): it talks to the
//! kernel itself. Nothing here touches the machine's own interfaces: every change is made through a socket
//! that was opened inside a namespace made here.
//!
//! ```text
//!      node a                     switch (hidden)                    node b
//!   +---------+           +--------------------------+            +---------+
//!   |    eth0 |===veth====| l1n1 -- link1 -- l1n2    |====veth====| eth0    |
//!   +---------+           |        (bridge)          |            +---------+
//!                         +--------------------------+
//! ```
//!
//! | file | what |
//! |---|---|
//! | `rerun`, `isolate` | processes of their own: [`isolated!`](crate::isolated), [`enter`] |
//! | `node`, `link`, `route`, `topology` | the network |
//! | `device` | interfaces that a node makes itself, addresses in their states |
//! | `impair` | delay and loss |
//! | `rawudp`, `process`, `printed`, `capture`, `traffic` | what tests use besides |
//! | `namespace`, `netlink`, `sys` | the kernel; `sys` has all the `unsafe` |

mod capture;
pub mod device;
mod error;
mod impair;
mod isolate;
mod link;
mod namespace;
mod netlink;
mod node;
mod printed;
pub mod process;
mod rawudp;
mod rerun;
mod route;
mod sys;
mod topology;
mod traffic;

use std::{fmt, sync::Arc};

use parking_lot::Mutex;

pub use capture::Capture;
pub use device::AddressKind;
pub use error::LabError;
pub use isolate::{available, enter, is_isolated};
pub use link::{Link, LinkOptions};
pub use node::Node;
pub use printed::Printed;
pub use process::eventually;
pub use rawudp::{ALL_GRASP_NEIGHBORS, Datagram, GRASP_LISTEN_PORT, RawUdp};
pub use rerun::{Passed, rerun_isolated};
pub use topology::{Network, Topology};
pub use traffic::Traffic;

use namespace::Namespace;

/// A private network. When it is dropped, its links vanish; nodes last as long as their handles.
pub struct Lab {
    switch: Arc<Namespace>,
    nodes: Mutex<Vec<Node>>,
    links: Mutex<Vec<Link>>,
}

impl Lab {
    /// An empty lab.
    ///
    /// # Errors
    ///
    /// [`LabError::NotIsolated`] when the process is not isolated, [`LabError::Kernel`] when the kernel
    /// refuses another namespace.
    pub fn new() -> Result<Self, LabError> {
        if !is_isolated() {
            return Err(LabError::NotIsolated);
        }
        Ok(Self { switch: Arc::new(Namespace::new()?), nodes: Mutex::default(), links: Mutex::default() })
    }

    /// The node of this name, made on first use: a network namespace with `lo` up.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when the kernel refuses another namespace.
    pub fn node(&self, name: &str) -> Result<Node, LabError> {
        let mut nodes = self.nodes.lock();
        if let Some(node) = nodes.iter().find(|node| node.name() == name) {
            return Ok(node.clone());
        }
        let node = Node::new(name, next_number(nodes.len(), "nodes")?)?;
        nodes.push(node.clone());
        Ok(node)
    }

    /// All nodes, in the order of making.
    #[must_use]
    pub fn nodes(&self) -> Vec<Node> {
        self.nodes.lock().clone()
    }

    /// All links ever made, in the order of making.
    #[must_use]
    pub fn links(&self) -> Vec<Link> {
        self.links.lock().clone()
    }

    /// A cable between two nodes, which get an interface each (`eth0`, `eth1`… in the order of attaching), up
    /// and with addresses that can be used when this returns (see [`Link`]).
    ///
    /// # Errors
    ///
    /// As [`Link::attach`].
    pub fn link(&self, a: &Node, b: &Node) -> Result<Link, LabError> {
        self.lan(&[a, b])
    }

    /// As [`link`](Self::link), for any number of nodes on one segment.
    ///
    /// # Errors
    ///
    /// As [`Link::attach`].
    pub fn lan(&self, nodes: &[&Node]) -> Result<Link, LabError> {
        self.lan_with(nodes, LinkOptions::default())
    }

    /// As [`lan`](Self::lan), with options.
    ///
    /// # Errors
    ///
    /// As [`Link::attach`].
    pub fn lan_with(&self, nodes: &[&Node], options: LinkOptions) -> Result<Link, LabError> {
        let link = {
            let mut links = self.links.lock();
            let link = Link::new(next_number(links.len(), "links")?, &self.switch, options)?;
            links.push(link.clone());
            link
        };
        for node in nodes {
            link.attach(node)?;
        }
        Ok(link)
    }
}

impl fmt::Debug for Lab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lab")
            .field("nodes", &self.nodes())
            .field("links", &self.links())
            .finish_non_exhaustive()
    }
}

/// Numbers from 1. Interface names and indices have room for 32767.
fn next_number(count: usize, what: &str) -> Result<u16, LabError> {
    i16::try_from(count + 1)
        .map(i16::unsigned_abs)
        .map_err(|_| LabError::Unknown(format!("a lab has room for {} {what}", i16::MAX)))
}
