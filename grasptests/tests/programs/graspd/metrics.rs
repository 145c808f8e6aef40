//! The metrics, as a scraper gets them, and as docs/operations.md lists them.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use grasp::Stats;
use grasptests::lab::{LabError, eventually, isolated};
use grasptests::nodes::linked;

use super::daemon::{Graspd, Place, SOON};

/// What a request is answered with.
fn ask(mut stream: impl std::io::Read + std::io::Write, request: &str) -> String {
    write!(stream, "{request}\r\nHost: localhost\r\n\r\n").expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer
}

const DOCUMENT: &str = include_str!("../../../../docs/operations.md");

/// The metrics of a page, as the document has them in a table.
fn rows(page: &str) -> Vec<String> {
    let lines: Vec<_> = page.lines().collect();
    let row = |pair: &[&str]| {
        let (name, kind) = pair.first()?.strip_prefix("# TYPE ")?.split_once(' ')?;
        let about = pair.get(1)?.strip_prefix(&format!("# HELP {name} "))?;
        Some(format!("| `{name}` | {kind} | {about} |"))
    };
    lines.windows(2).filter_map(row).collect()
}

#[test]
fn every_counter_is_scraped_with_its_text_and_no_scraper_holds_up_others() -> Result<(), LabError> {
    isolated!();
    let (_lab, _, a, _) = linked();
    let place = Place::new("[metrics]\nlisten = '127.0.0.1:9417'\n[dull]\nenabled = true");
    let graspd = Graspd::start(&a, &place);
    let connect = || a.run(|| TcpStream::connect("127.0.0.1:9417")).expect("it listens");
    eventually(SOON, "the instance of the link is there", || {
        ask(connect(), "GET /metrics HTTP/1.1").contains("\ngrasp_interfaces{dull=\"eth0\"} 1\n")
    });
    // One that says nothing is in the way for two seconds at most.
    let _silent = connect();
    let page = ask(connect(), "GET /metrics HTTP/1.1");
    assert!(
        page.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0; "),
        "{page}"
    );
    assert!(page.ends_with("\n# EOF\n") && page.contains("\ngrasp_interfaces 1\n"), "{page}");
    for counter in Stats::default().described() {
        let (kind, suffix) = if counter.is_peak() { ("gauge", "") } else { ("counter", "_total") };
        let name = counter.name;
        assert!(page.contains(&format!("\n# TYPE grasp_{name} {kind}\n# HELP grasp_{name} ")), "{name}");
        assert!(page.contains(&format!("\ngrasp_{name}{suffix} ")), "{name}");
        assert!(page.contains(&format!("\ngrasp_{name}{suffix}{{dull=\"eth0\"}} ")), "{name}");
    }
    assert!(ask(connect(), "GET / HTTP/1.1").starts_with("HTTP/1.1 404 Not Found\r\n"));
    assert!(
        ask(connect(), "POST /metrics HTTP/1.1")
            .starts_with("HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain")
    );

    // A reload moves them to a Unix socket.
    let socket = place.0.join("metrics.sock");
    place.configure(&format!("[metrics]\nlisten = 'unix:{}'\n[dull]\nenabled = true", socket.display()));
    graspd.reload();
    let page = ask(UnixStream::connect(&socket).expect("it listens"), "GET /metrics HTTP/1.0");
    assert!(page.contains("\ngrasp_clients "), "{page}");
    assert!(a.run(|| TcpStream::connect("127.0.0.1:9417")).is_err(), "the old place is left");
    // One that cannot be had changes nothing.
    place.configure("[metrics]\nlisten = 'unix:/nowhere/metrics.sock'\n[dull]\nenabled = true");
    graspd.reload();
    graspd.says("nothing is changed: metrics cannot be served at unix:/nowhere/metrics.sock: ");
    assert!(UnixStream::connect(&socket).is_ok());
    Ok(())
}

#[test]
fn the_metrics_in_the_document_are_those_that_are_rendered() -> Result<(), LabError> {
    isolated!();
    let (_lab, _, a, _) = linked();
    let place = Place::new("[metrics]\nlisten = '127.0.0.1:9417'");
    let _graspd = Graspd::start(&a, &place);
    let page =
        ask(a.run(|| TcpStream::connect("127.0.0.1:9417")).expect("it listens"), "GET /metrics HTTP/1.1");
    let (watched, listed) = DOCUMENT.split_once("\n## All metrics\n").expect("the last section");
    let listed: Vec<_> = listed.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect();
    assert_eq!(listed, rows(&page));
    let (_, watched) = watched.split_once("What to watch:").expect("a table");
    let names = watched.split('`').filter(|word| word.starts_with("grasp_"));
    let missing: Vec<_> = names.filter(|name| !page.contains(&format!("\n{name} "))).collect();
    assert_eq!(missing, Vec::<&str>::new(), "to be watched, and not there");
    Ok(())
}
