//! Delay and loss on a link: a thread that carries frames between the ports of a link instead of its bridge.
//! Started by [`Link::set_impairment`](crate::Link::set_impairment).
//!
//! The kernel's own means (netem) would be faster but is missing from many kernels, small virtual machines
//! and containers above all, and a test that runs on some machines only proves little. This works on all, is
//! the same on all, and loses the same frames in every run that sends the same frames in the same order.

use std::{
    collections::VecDeque,
    io::{self, Read as _},
    os::fd::AsFd as _,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::time::TimeSpec,
};
use socket2::Socket;

use crate::{namespace::Namespace, sys};

/// Room for the largest frame a virtual interface hands over uncut.
const FRAME: usize = 128 * 1024;

/// Frames under way. What comes when there are more is lost, as in a router.
const MOST: usize = 4096;

/// What a link does to frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Impairment {
    pub(crate) delay: Duration,
    /// The share of frames lost, from 0 to 1, for each receiver on its own.
    pub(crate) loss: f64,
}

/// The running thread; dropped, it ends, and frames under way are lost.
pub(crate) struct Wire {
    /// Closing it tells the thread to end.
    stop: Option<io::PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Wire {
    /// Starts to carry frames between interfaces (which must be up) of a namespace.
    pub(crate) fn start(
        switch: &Namespace,
        interfaces: &[u32],
        impairment: Impairment,
        seed: u64,
    ) -> io::Result<Self> {
        let sockets = switch.run("lab-sockets", || {
            interfaces.iter().map(|&index| sys::packet_socket(index)).collect::<io::Result<Vec<_>>>()
        })??;
        for socket in &sockets {
            // As much as the kernel grants.
            let _ = socket.set_recv_buffer_size(4 << 20);
            let _ = socket.set_send_buffer_size(4 << 20);
        }
        let (stopped, stop) = io::pipe()?;
        let carrier = Carrier { sockets, impairment, random: Random(seed), under_way: VecDeque::new() };
        let thread = thread::Builder::new().name("lab-wire".into()).spawn(move || {
            if let Err(error) = carrier.run(&stopped) {
                log::error!("an impaired link has stopped: {error}");
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Carrier {
    sockets: Vec<Socket>,
    impairment: Impairment,
    random: Random,
    under_way: VecDeque<Frame>,
}

struct Frame {
    due: Instant,
    to: usize,
    bytes: Arc<[u8]>,
}

impl Carrier {
    fn run(mut self, stopped: &io::PipeReader) -> io::Result<()> {
        let mut buffer = vec![0; FRAME];
        loop {
            let wait = self.under_way.front().map(|next| next.due.saturating_duration_since(Instant::now()));
            let readable = {
                let mut waiting: Vec<_> = [stopped.as_fd()]
                    .into_iter()
                    .chain(self.sockets.iter().map(|socket| socket.as_fd()))
                    .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN))
                    .collect();
                match ppoll(&mut waiting, wait.map(TimeSpec::from), None) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
                waiting.iter().map(|one| one.any().unwrap_or(false)).collect::<Vec<_>>()
            };
            let mut readable = readable.into_iter();
            if readable.next() == Some(true) {
                return Ok(());
            }
            for (from, _) in readable.enumerate().filter(|&(_, readable)| readable) {
                self.take_from(from, &mut buffer);
            }
            self.deliver();
        }
    }

    /// Takes the frames waiting at a port.
    fn take_from(&mut self, from: usize, buffer: &mut [u8]) {
        // An error besides "no more" is that the interface went away or down: a link that is being changed.
        while let Ok(length) = (&self.sockets[from]).read(buffer) {
            let due = Instant::now() + self.impairment.delay;
            let bytes: Arc<[u8]> = buffer[..length].into();
            for to in (0..self.sockets.len()).filter(|&to| to != from) {
                if self.random.next() >= self.impairment.loss && self.under_way.len() < MOST {
                    self.under_way.push_back(Frame { due, to, bytes: Arc::clone(&bytes) });
                }
            }
        }
    }

    /// Hands over the frames whose time has come.
    fn deliver(&mut self) {
        while self.under_way.front().is_some_and(|frame| frame.due <= Instant::now())
            && let Some(frame) = self.under_way.pop_front()
        {
            if let Err(error) = self.sockets[frame.to].send(&frame.bytes) {
                log::debug!("frame of {} bytes lost at port {}: {error}", frame.bytes.len(), frame.to);
            }
        }
    }
}

/// SplitMix64: small, and the same in every run.
struct Random(u64);

impl Random {
    /// A number from 0 to 1, without 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // 32 bits are plenty, and convert without loss.
        f64::from(u32::try_from(z >> 32).unwrap_or(u32::MAX)) / 4_294_967_296.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_is_the_share_asked_for() {
        let mut random = Random(1);
        let lost = (0..100_000).filter(|_| random.next() < 0.3).count();
        assert!((29_000..31_000).contains(&lost), "{lost}");
        assert!((0..100_000).all(|_| random.next() < 1.0));
    }
}
