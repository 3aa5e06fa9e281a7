//! The network as a strip of slabs, moving with whatever is dragged, tried or cut. A click chooses a layer; the edge of a gated
//! layer's slab can be dragged. Knows nothing of how slabs are placed.

use crate::action::UiAction;
use crate::effects::Effects;
use crate::figures::figure_menu;
use crate::layout::LayoutName;
use crate::question;
use crate::state::UiState;
use crate::theme::{self, Palette, palette};
use crate::widgets;
use egui::{Align2, Color32, CornerRadius, Rect, Role, Sense, Shape, Stroke, StrokeKind, Ui, pos2, vec2};
use event::Steer;
use lab::{Command, RunStore};
use plots::figure;
use record::RunId;
use std::sync::Arc;
use view::network::{self, NetworkView, PlayView, Slab, SlabPlace};
use view::search::search;
use view::text;

/// Width of the image before the first slab, and of the classes behind the last.
const ENDS: f32 = 64.0;
/// Height of the words below slabs.
const WORDS: f32 = 30.0;
/// Height above slabs, for links.
const LINKS: f32 = 18.0;
/// Height below which it is low.
const LOW: f32 = 100.0;
/// Seconds in which an edge goes where it belongs.
const MOVES: f32 = 0.12;

pub(crate) fn network_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let follows = state.network.follows.unwrap_or(state.layouts.now == LayoutName::Watch);
    let live = || store.runs.iter().rev().find(|run| run.is_live()).map(|run| run.id);
    let run = state.search.chosen.run.or_else(live);
    let run = run.filter(|id| store.run(*id).is_some_and(|run| run.spec.is_some()));
    let of_run = run.filter(|_| follows).and_then(|id| network::of_run(store, id));
    let is_run = of_run.is_some();
    remember_began(store, state);
    let began = state
        .network
        .began
        .as_ref()
        .map(|(_, began)| began.clone())
        .unwrap_or_default();
    let Some(view) = of_run.or_else(|| network::open(store, &state.slider.asked, &began)) else {
        return widgets::empty(ui, "No network", "Open a model, or press Train");
    };
    // A low strip has no room for a line of words above it: its menu stands in the corner.
    let is_low = ui.available_height() < LOW;
    if is_low {
        let place = ui.available_rect_before_wrap();
        let corner = Rect::from_min_max(pos2(place.right() - 24.0, place.top()), place.max);
        let mut inner = ui.new_child(egui::UiBuilder::new().max_rect(corner));
        figure_menu(&mut inner, "network", state, effects, || figure::network(&view));
    } else {
        ui.horizontal(|ui| {
            let words = format!("{}: {} MACs", view.title, text::count(view.macs()));
            widgets::quiet_line(ui, &words);
            if run.is_some() {
                let mut wanted = follows;
                let about = "Show the network of the run, not the open model's";
                if ui
                    .checkbox(&mut wanted, "Follow the run")
                    .on_hover_text(about)
                    .changed()
                {
                    state.network.follows = Some(wanted);
                }
            }
            widgets::on_the_right(ui, |ui| {
                figure_menu(ui, "network", state, effects, || figure::network(&view));
                if !is_run {
                    let action = UiAction::PlayImage;
                    let words = action.words();
                    let play = ui.add_enabled(action.is_possible(store, state), egui::Button::new(words.label).small());
                    if play.on_hover_text(words.tooltip).clicked() {
                        effects.act(action);
                    }
                }
            });
        });
    }
    let room = ui.available_rect_before_wrap();
    let slabs = Rect::from_min_max(
        room.min + vec2(ENDS, if is_low { LINKS / 2.0 } else { LINKS }),
        room.max - vec2(ENDS, WORDS),
    );
    if slabs.width() < 100.0 || slabs.height() < 12.0 {
        return;
    }
    let places = view.places(slabs.width(), slabs.height());
    let p = palette(ui);
    ends_ui(ui, &view, room, slabs, p);
    links_ui(ui, &view, &places, slabs, p);
    let most = view.slabs.iter().map(|s| s.macs[1]).max().unwrap_or(1).max(1);
    let playing = playing(ui, store, &view, is_run, state);
    for (i, (slab, place)) in view.slabs.iter().zip(&places).enumerate() {
        let room_right = places.get(i + 1).map_or(slabs.width(), |next| next.left);
        let words = room_right - place.left;
        let moved = slab_ui(ui, slab, place, slabs, (most, words), state);
        if let Some((play, at)) = &playing {
            play_ui(ui, play, i, *at, place, slabs);
        }
        if let Some(moved) = moved {
            move_edge(&moved, slab, store, run, state, effects);
        }
    }
    if let Some((play, at)) = &playing {
        lanes_ui(ui, play, *at, slabs, room);
    }
}

