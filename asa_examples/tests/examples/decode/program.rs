//! grasp-decode through its command line.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value as Json;

use crate::decode::by_hand::{SYN, datagram, pcap, segment};
use crate::decode::vectors;

fn run(options: &[&str], input: &[u8]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_grasp-decode"))
        .args(options)
        .env_remove("GRASP_QUADS_PASSWORD")
        .env_remove("GRASP_QUADS_KEYFILE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let _ = program.stdin.take().expect("a pipe").write_all(input);
    program.wait_with_output().expect("it ends")
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

#[test]
fn hex_is_shown_from_the_command_line_and_the_standard_input() {
    let expected = "M_WAIT session 1: 100 ms\n";
    let output = run(&["--summary", "8307011864"], b"");
    assert_eq!((text(&output).as_str(), output.status.code()), (expected, Some(0)));
    let output = run(&["--summary", "83", "07", "0x01", "18", "64"], b"");
    assert_eq!(text(&output), expected);
    let output = run(&["--summary"], b"0x83 0x07 0x01\n0x18 0x64\n");
    assert_eq!(text(&output), expected);
    let output = run(&["--summary", "-"], &[0x83, 7, 1, 0x18, 0x64]);
    assert_eq!(text(&output), expected);
    assert!(text(&run(&["8307011864"], b"")).contains("/ waiting time: 100 ms /"));
}

#[test]
fn the_exit_status_tells_right_from_malformed_from_unreadable() {
    assert_eq!(run(&["8100"], b"").status.code(), Some(0));
    assert_eq!(run(&["8307"], b"").status.code(), Some(1));
    assert_eq!(run(&[], b"").status.code(), Some(1));
    for wrong in [&["no such file"][..], &["81", "zz"], &["--no-such-option"], &["--summary", "--json"]] {
        let output = run(wrong, b"");
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn a_capture_that_is_cut_off_is_shown_as_far_as_it_goes_and_is_no_success() {
    let file = pcap(101, &[datagram(50000, &[0x83, 7, 1, 5]), datagram(50000, &[0x83, 7, 2, 5])]);
    assert_eq!(run(&["--summary"], &file).status.code(), Some(0));
    let output = run(&["--summary"], &file[..file.len() - 3]);
    assert!(text(&output).ends_with("M_WAIT session 1: 5 ms\n"), "{output:?}");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("damaged after 1 packets"), "{output:?}");
}

#[test]
fn a_packet_that_is_cut_off_and_a_link_that_is_unknown_are_no_success() {
    let mut file = pcap(101, &[datagram(50000, &[0x83, 7, 1, 0x18])]);
    // The lengths of IP, of UDP and of the packet say that there was a byte more.
    file[24 + 16 + 5] += 1;
    file[24 + 16 + 40 + 5] += 1;
    file[24 + 12] += 1;
    let output = run(&["--summary"], &file);
    assert!(text(&output).contains("[truncated: 4 of 5 bytes were captured]"), "{output:?}");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("truncated by the snap length"), "{output:?}");
    let output = run(&["--summary"], &pcap(105, &[vec![0; 40]]));
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("IEEE802_11 (105) is not supported"),
        "{output:?}"
    );
}

#[test]
fn what_comes_through_a_pipe_is_shown_when_it_comes() {
    let file = pcap(101, &[datagram(50000, &[0x83, 7, 1, 5]), datagram(50000, &[0x83, 7, 2, 5])]);
    let mut program = Command::new(env!("CARGO_BIN_EXE_grasp-decode"))
        .arg("--summary")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = program.stdin.take().expect("a pipe");
    let output = BufReader::new(program.stdout.take().expect("a pipe"));
    let (tx, lines) = std::sync::mpsc::channel();
    let reader = std::thread::Builder::new()
        .spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| tx.send(line)));
    // The header, a part of the first packet, the rest of it: whatever a pipe gives at a time.
    let packet = (file.len() - 24) / 2;
    for (piece, expected) in [
        (&file[..5], None),
        (&file[5..40], None),
        (&file[40..24 + packet], Some("M_WAIT session 1: 5 ms")),
        (&file[24 + packet..], Some("M_WAIT session 2: 5 ms")),
    ] {
        input.write_all(piece).expect("it reads");
        if let Some(expected) = expected {
            // The input is still open.
            let line = lines.recv_timeout(Duration::from_secs(30)).expect("a line");
            assert!(line.ends_with(expected), "{line}");
        }
    }
    drop(input);
    assert_eq!(program.wait().expect("it ends").code(), Some(0));
    reader.expect("a thread").join().expect("it reads").expect("somebody listens");
}

