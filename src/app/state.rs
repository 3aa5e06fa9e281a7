//! What the window itself remembers: selection, layout, drafts, one struct per panel. Nothing that the store could tell; it may
//! be thrown away at any time. Knows nothing of files or threads.

use super::atlas::Atlas;
use super::effects::FileRequest;
use super::layout::Layouts;
use super::theme::{Palette, series};
use super::toasts::Toasts;
use egui::{Color32, TextureHandle};
use lab::RunStore;
use measure::images::{ImageRef, Thumbnail};
use measure::probe::OpenModel;
use measure::{Pruning, Question};
use model::Density;
use plots::Style;
use record::experiment::PRESETS;
use record::{Experiment, RunId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use train::device::{DeviceName, DeviceStatus};
use view::compare::{CompareOptions, SettingDifferences};
use view::curves::CurveOptions;
use view::frontier::{CostAxis, PointSource};
use view::images::ImageOptions;
use view::network::BeganAs;
use view::runs::{HiddenRuns, RunFilter, RunMarks};
use view::saliency::SaliencyScope;
use view::search::{SearchChoice, TrialValue};
use view::volume::VolumeView;
use view::wish::Requirement;
use view::{Curves, ModelView, runs};

/// Density asked for when a model opens, in percent.
pub(crate) const FIRST_PERCENT: u32 = 50;

/// All of it.
pub struct UiState {
    pub(crate) device: DeviceName,
    /// The devices of this machine, once somebody wanted to choose.
    pub(crate) devices: Option<Vec<DeviceStatus>>,
    /// What is asked of the open model.
    pub slider: SliderUi,
    /// What Train would start.
    pub draft: Draft,
    /// Which of [`super::draft::PRUNERS`] prunes to the target.
    pub(crate) pruner: usize,
    /// The strip of the network.
    pub(crate) network: NetworkUi,
    /// What a newcomer is told.
    pub ribbon: Ribbon,
    /// The frontier.
    pub frontier: FrontierUi,
    /// The table of runs.
    pub(crate) compare: CompareUi,
    /// The run that is pointed at.
    pub linked: Linked,
    /// The search panels.
    pub search: SearchUi,
    /// The heat map of channels.
    pub saliency: SaliencyUi,
    pub(crate) training: TrainingUi,
    pub(crate) model: ModelUi,
    pub(crate) images: ImagesUi,
    /// What breaks first.
    pub flips: FlipsUi,
    pub(crate) volume: VolumeUi,
    /// The list of runs.
    pub runs: RunsUi,
    /// The layer that was clicked, in whichever panel.
    pub layer: Option<String>,
    pub(crate) figure_style: Style,
    /// Where panels are.
    pub layouts: Layouts,
    /// What lies over the window, if anything.
    pub overlay: Option<Overlay>,
    /// Notices being shown.
    pub toasts: Toasts,
    /// What of the store has been acted on.
    pub seen: Seen,
}

/// What is asked of the open model, and what its slider stands at.
#[derive(Clone, Debug, PartialEq)]
pub struct SliderUi {
    /// Density on the slider.
    pub density: Density,
    /// A density per gate, in network order.
    pub asked: Question,
    /// Gates that the slider leaves alone.
    pub(crate) locked: BTreeSet<usize>,
    /// What the target slider stands at; at one time nothing is cut.
    pub cut: Pruning,
}

/// What Train would start, and what is half done in its form.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// The experiment.
    pub experiment: Experiment,
    /// It as it came from its preset.
    pub base: Experiment,
    /// Where it came from: a preset's name or a file's.
    pub(crate) preset: String,
    /// A key and the line being typed for it.
    pub(crate) typed: Option<(String, String)>,
    /// A key and why its last value was refused.
    pub(crate) problem: Option<(String, String)>,
}

impl Draft {
    pub(crate) fn new(experiment: Experiment, preset: String) -> Self {
        Self {
            base: experiment.clone(),
            experiment,
            preset,
            typed: None,
            problem: None,
        }
    }

