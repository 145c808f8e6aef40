//! What chance decides in a round of the negotiation, and how the round must end.
//!
//! Reserves, wishes and waiting times come from the ranges of the original. But where it drew and hoped, the
//! draws are stratified: a deck with one card per branch is shuffled and dealt until it is empty, then
//! shuffled again, and the numbers of a round are drawn until they lead into the branch on its card. So any
//! seed reaches every [`Branch`] within the first seven rounds, and the same seed makes the same rounds.

use std::ops::RangeInclusive;

use fastrand::Rng;
use grasp::Error;

/// How many branches there are.
pub(crate) const BRANCHES: usize = Branch::ALL.len();

/// How long Neg1 sleeps before its second offer, in milliseconds.
pub(super) const SLEEP: u32 = 20_000;

const RESERVES: RangeInclusive<u32> = 100..=400;
const WISHES: RangeInclusive<u32> = 10..=500;
const WAITS: RangeInclusive<u32> = 15_000..=40_000;

/// Waits this close to [`SLEEP`] are drawn again, because the scheduler would decide which ends first.
const TOO_CLOSE: RangeInclusive<u32> = 17_000..=24_000;

/// The ways a round can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Branch {
    /// Neg2 asks for dollars of another country, and Neg1 declines.
    InvalidCurrency,
    /// The wish is no more than half of the reserves, and Neg1 accepts it.
    AcceptedAtOnce,
    /// Half of the reserves is near enough to the wish, and Neg2 accepts it.
    HalfAccepted,
    /// Neg1 sleeps longer than the time it asked for; Neg2 gives up meanwhile.
    WaitTooShort,
    /// Neg2 answers the second offer with a malformed message.
    BadMessage,
    /// Neg1 declines the last demand, in English.
    DeclinedInEnglish,
    /// Neg1 declines the last demand, in Russian.
    DeclinedInRussian,
}

/// The numbers of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Draw {
    /// What Neg1 has.
    pub(super) reserves: u32,
    /// What Neg2 wants.
    pub(super) wish: u32,
    /// The time that Neg1 asks for, in milliseconds of the original pace.
    pub(super) wait: u32,
}

/// How a round ended for one side.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ending {
    /// In agreement, about so much.
    Agreed(u32),
    /// One side declined, for this reason.
    Declined(String),
    /// The step of this number failed.
    Failed(u8, Error),
}

/// Deals the draws.
#[derive(Debug)]
pub(super) struct Deck {
    rng: Rng,
    cards: Vec<Branch>,
}

impl Branch {
    pub(super) const ALL: [Self; 7] = [
        Self::InvalidCurrency,
        Self::AcceptedAtOnce,
        Self::HalfAccepted,
        Self::WaitTooShort,
        Self::BadMessage,
        Self::DeclinedInEnglish,
        Self::DeclinedInRussian,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::InvalidCurrency => "invalid currency",
            Self::AcceptedAtOnce => "accepted at once",
            Self::HalfAccepted => "half accepted",
            Self::WaitTooShort => "wait too short",
            Self::BadMessage => "bad message",
            Self::DeclinedInEnglish => "declined in English",
            Self::DeclinedInRussian => "declined in Russian",
        }
    }
}

impl Draw {
    /// Where these numbers lead, if both sides keep to the rules.
    pub(super) const fn branch(self) -> Branch {
        if self.currency_is_wrong() {
            Branch::InvalidCurrency
        } else if 2 * self.wish <= self.reserves {
            Branch::AcceptedAtOnce
        } else if 4 * self.half() >= 3 * self.wish {
            Branch::HalfAccepted
        } else if self.wait < SLEEP {
            Branch::WaitTooShort
        } else if self.is_malformed() {
            Branch::BadMessage
        } else if self.reserves % 2 == 1 {
            Branch::DeclinedInEnglish
        } else {
            Branch::DeclinedInRussian
        }
    }

    /// Whether Neg2 asks for the wrong currency.
    pub(super) const fn currency_is_wrong(self) -> bool {
        self.wish.is_multiple_of(7)
    }

    /// Whether Neg2's last message, if it comes to that, is malformed.
    pub(super) const fn is_malformed(self) -> bool {
        self.wish.is_multiple_of(3)
    }

