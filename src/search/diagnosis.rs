//! Whether a search by annealing still chooses: one rule for what a run's log warns of and for what the window says.

use serde::{Deserialize, Serialize};

/// Proposals that are judged, unless a search is told otherwise.
pub const WINDOW: usize = 20;

/// What became of a proposal, compared with what the search stood on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Move {
    /// No worse, and accepted.
    Better,
    /// Worse, and accepted all the same.
    WorseTaken,
    /// Worse, and rejected.
    WorseLeft,
}

/// Why a search chooses nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Diagnosis {
    /// At least a quarter of the proposals were worse, and none of those was rejected.
    RandomWalk,
    /// All proposals were worse and rejected.
    Frozen,
}

impl Diagnosis {
    /// Judges the latest moves; none of them allow no judgement.
    pub fn of(moves: impl IntoIterator<Item = Move>) -> Option<Self> {
        let (mut n, mut taken, mut left) = (0, 0, 0);
        for what in moves {
            n += 1;
            taken += usize::from(what == Move::WorseTaken);
            left += usize::from(what == Move::WorseLeft);
        }
        match left {
            0 if n > 0 && 4 * taken >= n => Some(Self::RandomWalk),
            left if n > 0 && left == n => Some(Self::Frozen),
            _ => None,
        }
    }

    /// As logs say it.
    pub fn word(self) -> &'static str {
        match self {
            Self::RandomWalk => "accepts everything",
            Self::Frozen => "frozen",
        }
    }
}
