//! A node of a lab: a network namespace with interfaces. Made by [`Lab::node`](crate::Lab::node).

use std::{
    collections::BTreeMap,
    fmt, fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6, UdpSocket},
    process::Command,
    sync::{Arc, Weak},
    thread::{self, JoinHandle},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    LabError, error::Doing as _, isolate::INNER, namespace::Namespace, netlink::StaticRoute, process, sys,
};

/// A machine of the lab. Cheap to clone; all clones are the same machine.
///
/// Its namespace goes away with the last handle, thread, socket and program in it.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    name: String,
    number: u16,
    namespace: Namespace,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// For each interface it ever had (names are not used again), where the other end is: in which namespace,
    /// and its name there.
    interfaces: Vec<(Weak<Namespace>, String)>,
    /// What the kernel forgets when an interface goes down.
    down: BTreeMap<String, Vec<(Ipv6Addr, u8)>>,
    /// The routes the lab installed.
    routes: Vec<StaticRoute>,
}

impl Node {
    pub(crate) fn new(name: &str, number: u16) -> Result<Self, LabError> {
        let namespace = Namespace::new()?;
        Ok(Self(Arc::new(Inner { name: name.to_owned(), number, namespace, state: Mutex::default() })))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its number in the lab, from 1 in the order of making: the last group of its addresses.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.0.number
    }

    /// Runs a closure on a thread inside the node and waits for its result. The closure may borrow from the
    /// caller. Sockets opened inside stay in the node wherever they are used later, and so do threads started
    /// inside.
    ///
    /// # Panics
    ///
    /// When the closure panics, with the same payload; when the thread cannot be started or enter.
    pub fn run<R: Send>(&self, body: impl FnOnce() -> R + Send) -> R {
        match self.0.namespace.run(&thread_name(self.name()), body) {
            Ok(result) => result,
            Err(error) => panic!("cannot run in node {}: {error}", self.name()),
        }
    }

