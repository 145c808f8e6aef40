//! A bounded number of activities of one kind. Used by `_responder` and `_disc_relay`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One of a bounded number of activities. Free again when dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<AtomicUsize>);

impl Slot {
    /// Takes one, if fewer than `limit` are `taken`; says with it how many are taken now.
    pub(super) fn take(taken: &Arc<AtomicUsize>, limit: usize) -> Option<(Self, usize)> {
        taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| (count < limit).then_some(count + 1))
            .ok()
            .map(|before| (Self(Arc::clone(taken)), before + 1))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
