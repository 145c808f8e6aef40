//! How a peer talks with `bench --peers`: it reads a command a line from standard input, and says a line for each on
//! standard output: what was asked for, or `failed` with a reason. It ends with its input.
//!
//! | command | answer |
//! |---|---|
//! | `start` | `ready` once a node runs that serves nothing yet |
//! | `serve COUNT` | `ready` once services `ex0`, `ex1`... can be found, each with a value |
//! | `find NUMBER` | the seconds it took this node to get the value of a service that it has not asked for before |
//! | `listen` | in place of `start`: `ready` once it can be reached as a known peer |
//! | `connect ADDRESS` | in place of `start`: `ready` once this address is the known peer |
//! | `ask TIMES` | the seconds that so many requests and their replies took |
//! | `join ADDRESS NODES ROLE OWN` | `ready` once a node runs that will belong to so many: ADDRESS is that of the one whose ROLE is `first`, OWN its own |
//! | `whole NODES ROLE` | `ready` once it is connected to all others, or knows them, as far as it needs to |
//! | `spread NUMBER` | when it began to spread a value, as [`now`] |
//! | `heard NUMBER` | when it had that value |
//! | `show HEX` | a message as text, with all that was decoded |
//! | `decode HEX` | how often a second it was decoded and dropped, over one round |

use std::collections::HashMap;
use std::error::Error;
use std::hint::black_box;
use std::io::{BufRead as _, Write as _};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Why something failed.
pub type Failure = Box<dyn Error + Send + Sync>;

/// How long is waited for what has to come.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Answers commands until the input ends. Nothing else may be written to standard output.
pub fn serve(mut answer: impl FnMut(&str, &[&str]) -> Result<String, Failure>) {
    let mut output = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let [command, arguments @ ..] = words.as_slice() else { continue };
        let said = answer(command, arguments).unwrap_or_else(|failure| format!("failed {failure}"));
        if writeln!(output, "{said}").and_then(|()| output.flush()).is_err() {
            return;
        }
    }
}

/// The settings of this process: its arguments.
pub fn is_set(setting: &str) -> bool {
    std::env::args().skip(1).any(|argument| argument == setting)
}

/// The time of day in nanoseconds, which all processes of a machine share.
pub fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

/// An argument that is a number.
pub fn number(arguments: &[&str], place: usize) -> Result<usize, Failure> {
    Ok(arguments.get(place).ok_or("an argument is missing")?.parse()?)
}

/// The seconds that something took.
pub fn timed(work: impl FnOnce() -> Result<(), Failure>) -> Result<String, Failure> {
    let started = std::time::Instant::now();
    work()?;
    Ok(started.elapsed().as_secs_f64().to_string())
}

/// An argument that is bytes in hexadecimal digits.
pub fn bytes(arguments: &[&str]) -> Result<Vec<u8>, Failure> {
    let digits: Option<Vec<_>> =
        arguments.first().ok_or("an argument is missing")?.chars().map(|digit| digit.to_digit(16)).collect();
    let byte = |pair: &[u32]| u8::try_from(pair.iter().fold(0, |sum, digit| sum * 16 + digit));
    Ok(digits.ok_or("not hexadecimal")?.chunks(2).map(byte).collect::<Result<_, _>>()?)
}

/// How often a second something is done with these bytes. What it returns is dropped, which is part of the work.
pub fn rate<T>(bytes: &[u8], work: impl Fn(&[u8]) -> T) -> String {
    const ROUND: Duration = Duration::from_millis(8);
    // How often between two looks at the clock.
    const BATCH: u32 = 200;
    let mut count = 0;
    let started = Instant::now();
    while started.elapsed() < ROUND {
        (0..BATCH).for_each(|_| drop(black_box(work(black_box(bytes)))));
        count += BATCH;
    }
    (f64::from(count) / started.elapsed().as_secs_f64()).to_string()
}

/// When values came.
#[derive(Clone, Default)]
pub struct Heard(Arc<(Mutex<HashMap<usize, u128>>, Condvar)>);

impl Heard {
    /// A value has come; only the first time counts.
    pub fn came(&self, value: usize) {
        let (times, changed) = &*self.0;
        times.lock().unwrap_or_else(PoisonError::into_inner).entry(value).or_insert_with(now);
        changed.notify_all();
    }

    /// Waits for a value, and says when it came.
    pub fn wait(&self, value: usize) -> Result<String, Failure> {
        let (times, changed) = &*self.0;
        let times = times.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = |times: &mut HashMap<usize, u128>| !times.contains_key(&value);
        let waited = changed.wait_timeout_while(times, PATIENCE, missing);
        let (times, _) = waited.unwrap_or_else(PoisonError::into_inner);
        times.get(&value).map(u128::to_string).ok_or_else(|| "the value has not come".into())
    }
}
