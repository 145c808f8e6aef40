//! Which peers there are, and how their programs are started; or why they cannot be had.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use grasptests::lab::Node;

use super::super::figure::Result;
use super::super::process::ROLE;
use super::Order;

/// A peer with certain settings.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) name: String,
    /// Its settings, as the table shows them.
    pub(super) settings: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, PathBuf)>,
    /// How it asks a known peer: in words, and the command.
    pub(super) asks: &'static [(&'static str, &'static str)],
    /// Whether it consists of several processes.
    pub(super) several: bool,
    jobs: &'static [&'static str],
}

impl Peer {
    /// The command that starts it where this process is.
    pub(super) fn local_command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command
    }

    /// The command that starts it on a node.
    pub(super) fn command(&self, node: &Node) -> Command {
        let mut command = node.command(&self.program);
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("ADDRESS", ipv4(node).to_string()).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// The IPv4 address of a node of these labs: what is made for IPv4 first has its chance.
pub(super) fn ipv4(node: &Node) -> Ipv4Addr {
    let [high, low] = node.number().to_be_bytes();
    Ipv4Addr::new(10, 77, high, low)
}

/// All peers: those that can be had, and why others cannot.
#[derive(Debug, Default)]
pub(crate) struct Which {
    peers: Vec<Peer>,
    missing: Vec<(&'static str, &'static [&'static str], String)>,
}

const FIND: &[&str] = &["find"];
const ASK: &[&str] = &["ask"];
const SPREAD: &[&str] = &["spread"];
const DECODE: &[&str] = &["decode"];
const FIND_AND_ASK: &[&str] = &["find", "ask"];
const ALL: &[&str] = &["find", "ask", "spread"];
const OURS: &[&str] = &["find", "ask", "spread", "decode"];
/// How a peer asks that can do both.
const BOTH: &[(&str, &str)] = &[("a connection each", "ask"), ("in an open session", "step")];

impl Which {
    /// Looks for all peers that are wanted: builds programs, asks for versions.
    pub(crate) fn look(order: &Order) -> Result<Self> {
        let mut which = Self::default();
        let wanted = |name: &str| order.peers.is_empty() || order.peers.iter().any(|peer| peer == name);
        let in_order = |jobs: &&'static [&'static str]| {
            order.jobs.is_empty() || jobs.iter().any(|job| order.jobs.iter().any(|wanted| wanted == job))
        };
        for (name, jobs, look) in [
            ("grasp", OURS, ours as Look),
            ("tcp", ASK, tcp),
            ("graspy", ALL, graspy),
            ("mdns-sd", FIND, mdns),
            ("zeroconf", FIND, zeroconf),
            ("avahi", FIND, avahi),
            ("zenoh", ALL, zenoh),
            ("foca", SPREAD, foca),
            ("minicbor", DECODE, minicbor),
            ("ciborium", DECODE, ciborium),
        ] {
            if !wanted(name) || !in_order(&jobs) {
                continue;
            }
            match look(order) {
                Ok(peers) => which.peers.extend(peers),
                Err(why) => which.missing.push((name, jobs, why.to_string())),
            }
        }
        Ok(which)
    }

    /// The peers that do a job, and those that are skipped, with the reason.
    pub(super) fn of(&self, job: &str) -> (Vec<&Peer>, Vec<(&str, &str)>) {
        let peers = self.peers.iter().filter(|peer| peer.jobs.contains(&job)).collect();
        let missing = self.missing.iter().filter(|(_, jobs, _)| jobs.contains(&job));
        (peers, missing.map(|(name, _, why)| (*name, why.as_str())).collect())
    }
}

/// The peers of a name, once for each of their settings.
type Look = fn(&Order) -> Result<Vec<Peer>>;

fn ours(_: &Order) -> Result<Vec<Peer>> {
    let name = format!("this engine {}", env!("CARGO_PKG_VERSION"));
    let peer = |settings, role: &str, jobs| -> Result<Peer> {
        Ok(Peer {
            asks: BOTH,
            ..program(name.clone(), settings, std::env::current_exe()?, &[ROLE, role], jobs)
        })
    };
    let decoder = peer("default limits", "peer-decoder", DECODE)?;
    Ok(vec![peer("default", "peer-engine", ALL)?, peer("rapid mode", "peer-rapid-engine", FIND)?, decoder])
}

fn tcp(_: &Order) -> Result<Vec<Peer>> {
    let tcp = program(
        "plain TCP".to_owned(),
        "a thread a connection",
        std::env::current_exe()?,
        &[ROLE, "peer-tcp"],
        ASK,
    );
    Ok(vec![Peer { asks: &[("a connection each", "ask"), ("open connection", "step")], ..tcp }])
}

fn graspy(order: &Order) -> Result<Vec<Peer>> {
    let named = order.graspy.clone().or_else(|| std::env::var_os("GRASPY_DIR").map(PathBuf::from));
    let directory = named.ok_or("neither --graspy nor GRASPY_DIR names a checkout of it")?;
    if !directory.join("grasp.py").is_file() {
        return Err(format!("there is no grasp.py in {}", directory.display()).into());
    }
    imported("cbor2, netifaces, cryptography", "''")?;
    let text = std::fs::read_to_string(directory.join("grasp.py"))?;
    let version = text.lines().find_map(|line| line.trim().strip_prefix("_version = ")).unwrap_or_default();
    let name = format!("graspy {}", version.trim_matches('"'));
    let peer = Peer {
        asks: BOTH,
        environment: vec![("GRASPY_DIR", directory.canonicalize()?)],
        ..in_python(name, "default", "graspy", ALL)
    };
    Ok(vec![peer])
}

fn mdns(_: &Order) -> Result<Vec<Peer>> {
    let (program_file, version) = built("peer-mdns", "mdns-sd")?;
    Ok(vec![program(format!("mdns-sd {version}"), "default", program_file, &[], FIND)])
}

fn zeroconf(_: &Order) -> Result<Vec<Peer>> {
    let version = imported("zeroconf", "zeroconf.__version__")?;
    Ok(vec![in_python(format!("python-zeroconf {version}"), "default", "zeroconf", FIND)])
}

fn avahi(_: &Order) -> Result<Vec<Peer>> {
    for (tool, argument) in
        [("dbus-daemon", "--version"), ("avahi-browse", "--version"), ("unshare", "--version")]
    {
        said(Command::new(tool).arg(argument)).map_err(|_| format!("there is no {tool}"))?;
    }
    let version =
        said(Command::new("avahi-daemon").arg("--version")).map_err(|_| "there is no avahi-daemon")?;
    imported("os", "''")?;
    let peer = in_python(version, "default, avahi-browse", "avahi", FIND);
    let mut arguments = vec!["--mount".to_owned(), peer.program.display().to_string()];
    arguments.extend(peer.arguments);
    Ok(vec![Peer { program: "unshare".into(), arguments, several: true, ..peer }])
}

/// By its Python binding: the Rust crate and its 300 dependencies take many minutes to build.
fn zenoh(_: &Order) -> Result<Vec<Peer>> {
    let version = imported("importlib.metadata, zenoh", "importlib.metadata.version('eclipse-zenoh')")?;
    let script = script();
    let peer = |settings, arguments: &[&str], jobs| {
        let arguments = [&[script.as_str(), "zenoh"], arguments].concat();
        let peer = program(format!("zenoh {version} in Python"), settings, python(), &arguments, jobs);
        Peer { asks: &[("open session", "ask")], ..peer }
    };
    Ok(vec![
        peer("default", &[], ALL),
        peer("low latency, scouting 50 ms", &["tuned"], FIND_AND_ASK),
        peer("clients of a router", &["routed"], SPREAD),
    ])
}

fn foca(_: &Order) -> Result<Vec<Peer>> {
    let (file, version) = built("peer-gossip", "foca")?;
    let peer = |settings, arguments: &[&str]| {
        program(format!("foca {version}"), settings, file.clone(), arguments, SPREAD)
    };
    Ok(vec![peer("new_lan: 3 members every 200 ms", &[]), peer("5 members every 20 ms", &["tuned"])])
}

fn minicbor(_: &Order) -> Result<Vec<Peer>> {
    general("minicbor", "types decoded by hand")
}

fn ciborium(_: &Order) -> Result<Vec<Peer>> {
    general("ciborium", "types decoded through serde")
}

/// A general library for CBOR.
fn general(library: &str, settings: &'static str) -> Result<Vec<Peer>> {
    let (program_of_both, version) = built("peer-codec", library)?;
    Ok(vec![program(format!("{library} {version}"), settings, program_of_both, &[library], DECODE)])
}

fn program(
    name: String,
    settings: &'static str,
    file: PathBuf,
    arguments: &[&str],
    jobs: &'static [&'static str],
) -> Peer {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    Peer {
        name,
        settings,
        program: file,
        arguments,
        environment: Vec::new(),
        asks: &[],
        several: false,
        jobs,
    }
}

fn in_python(name: String, settings: &'static str, which: &str, jobs: &'static [&'static str]) -> Peer {
    program(name, settings, python(), &[&script(), which], jobs)
}

fn script() -> String {
    directory().join("bench/peers.py").display().to_string()
}

fn python() -> PathBuf {
    std::env::var_os("PYTHON").map_or_else(|| "python3".into(), PathBuf::from)
}

/// What an expression is in Python once modules are imported.
fn imported(modules: &str, expression: &str) -> Result<String> {
    let code = format!("import {modules}; print({expression})");
    let python = python();
    said(Command::new(&python).args(["-c", &code]))
        .map_err(|_| format!("{} (PYTHON names another) cannot import {modules}", python.display()).into())
}

fn directory() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Builds a program of the workspace `grasptests/peers`: its path, and the version of a crate in it.
fn built(package: &str, of: &str) -> Result<(PathBuf, String)> {
    let peers = directory().join("peers");
    eprintln!("bench: building {package}");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| directory().with_file_name("target").join("peers"), PathBuf::from);
    // cargo starts elsewhere.
    let target = std::path::absolute(target)?;
    cargo.args(["build", "--release", "--locked", "--quiet", "-p", package, "--target-dir"]).arg(&target);
    cargo.current_dir(&peers);
    said(&mut cargo).map_err(|why| format!("cargo build -p {package} in grasptests/peers fails: {why}"))?;
    let lock = std::fs::read_to_string(peers.join("Cargo.lock"))?;
    let (_, rest) =
        lock.split_once(&format!("name = \"{of}\"\nversion = \"")).ok_or("it is not in Cargo.lock")?;
    let version = rest.split('"').next().unwrap_or_default();
    Ok((target.join("release").join(package), version.to_owned()))
}

/// What a command writes; an error if it cannot be started or fails.
fn said(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(complaint.lines().rfind(|line| !line.is_empty()).unwrap_or("it says nothing").into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
