//! The node's side: the socket, the clients that are connected, and the end of both. `api/node.rs` starts it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};

use super::access::Access;
use super::connection::Connection;
use super::message::{Answer, request_limit};
use crate::cbor::Value;
use crate::core::Core;
use crate::error::Error;
use crate::net::local;
use crate::net::watch::Watcher;
use crate::registry::Close;
use crate::threads;
use crate::trace::Trace;
use crate::types::AsaNonce;

/// The default mode of the socket: for its owner and group.
const MODE: u32 = 0o660;
/// The numbers of the listener and the waker, which no client has.
const LISTENER: u64 = u64::MAX;
const WAKER: u64 = u64::MAX - 1;
/// How long accepting pauses after an error, such as too many open files.
const REST: Duration = Duration::from_millis(100);
/// How long a stop waits for the clients' threads.
const STOP: Duration = Duration::from_secs(10);

/// The limits on clients, so that none starves another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientLimits {
    /// How many clients may be connected; a trace is a connection of its own. Defaults to 1024.
    pub clients: usize,
    /// How many of them may run as the same user, so that one user does not lock out the others. Defaults to 768.
    pub clients_per_user: usize,
    /// How many ASAs each client may have registered. Defaults to 32.
    pub asas: usize,
    /// How many objectives each client may have registered. Defaults to 64.
    pub objectives: usize,
    /// How many calls of each client may wait at the same time: each takes a thread. Defaults to 64.
    pub calls: usize,
    /// How long a client may leave an answer unread before it loses its connection. Defaults to 5 s.
    pub patience: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            clients: 1024,
            clients_per_user: 768,
            asas: 32,
            objectives: 64,
            calls: 64,
            patience: Duration::from_secs(5),
        }
    }
}

impl ClientLimits {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// Where and how a [`Server`] listens.
#[derive(Debug)]
pub struct ServerOptions {
    place: Place,
    mode: u32,
    group: Option<u32>,
    access: Access,
    limits: ClientLimits,
}

#[derive(Debug)]
enum Place {
    Path(PathBuf),
    Listener(UnixListener),
}

impl ServerOptions {
    /// A socket at a path, with mode 0660 and the process's own group. Every process that can open it may do everything,
    /// within the default limits.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::Path(path.into()))
    }

    /// A socket that is listening already, for instance one that the service manager has created. Its mode and group stay as
    /// they are, and its file is not removed at the end.
    #[must_use]
    pub fn from_listener(listener: UnixListener) -> Self {
        Self::at(Place::Listener(listener))
    }

    fn at(place: Place) -> Self {
        Self { place, mode: MODE, group: None, access: Access::default(), limits: ClientLimits::default() }
    }

    /// The mode of the socket: users who may write to it may connect.
    #[must_use]
    pub const fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// The group of the socket, by number. `None` means the process's own.
    #[must_use]
    pub const fn group(mut self, group: Option<u32>) -> Self {
        self.group = group;
        self
    }

    /// What the clients may do.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// The limits on clients.
    #[must_use]
    pub const fn limits(mut self, limits: ClientLimits) -> Self {
        self.limits = limits;
        self
    }
}

/// A connected client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientView {
    /// The user of the process when it connected.
    pub uid: u32,
    /// The primary group of the process when it connected.
    pub gid: u32,
    /// The process that has connected; 0 if it is in another PID namespace.
    pub pid: u32,
    /// The name that the program gives itself, which nobody has checked.
    pub program: String,
    /// The names of its ASAs.
    pub asas: Vec<String>,
    /// The names of its objectives.
    pub objectives: Vec<String>,
    /// How many of its calls wait.
    pub open_calls: usize,
    /// How many bytes it has sent.
    pub bytes_received: u64,
    /// How many bytes have been sent to it.
    pub bytes_sent: u64,
}

/// Lets other processes use an engine through a Unix socket, until the server is stopped or dropped, or the engine stops. Then
/// the clients' connections end, and what they have registered is deregistered.
#[must_use = "the clients' connections end when this is dropped"]
pub struct Server {
    inner: Arc<Inner>,
}

/// Carries out the calls of clients. `api` implements it, so that this module does not depend on the calls.
pub(crate) trait Service: fmt::Debug + Send + Sync {
    /// What the node says about itself.
    fn welcome(&self, largest_call: usize) -> Value;
    /// The largest unicast message of GRASP, in bytes.
    fn unicast_size(&self) -> usize;
    /// Whether a call may wait, for a peer for instance; `None` if there is no such call.
    fn waits(&self, call: &str) -> Option<bool>;
    /// Carries a call out.
    fn answer(&self, client: &Connection, call: &str, arguments: Vec<Value>) -> Result<Value, Refused>;
    /// Begins a stream of what the engine does, with room for `capacity` events.
    fn trace(&self, capacity: usize) -> Trace;
    /// Deregisters an ASA whose client is gone.
    fn deregister(&self, asa: AsaNonce, name: &str);
}

/// Why a call has no result.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It has failed.
    Error(Error),
    /// Its arguments have wrong types: the client does not speak the protocol.
    Garbage,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// What the threads of a server share.
pub(crate) struct Inner {
    pub(crate) service: Arc<dyn Service>,
    pub(crate) limits: ClientLimits,
    /// The largest message of a client, in bytes.
    pub(crate) request_limit: usize,
    access: RwLock<Arc<Access>>,
    listener: UnixListener,
    /// The file of the socket, if it is this server's own.
    file: Option<(PathBuf, Option<local::Identity>)>,
    /// Readable once the server is to stop. The listener cannot be shut down instead: it may be the service manager's.
    _waker: UnixStream,
    wake: UnixStream,
    /// Watches the listener, the waker, and clients whose thread carries out a call.
    pub(crate) watcher: Watcher,
    stopped: AtomicBool,
    clients: Mutex<Clients>,
    gone: Condvar,
}

