//! Datagrams that the system drops before anybody receives them, because the receive buffer of their socket is full. `_watcher`
//! asks for them: receiving itself would be told of a drop only with the next datagram, and pay for it with each.

use std::collections::HashMap;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fd::AsFd;
use rustix::fs::fstat;

/// How many datagrams the system has dropped at each socket since it was opened, modulo 2³², by the socket's inode: for those of
/// UDP over IPv6 in the network namespace of the caller that have lost any. Empty if the system does not tell.
pub(crate) fn dropped() -> HashMap<u64, u32> {
    let table = fs::read_to_string("/proc/thread-self/net/udp6").unwrap_or_default();
    table.lines().filter_map(parsed).filter(|(_, dropped)| *dropped > 0).collect()
}

/// The inode and the drops of a line.
fn parsed(line: &str) -> Option<(u64, u32)> {
    let mut columns = line.split_ascii_whitespace().skip(9);
    let inode = columns.next()?.parse().ok()?;
    // References and an address are between.
    Some((inode, columns.nth(2)?.parse().ok()?))
}

/// What is known of the drops at a socket.
#[derive(Debug)]
pub(crate) struct Overflow {
    /// `None` if the system does not tell.
    inode: Option<u64>,
    counted: AtomicU32,
}

impl Overflow {
    /// For a socket that has just been opened.
    pub(crate) fn of(socket: impl AsFd) -> Self {
        Self { inode: fstat(socket).ok().map(|status| status.st_ino), counted: AtomicU32::new(0) }
    }

    /// How many of the drops are new since the last call.
    pub(crate) fn news(&self, dropped: &HashMap<u64, u32>) -> usize {
        let Some(now) = self.inode.and_then(|inode| dropped.get(&inode)) else { return 0 };
        let before = self.counted.swap(*now, Ordering::Relaxed);
        usize::try_from(now.wrapping_sub(before)).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, UdpSocket};

    use super::*;

    #[test]
    fn a_line_is_read_as_the_system_writes_it() {
        let heading = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr \
                       tm->when retrnsmt   uid  timeout inode ref pointer drops";
        let line = " 1013: 000080FE00000000FF00024C02000100:1B69 00000000000000000000000000000000:0000 07 00000000:00000000 \
                    00:00000000 00000000     0        0 50147 2 00000000a5bd8c0e 1234";
        assert_eq!((parsed(heading), parsed(line), parsed("")), (None, Some((50147, 1234)), None));
    }

    #[test]
    fn each_drop_is_news_once_also_when_the_count_wraps() {
        let overflow = Overflow { inode: Some(7), counted: AtomicU32::new(0) };
        let mut news = |count| overflow.news(&HashMap::from([(7, count), (8, 99)]));
        assert_eq!([0, 3, 3, u32::MAX, 1].map(&mut news), [0, 3, 0, 4_294_967_292, 2]);
        assert_eq!(overflow.news(&HashMap::new()), 0);
    }

    #[test]
    fn what_finds_no_room_at_a_socket_is_told_by_the_system() {
        let socket = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        socket2::SockRef::from(&socket).set_recv_buffer_size(1).unwrap();
        let overflow = Overflow::of(&socket);
        assert_eq!(overflow.news(&dropped()), 0);
        let sender = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        const SENT: usize = 100;
        for _ in 0..SENT {
            sender.send_to(&[0; 1000], socket.local_addr().unwrap()).unwrap();
        }
        socket.set_nonblocking(true).unwrap();
        let mut received = 0;
        while socket.recv(&mut [0; 1000]).is_ok() {
            received += 1;
        }
        assert!(received > 0 && received < SENT, "{received}");
        assert_eq!(overflow.news(&dropped()), SENT - received);
    }
}