/// An edge that is dragged.
struct MovedEdge {
    percent: u32,
    /// Whether it was let go.
    is_final: bool,
}

/// Sets a gate or a group of the open model, or proposes a density to the search that is followed, once the edge is let go.
fn move_edge(
    moved: &MovedEdge,
    slab: &Slab,
    store: &RunStore,
    run: Option<RunId>,
    state: &mut UiState,
    effects: &mut Effects,
) {
    let percent = moved.percent;
    if let Some(site) = slab.site {
        let Some(view) = search(store, state.search.chosen, state.search.height) else {
            return;
        };
        let mut densities: Vec<f32> = view.sites.iter().map(|s| s.proposed.unwrap_or(s.shown)).collect();
        let (Some(run), Some(density)) = (run.filter(|run| *run == view.run), densities.get_mut(site)) else {
            return;
        };
        *density = percent as f32 / 100.0;
        state.search.proposal = (!moved.is_final).then(|| densities.clone());
        if moved.is_final {
            effects.submit(Command::Steer(run, Steer::Propose { densities }));
        }
    } else if let Some(gate) = slab.gate {
        effects.submit(question::set_gate(store, state, gate, percent));
    } else if let Some(group) = &slab.group {
        effects.submit(question::set_layer(store, state, group, percent));
    }
}

/// Seconds that an image takes through the whole network, and that its end stays in sight.
const PLAYS: f64 = 3.5;
const RESTS: f64 = 2.0;

/// The image that is played, and how far it is, as a share of the whole network's time.
fn playing(
    ui: &Ui,
    store: &RunStore,
    view: &NetworkView,
    is_run: bool,
    state: &mut UiState,
) -> Option<(PlayView, f64)> {
    let began = state.network.played.filter(|_| !is_run)?;
    let play = network::play(store, view)?;
    let at = (ui.input(|i| i.time) - began) / PLAYS;
    if at > 1.0 + RESTS / PLAYS {
        state.network.played = None;
        return None;
    }
    ui.ctx().request_repaint_after(std::time::Duration::from_millis(33));
    Some((play, at))
}

/// What of a slab the image has passed: its channels as lines, those that run bright, those that are skipped dark; and below, how far
/// the whole network is.
fn play_ui(ui: &Ui, play: &PlayView, i: usize, at: f64, place: &SlabPlace, slabs: Rect) {
    let p = palette(ui);
    let [from, to] = play.here[i];
    if at < from {
        return;
    }
    let mid = slabs.center().y;
    let passed = ((at - from) / (to - from).max(1e-6)).clamp(0.0, 1.0) as f32;
    let left = slabs.left() + place.left;
    let dense = place.widths[1];
    let y = mid - place.half_height..=mid + place.half_height;
    let painter = ui.painter();
    match play.active[i].len() {
        0 => {
            let whole = Rect::from_x_y_ranges(left..=left + place.widths[0] * passed, y);
            painter.rect_filled(whole, 2.0, p.warn.gamma_multiply(0.55));
        }
        n => {
            let each = dense / n as f32;
            let shown = (n as f32 * passed) as usize;
            for (c, &runs) in play.active[i].iter().take(shown).enumerate() {
                let x = left + each * c as f32;
                let line = Rect::from_x_y_ranges(x..=x + each.max(0.6), y.clone());
                painter.rect_filled(line, 0.0, if runs { p.warn } else { p.ground });
            }
        }
    }
}

/// Two lanes above the slabs: how far the image is here, and how far it is in the whole network.
fn lanes_ui(ui: &mut Ui, play: &PlayView, at: f64, slabs: Rect, room: Rect) {
    let p = palette(ui);
    let end = play.here.last().map_or(1.0, |way| way[1]);
    for (k, (share, color)) in [(at / end, p.warn), (at, p.weak)].into_iter().enumerate() {
        let top = slabs.top() - 7.0 + 3.0 * k as f32;
        let lane = Rect::from_min_max(pos2(slabs.left(), top), pos2(slabs.right(), top + 2.0));
        widgets::bar(ui, lane, share as f32, color, p.trough);
    }
    let place = Rect::from_min_size(room.min - vec2(0.0, 4.0), vec2(room.width() * 0.6, 14.0));
    let response = ui.interact(place, ui.scope_id().with("played"), Sense::hover());
    widgets::name_widget(&response, Role::Label, &format!("Playing {}", play.text));
    widgets::put(
        ui,
        place.left_center(),
        Align2::LEFT_CENTER,
        format!("Playing {}", play.text),
        p.warn,
    );
}

