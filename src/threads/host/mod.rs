//! `_host`: coordinates the engines of one host, that is, of one network namespace. One of them, the front, receives at port 7017
//! for all (RFC 8990 §2.5.4.2) and decides who relays; the others are its members. The front is the engine that holds a certain
//! abstract socket name; when it ends, the members elect another one.
//!
//! The first election takes place in `Engine::start`. `_watcher` reports changes, and makes an engine that is alone look for a
//! front again.

mod front;
mod member;
mod question;

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::mhandler::Queue;
use super::{contain, mclisten, spawn};
use crate::config::Relay;
use crate::constants::GRASP_LISTEN_PORT;
use crate::core::{Core, Interface, Unicasts};
use crate::net::host::{Door, LONGEST, Link, Read};
use crate::net::listener::Listener;
use crate::net::multicast;
use crate::net::wait::wait_for_inputs;
use crate::net::waker::Waker;
use crate::registry::Close as _;
use crate::workers::host::{Said, Standing, Status, Told, Wish};

/// How long an election is repeated while others are quicker, and how long a front may take to give a new member its role. A
/// front has little else to do, but its machine may be busy.
const WELCOME: Duration = Duration::from_secs(2);
/// How many fronts may end while this engine joins them, before it stays alone.
const ENDED: usize = 10;
/// The pause between two tries.
const REST: Duration = Duration::from_millis(2);
/// A place that was held for less than this is followed by a pause.
const LASTING: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(50);
/// Engines seal this, and compare the results, to find out whether they can open each other's messages.
const SAME: &[u8] = b"the same domain";

/// The result of an election.
#[derive(Debug)]
enum Place {
    Alone,
    Front(Door),
    Member(Arc<Link>),
}

/// Makes the first election, and starts the thread. The engine stays alone if the system does not provide what this needs.
pub(crate) fn start(core: &Arc<Core>, queue: &Queue) -> io::Result<()> {
    let waker = match Waker::new() {
        Ok(waker) => Arc::new(waker),
        Err(error) => {
            log::debug!("other engines of this host are not looked for: {error}");
            return Ok(());
        }
    };
    core.host.set_waker(&waker);
    update(core);
    let mut place = elect(core, &waker);
    hear(core, queue);
    let queue = queue.clone();
    spawn(core, "_host", move |core| {
        while !core.is_stopping() {
            let since = Instant::now();
            // A panic ends only the connections with the others.
            contain(core, "coordinating with other engines of this host", || match place {
                Place::Alone => wait_for_news(&waker),
                Place::Front(door) => front::lead(core, &queue, door, &waker),
                Place::Member(link) => member::follow(core, &queue, &link, &waker),
            });
            // Elections in quick succession must not keep a processor busy.
            if core.is_stopping() || since.elapsed() < LASTING && !core.pause(PAUSE) {
                return;
            }
            place = elect(core, &waker);
            hear(core, &queue);
        }
    })
}

fn wait_for_news(waker: &Waker) {
    if let Err(error) = wait_for_inputs(&[waker.as_fd()], None) {
        log::debug!("waiting for news: {error}");
    }
    waker.clear();
}

/// Tells the others the status of this engine, if it has changed.
pub(super) fn update(core: &Core) {
    let wish = match core.node.config.relay {
        _ if !core.node.can_relay() || !core.node.is_secure() => Wish::No,
        Relay::Always => Wish::Always,
        _ => Wish::Once,
    };
    let links = core.addresses().links.iter().map(|link| link.ifi).collect();
    let domain = core.protection.as_ref().map(|protection| protection.seal(SAME)).unwrap_or_default();
    core.host.update(Status { wish, links, domain });
}

/// Takes the name, or joins the engine that holds it.
fn elect(core: &Core, waker: &Waker) -> Place {
    let deadline = Instant::now() + WELCOME;
    let mut ended = 0;
    while Instant::now() < deadline {
        match Link::connect() {
            Ok(link) => match join(core, &link, waker) {
                Joined::Member => return Place::Member(Arc::new(link)),
                Joined::Ended if ended < ENDED => ended += 1,
                Joined::Ended | Joined::Not => return alone(core),
            },
            // A DULL instance leads nobody: it serves single links.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && core.node.config.dull => {
                return alone(core);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => match Door::open() {
                Ok(door) => {
                    core.host.set_standing(Standing::Front);
                    return Place::Front(door);
                }
                // Another engine was quicker, and may not be listening yet.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => {
                    log::debug!("this engine cannot receive for others of this host: {error}");
                    return alone(core);
                }
            },
            Err(error) => {
                log::debug!("no other engine of this host can be asked: {error}");
                return alone(core);
            }
        }
        if !core.pause(REST) {
            break;
        }
    }
    alone(core)
}

