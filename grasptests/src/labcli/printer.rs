//! The conversation on standard output: one line at a time from any thread, without spoiling the prompt.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

use parking_lot::Mutex;

/// Prints whole lines. Where a prompt is being shown, the line goes above it.
#[derive(Debug)]
pub(crate) struct Printer {
    /// A person is there.
    terminal: bool,
    /// The prompt that is being shown.
    shown: Mutex<Option<String>>,
}

impl Printer {
    pub(crate) fn new() -> Self {
        let terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        Self { terminal, shown: Mutex::default() }
    }

    /// Prints a line, or several.
    pub(crate) fn say(&self, text: impl Display) {
        let shown = self.shown.lock();
        let mut out = io::stdout().lock();
        // Nobody may be listening any more; the end of the input ends the program then.
        let _ = match &*shown {
            Some(prompt) => write!(out, "\r\x1b[K{text}\n{prompt}").and_then(|()| out.flush()),
            None => writeln!(out, "{text}"),
        };
    }

    /// Shows the prompt to a person.
    pub(crate) fn prompt(&self, prompt: String) {
        if self.terminal {
            let mut shown = self.shown.lock();
            let mut out = io::stdout().lock();
            let _ = write!(out, "{prompt}").and_then(|()| out.flush());
            *shown = Some(prompt);
        }
    }

    /// A line was entered: what is printed next stands below it.
    pub(crate) fn entered(&self) {
        *self.shown.lock() = None;
    }

    /// The input ended, and the cursor still stands behind the prompt.
    pub(crate) fn ended(&self) {
        let shown = self.shown.lock().take();
        if shown.is_some() {
            self.say("");
        }
    }
}
