//! Flooding again and again. RFC 8990 §2.5.6.2 floods once and leaves repetition to the ASA; a node that starts later
//! would otherwise never hear of the value.

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

/// Objectives that are flooded again and again, until this is dropped: what [`Engine::flood_every`] returns.
#[must_use = "flooding ends when this is dropped"]
pub struct Flooding {
    engine: Engine,
    nonce: AsaNonce,
    ttl: u32,
    shared: Arc<Shared>,
    /// Wakes the thread; disconnected, it ends.
    wake: Option<Sender<()>>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
}

#[derive(Default)]
struct Shared {
    tagged: Mutex<Vec<TaggedObjective>>,
    /// How the last flood went.
    last: Mutex<Option<Error>>,
}

impl Flooding {
    /// Replaces what is flooded, and floods it at once.
    ///
    /// # Errors
    /// Those of [`Engine::flood`]; then the old objectives go on being flooded.
    pub fn update(&self, tagged: &[TaggedObjective]) -> Result<()> {
        self.engine.check_repeatable(self.nonce, self.ttl, tagged)?;
        *self.shared.tagged.lock() = tagged.to_vec();
        match self.wake.as_ref().map(|wake| wake.try_send(())) {
            // Full: the thread has not taken the last wish yet, and takes this one with it.
            Some(Ok(()) | Err(TrySendError::Full(()))) => Ok(()),
            Some(Err(TrySendError::Disconnected(()))) | None => Err(self.error().unwrap_or(Error::Stopped)),
        }
    }

    /// Why the last flood was not sent: [`Error::NoSecurity`] passes when the substrate is up again. After any other
    /// error nothing is flooded any more. `None` if it was sent.
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        let last = self.shared.last.lock().clone();
        // The thread may not have noticed yet.
        last.or_else(|| self.engine.is_over().then_some(Error::Stopped))
    }

    /// Stops flooding, and waits until no flood is on its way any more. Dropping does the same without waiting.
    pub fn stop(mut self) {
        self.wake = None;
        // Nothing is sent: it ends.
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

    /// Starts a thread that goes on with something for an ASA, and is told by the disconnected channel when the engine stops.
    /// That of a connected engine tells it by the errors of its calls.
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

    /// What [`flood`](Self::flood) checks; and that the values are nested no deeper than a thread of the engine has
    /// room for.
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
