//! The program `lab`, run as its users run it: scripts through standard input, and `--command`.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, bounded};
use grasptests::lab::eventually;

/// For one event. Everything but discoveries takes milliseconds on an idle machine.
const SOON: Duration = Duration::from_secs(30);

/// The program while it runs; killed when a test fails.
struct Running {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_lab"));
        program.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = program.spawn().expect("start lab");
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("piped"));
        let (sender, lines) = bounded(10_000);
        let read = move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("reader".into()).spawn(read).expect("a thread");
        Self { child, input, lines, seen: Vec::new() }
    }

    /// Starts it with a network, and waits until it is up.
    fn network(topology: &str) -> Self {
        let mut running = Self::start(&["--topology", topology]);
        running.expect("help lists the verbs");
        running
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("still open"), "{line}").expect("lab reads");
    }

    /// Waits for a line with this text.
    fn expect(&mut self, text: &str) -> String {
        self.expect_one(&[text])
    }

    /// Waits for a line with one of these texts.
    fn expect_one(&mut self, texts: &[&str]) -> String {
        let deadline = Instant::now() + SOON;
        loop {
            let Ok(line) = self.lines.recv_deadline(deadline) else {
                panic!("no line with {texts:?}, but:\n{}", self.seen.join("\n"));
            };
            self.seen.push(line.clone());
            if texts.iter().any(|text| line.contains(text)) {
                return line;
            }
        }
    }

    /// Says a line and waits for its result.
    fn ask(&mut self, line: &str, text: &str) -> String {
        self.say(line);
        self.expect(text)
    }

    /// Discovers EX1 at n1 until the outcome is the wanted one: a busy machine may be too slow for one try.
    fn discover_until(&mut self, wanted: &str) -> String {
        let deadline = Instant::now() + SOON;
        loop {
            self.say("@n1 discover EX1 fresh");
            let line = self.expect_one(&["n1: EX1 is at", "n1: EX1: nobody answers"]);
            if line.contains(wanted) {
                return line;
            }
            assert!(Instant::now() < deadline, "never {wanted}, but {line}");
        }
    }

    /// Ends the input, and waits for the end: the status, standard output as a whole, standard error.
    fn end(mut self) -> (ExitStatus, String, String) {
        drop(self.input.take());
        let deadline = Instant::now() + SOON;
        while let Ok(line) = self.lines.recv_deadline(deadline) {
            self.seen.push(line);
        }
        let mut status = None;
        eventually(SOON, "lab ends", || {
            status = self.child.try_wait().expect("wait");
            status.is_some()
        });
        let mut errors = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut errors).expect("text");
        (status.expect("ended"), self.seen.join("\n"), errors)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a script to its end, which must be a good one.
fn script(topology: &str, lines: &[&str]) -> String {
    let mut running = Running::start(&["--topology", topology]);
    lines.iter().for_each(|line| running.say(line));
    let (status, output, errors) = running.end();
    assert!(status.success() && errors.is_empty(), "{status}\n{output}\n{errors}");
    output
}

#[test]
fn a_piped_script_discovers_floods_and_ends_by_itself() {
    let output = script(
        "ring:5",
        &[
            "@n3 listen EX1",
            "discover EX1 3000",
            "flood EX2 [\"NZD\", 47]  # a value with a blank in it",
            "@all floods EX2 20000",
            "node n4",
            "sync EX2",
            "stats n2",
        ],
    );
    let first: Vec<_> = output.lines().take(3).collect();
    assert!(first[0].starts_with("ring:5: 5 nodes (n1 to n5), 5 links, "), "{output}");
    assert!(output.contains("n1: EX1 is at n3 [fd00:2::3]:"), "{output}");
    assert!(output.contains(", learnt from a relay, valid for "), "{output}");
    for node in 1..=5 {
        assert!(output.contains(&format!("n{node}: EX2 = [\"NZD\", 47], flooded, valid for ")), "{output}");
    }
    assert!(output.contains("n4: EX2 = [\"NZD\", 47]\n"), "{output}");
    assert!(
        output.contains("n2: discoveries_relayed 1") && output.contains("n2: floods_relayed 1"),
        "{output}"
    );
    assert!(!output.contains("> "), "no prompt where nobody looks: {output}");
}

