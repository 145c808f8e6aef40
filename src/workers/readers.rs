//! The connections that `_reader` threads read from.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::bounds::{BoundedMap, Capacity, Neighbour};
use crate::net::tcp::Connection;
use crate::outcome::{Case, ConnectionOutcome};
use crate::registry::Transport as _;

/// Connections that wait for their first message. When the table is full, the peer with the most connections makes room
/// with its oldest one: honest peers send at once, and a slow peer is not displaced by the many connections of another.
#[derive(Debug)]
pub(crate) struct ReaderTable {
    inner: Mutex<Table>,
}

/// By number: each connection with its case, held by its peer.
type Table = BoundedMap<u64, Waiting, Neighbour>;

#[derive(Debug)]
struct Waiting {
    connection: Arc<Connection>,
    case: Case<ConnectionOutcome>,
}

impl ReaderTable {
    pub(crate) fn new(limit: usize) -> Self {
        let capacity = Capacity::entries(limit);
        Self { inner: Mutex::new(BoundedMap::with_shares(capacity, capacity)) }
    }

    /// Adds a connection, and closes those that must make room. Returns its number and how many are waiting now.
    pub(crate) fn add(&self, connection: &Arc<Connection>, case: Case<ConnectionOutcome>) -> (u64, usize) {
        let waiting = Waiting { connection: Arc::clone(connection), case };
        let mut table = self.inner.lock();
        let number = table.next_number();
        let evicted = table.insert_for(connection.neighbour(), (), number, waiting, 0);
        let count = table.len();
        drop(table);
        for (_, gone) in evicted {
            gone.case.settle(ConnectionOutcome::ReaderFull);
            gone.connection.close();
        }
        (number, count)
    }

    /// Removes a connection. `None` if it was closed earlier to make room.
    pub(crate) fn remove(&self, number: u64) -> Option<Case<ConnectionOutcome>> {
        self.inner.lock().remove(&number).map(|waiting| waiting.case)
    }

    pub(crate) fn close_all(&self) {
        let waiting = self.inner.lock().extract(|_, _| true);
        for (_, Waiting { connection, case }) in waiting {
            case.settle(ConnectionOutcome::BadRequest);
            connection.close();
        }
    }
}
