//! One picture file: what its header says, and its pixels as planes of the shape asked for.
//!
//! - A picture is told by its content; a wrong ending does no harm. Of an animation, the first frame counts.
//! - It is turned as its EXIF orientation says.
//! - A JPEG without an end mark is cut off and refused: decoders fill what is missing with gray.
//! - Nothing is allocated for a size or a number of values that only a header claims.

use super::images::ImageShape;
use super::reading::{Fit, Reading};
use anyhow::{Context, Result, anyhow, ensure};
use image::imageops::{FilterType, overlay};
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, Luma, Rgb, RgbImage};
use std::io::Cursor;
use std::path::Path;

/// Endings of pictures that are read, in lower case.
const ENDINGS: [&str; 10] = ["png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "gif", "tif", "tiff"];

/// The same for messages.
pub(crate) const ENDINGS_TEXT: &str = ".png, .jpg, .webp, .bmp, .gif or .tif";

/// Longest side of a picture, in pixels: what a header may claim at most.
const MAX_SIDE: u32 = 16_384;

/// Decoded bytes that any file may have, and how many more a byte of it is believed to hold.
const ALWAYS_BYTES: u64 = 16 << 20;
const BYTES_PER_BYTE: u64 = 2048;

/// Decoded bytes that no picture may exceed.
const MOST_BYTES: u64 = 512 << 20;

/// Largest picture file, in bytes.
const MAX_FILE: u64 = 1 << 30;

/// What is known of a picture before all of them are decoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PictureHeader {
    /// As it is shown, after turning.
    pub width: u32,
    pub height: u32,
    pub colored: bool,
    /// Its largest value, if it has more than 8 bits.
    pub deepest: Option<u16>,
}

/// What all pictures of a data set have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub shape: ImageShape,
    pub reading: &'a Reading,
    /// The value of pictures with more than 8 bits that is white.
    pub white: u16,
}

/// Planes of a picture, and whether something showed through it.
pub(crate) struct Decoded {
    /// `[channels, height, width]`, 0 black to 255 white.
    pub planes: Vec<u8>,
    pub transparent: bool,
}

/// Whether a file of this name should be a picture.
pub(crate) fn is_picture_name(name: &str) -> bool {
    ending(name).is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// A name's ending in lower case, without its dot.
pub(crate) fn ending(name: &str) -> Option<String> {
    Some(Path::new(name).extension()?.to_string_lossy().to_ascii_lowercase())
}

/// Planes of one picture file, brought to `shape`: `[channels, height, width]`, 0 black to 255 white.
///
/// # Errors
/// It cannot be read, or is no picture.
pub fn picture(path: &Path, shape: ImageShape, reading: &Reading) -> Result<Vec<u8>> {
    let read = || {
        let bytes = read_file(path)?;
        picture_from_bytes(&bytes, shape, reading)
    };
    read().with_context(|| format!("picture {}", path.display()))
}

/// The same of a file's bytes.
///
/// # Errors
/// They are no picture, or one that is damaged.
pub fn picture_from_bytes(bytes: &[u8], shape: ImageShape, reading: &Reading) -> Result<Vec<u8>> {
    let white = white(header(bytes)?.deepest);
    let target = Target { shape, reading, white };
    Ok(decode(bytes, target)?.planes)
}

/// The white of pictures whose largest value is this: all bits up to its highest one.
pub(crate) fn white(deepest: Option<u16>) -> u16 {
    deepest.map_or(u16::MAX, |most| u16::MAX >> most.leading_zeros().min(15))
}

/// A picture file's bytes.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>> {
    let len = path.metadata()?.len();
    ensure!(len <= MAX_FILE, "{len} bytes, expected at most {MAX_FILE}");
    Ok(std::fs::read(path)?)
}

/// What a picture's header says. Pictures of more than 8 bits are decoded for it.
pub(crate) fn header(bytes: &[u8]) -> Result<PictureHeader> {
    let mut decoder = open(bytes)?;
    let color = decoder.color_type();
    let (mut width, mut height) = decoder.dimensions();
    let colored = color.has_color();
    if turns(orientation(&mut decoder)) {
        (width, height) = (height, width);
    }
    let deepest = if color.bytes_per_pixel() / color.channel_count() == 2 {
        Some(deepest(&DynamicImage::from_decoder(decoder)?))
    } else {
        None
    };
    Ok(PictureHeader {
        width,
        height,
        colored,
        deepest,
    })
}

