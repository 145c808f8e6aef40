//! What an engine costs by being there: in processes of their own, which are looked at from outside.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use grasp::{Config, Engine};
use grasptests::lab::process::resident_kib;
use grasptests::lab::{Lab, Node, eventually};
use grasptests::nodes::{SOON, linked};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use super::figure::{Aim, Figure, Result, as_f64, median};
use super::neighbours;
use super::pair::{Pair, negotiated};
use super::peers;

/// The first argument of a process that the bench starts; the second is its role.
pub(crate) const ROLE: &str = "--role";
/// The line that says that a process is ready.
pub(super) const READY: &str = "ready";
/// How long an idle engine is watched.
const WATCHED: Duration = Duration::from_secs(5);
/// How many sessions are open.
const SESSIONS: usize = 5000;
/// How many are opened before those are waited for that the peer has not accepted yet.
const BATCH: usize = 50;

/// Plays a role until standard input ends.
pub(crate) fn play(role: &str) -> Result<()> {
    match role {
        "engine" => {
            let engine = Engine::start(Config::new())?;
            println!("{READY}");
            std::io::stdin().read_line(&mut String::new())?;
            engine.shutdown();
        }
        "member" => neighbours::be_member()?,
        "sessions" => println!("{}", bytes_per_session()?),
        "peer-engine" => peers::play_engine(false),
        "peer-rapid-engine" => peers::play_engine(true),
        "peer-decoder" => peers::play_decoder(),
        "peer-tcp" => peers::play_tcp(),
        other => return Err(format!("there is no role {other}").into()),
    }
    Ok(())
}

/// A process that is killed when it is let go of.
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a command, whose standard streams are pipes.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Self { child, input, output })
    }

    /// Starts a role on a node.
    fn role(node: &Node, role: &str) -> Result<Self> {
        let mut command = node.command(std::env::current_exe()?);
        command.args([ROLE, role]);
        Self::start(command)
    }

    /// Says a line to it.
    pub(crate) fn say(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().ok_or("its input is closed")?;
        Ok(writeln!(input, "{line}")?)
    }

    /// The next line that it says.
    pub(crate) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        match self.output.read_line(&mut line)? {
            0 => Err("a process ended early".into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    /// Waits for the line that says that it is ready.
    pub(crate) fn ready(&mut self) -> Result<()> {
        match self.line()? {
            line if line == READY => Ok(()),
            line => Err(format!("a process is not ready: {line}").into()),
        }
    }

    /// Has a program of `grasptests/bench` do something: in how many seconds it did it how often, and how often it failed.
    pub(crate) fn ask(&mut self, command: &str) -> Result<(f64, f64, f64)> {
        self.say(command)?;
        let answer = self.line()?;
        let numbers: Vec<f64> = answer.split(' ').filter_map(|word| word.parse().ok()).collect();
        match numbers.as_slice() {
            [seconds, times, failures] if *times > 0.0 => Ok((*seconds, *times, *failures)),
            _ => Err(format!("{command}: {answer}").into()),
        }
    }

    fn proc(&self, rest: &str) -> PathBuf {
        format!("/proc/{}/{rest}", self.child.id()).into()
    }

    /// How many threads it has.
    pub(super) fn threads(&self) -> Result<f64> {
        field(&fs::read_to_string(self.proc("status"))?, "Threads:")
    }

    /// Its number.
    pub(crate) fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }

    /// Its resident memory in KiB.
    pub(crate) fn resident(&self) -> Result<f64> {
        field(&fs::read_to_string(self.proc("status"))?, "VmRSS:")
    }

    /// Its own memory in KiB, without the pages of files, which the system has in its cache anyway.
    pub(crate) fn private(&self) -> Result<f64> {
        field(&fs::read_to_string(self.proc("status"))?, "RssAnon:")
    }

    /// How often its threads have been woken a second, over some time.
    pub(crate) fn wakeups(&self) -> Result<f64> {
        let before = self.switches()?;
        thread::sleep(WATCHED);
        Ok((self.switches()? - before) / WATCHED.as_secs_f64())
    }

    /// How often its threads have gone to sleep, all together.
    pub(super) fn switches(&self) -> Result<f64> {
        let mut sum = 0.0;
        for task in fs::read_dir(self.proc("task"))? {
            sum += field(&fs::read_to_string(task?.path().join("status"))?, "voluntary_ctxt_switches:")?;
        }
        Ok(sum)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.input = None;
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn field(status: &str, name: &str) -> Result<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such field in /proc")?;
    Ok(line.split_whitespace().next().ok_or("an empty field in /proc")?.parse()?)
}

/// The resident memory of an idle engine, and how often it wakes.
pub(crate) fn idle(name: &str) -> Result<Vec<Figure>> {
    let (_lab, _, node, _) = linked();
    let mut engine = Smallest::built()?.start(&node)?;
    engine.ready()?;
    let mut figures = resting(name, &engine, 4096.0, 5.0)?;
    let own = engine.private()?;
    figures.push(Figure::plain(format!("{name}_own"), "KiB", Aim::AtMost(1024.0), own));
    Ok(figures)
}

/// The smallest program with an engine, built as programs are shipped. A bench that is not optimized itself measures nothing, and plays it.
struct Smallest(Option<PathBuf>);

impl Smallest {
    fn built() -> Result<Self> {
        let shipped = || built("grasp-idle", &["-p", "grasp-idle", "--profile", "dist"]);
        Ok(Self(if cfg!(debug_assertions) { None } else { Some(shipped()?) }))
    }

    fn start(&self, node: &Node) -> Result<Process> {
        match &self.0 {
            Some(program) => Process::start(node.command(program)),
            None => Process::role(node, "engine"),
        }
    }
}

/// Builds a program of this workspace, if it is not up to date. The network is not there.
fn built(name: &str, options: &[&str]) -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--offline", "--message-format", "json", "--bin", name]).args(options);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit());
    eprintln!("bench: building {name}");
    let output = cargo.output()?;
    let program = String::from_utf8(output.stdout)?
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .find(|program| program.file_stem().is_some_and(|stem| stem == name));
    program.ok_or_else(|| {
        format!("{name} cannot be built: cargo build --bin {name} {}", options.join(" ")).into()
    })
}

