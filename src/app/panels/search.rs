//! A running search: trials, the best so far, temperature and acceptance; and the way back to any trial.
//! Knows nothing of sites.

use crate::draft;
use crate::effects::Effects;
use crate::figures::menu_with_table;
use crate::line_labels::{labels_ui, marks_key};
use crate::state::UiState;
use crate::theme::{self, Palette, palette};
use crate::widgets::{self, caption, quiet};
use egui::{Color32, Role, Ui};
use egui_plot::{Axis, HoverPosition, Line, LineStyle, MarkerShape, PlotPoint, PlotPoints, PlotUi, Points, VLine};
use event::{Steer, Verdict};
use lab::{Command, RunStore};
use plots::figure;
use view::search::{SearchView, TrialValue, search};
use view::{runs, search, text};

pub(crate) fn search_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    if let Some([title, does]) = search::opening(store, state.search.chosen) {
        return widgets::empty(ui, &title, &does);
    }
    let Some(view) = search(store, state.search.chosen, state.search.height) else {
        if let Some(run) = store.current() {
            let row = runs::row(run);
            return widgets::empty(ui, &format!("{} has not begun a search", row.title), &row.detail);
        }
        return widgets::empty(
            ui,
            "No search yet",
            "Press Search from here below the sliders, or Train with a preset that searches, such as autocompress",
        );
    };
    controls(ui, store, state, &view, effects);
    facts(ui, &view);
    key(ui, &view);
    let words = 30.0;
    let room = (ui.available_height() - words).max(150.0);
    // A search without a temperature has no curves of it.
    let is_heated = view.temperature.iter().any(|t| t[1] > 0.0);
    let small = if is_heated {
        (room * 0.28).clamp(76.0, 110.0)
    } else {
        0.0
    };
    trials_plot(ui, &view, state, room - small);
    if is_heated {
        ui.columns(2, |ui| {
            let names = ["Temperature plot", "Acceptance plot"];
            small_plot(
                &mut ui[0],
                &view.temperature,
                ("temperature", names[0]),
                true,
                small - 6.0,
            );
            small_plot(
                &mut ui[1],
                &view.acceptance,
                ("acceptance", names[1]),
                false,
                small - 6.0,
            );
        });
    }
    scrub(ui, &view, store, state, effects);
}

/// What marks mean, above the plot, where they cover no trial.
fn key(ui: &mut Ui, view: &SearchView) {
    let p = palette(ui);
    let mut marks: Vec<_> = [Verdict::Best, Verdict::Accepted, Verdict::Rejected]
        .map(|kind| mark(kind, p))
        .map(|(name, color, shape, _)| (name, shape, color))
        .to_vec();
    if !view.steered.is_empty() {
        marks.push(("steered", MarkerShape::Circle, p.warn));
    }
    marks_key(ui, &marks);
}

/// Name, color, shape and radius of a trial.
fn mark(kind: Verdict, p: &Palette) -> (&'static str, Color32, MarkerShape, f32) {
    match kind {
        Verdict::Rejected => ("rejected", p.weak.gamma_multiply(0.55), MarkerShape::Cross, 2.6),
        Verdict::Accepted => ("accepted", p.series[1], MarkerShape::Circle, 2.8),
        Verdict::Best => ("best", p.accent, MarkerShape::Diamond, 4.6),
    }
}

/// Which search, what is along the side, and what can be asked of it.
fn controls(ui: &mut Ui, store: &RunStore, state: &mut UiState, view: &SearchView, effects: &mut Effects) {
    ui.horizontal(|ui| {
        chooser(ui, store, state, view);
        widgets::choice(
            ui,
            &mut state.search.height,
            &[
                (TrialValue::Top1, &*text::capital(view.quality)),
                (TrialValue::Reward, "Reward"),
            ],
        );
        let heated = view.temperature.iter().any(|t| t[1] > 0.0);
        widgets::on_the_right(ui, |ui| {
            let height = state.search.height;
            let drawing = || figure::search(view, height);
            let chosen = state.search.chosen;
            let table =
                || search::every_trial(store, chosen, height).map_or_else(drawing, |v| figure::search(&v, height));
            menu_with_table(ui, "trials", state, effects, [&drawing, &table]);
            let button = ui.add_enabled(view.is_live && heated, egui::Button::new("Re-heat"));
            let why = "Return to the first temperature, so that worse trials are accepted again";
            let button = button
                .on_hover_text(why)
                .on_disabled_hover_text("Only a running search with a temperature can be re-heated");
            if button.clicked() {
                effects.submit(Command::Steer(view.run, Steer::Reheat));
            }
        });
    });
}

