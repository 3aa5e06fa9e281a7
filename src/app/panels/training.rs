//! The draft's settings, and the curves of all runs.
//! Knows nothing of the open model.

use crate::effects::Effects;
use crate::figures::menu_with_table;
use crate::line_labels::{LineLabel, labels_ui, marks_key};
use crate::panels::runs::open_button;
use crate::state::{SidePlot, UiState};
use crate::theme::{self, palette};
use crate::widgets::{self, quiet};
use egui::{Color32, DragValue, Role, Ui};
use egui_plot::{Axis, Bar, BarChart, Line, MarkerShape, PlotPoints, PlotUi, Points};
use lab::RunStore;
use plots::figure;
use view::curves::{Curve, CurveAxis, CurveMetric, CurveOptions, Curves, CurvesView, RunCurves};
use view::scales::scales;
use view::{runs, text};

pub(crate) fn training_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    settings(ui, state);
    let hidden = state.runs.hidden(store);
    let view = state.training.curves.view(store, state.training.options, &hidden);
    if view.runs.is_empty() {
        return waiting(ui, store, state);
    }
    options(ui, store, &view, state, effects);
    let rows = runs::runs(store);
    let finished = rows.iter().find(|r| r.model.is_some());
    let below = if finished.is_some() { 34.0 } else { 0.0 };
    let room = (ui.available_height() - below - 6.0).max(90.0);
    let other = |ui: &mut Ui, height: f32| match state.training.side {
        SidePlot::Accuracy => accuracy_plot(ui, &view, state, height),
        SidePlot::Rate => rate_plot(ui, &view, state, height),
        SidePlot::Gates => gates_plot(ui, &view, state, height),
        SidePlot::Scales => scales_plot(ui, store, height),
    };
    // In a low and wide panel two plots beside each other show more than two above each other.
    if room < 300.0 && ui.available_width() > 2.0 * room {
        ui.columns(2, |ui| {
            loss_plot(&mut ui[0], &view, state, room);
            other(&mut ui[1], room);
        });
    } else {
        loss_plot(ui, &view, state, room / 2.0);
        other(ui, room / 2.0);
    }
    if let Some(row) = finished {
        ui.horizontal(|ui| {
            open_button(ui, row, effects);
            quiet(ui, &row.detail);
        });
    }
}

fn waiting(ui: &mut Ui, store: &RunStore, state: &UiState) {
    match store.current() {
        Some(run) => {
            let phase = if run.phase.is_empty() {
                "Starting".to_owned()
            } else {
                run.phase.clone()
            };
            widgets::empty(ui, &phase, "Curves appear with the first steps");
        }
        None => widgets::empty(
            ui,
            "No curves yet",
            &format!(
                "Press Train to start {}: {}",
                state.draft.preset, state.draft.experiment.about
            ),
        ),
    }
}

fn settings(ui: &mut Ui, state: &mut UiState) {
    let train = &mut state.draft.experiment.train;
    ui.horizontal_wrapped(|ui| {
        let mut field = |name: &str, about: &str, value: DragValue| {
            let label = quiet(ui, name);
            ui.add(value).labelled_by(label.id).on_hover_text(about);
        };
        field(
            "Epochs",
            "Passes over the training images",
            DragValue::new(&mut train.epochs).range(1..=1000).speed(0.1),
        );
        field(
            "Batch",
            "Images per step",
            DragValue::new(&mut train.batch).range(1..=4096).speed(1.0),
        );
        let rate = DragValue::new(&mut train.lr)
            .range(1e-5..=10.0)
            .speed(0.001)
            .max_decimals(5);
        field(
            "Rate",
            "Peak learning rate: it warms up to this value, then falls to zero",
            rate,
        );
        field(
            "Seed",
            "Seed of all random numbers",
            DragValue::new(&mut state.draft.experiment.seed).speed(0.1),
        );
    });
}

