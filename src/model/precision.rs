//! In what numbers convolutions are computed. Knows nothing of how.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What convolutions multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Floats of 32 bits.
    F32,
    /// Unsigned bytes by signed bytes, summed in 32 bits.
    Int8,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
        })
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "f32" => Ok(Self::F32),
            "int8" => Ok(Self::Int8),
            _ => Err(format!("{s} is no precision, expected f32 or int8")),
        }
    }
}

/// How the numbers that a convolution reads become bytes: q = clamp(round(x / step) + zero, 0, 255), ties to even.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ByteInput {
    /// The distance between neighboring bytes.
    pub step: f32,
    /// The byte of zero.
    pub zero: u8,
}

impl ByteInput {
    /// For numbers between `least` and `most`, zero among them. Zero is a byte of its own, so padding stays exact.
    ///
    /// # Errors
    /// A bound that is not finite.
    pub fn of_range(least: f32, most: f32) -> Result<Self> {
        let (low, high) = (least.min(0.0), most.max(0.0));
        let span = high - low;
        ensure!(
            !least.is_nan() && !most.is_nan() && span.is_finite(),
            "its numbers reach from {least} to {most}, expected finite ones"
        );
        // A layer that reads nothing but zeros may have any step.
        let step = if span > f32::MIN_POSITIVE * 255.0 {
            span / 255.0
        } else {
            1.0
        };
        Ok(Self {
            step,
            zero: (-low / step).round().min(255.0) as u8,
        })
    }

    /// The numbers at both ends.
    pub fn range(&self) -> [f32; 2] {
        [0, 255].map(|byte| (f32::from(byte as u8) - f32::from(self.zero)) * self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_a_byte_and_both_ends_are_reached() -> Result<()> {
        assert_eq!(ByteInput::of_range(0.0, 2.55)?, ByteInput { step: 0.01, zero: 0 });
        assert_eq!(ByteInput::of_range(0.5, 2.55)?.zero, 0);
        let signed = ByteInput::of_range(-1.0, 1.55)?;
        assert_eq!(signed.zero, 100);
        let [least, most] = signed.range();
        assert!((least + 1.0).abs() < 1e-6 && (most - 1.55).abs() < 1e-6);
        assert_eq!(ByteInput::of_range(-3.0, -1.0)?.zero, 255);
        assert_eq!(ByteInput::of_range(0.0, 0.0)?, ByteInput { step: 1.0, zero: 0 });
        assert!(ByteInput::of_range(0.0, f32::INFINITY).is_err());
        assert!(ByteInput::of_range(f32::MIN, f32::MAX).is_err());
        assert!(ByteInput::of_range(f32::NAN, 1.0).is_err());
        Ok(())
    }
}
