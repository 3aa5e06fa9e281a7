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
    /// Whether it only says that a job has begun.
    is_begun: bool,
    pub(crate) text: String,
    born: Option<f64>,
}

/// Notices that are shown at once.
const MOST: usize = 4;

/// Notices being shown, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Toasts(Vec<Toast>);

impl Toasts {
    pub(crate) fn tell(&mut self, text: impl Into<String>) {
        self.push(false, text.into());
    }

    /// Says that a job has begun, until one is over.
    pub(crate) fn begin(&mut self, text: impl Into<String>) {
        self.push(false, text.into());
        self.0.last_mut().into_iter().for_each(|t| t.is_begun = true);
    }

    /// A job is over: what said that it began goes.
    pub(crate) fn end(&mut self) {
        self.0.retain(|t| !t.is_begun);
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
        self.0.push(Toast {
            is_error,
            is_begun: false,
            text,
            born: None,
        });
        // Errors stay longer than notices.
        while self.0.len() > MOST {
            let oldest = self.0.iter().position(|t| !t.is_error).unwrap_or(0);
            self.0.remove(oldest);
        }
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
        // An error stays until it is dismissed.
        self.0
            .retain(|t| t.is_error || t.is_begun || age(t) < theme::TOAST_SECS);
        if self.0.is_empty() {
            return;
        }
        let passing = self.0.iter().find(|t| !t.is_error && !t.is_begun);
        if let Some(next) = passing.map(|t| (theme::TOAST_SECS - age(t)).max(0.05)) {
            ui.ctx().request_repaint_after(Duration::from_secs_f64(next));
        }
        let area = Area::new(egui::Id::unique("toasts"))
            .order(Order::Foreground)
            .anchor(Align2::LEFT_BOTTOM, [18.0, -18.0]);
        let room = ui.ctx().content_rect().height() - 60.0;
        area.show(ui.ctx(), |ui| {
            let mut dismissed = None;
            // Long errors scroll rather than leave the window.
            let scroll = egui::ScrollArea::vertical().max_height(room).stick_to_bottom(true);
            scroll.show(ui, |ui| {
                for (i, toast) in self.0.iter().enumerate() {
                    ui.push_id(i, |ui| {
                        if toast_ui(ui, toast) {
                            dismissed = Some(i);
                        }
                    });
                }
            });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_stays_until_it_is_dismissed_and_what_has_begun_until_it_is_over() {
        let ctx = egui::Context::default();
        let mut toasts = Toasts::default();
        toasts.begin("Importing…");
        toasts.fail("broken");
        toasts.tell("saved");
        let show = |toasts: &mut Toasts, time: f64| {
            let input = egui::RawInput {
                time: Some(time),
                ..egui::RawInput::default()
            };
            let mut out = ctx.run_ui(input, |ui| toasts.show(ui));
            out.textures_delta.clear();
            toasts.shown().iter().map(|t| t.text.clone()).collect::<Vec<_>>()
        };
        assert_eq!(show(&mut toasts, 0.0), ["Importing…", "broken", "saved"]);
        assert_eq!(show(&mut toasts, 600.0), ["Importing…", "broken"]);
        toasts.end();
        assert_eq!(show(&mut toasts, 601.0), ["broken"]);
        (0..9).for_each(|i| toasts.tell(i.to_string()));
        assert!(toasts.shown().iter().any(|t| t.text == "broken") && toasts.shown().len() == MOST);
    }
}