fn options(ui: &mut Ui, store: &RunStore, view: &CurvesView, state: &mut UiState, effects: &mut Effects) {
    ui.horizontal_wrapped(|ui| {
        let along = state.training.options.along;
        let colors = state.runs.colors.clone();
        let every_point = CurveOptions {
            columns: None,
            ..state.training.options
        };
        let hidden = state.runs.hidden(store);
        let table = || {
            let view = Curves::default().view(store, every_point, &hidden);
            figure::curves(&view, along, &colors)
        };
        let drawing = || figure::curves(view, along, &colors);
        menu_with_table(ui, "curves", state, effects, [&drawing, &table]);
        widgets::choice(
            ui,
            &mut state.training.side,
            &[
                (SidePlot::Accuracy, &*text::capital(view.quality())),
                (SidePlot::Rate, "Rate"),
                (SidePlot::Gates, "Gates"),
                (SidePlot::Scales, "Scales"),
            ],
        );
        widgets::choice(
            ui,
            &mut state.training.options.along,
            &[
                (CurveAxis::Steps, "Steps"),
                (CurveAxis::Epochs, "Epochs"),
                (CurveAxis::Seconds, "Time"),
            ],
        );
        // Together on one line, whichever it is.
        if ui.available_size_before_wrap().x < SMOOTHING {
            ui.end_row();
        }
        ui.horizontal(|ui| {
            let label = widgets::caption(ui, "Smoothing", "smoothing");
            let smoothing = DragValue::new(&mut state.training.options.smoothing)
                .range(0.0..=0.99)
                .speed(0.01)
                .fixed_decimals(2);
            ui.add(smoothing)
                .labelled_by(label.id)
                .on_hover_text(widgets::meaning("smoothing"));
            let log = ui.selectable_label(state.training.is_log, "log");
            widgets::name_widget(&log, Role::Button, "Logarithmic loss and rate axes");
            let about = "Loss and rate along logarithmic axes: halving is the same way everywhere";
            if log.on_hover_text(about).clicked() {
                state.training.is_log = !state.training.is_log;
            }
        });
    });
}

fn frame<'a>(
    ui: &Ui,
    name: &'static str,
    what: &str,
    (state, scale): (&UiState, ValueScale),
    height: f32,
) -> egui_plot::Plot<'a> {
    let along = state.training.options.along;
    let p = palette(ui);
    let below = unit(along);
    let side = widgets::axis(p, Axis::Y, what).min_thickness(34.0);
    let plot = widgets::plot(name, p)
        .height(height)
        .link_axis(egui::Id::unique("curves"), [true, false])
        .link_cursor(egui::Id::unique("curves"), [true, false])
        .include_x(0.0)
        // One step, epoch or second, so that a run that has said little has an axis.
        .include_x(1.0)
        .custom_y_axes(vec![match scale.is_log {
            true => side.formatter(|mark, _| text::small(10f64.powf(mark.value))),
            false => side,
        }])
        .custom_x_axes(vec![
            widgets::axis(p, Axis::X, below).formatter(move |mark, _| along_text(along, mark.value)),
        ])
        // The table at the pointer shows all curves.
        .label_formatter(|_| None);
    match scale.is_log {
        true => plot.y_grid_spacer(|input| widgets::log_marks(&input)),
        false => plot,
    }
}

/// Where values lie in a plot.
#[derive(Clone, Copy)]
struct ValueScale {
    factor: f64,
    is_log: bool,
}

const PERCENT: ValueScale = ValueScale {
    factor: 100.0,
    is_log: false,
};

/// As they are, or their logarithms.
fn plain(state: &UiState) -> ValueScale {
    ValueScale {
        factor: 1.0,
        is_log: state.training.is_log,
    }
}

impl ValueScale {
    /// What a logarithm would drop, it leaves out.
    fn place(self, [x, y]: [f64; 2]) -> Option<[f64; 2]> {
        let y = y * self.factor;
        match self.is_log {
            true => (y > 0.0).then(|| [x, y.log10()]),
            false => Some([x, y]),
        }
    }

    fn value(self, y: f64) -> f64 {
        if self.is_log { 10f64.powf(y) } else { y }
    }
}

fn unit(along: CurveAxis) -> &'static str {
    match along {
        CurveAxis::Steps => "step",
        CurveAxis::Epochs => "epoch",
        CurveAxis::Seconds => "time",
    }
}

/// Room that smoothing takes in a row.
const SMOOTHING: f32 = 180.0;
/// Curves that a hover table names at most.
const NAMED: usize = 14;

/// All curves at the pointer, the nearest first.
fn table(
    ui: &Ui,
    shown: egui_plot::PlotResponse<Vec<LineLabel>>,
    view: &CurvesView,
    (what, scale): (CurveMetric, ValueScale),
    state: &UiState,
) {
    let along = state.training.options.along;
    let pointer = shown
        .response
        .hover_pos()
        .map(|at| shown.transform.value_from_position(at));
    let Some(at) = pointer else { return };
    let rows = view.at(what, [at.x, scale.value(at.y)]);
    if rows.is_empty() {
        return;
    }
    let p = palette(ui);
    shown.response.on_hover_ui_at_pointer(|ui| {
        egui::Grid::new("hover table")
            .num_columns(4)
            .spacing([10.0, 2.0])
            .show(ui, |ui| {
                for row in rows.iter().take(NAMED) {
                    widgets::dot(ui, state.runs.color(p, row.run));
                    quiet(ui, &row.label);
                    ui.label(text::small(row.at[1]));
                    quiet(ui, format!("{} {}", unit(along), along_text(along, row.at[0])));
                    ui.end_row();
                }
            });
        if rows.len() > NAMED {
            quiet(ui, format!("and {} more", rows.len() - NAMED));
        }
    });
}

