//! The page of speech bubbles: `_bubble_feed` listens to the engine's trace, `_bubbles` accepts browsers, and a limited
//! number of `_bubble_client` threads serve one browser each. They only read the trace: nothing that a browser sends
//! changes the engine.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{contain, spawn};
use crate::bounds::{Bounds, Quota};
use crate::bubbles::http::{self, Asked};
use crate::bubbles::story::Story;
use crate::bubbles::{Bubbles, Hub};
use crate::core::Core;

/// How many events may wait for delivery.
const CAPACITY: usize = 16_384;
/// How many browsers may be connected.
const CLIENTS: usize = 32;
/// How often to check whether a browser has connected: the socket outlives the engine, so nothing can wake a thread
/// that blocks on it.
const GLANCE: Duration = Duration::from_millis(50);
/// How long a browser has at shutdown to read the remaining events.
const LAST_WORD: Duration = Duration::from_secs(1);
/// The longest time without sending anything to a browser: each send shows whether it is still there.
const SILENCE: Duration = Duration::from_secs(10);

/// Serves the page until shutdown.
pub(crate) fn start(core: &Arc<Core>, bubbles: &Bubbles) -> io::Result<()> {
    let trace = core.node.counters.tracer().subscribe(CAPACITY);
    let hub = Arc::clone(&bubbles.hub);
    spawn(core, "_bubble_feed", move |core| {
        hub.push(Story::start());
        let (mut story, mut lost) = (Story::default(), 0);
        while let Ok(event) = trace.recv() {
            if let Some(told) = story.tell(&event, |ifi| core.interface_name(ifi)) {
                hub.push(told);
            }
            if trace.lost() > lost {
                hub.push(Story::lost(trace.lost() - lost));
                lost = trace.lost();
            }
        }
    })?;
    let bubbles = bubbles.clone();
    spawn(core, "_bubbles", move |core| {
        let mut clients = Clients::new();
        while !core.is_stopping() {
            match bubbles.listener.accept() {
                // A panic must not end accepting.
                Ok((stream, _)) => {
                    contain(core, "taking up a browser", || clients.take_up(core, &bubbles, stream))
                }
                Err(_) => _ = core.pause(GLANCE),
            }
        }
        clients.end();
    })
}

/// The connected browsers.
struct Clients {
    streams: Vec<Weak<TcpStream>>,
    places: Quota<()>,
    /// Each client holds a clone of the sender: the receiver is disconnected once no client is left.
    here: Sender<()>,
    gone: Receiver<()>,
}

impl Clients {
    fn new() -> Self {
        let (here, gone) = bounded(0);
        Self { streams: Vec::new(), places: Quota::new(Bounds::all(CLIENTS)), here, gone }
    }

    fn take_up(&mut self, core: &Arc<Core>, bubbles: &Bubbles, stream: TcpStream) {
        self.streams.retain(|stream| stream.strong_count() > 0);
        let Ok(permit) = self.places.take(()) else {
            log::debug!("a browser is sent away: {CLIENTS} are here");
            return;
        };
        let stream = Arc::new(stream);
        self.streams.push(Arc::downgrade(&stream));
        let (bubbles, here) = (bubbles.clone(), self.here.clone());
        let spawned = spawn(core, "_bubble_client", move |core| {
            if let Err(error) = serve(core, &bubbles, &stream) {
                log::debug!("a browser is gone: {error}");
            }
            drop((stream, here, permit));
        });
        if let Err(error) = spawned {
            log::debug!("a browser is sent away: {error}");
        }
    }

    /// Ends all remaining clients. Those that read learn how the engine ended; those that do not read get `LAST_WORD`.
    fn end(self) {
        let Self { streams, here, gone, .. } = self;
        drop(here);
        let _ = gone.recv_timeout(LAST_WORD);
        for stream in streams.iter().filter_map(Weak::upgrade) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn serve(core: &Core, bubbles: &Bubbles, stream: &TcpStream) -> io::Result<()> {
    match http::read(stream)? {
        Asked::Page { host } => {
            let nonce = getrandom::u64().map_err(|_| io::ErrorKind::Unsupported)?;
            http::send_page(stream, &host, &format!("{nonce:016x}"))
        }
        Asked::Refused(status) => http::send_refusal(stream, status),
        Asked::Events { after } => send_events(core, bubbles, stream, &after),
    }
}

/// Sends events as they arrive, until the browser disconnects or the engine ends.
fn send_events(core: &Core, bubbles: &Bubbles, stream: &TcpStream, after: &str) -> io::Result<()> {
    http::send_events_head(stream)?;
    let hello = serde_json::json!({ "caption": bubbles.caption });
    // The retry time: how soon the browser reconnects after the connection has ended.
    http::send(stream, format!("retry: 500\nevent: hello\ndata: {hello}\n\n").as_bytes())?;
    let hub: &Hub = &bubbles.hub;
    let mut next = hub.after(after);
    let mut said = Instant::now();
    loop {
        let (events, following) = hub.from(next, GLANCE * 4);
        let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
        let first = following.saturating_sub(count);
        let mut text = String::new();
        // This browser was away for long or is too slow. The message has no event number, because other browsers have
        // not lost these events.
        let lost = first.saturating_sub(next);
        if next > 0 && lost > 0 {
            text.push_str(&format!("data: {}\n\n", Story::lost(lost)));
        }
        for (number, event) in (first..).zip(events) {
            // The event contains no line break: JSON has none.
            text.push_str(&format!("id: {}-{number}\ndata: {event}\n\n", hub.epoch));
        }
        next = following;
        if text.is_empty() && said.elapsed() >= SILENCE {
            text.push_str(": still here\n\n");
        }
        if !text.is_empty() {
            http::send(stream, text.as_bytes())?;
            said = Instant::now();
        } else if core.is_stopping() {
            return Ok(());
        }
    }
}
