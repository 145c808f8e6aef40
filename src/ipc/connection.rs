//! One client of a node: its calls, what it has registered, and its end.
//!
//! One thread reads. The thread that has read a call that may wait carries it out; in the meantime `server` watches the
//! connection, and another thread reads on once something arrives. So a client has as many threads as it has calls that wait,
//! and one more at most.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::Mutex;

use super::access::Right;
use super::event;
use super::form::Formed as _;
use super::message::{Answer, Arguments, CANCEL, HELLO, PING, REPLY_LIMIT, Request, TRACE, VERSION, limits};
use super::server::{ClientView, Inner, Refused};
use super::stream::{Incoming, Pipe, Read};
use crate::cbor::Value;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::net::local::{Credentials, credentials};
use crate::threads;
use crate::types::AsaNonce;

/// How long a client may take to say hello.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// The longest name of a program that is kept, in characters.
const LONGEST_NAME: usize = 64;
/// The largest number of events of a stream that wait for a client.
const MOST_EVENTS: usize = 65_536;

/// The number of threads that a client's calls may have in any case, including those that only send an answer.
const FINISHING: usize = 16;
/// How many calls of the largest size may wait at the same time: decoded, they take 32 times as much memory.
const HELD: usize = 4;

/// One client.
#[derive(Debug)]
pub(crate) struct Connection {
    number: u64,
    server: Arc<Inner>,
    credentials: Credentials,
    pipe: Pipe,
    incoming: Mutex<Incoming>,
    /// A thread reads, or is about to. Otherwise the connection is watched, and a thread carries out a call.
    is_read: AtomicBool,
    received: AtomicU64,
    program: OnceLock<String>,
    calls: Mutex<Calls>,
    owned: Mutex<Owned>,
}

/// The calls that wait, each with the sender that is dropped to cancel it.
#[derive(Debug, Default)]
struct Calls {
    open: HashMap<u32, Sender<()>>,
    /// How many threads carry out a call or send its answer. A call that is cancelled, or whose answer is not read, is no longer
    /// open, but still has its thread.
    threads: usize,
    /// How many bytes the calls of these threads have.
    held: usize,
    /// The client is gone: no more calls.
    ended: bool,
}

/// What the client has registered.
#[derive(Debug, Default)]
struct Owned {
    asas: BTreeMap<AsaNonce, String>,
    objectives: BTreeSet<(AsaNonce, String)>,
}

/// How a client goes on after a message.
enum Next {
    /// The same thread reads on.
    Read,
    /// Another thread reads on.
    HandedOver,
    /// The client is gone, or must go.
    End,
}

impl Connection {
    pub(crate) fn new(number: u64, stream: UnixStream, server: &Arc<Inner>) -> std::io::Result<Self> {
        Ok(Self {
            number,
            server: Arc::clone(server),
            credentials: credentials(&stream)?,
            pipe: Pipe::new(stream, None)?,
            incoming: Mutex::new(Incoming::new(limits(server.request_limit))),
            is_read: AtomicBool::new(true),
            received: AtomicU64::new(0),
            program: OnceLock::new(),
            calls: Mutex::default(),
            owned: Mutex::default(),
        })
    }

    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// The user that the client runs as.
    pub(crate) const fn uid(&self) -> u32 {
        self.credentials.uid
    }

    pub(crate) const fn socket(&self) -> &UnixStream {
        self.pipe.stream()
    }

    fn close(&self) {
        self.pipe.close();
    }

    /// Ends the connection and the calls that wait; its threads do the rest.
    pub(crate) fn end(&self) {
        self.close();
        let open = {
            let mut calls = self.calls.lock();
            calls.ended = true;
            std::mem::take(&mut calls.open)
        };
        drop(open);
    }

    pub(crate) fn view(&self) -> ClientView {
        let Credentials { uid, gid, pid } = self.credentials;
        let (asas, objectives) = {
            let owned = self.owned.lock();
            let objectives: BTreeSet<_> = owned.objectives.iter().map(|(_, name)| name.clone()).collect();
            (owned.asas.values().cloned().collect(), objectives.into_iter().collect())
        };
        ClientView {
            uid,
            gid,
            pid,
            program: self.program.get().cloned().unwrap_or_default(),
            asas,
            objectives,
            open_calls: self.calls.lock().open.len(),
            bytes_received: self.received.load(Ordering::Relaxed),
            bytes_sent: self.pipe.sent(),
        }
    }

