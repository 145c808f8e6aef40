//! A network namespace and the socket through which the lab configures it. Nodes have one each, and the lab
//! has a hidden one for its switches.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    panic::resume_unwind,
    sync::Arc,
    thread,
};

use nix::sched::{CloneFlags, setns, unshare};
use parking_lot::Mutex;

use crate::{
    LabError,
    error::Doing as _,
    netlink::{LinkStatus, Netlink},
};

pub(crate) struct Namespace {
    descriptor: Arc<OwnedFd>,
    netlink: Mutex<Netlink>,
}

impl Namespace {
    /// Makes a namespace with `lo` up. The thread that makes it ends; the open descriptor keeps it.
    pub(crate) fn new() -> Result<Self, LabError> {
        let made = thread::scope(|scope| {
            let maker = thread::Builder::new().name("lab-namespace".into()).spawn_scoped(scope, || {
                unshare(CloneFlags::CLONE_NEWNET)?;
                let descriptor = File::open("/proc/thread-self/ns/net")?;
                Ok::<_, io::Error>((OwnedFd::from(descriptor), Netlink::open()?))
            })?;
            maker.join().unwrap_or_else(|panic| resume_unwind(panic))
        });
        let (descriptor, mut netlink) = made.doing(|| {
            "make a network namespace (sysctl user.max_net_namespaces limits their number)".into()
        })?;
        netlink.set_up(1, true).doing(|| "bring lo up".into())?;
        Ok(Self { descriptor: Arc::new(descriptor), netlink: Mutex::new(netlink) })
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }

    pub(crate) fn descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.descriptor)
    }

    /// Moves the calling thread, and the threads it will start, into the namespace.
    pub(crate) fn enter(&self) -> io::Result<()> {
        Ok(setns(&*self.descriptor, CloneFlags::CLONE_NEWNET)?)
    }

    /// Runs a closure on a thread inside and waits for it; a panic goes on in the caller.
    pub(crate) fn run<R: Send>(&self, name: &str, body: impl FnOnce() -> R + Send) -> io::Result<R> {
        thread::scope(|scope| {
            let thread = thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, || {
                self.enter()?;
                Ok(body())
            })?;
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    pub(crate) fn netlink<R>(&self, ask: impl FnOnce(&mut Netlink) -> R) -> R {
        ask(&mut self.netlink.lock())
    }

    pub(crate) fn link(&self, name: &str) -> io::Result<LinkStatus> {
        self.netlink(|netlink| netlink.link(name))
    }
}
