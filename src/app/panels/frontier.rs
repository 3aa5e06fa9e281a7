//! Accuracy against cost. Clicking a point shows its layers, dragging a wish chooses a point.
//! Knows nothing of how points were measured.

use super::frontier_axes::{CostScale, bounds, fit_ui};
use super::frontier_marks::{NOW, end_of, now_ui, place_of, reach, says, series_ui};
use super::wanted::no_images;
use crate::action::UiAction;
use crate::effects::Effects;
use crate::figures::menu_with_table;
use crate::line_labels::{LineLabel, labels_ui};
use crate::panel_name::PanelName;
use crate::state::{FrontierFit, LimitLine, UiState};
use crate::theme::{self, Palette, palette};
use crate::{exporting, question, widgets};
use egui::{DragValue, Role, Ui};
use egui_plot::{Axis, HLine, LineStyle, MarkerShape, PlotPoint, PlotTransform, PlotUi, Points, VLine};
use event::Steer;
use lab::{Command, RunStore};
use measure::Question;
use plots::figure;
use record::{ModelRef, RunId, RunState};
use view::frontier::{CostAxis, FrontierPoint, FrontierView, PointSource, SeriesKind, every_point, frontier};
use view::search::LiveBudget;
use view::text;
use view::wish::{Requirement, budget_along, says_budget};

/// How near the pointer must be to a line or a point, in points of the screen.
const NEAR: f32 = 7.0;

/// What somebody did in the plot.
#[derive(Default)]
struct Interaction {
    clicked: Option<(usize, usize)>,
    /// Limits as they were dragged.
    wish: Option<Requirement>,
    /// The budget that somebody drags, and whether they let go.
    budget: Option<(f64, bool)>,
    grabs: Option<LimitLine>,
    /// The run of the point under the pointer.
    pointed: Option<RunId>,
}

pub(crate) fn frontier_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let view = frontier(store, state.frontier.against, &state.runs.hidden(store));
    controls(ui, store, &view, state, effects);
    if view.series.is_empty() && view.now.is_none() {
        let todo = no_images(store, state).unwrap_or(match view.against {
            CostAxis::Millis => {
                "Time is measured while the slider rests. Searches with a budget in ms add their trials."
            }
            _ if store.open.is_some() => "They appear once the images are measured; each run adds its own, too",
            _ => "Open a model, or press Train: each run adds its points",
        });
        return widgets::empty(ui, "No points yet", todo);
    }
    let chosen = view.choose(state.frontier.wish);
    let below = if chosen.is_some() { 46.0 } else { 20.0 };
    let budget = budget_along(store, view.against);
    let did = plot_ui(ui, (&view, budget), state, chosen, ui.available_height() - below);
    if let Some(wish) = did.wish {
        state.frontier.wish = wish;
    }
    if let (Some((most, is_final)), Some(budget)) = (did.budget, budget) {
        state.search.budget = (!is_final).then(|| most / budget.whole.max(f64::MIN_POSITIVE));
        if is_final {
            effects.submit(Command::Steer(budget.run, Steer::Budget { most }));
        }
    }
    state.frontier.line = did.grabs;
    if let Some((s, i)) = did.clicked {
        pick(&view.series[s].points[i].source, store, state, effects);
    }
    match chosen {
        Some((s, i)) => chosen_ui(ui, &view, (s, i), store, state, effects),
        None => foot(ui, &view),
    }
}

