//! `grasp watch`: follows a flooded objective; keeps a file up to date, and runs a command for each change.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::fs::OFlags;
use serde_json::{Value as Json, json};

use super::command::Watch;
use super::failure::{Failure, Outcome};
use super::output::{json_line, locator_json, write_atomically};
use super::plain;
use super::run::Run;
use super::shown::{Form, merge, place};
use super::views::{flood_json, valid_floods};
use crate::trace::{Cache, Event};
use crate::types::FloodView;

/// How often to check whether a command has ended.
const SLICE: Duration = Duration::from_millis(10);

/// What became of a flooded value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Added,
    Changed,
    Removed,
}

impl Change {
    const fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

/// The values that are valid, by their source.
type Known = BTreeMap<String, FloodView>;

/// `grasp watch`
pub(super) fn watch(run: &mut Run<'_>, verb: &Watch) -> Outcome {
    let name = &verb.named.name;
    let form = verb.shown.form.unwrap_or(Form::Diagnostic);
    let trace = run.engine.trace();
    let deadline = run.deadline();
    let is_of_interest = |event: &Event| match event {
        Event::CacheAdded(entry) | Event::CacheRemoved(entry, _) => {
            entry.cache == Cache::Flood && entry.objective == *name
        }
        _ => false,
    };
    let mut known = Known::new();
    let mut written = None;
    let mut changes: u64 = 0;
    loop {
        run.check_node()?;
        let now = look(run, name);
        // The file first: a reader that learns of a change finds it there.
        if let Some(path) = &verb.write {
            let contents = contents(&now, form);
            if written.as_ref() != Some(&contents) {
                write_atomically(path, &contents).map_err(|error| {
                    Failure::usage(format!("{} cannot be written: {error}", path.display()))
                })?;
                written = Some(contents);
            }
        }
        for (change, view) in differences(&known, &now) {
            tell(run, change, view, form)?;
            if let Some(command) = &verb.exec {
                execute(command, Duration::from_millis(verb.exec_time.into()), change, view)?;
            }
            changes += 1;
            if verb.count.is_some_and(|count| changes >= count) {
                return Ok(());
            }
        }
        known = now;
        if !run.wait(&trace, deadline, is_of_interest) {
            break;
        }
    }
    if changes > 0 { Ok(()) } else { Err(Failure::nothing(format!("no flood of {} has come", plain(name)))) }
}

fn look(run: &Run<'_>, name: &str) -> Known {
    let floods = valid_floods(&run.engine, &[name.to_owned()]);
    floods.into_iter().map(|view| (place(&view.tagged.source), view)).collect()
}

/// The changes. Removed values come last: a successor is there before its predecessor goes.
fn differences<'a>(before: &'a Known, now: &'a Known) -> Vec<(Change, &'a FloodView)> {
    let news = now.iter().filter_map(|(source, view)| match before.get(source) {
        None => Some((Change::Added, view)),
        Some(old) if !old.tagged.objective.value.is_identical_to(&view.tagged.objective.value) => {
            Some((Change::Changed, view))
        }
        Some(_) => None,
    });
    let gone = before.iter().filter(|(source, _)| !now.contains_key(*source));
    news.chain(gone.map(|(_, view)| (Change::Removed, view))).collect()
}

/// A line for each value, with its locator; in the form `cbor`, only the encoded values.
fn contents(known: &Known, form: Form) -> Vec<u8> {
    let mut contents = Vec::new();
    for (place, view) in known {
        let objective = &view.tagged.objective;
        // A value of another kind is left out: readers could not understand it.
        if form == Form::Cbor {
            contents.extend(form.bytes(objective).unwrap_or_default());
        } else if form == Form::Json {
            // Writing to memory does not fail.
            let _ = json_line(&flood_json(view), &mut contents);
        } else if let Ok(line) = form.line(objective) {
            contents.extend_from_slice(format!("{place} {line}\n").as_bytes());
        }
    }
    contents
}

fn change_json(change: Change, view: &FloodView) -> Json {
    let mut object = flood_json(view);
    merge(&mut object, json!({ "event": change.name() }));
    object
}

fn tell(run: &mut Run<'_>, change: Change, view: &FloodView, form: Form) -> Outcome {
    if run.options.json {
        return run.json(&change_json(change, view));
    }
    let objective = &view.tagged.objective;
    let value = form.line(objective).unwrap_or_else(|_| format!("? {}", objective.value));
    run.say(format_args!(
        "{:<8} {} {} {value}",
        change.name(),
        plain(&objective.name),
        place(&view.tagged.source)
    ))
}

