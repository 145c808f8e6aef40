//! The page without a browser: who is answered, and what.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use grasp::{Acp, Config, tprint};
use grasptests::domains::{authority, credentials};
use grasptests::isolated;
use grasptests::lab::{Node, eventually};
use grasptests::nodes::{SOON, linked};

use super::{negotiate, page, page_with};

fn connect(node: &Node, address: std::net::SocketAddr) -> TcpStream {
    let stream = node.run(|| TcpStream::connect(address)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// What is answered, until the connection ends or the text is there.
fn ask(node: &Node, address: std::net::SocketAddr, request: &str, until: &str) -> String {
    let mut stream = connect(node, address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        answer.extend_from_slice(&chunk[..count]);
        // Where it may have come in now: with all of it each time, this would be slower than the page allows.
        let latest = &answer[answer.len().saturating_sub(count + until.len())..];
        if !until.is_empty() && String::from_utf8_lossy(latest).contains(until) {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn the_page_and_the_events_are_for_this_machine_and_change_nothing() {
    isolated!();
    let (_lab, a, b, bubbles) = page();
    let address = bubbles.address().unwrap();
    let page = ask(&a.node, address, &format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n"), "</html>");
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(page.contains("default-src 'none'; script-src 'nonce-") && !page.contains("NONCE"));
    assert!(!page.contains("unsafe"));
    for outside in ["src=\"http", "href=\"http", "@import", "url("] {
        assert!(!page.contains(outside), "the page needs nothing from elsewhere: {outside}");
    }
    tprint!("said before anybody came");
    negotiate(&a, &b);
    let get = |more: &str| format!("GET /events HTTP/1.1\r\nHost: {address}\r\n{more}\r\n");
    let events = ask(&a.node, address, &get(""), "M_END");
    assert!(
        events.contains("\"caption\":\"Gray\"") && events.contains("said before anybody came"),
        "{events}"
    );
    // What was read ends anywhere, in the middle of a number for instance.
    let (whole, _) = events.rsplit_once("\n\n").expect("an event");
    let last = whole.lines().rfind(|line| line.starts_with("id: ")).unwrap().trim_start_matches("id: ");
    tprint!("said later");
    let later = ask(&a.node, address, &get(&format!("Last-Event-ID: {last}\r\n")), "said later");
    assert!(!later.contains("said before anybody came") && !later.contains("missing"), "{later}");
    // One who was away for so long that what happened is no longer kept is told so.
    for number in 0..4000 {
        tprint!("much is said", number);
    }
    // The page hears of it a little later. Until then nothing is lost: one who comes back gets it as it comes.
    ask(&a.node, address, &get(""), "much is said 3999");
    let much = ask(&a.node, address, &get(&format!("Last-Event-ID: {last}\r\n")), "much is said 3999");
    let lost = much.lines().find(|line| line.contains("events are missing here")).expect(&much[..500]);
    assert!(lost.contains("\"bad\":true") && !much.contains("said later"), "{lost}");

    // But for the threads that answer; the number of them is underlined.
    let state = || {
        let dump = a.engine.dump(false);
        let threads = |line: &str| line.contains("Thread count") || line.bytes().all(|byte| byte == b'-');
        let known: Vec<_> = dump.lines().filter(|line| !threads(line)).map(str::to_owned).collect();
        let mut counted = a.engine.stats().named();
        counted.retain(|(name, _)| *name != "threads_peak");
        (counted, known)
    };
    let before = state();
    let refused = |request: &str, status: &str| {
        let answer = ask(&a.node, address, request, "");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:?}: {answer}");
    };
    refused(&format!("POST / HTTP/1.1\r\nHost: {address}\r\nContent-Length: 2\r\n\r\nhi"), "405");
    refused("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "421");
    refused(&format!("GET /shutdown HTTP/1.1\r\nHost: {address}\r\n\r\n"), "404");
    refused(&format!("GET /{} HTTP/1.1\r\n", "x".repeat(9000)), "431");
    refused("nonsense\r\n\r\n", "400");
    assert_eq!(before, state(), "nothing has changed");
}

#[test]
fn in_a_secure_domain_the_page_shows_what_is_said() {
    isolated!();
    let authority = authority();
    let config = |number| Config::new().acp(Acp::Domain(credentials(&authority, number)));
    let (_lab, a, b, bubbles) = page_with([config(1), config(2)]);
    let address = bubbles.address().unwrap();
    negotiate(&a, &b);
    let get = format!("GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let events = ask(&a.node, address, &get, "M_END");
    for kind in ["M_REQ_NEG", "M_NEGOTIATE", "M_END", "AN_ACP"] {
        assert!(events.contains(kind), "{kind}: {events}");
    }
}

#[test]
fn browsers_that_say_nothing_or_read_nothing_are_bounded_and_hold_up_neither_engine_nor_shutdown() {
    isolated!();
    let (_lab, a, b, bubbles) = page();
    let address = bubbles.address().unwrap();
    let threads = a.engine.thread_count();
    let silent: Vec<TcpStream> = (0..20).map(|_| connect(&a.node, address)).collect();
    let deaf: Vec<TcpStream> = (0..30)
        .map(|_| {
            let mut stream = connect(&a.node, address);
            let _ = stream.write_all(format!("GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes());
            stream
        })
        .collect();
    for number in 0..3000 {
        tprint!(number, "x".repeat(500));
    }
    assert!(a.engine.thread_count() <= threads + 33, "{} threads", a.engine.thread_count());
    negotiate(&a, &b);
    drop(silent);
    eventually(Duration::from_secs(30), "a browser is served again", || {
        ask(&a.node, address, &format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n"), "</html>")
            .contains("200 OK")
    });
    let started = Instant::now();
    a.engine.shutdown();
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert_eq!(a.engine.thread_count(), 0);
    drop(deaf);
}

/// graspy's call, with the engine of the process.
#[test]
fn init_bubble_text_makes_one_page_that_goes_on_with_the_next_engine() {
    isolated!();
    let (_lab, _, a, _b) = linked();
    let (url, again) = a.run(|| {
        grasp::configure(Config::new()).unwrap();
        (grasp::init_bubble_text("Gray").unwrap(), grasp::init_bubble_text("another").unwrap())
    });
    assert_eq!(url, again);
    let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix('/')).unwrap();
    assert!(address.starts_with("127.0.0.1:"), "on loopback, unless it is configured: {address}");
    let events = format!("GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let address = address.parse().unwrap();
    tprint!("said by the first");
    let first = ask(&a, address, &events, "said by the first");
    assert!(first.contains("\"caption\":\"Gray\"") && first.contains("said by the first"), "{first}");
    assert!(first.contains(&url), "the address is printed, and thus said: {first}");

    grasp::shutdown();
    a.run(|| grasp::register_asa("next").unwrap());
    tprint!("said by the next");
    let next = ask(&a, address, &events, "said by the next");
    assert!(next.contains("said by the first") && next.contains("said by the next"), "{next}");
    grasp::shutdown();
}
