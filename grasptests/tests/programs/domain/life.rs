//! The life of a domain: issue, request, check, renew, revoke.

use grasp::domain::{Kept, NotMember, RevocationState};

use super::*;

#[test]
fn what_is_issued_works_with_every_kind_of_key() {
    for kind in ["p256", "p384", "ed25519"] {
        let place = Place::new();
        let init = ["init", "ACP.example.com", "--domain", "authority", "--algorithm", kind];
        assert!(place.domain(&init).done().contains("the authority of acp.example.com"));
        place.issue("a", &["--algorithm", kind, "--address", "fd00::1", "--rsub", "area51"]).done();
        place.domain(&["request", "acp.example.com", "--out", "b", "--algorithm", kind]).done();
        let issued = place.issue("b", &["--csr", "b/node.csr", "--days", "3", "--json"]).objects();
        assert_eq!(issued[0]["name"], "0@acp.example.com");
        let (a, b) = (place.credentials("a"), place.credentials("b"));
        assert_eq!(a.name().to_string(), "fd000000000000000000000000000001+area51@acp.example.com");
        let member = a.check(b.chain(), &rules()).expect("a member");
        assert_eq!(
            (member.name.to_string(), member.revocation),
            ("0@acp.example.com".to_owned(), RevocationState::Good)
        );
        let days = member.until.duration_since(SystemTime::now()).expect("later");
        assert!(days <= 3 * DAY && days > 2 * DAY, "{days:?}");
        b.check(a.chain(), &rules()).expect("a member");
        let found = place.domain(&["check", "a", "--peer", "b/node.crt", "--json"]).objects();
        assert!(found.len() == 5 && found.iter().all(|one| one["level"] == "ok"), "{found:?}");
    }
}

#[test]
fn a_node_without_an_address_is_a_member_and_no_neighbour() {
    let place = Place::with_authority();
    place.issue("a", &[]).done();
    place.issue("station", &["--address", "none"]).done();
    let said = place.domain(&["check", "a", "--peer", "station/node.crt"]).done();
    assert!(said.contains("note  peer: @acp.example.com is a member, but no neighbour"), "{said}");
    let said = place.domain(&["check", "station"]).done();
    assert!(said.contains("note  address: the name has no address"), "{said}");
}

#[test]
fn a_certificate_is_renewed_when_half_of_its_time_is_over_and_lists_always() {
    let fresh = Place::aged(20, 90);
    let before = fresh.read("old/node.crt");
    ends(&fresh.renew("old", &["--if-needed"]), 1, "");
    assert_eq!(fresh.read("old/node.crt"), before);

    let due = Place::aged(46, 90);
    let said = due.domain(&["check", "old"]);
    assert!(
        said.status == 1 && said.out.contains("note  lifetime: more than half of it is over"),
        "{said:?}"
    );
    assert!(
        said.out.contains("WRONG list: ") && said.out.contains("is it right?"),
        "the list is over: {said:?}"
    );
    let (before, key) = (due.read("old/node.crt"), due.read("old/node.key"));
    let done = due.renew("old", &["--if-needed", "--json"]).objects();
    assert_eq!(
        (&done[0]["renewed"], &done[0]["name"]),
        (&true.into(), &"fd89b714f3db00000000000000000001@acp.example.com".into())
    );
    assert_ne!(due.read("old/node.crt"), before);
    assert_eq!(due.read("old/node.key"), key, "with the same key");
    let credentials = due.credentials("old");
    assert_eq!(credentials.check_own(&rules()).expect("a member").revocation, RevocationState::Good);
    assert_eq!(
        (credentials.lists()[0].number(), credentials.certificate().label().as_deref()),
        (Some(2), Some("old"))
    );
    due.domain(&["check", "old"]).done();
    ends(&due.renew("old", &["--if-needed"]), 1, "");
    assert_eq!(due.credentials("old").lists()[0].number(), Some(2), "it is good for long");
}

