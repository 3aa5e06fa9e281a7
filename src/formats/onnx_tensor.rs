//! ONNX tensors as arrays: lengths compared before anything is allocated, external data only from beside the file.
//! Knows nothing of graphs.

use super::onnx_pb::{DataLocation, DataType, TensorProto};
use anyhow::{Context, Result, bail, ensure};
use model::Array;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// A value that is known without an image.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Constant {
    Floats(Array),
    Ints(Ints),
    /// Where numbers of two images are taken from, in a row of all of both.
    Places(Ints),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ints {
    pub shape: Vec<usize>,
    pub data: Vec<i64>,
}

impl Constant {
    pub(crate) fn floats(shape: Vec<usize>, data: Vec<f32>) -> Self {
        Self::Floats(Array { shape, data })
    }

    pub(crate) fn ints(shape: Vec<usize>, data: Vec<i64>) -> Self {
        Self::Ints(Ints { shape, data })
    }

    /// Whole numbers along one axis, as shapes are given.
    pub(crate) fn list(data: Vec<i64>) -> Self {
        Self::ints(vec![data.len()], data)
    }

    /// Its numbers, if they are whole.
    pub(crate) fn as_ints(&self) -> Option<&Ints> {
        match self {
            Constant::Ints(ints) => Some(ints),
            Constant::Floats(_) | Constant::Places(_) => None,
        }
    }

    pub(crate) fn shape(&self) -> &[usize] {
        match self {
            Constant::Floats(a) => &a.shape,
            Constant::Ints(i) | Constant::Places(i) => &i.shape,
        }
    }
}

/// Reads a tensor; `folder` is where its file is, if it came from one.
///
/// # Errors
/// A kind of number that is not needed, a length that is not that of its shape, external data that is missing or elsewhere.
pub(crate) fn constant(tensor: &TensorProto, folder: Option<&Path>) -> Result<Constant> {
    let dims = tensor.dims.iter().map(|&d| usize::try_from(d).ok());
    let shape: Option<Vec<usize>> = dims.collect();
    let shape = shape.with_context(|| format!("shape {:?}", tensor.dims))?;
    let n = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let n = n
        .filter(|&n| n <= isize::MAX as usize / 8)
        .with_context(|| format!("shape {shape:?} is too large"))?;
    let kind = DataType::try_from(tensor.data_type).unwrap_or(DataType::Undefined);
    let width = match kind {
        DataType::Int8 | DataType::Uint8 => 1,
        DataType::Float | DataType::Int32 => 4,
        DataType::Double | DataType::Int64 => 8,
        _ => bail!(
            "{} numbers, expected float, double, int8, uint8, int32 or int64",
            format!("{kind:?}").to_lowercase()
        ),
    };
    let external;
    let is_external = tensor.data_location == Some(DataLocation::External as i32);
    let raw = if is_external {
        external = external_bytes(tensor, folder, n * width)?;
        &external
    } else {
        &tensor.raw_data
    };
    let typed = match kind {
        DataType::Float => tensor.float_data.len(),
        DataType::Double => tensor.double_data.len(),
        DataType::Int8 | DataType::Uint8 | DataType::Int32 => tensor.int32_data.len(),
        _ => tensor.int64_data.len(),
    };
    let is_raw = is_external || !raw.is_empty();
    let (got, unit) = if is_raw { (raw.len(), width) } else { (typed, 1) };
    ensure!(
        got == n * unit,
        "{got} {} for shape {shape:?}",
        if is_raw { "bytes" } else { "numbers" }
    );
    Ok(match kind {
        DataType::Float => {
            let of_raw = || raw.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            Constant::floats(shape, if is_raw { of_raw() } else { tensor.float_data.clone() })
        }
        DataType::Double => {
            let of_raw = || raw.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
            let doubles: Vec<f64> = if is_raw { of_raw() } else { tensor.double_data.clone() };
            Constant::floats(shape, doubles.into_iter().map(|v| v as f32).collect())
        }
        DataType::Int8 | DataType::Uint8 => {
            let wide = |&byte: &u8| {
                if kind == DataType::Int8 {
                    i64::from(byte as i8)
                } else {
                    i64::from(byte)
                }
            };
            let ints = if is_raw {
                raw.iter().map(wide).collect()
            } else {
                tensor.int32_data.iter().map(|&v| i64::from(v)).collect()
            };
            Constant::ints(shape, ints)
        }
        DataType::Int32 => {
            let of_raw = || raw.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b)).collect();
            let ints: Vec<i32> = if is_raw { of_raw() } else { tensor.int32_data.clone() };
            Constant::ints(shape, ints.into_iter().map(i64::from).collect())
        }
        _ => {
            let of_raw = || raw.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect();
            Constant::ints(shape, if is_raw { of_raw() } else { tensor.int64_data.clone() })
        }
    })
}

