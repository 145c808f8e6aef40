//! Our engine as a side.

use crossbeam_channel::bounded;
use grasp::{
    Asa, AsaLocator, Config, Discover, Engine, Error, Negotiation, Objective, RegisterObj, TaggedObjective,
    Value,
};
use grasptests::lab::Node;

use crate::interop::SOON;
use crate::interop::side::{How, Reply, Session, Side};

pub(crate) struct Ours {
    node: Node,
    pub(crate) engine: Engine,
    asa: Asa,
}

impl Ours {
    pub(crate) fn start(node: &Node) -> Self {
        let engine = node.run(|| Engine::start(Config::new())).expect("the engine starts");
        let asa = Asa::register(&engine, node.name()).expect("the ASA is registered");
        Self { node: node.clone(), engine, asa }
    }

    fn reply(answer: grasp::Result<Negotiation>) -> Reply {
        match answer {
            Ok(Negotiation::Offer(session, objective)) => Reply::Offer(Session::Ours(session), objective),
            Ok(Negotiation::Agreed(objective)) => Reply::Agreed(objective),
            Err(Error::Declined(reason)) => Reply::Declined(reason),
            Err(error) => Reply::Failed(error.code()),
        }
    }

    fn session(session: Session) -> grasp::SessionNonce {
        match session {
            Session::Ours(session) => session,
            Session::Graspy(_) => panic!("a session of another side"),
        }
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let stats = self.engine.stats();
            assert_eq!(stats.panics, 0, "a thread of the engine panicked");
            assert_eq!(stats.dropped_malformed, 0, "graspy sent something that our decoder refuses");
        }
    }
}

impl Side for Ours {
    fn is_graspy(&self) -> bool {
        false
    }

    fn register(&self, objective: &Objective, how: How) {
        let How { discoverable, rapid, local, ttl } = how;
        let options = RegisterObj { discoverable, rapid, local, ttl, ..RegisterObj::default() };
        self.node.run(|| self.engine.register_obj(self.asa.nonce(), objective, options)).unwrap();
    }

    fn discover(&self, objective: &Objective, timeout: u32, flush: bool) -> Vec<AsaLocator> {
        let options = Discover { flush, ..Discover::default() };
        self.node.run(|| self.engine.discover(self.asa.nonce(), objective, Some(timeout), options)).unwrap()
    }

    fn request(&self, objective: &Objective, peer: Option<&AsaLocator>, timeout: u32) -> Reply {
        let answer =
            self.node.run(|| self.engine.req_negotiate(self.asa.nonce(), objective, peer, Some(timeout)));
        Self::reply(answer)
    }

    fn open(&self, objective: &Objective, peer: &AsaLocator) -> Session {
        let opened =
            self.node.run(|| self.engine.req_negotiate_noloop(self.asa.nonce(), objective, Some(peer), None));
        Session::Ours(opened.unwrap())
    }

    fn listen(&self, objective: &Objective) -> (Session, Objective) {
        let (tx, rx) = bounded(1);
        let (engine, nonce, objective) = (self.engine.clone(), self.asa.nonce(), objective.clone());
        let thread = self.node.spawn("listen", move || tx.send(engine.listen_negotiate(nonce, &objective)));
        let (session, asked) = rx.recv_timeout(SOON).expect("a request comes").unwrap();
        thread.join().unwrap().unwrap();
        (Session::Ours(session), asked)
    }

    fn step(&self, session: Session, objective: &Objective, timeout: u32) -> Reply {
        let (nonce, session) = (self.asa.nonce(), Self::session(session));
        Self::reply(self.engine.negotiate_step(nonce, session, objective, Some(timeout)))
    }

    fn wait(&self, session: Session, timeout: u32) {
        self.engine.negotiate_wait(self.asa.nonce(), Self::session(session), Some(timeout)).unwrap();
    }

    fn end(&self, session: Session, accept: bool, reason: Option<&str>) {
        self.engine.end_negotiate(self.asa.nonce(), Self::session(session), accept, reason).unwrap();
    }

    fn invalid(&self, session: Session, info: &str) {
        self.engine.send_invalid(self.asa.nonce(), Self::session(session), Some(info.into())).unwrap();
    }

    fn synchronize(
        &self,
        objective: &Objective,
        peer: Option<&AsaLocator>,
        timeout: u32,
    ) -> Result<Objective, u8> {
        let nonce = self.asa.nonce();
        let got = self.node.run(|| self.engine.synchronize(nonce, objective, peer, Some(timeout)));
        got.map_err(|error| error.code())
    }

    fn serve(&self, objective: &Objective) {
        self.node.run(|| self.engine.listen_synchronize(self.asa.nonce(), objective)).unwrap();
    }

    fn flood(&self, ttl: u32, tagged: &[TaggedObjective]) {
        self.engine.flood(self.asa.nonce(), ttl, tagged).unwrap();
    }

    fn flooded(&self, objective: &Objective) -> Vec<TaggedObjective> {
        self.engine.get_flood(self.asa.nonce(), objective).unwrap()
    }

    fn send(&self, session: Session, message: &Value) {
        self.engine.gsend(self.asa.nonce(), Self::session(session), message).unwrap();
    }

    fn receive(&self, session: Session, timeout: u32) -> Result<Value, u8> {
        let received = self.engine.grecv(self.asa.nonce(), Self::session(session), timeout);
        received.map_err(|error| error.code())
    }
}
