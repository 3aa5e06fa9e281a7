//! An SVG as pixels, with the fonts that are inside the program, so that it looks the same on every machine. Only characters
//! that those lack, such as Chinese, are drawn with a font of the system.
//! Knows nothing of what the SVG shows.

use super::svg::Style;
use anyhow::{Context, Result, ensure};
use epaint_default_fonts::{HACK_REGULAR, UBUNTU_LIGHT};
use resvg::{tiny_skia, usvg};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use usvg::fontdb::Database;

/// Pixels of an image, not premultiplied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// Width and height.
    pub size: [usize; 2],
    /// RGBA, row by row.
    pub rgba: Vec<u8>,
    /// Which characters could not be drawn, in a sentence; none if all could.
    pub undrawn: Option<String>,
}

/// A PNG file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PngFile {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// As [`Pixels::undrawn`].
    pub undrawn: Option<String>,
}

/// Pixels a side that nobody wants more of.
const MOST: f64 = 20_000.0;

/// Draws it at the style's resolution.
///
/// # Errors
/// The SVG is broken, or the image would be empty or larger than memory should hold.
pub fn pixels(svg: &str, style: &Style) -> Result<Pixels> {
    let (pixmap, undrawn) = draw(svg, style)?;
    let rgba = pixmap.pixels().iter().flat_map(|p| {
        let c = p.demultiply();
        [c.red(), c.green(), c.blue(), c.alpha()]
    });
    Ok(Pixels {
        size: [pixmap.width() as usize, pixmap.height() as usize],
        rgba: rgba.collect(),
        undrawn,
    })
}

/// The same as a PNG file.
///
/// # Errors
/// As [`pixels`].
pub fn png(svg: &str, style: &Style) -> Result<PngFile> {
    let (pixmap, undrawn) = draw(svg, style)?;
    let bytes = pixmap.encode_png().context("cannot encode a PNG")?;
    Ok(PngFile { bytes, undrawn })
}

fn draw(svg: &str, style: &Style) -> Result<(tiny_skia::Pixmap, Option<String>)> {
    let lost = Mutex::new(BTreeSet::new());
    let mut options = usvg::Options {
        font_family: "Ubuntu".into(),
        font_resolver: with_fonts_of_the_system(&lost),
        ..usvg::Options::default()
    };
    let fonts = options.fontdb_mut();
    fonts.load_font_data(UBUNTU_LIGHT.to_vec());
    // Has the signs that the first one lacks.
    fonts.load_font_data(HACK_REGULAR.to_vec());
    fonts.set_sans_serif_family("Ubuntu");
    let tree = usvg::Tree::from_str(svg, &options).context("cannot read the figure's own SVG")?;
    let [width, height] = [style.width_mm, style.height_mm].map(|mm| (mm / 25.4 * style.dpi).round());
    ensure!(
        (1.0..=MOST).contains(&width) && (1.0..=MOST).contains(&height),
        "an image of {width} × {height} pixels, expected 1 to {MOST} a side"
    );
    let mut pixmap = tiny_skia::Pixmap::new(width as u32, height as u32).context("not enough memory for the image")?;
    let scale =
        tiny_skia::Transform::from_scale(width as f32 / tree.size().width(), height as f32 / tree.size().height());
    resvg::render(&tree, scale, &mut pixmap.as_mut());
    drop(options);
    let lost = lost.into_inner().unwrap_or_else(PoisonError::into_inner);
    let lost: String = lost.into_iter().collect();
    let undrawn = (!lost.is_empty()).then(|| {
        format!("no font of this machine has {lost}: in the PNG they are boxes; save an SVG, or install a font")
    });
    Ok((pixmap, undrawn))
}

/// Fonts are looked for on the system when a character needs one. What none has goes to `lost`.
fn with_fonts_of_the_system(lost: &Mutex<BTreeSet<char>>) -> usvg::FontResolver<'_> {
    let select_font = usvg::FontResolver::default_font_selector();
    let find = usvg::FontResolver::default_fallback_selector();
    // Not before there is a first font to fall back from.
    let looked = Mutex::new(false);
    let select_fallback = move |c: char, tried: &[usvg::fontdb::ID], fonts: &mut Arc<Database>| {
        if let Some(found) = find(c, tried, fonts) {
            return Some(found);
        }
        let mut looked = looked.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut *looked, true) {
            Arc::make_mut(fonts).load_system_fonts();
        }
        let found = find(c, tried, fonts);
        // Marks that only join or color their neighbors, such as U+FE0F, need no glyph of their own.
        let is_seen = !matches!(c, '\u{200b}'..='\u{200f}' | '\u{fe00}'..='\u{fe0f}') && !c.is_control();
        if found.is_none() && is_seen {
            lost.lock().unwrap_or_else(PoisonError::into_inner).insert(c);
        }
        found
    };
    usvg::FontResolver {
        select_font,
        select_fallback: Box::new(select_fallback),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_the_size_asked_for_and_its_text_is_drawn() {
        let style = Style {
            width_mm: 25.4,
            height_mm: 12.7,
            dpi: 100.0,
            ..Style::default()
        };
        let svg = |text: &str| {
            format!(
                r##"<svg xmlns="http://www.w3.org/2000/svg" width="25.4mm" height="12.7mm" viewBox="0 0 72 36" font-family="Ubuntu, sans-serif" font-size="12"><rect width="72" height="36" fill="#ffffff"/><text x="4" y="20">{text}</text></svg>"##
            )
        };
        let dark = |text: &str| {
            let image = pixels(&svg(text), &style).expect("draws");
            assert_eq!(image.size, [100, 50]);
            image.rgba.chunks_exact(4).filter(|p| p[0] < 128).count()
        };
        assert_eq!(dark(""), 0);
        assert!(dark("MACs") > 20 && dark("‖") > 5);
        let file = png(&svg("x"), &style).expect("draws");
        assert!(file.bytes.starts_with(b"\x89PNG"));
        assert_eq!(file.undrawn, None);
        // No font has this one; another one is drawn, or said.
        let file = png(&svg("a\u{10fffd}b\u{fe0f}"), &style).expect("draws");
        assert!(file.undrawn.is_some_and(|text| text.contains("has \u{10fffd}:")));
        assert!(dark("実") > 5);
        let huge = Style { dpi: 1e6, ..style };
        assert!(png(&svg("x"), &huge).is_err());
    }
}
