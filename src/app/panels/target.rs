//! The target slider: how many times less the open model is to be, how the cut is spread, and what prunes to there.
//! Knows nothing of what is measured.

use crate::draft::PRUNERS;
use crate::effects::Effects;
use crate::state::UiState;
use crate::theme::{self, palette};
use crate::widgets::{self, quiet};
use crate::{question, slider};
use egui::{RichText, Role, Ui};
use event::Unit;
use lab::RunStore;
use measure::Pruning;
use measure::pruning::{ScoreName, Spread};
use view::cuts::score_name;
use view::density::{self, TargetView};
use view::text;

/// The most the slider goes to, however small the floors are.
pub(crate) const MOST_TIMES: f64 = 50.0;

const SPREADS: [(Spread, &str, &str); 4] = [
    (
        Spread::Uniform,
        "one share for all",
        "Every layer keeps the same share of its channels",
    ),
    (
        Spread::Threshold,
        "one threshold",
        "Channels go whose score is lowest for its layer, wherever they are: layers lose different shares",
    ),
    (
        Spread::Sensitivity,
        "sensitivity",
        "Each layer is cut alone and measured; all are then cut to where each would cost the same accuracy",
    ),
    (
        Spread::Vector,
        "best of a search",
        "As the best vector of the newest search over this network's channels, deeper or shallower",
    ),
];

const UNITS: [(Unit, &str); 3] = [
    (Unit::Macs, "fewer MACs"),
    (Unit::Weights, "fewer weights"),
    (Unit::Ms, "fewer ms"),
];

pub(crate) fn target_ui(ui: &mut Ui, view: &TargetView, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let now = state.slider.cut.clone();
    let mut next = now.clone();
    ui.horizontal(|ui| {
        let label = ui.label(RichText::new("Target, cut for good").font(theme::body()));
        widgets::explain(label, widgets::meaning("target"));
        widgets::on_the_right(ui, |ui| unit_ui(ui, &mut next));
    });
    let most = view.most.clamp(1.1, MOST_TIMES);
    // Of layers that are set by hand, what they come to.
    let by_hand = view
        .reached
        .filter(|_| next.spread == Spread::Given && next.times > 1.0);
    let mut times = by_hand.unwrap_or(next.times).clamp(1.0, most);
    let names = ["Target rate", "Target rate value"];
    let moved = slider::slider(ui, &mut times, 1.0..=most, names, |slider| {
        slider
            .logarithmic(true)
            .custom_formatter(|t, _| format!("{}×", density::times(t)))
            .custom_parser(|typed| typed.trim_end_matches('×').trim().parse().ok())
    });
    if moved {
        // Two digits after the point are more than a slider can mean.
        next.times = (times * 50.0).round() / 50.0;
        // From there on, all of them deeper or shallower.
        if next.spread == Spread::Given {
            next.spread = Spread::Vector;
        }
    }
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = 6.0;
        widgets::narrow(ui);
        spread_ui(ui, view, &mut next);
        score_ui(ui, view, &mut next);
        multiple_ui(ui, &mut next);
        said(ui, view, &next);
    });
    if next != now {
        effects.submit(question::set_cut(store, state, next));
    }
}

fn unit_ui(ui: &mut Ui, cut: &mut Pruning) {
    let shown = UNITS
        .iter()
        .find(|(unit, _)| *unit == cut.unit)
        .map_or("", |(_, name)| *name);
    let combo = egui::ComboBox::from_id_salt("target unit")
        .selected_text(shown)
        .width(104.0);
    let shown = combo.show_ui(ui, |ui| {
        for (unit, name) in UNITS {
            ui.selectable_value(&mut cut.unit, unit, name);
        }
    });
    widgets::name_widget(&shown.response, Role::ComboBox, "Target unit");
}

fn spread_ui(ui: &mut Ui, view: &TargetView, cut: &mut Pruning) {
    let is_by_hand = !cut.vector.is_empty() && view.best.as_ref().is_none_or(|best| best.densities != cut.vector);
    let shown = match cut.spread {
        Spread::Given | Spread::Vector if is_by_hand => "by hand",
        spread => SPREADS
            .iter()
            .find(|(s, ..)| *s == spread)
            .map_or("", |(_, name, _)| *name),
    };
    let before = cut.spread;
    let combo = egui::ComboBox::from_id_salt("spread").selected_text(shown).width(96.0);
    let shown = combo.show_ui(ui, |ui| {
        for (spread, name, about) in SPREADS {
            let is_possible = spread != Spread::Vector || view.best.is_some();
            ui.add_enabled_ui(is_possible, |ui| {
                ui.selectable_value(&mut cut.spread, spread, name)
                    .on_hover_text(about)
                    .on_disabled_hover_text("No search over this network's channels has measured a trial yet");
            });
        }
    });
    // It follows the search while that goes on.
    match (&view.best, cut.spread) {
        (Some(best), Spread::Vector) if before != Spread::Vector || !is_by_hand => {
            cut.vector.clone_from(&best.densities)
        }
        (_, Spread::Vector | Spread::Given) => {}
        _ => cut.vector.clear(),
    }
    widgets::name_widget(&shown.response, Role::ComboBox, "Spread of the cut");
    shown.response.on_hover_text("How the cut is spread over layers");
}

