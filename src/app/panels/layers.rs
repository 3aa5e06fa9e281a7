//! Layers as rows: share of channels that run, and MACs.
//! Knows nothing of single channels.

use crate::app::state::UiState;
use crate::app::theme::{self, palette};
use crate::app::widgets;
use crate::run::RunStore;
use crate::view::layers::{LayerRow, layers};
use crate::view::text;
use egui::{Align2, Rect, Role, Sense, Ui, WidgetInfo, pos2, vec2};

/// Where the parts of a row are.
struct Columns {
    kept: [f32; 2],
    kept_words: f32,
    macs: [f32; 2],
    macs_words: f32,
}

impl Columns {
    fn of(rect: Rect) -> Self {
        let names = rect.left() + 58.0;
        let bars = (rect.width() - 58.0 - 46.0 - 14.0 - 52.0).max(40.0);
        let kept_end = names + bars * 0.56;
        let macs_start = kept_end + 46.0 + 14.0;
        Self {
            kept: [names, kept_end],
            kept_words: kept_end + 46.0,
            macs: [macs_start, macs_start + bars * 0.44],
            macs_words: rect.right(),
        }
    }
}

/// Paints the panel.
pub fn layers_ui(ui: &mut Ui, store: &RunStore, state: &UiState) {
    let Some(view) = layers(store, state.density) else {
        return widgets::empty(ui, "No layers yet", "Open a model to see how much of each layer runs");
    };
    let most = view.rows.iter().map(|r| r.macs_dense).max().unwrap_or(1).max(1);
    ui.spacing_mut().item_spacing.y = 0.0;
    header(ui, view.measured);
    egui::ScrollArea::vertical().show(ui, |ui| {
        let room = ui.available_height() / view.rows.len().max(1) as f32;
        for row in &view.rows {
            row_ui(ui, row, most, room.clamp(theme::ROW - 2.0, theme::ROW + 14.0));
        }
    });
}

fn header(ui: &mut Ui, measured: bool) {
    let p = palette(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), theme::ROW), Sense::hover());
    let at = Columns::of(rect);
    let put = |x: f32, words: &str| {
        ui.painter().text(
            pos2(x, rect.center().y),
            Align2::LEFT_CENTER,
            words,
            theme::small(),
            p.weak,
        )
    };
    put(rect.left(), "layer");
    put(
        at.kept[0],
        if measured {
            "channels that run"
        } else {
            "channels asked for"
        },
    );
    put(at.macs[0], "MACs an image");
    response.on_hover_text("Pale: with every channel running");
}

fn row_ui(ui: &mut Ui, row: &LayerRow, most: u64, height: f32) {
    let p = palette(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
    let (kept, macs) = (text::whole_percent(row.kept), text::count(row.macs));
    let words = format!(
        "{}: {kept} of {} channels run, {macs} of {} MACs",
        row.name,
        row.channels,
        text::count(row.macs_dense)
    );
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, &words));
    if response.hovered() {
        ui.painter()
            .rect_filled(rect, theme::RADIUS, ui.visuals().faint_bg_color);
    }
    let (at, mid) = (Columns::of(rect), rect.center().y);
    let thick = (height * 0.45).min(11.0);
    let bar =
        |[left, right]: [f32; 2]| Rect::from_min_max(pos2(left, mid - thick / 2.0), pos2(right, mid + thick / 2.0));
    ui.painter().text(
        pos2(rect.left(), mid),
        Align2::LEFT_CENTER,
        &row.name,
        theme::small(),
        p.text,
    );
    widgets::bar(ui, bar(at.kept), row.kept as f32, p.accent, p.trough);
    let asked = at.kept[0] + (at.kept[1] - at.kept[0]) * row.asked as f32;
    ui.painter().vline(
        asked,
        mid - thick / 2.0 - 2.0..=mid + thick / 2.0 + 2.0,
        egui::Stroke::new(1.5, p.text),
    );
    ui.painter().text(
        pos2(at.kept_words, mid),
        Align2::RIGHT_CENTER,
        kept,
        theme::small(),
        p.text,
    );
    let scale = |macs: u64| macs as f32 / most as f32;
    let mut full = bar(at.macs);
    full.set_width(full.width() * scale(row.macs_dense));
    widgets::bar(
        ui,
        full,
        row.macs as f32 / row.macs_dense.max(1) as f32,
        p.series[2],
        p.trough,
    );
    ui.painter().text(
        pos2(at.macs_words, mid),
        Align2::RIGHT_CENTER,
        macs,
        theme::small(),
        p.text,
    );
    response.on_hover_text(words);
}