/// What is along the bottom, and what is wished for.
fn controls(ui: &mut Ui, store: &RunStore, view: &FrontierView, state: &mut UiState, effects: &mut Effects) {
    ui.horizontal_wrapped(|ui| {
        let colors = state.runs.colors.clone();
        let hidden = state.runs.hidden(store);
        let drawing = || figure::frontier(view, &colors);
        let table = || figure::frontier(&every_point(store, view.against, &hidden), &colors);
        menu_with_table(ui, "frontier", state, effects, [&drawing, &table]);
        let axes = [
            (CostAxis::Macs, "MACs"),
            (CostAxis::Params, "Parameters"),
            (CostAxis::Millis, "Time"),
        ];
        let before = state.frontier.against;
        widgets::choice(ui, &mut state.frontier.against, &axes);
        fit_ui(ui, state);
        if before != state.frontier.against {
            state.frontier.wish.most = None;
        }
        ui.add_space(6.0);
        goal_controls(ui, store, view, state, effects);
        let wish = &mut state.frontier.wish;
        let reference = view.reference.as_ref().map_or("", |(_, from)| from.as_str());
        let mut wants = wish.below.is_some();
        let tick = ui.checkbox(&mut wants, "Limit loss");
        let about =
            format!("Choose the cheapest point whose accuracy is at most this far below {reference}. Drag the line to change it.");
        if tick.on_hover_text(about).changed() {
            wish.below = wants.then_some(0.01);
        }
        if let Some(below) = &mut wish.below {
            let mut points = *below * 100.0;
            let field = DragValue::new(&mut points)
                .range(0.0..=100.0)
                .speed(0.05)
                .max_decimals(2);
            let field = ui.name_inputs("Points below", |ui| ui.add(field.suffix(" points")));
            if field.changed() {
                *below = points / 100.0;
            }
        }
        let unit = CostScale::of(view.against);
        let mut wants = wish.most.is_some();
        let tick = ui.checkbox(&mut wants, "Limit cost");
        if tick
            .on_hover_text("Choose among points that cost at most this much. Drag the line to change it.")
            .changed()
        {
            let costs = view.series.iter().flat_map(|s| &s.points).map(|p| p.x);
            wish.most = wants.then(|| costs.fold(0.0, f64::max) / 2.0);
        }
        if let Some(most) = &mut wish.most {
            let mut shown = *most / unit.each;
            let field = DragValue::new(&mut shown).range(0.0..=1e6).speed(0.02).max_decimals(2);
            let field = ui.name_inputs("Most cost", |ui| ui.add(field.suffix(unit.short)));
            if field.changed() {
                *most = shown * unit.each;
            }
        }
    });
}

/// Both limits as the goal of a search.
fn goal_controls(ui: &mut Ui, store: &RunStore, view: &FrontierView, state: &mut UiState, effects: &mut Effects) {
    let mut is_goal = state.frontier.wish.below.is_some() && state.frontier.wish.most.is_some();
    let tick = ui.checkbox(&mut is_goal, "Goal");
    let about = "A box on the frontier: at most this cost, at least this accuracy. Drag in the plot to draw it.";
    if tick.on_hover_text(about).changed() {
        state.frontier.wish = match is_goal {
            true => Requirement::goal_of(view),
            false => Requirement::default(),
        };
    }
    if is_goal {
        let action = UiAction::SearchForGoal;
        let words = action.words();
        let button = ui.add_enabled(action.is_possible(store, state), egui::Button::new("search ▸").small());
        widgets::name_widget(&button, Role::Button, &words.label);
        let why = action.why_not(store, state).unwrap_or_default();
        if button
            .on_hover_text(words.tooltip)
            .on_disabled_hover_text(why)
            .clicked()
        {
            effects.act(action);
        }
    }
}

