//! Numbers of a log that JSON has no way to write: NaN and infinities are `null` in it, and are read back as NaN.

use serde::de::{Deserialize, Deserializer};

/// A number, or `null`.
pub(crate) fn one<'de, T: Float + Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(T::NAN))
}

/// Numbers, some of them `null`.
pub(crate) fn list<'de, T, D, L>(from: D) -> Result<L, D::Error>
where
    T: Float + Deserialize<'de>,
    D: Deserializer<'de>,
    L: FromIterator<T> + AsRef<[T]>,
{
    let numbers = Vec::<Option<T>>::deserialize(from)?;
    Ok(numbers.into_iter().map(|n| n.unwrap_or(T::NAN)).collect())
}

pub(crate) trait Float {
    const NAN: Self;
}

impl Float for f32 {
    const NAN: Self = Self::NAN;
}

impl Float for f64 {
    const NAN: Self = Self::NAN;
}
