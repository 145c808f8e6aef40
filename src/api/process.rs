//! The engine of the process, which the free functions share. It starts on first use, as in graspy: after the start
//! dialogue if there is a terminal and the program did not skip the dialogue.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::thread::{ThreadId, current};

use parking_lot::{Condvar, Mutex};

use super::utility::set_printing;
use super::{Discover, Flooding, Negotiation, RegisterObj};
#[cfg(feature = "bubbles")]
use crate::bubbles::Bubbles;
use crate::config::Config;
use crate::engine::Engine;
#[cfg(feature = "bubbles")]
use crate::engine::Seat;
use crate::error::{Error, Result};
use crate::start_error::StartError;
use crate::threads::is_engine_thread;
use crate::tprint;
use crate::types::{AsaLocator, AsaNonce, Objective, SessionNonce, TaggedObjective, Value};

/// Never locked while an engine starts or stops, or while the dialogue waits: a logger may call a free function then.
static PROCESS: Mutex<Process> = Mutex::new(Process {
    engine: Running::No,
    config: None,
    skip: None,
    #[cfg(feature = "bubbles")]
    bubbles: None,
});

/// Notified when a start has succeeded or failed.
static STARTED: Condvar = Condvar::new();

struct Process {
    engine: Running,
    config: Option<Config>,
    skip: Option<SkipDialogue>,
    #[cfg(feature = "bubbles")]
    bubbles: Option<Bubbles>,
}

/// Whether the process has an engine.
enum Running {
    No,
    /// The thread `by` is starting it. `stop` is set if `shutdown` was called in the meantime: then it stops at once.
    Starting {
        by: ThreadId,
        stop: bool,
    },
    Yes(Engine),
}

impl Process {
    fn engine(&self) -> Option<&Engine> {
        match &self.engine {
            Running::Yes(engine) => Some(engine),
            Running::No | Running::Starting { .. } => None,
        }
    }
}

/// An answer to a question of the start dialogue, given in advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes, without asking.
    Yes,
    /// No, without asking.
    No,
    /// Ask, if there is a terminal (graspy's `"ask"`).
    Ask,
}

/// The arguments of [`skip_dialogue`], with graspy's defaults. graspy's `quadsing`, which had no effect, is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkipDialogue {
    /// Test mode: many extra diagnostics. Defaults to No.
    pub testing: Answer,
    /// Handle the engine's own multicasts, too. Defaults to No.
    pub selfing: Answer,
    /// Report what is wrong with received messages. Defaults to Yes.
    pub diagnosing: Answer,
    /// Run as a DULL instance. Defaults to No.
    pub be_dull: Answer,
    /// Print nothing. Defaults to off.
    pub silent: bool,
    /// Let floods of the objective GraspConfig change the limits on message sizes (graspy's Configger). Defaults to on.
    pub figging: bool,
}

impl Default for SkipDialogue {
    fn default() -> Self {
        let (yes, no) = (Answer::Yes, Answer::No);
        Self { testing: no, selfing: no, diagnosing: yes, be_dull: no, silent: false, figging: true }
    }
}

/// Answers the start dialogue in advance (graspy's `skip_dialogue`). Has an effect only before the engine of the process
/// starts, and only if [`configure`] was not called.
pub fn skip_dialogue(answers: SkipDialogue) {
    PROCESS.lock().skip = Some(answers);
}

/// Sets the whole configuration of the engine of the process, in place of the dialogue; also for the engines that follow
/// after a [`shutdown`].
///
/// # Errors
/// [`StartError::AlreadyRunning`] if the engine is running or starting; a retry helps after [`shutdown`].
pub fn configure(config: Config) -> std::result::Result<(), StartError> {
    let mut process = PROCESS.lock();
    if !matches!(process.engine, Running::No) {
        return Err(StartError::AlreadyRunning);
    }
    process.config = Some(config);
    Ok(())
}

