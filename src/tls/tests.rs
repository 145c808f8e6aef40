//! Members and strangers, without a network.

#![allow(clippy::indexing_slicing, reason = "a panic of a test is its failure")]

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::*;
use crate::domain::{Algorithm, Authority, Credentials, Kept, Revoked};

const HERE: &str = "fd89b714f3db00000200000064000000@acp.example.com";
const THERE: &str = "fd89b714f3db00000200000064000001@acp.example.com";
const DAY: Duration = Duration::from_secs(86_400);
const PEER: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn authority(algorithm: Algorithm) -> Authority {
    Authority::create("acp.example.com", algorithm, SystemTime::now(), 30 * DAY).unwrap()
}

fn node(authority: &Authority, name: &str) -> (Identity, Arc<Kept>) {
    let credentials = authority.credentials(&name.parse().unwrap(), SystemTime::now()).unwrap();
    let kept = Arc::new(Kept::new(credentials));
    (Identity::new(Arc::clone(&kept), None).unwrap(), kept)
}

/// Moves what each side has to say to the other, in pieces of this size, until nobody has anything more to say. Returns what has
/// gone wrong at either side.
fn shake(client: &mut Session, server: &mut Session, piece: usize) -> [Option<TlsError>; 2] {
    let mut failures = [None, None];
    loop {
        let (from_client, from_server) = (client.drain(), server.drain());
        if from_client.is_empty() && from_server.is_empty() {
            return failures;
        }
        for (side, session, bytes) in [(0, &mut *server, from_client), (1, &mut *client, from_server)] {
            for part in bytes.chunks(piece) {
                if failures[side].is_none() {
                    failures[side] = session.take_in(part).err();
                }
            }
        }
    }
}

fn connected(client: &Identity, server: &Identity) -> (Session, Session) {
    let (mut client, mut server) = (client.client(PEER).unwrap(), server.server().unwrap());
    let failures = shake(&mut client, &mut server, usize::MAX);
    assert!(failures.iter().all(Option::is_none), "{failures:?}");
    assert!(!client.is_handshaking() && !server.is_handshaking());
    (client, server)
}

fn said(session: &mut Session) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 1000]);
    while let Plain::Bytes(count) = session.read(&mut buffer) {
        all.extend_from_slice(&buffer[..count]);
    }
    all
}

