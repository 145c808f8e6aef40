//! The conversation on standard output: one line at a time from any thread, above the prompt if one is being edited.

use std::fmt::{self, Display};
use std::io::{self, IsTerminal as _, Write as _};

use parking_lot::Mutex;
use rustyline::ExternalPrinter;

/// Prints whole lines.
pub(crate) struct Printer {
    /// A person is there.
    terminal: bool,
    /// What prints above the line that is being edited.
    above: Mutex<Option<Box<dyn ExternalPrinter + Send>>>,
}

impl Printer {
    pub(crate) fn new() -> Self {
        let terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        Self { terminal, above: Mutex::default() }
    }

    /// Whether a person is there.
    pub(crate) const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Lines are edited from now on, and this prints above them.
    pub(crate) fn print_with(&self, above: impl ExternalPrinter + Send + 'static) {
        *self.above.lock() = Some(Box::new(above));
    }

    /// Prints a line, or several.
    pub(crate) fn say(&self, text: impl Display) {
        // Nobody may be listening any more; the end of the input ends the program then.
        match &mut *self.above.lock() {
            Some(above) => drop(above.print(format!("{text}\n"))),
            None => drop(writeln!(io::stdout(), "{text}")),
        }
    }
}

impl fmt::Debug for Printer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Printer").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}