/// Planes of a picture, brought to the shape.
pub(crate) fn decode(bytes: &[u8], target: Target) -> Result<Decoded> {
    let mut decoder = open(bytes)?;
    let orientation = orientation(&mut decoder);
    let mut picture = eight_bits(DynamicImage::from_decoder(decoder)?, target.white)?;
    picture.apply_orientation(orientation);
    let (opaque, transparent) = composed(picture, target.reading.background.level(), target.shape.channels);
    Ok(Decoded {
        planes: planes(fitted(opaque, target)),
        transparent,
    })
}

/// A decoder of what a picture may be, told by its first bytes; its size is checked.
fn open(bytes: &[u8]) -> Result<impl ImageDecoder + '_> {
    ensure!(
        !bytes.starts_with(&[0xff, 0xd8]) || jpeg_is_whole(bytes),
        "cut off: a JPEG without its end mark"
    );
    ensure!(
        tiff_holds_its_values(bytes),
        "a TIFF whose header claims more values than its bytes can hold"
    );
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    let known = [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Bmp,
        ImageFormat::Gif,
        ImageFormat::Tiff,
    ];
    ensure!(
        reader.format().is_some_and(|format| known.contains(&format)),
        "not a picture of a known kind"
    );
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(worth(bytes));
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|e| match e {
        ImageError::Limits(_) => anyhow!("claims sides above {MAX_SIDE} or more pixels than its bytes can hold"),
        other => other.into(),
    })?;
    let (width, height) = decoder.dimensions();
    ensure!(width > 0 && height > 0, "no pixels");
    ensure!(
        width <= MAX_SIDE && height <= MAX_SIDE && decoder.total_bytes() <= worth(bytes),
        "{height}×{width} pixels claimed by {} bytes, expected sides up to {MAX_SIDE} and more bytes for so many pixels",
        bytes.len()
    );
    let color = decoder.color_type();
    ensure!(
        color.bytes_per_pixel() / color.channel_count() <= 2,
        "pixels as floating-point numbers, expected 8 or 16 bits"
    );
    Ok(decoder)
}

/// Decoded bytes that a file may hold.
fn worth(bytes: &[u8]) -> u64 {
    MOST_BYTES.min(ALWAYS_BYTES + BYTES_PER_BYTE * bytes.len() as u64)
}

/// A picture whose metadata are damaged is shown as it lies.
fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    decoder.orientation().unwrap_or(Orientation::NoTransforms)
}

/// Whether height and width change places.
fn turns(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

/// Whether a JPEG goes on to its end mark. Marks inside of segments, such as those of an embedded thumbnail, do not count.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    let mut at = 2;
    loop {
        // Up to the next mark; in coded pixels 0xff is followed by 0 or by a restart mark, and in between stands what is no mark.
        let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|&b| b == 0xff)) else {
            return false;
        };
        at += found + 1;
        match bytes.get(at) {
            None => return false,
            // A filling byte: the mark may follow.
            Some(0xff) => {}
            Some(0xd9) => return true,
            Some(0x00 | 0x01 | 0xd0..=0xd8) => at += 1,
            Some(_) => match bytes.get(at + 1..at + 3) {
                Some(&[high, low]) => at += 1 + usize::from(u16::from_be_bytes([high, low])).max(2),
                _ => return false,
            },
        }
    }
}

