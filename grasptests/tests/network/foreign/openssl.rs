//! OpenSSL's client asks an engine for a value.

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::sync::mpsc::channel;

use grasp::Value;
use grasp::wire::{Body, Flags, ItemScanner, Limits, Message, Progress, decode, encode};
use grasptests::isolated;
use grasptests::nodes::{flagged, synchronizable};

use super::*;

const VALUE: u64 = 4711;
const SESSION: u32 = 0x1234_5678;

/// What a client got: the bytes of an answer, and what it printed about the connection.
struct Outcome {
    answer: Vec<u8>,
    told: String,
}

impl Scene {
    /// Has the engine serve EX2.
    fn serving() -> Self {
        let scene = Self::new();
        let value = synchronizable("EX2", VALUE);
        scene.host.register(&value);
        scene.host.run(|engine, asa| engine.listen_synchronize(asa, &value)).expect("it listens");
        scene
    }

    /// Sends a request for EX2 with `openssl s_client`, and reads until the answer is complete or the connection ends.
    fn ask(&self, words: &[&str], files: Option<&Saved>) -> Outcome {
        let address = self.host.node.ula().expect("an address");
        let target = format!("[{address}]:{}", self.host.port("EX2"));
        let mut command = self.machine.command("openssl");
        command.args(["s_client", "-connect", &target, "-noservername", "-quiet", "-no_ign_eof"]).args(words);
        if let Some(files) = files {
            command.current_dir(files.directory());
            command.args(["-cert", "node.crt", "-key", "node.key"]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("openssl");
        let (mut input, mut output) =
            (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut errors = child.stderr.take().expect("piped");
        let program = Program { child, lines: channel().1 };
        let asked = flagged(SESSION, "EX2", Flags::F_DISC | Flags::F_SYNCH, 6, ());
        // Whoever is refused during the handshake may have gone.
        let _ = input.write_all(&encode(&Message::new(Body::RequestSynchronize(asked))));
        let (tx, rx) = channel();
        in_thread(move || {
            let (mut scanner, mut answer, mut chunk) =
                (ItemScanner::new(Limits::default()), Vec::new(), [0; 4096]);
            while let Ok(count @ 1..) = output.read(&mut chunk) {
                answer.extend_from_slice(&chunk[..count]);
                if matches!(scanner.feed(&chunk[..count]), Ok(Progress::Complete(_)) | Err(_)) {
                    break;
                }
            }
            // It ends with the input.
            drop(input);
            let mut told = String::new();
            let _ = errors.read_to_string(&mut told);
            let _ = tx.send(Outcome { answer, told });
        });
        let outcome = rx.recv_timeout(SOON);
        drop(program);
        outcome.expect("the client ends in time")
    }
}

/// What makes OpenSSL check the engine's certificate.
const CHECKING: [&str; 8] = [
    "-CAfile",
    "anchors.crt",
    "-CRL",
    "domain.crl",
    "-crl_check",
    "-x509_strict",
    "-verify_return_error",
    "-tls1_3",
];

#[test]
#[ignore = "needs openssl: apt-get install openssl"]
fn a_member_with_openssl_gets_a_value() {
    isolated!();
    let scene = Scene::serving();
    for suite in ["TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"] {
        // With the last one it has to say hello again.
        for group in ["X25519", "P-256", "P-384", "P-521:P-384"] {
            let words = [&CHECKING[..], &["-ciphersuites", suite, "-groups", group]].concat();
            let Outcome { answer, told } = scene.ask(&words, Some(&scene.files));
            let message =
                decode(&answer, &Limits::default()).unwrap_or_else(|error| panic!("{error}: {told}"));
            let Body::Synch(step) = message.body else { panic!("{message:?}") };
            let value = step.objective.value;
            assert_eq!((step.session, value), (SESSION, Some(Value::from(VALUE))), "{suite} {group}");
        }
    }
    assert_eq!(scene.host.engine.stats().connections_not_secured, 0);
    scene.host.expect_quiet();
}

#[test]
#[ignore = "needs openssl: apt-get install openssl"]
fn what_the_profile_excludes_is_refused_to_openssl_with_the_alert_that_it_names() {
    isolated!();
    let scene = Scene::serving();
    let foreign = Saved::new(&credentials(&authority(), 2));
    for (words, files, alert) in [
        (&["-tls1_2"][..], Some(&scene.files), "alert protocol version"),
        (&["-tls1_3"], None, "alert certificate required"),
        (&["-tls1_3"], Some(&foreign), "alert certificate unknown"),
        (
            &["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"],
            Some(&scene.files),
            "alert handshake failure",
        ),
        (&["-tls1_3", "-groups", "P-521"], Some(&scene.files), "alert handshake failure"),
    ] {
        let before = scene.host.engine.stats().connections_not_secured;
        let Outcome { answer, told } = scene.ask(words, files);
        assert!(answer.is_empty() && told.contains(alert), "{words:?}: {answer:02x?}, {told}");
        let counted = || scene.host.engine.stats().connections_not_secured > before;
        grasptests::lab::eventually(SOON, "it is counted", counted);
    }
    scene.host.expect_quiet();
}
