//! What `core` keeps of the threads of one engine: which there are, which wait for an activity, what `_reader`s read from,
//! what waits to be closed by its peer, and the other engines of the host.
//! `threads` starts and uses them.

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
