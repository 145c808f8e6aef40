//! The substrate (RFC 8990 §2.5.1): its status, its interfaces, and domains that share a key.

use std::io::Write as _;
use std::net::{Ipv6Addr, SocketAddrV6, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use grasp::acp::{AcpStatus, Substrate};
use grasp::wire::{Body, Message, encode};
use grasp::{
    Acp, Asa, Config, Discover, Engine, Error, Locator, Negotiation, Objective, QuadsKeys, RegisterObj,
    Reply, TaggedObjective, Value,
};
use grasptests::isolated;
use grasptests::lab::{
    ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, Lab, LabError, Link, Node, RawUdp, eventually,
};
use grasptests::nodes::{Host, RawStream, joined, negotiable, step};

const SOON: Duration = Duration::from_secs(10);

fn objective(name: &str, neg: bool, value: impl Into<Value>) -> Objective {
    Objective { neg, synch: !neg, value: value.into(), ..Objective::new(name) }
}

/// An engine with an ASA that serves EX3 (accepts whatever comes) and EX2 (its own name).
pub(crate) struct Member {
    pub(crate) node: Node,
    pub(crate) asa: Asa,
}

impl Member {
    pub(crate) fn start(node: &Node, acp: Acp) -> Self {
        let config = Config::new().acp(acp).watch_interval(Duration::from_millis(100));
        let engine = node.run(|| Engine::start(config)).expect("start");
        let asa = Asa::register(&engine, "asa").expect("register");
        let (ex2, ex3) = (objective("EX2", false, node.name()), objective("EX3", true, ()));
        let overlap = RegisterObj { overlap: true, ..RegisterObj::default() };
        node.run(|| {
            engine.register_obj(asa.nonce(), &ex3, overlap).expect("EX3");
            engine.register_obj(asa.nonce(), &ex2, RegisterObj::default()).expect("EX2");
        });
        Self { node: node.clone(), asa }
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.asa.engine()
    }

    pub(crate) fn serve(&self) {
        let (engine, nonce) = (self.engine().clone(), self.asa.nonce());
        let ex2 = objective("EX2", false, self.node.name());
        self.node.run(|| engine.listen_synchronize(nonce, &ex2)).expect("listen");
        self.node.spawn("server", move || {
            while let Ok((session, offer)) = engine.listen_negotiate(nonce, &objective("EX3", true, ())) {
                let stepped = engine.negotiate_step(nonce, session, &offer, Some(5000));
                if let Ok(Negotiation::Offer(session, _)) = stepped {
                    let _ = engine.end_negotiate(nonce, session, true, None);
                }
            }
        });
    }

    pub(crate) fn discover(&self, name: &str) -> Result<Vec<Locator>, Error> {
        let options = Discover { flush: true, ..Discover::default() };
        let wanted = Objective::new(name);
        let found = self.node.run(|| self.engine().discover(self.asa.nonce(), &wanted, None, options))?;
        Ok(found.into_iter().filter_map(|found| found.locator).collect())
    }

    /// Discovery, negotiation with steps, synchronization and a flood: does all of it work with this peer alone?
    pub(crate) fn works_with(&self, peer: &Self) {
        let (engine, nonce) = (self.engine(), self.asa.nonce());
        let at = vec![Locator::Ipv6(peer.node.ula().expect("a unique local address"))];
        eventually(SOON, "the peer is found, and nobody else", || self.discover("EX3") == Ok(at.clone()));
        let wish = objective("EX3", true, vec![Value::from("NZD"), Value::from("x".repeat(1500).as_str())]);
        let answer = self.node.run(|| engine.req_negotiate(nonce, &wish, None, Some(5000)));
        let Ok(Negotiation::Offer(session, offer)) = answer else { panic!("{answer:?}") };
        assert_eq!(offer.value, wish.value);
        let end = engine.negotiate_step(nonce, session, &offer, Some(5000));
        assert!(matches!(end, Ok(Negotiation::Agreed(_))), "{end:?}");
        let value =
            self.node.run(|| engine.synchronize(nonce, &objective("EX2", false, ()), None, Some(5000)));
        assert_eq!(value.expect("a value").value, Value::from(peer.node.name()));
        let ex1 = objective("EX1", false, self.node.name());
        self.node.run(|| engine.register_obj(nonce, &ex1, RegisterObj::default())).expect("EX1");
        engine.flood(nonce, 0, &[TaggedObjective::new(ex1.clone(), None)]).expect("flood");
        eventually(SOON, "the flood arrives", || {
            let flooded = peer.engine().get_flood(peer.asa.nonce(), &ex1).expect("get_flood");
            flooded.len() == 1 && flooded[0].objective.value == ex1.value
        });
    }
}

fn keys(password: &str) -> Acp {
    Acp::Quads(QuadsKeys::from_password(password).expect("a password"))
}

#[derive(Debug)]
struct Switch(AtomicBool);

impl Substrate for Switch {
    fn status(&self) -> AcpStatus {
        if self.0.load(Ordering::Relaxed) { AcpStatus::Secure } else { AcpStatus::Down }
    }
}

#[test]
fn the_engine_follows_the_status_of_its_substrate() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    lab.link(&a, &b)?;
    let switch = Arc::new(Switch(AtomicBool::new(false)));
    let near = Member::start(&a, Acp::Custom(Arc::clone(&switch) as Arc<dyn Substrate>));
    let far = Member::start(&b, Acp::Layer2);
    far.serve();
    assert_eq!(near.discover("EX3"), Err(Error::NoSecurity));
    switch.0.store(true, Ordering::Relaxed);
    eventually(SOON, "it is up", || near.discover("EX3").is_ok());
    near.works_with(&far);
    switch.0.store(false, Ordering::Relaxed);
    eventually(SOON, "it is down", || near.discover("EX3") == Err(Error::NoSecurity));
    let ex4 = objective("EX4", false, 1);
    b.run(|| far.engine().register_obj(far.asa.nonce(), &ex4, RegisterObj::default())).expect("EX4");
    far.engine().flood(far.asa.nonce(), 0, &[TaggedObjective::new(ex4.clone(), None)]).expect("flood");
    eventually(SOON, "the flood is dropped", || near.engine().stats().dropped_insecure > 0);
    assert!(near.engine().get_flood(near.asa.nonce(), &ex4).expect("get_flood").is_empty());
    Ok(())
}

