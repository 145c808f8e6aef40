//! The small part of HTTP/1.1 that the page needs: GET of two paths, one answer per connection. Bounded in time and
//! size.
//!
//! Who may ask: programs on this machine, or anybody who can reach the configured address. A page of another origin
//! must not read what is shown here, and cannot: no header allows it to (no CORS), and the check of the Host header
//! refuses names that were made to lead here (DNS rebinding).

use std::io;
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::net::wait;

/// The longest request head, in bytes.
const HEAD: usize = 8 * 1024;
/// How long a request may take to arrive.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a client may take to read what is sent at once.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);

const PAGE: &str = include_str!("page.html");

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The page, as seen from this host.
    Page {
        /// The host, as the client names it.
        host: String,
    },
    /// The events after the one with this name.
    Events {
        /// The name of the last known event; empty for all events.
        after: String,
    },
    /// The request is refused with this status.
    Refused(&'static str),
}

/// Reads a request.
pub(crate) fn read(stream: &TcpStream) -> io::Result<Asked> {
    let deadline = Instant::now() + PATIENCE;
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let count = wait::read(stream, &mut chunk, deadline)?;
        let piece = chunk.get(..count).filter(|piece| !piece.is_empty());
        head.extend_from_slice(piece.ok_or(io::ErrorKind::UnexpectedEof)?);
        if let Some(asked) = parse(&head) {
            return Ok(asked);
        }
        if head.len() > HEAD {
            return Ok(Asked::Refused("431 Request Header Fields Too Large"));
        }
    }
}

/// Parses a request; `None` while it is incomplete.
fn parse(head: &[u8]) -> Option<Asked> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return None,
        Err(_) => return Some(Asked::Refused("400 Bad Request")),
    }
    let header = |name: &str| {
        let found = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let Some(host) = header("Host").and_then(host_name) else {
        return Some(Asked::Refused("421 Misdirected Request"));
    };
    if request.method != Some("GET") {
        return Some(Asked::Refused("405 Method Not Allowed"));
    }
    let (path, query) =
        request.path.map(|path| path.split_once('?').unwrap_or((path, ""))).unwrap_or_default();
    Some(match path {
        "/" => Asked::Page { host: host.to_owned() },
        "/events" => {
            let again = query.split('&').find_map(|pair| pair.strip_prefix("after="));
            Asked::Events { after: header("Last-Event-ID").or(again).unwrap_or_default().to_owned() }
        }
        _ => Asked::Refused("404 Not Found"),
    })
}

/// The host of a Host header, if it is an address or `localhost`: other names can be made to lead here, addresses
/// cannot.
fn host_name(header: &str) -> Option<&str> {
    let (name, port) = match header.rsplit_once(':') {
        // An IPv6 address without a port ends in a bracket.
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (header, ""),
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let good = name == "localhost" || bare.parse::<IpAddr>().is_ok();
    (good && port.chars().all(|digit| digit.is_ascii_digit())).then_some(name)
}

/// Sends the page. The nonce allows its own script to run, and no other.
pub(crate) fn send_page(stream: &TcpStream, host: &str, nonce: &str) -> io::Result<()> {
    // CSP does not support IPv6 addresses: with one, no other page can be shown beside this one.
    let beside = if host.starts_with('[') { "'none'".to_owned() } else { format!("http://{host}:*") };
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
         frame-src {beside}; frame-ancestors {beside}; base-uri 'none'; form-action 'none'"
    );
    let page = PAGE.replace("NONCE", nonce);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Content-Security-Policy: {policy}\r\n{COMMON}\r\n",
        page.len()
    );
    send(stream, &[head.as_bytes(), page.as_bytes()].concat())
}

/// Starts the stream of events.
pub(crate) fn send_events_head(stream: &TcpStream) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCross-Origin-Resource-Policy: same-origin\r\n{COMMON}\r\n"
    );
    send(stream, head.as_bytes())
}

/// Sends a refusal with this status.
pub(crate) fn send_refusal(stream: &TcpStream, status: &str) -> io::Result<()> {
    let allow = if status.starts_with("405") { "Allow: GET\r\n" } else { "" };
    send(stream, format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n{allow}{COMMON}\r\n").as_bytes())
}

pub(crate) fn send(stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    wait::write_all(stream, bytes, Instant::now() + WRITE_PATIENCE, |_| {})
}

const COMMON: &str = "Connection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
    Referrer-Policy: no-referrer\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(request: &str) -> Option<Asked> {
        parse(request.as_bytes())
    }

    #[test]
    fn only_get_of_the_page_and_of_the_events_is_answered() {
        let page = |host: &str| Some(Asked::Page { host: host.to_owned() });
        assert_eq!(asked("GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n"), page("127.0.0.1"));
        assert_eq!(asked("GET /?beside=7 HTTP/1.1\r\nhost: localhost\r\n\r\n"), page("localhost"));
        assert_eq!(asked("GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n"), page("[::1]"));
        let events = |after: &str| Some(Asked::Events { after: after.to_owned() });
        assert_eq!(asked("GET /events?after=1-2 HTTP/1.1\r\nHost: [::1]:9\r\n\r\n"), events("1-2"));
        let again = "GET /events?after=1-2 HTTP/1.1\r\nHost: 127.0.0.1\r\nLast-Event-ID: 1-5\r\n\r\n";
        assert_eq!(asked(again), events("1-5"), "the browser knows better than the page");
        assert_eq!(asked("GET / HTTP/1.1\r\nHost: 127.0.0.1"), None);
        for method in ["POST", "HEAD", "PUT", "DELETE", "OPTIONS"] {
            let refused = asked(&format!("{method} / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"));
            assert_eq!(refused, Some(Asked::Refused("405 Method Not Allowed")));
        }
        let absent = asked("GET /../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        assert_eq!(absent, Some(Asked::Refused("404 Not Found")));
        assert_eq!(asked("\0\r\n\r\n"), Some(Asked::Refused("400 Bad Request")));
    }

    #[test]
    fn a_name_that_leads_here_by_somebody_elses_will_is_refused() {
        for host in
            ["evil.example:80", "127.0.0.1.evil.example", "localhost.evil:1", "", "127.0.0.1:80@x", "a b"]
        {
            let refused = asked(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            assert_eq!(refused, Some(Asked::Refused("421 Misdirected Request")), "{host}");
        }
        assert_eq!(asked("GET / HTTP/1.1\r\n\r\n"), Some(Asked::Refused("421 Misdirected Request")));
    }
}