    /// A built-in preset with changes.
    ///
    /// # Errors
    /// There is no such preset.
    pub(crate) fn changed(experiment: Experiment, preset: &str) -> anyhow::Result<Self> {
        let base = Experiment::load(preset, &[])?;
        Ok(Self {
            experiment,
            ..Self::new(base, preset.to_owned())
        })
    }

    /// The preset's name, or the name of its file.
    pub fn preset_name(&self) -> &str {
        let name = Path::new(&self.preset).file_name().and_then(|n| n.to_str());
        name.unwrap_or(&self.preset)
    }
}

/// What the cells of the heat map show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HeatValue {
    #[default]
    Saliency,
    /// How often each channel was active.
    Active,
}

/// The heat map of channels.
pub struct SaliencyUi {
    pub(crate) value: HeatValue,
    pub(crate) of: SaliencyScope,
    /// Channels by falling value instead of by number.
    pub(crate) sorts: bool,
    /// Whether it shows the chosen layer class by class.
    pub(crate) by_class: bool,
    /// Channels that are active in a smaller share of images can be cut.
    pub rare: f32,
    pub(crate) texture: Option<HeatTexture>,
}

/// The heat map as it lies on the graphics card, and what it was made from.
pub(crate) struct HeatTexture {
    /// The values it shows, row by row.
    pub(crate) cells: Vec<Vec<f32>>,
    pub(crate) dark: bool,
    pub(crate) texture: TextureHandle,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SidePlot {
    #[default]
    Accuracy,
    Rate,
    /// How many gates are always or never open.
    Gates,
    /// How norm scales are spread.
    Scales,
}

pub(crate) struct TrainingUi {
    pub(crate) options: CurveOptions,
    pub(crate) side: SidePlot,
    /// Whether loss and rate lie along a logarithmic axis.
    pub(crate) is_log: bool,
    pub(crate) curves: Curves,
}

/// A limit's line in the frontier, which can be dragged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitLine {
    /// At most so much accuracy below the reference.
    Loss,
    Cost,
    /// The corner of the box of both.
    Goal,
    /// The budget of the search that goes on.
    Budget,
}

/// Which points the frontier's axes follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FrontierFit {
    #[default]
    All,
    NearBest,
}

/// The run that is pointed at in one panel and stands out in the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Linked {
    /// As of the last frame.
    pub now: Option<RunId>,
    next: Option<RunId>,
}

impl Linked {
    pub(crate) fn point_at(&mut self, run: RunId) {
        self.next = Some(run);
    }

    /// A frame begins. Whether another run is pointed at than before.
    pub(crate) fn turn(&mut self) -> bool {
        let before = self.now;
        self.now = self.next.take();
        self.now != before
    }
}

/// The table of runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct CompareUi {
    pub(crate) options: CompareOptions,
    pub(crate) differences: SettingDifferences,
}

/// The frontier.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FrontierUi {
    pub(crate) against: CostAxis,
    pub(crate) wish: Requirement,
    /// The line under the pointer, held or not.
    pub(crate) line: Option<LimitLine>,
    /// The point whose layers are shown instead of the open model's.
    pub(crate) pick: Option<PointSource>,
    /// Whether costs are along a logarithmic axis.
    pub(crate) is_log: bool,
    /// Which points the axes follow.
    pub(crate) fit: FrontierFit,
    /// Whether somebody moved the plot away from them.
    pub(crate) is_moved: bool,
    /// Axes rest while something is dragged; whether they followed before.
    pub(crate) is_frozen: bool,
    pub(crate) followed: bool,
    /// Asks for all points to be shown.
    pub(crate) refit: bool,
}

/// The strip of the network.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NetworkUi {
    /// Whether it follows a run rather than the open model; unless somebody says, it does where searches are watched.
    pub(crate) follows: Option<bool>,
    /// When an image began to be played through it, in seconds of the window.
    pub(crate) played: Option<f64>,
    /// What the open model began as, and the model that it is of.
    pub(crate) began: Option<(Arc<OpenModel>, BeganAs)>,
}