#[derive(Debug, Default)]
struct Clients {
    next: u64,
    connected: BTreeMap<u64, Arc<Connection>>,
}

impl Clients {
    /// Why there is no room for another client of a user.
    fn refusal(&self, uid: u32, limits: &ClientLimits) -> Option<String> {
        if self.connected.len() >= limits.clients {
            return Some(format!("{} are connected", limits.clients));
        }
        let own = self.connected.values().filter(|client| client.uid() == uid).count();
        let most = limits.clients_per_user;
        (own >= most).then(|| format!("{most} of user {uid} are connected"))
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("clients", &self.clients.lock().connected.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Server {
    /// Begins to listen, for an engine whose calls are carried out by `service`.
    pub(crate) fn launch(
        core: &Arc<Core>,
        service: Arc<dyn Service>,
        options: ServerOptions,
    ) -> io::Result<Self> {
        let ServerOptions { place, mode, group, access, limits } = options;
        let (waker, wake) = UnixStream::pair()?;
        let (listener, file) = match place {
            Place::Listener(listener) => (listener, None),
            Place::Path(path) => {
                let listener = local::listen(&path, mode, group)?;
                let identity = local::identity(&path);
                (listener, Some((path, identity)))
            }
        };
        listener.set_nonblocking(true)?;
        let watcher = Watcher::new()?;
        watcher.keep(&listener, LISTENER)?;
        watcher.keep(&waker, WAKER)?;
        let inner = Arc::new(Inner {
            request_limit: request_limit(service.unicast_size()),
            service,
            limits,
            access: RwLock::new(Arc::new(access)),
            listener,
            file,
            _waker: waker,
            wake,
            watcher,
            stopped: AtomicBool::new(false),
            clients: Mutex::default(),
            gone: Condvar::new(),
        });
        let server = Self { inner: Arc::clone(&inner) };
        let closed: Arc<dyn Close> = Arc::clone(&inner) as _;
        core.close_at_shutdown(&closed);
        threads::spawn(core, "_ipc_listen", move |core| inner.listen(core))?;
        Ok(server)
    }

    /// The connected clients.
    #[must_use]
    pub fn clients(&self) -> Vec<ClientView> {
        self.inner.clients.lock().connected.values().map(|client| client.view()).collect()
    }

    /// Replaces the rules, also for connected clients. What they have registered stays.
    pub fn set_access(&self, access: Access) {
        *self.inner.access.write() = Arc::new(access);
    }

    /// Stops listening, ends the connections, and waits until what the clients have registered is gone, 10 s at most.
    /// Dropping does the same without waiting.
    pub fn stop(self) {
        self.inner.close();
        let deadline = Instant::now() + STOP;
        let mut clients = self.inner.clients.lock();
        while !clients.connected.is_empty() {
            if self.inner.gone.wait_until(&mut clients, deadline).timed_out() {
                return;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.inner.close();
    }
}

impl Inner {
    /// What clients may do at this moment.
    pub(crate) fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access.read())
    }

    /// Accepts clients until the server is stopped.
    fn listen(self: &Arc<Self>, core: &Arc<Core>) {
        loop {
            let ready = self.watcher.wait();
            if self.stopped.load(Ordering::Acquire) {
                return;
            }
            let ready = ready.unwrap_or_else(|error| {
                log::warn!("waiting for clients: {error}");
                core.pause(REST);
                Vec::new()
            });
            for number in ready {
                match number {
                    WAKER => {}
                    LISTENER => self.accept(core),
                    number => {
                        let client = self.clients.lock().connected.get(&number).cloned();
                        client.iter().for_each(|client| client.go_on(core));
                    }
                }
            }
        }
    }

    fn accept(self: &Arc<Self>, core: &Arc<Core>) {
        match self.listener.accept() {
            Ok((stream, _)) => {
                if let Err(error) = self.take_up(core, stream) {
                    log::warn!("a client cannot be served: {error}");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                log::warn!("accepting clients: {error}");
                core.pause(REST);
            }
        }
    }

    fn take_up(self: &Arc<Self>, core: &Arc<Core>, stream: UnixStream) -> io::Result<()> {
        let (client, refusal) = {
            let mut clients = self.clients.lock();
            let number = clients.next;
            clients.next += 1;
            let client = Arc::new(Connection::new(number, stream, self)?);
            let refusal = clients.refusal(client.uid(), &self.limits);
            if refusal.is_none() {
                clients.connected.insert(number, Arc::clone(&client));
            }
            (client, refusal)
        };
        if let Some(refusal) = refusal {
            client.reply(0, &Answer::Failed(Error::ClientLimit(refusal.into())));
            return Ok(());
        }
        // `close` may have missed a client that came just then.
        if self.stopped.load(Ordering::Acquire) {
            self.forget(client.number());
            return Ok(());
        }
        self.watcher.add(client.socket(), client.number()).inspect_err(|_| self.forget(client.number()))?;
        let own = Arc::clone(&client);
        threads::run(core, "_ipc", move |core| own.serve(core)).inspect_err(|_| self.forget(client.number()))
    }

    /// Removes a client that is gone.
    pub(crate) fn forget(&self, number: u64) {
        self.clients.lock().connected.remove(&number);
        self.gone.notify_all();
    }
}

impl Close for Inner {
    fn close(&self) {
        if self.stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        let _ = (&self.wake).write_all(&[0]);
        if let Some((path, identity)) = &self.file
            && local::identity(path) == *identity
        {
            let _ = fs::remove_file(path);
        }
        let connected: Vec<_> = self.clients.lock().connected.values().cloned().collect();
        connected.iter().for_each(|client| client.end());
    }
}
