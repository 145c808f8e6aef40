//! Metrics as OpenMetrics text (<https://github.com/prometheus/OpenMetrics>), made of the counters that the library declares,
//! and the small part of HTTP/1.1 that a scraper needs: GET /metrics, one request per connection, one connection at a time, each
//! bounded in time and size. They are served on a loopback address or a Unix socket: everyone who can reach it may read them.
//! `node` starts and stops this.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use grasp::Engine;

use crate::clients::is_served;
use crate::print::plain;

/// How long a scraper has to ask, and as long again to read.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest head of a request, in bytes.
const HEAD: usize = 8 * 1024;
/// The stack of the thread, in bytes.
const STACK: usize = 128 * 1024;
/// How long accepting pauses after an error: no descriptors are left, for instance.
const PAUSE: Duration = Duration::from_millis(200);

/// Where metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A port of a loopback address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Place {
    /// A loopback address with a port, or `unix:` and an absolute path.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:").map(Path::new) {
            return path.is_absolute().then(|| Self::Unix(path.to_owned()));
        }
        let address: SocketAddr = text.parse().ok()?;
        address.ip().is_loopback().then_some(Self::Tcp(address))
    }
}

/// Values of graspd itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauges {
    /// Processes that are connected.
    pub(crate) clients: usize,
}

/// The name of an instance, and its engine. The name is empty for the normal instance, and the interface for a DULL instance.
pub(crate) type Instance = (String, Engine);

/// Called for each request: returns what the page is made of.
pub(crate) type Source = dyn Fn() -> (Vec<Instance>, Gauges) + Send + Sync;

/// Serves metrics until it is dropped.
#[derive(Debug)]
pub(crate) struct Metrics {
    listener: Arc<Listener>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Listener {
    socket: Socket,
    stopping: AtomicBool,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// A connection of either kind.
trait Stream: Read + Write {
    fn set_timeouts(&self, time: Duration) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn set_timeouts(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))?;
        self.set_write_timeout(Some(time))
    }
}

impl Stream for UnixStream {
    fn set_timeouts(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))?;
        self.set_write_timeout(Some(time))
    }
}

impl Socket {
    fn bind(place: &Place) -> io::Result<Self> {
        match place {
            Place::Tcp(address) => TcpListener::bind(address).map(Self::Tcp),
            Place::Unix(path) => {
                // Removes the socket that an ended process has left, but no socket that answers, and no other file.
                let is_socket = fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_socket());
                if is_socket && !is_served(path) {
                    fs::remove_file(path)?;
                }
                let listener = UnixListener::bind(path)?;
                // Like the socket for processes, whatever the umask is: the group may scrape.
                fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
                Ok(Self::Unix(listener, path.clone()))
            }
        }
    }

    fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept()?.0),
            Self::Unix(listener, _) => Box::new(listener.accept()?.0),
        })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener, _) => listener.as_fd(),
        }
    }
}

impl Metrics {
    /// Begins to serve metrics at a place.
    pub(crate) fn serve(place: &Place, source: Arc<Source>) -> io::Result<Self> {
        let listener = Arc::new(Listener { socket: Socket::bind(place)?, stopping: AtomicBool::new(false) });
        let own = Arc::clone(&listener);
        let thread = Builder::new()
            .name("graspd_metrics".to_owned())
            .stack_size(STACK)
            .spawn(move || answer_scrapers(&own, &source))?;
        Ok(Self { listener, thread: Some(thread) })
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.listener.stopping.store(true, Ordering::Release);
        // On Linux this wakes the thread that waits for a connection.
        let _ = rustix::net::shutdown(&self.listener.socket, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished) {
            let _ = thread.join();
        }
        if let Socket::Unix(_, path) = &self.listener.socket {
            // It may have been removed already.
            let _ = fs::remove_file(path);
        }
    }
}

fn answer_scrapers(listener: &Listener, source: &Arc<Source>) {
    while !listener.stopping.load(Ordering::Acquire) {
        match listener.socket.accept() {
            Ok(stream) => {
                if let Err(error) = answer(stream, source) {
                    log::debug!("a scraper is gone: {error}");
                }
            }
            Err(error) if !listener.stopping.load(Ordering::Acquire) => {
                log::debug!("no scraper can be accepted: {error}");
                std::thread::sleep(PAUSE);
            }
            Err(_) => {}
        }
    }
}

/// Answers one request.
fn answer(mut stream: Box<dyn Stream>, source: &Arc<Source>) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || head.len() > HEAD {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_timeouts(left)?;
        let count = stream.read(&mut chunk)?;
        let piece = chunk.get(..count).filter(|piece| !piece.is_empty());
        head.extend_from_slice(piece.ok_or(ErrorKind::UnexpectedEof)?);
    }
    let response = match asked(&head) {
        Ok(()) => {
            let (instances, gauges) = source();
            response(
                "200 OK",
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                &render(&instances, gauges),
            )
        }
        Err(status) => response(status, "text/plain; charset=utf-8", "Metrics are at /metrics.\n"),
    };
    write_until(&mut *stream, response.as_bytes(), Instant::now() + PATIENCE)
}

