//! Validation images as thumbnails, sorted by computation, confidence or error; one of them close up.
//! Knows nothing of how images are measured.

use super::wanted::no_images;
use crate::action::UiAction;
use crate::atlas::{Atlas, TEXELS, put};
use crate::effects::Effects;
use crate::line_labels::marks_ui;
use crate::panel_name::PanelName;
use crate::state::UiState;
use crate::theme::palette;
use crate::widgets::{self, quiet};
use egui::{Color32, ColorImage, Rect, Role, Sense, Stroke, StrokeKind, TextureOptions, Ui, WidgetInfo, pos2, vec2};
use egui_plot::MarkerShape;
use lab::{Command, RunStore};
use measure::images::ImageRef;
use std::sync::Arc;
use view::density::is_agreement;
use view::images::{ImageFilter, ImageOrder, ImagesView, LookView, images, look};
use view::saliency::SaliencyScope;

/// Side of a cell on screen.
const CELL: f32 = 44.0;
const CLOSE: f32 = 250.0;

pub(crate) fn images_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let room = ui.available_size();
    let has_look = store.look.is_some() && room.x > CLOSE * 1.8;
    let across = ((room.x - if has_look { CLOSE } else { 0.0 }) / CELL).floor().max(1.0) as usize;
    let down = ((room.y - 34.0) / CELL).floor().max(1.0) as usize;
    let most = (across * down).min(Atlas::MOST);
    let (Some(view), Some(strip)) = (images(store, state.images.options, most), store.strip.as_ref()) else {
        let rest = "They appear once all of them are measured: let the slider rest for a moment";
        let todo = match &store.open {
            None => "Open a model to see its predictions for validation images",
            Some(_) => no_images(store, state).unwrap_or(rest),
        };
        return widgets::empty(ui, "No images yet", todo);
    };
    let wrong = match is_agreement(store) {
        true => "Disagree",
        false => "Wrong",
    };
    controls(ui, &view, wrong, most, state);
    let numbers = view.cells.iter().map(|c| c.number).collect();
    state.images.atlas.refresh(ui, "images", strip, numbers);
    ui.horizontal_top(|ui| {
        let size = vec2(across as f32 * CELL, down as f32 * CELL);
        grid(ui, &view, across, size, store, state, effects);
        if has_look && let Some(close) = look(store) {
            ui.vertical(|ui| close_up(ui, &close, store, state, effects));
        }
    });
}

fn controls(ui: &mut Ui, view: &ImagesView, wrong: &str, most: usize, state: &mut UiState) {
    ui.horizontal_wrapped(|ui| {
        let before = (state.images.options.order, state.images.options.which);
        let orders = [
            (ImageOrder::Number, "In order"),
            (ImageOrder::Compute, "Most compute"),
            (ImageOrder::Confidence, "Least sure"),
            (ImageOrder::Error, "Worst mistakes"),
        ];
        widgets::choice(ui, &mut state.images.options.order, &orders);
        let count = |n: Option<usize>| n.map_or_else(|| "…".to_owned(), |n| n.to_string());
        let (of_wrong, changed) = (
            format!("{wrong} ({})", count(view.counts[0])),
            format!("Changed by gating ({})", count(view.counts[1])),
        );
        let which = [
            (ImageFilter::All, "All"),
            (ImageFilter::Wrong, of_wrong.as_str()),
            (ImageFilter::Changed, changed.as_str()),
        ];
        widgets::choice(ui, &mut state.images.options.which, &which);
        if before != (state.images.options.order, state.images.options.which) {
            state.images.options.from = 0;
        }
        let from = state.images.options.from;
        let mut turn = |ui: &mut Ui, words: &str, name: &str, to: Option<usize>| {
            let button = ui.add_enabled(to.is_some(), egui::Button::new(words));
            button.widget_info(|| WidgetInfo::labeled(Role::Button, to.is_some(), name));
            if let Some(to) = to.filter(|_| button.clicked()) {
                state.images.options.from = to;
            }
        };
        turn(
            ui,
            "◀",
            "Previous images",
            (from > 0).then(|| from.saturating_sub(most)),
        );
        turn(ui, "▶", "Next images", (from + most < view.n).then_some(from + most));
        let last = (from + view.cells.len()).max(from);
        quiet(ui, format!("{} to {last} of {}", (from + 1).min(view.n), view.n));
        let p = palette(ui);
        let outlines = [
            (&*wrong.to_lowercase(), MarkerShape::Circle, p.bad),
            ("changed by gating", MarkerShape::Circle, p.warn),
        ];
        marks_ui(ui, &outlines);
    });
}

