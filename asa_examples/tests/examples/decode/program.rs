//! grasp-decode through its command line.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value as Json;

use crate::decode::by_hand::{datagram, pcap};
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
    grasp::keyfile::write(&path, &keys).expect("a key file");
    let sealed = keys.seal(&[0x83, 7, 1, 0x18, 0x64]);
    let output = run(&["--summary", "--keyfile", path.to_str().expect("text")], &sealed);
    assert_eq!(text(&output), "[QUADS]: M_WAIT session 1: 100 ms\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    // Without it, it is said what may help.
    let output = run(&["--summary"], &pcap(101, &[datagram(50000, &sealed)]));
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 may be encrypted"), "{output:?}");
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
