//! The front: accepts members, decides who relays, and collects the members' answers. The threads that receive at port 7017 hand
//! on what arrives there (`Host::hand_on`, `Host::ask`).

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
/// How many connections are accepted before the members have their turn.
const NEWCOMERS: usize = 16;
/// How often a front tries to receive at port 7017, and the pause in between: the process that held the port before may still be
/// ending.
const TRIES: usize = 20;
const REST: Duration = Duration::from_millis(50);

/// A member, and what it was told last.
#[derive(Debug)]
struct Entry {
    member: Arc<Member>,
    /// `None` until the member has told it.
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
    // Before the members notice the end, and try to get the name.
    drop(door);
    publish(core, &[]);
}

/// Accepts a connection as that of a member, if it is trusted and there is room.
fn welcome(core: &Core, entries: &mut Vec<Entry>, link: Link) {
    if entries.len() < MEMBERS && link.is_trusted() {
        entries.push(Entry { member: Member::new(link), status: None, told: None });
    } else {
        core.node.counters.members_refused.add();
    }
}

/// Reads the messages of a member. Returns `false` if the member must go.
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

/// Decides who relays, and tells the members whose role has changed. Returns `false` if a member had to go: then its role is
/// free for another.
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
        // A member that has no room for this does not read: it must go.
        entry.member.link.send(&Told::Role { relays, hears }.encode()).is_ok()
    });
    entries.len() == before
}

/// Gives the list of members to the threads that hand on to them.
fn publish(core: &Core, entries: &[Entry]) {
    let members = entries.iter().filter(|entry| entry.status.is_some()).map(|entry| &entry.member);
    let members: Vec<_> = members.cloned().collect();
    core.host.set_members(&members);
}