/// Whether the lists of values that a TIFF's first directory claims fit into the file: a decoder makes room for them before it
/// reads them. True of what is no TIFF, or ends within its directory.
fn tiff_holds_its_values(bytes: &[u8]) -> bool {
    let is_big_endian = bytes.starts_with(b"MM");
    if !is_big_endian && !bytes.starts_with(b"II") {
        return true;
    }
    let number = |at: usize, width: usize| {
        let digits = bytes.get(at..at.checked_add(width)?)?.iter();
        let push = |n: u64, digit: &u8| n << 8 | u64::from(*digit);
        Some(if is_big_endian {
            digits.fold(0, push)
        } else {
            digits.rev().fold(0, push)
        })
    };
    // Widths of an offset or a count, of the number of entries, and where the first directory's place stands.
    let (width, counts, place) = match number(2, 2) {
        Some(42) => (4, 2, 4),
        Some(43) => (8, 8, 8),
        _ => return true,
    };
    let entry = |i: usize| {
        let directory = usize::try_from(number(place, width)?).ok()?;
        (directory <= bytes.len()).then_some(())?;
        let entries = usize::try_from(number(directory, counts)?).ok()?;
        let at = directory + counts + i * (4 + 2 * width);
        (i < entries).then_some(())?;
        let size = match number(at + 2, 2)? {
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16 | 17 | 18 => 8,
            _ => 1,
        };
        Some(number(at + 4, width)?.saturating_mul(size) <= bytes.len() as u64)
    };
    (0..).map_while(entry).all(|fits| fits)
}

/// The largest value of a picture of 16 bits, transparency aside.
fn deepest(picture: &DynamicImage) -> u16 {
    fn most(samples: &[u16], channels: usize, colors: usize) -> u16 {
        let colors = samples.chunks_exact(channels).flat_map(|pixel| &pixel[..colors]);
        colors.copied().max().unwrap_or(0)
    }
    match picture {
        DynamicImage::ImageLuma16(p) => most(p, 1, 1),
        DynamicImage::ImageLumaA16(p) => most(p, 2, 1),
        DynamicImage::ImageRgb16(p) => most(p, 3, 3),
        DynamicImage::ImageRgba16(p) => most(p, 4, 3),
        _ => u16::MAX,
    }
}

/// With 8 bits for each value, `white` becoming 255.
fn eight_bits(mut picture: DynamicImage, white: u16) -> Result<DynamicImage> {
    let spread = |value: &mut u16| {
        let value64 = u64::from((*value).min(white));
        *value = ((value64 * u64::from(u16::MAX) + u64::from(white) / 2) / u64::from(white.max(1))) as u16;
    };
    let colors_of = |samples: &mut [u16], channels: usize| {
        samples
            .chunks_exact_mut(channels)
            .for_each(|pixel| pixel[..channels - 1].iter_mut().for_each(spread));
    };
    if white != u16::MAX {
        match &mut picture {
            DynamicImage::ImageLuma16(p) => p.iter_mut().for_each(spread),
            DynamicImage::ImageRgb16(p) => p.iter_mut().for_each(spread),
            DynamicImage::ImageLumaA16(p) => colors_of(p, 2),
            DynamicImage::ImageRgba16(p) => colors_of(p, 4),
            _ => {}
        }
    }
    Ok(match picture {
        DynamicImage::ImageLuma16(_) => picture.into_luma8().into(),
        DynamicImage::ImageLumaA16(_) => picture.into_luma_alpha8().into(),
        DynamicImage::ImageRgb16(_) => picture.into_rgb8().into(),
        DynamicImage::ImageRgba16(_) => picture.into_rgba8().into(),
        eight => eight,
    })
}

/// Without transparency, gray or in colors, and whether it had some.
fn composed(picture: DynamicImage, background: u8, channels: usize) -> (DynamicImage, bool) {
    let gray = channels == 1;
    if !picture.color().has_alpha() {
        let opaque = if gray {
            picture.into_luma8().into()
        } else {
            picture.into_rgb8().into()
        };
        return (opaque, false);
    }
    let over = |color: u8, alpha: u8| {
        let (alpha, color) = (u32::from(alpha), u32::from(color));
        ((color * alpha + u32::from(background) * (255 - alpha) + 127) / 255) as u8
    };
    if gray {
        let picture = picture.into_luma_alpha8();
        let transparent = picture.pixels().any(|p| p.0[1] < 255);
        let composed = GrayImage::from_fn(picture.width(), picture.height(), |x, y| {
            let [luma, alpha] = picture.get_pixel(x, y).0;
            Luma([over(luma, alpha)])
        });
        (composed.into(), transparent)
    } else {
        let picture = picture.into_rgba8();
        let transparent = picture.pixels().any(|p| p.0[3] < 255);
        let composed = RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
            let [r, g, b, alpha] = picture.get_pixel(x, y).0;
            Rgb([r, g, b].map(|color| over(color, alpha)))
        });
        (composed.into(), transparent)
    }
}

