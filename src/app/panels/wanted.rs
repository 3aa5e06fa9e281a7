//! What stands in the place of the accuracy while the open model has no images: what it wants, and ways to give it that.
//! Knows nothing of how images are read.

use crate::effects::{Effect, Effects, FileRequest};
use crate::state::{Overlay, PathEntry, UiState};
use crate::theme::{self, palette};
use crate::widgets::{self, quiet};
use egui::{RichText, Ui};
use lab::{Command, RunStore};
use view::density::{WantedImages, density};

/// What other panels say while the open model has no images, and none are being read.
pub(super) fn no_images(store: &RunStore, state: &UiState) -> Option<&'static str> {
    let wants = density(store, &state.slider.asked)?.wants?;
    let words = "The open model has no images to be measured on: give it some in the Density panel";
    wants.why.map(|_| words)
}

pub(crate) fn wanted_ui(ui: &mut Ui, wants: &WantedImages, state: &mut UiState, effects: &mut Effects) {
    let p = palette(ui);
    let frame = egui::Frame::new()
        .fill(theme::mix(p.tile, p.warn, 0.10))
        .corner_radius(theme::RADIUS)
        .inner_margin(egui::Margin::symmetric(10, 7));
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        let Some(why) = &wants.why else {
            quiet(ui, "Reading the model's images…");
            return;
        };
        ui.label(RichText::new(format!("Accuracy needs images: {}", wants.what)).strong());
        ui.add(egui::Label::new(widgets::small(why.clone(), p.weak)).truncate())
            .on_hover_text(why);
        ui.horizontal_wrapped(|ui| {
            if widgets::primary(ui, true, "Choose a folder…").clicked() {
                effects.push(Effect::FileDialog(FileRequest::Images));
            }
            if ui.button("Type a path…").clicked() {
                state.overlay = Some(Overlay::Path(PathEntry {
                    request: FileRequest::Images,
                    ..PathEntry::default()
                }));
            }
            if wants.takes_bundled && ui.button("Use the bundled images").clicked() {
                let asked = state.slider.asked.clone();
                effects.submit(Command::UseImages("fashion-mnist".into(), asked));
            }
        });
        quiet(
            ui,
            "A folder can also be dropped here. Pictures without classes will do: then it is agreement with the whole network. \
             MACs, parameters, time and the sliders work without any.",
        );
    });
}
