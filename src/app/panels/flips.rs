//! What breaks first: images whose answer changed as a strip, how classes fare as a heat map, and what a search must keep.
//! Knows nothing of how images are measured.

use super::wanted::no_images;
use crate::action::UiAction;
use crate::atlas::Atlas;
use crate::effects::Effects;
use crate::panel_name::PanelName;
use crate::state::UiState;
use crate::theme::{self, palette};
use crate::widgets::{self, name_widget, quiet};
use egui::{Align2, Rect, RichText, Role, Sense, Stroke, StrokeKind, Ui, pos2, vec2};
use event::Steer;
use lab::{Command, RunStore};
use measure::images::ImageRef;
use std::collections::BTreeSet;
use view::flips::{FlippedImage, FlipsView, Survival, flips, keeper};
use view::saliency::SaliencyScope;
use view::{search, text};

/// Width of an image with its words, its side, and the height of the words.
const CELL: f32 = 76.0;
const IMAGE: f32 = 56.0;
const WORDS: f32 = 15.0;
/// Least width of the heat map, and the width of its names.
const MAP: f32 = 190.0;
const NAMES: f32 = 82.0;

pub(crate) fn flips_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let Some(view) = flips(store, Atlas::MOST) else {
        let todo = match &store.open {
            None => "Open a model",
            Some(_) => no_images(store, state).unwrap_or("They appear once the images are measured"),
        };
        return widgets::empty(ui, "No answers yet", todo);
    };
    ui.horizontal_wrapped(|ui| {
        ui.label(RichText::new(&view.title).font(theme::body()));
        quiet(ui, &view.pairs);
    });
    let room = ui.available_rect_before_wrap();
    let map = (room.width() * 0.34).clamp(MAP, 340.0);
    let keep = 26.0;
    let strip = Rect::from_min_max(room.min, pos2(room.right() - map - 12.0, room.bottom() - keep));
    let heat = Rect::from_min_max(
        pos2(room.right() - map, room.top()),
        pos2(room.right(), room.bottom() - keep),
    );
    strip_ui(ui, &view, strip, store, state, effects);
    if let Some(survival) = &view.survival {
        survival_ui(ui, survival, heat, store, state, effects);
    }
    let below = Rect::from_min_max(pos2(room.left(), room.bottom() - keep), room.max);
    let mut below = widgets::inside(ui, below, "protect");
    protect_ui(&mut below, &view, store, state, effects);
    ui.allocate_rect(room, Sense::hover());
}

fn strip_ui(ui: &mut Ui, view: &FlipsView, place: Rect, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let p = palette(ui);
    let Some(strip) = &store.strip else { return };
    let across = (place.width() / CELL).floor().max(1.0) as usize;
    let down = (place.height() / (IMAGE + WORDS + 6.0)).floor().max(1.0) as usize;
    let shown: Vec<&FlippedImage> = view.cells.iter().take(across * down).collect();
    let numbers = shown.iter().map(|c| c.number).collect();
    state.flips.atlas.refresh(ui, "flips", strip, numbers);
    if view.cells.is_empty() && view.n_compared > 0 {
        let words = "No answer changed";
        widgets::put(ui, place.left_center(), Align2::LEFT_CENTER, words, p.weak);
    }
    for (i, cell) in shown.iter().enumerate() {
        let corner = place.min + vec2((i % across) as f32 * CELL, (i / across) as f32 * (IMAGE + WORDS + 6.0));
        let image = Rect::from_min_size(corner + vec2((CELL - IMAGE) / 2.0 - 6.0, 2.0), vec2(IMAGE, IMAGE));
        let whole = Rect::from_min_max(corner, pos2(corner.x + CELL - 6.0, image.bottom() + WORDS));
        let response = ui.interact(whole, ui.scope_id().with(("flip", i)), Sense::click());
        name_widget(&response, Role::Button, &cell.text);
        state.flips.atlas.paint(ui, i, image);
        let is_looked_at = store
            .look
            .as_ref()
            .is_some_and(|l| l.picture == ImageRef::Valid(cell.number));
        let (color, width) = match is_looked_at || response.has_focus() {
            true => (p.accent, 3.0),
            false if cell.is_broken => (p.bad, 1.5),
            false => (p.edge, 1.0),
        };
        ui.painter()
            .rect_stroke(image, 2.0, Stroke::new(width, color), StrokeKind::Outside);
        let words = widgets::fitting(ui, &cell.change, CELL - 8.0);
        let color = if cell.is_broken { p.text } else { p.weak };
        widgets::put(
            ui,
            pos2(image.left(), image.bottom() + 3.0),
            Align2::LEFT_TOP,
            words,
            color,
        );
        if response.clicked() {
            effects.submit(Command::Look(ImageRef::Valid(cell.number)));
            // Its channels light up.
            state.saliency.of = SaliencyScope::Image;
            state.saliency.by_class = false;
            effects.act(UiAction::Show(PanelName::Saliency));
        }
        response.on_hover_text(&cell.text);
    }
}

