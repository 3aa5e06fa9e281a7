//! Where a model comes from: the one inside the program, or a file. In settings and files it is one word: `bundled` or the path.

use anyhow::{Context, Result};
use model::Checkpoint;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

const BUNDLED: &str = "bundled";

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum ModelRef {
    /// The one inside the program.
    Bundled,
    /// A model file.
    File(PathBuf),
}

impl ModelRef {
    /// Reads the model.
    ///
    /// # Errors
    /// A file that cannot be read or is no model file.
    pub fn load(&self) -> Result<Checkpoint> {
        match self {
            Self::Bundled => Checkpoint::from_bytes(include_bytes!("../../assets/models/fbs-fashion.safetensors"))
                .context("the bundled model"),
            Self::File(path) => Checkpoint::load(path),
        }
    }

    /// FNV-1a of the file's bytes, by which it is known again; none of the bundled one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn checksum(&self) -> Result<Option<u64>> {
        let Some(path) = self.path() else { return Ok(None) };
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Ok(Some(bytes.iter().fold(0xcbf2_9ce4_8422_2325, add)))
    }

    /// A file's name without its ending, or `bundled`.
    pub fn stem(&self) -> String {
        match self {
            Self::Bundled => BUNDLED.to_owned(),
            Self::File(path) => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }

    /// The file, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Bundled => None,
            Self::File(path) => Some(path),
        }
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path().map_or(BUNDLED.into(), Path::to_string_lossy))
    }
}

impl From<String> for ModelRef {
    fn from(text: String) -> Self {
        if text == BUNDLED {
            Self::Bundled
        } else {
            Self::File(text.into())
        }
    }
}

impl From<ModelRef> for String {
    fn from(from: ModelRef) -> Self {
        from.to_string()
    }
}