/// Makes this process a client of the node at a Unix socket, for instance [`ipc::default_path`](crate::ipc::default_path):
/// the free functions use that node instead of an engine in this process, until [`shutdown`]. The environment variable
/// `GRASP_SOCKET` does the same for a program that does not call this.
///
/// # Errors
/// [`StartError::AlreadyRunning`] if the process has an engine, or if [`shutdown`] is called in the meantime: a retry helps
/// after [`shutdown`]. Those of [`Engine::connect`]: a retry helps once the node is running.
#[cfg(feature = "ipc")]
pub fn connect(socket: impl AsRef<std::path::Path>) -> std::result::Result<(), StartError> {
    let mut process = PROCESS.lock();
    if !matches!(process.engine, Running::No) {
        return Err(StartError::AlreadyRunning);
    }
    process.engine = Running::Starting { by: current().id(), stop: false };
    drop(process);
    let starting = Starting;
    let engine = Engine::connect(socket)?;
    starting.end(engine).map(drop).map_err(|_| StartError::AlreadyRunning)
}

/// Returns the engine of the process, and starts it if it is not running. Waits if another thread is starting it.
///
/// # Errors
/// [`Error::NotStarted`] with a sentence that says what is missing and what to do: a retry helps after that. It contains
/// [`StartError::Starting`] if the thread that is starting the engine, or one of an engine's own threads, calls this in the
/// meantime, for instance from a logger. [`Error::Stopped`] if [`shutdown`] is called during the start: a retry helps.
pub fn process_engine() -> Result<Engine> {
    let mut process = PROCESS.lock();
    loop {
        match &process.engine {
            Running::Yes(engine) => return Ok(engine.clone()),
            Running::Starting { by, .. } if *by == current().id() || is_engine_thread() => {
                return Err(not_started(StartError::Starting));
            }
            Running::Starting { .. } => STARTED.wait(&mut process),
            Running::No => break,
        }
    }
    process.engine = Running::Starting { by: current().id(), stop: false };
    let configured = (process.config.clone(), process.skip);
    #[cfg(feature = "bubbles")]
    let earlier = process.bubbles.clone();
    drop(process);
    let starting = Starting;
    #[cfg(feature = "ipc")]
    if let Some(socket) = crate::config::environment::socket() {
        // The node has its own settings, so there is no dialogue.
        return starting.end(Engine::connect(socket).map_err(not_started)?);
    }
    let config = match configured {
        (Some(config), _) => config,
        (None, answers) => dialogue(answers, &mut io::stdin().lock(), io::stdin().is_terminal()),
    };
    #[cfg(feature = "bubbles")]
    let config = {
        let bubbles = config.bubbles.clone().or(earlier);
        config.bubbles(bubbles)
    };
    set_printing(config.test_mode, config.silent);
    let engine = Engine::start(config).map_err(not_started)?;
    starting.end(engine)
}

fn not_started(error: StartError) -> Error {
    Error::NotStarted(Arc::new(error))
}

/// This thread is starting the engine of the process. Dropping this ends the start, whether or not it succeeded, and wakes
/// the threads that wait for it.
struct Starting;

impl Starting {
    /// Records the started engine. If `shutdown` was called in the meantime, stops it and returns `Stopped`.
    fn end(self, engine: Engine) -> Result<Engine> {
        let mut process = PROCESS.lock();
        if matches!(process.engine, Running::Starting { stop: true, .. }) {
            drop(process);
            engine.shutdown();
            return Err(Error::Stopped);
        }
        process.engine = Running::Yes(engine.clone());
        Ok(engine)
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let mut process = PROCESS.lock();
        if matches!(process.engine, Running::Starting { .. }) {
            process.engine = Running::No;
        }
        STARTED.notify_all();
    }
}

