//! The densities that a search chooses, site by site: bars to drag as a proposal, locks, and the budget.
//! Knows nothing of trials over time.

use crate::effects::Effects;
use crate::share_bar::{ShareBar, share_bar};
use crate::state::UiState;
use crate::theme::{self, palette};
use crate::widgets::{self, quiet};
use egui::{Align2, Rect, RichText, Role, Ui, Vec2, pos2, vec2};
use event::Steer;
use lab::{Command, RunStore};
use view::search::{SearchView, amount, opening, search};
use view::text;

/// Least width of the sites' names, width of a lock and of a number.
const NAME: f32 = 92.0;
const LOCK: f32 = 52.0;
const NUMBER: f32 = 46.0;

pub(crate) fn sites_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    if let Some([title, does]) = opening(store, state.search.chosen) {
        return widgets::empty(ui, &title, &does);
    }
    let Some(view) = search(store, state.search.chosen, state.search.height) else {
        return widgets::empty(
            ui,
            "No sites yet",
            "A search lists its sites here; drag a bar to propose a density",
        );
    };
    budget(ui, &view, state, effects);
    let said = match (&view.shown, view.is_live) {
        (Some(shown), true) => format!("{}; drag a bar to propose, tick to hold", shown.text),
        (Some(shown), false) => shown.text.clone(),
        (None, _) => "no trial was accepted yet".to_owned(),
    };
    match &view.queued {
        Some(queued) => drop(widgets::queued_line(ui, &queued.text)),
        None => drop(widgets::quiet_line(ui, &said)),
    }
    ui.spacing_mut().item_spacing.y = 0.0;
    egui::ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        let height = (ui.available_height() / view.sites.len().max(1) as f32).clamp(22.0, 34.0);
        let names = widgets::widest(ui, view.sites.iter().map(|s| &*s.label)) + 12.0;
        let size = vec2(names.min(0.4 * ui.available_width()).max(NAME), height);
        for i in 0..view.sites.len() {
            ui.push_id(i, |ui| row_ui(ui, &view, i, size, state, effects));
        }
    });
}

fn budget(ui: &mut Ui, view: &SearchView, state: &mut UiState, effects: &mut Effects) {
    ui.horizontal(|ui| {
        let label = ui.label("Budget").on_hover_text(widgets::meaning("budget"));
        let whole_percent = |share: f64| ((share * 100.0).round() / 100.0).clamp(0.01, 1.0);
        let next = view.queued.as_ref().and_then(|q| q.budget).unwrap_or(view.budget);
        // Rounded here: the slider would round it too, and that would count as a move. What it makes of the last digit does not.
        let mut share = whole_percent(state.search.budget.unwrap_or(next / view.whole.max(f64::MIN_POSITIVE)));
        let shown = whole_percent(share);
        ui.spacing_mut().slider_width = (ui.available_width() - 210.0).max(60.0);
        let slider = egui::Slider::new(&mut share, 0.01..=1.0)
            .step_by(0.01)
            .custom_formatter(|v, _| format!("{:.0} %", v * 100.0))
            .custom_parser(|s| {
                s.trim()
                    .trim_end_matches('%')
                    .trim()
                    .parse::<f64>()
                    .ok()
                    .map(|v| v / 100.0)
            })
            .smart_aim(false);
        let moved = ui.add_enabled(view.is_live, slider).labelled_by(label.id);
        quiet(ui, amount(view.unit, share * view.whole));
        if moved.dragged() {
            state.search.budget = Some(share);
        } else if moved.drag_stopped() || (moved.changed() && (share - shown).abs() > 0.005) {
            state.search.budget = None;
            let most = share * view.whole;
            effects.submit(Command::Steer(view.run, Steer::Budget { most }));
        }
    });
}

/// One site. `size`: the width of its name, its height.
fn row_ui(ui: &mut Ui, view: &SearchView, i: usize, size: Vec2, state: &mut UiState, effects: &mut Effects) {
    let row = &view.sites[i];
    let p = palette(ui);
    let words = row.says();
    let (rect, response) = widgets::layer_row(ui, &row.name, (Role::Label, &words), size.y, &mut state.layer);
    let mid = rect.center().y;
    let put = |x: f32, align: Align2, words: &str, color: egui::Color32| {
        widgets::put(ui, pos2(x, mid), align, words, color);
    };
    put(rect.left() + 4.0, Align2::LEFT_CENTER, &row.label, p.text);
    let bar = Rect::from_min_max(
        pos2(rect.left() + size.x, rect.top()),
        pos2(rect.right() - LOCK - NUMBER, rect.bottom()),
    );
    let draft = state.search.proposal.as_ref().and_then(|d| d.get(i)).copied();
    let value = draft.unwrap_or(row.shown);
    // Before the first trial there is nothing to fill.
    let is_known = view.shown.is_some() || draft.is_some();
    let shown = ShareBar {
        name: &format!("Density of {}", row.label),
        value,
        filled: if is_known { value } else { 0.0 },
        tick: row.best,
        ghost: row.proposed.filter(|_| draft.is_none()),
        is_movable: view.is_live && row.held.is_none(),
        fill: if row.held.is_some() { p.weak } else { p.accent },
    };
    put(
        rect.right() - LOCK - 6.0,
        Align2::RIGHT_CENTER,
        &if is_known {
            text::whole_percent(f64::from(value))
        } else {
            "—".to_owned()
        },
        p.text,
    );
    response.on_hover_text(words);
    if let Some(change) = share_bar(ui, bar, shown) {
        let mut densities: Vec<f32> = view.sites.iter().map(|s| s.proposed.unwrap_or(s.shown)).collect();
        densities[i] = change.share;
        if change.is_final {
            state.search.proposal = None;
            effects.submit(Command::Steer(view.run, Steer::Propose { densities }));
        } else {
            state.search.proposal = Some(densities);
        }
    }
    lock_ui(ui, view, i, rect, value, effects);
}

fn lock_ui(ui: &mut Ui, view: &SearchView, site: usize, rect: Rect, density: f32, effects: &mut Effects) {
    let row = &view.sites[site];
    let place = Rect::from_min_max(pos2(rect.right() - LOCK, rect.top()), rect.max);
    let mut held = row.will_hold.unwrap_or(row.held.is_some());
    let tick = egui::Checkbox::new(&mut held, RichText::new("hold").font(theme::small()));
    let check = widgets::inside(ui, place, "lock").add_enabled(view.is_live, tick);
    let name = format!("Hold {}", row.label);
    check.widget_info(|| egui::WidgetInfo::selected(egui::Role::CheckBox, view.is_live, held, &name));
    if check.on_hover_text("Hold: the search keeps this density").changed() {
        let steer = if held {
            Steer::Lock { site, density }
        } else {
            Steer::Unlock { site }
        };
        effects.submit(Command::Steer(view.run, steer));
    }
}