/// What the open model began as is worked out once.
fn remember_began(store: &RunStore, state: &mut UiState) {
    let Some(open) = &store.open else { return };
    let known = &state.network.began;
    if known.as_ref().is_none_or(|(of, _)| !Arc::ptr_eq(of, open)) {
        state.network.began = Some((open.clone(), network::began_as(open)));
    }
}

/// Gives where its edge is dragged to.
fn slab_ui(
    ui: &mut Ui,
    slab: &Slab,
    place: &SlabPlace,
    slabs: Rect,
    (most, words): (u64, f32),
    state: &mut UiState,
) -> Option<MovedEdge> {
    let p = palette(ui);
    let mid = slabs.center().y;
    let left = slabs.left() + place.left;
    let part = |width: f32| {
        Rect::from_min_max(
            pos2(left, mid - place.half_height),
            pos2(left + width, mid + place.half_height),
        )
    };
    let [running, dense, began] = place.widths;
    let id = ui.scope_id().with(("slab", &slab.name));
    let running = ui.ctx().animate_value_with_time(id, running, MOVES);
    let is_movable = slab.gate.is_some() || slab.group.is_some() || slab.site.is_some();
    let sense = if is_movable {
        Sense::click_and_drag()
    } else {
        Sense::click()
    };
    let whole = part(began);
    let response = ui.interact(whole.expand2(vec2(2.0, 2.0)), id.with("place"), sense);
    let said = slab.says();
    widgets::name_widget(&response, Role::Button, &format!("Slab {}", said.replace('\n', ", ")));
    let is_chosen = state.layer.as_ref().is_some_and(|chosen| slab.layers.contains(chosen));
    let painter = ui.painter();
    dashed(painter, whole, p.weak.gamma_multiply(0.55));
    if dense < began - 1.0 {
        dashed(painter, part(dense), p.weak.gamma_multiply(0.8));
    }
    let heat = (slab.macs[0] as f32 / most as f32).sqrt();
    let fill = theme::mix(theme::mix(p.tile, p.accent, 0.30), p.accent, heat);
    let filled = part(running.max(1.5));
    painter.rect_filled(filled, CornerRadius::same(2), fill);
    // A hairline a channel, as long as hairlines can be told apart.
    let each = dense / slab.channels.max(1) as f32 * slab.layers.len() as f32;
    let every = (4.0 / each.max(0.01)).ceil().max(1.0) * each;
    let line = Stroke::new(1.0, theme::mix(fill, p.tile, 0.22));
    let mut x = every;
    while x < running - 1.0 {
        painter.vline(left + x, filled.y_range(), line);
        x += every;
    }
    let edge = if slab.share() < 0.995 || response.hovered() {
        p.text
    } else {
        fill
    };
    let at = Rect::from_min_max(
        pos2(filled.right() - 1.5, filled.top()),
        pos2(filled.right() + 1.0, filled.bottom()),
    );
    painter.rect_filled(at, CornerRadius::same(1), edge);
    if is_chosen || response.has_focus() {
        let stroke = Stroke::new(1.5, if is_chosen { p.warn } else { p.accent });
        painter.rect_stroke(whole.expand(3.0), 3.0, stroke, StrokeKind::Outside);
    }
    words_ui(ui, slab, whole, slabs, words, is_chosen, p);
    let near_edge = response
        .hover_pos()
        .is_some_and(|at| (at.x - filled.right()).abs() < 7.0);
    if is_movable && (near_edge || response.dragged()) {
        ui.set_cursor_icon(egui::CursorIcon::ResizeHorizontal);
    }
    if response.clicked() {
        state.layer = slab.layers.first().cloned();
        response.request_focus();
    }
    let percent = |x: f32| ((x - left) / dense.max(1.0) * 100.0).round().clamp(1.0, 100.0) as u32;
    let is_final = response.drag_stopped();
    let held = (response.dragged() || is_final) && is_movable;
    let dragged = held.then(|| response.interact_pointer_pos()).flatten();
    let dragged = dragged.map(|at| MovedEdge {
        percent: percent(at.x),
        is_final,
    });
    // By keys: a percent at a time.
    let stepped = (is_movable && response.has_focus()).then(|| {
        let filter = egui::EventFilter {
            horizontal_arrows: true,
            ..Default::default()
        };
        ui.memory_mut(|m| m.set_focus_lock_filter(response.id, filter));
        ui.input(|i| i.num_presses(egui::Key::ArrowRight) as i32 - i.num_presses(egui::Key::ArrowLeft) as i32)
    });
    let stepped = stepped.filter(|steps| *steps != 0).map(|steps| MovedEdge {
        percent: ((slab.share() * 100.0).round() as i32 + steps).clamp(1, 100) as u32,
        is_final: true,
    });
    // Where it is proposed to go: a ghost until a trial has it.
    let site = slab.site.and_then(|site| state.search.proposal.as_ref()?.get(site));
    if let Some(ghost) = site.map(|&d| f64::from(d)).or(slab.proposed) {
        let x = left + dense * ghost as f32;
        let line = [pos2(x, whole.top() - 3.0), pos2(x, whole.bottom() + 3.0)];
        ui.painter()
            .extend(Shape::dashed_line(&line, Stroke::new(2.0, p.warn), 3.0, 2.0));
    }
    response.on_hover_text(said);
    dragged.or(stepped)
}