/// Serves a page of speech bubbles for the engine of the process, prints the page's address and returns it (graspy's
/// `init_bubble_text`). Starts the engine if it is not running. The caption is the page's title. The page continues with
/// each later engine of this process. [`Bubbles::from_environment`] says where it is served. If there is a page already,
/// from [`Config::bubbles`] or an earlier call, it stays as it is.
///
/// Only with the feature `bubbles`, which is off by default.
///
/// # Errors
/// [`Error::NotStarted`] with a sentence that says what the engine or the page lacks: a retry helps once that is there.
#[cfg(feature = "bubbles")]
pub fn init_bubble_text(caption: &str) -> Result<String> {
    let not_served = |error| not_started(StartError::Bubbles(error));
    let engine = process_engine()?;
    let known = || PROCESS.lock().bubbles.clone().or_else(|| engine.config().bubbles.clone());
    let bubbles = match known() {
        Some(known) => known,
        None => match Bubbles::from_environment(caption) {
            Ok(made) => serve(&engine, made).map_err(not_served)?,
            // Another thread may just have begun to serve a page on the only port.
            Err(error) => known().ok_or_else(|| not_served(error))?,
        },
    };
    let url = bubbles.url();
    tprint!("Speech bubbles of", bubbles.caption, "at", url);
    PROCESS.lock().bubbles = Some(bubbles);
    Ok(url)
}

/// Serves a page, and returns it, or the page that another thread has begun to serve.
#[cfg(feature = "bubbles")]
fn serve(engine: &Engine, made: Bubbles) -> io::Result<Bubbles> {
    {
        let mut process = PROCESS.lock();
        if let Some(known) = &process.bubbles {
            return Ok(known.clone());
        }
        process.bubbles = Some(made.clone());
    }
    let started = match &engine.seat {
        Seat::Here(here) => crate::threads::start_bubbles(&here.core, &made),
        #[cfg(feature = "ipc")]
        Seat::Node(_) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the engine is in another process, which shows the page if it is to be shown",
        )),
    };
    started.inspect_err(|_| PROCESS.lock().bubbles = None)?;
    Ok(made)
}

/// Stops the engine of the process, if it is running. The next call of the API starts a new one. An engine that is starting
/// is stopped as soon as it has started, and the call that started it returns [`Error::Stopped`].
pub fn shutdown() {
    let mut process = PROCESS.lock();
    match &mut process.engine {
        Running::No => {}
        Running::Starting { stop, .. } => *stop = true,
        Running::Yes(engine) => {
            let engine = engine.clone();
            process.engine = Running::No;
            drop(process);
            engine.shutdown();
        }
    }
}

/// The start dialogue, in graspy's order. Without a terminal nothing is asked, and the defaults of
/// [`SkipDialogue`] hold.
fn dialogue(answers: Option<SkipDialogue>, input: &mut impl BufRead, terminal: bool) -> Config {
    let ask_all = SkipDialogue {
        testing: Answer::Ask,
        selfing: Answer::Ask,
        diagnosing: Answer::Ask,
        be_dull: Answer::Ask,
        silent: false,
        figging: true,
    };
    // Pressing return at each question gives the same configuration as having no terminal.
    let usual = SkipDialogue::default();
    let answers = answers.unwrap_or(if terminal { ask_all } else { usual });
    let mut ask = |answer, question, usual| match answer {
        Answer::Yes => true,
        Answer::No => false,
        Answer::Ask if !terminal => usual == Answer::Yes,
        Answer::Ask => question_on(input, question, usual == Answer::Yes),
    };
    let test_mode = ask(answers.testing, "Test mode (many extra diagnostics)?", usual.testing);
    let diagnose = ask(answers.diagnosing, "Diagnostics for inbound message parse errors?", usual.diagnosing);
    let listen_self = ask(answers.selfing, "Listen to own multicasts?", usual.selfing);
    let dull = ask(answers.be_dull, "Insecure link-local mode (DULL)?", usual.be_dull);
    if test_mode {
        tprint!("Running in test mode.");
    }
    Config::new()
        .test_mode(test_mode)
        .diagnose(diagnose)
        .listen_self(listen_self)
        .dull(dull)
        .silent(answers.silent)
        .figging(answers.figging)
}