fn chooser(ui: &mut Ui, store: &RunStore, state: &mut UiState, view: &SearchView) {
    let name = |title: &str, search: &str| format!("{title}, {search}");
    let now = name(&view.title, &view.names[view.index]);
    let combo = egui::ComboBox::from_id_salt("search").selected_text(&now).width(190.0);
    let shown = combo.show_ui(ui, |ui| {
        for run in &store.runs {
            for (i, each) in run.searches.iter().enumerate() {
                let label = name(&run.title(), &each.start.name);
                let is_now = run.id == view.run && i == view.index;
                if ui.selectable_label(is_now, label).clicked() {
                    state.search.choose(run.id, i);
                }
            }
        }
    });
    widgets::name_widget(&shown.response, Role::ComboBox, "Search");
}

fn facts(ui: &mut Ui, view: &SearchView) {
    let p = palette(ui);
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing.y = 2.0;
        if let Some(queued) = &view.queued {
            widgets::queued_line(ui, &queued.text);
        }
        for fact in &view.facts {
            let color = if fact.is_warning { p.warn } else { p.weak };
            ui.add(egui::Label::new(widgets::small(&fact.text, color)).wrap());
        }
    });
}

fn frame<'a>(ui: &Ui, name: &str, height: f32) -> egui_plot::Plot<'a> {
    let p = palette(ui);
    widgets::plot(name, p)
        .height(height.max(56.0))
        .link_axis(egui::Id::unique("trials"), [true, false])
        .link_cursor(egui::Id::unique("trials"), [true, false])
        .include_x(0.0)
        .custom_x_axes(vec![
            widgets::axis(p, Axis::X, "trial").formatter(|m, _| whole(m.value)),
        ])
}

fn whole(x: f64) -> String {
    if x >= 0.0 && x.fract() == 0.0 {
        text::grouped(x as u64)
    } else {
        String::new()
    }
}

fn trials_plot(ui: &mut Ui, view: &SearchView, state: &mut UiState, height: f32) {
    let p = palette(ui);
    let (side, scale) = match state.search.height {
        TrialValue::Top1 => (format!("{}, %", view.quality), 100.0),
        TrialValue::Reward => ("reward".to_owned(), 1.0),
    };
    let side = side.as_str();
    // All trials that are planned, once a part of them can be seen among so many.
    let [measured, planned] = view.trials;
    let last = planned.min((measured * 4).max(12));
    let mut plot = frame(ui, "trials", height)
        .custom_y_axes(vec![widgets::axis(p, Axis::Y, side).min_thickness(34.0)])
        .include_x(last as f64)
        .label_formatter(|at| match at {
            HoverPosition::NearDataPoint {
                plot_name, position, ..
            } if !plot_name.is_empty() => Some(format!("{plot_name}\ntrial {}\n{side} {:.3}", position.x, position.y)),
            _ => None,
        });
    if view.marks.len() < 2 && scale > 1.0 {
        plot = plot.include_y(0.0).include_y(100.0);
    }
    let mut steered: Vec<(f32, &str)> = Vec::new();
    let shown = plot.show(ui, |plot| {
        for asked in &view.steered {
            let at = asked.after as f64 - 0.5;
            plot.vline(
                VLine::new("steered", at)
                    .color(if asked.is_refused { p.weak } else { p.warn })
                    .width(1.0)
                    .style(LineStyle::dotted_dense()),
            );
            steered.push((plot.screen_from_plot(PlotPoint::new(at, 0.0)).x, asked.text.as_str()));
        }
        for kind in [Verdict::Rejected, Verdict::Accepted] {
            marks_ui(plot, view, kind, scale, p);
        }
        let best = PlotPoints::from_iter(view.best_so_far.iter().map(|[x, y]| [*x, y * scale]));
        plot.line(
            Line::new("best so far", best)
                .color(p.accent)
                .width(theme::LINE)
                .allow_band(false)
                .allow_hover(false),
        );
        marks_ui(plot, view, Verdict::Best, scale, p);
        let looked_at = view
            .shown
            .as_ref()
            .and_then(|t| view.marks.iter().find(|m| m.number == t.number));
        if let Some(mark) = looked_at {
            let ring = Points::new("looked at", vec![[mark.number as f64, mark.value * scale]]);
            plot.points(
                ring.color(p.text)
                    .shape(MarkerShape::Circle)
                    .filled(false)
                    .radius(7.5)
                    .allow_hover(false),
            );
        }
        let clicked = plot
            .response()
            .clicked()
            .then(|| plot.response().interact_pointer_pos());
        clicked.flatten().and_then(|at| nearest(plot, view, scale, at))
    });
    widgets::name_widget(&shown.response, Role::Image, "Trials plot");
    if let Some(&[x, y]) = view.best_so_far.last() {
        let label = ([x, y * scale], "best so far".to_owned(), p.accent);
        labels_ui(ui, &shown.transform, vec![label]);
    }
    if let Some(number) = shown.inner {
        state.search.look_at(view.run, view.index, number);
    }
    let pointer = shown.response.hover_pos();
    let said = steered
        .iter()
        .find(|(x, _)| pointer.is_some_and(|at| (at.x - x).abs() < 4.0));
    if let Some((_, words)) = said {
        shown.response.on_hover_text_at_pointer(*words);
    }
}

