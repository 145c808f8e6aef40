//! `_watcher`: follows changes of interfaces and addresses, and removes expired entries.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use parking_lot::Mutex;

use super::mhandler::Queue;
use super::{contain, drlisten, host, mclisten, neighbours, spawn};
use crate::core::{Core, Interface};
use crate::net::changes::Changes;
use crate::net::descriptors;
use crate::net::interfaces::{InUse, LeftOut, Link, Snapshot, Why, snapshot};
use crate::net::{multicast, overflow};
use crate::registry::{self, Addresses, Close};
use crate::start_error::StartError;

/// How many times as long as its last look the thread pauses. If addresses or interfaces change constantly, as on a
/// router with thousands of them, looking thus takes at most a tenth of a processor. It never pauses longer than
/// `watch_interval`.
const REST: u32 = 9;

/// The sockets of an interface: for multicasts, for unicast datagrams, for sending, and for responses.
const INTERFACE_DESCRIPTORS: usize = 4;

/// Starts the thread.
pub(crate) fn start(core: &Arc<Core>, queue: Queue) -> io::Result<()> {
    let mut failing = None;
    watch(core, "_watcher", move |core| look(core, &queue, &mut failing))
}

/// Starts the thread that follows the interfaces for DULL instances.
pub(crate) fn start_dull(
    core: &Arc<Core>,
    refresh: impl Fn(&Arc<Core>) -> Result<(), StartError> + Send + 'static,
) -> io::Result<()> {
    let mut failing = None;
    watch(core, "_dull_watcher", move |core| say(refresh(core), &mut failing))
}

/// Starts a thread that looks whenever the system reports a change, and at regular intervals.
fn watch(
    core: &Arc<Core>,
    name: &'static str,
    mut look: impl FnMut(&Arc<Core>) + Send + 'static,
) -> io::Result<()> {
    let changes = Arc::new(Changes::new()?);
    core.set_changes(&changes);
    spawn(core, name, move |core| {
        loop {
            let waiting = Instant::now();
            if let Err(error) = changes.wait(core.watch_interval()) {
                // For instance, the process has too many open descriptors.
                contain(core, "telling of an error", || log::debug!("waiting for changes: {error}"));
                core.pause(core.node.config.watch_interval);
            }
            if core.is_stopping() {
                return;
            }
            let started = Instant::now();
            // Without a change it has paused already.
            let was_idle = started.duration_since(waiting) >= core.watch_interval();
            // A panic, for instance of a custom substrate, must not end watching.
            contain(core, "looking at the interfaces", || look(core));
            if !was_idle && !core.pause(started.elapsed().saturating_mul(REST).min(core.watch_interval())) {
                return;
            }
        }
    })
}

/// Logs a failure, unless it is the same as last time, which `failing` holds.
fn say(looked: Result<(), StartError>, failing: &mut Option<String>) {
    if let Some(text) = news(looked, failing) {
        log::warn!("{text}");
    }
}

/// The failure, unless it is the same as last time.
fn news(looked: Result<(), StartError>, failing: &mut Option<String>) -> Option<String> {
    let failure = looked.err().map(|error| error.to_string());
    let before = std::mem::replace(failing, failure.clone());
    failure.filter(|text| before.as_ref() != Some(text))
}

/// Looks once.
fn look(core: &Arc<Core>, queue: &Queue, failing: &mut Option<String>) {
    core.update_security();
    count_overflows(core);
    say(refresh(core, queue), failing);
    if let Some(again) = core.is_membership_due() {
        neighbours::expel(core, again);
    }
    core.node.purge(core.now());
    for exchange in core.node.end_abandoned(core.now()) {
        exchange.transport.close();
    }
    core.closing.look();
}

/// Counts what the system has dropped because the engine does not receive as fast as others send.
fn count_overflows(core: &Core) {
    let dropped = overflow::dropped();
    if dropped.is_empty() {
        return;
    }
    let interfaces: Vec<_> = core.network.read().interfaces.values().cloned().collect();
    let news: usize = interfaces.iter().map(|interface| interface.overflows(&dropped)).sum();
    core.node.counters.receive_overflows.add_many(news);
}