/// Goes on as if there were no other engine.
fn alone(core: &Core) -> Place {
    core.host.set_standing(Standing::Alone);
    core.node.set_relays_for_host(true);
    Place::Alone
}

/// The result of an attempt to join a front.
enum Joined {
    Member,
    /// The front has ended, or has refused this member.
    Ended,
    /// The front must not be followed.
    Not,
}

fn join(core: &Core, link: &Link, waker: &Waker) -> Joined {
    if !link.is_trusted() {
        log::debug!("a process of another user holds the name of the engines of this host: it is ignored");
        return Joined::Not;
    }
    let deadline = Instant::now() + WELCOME;
    if link.send(&Said::Status(core.host.status()).encode()).is_err() {
        return Joined::Ended;
    }
    let mut buffer = vec![0; LONGEST];
    while !core.is_stopping() {
        match link.read(&mut buffer) {
            Read::Message(message) => match Told::decode(message) {
                Some(Told::Role { relays, hears }) => {
                    member::take_role(core, relays, hears);
                    return Joined::Member;
                }
                // A front hands nothing to a member that has no role yet.
                _ => return Joined::Not,
            },
            Read::End => return Joined::Ended,
            Read::Nothing if Instant::now() >= deadline => return Joined::Not,
            Read::Nothing => {
                // A change in the meantime is told once this engine is a member.
                match wait_for_inputs(&[waker.as_fd(), link.as_fd()], Some(deadline)).as_deref() {
                    Ok([woken, _]) if *woken => waker.clear(),
                    Ok(_) => {}
                    Err(_) => return Joined::Not,
                }
            }
        }
    }
    Joined::Not
}

/// Receives at port 7017 of each interface where that is this engine's task, and of no other. Tries again where another program
/// held the port. Returns whether there is nothing left to try.
pub(super) fn hear(core: &Arc<Core>, queue: &Queue) -> bool {
    let _alone = core.host.hearing.lock();
    if core.node.has_neighbours() {
        // Datagrams are not secured.
        return hear_connections(core);
    }
    let interfaces: Vec<_> = {
        let network = core.network.read();
        network.interfaces.iter().map(|(ifi, interface)| (*ifi, Arc::clone(interface))).collect()
    };
    let mut all = true;
    for (ifi, interface) in &interfaces {
        all &= hear_interface(core, *ifi, interface, queue);
    }
    all & hear_connections(core)
}

fn hear_interface(core: &Arc<Core>, ifi: u32, interface: &Interface, queue: &Queue) -> bool {
    {
        let mut unicasts = interface.unicasts.lock();
        match &*unicasts {
            Unicasts::Heard(_) if !core.host.hears(ifi) => unicasts.end(Unicasts::Unheard),
            Unicasts::Unheard if core.host.hears(ifi) => {}
            Unicasts::Unheard | Unicasts::Heard(_) | Unicasts::Closed => return true,
        }
    }
    if !core.host.hears(ifi) {
        return true;
    }
    let receiver = match multicast::Receiver::unicast(ifi, &interface.name, interface.link_local) {
        Ok(receiver) => Arc::new(receiver),
        Err(error) => {
            log::debug!("no unicast datagrams on {}: {error}", interface.name);
            return false;
        }
    };
    {
        let mut unicasts = interface.unicasts.lock();
        // The interface may be gone, or this task another engine's.
        if !matches!(*unicasts, Unicasts::Unheard) || !core.host.hears(ifi) {
            return true;
        }
        *unicasts = Unicasts::Heard(Arc::clone(&receiver));
    }
    let started = mclisten::start_unicast(core, ifi, &receiver, queue).is_ok();
    if !started {
        interface.unicasts.lock().end(Unicasts::Unheard);
    }
    started
}

/// Accepts TCP connections to the port if this engine is the front. Returns whether there is nothing left to try.
fn hear_connections(core: &Arc<Core>) -> bool {
    let is_front = || core.host.standing() == Standing::Front && !core.is_stopping();
    let close = || core.host.door.lock().take().into_iter().for_each(|listener| listener.close());
    if !is_front() {
        close();
        return true;
    }
    if core.host.door.lock().is_some() {
        return true;
    }
    let listener = match Listener::on(GRASP_LISTEN_PORT, false) {
        Ok(listener) => Arc::new(listener),
        Err(error) => {
            log::debug!("no discoveries by TCP to port {GRASP_LISTEN_PORT}: {error}");
            return false;
        }
    };
    *core.host.door.lock() = Some(Arc::clone(&listener));
    let started = question::start(core, listener).is_ok();
    if !started || !is_front() {
        close();
    }
    started
}