fn score_ui(ui: &mut Ui, view: &TargetView, cut: &mut Pruning) {
    let combo = egui::ComboBox::from_id_salt("score")
        .selected_text(score_name(cut.score))
        .width(40.0);
    let shown = combo.show_ui(ui, |ui| {
        for (score, about) in [
            (ScoreName::L2, "Euclidean norm of a filter's weights"),
            (ScoreName::L1, "Sum of a filter's absolute weights (arXiv 1608.08710)"),
            (
                ScoreName::NormScale,
                "Scale of the channel's norm (Network Slimming, arXiv 1708.06519)",
            ),
        ] {
            let is_possible = score != ScoreName::NormScale || view.has_norm_scales;
            ui.add_enabled_ui(is_possible, |ui| {
                ui.selectable_value(&mut cut.score, score, score_name(score))
                    .on_hover_text(about)
                    .on_disabled_hover_text("This network has no norms with scales");
            });
        }
    });
    widgets::name_widget(&shown.response, Role::ComboBox, "Score of channels");
    shown
        .response
        .on_hover_text("Which channels go first: those of the lowest score");
}

fn multiple_ui(ui: &mut Ui, cut: &mut Pruning) {
    let words = |n: usize| match n {
        1 => "any width".to_owned(),
        n => format!("multiples of {n}"),
    };
    let combo = egui::ComboBox::from_id_salt("multiple")
        .selected_text(words(cut.multiple))
        .width(80.0);
    let shown = combo.show_ui(ui, |ui| {
        for n in [1, 4, 8, 16, 32] {
            ui.selectable_value(&mut cut.multiple, n, words(n));
        }
    });
    widgets::name_widget(&shown.response, Role::ComboBox, "Widths that stay");
    shown
        .response
        .on_hover_text("Layers keep a multiple of so many channels, as vector code runs fast on");
}

/// What stays, and what keeps the target from being met.
fn said(ui: &mut Ui, view: &TargetView, cut: &Pruning) {
    if let (Some([kept, all]), true) = (view.filters, cut.times > 1.0) {
        let words = format!(
            "{} of {} channels stay",
            text::grouped(kept as u64),
            text::grouped(all as u64)
        );
        // In one piece, on a row of its own where it does not fit beside.
        let words = widgets::small(words, palette(ui).weak);
        ui.add(egui::Label::new(words).extend());
    }
    let [known, all] = view.sensitivity;
    if cut.spread == Spread::Sensitivity && cut.times > 1.0 && known < all {
        quiet(ui, format!("sensitivity of {known} of {all} layers measured"));
    }
    if let (Spread::Vector, Some(best)) = (cut.spread, &view.best) {
        quiet(ui, format!("as {}", best.from));
    }
    match cut.held.len() {
        0 => {}
        1 => drop(quiet(ui, "1 layer held")),
        n => drop(quiet(ui, format!("{n} layers held"))),
    }
    let is_short = |reached: &f64| cut.spread != Spread::Given && *reached < cut.times * 0.99;
    if let Some(reached) = view.reached.filter(is_short) {
        let p = palette(ui);
        let why = format!("held layers and floors allow {}×", density::times(reached));
        ui.label(widgets::small(why, p.warn));
    }
}

/// The method that prunes to the target.
pub(crate) fn pruner_ui(ui: &mut Ui, state: &mut UiState) {
    let shown = PRUNERS[state.pruner].1;
    let combo = egui::ComboBox::from_id_salt("pruner")
        .selected_text(format!("by {shown}"))
        .width(80.0);
    let shown = combo.show_ui(ui, |ui| {
        for (i, (_, name, about)) in PRUNERS.iter().enumerate() {
            ui.selectable_value(&mut state.pruner, i, *name).on_hover_text(*about);
        }
    });
    widgets::name_widget(&shown.response, Role::ComboBox, "Method that prunes");
}
