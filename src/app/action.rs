//! What can be done from anywhere: words, explanation and keys in one place, over which menu, keys, palette and help iterate.
//! Knows nothing of where its button stands.

use super::layout;
use super::layout::LayoutName;
use super::state::{ModelTable, Overlay, PanelName, UiState};
use super::{draft, exporting};
use egui::{Key, KeyboardShortcut, Modifiers};
use lab::{Command, ModelJob, RunStore};
use measure::{ModelRef, Question};
use model::Density;
use record::experiment::PRESETS;
use record::{Experiment, Status};
use view::times;

/// Something that can be done from the menu, the palette or by keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UiAction {
    /// Begin a run of the draft.
    Train,
    /// Hold the run, or let it go on.
    PauseOrResume,
    /// End the run.
    Stop,
    /// Choose a model file in a dialog.
    OpenModel,
    /// Type the path of a model file.
    OpenByPath,
    /// Open the model inside the program.
    OpenBundled,
    /// Write the open model, at the densities on the slider, to a file.
    ExportModel,
    /// Search densities from those on the slider.
    SearchFromHere,
    /// Time each layer of the open model at several widths.
    TimeLayers,
    /// One percent less.
    LowerDensity,
    /// One percent more.
    RaiseDensity,
    /// Find an action by its words.
    Palette,
    /// All actions with their keys.
    Help,
    /// Three things to try.
    Welcome,
    /// Light or dark.
    SwitchTheme,
    /// Panels back to where they were at first.
    ResetLayout,
    /// Close the window.
    Quit,
    /// Go to a ready layout.
    Layout(LayoutName),
    /// Bring a panel to the front.
    Show(PanelName),
    /// Take a built-in preset as the draft, by its place in [`PRESETS`].
    Preset(usize),
}

/// An action in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// On the button and in the menu.
    pub label: String,
    pub(crate) tooltip: String,
}

impl UiAction {
    /// What stands in the menu itself, in its order.
    pub const MENU: [Self; 17] = [
        Self::Train,
        Self::PauseOrResume,
        Self::Stop,
        Self::OpenModel,
        Self::OpenByPath,
        Self::OpenBundled,
        Self::ExportModel,
        Self::LowerDensity,
        Self::RaiseDensity,
        Self::SearchFromHere,
        Self::TimeLayers,
        Self::Palette,
        Self::Help,
        Self::Welcome,
        Self::SwitchTheme,
        Self::ResetLayout,
        Self::Quit,
    ];

    /// All there are: the menu, layouts, panels, presets.
    pub fn all() -> impl Iterator<Item = Self> {
        let layouts = LayoutName::ALL.into_iter().map(Self::Layout);
        let panels = PanelName::ALL.into_iter().map(Self::Show);
        let presets = (0..PRESETS.len()).map(Self::Preset);
        Self::MENU.into_iter().chain(layouts).chain(panels).chain(presets)
    }

    /// Its words.
    pub fn words(self) -> Words {
        let (label, tooltip) = match self {
            Self::Train => ("Train", "Begin a run of the chosen preset with these settings"),
            Self::PauseOrResume => ("Pause or resume", "Hold the run where it is, or let it go on"),
            Self::Stop => ("Stop", "End the run; its log is kept"),
            Self::OpenModel => (
                "Open model…",
                "Choose a model file, a preset or a run; files and folders can also be dropped onto the window",
            ),
            Self::OpenByPath => ("Open by path…", "Type where a model file, a preset or a run folder is"),
            Self::OpenBundled => (
                "Open bundled model",
                "The elastic FBS network that comes with the program",
            ),
            Self::ExportModel => (
                "Export model…",
                "Write the open model, at the densities on the slider, as ONNX, safetensors or a burn pack; a second runtime checks it",
            ),
            Self::SearchFromHere => (
                "Search from here",
                "Anneal one density a gate, at what the slider costs now, beginning with its densities",
            ),
            Self::TimeLayers => (
                "Time layers",
                "Measure each layer of the open model at several widths on this machine, once",
            ),
            Self::LowerDensity => ("Lower density", "One percent less"),
            Self::RaiseDensity => ("Raise density", "One percent more"),
            Self::Palette => ("Find an action…", "Everything that can be done, by its words"),
            Self::Help => ("Keys and actions", "Everything that can be done, with its keys"),
            Self::Welcome => ("Three things to try", "The card that the window first opened with"),
            Self::SwitchTheme => ("Light or dark", "Switch between the light and the dark theme"),
            Self::ResetLayout => (
                "Reset layout",
                "Put this layout's panels back to where they were at first",
            ),
            Self::Quit => ("Quit", "Stop all runs and close the window"),
            Self::Layout(name) => {
                return Words {
                    label: format!("Layout: {}", name.title()),
                    tooltip: name.about().to_owned(),
                };
            }
            Self::Show(panel) => {
                return Words {
                    label: format!("Show {}", panel.title()),
                    tooltip: panel.about().to_owned(),
                };
            }
            Self::Preset(i) => {
                let about = Experiment::load(PRESETS[i].0, &[]).map_or_else(|e| e.to_string(), |e| e.about);
                return Words {
                    label: format!("Use preset {}", PRESETS[i].0),
                    tooltip: about,
                };
            }
        };
        Words {
            label: label.to_owned(),
            tooltip: tooltip.to_owned(),
        }
    }

