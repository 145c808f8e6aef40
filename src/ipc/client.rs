//! The client's side, for `engine`. Each call has a number, and one of the threads that wait for answers reads for all of them.
//! A client has no thread of its own: it costs nothing while it makes no call.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};

use super::event;
use super::form::{Fields, Form as _, Formed};
use super::journal::Journal;
use super::message::{Answer, CANCEL, HELLO, PING, REPLY_LIMIT, Request, TRACE, VERSION, limits};
use super::stream::{Incoming, LONGEST, Pipe, Read};
use crate::cbor::{Value, codec};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::net::local;
use crate::net::wait::{has_ended, write_all};
use crate::start_error::StartError;
use crate::threads;
use crate::trace::{Trace, Tracer};

/// How long connecting may take, with the node's answer to the hello.
const CONNECT: Duration = Duration::from_secs(5);
/// How long writing a message may take. A node that does not read it in this time is gone. An answer has no deadline here, because
/// the node keeps the deadlines of calls; a node that says nothing at all is gone after `SILENT_FOR_GOOD`.
const PROMPT: Duration = Duration::from_secs(10);
/// A node that has been silent for so long while a thread waits is asked whether it is alive.
const SILENCE: Duration = Duration::from_secs(10);
/// A node that has been silent for so long is gone.
const SILENT_FOR_GOOD: Duration = Duration::from_secs(20);

/// This process as a client of a node, whose engine it uses.
#[derive(Debug)]
pub(crate) struct Client {
    path: PathBuf,
    /// The process that has connected: a process that is forked from it has no connection of its own.
    process: u32,
    config: Config,
    /// Replaced by `reconnect`.
    link: RwLock<Arc<Link>>,
    journal: Mutex<Journal>,
    /// Held by the thread that reconnects.
    reconnecting: Mutex<()>,
    /// Disconnected when the client is closed.
    closed: Receiver<()>,
    closer: Mutex<Option<Sender<()>>>,
    /// The connections of traces, which end with the client.
    traces: Mutex<Vec<Weak<Followed>>>,
}

impl Client {
    /// Connects to the node that listens at a path.
    pub(crate) fn connect(path: &Path) -> std::result::Result<Arc<Self>, StartError> {
        let (link, config) = Link::connect(path, Instant::now() + CONNECT)?;
        let (closer, closed) = bounded(0);
        Ok(Arc::new(Self {
            path: path.to_owned(),
            process: std::process::id(),
            config,
            link: RwLock::new(Arc::new(link)),
            journal: Mutex::default(),
            reconnecting: Mutex::default(),
            closed,
            closer: Mutex::new(Some(closer)),
            traces: Mutex::default(),
        }))
    }

    /// The settings that the node has told.
    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    /// Makes a call, and waits as long as it takes.
    pub(crate) fn ask<T: Formed>(&self, call: &str, arguments: &[Value]) -> Result<T> {
        let result = self.link()?.call(call, arguments).map_err(|error| match error {
            // The node may have gone before this process closed the connection.
            Error::NodeGone if self.is_closed() => Error::Stopped,
            error => error,
        })?;
        self.journal.lock().note(call, arguments, &result);
        T::read(result).ok_or(Error::NodeGone)
    }

    /// Makes a call that shows a state of the node. If the call fails, returns the default, which is empty.
    pub(crate) fn look<T: Formed + Default>(&self, call: &str) -> T {
        self.ask(call, &[]).unwrap_or_default()
    }

    /// Makes a call that has no result. Ignores errors: without the node the call has no effect.
    pub(crate) fn tell(&self, call: &str, arguments: &[Value]) {
        let _: Result<()> = self.ask(call, arguments);
    }

    /// Ends the connection: calls that wait return an error at once, and so do all later calls.
    pub(crate) fn close(&self) {
        if self.process == std::process::id() {
            drop(self.closer.lock().take());
            let link = Arc::clone(&self.link.read());
            link.end(Error::Stopped);
            let traces = std::mem::take(&mut *self.traces.lock());
            traces.iter().filter_map(Weak::upgrade).for_each(|trace| trace.end());
        }
    }

    /// A channel that is disconnected when the client is closed.
    pub(crate) const fn closed(&self) -> &Receiver<()> {
        &self.closed
    }

    /// Whether this process has closed the client.
    pub(crate) fn is_closed(&self) -> bool {
        self.closer.lock().is_none()
    }

    fn link(&self) -> Result<Arc<Link>> {
        if self.process == std::process::id() {
            Ok(Arc::clone(&self.link.read()))
        } else {
            Err(Error::Forked)
        }
    }

