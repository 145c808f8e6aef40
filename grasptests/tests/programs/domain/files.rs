//! Files: modes, owners, symbolic links, what is interrupted, and two at once.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;

use grasp::domain::CredentialsError;
use grasptests::lab::eventually;
use rustix::fs::{FlockOperation, flock};

use super::*;

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).expect("it is there").mode() & 0o7777
}

/// Runs `grasp domain` with an open umask, which lets through what the program asks for.
fn openly(place: &Place, words: &[&str]) {
    let shell = format!("umask 0; exec {PROGRAM} domain {}", words.join(" "));
    let ended = Command::new("sh").args(["-c", &shell]).current_dir(&place.0.0).output().expect("a shell");
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn keys_are_for_their_owner_only_and_the_rest_for_everybody() {
    let place = Place::new();
    openly(&place, &["init", "acp.example.com", "--domain", "authority"]);
    openly(&place, &["issue", "--domain", "authority", "--out", "a"]);
    openly(&place, &["request", "acp.example.com", "--out", "b"]);
    openly(&place, &["renew", "a", "--domain", "authority", "--new-key"]);
    let root = &place.0.0;
    assert_eq!(mode(&root.join("authority")), 0o700);
    for (file, expected) in [
        ("authority/authority.key", 0o600),
        ("authority/issued.json", 0o600),
        ("authority/authority.crt", 0o644),
        ("authority/domain.crl", 0o644),
        ("a/node.key", 0o600),
        ("a/node.crt", 0o644),
        ("a/anchors.crt", 0o644),
        ("b/node.key", 0o600),
    ] {
        assert_eq!(mode(&root.join(file)), expected, "{file}");
    }
    for directory in ["authority", "a", "b"] {
        let names = std::fs::read_dir(root.join(directory)).expect("a directory");
        let names = names.map(|name| name.expect("a name").file_name().into_string().expect("text"));
        let hidden: Vec<_> = names.filter(|name| name.starts_with('.')).collect();
        assert_eq!(hidden, [".lock"], "{directory}");
    }
}

#[test]
fn files_that_others_can_read_or_change_are_refused() {
    let place = Place::with_authority();
    place.issue("a", &[]).done();
    let root = &place.0.0;
    let with_mode = |file: &str, mode: u32| {
        std::fs::set_permissions(root.join(file), std::fs::Permissions::from_mode(mode))
            .expect("its own file");
    };
    let load = || Credentials::load(&Files::in_directory(root.join("a"))).map(drop);
    with_mode("a/node.key", 0o640);
    assert!(matches!(load(), Err(CredentialsError::Key(_))));
    let said = place.domain(&["check", "a"]);
    assert!(said.status == 1 && said.out.contains("chmod 600"), "{said:?}");
    with_mode("a/node.key", 0o600);
    for file in ["a/anchors.crt", "a/node.crt", "a/domain.crl"] {
        with_mode(file, 0o664);
        assert!(matches!(load(), Err(CredentialsError::Writable { mode: 0o664, .. })), "{file}");
        with_mode(file, 0o644);
    }
    load().expect("they are as they were");
    with_mode("authority/authority.key", 0o604);
    ends(&place.issue("b", &[]), 2, "chmod 600");
    with_mode("authority/authority.key", 0o600);
    with_mode("authority", 0o770);
    ends(&place.issue("b", &[]), 2, "chmod 700 authority");
}

#[test]
fn links_are_not_followed_and_pipes_not_waited_for() {
    let place = Place::with_authority();
    let root = &place.0.0;
    for (file, words) in [
        ("node.key", &["request", "acp.example.com", "--out", "a"][..]),
        ("node.csr", &["request", "acp.example.com", "--out", "a"]),
        ("anchors.crt", &["issue", "--domain", "authority", "--out", "a"]),
        ("domain.crl", &["issue", "--domain", "authority", "--out", "a"]),
    ] {
        let _ = std::fs::remove_dir_all(root.join("a"));
        std::fs::create_dir(root.join("a")).expect("a directory");
        symlink(root.join("elsewhere"), root.join("a").join(file)).expect("a link");
        let ended = place.domain(words);
        assert!(ended.status == 2 && ended.errors.contains(file), "{file}: {ended:?}");
        assert!(!root.join("elsewhere").exists(), "{file}");
        assert!(mode(&root.join("a").join(file)) & 0o777 == 0o777, "the link is still there");
    }
    // Nor where a temporary file is written.
    let _ = std::fs::remove_dir_all(root.join("a"));
    std::fs::create_dir(root.join("a")).expect("a directory");
    symlink(root.join("elsewhere"), root.join("a/.node.key.new")).expect("a link");
    place.issue("a", &[]).done();
    assert!(!root.join("elsewhere").exists() && mode(&root.join("a/node.key")) == 0o600);
    // A pipe in the place of a file.
    std::fs::remove_file(root.join("a/node.crt")).expect("it was there");
    nix::unistd::mkfifo(&root.join("a/node.crt"), nix::sys::stat::Mode::from_bits_truncate(0o600))
        .expect("a pipe");
    let said = place.domain(&["check", "a"]);
    assert!(said.status == 1 && said.out.contains("not a regular file"), "{said:?}");
    ends(&place.domain(&["check", "a", "--peer", "a/node.crt"]), 1, "");
}

#[test]
fn nobody_gets_the_name_of_another_node_by_a_link_to_its_key() {
    let place = Place::with_authority();
    place.issue("victim", &["--address", "fd00::1"]).done();
    let root = &place.0.0;
    // What the owner of a directory can do, and root, who renews it, could follow.
    std::fs::create_dir(root.join("thief")).expect("a directory");
    for file in ["node.crt", "anchors.crt", "domain.crl"] {
        std::fs::copy(root.join("victim").join(file), root.join("thief").join(file)).expect("it is public");
    }
    symlink(root.join("victim/node.key"), root.join("thief/node.key")).expect("a link");
    let issued = place.read("authority/issued.json");
    ends(&place.renew("thief", &["--new-key"]), 2, "it is a symbolic link, which is not followed");
    assert_eq!(place.read("authority/issued.json"), issued, "a certificate was issued");
}

#[test]
fn what_is_revoked_is_not_forgotten_even_by_a_clock_that_is_ahead() {
    let place = Place::with_authority();
    for node in ["revoked", "over"] {
        place.issue(node, &[]).done();
    }
    place.domain(&["revoke", "revoked", "--domain", "authority"]).done();
    let mut index: serde_json::Value =
        serde_json::from_str(&place.read("authority/issued.json")).expect("an index");
    for one in index["issued"].as_array_mut().expect("two") {
        // As if it were years later.
        one["until"] = 1_000_000.into();
    }
    place.write("authority/issued.json", &index.to_string());
    place.issue("new", &[]).done();
    let index: serde_json::Value =
        serde_json::from_str(&place.read("authority/issued.json")).expect("an index");
    let known: Vec<_> = index["issued"].as_array().expect("two").iter().map(|one| &one["label"]).collect();
    assert_eq!(known, ["revoked", "new"]);
}

#[test]
fn what_root_writes_for_a_user_belongs_to_the_user() {
    if !rustix::process::geteuid().is_root() {
        // Another user cannot give files away: then they are its own.
        let place = Place::with_authority();
        place.issue("a", &[]).done();
        let owner = std::fs::metadata(place.0.file("a/node.key")).expect("it is there").uid();
        assert_eq!(owner, rustix::process::geteuid().as_raw());
        return;
    }
    let place = Place::with_authority();
    let root = &place.0.0;
    std::fs::create_dir(root.join("a")).expect("a directory");
    chown(root.join("a"), Some(4711), Some(4712)).expect("root may");
    place.issue("a", &[]).done();
    place.renew("a", &["--new-key"]).done();
    for file in ["node.key", "node.crt", "anchors.crt", "domain.crl"] {
        let about = std::fs::metadata(root.join("a").join(file)).expect("it is there");
        assert_eq!((about.uid(), about.gid()), (4711, 4712), "{file}");
    }
    place.domain(&["check", "a"]).done();
    // The engine as root does not take what belongs to somebody else.
    let loaded = Credentials::load(&Files::in_directory(root.join("a")));
    assert!(matches!(loaded, Err(CredentialsError::Key(_))), "{loaded:?}");
}

#[test]
fn what_an_interrupted_one_has_left_is_no_hindrance() {
    let place = Place::with_authority();
    place.issue("a", &[]).done();
    for file in ["authority/.issued.json.new", "authority/.domain.crl.new", "a/.node.crt.new"] {
        place.write(file, "half");
    }
    place.renew("a", &[]).done();
    place.domain(&["check", "a"]).done();
    for file in ["authority/.issued.json.new", "a/.node.crt.new"] {
        assert!(!Path::new(&place.0.file(file)).exists(), "{file}");
    }
    // A revocation that is in the index, and not in the list yet.
    let index =
        place.read("authority/issued.json").replacen("\"revoked\": null", "\"revoked\": 1800000000", 1);
    assert!(index.contains("1800000000"), "{index}");
    place.write("authority/issued.json", &index);
    place.domain(&["crl", "--domain", "authority"]).done();
    let list = &place.domain(&["show", "authority/domain.crl", "--json"]).objects()[0];
    assert_eq!(list["revoked"].as_array().map(Vec::len), Some(1));
    place.write("authority/issued.json", "{");
    ends(&place.issue("b", &[]), 2, "get it from the backup");
}

#[test]
fn several_at_once_lose_nothing() {
    let place = Place::with_authority();
    let nodes: Vec<_> = (0..6).map(|number| format!("node{number}")).collect();
    let start = |words: &[&str]| place.command(words).spawn().expect("it starts");
    let mut running: Vec<_> = nodes
        .iter()
        .map(|node| start(&["issue", "--domain", "authority", "--out", node, "--timeout", "60s"]))
        .collect();
    running.extend((0..3).map(|_| start(&["crl", "--domain", "authority", "--timeout", "60s"])));
    for child in running {
        Ended::from(child.wait_with_output().expect("it ends")).done();
    }
    let shown = &place.domain(&["show", "authority", "--json"]).objects()[0];
    let mut serials: Vec<_> =
        shown["issued"].as_array().expect("some").iter().map(|one| one["serial"].to_string()).collect();
    serials.sort();
    serials.dedup();
    assert_eq!((serials.len(), &shown["list"]["number"]), (6, &4.into()));
    nodes.iter().for_each(|node| drop(place.domain(&["check", node]).done()));
}

#[test]
fn who_has_to_wait_too_long_is_told() {
    let place = Place::with_authority();
    let lock = std::fs::File::open(place.0.file("authority/.lock")).expect("a file");
    flock(&lock, FlockOperation::LockExclusive).expect("nobody has it");
    ends(&place.issue("a", &["--timeout", "100"]), 5, "another grasp domain works on authority");
    drop(lock);
    place.issue("a", &[]).done();
}

#[test]
fn who_can_only_look_holds_nobody_up() {
    let place = Place::with_authority();
    openly(&place, &["issue", "--domain", "authority", "--out", "a"]);
    for directory in ["authority", "a"] {
        assert_eq!(mode(Path::new(&place.0.file(&format!("{directory}/.lock")))), 0o600);
    }
    let directory = std::fs::File::open(place.0.file("a")).expect("everybody may");
    flock(&directory, FlockOperation::LockExclusive).expect("nobody has it");
    place.renew("a", &["--timeout", "100"]).done();
}

#[test]
fn whatever_is_killed_the_rest_works() {
    let place = Place::with_authority();
    place.issue("a", &["--address", "fd00::1"]).done();
    for round in 0..12 {
        let words: &[&str] = match round % 3 {
            0 => &["renew", "a", "--domain", "authority", "--new-key"],
            1 => &["crl", "--domain", "authority"],
            _ => &["issue", "--domain", "authority", "--out", "b"],
        };
        let mut child = place.command(words).spawn().expect("it starts");
        // Killed at another place each time, as the machine happens to be.
        let before = place.0.file("authority/.issued.json.new");
        let started = std::time::Instant::now();
        eventually(Duration::from_secs(30), "it has begun to write, has ended, or has had its time", || {
            Path::new(&before).exists()
                || started.elapsed() > Duration::from_millis(5 * round)
                || child.try_wait().expect("a child").is_some()
        });
        let _ = child.kill();
        child.wait().expect("a child");
        place.credentials("a").check_own(&rules()).expect("a member");
    }
    place.domain(&["crl", "--domain", "authority"]).done();
    place.renew("a", &["--new-key"]).done();
    if !Path::new(&place.0.file("b/node.crt")).exists() {
        place.issue("b", &[]).done();
    }
    place.domain(&["check", "a", "--peer", "b/node.crt"]).done();
}
