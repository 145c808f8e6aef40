//! Prints lines, and the contents of the registries (graspy's `tprint`, `ttprint` and `dump_all`).

use std::fmt::{self, Display, Write as _};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::{EngineState, SessionView};
use crate::engine::Engine;
use crate::plain::Plain;
use crate::trace::{SessionKind, emit_line};
use crate::types::{AsaView, DiscoveryView, FloodView};

static SILENT: AtomicBool = AtomicBool::new(false);
static TEST_MODE: AtomicBool = AtomicBool::new(false);
/// Held while a line is written, so that lines do not mix.
static PRINTER: Mutex<()> = Mutex::new(());

/// Sets, for the whole process, whether `ttprint!` prints (`test_mode`) and whether nothing at all is printed
/// (`silent`). The engine of the process sets both from its configuration when it starts.
pub fn set_printing(test_mode: bool, silent: bool) {
    TEST_MODE.store(test_mode, Ordering::Relaxed);
    SILENT.store(silent, Ordering::Relaxed);
}

/// Prints one line as a whole: the thread's name and number, then the items with blanks between. `test_only`
/// lines appear in test mode only. Used through [`tprint!`](crate::tprint) and [`ttprint!`](crate::ttprint).
pub fn print_line(items: &[&dyn Display], test_only: bool) {
    if test_only && !TEST_MODE.load(Ordering::Relaxed) {
        return;
    }
    emit_line(|| text(items));
    if SILENT.load(Ordering::Relaxed) {
        return;
    }
    let line = line(items);
    let _one = PRINTER.lock();
    // A closed standard output must not end an ASA.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn line(items: &[&dyn Display]) -> String {
    let thread = std::thread::current();
    let number: String = format!("{:?}", thread.id()).chars().filter(char::is_ascii_digit).collect();
    format!("{} {number} {}", thread.name().unwrap_or("Thread"), text(items)).trim_end().to_owned()
}

/// The items with blanks between.
fn text(items: &[&dyn Display]) -> String {
    let mut text = String::new();
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.push(' ');
        }
        // Writing to a string fails only if an item's Display does.
        if write!(text, "{item}").is_err() {
            text.push_str("[unprintable]");
        }
    }
    text
}

/// Prints its arguments with blanks between, as one line that begins with the thread's name and number
/// (graspy's `tprint`). Lines stay whole even if many threads print.
///
/// ```
/// grasp::tprint!("Asking for", "NZD", 498);
/// ```
#[macro_export]
macro_rules! tprint {
    ($($item:expr),* $(,)?) => {
        $crate::print_line(&[$(&$item as &dyn ::std::fmt::Display),*], false)
    };
}

/// Like [`tprint!`], but prints in test mode only (graspy's `ttprint`).
#[macro_export]
macro_rules! ttprint {
    ($($item:expr),* $(,)?) => {
        $crate::print_line(&[$(&$item as &dyn ::std::fmt::Display),*], true)
    };
}