    /// Starts a thread inside the node. `name` is the thread's name, of which Linux shows 15 bytes.
    ///
    /// # Panics
    ///
    /// When the thread cannot be started. If it cannot enter the node, the thread itself panics.
    pub fn spawn<R: Send + 'static>(
        &self,
        name: &str,
        body: impl FnOnce() -> R + Send + 'static,
    ) -> JoinHandle<R> {
        let node = self.clone();
        let spawned = thread::Builder::new().name(thread_name(name)).spawn(move || {
            if let Err(error) = node.enter() {
                panic!("{error}");
            }
            // The thread keeps the namespace; the handle need not.
            drop(node);
            body()
        });
        match spawned {
            Ok(handle) => handle,
            Err(error) => panic!("cannot start thread {name}: {error}"),
        }
    }

    /// Moves the calling thread, and the threads it starts from now on, into the node for good. For the main
    /// thread of a program; a test better uses [`run`](Self::run) or [`spawn`](Self::spawn).
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when the kernel refuses.
    pub fn enter(&self) -> Result<(), LabError> {
        self.0.namespace.enter().doing(|| format!("enter node {}", self.name()))
    }

    /// A program that will start inside the node. It is killed when the thread that starts it ends, so that
    /// nothing outlives a test: start it from a thread that stays (not inside [`run`](Self::run)).
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env(INNER, "node");
        sys::enter_at_exec(&mut command, self.0.namespace.descriptor());
        command
    }

    /// The index of an interface.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when there is no such interface.
    pub fn interface_index(&self, interface: &str) -> Result<u32, LabError> {
        let link = self.0.namespace.link(interface);
        link.map(|link| link.index).doing(|| format!("find {interface} of node {}", self.name()))
    }

    /// Whether an interface is up and plugged in, as far as the node can see.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when there is no such interface.
    pub fn has_carrier(&self, interface: &str) -> Result<bool, LabError> {
        let link = self.0.namespace.link(interface);
        link.map(|link| link.up && link.carrier).doing(|| format!("find {interface} of node {}", self.name()))
    }

    /// The IPv6 addresses of an interface with their prefix lengths, sorted.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when there is no such interface.
    pub fn addresses(&self, interface: &str) -> Result<Vec<(Ipv6Addr, u8)>, LabError> {
        let index = self.interface_index(interface)?;
        let addresses = self.0.namespace.netlink(|netlink| netlink.addresses(index));
        addresses.doing(|| format!("read the addresses of {interface} of node {}", self.name()))
    }

    /// The first link-local address of an interface.
    ///
    /// # Errors
    ///
    /// [`LabError::Unknown`] when it has none, [`LabError::Kernel`] when there is no such interface.
    pub fn link_local(&self, interface: &str) -> Result<Ipv6Addr, LabError> {
        let addresses = self.addresses(interface)?;
        addresses.iter().map(|&(address, _)| address).find(Ipv6Addr::is_unicast_link_local).ok_or_else(|| {
            LabError::Unknown(format!("{interface} of node {} has no link-local address", self.name()))
        })
    }

    /// The first unique local address (fc00::/7) of the node, looking at its interfaces in order.
    #[must_use]
    pub fn ula(&self) -> Option<Ipv6Addr> {
        let count = self.0.state.lock().interfaces.len();
        (0..count)
            .filter_map(|number| self.addresses(&format!("eth{number}")).ok())
            .flatten()
            .map(|(address, _)| address)
            .find(Ipv6Addr::is_unique_local)
    }

    /// Adds an address, usable at once (no duplicate address detection).
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when there is no such interface or it has the address already.
    pub fn add_address(&self, interface: &str, address: Ipv6Addr, prefix: u8) -> Result<(), LabError> {
        self.add(interface, address.into(), prefix)
    }

    /// As [`add_address`](Self::add_address), for programs that need IPv4. The address is forgotten when the interface goes
    /// down.
    ///
    /// # Errors
    ///
    /// As [`add_address`](Self::add_address).
    pub fn add_ipv4_address(&self, interface: &str, address: Ipv4Addr, prefix: u8) -> Result<(), LabError> {
        self.add(interface, address.into(), prefix)
    }

    fn add(&self, interface: &str, address: IpAddr, prefix: u8) -> Result<(), LabError> {
        let index = self.interface_index(interface)?;
        let added = self.0.namespace.netlink(|netlink| netlink.add_address(index, address, prefix));
        added.doing(|| format!("add {address}/{prefix} to {interface} of node {}", self.name()))
    }

    /// Removes an address.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when there is no such interface or address.
    pub fn remove_address(&self, interface: &str, address: Ipv6Addr, prefix: u8) -> Result<(), LabError> {
        let index = self.interface_index(interface)?;
        let removed = self.0.namespace.netlink(|netlink| netlink.remove_address(index, address, prefix));
        removed.doing(|| format!("remove {address}/{prefix} from {interface} of node {}", self.name()))
    }

    /// Sets the largest packet of an interface. With less than 1280 bytes it has no IPv6: addresses and group
    /// memberships are gone for good. A link-local address that the kernel makes up when it has IPv6 again, it tries for
    /// duplicates first.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when there is no such interface, or it cannot have packets of this size.
    pub fn set_mtu(&self, interface: &str, mtu: u32) -> Result<(), LabError> {
        let index = self.interface_index(interface)?;
        let set = self.0.namespace.netlink(|netlink| netlink.set_mtu(index, mtu));
        set.doing(|| format!("set the MTU of {interface} of node {}", self.name()))
    }

    /// Lets no more than so many bytes a second leave by an interface, for good: what is sent waits in the system, as on
    /// a slow or congested link.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when there is no such interface, or the kernel has no token buckets
    /// (CONFIG_NET_SCH_TBF).
    pub fn throttle(&self, interface: &str, bytes_per_second: u32) -> Result<(), LabError> {
        let index = self.interface_index(interface)?;
        let throttled = self.0.namespace.netlink(|netlink| netlink.throttle(index, bytes_per_second));
        throttled.doing(|| {
            format!("throttle {interface} of node {} (does the kernel have CONFIG_NET_SCH_TBF?)", self.name())
        })
    }

    /// Takes an interface down, or up again. The kernel forgets addresses and routes of an interface that is
    /// down; the lab gives them back, those added in the meantime included. Going up returns when the
    /// interface can send; when its link is unplugged, at once.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when there is no such interface.
    pub fn set_up(&self, interface: &str, up: bool) -> Result<(), LabError> {
        let index = self.interface_index(interface)?;
        let mut state = self.0.state.lock();
        let doing = || format!("set {interface} of node {} {}", self.name(), if up { "up" } else { "down" });
        if !up {
            if !state.down.contains_key(interface) {
                state.down.insert(interface.to_owned(), self.addresses(interface)?);
            }
            return self.0.namespace.netlink(|netlink| netlink.set_up(index, false)).doing(doing);
        }
        self.0.namespace.netlink(|netlink| netlink.set_up(index, true)).doing(doing)?;
        let present = self.addresses(interface)?;
        for (address, prefix) in state.down.remove(interface).unwrap_or_default() {
            if !present.contains(&(address, prefix)) {
                self.add_address(interface, address, prefix)?;
            }
        }
        let routes = state.routes.clone();
        drop(state);
        self.wait_ready(interface)?;
        for route in routes.iter().filter(|route| route.interface == index) {
            self.0.namespace.netlink(|netlink| netlink.add_route(route)).doing(doing)?;
        }
        Ok(())
    }

    pub(crate) fn namespace(&self) -> &Namespace {
        &self.0.namespace
    }

    /// The name of the next interface, whose other end will be a port of a switch.
    pub(crate) fn next_interface(&self, switch: &Arc<Namespace>, port: &str) -> String {
        let mut state = self.0.state.lock();
        state.interfaces.push((Arc::downgrade(switch), port.to_owned()));
        format!("eth{}", state.interfaces.len() - 1)
    }

    /// Waits until the kernel has drawn all consequences of a change at either end of an interface: it works
    /// on carriers in the background.
    pub(crate) fn wait_ready(&self, interface: &str) -> Result<(), LabError> {
        let number = interface.strip_prefix("eth").and_then(|digits| digits.parse::<usize>().ok());
        let far_end = number.and_then(|number| self.0.state.lock().interfaces.get(number).cloned());
        let Some((switch, port)) = far_end.and_then(|(switch, port)| Some((switch.upgrade()?, port))) else {
            return Ok(());
        };
        let ready = || {
            let Ok(near) = self.0.namespace.link(interface) else { return false };
            if !near.up || !near.carrier {
                return !near.running;
            }
            let far = switch.link(&port);
            near.running
                && far.is_ok_and(|far| far.running && !far.blocked)
                && self.can_work(interface, near.index)
        };
        process::poll(READY, || ready().then_some(())).ok_or_else(|| {
            LabError::NotReady(format!("{interface} of node {} is not ready after {READY:?}", self.name()))
        })
    }

    /// Whether the node can send out of an interface and hear what is sent to its addresses there.
    fn can_work(&self, interface: &str, index: u32) -> bool {
        let addresses = self.addresses(interface).unwrap_or_default();
        self.can_send(index) && self.run(|| addresses.iter().all(|&(address, _)| is_delivered(address)))
    }

    /// Whether multicast is routed through an interface, which comes a moment after the carrier. Connecting a
    /// UDP socket asks the kernel for a route, and sends nothing.
    fn can_send(&self, index: u32) -> bool {
        self.run(|| {
            UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))
                .and_then(|socket| socket.connect(SocketAddrV6::new(ALL_NODES, 7, 0, index)))
                .is_ok()
        })
    }

    /// Replaces the routes the lab installed earlier.
    pub(crate) fn set_routes(&self, routes: Vec<StaticRoute>) -> Result<(), LabError> {
        let mut state = self.0.state.lock();
        for old in state.routes.iter().filter(|old| !routes.contains(old)) {
            // It may have gone with its interface.
            let _ = self.0.namespace.netlink(|netlink| netlink.remove_route(old));
        }
        state.routes.clear();
        for route in routes {
            self.0.namespace.netlink(|netlink| netlink.add_route(&route)).doing(|| {
                let (network, length) = route.prefix;
                format!("route {network}/{length} via {} on node {}", route.via, self.name())
            })?;
            state.routes.push(route);
        }
        Ok(())
    }

    /// Makes the node forward IPv6 packets.
    pub(crate) fn forward(&self) -> Result<(), LabError> {
        // A thread inside sees the settings of its own namespace under the same path.
        self.run(|| fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")).doing(|| {
            format!(
                "turn on forwarding in node {} through /proc/sys (in a container it must be writable)",
                self.name()
            )
        })
    }
}

/// Whether the kernel delivers packets to an address of the calling thread's namespace: it says yes to adding
/// one, and makes the route and joins the group for neighbours who ask only later, in the background.
fn is_delivered(address: Ipv6Addr) -> bool {
    const LOCAL: u32 = 0x8000_0000;
    let wanted = format!("{:032x} 80 ", u128::from(address));
    // Without the file there is nothing to wait for.
    let Ok(routes) = fs::read_to_string("/proc/thread-self/net/ipv6_route") else { return true };
    routes.lines().filter(|line| line.starts_with(&wanted)).any(|line| {
        let flags = line.split_whitespace().nth(8).and_then(|flags| u32::from_str_radix(flags, 16).ok());
        flags.is_some_and(|flags| flags & LOCAL != 0)
    })
}

/// How long the kernel may take to bring an interface up. It takes milliseconds on an idle machine.
const READY: Duration = Duration::from_secs(20);

/// All nodes of the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.0.name)
            .field("number", &self.0.number)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Node {}

/// Linux would cut it anyway; cut by us, it is what [`thread_names`](crate::process::thread_names) shows.
fn thread_name(name: &str) -> String {
    name.chars().filter(|c| *c != '\0').take(15).collect()
}
