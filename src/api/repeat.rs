//! Floods at regular intervals. RFC 8990 §2.5.6.2 floods once and leaves repetition to the ASA; without it, a node that
//! starts later would never hear of the value.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select};
use parking_lot::Mutex;

use crate::engine::{Engine, Seat};
use crate::error::{Error, Result};
use crate::threads;
use crate::types::{AsaNonce, TaggedObjective};

/// The shortest interval between two floods, in milliseconds.
const SHORTEST: u32 = 100;

/// Objectives that are flooded at regular intervals until this is dropped: the result of [`Engine::flood_every`].
#[must_use = "flooding ends when this is dropped"]
pub struct Flooding {
    engine: Engine,
    nonce: AsaNonce,
    ttl: u32,
    shared: Arc<Shared>,
    /// Wakes the thread, which ends when this is dropped.
    wake: Option<Sender<()>>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
}

#[derive(Default)]
struct Shared {
    tagged: Mutex<Vec<TaggedObjective>>,
    /// The error of the last flood, if it failed.
    last: Mutex<Option<Error>>,
}

impl Flooding {
    /// Replaces the objectives, and floods the new ones at once.
    ///
    /// # Errors
    /// Those of [`Engine::flood`] and [`Error::TooDeep`]: the old objectives continue to be flooded. If flooding has ended,
    /// the error that ended it; then a retry does not help.
    pub fn update(&self, tagged: &[TaggedObjective]) -> Result<()> {
        self.engine.check_repeatable(self.nonce, self.ttl, tagged)?;
        *self.shared.tagged.lock() = tagged.to_vec();
        match self.wake.as_ref().map(|wake| wake.try_send(())) {
            // If it is full, the thread has not handled the last update yet, and will handle this one with it.
            Some(Ok(()) | Err(TrySendError::Full(()))) => Ok(()),
            Some(Err(TrySendError::Disconnected(()))) | None => Err(self.error().unwrap_or(Error::Stopped)),
        }
    }

    /// Why the last flood was not sent; `None` if it was. After [`Error::NoSecurity`] flooding continues once the substrate is
    /// up again. Any other error has ended it.
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        let last = self.shared.last.lock().clone();
        // The thread may not have noticed yet.
        last.or_else(|| self.engine.is_over().then_some(Error::Stopped))
    }

    /// Stops flooding, and waits for the end of a flood that is being sent. Dropping does the same without waiting.
    pub fn stop(mut self) {
        self.wake = None;
        // Nothing is ever sent: this returns when the thread has ended.
        let _ = self.ended.recv();
    }
}

impl fmt::Debug for Flooding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flooding")
            .field("ttl", &self.ttl)
            .field("error", &self.error())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Floods objectives now and every `interval` milliseconds (at least 100) until the returned [`Flooding`] is
    /// dropped, the ASA or an objective is deregistered, or the engine stops. Between floods the value may be changed with
    /// [`Flooding::update`].
    ///
    /// The lifetime `ttl` should be about three intervals, so that two lost floods do no harm, and so that readers forget
    /// a source that is gone. A reader that starts late, or was away, catches up within one interval:
    /// [`get_flood`](Self::get_flood) is empty until then, and [`synchronize`](Self::synchronize) asks a peer, if one
    /// serves the objective. Where an interval is too long to wait, the source also calls
    /// [`listen_synchronize`](Self::listen_synchronize).
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use grasp::{Objective, TaggedObjective};
    ///
    /// let asa = grasp::register_asa("Clock")?;
    /// let mut time = Objective::new("Time").with_value("12:00")?;
    /// time.synch = true;
    /// grasp::register_obj(asa, &time, Default::default())?;
    /// let flooding = grasp::flood_every(asa, 10_000, 30_000, &[TaggedObjective::new(time.clone(), None)])?;
    /// let time = time.with_value("12:01")?;
    /// flooding.update(&[TaggedObjective::new(time, None)])?;
    /// flooding.stop();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`flood`](Self::flood) for the first one, [`Error::TooDeep`] and [`Error::NoThread`].
    pub fn flood_every(
        &self,
        nonce: AsaNonce,
        interval: u32,
        ttl: u32,
        tagged: &[TaggedObjective],
    ) -> Result<Flooding> {
        self.check_repeatable(nonce, ttl, tagged)?;
        let interval = Duration::from_millis(interval.max(SHORTEST).into());
        let shared = Arc::new(Shared { tagged: Mutex::new(tagged.to_vec()), last: Mutex::default() });
        let ((wake, woken), (ending, ended)) = (bounded(1), bounded(0));
        let own = Arc::clone(&shared);
        self.flood(nonce, ttl, tagged)?;
        let engine = self.unowned();
        self.start_activity("_flooder", move |stop| {
            let _ending: Sender<()> = ending;
            flood_until_stopped(&engine, stop, &own, &woken, interval, (nonce, ttl));
        })?;
        Ok(Flooding { engine: self.unowned(), nonce, ttl, shared, wake: Some(wake), ended })
    }

    /// Starts a thread that works for an ASA. Its channel is disconnected when the engine stops, or when this process closes
    /// the connection to its node. If the node ends, the thread's calls fail.
    fn start_activity(
        &self,
        name: &'static str,
        body: impl FnOnce(&Receiver<()>) + Send + 'static,
    ) -> Result<()> {
        match &self.seat {
            Seat::Here(here) => threads::spawn(&here.core, name, move |core| body(core.stop_signal()))
                .map_err(|error| here.no_thread(error)),
            #[cfg(feature = "ipc")]
            Seat::Node(node) => {
                let closed = node.closed().clone();
                threads::start_asa(name, move || body(&closed))
                    .map_err(|error| Error::NoThread(Arc::new(error)))
            }
        }
    }

    /// Makes the checks of [`flood`](Self::flood), and checks that the values are nested no deeper than the stack of an
    /// engine's thread has room for.
    fn check_repeatable(&self, nonce: AsaNonce, ttl: u32, tagged: &[TaggedObjective]) -> Result<()> {
        self.check_flood(nonce, ttl, tagged)?;
        let shallow = |one: &TaggedObjective| crate::Value::decode(&one.objective.value.encode()).is_ok();
        if tagged.iter().all(shallow) { Ok(()) } else { Err(Error::TooDeep) }
    }
}

/// Floods at each interval, counted from the last flood, and when it is woken.
fn flood_until_stopped(
    engine: &Engine,
    stop: &Receiver<()>,
    shared: &Shared,
    woken: &Receiver<()>,
    interval: Duration,
    (nonce, ttl): (AsaNonce, u32),
) {
    let mut next = Instant::now() + interval;
    loop {
        select! {
            recv(stop) -> _ => return shared.end(Error::Stopped),
            recv(woken) -> wish => if wish.is_err() { return },
            default(next.saturating_duration_since(Instant::now())) => {}
        }
        let tagged = shared.tagged.lock().clone();
        let last = engine.flood(nonce, ttl, &tagged).err();
        let over = last.as_ref().is_some_and(|error| *error != Error::NoSecurity);
        if over && let Some(error) = &last {
            log::warn!("flooding every {interval:?} ends: {error}");
        }
        *shared.last.lock() = last;
        if over {
            return;
        }
        next = Instant::now() + interval;
    }
}

impl Shared {
    fn end(&self, why: Error) {
        *self.last.lock() = Some(why);
    }
}