    /// Connects again, and registers again what was registered.
    pub(crate) fn reconnect(&self) -> std::result::Result<(), StartError> {
        let deadline = Instant::now() + CONNECT;
        let _one = self.reconnecting.try_lock_until(deadline).ok_or(StartError::Starting)?;
        let link = self.link().map_err(|error| StartError::NodeRefuses(error.to_string()))?;
        if self.is_closed() {
            return Err(StartError::NodeRefuses(Error::Stopped.to_string()));
        }
        if link.why_ended().is_none() {
            return Ok(());
        }
        let (link, _) = Link::connect(&self.path, deadline)?;
        let calls = self.journal.lock().calls();
        for (call, arguments) in calls {
            // If this fails, the link is dropped, and the node deregisters what was registered on it.
            link.call(call, &arguments)
                .map_err(|error| StartError::NodeRefuses(format!("{call}: {error}")))?;
        }
        *self.link.write() = Arc::new(link);
        Ok(())
    }
}

/// One connection.
#[derive(Debug)]
struct Link {
    pipe: Pipe,
    /// The largest message that the node accepts, in bytes.
    largest_call: usize,
    incoming: Mutex<Incoming>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The number of the next call.
    next: u32,
    /// A thread reads for all that wait.
    is_read: bool,
    waiting: HashMap<u32, Waiter>,
    /// Why the connection has ended.
    ended: Option<Error>,
    /// When the node was last heard from, or the first of the waiting threads began to wait.
    heard: Instant,
}

/// A thread that waits for an answer.
#[derive(Debug, Default)]
struct Waiter {
    answer: Option<Answer>,
    woken: Arc<Condvar>,
}

