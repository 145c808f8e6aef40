//! A link of a lab: a cable between two nodes or a shared segment of many. Made by
//! [`Lab::link`](crate::Lab::link) and [`Lab::lan`](crate::Lab::lan).
//!
//! Either is a bridge in the lab's hidden switch namespace, with one veth pair per node: the node has one
//! end, the other is a port of the bridge. So a link can fail without a node's own configuration changing.

use std::{fmt, net::Ipv6Addr, sync::Arc, time::Duration};

use parking_lot::Mutex;

use crate::{
    LabError, Node,
    error::Doing as _,
    impair::{Impairment, Wire},
    namespace::Namespace,
    netlink::{VethEnd, VethPeer},
};

/// What a new link is like.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct LinkOptions {
    /// No unique local addresses, only link-local ones.
    pub link_local_only: bool,
}

impl LinkOptions {
    /// Link-local addresses only.
    #[must_use]
    pub fn link_local_only() -> Self {
        Self { link_local_only: true }
    }
}

/// A cable or shared segment. Cheap to clone; all clones are the same link. The link stays in the lab when
/// handles are dropped, until [`remove`](Self::remove).
///
/// On link number L (counted from 1) node number N has the addresses `fe80::L:N` and, unless
/// [`LinkOptions::link_local_only`], `fd00:L::N`, both /64 (numbers in hexadecimal).
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    number: u16,
    options: LinkOptions,
    switch: Arc<Namespace>,
    /// The index of the bridge in the switch namespace.
    bridge: u32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ports: Vec<Port>,
    removed: bool,
    impairment: Option<Impairment>,
    /// Carries the frames while there is an impairment.
    wire: Option<Wire>,
}

/// Where a node is attached.
#[derive(Clone)]
struct Port {
    node: Node,
    interface: String,
    /// The index of the end in the switch namespace.
    index: u32,
    cut: bool,
    unplugged: bool,
}

impl Link {
    pub(crate) fn new(number: u16, switch: &Arc<Namespace>, options: LinkOptions) -> Result<Self, LabError> {
        let bridge = u32::from(number) << 16;
        switch
            .netlink(|netlink| {
                netlink.create_bridge(&format!("link{number}"), bridge)?;
                netlink.no_automatic_address(bridge)?;
                netlink.set_up(bridge, true)
            })
            .doing(|| format!("make the bridge of link {number} (does the kernel have CONFIG_BRIDGE?)"))?;
        let switch = Arc::clone(switch);
        Ok(Self(Arc::new(Inner { number, options, switch, bridge, state: Mutex::default() })))
    }

