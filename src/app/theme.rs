//! Every color, size and font of the window, for a light and a dark surface.
//! Knows nothing of what is drawn.

use egui::{
    Color32, CornerRadius, FontFamily, FontId, Margin, Shadow, Stroke, TextStyle, Theme, Ui, Vec2, Visuals, style,
};
use plots::colors;
use plots::colors::SurfaceColors;

/// The colors of one surface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Palette {
    /// Behind everything.
    pub(crate) ground: Color32,
    /// A panel.
    pub(crate) tile: Color32,
    /// Hairlines and outlines.
    pub(crate) edge: Color32,
    /// Empty part of a bar, and what stands behind a field.
    pub(crate) trough: Color32,
    /// Text.
    pub(crate) text: Color32,
    /// Captions and units.
    pub(crate) weak: Color32,
    /// What can be changed, and what is measured now.
    pub(crate) accent: Color32,
    /// The accent as a wash behind text.
    pub(crate) accent_soft: Color32,
    pub(crate) on_accent: Color32,
    /// Lines of a plot's grid.
    pub(crate) grid: Color32,
    /// Went well.
    pub(crate) good: Color32,
    /// Went on, with a loss.
    pub(crate) warn: Color32,
    /// Did not go on.
    pub(crate) bad: Color32,
    /// One a series; told apart by people with any color vision (Okabe and Ito).
    pub(crate) series: [Color32; 6],
    figure: &'static SurfaceColors,
}

const fn rgb(hex: u32) -> Color32 {
    Color32::from_rgb((hex >> 16) as u8, (hex >> 8) as u8, hex as u8)
}

const fn all<const N: usize>(hex: [u32; N]) -> [Color32; N] {
    let mut out = [Color32::BLACK; N];
    let mut i = 0;
    while i < N {
        out[i] = rgb(hex[i]);
        i += 1;
    }
    out
}

const LIGHT: Palette = Palette {
    ground: rgb(0xEDF0F3),
    tile: rgb(colors::LIGHT.paper),
    edge: rgb(0xD9DFE5),
    trough: rgb(0xE6EAEE),
    text: rgb(colors::LIGHT.text),
    weak: rgb(colors::LIGHT.weak),
    accent: rgb(0x0068A8),
    accent_soft: rgb(0xDCEBF6),
    on_accent: rgb(0xFFFFFF),
    grid: rgb(colors::LIGHT.grid),
    good: rgb(0x00805F),
    warn: rgb(0xA86200),
    bad: rgb(0xB93A00),
    series: all(colors::LIGHT.series),
    figure: &colors::LIGHT,
};

const DARK: Palette = Palette {
    ground: rgb(0x11151A),
    tile: rgb(colors::DARK.paper),
    edge: rgb(0x2C353F),
    trough: rgb(0x2A323B),
    text: rgb(colors::DARK.text),
    weak: rgb(colors::DARK.weak),
    accent: rgb(0x5AB4E5),
    accent_soft: rgb(0x1B3444),
    on_accent: rgb(0x0B1B26),
    grid: rgb(colors::DARK.grid),
    good: rgb(0x2FC39A),
    warn: rgb(0xE9A93A),
    bad: rgb(0xF0804A),
    series: all(colors::DARK.series),
    figure: &colors::DARK,
};

pub(crate) const TILE_RADIUS: u8 = 6;
/// Corner radius of widgets and bars.
pub(crate) const RADIUS: u8 = 4;
/// Space between panels and around them.
pub(crate) const GAP: f32 = 6.0;
pub(crate) const PAD: i8 = 12;
/// Height of the bar at the top.
pub(crate) const TOP_BAR: f32 = 46.0;
/// Height of the line that tells a newcomer what to try.
pub(crate) const RIBBON: f32 = 34.0;
pub(crate) const TAB_BAR: f32 = 30.0;
/// Side of a cell of small text: rows of tables and heat maps.
pub(crate) const ROW: f32 = 20.0;
/// The window's size when it opens.
pub const WINDOW: [f32; 2] = [1400.0, 900.0];
/// The window never gets smaller.
pub const WINDOW_LEAST: [f32; 2] = [1120.0, 680.0];
pub(crate) const TOAST_SECS: f64 = 12.0;
pub(crate) const TOAST_WIDTH: f32 = 380.0;
/// Width of a line in a plot.
pub(crate) const LINE: f32 = 1.8;