/// Runs a command for a change, and kills it when its time is over. Its exit status is ignored; it is an error if it cannot be
/// started.
fn execute(command: &str, time: Duration, change: Change, view: &FloodView) -> Outcome {
    let (objective, source) = (&view.tagged.objective, &view.tagged.source);
    let locator = locator_json(source);
    let text = |member: &str| match &locator[member] {
        Json::String(text) => text.clone(),
        Json::Number(number) => number.to_string(),
        _ => String::new(),
    };
    let value = Form::Json.line(objective)?;
    let child = Command::new("/bin/sh")
        .args(["-c", command])
        .env("GRASP_EVENT", change.name())
        .env("GRASP_OBJECTIVE", without_nul(&objective.name))
        .env("GRASP_LOCATOR", text("locator"))
        .env("GRASP_ADDRESS", text("address"))
        .env("GRASP_PORT", text("port"))
        .env("GRASP_PROTOCOL", text("protocol"))
        .env("GRASP_VALUE", value)
        .stdin(Stdio::piped())
        // What the shell starts is killed with it.
        .process_group(0)
        .spawn();
    let mut child = child.map_err(|error| Failure::usage(format!("/bin/sh cannot be run: {error}")))?;
    let mut line = Vec::new();
    json_line(&change_json(change, view), &mut line)?;
    let mut input = child.stdin.take();
    if let Some(pipe) = &input {
        // A command need not read what it is given, and the pipe may be too small for it.
        rustix::fs::fcntl_setfl(pipe, OFlags::NONBLOCK).map_err(std::io::Error::from)?;
    }
    let mut rest = line.as_slice();
    let deadline = Instant::now() + time;
    while child.try_wait()?.is_none() {
        if let Some(pipe) = &mut input {
            match pipe.write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => rest = &[],
            }
            if rest.is_empty() {
                input = None;
            }
        }
        if Instant::now() >= deadline {
            eprintln!("grasp: a command was killed: it had run for {time:?}");
            kill_group(&mut child)?;
            break;
        }
        std::thread::sleep(SLICE);
    }
    Ok(())
}

/// Kills a command and everything that it has started, unless that has left its process group.
fn kill_group(child: &mut Child) -> Outcome {
    let group = i32::try_from(child.id()).map_err(std::io::Error::other)?;
    // Its leader has not been waited for: nobody else can have the number.
    killpg(Pid::from_raw(group), Signal::SIGKILL).map_err(std::io::Error::from)?;
    child.wait()?;
    Ok(())
}

/// Removes zero bytes, which no variable can hold.
fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{AsaLocator, Objective, TaggedObjective, Value};

    fn known(all: &[(u16, &str)]) -> Known {
        let view = |(port, value): &(u16, &str)| {
            let source = AsaLocator::new(std::net::Ipv6Addr::LOCALHOST, None).with_port(*port);
            let objective = Objective { value: Value::from(*value), ..Objective::new("X") };
            (
                source.to_string(),
                FloodView { tagged: TaggedObjective::new(objective, Some(source)), from: None },
            )
        };
        all.iter().map(view).collect()
    }

    fn changes(before: &[(u16, &str)], now: &[(u16, &str)]) -> Vec<(Change, String)> {
        let (before, now) = (known(before), known(now));
        let found = differences(&before, &now);
        found.into_iter().map(|(change, view)| (change, view.tagged.objective.value.to_string())).collect()
    }

    #[test]
    fn what_comes_changes_and_goes_is_told_in_this_order() {
        assert_eq!(changes(&[], &[(1, "a")]), [(Change::Added, "\"a\"".to_owned())]);
        assert_eq!(changes(&[(1, "a")], &[(1, "a")]), []);
        assert_eq!(
            changes(&[(1, "a"), (2, "b")], &[(2, "c"), (3, "d")]),
            [
                (Change::Changed, "\"c\"".to_owned()),
                (Change::Added, "\"d\"".to_owned()),
                (Change::Removed, "\"a\"".to_owned())
            ]
        );
    }

    #[test]
    fn a_file_has_a_line_for_each_value() {
        let text = |form| String::from_utf8(contents(&known(&[(1, "a"), (2, "b")]), form)).unwrap();
        assert_eq!(text(Form::Diagnostic), "[::1]:1 \"a\"\n[::1]:2 \"b\"\n");
        assert_eq!(text(Form::Text), "[::1]:1 a\n[::1]:2 b\n");
        assert_eq!(text(Form::Cbor), "aaab");
        assert_eq!(text(Form::Json).lines().count(), 2);
    }

    #[test]
    fn a_command_gets_the_change_and_is_killed_when_its_time_is_over() {
        let all = known(&[(7, "a\"b")]);
        let view = all.values().next().unwrap();
        let file = std::env::temp_dir().join(format!("grasp-watch-{}", std::process::id()));
        let command = format!(
            "echo \"$GRASP_EVENT $GRASP_OBJECTIVE $GRASP_PORT $GRASP_VALUE\" > {0}; cat >> {0}",
            file.display()
        );
        execute(&command, Duration::from_secs(60), Change::Added, view).unwrap();
        let told = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(told.starts_with("added X 7 \"a\\\"b\"\n{"), "{told}");
        assert!(told.contains("\"event\":\"added\""), "{told}");
        let started = Instant::now();
        execute("exec sleep 60", Duration::from_millis(20), Change::Removed, view).unwrap();
        assert!(started.elapsed() < Duration::from_secs(30));
    }
}