#[test]
fn a_session_that_is_dropped_while_the_substrate_is_down_is_over() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    lab.link(&a, &b)?;
    let switch = Arc::new(Switch(AtomicBool::new(true)));
    let near = Member::start(&a, Acp::Custom(Arc::clone(&switch) as Arc<dyn Substrate>));
    let far = Member::start(&b, Acp::Layer2);
    far.serve();
    let mut offered = None;
    eventually(SOON, "the peer makes an offer", || {
        let wish = objective("EX3", true, 1);
        match near.node.run(|| near.asa.negotiate(&wish, None, Some(5000))) {
            Ok(Reply::Offer(session)) => offered = Some(session),
            other => drop(other),
        }
        offered.is_some()
    });
    switch.0.store(false, Ordering::Relaxed);
    eventually(SOON, "it is down", || near.discover("EX3") == Err(Error::NoSecurity));
    assert_eq!(near.engine().open_sessions(), 1);
    drop(offered);
    assert_eq!(near.engine().open_sessions(), 0);
    Ok(())
}

#[test]
fn an_acp_names_its_interfaces() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    lab.link(&a, &b)?;
    lab.link(&a, &b)?;
    let near = Member::start(&a, Acp::Interfaces(vec!["eth1".to_owned()]));
    let used: Vec<u32> = near.engine().links().into_iter().map(|(ifi, _)| ifi).collect();
    assert_eq!(used, [a.interface_index("eth1")?]);
    assert_ne!(near.discover("EX9"), Err(Error::NoSecurity));
    Ok(())
}

#[test]
fn domains_with_other_keys_and_without_do_not_disturb_each_other() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let names = ["red1", "red2", "blue1", "blue2", "plain1", "plain2"];
    let nodes: Vec<Node> = names.iter().map(|name| lab.node(name)).collect::<Result<_, _>>()?;
    lab.lan(&nodes.iter().collect::<Vec<_>>())?;
    let acps = [keys("red"), keys("red"), keys("blue"), keys("blue"), Acp::Layer2, Acp::Layer2];
    let members: Vec<Member> = nodes.iter().zip(acps).map(|(node, acp)| Member::start(node, acp)).collect();
    for domain in members.chunks(2) {
        domain[1].serve();
    }
    for domain in members.chunks(2) {
        domain[0].works_with(&domain[1]);
    }
    for member in &members[..4] {
        assert!(member.engine().stats().dropped_undecryptable > 0, "{}", member.node.name());
    }
    for member in &members[4..] {
        assert!(member.engine().stats().dropped_malformed > 0, "{}", member.node.name());
    }
    assert!(members.iter().all(|member| member.engine().stats().panics == 0));
    Ok(())
}