/// How much of its color a line keeps that stands behind its smoothed self.
pub(crate) const FAINT: f32 = 0.28;

/// The colors of the surface that `ui` is on.
pub(crate) fn palette(ui: &Ui) -> &'static Palette {
    of(ui.visuals().dark_mode)
}

/// The colors of a surface.
pub(crate) fn of(dark: bool) -> &'static Palette {
    if dark { &DARK } else { &LIGHT }
}

/// Text of a caption or a unit.
pub(crate) fn small() -> FontId {
    FontId::new(11.5, FontFamily::Proportional)
}

/// Text of what a panel says first.
pub(crate) fn headline() -> FontId {
    FontId::new(28.0, FontFamily::Proportional)
}

/// Text of what it says second.
pub(crate) fn subline() -> FontId {
    FontId::new(17.0, FontFamily::Proportional)
}

/// Text of a number that a panel is about.
pub(crate) fn large() -> FontId {
    FontId::new(17.0, FontFamily::Proportional)
}

/// Ordinary text.
pub(crate) fn body() -> FontId {
    FontId::new(13.5, FontFamily::Proportional)
}

/// The color of `t`, 0 to 1, on the heat scale.
pub(crate) fn heat(palette: &Palette, t: f32) -> Color32 {
    rgb(palette.figure.heat_at(t))
}

/// A pixel of a picture.
pub(crate) fn pixel(r: u8, g: u8, b: u8) -> Color32 {
    Color32::from_rgb(r, g, b)
}

/// The color of a run.
pub(crate) fn series(palette: &Palette, number: usize) -> Color32 {
    palette.series[number % palette.series.len()]
}

/// The mark of a kind of points: told apart without color.
pub(crate) fn mark(number: usize) -> egui_plot::MarkerShape {
    use egui_plot::MarkerShape as M;
    const MARKS: [M; 7] = [M::Circle, M::Square, M::Up, M::Diamond, M::Down, M::Left, M::Right];
    MARKS[number % MARKS.len()]
}

/// Gives both surfaces their style.
pub fn apply(ctx: &egui::Context) {
    // Arrows and ‖ are not in the proportional font; the other one has them.
    let mut fonts = egui::FontDefinitions::default();
    fonts
        .families
        .entry(FontFamily::Proportional)
        .or_default()
        .push("Hack".to_owned());
    ctx.set_fonts(fonts);
    for (theme, dark) in [(Theme::Light, false), (Theme::Dark, true)] {
        ctx.style_mut_of(theme, |style| restyle(style, of(dark), dark));
    }
}

fn restyle(style: &mut egui::Style, p: &Palette, dark: bool) {
    style.text_styles = [
        (TextStyle::Small, small()),
        (TextStyle::Body, body()),
        (TextStyle::Button, body()),
        (TextStyle::Heading, FontId::new(17.0, FontFamily::Proportional)),
        (TextStyle::Monospace, FontId::new(12.5, FontFamily::Monospace)),
    ]
    .into();
    style.animation_time = 0.1;
    style.spacing.item_spacing = Vec2::new(8.0, 6.0);
    style.spacing.button_padding = Vec2::new(10.0, 4.0);
    style.spacing.interact_size = Vec2::new(40.0, 24.0);
    style.spacing.slider_rail_height = 6.0;
    style.spacing.tooltip_width = 340.0;
    style.spacing.menu_margin = Margin::same(6);
    style.visuals = visuals(p, dark);
}

