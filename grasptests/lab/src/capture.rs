//! What passes through a lab, as a pcapng file that Wireshark opens. Started by [`Lab::capture`].

use std::{
    fs::File,
    io::{self, BufWriter, IoSliceMut, Write},
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt::ReceiveTimestampns},
        time::TimeSpec,
    },
};
use socket2::Socket;

use crate::{Lab, LabError, error::Doing as _, sys};

/// A running capture of the links that were there when it began; dropped, it ends.
///
/// Each frame is in it once, when it leaves its sender: also one that an impaired link loses. Interfaces of the
/// file are the ports, named by link and node: `l1n2`. Kept in memory until it ends, sorted by the kernel's times;
/// after 64 MiB nothing more is.
#[derive(Debug)]
pub struct Capture {
    /// Closing it tells the thread to end.
    stop: Option<io::PipeWriter>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Lab {
    /// Writes what passes through all links from now on to a new file.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when the file cannot be made or the kernel refuses.
    pub fn capture(&self, path: impl AsRef<Path>) -> Result<Capture, LabError> {
        let path = path.as_ref();
        let ports: Vec<(String, u32)> = self.links().iter().flat_map(crate::Link::ports).collect();
        let start = || {
            let open =
                || ports.iter().map(|(_, index)| sys::packet_socket(*index)).collect::<io::Result<_>>();
            let sockets: Vec<Socket> = self.switch.run("lab-sockets", open)??;
            for socket in &sockets {
                // As much as the kernel grants.
                let _ = socket.set_recv_buffer_size(4 << 20);
                setsockopt(socket, ReceiveTimestampns, &true)?;
            }
            let mut file = BufWriter::new(File::create_new(path)?);
            write_header(&mut file, ports.iter().map(|(name, _)| name.as_str()))?;
            let (stopped, stop) = io::pipe()?;
            let recorder = Recorder { sockets, file, room: MOST, frames: Vec::new() };
            let thread =
                thread::Builder::new().name("lab-capture".into()).spawn(move || recorder.run(&stopped))?;
            Ok::<_, io::Error>(Capture { stop: Some(stop), thread: Some(thread) })
        };
        start().doing(|| format!("capture to {}", path.display()))
    }
}

impl Capture {
    /// Ends the capture: what was sent before is in the file.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when the file could not be written.
    pub fn finish(mut self) -> Result<(), LabError> {
        self.end().doing(|| "write the capture".to_owned())
    }

    fn end(&mut self) -> io::Result<()> {
        drop(self.stop.take());
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the capturing thread has panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            log::error!("a capture was not written: {error}");
        }
    }
}

struct Recorder {
    sockets: Vec<Socket>,
    file: BufWriter<File>,
    /// How many bytes of frames are still kept.
    room: usize,
    frames: Vec<Frame>,
}

struct Frame {
    time: Duration,
    port: usize,
    bytes: Box<[u8]>,
}

impl Recorder {
    fn run(mut self, stopped: &io::PipeReader) -> io::Result<()> {
        let mut buffer = vec![0; FRAME];
        loop {
            let is_over = {
                let mut waiting: Vec<_> = [stopped.as_fd()]
                    .into_iter()
                    .chain(self.sockets.iter().map(|socket| socket.as_fd()))
                    .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN))
                    .collect();
                match ppoll(&mut waiting, None, None) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
                waiting[0].any().unwrap_or(false)
            };
            for port in 0..self.sockets.len() {
                self.take_from(port, &mut buffer);
            }
            if is_over {
                return self.write();
            }
        }
    }

    fn take_from(&mut self, port: usize, buffer: &mut [u8]) {
        let mut control = nix::cmsg_space!(TimeSpec);
        // An error besides "no more" is that the interface went away or down.
        loop {
            let mut parts = [IoSliceMut::new(buffer)];
            let descriptor = self.sockets[port].as_raw_fd();
            let flags = MsgFlags::MSG_DONTWAIT;
            let Ok(received) = recvmsg::<()>(descriptor, &mut parts, Some(&mut control), flags) else {
                return;
            };
            let length = received.bytes;
            let time = received.cmsgs().ok().into_iter().flatten().find_map(|message| match message {
                ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
                _ => None,
            });
            let bytes: Box<[u8]> = buffer.get(VIRTIO_NET_HEADER..length).unwrap_or_default().into();
            if let Some(room) = self.room.checked_sub(bytes.len()) {
                self.room = room;
                self.frames.push(Frame { time: time.unwrap_or_default(), port, bytes });
            }
        }
    }

    fn write(mut self) -> io::Result<()> {
        // Answers would come before questions otherwise: the ports are read one after the other.
        self.frames.sort_by_key(|frame| frame.time);
        self.frames.iter().try_for_each(|frame| write_packet(&mut self.file, frame))?;
        self.file.flush()
    }
}

/// A section, and an interface of Ethernet for each name (draft-ietf-opsawg-pcapng), in the order of this machine.
fn write_header<'a>(out: &mut impl Write, names: impl Iterator<Item = &'a str>) -> io::Result<()> {
    let magic = 0x1a2b_3c4d_u32.to_ne_bytes();
    let version = [1u16.to_ne_bytes(), 0u16.to_ne_bytes()].concat();
    let length = (-1i64).to_ne_bytes();
    write_block(out, 0x0a0d_0d0a, &[&magic, &version, &length])?;
    for name in names {
        let link = [1u16.to_ne_bytes(), [0; 2]].concat();
        let snap = u32::try_from(FRAME).unwrap_or(0).to_ne_bytes();
        let nanoseconds = [&9u16.to_ne_bytes()[..], &1u16.to_ne_bytes(), &[9, 0, 0, 0]].concat();
        let length = u16::try_from(name.len()).unwrap_or(0).to_ne_bytes();
        let mut option = [&2u16.to_ne_bytes()[..], &length, name.as_bytes()].concat();
        option.resize(option.len().next_multiple_of(4), 0);
        write_block(out, 1, &[&link, &snap, &option, &nanoseconds, &[0; 4]])?;
    }
    Ok(())
}

fn write_packet(out: &mut impl Write, frame: &Frame) -> io::Result<()> {
    let time = u64::try_from(frame.time.as_nanos()).unwrap_or(u64::MAX);
    let half = |bits: u64| u32::try_from(bits & 0xffff_ffff).unwrap_or(0).to_ne_bytes();
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_ne_bytes();
    let (port, length) = (number(frame.port), number(frame.bytes.len()));
    let fill = [0; 3];
    let fill = fill.get(..frame.bytes.len().next_multiple_of(4) - frame.bytes.len()).unwrap_or_default();
    write_block(out, 6, &[&port, &half(time >> 32), &half(time), &length, &length, &frame.bytes, fill])
}

fn write_block(out: &mut impl Write, kind: u32, parts: &[&[u8]]) -> io::Result<()> {
    let length = 12 + parts.iter().map(|part| part.len()).sum::<usize>();
    let length = u32::try_from(length).map_err(io::Error::other)?.to_ne_bytes();
    out.write_all(&kind.to_ne_bytes())?;
    out.write_all(&length)?;
    parts.iter().try_for_each(|part| out.write_all(part))?;
    out.write_all(&length)
}

/// Room for the largest frame a virtual interface hands over uncut.
const FRAME: usize = 128 * 1024;
/// What a packet socket of the lab puts before each frame.
const VIRTIO_NET_HEADER: usize = 10;
/// The most bytes of frames in a file.
const MOST: usize = 64 << 20;
