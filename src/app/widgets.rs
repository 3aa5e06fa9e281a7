//! Small widgets that panels share.
//! Knows nothing of runs or models.

use super::theme::{self, Palette, palette};
use egui::{
    Align, Align2, Color32, CornerRadius, Frame, Layout, Margin, Rangef, Rect, Response, RichText, Role, Sense, Ui,
    UiBuilder, Vec2, WidgetInfo, pos2, vec2,
};
use egui_plot::{Axis, AxisHints, GridInput, GridMark, Plot};

/// What a term means, shown on hover.
pub(crate) fn meaning(term: &str) -> &'static str {
    match term {
        "density" => {
            "Density: the share of a layer's channels that run for an image. At 0.5 a layer of 64 channels computes the 32 \
             that matter most for that image (Feature Boosting and Suppression, arXiv 1810.05331)."
        }
        "target" => {
            "How many times less the network shall be, once channels are cut for all images. What is measured while you drag is \
             before any retraining, with norms measured anew (EagleEye, arXiv 2007.02491); Prune to here retrains."
        }
        "accuracy" => {
            "Share of validation images classified correctly, with its 95 % interval (Wilson). The interval narrows as more \
             images are measured. Training did not see these images."
        }
        "macs" => {
            "MACs: multiply–accumulates for one image, counted while measuring: convolutions, linear layers, and the gates \
             themselves."
        }
        "time" => {
            "Measured on this machine: one image at a time, median, with the 10th and 90th percentile. Fewer MACs do not \
             always mean less time."
        }
        "saliency" => {
            "Saliency: how much a channel matters for an image, predicted from the layer's input before the layer is \
             computed. The most salient channels win and run; the others are skipped."
        }
        "weights" => "Bytes of weights read per image. Channels that do not run need no weights.",
        "activations" => "Bytes of activations written and read again per image.",
        "peak" => "The most memory that activations take at once.",
        "event" => "Event: one line of the run's log. Every panel shows the run as it was right after this event.",
        "trial" => {
            "Trial: one candidate, measured on validation images. The search accepts or rejects it (AutoCompress, arXiv \
             1907.03141: simulated annealing over densities)."
        }
        "hypervolume" => {
            "Hypervolume: the area that the best trials cover, from the unpruned network's cost at chance accuracy, as a share \
             of the whole box. The fewer images trials run before it grows, the cheaper the search."
        }
        "residual" => {
            "Residual: ‖W − Z‖ / ‖W‖, how far a layer's weights W are from their nearest pruned form Z. ADMM pulls them \
             together; where it is small, masking changes little (arXiv 1804.03294)."
        }
        "filter" => {
            "Filter: one output channel's weights, a row of the weight matrix. Cutting it cuts the channel it makes."
        }
        "column" => {
            "Column: one (input channel, ky, kx) of the weight matrix. AutoCompress (arXiv 1907.03141) prunes columns as well \
             as filters; the kernels skip both."
        }
        "group" => {
            "Channels that a sum or a depthwise convolution couples can only be cut together (DepGraph, arXiv 2301.12900)."
        }
        "params" => {
            "Parameters: trainable numbers. Cutting channels removes parameters; gating keeps them all and computes with fewer."
        }
        "budget" => {
            "Budget: the most that a search may spend, in weights, MACs or milliseconds (AMC, arXiv 1802.03494; AutoCompress, \
             arXiv 1907.03141). A change takes effect at the next trial."
        }
        "times" => {
            "Each layer alone, one image at a time, with random weights, on this machine. Time falls in steps because kernels \
             work on blocks of filters; only reaching a lower step saves time."
        }
        "rare" => {
            "Channels whose gate rarely opened for these images. Surgery removes them for good; gates then choose among the \
             rest (static before dynamic pruning, as section 4 of arXiv 1810.05331 suggests)."
        }
        "smoothing" => "Weight of the past in an exponential moving average. The raw curve stays behind it, faint.",
        _ => "",
    }
}