/// What a newcomer is told, and what they have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ribbon {
    /// Whether it is shown.
    pub is_open: bool,
    /// A slider was dragged.
    pub(crate) dragged: bool,
    /// A run was started.
    pub(crate) ran: bool,
}

/// What the search panels look at, and what is being dragged in them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchUi {
    pub(crate) chosen: SearchChoice,
    /// What is along the side of the trials.
    pub(crate) height: TrialValue,
    /// Densities while a bar is dragged.
    pub(crate) proposal: Option<Vec<f32>>,
    /// The budget as a share of the whole while its slider is dragged.
    pub(crate) budget: Option<f64>,
}

impl SearchUi {
    pub(crate) fn choose(&mut self, run: RunId, search: usize) {
        self.chosen = SearchChoice {
            run: Some(run),
            search: Some(search),
            trial: None,
        };
    }

    /// Looks back at a trial.
    pub fn look_at(&mut self, run: RunId, search: usize, trial: u64) {
        self.choose(run, search);
        self.chosen.trial = Some(trial);
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ModelTable {
    #[default]
    Shapes,
    Times,
}

pub(crate) struct ModelUi {
    pub(crate) table: ModelTable,
    /// Whether it leaves out what has no weights.
    pub(crate) only_layers: bool,
    /// The table and the model it is of.
    pub(crate) view: Option<(Arc<OpenModel>, ModelView)>,
}

#[derive(Default)]
pub(crate) struct ImagesUi {
    pub(crate) options: ImageOptions,
    pub(crate) atlas: Atlas,
    /// The image that is looked at.
    pub(crate) close_up: Option<(Arc<Thumbnail>, TextureHandle)>,
}

/// What breaks first.
#[derive(Default)]
pub struct FlipsUi {
    pub(crate) atlas: Atlas,
    /// Classes by name and images as `#NUMBER` that the next search must keep.
    pub protected: BTreeSet<String>,
}

/// What searches cover, and how many images their trials had run when it was computed.
#[derive(Default)]
pub(crate) struct VolumeUi {
    pub(crate) of: Vec<(RunId, u64)>,
    pub(crate) view: Option<VolumeView>,
}

/// The list of runs.
#[derive(Clone, Debug, Default)]
pub struct RunsUi {
    /// Words that a run must have.
    pub(crate) words: String,
    pub(crate) only_starred: bool,
    /// Also those that are left out of plots.
    pub(crate) shows_hidden: bool,
    pub(crate) marks: RunMarks,
    /// The chosen colors again, by number, for those that draw.
    pub colors: BTreeMap<RunId, usize>,
    /// The run whose note is being written.
    pub(crate) noting: Option<String>,
    /// Run folders that were moved to the trash.
    pub(crate) gone: BTreeSet<PathBuf>,
    /// The run whose log has a slider, and the event where that stands.
    pub(crate) looking_back: Option<(RunId, u64)>,
}

impl RunsUi {
    /// The color of a run in lists and plots.
    pub(crate) fn color(&self, palette: &Palette, run: RunId) -> Color32 {
        let own = self.colors.get(&run).copied();
        series(palette, own.unwrap_or(run.0 as usize + 1))
    }

    /// Runs that plots leave out.
    pub fn hidden(&self, store: &RunStore) -> HiddenRuns {
        runs::hidden(store, &self.marks, &self.gone)
    }

    /// What the list is narrowed to.
    pub(crate) fn filter(&self) -> RunFilter<'_> {
        RunFilter {
            words: &self.words,
            only_starred: self.only_starred,
            shows_hidden: self.shows_hidden,
            marks: &self.marks,
            gone: &self.gone,
            looking_back: self.looking_back.map(|(id, _)| id),
        }
    }
}

/// What lies over the window until it is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Overlay {
    /// Actions by their words: what was typed, and which match is chosen.
    Palette(String, usize),
    /// Actions with their keys.
    Help,
    /// Asks whether a run folder shall be moved to the trash.
    Delete(PathBuf),
    /// What is still asked of a file of another program.
    Import(ImportEntry),
    /// A path being typed.
    Path(PathEntry),
}

