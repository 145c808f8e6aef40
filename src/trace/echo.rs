//! Tells the multicasts of other nodes apart from this engine's own that come back, for listeners that show each
//! message only once.

use std::collections::HashSet;
use std::net::SocketAddrV6;

use super::{Carrier, Direction, MessageEvent};

/// The number of senders that are remembered. Each start uses one per interface.
const REMEMBERED: usize = 10_000;

/// The addresses from which the engine sends multicasts, as seen in its trace.
#[derive(Debug, Default)]
pub(crate) struct Echoes(HashSet<SocketAddrV6>);

impl Echoes {
    /// Records the source of a sent message. Returns whether this message came back to its sender.
    pub(crate) fn is_echo(&mut self, message: &MessageEvent) -> bool {
        match (message.carrier, message.direction) {
            (Carrier::Multicast, Direction::Out) => {
                if self.0.len() >= REMEMBERED {
                    self.0.clear();
                }
                self.0.insert(message.local);
                false
            }
            (Carrier::Multicast, Direction::In) => self.0.contains(&message.peer),
            _ => false,
        }
    }
}
