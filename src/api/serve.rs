//! Serves negotiations with a bounded number of threads, which listen, answer and end together.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{Asa, Session, Stop};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::threads;
use crate::types::{AsaNonce, Objective};

/// How long a server pauses before it listens again, if the substrate is down.
const REST: Duration = Duration::from_secs(1);
/// How often `run_until` checks whether serving has ended by itself.
const LOOK: Duration = Duration::from_millis(200);
/// How often `stop` wakes listeners again: one may just have been about to listen.
const AGAIN: Duration = Duration::from_millis(20);

/// The threads that answer requests to negotiate an objective: the result of [`Asa::serve`]. Dropping it stops them, but
/// does not wait for the requests that are being answered; [`stop`](Self::stop) waits.
#[must_use = "serving ends when this is dropped"]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Engine,
    asa: AsaNonce,
    objective: Objective,
    limit: usize,
    handler: Box<dyn Fn(Session) + Send + Sync>,
    stop: Stop,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    threads: usize,
    /// How many of them answer a request at the moment.
    answering: usize,
    /// Why one of them ended, if nobody had stopped it.
    failure: Option<Error>,
}

impl Asa {
    /// Answers every request to negotiate an objective with `handler`, in up to `limit` threads (at least one), which are
    /// started as they are needed. Returns at once; peers that ask from then on are served, until the returned [`Server`] is
    /// stopped or dropped, the objective is deregistered, or the engine stops.
    ///
    /// While all threads are busy, nobody listens: peers are refused after
    /// [`Config::listen_grace`](crate::Config::listen_grace), and may try again. A session that the handler neither ends nor
    /// releases is declined when the handler returns. A panic in the handler ends only that session.
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// let asa = grasp::Asa::new("Briggs")?;
    /// let mut money = grasp::Objective::new("EX3");
    /// money.neg = true;
    /// asa.engine().register_obj(asa.nonce(), &money, Default::default())?;
    /// let server = asa.serve(&money, 16, |session| {
    ///     let wanted = session.objective().value_as::<(String, i64)>();
    ///     let _ = match wanted {
    ///         Ok((currency, amount)) if currency == "NZD" && amount < 100 => session.accept(),
    ///         _ => session.decline(Some("too much")),
    ///     };
    /// })?;
    /// let stop = grasp::Stop::new();
    /// // ... with a clone of `stop` in the handler of Ctrl-C:
    /// server.run_until(&stop);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of the checks of [`Engine::listen_negotiate`]: [`Error::NotBoth`], [`Error::NoAsa`], [`Error::NotYourObj`],
    /// [`Error::NotNeg`], [`Error::NoSecurity`]; and [`Error::NoThread`]. A retry helps with the last two.
    pub fn serve(
        &self,
        objective: &Objective,
        limit: usize,
        handler: impl Fn(Session) + Send + Sync + 'static,
    ) -> Result<Server> {
        let engine = self.engine();
        engine.announce_listening(self.nonce(), objective)?;
        let shared = Arc::new(Shared {
            engine: engine.unowned(),
            asa: self.nonce(),
            objective: objective.clone(),
            limit: limit.max(1),
            handler: Box::new(handler),
            stop: Stop::new(),
            state: Mutex::new(State { threads: 1, ..State::default() }),
            changed: Condvar::new(),
        });
        Shared::start(&shared).map_err(|error| Error::NoThread(Arc::new(error)))?;
        Ok(Server { shared })
    }
}

impl Server {
    /// Serves until the stop is requested, or serving has ended by itself; then waits for the requests that are being
    /// answered.
    pub fn run_until(self, stop: &Stop) {
        while !stop.wait(LOOK) && self.is_serving() {}
        self.stop();
    }

    /// Whether requests are answered: no longer, once the objective is deregistered or the engine has stopped.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.shared.state.lock().threads > 0
    }

    /// How many requests are being answered now.
    #[must_use]
    pub fn answering(&self) -> usize {
        self.shared.state.lock().answering
    }

    /// Why serving has ended by itself; `None` if it has not.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        self.shared.state.lock().failure.clone()
    }

    /// Accepts no more requests, and waits until those that are being answered are finished. Do not call this from the
    /// handler: it would wait for itself.
    pub fn stop(self) {
        self.shared.wake();
        let mut state = self.shared.state.lock();
        while state.threads > 0 {
            let until = Instant::now() + AGAIN;
            if self.shared.changed.wait_until(&mut state, until).timed_out() {
                drop(state);
                self.shared.wake();
                state = self.shared.state.lock();
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.wake();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.lock();
        f.debug_struct("Server")
            .field("objective", &self.shared.objective.name)
            .field("threads", &state.threads)
            .field("answering", &state.answering)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Starts a thread that `state` counts already.
    fn start(this: &Arc<Self>) -> std::io::Result<()> {
        let own = Arc::clone(this);
        threads::start_asa("_server", move || own.serve()).inspect_err(|_| this.ended(None))
    }

    /// Ends listening. A thread that is about to listen ends at its next check of `stop`, or when it is woken again.
    fn wake(&self) {
        self.stop.request();
        let _ = self.engine.stop_negotiate(self.asa, &self.objective);
    }

    fn serve(self: Arc<Self>) {
        let failure = loop {
            if self.stop.is_requested() {
                break None;
            }
            match self.engine.accept_session(self.asa, &self.objective) {
                Ok(session) => Self::answer(&self, session),
                Err(_) if self.stop.is_requested() => break None,
                Err(Error::NoSecurity) => _ = self.stop.wait(REST),
                // This ASA has stopped listening in another way, with `stop_negotiate` for instance, or cannot listen.
                Err(error) => break Some(error),
            }
        };
        self.ended(failure);
    }

    fn answer(this: &Arc<Self>, session: Session) {
        let more = {
            let mut state = this.state.lock();
            state.answering += 1;
            let more =
                state.answering == state.threads && state.threads < this.limit && !this.stop.is_requested();
            state.threads += usize::from(more);
            more
        };
        if more && let Err(error) = Self::start(this) {
            log::warn!("no further thread can serve {:?}: {error}", this.objective.name);
        }
        if catch_unwind(AssertUnwindSafe(|| (this.handler)(session))).is_err() {
            log::error!("the handler of {:?} panicked; serving goes on", this.objective.name);
        }
        this.state.lock().answering -= 1;
        this.changed.notify_all();
    }

    fn ended(&self, failure: Option<Error>) {
        let mut state = self.state.lock();
        state.threads -= 1;
        if state.failure.is_none() {
            state.failure = failure;
        }
        self.changed.notify_all();
    }
}
