//! What a test may want to know about its own process, and waiting without sleeping blindly. Everything is
//! read from `/proc/self`.

use std::{
    fs, io,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::signal::Signal,
};

/// How many threads this process has.
///
/// # Panics
///
/// When `/proc` is not mounted.
#[must_use]
pub fn threads() -> usize {
    entries("/proc/self/task")
}

/// Has a program start as if the machine had been up for so many seconds more, as far as its clocks say that count
/// from the start of the machine. The time of day is the same.
///
/// Starting it fails where the kernel has no time namespaces, or is older than Linux 6.3.
pub fn up_for(command: &mut Command, seconds: u64) {
    crate::sys::up_for_at_exec(command, seconds);
}

/// Has a program start with the default actions of SIGINT and SIGQUIT, although this process may ignore them: a script
/// runs its background jobs so. The programs of [`Node::command`](crate::Node::command) and
/// [`isolated!`](crate::isolated) do so by themselves.
pub fn default_signals(command: &mut Command) {
    crate::sys::default_signals_at_exec(command);
}

/// Has a signal interrupt what its thread waits for, and do nothing else.
///
/// # Panics
///
/// For a signal that cannot be handled.
pub fn interrupt_by(signal: Signal) {
    assert!(super::sys::interrupt_by(signal).is_ok(), "{signal} cannot be handled");
}

/// Has the calling thread, and the threads it starts from now on, see other contents in a file of the machine, if there is
/// such a file. Everyone else goes on seeing the file.
///
/// # Errors
///
/// That of the system: the process is not isolated, for instance.
pub fn replace_file(path: &str, contents: &str) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let no_text = None::<&str>;
    // What is mounted here is to stay here.
    mount(no_text, "/", no_text, MsFlags::MS_REC | MsFlags::MS_PRIVATE, no_text)?;
    let (pid, thread) = (std::process::id(), nix::unistd::gettid());
    let substitute = std::env::temp_dir().join(format!("grasp-lab-{pid}-{thread}"));
    fs::write(&substitute, contents)?;
    let mounted = mount(Some(&substitute), path, no_text, MsFlags::MS_BIND, no_text);
    // The mount keeps it.
    fs::remove_file(&substitute)?;
    match mounted {
        Err(Errno::ENOENT) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Has the kernel refuse netlink sockets to the calling thread and to those that it starts from now on, as a service manager
/// may do. Nothing undoes it.
///
/// # Errors
///
/// That of the system: the kernel has no seccomp filters, for instance.
pub fn refuse_netlink() -> io::Result<()> {
    crate::sys::refuse_netlink()
}

/// The names of this process's threads (at most 15 bytes each: the kernel cuts them), in the kernel's order.
/// A thread names itself: for a moment after its start it has the name of the thread that started it.
///
/// # Panics
///
/// When `/proc` is not mounted.
#[must_use]
pub fn thread_names() -> Vec<String> {
    tasks().map(|(name, _)| name).collect()
}

/// The name of each thread, and where the kernel tells of it. A thread may end while it is looked at.
fn tasks() -> impl Iterator<Item = (String, PathBuf)> {
    read_dir("/proc/self/task").filter_map(|entry| {
        let task = entry.ok()?.path();
        let name = fs::read_to_string(task.join("comm")).ok()?;
        Some((name.trim_end().to_owned(), task))
    })
}

/// How long this process's threads of a name (see [`thread_names`]) have run on a processor, those that have ended not
/// counted. Zero where the kernel does not tell.
///
/// # Panics
///
/// When `/proc` is not mounted.
#[must_use]
pub fn time_of_threads(name: &str) -> Duration {
    let nanoseconds = |(_, task): (String, PathBuf)| -> Option<u64> {
        fs::read_to_string(task.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    Duration::from_nanos(tasks().filter(|(found, _)| found == name).filter_map(nanoseconds).sum())
}

/// How many descriptors this process has open.
///
/// # Panics
///
/// When `/proc` is not mounted.
#[must_use]
pub fn descriptors() -> usize {
    // One of them is the directory being read.
    entries("/proc/self/fd").saturating_sub(1)
}

/// The number that the next descriptor of this process will have: with this as the limit, none can be opened.
///
/// # Panics
///
/// When there is no `/dev/null`.
#[must_use]
#[expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]
pub fn next_descriptor() -> u64 {
    let file = std::fs::File::open("/dev/null").expect("a descriptor");
    u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&file)).expect("not negative")
}

/// This process's resident memory in KiB.
///
/// # Panics
///
/// When `/proc` is not mounted.
#[must_use]
pub fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_else(|error| no_proc("status", &error));
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse().ok())
        .unwrap_or_default()
}

/// Waits until `holds` returns true, looking every few milliseconds.
///
/// # Panics
///
/// When `holds` is still false after `within`; the message says `what` was waited for.
#[track_caller]
pub fn eventually(within: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    assert!(poll(within, || holds().then_some(())).is_some(), "after {within:?} still not true: {what}");
}

/// Calls `look` until it returns something, or the time is up; it is called once more after that, so that a
/// machine that stalled us does not decide.
pub(crate) fn poll<T>(within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    let mut pause = Duration::from_micros(200);
    while Instant::now() < deadline {
        if let Some(found) = look() {
            return Some(found);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
    look()
}

fn entries(path: &str) -> usize {
    read_dir(path).count()
}

fn read_dir(path: &str) -> fs::ReadDir {
    fs::read_dir(path).unwrap_or_else(|error| no_proc(path, &error))
}

fn no_proc(path: &str, error: &io::Error) -> ! {
    panic!("cannot read {path} ({error}): is /proc mounted?")
}