/// Checks that a request is for the metrics; otherwise returns the status of the response.
fn asked(head: &[u8]) -> Result<(), &'static str> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match (method, path.split(|byte| *byte == b'?').next().unwrap_or_default()) {
        (b"GET", b"/metrics") => Ok(()),
        (b"GET", _) => Err("404 Not Found"),
        _ => Err("405 Method Not Allowed"),
    }
}

fn response(status: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    let allow = if status.starts_with("405") { "Allow: GET\r\n" } else { "" };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{allow}Connection: close\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n{body}"
    )
}

/// Writes all bytes, in as many pieces as it takes, until a deadline.
fn write_until(stream: &mut dyn Stream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_timeouts(left)?;
        let count = stream.write(bytes)?;
        bytes = bytes.get(count..).filter(|_| count > 0).ok_or(ErrorKind::WriteZero)?;
    }
    Ok(())
}

/// A value of an engine besides its counters: its name, its meaning, and how to get it.
type Gauge = (&'static str, &'static str, fn(&Engine) -> usize);

const GAUGES: &[Gauge] = &[
    ("interfaces", "Interfaces in use.", |engine| engine.links().len()),
    ("asas", "ASAs that are registered.", |engine| engine.asas().len()),
    ("objectives", "Objectives that are registered.", |engine| engine.objectives().len()),
    ("sessions_open", "Sessions that are open.", Engine::open_sessions),
    ("discovery_cache_entries", "Objectives in the discovery cache.", |engine| {
        engine.discovery_cache().len()
    }),
    ("flood_cache_entries", "Values in the flood cache.", |engine| engine.flood_cache().len()),
    ("threads", "Threads of the engine.", Engine::thread_count),
    ("secure", "1 if the substrate is secure or trusted, so that sessions are possible.", |engine| {
        usize::from(engine.state().secure)
    }),
];

/// The page: every counter of every instance, and the gauges.
pub(crate) fn render(instances: &[Instance], gauges: Gauges) -> String {
    let mut page = String::new();
    let family = |page: &mut String, name: &str, kind: &str, about: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(page, "# TYPE grasp_{name} {kind}\n# HELP grasp_{name} {}", escape(&plain(about)));
    };
    family(&mut page, "build", "info", "The version of graspd.");
    let _ = writeln!(page, "grasp_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
    family(&mut page, "clients", "gauge", "Processes that are connected to the socket.");
    let _ = writeln!(page, "grasp_clients {}", gauges.clients);
    for (name, about, value) in GAUGES {
        family(&mut page, name, "gauge", about);
        for (interface, engine) in instances {
            let _ = writeln!(page, "grasp_{name}{} {}", label(interface), value(engine));
        }
    }
    let counted: Vec<_> =
        instances.iter().map(|(name, engine)| (label(name), engine.stats().described())).collect();
    let declared = counted.first().map(|(_, all)| all.as_slice()).unwrap_or_default();
    for (number, counter) in declared.iter().enumerate() {
        let (kind, suffix) = if counter.is_peak() { ("gauge", "") } else { ("counter", "_total") };
        family(&mut page, counter.name, kind, counter.about);
        for (label, all) in &counted {
            let value = all.get(number).map_or(0, |one| one.value);
            let _ = writeln!(page, "grasp_{}{suffix}{label} {value}", counter.name);
        }
    }
    page.push_str("# EOF\n");
    page
}

/// The label of an instance.
fn label(interface: &str) -> String {
    if interface.is_empty() { String::new() } else { format!("{{dull=\"{}\"}}", escape(interface)) }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_places_of_this_machine_are_taken() {
        for text in ["127.0.0.1:9417", "[::1]:0", "unix:/run/grasp/metrics.sock"] {
            assert!(Place::parse(text).is_some(), "{text}");
        }
        for text in ["0.0.0.0:9417", "[2001:db8::1]:1", "localhost:1", "127.0.0.1", "unix:metrics.sock", ""] {
            assert_eq!(Place::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_get_of_metrics_is_answered() {
        assert_eq!(asked(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), Ok(()));
        assert_eq!(asked(b"GET /metrics?x HTTP/1.0\r\n\r\n"), Ok(()));
        assert_eq!(asked(b"GET / HTTP/1.1\r\n\r\n"), Err("404 Not Found"));
        assert_eq!(asked(b"POST /metrics HTTP/1.1\r\n\r\n"), Err("405 Method Not Allowed"));
        assert_eq!(asked(b"\0\xff\r\n\r\n"), Err("405 Method Not Allowed"));
    }

    #[test]
    fn owner_and_group_may_read_the_socket_and_nobody_else() {
        let path = std::env::temp_dir().join(format!("graspd-metrics-{}.sock", std::process::id()));
        let socket = Socket::bind(&Place::Unix(path.clone())).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        drop(socket);
        fs::remove_file(&path).unwrap();
        assert_eq!(mode & 0o777, 0o660);
    }
}
