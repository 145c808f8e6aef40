//! The capture that an engine writes: read by a library that knows nothing of it, and by tshark.

use std::collections::HashMap;
use std::fs::File;
use std::net::Ipv6Addr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use grasp::trace::{Event, Trace};
use grasp::wire::{Limits, decode};
use grasp::{Acp, Config, Discover, Objective, QuadsKeys, RegisterObj, TaggedObjective, Value};
use grasptests::lab::{Lab, eventually};
use grasptests::nodes::{Host, SOON, linked};
use grasptests::{isolated, own_engine};
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, PcapNGReader};

/// A directory for captures, removed in the end, and the file of the node `asker` in it.
struct Capture(PathBuf);

impl Capture {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("grasp-{name}-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        Self(directory.join("capture-asker.pcapng"))
    }

    /// The file that an engine is told to write.
    fn wanted(&self) -> Option<PathBuf> {
        Some(self.0.with_file_name("capture.pcapng"))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
    }
}

fn negotiable(value: &str) -> Objective {
    let mut objective = Objective::new("EX3");
    (objective.neg, objective.value) = (true, Value::from(value));
    objective
}

/// A discovery, a negotiation with a long value, and a flood, written by the asker.
fn captured(capture: &Capture, config: Config) -> (Lab, Host, Host, Trace) {
    let (lab, _, a, b) = linked();
    let asker = Host::start(&a, config.clone().name(Some("asker".into())).pcap(capture.wanted()));
    let trace = asker.engine.trace();
    let server = Host::start(&b, config);
    server.register(&negotiable("0"));
    asker.register(&negotiable("0"));
    let listening = server.listen(&negotiable("0"));
    let (engine, asa) = (server.engine.clone(), server.asa);
    let serving = b.spawn("server", move || {
        let (session, _) = listening.join().unwrap().unwrap();
        engine.end_negotiate(asa, session, true, None).unwrap();
    });
    let found = asker.run(|engine, asa| {
        engine.discover(
            asa,
            &negotiable("0"),
            Some(10_000),
            Discover { enough: Some(1), ..Discover::default() },
        )
    });
    let asked = negotiable(&"long ".repeat(300));
    asker.run(|engine, asa| engine.req_negotiate(asa, &asked, found.unwrap().first(), None)).unwrap();
    serving.join().unwrap();
    let mut flooded = Objective::new("EX1");
    (flooded.synch, flooded.value) = (true, Value::from("now"));
    server.register_with(&flooded, RegisterObj::default());
    server
        .run(|engine, asa| engine.flood(asa, 1000, &[TaggedObjective::new(flooded.clone(), None)]))
        .unwrap();
    grasptests::lab::eventually(grasptests::nodes::SOON, "the flood comes", || {
        asker.engine.stats().floods_received >= 1
    });
    asker.engine.shutdown();
    server.engine.shutdown();
    (lab, asker, server, trace)
}

/// The packets of a capture with the numbers of their interfaces, and the names of those.
fn packets(path: &Path) -> (Vec<(u32, Vec<u8>)>, Vec<String>) {
    packets_on(path, Linktype::RAW)
}

