//! The engine of the process, as Python sees it: started by `grasp._initialise_grasp`, stopped with the interpreter,
//! not there in a forked child. All calls go through here.
//!
//! The engine's own threads never call into Python. Everything that waits does so without the interpreter lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use grasp::{Acp, Config, Engine, Error, QuadsKeys};
use parking_lot::Mutex;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

/// How often a call that waits in the main thread looks for signals: Ctrl-C is noticed within 100 ms.
const TICK: Duration = Duration::from_millis(40);
/// The largest unicast message. graspy has no limit; whoever collects a message must have one.
const UNICAST_SIZE: usize = 65_536;
/// The largest multicast message, as graspy can receive it.
const MULTICAST_SIZE: usize = 2048;
/// How deep a message may be nested: as deep as the engine can.
const NESTING: usize = 128;

static ENGINE: Mutex<Option<Engine>> = Mutex::new(None);
/// The process that the engine was started in; 0 before.
static PROCESS: AtomicU32 = AtomicU32::new(0);
/// The interpreter ends: no thread returns to it.
static EXITING: AtomicBool = AtomicBool::new(false);
/// The node whose client this process is has ended: the next call connects again.
static GONE: AtomicBool = AtomicBool::new(false);
/// How many threads are in this module and may run code of Python.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// How long the end of the interpreter waits for those. They only convert values.
const PATIENCE: Duration = Duration::from_secs(5);

/// A thread is in this module.
///
/// Until Python 3.14 the interpreter ends threads that want to go on after its own end, by unwinding their stacks, which
/// must not have frames of Rust on them: the process would abort. So none of them is here at the end but those that wait,
/// which never return.
#[derive(Debug)]
pub(crate) struct Inside(());

impl Inside {
    /// Counts this thread. At the end of the interpreter it stays here.
    pub(crate) fn enter(py: Python<'_>) -> Self {
        INSIDE.fetch_add(1, Ordering::SeqCst);
        if EXITING.load(Ordering::SeqCst) {
            INSIDE.fetch_sub(1, Ordering::SeqCst);
            py.detach(stay);
        }
        Self(())
    }

