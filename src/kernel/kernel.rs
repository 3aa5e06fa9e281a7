//! The implementations that this machine can run, by the instructions it has. Knows nothing of what they compute.

use super::generic;
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::tile::Tiles;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// An implementation this machine can run: the value is the proof.
#[derive(Clone, Copy)]
pub struct Kernel {
    name: &'static str,
    /// `None` is the reference.
    pub(crate) tiles: Option<&'static Tiles>,
}

impl Kernel {
    /// All that run here, fastest first.
    pub fn available() -> Vec<Kernel> {
        let mut all = Vec::new();
        let mut add = |name, tiles| all.push(Kernel { name, tiles });
        #[cfg(target_arch = "x86_64")]
        {
            if std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512vl") {
                add("avx512", Some(&avx512::TILES));
            }
            if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
                add("avx2", Some(&avx2::TILES));
            }
        }
        #[cfg(target_arch = "aarch64")]
        add("neon", Some(&neon::TILES));
        add("portable", Some(&generic::TILES));
        add("reference", None);
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