/// A caption with its meaning on hover.
pub(crate) fn caption(ui: &mut Ui, text: &str, term: &str) -> Response {
    let weak = palette(ui).weak;
    let label = ui.label(small(text, weak));
    explain(label, meaning(term))
}

/// What hovering explains, above: what is explained stands below or beside.
pub(crate) fn explain(response: Response, words: &str) -> Response {
    if !words.is_empty() {
        let mut tooltip = egui::Tooltip::for_enabled(&response);
        tooltip.popup = tooltip.popup.align(egui::RectAlign::TOP_START);
        tooltip.show(|ui| {
            ui.set_max_width(ui.spacing().tooltip_width);
            ui.label(words);
        });
    }
    response
}

pub(crate) fn small(text: impl Into<String>, color: Color32) -> RichText {
    RichText::new(text).font(theme::small()).color(color)
}

/// A line of small, quiet text.
pub(crate) fn quiet(ui: &mut Ui, text: impl Into<String>) -> Response {
    let weak = palette(ui).weak;
    ui.label(small(text, weak))
}

/// Paints small text, and gives where it lies.
pub(crate) fn put(ui: &Ui, at: egui::Pos2, align: Align2, text: impl ToString, color: Color32) -> Rect {
    ui.painter().text(at, align, text, theme::small(), color)
}

/// Names a widget for those who cannot see it, and for tests.
pub(crate) fn name_widget(response: &Response, role: Role, name: &str) {
    response.widget_info(|| WidgetInfo::labeled(role, true, name));
}

/// Lays out what is left of a row, from its right end.
pub(crate) fn on_the_right<R>(ui: &mut Ui, content: impl FnOnce(&mut Ui) -> R) -> R {
    ui.with_layout(Layout::right_to_left(Align::Center), content).inner
}

/// In a narrow panel buttons of a row stand closer, so that they stay in one.
pub(crate) fn narrow(ui: &mut Ui) {
    if ui.available_width() < 360.0 {
        ui.spacing_mut().item_spacing.x = 4.0;
        ui.spacing_mut().button_padding.x = 5.0;
    }
}

/// A panel within a rectangle, its content in the middle of its height.
pub(crate) fn inside(ui: &mut Ui, rect: Rect, salt: impl egui::AsIdSalt) -> Ui {
    let layout = Layout::left_to_right(Align::Center);
    ui.new_child(UiBuilder::new().max_rect(rect).layout(layout).id_salt(salt))
}

/// A row that shows a layer. Clicking it chooses the layer for all panels.
pub(crate) fn layer_row(
    ui: &mut Ui,
    layer: &str,
    (role, words): (Role, &str),
    height: f32,
    chosen: &mut Option<String>,
) -> (Rect, Response) {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::click());
    name_widget(&response, role, words);
    if response.clicked() {
        *chosen = Some(layer.to_owned());
    }
    if response.hovered() || response.has_focus() || chosen.as_deref() == Some(layer) {
        ui.painter()
            .rect_filled(rect, theme::RADIUS, ui.visuals().faint_bg_color);
    }
    (rect, response)
}

/// A window over all others. Gives whether it shall close.
pub(crate) fn modal(ui: &Ui, id: &str, margin: i8, width: f32, content: impl FnOnce(&mut Ui)) -> bool {
    let frame = Frame::popup(ui.style()).inner_margin(Margin::same(margin));
    let modal = egui::Modal::new(egui::Id::unique(id)).frame(frame);
    let shown = modal.show(ui.ctx(), |ui| {
        ui.set_width(width);
        content(ui);
    });
    shown.should_close()
}

/// Width of the widest of these small words.
pub(crate) fn widest<'a>(ui: &Ui, words: impl Iterator<Item = &'a str>) -> f32 {
    let width = |w: &str| {
        ui.painter()
            .layout_no_wrap(w.to_owned(), theme::small(), egui::Color32::WHITE)
            .size()
            .x
    };
    words.map(width).fold(0.0, f32::max)
}