    /// Reads and answers until the client is gone, or another thread takes over.
    pub(crate) fn serve(self: &Arc<Self>, core: &Arc<Core>) {
        let mut leaving = Leaving { client: self, is_over: true };
        loop {
            let deadline = self.program.get().is_none().then(|| Instant::now() + HELLO_WITHIN);
            let next = match self.read(deadline) {
                Read::Item(bytes) => match Request::decode(&bytes) {
                    Some(request) if self.program.get().is_none() => self.welcome(request),
                    Some(request) => self.handle(core, request, bytes.len()),
                    None => self.garbage(),
                },
                Read::Garbage => self.garbage(),
                Read::Nothing | Read::End => Next::End,
            };
            match next {
                Next::Read => {}
                Next::End => return,
                Next::HandedOver => {
                    leaving.is_over = false;
                    return;
                }
            }
        }
    }

    fn read(&self, deadline: Option<Instant>) -> Read {
        let mut incoming = self.incoming.lock();
        let read = incoming.next(&self.pipe, deadline);
        self.received.store(incoming.received(), Ordering::Relaxed);
        read
    }

    /// Ends the connection of a client that violates the protocol.
    fn garbage(&self) -> Next {
        let Credentials { uid, pid, .. } = self.credentials;
        log::warn!("process {pid} of user {uid} violates the protocol: its connection ends");
        Next::End
    }

    /// Answers the hello.
    fn welcome(&self, request: Request) -> Next {
        let Request { id, call, arguments } = request;
        let mut arguments = Arguments::new(arguments);
        let (Some(version), Some(program)) = (arguments.take::<u32>(), arguments.take::<String>()) else {
            return self.garbage();
        };
        if call != HELLO || id != 0 {
            return self.garbage();
        }
        if version != VERSION {
            let why = format!(
                "the node speaks version {VERSION} of the protocol, this program version {version}: use a program of the \
                 node's version"
            );
            self.reply(0, &Answer::Failed(Error::OtherProtocol(why.into())));
            return Next::End;
        }
        let _ = self.program.set(program.chars().take(LONGEST_NAME).collect());
        self.reply(0, &Answer::Done(self.server.service.welcome(self.server.request_limit)));
        Next::Read
    }

    fn handle(self: &Arc<Self>, core: &Arc<Core>, request: Request, size: usize) -> Next {
        let Request { id, call, arguments } = request;
        match call.as_str() {
            PING => self.reply(id, &Answer::Done(Value::Null)),
            CANCEL => {
                let Some(other) = arguments.into_iter().next().and_then(u32::read) else {
                    return self.garbage();
                };
                self.calls.lock().open.remove(&other);
                self.reply(id, &Answer::Done(Value::Null));
            }
            TRACE => return self.wait_for(core, id, call, arguments, size),
            _ => match self.server.service.waits(&call) {
                Some(true) => return self.wait_for(core, id, call, arguments, size),
                Some(false) => match self.server.service.answer(self, &call, arguments) {
                    Ok(result) => self.reply(id, &Answer::Done(result)),
                    Err(Refused::Error(error)) => self.reply(id, &Answer::Failed(error)),
                    Err(Refused::Garbage) => return self.garbage(),
                },
                None => {
                    let error = Error::OtherProtocol(format!("it has no call {call:?}").into());
                    self.reply(id, &Answer::Failed(error));
                }
            },
        }
        Next::Read
    }

    /// Carries out a call that may wait. In the meantime another thread reads, if something arrives.
    fn wait_for(
        self: &Arc<Self>,
        core: &Arc<Core>,
        id: u32,
        call: String,
        arguments: Vec<Value>,
        size: usize,
    ) -> Next {
        let signal = match self.open(id, size) {
            Ok(Some(signal)) => signal,
            Ok(None) => return self.garbage(),
            Err(error) => {
                self.reply(id, &Answer::Failed(error));
                return Next::Read;
            }
        };
        // Counts this thread until the answer is sent.
        let _busy = Busy { client: self, size };
        let open = OpenCall { client: self, id };
        let is_watched = match self.let_go(core) {
            Ok(is_watched) => is_watched,
            Err(error) => {
                drop(open);
                self.reply(id, &Answer::Failed(Error::NoThread(Arc::new(error))));
                return Next::Read;
            }
        };
        let answer = if call == TRACE {
            self.stream(id, &signal, arguments)
        } else {
            interrupt::cancellable(&signal, || self.server.service.answer(self, &call, arguments))
        };
        // Before the client gets the answer, the number is free again, and a thread reads.
        drop(open);
        let reads_on = is_watched && self.take_back();
        match answer {
            Ok(result) => self.reply(id, &Answer::Done(result)),
            Err(Refused::Error(error)) => self.reply(id, &Answer::Failed(error)),
            Err(Refused::Garbage) => {
                self.garbage();
                // The thread that reads notices this.
                self.close();
            }
        }
        if reads_on { Next::Read } else { Next::HandedOver }
    }