/// The same of graspd, which serves its socket and nobody connects: of the program that `GRASPD` names, such as one that is packaged, or
/// of that of the tests.
pub(crate) fn graspd_idle(name: &str) -> Result<Vec<Figure>> {
    let program = std::env::var_os("GRASPD").map_or_else(
        || built("graspd-tested", &["-p", "grasptests", "--profile", "dist"]),
        |program| Ok(program.into()),
    )?;
    let (_lab, _, node, _) = linked();
    let socket = std::env::temp_dir().join(format!("grasp-bench-{}.sock", std::process::id()));
    let mut command = node.command(program);
    command.args(["--config", "/dev/null"]).env("GRASP_SOCKET", &socket);
    let graspd = Process::start(command)?;
    eventually(SOON, "graspd serves", || socket.exists());
    let figures = resting(name, &graspd, 6144.0, 2.0);
    drop(graspd);
    // It was killed, and has left it.
    fs::remove_file(socket)?;
    figures
}

/// Two figures of a process that has nothing to do: how much memory, and how many wakeups, are aimed at.
fn resting(name: &str, process: &Process, memory: f64, wakeups: f64) -> Result<Vec<Figure>> {
    let (resident, woken) = settled(process)?;
    Ok(vec![
        Figure::plain(name, "KiB", Aim::AtMost(memory), resident),
        Figure::plain(format!("{name}_wakeups"), "/s", Aim::AtMost(wakeups), woken),
    ])
}

/// Resident memory and wakeups of a process that has had time to settle.
pub(crate) fn settled(process: &Process) -> Result<(f64, f64)> {
    thread::sleep(Duration::from_secs(2));
    let wakeups = process.wakeups()?;
    Ok((process.resident()?, wakeups))
}

/// From the start of a process to an engine in it that is ready, in milliseconds.
pub(crate) fn startup(name: &str, rounds: usize) -> Result<Figure> {
    let (_lab, _, node, _) = linked();
    let mut times = Vec::new();
    let program = Smallest::built()?;
    for _ in 0..=rounds {
        let started = Instant::now();
        program.start(&node)?.ready()?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Figure::plain(name, "ms", Aim::AtMost(20.0), median(&mut times)))
}

/// The memory that a session costs at both ends together, in a fresh process.
pub(crate) fn open_sessions(name: &str) -> Result<Figure> {
    let lab = Lab::new()?;
    // The role makes its own network; it only has to start isolated.
    let mut process = Process::role(&lab.node("a")?, "sessions")?;
    let bytes: f64 = process.line()?.parse()?;
    Ok(Figure::plain(name, "KiB", Aim::AtMost(16.0), bytes))
}

/// How many descriptors are asked for where the system's limit may be raised.
const DESCRIPTORS: u64 = 65_536;

/// Allows as many descriptors as may be allowed, and returns how many.
pub(crate) fn raise_descriptors() -> Result<u64> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let more = most.max(DESCRIPTORS);
    if setrlimit(Resource::RLIMIT_NOFILE, more, more).is_ok() {
        return Ok(more);
    }
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(most)
}

/// Opens sessions in this process, both ends, and returns what one has cost in KiB.
fn bytes_per_session() -> Result<f64> {
    let most = raise_descriptors()?;
    let needed = u64::try_from(SESSIONS)? * 2 + 300;
    if most < needed {
        return Err(format!("{needed} descriptors are needed, and {most} allowed").into());
    }
    let mut pair = Pair::start(Config::new().sessions_per_peer(SESSIONS + BATCH).requests_per_peer(BATCH));
    // Nobody answers, so the sessions stay open.
    pair.listen_with(1, |_, _, _, _| {});
    let objective = negotiated();
    let peer = pair.locator(&objective)?;
    let (engine, asa) = (&pair.asker.engine, pair.asker.asa);
    let accepted = || pair.answerer.engine.open_sessions();
    let open = |count: usize| -> Result<()> {
        for _ in 0..count / BATCH {
            let before = accepted();
            for _ in 0..BATCH {
                let peer = Some(&peer);
                pair.asking().run(|| engine.req_negotiate_noloop(asa, &objective, peer, None))?;
            }
            eventually(SOON, "the sessions are open", || accepted() == before + BATCH);
        }
        Ok(())
    };
    // What the first ones cost besides is not of the sessions.
    open(BATCH)?;
    let before = resident_kib();
    open(SESSIONS)?;
    let grown = u32::try_from(resident_kib().saturating_sub(before))?;
    Ok(f64::from(grown) / as_f64(SESSIONS)?)
}
