//! foca (SWIM with gossip) over UDP: a value is a custom broadcast. By default as `Config::new_lan` has it, a cluster's updates
//! every 200 ms to three members; with the setting `tuned` every 20 ms to five, and the first ones at once.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::net::{SocketAddr, UdpSocket};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use foca::{
    AccumulatingRuntime, BroadcastHandler, Config, Foca, Identity, Invalidates, PeriodicParams,
    PostcardCodec, Timer,
};
use peer_common::{Failure, Heard, PATIENCE, is_set, now, number, serve};
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

const PORT: u16 = 7778;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Member(SocketAddr);

impl Identity for Member {
    type Addr = SocketAddr;

    fn renew(&self) -> Option<Self> {
        None
    }

    fn addr(&self) -> SocketAddr {
        self.0
    }

    fn win_addr_conflict(&self, _: &Self) -> bool {
        true
    }
}

/// A value is its own key: each is spread on its own.
#[derive(PartialEq, Eq)]
struct Key(usize);

impl Invalidates for Key {
    fn invalidates(&self, other: &Self) -> bool {
        self == other
    }
}

struct Values {
    known: HashSet<usize>,
    heard: Heard,
}

impl BroadcastHandler<Member> for Values {
    type Key = Key;
    type Error = std::num::ParseIntError;

    fn receive_item(&mut self, data: &[u8], _: Option<&Member>) -> Result<Option<Key>, Self::Error> {
        let value = String::from_utf8_lossy(data).parse()?;
        self.heard.came(value);
        Ok(self.known.insert(value).then_some(Key(value)))
    }
}

struct Node {
    foca: Foca<Member, PostcardCodec, StdRng, Values>,
    runtime: AccumulatingRuntime<Member>,
    timers: BinaryHeap<Reverse<(Instant, Timer<Member>)>>,
    socket: Arc<UdpSocket>,
}

impl Node {
    fn new(address: SocketAddr, nodes: u32, heard: Heard) -> Result<Self, Failure> {
        let mut config = Config::new_lan(NonZeroU32::new(nodes).ok_or("no nodes")?);
        if is_set("tuned") {
            let num_members = NonZeroUsize::new(5).ok_or("no members")?;
            config.periodic_gossip =
                Some(PeriodicParams { frequency: Duration::from_millis(20), num_members });
            config.periodic_announce =
                Some(PeriodicParams { frequency: Duration::from_secs(1), num_members });
        }
        let values = Values { known: HashSet::new(), heard };
        let foca =
            Foca::with_custom_broadcast(Member(address), config, rand::make_rng(), PostcardCodec, values);
        let socket = Arc::new(UdpSocket::bind(address)?);
        Ok(Self { foca, runtime: AccumulatingRuntime::new(), timers: BinaryHeap::new(), socket })
    }

    /// Does what foca wants to have done.
    fn settle(&mut self) {
        while let Some((to, data)) = self.runtime.to_send() {
            // Datagrams may be lost.
            let _ = self.socket.send_to(&data, to.0);
        }
        let started = Instant::now();
        while let Some((delay, timer)) = self.runtime.to_schedule() {
            self.timers.push(Reverse((started + delay, timer)));
        }
        while self.runtime.to_notify().is_some() {}
    }

    /// Carries out the timers that are due, and returns when the next one is.
    fn due(&mut self) -> Instant {
        loop {
            let now = Instant::now();
            match self.timers.peek() {
                Some(Reverse((when, _))) if *when <= now => {
                    if let Some(Reverse((_, timer))) = self.timers.pop() {
                        let _ = self.foca.handle_timer(timer, &mut self.runtime);
                        self.settle();
                    }
                }
                Some(Reverse((when, _))) => return *when,
                None => return now + Duration::from_secs(1),
            }
        }
    }

    fn take(&mut self, data: &[u8]) {
        let _ = self.foca.handle_data(data, &mut self.runtime);
        self.settle();
    }

    fn spread(&mut self, value: usize) -> Result<(), Failure> {
        self.foca.add_broadcast(value.to_string().as_bytes())?;
        if is_set("tuned") {
            self.foca.gossip(&mut self.runtime)?;
            self.settle();
        }
        Ok(())
    }
}

fn lock(node: &Arc<Mutex<Node>>) -> MutexGuard<'_, Node> {
    node.lock().unwrap_or_else(PoisonError::into_inner)
}

fn main() {
    let heard = Heard::default();
    let mut running: Option<Arc<Mutex<Node>>> = None;
    serve(|command, arguments| match command {
        "start" => Ok("ready".to_owned()),
        // The address of the first node, how many nodes there will be, this node's own address.
        "join" => {
            let address = |place: usize| -> Result<SocketAddr, Failure> {
                Ok(SocketAddr::new(arguments.get(place).ok_or("no address")?.parse()?, PORT))
            };
            let (first, own) = (address(0)?, address(3)?);
            let nodes = u32::try_from(number(arguments, 1)?)?;
            let node = Arc::new(Mutex::new(Node::new(own, nodes, heard.clone())?));
            if first != own {
                let mut node = lock(&node);
                let Node { foca, runtime, .. } = &mut *node;
                foca.announce(Member(first), runtime)?;
                node.settle();
            }
            run(&node);
            running = Some(node);
            Ok("ready".to_owned())
        }
        // Waits until this node knows most others: it may take minutes until it knows all, and gossip does not need that.
        "whole" => {
            let others = number(arguments, 0)? * 2 / 3;
            let node = running.as_ref().ok_or("not started")?;
            let deadline = Instant::now() + PATIENCE * 12;
            while lock(node).foca.num_members() < others {
                if Instant::now() > deadline {
                    return Err(format!("{} of {others} are known", lock(node).foca.num_members()).into());
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok("ready".to_owned())
        }
        "spread" => {
            let (value, began) = (number(arguments, 0)?, now());
            lock(running.as_ref().ok_or("not started")?).spread(value)?;
            Ok(began.to_string())
        }
        "heard" => heard.wait(number(arguments, 0)?),
        other => Err(format!("unknown: {other}").into()),
    });
}

/// Starts the thread that receives, and keeps the times.
fn run(node: &Arc<Mutex<Node>>) {
    let node = Arc::clone(node);
    let socket = Arc::clone(&lock(&node).socket);
    std::thread::spawn(move || {
        let mut chunk = [0; 2048];
        loop {
            let next = lock(&node).due();
            let wait = next.saturating_duration_since(Instant::now()).max(Duration::from_micros(100));
            let _ = socket.set_read_timeout(Some(wait));
            if let Ok((length, _)) = socket.recv_from(&mut chunk) {
                lock(&node).take(chunk.get(..length).unwrap_or_default());
            }
        }
    });
}