#[test]
fn members_know_each_other_by_name_and_talk_in_both_directions() {
    for algorithm in Algorithm::ALL {
        let authority = authority(algorithm);
        let ((here, _), (there, _)) = (node(&authority, HERE), node(&authority, THERE));
        let (mut client, mut server) = connected(&here, &there);
        assert_eq!(client.member().unwrap().name.to_string(), THERE);
        assert_eq!(server.member().unwrap().name.to_string(), HERE);
        let long: Vec<u8> = (0..1_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
        // A reader takes what is there before it takes in more, as `net` does.
        let mut heard = Vec::new();
        for part in client.seal(&long).unwrap().chunks(4096) {
            server.take_in(part).unwrap();
            heard.extend(said(&mut server));
        }
        assert_eq!(heard, long);
        assert!(!server.is_readable());
        client.take_in(&server.seal(b"well").unwrap()).unwrap();
        assert!(client.has_plaintext());
        assert_eq!(said(&mut client), b"well");
        server.take_in(&client.close()).unwrap();
        assert_eq!(server.read(&mut [0; 8]), Plain::End);
    }
}

#[test]
fn a_handshake_may_come_in_single_bytes() {
    let authority = authority(Algorithm::P256);
    let ((here, _), (there, _)) = (node(&authority, HERE), node(&authority, THERE));
    let (mut client, mut server) = (here.client(PEER).unwrap(), there.server().unwrap());
    assert!(shake(&mut client, &mut server, 1).iter().all(Option::is_none));
    assert!(client.member().is_ok() && server.member().is_ok());
}

#[test]
fn what_was_said_before_the_network_failed_is_read_and_then_the_end() {
    let authority = authority(Algorithm::P256);
    let ((here, _), (there, _)) = (node(&authority, HERE), node(&authority, THERE));
    let (mut client, mut server) = connected(&here, &there);
    server.take_in(&client.seal(b"last").unwrap()).unwrap();
    assert_eq!(client.read(&mut [0; 8]), Plain::Nothing);
    server.end();
    let mut buffer = [0; 8];
    assert_eq!(server.read(&mut buffer), Plain::Bytes(4));
    assert_eq!(server.read(&mut buffer), Plain::End);
}

#[test]
fn a_session_is_resumed_and_whoever_was_revoked_meanwhile_is_no_member() {
    let authority = authority(Algorithm::P256);
    let ((here, here_kept), (there, kept)) = (node(&authority, HERE), node(&authority, THERE));
    assert!(!connected(&here, &there).0.is_resumed());
    let (client, server) = connected(&here, &there);
    assert!(client.is_resumed() && server.is_resumed());
    assert_eq!(server.member().unwrap().name.to_string(), HERE);
    // The peer learns that this node is revoked.
    let revoked = Revoked { serial: here_kept.current().certificate().serial(), since: SystemTime::now() };
    let list = authority.revocation_list(&[revoked], 2, SystemTime::now(), DAY).unwrap();
    let old = kept.current();
    let key = old.key().pkcs8().secret_pkcs8_der().to_vec();
    let key = crate::domain::PrivateKey::from_pkcs8(&key).unwrap();
    let renewed = Credentials::new(vec![old.certificate().clone()], key, old.anchors().to_vec(), vec![list]);
    kept.replace(renewed.unwrap());
    let (_, server) = connected(&here, &there);
    assert!(server.is_resumed());
    assert!(matches!(server.member(), Err(NotMember::Revoked { .. })), "{:?}", server.member());
}

#[test]
fn nothing_is_resumed_with_other_credentials_than_those_that_a_session_began_with() {
    let authority = authority(Algorithm::P256);
    let ((here, kept), (there, _)) = (node(&authority, HERE), node(&authority, THERE));
    connected(&here, &there);
    assert!(connected(&here, &there).0.is_resumed());
    kept.replace(authority.credentials(&HERE.parse().unwrap(), SystemTime::now()).unwrap());
    assert!(!connected(&here, &there).0.is_resumed());
    assert!(connected(&here, &there).0.is_resumed());
}

#[test]
fn a_member_is_checked_once_in_a_moment_and_again_by_other_credentials() {
    let authority = authority(Algorithm::P256);
    let ((here, _), (there, kept)) = (node(&authority, HERE), node(&authority, THERE));
    for _ in 0..3 {
        connected(&here, &there);
    }
    assert_eq!(there.kept_checks(), 1, "one peer, in one role");
    kept.replace(authority.credentials(&THERE.parse().unwrap(), SystemTime::now()).unwrap());
    let (_, server) = connected(&here, &there);
    assert!(server.member().is_ok());
    assert_eq!(there.kept_checks(), 1, "what the old credentials said is gone");
    for number in 0..100 {
        let name = format!("fd89b714f3db0000020000006400{number:04x}@acp.example.com");
        connected(&node(&authority, &name).0, &there);
    }
    assert!(there.kept_checks() <= 64);
}

/// The failure that the server of `there` has with a client.
fn refusal(client: &Identity, there: &Identity) -> TlsError {
    let (mut client, mut server) = (client.client(PEER).unwrap(), there.server().unwrap());
    let [at_server, at_client] = shake(&mut client, &mut server, usize::MAX);
    assert!(at_client.is_some(), "it is told");
    at_server.expect("a refusal")
}

#[test]
fn strangers_are_refused_by_both_sides_for_what_is_wrong_with_them() {
    let (own, other) = (authority(Algorithm::P256), authority(Algorithm::P256));
    let ((here, kept), (there, _)) = (node(&own, HERE), node(&own, THERE));
    let (stranger, _) = node(&other, HERE);
    let (mut client, mut server) = (here.client(PEER).unwrap(), stranger.server().unwrap());
    let [_, at_client] = shake(&mut client, &mut server, usize::MAX);
    assert!(matches!(at_client, Some(TlsError::NotMember(_))), "{at_client:?}");
    // As a client it finds out by an alert: the server checks it last.
    let (mut client, mut server) = (stranger.client(PEER).unwrap(), there.server().unwrap());
    let [at_server, _] = shake(&mut client, &mut server, usize::MAX);
    assert!(matches!(at_server, Some(TlsError::Failed(_) | TlsError::NotMember(_))), "{at_server:?}");
    // A member whose certificate is over.
    let long_ago = SystemTime::now() - 20 * DAY;
    let old = Authority::create("acp.example.com", Algorithm::P256, long_ago, 30 * DAY).unwrap();
    let expired = old.credentials(&HERE.parse().unwrap(), long_ago).unwrap();
    kept.replace(expired);
    let (fresh, _) = node(&old, THERE);
    assert!(matches!(refusal(&here, &fresh), TlsError::NotMember(NotMember::Expired { .. })));
}

#[test]
fn garbage_a_plain_message_and_an_endless_handshake_end_a_session() {
    let authority = authority(Algorithm::P256);
    let (here, _) = node(&authority, HERE);
    for garbage in [&[0xff; 100][..], &[0x85, 3, 1, 2, 3, 4], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut server = here.server().unwrap();
        assert!(matches!(server.take_in(garbage), Err(TlsError::Failed(_))), "{garbage:?}");
        assert!(server.is_handshaking());
    }
    // Records of a handshake message that says it has 16 MiB.
    let mut server = here.server().unwrap();
    let mut record = vec![22, 3, 1, 0x40, 0];
    record.extend_from_slice(&[1, 0xff, 0xff, 0xff]);
    record.resize(5 + 0x4000, 0);
    let mut taken = 0;
    while server.take_in(&record).is_ok() {
        taken += record.len();
        assert!(taken <= 256 * 1024, "it goes on");
    }
    assert!(server.member().is_err());
}
