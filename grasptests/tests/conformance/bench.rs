//! An engine on one node of a lab, with hand-made peers on its links, and the calls that most tests make.

use std::net::{Ipv6Addr, TcpStream};
use std::thread::{Builder, JoinHandle};

use grasp::{
    Asa, AsaLocator, AsaNonce, Config, Discover, Engine, Negotiation, Objective, RegisterObj, Result,
    SessionNonce, TaggedObjective, Value,
};
use grasptests::lab::{Lab, Link, LinkOptions, Node};

use super::peer::{Peer, SOON, Stream};

/// An engine, its node, and the peers beside it.
pub(crate) struct Bench {
    pub(crate) lab: Lab,
    pub(crate) home: Node,
    /// The link that the engine and `peer` are on.
    pub(crate) link: Link,
    pub(crate) engine: Engine,
    /// An ASA of the engine.
    pub(crate) asa: Asa,
    pub(crate) peer: Peer,
    /// A peer on the engine's second link, if it has one.
    pub(crate) far: Option<Peer>,
}

impl Bench {
    /// One link, an engine with the defaults.
    pub(crate) fn new() -> Self {
        Self::with(Config::new())
    }

    pub(crate) fn with(config: Config) -> Self {
        Self::build(config, LinkOptions::default(), 1)
    }

    /// The engine's node is on two links, with a peer on each.
    pub(crate) fn on_two_links(config: Config) -> Self {
        Self::build(config, LinkOptions::default(), 2)
    }

    /// No address but link-local ones.
    pub(crate) fn link_local_only(links: usize) -> Self {
        Self::build(Config::new(), LinkOptions::link_local_only(), links)
    }

    pub(crate) fn build(config: Config, options: LinkOptions, links: usize) -> Self {
        // Shown when a test fails.
        let _ = env_logger::builder().is_test(true).filter_level(log::LevelFilter::Debug).try_init();
        let lab = Lab::new().unwrap();
        let home = lab.node("home").unwrap();
        let attach = |name: &str| {
            let node = lab.node(name).unwrap();
            let link = lab.lan_with(&[&home, &node], options).unwrap();
            (met(&home, Peer::new(&node, &link)), link)
        };
        let (peer, link) = attach("peer");
        let far = (links > 1).then(|| attach("far").0);
        let engine = home.run(|| Engine::start(config)).expect("the engine starts");
        let asa = Asa::register(&engine, "client").unwrap();
        Self { lab, home, link, engine, asa, peer, far }
    }

    pub(crate) fn far(&self) -> &Peer {
        self.far.as_ref().expect("a bench with two links")
    }

    /// One more peer on the first link.
    pub(crate) fn another_peer(&self) -> Peer {
        let node = self.lab.node("another").unwrap();
        self.link.attach(&node).unwrap();
        met(&self.home, Peer::new(&node, &self.link))
    }

    /// The engine's link-local address on the first link.
    pub(crate) fn link_local(&self) -> Ipv6Addr {
        self.link.link_local(&self.home)
    }

    /// Calls the engine in its node.
    pub(crate) fn run<R: Send>(&self, call: impl FnOnce(&Engine, AsaNonce) -> R + Send) -> R {
        let (engine, nonce) = (&self.engine, self.asa.nonce());
        self.home.run(|| call(engine, nonce))
    }

