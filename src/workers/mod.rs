//! What `core` stores about the threads of one engine: the running threads, the threads that wait for an activity, the
//! connections that `_reader`s read from, and the connections that wait for their peers to close. `threads` starts and
//! uses them.

mod closing;
mod group;
mod idle;
mod readers;

pub(crate) use closing::Closing;
pub(crate) use group::ThreadGroup;
pub(crate) use idle::{Bench, Next, next};
#[cfg(test)]
pub(crate) use idle::{LIMIT, LINGER};
pub(crate) use readers::ReaderTable;
