//! Certificates that no authority of a domain issues: a member's, changed and signed again.

use std::time::SystemTime;

use grasp::domain::{Algorithm, Certificate, Issue, NotMember, PrivateKey, Role, Rules};
use grasptests::domains::name;
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::PrivateKeyDer;

use super::intruder::Intruder;
use super::{DAY, Domain};

/// The type of a node's name in the subject's alternative name, 1.3.6.1.5.5.7.8.10 (RFC 8994 §6.2.2), and that of a mail address.
const NODE_NAME: [u8; 8] = [0x2b, 6, 1, 5, 5, 7, 8, 10];
const MAIL_ADDRESS: [u8; 8] = [0x2b, 6, 1, 5, 5, 7, 8, 9];
/// Where the issuer and the subject are in a certificate's contents (RFC 5280 §4.1).
const ISSUER: usize = 3;
const SUBJECT: usize = 5;

/// Who signs.
enum By {
    Authority,
    Itself,
}

/// Certificates that a verifier has to refuse, each for one reason, and what they are.
pub(super) fn all(domain: &Domain) -> [(&'static str, Intruder); 3] {
    let self_signed = forged(
        domain,
        By::Itself,
        |parts| parts[ISSUER] = parts[SUBJECT].clone(),
        |why| matches!(why, NotMember::SelfSigned),
    );
    let forged_signature =
        forged(domain, By::Itself, |_| {}, |why| matches!(why, NotMember::Signature { .. }));
    let names_no_node = |parts: &mut Vec<Vec<u8>>| {
        let extensions = parts.last_mut().unwrap();
        let at = extensions.windows(NODE_NAME.len()).position(|window| window == NODE_NAME).unwrap();
        extensions[at..at + NODE_NAME.len()].copy_from_slice(&MAIL_ADDRESS);
    };
    let nameless = forged(domain, By::Authority, names_no_node, |why| matches!(why, NotMember::NodeName(_)));
    [
        ("a member's, signed by itself", self_signed),
        ("a member's, in the name of the authority, signed with another key", forged_signature),
        ("of the authority, without the name of a node", nameless),
    ]
}

/// A member's certificate whose parts are changed. A verifier refuses it for the reason that is meant, and no other.
fn forged(
    domain: &Domain,
    by: By,
    change: impl FnOnce(&mut Vec<Vec<u8>>),
    is_meant: fn(&NotMember) -> bool,
) -> Intruder {
    let key = PrivateKey::generate(Algorithm::P256).unwrap();
    let (named, now) = (name(9).parse().unwrap(), SystemTime::now());
    let issue = Issue { name: &named, key: key.public(), label: Some("node"), now, lifetime: DAY };
    let issued = domain.authority.issue(&issue).unwrap();
    let [contents, algorithm, _] = &children(issued.der())[..] else { panic!("three parts") };
    let mut parts = children(contents);
    change(&mut parts);
    let contents = element(0x30, &parts.concat());
    let signer = match by {
        By::Authority => domain.authority.key(),
        By::Itself => &key,
    };
    let signer = any_ecdsa_type(&PrivateKeyDer::Pkcs8(signer.pkcs8().clone_key())).unwrap();
    let signer = signer.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
    // No bit of the last byte is unused.
    let signature = element(3, &[&[0][..], &signer.sign(&contents).unwrap()].concat());
    let der = element(0x30, &[&contents[..], algorithm, &signature].concat());
    let certificate = Certificate::from_der(&der).unwrap();
    let chain = [certificate.der().clone()];
    let refused = domain.kept[0].current().check(&chain, &Rules::at(now, Role::Client)).unwrap_err();
    assert!(is_meant(&refused), "{refused}");
    Intruder::with_certificate(&certificate, &key)
}

/// An element of DER.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let header = match (high, low) {
        (0, ..=0x7f) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [&header, content].concat()
}

/// The elements in one.
fn children(der: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut all) = (&der[header(der).0..], Vec::new());
    while !rest.is_empty() {
        let (before, length) = header(rest);
        let (one, others) = rest.split_at(before + length);
        all.push(one.to_vec());
        rest = others;
    }
    all
}

/// How long the header of an element is, and its content.
fn header(der: &[u8]) -> (usize, usize) {
    match *der {
        [_, length @ ..=0x7f, ..] => (2, length.into()),
        [_, 0x81, length, ..] => (3, length.into()),
        [_, 0x82, high, low, ..] => (4, u16::from_be_bytes([high, low]).into()),
        _ => panic!("no element: {der:02x?}"),
    }
}
