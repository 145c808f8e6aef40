//! The socket for the processes of this machine: the only file that names `grasp::ipc`. `node` starts it, reloads its rules and
//! stops it.

use std::env;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use grasp::Engine;
use grasp::ipc::{Access, ClientLimits, Server, ServerOptions, Who};
use nix::unistd::{Gid, Group, User};
use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::sockopt::socket_acceptconn;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::access::{Rules, Whom, group_number};
use crate::node::Failure;
use crate::settings::Settings;

/// The path that stands for standard input.
const GIVEN: &str = "stdin";

/// Where and how the socket will listen.
#[derive(Debug)]
pub(crate) struct Plan {
    path: PathBuf,
    options: ServerOptions,
}

/// The socket.
#[derive(Debug)]
pub(crate) struct Clients {
    path: PathBuf,
    /// `None` once it is stopped.
    server: Mutex<Option<Server>>,
}

impl Clients {
    /// Decides where and how to listen, and checks that nobody else listens there. Called before an engine starts.
    pub(crate) fn plan(settings: &Settings) -> Result<Plan, Failure> {
        let path = settings.text("socket", "path").map_or_else(default_path, PathBuf::from);
        if path == Path::new(GIVEN) {
            let options = given().map(ServerOptions::from_listener).map_err(|error| {
                Failure::Other(format!(
                    "socket.path says stdin, but standard input is not a Unix socket that listens: {error}"
                ))
            })?;
            return Ok(Plan { path, options: options.limits(limits(settings)) });
        }
        if is_served(&path) {
            return Err(twice(&path));
        }
        let mode = settings.value("socket", "mode").as_i64().and_then(|mode| mode.try_into().ok());
        let options = ServerOptions::new(&path)
            .mode(mode.unwrap_or(0o660))
            .group(group_number(&settings.value("socket", "group")))
            .limits(limits(settings));
        Ok(Plan { path, options })
    }

    /// How many processes are connected.
    pub(crate) fn count(&self) -> usize {
        self.server.lock().as_ref().map_or(0, |server| server.clients().len())
    }

    /// Where processes connect.
    pub(crate) fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// Replaces the rules.
    pub(crate) fn set_access(&self, rules: &Rules) {
        if let Some(server) = &*self.server.lock() {
            server.set_access(access(rules));
        }
    }

    /// Ends all connections.
    pub(crate) fn stop(&self) {
        // Dropping does not wait for the clients: the engine ends, too, and everything with it.
        let server = self.server.lock().take();
        drop(server);
    }
}

impl Plan {
    /// Starts serving.
    pub(crate) fn start(self, engine: &Engine, rules: &Rules) -> Result<Clients, Failure> {
        let Self { path, options } = self;
        let server = Server::start(engine, options.access(access(rules))).map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => Failure::Twice(format!("{error}: stop it, or set socket.path to another one")),
            _ => Failure::Other(format!(
                "{} cannot be served: {error}; its directory must exist and be writable, or set socket.path",
                path.display()
            )),
        })?;
        Ok(Clients { path, server: Mutex::new(Some(server)) })
    }
}

/// The socket that the service manager gives as standard input (systemd.exec(5), `StandardInput=socket`). It outlives
/// this process, so that no client is refused during a restart. `LISTEN_FDS` would need `unsafe`: only the caller of
/// `from_raw_fd` can promise what descriptor 3 is.
fn given() -> io::Result<UnixListener> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    if !socket_acceptconn(&socket)? {
        return Err(ErrorKind::InvalidInput.into());
    }
    let listener = UnixListener::from(socket);
    listener.local_addr()?;
    // Listens once more: then clients learn from the socket (SO_PEERCRED) that this process serves it, and not the
    // service manager, to which `grasp reload` would send its signal. The system lowers the number to what it permits.
    rustix::net::listen(&listener, i32::MAX)?;
    Ok(listener)
}

