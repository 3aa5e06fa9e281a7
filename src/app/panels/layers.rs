//! Layers as rows: share of channels that run, and MACs. The bars of the open model's gates can be dragged and held.
//! Knows nothing of single channels.

use crate::effects::Effects;
use crate::figures::figure_menu;
use crate::share_bar::{ShareBar, share_bar};
use crate::state::UiState;
use crate::theme::{self, palette};
use crate::{question, widgets};
use egui::{Align2, Rect, Role, Sense, Ui, WidgetInfo, pos2, vec2};
use lab::{Command, RunStore};
use plots::figure;
use view::layers::{LayerRow, LayersView, layers, of_source};
use view::text;

/// Where the parts of a row are.
struct RowLayout {
    kept: [f32; 2],
    kept_words: f32,
    lock: f32,
    macs: [f32; 2],
    macs_words: f32,
}

/// Width of a share in words, of a lock, and of MACs in words.
const WIDTHS: [f32; 3] = [40.0, 26.0, 52.0];
/// The most of a row's width that names take.
const NAMES: f32 = 0.34;

impl RowLayout {
    /// With so much room for names.
    fn of(rect: Rect, names: f32) -> Self {
        let bars = (rect.width() - names - WIDTHS.iter().sum::<f32>() - 14.0).max(40.0);
        let names = rect.left() + names;
        let kept_end = names + bars * 0.58;
        let lock = kept_end + WIDTHS[0] + 4.0;
        let macs = lock + WIDTHS[1];
        Self {
            kept: [names, kept_end],
            kept_words: kept_end + WIDTHS[0],
            lock,
            macs: [macs, macs + bars * 0.42],
            macs_words: rect.right(),
        }
    }
}

pub(crate) fn layers_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let picked = state.frontier.pick.as_ref().and_then(|pick| of_source(store, pick));
    let is_picked = picked.is_some();
    let Some(view) = picked.or_else(|| layers(store, &state.slider.asked)) else {
        return widgets::empty(ui, "No layers yet", "Open a model to see how much of each layer runs");
    };
    if is_picked {
        ui.horizontal(|ui| {
            widgets::quiet_line(ui, &view.title);
            if ui.small_button("Back to the open model").clicked() {
                state.frontier.pick = None;
            }
        });
    }
    let names = widgets::widest(ui, view.rows.iter().map(|r| r.name.as_str())) + 12.0;
    let names = names.clamp(50.0, (ui.available_width() * NAMES).max(50.0));
    let most = view.rows.iter().map(|r| r.macs_dense).max().unwrap_or(1).max(1);
    ui.spacing_mut().item_spacing.y = 0.0;
    header(ui, &view, names, state, effects);
    egui::ScrollArea::vertical().show(ui, |ui| {
        let room = ui.available_height() / view.rows.len().max(1) as f32;
        let height = room.clamp(theme::ROW - 2.0, theme::ROW + 14.0);
        for row in &view.rows {
            row_ui(ui, row, (most, height, names), store, state, effects);
        }
    });
}

fn header(ui: &mut Ui, view: &LayersView, names: f32, state: &mut UiState, effects: &mut Effects) {
    let p = palette(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), theme::ROW), Sense::hover());
    let at = RowLayout::of(rect, names);
    let put = |x: f32, words: &str| widgets::put(ui, pos2(x, rect.center().y), Align2::LEFT_CENTER, words, p.weak);
    put(rect.left(), "layer");
    let kept = match view.measured {
        true => ["channels that run", "channels"],
        false => ["channels requested", "channels"],
    };
    put(
        at.kept[0],
        widgets::first_fitting(ui, &kept, at.lock - at.kept[0] - 4.0),
    );
    if view.rows.iter().any(|r| r.gate.is_some() || r.group.is_some()) {
        widgets::put(
            ui,
            pos2(at.lock + 8.0, rect.center().y),
            Align2::CENTER_CENTER,
            "hold",
            p.weak,
        );
    }
    let macs = rect.right() - 26.0 - at.macs[0] - 6.0;
    put(
        at.macs[0] + 6.0,
        widgets::first_fitting(ui, &["MACs per image", "MACs"], macs),
    );
    let corner = Rect::from_min_max(pos2(rect.right() - 24.0, rect.top()), rect.max);
    let mut inner = ui.new_child(egui::UiBuilder::new().max_rect(corner));
    figure_menu(&mut inner, "layers", state, effects, || figure::layers(view));
    response.on_hover_text(
        "Pale bars: with every channel running. Drag a bar to move its gate; tick “hold” to keep it when the slider moves.",
    );
}