/// As much of small words as a width has room for.
pub(crate) fn fitting(ui: &Ui, words: &str, width: f32) -> String {
    fitted(ui, words, width, view::text::cut)
}

/// As much of a layer's name: its end, since names of layers differ there.
pub(crate) fn fitting_tail(ui: &Ui, name: &str, width: f32) -> String {
    fitted(ui, name, width, view::text::tail)
}

fn fitted(ui: &Ui, words: &str, width: f32, cut: fn(&str, usize) -> String) -> String {
    let mut letters = words.chars().count().min((width / 2.0).max(0.0) as usize);
    while letters > 1 {
        let cut = cut(words, letters);
        if widest(ui, std::iter::once(cut.as_str())) <= width {
            return cut;
        }
        letters -= 1;
    }
    String::new()
}

/// The first of these small words that a width has room for, else the last.
pub(crate) fn first_fitting<'a>(ui: &Ui, words: &[&'a str], width: f32) -> &'a str {
    let fits = |words: &&&str| widest(ui, std::iter::once(**words)) <= width;
    words.iter().find(fits).or(words.last()).copied().unwrap_or_default()
}

/// Small, quiet text that never takes a second line; hovering shows what was cut off.
pub(crate) fn quiet_line(ui: &mut Ui, text: &str) -> Response {
    let weak = palette(ui).weak;
    ui.add(egui::Label::new(small(text, weak)).truncate())
}

/// A line of what was asked for and has not happened yet.
pub(crate) fn queued_line(ui: &mut Ui, text: &str) -> Response {
    let warn = palette(ui).warn;
    ui.add(egui::Label::new(small(text, warn)).truncate())
}

/// A number that a panel is about, with what it is above and what goes with it below.
pub(crate) fn figure(ui: &mut Ui, name: &str, term: &str, value: &str, below: &str, stale: bool) {
    ui.vertical(|ui| {
        ui.spacing_mut().item_spacing.y = 1.0;
        caption(ui, name, term);
        let p = palette(ui);
        let color = if stale { p.weak } else { p.text };
        ui.add(egui::Label::new(RichText::new(value).font(theme::large()).color(color)).extend());
        ui.add(egui::Label::new(small(below, p.weak)).extend());
    });
}

/// A horizontal bar: `share` of its width is filled.
pub(crate) fn bar(ui: &Ui, rect: Rect, share: f32, fill: Color32, trough: Color32) {
    let radius = CornerRadius::same((rect.height() / 2.0).min(3.0) as u8);
    ui.painter().rect_filled(rect, radius, trough);
    let mut filled = rect;
    filled.set_width((rect.width() * share.clamp(0.0, 1.0)).max(if share > 0.0 { 2.0 } else { 0.0 }));
    ui.painter().rect_filled(filled, radius, fill);
}

/// A row: what it is, a bar, and the number in words. Hovering explains it.
pub(crate) fn bar_row(ui: &mut Ui, name: &str, term: &str, share: f32, words: &str) -> Response {
    let p = palette(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), theme::ROW), Sense::hover());
    name_widget(&response, Role::Label, &format!("{name}: {words}"));
    let mid = rect.center().y;
    let (names, numbers) = (92.0_f32.min(rect.width() * 0.3), 132.0_f32.min(rect.width() * 0.4));
    put(ui, pos2(rect.left(), mid), Align2::LEFT_CENTER, name, p.weak);
    put(ui, pos2(rect.right(), mid), Align2::RIGHT_CENTER, words, p.text);
    let track = Rect::from_min_max(
        pos2(rect.left() + names, mid - 3.0),
        pos2(rect.right() - numbers, mid + 3.0),
    );
    if track.width() > 8.0 {
        bar(ui, track, share, p.accent, p.trough);
    }
    response.on_hover_text(meaning(term))
}

