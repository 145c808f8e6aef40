//! What neighbours in a secure domain cost a node: memory, threads, and how often they wake it. The node is in a process of its own, and the
//! neighbours are bare clients of rustls on one host, so that they have nothing to do with each other.

use std::io::{BufRead as _, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use grasp::domain::{Files, Kept};
use grasp::wire::{self, Body, Flags, Flood, Message, WireLocator, WireObjective};
use grasp::{Acp, Config, Engine, Locator, Protocol};
use grasptests::domains::{Saved, authority, credentials};
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, Lab, RawUdp};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::figure::{Aim, Figure, Result};
use super::process::{Process, READY, ROLE, settled};
use super::tls::Floor;

/// How many neighbours there are.
const NEIGHBOURS: u16 = 100;
/// Where the member finds its certificate and key.
const CREDENTIALS: &str = "GRASP_BENCH_CREDENTIALS";
/// How long they are watched, in which each announces itself as often as neighbours do, once in a minute.
const WATCHED: Duration = Duration::from_secs(30);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The role of the member: tells how many neighbours it has whenever it is asked.
pub(crate) fn be_member() -> Result<()> {
    let directory = std::env::var_os(CREDENTIALS).ok_or("no credentials")?;
    let kept = Arc::new(Kept::load(Files::in_directory(directory))?);
    let engine = Engine::start(Config::new().acp(Acp::Domain(kept)))?;
    println!("{READY}");
    for line in std::io::stdin().lock().lines() {
        line?;
        let stats = engine.stats();
        println!("{}", stats.neighbours_joined - stats.neighbours_left);
    }
    Ok(())
}

/// What each of them costs.
pub(crate) fn cost(name: &str) -> Result<Vec<Figure>> {
    let lab = Lab::new()?;
    let (node, around) = (lab.node("a")?, lab.node("b")?);
    lab.link(&node, &around)?;
    let authority = authority();
    let saved = Saved::new(&credentials(&authority, 1));
    let group = RawUdp::neighbors(&around, "eth0")?;
    group.socket().set_read_timeout(Some(PATIENCE))?;
    let mut command = node.command(std::env::current_exe()?);
    command.args([ROLE, "member"]).env(CREDENTIALS, saved.directory());
    let mut member = Process::start(command)?;
    member.ready()?;
    let at = announced(&group, around.interface_index("eth0")?)?;
    let own = around.link_local("eth0")?;
    let (memory, _) = settled(&member)?;
    let threads = member.threads()?;
    // Each has a certificate of its own: a member takes few of the places of a link.
    let meet = |port: u16| -> Result<_> {
        let near = credentials(&authority, u8::try_from(port)?.wrapping_add(1)).current();
        connect(&Floor { near }.client()?, at, &announcement(own, port))
    };
    let open: Vec<_> = around.run(|| (1..=NEIGHBOURS).map(meet).collect::<Result<_>>())?;
    let began = Instant::now();
    while ask(&mut member)? < f64::from(NEIGHBOURS) {
        if began.elapsed() > PATIENCE {
            return Err("not all are neighbours".into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(Duration::from_secs(2));
    let mouth = RawUdp::open(&around, "eth0", own, 0)?;
    let before = member.switches()?;
    for port in (1..=NEIGHBOURS).take(usize::from(NEIGHBOURS) / 2) {
        mouth.send(&announcement(own, port), ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT)?;
        thread::sleep(WATCHED / (u32::from(NEIGHBOURS) / 2));
    }
    let wakeups = (member.switches()? - before) / WATCHED.as_secs_f64();
    let each = |all: f64| all / f64::from(NEIGHBOURS);
    let figures = vec![
        Figure::plain(format!("{name}_memory"), "KiB", Aim::AtMost(64.0), each(member.resident()? - memory)),
        Figure::plain(format!("{name}_threads"), "", Aim::AtMost(1.0), each(member.threads()? - threads)),
        Figure::plain(format!("{name}_wakeups"), "/s", Aim::AtMost(1.0), wakeups),
    ];
    if ask(&mut member)? < f64::from(NEIGHBOURS) {
        return Err("a neighbour was lost".into());
    }
    drop(open);
    Ok(figures)
}

fn ask(member: &mut Process) -> Result<f64> {
    member.say("")?;
    Ok(member.line()?.parse()?)
}

/// Where the member accepts neighbours, as it announces.
fn announced(group: &RawUdp, ifi: u32) -> Result<SocketAddrV6> {
    let mut chunk = [0; 2048];
    let (count, _) = group.socket().recv_from(&mut chunk)?;
    let message = wire::decode(chunk.get(..count).unwrap_or_default(), &wire::Limits::default())?;
    let Body::Flood(Flood { objectives, .. }) = message.body else { return Err("no announcement".into()) };
    match objectives.first() {
        Some((_, Some(WireLocator { locator: Locator::Ipv6(address), port: Some(port), .. }))) => {
            Ok(SocketAddrV6::new(*address, *port, 0, ifi))
        }
        _ => Err("no locator".into()),
    }
}

/// The announcement of the neighbour that listens at a port.
fn announcement(own: Ipv6Addr, port: u16) -> Vec<u8> {
    let objective = WireObjective {
        name: "AN_ACP".into(),
        flags: Flags(Flags::F_SYNCH),
        loop_count: 1,
        value: Some("GRASP-TLS".into()),
    };
    let locator =
        WireLocator { locator: Locator::Ipv6(own), protocol: Some(Protocol::Tcp), port: Some(port) };
    let flood = Flood {
        session: u32::from(port),
        initiator: IpAddr::V6(own),
        ttl: 210_000,
        objectives: vec![(objective, Some(locator))],
    };
    wire::encode(&Message::new(Body::Flood(flood)))
}

/// Connects and greets, and waits for the greeting of the member.
fn connect(
    client: &Arc<ClientConfig>,
    at: SocketAddrV6,
    greeting: &[u8],
) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    let stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let name = ServerName::IpAddress(stream.peer_addr()?.ip().into());
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::clone(client), name)?, stream);
    stream.write_all(greeting)?;
    let mut chunk = [0; 2048];
    match stream.read(&mut chunk)? {
        0 => Err("the member closed a connection".into()),
        _ => Ok(stream),
    }
}