/// Looks at the interfaces once: opens new ones, and closes those that no longer exist, have another address, or have
/// lost their membership in the group.
pub(crate) fn refresh(core: &Arc<Core>, queue: &Queue) -> Result<(), StartError> {
    let mut seen = snapshot(&core.node.config, core.substrate.as_ref(), &in_use(core))
        .map_err(StartError::Interfaces)?;
    close_gone(core, &seen);
    let mut failure = None;
    let links = affordable(core, new_links(core, &seen), &mut seen.left_out);
    for link in &links {
        match open(core, link, queue) {
            Ok(()) => {}
            // The address may still be tentative: the next look finds it ready.
            Err(StartError::Socket(error)) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                log::debug!("the address of {} is not ready: {error}", link.name);
            }
            Err(error) => {
                core.node.counters.interfaces_failed.add();
                failure = Some(error);
            }
        }
    }
    host::hear(core, queue);
    update_addresses(core, &seen);
    neighbours::look(core, queue);
    host::update(core);
    say_left_out(core, seen.left_out);
    failure.map_or(Ok(()), Err)
}

/// Returns what stays in use as long as it is valid.
fn in_use(core: &Core) -> InUse {
    let network = core.network.read();
    let link_locals = network.interfaces.iter().map(|(ifi, interface)| (*ifi, interface.link_local));
    let addresses = core.addresses();
    let Addresses { own, global, initiator, .. } = addresses.as_ref();
    InUse { link_locals: link_locals.collect(), own: own.clone(), global: *global, initiator: *initiator }
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
    for (ifi, interface) in &gone {
        log::info!("interface {} with {} is no longer used", interface.name, interface.link_local);
        core.node.counters.interfaces_removed.add();
        core.close_interface(*ifi, interface);
    }
}

fn new_links(core: &Core, seen: &Snapshot) -> Vec<Link> {
    let network = core.network.read();
    seen.links.iter().filter(|link| !network.interfaces.contains_key(&link.ifi)).cloned().collect()
}

/// Returns the new interfaces whose descriptors leave enough for sessions.
fn affordable(core: &Core, mut links: Vec<Link>, left_out: &mut Vec<LeftOut>) -> Vec<Link> {
    if links.is_empty() {
        return links;
    }
    let wanted = links.len().saturating_mul(INTERFACE_DESCRIPTORS);
    let wanted = wanted.saturating_add(core.node.config.reserved_descriptors);
    if let Some(room) = descriptors::room(wanted, core.node.config.raise_descriptor_limit) {
        let most = fitting(room, core.node.config.reserved_descriptors, descriptors::limit());
        let beyond = links.split_off(most.min(links.len()));
        left_out.extend(beyond.into_iter().map(|link| LeftOut { name: link.name, why: Why::Descriptors }));
    }
    links
}

/// How many interfaces there is room for, if so many of the descriptors that the process may have are reserved.
fn fitting(room: usize, reserved: usize, limit: usize) -> usize {
    room.saturating_sub(reserved.min(limit / 2)) / INTERFACE_DESCRIPTORS
}

/// Logs which interfaces are left out, if that has changed.
fn say_left_out(core: &Core, left_out: Vec<LeftOut>) {
    let news: Vec<_> = {
        let mut network = core.network.write();
        let news = left_out.iter().filter(|one| !network.left_out.contains(one)).cloned().collect();
        network.left_out = left_out;
        news
    };
    core.node.counters.interfaces_left_out.add_many(news.len());
    let names = |why: &Why| -> Vec<_> {
        news.iter().filter(|one| one.why == *why).map(|one| one.name.as_str()).collect()
    };
    let named = |name| core.node.config.interfaces.iter().flatten().any(|wanted| wanted == name);
    for LeftOut { name, why } in &news {
        match why {
            Why::PartOf(whole) if named(name) => {
                log::warn!(
                    "interface {name} is left out: it is a part of {whole}, name that (Config::interfaces)"
                )
            }
            Why::PartOf(whole) => log::info!("interface {name} is left out: it is a part of {whole}"),
            Why::SameLink(other) => {
                log::warn!("interface {name} is left out: it is on the same link as {other}")
            }
            Why::Limit | Why::Descriptors => {}
        }
    }
    if let [first, .., last] | [first @ last] = names(&Why::Limit).as_slice() {
        log::warn!(
            "{} interfaces are left out, {first} to {last}: no more than {} are used (Config::interface_limit); name those that \
             matter (Config::interfaces)",
            names(&Why::Limit).len(),
            core.node.config.interface_limit
        );
    }
    if let [first, .., last] | [first @ last] = names(&Why::Descriptors).as_slice() {
        log::warn!(
            "{} interfaces are left out, {first} to {last}: each takes {INTERFACE_DESCRIPTORS} open files, and this process may \
             have {}; raise that (ulimit -n, or LimitNOFILE= in a unit), or name the interfaces that matter (Config::interfaces)",
            names(&Why::Descriptors).len(),
            descriptors::limit()
        );
    }
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
        unicasts: Mutex::default(),
        responses: Arc::clone(&listener) as Arc<dyn Close>,
        shares_link: AtomicBool::new(false),
        announced: Mutex::default(),
    });
    // Before anything is received, which is taken only from interfaces that are used.
    core.network.write().interfaces.insert(link.ifi, Arc::clone(&interface));
    let started = mclisten::start(core, link.ifi, &interface, queue)
        .and_then(|()| match core.node.has_neighbours() {
            false => drlisten::start(core, link.ifi, listener),
            true => neighbours::listen(core, link.ifi, listener, queue),
        })
        .map_err(StartError::Thread);
    if let Err(error) = started {
        core.network.write().interfaces.remove(&link.ifi);
        interface.close();
        return Err(error);
    }
    log::info!("interface {} with {} is used", link.name, link.link_local);
    core.node.counters.interfaces_added.add();
    // Shutdown closes the interfaces only once: one that was added too late closes itself.
    if core.is_stopping() {
        interface.close();
    }
    Ok(())
}