#[test]
fn synchronization_and_negotiation_cross_the_network_and_every_step_is_shown() {
    let mut lab = Running::network("line:4");
    lab.ask("@n4 listen-synch EX2 {\"far\": [1, true, null]}", "n4: EX2: serves");
    lab.ask("sync EX2 20000", "n1: EX2 = {\"far\": [1, true, null]}");
    lab.ask("@n4 listen EX1 half", "n4: EX1: listens, meets every offer halfway");
    lab.discover_until("is at n4");
    lab.say("negotiate EX1 8 half");
    for step in [
        "n1: EX1: asks for 8 (loop count 6)",
        "n4: EX1: is asked for 8 (loop count 6)",
        "n4: EX1: offers 4 (loop count 5)",
        "n1: EX1: is offered 4 (loop count 5)",
        "n1: EX1: offers 6 (loop count 4)",
        "n4: EX1: is offered 6 (loop count 4)",
        "n4: EX1: offers 5 (loop count 3)",
        "n1: EX1: is offered 5 (loop count 3)",
        "n1: EX1: accepts 5",
        "n4: EX1: agreed on 5",
    ] {
        lab.expect(step);
    }
    lab.ask("@n4 listen EX1 decline far too much", "declines every offer");
    lab.ask("negotiate EX1 8", "error: n1: negotiate: Declined (1 declined): \"far too much\"");
    lab.ask("@n4 listen EX1 offer 3", "n4: EX1: listens, offers 3");
    lab.ask("negotiate EX1 8", "n1: EX1: accepts 3");
    lab.ask("@n4 listen EX1 wait 200", "asks for 200 ms and accepts");
    lab.ask("negotiate EX1 8", "n1: EX1: agreed on 8");
    lab.ask("@n4 listen EX1 half", "halfway");
    lab.ask("negotiate EX1 1000 half", "no step is left");
    lab.ask("@n4 unregister EX1", "n4: EX1: unregistered");
    lab.ask("negotiate EX1 8", "error: n1: negotiate: ");
    assert!(lab.end().0.success());
}

#[test]
fn what_is_cut_off_is_not_found_and_after_healing_it_is() {
    let mut lab = Running::network("ring:5");
    lab.ask("@n3 listen EX1", "listens");
    lab.ask("cut n1-n2", "link 1: n1 eth0 -- n2 eth0  fd00:1::/64  cut");
    lab.discover_until("is at n3");
    lab.ask("cut 5", "link 5: n5 eth1 -- n1 eth1  fd00:5::/64  cut");
    lab.ask("discover EX1 fresh", "n1: EX1: nobody answers");
    lab.ask("heal all", "link 5: n5 eth1 -- n1 eth1  fd00:5::/64  whole");
    lab.discover_until("is at n3");
    lab.ask("unplug 1", "unplugged");
    lab.ask("heal 1", "whole");
    lab.ask("negotiate EX1 5", "n1: EX1: agreed on 5");
    assert!(lab.end().0.success());
}