/// An interval on a scale: a band from `low` to `high` with a mark at `at`, all shares of the scale `from`..`to`.
pub(crate) fn interval(ui: &mut Ui, scale: [f64; 2], [low, at, high]: [f64; 3], words: &str) -> Response {
    let p = palette(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 14.0), Sense::hover());
    name_widget(&response, Role::Label, words);
    let rail = Rect::from_center_size(rect.center(), Vec2::new(rect.width(), 6.0));
    ui.painter().rect_filled(rail, CornerRadius::same(3), p.trough);
    let x = |v: f64| rail.left() + rail.width() * ((v - scale[0]) / (scale[1] - scale[0])).clamp(0.0, 1.0) as f32;
    let band = Rect::from_min_max(pos2(x(low), rail.top()), pos2(x(high).max(x(low) + 2.0), rail.bottom()));
    ui.painter()
        .rect_filled(band, CornerRadius::same(3), theme::mix(p.trough, p.accent, 0.55));
    let mark = Rect::from_center_size(pos2(x(at), rail.center().y), Vec2::new(3.0, 14.0));
    ui.painter().rect_filled(mark, CornerRadius::same(1), p.text);
    response
}

/// What a panel says while there is nothing to show: what is missing, and what to do.
pub(crate) fn empty(ui: &mut Ui, what: &str, todo: &str) {
    let p = palette(ui);
    ui.vertical_centered(|ui| {
        ui.add_space((ui.available_height() * 0.3).min(120.0));
        ui.label(RichText::new(what).color(p.text));
        quiet(ui, todo);
    });
}

/// A button that begins something: filled with the accent.
pub(crate) fn primary(ui: &mut Ui, enabled: bool, text: &str) -> Response {
    let p = palette(ui);
    let button = egui::Button::new(RichText::new(text).color(p.on_accent))
        .fill(p.accent)
        .min_size(vec2(72.0, 26.0));
    ui.add_enabled(enabled, button)
}

/// A choice of two or three, side by side.
pub(crate) fn choice<T: PartialEq + Copy>(ui: &mut Ui, value: &mut T, options: &[(T, &str)]) {
    // In the row itself, so that a narrow one can break between them.
    let gap = std::mem::replace(&mut ui.spacing_mut().item_spacing.x, 2.0);
    for &(option, label) in options {
        ui.selectable_value(value, option, label);
    }
    ui.spacing_mut().item_spacing.x = gap;
    ui.add_space(gap - 2.0);
}

/// The heat scale with words at its ends, the lower end on the left whichever way the row runs.
pub(crate) fn heat_legend(ui: &mut Ui, low: &str, high: &str) {
    let ends = if ui.layout().prefer_right_to_left() {
        [high, low]
    } else {
        [low, high]
    };
    let p = palette(ui);
    quiet(ui, ends[0]);
    let (rect, _) = ui.allocate_exact_size(vec2(110.0, 10.0), Sense::hover());
    let steps = 44;
    for i in 0..steps {
        let x = |k: usize| rect.left() + rect.width() * k as f32 / steps as f32;
        let part = Rect::from_min_max(pos2(x(i), rect.top()), pos2(x(i + 1) + 0.5, rect.bottom()));
        ui.painter()
            .rect_filled(part, 0.0, theme::heat(p, i as f32 / (steps - 1) as f32));
    }
    ui.painter()
        .rect_stroke(rect, 0.0, egui::Stroke::new(1.0, p.edge), egui::StrokeKind::Outside);
    quiet(ui, ends[1]);
}

/// A dot in a series' color.
pub(crate) fn dot(ui: &mut Ui, color: Color32) {
    let (rect, _) = ui.allocate_exact_size(vec2(10.0, 14.0), Sense::hover());
    ui.painter().circle_filled(rect.center(), 4.0, color);
}

