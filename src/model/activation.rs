//! Functions of single numbers that stand between layers, beyond ReLU.
//! Knows nothing of tensors or graphs.

use serde::{Deserialize, Serialize};

/// A function of each number by itself. Named and computed as in the ONNX standard.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// min(max(slope·x + offset, 0), 1).
    HardSigmoid {
        /// Factor of x.
        slope: f32,
        /// Added to it.
        offset: f32,
    },
    /// x · min(max(x / 6 + 1/2, 0), 1) (arXiv 1905.02244).
    HardSwish,
    /// x / (1 + e⁻ˣ), also called Swish (arXiv 1710.05941).
    Silu,
    /// tanh(x).
    Tanh,
    /// x where it is positive, else slope·x.
    LeakyRelu {
        /// Factor of negative numbers.
        slope: f32,
    },
    /// x where it is positive, else scale·(eˣ − 1).
    Elu {
        /// Minus the limit for x → −∞.
        scale: f32,
    },
    /// ln(1 + eˣ).
    Softplus,
    /// x · tanh(ln(1 + eˣ)) (arXiv 1908.08681).
    Mish,
    /// erf(x), the error function.
    Erf,
    /// x/2 · (1 + erf(x / √2)) (arXiv 1606.08415).
    Gelu,
    /// min(max(x, least), most); a bound that is not given does not bind.
    Clip {
        /// Lower bound.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        least: Option<f32>,
        /// Upper bound.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        most: Option<f32>,
    },
}

impl Activation {
    /// Its value at one number. NaN stays NaN.
    pub fn at(self, x: f32) -> f32 {
        match self {
            Self::Sigmoid => sigmoid(x),
            Self::HardSigmoid { slope, offset } => (slope * x + offset).clamp(0.0, 1.0),
            Self::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Self::Silu => x * sigmoid(x),
            Self::Tanh => x.tanh(),
            Self::LeakyRelu { slope } => {
                if x < 0.0 {
                    slope * x
                } else {
                    x
                }
            }
            Self::Elu { scale } => {
                if x < 0.0 {
                    scale * x.exp_m1()
                } else {
                    x
                }
            }
            Self::Softplus => softplus(x),
            Self::Mish => x * softplus(x).tanh(),
            Self::Erf => libm::erff(x),
            Self::Gelu => 0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2)),
            Self::Clip { least, most } => {
                let x = least.filter(|&bound| x < bound).unwrap_or(x);
                most.filter(|&bound| x > bound).unwrap_or(x)
            }
        }
    }

    /// `to[i]` = its value at `from[i]`.
    pub fn apply(self, from: &[f32], to: &mut [f32]) {
        to.iter_mut().zip(from).for_each(|(to, &x)| *to = self.at(x));
    }

    /// Whether it leaves zero zero, so that what is absent may stay absent.
    pub fn keeps_zero(self) -> bool {
        self.at(0.0) == 0.0
    }

    /// Whether its numbers are finite and its bounds in order.
    pub fn is_sane(self) -> bool {
        match self {
            Self::HardSigmoid { slope, offset } => slope.is_finite() && offset.is_finite(),
            Self::LeakyRelu { slope: number } | Self::Elu { scale: number } => number.is_finite(),
            Self::Clip { least, most } => {
                let finite = [least, most].into_iter().flatten().all(f32::is_finite);
                finite && least.zip(most).is_none_or(|(least, most)| least <= most)
            }
            _ => true,
        }
    }

    /// What it is called where layers are listed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sigmoid => "sigmoid",
            Self::HardSigmoid { .. } => "hard-sigmoid",
            Self::HardSwish => "hard-swish",
            Self::Silu => "silu",
            Self::Tanh => "tanh",
            Self::LeakyRelu { .. } => "leaky-relu",
            Self::Elu { .. } => "elu",
            Self::Softplus => "softplus",
            Self::Mish => "mish",
            Self::Erf => "erf",
            Self::Gelu => "gelu",
            Self::Clip { .. } => "clip",
        }
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_tables() {
        let cases = [
            (Activation::Sigmoid, 1.0, 0.731_058_6),
            (
                Activation::HardSigmoid {
                    slope: 0.2,
                    offset: 0.5,
                },
                1.0,
                0.7,
            ),
            (Activation::HardSwish, 1.0, 2.0 / 3.0),
            (Activation::Silu, -1.0, -0.268_941_43),
            (Activation::LeakyRelu { slope: 0.1 }, -2.0, -0.2),
            (Activation::Elu { scale: 2.0 }, -1.0, -1.264_241_1),
            (Activation::Softplus, 100.0, 100.0),
            (Activation::Mish, 1.0, 0.865_098_4),
            (Activation::Erf, 1.0, 0.842_700_8),
            (Activation::Gelu, 1.0, 0.841_344_7),
            (
                Activation::Clip {
                    least: Some(-1.0),
                    most: None,
                },
                -3.0,
                -1.0,
            ),
            (
                Activation::Clip {
                    least: None,
                    most: Some(2.0),
                },
                3.0,
                2.0,
            ),
        ];
        for (f, x, want) in cases {
            assert!((f.at(x) - want).abs() < 1e-6, "{f:?}({x}) is {}, not {want}", f.at(x));
            assert!(f.at(f32::NAN).is_nan(), "{f:?} hides NaN");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for f in [
            Activation::Silu,
            Activation::Clip {
                least: Some(0.5),
                most: None,
            },
            Activation::HardSigmoid {
                slope: 0.2,
                offset: 0.5,
            },
        ] {
            let text = serde_json::to_string(&f).expect("writes");
            assert_eq!(serde_json::from_str::<Activation>(&text).expect("reads"), f, "{text}");
        }
    }
}