fn question_on(input: &mut impl BufRead, question: &str, default: bool) -> bool {
    let mut out = io::stdout();
    let _ = write!(out, "{question} Y/N [{}]: ", if default { 'Y' } else { 'N' }).and_then(|()| out.flush());
    let mut answer = String::new();
    if input.read_line(&mut answer).is_err() {
        return default;
    }
    match answer.trim_start().chars().next() {
        Some('Y' | 'y') => true,
        Some('N' | 'n') => false,
        _ => default,
    }
}

macro_rules! process_wide {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(
            #[doc = concat!("[`Engine::", stringify!($name), "`] of the engine of the process.")]
            ///
            /// # Errors
            #[doc = concat!("Those of [`Engine::", stringify!($name), "`]; [`Error::NotStarted`].")]
            pub fn $name($($argument: $type),*) -> $result {
                process_engine()?.$name($($argument),*)
            }
        )*
    };
}

process_wide! {
    register_asa(name: &str) -> Result<AsaNonce>;
    deregister_asa(nonce: AsaNonce, name: &str) -> Result<()>;
    register_obj(nonce: AsaNonce, objective: &Objective, options: RegisterObj) -> Result<()>;
    deregister_obj(nonce: AsaNonce, objective: &Objective) -> Result<()>;
    discover(nonce: AsaNonce, objective: &Objective, timeout: Option<u32>, options: Discover) -> Result<Vec<AsaLocator>>;
    req_negotiate(nonce: AsaNonce, objective: &Objective, peer: Option<&AsaLocator>, timeout: Option<u32>) -> Result<Negotiation>;
    req_negotiate_noloop(nonce: AsaNonce, objective: &Objective, peer: Option<&AsaLocator>, timeout: Option<u32>) -> Result<SessionNonce>;
    negotiate_step(nonce: AsaNonce, session: SessionNonce, objective: &Objective, timeout: Option<u32>) -> Result<Negotiation>;
    negotiate_wait(nonce: AsaNonce, session: SessionNonce, timeout: Option<u32>) -> Result<()>;
    end_negotiate(nonce: AsaNonce, session: SessionNonce, accept: bool, reason: Option<&str>) -> Result<()>;
    send_invalid(nonce: AsaNonce, session: SessionNonce, info: Option<Value>) -> Result<()>;
    listen_negotiate(nonce: AsaNonce, objective: &Objective) -> Result<(SessionNonce, Objective)>;
    stop_negotiate(nonce: AsaNonce, objective: &Objective) -> Result<()>;
    gsend(nonce: AsaNonce, session: SessionNonce, message: &Value) -> Result<()>;
    grecv(nonce: AsaNonce, session: SessionNonce, timeout: u32) -> Result<Value>;
    synchronize(nonce: AsaNonce, objective: &Objective, locator: Option<&AsaLocator>, timeout: Option<u32>) -> Result<Objective>;
    listen_synchronize(nonce: AsaNonce, objective: &Objective) -> Result<()>;
    stop_synchronize(nonce: AsaNonce, objective: &Objective) -> Result<()>;
    flood(nonce: AsaNonce, ttl: u32, tagged: &[TaggedObjective]) -> Result<()>;
    flood_every(nonce: AsaNonce, interval: u32, ttl: u32, tagged: &[TaggedObjective]) -> Result<Flooding>;
    get_flood(nonce: AsaNonce, objective: &Objective) -> Result<Vec<TaggedObjective>>;
    expire_flood(nonce: AsaNonce, tagged: &TaggedObjective) -> Result<()>;
}

/// [`Engine::dump_all`] of the engine of the process. Prints nothing if none runs.
pub fn dump_all(partial: bool) {
    let engine = PROCESS.lock().engine().cloned();
    if let Some(engine) = engine {
        engine.dump_all(partial);
    }
}

