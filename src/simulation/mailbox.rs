//! The mailbox of a discovery on virtual time. It takes memory only for the answers that wait: a hundred thousand relays
//! may be open in one simulated network, and the engine's channel has room for all its answers from the beginning.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::registry::{DiscoveryAnswer, Mailbox, Undelivered};

/// Answers that wait, of which there is room for some.
#[derive(Debug)]
struct Waiting {
    answers: Mutex<Vec<DiscoveryAnswer>>,
    room: usize,
}

impl Mailbox for Waiting {
    fn put(&self, answer: DiscoveryAnswer) -> Result<usize, Undelivered> {
        let mut answers = self.answers.lock();
        if answers.len() >= self.room {
            return Err(Undelivered::Full);
        }
        answers.push(answer);
        Ok(answers.len())
    }
}

/// The reading end of a mailbox.
#[derive(Debug)]
pub(super) struct Answers(Arc<Waiting>);

impl Answers {
    /// A mailbox with room for so many answers; what is put into the one comes out of the other.
    pub(super) fn new(room: usize) -> (Arc<dyn Mailbox>, Self) {
        let waiting = Arc::new(Waiting { answers: Mutex::default(), room: room.max(1) });
        (Arc::<Waiting>::clone(&waiting), Self(waiting))
    }

    /// Takes the answers that wait.
    pub(super) fn take(&self) -> Vec<DiscoveryAnswer> {
        std::mem::take(&mut *self.0.answers.lock())
    }

    /// Whether the discovery has ended: nobody can put an answer in any more.
    pub(super) fn are_over(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}
