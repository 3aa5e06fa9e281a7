//! Named tensors out of PyTorch and safetensors files: names and shapes first, numbers only of those that are wanted.
//! Knows nothing of networks.

use super::pickle;
use anyhow::{Context, Result, bail, ensure};
use burn_store::pytorch::PytorchReader;
use burn_store::pytorch_reader::{DType, Tensor};
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::Path;

/// Keys that training programs put around the weights, outermost first.
const WRAPPERS: [&str; 6] = [
    "state_dict.",
    "model_state_dict.",
    "model_state.",
    "model.",
    "net.",
    "module.",
];

/// One tensor, its numbers perhaps still in the file.
pub(crate) struct StoredTensor {
    pub shape: Vec<usize>,
    data: Numbers,
}

enum Numbers {
    Bytes(Dtype, Vec<u8>),
    File(Tensor),
}

/// The tensors of a file by name.
pub(crate) struct Tensors {
    pub entries: BTreeMap<String, StoredTensor>,
    /// Bytes of the file: no set of tensors can honestly hold more.
    file_bytes: u64,
}

impl Tensors {
    /// Opens a file by its ending, `.safetensors` or else PyTorch's.
    ///
    /// # Errors
    /// A damaged file, or one with pickled code.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let is_safetensors = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors"));
        let entries = if is_safetensors {
            of_safetensors(path)
        } else {
            of_pytorch(path)
        };
        let file_bytes = std::fs::metadata(path).map_or(0, |m| m.len());
        let tensors = Self {
            entries: entries.with_context(|| path.display().to_string())?,
            file_bytes,
        };
        Ok(tensors.unwrapped())
    }

    /// Without the keys around the weights, and without what stands beside them there (optimizers, counters).
    fn unwrapped(mut self) -> Self {
        for wrapper in WRAPPERS {
            if self.entries.keys().any(|name| name.starts_with(wrapper)) {
                let entries = std::mem::take(&mut self.entries).into_iter();
                let inside =
                    |(name, entry): (String, StoredTensor)| Some((name.strip_prefix(wrapper)?.to_owned(), entry));
                self.entries = entries.filter_map(inside).collect();
            }
        }
        self
    }

    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|e| &e.shape[..])
    }

    /// Refuses to read more than the file holds: a view in a PyTorch file may claim any size.
    ///
    /// # Errors
    /// The named tensors are larger than the file.
    pub(crate) fn check_size<'a>(&self, names: impl Iterator<Item = &'a String>) -> Result<()> {
        let mut bytes = 0u64;
        for entry in names.filter_map(|name| self.entries.get(name)) {
            bytes = bytes.saturating_add(match &entry.data {
                Numbers::Bytes(_, bytes) => bytes.len() as u64,
                Numbers::File(tensor) => tensor.byte_len() as u64,
            });
        }
        ensure!(
            bytes <= self.file_bytes,
            "tensors of {bytes} bytes in a file of {}",
            self.file_bytes
        );
        Ok(())
    }

    /// The numbers of a tensor as float32.
    ///
    /// # Errors
    /// No such tensor, numbers that are not floating point, or a file that cannot be read.
    pub(crate) fn floats(&self, name: &str) -> Result<Vec<f32>> {
        let entry = self.entries.get(name).with_context(|| format!("{name} is missing"))?;
        let (kind, bytes) = match &entry.data {
            Numbers::Bytes(dtype, bytes) => (*dtype, bytes.clone()),
            Numbers::File(tensor) => {
                let kind = match tensor.dtype() {
                    DType::F64 => Dtype::F64,
                    DType::F32 => Dtype::F32,
                    DType::F16 => Dtype::F16,
                    DType::BF16 => Dtype::BF16,
                    other => bail!("{name} is {other:?}, expected floating point"),
                };
                (kind, tensor.read()?)
            }
        };
        Ok(match kind {
            Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Dtype::F64 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| f64::from_le_bytes(*b) as f32)
                .collect(),
            Dtype::F16 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| half(u16::from_le_bytes(*b)))
                .collect(),
            Dtype::BF16 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16))
                .collect(),
            other => bail!("{name} is {other:?}, expected floating point"),
        })
    }
}

/// IEEE binary16 to binary32.
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, fraction) = (u32::from(bits >> 10 & 31), u32::from(bits & 1023));
    match exponent {
        0 => f32::from_bits(sign | 0x3f80_0000) * fraction as f32 * 2.0f32.powi(-24),
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

fn of_safetensors(path: &Path) -> Result<BTreeMap<String, StoredTensor>> {
    let bytes = std::fs::read(path)?;
    let file = SafeTensors::deserialize(&bytes).context("not a safetensors file, or cut short")?;
    let entry = |(name, view): (String, safetensors::tensor::TensorView)| {
        let data = Numbers::Bytes(view.dtype(), view.data().to_vec());
        (
            name,
            StoredTensor {
                shape: view.shape().to_vec(),
                data,
            },
        )
    };
    Ok(file.tensors().into_iter().map(entry).collect())
}

fn of_pytorch(path: &Path) -> Result<BTreeMap<String, StoredTensor>> {
    pickle::refuse_code(path)?;
    let reader = PytorchReader::new(path).context("not a PyTorch state dict, or cut short")?;
    let entry = |(name, tensor): (String, Tensor)| {
        let shape = tensor.shape().to_vec();
        (
            name,
            StoredTensor {
                shape,
                data: Numbers::File(tensor),
            },
        )
    };
    Ok(reader.into_tensors().into_iter().map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_converted_exactly() {
        let cases = [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x0001, 5.960_464_5e-8),
            (0x83ff, -6.097_555e-5),
            (0x7bff, 65504.0),
            (0x0000, 0.0),
        ];
        for (bits, expected) in cases {
            assert_eq!(half(bits), expected, "{bits:04x}");
        }
        assert_eq!(half(0xfc00), f32::NEG_INFINITY);
        assert!(half(0x7e00).is_nan());
        assert!(half(0x8000).is_sign_negative());
    }
}