fn packets_on(path: &Path, link: Linktype) -> (Vec<(u32, Vec<u8>)>, Vec<String>) {
    let mut reader = PcapNGReader::new(1 << 17, File::open(path).unwrap()).unwrap();
    let (mut packets, mut interfaces) = (Vec::new(), Vec::new());
    loop {
        match reader.next() {
            Ok((offset, block)) => {
                match block {
                    PcapBlockOwned::NG(Block::SectionHeader(header)) => assert_eq!(header.major_version, 1),
                    PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                        assert_eq!(interface.linktype, link);
                        let name = interface.options.iter().find(|option| option.code.0 == 2).unwrap();
                        interfaces.push(String::from_utf8_lossy(name.value()).into_owned());
                    }
                    PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                        assert_eq!(packet.caplen, packet.origlen);
                        packets.push((packet.if_id, packet.data[..packet.caplen as usize].to_vec()));
                    }
                    _ => panic!("a block that nobody wrote"),
                }
                reader.consume(offset);
            }
            Err(PcapError::Eof) => return (packets, interfaces),
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn address(bytes: &[u8]) -> Ipv6Addr {
    Ipv6Addr::from(<[u8; 16]>::try_from(bytes).unwrap())
}

#[test]
fn a_capture_has_each_message_once_in_order_with_its_addresses() {
    isolated!();
    own_engine!();
    let capture = Capture::new("order");
    let (_lab, asker, server, _trace) = captured(&capture, Config::new().acp(Acp::Layer2));
    let (packets, interfaces) = packets(&capture.0);
    assert!(interfaces.contains(&"eth0".to_owned()), "{interfaces:?}");
    let group: Ipv6Addr = "ff02::13".parse().unwrap();
    let (a, b) = (asker.node.link_local("eth0").unwrap(), server.node.link_local("eth0").unwrap());
    let mut sent_to_group = Vec::new();
    let mut requested = Vec::new();
    for (interface, packet) in &packets {
        assert!((*interface as usize) < interfaces.len());
        assert_eq!(packet[0] >> 4, 6);
        assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])), packet.len() - 40);
        let (from, to) = (address(&packet[8..24]), address(&packet[24..40]));
        if packet[6] == 17 {
            assert_eq!((to, &packet[42..44]), (group, &7017_u16.to_be_bytes()[..]));
            sent_to_group.push((from, packet[48..].to_vec()));
        } else if packet.len() > 60 {
            requested.push((from, to, packet[60..].to_vec()));
        }
    }
    let ours = sent_to_group.iter().filter(|(from, _)| *from == a).count() as u64;
    assert_eq!(ours, asker.engine.stats().multicast_sent, "what comes back of it is not written again");
    let (from, flood) = sent_to_group.last().unwrap();
    assert_eq!(*from, b);
    let kind = |bytes: &[u8]| match Value::decode(bytes) {
        Ok(Value::Array(items)) => items.first().cloned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(kind(flood), Some(Value::from(9)));
    let kinds: Vec<_> = requested.iter().filter_map(|(_, _, bytes)| kind(bytes)).collect();
    assert_eq!(kinds, [2, 3, 6].map(Value::from), "M_RESPONSE, M_REQ_NEG, M_END");
    assert_eq!(asker.engine.stats().capture_lost, 0);
}

#[test]
fn a_capture_has_headers_of_ethernet_if_it_shall() {
    isolated!();
    own_engine!();
    let capture = Capture::new("ethernet");
    let (_lab, asker, _server, _trace) =
        captured(&capture, Config::new().acp(Acp::Layer2).pcap_ethernet(true));
    let (packets, _) = packets_on(&capture.0, Linktype::ETHERNET);
    let mut cards = HashMap::new();
    let mut groups = 0;
    for (_, packet) in &packets {
        let (header, ip) = packet.split_at(14);
        assert_eq!((&header[12..], ip[0] >> 4), (&[0x86, 0xdd][..], 6));
        let (from, to) = (address(&ip[8..24]), address(&ip[24..40]));
        if to.is_multicast() {
            assert_eq!(header[..6], [0x33, 0x33, 0, 0, 0, 0x13]);
            groups += 1;
        } else {
            assert_eq!(cards.entry(to).or_insert_with(|| header[..6].to_vec()), &header[..6]);
        }
        // An address is of one card, which is no group.
        assert_eq!(cards.entry(from).or_insert_with(|| header[6..12].to_vec()), &header[6..12]);
        assert_eq!(header[6] & 1, 0);
    }
    assert!(cards.len() > 1 && groups > 1, "{cards:?}");
    assert_eq!(asker.engine.stats().capture_lost, 0);
}

/// Runs graspy's gparseg.py with the answer to the dialogue that it opens.
const GPARSEG: &str = "
import runpy, sys, types
def module(name, **members):
    sys.modules[name] = made = types.ModuleType(name)
    made.__dict__.update(members)
