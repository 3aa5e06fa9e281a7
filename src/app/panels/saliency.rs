//! Channels of all layers as a heat map, one row per layer, cells stretched over the full width.
//! Knows nothing of how saliency is computed.

use crate::effects::Effects;
use crate::figures::figure_menu;
use crate::state::{HeatTexture, HeatValue, UiState};
use crate::theme::{self, palette};
use crate::widgets::{self, caption};
use egui::{Align2, Color32, ColorImage, Rect, Role, Sense, TextureOptions, Ui, pos2, vec2};
use lab::{Command, ModelJob, RunStore};
use plots::figure;
use view::saliency::{SaliencyRow, SaliencyScope, SaliencyView, by_class, compared_at, saliency};
use view::text;

/// Texels of a row: divisible by the usual channel counts, and within what old graphics cards take.
const TEXELS: usize = 1920;
/// Least and most width of layer names, and that of channel counts.
const NAMES: [f32; 2] = [58.0, 130.0];
const COUNTS: f32 = 42.0;
/// Room that the scale with its words takes.
const LEGEND: f32 = 230.0;

pub(crate) fn saliency_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let classes = state
        .layer
        .as_deref()
        .filter(|_| state.saliency.by_class)
        .and_then(|layer| by_class(store, layer));
    let is_by_class = classes.is_some();
    let Some(view) = classes.or_else(|| saliency(store, state.saliency.of)) else {
        let todo = if store.open.is_some() {
            "It appears once the model was looked at"
        } else {
            "Open a model"
        };
        return widgets::empty(ui, "No saliency yet", todo);
    };
    ui.horizontal_wrapped(|ui| {
        widgets::choice(
            ui,
            &mut state.saliency.value,
            match view.n {
                Some(_) => &[
                    (HeatValue::Saliency, "Mean saliency"),
                    (HeatValue::Active, "How often active"),
                ],
                None => &[(HeatValue::Saliency, "Score"), (HeatValue::Active, "What stays")],
            },
        );
        if view.n.is_some() {
            if !is_by_class {
                of_ui(ui, store, state);
            }
            by_class_ui(ui, state);
        }
        ui.checkbox(&mut state.saliency.sorts, "Sort channels")
            .on_hover_text("By falling value instead of by channel number");
        widgets::on_the_right(ui, |ui| {
            let how_often = state.saliency.value == HeatValue::Active;
            figure_menu(ui, "saliency", state, effects, || figure::saliency(&view, how_often));
            legend(ui, state.saliency.value, &view)
        });
    });
    let orders: Vec<Vec<usize>> = view
        .rows
        .iter()
        .map(|r| order(values(r, state.saliency.value), state.saliency.sorts))
        .collect();
    refresh(ui, &view, &orders, state);
    let below = 28.0;
    let room = (ui.available_height() - below).max(60.0);
    if let Some(row) = rows_ui(ui, &view, &orders, state, room)
        && !is_by_class
    {
        state.layer = Some(view.rows[row].name.clone());
    }
    rare_ui(ui, store, state, effects);
}

/// Whether rows are the classes of the layer that was clicked.
fn by_class_ui(ui: &mut Ui, state: &mut UiState) {
    let words = match &state.layer {
        Some(layer) => format!("Classes of {layer}"),
        None => "Classes of a layer".to_owned(),
    };
    let tick = ui.add_enabled(
        state.layer.is_some(),
        egui::Checkbox::new(&mut state.saliency.by_class, words),
    );
    tick.on_hover_text("One row per class: which channels of this layer each class uses")
        .on_disabled_hover_text("Click a layer first, here or in the layers panel");
}

/// Channels that are rarely active, and one click that cuts them.
fn rare_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let (Some(open), Some(all)) = (&store.open, saliency(store, SaliencyScope::All)) else {
        return;
    };
    if all.n.is_none() {
        widgets::quiet_line(ui, "Gray channels are cut at the target that the slider stands at.");
        return;
    }
    let is_complete = store.answer.as_ref().is_some_and(|a| a.n == a.of);
    ui.horizontal(|ui| {
        let rare = all.rarely_active(state.saliency.rare);
        let n: usize = rare.values().map(Vec::len).sum();
        let of: usize = all.rows.iter().map(|r| r.active.len()).sum();
        let is_narrow = ui.available_width() < 500.0;
        let channels = if is_narrow { "" } else { " channels" };
        caption(ui, &format!("{n} of {of}{channels} active in under"), "rare");
        let mut percent = state.saliency.rare * 100.0;
        let field = egui::DragValue::new(&mut percent)
            .range(0.1..=50.0)
            .speed(0.1)
            .suffix(" %");
        let field = ui.name_inputs("Rarely active below", |ui| ui.add(field));
        if field.on_hover_text("Share of images").changed() {
            state.saliency.rare = percent / 100.0;
        }
        if !is_narrow {
            caption(ui, "of images", "rare");
        }
        let is_cutting = store.working.iter().any(|j| matches!(j, ModelJob::Cut { .. }));
        let cut = ui.add_enabled(
            n > 0 && is_complete && !is_cutting,
            egui::Button::new("Cut them").small(),
        );
        let about =
            "Surgery: make and open a smaller model without these channels, and set up FBS on it as the next run";
        let cut = cut.on_hover_text(about);
        if cut
            .on_disabled_hover_text("There is nothing to cut, or not all images are measured yet")
            .clicked()
        {
            let from = open.from.clone();
            effects.submit(Command::Work(ModelJob::Cut { from, channels: rare }));
        }
        oracle_ui(ui, &all, store, effects);
    });
}

