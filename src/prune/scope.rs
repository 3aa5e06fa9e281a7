//! What of a network a search may decide.

use super::saliency::Score;
use event::{Dimension, Unit};

/// What may be decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// Filters, channels, columns or elements; sites come in network order, and at one layer in this order.
    pub dimensions: Vec<Dimension>,
    /// At least max(1, ⌈floor · choices⌉) are kept at every site, so that nothing vanishes; of filters also those that alone
    /// feed a reader whose other columns are masked.
    pub floor: f32,
    /// What [`Site::size`] is counted in; milliseconds are guided by MACs.
    pub unit: Unit,
    /// Which are kept first.
    pub score: Score,
}

impl Default for Scope {
    fn default() -> Self {
        Self {
            dimensions: vec![Dimension::Filter, Dimension::Column],
            floor: 0.1,
            unit: Unit::Macs,
            score: Score::L2,
        }
    }
}

impl Scope {
    /// All in these dimensions, by ‖w‖₂.
    pub fn new(dimensions: &[Dimension], floor: f32, unit: Unit) -> Self {
        Self {
            dimensions: dimensions.to_vec(),
            floor,
            unit,
            ..Self::default()
        }
    }

    /// The same by another score.
    pub fn by(self, score: Score) -> Self {
        Self { score, ..self }
    }
}
