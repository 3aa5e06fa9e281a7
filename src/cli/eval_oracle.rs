//! `secateur eval --oracle`: how many of an image's truly largest channels each gate chooses.

use super::eval_images::{BATCH, EvalImages};
use super::output::Json;
use anyhow::Result;
use model::Density;
use serde::Serialize;
use train::{Oracle, OracleShare};

/// One line: a gate at a density.
#[derive(Serialize)]
struct OracleLine {
    density: Density,
    #[serde(flatten)]
    share: OracleShare,
}

/// Measures all gates at one density, and says a line for each.
pub(crate) fn by_gate(eval: &EvalImages, density: Density, json: Json) -> Result<()> {
    let mut oracle = Oracle::new(eval.model, density)?;
    for indices in eval.indices.chunks(BATCH) {
        oracle.add(&eval.pixels(indices))?;
    }
    for share in oracle.shares() {
        let line = OracleLine { density, share };
        json.say(&line, || {
            let s = &line.share;
            format!(
                "density {density:<4}  {:16} finds {:5.1} % of the {} largest of {} channels (at random {:.1} %)",
                s.layer,
                s.oracle_share * 100.0,
                s.chosen,
                s.channels,
                s.chance * 100.0
            )
        });
    }
    Ok(())
}
