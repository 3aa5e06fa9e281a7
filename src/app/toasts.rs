//! Notices that float above the panels for a while. The log keeps those of runs.

use super::theme::{self, palette};
use egui::{Align2, Area, Frame, Margin, Order, RichText, Stroke, Ui};
use std::fmt::Display;
use std::time::Duration;

/// One notice.
#[derive(Clone, Debug, PartialEq)]
pub struct Toast {
    /// Whether something could not be done.
    pub is_error: bool,
    pub(crate) text: String,
    born: Option<f64>,
}

/// Notices being shown, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Toasts(Vec<Toast>);

impl Toasts {
    pub(crate) fn tell(&mut self, text: impl Into<String>) {
        self.push(false, text.into());
    }

    /// Shows an error with its causes.
    pub(crate) fn fail(&mut self, error: impl Display) {
        self.push(true, format!("{error:#}"));
    }

    /// The same notice twice in a row is shown once, for as long as a new one.
    fn push(&mut self, is_error: bool, text: String) {
        if self.0.last().is_some_and(|t| t.text == text) {
            self.0.pop();
        }
        let born = None;
        self.0.push(Toast { is_error, text, born });
        let surplus = self.0.len().saturating_sub(4);
        self.0.drain(..surplus);
    }

    /// What is shown.
    pub fn shown(&self) -> &[Toast] {
        &self.0
    }

    /// Draws them in the lower left corner, where layouts have no buttons, and lets old ones go.
    pub(crate) fn show(&mut self, ui: &Ui) {
        let now = ui.input(|i| i.time);
        for toast in &mut self.0 {
            toast.born.get_or_insert(now);
        }
        let age = |t: &Toast| now - t.born.unwrap_or(now);
        self.0.retain(|t| age(t) < theme::TOAST_SECS);
        let Some(oldest) = self.0.first() else { return };
        ui.ctx()
            .request_repaint_after(Duration::from_secs_f64((theme::TOAST_SECS - age(oldest)).max(0.05)));
        let area = Area::new(egui::Id::unique("toasts"))
            .order(Order::Foreground)
            .anchor(Align2::LEFT_BOTTOM, [18.0, -18.0]);
        area.show(ui.ctx(), |ui| {
            let mut dismissed = None;
            for (i, toast) in self.0.iter().enumerate() {
                ui.push_id(i, |ui| {
                    if toast_ui(ui, toast) {
                        dismissed = Some(i);
                    }
                });
            }
            if let Some(i) = dismissed {
                self.0.remove(i);
            }
        });
    }
}

fn toast_ui(ui: &mut Ui, toast: &Toast) -> bool {
    let p = palette(ui);
    let color = if toast.is_error { p.bad } else { p.good };
    let frame = Frame::popup(ui.style())
        .inner_margin(Margin {
            left: 16,
            right: 12,
            top: 10,
            bottom: 10,
        })
        .stroke(Stroke::new(1.0, p.edge));
    let mut dismissed = false;
    let shown = frame.show(ui, |ui| {
        ui.set_width(theme::TOAST_WIDTH);
        ui.label(
            RichText::new(if toast.is_error { "Error" } else { "Notice" })
                .color(color)
                .strong(),
        );
        ui.add(egui::Label::new(&toast.text).wrap());
        ui.horizontal(|ui| {
            if ui.small_button("Copy text").clicked() {
                ui.ctx().copy_text(toast.text.clone());
            }
            dismissed = ui.small_button("Dismiss").clicked();
        });
    });
    let mut bar = shown.response.rect;
    bar.set_width(4.0);
    ui.painter().rect_filled(
        bar,
        egui::CornerRadius {
            nw: theme::TILE_RADIUS,
            sw: theme::TILE_RADIUS,
            ne: 0,
            se: 0,
        },
        color,
    );
    dismissed
}
