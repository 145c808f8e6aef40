//! Waits for notices from the system that interfaces or IPv6 addresses have changed. Used by `_watcher`.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use super::waker::Waker;

/// The rtnetlink groups for links and IPv6 addresses: RTMGRP_LINK, RTMGRP_IPV6_IFADDR.
const GROUPS: u32 = 0x001 | 0x100;

/// The system's notices of changes, and a way to end the wait.
#[derive(Debug)]
pub(crate) struct Changes {
    /// Absent if the system sends no notices: then every wait lasts the full time.
    notices: Option<OwnedFd>,
    stop: Waker,
}

impl Changes {
    pub(crate) fn new() -> io::Result<Self> {
        let notices =
            subscribe().inspect_err(|error| log::info!("interfaces are looked at now and then: {error}"));
        Ok(Self { notices: notices.ok(), stop: Waker::new()? })
    }

    /// Waits for a change, for `stop`, or for the time to pass. Fails at once if the system does not let it wait.
    pub(crate) fn wait(&self, time: Duration) -> io::Result<()> {
        if self.ready(time)? {
            let mut buffer = [0_u8; 8192];
            while let Some(notices) = &self.notices {
                if recv(notices, &mut buffer, RecvFlags::DONTWAIT).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Waits for a notice or `stop`. Returns whether there are notices.
    fn ready(&self, time: Duration) -> io::Result<bool> {
        let mut waiting = vec![PollFd::new(&self.stop, PollFlags::IN)];
        waiting.extend(self.notices.iter().map(|notices| PollFd::new(notices, PollFlags::IN)));
        let time = Timespec::try_from(time).ok();
        match poll(&mut waiting, time.as_ref()) {
            // After a signal, the caller merely looks once more than needed.
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(waiting.get(1).is_some_and(|notices| !notices.revents().is_empty()))
    }

    /// Ends this and every later `wait`.
    pub(crate) fn stop(&self) {
        self.stop.wake();
    }
}

fn subscribe() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Protocol 0 of this family is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn waiting_ends_with_the_time_and_with_stop() {
        let changes = Changes::new().unwrap();
        let started = Instant::now();
        changes.wait(Duration::from_millis(30)).unwrap();
        changes.stop();
        changes.wait(Duration::from_secs(60)).unwrap();
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_notice_ends_one_wait_and_all_notices_together_no_other() {
        let (notices, system) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let changes = Changes { notices: Some(notices.into()), stop: Waker::new().unwrap() };
        let lasts = || {
            let started = Instant::now();
            changes.wait(Duration::from_millis(50)).unwrap();
            started.elapsed() >= Duration::from_millis(50)
        };
        assert!(lasts());
        for _ in 0..3 {
            system.send(&[1]).unwrap();
        }
        let started = Instant::now();
        changes.wait(Duration::from_secs(60)).unwrap();
        assert!(started.elapsed() < Duration::from_secs(30));
        assert!(lasts(), "all of them have been read");
    }

    #[test]
    fn the_socket_for_notices_is_not_for_other_programs() {
        let flags = rustix::io::fcntl_getfd(subscribe().unwrap()).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }
}
