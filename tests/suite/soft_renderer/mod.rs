//! Pictures of the window without a graphics card: tessellated egui output drawn on the CPU, the same on every machine.
//! Premultiplied RGBA8 in gamma space, blended as the window's own renderer does. Paint callbacks are ignored.

use egui::epaint::{Color32, ImageData, Mesh, Primitive, TextureId, Vertex};
use egui::{ClippedPrimitive, TextureFilter, TextureOptions, TexturesDelta};
use egui_kittest::TestRenderer;
use std::collections::BTreeMap;

struct Texture {
    w: usize,
    h: usize,
    pixels: Vec<Color32>,
    options: TextureOptions,
}

/// The renderer for a test harness.
#[derive(Default)]
pub(crate) struct SoftRenderer {
    textures: BTreeMap<u64, Texture>,
    free: Vec<TextureId>,
}

/// What is drawn on, and the part of it that may be touched: left, top, right, bottom.
struct Canvas<'a> {
    pixels: &'a mut [Color32],
    width: usize,
    clip: [i64; 4],
    scale: f32,
}

impl TestRenderer for SoftRenderer {
    #[expect(clippy::iter_over_hash_type, reason = "textures do not depend on each other")]
    fn handle_delta(&mut self, delta: &mut TexturesDelta) {
        for id in self.free.drain(..) {
            self.textures.remove(&key(id));
        }
        for (id, deltas) in delta.set.drain() {
            for delta in deltas {
                self.update(id, delta);
            }
        }
        // Textures are freed after painting: at the next update.
        self.free.extend(delta.free.drain());
    }

    fn render(&mut self, ctx: &egui::Context, output: &egui::FullOutput) -> Result<image::RgbaImage, String> {
        let scale = output.pixels_per_point;
        let size = (ctx.content_rect().size() * scale).round();
        let (w, h) = (size.x as usize, size.y as usize);
        let shapes = ctx.tessellate(output.shapes.clone(), scale);
        let mut pixels = vec![Color32::TRANSPARENT; w * h];
        for ClippedPrimitive { clip_rect, primitive } in &shapes {
            let Primitive::Mesh(mesh) = primitive else { continue };
            let edge = |v: f32, most: usize| ((v * scale).round().max(0.0) as usize).min(most) as i64;
            let clip = [
                edge(clip_rect.min.x, w),
                edge(clip_rect.min.y, h),
                edge(clip_rect.max.x, w),
                edge(clip_rect.max.y, h),
            ];
            self.mesh(
                &mut Canvas {
                    pixels: &mut pixels,
                    width: w,
                    clip,
                    scale,
                },
                mesh,
            );
        }
        Ok(image::RgbaImage::from_fn(w as u32, h as u32, |x, y| {
            image::Rgba(pixels[y as usize * w + x as usize].to_array())
        }))
    }
}

fn key(id: TextureId) -> u64 {
    match id {
        TextureId::Managed(n) => n * 2,
        TextureId::User(n) => n * 2 + 1,
    }
}

impl SoftRenderer {
    fn update(&mut self, id: TextureId, delta: egui::epaint::ImageDelta) {
        let ImageData::Color(image) = &delta.image;
        let [w, h] = image.size;
        let Some([x, y]) = delta.pos else {
            self.textures.insert(
                key(id),
                Texture {
                    w,
                    h,
                    pixels: image.pixels.clone(),
                    options: delta.options,
                },
            );
            return;
        };
        let texture = self
            .textures
            .get_mut(&key(id))
            .expect("a texture is whole before it is changed");
        for row in 0..h {
            texture.pixels[(y + row) * texture.w + x..][..w].copy_from_slice(&image.pixels[row * w..][..w]);
        }
    }

    fn mesh(&self, canvas: &mut Canvas, mesh: &Mesh) {
        let Some(texture) = self.textures.get(&key(mesh.texture_id)) else {
            return;
        };
        if canvas.clip[0] >= canvas.clip[2] || canvas.clip[1] >= canvas.clip[3] {
            return;
        }
        for corners in mesh.indices.chunks_exact(3) {
            let [a, b, c] = [0, 1, 2].map(|i| mesh.vertices[corners[i] as usize]);
            triangle(canvas, texture, a, b, c);
        }
    }
}

fn scaled(a: u8, b: u8) -> u8 {
    let t = u32::from(a) * u32::from(b) + 128;
    ((t + (t >> 8)) >> 8) as u8
}

