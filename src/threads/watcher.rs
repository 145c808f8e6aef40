//! `_watcher`: follows interfaces and addresses as they come, go and change, and clears away what has expired.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::mhandler::Queue;
use super::{contain, drlisten, mclisten, spawn};
use crate::constants::GRASP_LISTEN_PORT;
use crate::core::{Core, Interface};
use crate::net::changes::Changes;
use crate::net::interfaces::{Link, Snapshot, snapshot};
use crate::net::multicast;
use crate::proto::{self, Addresses};
use crate::registry::Close;
use crate::start_error::StartError;

/// How many times as long as it has looked the thread rests: where addresses or interfaces change all the time, as on a
/// router with thousands of them, looking takes a tenth of a processor. It rests no longer than between two looks without a change.
const REST: u32 = 9;

/// Starts the thread.
pub(crate) fn start(core: &Arc<Core>, queue: Queue) -> io::Result<()> {
    let changes = Arc::new(Changes::new()?);
    core.set_changes(&changes);
    spawn(core, "_watcher", move |core| {
        let mut failing = None;
        loop {
            if let Err(error) = changes.wait(core.config.watch_interval) {
                // More descriptors than the process may have, for instance.
                contain(core, "telling of an error", || log::debug!("waiting for changes: {error}"));
                core.pause(core.config.watch_interval);
            }
            if core.is_stopping() {
                return;
            }
            let started = Instant::now();
            // A panic, of a substrate of one's own for instance, must not end watching.
            contain(core, "looking at the interfaces", || look(core, &queue, &mut failing));
            if !core.pause(started.elapsed().saturating_mul(REST).min(core.config.watch_interval)) {
                return;
            }
        }
    })
}

/// Looks once. `failing` is what was wrong last time, which is not said with every look.
fn look(core: &Arc<Core>, queue: &Queue, failing: &mut Option<String>) {
    core.update_security();
    let failure = refresh(core, queue).err().map(|error| error.to_string());
    if let Some(text) = failure.as_ref().filter(|text| failing.as_ref() != Some(text)) {
        log::warn!("{text}");
    }
    *failing = failure;
    let now = core.now();
    core.registries.floods.purge(now);
    let known: Vec<_> = core.addresses().links.iter().map(|link| link.ifi).collect();
    core.registries.discovery.purge(now, |ifi| known.contains(&ifi));
}

/// Looks at the interfaces once: opens those that are new, closes those that are gone, have another address, or have
/// lost their membership in the group.
pub(crate) fn refresh(core: &Arc<Core>, queue: &Queue) -> Result<(), StartError> {
    let seen = snapshot(&core.config, core.substrate.as_ref()).map_err(StartError::Interfaces)?;
    close_gone(core, &seen);
    let mut failure = None;
    for link in new_links(core, &seen) {
        match open(core, link, queue) {
            Ok(()) => {}
            // The address may still be tentative: the next look finds it ready.
            Err(StartError::Socket(error)) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                log::debug!("the address of {} is not ready: {error}", link.name);
            }
            Err(error) => {
                core.counters.interfaces_failed.add();
                failure = Some(error);
            }
        }
    }
    hear_unicasts(core, queue);
    update_addresses(core, &seen);
    failure.map_or(Ok(()), Err)
}

fn close_gone(core: &Core, seen: &Snapshot) {
    let joined = multicast::joined();
    let hears = |ifi| joined.as_ref().is_none_or(|joined| joined.contains(&ifi));
    let gone: BTreeMap<u32, Arc<Interface>> = {
        let mut network = core.network.write();
        let (kept, gone) =
            std::mem::take(&mut network.interfaces).into_iter().partition(|(ifi, interface)| {
                let same = |link: &Link| link.ifi == *ifi && link.link_local == interface.link_local;
                seen.links.iter().any(same) && hears(*ifi)
            });
        network.interfaces = kept;
        gone
    };
    for interface in gone.values() {
        log::info!("interface {} with {} is no longer used", interface.name, interface.link_local);
        core.counters.interfaces_removed.add();
        interface.close();
    }
}

