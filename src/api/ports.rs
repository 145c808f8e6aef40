//! Chooses the TCP port of an objective and listens there, for `registration`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Port;
use crate::error::{Error, Result};
use crate::net::listener::Listener;

/// How many names are remembered with their ports.
const MEMORY: usize = 1000;
/// How many calculated ports are tried for a name.
const TRIES: u16 = 8;
/// The calculated ports are above those that Linux gives to outgoing connections.
const FIRST: u16 = 61_000;
const COUNT: u16 = u16::MAX - FIRST;

/// The last port of each objective of this process, by name.
static LAST: Mutex<BTreeMap<String, u16>> = Mutex::new(BTreeMap::new());

/// Opens the listener of an objective.
pub(super) fn open(name: &str, port: Port, ipv4: bool) -> Result<Listener> {
    let listener = match port {
        Port::Fixed(port) => {
            Listener::on(port, ipv4).map_err(|cause| Error::PortTaken { port, cause: Arc::new(cause) })?
        }
        Port::Any => any(ipv4)?,
        Port::Last => match likely(name).into_iter().find_map(|port| free(port, ipv4)) {
            Some(listener) => listener,
            None => any(ipv4)?,
        },
    };
    if port == Port::Last
        && let Ok(port) = listener.port()
    {
        remember(&mut LAST.lock(), name, port);
    }
    Ok(listener)
}

fn any(ipv4: bool) -> Result<Listener> {
    Listener::on(0, ipv4).map_err(|error| {
        log::warn!("no port for an objective: {error}");
        Error::ObjFull
    })
}

fn free(port: u16, ipv4: bool) -> Option<Listener> {
    match Listener::on(port, ipv4) {
        Ok(listener) => Some(listener),
        Err(error) if error.kind() == ErrorKind::AddrInUse => None,
        Err(error) => {
            log::debug!("port {port}: {error}");
            None
        }
    }
}

/// The ports to try for a name, in order.
fn likely(name: &str) -> Vec<u16> {
    let last = LAST.lock().get(name).copied();
    // FNV-1a: the same in every version of every program.
    let hash =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let start = u16::try_from(hash % u32::from(COUNT)).unwrap_or(0);
    let calculated = (0..TRIES).map(|step| FIRST + (start + step) % COUNT);
    last.into_iter().chain(calculated).collect()
}

fn remember(last: &mut BTreeMap<String, u16>, name: &str, port: u16) {
    if last.len() < MEMORY || last.contains_key(name) {
        last.insert(name.to_owned(), port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_its_ports_in_every_program() {
        assert_eq!(likely("EX3: a test")[..2], [61_353, 61_354]);
        for name in ["", "a", "EX1", "пример"] {
            let ports = likely(name);
            assert_eq!(ports.len(), usize::from(TRIES));
            assert!(ports.iter().all(|port| *port >= FIRST), "{ports:?}");
        }
    }

    #[test]
    fn no_more_names_are_remembered_than_there_is_room_for() {
        let mut last = BTreeMap::new();
        for number in 0..MEMORY + 5 {
            remember(&mut last, &number.to_string(), 1);
        }
        remember(&mut last, "0", 2);
        assert_eq!((last.len(), last.get("0")), (MEMORY, Some(&2)));
    }
}