    /// Its number in the lab, from 1 in the order of making.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.0.number
    }

    /// The attached nodes and the names of their interfaces, in the order of attaching.
    #[must_use]
    pub fn members(&self) -> Vec<(Node, String)> {
        self.0.state.lock().ports.iter().map(|port| (port.node.clone(), port.interface.clone())).collect()
    }

    /// The name of the interface by which a node is attached.
    ///
    /// # Errors
    ///
    /// [`LabError::Unknown`] when it is not.
    pub fn interface(&self, node: &Node) -> Result<String, LabError> {
        let state = self.0.state.lock();
        let port = state.ports.iter().find(|port| port.node == *node).ok_or_else(|| self.stranger(node))?;
        Ok(port.interface.clone())
    }

    /// The link-local address that the lab gives a node on this link.
    #[must_use]
    pub fn link_local(&self, node: &Node) -> Ipv6Addr {
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, self.0.number, node.number())
    }

    /// The unique local prefix (/64) of the link, if it has one.
    #[must_use]
    pub fn prefix(&self) -> Option<Ipv6Addr> {
        (!self.0.options.link_local_only).then(|| Ipv6Addr::new(0xfd00, self.0.number, 0, 0, 0, 0, 0, 0))
    }

    /// The unique local address that the lab gives a node on this link, if the link has a prefix.
    #[must_use]
    pub fn ula(&self, node: &Node) -> Option<Ipv6Addr> {
        self.prefix().map(|_| Ipv6Addr::new(0xfd00, self.0.number, 0, 0, 0, 0, 0, node.number()))
    }

    /// Gives a node one more interface and attaches it to the link. Returns the interface's name when its
    /// addresses can be used.
    ///
    /// # Errors
    ///
    /// [`LabError::Unknown`] when the node is attached already or the link was removed, [`LabError::Kernel`]
    /// when the kernel refuses, [`LabError::NotReady`] when the interface does not come up.
    pub fn attach(&self, node: &Node) -> Result<String, LabError> {
        let number = self.0.number;
        let mut state = self.0.state.lock();
        if state.removed || state.ports.iter().any(|port| port.node == *node) {
            let why = if state.removed { "was removed" } else { "has it already" };
            return Err(LabError::Unknown(format!(
                "cannot attach {} to link {number}: it {why}",
                node.name()
            )));
        }
        let [link_high, link_low] = number.to_be_bytes();
        let [node_high, node_low] = node.number().to_be_bytes();
        let name = format!("l{number}n{}", node.number());
        let interface = node.next_interface(&self.0.switch, &name);
        // Never the index of the other end: the kernel would take up to a second to notice the carrier.
        let index = self.0.bridge | u32::from(node.number());
        let here = VethEnd { name: &name, index, bridge: self.0.bridge };
        let there = VethPeer {
            name: &interface,
            mac: [0x02, 0x4c, link_high, link_low, node_high, node_low],
            namespace: node.namespace().raw(),
        };
        let doing = || format!("attach {interface} of node {} to link {number}", node.name());
        self.0
            .switch
            .netlink(|netlink| {
                netlink.create_veth(&here, &there)?;
                netlink.no_automatic_address(index)?;
                netlink.set_up(index, true)
            })
            .doing(doing)?;
        let port = Port { node: node.clone(), interface, index, cut: false, unplugged: false };
        state.ports.push(port.clone());
        self.rewire(&mut state)?;
        drop(state);

        let inside = node.interface_index(&port.interface)?;
        node.namespace()
            .netlink(|netlink| {
                netlink.no_automatic_address(inside)?;
                netlink.set_up(inside, true)?;
                netlink.add_address(inside, self.link_local(node), 64)?;
                self.ula(node).map_or(Ok(()), |address| netlink.add_address(inside, address, 64))
            })
            .doing(|| format!("configure {} of node {}", port.interface, node.name()))?;
        node.wait_ready(&port.interface)?;
        Ok(port.interface)
    }

    /// Takes a node's interface on this link away.
    ///
    /// # Errors
    ///
    /// [`LabError::Unknown`] when the node is not attached, [`LabError::Kernel`] when the kernel refuses.
    pub fn detach(&self, node: &Node) -> Result<(), LabError> {
        let mut state = self.0.state.lock();
        let place =
            state.ports.iter().position(|port| port.node == *node).ok_or_else(|| self.stranger(node))?;
        let port = state.ports.remove(place);
        self.rewire(&mut state)?;
        let deleted = self.0.switch.netlink(|netlink| netlink.delete_link(port.index));
        deleted.doing(|| format!("detach node {} from link {}", node.name(), self.0.number))
    }

    /// Takes the link and the nodes' interfaces on it away, for good.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when the kernel refuses.
    pub fn remove(&self) -> Result<(), LabError> {
        let mut state = self.0.state.lock();
        if state.removed {
            return Ok(());
        }
        state.removed = true;
        state.wire = None;
        let indices: Vec<_> = state.ports.drain(..).map(|port| port.index).chain([self.0.bridge]).collect();
        self.0
            .switch
            .netlink(|netlink| indices.into_iter().try_for_each(|index| netlink.delete_link(index)))
            .doing(|| format!("remove link {}", self.0.number))
    }

    /// Lets nothing through any more, in a way that the nodes cannot see: their interfaces stay up, frames
    /// vanish. In force when this returns.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when the kernel refuses.
    pub fn cut(&self) -> Result<(), LabError> {
        self.change(None, |port| port.cut = true)
    }

    /// As [`cut`](Self::cut), for one node of the link; the others still hear each other.
    ///
    /// # Errors
    ///
    /// [`LabError::Unknown`] when the node is not attached, [`LabError::Kernel`] when the kernel refuses.
    pub fn cut_node(&self, node: &Node) -> Result<(), LabError> {
        self.change(Some(node), |port| port.cut = true)
    }

    /// Pulls the plugs: every interface on the link loses its carrier, as the nodes can see (addresses stay).
    /// Returns when they have seen it.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when the kernel refuses, [`LabError::NotReady`] when an interface keeps its
    /// carrier.
    pub fn unplug(&self) -> Result<(), LabError> {
        self.change(None, |port| port.unplugged = true)
    }

    /// As [`unplug`](Self::unplug), for one node of the link.
    ///
    /// # Errors
    ///
    /// As [`unplug`](Self::unplug), and [`LabError::Unknown`] when the node is not attached.
    pub fn unplug_node(&self, node: &Node) -> Result<(), LabError> {
        self.change(Some(node), |port| port.unplugged = true)
    }

    /// Undoes every `cut` and `unplug`. Returns when the link carries frames again.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when the kernel refuses, [`LabError::NotReady`] when an interface does not come
    /// up.
    pub fn heal(&self) -> Result<(), LabError> {
        self.change(None, |port| (port.cut, port.unplugged) = (false, false))
    }

    /// As [`heal`](Self::heal), for one node of the link.
    ///
    /// # Errors
    ///
    /// As [`heal`](Self::heal), and [`LabError::Unknown`] when the node is not attached.
    pub fn heal_node(&self, node: &Node) -> Result<(), LabError> {
        self.change(Some(node), |port| (port.cut, port.unplugged) = (false, false))
    }

    /// Delays every frame, and loses some: each receiver, on its own, loses this share of the frames to it.
    /// Replaces an earlier impairment; frames under way are lost, and so they are on a later change of the
    /// link.
    ///
    /// A thread of this process carries the frames then, so that it works on every kernel; bulk data are slow
    /// on such a link.
    ///
    /// # Errors
    ///
    /// [`LabError::Unknown`] when the percentage is not from 0 to 100 or the link was removed,
    /// [`LabError::Kernel`] when the kernel refuses.
    pub fn set_impairment(&self, delay: Duration, loss_percent: f64) -> Result<(), LabError> {
        if !(0.0..=100.0).contains(&loss_percent) {
            return Err(LabError::Unknown(format!("cannot lose {loss_percent} % of the frames")));
        }
        self.impair(Some(Impairment { delay, loss: loss_percent / 100.0 }))
    }

    /// Ends the delay and loss.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when the kernel refuses, [`LabError::NotReady`] when the link does not come back.
    pub fn clear_impairment(&self) -> Result<(), LabError> {
        self.impair(None)
    }

    fn impair(&self, impairment: Option<Impairment>) -> Result<(), LabError> {
        {
            let mut state = self.0.state.lock();
            if state.removed {
                return Err(LabError::Unknown(format!("link {} was removed", self.0.number)));
            }
            state.impairment = impairment;
        }
        self.change(None, |_| {})
    }

    /// The nodes that the link connects at present, with the names of their interfaces.
    pub(crate) fn connected(&self) -> Vec<(Node, String)> {
        let state = self.0.state.lock();
        let whole = state.ports.iter().filter(|port| !port.cut && !port.unplugged);
        whole.map(|port| (port.node.clone(), port.interface.clone())).collect()
    }

    /// The names and indices of the ports in the switch namespace.
    pub(crate) fn ports(&self) -> Vec<(String, u32)> {
        let state = self.0.state.lock();
        let name = |port: &Port| format!("l{}n{}", self.0.number, port.node.number());
        state.ports.iter().map(|port| (name(port), port.index)).collect()
    }

    fn change(&self, node: Option<&Node>, change: impl Fn(&mut Port)) -> Result<(), LabError> {
        let mut state = self.0.state.lock();
        let mut changed = Vec::new();
        for port in state.ports.iter_mut().filter(|port| node.is_none_or(|node| port.node == *node)) {
            change(port);
            changed.push(port.clone());
        }
        if let Some(node) = node
            && changed.is_empty()
        {
            return Err(self.stranger(node));
        }
        self.rewire(&mut state)?;
        drop(state);
        changed.iter().try_for_each(|port| port.node.wait_ready(&port.interface))
    }

    /// Tells the kernel what the ports are to be like, and has frames carried by the bridge or by a [`Wire`].
    fn rewire(&self, state: &mut State) -> Result<(), LabError> {
        state.wire = None;
        for port in &state.ports {
            let bridge = if port.cut || state.impairment.is_some() { 0 } else { self.0.bridge };
            self.0
                .switch
                .netlink(|netlink| {
                    netlink.set_bridge(port.index, bridge)?;
                    netlink.set_up(port.index, !port.unplugged)
                })
                .doing(|| format!("change link {} at node {}", self.0.number, port.node.name()))?;
        }
        if let Some(impairment) = state.impairment {
            let whole = state.ports.iter().filter(|port| !port.cut && !port.unplugged);
            let indices: Vec<_> = whole.map(|port| port.index).collect();
            let wire = Wire::start(&self.0.switch, &indices, impairment, self.0.number.into());
            state.wire = Some(wire.doing(|| {
                format!("carry the frames of link {} (does the kernel have CONFIG_PACKET?)", self.0.number)
            })?);
        }
        Ok(())
    }

    fn stranger(&self, node: &Node) -> LabError {
        LabError::Unknown(format!("node {} is not on link {}", node.name(), self.0.number))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.members().into_iter().map(|(node, _)| node.name().to_owned()).collect();
        f.debug_struct("Link").field("number", &self.0.number).field("nodes", &names).finish_non_exhaustive()
    }
}

impl PartialEq for Link {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Link {}
