//! Whether an action is possible, and how it is performed.
//! Knows nothing of where its button is.

use super::action::UiAction;
use super::effects::{Effect, Effects, FileRequest};
use super::layout::{self, LayoutName};
use super::panel_name::PanelName;
use super::question::{range, set_density};
use super::state::{Draft, ModelTable, Overlay, PathEntry, UiState};
use super::{draft, exporting};
use lab::{Command, ModelJob, RunStore};
use measure::images::ImageRef;
use record::experiment::PRESETS;
use record::{Experiment, ModelRef, Status};
use view::times;

impl UiAction {
    pub(crate) fn is_possible(self, store: &RunStore, state: &UiState) -> bool {
        match self {
            Self::Train => state.draft.experiment.check("").is_ok(),
            Self::PauseOrResume | Self::Stop => store
                .current()
                .is_some_and(|run| matches!(run.status, Status::Running | Status::Paused)),
            Self::TimeLayers => store.open.is_some(),
            Self::PlayImage => store.look.is_some() || store.strip.as_ref().is_some_and(|s| !s.thumbs.is_empty()),
            // The file would have what the slider has cut.
            Self::ExportModel => store.open.is_some() && state.slider.asked.cut.is_none(),
            Self::PruneToHere | Self::SearchFromHere | Self::SearchForGoal => self.why_not(store, state).is_none(),
            Self::LowerDensity | Self::RaiseDensity => range(store).is_some_and(|[low, high]| low < high),
            _ => true,
        }
    }

    /// Why it is not possible, where that is not plain.
    pub(crate) fn why_not(self, store: &RunStore, state: &UiState) -> Option<&'static str> {
        let is_cut = state.slider.asked.cut.is_some();
        match self {
            // Over gates; without any, over what layers keep.
            Self::SearchFromHere if range(store).is_some() => None,
            Self::ExportModel if is_cut => {
                Some("What the slider cuts is not retrained yet: prune to here first, then export the run's model")
            }
            Self::PruneToHere | Self::SearchFromHere | Self::SearchForGoal if store.open.is_none() => {
                Some("Open a model first")
            }
            Self::PruneToHere | Self::SearchFromHere if !is_cut => Some("Move the target slider first"),
            Self::SearchForGoal if state.frontier.wish.most.is_none() => {
                Some("Set a goal on the frontier first: at most which cost")
            }
            Self::PruneToHere | Self::SearchFromHere | Self::SearchForGoal if store.images_from.is_none() => {
                Some("This needs images: give the model some first")
            }
            _ => None,
        }
    }

    /// Changes the window's state, or asks for an effect.
    pub(crate) fn perform(self, ctx: &egui::Context, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
        if !self.is_possible(store, state) {
            return;
        }
        let percent = u32::from(state.slider.density.as_percent());
        match self {
            Self::Train => effects.submit(Command::Start(Box::new(state.draft.experiment.clone()))),
            Self::PauseOrResume => effects.submit(store.current().map(|run| match run.status {
                Status::Paused => Command::Resume(run.id),
                _ => Command::Pause(run.id),
            })),
            Self::Stop => effects.submit(store.current().map(|run| Command::Stop(run.id))),
            Self::OpenModel => effects.push(Effect::FileDialog(FileRequest::Open)),
            Self::OpenByPath => state.overlay = Some(Overlay::Path(PathEntry::default())),
            Self::OpenBundled => effects.submit(Command::Open(ModelRef::Bundled)),
            Self::ExportModel => {
                if let Some(saving) = exporting::open_at(store, &state.slider.asked.densities) {
                    effects.save(saving);
                }
            }
            Self::SearchFromHere => match draft::search_from_here(store, state) {
                Ok(experiment) => {
                    state.layouts.go(LayoutName::Watch);
                    effects.submit(Command::Start(Box::new(experiment)));
                }
                Err(e) => state.toasts.fail(&e),
            },
            Self::PruneToHere => match draft::prune_to_here(store, state) {
                Ok(experiment) => {
                    layout::show(&mut state.layouts.tree, PanelName::Training);
                    effects.submit(Command::Start(Box::new(experiment)));
                }
                Err(e) => state.toasts.fail(&e),
            },
            Self::SearchForGoal => match draft::search_for_goal(store, state) {
                Ok(experiment) => effects.submit(Command::Start(Box::new(experiment))),
                Err(e) => state.toasts.fail(&e),
            },
            Self::PlayImage => {
                state.network.played = Some(ctx.input(|i| i.time));
                let first = Command::Look(ImageRef::Valid(0));
                effects.submit(store.look.is_none().then_some(first));
                if !state.layouts.tree.active_tiles().iter().any(|id| {
                    matches!(
                        state.layouts.tree.tiles.get(*id),
                        Some(egui_tiles::Tile::Pane(PanelName::Network))
                    )
                }) {
                    layout::show(&mut state.layouts.tree, PanelName::Network);
                }
            }
            Self::TrainSmoke => match Experiment::load(PRESETS[0].0, &[]) {
                Ok(experiment) => {
                    layout::show(&mut state.layouts.tree, PanelName::Training);
                    effects.submit(Command::Start(Box::new(experiment)));
                }
                Err(e) => state.toasts.fail(&e),
            },
            Self::TimeLayers => {
                state.model.table = ModelTable::Times;
                layout::show(&mut state.layouts.tree, PanelName::Model);
                let open = store.open.as_ref().filter(|_| !times::is_timing(store));
                effects.submit(open.map(|open| Command::Work(ModelJob::Time(open.from.clone()))));
            }
            Self::LowerDensity => effects.submit(set_density(store, state, percent - 1)),
            Self::RaiseDensity => effects.submit(set_density(store, state, percent + 1)),
            Self::SwitchTheme => ctx.set_theme(match ctx.theme() {
                egui::Theme::Dark => egui::Theme::Light,
                egui::Theme::Light => egui::Theme::Dark,
            }),
            Self::Palette => state.overlay = Some(Overlay::Palette(String::new(), 0)),
            Self::Help => state.overlay = Some(Overlay::Help),
            Self::Welcome => state.ribbon.is_open = !state.ribbon.is_open,
            Self::ResetLayout => state.layouts.reset(),
            Self::Layout(name) => state.layouts.go(name),
            Self::Show(panel) => layout::show(&mut state.layouts.tree, panel),
            Self::Preset(i) => match Experiment::load(PRESETS[i].0, &[]) {
                Ok(experiment) => state.draft = Draft::new(experiment, PRESETS[i].0.to_owned()),
                Err(e) => state.toasts.fail(&e),
            },
            Self::Quit => effects.push(Effect::Quit),
        }
    }
}