#[test]
fn links_and_addresses_come_and_go_while_it_runs() {
    let mut lab = Running::network("line:3");
    lab.ask("@n3 listen EX1", "listens");
    lab.discover_until("learnt from a relay");
    lab.ask("link n1 n3", "link 3: n1 eth1 -- n3 eth1  fd00:3::/64");
    let near = lab.discover_until("is at n3");
    assert!(!near.contains("relay"), "{near}");
    lab.ask("unlink n1-n3", "link 3: n1 eth1 -- n3 eth1  fd00:3::/64  removed");
    lab.discover_until("learnt from a relay");
    lab.ask("address n3 add fd00:2::99/64", "n3: fd00:2::99/64 added to eth0; the engine uses fd00:2::3");
    lab.ask("address n3 remove fd00:2::3/64", "removed from eth0; the engine uses fd00:2::99");
    lab.ask("nodes", "n2  eth0 (link 1) fd00:1::2 fe80::1:2  eth1 (link 2) fd00:2::2 fe80::2:2");
    lab.expect("fd00:2::99");
    lab.ask("sync nothing", "error: n1: sync: ");
    lab.ask("dump", "n1 handle: ");
    assert!(lab.end().0.success());
}

#[test]
fn delay_and_loss_are_set_at_the_start_and_while_it_runs() {
    let mut lab = Running::start(&["--topology", "line:3", "--delay", "20", "--loss", "0.5"]);
    lab.expect("3 nodes (n1 to n3), 2 links, each with delay 20 ms, loss 0.5 %");
    lab.ask("@n3 listen EX1", "listens");
    lab.discover_until("is at n3");
    lab.ask("link n1 n3", "link 3: n1 eth1 -- n3 eth1  fd00:3::/64  delay 20 ms, loss 0.5 %");
    lab.ask("impair all 0 0", "link 3: n1 eth1 -- n3 eth1  fd00:3::/64  no delay, no loss");
    lab.ask("impair 1 0 100%", "delay 0 ms, loss 100 %");
    lab.ask("impair 3 0 100", "delay 0 ms, loss 100 %");
    lab.ask("discover EX1 fresh", "nobody answers");
    assert!(lab.end().0.success());
}

#[test]
fn bad_input_is_answered_with_help() {
    let output = script(
        "line:2",
        &[
            "",
            "# a remark",
            "dicsover EX1",
            "discover",
            "flood EX1 {\"a\": 1",
            "flood EX1 -",
            "@n7 stats",
            "@n2",
            "cut 9",
            "listen EX1 maybe",
            "impair 1 0 200",
            "address n1 add nonsense",
            "unregister EX5",
            "discover EX1 soon",
            "link n1 n1",
            "flood EX3 1",
            "listen EX3",
            "help",
        ],
    );
    for sentence in [
        "error: there is no verb dicsover; there are: discover, listen, ",
        "error: usage: discover NAME [MS] [fresh]",
        "error: a bracket is missing in {\"a\": 1",
        "error: n1: flood: - is not a value: ",
        "error: there is no node n7: the nodes are n1 to n2",
        "error: a verb must follow",
        "error: cut: there is no link 9: ",
        "error: n1: listen: maybe is not a way to answer; there are: accept, ",
        "error: impair: cannot lose 200 % of the frames",
        "error: address: nonsense is no IPv6 address",
        "error: n1: unregister: Objective not found (14 notObj)",
        "error: n1: discover: soon is not a number of milliseconds",
        "error: link: n1 cannot be linked to itself",
        "error: n1: listen: EX3 is registered at n1 for synchronization and floods: first unregister EX3",
        "negotiate NAME VALUE [POLICY]",
    ] {
        assert!(output.contains(sentence), "{sentence}\n{output}");
    }
}

#[test]
fn the_loop_count_says_how_far_a_flood_goes() {
    let mut lab = Running::network("line:9");
    lab.ask("flood EX2 1", "floods 1");
    lab.ask("@n7 floods EX2 20000", "n7: EX2 = 1");
    lab.ask("@n8 floods EX2 500", "n8: no flood of EX2 has come");
    lab.ask("loop-count 0", "error: loop-count: 0 is no loop count: 1 to 255");
    lab.ask("loop-count 8", "a loop count of 8");
    lab.ask("flood EX2 2", "floods 2");
    lab.ask("@n9 floods EX2 20000", "n9: EX2 = 2");
    assert!(lab.end().0.success());
}