fn plot_ui(
    ui: &mut Ui,
    (view, budget): (&FrontierView, Option<LiveBudget>),
    state: &mut UiState,
    chosen: Option<(usize, usize)>,
    height: f32,
) -> Interaction {
    let p = palette(ui);
    let scale = CostScale {
        is_log: state.frontier.is_log,
        ..CostScale::of(view.against)
    };
    let hover = view.clone();
    let below = widgets::axis(p, Axis::X, scale.axis);
    let side = format!("{}, %", view.quality());
    let plot = widgets::plot("frontier", p);
    let plot = match scale.is_log {
        true => plot.x_grid_spacer(|input| widgets::log_marks(&input)),
        false => plot.include_x(0.0),
    };
    let plot = plot
        .custom_x_axes(vec![match scale.is_log {
            true => below.formatter(|mark, _| text::short(10f64.powf(mark.value))),
            false => below,
        }])
        .custom_y_axes(vec![widgets::axis(p, Axis::Y, &side)])
        .label_formatter(move |at| says(&hover, scale, at))
        // Whoever misses a line does not mean to move the plot.
        .allow_drag(state.frontier.wish == Requirement::default() && state.frontier.line.is_none())
        .height(height.max(80.0));
    // Axes rest while something is dragged, and follow again afterwards.
    let dragged = ui.ctx().dragged_id();
    let (was_frozen, refit) = (state.frontier.is_frozen, std::mem::take(&mut state.frontier.refit));
    let linked = state
        .linked
        .now
        .filter(|run| view.series.iter().any(|s| s.run == Some(*run)));
    let mut labels: Vec<LineLabel> = Vec::new();
    let shown = plot.show(ui, |plot| {
        let is_dragging = dragged.is_some_and(|id| id != plot.response().id);
        state.frontier.is_frozen = is_dragging;
        if is_dragging && !was_frozen {
            state.frontier.followed = plot.auto_bounds().any();
        }
        state.frontier.is_moved |= plot.response().dragged() && state.frontier.line.is_none();
        let near = (state.frontier.fit == FrontierFit::NearBest && !state.frontier.is_moved)
            .then(|| view.near_best())
            .flatten();
        if is_dragging && (state.frontier.followed || near.is_some()) {
            plot.set_auto_bounds(false);
        } else if let Some(near) = near {
            plot.set_plot_bounds(bounds(near, scale));
        } else if refit || (was_frozen && !is_dragging && state.frontier.followed) {
            plot.set_auto_bounds(true);
        }
        if let Some(dense) = view.dense {
            let line = VLine::new("dense", scale.x(dense));
            plot.vline(line.color(p.weak).width(1.0).style(LineStyle::dashed_dense()));
        }
        for series in &view.series {
            let color = match (series.kind, series.run) {
                (_, Some(run)) => state.runs.color(p, run),
                // What was recorded comes first, and what was measured here stands out of it.
                (SeriesKind::Recorded, None) => p.weak,
                (SeriesKind::Cut, None) => p.good,
                (_, None) => p.accent,
            };
            let is_behind = linked.is_some() && series.run != linked;
            let color = if is_behind {
                color.gamma_multiply(theme::FAINT)
            } else {
                color
            };
            series_ui(plot, series, scale, color);
            if !is_behind {
                labels.push((end_of(series, scale), series.label.clone(), color));
            }
        }
        if let Some(now) = &view.now {
            now_ui(plot, now, reach(view, now), scale, p);
            labels.push(([scale.x(now.x), now.top1 * 100.0], NOW.to_owned(), p.text));
        }
        wishes_ui(plot, view, state, scale, p);
        let looked_at = state.frontier.pick.as_ref().and_then(|pick| find(view, pick));
        for (place, color) in [(looked_at, p.text), (chosen, p.good)] {
            if let Some(point) = place.and_then(|(s, i)| view.series[s].points.get(i)) {
                let ring = Points::new("", vec![place_of(point, scale)]).color(color);
                let ring = ring.shape(MarkerShape::Circle).filled(false).radius(9.0);
                plot.points(ring.allow_hover(false));
            }
        }
        if let Some(budget) = budget {
            budget_ui(plot, budget, state, scale, p);
        }
        did(plot, (view, budget), state, scale)
    });
    let goal = view.goal(state.frontier.wish).map(|goal| format!(", {}", goal.text));
    let name = format!("Frontier plot{}", goal.unwrap_or_default());
    widgets::name_widget(&shown.response, Role::Image, &name);
    goal_ui(ui, &shown.transform, view, state, scale, p);
    labels_ui(ui, &shown.transform, labels);
    if let Some(run) = shown.inner.pointed {
        state.linked.point_at(run);
    }
    if let Some(kind) = shown.inner.grabs {
        let icon = match kind {
            LimitLine::Loss => egui::CursorIcon::ResizeVertical,
            LimitLine::Cost | LimitLine::Budget => egui::CursorIcon::ResizeHorizontal,
            LimitLine::Goal => egui::CursorIcon::Crosshair,
        };
        ui.set_cursor_icon(icon);
    }
    shown.inner
}

/// Shows a run's layers, in place of the open model's, as its last epoch left them.
pub(crate) fn look_at_run(run: RunId, at: Option<model::Density>, state: &mut UiState) {
    state.frontier.pick = at.map(|density| PointSource::Epoch(run, density));
}

fn find(view: &FrontierView, source: &PointSource) -> Option<(usize, usize)> {
    let all = view.series.iter().enumerate();
    let mut all = all.flat_map(|(s, one)| one.points.iter().enumerate().map(move |(i, p)| (s, i, p)));
    all.find(|(_, _, p)| p.source == *source).map(|(s, i, _)| (s, i))
}

/// Where a wish's line lies, in the plot's units.
fn wish_at(view: &FrontierView, state: &UiState, kind: LimitLine, scale: CostScale) -> Option<f64> {
    let wish = state.frontier.wish;
    match kind {
        LimitLine::Loss => Some((view.reference.as_ref()?.0 - wish.below?) * 100.0),
        LimitLine::Cost => wish.most.map(|most| scale.x(most)),
        LimitLine::Goal | LimitLine::Budget => None,
    }
}