#[test]
fn what_is_over_says_so_and_can_be_renewed() {
    let place = Place::aged(100, 90);
    let said = place.domain(&["check", "old"]);
    assert!(said.status == 1 && said.out.contains("not valid any more since"), "{said:?}");
    assert!(said.out.contains("grasp domain renew, if the clock is right"), "{said:?}");
    place.renew("old", &["--if-needed"]).done();
    place.domain(&["check", "old"]).done();
}

#[test]
fn a_new_key_replaces_the_old_one_whenever_the_files_are_read() {
    let place = Place::with_authority();
    place.issue("a", &["--address", "fd00::1"]).done();
    let kept = Kept::load(Files::in_directory(place.0.0.join("a"))).expect("they work");
    let old_key = place.read("a/node.key");
    place.renew("a", &["--new-key"]).done();
    let new_key = place.read("a/node.key");
    assert!(new_key != old_key && new_key.matches("BEGIN").count() == 1);
    let before = kept.current().certificate().serial();
    kept.reload().expect("the new ones work");
    assert_ne!(kept.current().certificate().serial(), before);
    // One that cannot write the certificate.
    std::fs::create_dir(place.0.file("a/.node.crt.new")).expect("a directory");
    ends(&place.renew("a", &["--new-key"]), 2, "node.crt cannot be written");
    assert_eq!(place.read("a/node.key").matches("BEGIN").count(), 2);
    kept.reload().expect("the old certificate still works");
    std::fs::remove_dir(place.0.file("a/.node.crt.new")).expect("it is empty");
    place.renew("a", &["--new-key"]).done();
    let (old_key, old) = (place.read("a/node.key"), place.read("a/node.crt"));
    place.renew("a", &["--new-key"]).done();
    let new_key = place.read("a/node.key");
    // What an interrupted renewal leaves: both keys, and either certificate.
    let new = place.read("a/node.crt");
    place.write("a/node.key", &format!("{new_key}{old_key}"));
    for certificate in [&old, &new] {
        place.write("a/node.crt", certificate);
        kept.reload().expect("the key of the certificate is there");
    }
    place.renew("a", &[]).done();
    assert_eq!(place.read("a/node.key"), new_key, "only the key of the certificate stays");
}

#[test]
fn a_reload_with_an_error_changes_nothing_and_says_what_is_wrong() {
    let place = Place::with_authority();
    place.issue("a", &[]).done();
    let kept = Kept::load(Files::in_directory(place.0.0.join("a"))).expect("they work");
    let serial = kept.current().certificate().serial();
    let whole = place.read("a/node.crt");
    place.issue("b", &[]).done();
    for (text, sentence) in [
        ("", "node.crt cannot be used: it has no certificate in PEM"),
        (&whole[..whole.len() / 2], "node.crt cannot be used"),
        (&place.read("b/node.crt"), "not that of its key"),
    ] {
        place.write("a/node.crt", text);
        let error = kept.reload().expect_err("wrong").to_string();
        assert!(error.contains(sentence), "{error}");
        assert_eq!(kept.current().certificate().serial(), serial);
    }
    place.write("a/node.crt", &whole);
    kept.reload().expect("it is right again");
}

