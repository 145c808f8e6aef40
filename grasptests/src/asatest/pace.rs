//! How long the pauses of the suite are.

use std::thread;
use std::time::Duration;

/// By how much the quick pace shortens a wait whose length matters.
const SHORTER: u32 = 16;

/// By how much the quick pace shortens a pause that only lets things settle.
const MUCH_SHORTER: u32 = 100;

/// The pauses of the original suite, or shorter ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Everything in seconds.
    Quick,
    /// As long as the original takes: minutes.
    Original,
}

impl Pace {
    /// So many milliseconds, if they are waited for in any case. All are divided by the same number, so that
    /// what is longer stays longer.
    pub(super) const fn scaled(self, milliseconds: u32) -> u32 {
        match self {
            Self::Quick => milliseconds / SHORTER,
            Self::Original => milliseconds,
        }
    }

    /// Sleeps for a time whose relation to other times matters.
    pub(super) fn sleep(self, milliseconds: u32) {
        thread::sleep(Duration::from_millis(self.scaled(milliseconds).into()));
    }

    /// Lets things settle.
    pub(super) fn settle(self, milliseconds: u32) {
        let divisor = if self == Self::Original { 1 } else { MUCH_SHORTER };
        thread::sleep(Duration::from_millis((milliseconds / divisor).into()));
    }

    /// After how many answers a discovery may return: at the original pace it collects until its timeout.
    pub(super) const fn enough(self) -> Option<usize> {
        match self {
            Self::Quick => Some(1),
            Self::Original => None,
        }
    }
}
