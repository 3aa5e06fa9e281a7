//! The slider, and side by side what is measured at its density.
//! Knows nothing of single layers.

use super::target::{pruner_ui, target_ui};
use super::wanted::wanted_ui;
use crate::action::UiAction;
use crate::effects::Effects;
use crate::state::UiState;
use crate::theme::{self, palette};
use crate::widgets::{self, bar_row, caption, quiet};
use crate::{question, slider};
use egui::{RichText, Ui};
use lab::RunStore;
use view::density::{DensityMeasurement, DensityView, density};
use view::text;

pub(crate) fn density_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let Some(view) = density(store, &state.slider.asked) else {
        return widgets::empty(
            ui,
            "No model is open",
            "Choose Open model… in the menu, or drop a .safetensors file here",
        );
    };
    egui::ScrollArea::vertical().show(ui, |ui| {
        headline(ui, &view, store, state, effects);
        if let Some(range) = view.range {
            density_slider(ui, range, store, state, effects);
        }
        if let Some(target) = &view.target {
            target_ui(ui, target, store, state, effects);
        }
        use_it(ui, store, state, effects);
        ui.add_space(4.0);
        if let Some(wants) = &view.wants {
            wanted_ui(ui, wants, state, effects);
            ui.add_space(4.0);
        }
        figures(ui, &view);
        if let Some(why) = &view.no_answer {
            quiet(ui, format!("Not measured: {why}"));
        }
        ui.add_space(4.0);
        if let Some(measured) = &view.measured {
            no_gain(ui, measured);
            if let Some(busy) = &measured.busy {
                quiet(ui, format!("Times are doubtful, {busy}"));
            }
            if measured.has_images() {
                accuracy_scale(ui, measured);
            }
            if view.doubtful && measured.has_images() {
                quiet(
                    ui,
                    "The file does not say how the model was trained: it may have seen these images.",
                );
            }
            ui.add_space(2.0);
            memory(ui, measured);
        }
    });
}

/// What is saved and lost, in large letters. Numbers follow below.
fn headline(ui: &mut Ui, view: &DensityView, store: &RunStore, state: &UiState, effects: &mut Effects) {
    let p = palette(ui);
    let color = if view.fresh { p.text } else { p.weak };
    let (work, effect) = match &view.headline {
        Some(said) => (said.work(), said.effect()),
        None if view.no_answer.is_some() => ("Not measured".to_owned(), None),
        None => ("Measuring…".to_owned(), None),
    };
    ui.spacing_mut().item_spacing.y = 2.0;
    ui.horizontal(|ui| {
        widgets::on_the_right(ui, |ui| {
            action_ui(ui, UiAction::ExportModel, store, state, effects);
            ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                // In a narrow panel in smaller letters, rather than cut off.
                let mut font = theme::headline();
                let wide = ui.painter().layout_no_wrap(work.clone(), font.clone(), color).size().x;
                font.size *= (ui.available_width() / wide.max(1.0)).clamp(0.55, 1.0);
                ui.add(egui::Label::new(RichText::new(work).font(font).color(color)).truncate())
                    .on_hover_text("MACs per image, against the whole network");
            });
        });
    });
    let effect = RichText::new(effect.unwrap_or_default())
        .font(theme::subline())
        .color(color);
    ui.add(egui::Label::new(effect).truncate())
        .on_hover_text("Accuracy and measured time, against the whole network on the same images");
    ui.add_space(2.0);
}

fn action_ui(ui: &mut Ui, action: UiAction, store: &RunStore, state: &UiState, effects: &mut Effects) {
    let words = action.words();
    let button = ui.add_enabled(action.is_possible(store, state), egui::Button::new(words.label).small());
    let why = action.why_not(store, state).unwrap_or_default();
    let button = button.on_hover_text(words.tooltip).on_disabled_hover_text(why);
    if button.clicked() {
        effects.act(action);
    }
}

fn density_slider(
    ui: &mut Ui,
    [low, high]: [model::Density; 2],
    store: &RunStore,
    state: &mut UiState,
    effects: &mut Effects,
) {
    if low == high {
        quiet(ui, format!("This model was trained for density {low} only."));
        return;
    }
    ui.horizontal(|ui| {
        let label = ui.label(RichText::new("Channels that run, per image").font(theme::body()));
        widgets::explain(label, widgets::meaning("density"));
        widgets::on_the_right(ui, |ui| {
            quiet(ui, format!("{low} to {high}"));
        });
    });
    let mut value = state.slider.density.as_fraction();
    let range = low.as_fraction()..=high.as_fraction();
    let moved = slider::slider(ui, &mut value, range, ["Density", "Density value"], |slider| {
        slider.step_by(0.01).fixed_decimals(2)
    });
    if moved {
        let percent = (value * 100.0).round() as u32;
        effects.submit(question::set_density(store, state, percent));
    }
}

