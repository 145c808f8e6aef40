//! How many descriptors the process may open and has open. `_watcher` checks this before it opens interfaces.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Returns how many more descriptors the process may open. Raises the soft limit first, if allowed, but only as far as
/// `wanted` requires: programs that use select(2) cannot handle descriptors above 1023. `None` if the system does not
/// tell.
pub(crate) fn room(wanted: usize, may_raise: bool) -> Option<usize> {
    // One of them is the directory being read.
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    if may_raise {
        raise(open.saturating_add(wanted));
    }
    Some(limit().saturating_sub(open))
}

/// The maximum number of descriptors of the process.
pub(crate) fn limit() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
}

/// Raises the soft limit to what is needed, unless it is as high already.
fn raise(needed: usize) {
    let mut limits = getrlimit(Resource::Nofile);
    let before = limits.current;
    let needed = u64::try_from(needed).unwrap_or(u64::MAX);
    let most = limits.maximum.unwrap_or(u64::MAX);
    if before.is_none_or(|before| before >= needed.min(most)) {
        return;
    }
    limits.current = Some(needed.min(most));
    match setrlimit(Resource::Nofile, limits) {
        Ok(()) => log::info!("this process may have {} open files from now on", needed.min(most)),
        Err(error) => log::info!("the limit on open files stays as it is: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_what_the_limit_leaves() {
        let room = room(0, false).unwrap();
        assert!(room > 0 && room < limit(), "{room} of {}", limit());
    }
}