#[test]
fn what_is_compressed_is_not_taken_for_messages() {
    for magic in [[0x1f, 0x8b, 8, 0], [0x28, 0xb5, 0x2f, 0xfd]] {
        let output = run(&[], &[&magic[..], &[0; 40]].concat());
        assert_eq!((output.status.code(), text(&output).as_str()), (Some(2), ""));
        assert!(String::from_utf8_lossy(&output.stderr).contains("compressed"), "{output:?}");
    }
}

#[test]
fn json_has_the_documented_fields() {
    let all = vectors();
    let frames: Vec<Vec<u8>> = all.iter().map(|(_, bytes)| datagram(50000, bytes)).collect();
    let output = run(&["--json"], &pcap(101, &frames));
    let document = include_str!("../../../../docs/decode.md");
    let lines: Vec<Json> =
        text(&output).lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(lines.len(), all.len());
    for (line, (name, bytes)) in lines.iter().zip(&all) {
        let message = grasp::wire::decode(bytes, &grasp::wire::Limits::default()).expect(name);
        assert_eq!(line["type"], message.type_name(), "{name}");
        assert_eq!(line["message_type"], message.message_type(), "{name}");
        assert_eq!(line["session"], serde_json::json!(message.session()), "{name}");
        assert_eq!(line["valid"], true, "{name}");
        assert_eq!(line["source"], "[fe80::1]:50000", "{name}");
        for field in line.as_object().expect("an object").keys() {
            assert!(document.contains(&format!("| `{field}` |")), "{field} is not in docs/decode.md");
        }
    }
}

#[test]
fn only_the_session_that_was_asked_for_is_shown() {
    let frames = [datagram(50000, &[0x83, 7, 1, 5]), datagram(50000, &[0x83, 7, 2, 5])];
    let output = run(&["--summary", "--session", "2"], &pcap(101, &frames));
    assert!(text(&output).ends_with("M_WAIT session 2: 5 ms\n") && text(&output).lines().count() == 1);
}

