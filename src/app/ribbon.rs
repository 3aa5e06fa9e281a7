//! What a newcomer is told, in a slim line over the panels: what to drag, and the next step once that is done.
//! Knows nothing of what the steps do.

use super::action::UiAction;
use super::effects::Effects;
use super::panel_name::PanelName;
use super::state::UiState;
use super::theme::{self, palette};
use super::widgets;
use egui::{Frame, Margin, Panel, RichText, Ui};
use lab::RunStore;
use view::density::density;

/// What it says, and what can be done next: its first part, its part in bold, the rest, and the steps.
struct Told {
    first: String,
    bold: String,
    rest: String,
    next: Vec<(&'static str, UiAction)>,
}

pub(crate) fn ribbon_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    if !state.ribbon.is_open {
        return;
    }
    let p = palette(ui);
    let told = told(store, state);
    let frame = Frame::new().fill(p.accent_soft).inner_margin(Margin::symmetric(14, 0));
    Panel::top("ribbon")
        .frame(frame)
        .exact_size(theme::RIBBON)
        .show_separator_line(false)
        .show(ui, |ui| {
            ui.horizontal_centered(|ui| {
                ui.spacing_mut().item_spacing.x = 4.0;
                ui.label(told.first);
                ui.label(RichText::new(told.bold).strong().color(p.accent));
                ui.label(told.rest);
                widgets::on_the_right(ui, |ui| {
                    ui.spacing_mut().item_spacing.x = 6.0;
                    let close = ui.add(egui::Button::new("×").frame_when_inactive(false));
                    widgets::name_widget(&close, egui::Role::Button, "Close the ribbon");
                    if close.on_hover_text("The menu has it again: First steps").clicked() {
                        state.ribbon.is_open = false;
                    }
                    for (label, action) in told.next.into_iter().rev() {
                        let can = action.is_possible(store, state);
                        let button = ui.add_enabled(can, egui::Button::new(label).small());
                        if button.on_hover_text(action.words().tooltip).clicked() {
                            effects.act(action);
                        }
                    }
                });
            });
        });
}

fn told(store: &RunStore, state: &UiState) -> Told {
    let Some(open) = &store.open else {
        return Told {
            first: String::new(),
            bold: "Open a network".into(),
            rest: "of your own (ONNX, PyTorch, safetensors), or the bundled one.".into(),
            next: vec![
                ("Open model…", UiAction::OpenModel),
                ("Open the bundled model", UiAction::OpenBundled),
            ],
        };
    };
    let view = density(store, &state.slider.asked);
    let headline = view.as_ref().and_then(|v| v.headline.as_ref());
    if state.ribbon.ran {
        return Told {
            first: String::new(),
            bold: "Its points fly in on the frontier.".into(),
            rest: "Limit the loss there to choose the cheapest one that is good enough.".into(),
            next: vec![
                ("Show the frontier", UiAction::Show(PanelName::Frontier)),
                ("Export model…", UiAction::ExportModel),
            ],
        };
    }
    let is_gated = !open.header.spec.gates().is_empty();
    if state.ribbon.dragged {
        let said = headline.map(|h| match h.effect() {
            Some(effect) => format!("{}: {effect}.", h.work()),
            None => format!("{}.", h.work()),
        });
        let images = store.images_from.is_some();
        let search = (is_gated || images).then_some(("Search each layer's density", UiAction::SearchFromHere));
        let errs = images.then_some(("See what errs first", UiAction::Show(PanelName::Images)));
        let mut next: Vec<(&str, UiAction)> = errs.into_iter().chain(search).collect();
        next.push(("Prune to here", UiAction::PruneToHere));
        next.push(("Train a small network", UiAction::TrainSmoke));
        return Told {
            first: String::new(),
            bold: said.unwrap_or_default(),
            rest: "Next:".into(),
            next,
        };
    }
    let what = if open.header.data == "fashion-mnist" && open.header.spec.input == [1, 28, 28] {
        "This network sorts clothes.".to_owned()
    } else {
        format!("{} tells {} classes apart.", open.name, open.header.classes.len())
    };
    let (bold, rest) = if is_gated {
        ("Drag the density left: it computes less.", "When does it begin to err?")
    } else {
        ("Drag the target right: it computes less.", "What does that cost?")
    };
    Told {
        first: what,
        bold: bold.into(),
        rest: rest.into(),
        next: vec![("Train a small network", UiAction::TrainSmoke)],
    }
}
