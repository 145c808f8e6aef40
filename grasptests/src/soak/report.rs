//! What the soak counts, how it judges, and what it prints.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use grasp::Error;
use parking_lot::Mutex;

use super::network::Path;
use super::{MARGIN, Shared, seconds};
use crate::simulator::report::Table;

/// The errors that a fault of the network explains: no answer, no connection, a broken one.
pub(super) const NET: &[u8] = &[17, 18, 22, 23, 27, 29, 30, 33, 34, 35, 36, 39, 2];
/// The errors that the end of an engine or an ASA explains.
pub(super) const LIFE: &[u8] = &[3, 6, 13, 14, 19];

/// How much resident memory may grow from the first half of the measured rests to the last third: this share, and
/// this many KiB. The caches of relayed messages and of own identifiers fill up to their limits meanwhile.
const GROWTH: (f64, u64) = (0.10, 6 * 1024);
/// How many unexpected outcomes are kept as text.
const KEPT: usize = 200;

/// What is measured at rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    pub(super) engines: usize,
    pub(super) threads: usize,
    pub(super) descriptors: usize,
    pub(super) resident: u64,
}

#[derive(Debug, Default)]
struct Figures {
    calls: u64,
    late: u64,
    total: Duration,
    longest: Duration,
    explained: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Default)]
struct Inner {
    calls: BTreeMap<&'static str, Figures>,
    faults: BTreeMap<&'static str, u64>,
    unexpected: Vec<String>,
    unexpected_count: u64,
    rests: Vec<(Duration, u64, u64, Measure)>,
    reconnected: Vec<Duration>,
}

/// Everything counted.
#[derive(Debug, Default)]
pub(super) struct Report(Mutex<Inner>);

impl Report {
    pub(super) fn fault(&self, kind: &'static str) {
        *self.0.lock().faults.entry(kind).or_default() += 1;
    }

    /// Something is not as it should be.
    pub(super) fn unexpected(&self, what: String) {
        log::error!("{what}");
        let mut inner = self.0.lock();
        inner.unexpected_count += 1;
        if inner.unexpected.len() < KEPT {
            eprintln!("UNEXPECTED: {what}");
            inner.unexpected.push(what);
        }
    }

    /// After the last fault of a cycle all neighbours were connected again within this time.
    pub(super) fn reconnected(&self, within: Duration) {
        self.0.lock().reconnected.push(within);
    }

    /// Threads and descriptors of the first rest after the warm-up.
    pub(super) fn goal(&self) -> Option<(usize, usize)> {
        let inner = self.0.lock();
        let (_, _, _, first) = inner.rests.first()?;
        Some((first.threads, first.descriptors))
    }

    /// Prints a line at a rest.
    pub(super) fn line(&self, out: &mut dyn Write, at: Duration, measure: Measure) -> io::Result<()> {
        let mut inner = self.0.lock();
        let calls: u64 = inner.calls.values().map(|one| one.calls).sum();
        let mut errors: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, count) in inner.calls.values().flat_map(|one| &one.explained) {
            *errors.entry(name).or_default() += count;
        }
        let explained: u64 = errors.values().sum();
        let errors: Vec<_> = errors.into_iter().map(|(name, count)| format!("{name} {count}")).collect();
        writeln!(
            out,
            "{:>5} s: {calls} calls, {explained} explained errors ({}), {} unexpected; {} engines, {} KiB, {} threads, {} descriptors",
            at.as_secs(),
            errors.join(", "),
            inner.unexpected_count,
            measure.engines,
            measure.resident,
            measure.threads,
            measure.descriptors
        )?;
        inner.rests.push((at, calls, explained, measure));
        out.flush()
    }

    /// Calls, faults and rests as tables.
    pub(super) fn write_tables(&self, out: &mut dyn Write) -> io::Result<()> {
        let inner = self.0.lock();
        let mut calls = Table::new(&["call", "times", "mean ms", "longest ms", "explained errors"]);
        for (what, figures) in &inner.calls {
            let errors: Vec<_> =
                figures.explained.iter().map(|(name, count)| format!("{name} {count}")).collect();
            let mean = figures.total.as_secs_f64() * 1000.0 / figures.calls.max(1) as f64;
            calls.push(vec![
                (*what).to_owned(),
                figures.calls.to_string(),
                format!("{mean:.1}"),
                figures.longest.as_millis().to_string(),
                errors.join(", "),
            ]);
        }
        let faults: Vec<_> = inner.faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        let mut rests =
            Table::new(&["s", "calls", "explained errors", "engines", "KiB", "threads", "descriptors"]);
        let step = inner.rests.len().div_ceil(12).max(1);
        let last = inner.rests.len().saturating_sub(1);
        for (number, (at, calls, errors, measure)) in inner.rests.iter().enumerate() {
            if number.is_multiple_of(step) || number == last {
                let numbers = [measure.engines, measure.threads, measure.descriptors];
                let [engines, threads, descriptors] = numbers.map(|number| number.to_string());
                rests.push(vec![
                    at.as_secs().to_string(),
                    calls.to_string(),
                    errors.to_string(),
                    engines,
                    measure.resident.to_string(),
                    threads,
                    descriptors,
                ]);
            }
        }
        writeln!(out, "\n{calls}\nFaults: {}.\n\n{rests}", faults.join(", "))?;
        if let Some(longest) = inner.reconnected.iter().max() {
            let mut times = inner.reconnected.clone();
            times.sort_unstable();
            let median = times.get(times.len() / 2).copied().unwrap_or_default();
            writeln!(
                out,
                "After the faults of a cycle all neighbours were connected within {} (median), {} at most.",
                seconds(median),
                seconds(*longest)
            )?;
        }
        writeln!(out, "Unexpected outcomes: {}.", inner.unexpected_count)?;
        inner.unexpected.iter().try_for_each(|one| writeln!(out, "* {one}"))
    }

    /// Whether everything was as it should be.
    pub(super) fn verdict(&self) -> Result<(), String> {
        let inner = self.0.lock();
        if inner.unexpected_count > 0 {
            return Err(format!("{} unexpected outcomes", inner.unexpected_count));
        }
        let measures: Vec<_> = inner.rests.iter().map(|(_, _, _, measure)| *measure).collect();
        if measures.is_empty() {
            return Err("it was too short for a rest: nothing was measured".to_owned());
        }
        grown(&measures)
    }
}