/// Brought to the size, as the reading has it.
fn fitted(picture: DynamicImage, target: Target) -> DynamicImage {
    let (width, height) = (target.shape.width as u32, target.shape.height as u32);
    if (picture.width(), picture.height()) == (width, height) {
        return picture;
    }
    match target.reading.fit {
        Fit::Stretch => picture.resize_exact(width, height, FilterType::Triangle),
        Fit::Crop => covering(&picture, width, height),
        Fit::Letterbox => {
            let level = target.reading.background.level();
            let inside = picture.resize(width, height, FilterType::Triangle);
            let mut ground: DynamicImage = if target.shape.channels == 1 {
                GrayImage::from_pixel(width, height, Luma([level])).into()
            } else {
                RgbImage::from_pixel(width, height, Rgb([level; 3])).into()
            };
            let middle = |whole: u32, part: u32| i64::from(whole.saturating_sub(part) / 2);
            let (x, y) = (middle(width, inside.width()), middle(height, inside.height()));
            overlay(&mut ground, &inside, x, y);
            ground
        }
    }
}

/// The middle of a picture of the asked for proportions, scaled. It is cut before it is scaled, so that a very long picture
/// does not become a very large one.
fn covering(picture: &DynamicImage, width: u32, height: u32) -> DynamicImage {
    let (have_width, have_height) = (u64::from(picture.width()), u64::from(picture.height()));
    let (want_width, want_height) = (u64::from(width), u64::from(height));
    let rounded = |a: u64, b: u64, c: u64| ((a * b + c / 2) / c).max(1);
    let cut_width = have_width.min(rounded(have_height, want_width, want_height)) as u32;
    let cut_height = have_height.min(rounded(have_width, want_height, want_width)) as u32;
    let (x, y) = ((picture.width() - cut_width) / 2, (picture.height() - cut_height) / 2);
    picture
        .crop_imm(x, y, cut_width, cut_height)
        .resize_exact(width, height, FilterType::Triangle)
}

