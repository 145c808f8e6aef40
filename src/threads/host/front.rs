//! The front: takes members up, says who relays, and collects their answers. What comes to port 7017 is handed on by those who
//! receive it.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{hear, update};
use crate::core::Core;
use crate::net::host::{Door, LONGEST, Link, Read};
use crate::net::wait::wait_for_inputs;
use crate::net::waker::Waker;
use crate::threads::mhandler::Queue;
use crate::workers::host::{MEMBERS, Member, Said, Status, Told, relays};

/// How many messages of one member are read before the others have their turn.
const IN_A_ROW: usize = 16;
/// How many connections are taken up before the members have their turn.
const NEWCOMERS: usize = 16;
/// The process that held port 7017 before may still be ending: how often and how long it is waited for.
const TRIES: usize = 20;
const REST: Duration = Duration::from_millis(50);

/// Another engine, and what it was told last.
#[derive(Debug)]
struct Entry {
    member: Arc<Member>,
    /// Unknown until it has said it.
    status: Option<Status>,
    told: Option<(bool, Vec<u32>)>,
}

/// Leads the others until the engine ends.
pub(super) fn lead(core: &Arc<Core>, queue: &Queue, door: Door, waker: &Waker) {
    let mut entries: Vec<Entry> = Vec::new();
    let mut buffer = vec![0; LONGEST];
    let mut tries = TRIES;
    update(core);
    while !core.is_stopping() {
        if tries > 0 {
            tries = if hear(core, queue) { 0 } else { tries - 1 };
        }
        while !assign(core, &mut entries) {}
        publish(core, &entries);
        let again = (tries > 0).then(|| Instant::now() + REST);
        let mut waiting = vec![waker.as_fd(), door.as_fd()];
        waiting.extend(entries.iter().map(|entry| entry.member.link.as_fd()));
        let ready = match wait_for_inputs(&waiting, again) {
            Ok(ready) => ready,
            Err(error) => {
                log::debug!("waiting for other engines: {error}");
                break;
            }
        };
        let [woken, called, of_members @ ..] = ready.as_slice() else { break };
        if *woken {
            waker.clear();
            // There may be a new interface, on which another process still holds the port.
            tries = TRIES;
        }
        let mut turns = of_members.iter();
        entries.retain_mut(|entry| {
            let is_ready = turns.next().is_some_and(|ready| *ready);
            let stays = !is_ready || listen_to(core, entry, &mut buffer);
            if !stays {
                entry.member.link.close();
            }
            stays
        });
        if *called {
            (0..NEWCOMERS).map_while(|_| door.accept()).for_each(|link| welcome(core, &mut entries, link));
        }
    }
    // Before the members see the end, and want the name.
    drop(door);
    publish(core, &[]);
}

/// Takes a connection up, if it is one of ours and there is room.
fn welcome(core: &Core, entries: &mut Vec<Entry>, link: Link) {
    if entries.len() < MEMBERS && link.is_trusted() {
        entries.push(Entry { member: Member::new(link), status: None, told: None });
    } else {
        core.node.counters.members_refused.add();
    }
}

/// Hears what a member says. `false` if it is to go.
fn listen_to(core: &Core, entry: &mut Entry, buffer: &mut [u8]) -> bool {
    for _ in 0..IN_A_ROW {
        match entry.member.link.read(buffer) {
            Read::Message(message) => match Said::decode(message) {
                Some(Said::Status(status)) => {
                    entry.status = Some(status);
                    entry.told = None;
                }
                Some(Said::Answer { number, bytes }) => core.host.answer(&entry.member, number, bytes),
                None => {
                    core.node.counters.members_refused.add();
                    return false;
                }
            },
            Read::Nothing => return true,
            Read::End => return false,
        }
    }
    true
}

/// Says who relays, to those for whom that is news. `false` if somebody had to go, whose part is another's then.
fn assign(core: &Core, entries: &mut Vec<Entry>) -> bool {
    let before = entries.len();
    let own = core.host.status();
    let all: Vec<_> =
        std::iter::once(&own).chain(entries.iter().filter_map(|one| one.status.as_ref())).collect();
    let mut roles = relays(&all).into_iter();
    core.node.set_relays_for_host(roles.next().unwrap_or(true));
    entries.retain_mut(|entry| {
        if entry.status.is_none() {
            return true;
        }
        let role = (roles.next().unwrap_or(false), own.links.clone());
        if entry.told.as_ref() == Some(&role) {
            return true;
        }
        let (relays, hears) = role.clone();
        entry.told = Some(role);
        // Who has no room for this reads nothing: it cannot be a member.
        entry.member.link.send(&Told::Role { relays, hears }.encode()).is_ok()
    });
    entries.len() == before
}

/// Tells those who hand on who there is to hand on to.
fn publish(core: &Core, entries: &[Entry]) {
    let members = entries.iter().filter(|entry| entry.status.is_some()).map(|entry| &entry.member);
    let members: Vec<_> = members.cloned().collect();
    core.host.set_members(&members);
}