fn visuals(p: &Palette, dark: bool) -> Visuals {
    let mut v = if dark { Visuals::dark() } else { Visuals::light() };
    let radius = CornerRadius::same(RADIUS);
    let state = |fill: Color32, edge: Color32, text: Color32| style::WidgetVisuals {
        bg_fill: fill,
        weak_bg_fill: fill,
        bg_stroke: Stroke::new(1.0, edge),
        corner_radius: radius,
        fg_stroke: Stroke::new(1.2, text),
        expansion: 0.0,
    };
    v.widgets.noninteractive = state(p.tile, p.edge, p.text);
    v.widgets.inactive = state(p.trough, p.trough, p.text);
    v.widgets.hovered = state(mix(p.trough, p.accent, 0.14), p.accent, p.text);
    v.widgets.active = state(p.accent_soft, p.accent, p.text);
    v.widgets.open = state(p.accent_soft, p.accent, p.text);
    v.selection.bg_fill = p.accent_soft;
    v.selection.stroke = Stroke::new(1.2, p.accent);
    v.weak_text_color = Some(p.weak);
    v.hyperlink_color = p.accent;
    v.warn_fg_color = p.warn;
    v.error_fg_color = p.bad;
    v.panel_fill = p.ground;
    v.window_fill = p.tile;
    v.window_stroke = Stroke::new(1.0, p.edge);
    v.window_corner_radius = CornerRadius::same(TILE_RADIUS);
    v.menu_corner_radius = CornerRadius::same(TILE_RADIUS);
    v.extreme_bg_color = p.tile;
    v.text_edit_bg_color = Some(p.trough);
    v.faint_bg_color = mix(p.tile, p.trough, 0.5);
    v.code_bg_color = p.trough;
    v.slider_trailing_fill = true;
    v.handle_shape = style::HandleShape::Circle;
    let shadow = Shadow {
        offset: [0, 4],
        blur: 16,
        spread: 0,
        color: Color32::from_black_alpha(if dark { 120 } else { 40 }),
    };
    v.window_shadow = shadow;
    v.popup_shadow = shadow;
    v
}

/// `a` with a share of `b`.
pub(crate) fn mix(a: Color32, b: Color32, share: f32) -> Color32 {
    let each = |x: u8, y: u8| (f32::from(x) + (f32::from(y) - f32::from(x)) * share).round() as u8;
    Color32::from_rgb(each(a.r(), b.r()), each(a.g(), b.g()), each(a.b(), b.b()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn luminance(c: Color32) -> f32 {
        let linear = |v: u8| {
            let v = f32::from(v) / 255.0;
            if v <= 0.040_45 {
                v / 12.92
            } else {
                ((v + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * linear(c.r()) + 0.7152 * linear(c.g()) + 0.0722 * linear(c.b())
    }

    fn contrast(a: Color32, b: Color32) -> f32 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn text_can_be_read_and_marks_can_be_seen() {
        for p in [&LIGHT, &DARK] {
            for surface in [p.ground, p.tile, p.accent_soft] {
                assert!(contrast(p.text, surface) >= 7.0, "text on {surface:?}");
                assert!(
                    contrast(p.weak, surface) >= 4.5,
                    "captions on {surface:?}: {}",
                    contrast(p.weak, surface)
                );
            }
            for color in [p.good, p.warn, p.bad, p.accent] {
                assert!(contrast(color, p.tile) >= 4.5, "{color:?}: {}", contrast(color, p.tile));
            }
            assert!(contrast(p.on_accent, p.accent) >= 4.5);
            for color in p.series {
                assert!(contrast(color, p.tile) >= 2.8, "{color:?}: {}", contrast(color, p.tile));
            }
        }
    }

    #[test]
    fn the_heat_scale_is_steady_in_lightness() {
        for p in [&LIGHT, &DARK] {
            let steps: Vec<f32> = (0..=40).map(|i| luminance(heat(p, i as f32 / 40.0))).collect();
            assert!(steps.is_sorted() || steps.is_sorted_by(|a, b| a >= b), "{steps:?}");
        }
    }
}