fn along_text(along: CurveAxis, x: f64) -> String {
    match along {
        _ if x < 0.0 => String::new(),
        // There is no half a step.
        CurveAxis::Steps if (x - x.round()).abs() > 1e-6 => String::new(),
        CurveAxis::Steps => text::grouped(x.round() as u64),
        CurveAxis::Epochs => format!("{x:.1}"),
        CurveAxis::Seconds => text::clock(x),
    }
}

fn scaled(points: &[[f64; 2]], scale: ValueScale) -> PlotPoints<'static> {
    PlotPoints::from_iter(points.iter().filter_map(|at| scale.place(*at)))
}

/// A curve, and where it ends.
fn curve(plot: &mut PlotUi, label: &str, curve: &Curve, scale: ValueScale, color: Color32) -> Option<LineLabel> {
    let line = |points| Line::new(label.to_owned(), scaled(points, scale)).width(theme::LINE);
    if curve.raw.len() == 1 {
        // One point makes no line.
        let point = Points::new(label.to_owned(), scaled(&curve.raw, scale));
        plot.points(point.color(color).radius(3.0));
    } else if curve.smooth.is_empty() {
        plot.line(line(&curve.raw).color(color));
    } else {
        let faint = color.gamma_multiply(theme::FAINT);
        plot.line(line(&curve.raw).color(faint).width(1.0).allow_hover(false));
        plot.line(line(&curve.smooth).color(color));
    }
    end(curve.shown(), label, scale, color)
}

/// What a line is called where it ends.
fn end(points: &[[f64; 2]], label: &str, scale: ValueScale, color: Color32) -> Option<LineLabel> {
    let at = scale.place(*points.last()?)?;
    Some((at, label.to_owned(), color))
}

/// A plot of all runs with names at the ends of their lines, and with its table.
fn plot_ui(
    ui: &mut Ui,
    view: &CurvesView,
    state: &UiState,
    plot: egui_plot::Plot,
    (metric, name, scale): (CurveMetric, &str, ValueScale),
    draw: impl Fn(&mut PlotUi, &RunCurves, Color32) -> Vec<LineLabel>,
) {
    let p = palette(ui);
    let shown = plot.show(ui, |plot| {
        let runs = view.runs.iter();
        runs.flat_map(|run| draw(plot, run, state.runs.color(p, run.id)))
            .collect::<Vec<_>>()
    });
    widgets::name_widget(&shown.response, Role::Image, name);
    labels_ui(ui, &shown.transform, shown.inner.clone());
    table(ui, shown, view, (metric, scale), state);
}

fn loss_plot(ui: &mut Ui, view: &CurvesView, state: &UiState, height: f32) {
    let scale = plain(state);
    let mut plot = frame(ui, "loss", "loss", (state, scale), height);
    if !scale.is_log {
        plot = plot.include_y(0.0);
        if view.runs.iter().all(|r| r.loss.raw.is_empty()) {
            plot = plot.include_y(1.0);
        }
    }
    plot_ui(
        ui,
        view,
        state,
        plot,
        (CurveMetric::Loss, "Loss plot", scale),
        |plot, run, color| Vec::from_iter(curve(plot, &run.label, &run.loss, scale, color)),
    );
}

const VALID: [MarkerShape; 3] = [MarkerShape::Circle, MarkerShape::Diamond, MarkerShape::Down];

fn accuracy_plot(ui: &mut Ui, view: &CurvesView, state: &UiState, height: f32) {
    // Lines are training; what marks are is said above them.
    let mut densities: Vec<(usize, String)> = Vec::new();
    for (i, valid) in view.runs.iter().flat_map(|run| run.valid.iter().enumerate()) {
        // The first says what the others are, too.
        let words = match i {
            0 => format!("valid at density {}", valid.density),
            _ => valid.density.to_string(),
        };
        if densities.len() < VALID.len() && !densities.iter().any(|(_, said)| *said == words) {
            densities.push((i, words));
        }
    }
    let p = palette(ui);
    let marks: Vec<(&str, MarkerShape, Color32)> = densities
        .iter()
        .map(|(i, words)| (words.as_str(), VALID[i % VALID.len()], p.weak))
        .collect();
    let top = ui.cursor().top();
    if !marks.is_empty() {
        marks_key(ui, &marks);
    }
    let height = (height - (ui.cursor().top() - top)).max(56.0);
    let side = format!("{}, %", view.quality());
    let mut plot = frame(ui, "accuracy", &side, (state, PERCENT), height);
    // One point alone would be given an axis of any length.
    if view
        .runs
        .iter()
        .all(|r| r.top1.raw.len() < 2 && r.valid.iter().all(|v| v.points.len() < 2))
    {
        plot = plot.include_y(0.0).include_y(100.0);
    }
    plot_ui(
        ui,
        view,
        state,
        plot,
        (CurveMetric::Top1, "Accuracy plot", PERCENT),
        |plot, run, color| {
            let ends = curve(plot, &run.label, &run.top1, PERCENT, color);
            for (i, valid) in run.valid.iter().enumerate() {
                let label = format!("{}, valid at density {}", run.label, valid.density);
                let points = Points::new(label, scaled(&valid.points, PERCENT)).color(color);
                plot.points(points.shape(VALID[i % VALID.len()]).filled(i == 0).radius(4.5));
            }
            Vec::from_iter(ends)
        },
    );
}

