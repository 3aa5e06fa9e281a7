//! What can be done from anywhere: label, explanation and keys in one place, for menu, shortcuts, palette and help.
//! Knows nothing of how it is done.

use super::layout::LayoutName;
use super::panel_name::PanelName;
use egui::{Key, KeyboardShortcut, Modifiers};
use record::Experiment;
use record::experiment::PRESETS;

/// Something that can be done from the menu, the palette or by keys.
#[expect(missing_docs, reason = "their words explain them")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UiAction {
    Train,
    PauseOrResume,
    Stop,
    OpenModel,
    OpenByPath,
    OpenBundled,
    ExportModel,
    SearchFromHere,
    PruneToHere,
    SearchForGoal,
    PlayImage,
    TrainSmoke,
    TimeLayers,
    LowerDensity,
    RaiseDensity,
    Palette,
    Help,
    Welcome,
    SwitchTheme,
    ResetLayout,
    Quit,
    Layout(LayoutName),
    Show(PanelName),
    /// By its place in [`PRESETS`].
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
    pub const MENU: [Self; 21] = [
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
        Self::PruneToHere,
        Self::SearchForGoal,
        Self::PlayImage,
        Self::TrainSmoke,
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
            Self::Train => ("Train", "Start a run of the chosen preset with these settings"),
            Self::PauseOrResume => ("Pause or resume", "Pause the run, or let it continue"),
            Self::Stop => ("Stop", "Stop the run; its log is kept"),
            Self::OpenModel => (
                "Open model…",
                "Choose a model, an image or a preset; files and run folders can also be dropped onto the window",
            ),
            Self::OpenByPath => (
                "Open by path…",
                "Type the path of a model, an image, a preset or a run folder",
            ),
            Self::OpenBundled => (
                "Open bundled model",
                "Open the elastic FBS network that is part of the program",
            ),
            Self::ExportModel => (
                "Export model…",
                "Write the open model, at the slider's densities, as ONNX, safetensors or a burn pack; a second runtime checks it",
            ),
            Self::SearchFromHere => (
                "Search from here",
                "Search one density per gate by simulated annealing, at the current cost, starting from the slider's densities. Without gates: what each layer keeps at the target, by random densities with norms measured anew; nothing is trained",
            ),
            Self::PruneToHere => (
                "Prune to here",
                "Cut the open model to the target that its slider stands at, and retrain it, by the method that is chosen beside",
            ),
            Self::SearchForGoal => (
                "Search for the goal",
                "Search what costs no more than the box on the frontier allows: densities of gates, else what to cut, by the method that prunes. Its trials appear on the frontier",
            ),
            Self::PlayImage => (
                "Play an image",
                "One image goes through the network, slowed down: channels that run glow, those that are skipped stay dark, beside the whole network at its speed",
            ),
            Self::TrainSmoke => (
                "Train a small network",
                "About a minute on two cores. Curves grow while it trains, and its points appear on the frontier",
            ),
            Self::TimeLayers => (
                "Time layers",
                "Measure each layer of the open model at several widths on this machine, once",
            ),
            Self::LowerDensity => ("Lower density", "One percent less"),
            Self::RaiseDensity => ("Raise density", "One percent more"),
            Self::Palette => ("Find an action…", "Find any action by typing some of its words"),
            Self::Help => ("Keys and actions", "List every action with its keyboard shortcut"),
            Self::Welcome => ("First steps", "Show or hide the line that says what to try next"),
            Self::SwitchTheme => ("Light or dark", "Switch between the light and the dark theme"),
            Self::ResetLayout => (
                "Reset layout",
                "Move the panels of this layout back to their original places",
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
            _ => None,
        }
    }
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