fn wishes_ui(plot: &mut PlotUi, view: &FrontierView, state: &UiState, scale: CostScale, p: &Palette) {
    let style = LineStyle::dashed_loose();
    if let Some(y) = wish_at(view, state, LimitLine::Loss, scale) {
        plot.hline(HLine::new("accurate enough", y).color(p.good).width(2.0).style(style));
    }
    if let Some(x) = wish_at(view, state, LimitLine::Cost, scale) {
        plot.vline(VLine::new("cheap enough", x).color(p.good).width(2.0).style(style));
    }
}

/// The budget of the search that goes on, as a line; where it was moved to and is not yet, as a ghost.
fn budget_ui(plot: &mut PlotUi, budget: LiveBudget, state: &UiState, scale: CostScale, p: &Palette) {
    let dragged = state.search.budget.map(|share| share * budget.whole);
    let line = |at: f64, strength: f32| {
        VLine::new(says_budget(&budget), scale.x(at))
            .color(p.warn.gamma_multiply(strength))
            .width(2.0)
            .style(LineStyle::dotted_loose())
    };
    plot.vline(line(budget.most, 1.0));
    if let Some(next) = dragged.or(budget.queued) {
        plot.vline(line(next, 0.5));
    }
}

/// The box of both limits, shaded, with what it asks for in its corner.
fn goal_ui(ui: &Ui, transform: &PlotTransform, view: &FrontierView, state: &UiState, scale: CostScale, p: &Palette) {
    let Some(goal) = view.goal(state.frontier.wish) else {
        return;
    };
    let frame = *transform.frame();
    let corner = transform.position_from_point(&PlotPoint::new(scale.x(goal.most), goal.least * 100.0));
    let corner = frame.clamp(corner);
    let shaded = egui::Rect::from_min_max(frame.min, corner);
    ui.painter().rect_filled(shaded, 0.0, p.warn.gamma_multiply(0.10));
    let words = text::cut(&goal.text, ((frame.width() - 12.0) / 5.8) as usize);
    widgets::put(
        ui,
        frame.min + egui::vec2(6.0, 8.0),
        egui::Align2::LEFT_CENTER,
        words,
        p.warn,
    );
    ui.painter().circle_filled(corner, 4.0, p.warn);
}

/// What the pointer did: hold a line or the corner of the goal, or click a point.
fn did(
    plot: &PlotUi,
    (view, budget): (&FrontierView, Option<LiveBudget>),
    state: &UiState,
    scale: CostScale,
) -> Interaction {
    let mut did = Interaction::default();
    let response = plot.response();
    let Some(at) = response.hover_pos().or(response.interact_pointer_pos()) else {
        return did;
    };
    let here = plot.plot_from_screen(at);
    let is_let_go = response.drag_stopped();
    if (response.dragged() || is_let_go)
        && let Some(kind) = state.frontier.line
    {
        did.grabs = Some(kind);
        let now = state.frontier.wish;
        let below = view
            .reference
            .as_ref()
            .map(|(top1, _)| (top1 - here.y / 100.0).clamp(0.0, 1.0));
        let most = Some(scale.cost(here.x).max(0.0));
        let held = budget.map(|b| (scale.cost(here.x).clamp(0.01 * b.whole, b.whole), is_let_go));
        match kind {
            LimitLine::Loss => did.wish = Some(Requirement { below, ..now }),
            LimitLine::Cost => did.wish = Some(Requirement { most, ..now }),
            LimitLine::Goal => did.wish = Some(Requirement { below, most }),
            LimitLine::Budget => did.budget = held,
        }
        return did;
    }
    let to_level = |y: f64| (plot.screen_from_plot(PlotPoint::new(here.x, y)).y - at.y).abs();
    let to_upright = |x: f64| (plot.screen_from_plot(PlotPoint::new(x, here.y)).x - at.x).abs();
    let level = wish_at(view, state, LimitLine::Loss, scale).map(to_level);
    let upright = wish_at(view, state, LimitLine::Cost, scale).map(to_upright);
    let of_budget = budget.map(|b| to_upright(scale.x(b.queued.unwrap_or(b.most))));
    let is_near = |distance: Option<f32>| distance.is_some_and(|d| d < NEAR);
    did.grabs = match (is_near(level), is_near(upright)) {
        (true, true) => Some(LimitLine::Goal),
        (true, false) => Some(LimitLine::Loss),
        (false, true) => Some(LimitLine::Cost),
        _ if is_near(of_budget) => Some(LimitLine::Budget),
        // With both limits, a drag anywhere draws the box anew.
        _ => (level.is_some() && upright.is_some()).then_some(LimitLine::Goal),
    };
    did.pointed = nearest(plot, view, scale, at).and_then(|(s, _)| view.series[s].run);
    if response.clicked() {
        did.clicked = nearest(plot, view, scale, at);
    }
    did
}

