//! The implementations that this machine can run, by the instructions it has. Knows nothing of what they compute.

#[cfg(target_arch = "aarch64")]
use super::bytes_neon;
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::tile::{ConvTiles, Tiles};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512, bytes_x86};
use super::{bytes_generic, generic};

const PORTABLE_BYTES: (&str, &ConvTiles) = ("portable", &bytes_generic::TILES);

/// An implementation this machine can run: the value is the proof.
#[derive(Clone, Copy)]
pub struct Kernel {
    name: &'static str,
    /// `None` is the reference.
    pub(crate) tiles: Option<&'static Tiles>,
    /// For bytes: what their instructions are called, and the tiles.
    bytes: (&'static str, &'static ConvTiles),
}

impl Kernel {
    /// All that run here, fastest first.
    pub fn available() -> Vec<Kernel> {
        let mut all = Vec::new();
        let mut add = |name, tiles, bytes| all.push(Kernel { name, tiles, bytes });
        #[cfg(target_arch = "x86_64")]
        {
            if std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512vl") {
                let bytes = if std::is_x86_feature_detected!("avx512vnni") {
                    ("avx512-vnni", &bytes_x86::vnni512::TILES)
                } else {
                    ("avx2", &bytes_x86::pairs256::TILES)
                };
                add("avx512", Some(&avx512::TILES), bytes);
            }
            if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
                let bytes = if std::is_x86_feature_detected!("avxvnni") {
                    ("avx-vnni", &bytes_x86::vnni256::TILES)
                } else {
                    ("avx2", &bytes_x86::pairs256::TILES)
                };
                add("avx2", Some(&avx2::TILES), bytes);
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            let bytes = if std::arch::is_aarch64_feature_detected!("i8mm") {
                ("neon-i8mm", &bytes_neon::TILES)
            } else {
                PORTABLE_BYTES
            };
            add("neon", Some(&neon::TILES), bytes);
        }
        add("portable", Some(&generic::TILES), PORTABLE_BYTES);
        // Without tiles, nobody asks for those of bytes.
        add("reference", None, PORTABLE_BYTES);
        all
    }

    /// The fastest that runs here.
    pub fn best() -> Kernel {
        Self::available()[0]
    }

    /// "avx512", "avx2", "neon", "portable" or "reference", if it runs here.
    pub fn by_name(name: &str) -> Option<Kernel> {
        Self::available().into_iter().find(|k| k.name == name)
    }

    /// The tiles that multiply bytes; `None` is the reference.
    pub(crate) fn byte_tiles(&self) -> Option<&'static ConvTiles> {
        self.tiles.map(|_| self.bytes.1)
    }

    /// What multiplies bytes: "avx512-vnni", "avx-vnni", "avx2", "neon-i8mm", "portable" or "reference".
    pub fn byte_name(&self) -> &'static str {
        if self.tiles.is_some() { self.bytes.0 } else { self.name }
    }

    /// Its name, as `by_name` takes it.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kernel({})", self.name)
    }
}