fn survival_ui(
    ui: &mut Ui,
    view: &Survival,
    place: Rect,
    store: &RunStore,
    state: &mut UiState,
    effects: &mut Effects,
) {
    let p = palette(ui);
    let title = format!("class by {}: share {}", view.along, view.right);
    widgets::put(ui, place.left_top(), Align2::LEFT_TOP, title, p.weak);
    let cells = Rect::from_min_max(place.min + vec2(NAMES, 16.0), place.max - vec2(0.0, 14.0));
    let n = view.rows.len().max(1);
    let height = (cells.height() / n as f32).clamp(5.0, 18.0);
    let fit = ((cells.height() / height) as usize).min(n);
    let each = cells.width() / view.columns.len().max(1) as f32;
    for (r, row) in view.rows.iter().take(fit).enumerate() {
        let top = cells.top() + height * r as f32;
        let whole = Rect::from_min_max(pos2(place.left(), top), pos2(place.right(), top + height));
        let response = ui.interact(whole, ui.scope_id().with(("class", row.class)), Sense::click());
        let is_kept = state.flips.protected.contains(&row.name);
        let last = view.columns.len() - 1;
        let words = view.says(r, view.now.unwrap_or(last)).unwrap_or_default();
        let label = format!("Protect class {}", row.name);
        response.widget_info(|| egui::WidgetInfo::selected(Role::CheckBox, true, is_kept, &label));
        for (c, share) in row.shares.iter().enumerate() {
            let left = cells.left() + each * c as f32;
            let cell = Rect::from_min_size(pos2(left, top), vec2(each - 0.5, height - 0.5));
            ui.painter().rect_filled(cell, 0.0, theme::heat(p, *share));
        }
        if height >= 9.0 {
            let color = if is_kept || response.has_focus() {
                p.accent
            } else {
                p.text
            };
            let name = text::cut(&row.name, 13);
            let mark = if is_kept { format!("• {name}") } else { name };
            widgets::put(
                ui,
                pos2(place.left(), top + height / 2.0),
                Align2::LEFT_CENTER,
                mark,
                color,
            );
        }
        if response.clicked() {
            toggle(store, state, &row.name, effects);
        }
        let column = response
            .hover_pos()
            .filter(|at| at.x > cells.left())
            .map(|at| (((at.x - cells.left()) / each) as usize).min(last));
        let words = column.and_then(|c| view.says(r, c)).unwrap_or(words);
        response.on_hover_text(format!("{words}\nClick: searches must keep this class"));
    }
    let below = cells.top() + height * fit as f32 + 1.0;
    for (c, words) in [(0, view.columns.first()), (view.columns.len() - 1, view.columns.last())] {
        let Some(words) = words else { continue };
        let left = cells.left() + each * c as f32;
        let (at, align) = match c {
            0 => (left, Align2::LEFT_TOP),
            _ => (left + each, Align2::RIGHT_TOP),
        };
        widgets::put(ui, pos2(at, below), align, words, p.weak);
    }
    if let Some(now) = view.now {
        let x = cells.left() + each * (now as f32 + 0.5);
        let bottom = cells.top() + height * fit as f32;
        ui.painter()
            .vline(x, cells.top() - 2.0..=bottom, Stroke::new(1.2, p.text));
    }
}

/// Protects an image or a class, or no longer; the search that works on these images is told, too.
fn toggle(store: &RunStore, state: &mut UiState, name: &str, effects: &mut Effects) {
    let is_kept = !state.flips.protected.remove(name);
    if is_kept {
        state.flips.protected.insert(name.to_owned());
    }
    order(store, effects, |names| match is_kept {
        true => drop(names.insert(name.to_owned())),
        false => drop(names.remove(name)),
    });
}

fn order(store: &RunStore, effects: &mut Effects, change: impl Fn(&mut BTreeSet<String>)) {
    if let Some(mut keeper) = keeper(store) {
        change(&mut keeper.names);
        let names = keeper.names.into_iter().collect();
        effects.submit(Command::Steer(keeper.run, Steer::Protect { names }));
    }
}

/// What is protected, and the image that is looked at with its class, to be added.
fn protect_ui(ui: &mut Ui, view: &FlipsView, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let keeper = keeper(store);
    let about = match (&keeper, search::live(store)) {
        (Some(_), _) => {
            "The search that works must keep it from its next trial on, and so must later ones: a vector that loses it is worth as \
             much less"
        }
        (None, Some(_)) => {
            "The next search must keep it: a vector that loses it is worth as much less. The one that works is on other images"
        }
        (None, None) => "The next search must keep it: a vector that loses it is worth as much less",
    };
    let looked_at = store.look.as_ref().and_then(|look| match &look.picture {
        ImageRef::Valid(i) => Some((*i, look.label)),
        ImageRef::File(_) => None,
    });
    let names = store.open.as_ref().map_or(&[][..], |open| &open.header.classes[..]);
    if let Some((i, label)) = looked_at {
        let number = store.strip.as_ref().and_then(|strip| strip.numbers.get(i));
        let class = label.and_then(|label| names.get(usize::from(label)));
        let image = number.map(|n| (format!("Protect image {i}"), format!("#{n}")));
        let class = class.map(|name| (format!("Protect {name}"), name.clone()));
        for (words, key) in image.into_iter().chain(class) {
            let is_kept = state.flips.protected.contains(&key);
            let button = ui.selectable_label(is_kept, widgets::small(words, palette(ui).text));
            if button.on_hover_text(about).clicked() {
                toggle(store, state, &key, effects);
            }
        }
    } else if view.n > 0 && state.flips.protected.is_empty() {
        quiet(ui, "Click an image: its channels light up, and it can be protected");
    }
    if !state.flips.protected.is_empty() {
        let p = palette(ui);
        let all: Vec<&str> = state.flips.protected.iter().map(String::as_str).collect();
        let (what, color) = match keeper.is_some_and(|keeper| keeper.is_queued) {
            true => ("queued for the next trial", p.warn),
            false => ("searches must keep", p.accent),
        };
        let words = format!("{what}: {}", all.join(", "));
        ui.label(widgets::small(text::cut(&words, 80), color));
        if ui.small_button("None").on_hover_text("Protect nothing").clicked() {
            state.flips.protected.clear();
            order(store, effects, BTreeSet::clear);
        }
    }
}