    /// Waits for something without the interpreter lock, uncounted meanwhile.
    fn outside<R: Send>(&self, py: Python<'_>, work: impl FnOnce() -> R + Send) -> R {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
        py.detach(|| {
            let result = work();
            INSIDE.fetch_add(1, Ordering::SeqCst);
            if EXITING.load(Ordering::SeqCst) {
                INSIDE.fetch_sub(1, Ordering::SeqCst);
                stay();
            }
            result
        })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Ends with the process.
fn stay() {
    loop {
        std::thread::park();
    }
}

/// Starts the engine with the settings of `skip_dialogue`, and what secures the traffic: a key with its initialisation
/// vector, or a password, or what the environment says.
#[pyfunction]
#[pyo3(signature = (*, test_mode, listen_self, diagnose, dull, silent, figging, keys=None, password=None))]
#[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "named in the call")]
pub(crate) fn _start(
    py: Python<'_>,
    test_mode: bool,
    listen_self: bool,
    diagnose: bool,
    dull: bool,
    silent: bool,
    figging: bool,
    keys: Option<(Vec<u8>, Vec<u8>)>,
    password: Option<String>,
) -> PyResult<()> {
    in_this_process()?;
    let mut config = Config::new()
        .test_mode(test_mode)
        .listen_self(listen_self)
        .diagnose(diagnose)
        .dull(dull)
        .silent(silent)
        .figging(figging)
        .wait_for_interfaces(true)
        .dull_links(usize::MAX)
        .unicast_size(UNICAST_SIZE)
        .multicast_size(MULTICAST_SIZE)
        .multicast_send_size(MULTICAST_SIZE)
        .nesting(NESTING);
    let keys = match (keys, password) {
        (Some((key, iv)), _) => Some(quads(&key, &iv)?),
        (None, Some(password)) => py.detach(|| QuadsKeys::from_password(&password)),
        (None, None) => None,
    };
    if let Some(keys) = keys {
        config = config.acp(Acp::Quads(keys));
    }
    // Where engines in other processes can be used, this is what finds them: nothing else here knows where it runs.
    let engine = py
        .detach(|| {
            // It fails where an engine runs already, which is then the one.
            let _ = grasp::configure(config);
            grasp::process_engine()
        })
        .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    PROCESS.store(std::process::id(), Ordering::Relaxed);
    *ENGINE.lock() = Some(engine);
    Ok(())
}

fn quads(key: &[u8], iv: &[u8]) -> PyResult<QuadsKeys> {
    match (key.try_into(), iv.try_into()) {
        (Ok(key), Ok(iv)) => Ok(QuadsKeys::from_parts(key, iv)),
        _ => Err(PyValueError::new_err("a key of QUADS has 32 bytes, and its initialisation vector 16")),
    }
}

/// Stops the engine because the interpreter ends. Threads that wait in a call stay there: what they would do with its
/// result they could not finish. In a forked child there is nothing to stop.
#[pyfunction]
pub(crate) fn _exit(py: Python<'_>) {
    if in_this_process().is_err() {
        return;
    }
    EXITING.store(true, Ordering::SeqCst);
    let engine = ENGINE.lock().take();
    py.detach(|| {
        let deadline = Instant::now() + PATIENCE;
        while INSIDE.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        if engine.is_some() {
            drop(engine);
            grasp::shutdown();
        }
    });
}

/// Whether the engine runs.
#[pyfunction]
pub(crate) fn _is_running() -> bool {
    in_this_process().is_ok() && ENGINE.lock().is_some()
}

/// Fails in a process that was forked from the one that the engine runs in: its threads are not here.
fn in_this_process() -> PyResult<()> {
    match PROCESS.load(Ordering::Relaxed) {
        0 => Ok(()),
        process if process == std::process::id() => Ok(()),
        process => Err(PyRuntimeError::new_err(format!(
            "GRASP runs in process {process}, from which this one was forked: its threads and sockets are not here. \
             Fork before the first call of grasp, or start a new process (multiprocessing with \"spawn\")."
        ))),
    }
}

/// The engine, if it runs.
pub(crate) fn current() -> PyResult<Option<Engine>> {
    in_this_process()?;
    Ok(ENGINE.lock().clone())
}

/// Calls the engine without the interpreter lock. Before it has started nobody is registered: `noASA`.
///
/// In the main thread signals are looked at while the call waits. What a handler raises, as that of Ctrl-C does, ends
/// the call, and is raised.
pub(crate) fn call<R: Send>(
    py: Python<'_>,
    inside: &Inside,
    work: impl FnOnce(&Engine) -> grasp::Result<R> + Send,
) -> PyResult<grasp::Result<R>> {
    let Some(engine) = current()? else { return Ok(Err(Error::NoAsa)) };
    let work = |engine: &Engine| reconnected(engine, work);
    if !is_main_thread() {
        return Ok(inside.outside(py, || work(&engine)));
    }
    let raised = Arc::new(Mutex::new(None));
    let result = inside.outside(py, || {
        let raised = Arc::clone(&raised);
        let asked = move || match Python::attach(|py| py.check_signals()) {
            Ok(()) => false,
            Err(error) => {
                *raised.lock() = Some(error);
                true
            }
        };
        grasp::interruptible(TICK, asked, || work(&engine))
    });
    match raised.lock().take() {
        Some(error) => Err(error),
        None => Ok(result),
    }
}

/// Makes a call. An ASA of graspy does not know that its engine may be in a node: after the node has ended, calls fail until there
/// is a successor, in which the first of them registers everything again. A call is not repeated, because the node may have
/// carried it out before it ended.
fn reconnected<R>(engine: &Engine, work: impl FnOnce(&Engine) -> grasp::Result<R>) -> grasp::Result<R> {
    if GONE.load(Ordering::Relaxed) {
        engine.reconnect().map_err(|_| Error::NodeGone)?;
        GONE.store(false, Ordering::Relaxed);
    }
    let result = work(engine);
    if matches!(result, Err(Error::NodeGone)) {
        GONE.store(true, Ordering::Relaxed);
    }
    result
}

/// Python runs handlers of signals in the main thread only.
fn is_main_thread() -> bool {
    rustix::thread::gettid() == rustix::process::getpid()
}

/// graspy's switches for tests. None of them does anything before the engine runs.
#[pyfunction]
pub(crate) fn _set_switch(name: &str, on: bool) -> PyResult<()> {
    let Some(engine) = current()? else { return Ok(()) };
    match name {
        "_test_divert" => engine.set_test_divert(on),
        "_make_invalid" if on => engine.make_invalid(),
        "_make_badmess" if on => engine.make_badmess(),
        _ => {}
    }
    Ok(())
}

/// Serves the page of speech bubbles; returns where.
#[pyfunction]
pub(crate) fn _serve_bubbles(py: Python<'_>, caption: &str) -> PyResult<String> {
    in_this_process()?;
    let served = Inside::enter(py).outside(py, || grasp::init_bubble_text(caption));
    served.map_err(|error| PyRuntimeError::new_err(error.to_string()))
}

/// Shows a line on the page, and tells it to those who trace.
#[pyfunction]
pub(crate) fn _say(py: Python<'_>, line: String) {
    Inside::enter(py).outside(py, || grasp::trace::line(line));
}