#[test]
fn nothing_of_a_quads_domain_is_sent_in_the_clear_and_hostile_ciphertexts_do_no_harm() -> Result<(), LabError>
{
    isolated!();
    let lab = Lab::new()?;
    let (a, b, hostile) = (lab.node("a")?, lab.node("b")?, lab.node("hostile")?);
    lab.lan(&[&a, &b, &hostile])?;
    let (near, far) = (Member::start(&a, keys("grasp")), Member::start(&b, keys("grasp")));
    far.serve();
    let ears = RawUdp::neighbors(&hostile, "eth0")?;
    near.discover("EX3").expect("discover");
    let sealed = ears.receive(SOON)?.expect("a multicast").bytes;
    assert!(sealed.len() % 16 == 0 && !sealed.windows(3).any(|window| window == b"EX3"));
    let secret = QuadsKeys::from_password("grasp").expect("keys");
    let opened = secret.open(&sealed).expect("it opens with the key");
    assert!(opened.windows(3).any(|window| window == b"EX3"));
    // Cut, with every byte flipped in turn, lengthened, empty, and of another key.
    let mut attacks: Vec<Vec<u8>> = (0..sealed.len()).map(|length| sealed[..length].to_vec()).collect();
    attacks.extend((0..sealed.len()).map(|index| {
        let mut flipped = sealed.clone();
        flipped[index] ^= 0x41;
        flipped
    }));
    attacks.push(QuadsKeys::from_password("other").expect("keys").seal(&opened));
    attacks.push(secret.seal(&[0x9f; 500]));
    attacks.push(secret.seal(&[]));
    for attack in &attacks {
        ears.send(attack, ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT)?;
    }
    let port = far
        .engine()
        .dump(true)
        .split("EX3 ASA")
        .nth(1)
        .and_then(|rest| rest.split("Port: ").nth(1)?.split(' ').next()?.parse::<u16>().ok());
    let address = SocketAddrV6::new(b.ula().expect("a unique local address"), port.expect("a port"), 0, 0);
    for attack in &attacks {
        let mut stream = hostile.run(|| TcpStream::connect(address)).expect("connect");
        let _ = stream.write_all(attack);
    }
    near.works_with(&far);
    eventually(SOON, "the attacks are counted", || far.engine().stats().dropped_undecryptable > 40);
    assert!(far.engine().stats().dropped_bad_request > 40);
    assert_eq!((near.engine().stats().panics, far.engine().stats().panics), (0, 0));
    Ok(())
}

/// Keeps the warnings of this process.
struct Warnings(parking_lot::Mutex<Vec<String>>);

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }
    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.lock().push(record.args().to_string());
        }
    }
    fn flush(&self) {}
}

static WARNINGS: Warnings = Warnings(parking_lot::Mutex::new(Vec::new()));

#[test]
fn an_engine_that_trusts_its_links_says_so_once() -> Result<(), LabError> {
    isolated!();
    log::set_logger(&WARNINGS).expect("the only logger of this process");
    log::set_max_level(log::LevelFilter::Warn);
    let lab = Lab::new()?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    lab.link(&a, &b)?;
    let silent = [Acp::None, keys("grasp"), Acp::Interfaces(vec!["eth0".to_owned()])];
    let _quiet: Vec<Member> = silent.into_iter().map(|acp| Member::start(&a, acp)).collect();
    assert!(WARNINGS.0.lock().is_empty(), "{:?}", WARNINGS.0.lock());
    let near = Member::start(&a, Acp::Layer2);
    let far = Member::start(&b, Acp::Interfaces(vec!["eth0".to_owned()]));
    far.serve();
    near.works_with(&far);
    // Several looks at the interfaces later there is still the one.
    let warnings = WARNINGS.0.lock().clone();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("trusts everything on its links"), "{warnings:?}");
    Ok(())
}

/// An objective's port is open at all addresses of the machine.
#[test]
fn who_connects_from_beyond_the_interfaces_of_the_substrate_is_refused() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let [member, inside, outside] = [lab.node("member")?, lab.node("inside")?, lab.node("outside")?];
    let [secure, open] = [lab.link(&member, &inside)?, lab.link(&member, &outside)?];
    lab.route_all()?;
    let address = |link: &Link| link.ula(&member).expect("an address");
    let named = || vec!["eth0".to_owned()];
    for config in [
        Config::new().acp(Acp::Interfaces(named())),
        Config::new().interfaces(Some(named())),
        Config::new().exclude_interfaces(vec!["eth1".to_owned()]),
    ] {
        let host = Host::start(&member, config);
        host.register(&negotiable("EX1", 0));
        let listening = host.listen(&negotiable("EX1", 0));
        let request = || Body::RequestNegotiate(step(7, "EX1", 6, 1));
        // At its own address on that link, and at the one inside, which Linux lets anyone reach by any interface.
        for to in [address(&open), address(&secure)] {
            let before = host.engine.stats();
            let mut stranger = RawStream::connect(&outside, to, host.port("EX1"));
            let _ = stranger.try_write(&encode(&Message::new(request())));
            eventually(SOON, "it is refused", || {
                host.engine.stats().dropped_outside > before.dropped_outside
            });
            stranger.expect_end();
        }
        assert_eq!(host.engine.stats().negotiation_requests, 0);
        let mut neighbour = RawStream::connect(&inside, address(&secure), host.port("EX1"));
        neighbour.say(request());
        let (session, _) = joined(listening).expect("a request from inside");
        host.run(|engine, asa| engine.end_negotiate(asa, session, true, None)).expect("the session is open");
        // From the machine itself by any address.
        for to in [Ipv6Addr::LOCALHOST, address(&secure), address(&open)] {
            let listening = host.listen(&negotiable("EX1", 0));
            RawStream::connect(&member, to, host.port("EX1")).say(request());
            let (session, _) = joined(listening).expect("a request from here");
            let _ = host.run(|engine, asa| engine.end_negotiate(asa, session, true, None));
        }
        host.expect_quiet();
    }
    Ok(())
}