#[cfg(test)]
mod tests {
    use std::thread::Builder;
    use std::time::Duration;

    use super::*;

    fn assert_same(config: &Config, expected: &Config) {
        assert_eq!(format!("{config:?}"), format!("{expected:?}"));
    }

    #[test]
    fn without_a_terminal_nothing_is_asked() {
        let mut input = io::Cursor::new(b"y\ny\ny\ny\n".to_vec());
        let config = dialogue(None, &mut input, false);
        assert_same(&config, &Config::new().diagnose(true));
        assert_eq!(input.position(), 0);
    }

    #[test]
    fn on_a_terminal_the_questions_come_in_the_order_of_the_original() {
        let mut input = io::Cursor::new(b"y\nn\nY\nY\n".to_vec());
        let config = dialogue(None, &mut input, true);
        assert_same(&config, &Config::new().test_mode(true).diagnose(false).listen_self(true).dull(true));
    }

    #[test]
    fn pressing_return_at_each_question_is_as_good_as_no_terminal() {
        let mut input = io::Cursor::new(b"\n\n\n\n".to_vec());
        let config = dialogue(None, &mut input, true);
        assert_eq!(input.position(), 4, "all was asked");
        assert_same(&config, &dialogue(None, &mut input, false));
        // The end of the input, too.
        assert_same(&dialogue(None, &mut input, true), &config);
        let answers =
            SkipDialogue { selfing: Answer::Ask, diagnosing: Answer::Ask, ..SkipDialogue::default() };
        assert_same(&dialogue(Some(answers), &mut input, false), &config);
        let mut unread = io::Cursor::new(b"y\ny\n".to_vec());
        assert_same(&dialogue(Some(answers), &mut unread, false), &config);
        assert_eq!(unread.position(), 0, "nobody is asked without a terminal");
    }

    #[test]
    fn only_what_is_to_be_asked_is_asked() {
        let mut input = io::Cursor::new(b"n\n".to_vec());
        let answers = SkipDialogue { selfing: Answer::Ask, silent: true, ..SkipDialogue::default() };
        let config = dialogue(Some(answers), &mut input, true);
        assert_same(&config, &Config::new().diagnose(true).silent(true));
        assert_eq!(input.position(), 2);
    }

    /// A human may take minutes to answer the start dialogue.
    #[test]
    fn while_the_engine_starts_only_who_needs_it_waits() {
        let soon = Duration::from_secs(20);
        {
            let mut process = PROCESS.lock();
            process.engine = Running::Starting { by: current().id(), stop: false };
            // Without interfaces none starts.
            process.config = Some(Config::new().interfaces(Some(Vec::new())));
        }
        let starting = Starting;
        let is_refused = |result: Result<Engine>| match result {
            Err(Error::NotStarted(why)) => matches!(*why, StartError::Starting),
            _ => false,
        };
        assert!(is_refused(process_engine()), "whoever starts it would wait for itself");
        let (tx, rx) = crossbeam_channel::bounded(1);
        let other = Builder::new().spawn(move || {
            skip_dialogue(SkipDialogue::default());
            dump_all(true);
            tx.send(configure(Config::new())).unwrap();
            tx.send(process_engine().map(|_| ()).map_err(|_| StartError::NoInterface)).unwrap();
        });
        assert!(matches!(rx.recv_timeout(soon).unwrap(), Err(StartError::AlreadyRunning)));
        assert!(rx.recv_timeout(soon / 400).is_err(), "another thread waits");
        shutdown();
        assert!(matches!(PROCESS.lock().engine, Running::Starting { stop: true, .. }), "it is to be stopped");
        drop(starting);
        assert!(
            matches!(rx.recv_timeout(soon).unwrap(), Err(StartError::NoInterface)),
            "then it tries itself"
        );
        other.unwrap().join().unwrap();
        let mut process = PROCESS.lock();
        assert!(process.engine().is_none());
        (process.config, process.skip) = (None, None);
    }
}
