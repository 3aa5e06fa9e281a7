//! Safetensors files: named tensors behind a header, which can be read alone.
//!
//! The format (<https://huggingface.co/docs/safetensors>): the header's length as 8 bytes, little-endian; the header, JSON;
//! the tensors' bytes.

use anyhow::{Context, Result, ensure};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes of the longest header that the `safetensors` crate accepts.
const LONGEST: u64 = 100_000_000;

/// Reads a file's header and checks that the file is exactly as long as the header promises.
///
/// # Errors
/// The file cannot be read, is not safetensors, or is cut short.
pub fn read_header(path: &Path) -> Result<Metadata> {
    let mut file = File::open(path)?;
    let file_bytes = file.metadata()?.len();
    let mut length = [0; 8];
    file.read_exact(&mut length).context("not a safetensors file")?;
    let length = u64::from_le_bytes(length);
    ensure!(
        length <= LONGEST && length <= file_bytes.saturating_sub(8),
        "not a safetensors file: a header of {length} bytes in a file of {file_bytes}"
    );
    let mut json = Vec::with_capacity(length as usize);
    file.take(length).read_to_end(&mut json)?;
    let header: Metadata = serde_json::from_slice(&json).context("not a safetensors file")?;
    let promised = (8 + length).saturating_add(header.data_len() as u64);
    ensure!(
        file_bytes == promised,
        "a safetensors file of {file_bytes} bytes, its header promises {promised}"
    );
    Ok(header)
}

/// TensorMap to be written, by name: each with its kind, shape and bytes.
pub type TensorMap = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// The bytes of a file that holds these tensors, and `text` under `key` in its header.
///
/// # Errors
/// A tensor whose bytes do not fit its shape.
pub fn to_bytes(tensors: &TensorMap, key: &str, text: String) -> Result<Vec<u8>> {
    let mut views = Vec::with_capacity(tensors.len());
    for (name, (dtype, shape, data)) in tensors {
        views.push((name, TensorView::new(*dtype, shape.clone(), data)?));
    }
    let metadata = HashMap::from([(key.to_owned(), text)]);
    Ok(safetensors::serialize(views, Some(metadata))?)
}

/// A float32 tensor to be written.
pub fn float_tensor(shape: &[usize], data: &[f32]) -> (Dtype, Vec<usize>, Vec<u8>) {
    let bytes = data.iter().flat_map(|v| v.to_le_bytes()).collect();
    (Dtype::F32, shape.to_vec(), bytes)
}

/// The numbers of a float32 tensor.
///
/// # Errors
/// It holds another kind of numbers.
pub fn floats(name: &str, view: &TensorView) -> Result<Vec<f32>> {
    let dtype = view.dtype();
    ensure!(dtype == Dtype::F32, "tensor {name} is {dtype:?}, expected F32");
    let (words, _) = view.data().as_chunks();
    Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_alone_and_a_false_one_is_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("m.safetensors");
        let json = br#"{"__metadata__":{"key":"text"},"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}"#;
        let with = |length: usize, data: &[u8]| {
            std::fs::write(&path, [&(length as u64).to_le_bytes()[..], json, data].concat()).expect("writes");
            read_header(&path)
        };
        let header = with(json.len(), &[1, 2, 3]).expect("reads");
        assert_eq!(header.metadata().as_ref().expect("texts")["key"], "text");
        for (length, data) in [
            (json.len(), &[1, 2][..]),
            (json.len(), &[1, 2, 3, 4]),
            (usize::MAX, &[1, 2, 3]),
            (7, &[]),
        ] {
            assert!(with(length, data).is_err(), "{length} {data:?}");
        }
        std::fs::write(&path, b"torn").expect("writes");
        assert!(read_header(&path).is_err());
    }
}