#[test]
fn who_is_revoked_is_no_member_and_is_not_renewed() {
    let place = Place::with_authority();
    for node in ["a", "b", "c"] {
        place.issue(node, &["--address", "fd00::1"]).done();
    }
    let certificate = place.credentials("b").chain().to_vec();
    // Its old certificate is as good as its new one, until both are revoked.
    let old = place.read("b/node.crt");
    place.renew("b", &["--new-key"]).done();
    place.domain(&["revoke", "b", "--domain", "authority"]).done();
    ends(&place.renew("a", &["--if-needed"]), 1, "");
    let refused = place.credentials("a").check(&certificate, &rules());
    assert!(matches!(refused, Err(NotMember::Revoked { .. })), "{refused:?}");
    place.write("old.crt", &old);
    for peer in ["b/node.crt", "old.crt"] {
        let said = place.domain(&["check", "a", "--peer", peer]);
        assert!(said.status == 1 && said.out.contains("revoked"), "{said:?}");
    }
    ends(&place.renew("b", &[]), 4, "revoked since");
    // One certificate, by its serial number as OpenSSL prints it, and by its file.
    let issued = &place.domain(&["show", "authority", "--json"]).objects()[0]["issued"];
    let serial =
        issued.as_array().expect("some").iter().find(|one| one["label"] == "c").expect("c")["serial"].clone();
    let serial = serial.as_str().expect("text").to_uppercase();
    place.domain(&["revoke", &serial, "--domain", "authority"]).done();
    place.domain(&["revoke", "a/node.crt", "--domain", "authority", "--json"]).done();
    let list = &place.domain(&["show", "authority/domain.crl", "--json"]).objects()[0];
    assert_eq!((&list["number"], list["revoked"].as_array().map(Vec::len)), (&4.into(), Some(4)));
    // Again changes nothing but the number.
    place.domain(&["revoke", "a/node.crt", "--domain", "authority"]).done();
    let again = &place.domain(&["show", "authority/domain.crl", "--json"]).objects()[0];
    assert_eq!((&again["number"], &again["revoked"]), (&5.into(), &list["revoked"]));
}

#[test]
fn a_name_or_label_of_several_nodes_is_not_guessed() {
    let place = Place::with_authority();
    place.issue("a", &[]).done();
    place.issue("b", &["--label", "a"]).done();
    place.issue("c", &["--address", "fd00::1"]).done();
    place.issue("d", &["--address", "fd00::1"]).done();
    ends(
        &place.domain(&["revoke", "0@acp.example.com", "--domain", "authority"]),
        2,
        "is several nodes: say which",
    );
    std::fs::rename(place.0.file("a"), place.0.file("moved")).expect("moved");
    ends(&place.domain(&["revoke", "a", "--domain", "authority"]), 2, "is several nodes");
    ends(&place.domain(&["revoke", "nobody", "--domain", "authority"]), 1, "nobody is no serial number");
    // An address is that of one node.
    let name = "fd000000000000000000000000000001@acp.example.com";
    let revoked = place.domain(&["revoke", name, "--domain", "authority", "--json"]).objects();
    assert_eq!(revoked[0]["serials"].as_array().map(Vec::len), Some(2));
}

#[test]
fn everything_that_is_there_is_shown() {
    let place = Place::with_authority();
    assert!(place.domain(&["show", "authority"]).done().contains("nothing was issued yet"));
    place.domain(&["request", "acp.example.com", "--out", "a"]).done();
    place.issue("a", &["--csr", "a/node.csr", "--label", "evil\u{1b}[2J"]).done();
    let shown = place.domain(&["show", "a"]).done();
    assert!(
        shown.contains("node         0@acp.example.com") && shown.contains("state        valid\n"),
        "{shown}"
    );
    assert!(shown.contains("evil\\u{1b}[2J") && !shown.contains('\u{1b}'), "{shown}");
    let shown = place.domain(&["show", "authority"]).done();
    assert!(shown.contains("VALID UNTIL") && !shown.contains('\u{1b}'), "{shown}");
    assert!(place.domain(&["show", "a/node.csr"]).done().starts_with("request  0@acp.example.com\n"));
    assert!(place.domain(&["show", "a/domain.crl"]).done().contains("revoked    nothing"));
    let objects = place.domain(&["show", "a", "--json"]).objects();
    assert_eq!((&objects[0]["type"], &objects[1]["type"]), (&"certificate".into(), &"list".into()));
    for file in ["a/node.key", "a/nothing"] {
        let ended = place.domain(&["show", file]);
        assert!(
            ended.status == 2 && !ended.errors.contains("MC4C") && !ended.errors.contains("MIG"),
            "{ended:?}"
        );
    }
}
