//! An SVG as pixels, with the fonts that are inside the program, so that it looks the same on every machine.
//! Knows nothing of what the SVG shows.

use super::svg::Style;
use anyhow::{Context, Result, ensure};
use epaint_default_fonts::{HACK_REGULAR, UBUNTU_LIGHT};
use resvg::{tiny_skia, usvg};

/// Pixels of an image, not premultiplied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// Width and height.
    pub size: [usize; 2],
    /// RGBA, row by row.
    pub rgba: Vec<u8>,
}

/// Pixels a side that nobody wants more of.
const MOST: f64 = 20_000.0;

/// Draws it at the style's resolution.
///
/// # Errors
/// The SVG is broken, or the image would be empty or larger than memory should hold.
pub fn pixels(svg: &str, style: &Style) -> Result<Pixels> {
    let pixmap = draw(svg, style)?;
    let rgba = pixmap.pixels().iter().flat_map(|p| {
        let c = p.demultiply();
        [c.red(), c.green(), c.blue(), c.alpha()]
    });
    Ok(Pixels {
        size: [pixmap.width() as usize, pixmap.height() as usize],
        rgba: rgba.collect(),
    })
}

/// The same as a PNG file.
///
/// # Errors
/// As [`pixels`].
pub fn png(svg: &str, style: &Style) -> Result<Vec<u8>> {
    draw(svg, style)?.encode_png().context("cannot encode a PNG")
}

fn draw(svg: &str, style: &Style) -> Result<tiny_skia::Pixmap> {
    let mut options = usvg::Options {
        font_family: "Ubuntu".into(),
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
    Ok(pixmap)
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
        assert!(file.starts_with(b"\x89PNG"));
        let huge = Style { dpi: 1e6, ..style };
        assert!(png(&svg("x"), &huge).is_err());
    }
}