/// The bytes of a tensor that are kept in another file of the same folder.
fn external_bytes(tensor: &TensorProto, folder: Option<&Path>, n: usize) -> Result<Vec<u8>> {
    let entry = |key: &str| {
        tensor
            .external_data
            .iter()
            .find(|e| e.key == key)
            .map(|e| e.value.as_str())
    };
    let location = entry("location").context("external data without a location")?;
    let path = inside(folder, Path::new(location))?;
    let number = |key: &str| -> Result<Option<u64>> {
        let parse = |text: &str| {
            text.parse()
                .with_context(|| format!("external data with {key} {text:?}"))
        };
        entry(key).map(parse).transpose()
    };
    let offset = number("offset")?.unwrap_or(0);
    if let Some(length) = number("length")? {
        ensure!(length == n as u64, "external data of {length} bytes, expected {n}");
    }
    let mut file = File::open(&path).with_context(|| format!("external data: cannot open {location}"))?;
    let has = file.metadata()?.len();
    ensure!(
        offset.checked_add(n as u64).is_some_and(|end| end <= has),
        "external data: {location} has {has} bytes, {n} at {offset} are wanted"
    );
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::with_capacity(n);
    file.take(n as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A path that a file names, if it leads nowhere but into the file's own folder.
fn inside(folder: Option<&Path>, location: &Path) -> Result<PathBuf> {
    let name = location.display();
    let folder = folder.with_context(|| format!("external data ({name}) of a model without a folder"))?;
    let is_below = location.components().all(|c| matches!(c, Component::Normal(_)));
    ensure!(
        is_below && location.components().next().is_some(),
        "external data at {name}, expected a file beside the model"
    );
    let path = folder.join(location).canonicalize();
    let path = path.with_context(|| format!("external data: {name} is missing"))?;
    ensure!(
        path.starts_with(folder.canonicalize()?),
        "external data at {name}, which leads out of the model's folder"
    );
    ensure!(path.is_file(), "external data: {name} is not a file");
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx_pb::StringStringEntryProto;

    fn tensor(dims: &[i64], kind: DataType, raw: &[u8]) -> TensorProto {
        TensorProto {
            dims: dims.to_vec(),
            data_type: kind as i32,
            raw_data: raw.to_vec(),
            ..TensorProto::default()
        }
    }

    #[test]
    fn numbers_come_from_either_field() {
        let raw = tensor(&[2], DataType::Float, &[0, 0, 128, 63, 0, 0, 0, 192]);
        let typed = TensorProto {
            raw_data: vec![],
            float_data: vec![1.0, -2.0],
            ..raw.clone()
        };
        let expected = Constant::floats(vec![2], vec![1.0, -2.0]);
        assert_eq!(constant(&raw, None).expect("reads"), expected);
        assert_eq!(constant(&typed, None).expect("reads"), expected);
        let scalar = tensor(&[], DataType::Int64, &(-3i64).to_le_bytes());
        assert_eq!(
            constant(&scalar, None).expect("reads"),
            Constant::ints(vec![], vec![-3])
        );
    }

    #[test]
    fn lengths_that_are_not_those_of_the_shape_are_refused() {
        let huge = [1 << 40, 1 << 40];
        let cases = [
            (tensor(&[3], DataType::Float, &[0; 8]), "8 bytes for shape [3]"),
            (tensor(&[1 << 50], DataType::Float, &[]), "0 numbers for shape"),
            (tensor(&huge, DataType::Float, &[]), "too large"),
            (tensor(&[-1], DataType::Float, &[]), "shape [-1]"),
            (tensor(&[1], DataType::String, &[0]), "string numbers"),
        ];
        for (tensor, expected) in cases {
            let text = format!("{:#}", constant(&tensor, None).expect_err(expected));
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn external_data_is_read_from_beside_the_file_and_from_nowhere_else() {
        let outer = tempfile::tempdir().expect("temp dir");
        let folder = outer.path().join("model");
        std::fs::create_dir(&folder).expect("folder");
        std::fs::write(outer.path().join("secret"), [0; 64]).expect("writes");
        std::fs::write(folder.join("data"), [0, 0, 0, 0, 0, 0, 128, 63]).expect("writes");
        #[cfg(unix)]
        std::os::unix::fs::symlink(outer.path().join("secret"), folder.join("link")).expect("links");
        let at = |location: &str, offset: &str| {
            let entry = |key: &str, value: &str| StringStringEntryProto {
                key: key.into(),
                value: value.into(),
            };
            let tensor = TensorProto {
                data_location: Some(DataLocation::External as i32),
                external_data: vec![entry("location", location), entry("offset", offset)],
                ..tensor(&[1], DataType::Float, &[])
            };
            constant(&tensor, Some(&folder))
        };
        let one = Constant::floats(vec![1], vec![1.0]);
        assert_eq!(at("data", "4").expect("reads"), one);
        let secret = outer.path().join("secret").to_string_lossy().into_owned();
        let refused = [
            ("data", "5", "5 are wanted"),
            ("data", "x", "offset \"x\""),
            ("gone", "0", "gone is missing"),
            ("../secret", "0", "beside the model"),
            (&secret, "0", "beside the model"),
            ("", "0", "beside the model"),
        ];
        for (location, offset, expected) in refused {
            let text = format!("{:#}", at(location, offset).expect_err(expected));
            assert!(text.contains(expected), "{text}");
        }
        #[cfg(unix)]
        assert!(format!("{:#}", at("link", "0").expect_err("outside")).contains("leads out"));
    }
}