fn grid(
    ui: &mut Ui,
    view: &ImagesView,
    across: usize,
    size: egui::Vec2,
    store: &RunStore,
    state: &UiState,
    effects: &mut Effects,
) {
    let p = palette(ui);
    let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
    for (i, cell) in view.cells.iter().enumerate() {
        let corner = rect.min + vec2((i % across) as f32, (i / across) as f32) * CELL;
        let place = Rect::from_min_size(corner, vec2(CELL, CELL)).shrink(2.0);
        if !ui.is_rect_visible(place) {
            continue;
        }
        let response = ui.interact(place, ui.scope_id().with(("image", i)), Sense::click());
        widgets::name_widget(&response, Role::Button, &cell.text);
        state.images.atlas.paint(ui, i, place);
        let is_looked_at = store
            .look
            .as_ref()
            .is_some_and(|l| l.picture == ImageRef::Valid(cell.number));
        let (color, width) = match cell {
            _ if is_looked_at || response.has_focus() => (p.accent, 3.0),
            c if !c.is_right => (p.bad, 2.0),
            c if c.is_changed => (p.warn, 2.0),
            _ => (p.edge, 1.0),
        };
        ui.painter()
            .rect_stroke(place, 2.0, Stroke::new(width, color), StrokeKind::Outside);
        if response.clicked() {
            effects.submit(Command::Look(ImageRef::Valid(cell.number)));
        }
        response.on_hover_text(&cell.text);
    }
}

/// One image: what the gated and the dense model predict, and what it cost.
fn close_up(ui: &mut Ui, view: &LookView, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let p = palette(ui);
    ui.set_width(CLOSE - 16.0);
    ui.horizontal(|ui| {
        let side = 84.0;
        let (rect, _) = ui.allocate_exact_size(vec2(side, side), Sense::hover());
        if let Some(texture) = look_texture(ui, store, state) {
            let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
            ui.painter().image(texture, rect, whole, Color32::WHITE);
        }
        ui.vertical(|ui| {
            ui.add(egui::Label::new(&view.title).truncate());
            quiet(ui, &view.cost);
            ui.horizontal(|ui| {
                for (color, words) in [(p.accent, "here"), (p.weak, "whole network")] {
                    widgets::dot(ui, color);
                    quiet(ui, words);
                }
            });
        });
    });
    ui.spacing_mut().item_spacing.y = 2.0;
    for (name, gated, dense, is_right) in &view.classes {
        let words = format!("{:.0} % / {:.0} %", gated * 100.0, dense * 100.0);
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 26.0), Sense::hover());
        widgets::name_widget(&response, Role::Label, &format!("{name}: {words}"));
        let color = if *is_right { p.good } else { p.text };
        let put = |x: f32, align, words: &str, color| {
            widgets::put(ui, pos2(x, rect.top() + 6.0), align, words, color);
        };
        put(rect.left(), egui::Align2::LEFT_CENTER, name, color);
        put(rect.right(), egui::Align2::RIGHT_CENTER, &words, p.weak);
        for (k, (share, fill)) in [(*gated, p.accent), (*dense, p.weak)].into_iter().enumerate() {
            let top = rect.top() + 14.0 + 5.0 * k as f32;
            let bar = Rect::from_min_max(pos2(rect.left(), top), pos2(rect.right(), top + 4.0));
            widgets::bar(ui, bar, share, fill, p.trough);
        }
    }
    ui.add_space(4.0);
    let is_alone = state.saliency.of == SaliencyScope::Image;
    let about = "Show only this image's channels in the saliency panel";
    if ui
        .selectable_label(is_alone, "Show its channels")
        .on_hover_text(about)
        .clicked()
    {
        state.saliency.of = if is_alone {
            SaliencyScope::All
        } else {
            SaliencyScope::Image
        };
        if !is_alone {
            state.saliency.by_class = false;
            effects.act(UiAction::Show(PanelName::Saliency));
        }
    }
}

fn look_texture(ui: &Ui, store: &RunStore, state: &mut UiState) -> Option<egui::TextureId> {
    let thumb = &store.look.as_ref()?.image;
    if state
        .images
        .close_up
        .as_ref()
        .is_none_or(|(of, _)| !Arc::ptr_eq(of, thumb))
    {
        let mut image = ColorImage::filled([TEXELS, TEXELS], Color32::TRANSPARENT);
        put(&mut image, thumb, [0, 0]);
        let texture = ui.ctx().load_texture("image", image, TextureOptions::NEAREST);
        state.images.close_up = Some((thumb.clone(), texture));
    }
    state.images.close_up.as_ref().map(|(_, texture)| texture.id())
}
