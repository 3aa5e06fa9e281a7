//! Channels of all layers as a heat map, one row a layer, cells stretched over the full width.
//! Knows nothing of how saliency is computed.

use crate::app::figures::figure_menu;
use crate::app::state::{Heat, HeatTexture, UiState};
use crate::app::theme::{self, palette};
use crate::app::widgets::{self, caption};
use crate::export::figure;
use crate::run::RunStore;
use crate::view::saliency::{Of, SaliencyRow, SaliencyView, saliency};
use egui::{Align2, Color32, ColorImage, Rect, Role, Sense, TextureOptions, Ui, WidgetInfo, pos2, vec2};

/// Texels of a row: divisible by the usual channel counts, and within what old graphics cards take.
const TEXELS: usize = 1920;
/// Width of layer names and channel counts.
const NAMES: f32 = 58.0;
const COUNTS: f32 = 42.0;

/// Paints the panel.
pub fn saliency_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState) {
    let Some(view) = saliency(store, state.saliency_of) else {
        let todo = if store.open.is_some() {
            "Shown as soon as images were measured with a gated model"
        } else {
            "Open a model with gates"
        };
        return widgets::empty(ui, "No saliency yet", todo);
    };
    ui.horizontal(|ui| {
        widgets::choice(
            ui,
            &mut state.heat,
            &[(Heat::Saliency, "Mean saliency"), (Heat::Active, "How often active")],
        );
        of_ui(ui, store, state);
        ui.checkbox(&mut state.sort_channels, "Sort channels")
            .on_hover_text("By falling value instead of by number");
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            let how_often = state.heat == Heat::Active;
            figure_menu(ui, "saliency", state, || figure::saliency(&view, how_often));
            legend(ui, state.heat, &view)
        });
    });
    let orders: Vec<Vec<usize>> = view
        .rows
        .iter()
        .map(|r| order(values(r, state.heat), state.sort_channels))
        .collect();
    refresh(ui, &view, &orders, state);
    rows_ui(ui, &view, &orders, state);
}

/// All images, one class, or the image that was looked at.
fn of_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState) {
    let names = store.open.as_ref().map_or(&[][..], |m| &m.header.classes[..]);
    let label = match state.saliency_of {
        Of::All => "All images",
        Of::Class(c) => names.get(usize::from(c)).map_or("?", String::as_str),
        Of::Image => "One image",
    };
    let combo = egui::ComboBox::from_id_salt("of").selected_text(label).width(110.0);
    let of = &mut state.saliency_of;
    let shown = combo.show_ui(ui, |ui| {
        ui.selectable_value(of, Of::All, "All images");
        ui.add_enabled_ui(store.look.is_some(), |ui| {
            ui.selectable_value(of, Of::Image, "One image")
                .on_disabled_hover_text("Click an image in the images panel first");
        });
        for (i, name) in names.iter().enumerate() {
            ui.selectable_value(of, Of::Class(i as u16), name);
        }
    });
    shown
        .response
        .widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Saliency of"));
}

fn values(row: &SaliencyRow, heat: Heat) -> &[f32] {
    match heat {
        Heat::Saliency => &row.saliency,
        Heat::Active => &row.active,
    }
}

/// Which channel stands where.
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
        let values = values(row, state.heat);
        order.iter().map(|&c| values[c]).collect()
    };
    let cells: Vec<Vec<f32>> = view.rows.iter().zip(orders).map(at).collect();
    if state
        .heat_texture
        .as_ref()
        .is_some_and(|t| t.dark == dark && t.cells == cells)
    {
        return;
    }
    let p = palette(ui);
    let texel = |row: &Vec<f32>, x: usize| {
        row.get(x * row.len() / TEXELS)
            .map_or(Color32::TRANSPARENT, |&v| theme::heat(p, v))
    };
    let pixels = cells
        .iter()
        .flat_map(|row| (0..TEXELS).map(move |x| texel(row, x)))
        .collect();
    let image = ColorImage::new([TEXELS, cells.len()], pixels);
    let texture = match state.heat_texture.take() {
        Some(mut old) => {
            old.texture.set(image, TextureOptions::NEAREST);
            old.texture
        }
        None => ui.ctx().load_texture("saliency", image, TextureOptions::NEAREST),
    };
    state.heat_texture = Some(HeatTexture { cells, dark, texture });
}

fn rows_ui(ui: &mut Ui, view: &SaliencyView, orders: &[Vec<usize>], state: &UiState) {
    let Some(heat) = &state.heat_texture else { return };
    let p = palette(ui);
    let n = view.rows.len();
    egui::ScrollArea::vertical().show(ui, |ui| {
        let height = (ui.available_height() / n as f32).clamp(14.0, 80.0);
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), height * n as f32), Sense::hover());
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, "Saliency of layers by channels"));
        let cells = Rect::from_min_max(rect.min + vec2(NAMES, 0.0), rect.max - vec2(COUNTS, 0.0));
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
            ui.painter().text(
                pos2(rect.left(), mid),
                Align2::LEFT_CENTER,
                &row.name,
                theme::small(),
                p.text,
            );
            let count = row.saliency.len().to_string();
            ui.painter().text(
                pos2(rect.right(), mid),
                Align2::RIGHT_CENTER,
                count,
                theme::small(),
                p.weak,
            );
        }
        let Some(pointer) = response.hover_pos().filter(|at| cells.contains(*at)) else {
            return;
        };
        let layer = (((pointer.y - rect.top()) / height) as usize).min(n - 1);
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
    });
}

/// Right to left: the scale, what it means, and how many images it stands on.
fn legend(ui: &mut Ui, heat: Heat, view: &SaliencyView) {
    let [low, high] = match heat {
        Heat::Saliency => ["0", "layer's largest"],
        Heat::Active => ["never", "always"],
    };
    widgets::heat_legend(ui, low, high);
    ui.add_space(10.0);
    if ui.available_width() > 170.0 {
        caption(ui, &format!("over {} images", view.n), "saliency");
    }
}