/// The limits on processes.
fn limits(settings: &Settings) -> ClientLimits {
    let number =
        |name: &str| settings.value("socket", name).as_i64().and_then(|number| usize::try_from(number).ok());
    let mut limits = ClientLimits::new();
    for (name, limit) in [
        ("clients", &mut limits.clients),
        ("clients_per_user", &mut limits.clients_per_user),
        ("asas", &mut limits.asas),
        ("objectives", &mut limits.objectives),
        ("calls", &mut limits.calls),
    ] {
        *limit = number(name).unwrap_or(*limit);
    }
    let patience = settings.value("socket", "patience").as_i64().and_then(|time| u64::try_from(time).ok());
    limits.patience = patience.map_or(limits.patience, Duration::from_millis);
    limits
}

/// Converts the rules to those of the library.
fn access(rules: &Rules) -> Access {
    let mut access = Access::new();
    for rule in &rules.0 {
        for who in rule.whom.iter().flat_map(|whom| who(*whom, members)) {
            if rule.everything {
                access = access.everything(who);
            }
            if rule.watch {
                access = access.watch(who);
            }
            if rule.act {
                access = access.act(who);
            }
            let [register, flood, listen] = &rule.names;
            access = access.register(who, register).flood(who, flood).listen(who, listen);
        }
    }
    access
}

/// Whom a rule is about, as the library asks: it knows the user and the primary group of a process, so a group is also its members.
fn who(whom: Whom, members: impl Fn(u32) -> Vec<u32>) -> Vec<Who> {
    match whom {
        Whom::Anyone => vec![Who::Anyone],
        Whom::User(uid) => vec![Who::User(uid)],
        Whom::Group(gid) => {
            let members = members(gid).into_iter().map(Who::User);
            std::iter::once(Who::Group(gid)).chain(members).collect()
        }
    }
}

/// The users that this machine lists as members of a group; those whose primary group it is need not be among them.
fn members(gid: u32) -> Vec<u32> {
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    let names = group.map(|group| group.mem).unwrap_or_default();
    names.iter().filter_map(|name| Some(User::from_name(name).ok()??.uid.as_raw())).collect()
}

/// Whether a process accepts connections at a path. Does not wait: a full queue of connections also shows that there is one.
pub(crate) fn is_served(path: &Path) -> bool {
    let kind = (AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC);
    let socket = socket_with(kind.0, kind.1, kind.2, None);
    let connected = socket.and_then(|socket| connect(&socket, &SocketAddrUnix::new(path)?));
    matches!(connected, Ok(()) | Err(Errno::AGAIN))
}

fn twice(path: &Path) -> Failure {
    Failure::Twice(format!(
        "another graspd serves {}: stop it, or set socket.path to another one",
        path.display()
    ))
}

/// Where clients look for the socket: `GRASP_SOCKET`; the directory of the service; that of the user's session; /run/grasp.
fn default_path() -> PathBuf {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = named("GRASP_SOCKET") {
        return path;
    }
    let session = || named("XDG_RUNTIME_DIR").filter(|_| !nix::unistd::geteuid().is_root());
    let directory = named("RUNTIME_DIRECTORY").or_else(session);
    directory.unwrap_or_else(|| "/run/grasp".into()).join("grasp.sock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_also_its_listed_members() {
        let members = |gid| if gid == 985 { vec![1000, 1001] } else { Vec::new() };
        assert_eq!(who(Whom::Group(985), members), [Who::Group(985), Who::User(1000), Who::User(1001)]);
        assert_eq!(who(Whom::Group(986), members), [Who::Group(986)]);
        assert_eq!(who(Whom::User(985), members), [Who::User(985)]);
        assert_eq!(who(Whom::Anyone, members), [Who::Anyone]);
    }

    /// As many as /etc/group names for each group; machines differ in which groups have members.
    #[test]
    fn the_members_of_a_group_are_those_of_the_machine() {
        let file = std::fs::read_to_string("/etc/group").unwrap_or_default();
        for line in file.lines() {
            let fields: Vec<_> = line.split(':').collect();
            let [_, _, gid, names] = fields[..] else { continue };
            let Ok(gid) = gid.parse() else { continue };
            let known =
                names.split(',').filter(|name| User::from_name(name).is_ok_and(|user| user.is_some()));
            assert_eq!(members(gid).len(), known.count(), "{line}");
        }
        assert!(members(u32::MAX - 7).is_empty(), "no such group");
    }
}