    /// Its keys.
    pub fn keys(self) -> Option<KeyboardShortcut> {
        let ctrl = |key| Some(KeyboardShortcut::new(Modifiers::COMMAND, key));
        let alt = |key| Some(KeyboardShortcut::new(Modifiers::ALT, key));
        let plain = |key| Some(KeyboardShortcut::new(Modifiers::NONE, key));
        match self {
            Self::Train => ctrl(Key::Enter),
            Self::PauseOrResume => plain(Key::F6),
            Self::Stop => plain(Key::F7),
            Self::OpenModel => ctrl(Key::O),
            Self::OpenByPath => ctrl(Key::L),
            Self::ExportModel => ctrl(Key::E),
            Self::SearchFromHere => plain(Key::F8),
            Self::LowerDensity => alt(Key::ArrowLeft),
            Self::RaiseDensity => alt(Key::ArrowRight),
            Self::Palette => ctrl(Key::P),
            Self::Help => plain(Key::F1),
            Self::SwitchTheme => ctrl(Key::D),
            Self::Quit => ctrl(Key::Q),
            Self::Layout(LayoutName::Tune) => ctrl(Key::Num1),
            Self::Layout(LayoutName::Watch) => ctrl(Key::Num2),
            Self::Layout(LayoutName::Compare) => ctrl(Key::Num3),
            Self::Layout(LayoutName::Inspect) => ctrl(Key::Num4),
            Self::OpenBundled
            | Self::TimeLayers
            | Self::Welcome
            | Self::ResetLayout
            | Self::Show(_)
            | Self::Preset(_) => None,
        }
    }

    /// Whether it can be done now.
    pub(crate) fn is_possible(self, store: &RunStore, state: &UiState) -> bool {
        let status = store.current().map(|r| r.status);
        match self {
            Self::Train => state.draft.check().is_ok(),
            Self::PauseOrResume => matches!(status, Some(Status::Running | Status::Paused)),
            Self::Stop => matches!(status, Some(Status::Running | Status::Paused)),
            Self::ExportModel | Self::TimeLayers => store.open.is_some(),
            Self::SearchFromHere => range(store).is_some(),
            Self::LowerDensity | Self::RaiseDensity => range(store).is_some_and(|[low, high]| low < high),
            _ => true,
        }
    }

