//! The verbs of the command `grasp`, at a node: the same code, which prints line by line as it goes on.

use std::io::{self, Write};
use std::sync::Arc;

use grasp::tools;

use super::{bench::Bench, failure::Failure, printer::Printer};

/// What belongs to the host, not to a node of the lab.
const OF_THE_HOST: &[&str] = &["completions", "decode", "help", "keys", "man", "reload"];

/// The verbs that need no `grasp` in front, because the lab has none of that name: `own` are those of the lab.
pub(crate) fn verbs(own: &[&str]) -> Vec<String> {
    let is_free = |verb: &String| !own.contains(&verb.as_str()) && !OF_THE_HOST.contains(&verb.as_str());
    tools::verbs().into_iter().filter(is_free).collect()
}

/// `grasp VERB ...`, or one of [`verbs`].
pub(crate) fn run(bench: &mut Bench, at: usize, words: &[&str]) -> Result<(), Failure> {
    let verb = words.first().ok_or(Failure::Usage)?;
    if OF_THE_HOST.contains(verb) {
        return Err(Failure::Said(format!(
            "{verb} is no verb of a node: say grasp {verb} outside of the lab"
        )));
    }
    let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
    let here = bench.places[at].node.name().to_owned();
    let mut lines = Lines { printer: Arc::clone(&bench.printer), here, begun: Vec::new() };
    let done = bench.call(at, move |engine, _| {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let done = tools::run(engine, &words, &mut lines);
        // What has no end of line is a line, too.
        lines.say();
        done
    })?;
    match done {
        Err(failure) if !failure.is_silent() => Err(Failure::Said(failure.to_string())),
        _ => Ok(()),
    }
}

/// Says each line with the name of its node.
struct Lines {
    printer: Arc<Printer>,
    here: String,
    begun: Vec<u8>,
}

impl Lines {
    fn say(&mut self) {
        if !self.begun.is_empty() {
            let line = String::from_utf8_lossy(&self.begun);
            self.printer.say(format_args!("{}: {line}", self.here));
            self.begun.clear();
        }
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(rest) => {
                    self.begun.extend_from_slice(rest);
                    self.say();
                }
                None => self.begun.extend_from_slice(piece),
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
