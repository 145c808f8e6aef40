//! What becomes of the steps: which ran, how long they took, what failed.

use std::any::Any;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::draw::{BRANCHES, Branch};

/// Whether a step held, and if not, the sentence that says why.
pub(super) type Outcome<T = ()> = Result<T, String>;

/// Returns from a step with a sentence unless a condition holds.
macro_rules! check {
    ($holds:expr, $($sentence:tt)+) => {
        if !$holds {
            return Err(format!($($sentence)+));
        }
    };
}
pub(super) use check;

/// Says what was being done when a call failed.
pub(super) trait During<T> {
    fn during(self, what: &str) -> Outcome<T>;
}

impl<T> During<T> for grasp::Result<T> {
    fn during(self, what: &str) -> Outcome<T> {
        self.map_err(|error| format!("{what}: {error}"))
    }
}

/// The steps so far.
#[derive(Debug, Default)]
pub(super) struct Report(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    steps: Vec<Step>,
    /// How often each branch of the negotiation was taken.
    rounds: [u32; BRANCHES],
}

#[derive(Debug)]
struct Step {
    name: String,
    started: Instant,
    /// Absent while it runs.
    ended: Option<(Duration, Outcome)>,
}

impl Report {
    /// Runs a step. A panic is a failure like others.
    pub(super) fn step(&self, name: &str, body: impl FnOnce() -> Outcome) {
        let number = self.begin(name);
        let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(sentence(&*panic)));
        if let Err(why) = &outcome {
            grasp::tprint!("FAILED:", name, "-", why);
        }
        self.end(number, outcome);
    }

    /// Notes a failure outside all steps.
    pub(super) fn fail(&self, name: &str, why: &str) {
        let number = self.begin(name);
        self.end(number, Err(why.to_owned()));
    }

    /// Ends the steps that still run, as failures.
    pub(super) fn interrupt(&self, why: &str) {
        let running = self.0.lock().steps.iter().position(|step| step.ended.is_none());
        match running {
            Some(number) => self.end(number, Err(why.to_owned())),
            None => self.fail("the suite itself", why),
        }
    }

    /// Counts a round that took a branch, as it should.
    pub(super) fn reached(&self, branch: Branch) {
        if let Some(count) = self.0.lock().rounds.get_mut(branch as usize) {
            *count += 1;
        }
    }

    /// Whether there were steps, and all of them ended and held.
    pub(super) fn passed(&self) -> bool {
        let inner = self.0.lock();
        !inner.steps.is_empty() && inner.steps.iter().all(Step::held)
    }

    /// Writes one line per step, the branches of the negotiation, and the summary.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let inner = self.0.lock();
        writeln!(out)?;
        for (number, step) in inner.steps.iter().enumerate() {
            let (time, result) = match &step.ended {
                Some((time, Ok(()))) => (*time, "ok".to_owned()),
                Some((time, Err(why))) => (*time, format!("FAILED: {why}")),
                None => (step.started.elapsed(), "FAILED: it has not ended".to_owned()),
            };
            writeln!(out, "{:2} {:<52} {:8.3} s  {result}", number + 1, step.name, time.as_secs_f64())?;
        }
        let branches = Branch::ALL.iter().zip(inner.rounds);
        let branches: Vec<_> = branches.map(|(branch, count)| format!("{} {count}", branch.name())).collect();
        writeln!(out, "\nbranches of the negotiation: {}", branches.join(", "))?;
        let failed = inner.steps.iter().filter(|step| !step.held()).count();
        let all = inner.steps.len();
        writeln!(out, "grasptests: {all} steps, {} passed, {failed} failed", all - failed)?;
        out.flush()
    }

    fn begin(&self, name: &str) -> usize {
        let mut inner = self.0.lock();
        inner.steps.push(Step { name: name.to_owned(), started: Instant::now(), ended: None });
        inner.steps.len() - 1
    }

    /// Ends a step, unless it was interrupted before.
    fn end(&self, number: usize, outcome: Outcome) {
        if let Some(step) = self.0.lock().steps.get_mut(number) {
            let time = step.started.elapsed();
            step.ended.get_or_insert((time, outcome));
        }
    }
}

impl Step {
    fn held(&self) -> bool {
        matches!(self.ended, Some((_, Ok(()))))
    }
}

/// What a panic said.
pub(super) fn sentence(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("without a word"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(report: &Report) -> String {
        let mut out = Vec::new();
        report.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn all_steps_that_hold_are_a_pass() {
        let report = Report::default();
        assert!(!report.passed(), "nothing done is nothing shown");
        report.step("one", || Ok(()));
        report.step("two", || Ok(()));
        report.reached(Branch::BadMessage);
        assert!(report.passed());
        let text = text(&report);
        assert!(text.contains("bad message 1"), "{text}");
        assert!(text.ends_with("\ngrasptests: 2 steps, 2 passed, 0 failed\n"), "{text}");
    }

    #[test]
    fn a_failure_a_panic_and_an_interruption_fail_the_suite() {
        let failed = Report::default();
        failed.step("one", || Err("no reply".to_owned()));
        failed.step("two", || Ok(()));
        assert!(!failed.passed());
        assert!(text(&failed).contains("FAILED: no reply"));
        assert!(text(&failed).ends_with("grasptests: 2 steps, 1 passed, 1 failed\n"));

        let panicked = Report::default();
        panicked.step("one", || panic!("at {}", 7));
        assert!(!panicked.passed());
        assert!(text(&panicked).contains("FAILED: panicked: at 7"));

        let late = Report::default();
        late.step("one", || {
            late.interrupt("too late");
            Ok(())
        });
        assert!(!late.passed());
        assert!(text(&late).contains("FAILED: too late"));
    }
}