impl Link {
    /// Connects and says hello.
    fn connect(path: &Path, deadline: Instant) -> std::result::Result<(Self, Config), StartError> {
        let no_node = |cause| StartError::NoNode { path: path.to_owned(), cause };
        let stream = local::connect(path, deadline).map_err(no_node)?;
        let pipe = Pipe::new(stream, Some(LONGEST)).map_err(no_node)?;
        let mut incoming = Incoming::new(limits(REPLY_LIMIT));
        let hello = Request::encode(0, HELLO, &[VERSION.into(), program().into()]);
        let sent = write_all(pipe.stream(), &hello, deadline, |_| {});
        let answer = match incoming.next(&pipe, Some(deadline)) {
            // A node that refuses this process says so and closes, perhaps before it has read the hello.
            Read::Item(bytes) => bytes,
            Read::Nothing => {
                return Err(no_node(sent.err().unwrap_or_else(|| io::ErrorKind::TimedOut.into())));
            }
            Read::End => {
                return Err(no_node(sent.err().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())));
            }
            Read::Garbage => {
                return Err(StartError::NodeRefuses(format!("{} is not a GRASP node", path.display())));
            }
        };
        let (largest_call, config) =
            welcome(&answer).map_err(|why| StartError::NodeRefuses(format!("{}: {why}", path.display())))?;
        let state =
            State { next: 1, is_read: false, waiting: HashMap::new(), ended: None, heard: Instant::now() };
        Ok((Self { pipe, largest_call, incoming: Mutex::new(incoming), state: Mutex::new(state) }, config))
    }

    /// Makes a call and waits for its end.
    fn call(&self, call: &str, arguments: &[Value]) -> Result<Value> {
        let id = self.begin()?;
        let bytes = Request::encode(id, call, arguments);
        let sent = match bytes.len() {
            size if size > self.largest_call => Err(Error::TooLarge { size, limit: self.largest_call }),
            _ => self.send(&bytes),
        };
        let answer = match sent {
            Ok(()) => self.wait(id),
            Err(error) => {
                self.state.lock().waiting.remove(&id);
                return Err(error);
            }
        };
        match answer? {
            Answer::Done(result) => Ok(result),
            Answer::Failed(error) => Err(error),
            Answer::Event { .. } => Err(self.end(Error::NodeGone)),
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        self.pipe.send(bytes, Instant::now() + PROMPT).map_err(|_| self.end(Error::NodeGone))
    }

    /// Takes a number for a call.
    fn begin(&self) -> Result<u32> {
        let mut state = self.state.lock();
        if let Some(error) = &state.ended {
            return Err(error.clone());
        }
        if state.waiting.is_empty() {
            state.heard = Instant::now();
        }
        let id = state.number();
        state.waiting.insert(id, Waiter::default());
        Ok(id)
    }

    /// Waits for the answer to a call. One thread reads for all that wait; when it has its own answer, another one takes over.
    fn wait(&self, id: u32) -> Result<Answer> {
        let mut is_cancelled = false;
        let mut state = self.state.lock();
        loop {
            if let Some(waiter) = state.waiting.get_mut(&id)
                && let Some(answer) = waiter.answer.take()
            {
                state.leave(id);
                return Ok(answer);
            }
            if let Some(error) = state.ended.clone() {
                state.leave(id);
                return Err(error);
            }
            if state.is_read {
                let woken =
                    state.waiting.get(&id).map(|waiter| Arc::clone(&waiter.woken)).unwrap_or_default();
                let time = if is_cancelled { LONGEST } else { interrupt::slice(LONGEST) };
                woken.wait_for(&mut state, time);
            } else {
                state.is_read = true;
                MutexGuard::unlocked(&mut state, || self.read(is_cancelled));
                state.is_read = false;
            }
            let answered = state.waiting.get(&id).is_none_or(|waiter| waiter.answer.is_some());
            if !answered && !is_cancelled && MutexGuard::unlocked(&mut state, interrupt::is_over) {
                is_cancelled = true;
                let number = state.number();
                let cancel = Request::encode(number, CANCEL, &[id.into()]);
                MutexGuard::unlocked(&mut state, || _ = self.send(&cancel));
            }
        }
    }

    /// Reads one answer, and gives it to the thread that waits for it. If none arrives for a while, asks a silent node whether
    /// it is alive, and gives up one that has been silent for too long.
    fn read(&self, uninterrupted: bool) {
        let read = {
            let mut incoming = self.incoming.lock();
            let next = |incoming: &mut Incoming| incoming.next(&self.pipe, Some(Instant::now() + LONGEST));
            if uninterrupted { interrupt::uninterrupted(|| next(&mut incoming)) } else { next(&mut incoming) }
        };
        let mut state = self.state.lock();
        match read {
            Read::Item(bytes) => {
                let Some((id, answer)) = Answer::decode(&bytes) else {
                    drop(state);
                    _ = self.end(Error::NodeGone);
                    return;
                };
                state.heard = Instant::now();
                // Nobody waits for the answer to a cancel, or a ping.
                if let Some(waiter) = state.waiting.get_mut(&id) {
                    waiter.answer = Some(answer);
                    waiter.woken.notify_one();
                }
            }
            Read::Nothing => {
                let silence = state.heard.elapsed();
                if silence >= SILENT_FOR_GOOD {
                    drop(state);
                    _ = self.end(Error::NodeGone);
                } else if silence >= SILENCE {
                    let ping = Request::encode(state.number(), PING, &[]);
                    drop(state);
                    _ = self.send(&ping);
                }
            }
            Read::End | Read::Garbage => {
                drop(state);
                _ = self.end(Error::NodeGone);
            }
        }
    }

    /// Ends the connection, and wakes all threads that wait. Returns the first reason why it has ended.
    fn end(&self, why: Error) -> Error {
        self.pipe.close();
        let mut state = self.state.lock();
        let why = state.ended.get_or_insert(why).clone();
        state.waiting.values().for_each(|waiter| _ = waiter.woken.notify_one());
        why
    }

    /// Why the connection has ended; `None` if it has not.
    fn why_ended(&self) -> Option<Error> {
        let is_idle = {
            let state = self.state.lock();
            if state.ended.is_some() {
                return state.ended.clone();
            }
            !state.is_read
        };
        // If nobody reads, nobody may have noticed the end.
        let is_over = is_idle && has_ended(self.pipe.stream());
        is_over.then(|| self.end(Error::NodeGone))
    }
}

impl State {
    /// Returns a number that no open call has. 0 is that of the hello.
    fn number(&mut self) -> u32 {
        loop {
            let number = self.next;
            self.next = self.next.wrapping_add(1).max(1);
            if !self.waiting.contains_key(&number) {
                return number;
            }
        }
    }

    /// Removes a call that is over. If nobody reads now, wakes another waiting thread to do so.
    fn leave(&mut self, id: u32) {
        self.waiting.remove(&id);
        if !self.is_read
            && let Some(other) = self.waiting.values().find(|waiter| waiter.answer.is_none())
        {
            other.woken.notify_one();
        }
    }
}