    /// Calls the engine in its node, on a thread of its own.
    pub(crate) fn spawn<R: Send + 'static>(
        &self,
        call: impl FnOnce(&Engine, AsaNonce) -> R + Send + 'static,
    ) -> JoinHandle<R> {
        let (engine, nonce) = (self.engine.clone(), self.asa.nonce());
        self.home.spawn("call", move || call(&engine, nonce))
    }

    /// Registers an objective with the client, discoverable.
    pub(crate) fn register(&self, objective: &Objective) {
        self.register_with(objective, RegisterObj { discoverable: true, ..RegisterObj::default() });
    }

    pub(crate) fn register_with(&self, objective: &Objective, options: RegisterObj) {
        self.run(|engine, nonce| engine.register_obj(nonce, objective, options)).unwrap();
    }

    /// An ASA that negotiates an objective until it is dropped, every request on a thread of its own.
    pub(crate) fn serve(
        &self,
        objective: &Objective,
        handle: impl Fn(&Engine, AsaNonce, SessionNonce, Objective) + Clone + Send + 'static,
    ) -> Asa {
        let asa = Asa::register(&self.engine, &format!("server of {}", objective.name)).unwrap();
        self.home.run(|| self.engine.register_obj(asa.nonce(), objective, RegisterObj::default())).unwrap();
        let (engine, nonce, objective) = (self.engine.clone(), asa.nonce(), objective.clone());
        // Ends with the ASA or the engine; a panic in a handler shows as a missing answer.
        drop(self.home.spawn("server", move || {
            loop {
                match engine.listen_negotiate(nonce, &objective) {
                    Ok((session, offer)) => {
                        let (engine, handle) = (engine.clone(), handle.clone());
                        let body = move || handle(&engine, nonce, session, offer);
                        drop(Builder::new().name("handler".to_owned()).spawn(body).unwrap());
                    }
                    Err(_) => return,
                }
            }
        }));
        asa
    }

    /// As `serve`, with an ASA that accepts whatever is asked.
    pub(crate) fn accept_all(&self, name: &str) -> Asa {
        self.serve(&negotiable(name, 0), |engine, nonce, session, _| {
            engine.end_negotiate(nonce, session, true, None).unwrap();
        })
    }

    /// An ASA that serves a value.
    pub(crate) fn publish(&self, objective: &Objective) {
        self.register(objective);
        self.run(|engine, nonce| engine.listen_synchronize(nonce, objective)).unwrap();
    }

    /// The engine asks the peer to negotiate; returns the peer's end after the request, and what will come.
    pub(crate) fn negotiate(&self, objective: &Objective, timeout: Option<u32>) -> Pending<Negotiation> {
        // The second negotiation about an objective finds it registered.
        let _ = self.run(|engine, nonce| engine.register_obj(nonce, objective, RegisterObj::default()));
        self.request(objective, move |engine, nonce, objective, peer| {
            engine.req_negotiate(nonce, objective, Some(peer), timeout)
        })
    }

    /// The engine asks the peer for a value.
    pub(crate) fn synchronize(&self, objective: &Objective, timeout: Option<u32>) -> Pending<Objective> {
        self.request(objective, move |engine, nonce, objective, peer| {
            engine.synchronize(nonce, objective, Some(peer), timeout)
        })
    }

    fn request<R: Send + 'static>(
        &self,
        objective: &Objective,
        call: impl FnOnce(&Engine, AsaNonce, &Objective, &AsaLocator) -> Result<R> + Send + 'static,
    ) -> Pending<R> {
        let server = self.peer.listen();
        let peer = self.peer.global.unwrap_or(self.peer.address);
        let ifi = self.engine.links().first().map(|(ifi, _)| *ifi);
        let locator = AsaLocator::new(peer, ifi).with_port(server.port());
        let objective = objective.clone();
        let result = self.spawn(move |engine, nonce| call(engine, nonce, &objective, &locator));
        let mut stream = server.accept();
        let request = stream.receive();
        Pending { stream, request, result }
    }

    /// The engine discovers, on a thread of its own.
    pub(crate) fn discover(
        &self,
        objective: &Objective,
        timeout: u32,
        options: Discover,
    ) -> JoinHandle<Result<Vec<AsaLocator>>> {
        let objective = objective.clone();
        self.spawn(move |engine, nonce| engine.discover(nonce, &objective, Some(timeout), options))
    }

    /// Returns as soon as one locator is known.
    pub(crate) fn discover_first(&self, name: &str) -> JoinHandle<Result<Vec<AsaLocator>>> {
        self.discover(&Objective::new(name), 20_000, Discover { enough: Some(1), ..Discover::default() })
    }

    /// What the discovery cache holds, without asking the network.
    pub(crate) fn cached(&self, name: &str) -> Vec<AsaLocator> {
        self.run(|engine, nonce| {
            let options = Discover { enough: Some(0), ..Discover::default() };
            engine.discover(nonce, &Objective::new(name), None, options)
        })
        .unwrap()
    }

    /// Puts what `peer` answers to a discovery of the engine into its discovery cache.
    pub(crate) fn learn(&self, from: &Peer, name: &str, ttl: u32, options: Vec<Value>) -> Vec<AsaLocator> {
        let found = self.discover_first(name);
        let heard = from.heard_looking_for(name);
        from.respond(&heard, ttl, options);
        found.join().unwrap().unwrap()
    }

    pub(crate) fn flood(&self, ttl: u32, tagged: &[TaggedObjective]) -> Result<()> {
        self.run(|engine, nonce| engine.flood(nonce, ttl, tagged))
    }

    /// What the flood cache holds under a name.
    pub(crate) fn flooded(&self, name: &str) -> Vec<TaggedObjective> {
        self.run(|engine, nonce| engine.get_flood(nonce, &synchronizable(name, ()))).unwrap()
    }
}

/// A peer whose link-layer address the node knows: on a busy machine the first question for it may be lost, the
/// second comes a second later, and a response has no more time than that.
fn met(home: &Node, peer: Peer) -> Peer {
    let ifi =
        peer.link.members().iter().find(|(node, _)| node == home).map(|(_, interface)| interface.clone());
    let ifi = home.interface_index(&ifi.expect("a common link")).unwrap();
    let to = peer.responses_at(ifi).into();
    home.run(|| TcpStream::connect_timeout(&to, SOON)).unwrap();
    peer.accept_response(SOON).expect("the connection");
    peer
}

/// A call of the engine that waits for the peer.
pub(crate) struct Pending<R> {
    /// The peer's end of the connection.
    pub(crate) stream: Stream,
    /// What the engine has sent.
    pub(crate) request: Value,
    /// What the call returns.
    pub(crate) result: JoinHandle<Result<R>>,
}

impl<R> Pending<R> {
    pub(crate) fn session(&self) -> u32 {
        super::peer::sid(&self.request)
    }

    /// Sends a message, and waits for what the call returns.
    pub(crate) fn answered(mut self, message: &Value) -> Result<R> {
        self.stream.send(message);
        self.result()
    }

    pub(crate) fn result(self) -> Result<R> {
        self.result.join().expect("the call does not panic")
    }
}

pub(crate) fn negotiable(name: &str, value: impl Into<Value>) -> Objective {
    Objective { neg: true, value: value.into(), ..Objective::new(name) }
}

pub(crate) fn synchronizable(name: &str, value: impl Into<Value>) -> Objective {
    Objective { synch: true, value: value.into(), ..Objective::new(name) }
}