/// Threads and descriptors may not be more than at the first rest, when every kind of thing has happened. Resident
/// memory is compared as the medians of the first half and of the last third of the rests after the first tenth.
fn grown(rests: &[Measure]) -> Result<(), String> {
    let Some(first) = rests.first() else { return Ok(()) };
    for rest in rests {
        for (what, now, before) in
            [("threads", rest.threads, first.threads), ("descriptors", rest.descriptors, first.descriptors)]
        {
            if now > before {
                return Err(format!("{now} {what} at a rest where there were {before} at first"));
            }
        }
    }
    let warm = rests.get(rests.len().div_ceil(10)..).unwrap_or_default();
    let (early, late) = (median(warm.get(..warm.len() / 2)), median(warm.get(warm.len() - warm.len() / 3..)));
    let (Some(early), Some(late)) = (early, late) else { return Ok(()) };
    let most = early + (early as f64 * GROWTH.0) as u64 + GROWTH.1;
    if late > most {
        return Err(format!(
            "resident memory grew from {early} KiB to {late} KiB; up to {most} was permitted"
        ));
    }
    Ok(())
}

fn median(rests: Option<&[Measure]>) -> Option<u64> {
    let mut resident: Vec<_> = rests?.iter().map(|rest| rest.resident).collect();
    resident.sort_unstable();
    resident.get(resident.len() / 2).copied()
}

/// One call that is under way.
pub(super) struct Call<'a> {
    shared: &'a Shared,
    what: &'static str,
    path: Path,
    began: Instant,
    limit: Duration,
    /// A fault after this, or shortly before, explains a failure.
    since: Instant,
}

impl<'a> Call<'a> {
    pub(super) fn new(shared: &'a Shared, what: &'static str, path: Path, limit: Duration) -> Self {
        let began = Instant::now();
        Self { shared, what, path, began, limit, since: began }
    }

    /// The call belongs to a session that is as old as this.
    pub(super) const fn explained_since(self, since: Instant) -> Self {
        Self { since, ..self }
    }

    fn explained(&self) -> bool {
        self.shared.faults.explain(self.path, self.since) || self.shared.is_over()
    }

    fn count(&self, error: Option<&'static str>) {
        let took = self.began.elapsed();
        let late = took > self.limit + MARGIN;
        {
            let mut inner = self.shared.report.0.lock();
            let figures = inner.calls.entry(self.what).or_default();
            figures.calls += 1;
            figures.late += u64::from(late);
            figures.total += took;
            figures.longest = figures.longest.max(took);
            if let Some(error) = error {
                *figures.explained.entry(error).or_default() += 1;
            }
        }
        if late {
            self.shared.report.unexpected(format!("{} took {took:?}, due in {:?}", self.what, self.limit));
        }
    }

    /// It did what it should, whether that is success or an error.
    pub(super) fn ok(&self) {
        self.count(None);
    }

    /// Its value, if it has one; an error must be one of the excusable ones, and a fault must explain it.
    pub(super) fn judge<T>(&self, result: Result<T, Error>, excusable: &[&[u8]]) -> Option<T> {
        match result {
            Ok(value) => {
                self.count(None);
                Some(value)
            }
            Err(error) => {
                let known = excusable.iter().any(|codes| codes.contains(&error.code()));
                if !(known && self.explained()) {
                    let took = self.began.elapsed();
                    self.complain(&format!("{} after {took:?}", error.name()));
                }
                self.count(Some(error.name()));
                None
            }
        }
    }

    /// Nothing came of it, which only a fault explains.
    pub(super) fn missing(&self, what: &str) {
        if self.explained() {
            self.count(Some("nothing"));
        } else {
            self.complain(what);
        }
    }

    /// Nothing came of it, which needs no explanation because it is tried again.
    pub(super) fn forgiven(&self, what: &'static str) {
        self.count(Some(what));
    }

    /// It returned what nothing explains.
    pub(super) fn wrong(&self, what: &str) {
        self.complain(what);
    }

    fn complain(&self, what: &str) {
        let (shared, drops) = (self.shared, self.shared.network.drops(self.path));
        let at = shared.began.elapsed().as_secs_f64();
        let (path, faults) = (self.path, shared.faults.latest());
        shared
            .report
            .unexpected(format!("{at:.1} s: {} on {path}: {what}{drops}; faults: {faults}", self.what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(resident: u64, threads: usize) -> Measure {
        Measure { engines: 6, threads, descriptors: 10, resident }
    }

    #[test]
    fn memory_that_grows_is_noticed_and_memory_that_sways_is_not() {
        let sways: Vec<_> = (0..60).map(|i| rest(50_000 + (i % 7) * 500, 80)).collect();
        assert_eq!(grown(&sways), Ok(()));
        let grows: Vec<_> = (0..60).map(|i| rest(50_000 + i * 400, 80)).collect();
        assert!(grown(&grows).unwrap_err().contains("memory"));
        let leaks = [rest(50_000, 80), rest(50_000, 81)];
        assert!(grown(&leaks).unwrap_err().contains("81 threads"));
    }
}
