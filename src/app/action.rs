//! What can be done from anywhere: words, explanation and keys in one place, over which menu and keys iterate.
//! Knows nothing of where its button stands.

use super::state::{self, UiState};
use crate::model::Density;
use crate::run::{Command, ModelRef, RunStore, Status, probe};
use egui::{Key, KeyboardShortcut, Modifiers};

/// Something that can be done from the menu or by keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
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
    /// One percent less.
    LowerDensity,
    /// One percent more.
    RaiseDensity,
    /// Light or dark.
    SwitchTheme,
    /// Panels back to where they were at first.
    ResetLayout,
    /// Close the window.
    Quit,
}

/// An action in words.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// On the button and in the menu.
    pub label: &'static str,
    /// On hover.
    pub tooltip: &'static str,
    /// Keys.
    pub keys: Option<KeyboardShortcut>,
}

impl Action {
    /// All, in the order of the menu.
    pub const ALL: [Self; 11] = [
        Self::Train,
        Self::PauseOrResume,
        Self::Stop,
        Self::OpenModel,
        Self::OpenByPath,
        Self::OpenBundled,
        Self::LowerDensity,
        Self::RaiseDensity,
        Self::SwitchTheme,
        Self::ResetLayout,
        Self::Quit,
    ];

    /// Its words.
    pub fn words(self) -> Words {
        let ctrl = |key| Some(KeyboardShortcut::new(Modifiers::COMMAND, key));
        let alt = |key| Some(KeyboardShortcut::new(Modifiers::ALT, key));
        let plain = |key| Some(KeyboardShortcut::new(Modifiers::NONE, key));
        let words = |label, tooltip, keys| Words { label, tooltip, keys };
        match self {
            Self::Train => words(
                "Train",
                "Begin a run of the chosen preset with these settings",
                ctrl(Key::Enter),
            ),
            Self::PauseOrResume => words(
                "Pause or resume",
                "Hold the run where it is, or let it go on",
                plain(Key::F6),
            ),
            Self::Stop => words("Stop", "End the run; its log is kept", plain(Key::F7)),
            Self::OpenModel => words(
                "Open model…",
                "Choose a model file; files can also be dropped onto the window",
                ctrl(Key::O),
            ),
            Self::OpenByPath => words("Open model by path…", "Type where a model file is", ctrl(Key::L)),
            Self::OpenBundled => words(
                "Open bundled model",
                "The elastic FBS network that comes with the program",
                None,
            ),
            Self::LowerDensity => words("Lower density", "One percent less", alt(Key::ArrowLeft)),
            Self::RaiseDensity => words("Raise density", "One percent more", alt(Key::ArrowRight)),
            Self::SwitchTheme => words(
                "Light or dark",
                "Switch between the light and the dark theme",
                ctrl(Key::D),
            ),
            Self::ResetLayout => words("Reset layout", "Put all panels back to where they were at first", None),
            Self::Quit => words("Quit", "Stop all runs and close the window", ctrl(Key::Q)),
        }
    }

    /// Whether it can be done now.
    pub fn is_possible(self, store: &RunStore, state: &UiState) -> bool {
        let status = store.current().map(|r| r.status);
        match self {
            Self::Train => state.draft.check().is_ok(),
            Self::PauseOrResume => matches!(status, Some(Status::Running | Status::Paused)),
            Self::Stop => matches!(status, Some(Status::Running | Status::Paused)),
            Self::LowerDensity | Self::RaiseDensity => range(store).is_some_and(|[low, high]| low < high),
            _ => true,
        }
    }

    /// Does it: changes the window's state, or asks the engine.
    pub fn perform(self, ctx: &egui::Context, store: &RunStore, state: &mut UiState) -> Option<Command> {
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
            Self::LowerDensity => {
                return set_density(store, state, u32::from(state.density.as_percent()).saturating_sub(1));
            }
            Self::RaiseDensity => return set_density(store, state, u32::from(state.density.as_percent()) + 1),
            Self::SwitchTheme => {
                let dark = ctx.theme() == egui::Theme::Dark;
                ctx.set_theme(if dark { egui::Theme::Light } else { egui::Theme::Dark });
            }
            Self::ResetLayout => state.tree = state::layout(),
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

/// Moves the slider to a percentage within the open model's range and asks about it. Nothing if it is there already.
pub fn set_density(store: &RunStore, state: &mut UiState, percent: u32) -> Option<Command> {
    let [low, high] = range(store)?;
    let density = Density::percent(percent.clamp(1, 100)).ok()?.clamp(low, high);
    if density == state.density {
        return None;
    }
    state.density = density;
    ask(store, density)
}

/// The question for one density everywhere. A model without gates is asked without densities.
pub fn ask(store: &RunStore, density: Density) -> Option<Command> {
    let gates = store.open.as_ref()?.header.spec.gates().len();
    Some(Command::Ask(probe::uniform(gates, density)))
}

/// Does what was asked for by keys.
pub fn keys(ctx: &egui::Context, store: &RunStore, state: &mut UiState) -> Vec<Command> {
    let pressed = |action: &Action| {
        let keys = action.words().keys?;
        ctx.input_mut(|i| i.consume_shortcut(&keys)).then_some(*action)
    };
    let actions: Vec<Action> = Action::ALL.iter().filter_map(pressed).collect();
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
        for (i, a) in Action::ALL.iter().enumerate() {
            for b in &Action::ALL[i + 1..] {
                assert_ne!(a.words().label, b.words().label);
                assert!(
                    a.words().keys.is_none() || a.words().keys != b.words().keys,
                    "{a:?} {b:?}"
                );
            }
        }
    }
}
