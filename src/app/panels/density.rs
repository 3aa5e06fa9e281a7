//! The slider, and beside each other what is measured at its density.
//! Knows nothing of single layers.

use crate::action::UiAction;
use crate::effects::Effects;
use crate::question;
use crate::state::UiState;
use crate::theme;
use crate::theme::palette;
use crate::widgets;
use crate::widgets::{bar_row, caption, figure, quiet};
use egui::{RichText, Ui};
use lab::RunStore;
use view::density::{DensityMeasurement, DensityView, density};
use view::text;

pub(crate) fn density_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let Some(view) = density(store, &state.slider.asked) else {
        return widgets::empty(
            ui,
            "No model is open",
            "Menu, Open model… or drop a .safetensors file here",
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
                    "Its file does not say how it was made: it may have learned from these images.",
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
            Some([only, _]) => format!("This model was made for density {only} alone."),
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

/// What can be done with what the slider stands at.
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
    let stale = !view.fresh;
    let share = |macs: u64| {
        format!(
            "{} of {}",
            text::whole_percent(macs as f64 / view.macs_dense.max(1) as f64),
            text::count(view.macs_dense)
        )
    };
    ui.columns(3, |ui| match &view.measured {
        Some(m) => {
            let interval = format!("± {:.1} points", m.plus_minus() * 100.0);
            figure(
                &mut ui[0],
                "Accuracy",
                "accuracy",
                &text::percent(m.top1),
                &interval,
                stale,
            );
            let macs = if stale { view.macs_nominal } else { m.macs };
            figure(
                &mut ui[1],
                "MACs an image",
                "macs",
                &text::count(macs),
                &share(macs),
                stale,
            );
            let (median, spread) = match m.millis {
                Some([p10, median, p90]) => {
                    let dense = m.millis_dense.map(|d| format!(", all {d:.2}")).unwrap_or_default();
                    (text::millis(median), format!("{p10:.2} to {p90:.2}{dense}"))
                }
                None => ("—".to_owned(), "not measured".to_owned()),
            };
            figure(&mut ui[2], "Time an image", "time", &median, &spread, stale);
        }
        None => {
            figure(&mut ui[0], "Accuracy", "accuracy", "—", "measuring", true);
            figure(
                &mut ui[1],
                "MACs an image",
                "macs",
                &text::count(view.macs_nominal),
                &share(view.macs_nominal),
                true,
            );
            figure(&mut ui[2], "Time an image", "time", "—", "measuring", true);
        }
    });
}

/// A badge where MACs were saved and time was not.
fn no_gain(ui: &mut Ui, measured: &DensityMeasurement) {
    let Some(why) = &measured.no_gain else { return };
    let p = palette(ui);
    let badge = egui::Frame::new()
        .fill(theme::mix(p.tile, p.warn, 0.15))
        .corner_radius(theme::RADIUS)
        .inner_margin(egui::Margin::symmetric(8, 3));
    let shown = badge.show(ui, |ui| ui.label(widgets::small("Saved MACs but no time", p.warn)));
    shown.response.on_hover_text(why);
}

/// The interval on a scale of twenty points that follows the value in steps of five, so that it rests while the slider moves a little.
fn accuracy_scale(ui: &mut Ui, m: &DensityMeasurement) {
    let top = ((m.top1 * 20.0).floor() / 20.0 + 0.1).clamp(0.2, 1.0);
    let scale = [top - 0.2, top];
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
