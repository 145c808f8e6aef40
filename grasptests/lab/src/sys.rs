//! The only file of the crate with `unsafe`: what runs between fork and exec, and packet sockets, for which
//! neither std, nix nor socket2 has a safe form.

#![allow(
    unsafe_code,
    reason = "pre_exec and packet sockets have no safe form; each block says why it is sound"
)]

use std::{
    io::{self, Write as _},
    os::fd::{AsRawFd, OwnedFd},
    os::unix::process::CommandExt,
    process::Command,
    sync::Arc,
};

use nix::{
    sched::{CloneFlags, setns, unshare},
    sys::{
        prctl::set_pdeathsig,
        signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
    },
    unistd::{Pid, getppid},
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::isolate::Isolation;

/// Has the command start in namespaces of its own, and die with the thread that starts it.
pub(crate) fn isolate_at_exec(command: &mut Command, isolation: Isolation) {
    default_signals_at_exec(command);
    let parent = nix::unistd::getpid();
    // SAFETY: between fork and exec the closure makes system calls only, on memory prepared before the fork:
    // it neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(move || {
            isolation.apply().map_err(|refusal| io::Error::from_raw_os_error(refusal.code()))?;
            die_with(parent)
        });
    }
}

/// As [`isolate_at_exec`], but the program never starts: the error the caller gets says whether it could
/// have.
pub(crate) fn isolate_and_stop(command: &mut Command, isolation: Isolation, stop: i32) {
    // SAFETY: as in `isolate_at_exec`.
    unsafe {
        command.pre_exec(move || {
            isolation.apply().map_err(|refusal| io::Error::from_raw_os_error(refusal.code()))?;
            Err(io::Error::from_raw_os_error(stop))
        });
    }
}

/// Has the command start in the given network namespace, and die with the thread that starts it.
pub(crate) fn enter_at_exec(command: &mut Command, namespace: Arc<OwnedFd>) {
    default_signals_at_exec(command);
    let parent = nix::unistd::getpid();
    // SAFETY: as in `isolate_at_exec`; the descriptor stays open because the closure owns a share of it.
    unsafe {
        command.pre_exec(move || {
            setns(&*namespace, CloneFlags::CLONE_NEWNET)?;
            die_with(parent)
        });
    }
}

/// Has the command start with clocks that are so many seconds ahead: those that count from the start of the machine.
pub(crate) fn up_for_at_exec(command: &mut Command, seconds: u64) {
    let offsets = format!("monotonic {seconds} 0\nboottime {seconds} 0\n");
    // SAFETY: as in `isolate_at_exec`.
    unsafe {
        command.pre_exec(move || {
            unshare(CloneFlags::from_bits_retain(libc::CLONE_NEWTIME))?;
            std::fs::OpenOptions::new()
                .write(true)
                .open("/proc/self/timens_offsets")
                .and_then(|mut file| file.write_all(offsets.as_bytes()))
        });
    }
}

/// Has the command start with SIGINT and SIGQUIT as a terminal's programs have them: a shell without job control has
/// what it runs in the background ignore both, and whatever that starts inherits it.
pub(crate) fn default_signals_at_exec(command: &mut Command) {
    // SAFETY: as in `isolate_at_exec`; the default action is no handler that could run anything.
    unsafe {
        command.pre_exec(|| {
            for signal in [Signal::SIGINT, Signal::SIGQUIT] {
                nix::sys::signal::signal(signal, SigHandler::SigDfl)?;
            }
            Ok(())
        });
    }
}

/// Asks for SIGKILL when the parent goes, and notices when it went before we asked.
fn die_with(parent: Pid) -> io::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    if getppid() == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
}

/// A socket that receives every frame arriving at an interface, and sends whole frames through it.
///
/// Each frame is preceded by the kernel's `virtio_net_hdr`. Handed back unchanged, it says which checksums
/// are still to be filled in and how a large segment is to be cut, so that frames of a virtual interface
/// survive the way through this process.
pub(crate) fn packet_socket(interface: u32) -> io::Result<Socket> {
    // Protocol 0: nothing is received before bind() says from which interface.
    let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), Some(Protocol::from(0)))?;
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_VNET_HDR)?;
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING)?;
    let index = i32::try_from(interface).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the storage is larger than a sockaddr_ll and aligned for any address; it is zeroed before, and
    // the length written is that of the sockaddr_ll.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let link = storage.cast::<libc::sockaddr_ll>();
            (*link).sll_family = libc::AF_PACKET as libc::sa_family_t;
            (*link).sll_protocol = (libc::ETH_P_ALL as u16).to_be();
            (*link).sll_ifindex = index;
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })?
    };
    socket.bind(&address)?;
    Ok(socket)
}

/// Switches a socket option on that socket2 has no name for.
pub(crate) fn set_option(socket: &impl AsRawFd, level: libc::c_int, name: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the pointer and the length describe `on`, which lives until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the kernel refuse netlink sockets to the calling thread and to those that it starts from now on, as service managers
/// and containers do (seccomp).
pub(crate) fn refuse_netlink() -> io::Result<()> {
    const SECCOMP_RET_ALLOW: u32 = 0x7fff_0000;
    const SECCOMP_RET_ERRNO: u32 = 0x0005_0000;
    /// Where `struct seccomp_data` has the number of the call, and the lower half of its first argument.
    const CALL: u32 = 0;
    const FAMILY: u32 = if cfg!(target_endian = "little") { 16 } else { 20 };
    let load = |at| filter(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at, 0, 0);
    let unless = |value, skip| filter(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, 0, skip);
    let give = |result| filter(libc::BPF_RET | libc::BPF_K, result, 0, 0);
    let mut filters = [
        load(CALL),
        unless(libc::SYS_socket as u32, 3),
        load(FAMILY),
        unless(libc::AF_NETLINK as u32, 1),
        give(SECCOMP_RET_ERRNO | libc::EACCES as u32),
        give(SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filters.len() as u16, filter: filters.as_mut_ptr() };
    nix::sys::prctl::set_no_new_privs()?;
    // SAFETY: the program and its filters live until the call returns, and the length is theirs.
    let result = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER as libc::c_ulong,
            &raw const program,
            0,
            0,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn filter(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

/// Has a signal interrupt what its thread waits for, and do nothing else.
pub(super) fn interrupt_by(signal: Signal) -> io::Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(signal, &action) }?;
    Ok(())
}
