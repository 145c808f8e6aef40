//! What announces this node to its neighbours, byte for byte as docs/domain-profile.md has it.

use super::*;
use crate::node::Carried;

/// The announcement, but for its session identifier, which is random.
fn announced(node: &Node) -> (Vec<u8>, Vec<u8>) {
    let bytes = node.announcement(2).unwrap().unwrap();
    let (head, rest) = bytes.split_at(2);
    // An identifier takes one byte to five.
    let identifier = match rest[0] {
        0x1a => 5,
        0x19 => 3,
        0x18 => 2,
        _ => 1,
    };
    (head.to_vec(), rest[identifier..].to_vec())
}

#[test]
fn a_node_announces_itself_as_the_profile_says() {
    let node = Fixture::new(Config::new());
    assert!(node.announcement(2).unwrap().is_none(), "where datagrams carry multicasts");
    for (carried, method) in [(Carried::OverTls, b"GRASP-TLS"), (Carried::InTheClear, b"GRASP-TCP")] {
        node.set_carried(carried);
        let address: [u8; 16] = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2).octets();
        let expected = [
            // The initiator, and 210,000 ms.
            &[0x50][..],
            &address,
            &[0x1a, 0, 3, 0x34, 0x50, 0x82, 0x84, 0x66],
            b"AN_ACP",
            &[4, 1, 0x69],
            method,
            // O_IPv6_LOCATOR, TCP and port 40,000.
            &[0x84, 0x18, 103, 0x50],
            &address,
            &[6, 0x19, 0x9c, 0x40],
        ];
        assert_eq!(announced(&node), (vec![0x85, 9], expected.concat()));
        assert!(node.announcement(7).unwrap().is_none(), "an interface that it does not use");
    }
}