fn planes(picture: DynamicImage) -> Vec<u8> {
    match picture {
        DynamicImage::ImageLuma8(gray) => gray.into_raw(),
        other => {
            let interleaved = other.into_rgb8().into_raw();
            let (pixels, _) = interleaved.as_chunks::<3>();
            (0..3)
                .flat_map(|channel| pixels.iter().map(move |pixel| pixel[channel]))
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn shape(channels: usize, height: usize, width: usize) -> ImageShape {
        ImageShape {
            channels,
            height,
            width,
        }
    }

    fn read(bytes: &[u8], shape: ImageShape, fit: Fit) -> Vec<u8> {
        let reading = Reading {
            fit,
            ..Reading::default()
        };
        picture_from_bytes(bytes, shape, &reading).unwrap()
    }

    /// Two rows: a left half of 10 and a right half of 200, `width` wide.
    fn halves(width: u32) -> DynamicImage {
        GrayImage::from_fn(width, 2, |x, _| Luma([if x < width / 2 { 10 } else { 200 }])).into()
    }

    #[test]
    fn white_is_the_highest_value_of_the_bits_in_use() {
        let cases = [(0, 1), (1, 1), (100, 127), (255, 255), (4000, 4095), (65_535, 65_535)];
        for (most, expected) in cases {
            assert_eq!(white(Some(most)), expected);
        }
        assert_eq!(white(None), u16::MAX);
    }

    #[test]
    fn proportions_are_kept_by_crop_and_letterbox_alone() {
        let wide = encoded(&halves(8), ImageFormat::Png);
        assert_eq!(read(&wide, shape(1, 2, 2), Fit::Crop), [10, 200, 10, 200]);
        let boxed = read(&wide, shape(1, 4, 4), Fit::Letterbox);
        assert_eq!((boxed[0], boxed[15]), (128, 128), "{boxed:?}");
        assert!(boxed[4] < 20 && boxed[7] > 190, "{boxed:?}");
        let squeezed = read(&wide, shape(1, 2, 2), Fit::Stretch);
        assert!(squeezed[0] < 40 && squeezed[1] > 170, "{squeezed:?}");
    }

    #[test]
    fn a_very_long_picture_is_cropped_without_becoming_a_large_one() {
        let long = encoded(&halves(16_000), ImageFormat::Png);
        assert_eq!(read(&long, shape(1, 64, 64), Fit::Crop).len(), 64 * 64);
    }

    #[test]
    fn every_cut_file_is_refused() {
        let noise = |x: u32, y: u32| ((x * 37 + y * 101) % 251) as u8;
        let picture = RgbImage::from_fn(40, 40, |x, y| Rgb([noise(x, y), noise(y, x), noise(x + y, y)])).into();
        let formats = [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::WebP,
            ImageFormat::Bmp,
            ImageFormat::Gif,
            ImageFormat::Tiff,
        ];
        for format in formats {
            let bytes = encoded(&picture, format);
            let read = |bytes: &[u8]| picture_from_bytes(bytes, shape(3, 40, 40), &Reading::default());
            let whole = read(&bytes).unwrap_or_else(|e| panic!("{format:?}: {e:#}"));
            for percent in [10, 50, 90] {
                let cut = read(&bytes[..bytes.len() * percent / 100]);
                assert!(cut.is_err(), "{format:?} cut at {percent} %");
            }
            // What is cut off without a loss may be read.
            for missing in 1..40 {
                if let Ok(read) = read(&bytes[..bytes.len() - missing]) {
                    assert!(read == whole, "{format:?} without its last {missing} bytes");
                }
            }
        }
    }

    #[test]
    fn the_end_mark_of_a_thumbnail_is_not_that_of_the_picture() {
        let bytes = encoded(&halves(16), ImageFormat::Jpeg);
        assert!(jpeg_is_whole(&bytes));
        let inside = [0xff, 0xe1, 0, 8, 1, 2, 0xff, 0xd9, 0, 0];
        let with = [&bytes[..2], &inside, &bytes[2..]].concat();
        assert!(jpeg_is_whole(&with) && !jpeg_is_whole(&with[..with.len() - 2]));
        assert!(
            jpeg_is_whole(&[&bytes[..], b"more"].concat()),
            "what follows does no harm"
        );
    }

    #[test]
    fn a_header_alone_allocates_nothing() {
        let mut bytes = encoded(&halves(4), ImageFormat::Png);
        for side in [16_000_u32, 60_000] {
            bytes[16..20].copy_from_slice(&side.to_be_bytes());
            bytes[20..24].copy_from_slice(&side.to_be_bytes());
            assert!(header(&bytes).is_err());
        }
    }

    #[test]
    fn a_tiff_that_claims_more_values_than_it_has_is_refused_before_room_is_made_for_them() {
        let tiff = encoded(&halves(4), ImageFormat::Tiff);
        assert!(tiff.starts_with(b"II") && tiff_holds_its_values(&tiff));
        let directory = u32::from_le_bytes(tiff[4..8].try_into().unwrap()) as usize;
        for entry in [0, 3] {
            let mut bytes = tiff.clone();
            let count = directory + 2 + entry * 12 + 4;
            bytes[count..count + 4].copy_from_slice(&8_323_073_u32.to_le_bytes());
            let error = header(&bytes).unwrap_err().to_string();
            assert!(error.contains("claims more values"), "{error}");
        }
        // The other byte order and the larger format; places and numbers of entries that are nowhere.
        let big = |count: u64| {
            let mut bytes = b"MM\0\x2b\0\x08\0\0".to_vec();
            for (n, width) in [(16, 8), (1, 8), (256, 2), (16, 2), (count, 8), (0, 8)] {
                bytes.extend(&u64::to_be_bytes(n)[8 - width..]);
            }
            bytes
        };
        assert!(tiff_holds_its_values(&big(1)) && !tiff_holds_its_values(&big(9)));
        assert!(!tiff_holds_its_values(&big(u64::MAX)));
        for at in [4, 5, 6, 7, directory, directory + 1] {
            let mut bytes = tiff.clone();
            bytes[at] = 255;
            let _ = tiff_holds_its_values(&bytes);
        }
    }
}
