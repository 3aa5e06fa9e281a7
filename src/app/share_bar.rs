//! A bar that shows a share and can be dragged, stepped with the arrow keys, or set by a screen reader.
//! Knows nothing of what the share is of.

use super::theme::{self, palette};
use super::widgets;
use egui::accesskit::{Action, ActionData};
use egui::{EventFilter, Key, Rect, Response, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};

#[derive(Clone, Copy, Debug)]
pub(crate) struct ShareBar<'a> {
    /// Its name for those who cannot see it.
    pub(crate) name: &'a str,
    /// What can be moved, 0 to 1.
    pub(crate) value: f32,
    /// What is filled, 0 to 1.
    pub(crate) filled: f32,
    pub(crate) tick: f32,
    /// Where it was asked to go and has not gone yet, drawn as a ghost.
    pub(crate) ghost: Option<f32>,
    pub(crate) is_movable: bool,
    /// The color of the filled part.
    pub(crate) fill: egui::Color32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BarChange {
    pub(crate) share: f32,
    /// False while it is being dragged.
    pub(crate) is_final: bool,
}

/// The least share it can be dragged to.
const LEAST: f32 = 0.01;

pub(crate) fn share_bar(ui: &mut Ui, rect: Rect, bar: ShareBar) -> Option<BarChange> {
    let p = palette(ui);
    let sense = if bar.is_movable {
        Sense::click_and_drag()
    } else {
        Sense::hover()
    };
    let response = ui.interact(rect, ui.scope_id().with(("share bar", bar.name)), sense);
    let value = f64::from(bar.value);
    response.widget_info(|| WidgetInfo::slider(bar.is_movable, value, bar.name));
    let thick = (rect.height() * 0.5).min(11.0);
    let track = Rect::from_center_size(rect.center(), vec2(rect.width(), thick));
    widgets::bar(ui, track, bar.filled, bar.fill, p.trough);
    if let Some(ghost) = bar.ghost {
        let mut place = track.expand2(vec2(0.0, 2.0));
        place.set_width((track.width() * ghost.clamp(0.0, 1.0)).max(3.0));
        ui.painter()
            .rect_stroke(place, 3.0, Stroke::new(1.5, p.warn), StrokeKind::Inside);
    }
    let x = track.left() + track.width() * bar.tick.clamp(0.0, 1.0);
    ui.painter()
        .vline(x, track.top() - 2.0..=track.bottom() + 2.0, Stroke::new(1.5, p.text));
    if !bar.is_movable {
        return None;
    }
    let change = change(ui, &response, track, bar.value);
    if response.hovered() || response.dragged() || response.has_focus() {
        let x = track.left() + track.width() * bar.value.clamp(0.0, 1.0);
        let handle = Rect::from_center_size(pos2(x, track.center().y), vec2(5.0, thick + 6.0));
        ui.painter()
            .rect(handle, 2.0, p.text, Stroke::new(1.0, p.tile), StrokeKind::Outside);
        if response.has_focus() {
            let around = track.expand(3.0);
            ui.painter()
                .rect_stroke(around, theme::RADIUS, Stroke::new(1.5, p.accent), StrokeKind::Outside);
        }
    }
    change
}

fn change(ui: &Ui, response: &Response, track: Rect, value: f32) -> Option<BarChange> {
    let at = |x: f32| {
        let share = ((x - track.left()) / track.width()).clamp(LEAST, 1.0);
        (share * 100.0).round() / 100.0
    };
    ui.ctx().accesskit_node_builder(response.id, |node| {
        node.set_min_numeric_value(f64::from(LEAST));
        node.set_max_numeric_value(1.0);
        node.set_numeric_value_step(0.01);
        node.add_action(Action::SetValue);
        node.add_action(Action::Increment);
        node.add_action(Action::Decrement);
    });
    let released = |share| {
        let is_final = true;
        Some(BarChange { share, is_final })
    };
    if response.dragged() {
        let is_final = false;
        let share = at(response.interact_pointer_pos()?.x);
        return Some(BarChange { share, is_final });
    }
    if response.drag_stopped() {
        // What it was last dragged to is the value shown.
        return released(value);
    }
    if response.clicked()
        && let Some(p) = response.interact_pointer_pos()
    {
        response.request_focus();
        return released(at(p.x));
    }
    let asked = ui.input(|i| {
        let requests = i.accesskit_action_requests(response.id, Action::SetValue);
        let values = requests.filter_map(|r| match r.data {
            Some(ActionData::NumericValue(v)) => Some(v as f32),
            _ => None,
        });
        values.last()
    });
    if let Some(v) = asked {
        return released(v.clamp(LEAST, 1.0));
    }
    let steps = steps(ui, response);
    let stepped = ((value * 100.0).round() + steps).clamp(1.0, 100.0) / 100.0;
    (steps != 0.0).then(|| released(stepped)).flatten()
}

/// Percent asked for with the arrow keys.
fn steps(ui: &Ui, response: &Response) -> f32 {
    let of = |more: usize, less: usize| more as f32 - less as f32;
    let asked = ui.input(|i| {
        of(
            i.num_accesskit_action_requests(response.id, Action::Increment),
            i.num_accesskit_action_requests(response.id, Action::Decrement),
        )
    });
    if !response.has_focus() {
        return asked;
    }
    let filter = EventFilter {
        horizontal_arrows: true,
        ..Default::default()
    };
    ui.memory_mut(|m| m.set_focus_lock_filter(response.id, filter));
    asked + ui.input(|i| of(i.num_presses(Key::ArrowRight), i.num_presses(Key::ArrowLeft)))
}
