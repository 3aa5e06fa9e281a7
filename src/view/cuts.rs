//! Cuts and questions in words: how a cut is spread, by which score, and what is asked.
//! Knows nothing of plots.

use super::density;
use event::Unit;
use measure::pruning::{ScoreName, Spread};
use measure::{Pruning, Question};

/// `one share for all by ‖w‖₂, 2 layers held`.
pub fn way(cut: &Pruning) -> String {
    let spread = match cut.spread {
        Spread::Uniform => "one share for all",
        Spread::Threshold => "one threshold",
        Spread::Sensitivity => "measured sensitivity",
        Spread::Vector => "the best of a search",
        Spread::Given => "layers set by hand",
    };
    let score = score_name(cut.score);
    let held = match cut.held.len() {
        0 => String::new(),
        1 => ", 1 layer held".to_owned(),
        n => format!(", {n} layers held"),
    };
    let widths = match cut.multiple {
        1 => ", any width".to_owned(),
        8 => String::new(),
        n => format!(", multiples of {n}"),
    };
    format!("{spread} by {score}{widths}{held}")
}

/// A score as formulas write it.
pub fn score_name(score: ScoreName) -> &'static str {
    match score {
        ScoreName::L1 => "Σ|w|",
        ScoreName::L2 => "‖w‖₂",
        ScoreName::NormScale => "|γ|",
    }
}

/// A question in words: `cut 4.0× in MACs, mean density 0.50`.
pub fn asked(question: &Question) -> String {
    let cut = question.cut.as_ref().map(|cut| {
        let unit = match cut.unit {
            Unit::Weights => "weights",
            Unit::Macs => "MACs",
            Unit::Ms => "time",
        };
        match cut.spread {
            Spread::Given => "layers cut by hand".to_owned(),
            _ => format!("{}× fewer {unit}", density::times(cut.times)),
        }
    });
    let gates = (!question.densities.is_empty()).then(|| format!("mean density {:.2}", question.mean()));
    let words: Vec<String> = cut.into_iter().chain(gates).collect();
    if words.is_empty() {
        return "nothing cut".into();
    }
    words.join(", ")
}