fn receive_error(error: io::Error) -> StartError {
    match error.kind() {
        io::ErrorKind::AddrInUse => StartError::PortTaken(error),
        io::ErrorKind::Unsupported => StartError::NoIpv6(error),
        // EAFNOSUPPORT has no `ErrorKind` of its own.
        _ if error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) => {
            StartError::NoIpv6(error)
        }
        _ => StartError::Socket(error),
    }
}

/// The addresses in use, for operators.
fn described(core: &Core, addresses: &Addresses) -> String {
    let links = addresses.links.iter().map(|link| {
        let name = core.interface_name(link.ifi).unwrap_or_else(|| format!("interface {}", link.ifi));
        format!("{name} {}", link.address)
    });
    let links: Vec<_> = links.collect();
    let links = if links.is_empty() { "no interface".to_owned() } else { links.join(", ") };
    match addresses.global {
        Some(global) => format!("uses the address {global}, on {links}"),
        None => format!("uses no address wider than a link, on {links}"),
    }
}

/// Takes over the addresses: the preferred one wider than link scope, and those of the links.
fn update_addresses(core: &Core, seen: &Snapshot) {
    let mut network = core.network.write();
    let links = network.interfaces.iter().map(|(ifi, interface)| registry::Link {
        ifi: *ifi,
        address: interface.link_local,
        port: interface.sender.port(),
    });
    let links = links.collect();
    network.permitted.clone_from(&seen.permitted);
    let Snapshot { own, global, initiator, .. } = seen.clone();
    drop(network);
    let addresses = Arc::new(Addresses { global, links, own, initiator });
    if core.node.registries.links.set(&addresses) {
        // The logger is the program's, and may call the engine.
        log::info!("{}", described(core, &addresses));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_lasts_is_said_once_and_again_after_a_success() {
        let mut failing = None;
        let mut said = |looked| news(looked, &mut failing).is_some();
        let (ports, threads) = (
            || Err(receive_error(io::ErrorKind::AddrInUse.into())),
            || Err(StartError::Thread(io::ErrorKind::WouldBlock.into())),
        );
        assert!(!said(Ok(())) && said(ports()) && !said(ports()));
        assert!(said(threads()) && !said(threads()) && said(ports()));
        assert!(!said(Ok(())) && said(ports()));
    }

    #[test]
    fn why_nothing_can_be_received_is_told_apart() {
        let of = |errno: rustix::io::Errno| receive_error(errno.into());
        assert!(matches!(of(rustix::io::Errno::ADDRINUSE), StartError::PortTaken(_)));
        assert!(matches!(of(rustix::io::Errno::AFNOSUPPORT), StartError::NoIpv6(_)));
        assert!(matches!(receive_error(io::ErrorKind::Unsupported.into()), StartError::NoIpv6(_)));
        assert!(matches!(of(rustix::io::Errno::NODEV), StartError::Socket(_)));
    }

    #[test]
    fn interfaces_leave_descriptors_for_sessions_but_not_more_than_half() {
        assert_eq!(fitting(100, 60, 1024), 10);
        assert_eq!(fitting(103, 60, 1024), 10);
        assert_eq!(fitting(50, 60, 1024), 0);
        assert_eq!(fitting(100, 900, 100), 12, "of 100, 50 are reserved at most");
    }
}