/// Name and channels below a slab, as far as there is room before the next one.
fn words_ui(ui: &Ui, slab: &Slab, whole: Rect, slabs: Rect, room: f32, is_chosen: bool, p: &Palette) {
    let room = room - 6.0;
    if room < 16.0 {
        return;
    }
    let color = if is_chosen { p.warn } else { p.weak };
    let y = slabs.bottom() + 3.0;
    let name = widgets::fitting_tail(ui, &slab.name, room);
    widgets::put(ui, pos2(whole.left(), y), Align2::LEFT_TOP, name, color);
    let short = slab.short();
    let running = (slab.running.round() as usize).to_string();
    let channels = widgets::first_fitting(ui, &[&short, &running], room);
    widgets::put(ui, pos2(whole.left(), y + 13.0), Align2::LEFT_TOP, channels, p.text);
}

/// The image at one end, the classes at the other.
fn ends_ui(ui: &Ui, view: &NetworkView, room: Rect, slabs: Rect, p: &Palette) {
    let [c, h, w] = view.input;
    let side = (ENDS - 24.0).min(slabs.height());
    let mid = slabs.center().y;
    let image = Rect::from_center_size(pos2(room.left() + side / 2.0 + 2.0, mid), vec2(side, side));
    ui.painter().rect_filled(image, CornerRadius::same(3), p.trough);
    widgets::put(
        ui,
        image.center_bottom() + vec2(0.0, 4.0),
        Align2::CENTER_TOP,
        format!("{c}×{h}×{w}"),
        p.weak,
    );
    let first = slabs.left() + 2.0;
    ui.painter()
        .hline(image.right() + 4.0..=first, mid, Stroke::new(1.0, p.edge));
    let last = slabs.right();
    let n = view.classes.clamp(1, 10);
    let each = (slabs.height() / n as f32).min(9.0);
    let top = mid - each * n as f32 / 2.0;
    for i in 0..n {
        let bar = Rect::from_min_size(
            pos2(last + 14.0, top + each * i as f32),
            vec2(16.0, (each - 2.0).max(1.5)),
        );
        ui.painter().rect_filled(bar, CornerRadius::same(1), p.trough);
    }
    let at = pos2(last + 36.0, mid);
    widgets::put(ui, at, Align2::LEFT_CENTER, view.classes, p.weak);
}

/// Arcs over slabs whose channels meet.
fn links_ui(ui: &Ui, view: &NetworkView, places: &[SlabPlace], slabs: Rect, p: &Palette) {
    let mid = slabs.center().y;
    let top = |place: &SlabPlace| mid - place.half_height - 3.0;
    let end = |place: &SlabPlace| slabs.left() + place.left + place.widths[2] / 2.0;
    for &[from, to] in &view.links {
        let (a, b) = (&places[from], &places[to]);
        let high = (from..=to).map(|i| top(&places[i])).fold(f32::MAX, f32::min);
        let over = (high - 8.0).max(slabs.top() - LINKS + 2.0);
        let stroke = Stroke::new(1.2, p.weak.gamma_multiply(0.7));
        let points = [
            pos2(end(a), top(a)),
            pos2(end(a) + 4.0, over),
            pos2(end(b) - 4.0, over),
            pos2(end(b), top(b)),
        ];
        let arc = egui::epaint::CubicBezierShape::from_points_stroke(points, false, Color32::TRANSPARENT, stroke);
        ui.painter().add(arc);
    }
    let joint = Stroke::new(1.0, p.edge);
    for pair in places.windows(2) {
        let from = slabs.left() + pair[0].left + pair[0].widths[2] + 2.0;
        let to = slabs.left() + pair[1].left - 2.0;
        if to > from {
            ui.painter().hline(from..=to, mid, joint);
        }
    }
}

fn dashed(painter: &egui::Painter, rect: Rect, color: Color32) {
    let corners = [
        rect.left_top(),
        rect.right_top(),
        rect.right_bottom(),
        rect.left_bottom(),
        rect.left_top(),
    ];
    painter.extend(Shape::dashed_line(&corners, Stroke::new(1.0, color), 3.0, 3.0));
}