/// What is still asked of a file of another program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportEntry {
    pub(crate) file: PathBuf,
    /// Whose weights it holds, an index into the zoo's names; a file with its own graph needs none.
    pub(crate) arch: Option<usize>,
    /// Shape of an image as typed; empty if the file says it.
    pub(crate) input: String,
    /// The images to measure it on.
    pub(crate) data: String,
}

/// A path being typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathEntry {
    /// As typed.
    pub text: String,
    /// Why it is asked for.
    pub note: String,
    /// What is done with it.
    pub request: FileRequest,
}

impl PathEntry {
    /// Where no file dialog exists.
    pub fn instead_of_a_dialog(request: FileRequest) -> Self {
        let text = match &request {
            FileRequest::Save(saving) => saving.name.clone(),
            FileRequest::Open | FileRequest::Images => String::new(),
        };
        Self {
            text,
            note: "This desktop has no file dialog.".to_owned(),
            request,
        }
    }
}

/// What of the store the window has acted on.
#[derive(Default)]
pub struct Seen {
    /// The model that the slider was last set for.
    pub(crate) model: Option<Arc<OpenModel>>,
    pub(crate) jobs: usize,
    /// The image that is looked at, and the question it was looked at for.
    pub(crate) looked: Option<(ImageRef, Question)>,
    /// Lines of [`lab::RunStore::notices_total`] that were shown.
    pub(crate) notices: u64,
    /// The newest model of each run whose norm scales were asked for, by its place in the log.
    pub(crate) scales: BTreeMap<RunId, u64>,
    /// Runs whose end was shown, and how often each had been resumed before it.
    pub endings: Vec<(RunId, u32)>,
}

impl UiState {
    /// A fresh window.
    ///
    /// # Errors
    /// The built-in preset cannot be read.
    pub fn new(device: DeviceName) -> anyhow::Result<Self> {
        let preset = PRESETS[0].0;
        Ok(Self {
            device,
            devices: None,
            slider: SliderUi {
                density: Density::percent(FIRST_PERCENT)?,
                asked: Question::default(),
                locked: BTreeSet::new(),
                cut: Pruning::default(),
            },
            draft: Draft::new(Experiment::load(preset, &[])?, preset.to_owned()),
            pruner: 0,
            network: NetworkUi::default(),
            ribbon: Ribbon::default(),
            frontier: FrontierUi::default(),
            compare: CompareUi::default(),
            linked: Linked::default(),
            search: SearchUi::default(),
            saliency: SaliencyUi {
                // The tide that ebbs while somebody drags.
                value: HeatValue::Active,
                of: SaliencyScope::default(),
                sorts: true,
                by_class: false,
                rare: 0.01,
                texture: None,
            },
            training: TrainingUi {
                options: CurveOptions {
                    smoothing: 0.6,
                    ..CurveOptions::default()
                },
                side: SidePlot::default(),
                is_log: false,
                curves: Curves::default(),
            },
            model: ModelUi {
                table: ModelTable::default(),
                only_layers: true,
                view: None,
            },
            images: ImagesUi::default(),
            flips: FlipsUi::default(),
            volume: VolumeUi::default(),
            runs: RunsUi::default(),
            layer: None,
            figure_style: Style::default(),
            layouts: Layouts::default(),
            overlay: None,
            toasts: Toasts::default(),
            seen: Seen::default(),
        })
    }
}

impl FrontierUi {
    /// Whether this run's layers are shown instead of the open model's.
    pub fn shows_run(&self, run: RunId) -> bool {
        matches!(self.pick, Some(PointSource::Epoch(of, _) | PointSource::Trial(of, ..)) if of == run)
    }
}
