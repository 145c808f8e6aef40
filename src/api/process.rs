//! The engine of the process, which the free functions share: started on first use, as in Python, after the
//! start dialogue if there is a terminal and nobody skipped it.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::Arc;

use parking_lot::Mutex;

use super::utility::set_printing;
use super::{Discover, Flooding, Negotiation, RegisterObj};
#[cfg(feature = "bubbles")]
use crate::bubbles::Bubbles;
use crate::config::Config;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::start_error::StartError;
use crate::tprint;
use crate::types::{AsaLocator, AsaNonce, Objective, SessionNonce, TaggedObjective, Value};

static PROCESS: Mutex<Process> = Mutex::new(Process {
    engine: None,
    config: None,
    skip: None,
    #[cfg(feature = "bubbles")]
    bubbles: None,
});

struct Process {
    engine: Option<Engine>,
    config: Option<Config>,
    skip: Option<SkipDialogue>,
    #[cfg(feature = "bubbles")]
    bubbles: Option<Bubbles>,
}

/// An answer to a question of the start dialogue, given beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes, without asking.
    Yes,
    /// No, without asking.
    No,
    /// Ask, if there is a terminal (graspy's `"ask"`).
    Ask,
}

/// The arguments of [`skip_dialogue`], with graspy's defaults. Its `quadsing` had no effect and is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkipDialogue {
    /// Test mode: many extra diagnostics. Defaults to No.
    pub testing: Answer,
    /// Listen to own multicasts. Defaults to No.
    pub selfing: Answer,
    /// Report what is wrong with received messages. Defaults to Yes.
    pub diagnosing: Answer,
    /// Run as a DULL instance. Defaults to No.
    pub be_dull: Answer,
    /// Print nothing. Defaults to off.
    pub silent: bool,
    /// Let GraspConfig change how large messages may be (graspy's Configger). Defaults to on.
    pub figging: bool,
}

impl Default for SkipDialogue {
    fn default() -> Self {
        let (yes, no) = (Answer::Yes, Answer::No);
        Self { testing: no, selfing: no, diagnosing: yes, be_dull: no, silent: false, figging: true }
    }
}

/// Answers the start dialogue beforehand (graspy's `skip_dialogue`). Has an effect only before the engine of
/// the process starts.
pub fn skip_dialogue(answers: SkipDialogue) {
    PROCESS.lock().skip = Some(answers);
}

/// Configures the engine of the process in full, instead of any dialogue.
///
/// # Errors
/// [`StartError::AlreadyRunning`]; a retry helps after [`shutdown`].
pub fn configure(config: Config) -> std::result::Result<(), StartError> {
    let mut process = PROCESS.lock();
    if process.engine.is_some() {
        return Err(StartError::AlreadyRunning);
    }
    process.config = Some(config);
    Ok(())
}

/// The engine of the process, which is started if it does not run.
///
/// # Errors
/// [`Error::NotStarted`] with a sentence that says what is missing and what to do.
pub fn process_engine() -> Result<Engine> {
    // The lock is held while the engine starts, so that two first calls make one engine.
    let mut process = PROCESS.lock();
    if let Some(engine) = &process.engine {
        return Ok(engine.clone());
    }
    let config = match (&process.config, process.skip) {
        (Some(config), _) => config.clone(),
        (None, answers) => dialogue(answers, &mut io::stdin().lock(), io::stdin().is_terminal()),
    };
    #[cfg(feature = "bubbles")]
    let config = {
        let earlier = process.bubbles.clone();
        let bubbles = config.bubbles.clone().or(earlier);
        config.bubbles(bubbles)
    };
    set_printing(config.test_mode, config.silent);
    let engine = Engine::start(config).map_err(|error| Error::NotStarted(Arc::new(error)))?;
    process.engine = Some(engine.clone());
    Ok(engine)
}

/// Serves a page of speech bubbles for the engine of the process, which is started if it does not run, prints the
/// page's address and returns it (graspy's `init_bubble_text`). The caption is the page's title. The page goes on
/// with each engine that follows in this process. [`Bubbles::from_environment`] says where it is served. Where there is
/// a page already, by [`Config::bubbles`] or an earlier call, that one stays as it is.
///
/// Only with the feature `bubbles`, which is off by default.
///
/// # Errors
/// [`Error::NotStarted`] with a sentence that says what is missing, of the engine or of the page.
#[cfg(feature = "bubbles")]
pub fn init_bubble_text(caption: &str) -> Result<String> {
    let not_served = |error| Error::NotStarted(Arc::new(StartError::Bubbles(error)));
    let engine = process_engine()?;
    let mut process = PROCESS.lock();
    let bubbles = match process.bubbles.as_ref().or_else(|| engine.config().bubbles.as_ref()) {
        Some(known) => known.clone(),
        None => {
            let bubbles = Bubbles::from_environment(caption).map_err(not_served)?;
            crate::threads::start_bubbles(&engine.core, &bubbles).map_err(not_served)?;
            bubbles
        }
    };
    let url = bubbles.url();
    let caption = bubbles.caption.clone();
    process.bubbles = Some(bubbles);
    drop(process);
    tprint!("Speech bubbles of", caption, "at", url);
    Ok(url)
}

/// Stops the engine of the process, if it runs. The next call of the API starts a new one.
pub fn shutdown() {
    let engine = PROCESS.lock().engine.take();
    if let Some(engine) = engine {
        engine.shutdown();
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
    let unasked = if terminal { ask_all } else { SkipDialogue::default() };
    let answers = answers.unwrap_or(unasked);
    let mut ask = |answer, question, default| match answer {
        Answer::Yes => true,
        Answer::No => false,
        Answer::Ask if !terminal => default,
        Answer::Ask => question_on(input, question, default),
    };
    let test_mode = ask(answers.testing, "Test mode (many extra diagnostics)?", false);
    let diagnose = ask(answers.diagnosing, "Diagnostics for inbound message parse errors?", true);
    let listen_self = ask(answers.selfing, "Listen to own multicasts?", true);
    let dull = ask(answers.be_dull, "Insecure link-local mode (DULL)?", false);
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
    let engine = PROCESS.lock().engine.clone();
    if let Some(engine) = engine {
        engine.dump_all(partial);
    }
}

#[cfg(test)]
mod tests {
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
        let mut input = io::Cursor::new(b"y\nn\n\nY\n".to_vec());
        let config = dialogue(None, &mut input, true);
        assert_same(&config, &Config::new().test_mode(true).diagnose(false).listen_self(true).dull(true));
    }

    #[test]
    fn only_what_is_to_be_asked_is_asked() {
        let mut input = io::Cursor::new(b"n\n".to_vec());
        let answers = SkipDialogue { selfing: Answer::Ask, silent: true, ..SkipDialogue::default() };
        let config = dialogue(Some(answers), &mut input, true);
        assert_same(&config, &Config::new().diagnose(true).silent(true));
        assert_eq!(input.position(), 2);
    }
}