fn marks_ui(plot: &mut PlotUi, view: &SearchView, kind: Verdict, scale: f64, p: &Palette) {
    let (name, color, shape, radius) = mark(kind, p);
    let of_kind = view.marks.iter().filter(|m| m.verdict == kind);
    let points = PlotPoints::from_iter(of_kind.map(|m| [m.number as f64, m.value * scale]));
    plot.points(Points::new(name, points).color(color).shape(shape).radius(radius));
}

fn nearest(plot: &PlotUi, view: &SearchView, scale: f64, at: egui::Pos2) -> Option<u64> {
    let distance = |m: &search::TrialMark| {
        let place = PlotPoint::new(m.number as f64, m.value * scale);
        plot.screen_from_plot(place).distance(at)
    };
    let near = view.marks.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
    (distance(near) < 14.0).then_some(near.number)
}

/// One curve, with its name where it ends. What falls over decades lies along a logarithmic axis.
fn small_plot(ui: &mut Ui, points: &[[f64; 2]], (what, name): (&'static str, &str), is_decades: bool, height: f32) {
    let p = palette(ui);
    let positive = || points.iter().map(|t| t[1]).filter(|y| *y > 0.0);
    let [least, most] = [positive().fold(f64::MAX, f64::min), positive().fold(0.0, f64::max)];
    let is_log = is_decades && most > least * 10.0;
    let place = move |[x, y]: [f64; 2]| [x, if is_log { y.max(least).log10() } else { y }];
    let value = move |y: f64| if is_log { 10f64.powf(y) } else { y };
    let mut axis = widgets::axis(p, Axis::Y, "").min_thickness(34.0);
    if is_log {
        axis = axis.formatter(|mark, _| text::small(10f64.powf(mark.value)));
    }
    let mut plot = frame(ui, name, height)
        .custom_y_axes(vec![axis])
        .label_formatter(move |at| match at {
            HoverPosition::NearDataPoint { position, .. } => Some(format!(
                "trial {}\n{what} {}",
                position.x,
                text::small(value(position.y))
            )),
            HoverPosition::Elsewhere { .. } => None,
        });
    plot = match is_log {
        true => plot.y_grid_spacer(|input| widgets::log_marks(&input)),
        false => plot.include_y(0.0).include_y(if is_decades { 0.0 } else { 1.0 }),
    };
    let line = Line::new(what, PlotPoints::from_iter(points.iter().map(|at| place(*at))));
    let shown = plot.show(ui, |plot| plot.line(line.color(p.accent).width(theme::LINE)));
    widgets::name_widget(&shown.response, Role::Image, name);
    let frame = *shown.transform.frame();
    let wide = widgets::widest(ui, std::iter::once(what));
    let corner = frame.right_top() + egui::vec2(-4.0, 2.0);
    let behind = egui::Rect::from_min_max(corner - egui::vec2(wide + 3.0, 0.0), corner + egui::vec2(2.0, 13.0));
    ui.painter().rect_filled(behind, 2.0, p.tile.gamma_multiply(0.8));
    widgets::put(ui, corner, egui::Align2::RIGHT_TOP, what, p.weak);
}

/// Back and forth in time, and what is there.
fn scrub(ui: &mut Ui, view: &SearchView, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let Some(newest) = view.trials[0].checked_sub(1) else {
        return;
    };
    ui.horizontal(|ui| {
        let mut follows = state.search.chosen.trial.is_none();
        let toggle = ui.checkbox(&mut follows, "Follow");
        let mut at = view.shown.as_ref().map_or(newest, |t| t.number);
        if toggle
            .on_hover_text("Follow the trial that the search continues from")
            .changed()
        {
            state.search.chosen.trial = (!follows).then_some(at);
        }
        let run = store.run(view.run);
        let folder = run.and_then(|run| run.folder.as_ref());
        let fork = ui.add_enabled(folder.is_some(), egui::Button::new("Fork"));
        let fork = fork
            .on_hover_text(draft::FORK)
            .on_disabled_hover_text("A run can be forked once it has a folder");
        if let (Some(run), Some(folder), true) = (run, folder, fork.clicked()) {
            let trials = &run.searches[view.index].trials;
            if let Some(point) = trials.iter().rev().find(|t| t.trial.number <= at) {
                effects.submit(draft::fork(store, folder, point.seq, &run.experiment));
            }
        }
        ui.spacing_mut().slider_width = (ui.available_width() * 0.3).clamp(60.0, 320.0);
        let label = caption(ui, "Trial", "trial");
        let slider = ui
            .add(egui::Slider::new(&mut at, 0..=newest).smart_aim(false))
            .labelled_by(label.id);
        if slider.changed() {
            state.search.look_at(view.run, view.index, at);
        }
        match &view.shown {
            Some(shown) => widgets::quiet_line(ui, &shown.text),
            None => quiet(ui, "no trial was accepted yet"),
        };
    });
}