module('tkinter', Tk=lambda: types.SimpleNamespace(withdraw=lambda: None))
module('tkinter.messagebox', showinfo=lambda **_: None)
module('tkinter.filedialog', askopenfilename=lambda **_: sys.argv[2])
sys.path.insert(0, sys.argv[1])
runpy.run_path(sys.argv[1] + '/pretty-parse/gparseg.py', run_name='__main__')
";

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy, and pip install cbor2 netifaces cryptography dpkt python-pcapng"]
fn gparseg_reads_a_capture_with_ethernet() {
    isolated!(240);
    let capture = Capture::new("gparseg");
    let (_lab, _asker, _server, _trace) =
        captured(&capture, Config::new().acp(Acp::Layer2).pcap_ethernet(true));
    let graspy = std::env::var("GRASPY_DIR").expect("GRASPY_DIR names a checkout of graspy");
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(python)
        .args(["-c", GPARSEG, &graspy])
        .arg(&capture.0)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for word in ["M_DISCOVERY", "M_RESPONSE", "M_REQ_NEG", "M_END", "M_FLOOD", "Objective: EX1", "O_ACCEPT"] {
        assert!(text.contains(word), "{word} is missing in {text}");
    }
    assert!(!text.contains("error") && !text.contains("failed"), "{text}");
}

#[test]
fn in_a_quads_domain_a_capture_is_sealed_and_a_trace_has_both_forms() {
    isolated!();
    own_engine!();
    let capture = Capture::new("sealed");
    let keys = QuadsKeys::from_password("secret").unwrap();
    let (_lab, asker, _server, trace) = captured(&capture, Config::new().acp(Acp::Quads(keys.clone())));
    let bytes = std::fs::read(&capture.0).unwrap();
    assert!(!bytes.windows(10).any(|window| window == b"long long "), "nothing is in the clear");
    let (packets, _) = packets(&capture.0);
    let payloads: Vec<Vec<u8>> = packets
        .iter()
        .map(|(_, packet)| packet[if packet[6] == 17 { 48 } else { 60 }..].to_vec())
        .filter(|payload| !payload.is_empty())
        .collect();
    let opened: Vec<_> =
        payloads.iter().map(|payload| keys.open(payload).expect("the keys open it")).collect();
    assert!(opened.iter().any(|message| message.windows(10).any(|window| window == b"long long ")));
    let mut told = 0;
    for event in trace {
        let Event::Message(message) = &event.event else { continue };
        decode(&message.bytes, &Limits::default()).expect("in the clear");
        let sealed = message.sealed.as_ref().expect("sealed");
        assert_eq!(keys.open(sealed).as_deref(), Some(&*message.bytes));
        told += 1;
    }
    // What came back of the own multicasts is told, and not written.
    let echoes = usize::try_from(asker.engine.stats().own_multicast).unwrap();
    assert_eq!(told, payloads.len() + echoes);
}

#[test]
fn a_file_that_cannot_be_written_keeps_no_engine_from_running() {
    isolated!();
    let (_lab, _, a, _b) = linked();
    let host = Host::start(&a, Config::new().pcap(Some("/nowhere/at/all.pcapng".into())));
    host.register(&negotiable("0"));
    // A full disk shows when it is written to.
    let full = Host::start(&a, Config::new().pcap(Some("/dev/full".into())));
    let mut flooded = Objective::new("EX1");
    flooded.synch = true;
    full.register_with(&flooded, RegisterObj::default());
    full.run(|engine, asa| engine.flood(asa, 1000, &[TaggedObjective::new(flooded.clone(), None)])).unwrap();
    grasptests::lab::eventually(grasptests::nodes::SOON, "the capture ends", || {
        !grasptests::lab::process::thread_names().contains(&"_pcap".to_owned())
    });
    assert_eq!(full.engine.stats().panics, 0);
}

