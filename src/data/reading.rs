//! How pictures become images of one shape: size, proportions, and what transparency shows.

use anyhow::{Result, ensure};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Longest side that may be asked for, in pixels.
const MAX_SIDE: usize = 4096;

/// How the pictures of a folder become images of one shape. Other data sets have one shape and are read as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Height and width.
    pub size: PictureSize,
    /// What happens to pictures of other sizes.
    pub fit: Fit,
    /// What shows through transparent pixels.
    pub background: Background,
}

/// The size that pictures are scaled to. In settings `auto`, `64` or `HEIGHTxWIDTH`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PictureSize {
    /// That of most training pictures; where there is none, the median of their heights and of their widths.
    #[default]
    Auto,
    /// This height and width, in pixels.
    Of(usize, usize),
}

/// What happens to a picture that is not of the size asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Scaled until it covers the image; what goes beyond is cut off on both sides.
    #[default]
    Crop,
    /// Scaled until it lies within the image; the rest is background.
    Letterbox,
    /// Scaled without regard to its proportions.
    Stretch,
}

impl Fit {
    /// As settings have them.
    pub const NAMES: [&str; 3] = ["crop", "letterbox", "stretch"];
}

/// What shows through transparent pixels and beside letterboxed pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Background {
    /// Half of full brightness, on which light and dark shapes are seen.
    #[default]
    Gray,
    /// Nothing.
    Black,
    /// Full brightness.
    White,
}

impl Background {
    /// As settings have them.
    pub const NAMES: [&str; 3] = ["gray", "black", "white"];

    /// The value of each of its channels.
    pub(crate) fn level(self) -> u8 {
        match self {
            Self::Gray => 128,
            Self::Black => 0,
            Self::White => 255,
        }
    }

    /// As settings have it.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

impl FromStr for PictureSize {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let side = |text: &str| text.trim().parse().ok().filter(|side| (1..=MAX_SIDE).contains(side));
        let size = match text.split_once(['x', '×']) {
            Some((height, width)) => side(height).zip(side(width)),
            None => side(text).map(|side| (side, side)),
        };
        ensure!(
            size.is_some(),
            "size is {text}, expected auto, a number of pixels such as 64, or HEIGHTxWIDTH, with sides from 1 to {MAX_SIDE}"
        );
        Ok(size.map_or(Self::Auto, |(height, width)| Self::Of(height, width)))
    }
}

impl fmt::Display for PictureSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Of(height, width) if height == width => write!(f, "{height}"),
            Self::Of(height, width) => write!(f, "{height}x{width}"),
        }
    }
}

impl Serialize for PictureSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PictureSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;

        impl Visitor<'_> for Written {
            type Value = PictureSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("auto, a number of pixels or HEIGHTxWIDTH")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<PictureSize, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: Error>(self, side: i64) -> Result<PictureSize, E> {
                self.visit_str(&side.to_string())
            }

            fn visit_u64<E: Error>(self, side: u64) -> Result<PictureSize, E> {
                self.visit_str(&side.to_string())
            }
        }

        deserializer.deserialize_any(Written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_written_as_it_is_read() {
        for text in ["auto", "64", "24x32"] {
            assert_eq!(text.parse::<PictureSize>().unwrap().to_string(), text);
        }
        assert_eq!("8x8".parse::<PictureSize>().unwrap(), PictureSize::Of(8, 8));
        for text in ["", "0", "4097", "8x", "-3", "large"] {
            let error = text.parse::<PictureSize>().unwrap_err().to_string();
            assert!(error.contains("expected auto"), "{error}");
        }
    }

    #[test]
    fn backgrounds_have_their_names() {
        for background in [Background::Gray, Background::Black, Background::White] {
            let written = format!("{background:?}").to_lowercase();
            assert_eq!(background.name(), written);
        }
    }
}
