//! What only some files of `src/` may name: crates, sockets, threads, locks, clocks. Which module may name which other is in
//! `modules`.

use std::fs;
use std::path::{Path, PathBuf};

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_owned()
}

/// The Rust files below a directory of the repository, with their paths from its root.
pub(crate) fn files(directory: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(directory)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).expect("below the root").display().to_string();
                found.push((name, fs::read_to_string(&path).expect("a text file")));
            }
        }
    }
    assert!(!found.is_empty(), "{directory}");
    found.sort();
    found
}

/// A file without its comments and without its tests, which stand at the end.
fn code(text: &str) -> String {
    let before_tests = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = before_tests.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether a path or name stands in the code, not as a part of a longer word.
fn names(code: &str, what: &str) -> bool {
    let of_word = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(what).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + what.len()..].chars().next();
        !(before.is_some_and(of_word) || what.ends_with(of_word) && after.is_some_and(of_word))
    })
}

/// What a file at this path must not say, and says.
fn violations(path: &str, text: &str) -> Vec<String> {
    if path.ends_with("/tests.rs") || path.ends_with("_tests.rs") {
        return Vec::new();
    }
    let (code, layer) = (code(text), layer(path));
    let pure = ["cbor", "wire", "node"].contains(&layer);
    let mut found = Vec::new();
    let mut forbid = |holds: bool, words: &[&str]| {
        found.extend(
            words.iter().filter(|word| holds && names(&code, word)).map(|word| format!("{path}: {word}")),
        );
    };
    forbid(path != "src/cbor/codec.rs", &["serde_cbor"]);
    forbid(layer != "net", &["socket2", "if_addrs"]);
    // Programs have threads of their own.
    forbid(
        layer != "threads" && layer != "bin",
        &["thread::spawn", "thread::Builder", "Builder::new", "thread::scope"],
    );
    forbid(pure, &["TcpStream", "TcpListener", "UdpSocket", "Socket", "rustix"]);
    forbid(pure, &["Mutex", "RwLock", "Condvar", "parking_lot", "std::sync::mpsc", "OnceLock"]);
    forbid(pure, &["Instant::now", "SystemTime", "monotonic_ms", "clock", "crossbeam_channel::after"]);
    found
}

/// The directory below `src`, or nothing for a file of its root.
fn layer(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or_default();
    inside.split_once('/').map_or("", |(layer, _)| layer)
}

#[test]
fn the_borders_between_the_layers_hold() {
    let found: Vec<_> = files("src").iter().flat_map(|(path, text)| violations(path, text)).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_matcher_sees_what_is_forbidden() {
    for (path, text) in [
        ("src/wire/decode.rs", "use serde_cbor::Value;"),
        ("src/engine.rs", "fn f() { serde_cbor::to_vec(&1); }"),
        ("src/threads/watcher.rs", "use socket2::{Domain, Socket};"),
        ("src/core.rs", "let all = if_addrs::get_if_addrs()?;"),
        ("src/api/asa.rs", "let handle = std::thread::spawn(|| {});"),
        ("src/net/tcp.rs", "use std::thread::Builder;"),
        ("src/registry/asa.rs", "Builder::new().name(name)"),
        ("src/cbor/head.rs", "use std::net::{Ipv6Addr, TcpStream};"),
        ("src/node/mod.rs", "static X: Mutex<u8> = Mutex::new(0);"),
        ("src/node/flood.rs", "use parking_lot::RwLock;"),
        ("src/node/flood.rs", "let now = Instant::now();"),
        ("src/wire/option.rs", "let now = crate::clock::monotonic_ms();"),
    ] {
        assert_eq!(violations(path, text).len().min(1), 1, "{path}: {text}");
    }
}

#[test]
fn the_matcher_leaves_alone_what_is_allowed() {
    for (path, text) in [
        ("src/cbor/codec.rs", "use serde_cbor::Value;"),
        ("src/wire/decode.rs", "// serde_cbor does it otherwise\nuse crate::types::Value;"),
        ("src/bin/graspd/metrics.rs", "use std::thread::Builder;"),
        ("src/net/tcp.rs", "use socket2::Socket;\n#[cfg(test)]\nmod tests { use std::thread::Builder; }"),
        ("src/threads/mod.rs", "use std::thread::{Builder, JoinHandle};"),
        ("src/node/mod.rs", "use std::net::{SocketAddrV6, Ipv6Addr};\nlet clocked = 1;"),
    ] {
        assert!(violations(path, text).is_empty(), "{:?}", violations(path, text));
    }
}

#[test]
fn no_file_is_longer_than_one_can_read() {
    for (path, text) in ["src", "asa_examples", "grasptests"].iter().flat_map(|directory| files(directory)) {
        let limit = if path.contains("/tests/") { 700 } else { 600 };
        let lines = text.lines().count();
        assert!(lines <= limit, "{path} has {lines} lines, more than {limit}: split it");
    }
}

/// Linux shows 15 bytes.
#[test]
fn the_names_of_threads_are_short() {
    let threads = files("src/threads");
    let names: Vec<&str> = threads
        .iter()
        .flat_map(|(_, text)| text.split("spawn(core, \"").skip(1))
        .map(|behind| behind.split('"').next().unwrap_or_default())
        .collect();
    assert!(names.len() >= 8, "{names:?}");
    assert!(names.iter().all(|name| (1..=15).contains(&name.len())), "{names:?}");
}