#[test]
fn a_pipe_that_is_read_late_loses_nothing_and_shutdown_waits_for_its_reader() {
    isolated!();
    own_engine!();
    const FLOODS: usize = 150;
    let capture = Capture::new("pipe");
    let pipe = capture.wanted().unwrap();
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let reader = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&pipe);
    let mut reader = reader.unwrap();
    let (_lab, _, a, _b) = linked();
    let host = Host::start(&a, Config::new().pcap(Some(pipe)));
    let mut flooded = Objective::new("EX1");
    (flooded.synch, flooded.value) = (true, Value::from("x".repeat(900)));
    host.register_with(&flooded, RegisterObj::default());
    let flood = || host.engine.flood(host.asa, 1000, &[TaggedObjective::new(flooded.clone(), None)]);
    // More than a pipe has room for.
    a.run(|| (0..FLOODS).for_each(|_| flood().unwrap()));
    let engine = host.engine.clone();
    let stopping = a.spawn("stops", move || engine.shutdown());
    eventually(SOON, "it stops", || host.engine.state().stopped);
    // The pipe is full, and shutdown waits for it.
    std::thread::park_timeout(Duration::from_millis(300));
    let (mut read, mut chunk) = (Vec::new(), [0; 4096]);
    let deadline = Instant::now() + SOON;
    loop {
        match std::io::Read::read(&mut reader, &mut chunk) {
            Ok(0) => break,
            Ok(count) => read.extend_from_slice(&chunk[..count]),
            Err(_) => {
                assert!(Instant::now() < deadline, "the capture ends");
                std::thread::yield_now();
            }
        }
    }
    stopping.join().unwrap();
    std::fs::write(&capture.0, read).unwrap();
    let large = packets(&capture.0).0.iter().filter(|(_, packet)| packet.len() > 900).count();
    assert!(large >= FLOODS, "{large}");
}

#[test]
fn engines_that_are_given_one_file_write_one_each_and_none_writes_over_another() {
    isolated!();
    own_engine!();
    let capture = Capture::new("shared");
    let (_lab, _, a, b) = linked();
    let start = |node, name: &str| {
        let host = Host::start(node, Config::new().name(Some(name.into())).pcap(capture.wanted()));
        host.engine.shutdown();
    };
    start(&a, "asker");
    start(&b, "other");
    // It starts again: what it wrote before is still there.
    start(&a, "asker");
    let mut names: Vec<_> = std::fs::read_dir(capture.0.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["capture-asker.2.pcapng", "capture-asker.pcapng", "capture-other.pcapng"]);
    for name in names {
        let path = capture.0.with_file_name(name);
        packets(&path);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    }
}

#[test]
#[ignore = "needs tshark: apt-get install tshark"]
fn tshark_finds_every_checksum_right_and_follows_the_streams() {
    isolated!(240);
    let capture = Capture::new("tshark");
    let (_lab, asker, _server, _trace) = captured(&capture, Config::new().acp(Acp::Layer2));
    let tshark = |arguments: &[&str]| {
        let mut command = Command::new("tshark");
        command.arg("-r").arg(&capture.0);
        command.args(["-o", "udp.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"]).args(arguments);
        let output = command.output().expect("tshark runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let good = |field: &str| {
        let text = tshark(&["-Y", field.split('.').next().unwrap(), "-T", "fields", "-e", field]);
        assert!(!text.is_empty());
        assert!(text.lines().all(|line| line == "1"), "{field}: {text}");
    };
    good("udp.checksum.status");
    good("tcp.checksum.status");
    let wrong = tshark(&["-Y", "tcp.analysis.flags || _ws.malformed || _ws.expert.severity >= 6291456"]);
    assert_eq!(wrong, "", "nothing is lost, repeated or out of order");
    // Each connection opens and closes.
    let stats = asker.engine.stats();
    let connections = stats.connections_accepted + stats.sessions_opened;
    let count = |filter: &str| tshark(&["-Y", filter]).lines().count() as u64;
    assert_eq!(count("tcp.flags.syn == 1 && tcp.flags.ack == 0"), connections);
    assert_eq!(count("tcp.flags.fin == 1"), 2 * connections);
    let stream = tshark(&["-q", "-z", &format!("follow,tcp,raw,{}", connections - 1)]);
    let hex: String = "long ".repeat(300).bytes().map(|byte| format!("{byte:02x}")).collect();
    assert!(stream.contains(&hex), "the request in the stream: {stream}");
}
