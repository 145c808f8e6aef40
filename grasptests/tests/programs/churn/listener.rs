//! Hears all links of a ring, and knows which floods pass: no node may send one twice.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use grasp::wire::{Body, Flood, Limits, decode};
use grasptests::lab::{Link, Node, RawUdp};
use parking_lot::Mutex;

/// The flood, and who sends it: a node, and how often that has been started. Its successor does not know what it has relayed.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Sent {
    session: u32,
    initiator: Ipv6Addr,
    node: u16,
    life: u64,
}

/// A node on all links that only listens.
pub(super) struct Listener {
    /// The links on which each was sent.
    heard: Arc<Mutex<HashMap<Sent, Vec<u16>>>>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Listener {
    /// Listens on all links. `life` is how often a node, by its number in the lab, has been started.
    pub(super) fn start(
        node: &Node,
        links: &[Link],
        life: impl Fn(u16) -> u64 + Clone + Send + 'static,
    ) -> Self {
        let heard = Arc::<Mutex<HashMap<_, Vec<_>>>>::default();
        let over = Arc::new(AtomicBool::new(false));
        let listen = |link: &Link| {
            let interface = link.attach(node).expect("it is plugged in");
            let index = node.interface_index(&interface).expect("it is there");
            let socket = RawUdp::neighbors(node, &interface).expect("a socket");
            let (number, heard, over, life) =
                (link.number(), Arc::clone(&heard), Arc::clone(&over), life.clone());
            node.spawn("listener", move || {
                while !over.load(Ordering::Relaxed) {
                    let datagram = socket.receive(Duration::from_millis(200)).expect("it listens");
                    // Linux hands a group that was joined on one link to the sockets of the others, too.
                    let Some(datagram) = datagram.filter(|one| one.source.scope_id() == index) else {
                        continue;
                    };
                    let message = decode(&datagram.bytes, &Limits::default()).expect("a message of ours");
                    let Body::Flood(Flood { session, initiator, .. }) = message.body else { continue };
                    let initiator = initiator.to_string().parse().expect("an IPv6 address");
                    let node = number_of(*datagram.source.ip());
                    let sent = Sent { session, initiator, node, life: life(node) };
                    heard.lock().entry(sent).or_default().push(number);
                }
            })
        };
        let threads = links.iter().map(listen).collect();
        Self { heard, over, threads }
    }

    /// How often a flood was sent. Fails if a node has sent one of its own twice on a link, or relayed that of another twice, as each
    /// node here has two links: one that it comes from, and one that it goes to.
    #[track_caller]
    pub(super) fn check(&self) -> usize {
        let heard = self.heard.lock();
        for (sent, links) in heard.iter() {
            let is_its_own = number_of(sent.initiator) == sent.node;
            let once = match links[..] {
                [_] => true,
                [one, other] => is_its_own && one != other,
                _ => false,
            };
            assert!(once, "{sent:?} on links {links:?}");
        }
        heard.len()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The number of a node: the lab's addresses end with it.
fn number_of(address: Ipv6Addr) -> u16 {
    address.segments()[7]
}