    /// Does it: changes the window's state, or asks the engine.
    pub(crate) fn perform(self, ctx: &egui::Context, store: &RunStore, state: &mut UiState) -> Option<Command> {
        if !self.is_possible(store, state) {
            return None;
        }
        match self {
            Self::Train => return Some(Command::Start(Box::new(state.draft.clone()))),
            Self::PauseOrResume => {
                let run = store.current()?;
                return Some(if run.status == Status::Paused {
                    Command::Resume(run.id)
                } else {
                    Command::Pause(run.id)
                });
            }
            Self::Stop => return Some(Command::Stop(store.current()?.id)),
            Self::OpenModel => state.wants_dialog = true,
            Self::OpenByPath => state.path_entry = Some(Default::default()),
            Self::OpenBundled => return Some(Command::Open(ModelRef::Bundled)),
            Self::ExportModel => state.saving = exporting::open_at(store, &state.asked.densities),
            Self::SearchFromHere => match draft::search_from_here(store, state) {
                Ok(experiment) => {
                    state.layouts.go(LayoutName::Watch);
                    return Some(Command::Start(Box::new(experiment)));
                }
                Err(e) => state.toasts.say(true, format!("{e:#}")),
            },
            Self::TimeLayers => {
                let from = store.open.as_ref()?.from.clone();
                state.model_shows = ModelTable::Times;
                layout::show(&mut state.layouts.tree, PanelName::Model);
                return (!times::is_timing(store)).then_some(Command::Work(ModelJob::Time(from)));
            }
            Self::LowerDensity => {
                return set_density(store, state, u32::from(state.density.as_percent()).saturating_sub(1));
            }
            Self::RaiseDensity => return set_density(store, state, u32::from(state.density.as_percent()) + 1),
            Self::SwitchTheme => {
                let dark = ctx.theme() == egui::Theme::Dark;
                ctx.set_theme(if dark { egui::Theme::Light } else { egui::Theme::Dark });
            }
            Self::Palette => state.overlay = Some(Overlay::Palette(String::new(), 0)),
            Self::Help => state.overlay = Some(Overlay::Help),
            Self::Welcome => state.overlay = Some(Overlay::Welcome),
            Self::ResetLayout => state.layouts.reset(),
            Self::Layout(name) => state.layouts.go(name),
            Self::Show(panel) => layout::show(&mut state.layouts.tree, panel),
            Self::Preset(i) => match Experiment::load(PRESETS[i].0, &[]) {
                Ok(draft) => state.take_draft(draft, PRESETS[i].0.to_owned()),
                Err(e) => state.toasts.say(true, format!("{e:#}")),
            },
            Self::Quit => state.wants_quit = true,
        }
        None
    }
}

/// Densities the open model was made for.
pub fn range(store: &RunStore) -> Option<[Density; 2]> {
    let open = store.open.as_ref().filter(|m| !m.header.spec.gates().is_empty())?;
    let kept = &open.header.densities;
    Some([*kept.iter().min()?, *kept.iter().max()?])
}

/// Moves the slider to a percentage within the open model's range, and all gates that are not locked with it; asks about
/// that. Nothing if it is there already.
pub fn set_density(store: &RunStore, state: &mut UiState, percent: u32) -> Option<Command> {
    let [low, high] = range(store)?;
    let density = Density::percent(percent.clamp(1, 100)).ok()?.clamp(low, high);
    let mut asked = state.asked.clone();
    for (gate, d) in asked.densities.iter_mut().enumerate() {
        if !state.locked.contains(&gate) {
            *d = density;
        }
    }
    if density == state.density && asked == state.asked {
        return None;
    }
    state.density = density;
    ask(state, asked)
}

/// Moves one gate to a percentage within the open model's range, and asks about that.
pub(crate) fn set_gate(store: &RunStore, state: &mut UiState, gate: usize, percent: u32) -> Option<Command> {
    let [low, high] = range(store)?;
    let density = Density::percent(percent.clamp(1, 100)).ok()?.clamp(low, high);
    let mut asked = state.asked.clone();
    *asked.densities.get_mut(gate)? = density;
    (asked != state.asked).then(|| ask(state, asked)).flatten()
}

/// Moves all gates to what was asked before, and the slider to their mean.
pub(crate) fn set_question(store: &RunStore, state: &mut UiState, question: Question) -> Option<Command> {
    let [low, high] = range(store)?;
    state.density = Density::percent((question.mean() * 100.0).round() as u32)
        .ok()?
        .clamp(low, high);
    ask(state, question)
}

/// Asks about the open model. A model without gates is asked without densities.
pub fn ask(state: &mut UiState, question: Question) -> Option<Command> {
    state.asked = question.clone();
    Some(Command::Ask(question))
}

/// Does what was asked for by keys.
pub fn keys(ctx: &egui::Context, store: &RunStore, state: &mut UiState) -> Vec<Command> {
    let pressed = |action: &UiAction| {
        let keys = action.keys()?;
        ctx.input_mut(|i| i.consume_shortcut(&keys)).then_some(*action)
    };
    let actions: Vec<UiAction> = UiAction::all().filter(|a| pressed(a).is_some()).collect();
    actions
        .into_iter()
        .filter_map(|a| a.perform(ctx, store, state))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_actions_share_keys_or_words() {
        let all: Vec<UiAction> = UiAction::all().collect();
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                assert_ne!(a.words().label, b.words().label);
                assert!(a.keys().is_none() || a.keys() != b.keys(), "{a:?} {b:?}");
            }
        }
    }
}