fn new_links<'a>(core: &Core, seen: &'a Snapshot) -> Vec<&'a Link> {
    let network = core.network.read();
    seen.links.iter().filter(|link| !network.interfaces.contains_key(&link.ifi)).collect()
}

fn open(core: &Arc<Core>, link: &Link, queue: &Queue) -> Result<(), StartError> {
    let multicasts = multicast::Receiver::multicast(link.ifi).map_err(receive_error)?;
    let (sender, listener) =
        multicast::Sender::open(link.ifi, link.link_local).map_err(StartError::Socket)?;
    let listener = Arc::new(listener);
    let interface = Arc::new(Interface {
        name: link.name.clone(),
        link_local: link.link_local,
        sender,
        multicasts,
        unicasts: OnceLock::new(),
        responses: Arc::clone(&listener) as Arc<dyn Close>,
    });
    hear_unicasts_of(&interface, link.ifi);
    let started = mclisten::start(core, link.ifi, &interface, queue)
        .and_then(|()| drlisten::start(core, link.ifi, listener))
        .map_err(StartError::Thread);
    if let Err(error) = started {
        interface.close();
        return Err(error);
    }
    log::info!("interface {} with {} is used", link.name, link.link_local);
    core.counters.interfaces_added.add();
    core.network.write().interfaces.insert(link.ifi, Arc::clone(&interface));
    // Shutdown takes the interfaces away once: one that came too late closes itself.
    if core.is_stopping() {
        interface.close();
    }
    Ok(())
}

/// Takes up port 7017 where another program held it.
fn hear_unicasts(core: &Arc<Core>, queue: &Queue) {
    let without: Vec<_> = {
        let network = core.network.read();
        let without = network.interfaces.iter().filter(|(_, interface)| interface.unicasts.get().is_none());
        without.map(|(ifi, interface)| (*ifi, Arc::clone(interface))).collect()
    };
    for (ifi, interface) in without {
        if !hear_unicasts_of(&interface, ifi) {
            continue;
        }
        if mclisten::start_unicast(core, ifi, &interface, queue).is_err() || core.is_stopping() {
            // What is closed is opened again, whole, by a later look.
            interface.close();
            core.network.write().interfaces.remove(&ifi);
        } else {
            log::info!("interface {}: port {GRASP_LISTEN_PORT} is free now", interface.name);
        }
    }
}

/// Opens the port for datagrams to this node alone. `false` if another program holds it for itself.
fn hear_unicasts_of(interface: &Interface, ifi: u32) -> bool {
    match multicast::Receiver::unicast(ifi, interface.link_local) {
        Ok(unicasts) => interface.unicasts.set(unicasts).is_ok(),
        Err(error) => {
            log::debug!("no unicast datagrams on {}: {error}", interface.name);
            false
        }
    }
}

fn receive_error(error: io::Error) -> StartError {
    match error.kind() {
        io::ErrorKind::AddrInUse => StartError::PortTaken(error),
        io::ErrorKind::Unsupported => StartError::NoIpv6(error),
        // EAFNOSUPPORT has no kind of its own.
        _ if error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) => {
            StartError::NoIpv6(error)
        }
        _ => StartError::Socket(error),
    }
}

/// Takes over the addresses: the preferred one of more than link scope, and those of the links.
fn update_addresses(core: &Core, seen: &Snapshot) {
    let mut network = core.network.write();
    let links = network.interfaces.iter().map(|(ifi, interface)| proto::Link {
        ifi: *ifi,
        address: interface.link_local,
        port: interface.sender.port(),
    });
    let links = links.collect();
    let global = seen.globals.first().copied();
    network.permitted.clone_from(&seen.permitted);
    let addresses = Addresses { global, links };
    if *network.addresses != addresses {
        let addresses = Arc::new(addresses);
        network.addresses = Arc::clone(&addresses);
        drop(network);
        // The logger is the program's, and may ask the engine.
        log::info!("addresses: {addresses:?}");
    }
}
