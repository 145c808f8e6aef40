//! What is refused: each exit status, and how it is said.

use grasp::domain::Request;

use super::*;

#[test]
fn a_request_has_to_be_signed_and_for_this_domain() {
    let place = Place::with_authority();
    place.domain(&["request", "example.com", "--out", "other"]).done();
    ends(
        &place.issue("a", &["--csr", "other/node.csr"]),
        4,
        "0@example.com is not a name in the domain acp.example.com",
    );
    place.domain(&["request", "acp.example.com", "--out", "b", "--address", "fd00::2"]).done();
    ends(
        &place.issue("a", &["--csr", "b/node.csr", "--address", "fd00::3"]),
        4,
        "the request is for fd000000000000000000000000000002@",
    );
    // A request with a changed name, which its key has not signed.
    let text = place.read("b/node.csr");
    let base64: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let other = if base64.as_bytes()[80] == b'A' { 'B' } else { 'A' };
    let changed = format!("{}{other}{}", &base64[..80], &base64[81..]);
    let lines: Vec<_> =
        changed.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("text")).collect();
    let changed = format!(
        "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
        lines.join("\n")
    );
    assert!(Request::from_pem(changed.as_bytes()).is_err(), "{changed}");
    place.write("changed.csr", &changed);
    let refused = place.issue("a", &["--csr", "changed.csr"]);
    assert_eq!(refused.status, 4, "{refused:?}");
    place.write("none.csr", "hello");
    ends(&place.issue("a", &["--csr", "none.csr"]), 4, "it has no request for a certificate in PEM");
    ends(&place.issue("a", &["--csr", "missing.csr"]), 2, "missing.csr cannot be read");
    assert!(!std::path::Path::new(&place.0.file("a/node.crt")).exists());
    // Into the directory of another node.
    place.issue("c", &[]).done();
    std::fs::remove_file(place.0.file("c/node.crt")).expect("it was there");
    ends(&place.issue("c", &["--csr", "b/node.csr"]), 2, "is another key than that of the request");
}

#[test]
fn what_is_there_is_not_overwritten() {
    let place = Place::with_authority();
    let key = place.read("authority/authority.key");
    ends(
        &place.domain(&["init", "acp.example.com", "--domain", "authority"]),
        2,
        "is there and is left alone",
    );
    std::fs::remove_file(place.0.file("authority/authority.crt")).expect("it was there");
    ends(&place.domain(&["init", "acp.example.com", "--domain", "authority"]), 2, "get that from the backup");
    assert_eq!(place.read("authority/authority.key"), key);
    ends(&place.issue("a", &[]), 2, "is no authority of a domain");
    let place = Place::with_authority();
    place.issue("a", &[]).done();
    let certificate = place.read("a/node.crt");
    ends(&place.issue("a", &[]), 2, "grasp domain renew makes a new certificate");
    assert_eq!(place.read("a/node.crt"), certificate);
    // A key that is there is used: an interrupted issue goes on.
    let key = place.read("a/node.key");
    std::fs::remove_file(place.0.file("a/node.crt")).expect("it was there");
    place.issue("a", &[]).done();
    assert_eq!(place.read("a/node.key"), key);
}

#[test]
fn a_stranger_is_not_renewed_whatever_its_certificate_says() {
    let (place, other) = (Place::with_authority(), Place::with_authority());
    other.issue("a", &["--address", "fd00::1"]).done();
    let there = other.0.file("a");
    ends(&place.renew(&there, &[]), 4, "was not issued by this authority");
    ends(&place.domain(&["revoke", &there, "--domain", "authority"]), 1, "was not issued by this authority");
    // The others are renewed all the same.
    place.issue("b", &[]).done();
    let before = place.read("b/node.crt");
    ends(&place.domain(&["renew", &there, "b", "--domain", "authority"]), 4, "not issued by this authority");
    assert_ne!(place.read("b/node.crt"), before);
    // Only the node has a new key where the node has the key.
    place.domain(&["request", "acp.example.com", "--out", "c"]).done();
    place.issue("copy", &["--csr", "c/node.csr"]).done();
    ends(&place.renew("copy", &["--new-key"]), 2, "the node itself makes a new key");
    place.renew("copy", &[]).done();
    assert!(!std::path::Path::new(&place.0.file("copy/node.key")).exists());
}

#[test]
fn what_does_not_fit_together_is_said_with_what_to_do() {
    let (place, other) = (Place::with_authority(), Place::with_authority());
    place.issue("a", &[]).done();
    place.issue("b", &[]).done();
    other.issue("x", &[]).done();
    let stranger = other.0.file("x/node.crt");
    let wrong = |place: &Place, words: &[&str], text: &str| {
        let ended = place.domain(words);
        assert!(
            ended.status == 1 && ended.out.contains("WRONG") && ended.out.contains(text),
            "{text}: {ended:?}"
        );
    };
    wrong(
        &place,
        &["check", "a", "--peer", &stranger],
        "issued by an authority that this node does not trust",
    );
    wrong(
        &place,
        &["check", "a", "--peer", "authority/authority.crt"],
        "that of an authority, not of a node",
    );
    std::fs::copy(place.0.file("b/node.crt"), place.0.file("a/node.crt")).expect("copied");
    wrong(&place, &["check", "a"], "not that of its key");
    std::fs::copy(other.0.file("authority/authority.crt"), place.0.file("b/anchors.crt")).expect("copied");
    wrong(&place, &["check", "b"], "issued by an authority that this node does not trust");
    std::fs::copy(place.0.file("b/node.crt"), place.0.file("b/anchors.crt")).expect("copied");
    wrong(&place, &["check", "b"], "an anchor of trust is not the certificate of an authority");
    std::fs::remove_file(other.0.file("x/domain.crl")).expect("it was there");
    wrong(&other, &["check", "x"], "domain.crl cannot be read");
    ends(&place.domain(&["check", "nowhere"]), 2, "nowhere cannot be opened");
    ends(&place.domain(&["check", "a/node.crt"]), 2, "is no directory");
}

#[test]
fn a_wrong_command_line_is_a_usage() {
    let place = Place::with_authority();
    for (words, sentence) in [
        (&["init", "acp_example", "--domain", "x"][..], "only letters, digits and hyphens"),
        (&["init", "acp.example.com"], "--domain"),
        (&["issue", "--domain", "authority", "--out", "a", "--days", "366"], "1..=365"),
        (
            &["issue", "--domain", "authority", "--out", "a", "--address", "fd00::g"],
            "neither an IPv6 address nor 0 nor none",
        ),
        (
            &["issue", "--domain", "authority", "--out", "a", "--rsub", "-"],
            "the routing subdomain is malformed",
        ),
        (&["issue", "--domain", "authority", "--out", "a/b/c"], "cannot be created"),
        (&["issue", "--domain", "nowhere", "--out", "a"], "nowhere cannot be opened"),
        (
            &["issue", "--domain", "authority", "--out", "a", "--csr", "b", "--algorithm", "p384"],
            "cannot be used with",
        ),
        (&["renew", "--domain", "authority"], "<NODE>"),
        (&["issue", "--domain", "authority", "--out", "authority"], "a node needs one of its own"),
        (&["renew", "authority", "--domain", "authority"], "it has no node.crt"),
        (&["show", "authority/issued.json"], "no certificate in PEM"),
        (&["frob"], "unrecognized subcommand"),
    ] {
        ends(&place.domain(words), 2, sentence);
    }
    let long = "x".repeat(65);
    ends(&place.issue("a", &["--label", &long]), 4, "at most 64 characters");
}