/// How well gates choose, and one click that measures it (research question 4 of FBS).
fn oracle_ui(ui: &mut Ui, view: &SaliencyView, store: &RunStore, effects: &mut Effects) {
    let (Some(open), Some(source)) = (&store.open, &store.images_from) else {
        return;
    };
    let Some(density) = compared_at(store) else { return };
    let is_comparing = store.working.iter().any(|j| matches!(j, ModelJob::Oracle { .. }));
    match view.says_oracle() {
        Some(words) => drop(widgets::quiet_line(ui, &words)),
        None if is_comparing => drop(widgets::quiet_line(ui, "Comparing gates with what is truly largest…")),
        None => {
            let about = "For some validation images, compute all channels of each layer, and see which share of the largest \
                         ones the gate chooses at this density";
            let button = ui.add(egui::Button::new("Compare gates").small());
            if button.on_hover_text(about).clicked() {
                effects.submit(Command::Work(ModelJob::Oracle {
                    from: open.from.clone(),
                    density,
                    source: source.clone(),
                }));
            }
        }
    }
}

/// All images, one class, or the image that was looked at.
fn of_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState) {
    let names = store.open.as_ref().map_or(&[][..], |m| &m.header.classes[..]);
    let label = match state.saliency.of {
        SaliencyScope::All => "All images",
        SaliencyScope::Class(c) => names.get(usize::from(c)).map_or("?", String::as_str),
        SaliencyScope::Image => "One image",
    };
    let combo = egui::ComboBox::from_id_salt("of").selected_text(label).width(110.0);
    let of = &mut state.saliency.of;
    let shown = combo.show_ui(ui, |ui| {
        ui.selectable_value(of, SaliencyScope::All, "All images");
        ui.add_enabled_ui(store.look.is_some(), |ui| {
            ui.selectable_value(of, SaliencyScope::Image, "One image")
                .on_disabled_hover_text("Click an image in the images panel first");
        });
        for (i, name) in names.iter().enumerate() {
            ui.selectable_value(of, SaliencyScope::Class(i as u16), name);
        }
    });
    widgets::name_widget(&shown.response, Role::ComboBox, "Saliency of");
}

fn values(row: &SaliencyRow, heat: HeatValue) -> &[f32] {
    match heat {
        HeatValue::Saliency => &row.saliency,
        HeatValue::Active => &row.active,
    }
}

fn order(values: &[f32], sorted: bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    if sorted {
        order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    }
    order
}

/// Rebuilds the picture if the values changed.
fn refresh(ui: &Ui, view: &SaliencyView, orders: &[Vec<usize>], state: &mut UiState) {
    let dark = ui.visuals().dark_mode;
    let at = |(row, order): (&SaliencyRow, &Vec<usize>)| -> Vec<f32> {
        let values = values(row, state.saliency.value);
        // Of a network without gates, what is cut is dark whatever its score.
        let stays = |c: usize| view.n.is_some() || row.active[c] > 0.5;
        order.iter().map(|&c| if stays(c) { values[c] } else { -1.0 }).collect()
    };
    let cells: Vec<Vec<f32>> = view.rows.iter().zip(orders).map(at).collect();
    if state
        .saliency
        .texture
        .as_ref()
        .is_some_and(|t| t.dark == dark && t.cells == cells)
    {
        return;
    }
    let p = palette(ui);
    let texel = |row: &Vec<f32>, x: usize| {
        row.get(x * row.len() / TEXELS).map_or(
            Color32::TRANSPARENT,
            |&v| if v < 0.0 { p.trough } else { theme::heat(p, v) },
        )
    };
    let pixels = cells
        .iter()
        .flat_map(|row| (0..TEXELS).map(move |x| texel(row, x)))
        .collect();
    let image = ColorImage::new([TEXELS, cells.len()], pixels);
    let texture = match state.saliency.texture.take() {
        Some(mut old) => {
            old.texture.set(image, TextureOptions::NEAREST);
            old.texture
        }
        None => ui.ctx().load_texture("saliency", image, TextureOptions::NEAREST),
    };
    state.saliency.texture = Some(HeatTexture { cells, dark, texture });
}

