//! Engines that the tests use as clients of a node, where the environment says so: every test of the API that calls an engine
//! runs unchanged through the socket.

#![allow(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use grasp::ipc::{ClientLimits, Server, ServerOptions};
use grasp::{Config, Engine, StartError};

/// Whether engines are started behind a socket: set to anything.
pub const VARIABLE: &str = "GRASP_TESTS_SOCKET";

/// How often a node looks whether its client is there.
const LOOK: Duration = Duration::from_millis(2);
/// Numbers sockets.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Whether engines are started behind a socket.
#[must_use]
pub fn is_on() -> bool {
    std::env::var_os(VARIABLE).is_some_and(|value| !value.is_empty())
}

/// A path for a socket that no other test has.
#[must_use]
pub fn path() -> PathBuf {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("grasp-test-{}-{number}.sock", std::process::id()))
}

/// Ends a test that is about the engine in this process itself, where there is a socket between: one that looks at an engine after
/// its end, or at what only the process of the engine has.
#[macro_export]
macro_rules! own_engine {
    () => {
        if $crate::through_socket::is_on() {
            return;
        }
    };
}

/// Starts an engine in the network namespace of the calling thread: a connected one where the environment says so. Its node then
/// grants a client as much as an engine has.
///
/// # Errors
///
/// As [`Engine::start`].
pub fn start(config: Config) -> Result<Engine, StartError> {
    let engine = Engine::start(config)?;
    if !is_on() {
        return Ok(engine);
    }
    let mut limits = ClientLimits::new();
    (limits.asas, limits.objectives, limits.calls) = (usize::MAX, usize::MAX, 2000);
    let path = path();
    let server = Server::start(&engine, ServerOptions::new(&path).limits(limits)).expect("the node listens");
    let connected = Engine::connect(&path)?;
    let ending = std::thread::Builder::new().name("node-ends".to_owned()).spawn(move || {
        // The node ends with its only client, as the engine in a process does with its last handle.
        while !server.clients().is_empty() {
            std::thread::sleep(LOOK);
        }
        engine.shutdown();
    });
    drop(ending.expect("a thread"));
    Ok(connected)
}
