//! The slider, and side by side what is measured at its density.
//! Knows nothing of single layers.

use crate::action::UiAction;
use crate::effects::Effects;
use crate::question;
use crate::state::UiState;
use crate::theme::{self, palette};
use crate::widgets::{self, bar_row, caption, quiet};
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
        slider(ui, &view, store, state, effects);
        use_it(ui, store, state, effects);
        ui.add_space(4.0);
        figures(ui, &view);
        ui.add_space(4.0);
        if let Some(measured) = &view.measured {
            no_gain(ui, measured);
            accuracy_scale(ui, measured);
            if view.doubtful {
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

fn slider(ui: &mut Ui, view: &DensityView, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let Some([low, high]) = view.range.filter(|[low, high]| low < high) else {
        let why = match view.range {
            Some([only, _]) => format!("This model was trained for density {only} only."),
            None => "This model has no gates: every channel always runs.".to_owned(),
        };
        quiet(ui, why);
        return;
    };
    ui.horizontal(|ui| {
        ui.label(RichText::new("Channels that run").font(theme::body()))
            .on_hover_text(widgets::meaning("density"));
        widgets::on_the_right(ui, |ui| {
            quiet(ui, format!("{low} to {high}"));
        });
    });
    let p = palette(ui);
    ui.spacing_mut().slider_width = (ui.available_width() - 58.0).max(80.0);
    let mut value = state.slider.density.as_fraction();
    let shown = ui.scope(|ui| {
        let visuals = ui.visuals_mut();
        visuals.selection.bg_fill = p.accent;
        for state in [
            &mut visuals.widgets.inactive,
            &mut visuals.widgets.hovered,
            &mut visuals.widgets.active,
        ] {
            state.fg_stroke.color = p.text;
        }
        let slider = egui::Slider::new(&mut value, low.as_fraction()..=high.as_fraction());
        let response = ui.name_inputs("Density value", |ui| {
            ui.add(slider.step_by(0.01).fixed_decimals(2).smart_aim(false))
        });
        let enabled = ui.is_enabled();
        response.widget_info(|| egui::WidgetInfo::slider(enabled, value, "Density"));
        // No hover text here: it would cover the numbers while they are being dragged. The label above has it.
        response.changed()
    });
    let percent = (value * 100.0).round() as u32;
    if shown.inner {
        effects.submit(question::set_density(store, state, percent));
    }
}

/// What can be done with the slider's densities.
fn use_it(ui: &mut Ui, store: &RunStore, state: &UiState, effects: &mut Effects) {
    ui.horizontal_wrapped(|ui| {
        for action in [UiAction::SearchFromHere, UiAction::ExportModel] {
            let words = action.words();
            let button = ui.add_enabled(action.is_possible(store, state), egui::Button::new(words.label).small());
            if button.on_hover_text(words.tooltip).clicked() {
                effects.act(action);
            }
        }
    });
}

fn figures(ui: &mut Ui, view: &DensityView) {
    let m = view.measured.as_ref();
    let nothing = |why: &str| ("—".to_owned(), why.to_owned());
    let accuracy = match m {
        Some(m) => (text::percent(m.top1), format!("± {:.1} points", m.plus_minus() * 100.0)),
        None => nothing("measuring"),
    };
    let macs = view.macs();
    let share = text::whole_percent(macs as f64 / view.macs_dense.max(1) as f64);
    let macs = (
        text::count(macs),
        format!("{share} of {}", text::count(view.macs_dense)),
    );
    let time = match m.map(|m| (m.millis, m.millis_dense)) {
        Some((Some([p10, median, p90]), dense)) => {
            let dense = dense.map(|d| format!(", dense {d:.2}")).unwrap_or_default();
            (text::millis(median), format!("{p10:.2} to {p90:.2}{dense}"))
        }
        Some((None, _)) => nothing("not measured"),
        None => nothing("measuring"),
    };
    let figures = [
        ("Accuracy", "accuracy", accuracy),
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

/// The interval of the accuracy.
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
