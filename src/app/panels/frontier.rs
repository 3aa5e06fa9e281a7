//! Accuracy against cost. Clicking a point shows its layers, dragging a wish chooses a point.
//! Knows nothing of how points were measured.

use crate::action::UiAction;
use crate::effects::Effects;
use crate::figures::menu_with_table;
use crate::panel_name::PanelName;
use crate::state::{LimitLine, UiState};
use crate::theme::{self, Palette, palette};
use crate::{exporting, question, widgets};
use egui::{Color32, DragValue, Role, Ui};
use egui_plot::{
    Axis, Corner, HLine, HoverPosition, Line, LineStyle, MarkerShape, PlotPoint, PlotPoints, PlotUi, Points, VLine,
};
use lab::{Command, RunStore};
use measure::Question;
use plots::figure;
use record::{ModelRef, RunState};
use view::density::density;
use view::frontier::{
    CostAxis, FrontierPoint, FrontierSeries, FrontierView, NowPoint, PointSource, Requirement, SeriesKind, every_point,
    frontier,
};
use view::text;

const NOW: &str = "measured now";
/// How near the pointer must be to a line or a point, in points of the screen.
const NEAR: f32 = 7.0;

/// What somebody did in the plot.
#[derive(Default)]
struct Interaction {
    clicked: Option<(usize, usize)>,
    wish: Option<(LimitLine, f64)>,
    grabs: Option<LimitLine>,
}

