//! Negotiation and synchronization over TCP: how many in a second, and what they cost.

use grasp::{AsaLocator, Config, Negotiation, Objective};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

use super::bare::{BareServer, exchange};
use super::figure::{Aim, Figure, Result, alternate, per_second};
use super::pair::{Pair, ROUND, negotiated, request_and_accept, request_and_value, steps, synchronized};

/// How many negotiations the processor time is taken over.
const COSTED: u32 = 1500;

/// Requests that are accepted at once, each on a new connection, by so many clients.
pub(crate) fn connect(name: &str, clients: usize, rounds: usize) -> Result<Figure> {
    Setting::with(Config::new(), clients)?.connect(name, clients, rounds)
}

/// What one of them costs on both sides, in microseconds of user and system time.
pub(crate) fn cost(name: &str, rounds: usize) -> Result<Figure> {
    let setting = Setting::with(Config::new(), 1)?;
    let figure = alternate(
        (name, "µs", Aim::RatioAtMost(1.3)),
        rounds,
        || setting.pair.asking().run(|| cost_of(|| setting.negotiate())),
        || setting.pair.asking().run(|| cost_of(|| setting.ask())),
    )?;
    setting.pair.check()?;
    Ok(figure)
}

/// Two engines where each request is accepted, and their floor.
pub(crate) struct Setting {
    pub(crate) pair: Pair,
    bare: BareServer,
    request: Vec<u8>,
    objective: Objective,
    peer: AsaLocator,
}

impl Setting {
    /// With so many threads that listen.
    pub(crate) fn with(config: Config, listeners: usize) -> Result<Self> {
        let mut pair = Pair::start(config);
        pair.accept_with(listeners);
        let (request, accept) = request_and_accept();
        let bare = BareServer::start(pair.answering(), accept)?;
        let objective = negotiated();
        let peer = pair.locator(&objective)?;
        Ok(Self { pair, bare, request, objective, peer })
    }

    /// Requests by so many clients, and the floor.
    pub(crate) fn connect(&self, name: &str, clients: usize, rounds: usize) -> Result<Figure> {
        let figure = alternate(
            (name, "/s", Aim::RatioAtLeast(0.85)),
            rounds,
            || self.pair.asking().run(|| per_second(clients, ROUND, |_| self.negotiate())),
            || self.pair.asking().run(|| per_second(clients, ROUND, |_| self.ask())),
        )?;
        self.pair.check()?;
        Ok(figure)
    }

    fn negotiate(&self) -> Result<()> {
        self.pair.negotiate(&self.objective, &self.peer)
    }

    fn ask(&self) -> Result<()> {
        self.bare.ask(&self.request)
    }
}

/// The processor time of this process, in which both sides are.
fn cost_of(work: impl Fn() -> Result<()>) -> Result<f64> {
    let before = used()?;
    for _ in 0..COSTED {
        work()?;
    }
    Ok((used()? - before) / f64::from(COSTED))
}

/// User and system time of this process in microseconds.
pub(crate) fn used() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let microseconds = (usage.user_time() + usage.system_time()).num_microseconds();
    #[expect(clippy::cast_precision_loss, reason = "a process runs for less than 2^53 microseconds")]
    Ok(microseconds as f64)
}

/// Steps back and forth in one session; the floor is the same bytes back and forth on one connection.
pub(crate) fn step(name: &str, rounds: usize) -> Result<Figure> {
    let pair = Pair::start(Config::new());
    let (offer, counter) = steps();
    let bare = BareServer::start(pair.answering(), counter)?;
    let stream = parking_lot::Mutex::new(pair.asking().run(|| bare.connect())?);
    stream.lock().set_nodelay(true)?;
    let aim = Aim::RatioAtLeast(0.9);
    steps_of(pair, (name, "/s", aim), rounds, || exchange(&mut *stream.lock(), &offer))
}

/// Steps back and forth in one session of two engines, next to a floor.
pub(crate) fn steps_of(
    mut pair: Pair,
    figure: (&str, &'static str, Aim),
    rounds: usize,
    floor: impl Fn() -> Result<()> + Sync,
) -> Result<Figure> {
    pair.listen_with(1, |engine, asa, session, mut asked| {
        // A session of so many steps is none that an ASA would have: the loop count is set back every time.
        loop {
            asked.loop_count = LOOPS;
            match engine.negotiate_step(asa, session, &asked, None) {
                Ok(Negotiation::Offer(_, offer)) => asked = offer,
                _ => return,
            }
        }
    });
    let objective = Objective { loop_count: LOOPS, ..negotiated() };
    let peer = pair.locator(&objective)?;
    let (engine, asa) = (&pair.asker.engine, pair.asker.asa);
    let asked = pair.asking().run(|| engine.req_negotiate(asa, &objective, Some(&peer), None))?;
    let Negotiation::Offer(session, _) = asked else { return Err("no offer".into()) };
    let figure = alternate(
        figure,
        rounds,
        || {
            per_second(1, ROUND, |_| match engine.negotiate_step(asa, session, &objective, None)? {
                Negotiation::Offer(..) => Ok(()),
                Negotiation::Agreed(_) => Err("acceptance where an offer was due".into()),
            })
        },
        || per_second(1, ROUND, |_| floor()),
    )?;
    engine.end_negotiate(asa, session, true, None)?;
    pair.check()?;
    Ok(figure)
}

/// The loop count of every step, the same number of bytes as the default's.
const LOOPS: u8 = 6;

/// Requests for a value, each on a new connection.
pub(crate) fn synchronize(name: &str, rounds: usize) -> Result<Figure> {
    let pair = Pair::start(Config::new());
    pair.serve()?;
    let (request, value) = request_and_value();
    let bare = BareServer::start(pair.answering(), value)?;
    let objective = synchronized();
    let peer = pair.locator(&objective)?;
    let (engine, asa) = (&pair.asker.engine, pair.asker.asa);
    let figure = alternate(
        (name, "/s", Aim::RatioAtLeast(0.85)),
        rounds,
        || {
            pair.asking().run(|| {
                per_second(1, ROUND, |_| {
                    let got = engine.synchronize(asa, &objective, Some(&peer), None)?;
                    if got.value == objective.value { Ok(()) } else { Err("another value".into()) }
                })
            })
        },
        || pair.asking().run(|| per_second(1, ROUND, |_| bare.ask(&request))),
    )?;
    pair.check()?;
    Ok(figure)
}