fn rate_plot(ui: &mut Ui, view: &CurvesView, state: &UiState, height: f32) {
    let scale = plain(state);
    let mut plot = frame(ui, "rate", "learning rate", (state, scale), height);
    if !scale.is_log {
        plot = plot.include_y(0.0);
        if view.runs.iter().all(|r| r.lr.len() < 2) {
            plot = plot.include_y(0.1);
        }
    }
    plot_ui(
        ui,
        view,
        state,
        plot,
        (CurveMetric::Rate, "Learning rate plot", scale),
        |plot, run, color| {
            let line = Line::new(run.label.clone(), scaled(&run.lr, scale));
            plot.line(line.color(color).width(theme::LINE));
            Vec::from_iter(end(&run.lr, &run.label, scale, color))
        },
    );
}

/// How the scales γ of norms are spread: where Network Slimming pushes them to zero, two heaps come apart.
fn scales_plot(ui: &mut Ui, store: &RunStore, height: f32) {
    let p = palette(ui);
    let Some(view) = scales(store) else {
        let todo = "A run of Network Slimming shows them after each epoch";
        return widgets::empty(ui, "No norm scales yet", todo);
    };
    widgets::quiet_line(ui, &view.text);
    let bars = |bins: &[u32]| -> Vec<Bar> {
        let bar =
            |(i, &n): (usize, &u32)| Bar::new((i as f64 + 0.5) * view.width, f64::from(n)).width(view.width * 0.92);
        bins.iter().enumerate().map(bar).collect()
    };
    let plot = widgets::plot("scales", p)
        .height((height - 40.0).max(60.0))
        .custom_x_axes(vec![widgets::axis(p, Axis::X, "|γ|")])
        .custom_y_axes(vec![widgets::axis(p, Axis::Y, "channels").min_thickness(34.0)]);
    let first = ("after its first epoch", MarkerShape::Circle, p.weak);
    marks_key(ui, &[first, ("now", MarkerShape::Circle, p.accent)]);
    let shown = plot.show(ui, |plot| {
        let first = BarChart::new("after its first epoch", bars(&view.first));
        plot.bar_chart(first.color(p.weak.gamma_multiply(0.4)).allow_hover(false));
        plot.bar_chart(BarChart::new("now", bars(&view.now)).color(p.accent.gamma_multiply(0.8)));
    });
    widgets::name_widget(&shown.response, Role::Image, &format!("Norm scales: {}", view.text));
}

/// How many channels are rarely, and almost always, active: these gates decide nothing.
fn gates_plot(ui: &mut Ui, view: &CurvesView, state: &UiState, height: f32) {
    let mut plot = frame(ui, "gates", "channels, %", (state, PERCENT), height).include_y(0.0);
    if view.runs.iter().all(|r| r.gates.iter().all(|g| g.len() < 2)) {
        plot = plot.include_y(100.0);
    }
    plot_ui(
        ui,
        view,
        state,
        plot,
        (CurveMetric::Gates, "Gates plot", PERCENT),
        |plot, run, color| {
            let mut ends = Vec::new();
            for (points, what, shape) in [
                (&run.gates[0], "rarely active", MarkerShape::Down),
                (&run.gates[1], "almost always active", MarkerShape::Up),
            ] {
                let label = format!("{}, {what}", run.label);
                plot.line(
                    Line::new(label.clone(), scaled(points, PERCENT))
                        .color(color)
                        .width(1.2),
                );
                ends.extend(end(points, &label, PERCENT, color));
                plot.points(
                    Points::new(label, scaled(points, PERCENT))
                        .color(color)
                        .shape(shape)
                        .radius(4.0),
                );
            }
            ends
        },
    );
}
