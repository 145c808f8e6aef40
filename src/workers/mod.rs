//! What `core` stores about the threads of one engine: the running threads, the threads that wait for an activity, the
//! connections that `_reader`s read from, the connections that wait for their peers to close, and the other
//! engines of the host. `threads` starts and uses them.

mod closing;
mod group;
pub(crate) mod host;
mod idle;
mod readers;

pub(crate) use closing::Closing;
pub(crate) use group::ThreadGroup;
pub(crate) use idle::{Bench, Next, next};
#[cfg(test)]
pub(crate) use idle::{LIMIT, LINGER};
pub(crate) use readers::ReaderTable;
