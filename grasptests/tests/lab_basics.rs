//! The lab itself: what a node, a link and a process of its own do.

use std::{
    net::{Ipv6Addr, SocketAddrV6, UdpSocket},
    time::Duration,
};

use grasptests::{
    isolated,
    lab::{Lab, LabError, Node},
};

const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x13);

/// A socket on an interface of a node that hears the group.
fn listener(node: &Node, interface: &str) -> UdpSocket {
    node.run(|| {
        let index = node.interface_index(interface).expect("the interface is there");
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 7017)).expect("bind");
        socket.join_multicast_v6(&GROUP, index).expect("join");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("set the time");
        socket
    })
}

#[test]
fn two_nodes_hear_each_other_by_multicast() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    let link = lab.link(&a, &b)?;
    let (at_a, at_b) = (listener(&a, "eth0"), listener(&b, "eth0"));
    let index = a.interface_index("eth0")?;
    at_a.set_multicast_loop_v6(false).unwrap();
    at_a.send_to(b"ping", SocketAddrV6::new(GROUP, 7017, 0, index)).unwrap();
    let mut buffer = [0; 64];
    let (length, from) = at_b.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"ping");
    assert_eq!(from.ip(), link.link_local(&a));
    at_b.send_to(b"pong", from).unwrap();
    let (length, from) = at_a.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"pong");
    assert_eq!(from.ip(), b.link_local("eth0")?);
    Ok(())
}