fn commands(commands: &[&str]) -> (ExitStatus, String) {
    let all = commands.iter().flat_map(|command| ["--command", command]);
    let arguments: Vec<_> = ["--topology", "line:2"].into_iter().chain(all).collect();
    let (status, output, errors) = Running::start(&arguments).end();
    assert!(errors.is_empty(), "{errors}");
    (status, output)
}

#[test]
fn the_status_tells_whether_the_commands_succeeded() {
    let (status, output) = commands(&["@n2 listen-synch EX2 5", "sync EX2 20000"]);
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(output.contains("n1: EX2 = 5"), "{output}");
    let (status, output) = commands(&["negotiate EX1 5", "flood EX2 1"]);
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("error: n1: negotiate: No reply to discovery (17 noDiscReply)"), "{output}");
    assert!(!output.contains("n1: EX2"), "the first that fails is the last: {output}");
    assert_eq!(commands(&["quit", "never"]).0.code(), Some(0));
}

#[test]
fn it_runs_for_a_time_or_until_the_input_ends() {
    let started = Instant::now();
    let (status, output, _) = Running::start(&["--topology", "lan:3", "--no-prompt", "--for", "1"]).end();
    assert!(status.success() && started.elapsed() >= Duration::from_secs(1), "{output}");
    assert!(output.starts_with("lan:3: 3 nodes (n1 to n3), 1 link,"), "{output}");
    let mut lab = Running::network("line:1");
    lab.ask("links", "there are no links");
    lab.say("quit");
    let quit = lab.lines.recv_deadline(Instant::now() + SOON);
    assert!(quit.is_err_and(|error| error.is_disconnected()), "quit ends it while its input is open");
    assert!(lab.end().0.success());
}

#[test]
fn a_mistake_in_the_arguments_is_explained() {
    for (arguments, sentence) in [
        (["--topology", "mesh:3"], "is none of line:N ring:N star:N lan:N grid:WxH tree:BRANCHESxDEPTH"),
        (["--topology", "ring:2"], "ring:2 is no network to build"),
        (["--loss", "101"], "a percentage is a number from 0 to 100"),
    ] {
        let (status, _, errors) = Running::start(&arguments).end();
        assert_eq!(status.code(), Some(2), "{errors}");
        assert!(errors.contains(sentence), "{errors}");
    }
}

#[test]
fn the_verbs_of_the_command_grasp_are_those_of_the_prompt_too() {
    let output = script(
        "line:2",
        &[
            "@n2 flood EX2 [\"NZD\", 47]",
            "floods EX2 20000",
            "status",
            "@n2 objectives",
            "grasp floods EX2 --json",
            "get EX2 --as json",
            "grasp keys",
            "sessions",
        ],
    );
    for line in [
        "n1: address          fd00:1::1",
        "n2: EX2        synchronization",
        "n1: {\"diagnostic\":\"[\\\"NZD\\\", 47]\"",
        "n1: [\"NZD\",47]",
        "error: n1: grasp: keys is no verb of a node",
        "error: n1: sessions: no session is open",
    ] {
        assert!(output.lines().any(|said| said.starts_with(line)), "{line}\n{output}");
    }
}

#[test]
fn a_network_in_a_secure_domain_does_the_same() {
    let mut lab = Running::start(&["--topology", "line:3", "--domain"]);
    lab.expect("all in a secure domain");
    lab.ask("@n3 listen EX1 half", "listens");
    lab.ask("discover EX1", "EX1 is at n3");
    lab.ask("negotiate EX1 8 half", "accepts 5");
    lab.ask("flood EX2 7", "floods 7");
    lab.ask("@n3 floods EX2 5000", "EX2 = 7");
    for node in ["n1", "n2", "n3"] {
        lab.say(&format!("stats {node}"));
        let wanted = if node == "n2" { "neighbours_joined 2" } else { "neighbours_joined 1" };
        lab.expect(wanted);
    }
    let (status, _, _) = lab.end();
    assert!(status.success());
}
