//! Which forms an FBS gate has.
//! Knows nothing of graphs.

use serde::{Deserialize, Serialize};

/// Where FBS puts the shift β (papers differ from code).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shift {
    /// π·(norm + β): equation (1) of arXiv 1810.05331.
    #[default]
    Eq1,
    /// π·norm + m·β, m the 0/1 winner mask: the authors' released code.
    Released,
}

/// What a gate's predictor reads of its input's channels: ss(x) of equation (4), or its direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subsample {
    /// The mean magnitude of each channel: the paper.
    #[default]
    Mean,
    /// The same over its root mean square over the channels, so that a saliency does not grow with the magnitude of the input.
    ScaleFree,
}

impl std::fmt::Display for Subsample {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mean => "mean",
            Self::ScaleFree => "scale-free",
        })
    }
}

impl Subsample {
    /// The smallest root mean square that is divided by.
    pub const LEAST: f32 = 1e-6;

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Which of its forms an FBS gate has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateForm {
    /// Where the shift stands.
    pub shift: Shift,
    /// What the saliency is computed from.
    #[serde(default, skip_serializing_if = "Subsample::is_default")]
    pub subsample: Subsample,
}

impl GateForm {
    /// Every shift and every subsample.
    pub const ALL: [Self; 3] = [
        Self::of(Shift::Eq1, Subsample::Mean),
        Self::of(Shift::Released, Subsample::Mean),
        Self::of(Shift::Eq1, Subsample::ScaleFree),
    ];

    const fn of(shift: Shift, subsample: Subsample) -> Self {
        Self { shift, subsample }
    }
}

impl From<Shift> for GateForm {
    fn from(shift: Shift) -> Self {
        Self::of(shift, Subsample::default())
    }
}
