//! Thumbnails as they lie on the graphics card, in one texture.
//! Knows nothing of which images are shown where.

use super::theme;
use egui::{Color32, ColorImage, Rect, TextureHandle, TextureOptions, Ui, pos2};
use measure::images::{Thumbnail, Thumbnails};
use std::sync::Arc;

/// Side of an image in the atlas.
pub(crate) const TEXELS: usize = 32;
/// Images in a row of the atlas, and rows.
const SIZE: [usize; 2] = [24, 20];

/// The images of one panel.
#[derive(Default)]
pub(crate) struct Atlas {
    holds: Option<(Arc<Thumbnails>, Vec<usize>, TextureHandle)>,
}

impl Atlas {
    /// Images it holds at most.
    pub(crate) const MOST: usize = SIZE[0] * SIZE[1];

    /// From now on it holds these, by their places among all.
    pub(crate) fn refresh(&mut self, ui: &Ui, name: &str, strip: &Arc<Thumbnails>, numbers: Vec<usize>) {
        let is_same =
            |(of, known, _): &(Arc<Thumbnails>, Vec<usize>, TextureHandle)| Arc::ptr_eq(of, strip) && *known == numbers;
        if self.holds.as_ref().is_some_and(is_same) {
            return;
        }
        let mut image = ColorImage::filled([SIZE[0] * TEXELS, SIZE[1] * TEXELS], Color32::TRANSPARENT);
        for (i, &number) in numbers.iter().enumerate().take(Self::MOST) {
            if let Some(thumb) = strip.thumbs.get(number) {
                put(&mut image, thumb, [i % SIZE[0] * TEXELS, i / SIZE[0] * TEXELS]);
            }
        }
        let texture = match self.holds.take() {
            Some((_, _, mut old)) => {
                old.set(image, TextureOptions::NEAREST);
                old
            }
            None => ui.ctx().load_texture(name, image, TextureOptions::NEAREST),
        };
        self.holds = Some((strip.clone(), numbers, texture));
    }

    /// Paints the image that was the `i`-th of those it holds.
    pub(crate) fn paint(&self, ui: &Ui, i: usize, place: Rect) {
        let Some((.., texture)) = &self.holds else { return };
        let uv = |x: usize, y: usize| pos2(x as f32 / SIZE[0] as f32, y as f32 / SIZE[1] as f32);
        let (x, y) = (i % SIZE[0], i / SIZE[0]);
        let part = Rect::from_min_max(uv(x, y), uv(x + 1, y + 1));
        ui.painter().image(texture.id(), place, part, Color32::WHITE);
    }
}

/// Draws a thumbnail into a square of an image, stretched over its longer side.
pub(crate) fn put(image: &mut ColorImage, thumb: &Thumbnail, [x0, y0]: [usize; 2]) {
    let [w, h] = thumb.size;
    let longest = w.max(h).max(1);
    let (left, top) = ((TEXELS - TEXELS * w / longest) / 2, (TEXELS - TEXELS * h / longest) / 2);
    let width = image.width();
    for y in 0..TEXELS * h / longest {
        for x in 0..TEXELS * w / longest {
            let from = (y * longest / TEXELS * w + x * longest / TEXELS) * 3;
            let [r, g, b] = [0, 1, 2].map(|c| thumb.rgb[from + c]);
            image.pixels[(y0 + top + y) * width + x0 + left + x] = theme::pixel(r, g, b);
        }
    }
}