pub(crate) fn frontier_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let view = frontier(store, state.frontier.against, &state.runs.hidden(store));
    controls(ui, store, &view, state, effects);
    if view.series.is_empty() && view.now.is_none() {
        let wants = density(store, &state.slider.asked).and_then(|view| view.wants);
        let todo = match view.against {
            _ if wants.is_some_and(|wants| wants.why.is_some()) => {
                "The open model has no images to be measured on: give it some in the Density panel"
            }
            CostAxis::Millis => {
                "Time is measured while the slider rests. Searches with a budget in ms add their trials."
            }
            _ => "Open a model, or press Train: each run adds its points",
        };
        return widgets::empty(ui, "No points yet", todo);
    }
    let chosen = view.choose(state.frontier.wish);
    let below = if chosen.is_some() { 46.0 } else { 20.0 };
    let did = plot_ui(ui, &view, state, chosen, ui.available_height() - below);
    if let Some((kind, value)) = did.wish {
        match kind {
            LimitLine::Loss => state.frontier.wish.below = Some(value),
            LimitLine::Cost => state.frontier.wish.most = Some(value),
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
        let fit = ui.small_button("Fit");
        widgets::name_widget(&fit, Role::Button, "Fit the frontier");
        if fit.on_hover_text("Show all points again").clicked() {
            state.frontier.refit = true;
        }
        if before != state.frontier.against {
            state.frontier.wish.most = None;
        }
        ui.add_space(6.0);
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

struct CostScale {
    each: f64,
    axis: &'static str,
    short: &'static str,
}

impl CostScale {
    fn of(against: CostAxis) -> Self {
        let unit = |each, axis, short| Self { each, axis, short };
        match against {
            CostAxis::Macs => unit(1e6, "million MACs per image", " M MACs"),
            CostAxis::Params => unit(1e3, "thousand parameters", " k parameters"),
            CostAxis::Millis => unit(1.0, "ms per image, on this machine", " ms"),
        }
    }
}

/// Height of one line of the legend.
const LEGEND_LINE: f32 = 19.0;

fn plot_ui(
    ui: &mut Ui,
    view: &FrontierView,
    state: &mut UiState,
    chosen: Option<(usize, usize)>,
    height: f32,
) -> Interaction {
    let p = palette(ui);
    let unit = CostScale::of(view.against);
    let legend = widgets::legend(Corner::RightBottom).background_alpha(0.9);
    let hover = view.clone();
    let each = unit.each;
    let mut plot = widgets::plot("frontier", p);
    // Where it would cover most of the plot, hovering has to do.
    if (view.series.len() + 2) as f32 * LEGEND_LINE < height * 0.45 {
        plot = plot.legend(legend);
    }
    let plot = plot
        .custom_x_axes(vec![widgets::axis(p, Axis::X, unit.axis)])
        .custom_y_axes(vec![widgets::axis(p, Axis::Y, "accuracy, %")])
        .label_formatter(move |at| says(&hover, each, at))
        // Whoever misses a limit's line does not mean to move the plot.
        .allow_drag(state.frontier.wish == Requirement::default())
        .include_x(0.0)
        .height(height.max(80.0));
    // Axes rest while something is dragged, and follow again afterwards.
    let dragged = ui.ctx().dragged_id();
    let (was_frozen, refit) = (state.frontier.is_frozen, std::mem::take(&mut state.frontier.refit));
    let shown = plot.show(ui, |plot| {
        let is_dragging = dragged.is_some_and(|id| id != plot.response().id);
        state.frontier.is_frozen = is_dragging;
        if is_dragging && !was_frozen {
            state.frontier.followed = plot.auto_bounds().any();
        }
        if is_dragging && state.frontier.followed {
            plot.set_auto_bounds(false);
        } else if refit || (was_frozen && !is_dragging && state.frontier.followed) {
            plot.set_auto_bounds(true);
        }
        if let Some(dense) = view.dense {
            let line = VLine::new("dense", dense / each);
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
            series_ui(plot, series, each, color);
        }
        if let Some(now) = &view.now {
            now_ui(plot, now, reach(view, now), each, p);
        }
        wishes_ui(plot, view, state, each, p);
        let looked_at = state.frontier.pick.as_ref().and_then(|pick| find(view, pick));
        for (place, color) in [(looked_at, p.text), (chosen, p.good)] {
            if let Some(point) = place.and_then(|(s, i)| view.series[s].points.get(i)) {
                let ring = Points::new("", vec![place_of(point, each)]).color(color);
                let ring = ring.shape(MarkerShape::Circle).filled(false).radius(9.0);
                plot.points(ring.allow_hover(false));
            }
        }
        did(plot, view, state, each)
    });
    widgets::name_widget(&shown.response, Role::Image, "Frontier plot");
    if let Some(kind) = shown.inner.grabs {
        let icon = match kind {
            LimitLine::Loss => egui::CursorIcon::ResizeVertical,
            LimitLine::Cost => egui::CursorIcon::ResizeHorizontal,
        };
        ui.set_cursor_icon(icon);
    }
    shown.inner
}

fn find(view: &FrontierView, source: &PointSource) -> Option<(usize, usize)> {
    let all = view.series.iter().enumerate();
    let mut all = all.flat_map(|(s, one)| one.points.iter().enumerate().map(move |(i, p)| (s, i, p)));
    all.find(|(_, _, p)| p.source == *source).map(|(s, i, _)| (s, i))
}

fn place_of(point: &FrontierPoint, each: f64) -> [f64; 2] {
    [point.x / each, point.top1 * 100.0]
}

/// Points that no point of the series beats are joined; the others are faint.
fn series_ui(plot: &mut PlotUi, series: &FrontierSeries, each: f64, color: Color32) {
    let shape = theme::mark(series.mark);
    let part = |beaten: bool| -> Vec<[f64; 2]> {
        let of_part = series.points.iter().filter(|q| q.is_beaten == beaten);
        of_part.map(|q| place_of(q, each)).collect()
    };
    let (front, beaten) = (part(false), part(true));
    let faint = color.gamma_multiply(theme::FAINT);
    plot.points(
        Points::new(series.label.clone(), beaten)
            .color(faint)
            .shape(shape)
            .radius(2.6),
    );
    for (q, sd) in series.points.iter().filter_map(|q| Some((q, q.spread?))) {
        let [x, y] = place_of(q, each);
        let bar = Line::new(series.label.clone(), vec![[x, y - sd * 100.0], [x, y + sd * 100.0]]);
        plot.line(bar.color(color).width(1.4).allow_hover(false));
    }
    // Of a cut every point tells: which is beaten by a deeper cut is news.
    let line = match series.kind {
        SeriesKind::Cut => series.points.iter().map(|q| place_of(q, each)).collect(),
        _ => front.clone(),
    };
    let style = match series.kind {
        SeriesKind::Recorded | SeriesKind::Cut => LineStyle::dashed_dense(),
        _ => LineStyle::Solid,
    };
    plot.line(
        Line::new(series.label.clone(), line)
            .color(color)
            .style(style)
            .width(theme::LINE)
            .allow_band(false)
            .allow_hover(false),
    );
    plot.points(
        Points::new(series.label.clone(), PlotPoints::from(front))
            .color(color)
            .shape(shape)
            .radius(3.8),
    );
}

/// How far whiskers are drawn: a third of the points' spread beyond them, so that the wide interval of a first answer does not
/// squeeze everything else. The interval itself is in the hover text.
fn reach(view: &FrontierView, now: &NowPoint) -> [f64; 2] {
    let all = view
        .series
        .iter()
        .flat_map(|s| &s.points)
        .map(|x| x.top1)
        .chain([now.top1]);
    let [low, high] = all.fold([f64::MAX, f64::MIN], |[l, h], y| [l.min(y), h.max(y)]);
    let beyond = ((high - low) / 3.0).max(0.01);
    [low - beyond, high + beyond]
}

fn now_ui(plot: &mut PlotUi, now: &NowPoint, reach: [f64; 2], each: f64, p: &Palette) {
    let (x, y) = (now.x / each, now.top1 * 100.0);
    let end = |v: f64| [x, v.clamp(reach[0], reach[1]) * 100.0];
    let whisker = vec![end(now.interval[0]), end(now.interval[1])];
    plot.line(
        Line::new(NOW, PlotPoints::from(whisker))
            .color(p.text)
            .width(1.6)
            .allow_hover(false),
    );
    plot.points(
        Points::new(NOW, vec![[x, y]])
            .color(p.text)
            .shape(MarkerShape::Diamond)
            .radius(7.5),
    );
}

/// Where a wish's line lies, in the plot's units.
fn wish_at(view: &FrontierView, state: &UiState, kind: LimitLine, each: f64) -> Option<f64> {
    let wish = state.frontier.wish;
    match kind {
        LimitLine::Loss => Some((view.reference.as_ref()?.0 - wish.below?) * 100.0),
        LimitLine::Cost => wish.most.map(|most| most / each),
    }
}

fn wishes_ui(plot: &mut PlotUi, view: &FrontierView, state: &UiState, each: f64, p: &Palette) {
    let style = LineStyle::dashed_loose();
    if let Some(y) = wish_at(view, state, LimitLine::Loss, each) {
        plot.hline(HLine::new("accurate enough", y).color(p.good).width(2.0).style(style));
    }
    if let Some(x) = wish_at(view, state, LimitLine::Cost, each) {
        plot.vline(VLine::new("cheap enough", x).color(p.good).width(2.0).style(style));
    }
}

/// What the pointer did: hold a wish's line, or click a point.
fn did(plot: &PlotUi, view: &FrontierView, state: &UiState, each: f64) -> Interaction {
    let mut did = Interaction::default();
    let response = plot.response();
    let Some(at) = response.hover_pos().or(response.interact_pointer_pos()) else {
        return did;
    };
    let here = plot.plot_from_screen(at);
    if response.dragged()
        && let Some(kind) = state.frontier.line
    {
        did.grabs = Some(kind);
        did.wish = match kind {
            LimitLine::Loss => view
                .reference
                .as_ref()
                .map(|(reference, _)| (kind, (reference - here.y / 100.0).clamp(0.0, 1.0))),
            LimitLine::Cost => Some((kind, (here.x * each).max(0.0))),
        };
        return did;
    }
    let is_near = |kind: &LimitLine| {
        wish_at(view, state, *kind, each).is_some_and(|v| match kind {
            LimitLine::Loss => (plot.screen_from_plot(PlotPoint::new(here.x, v)).y - at.y).abs() < NEAR,
            LimitLine::Cost => (plot.screen_from_plot(PlotPoint::new(v, here.y)).x - at.x).abs() < NEAR,
        })
    };
    did.grabs = [LimitLine::Loss, LimitLine::Cost].into_iter().find(is_near);
    if response.clicked() {
        did.clicked = nearest(plot, view, each, at);
    }
    did
}

fn nearest(plot: &PlotUi, view: &FrontierView, each: f64, at: egui::Pos2) -> Option<(usize, usize)> {
    let all = view.series.iter().enumerate();
    let all = all.flat_map(|(s, one)| one.points.iter().enumerate().map(move |(i, p)| (s, i, p)));
    let distance = |q: &FrontierPoint| {
        let [x, y] = place_of(q, each);
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
        .and_then(|s| s.points.first());
    let words = match recorded {
        Some(first) => format!(
            "Recorded on {} validation images. Click a point to move the slider there.",
            text::grouped(first.n as u64)
        ),
        None => "Validation images only. Test images are read once, when a run ends.".to_owned(),
    };
    widgets::quiet_line(ui, &words);
}

fn says(view: &FrontierView, each: f64, at: &HoverPosition) -> Option<String> {
    let HoverPosition::NearDataPoint {
        plot_name, position, ..
    } = at
    else {
        return None;
    };
    if *plot_name == NOW {
        let now = view.now.as_ref()?;
        let [low, high] = now.interval.map(text::percent);
        return Some(format!(
            "measured now\n{}\n{} ({low} to {high})\n{}",
            now.asked,
            text::percent(now.top1),
            view.against.words(now.x)
        ));
    }
    let s = view.series.iter().position(|s| s.label == *plot_name)?;
    let is_it = |q: &FrontierPoint| place_of(q, each) == [position.x, position.y];
    let i = view.series[s].points.iter().position(is_it)?;
    view.says(s, i)
}