/// What can be done with the slider's densities.
fn use_it(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    ui.horizontal_wrapped(|ui| {
        widgets::narrow(ui);
        for action in [UiAction::SearchFromHere, UiAction::PruneToHere] {
            action_ui(ui, action, store, state, effects);
        }
        pruner_ui(ui, state);
    });
}

fn figures(ui: &mut Ui, view: &DensityView) {
    let m = view.measured.as_ref();
    let nothing = |why: &str| ("—".to_owned(), why.to_owned());
    let waits = if view.no_answer.is_some() {
        "not measured"
    } else {
        "measuring"
    };
    let accuracy = match m {
        _ if view.wants.is_some() => nothing("needs images"),
        Some(m) if !m.has_images() => nothing(waits),
        Some(m) => (text::percent(m.top1), format!("± {:.1} points", m.plus_minus() * 100.0)),
        None => nothing(waits),
    };
    let macs = view.macs();
    let share = text::whole_percent(macs as f64 / view.macs_dense.max(1) as f64);
    let macs = (
        text::count(macs),
        format!("{share} of {}", text::count(view.macs_dense)),
    );
    let time = match m.map(|m| (m.millis, m.millis_dense)) {
        Some((Some([p10, median, p90]), dense)) => {
            let dense = dense.map(|d| format!(" of {d:.2}")).unwrap_or_default();
            (text::millis(median), format!("{p10:.2}–{p90:.2}{dense}"))
        }
        Some((None, _)) => nothing(waits),
        None => nothing(waits),
    };
    let figures = [
        (&*text::capital(view.quality), "accuracy", accuracy),
        ("MACs per image", "macs", macs),
        ("Time per image", "time", time),
    ];
    ui.columns(3, |columns| {
        for (ui, (name, term, (value, below))) in columns.iter_mut().zip(figures) {
            widgets::figure(ui, name, term, &value, &below, m.is_none() || !view.fresh);
        }
    });
}

/// A badge where MACs fell and time did not.
fn no_gain(ui: &mut Ui, measured: &DensityMeasurement) {
    let Some(why) = &measured.no_gain else { return };
    let p = palette(ui);
    let badge = egui::Frame::new()
        .fill(theme::mix(p.tile, p.warn, 0.15))
        .corner_radius(theme::RADIUS)
        .inner_margin(egui::Margin::symmetric(8, 3));
    let shown = badge.show(ui, |ui| {
        ui.label(widgets::small("Fewer MACs, but no less time", p.warn))
    });
    shown.response.on_hover_text(why);
}

fn accuracy_scale(ui: &mut Ui, m: &DensityMeasurement) {
    let scale = m.scale();
    let words = format!(
        "95 % interval {} to {}",
        text::percent(m.interval[0]),
        text::percent(m.interval[1])
    );
    widgets::interval(ui, scale, [m.interval[0], m.top1, m.interval[1]], &words).on_hover_text(&words);
    ui.horizontal(|ui| {
        quiet(ui, text::whole_percent(scale[0]));
        widgets::on_the_right(ui, |ui| {
            quiet(ui, text::whole_percent(scale[1]));
            ui.with_layout(
                egui::Layout::centered_and_justified(egui::Direction::LeftToRight),
                |ui| {
                    let of = format!(
                        "{} of {} validation images",
                        text::grouped(m.n as u64),
                        text::grouped(m.of as u64)
                    );
                    let words = if m.is_complete() { of } else { format!("{of}…") };
                    caption(ui, &words, "accuracy");
                },
            );
        });
    });
}

fn memory(ui: &mut Ui, m: &DensityMeasurement) {
    ui.spacing_mut().item_spacing.y = 0.0;
    let mut row = |name: &str, term: &str, [now, dense]: [u64; 2]| {
        let words = format!("{} of {}", text::bytes(now), text::bytes(dense));
        bar_row(ui, name, term, now as f32 / dense.max(1) as f32, &words);
    };
    row("Weights read", "weights", m.weight_bytes);
    row("Activations", "activations", m.activation_bytes);
    row("Peak memory", "peak", m.peak_bytes);
}