#[test]
fn a_key_file_opens_what_is_encrypted() {
    let keys = grasp::QuadsKeys::from_password("secret").expect("a password");
    let directory = tempfile::TempDir::new().expect("a directory");
    let path = directory.path().join("keys");
    grasp::keyfile::write(&path, Some(&keys), grasp::keyfile::Form::Hex).expect("a key file");
    let sealed = keys.seal(&[0x83, 7, 1, 0x18, 0x64]);
    let output = run(&["--summary", "--keyfile", path.to_str().expect("text")], &sealed);
    assert_eq!(text(&output), "[QUADS]: M_WAIT session 1: 100 ms\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    // Without it, it is said what may help.
    let output = run(&["--summary"], &pcap(101, &[datagram(50000, &sealed)]));
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 may be encrypted"), "{output:?}");
}

#[test]
fn json_is_harmless_on_a_terminal_and_says_the_same() {
    let hostile = "a\u{9b}2J\u{9d}0;x\u{7f}\u{202e}b\u{2028}c\u{200b}\u{e0041}d\"\\ ü 世";
    let value = grasp::Value::from(hostile).encode();
    let message = [&[0x83, 3, 1, 0x84, 0x63, b'E', b'X', b'3', 3, 6][..], &value].concat();
    let mut file = pcapng(hostile, &[]);
    file.extend(packet_block(&datagram(50000, &message)));
    let output = run(&["--json"], &file);
    let shown = text(&output);
    let harmful = |c: char| c.is_control() || "\u{202e}\u{2028}\u{200b}\u{e0041}".contains(c);
    assert_eq!(shown.trim_end().find(harmful), None, "{shown:?}");
    // Ordinary text of any language is as it is, and a reader of JSON gets what was there.
    assert!(shown.contains(" ü 世"), "{shown}");
    let line: Json = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(line["interface"], hostile);
    assert_eq!(line["type"], "M_REQ_NEG");
}

/// A pcapng file with an interface of this name and these packets.
fn pcapng(name: &str, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file =
        block(0x0a0d_0d0a, &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
    let length = u16::try_from(name.len()).expect("short").to_le_bytes();
    let mut interface = [&[101, 0, 0, 0, 0, 0, 0, 0, 2, 0][..], &length, name.as_bytes()].concat();
    interface.resize(interface.len().next_multiple_of(4), 0);
    file.extend(block(1, &[&interface[..], &[0; 4]].concat()));
    file.extend(packets.iter().flat_map(|packet| packet_block(packet)));
    file
}

fn packet_block(packet: &[u8]) -> Vec<u8> {
    let length = u32::try_from(packet.len()).expect("short").to_le_bytes();
    let mut body = [&[0; 12][..], &length, &length, packet].concat();
    body.resize(body.len().next_multiple_of(4), 0);
    block(6, &body)
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 12).expect("short").to_le_bytes();
    [&kind.to_le_bytes()[..], &length, body, &length].concat()
}

/// Whoever makes a capture decides how much is said about it, but not beyond measure.
#[test]
fn no_capture_blows_up() {
    let segments = |payload: &[u8]| -> Vec<Vec<u8>> {
        let syn = segment(false, 0, SYN, &[]);
        let at = |number: usize| u32::try_from(1 + number * payload.len()).expect("short");
        [syn].into_iter().chain((0..40).map(|number| segment(false, at(number), 0, payload))).collect()
    };
    // A wait, which makes it a stream of GRASP, and what follows it.
    let wait = [0x83, 7, 1, 5];
    let behind = |what: &[u8]| segments(&[&wait[..], &what.repeat(1000 / what.len())].concat());
    let nested = [vec![0x81; 31], vec![0]].concat();
    let many = |payload: &[u8]| vec![datagram(50000, payload); 100];
    for (what, name, packets) in [
        ("a long name", "x".repeat(60_000), many(&wait)),
        ("a name to be escaped", "\u{9b}".repeat(30_000), many(&wait)),
        ("empty arrays", String::new(), segments(&[0x80].repeat(1000))),
        ("empty arrays after a message", String::new(), behind(&[0x80])),
        ("M_NOOP", String::new(), behind(&[0x81, 0])),
        ("short waits", String::new(), behind(&[0x83, 7, 1, 5])),
        ("short waits in short segments", String::new(), segments(&wait.repeat(8))),
        ("nested", String::new(), many(&nested)),
        (
            "nested in a message",
            String::new(),
            many(&[&[0x83, 3, 1, 0x84, 0x60, 3, 6][..], &nested].concat()),
        ),
        ("broken", String::new(), many(&[0x9f; 60])),
        (
            "tags",
            String::new(),
            many(&[&[0x83, 3, 1, 0x84, 0x60, 3, 6][..], &[0xd8, 24, 0x41].repeat(30)].concat()),
        ),
    ] {
        let file = pcapng(&name, &packets);
        for style in ["--json", "--summary"] {
            let output = run(&[style], &file);
            let times = output.stdout.len() / file.len();
            println!("{what}: {} of {} bytes, {times} times, {style}", output.stdout.len(), file.len());
            assert!(times < 100, "{what}: {times} times as much, {style}");
        }
    }
    // All of it is there for whoever asks.
    let hidden = run(&["--summary"], &pcapng("", &behind(&[0x81, 0])));
    assert!(
        String::from_utf8_lossy(&hidden.stderr).contains("too many for their packet (--all)"),
        "{hidden:?}"
    );
    let all = run(&["--summary", "--all"], &pcapng("", &behind(&[0x81, 0])));
    assert_eq!(text(&all).lines().filter(|line| line.ends_with("M_NOOP")).count(), 40 * 500);
}

#[test]
fn what_a_terminal_would_obey_is_escaped() {
    let hostile = grasp::Value::from("\u{1b}[2J").encode();
    let message = [&[0x83, 3, 1, 0x84][..], &hostile, &[3, 6], &hostile].concat();
    for style in [&[][..], &["--summary"], &["--json"]] {
        let output = run(style, &pcap(101, &[datagram(50000, &message)]));
        assert!(text(&output).contains("u001b") && !output.stdout.contains(&0x1b), "{output:?}");
    }
}