/// A star to click: filled or not.
pub(crate) fn star(ui: &mut Ui, is_filled: bool) -> Response {
    let (rect, response) = ui.allocate_exact_size(vec2(18.0, 18.0), Sense::click());
    let p = palette(ui);
    let color = if is_filled || response.hovered() || response.has_focus() {
        p.warn
    } else {
        p.weak
    };
    let tip = |i: usize| {
        let angle = (i as f32 / 5.0 - 0.5) * std::f32::consts::PI;
        let radius = if i.is_multiple_of(2) { 7.0 } else { 3.0 };
        rect.center() + vec2(angle.cos(), angle.sin()) * radius
    };
    let tips: Vec<egui::Pos2> = (0..10).map(tip).collect();
    if is_filled {
        // A star is not convex: a fan around its center fills it.
        let mut mesh = egui::Mesh::default();
        mesh.colored_vertex(rect.center(), color);
        tips.iter().for_each(|&at| mesh.colored_vertex(at, color));
        (0..10).for_each(|i| mesh.add_triangle(0, 1 + i, 1 + (i + 1) % 10));
        ui.painter().add(mesh);
    }
    ui.painter()
        .add(egui::Shape::closed_line(tips, egui::Stroke::new(1.2, color)));
    response
}

/// A round patch of color that can be chosen.
pub(crate) fn swatch(ui: &mut Ui, color: Color32, is_chosen: bool) -> Response {
    let (rect, response) = ui.allocate_exact_size(vec2(18.0, 18.0), Sense::click());
    ui.painter().circle_filled(rect.center(), 6.0, color);
    if is_chosen || response.hovered() || response.has_focus() {
        let stroke = egui::Stroke::new(1.5, palette(ui).text);
        ui.painter().circle_stroke(rect.center(), 8.0, stroke);
    }
    response
}

/// The style that all plots share.
pub(crate) fn plot<'a>(name: &str, p: &Palette) -> Plot<'a> {
    Plot::new(name.to_owned())
        .show_background(false)
        .show_crosshair(false)
        .grid_color(p.grid)
        .grid_fade(0.3)
        .grid_spacing(Rangef::new(28.0, 60.0))
        .x_grid_spacer(|input| marks(&input, 2.0))
        .y_grid_spacer(|input| marks(&input, 1.0))
        .allow_scroll(false)
        .allow_boxed_zoom(false)
        .set_margin_fraction(vec2(0.04, 0.08))
}

/// Marks at 1, 2 or 5 times a power of ten, `apart` times the least distance or more, so that each has its number.
fn marks(input: &GridInput, apart: f64) -> Vec<GridMark> {
    let least = input.base_step_size * apart;
    let (low, high) = input.bounds;
    if !(least.is_finite() && least > 0.0 && low.is_finite() && high.is_finite()) {
        return Vec::new();
    }
    let power = 10f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|m| m * power)
        .into_iter()
        .find(|&s| s >= least)
        .unwrap_or(10.0 * power);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last.min(first + 200))
        .map(|i| GridMark {
            value: i as f64 * step,
            step_size: step,
        })
        .collect()
}

/// Marks at 1, 2 and 5 times each power of ten of an axis of logarithms; only at powers where there are many.
pub(crate) fn log_marks(input: &GridInput) -> Vec<GridMark> {
    let (low, high) = input.bounds;
    if !(low.is_finite() && high.is_finite()) {
        return Vec::new();
    }
    let parts: &[f64] = if high - low > 4.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let powers = (low.floor().max(-9.0) as i32)..=(high.ceil().min(15.0) as i32);
    let all = powers.flat_map(|power| parts.iter().map(move |part| f64::from(power) + part.log10()));
    all.filter(|value| (low..=high).contains(value))
        .map(|value| GridMark { value, step_size: 1.0 })
        .collect()
}

/// An axis with small, quiet numbers.
pub(crate) fn axis<'a>(p: &Palette, axis: Axis, name: &str) -> AxisHints<'a> {
    AxisHints::new(axis)
        .label(RichText::new(name).font(theme::small()).color(p.weak))
        .tick_label_font(theme::small())
        .tick_label_color(p.weak)
        .label_spacing(Rangef::new(20.0, 26.0))
        .formatter(|mark, _| number(mark))
}

/// A mark's number with as many decimals as its step has.
fn number(mark: GridMark) -> String {
    let decimals = (-mark.step_size.log10().floor()).clamp(0.0, 8.0) as usize;
    format!("{:.decimals$}", mark.value)
}