impl Engine {
    /// The contents of the registries as text (graspy's `dump_all`): all of them, or, if `partial`, only the objective
    /// registry and the flood cache.
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// println!("{}", grasp::process_engine()?.dump(true));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn dump(&self, partial: bool) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write_dump(&mut text, partial);
        text
    }

    /// Prints what [`dump`](Self::dump) returns (graspy's `dump_all`).
    pub fn dump_all(&self, partial: bool) {
        let text = self.dump(partial);
        let _one = PRINTER.lock();
        let _ = write!(std::io::stdout(), "{text}");
    }

    fn write_dump(&self, out: &mut String, partial: bool) -> fmt::Result {
        if !partial {
            heading(out, &format!("Thread count: {}", self.thread_count()))?;
            match self.my_address() {
                Some(address) => heading(out, &format!("My address: {address}"))?,
                None => heading(out, "My address: None")?,
            }
            heading(out, &format!("Session locator: {}", self.session_locator()))?;
            heading(out, "Link local zone index(es):")?;
            for (ifi, address) in self.links() {
                writeln!(out, "{ifi} {address}")?;
            }
            for name in self.missing_interfaces() {
                writeln!(out, "{name} is configured and does not exist")?;
            }
            self.write_state(out)?;
            heading(out, "ASA registry contents:")?;
            for AsaView { name, nonce } in self.asas() {
                writeln!(out, "{name} handle: {nonce}")?;
            }
        }
        self.write_objectives(out)?;
        if !partial {
            self.write_discoveries(out)?;
        }
        heading(out, "Flood cache contents:")?;
        for FloodView { tagged, .. } in self.flood_cache() {
            let (objective, source) = (&tagged.objective, &tagged.source);
            let (name, count, value) = (Plain(&objective.name), objective.loop_count, &objective.value);
            writeln!(out, "{name} count: {count} value: {value} source: {source} expiry: {}", source.expire)?;
        }
        if !partial {
            heading(out, "Session ID cache contents:")?;
            for AsaView { nonce, .. } in self.asas() {
                writeln!(out, "Handle: {nonce:>10} Source: None Active: ASA handle")?;
            }
            for SessionView { session, kind, .. } in self.sessions() {
                let source = session.id_source.map_or_else(|| "None".to_owned(), |source| source.to_string());
                let kind = if kind == SessionKind::Exchange { "exchange" } else { "discovery" };
                writeln!(out, "Handle: {:>10} Source: {source} Active: {kind}", session.id_value)?;
            }
        }
        Ok(())
    }

    fn write_state(&self, out: &mut String) -> fmt::Result {
        let state = self.state();
        heading(out, "State:")?;
        let EngineState { secure, sealed, dull, relaying, unicast_size, multicast_size, .. } = state;
        writeln!(out, "Secure: {secure} Sealed: {sealed} DULL: {dull} Relaying: {relaying}")?;
        writeln!(out, "Largest messages: {unicast_size} unicast, {multicast_size} multicast")?;
        for adjusted in self.adjusted() {
            writeln!(out, "{adjusted}")?;
        }
        Ok(())
    }

    fn write_objectives(&self, out: &mut String) -> fmt::Result {
        heading(out, "Objective registry contents:")?;
        for view in self.objectives() {
            let o = &view.objective;
            let owners: Vec<_> = view.owners.iter().map(ToString::to_string).collect();
            writeln!(
                out,
                "{} ASA: {} Listen: {} Port: {} Neg: {} Synch: {} Count: {} Value: {}",
                o.name,
                owners.join(","),
                view.listening,
                view.port,
                o.neg,
                o.synch,
                o.loop_count,
                o.value
            )?;
            for locator in &view.locators {
                writeln!(out, "Predefined locator: {locator}")?;
            }
        }
        Ok(())
    }

    fn write_discoveries(&self, out: &mut String) -> fmt::Result {
        heading(out, "Discovery cache contents:")?;
        for DiscoveryView { name, locators, rapid, .. } in self.discovery_cache() {
            writeln!(out, "{} locators:", Plain(&name))?;
            for locator in locators {
                writeln!(out, "{locator} Diverted: {} Expiry: {}", locator.diverted, locator.expire)?;
            }
            if let Some(rapid) = rapid {
                let (name, value) = (Plain(&rapid.name), &rapid.value);
                writeln!(out, "Received {name} rapid value {value}")?;
            }
        }
        Ok(())
    }
}

fn heading(out: &mut String, text: &str) -> fmt::Result {
    writeln!(out, "\n{text}\n{}", "-".repeat(text.chars().count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_thread_and_joins_its_items() {
        let thread = std::thread::Builder::new().name("Neg1".to_owned());
        let text = thread.spawn(|| line(&[&"Reserves: $", &216])).unwrap().join().unwrap();
        let mut words = text.split(' ');
        assert_eq!(words.next(), Some("Neg1"));
        assert!(words.next().unwrap().parse::<u64>().is_ok());
        assert!(text.ends_with(" Reserves: $ 216"), "{text}");
    }

    #[test]
    fn an_item_that_cannot_be_printed_does_no_harm() {
        struct Bad;
        impl Display for Bad {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                Err(fmt::Error)
            }
        }
        assert!(line(&[&Bad, &1]).contains("[unprintable] 1"));
    }
}