/// Gives the row that was clicked.
fn rows_ui(ui: &mut Ui, view: &SaliencyView, orders: &[Vec<usize>], state: &UiState, room: f32) -> Option<usize> {
    let heat = state.saliency.texture.as_ref()?;
    let p = palette(ui);
    let n = view.rows.len();
    let names = widgets::widest(ui, view.rows.iter().map(|r| r.name.as_str())) + 8.0;
    let names = names.clamp(NAMES[0], NAMES[1]);
    let scroll = egui::ScrollArea::vertical().max_height(room);
    let shown = scroll.show(ui, |ui| {
        let height = (room / n as f32).clamp(14.0, 80.0);
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), height * n as f32), Sense::click());
        widgets::name_widget(&response, Role::Image, "Saliency of layers by channels");
        let right = if view.rows.iter().any(|r| r.oracle.is_some()) {
            COUNTS + 32.0
        } else {
            COUNTS
        };
        let cells = Rect::from_min_max(rect.min + vec2(names, 0.0), rect.max - vec2(right, 0.0));
        for (i, row) in view.rows.iter().enumerate() {
            let top = rect.top() + height * i as f32;
            let strip = Rect::from_min_max(pos2(cells.left(), top + 1.0), pos2(cells.right(), top + height - 1.5));
            let uv = |x: f32, edge: f32| pos2(x, (i as f32 + edge) / n as f32);
            ui.painter().image(
                heat.texture.id(),
                strip,
                Rect::from_min_max(uv(0.0, 0.25), uv(1.0, 0.75)),
                Color32::WHITE,
            );
            let mid = strip.center().y;
            let is_chosen = state.layer.as_deref() == Some(&row.name);
            let color = if is_chosen { p.accent } else { p.text };
            let name = widgets::fitting_tail(ui, &row.name, names - 4.0);
            widgets::put(ui, pos2(rect.left(), mid), Align2::LEFT_CENTER, name, color);
            let count = row.saliency.len().to_string();
            widgets::put(ui, pos2(rect.right(), mid), Align2::RIGHT_CENTER, count, p.weak);
            if let Some([share, _]) = row.oracle {
                let at = pos2(rect.right() - COUNTS + 8.0, mid);
                widgets::put(ui, at, Align2::RIGHT_CENTER, text::whole_percent(share), p.good);
            }
            // Where channels are sorted, those left of the line are what the density keeps: a tide that ebbs.
            if state.saliency.sorts {
                let x = strip.left() + strip.width() * row.kept.clamp(0.0, 1.0);
                ui.painter().vline(x, strip.y_range(), egui::Stroke::new(2.0, p.text));
            }
        }
        let row_at = |at: egui::Pos2| (((at.y - rect.top()) / height) as usize).min(n - 1);
        let clicked = response
            .clicked()
            .then(|| response.interact_pointer_pos())
            .flatten()
            .map(row_at);
        let Some(pointer) = response.hover_pos().filter(|at| cells.contains(*at)) else {
            return clicked;
        };
        let layer = row_at(pointer);
        let channels = orders[layer].len();
        let place = (((pointer.x - cells.left()) / cells.width() * channels as f32) as usize).min(channels - 1);
        let wide = cells.width() / channels as f32;
        let corner = pos2(cells.left() + wide * place as f32, rect.top() + height * layer as f32);
        let cell = Rect::from_min_size(corner, vec2(wide, height - 0.5));
        ui.painter()
            .rect_stroke(cell, 1.0, egui::Stroke::new(1.5, p.text), egui::StrokeKind::Outside);
        if let Some(words) = view.says(layer, orders[layer][place]) {
            response.on_hover_text_at_pointer(words);
        }
        clicked
    });
    shown.inner
}

/// Right to left: the scale, what it means, and over how many images.
fn legend(ui: &mut Ui, heat: HeatValue, view: &SaliencyView) {
    // Where it would cover what stands in the row, hovering has to do.
    if ui.available_width() < LEGEND {
        return;
    }
    let [low, high] = match (heat, view.n) {
        (HeatValue::Saliency, _) => ["0", "layer's largest"],
        (HeatValue::Active, Some(_)) => ["never", "always"],
        (HeatValue::Active, None) => ["is cut", "stays"],
    };
    widgets::heat_legend(ui, low, high);
    ui.add_space(10.0);
    if let Some(n) = view.n
        && ui.available_width() > 170.0
    {
        caption(ui, &format!("over {n} images"), "saliency");
    }
}