/// Reads the answer to the hello: what the node says about itself, or why it refuses this process.
fn welcome(answer: &[u8]) -> std::result::Result<(usize, Config), String> {
    let unreadable = || "it is not a GRASP node".to_owned();
    let Ok(Value::Array(items)) = codec::decode(answer, &limits(REPLY_LIMIT)) else {
        return Err(unreadable());
    };
    let mut items = items.into_iter().skip(1);
    match (items.next().as_ref().and_then(Value::as_i64), items.next(), items.next()) {
        (Some(0), Some(about), _) => {
            let mut about = Fields::read(about).ok_or_else(unreadable)?;
            match about.take::<u32>("version") {
                Some(VERSION) => {
                    about.take("largest_call").zip(configuration(&mut about)).ok_or_else(unreadable)
                }
                other => Err(format!(
                    "the node speaks version {} of the protocol, this program version {VERSION}",
                    other.map_or_else(|| "unknown".to_owned(), |version| version.to_string())
                )),
            }
        }
        (Some(_), _, Some(Value::Text(why))) => Err(why),
        _ => Err(unreadable()),
    }
}

fn configuration(about: &mut Fields) -> Option<Config> {
    Some(
        Config::new()
            .dull(about.take_or("dull")?)
            .listen_self(about.take_or("listen_self")?)
            .default_timeout(about.take_or("default_timeout")?)
            .objective_ttl(about.take_or("objective_ttl")?)
            .unicast_size(about.take_or("unicast_size")?)
            .multicast_size(about.take_or("multicast_size")?)
            .multicast_send_size(about.take_or("multicast_send_size")?),
    )
}

/// The name of this program, which the node shows to its operator.
fn program() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The numbers of the calls on the connection of a trace.
const FOLLOW: u32 = 1;
const LEAVE: u32 = 2;

/// Follows what the engine of the node does from now on, over a separate connection, so that events do not delay calls. The
/// trace ends at once if the node does not permit it.
pub(crate) fn trace(client: &Client, capacity: usize) -> Trace {
    let tracer = Tracer::default();
    let mut trace = tracer.subscribe_elsewhere(capacity);
    match Followed::begin(client, capacity) {
        Some(followed) => {
            let (own, teller) = (Arc::clone(&followed), tracer.clone());
            let started = threads::start_asa("_ipc_trace", move || {
                own.follow(&teller);
                teller.end();
            });
            if started.is_err() {
                tracer.end();
            }
            trace.hold(Box::new(Following(followed)));
        }
        None => tracer.end(),
    }
    trace
}

/// The connection of a trace.
#[derive(Debug)]
struct Followed {
    link: Link,
    /// The stream is to end once it has delivered everything that has happened so far.
    is_ending: AtomicBool,
}

/// Ends the stream when it is dropped.
struct Following(Arc<Followed>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.link.pipe.close();
    }
}

impl Followed {
    /// Connects, and waits until the node has begun the stream.
    fn begin(client: &Client, capacity: usize) -> Option<Arc<Self>> {
        if client.link().ok()?.why_ended().is_some() {
            return None;
        }
        let deadline = Instant::now() + CONNECT;
        let (link, _) = Link::connect(&client.path, deadline).ok()?;
        let request = Request::encode(FOLLOW, TRACE, &[capacity.form()]);
        link.pipe.send(&request, deadline).ok()?;
        let Read::Item(bytes) = link.incoming.lock().next(&link.pipe, Some(deadline)) else { return None };
        let Some((FOLLOW, Answer::Event { .. })) = Answer::decode(&bytes) else { return None };
        let followed = Arc::new(Self { link, is_ending: AtomicBool::new(false) });
        let mut traces = client.traces.lock();
        traces.retain(|trace| trace.strong_count() > 0);
        traces.push(Arc::downgrade(&followed));
        drop(traces);
        if client.is_closed() {
            followed.end();
        }
        Some(followed)
    }

    /// Asks the node to end the stream after the events that have happened so far.
    fn end(&self) {
        self.is_ending.store(true, Ordering::Release);
        let cancel = Request::encode(LEAVE, CANCEL, &[FOLLOW.into()]);
        let _ = self.link.pipe.send(&cancel, Instant::now() + PROMPT);
    }

    /// Passes events on until the stream ends.
    fn follow(&self, tracer: &Tracer) {
        let mut incoming = self.link.incoming.lock();
        let mut lost_before = 0;
        loop {
            match incoming.next(&self.link.pipe, None) {
                // The patience of the pipe is over, and nothing happens at the node.
                Read::Nothing if !self.is_ending.load(Ordering::Acquire) => {}
                Read::Item(bytes) => match Answer::decode(&bytes) {
                    Some((FOLLOW, Answer::Event { lost, event })) => {
                        tracer.lose(lost.saturating_sub(lost_before));
                        lost_before = lost;
                        match event::read(event) {
                            Some(event) => tracer.pass_on(event),
                            // An event of a later version.
                            None => tracer.lose(1),
                        }
                    }
                    Some((LEAVE, _)) => {}
                    _ => return,
                },
                Read::Nothing | Read::End | Read::Garbage => return,
            }
        }
    }
}