/// Edge functions in 24.8 fixed point with the top-left rule, so that edges shared by two triangles are not blended twice.
fn triangle(canvas: &mut Canvas, texture: &Texture, a: Vertex, mut b: Vertex, mut c: Vertex) {
    let fixed = |v: Vertex| [v.pos.x, v.pos.y].map(|p| (p * canvas.scale * 256.0).round() as i64);
    let (pa, mut pb, mut pc) = (fixed(a), fixed(b), fixed(c));
    let mut area = (pb[0] - pa[0]) * (pc[1] - pa[1]) - (pb[1] - pa[1]) * (pc[0] - pa[0]);
    if area == 0 {
        return;
    }
    if area < 0 {
        std::mem::swap(&mut b, &mut c);
        std::mem::swap(&mut pb, &mut pc);
        area = -area;
    }
    let least = |k: usize| pa[k].min(pb[k]).min(pc[k]) >> 8;
    let most = |k: usize| (pa[k].max(pb[k]).max(pc[k]) >> 8) + 1;
    let (x0, x1) = (least(0).max(canvas.clip[0]), most(0).min(canvas.clip[2]));
    let (y0, y1) = (least(1).max(canvas.clip[1]), most(1).min(canvas.clip[3]));
    // Weight at the first pixel's center, its change by column and by row.
    let edge = |p: [i64; 2], q: [i64; 2]| {
        let (dx, dy) = (q[0] - p[0], q[1] - p[1]);
        let bias = if dy < 0 || (dy == 0 && dx > 0) { 0 } else { -1 };
        let first = dx * ((y0 << 8) + 128 - p[1]) - dy * ((x0 << 8) + 128 - p[0]) + bias;
        [first, -(dy << 8), dx << 8]
    };
    let edges = [edge(pb, pc), edge(pc, pa), edge(pa, pb)];
    let (corners, over) = ([a, b, c], 1.0 / area as f32);
    for y in y0..y1 {
        for x in x0..x1 {
            let weights = edges.map(|[first, dx, dy]| first + dx * (x - x0) + dy * (y - y0));
            if weights.iter().any(|&w| w < 0) {
                continue;
            }
            let share = weights.map(|w| w as f32 * over);
            let mix = |of: &dyn Fn(&Vertex) -> f32| -> f32 { corners.iter().zip(share).map(|(v, s)| of(v) * s).sum() };
            let color = [0, 1, 2, 3].map(|i| (mix(&|v| f32::from(v.color[i])) + 0.5).clamp(0.0, 255.0) as u8);
            let texel = sample(texture, mix(&|v| v.uv.x), mix(&|v| v.uv.y));
            let source = [0, 1, 2, 3].map(|i| scaled(color[i], texel[i]));
            let at = &mut canvas.pixels[y as usize * canvas.width + x as usize];
            let under = 255 - source[3];
            let blend = |i: usize| source[i].saturating_add(scaled(at[i], under));
            *at = Color32::from_rgba_premultiplied(blend(0), blend(1), blend(2), blend(3));
        }
    }
}

fn sample(texture: &Texture, u: f32, v: f32) -> Color32 {
    let at = |x: i64, y: i64| {
        let (x, y) = (
            x.clamp(0, texture.w as i64 - 1) as usize,
            y.clamp(0, texture.h as i64 - 1) as usize,
        );
        texture.pixels[y * texture.w + x]
    };
    let (x, y) = (u * texture.w as f32, v * texture.h as f32);
    if texture.options.magnification == TextureFilter::Nearest {
        return at(x.floor() as i64, y.floor() as i64);
    }
    let (x, y) = (x - 0.5, y - 0.5);
    let (left, top) = (x.floor(), y.floor());
    let (fx, fy) = (((x - left) * 256.0) as u32, ((y - top) * 256.0) as u32);
    let (i, j) = (left as i64, top as i64);
    let near = [at(i, j), at(i + 1, j), at(i, j + 1), at(i + 1, j + 1)];
    let blend = |c: usize| {
        let across = |a: Color32, b: Color32| u32::from(a[c]) * (256 - fx) + u32::from(b[c]) * fx;
        ((across(near[0], near[1]) * (256 - fy) + across(near[2], near[3]) * fy + (1 << 15)) >> 16) as u8
    };
    Color32::from_rgba_premultiplied(blend(0), blend(1), blend(2), blend(3))
}
