//! Getting a process into namespaces of its own: [`isolated!`](crate::isolated) for tests, [`enter`] for
//! programs.
//!
//! As root a new network namespace is enough. For anyone else a user namespace comes first, in which the user
//! is root and may make as many network namespaces as a test wants.

use std::{
    env, fs,
    io::{self, Write as _},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
};

use crate::{LabError, process, sys};

/// Tells a process (and the programs it starts) that it is isolated already, and a test binary which test.
pub(crate) const INNER: &str = "GRASP_LAB_INNER";

/// Set by [`enter`], which isolates without a new environment.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// Moves this process into a network namespace of its own, in place: arguments, standard streams, exit status
/// and signals stay as they are. To be called first in `main`, before there is a second thread. In a process
/// that a lab started, it does nothing.
///
/// # Errors
///
/// [`LabError::Unavailable`] with a sentence for the user when the machine does not allow it; nothing has
/// changed then, and trying again is of no use. [`LabError::Threads`] when it is called too late.
pub fn enter() -> Result<(), LabError> {
    if is_isolated() {
        return Ok(());
    }
    let threads = process::threads();
    if threads != 1 {
        return Err(LabError::Threads(threads));
    }
    // A user namespace cannot be left again, so a child tries first.
    available()?;
    Isolation::of_this_user().apply().map_err(Refusal::explain)?;
    ENTERED.store(true, Ordering::SeqCst);
    Ok(())
}

/// Whether this machine lets this user make namespaces. Changes nothing: a child process tries.
///
/// # Errors
///
/// [`LabError::Unavailable`] with a sentence saying what is missing and what to do.
pub fn available() -> Result<(), LabError> {
    /// Outside the range of codes that [`Refusal::code`] makes.
    const STOPPED: i32 = 0x7000_0000;
    let mut probe = Command::new("/proc/self/exe");
    sys::isolate_and_stop(&mut probe, Isolation::of_this_user(), STOPPED);
    match probe.spawn() {
        Err(error) if error.raw_os_error() == Some(STOPPED) => Ok(()),
        Err(error) => Err(unavailable(&error)),
        Ok(mut child) => {
            // Cannot be: the closure always ends with an error.
            let _ = child.kill();
            let _ = child.wait();
            Err(LabError::Unavailable("the kernel started a program it was told not to start".into()))
        }
    }
}

/// Whether [`enter`] or [`isolated!`](crate::isolated) has isolated this process.
#[must_use]
pub fn is_isolated() -> bool {
    ENTERED.load(Ordering::SeqCst) || env::var_os(INNER).is_some()
}

/// What a failed start of a process with [`sys::isolate_at_exec`] means.
pub(crate) fn unavailable(error: &io::Error) -> LabError {
    match error.raw_os_error().and_then(Refusal::from_code) {
        Some(refusal) => refusal.explain(),
        None => LabError::Unavailable(format!("cannot start a process of its own for the lab: {error}")),
    }
}

/// What isolating takes, prepared before the fork, because nothing may be allocated after it.
#[derive(Clone, Debug)]
pub(crate) struct Isolation {
    uid_map: String,
    gid_map: String,
}

impl Isolation {
    /// Maps the caller to root, the one mapping anybody may write.
    pub(crate) fn of_this_user() -> Self {
        Self {
            uid_map: format!("0 {} 1\n", nix::unistd::geteuid()),
            gid_map: format!("0 {} 1\n", nix::unistd::getegid()),
        }
    }

    /// Isolates the calling process, which must have one thread only. Safe between fork and exec.
    pub(crate) fn apply(&self) -> Result<(), Refusal> {
        match unshare(CloneFlags::CLONE_NEWNET) {
            Ok(()) => return Ok(()),
            // Not privileged: a user namespace first.
            Err(Errno::EPERM) => {}
            Err(errno) => return Err(Refusal { step: Step::Net, errno }),
        }
        unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| Refusal { step: Step::User, errno })?;
        let map = |path: &str, text: &str| {
            fs::OpenOptions::new()
                .write(true)
                .open(path)
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(|error| Refusal {
                    step: Step::Map,
                    errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
                })
        };
        // Without this an ordinary user may not write the gid_map (user_namespaces(7)).
        map("/proc/self/setgroups", "deny")?;
        map("/proc/self/uid_map", &self.uid_map)?;
        map("/proc/self/gid_map", &self.gid_map)?;
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| Refusal { step: Step::Net, errno })
    }
}

/// A step the kernel refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    step: Step,
    errno: Errno,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    User = 1,
    Map = 2,
    Net = 3,
}

impl Refusal {
    /// The step and the errno in one number, because an error number is all that a child between fork and
    /// exec can hand to its parent.
    pub(crate) fn code(self) -> i32 {
        ((self.step as i32) << 16) | self.errno as i32
    }

    fn from_code(code: i32) -> Option<Self> {
        let step = match code >> 16 {
            1 => Step::User,
            2 => Step::Map,
            3 => Step::Net,
            _ => return None,
        };
        Some(Self { step, errno: Errno::from_raw(code & 0xffff) })
    }

    fn explain(self) -> LabError {
        let setting = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let is = |path: &str, value: &str| setting(path).as_deref() == Some(value);
        let (what, errno) = match self.step {
            Step::User => ("make a user namespace", self.errno),
            Step::Map => ("map the user into a new user namespace", self.errno),
            Step::Net => ("make a network namespace", self.errno),
        };
        let cure = if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1")
            && self.step != Step::User
        {
            "AppArmor restricts user namespaces here: set sysctl kernel.apparmor_restrict_unprivileged_userns=0, \
             or run as root"
        } else if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
            "set sysctl kernel.unprivileged_userns_clone=1, or run as root"
        } else if self.errno == Errno::ENOSPC && self.step == Step::Net {
            "raise sysctl user.max_net_namespaces"
        } else if self.errno == Errno::ENOSPC {
            "raise sysctl user.max_user_namespaces, or run as root"
        } else if self.errno == Errno::EINVAL || self.errno == Errno::ENOSYS {
            "the kernel must have CONFIG_USER_NS and CONFIG_NET_NS"
        } else {
            "run as root with CAP_SYS_ADMIN, or, in a container, with a seccomp profile that allows unshare"
        };
        LabError::Unavailable(format!("cannot {what} ({}): {cure}", errno.desc()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_survives_the_way_through_an_error_number() {
        for step in [Step::User, Step::Map, Step::Net] {
            let refusal = Refusal { step, errno: Errno::EPERM };
            let back = Refusal::from_code(refusal.code()).unwrap();
            assert_eq!((back.step, back.errno), (step, Errno::EPERM));
        }
        assert!(Refusal::from_code(libc::ENOENT).is_none());
    }

    #[test]
    fn the_sentence_names_the_setting() {
        let full = Refusal { step: Step::Net, errno: Errno::ENOSPC }.explain().to_string();
        assert!(full.starts_with("cannot make a network namespace"), "{full}");
    }
}