fn row_ui(
    ui: &mut Ui,
    row: &LayerRow,
    (most, height, names): (u64, f32, f32),
    store: &RunStore,
    state: &mut UiState,
    effects: &mut Effects,
) {
    let p = palette(ui);
    let words = row.says();
    let (rect, response) = widgets::layer_row(ui, &row.name, (Role::Label, &words), height, &mut state.layer);
    let (at, mid) = (RowLayout::of(rect, names), rect.center().y);
    let name = widgets::fitting_tail(ui, &row.name, names - 6.0);
    widgets::put(ui, pos2(rect.left(), mid), Align2::LEFT_CENTER, name, p.text);
    widgets::put(
        ui,
        pos2(at.kept_words, mid),
        Align2::RIGHT_CENTER,
        text::whole_percent(row.kept),
        p.text,
    );
    macs_ui(ui, row, most, rect, (height, names));
    response.on_hover_text(words);
    let place = Rect::from_min_max(pos2(at.kept[0], rect.top()), pos2(at.kept[1], rect.bottom()));
    let bar = ShareBar {
        name: &format!("Density of {}", row.name),
        value: row.asked as f32,
        filled: row.kept as f32,
        tick: row.asked as f32,
        ghost: None,
        is_movable: row.gate.is_some(),
        fill: p.accent,
    };
    let moved = share_bar(ui, place, bar);
    if let (Some(gate), Some(change)) = (row.gate, moved) {
        let percent = (change.share * 100.0).round() as u32;
        effects.submit(question::set_gate(store, state, gate, percent));
    }
    let place = Rect::from_min_max(pos2(at.lock, rect.top()), pos2(at.lock + WIDTHS[1], rect.bottom()));
    effects.submit(lock_ui(ui, row, place, store, state));
}

/// Holds a layer's gate, and what is cut together with it.
fn lock_ui(ui: &mut Ui, row: &LayerRow, place: Rect, store: &RunStore, state: &mut UiState) -> Option<Command> {
    if row.gate.is_none() && row.group.is_none() {
        return None;
    }
    let by_gate = row.gate.map(|gate| state.slider.locked.contains(&gate));
    let by_group = row.group.as_ref().map(|group| state.slider.cut.held.contains(group));
    let mut held = by_gate.or(by_group)?;
    let check = widgets::inside(ui, place, ("lock", &row.name)).add(egui::Checkbox::without_text(&mut held));
    let label = format!("Hold {}", row.name);
    check.widget_info(|| WidgetInfo::selected(Role::CheckBox, true, held, &label));
    if !check
        .on_hover_text("Keep this layer as it is when a slider moves")
        .changed()
    {
        return None;
    }
    if let Some(gate) = row.gate {
        state.slider.locked.retain(|&other| other != gate);
        state.slider.locked.extend(held.then_some(gate));
    }
    let group = row.group.as_ref()?;
    let mut cut = state.slider.cut.clone();
    if held {
        cut.held.insert(group.clone());
    } else {
        cut.held.remove(group);
    }
    question::set_cut(store, state, cut)
}

fn macs_ui(ui: &Ui, row: &LayerRow, most: u64, rect: Rect, (height, names): (f32, f32)) {
    let p = palette(ui);
    let (at, mid) = (RowLayout::of(rect, names), rect.center().y);
    let Some(macs) = row.macs else { return };
    let thick = (height * 0.45).min(11.0);
    let scale = |n: u64| n as f32 / most as f32;
    let [left, right] = at.macs;
    let mut full = Rect::from_min_max(pos2(left + 6.0, mid - thick / 2.0), pos2(right, mid + thick / 2.0));
    full.set_width(full.width() * scale(row.macs_dense));
    widgets::bar(
        ui,
        full,
        macs as f32 / row.macs_dense.max(1) as f32,
        p.series[2],
        p.trough,
    );
    widgets::put(
        ui,
        pos2(at.macs_words, mid),
        Align2::RIGHT_CENTER,
        text::count(macs),
        p.text,
    );
}