    /// Neg1's first offer.
    pub(super) const fn half(self) -> u32 {
        self.reserves / 2
    }

    /// Why Neg1 declines in the end.
    pub(super) const fn reason(self) -> &'static str {
        if self.reserves % 2 == 1 { "Insufficient funds" } else { "Недостаточно средств" }
    }

    /// Whether the two sides ended as they must. Nobody but the failing step's own side can say which error it
    /// gets when the peer has gone: that depends on how far the news has come.
    pub(super) fn is_end(self, neg1: &Ending, neg2: &Ending) -> bool {
        let both = |ending: Ending| *neg1 == ending && *neg2 == ending;
        match self.branch() {
            Branch::InvalidCurrency => both(Ending::Declined("Invalid currency".to_owned())),
            Branch::AcceptedAtOnce => both(Ending::Agreed(self.wish)),
            Branch::HalfAccepted => both(Ending::Agreed(self.half())),
            Branch::WaitTooShort => {
                let gone = [Error::NoPeer, Error::SockErrNegStep, Error::NoNegReply];
                let gone = |error| gone.contains(error);
                matches!(neg1, Ending::Failed(2, error) if gone(error))
                    && *neg2 == Ending::Failed(1, Error::NoNegReply)
            }
            Branch::BadMessage => {
                *neg1 == Ending::Failed(2, Error::NoValidStep) && *neg2 == Ending::Failed(2, Error::NoPeer)
            }
            Branch::DeclinedInEnglish | Branch::DeclinedInRussian => {
                both(Ending::Declined(self.reason().to_owned()))
            }
        }
    }
}

impl Deck {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed), cards: Vec::new() }
    }

    /// The numbers of the next round.
    pub(super) fn deal(&mut self) -> Draw {
        let branch = self.cards.pop().unwrap_or_else(|| {
            let mut cards = Branch::ALL;
            self.rng.shuffle(&mut cards);
            let [first, rest @ ..] = cards;
            self.cards.extend(rest);
            first
        });
        loop {
            let draw = Draw {
                reserves: self.rng.u32(RESERVES),
                wish: self.rng.u32(WISHES),
                wait: self.rng.u32(WAITS),
            };
            if draw.branch() == branch && !TOO_CLOSE.contains(&draw.wait) {
                return draw;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_branch_comes_up_within_seven_rounds_of_any_seed() {
        for seed in 0..200 {
            let mut deck = Deck::new(seed);
            for _ in 0..3 {
                let draws: Vec<_> = (0..7).map(|_| deck.deal()).collect();
                for branch in Branch::ALL {
                    assert!(draws.iter().any(|draw| draw.branch() == branch), "seed {seed}: {branch:?}");
                }
            }
        }
    }

    #[test]
    fn a_seed_makes_the_same_rounds_again() {
        let rounds = |seed| {
            let mut deck = Deck::new(seed);
            (0..20).map(|_| deck.deal()).collect::<Vec<_>>()
        };
        assert_eq!(rounds(7), rounds(7));
        assert_ne!(rounds(7), rounds(8));
    }

    #[test]
    fn numbers_lead_where_the_rules_say() {
        let branch = |reserves, wish, wait| Draw { reserves, wish, wait }.branch();
        assert_eq!(branch(216, 497, 30_000), Branch::InvalidCurrency);
        assert_eq!(branch(216, 108, 30_000), Branch::AcceptedAtOnce);
        assert_eq!(branch(216, 144, 30_000), Branch::HalfAccepted);
        assert_eq!(branch(216, 145, 30_000), Branch::DeclinedInRussian);
        assert_eq!(branch(217, 145, 30_000), Branch::DeclinedInEnglish);
        assert_eq!(branch(217, 498, 30_000), Branch::BadMessage);
        assert_eq!(branch(217, 498, 15_000), Branch::WaitTooShort);
    }

    #[test]
    fn an_ending_is_judged_by_both_sides() {
        let draw = Draw { reserves: 217, wish: 498, wait: 30_000 };
        let (bad, gone) = (Ending::Failed(2, Error::NoValidStep), Ending::Failed(2, Error::NoPeer));
        assert!(draw.is_end(&bad, &gone));
        assert!(!draw.is_end(&gone, &gone));
        assert!(!draw.is_end(&bad, &Ending::Agreed(1)));
    }
}