    /// Leaves reading to others while this thread carries out a call. Most clients make one call at a time, and send nothing in
    /// the meantime: so the connection is only watched, and another thread reads once something arrives. If a part of the next
    /// message has been read already, another thread reads at once. Returns whether the connection is watched.
    fn let_go(self: &Arc<Self>, core: &Arc<Core>) -> std::io::Result<bool> {
        if self.incoming.lock().is_empty() {
            self.is_read.store(false, Ordering::Release);
            let armed = self.server.watcher.arm(self.pipe.stream(), self.number);
            return armed.map(|()| true).inspect_err(|_| self.is_read.store(true, Ordering::Release));
        }
        let own = Arc::clone(self);
        threads::run(core, "_ipc", move |core| own.serve(core)).map(|()| false)
    }

    /// Resumes reading, unless another thread has begun to read, and ends watching. Returns whether this thread reads.
    fn take_back(&self) -> bool {
        let taken = self.begin_to_read();
        if taken {
            // If this fails, another thread may be started in vain: it finds that this one reads.
            let _ = self.server.watcher.disarm(self.pipe.stream(), self.number);
        }
        taken
    }

    fn begin_to_read(&self) -> bool {
        self.is_read.compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Has a thread read what has arrived on a connection that was watched.
    pub(crate) fn go_on(self: &Arc<Self>, core: &Arc<Core>) {
        if !self.begin_to_read() {
            return;
        }
        let own = Arc::clone(self);
        if threads::run(core, "_ipc", move |core| own.serve(core)).is_err() {
            // The thread that carried out a call may have ended, too: nobody else would notice the end of the connection.
            self.leave();
        }
    }

    /// Records a call that may wait. Returns `None` if its number is in use.
    fn open(&self, id: u32, size: usize) -> Result<Option<Receiver<()>>> {
        let limit = self.server.limits.calls;
        let mut calls = self.calls.lock();
        if calls.ended {
            return Err(Error::NodeGone);
        }
        if calls.open.contains_key(&id) {
            return Ok(None);
        }
        if calls.open.len() >= limit {
            return Err(Error::ClientLimit(format!("{limit} calls wait").into()));
        }
        // The thread that reads sends this error, and reads no further call until the client has read the error.
        if calls.threads >= limit.saturating_mul(2).max(FINISHING) {
            return Err(Error::ClientLimit("too many calls are unfinished".into()));
        }
        let held = calls.held.saturating_add(size);
        if calls.threads > 0 && held > self.server.request_limit.saturating_mul(HELD) {
            return Err(Error::ClientLimit("the calls that wait are too large together".into()));
        }
        let (end, signal) = bounded(0);
        calls.open.insert(id, end);
        calls.threads += 1;
        calls.held = held;
        Ok(Some(signal))
    }

    /// Sends what the engine does until the call is cancelled.
    fn stream(
        &self,
        id: u32,
        signal: &Receiver<()>,
        arguments: Vec<Value>,
    ) -> std::result::Result<Value, Refused> {
        let capacity = Arguments::new(arguments).take::<usize>().ok_or(Refused::Garbage)?;
        self.check(Right::Watch)?;
        let trace = self.server.service.trace(capacity.min(MOST_EVENTS));
        let tell = |event| self.reply(id, &Answer::Event { lost: trace.lost(), event });
        // Tells the client that the stream has begun.
        tell(Value::Null);
        loop {
            select! {
                recv(trace.receiver()) -> event => match event {
                    Ok(event) => {
                        // The rules may have changed.
                        self.check(Right::Watch)?;
                        tell(event::form(&event));
                    }
                    Err(_) => return Ok(Value::Null),
                },
                recv(signal) -> _ => {
                    self.check(Right::Watch)?;
                    // Sends the events that have happened so far.
                    let waiting = trace.receiver().len();
                    trace.receiver().try_iter().take(waiting).for_each(|event| tell(event::form(&event)));
                    return Ok(Value::Null);
                }
            }
        }
    }

    /// Sends an answer. A client that does not read loses its connection.
    pub(crate) fn reply(&self, id: u32, answer: &Answer) {
        let deadline = Instant::now() + self.server.limits.patience;
        let mut bytes = answer.encode(id);
        if bytes.len() > REPLY_LIMIT {
            // The client would take it for garbage.
            bytes = Answer::Failed(Error::TooLarge { size: bytes.len(), limit: REPLY_LIMIT }).encode(id);
        }
        if let Err(error) = self.pipe.send(&bytes, deadline) {
            log::debug!("process {} does not read: {error}", self.credentials.pid);
        }
    }

    /// Returns `Forbidden` unless the client has this right.
    pub(crate) fn check(&self, right: Right<'_>) -> Result<()> {
        self.server.access().check(self.credentials, right)
    }

    /// Returns the given handle if it is that of an ASA of the client, and otherwise one that no ASA has.
    pub(crate) fn own(&self, asa: AsaNonce) -> AsaNonce {
        if self.owned.lock().asas.contains_key(&asa) { asa } else { NOBODY }
    }

    /// Returns `ClientLimit` if the client has as many ASAs as it may.
    pub(crate) fn room_for_asa(&self) -> Result<()> {
        let limit = self.server.limits.asas;
        if self.owned.lock().asas.len() < limit {
            return Ok(());
        }
        Err(Error::ClientLimit(format!("{limit} ASAs are registered").into()))
    }

    /// Returns `ClientLimit` if the client has as many objectives as it may.
    pub(crate) fn room_for_objective(&self) -> Result<()> {
        let limit = self.server.limits.objectives;
        if self.owned.lock().objectives.len() < limit {
            return Ok(());
        }
        Err(Error::ClientLimit(format!("{limit} objectives are registered").into()))
    }

    /// Records that the client has registered an ASA.
    pub(crate) fn add_asa(&self, asa: AsaNonce, name: String) {
        self.owned.lock().asas.insert(asa, name);
    }

    /// Records that an ASA of the client is gone, with its objectives.
    pub(crate) fn remove_asa(&self, asa: AsaNonce) {
        let mut owned = self.owned.lock();
        owned.asas.remove(&asa);
        owned.objectives.retain(|(owner, _)| *owner != asa);
    }

    /// Records that the client has registered an objective.
    pub(crate) fn add_objective(&self, asa: AsaNonce, name: &str) {
        self.owned.lock().objectives.insert((asa, name.to_owned()));
    }

    /// Records that an objective of the client is gone.
    pub(crate) fn remove_objective(&self, asa: AsaNonce, name: &str) {
        self.owned.lock().objectives.remove(&(asa, name.to_owned()));
    }

    /// After the client has gone: ends its calls, and deregisters what it has registered.
    fn leave(&self) {
        self.end();
        let asas = std::mem::take(&mut *self.owned.lock()).asas;
        for (asa, name) in asas {
            self.server.service.deregister(asa, &name);
        }
        self.server.forget(self.number);
    }
}

/// A handle that no ASA has.
const NOBODY: AsaNonce = AsaNonce(0);

/// The client leaves when this is dropped, unless another thread reads on.
struct Leaving<'a> {
    client: &'a Connection,
    is_over: bool,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if self.is_over {
            self.client.leave();
        }
    }
}

/// A thread that carries out a call and sends its answer.
struct Busy<'a> {
    client: &'a Connection,
    size: usize,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut calls = self.client.calls.lock();
        calls.threads = calls.threads.saturating_sub(1);
        calls.held = calls.held.saturating_sub(self.size);
    }
}

/// A call that waits. If it panics, the connection is closed, so that the client does not wait for its answer.
struct OpenCall<'a> {
    client: &'a Connection,
    id: u32,
}

impl Drop for OpenCall<'_> {
    fn drop(&mut self) {
        self.client.calls.lock().open.remove(&self.id);
        if std::thread::panicking() {
            self.client.close();
        }
    }
}
