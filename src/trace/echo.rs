//! Telling apart what others multicast and what comes back of this engine's own, for listeners that show each
//! message once.

use std::collections::HashSet;
use std::net::SocketAddrV6;

use super::{Carrier, Direction, MessageEvent};

/// How many senders are remembered: there is one an interface and start.
const REMEMBERED: usize = 10_000;

/// Where the engine sends multicasts from, as seen in its trace.
#[derive(Debug, Default)]
pub(crate) struct Echoes(HashSet<SocketAddrV6>);

impl Echoes {
    /// Takes note of what is sent. Returns whether this message has come back to its sender.
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