fn nearest(plot: &PlotUi, view: &FrontierView, scale: CostScale, at: egui::Pos2) -> Option<(usize, usize)> {
    let all = view.series.iter().enumerate();
    let all = all.flat_map(|(s, one)| one.points.iter().enumerate().map(move |(i, p)| (s, i, p)));
    let distance = |q: &FrontierPoint| {
        let [x, y] = place_of(q, scale);
        plot.screen_from_plot(PlotPoint::new(x, y)).distance(at)
    };
    let near = all
        .map(|(s, i, q)| (distance(q), s, i))
        .min_by(|a, b| a.0.total_cmp(&b.0))?;
    (near.0 < 2.0 * NEAR).then_some((near.1, near.2))
}

/// A point of the open model moves its sliders; any other shows its layers.
fn pick(source: &PointSource, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    state.frontier.pick = None;
    match source {
        PointSource::Recorded(density) => {
            effects.submit(question::set_density(store, state, u32::from(density.as_percent())));
        }
        PointSource::Measured(question) => effects.submit(question::set_question(store, state, question.clone())),
        PointSource::Trial(run, search, number) => {
            state.search.look_at(*run, *search, *number);
            // Densities of the open model's gates can be stood at; what was masked can only be looked at.
            let gates = store
                .run(*run)
                .and_then(|run| exporting::gates_of(run, *search, *number));
            match (gates, &store.open) {
                (Some((from, densities)), Some(open)) if from == open.from => {
                    effects.submit(question::set_question(store, state, Question::at(densities)));
                }
                _ => state.frontier.pick = Some(source.clone()),
            }
        }
        PointSource::Epoch(..) => state.frontier.pick = Some(source.clone()),
    }
}

/// What a wish chose, and what can be done with it.
fn chosen_ui(
    ui: &mut Ui,
    view: &FrontierView,
    (s, i): (usize, usize),
    store: &RunStore,
    state: &mut UiState,
    effects: &mut Effects,
) {
    let source = view.series[s].points[i].source.clone();
    // Numbers first: what is cut off at the end can be missed.
    let said = view.says(s, i).unwrap_or_default();
    let words: Vec<&str> = said.lines().rev().collect();
    widgets::quiet_line(ui, &format!("Chosen: {}", words.join(" · ")));
    ui.horizontal(|ui| {
        let label = match &source {
            PointSource::Recorded(_) | PointSource::Measured(_) => "Go there",
            _ => "Show its layers",
        };
        if ui.button(label).clicked() {
            pick(&source, store, state, effects);
            effects.act(UiAction::Show(PanelName::Layers));
        }
        if let Some(saving) = exporting::of_source(store, &source) {
            let about =
                "Write this model, at these densities, as ONNX, safetensors or a burn pack; a second runtime checks the file";
            if ui.button("Export it…").on_hover_text(about).clicked() {
                effects.save(saving);
            }
        }
        let model = match &source {
            PointSource::Epoch(run, _) => store.run(*run).and_then(RunState::model),
            _ => None,
        };
        if let Some(model) = model
            && ui.button("Open its model").clicked()
        {
            effects.submit(Command::Open(ModelRef::File(model)));
        }
    });
}

fn foot(ui: &mut Ui, view: &FrontierView) {
    let recorded = view
        .series
        .iter()
        .find(|s| s.run.is_none())
        .and_then(|s| Some((s.kind, s.points.first()?)));
    let words = match recorded {
        Some((kind, first)) => {
            let how = match kind {
                SeriesKind::Recorded => "Recorded",
                _ => "Measured",
            };
            let n = text::grouped(first.n as u64);
            format!("{how} on {n} validation images. Click a point to move the slider there.")
        }
        None => "Validation images only. Test images are read once, when a run ends.".to_owned(),
    };
    widgets::quiet_line(ui, &words);
}
