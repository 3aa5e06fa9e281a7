//! A checkpoint in burn's own container (`.bpk`): the tensors of our safetensors file under the same names, and its header.
//! Knows nothing of what is in a checkpoint.

use anyhow::{Context, Result, bail};
use burn_store::burn_pack::{Bytes, DType, Reader, Tensor, Writer};
use model::Checkpoint;
use model::checkpoint::HEADER_KEY;
use model::safetensors_file::{self, TensorMap};
use safetensors::{Dtype, SafeTensors};

/// The bytes of a pack.
///
/// # Errors
/// As [`Checkpoint::to_bytes`].
pub(crate) fn to_bytes(model: &Checkpoint) -> Result<Vec<u8>> {
    let file = model.to_bytes()?;
    let mut tensors = Vec::new();
    for (name, view) in SafeTensors::deserialize(&file)?.tensors() {
        let dtype = match view.dtype() {
            Dtype::F32 => DType::F32,
            Dtype::U8 => DType::U8,
            other => bail!("tensor {name} is {other:?}, expected F32 or U8"),
        };
        let bytes = Bytes::from_bytes_vec(view.data().to_vec());
        tensors.push(Tensor::new(name, dtype, view.shape().to_vec(), None, bytes));
    }
    let pack = Writer::new(tensors)
        .with_metadata(HEADER_KEY, &serde_json::to_string(&model.header)?)
        .into_bytes()?;
    Ok(pack.to_vec())
}

/// Reads a pack that [`to_bytes`] wrote.
///
/// # Errors
/// Not a pack, not ours, or as [`Checkpoint::from_bytes`].
pub(crate) fn from_bytes(bytes: Vec<u8>) -> Result<Checkpoint> {
    let reader = Reader::from_bytes(Bytes::from_bytes_vec(bytes)).context("not a burn pack")?;
    let header = reader.metadata().get(HEADER_KEY).cloned();
    let header = header.context("a burn pack without the `secateur` header")?;
    let mut tensors = TensorMap::new();
    for tensor in reader.into_tensors()? {
        let (name, dtype, shape, _, data) = tensor.into_parts()?;
        let dtype = match dtype {
            DType::F32 => Dtype::F32,
            DType::U8 => Dtype::U8,
            other => bail!("tensor {name} is {other:?}, expected F32 or U8"),
        };
        tensors.insert(name, (dtype, shape.to_vec(), data.to_vec()));
    }
    Checkpoint::from_bytes(&safetensors_file::to_bytes(&tensors, HEADER_KEY, header)?)
}
