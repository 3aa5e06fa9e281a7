//! The strip of a network as SVG: the same slabs, in the same places, as in the window.
//! Knows nothing of files.

use super::colors::{SurfaceColors, hex};
use super::xml::{escape, num, put};
use view::NetworkView;
use view::text;

/// Draws it into a panel of this size, in points, with letters of this size.
pub(crate) fn draw(
    out: &mut String,
    view: &NetworkView,
    [left, top, width, height]: [f64; 4],
    em: f64,
    colors: &SurfaceColors,
) {
    let (words, links) = (em * 2.8, em * 1.6);
    let inner = [
        left + em,
        top + links + em * 1.4,
        width - 2.0 * em,
        height - links - words - em * 1.4,
    ];
    let middle = inner[1] + inner[3] / 2.0;
    let (weak, dark, accent) = (hex(colors.weak), hex(colors.text), hex(colors.series[0]));
    let title = format!("{}: {} MACs", view.title, text::count(view.macs()));
    put(
        out,
        format_args!(
            r#"<text x="{}" y="{}" fill="{weak}">{}</text>"#,
            num(left + em),
            num(top + em * 1.2),
            escape(&title)
        ),
    );
    let places = view.places(inner[2] as f32, inner[3] as f32);
    let at = |x: f32| inner[0] + f64::from(x);
    for &[from, to] in &view.links {
        let edge = |i: usize| middle - f64::from(places[i].half_height) - 2.0;
        let high = (from..=to).map(edge).fold(f64::MAX, f64::min) - em * 0.8;
        let end = |i: usize| at(places[i].left + places[i].widths[2] / 2.0);
        put(
            out,
            format_args!(
                r#"<path d="M{} {}C{} {h} {} {h} {} {}" fill="none" stroke="{weak}" stroke-width="0.6"/>"#,
                num(end(from)),
                num(edge(from)),
                num(end(from) + 2.0),
                num(end(to) - 2.0),
                num(end(to)),
                num(edge(to)),
                h = num(high),
            ),
        );
    }
    let most = view.slabs.iter().map(|s| s.macs[1]).max().unwrap_or(1).max(1);
    for (i, (slab, place)) in view.slabs.iter().zip(&places).enumerate() {
        let [running, _, began] = place.widths;
        let (x, y) = (at(place.left), middle - f64::from(place.half_height));
        let high = 2.0 * f64::from(place.half_height);
        put(
            out,
            format_args!(
                r#"<rect x="{}" y="{}" width="{}" height="{}" fill="none" stroke="{weak}" stroke-width="0.5" stroke-dasharray="1.5 1.5"/>"#,
                num(x),
                num(y),
                num(f64::from(began)),
                num(high)
            ),
        );
        let heat = (slab.macs[0] as f64 / most as f64).sqrt();
        put(
            out,
            format_args!(
                r#"<rect x="{}" y="{}" width="{}" height="{}" fill="{accent}" fill-opacity="{}"><title>{}</title></rect>"#,
                num(x),
                num(y),
                num(f64::from(running.max(0.8))),
                num(high),
                num(0.3 + 0.7 * heat),
                escape(&slab.says())
            ),
        );
        let next = places.get(i + 1).map_or(inner[2] as f32, |n| n.left);
        let fit = (f64::from(next - place.left) / (em * 0.56)) as usize;
        if fit < 3 {
            continue;
        }
        let below = top + height - words + em;
        let mut line = |y: f64, color: &str, words: &str| {
            put(
                out,
                format_args!(
                    r#"<text x="{}" y="{}" fill="{color}">{}</text>"#,
                    num(x),
                    num(y),
                    escape(words)
                ),
            );
        };
        line(below, &weak, &text::tail(&slab.name, fit));
        let short = slab.short();
        let channels = if short.chars().count() <= fit {
            short
        } else {
            (slab.running.round() as usize).to_string()
        };
        line(below + em * 1.2, &dark, &channels);
    }
}
