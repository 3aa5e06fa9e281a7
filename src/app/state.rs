//! What the window itself remembers: selection, layout, drafts. Nothing that the store could tell; it may be thrown away at any time.
//! Knows nothing of files or threads.

use super::action::UiAction;
use super::layout::Layouts;
use super::panels::images::Atlas;
use super::saved_window::Marks;
use super::theme;
use super::theme::Palette;
use super::toasts::Toasts;
use egui::Color32;
use measure::images::Thumbnail;
use measure::probe::OpenModel;
use measure::{ModelRef, Question};
use model::Density;
use plots::Style;
use record::experiment::PRESETS;
use record::replay::RunSummary;
use record::{Experiment, RunId, RunState};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use train::device::DeviceName;
use view::curves::CurveOptions;
use view::form::Value;
use view::frontier::{Against, Source, Wish};
use view::images::ImageOptions;
use view::runs::key;
use view::saliency::Of;
use view::search::{Chosen, Height};
use view::volume::VolumeView;
use view::{Curves, ModelView};

/// Density asked for when a model opens, in percent.
pub(crate) const FIRST_PERCENT: u32 = 50;

/// A panel of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PanelName {
    /// The slider and what is measured at its density.
    Density,
    /// Accuracy against MACs.
    Frontier,
    /// Layers side by side.
    Layers,
    /// Channels of all layers.
    Saliency,
    /// Trials of a search.
    Search,
    /// What a search decides.
    Sites,
    /// Trials as lines over sites.
    Parallel,
    /// ADMM's residuals.
    Residuals,
    /// How fast searches pay.
    Volume,
    /// Curves.
    Training,
    /// All settings of the draft.
    Experiment,
    /// The network as a table.
    Model,
    /// Validation images.
    Images,
    /// Runs of this session.
    Runs,
    /// What went wrong.
    Log,
}

impl PanelName {
    /// All, in the order of the menu.
    pub const ALL: [Self; 15] = [
        Self::Density,
        Self::Layers,
        Self::Saliency,
        Self::Images,
        Self::Model,
        Self::Frontier,
        Self::Training,
        Self::Experiment,
        Self::Search,
        Self::Sites,
        Self::Parallel,
        Self::Residuals,
        Self::Volume,
        Self::Runs,
        Self::Log,
    ];

    /// Its title.
    pub fn title(self) -> &'static str {
        match self {
            PanelName::Density => "Density",
            PanelName::Frontier => "Frontier",
            PanelName::Layers => "Layers",
            PanelName::Saliency => "Saliency",
            PanelName::Search => "Search",
            PanelName::Sites => "Sites",
            PanelName::Parallel => "Trials over sites",
            PanelName::Residuals => "Residuals",
            PanelName::Volume => "Hypervolume",
            PanelName::Training => "Training",
            PanelName::Experiment => "Experiment",
            PanelName::Model => "Model",
            PanelName::Images => "Images",
            PanelName::Runs => "Runs",
            PanelName::Log => "Log",
        }
    }

    /// What it shows, in a sentence.
    pub fn about(self) -> &'static str {
        match self {
            PanelName::Density => "The slider, and what is measured at its density",
            PanelName::Frontier => "Accuracy against cost: models, runs, trials",
            PanelName::Layers => "How much of each layer runs, and what it costs",
            PanelName::Saliency => "Which channels matter, and how often each was active",
            PanelName::Search => "Trials of a search as they come",
            PanelName::Sites => "What a search decides, site by site; drag to propose, tick to hold",
            PanelName::Parallel => "Trials as lines over sites",
            PanelName::Volume => "How much of the frontier each search covers, against the trials it spent",
            PanelName::Residuals => "How near ADMM's weights are to their pruned targets",
            PanelName::Training => "The settings people change most, and curves of all runs",
            PanelName::Experiment => "Every setting of the preset; as a command, as a preset of your own",
            PanelName::Model => "The network as a table: shapes, costs, what is tied",
            PanelName::Images => "Validation images: what was computed for each, and what the model says",
            PanelName::Runs => "Runs of this session",
            PanelName::Log => "Everything that went wrong",
        }
    }
}

/// What the cells of the heat map show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeatValue {
    /// Mean saliency.
    #[default]
    Saliency,
    /// How often each channel was active.
    Active,
}

/// Which curve stands beside the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SidePlot {
    /// Accuracy.
    #[default]
    Accuracy,
    /// Learning rate.
    Rate,
    /// How gates work.
    Gates,
}

/// A wish's line in the frontier that can be dragged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitLine {
    /// At most so much accuracy below the reference.
    Loss,
    /// At most so much cost.
    Cost,
}

/// What the frontier panel shows, and what is wished for in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FrontierUi {
    /// What accuracy is set against.
    pub against: Against,
    /// What is wished for.
    pub wish: Wish,
    /// The line under the pointer, held or not.
    pub dragged: Option<LimitLine>,
}

impl FrontierUi {
    pub(crate) fn set_wish(&mut self, kind: LimitLine, value: f64) {
        match kind {
            LimitLine::Loss => self.wish.below = Some(value),
            LimitLine::Cost => self.wish.most = Some(value),
        }
    }
}

/// What the search panels look at, and what is being dragged in them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchUi {
    /// Which search, and which trial.
    pub chosen: Chosen,
    /// What is along the side of the trials.
    pub height: Height,
    /// Densities while a bar is dragged.
    pub proposal: Option<Vec<f32>>,
    /// The budget as a share of the whole while its slider is dragged.
    pub budget: Option<f64>,
}

impl SearchUi {
    /// Looks at a search as it goes on.
    pub fn choose(&mut self, run: RunId, search: usize) {
        self.chosen = Chosen {
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

/// What is half done in the experiment's form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FormUi {
    /// A key and the line being typed for it.
    pub typed: Option<(String, String)>,
    /// A key and why its last value was not taken.
    pub problem: Option<(String, String)>,
    /// The value that was just taken of a field.
    pub taken: Option<Value>,
}

/// Something that somebody wants to save.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saving {
    /// The name that is suggested.
    pub name: String,
    /// What is saved.
    pub content: SaveContent,
}

/// What is saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaveContent {
    /// These bytes, as they are.
    Bytes(Vec<u8>),
    /// A model: the file's ending says the format, and the engine writes and checks it.
    Model {
        /// Which one.
        from: ModelRef,
        /// One density a gate, or one for all.
        densities: Vec<Density>,
    },
}

/// What is still asked of a file of another program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportEntry {
    /// The file.
    pub file: PathBuf,
    /// Whose weights it holds, an index into the zoo's names; a file with its own graph needs none.
    pub arch: Option<usize>,
    /// Shape of an image as typed; empty if the file says it.
    pub input: String,
    /// The images to measure it on.
    pub data: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ModelTable {
    #[default]
    Shapes,
    Times,
}

/// What the runs panel remembers.
#[derive(Clone, Debug, Default)]
pub struct RunsUi {
    /// Words that a run must have.
    pub filter: String,
    pub(crate) only_starred: bool,
    /// Also those that are left out of plots.
    pub(crate) shows_hidden: bool,
    /// Stars, hidden ones, notes, colors.
    pub marks: Marks,
    /// The chosen colors again, by number, for those that draw.
    pub colors: BTreeMap<RunId, usize>,
    /// The run whose note is being written.
    pub(crate) noting: Option<String>,
    /// Run folders of earlier days, newest first.
    pub earlier: Vec<RunSummary>,
    /// Run folders that were thrown away.
    pub gone: BTreeSet<PathBuf>,
    /// The run whose log has a slider, and the event where that stands.
    pub(crate) looking_back: Option<(RunId, u64)>,
    /// A folder that the system shall show; whoever does it takes it.
    pub(crate) to_open: Option<PathBuf>,
    /// A folder that shall be moved to the trash; whoever does it takes it.
    pub to_trash: Option<PathBuf>,
}

impl RunsUi {
    /// The color of a run in lists and plots.
    pub fn color(&self, palette: &Palette, run: RunId) -> Color32 {
        let own = self.colors.get(&run).copied();
        theme::series(palette, own.unwrap_or(run.0 as usize + 1))
    }
}

/// A path being typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathEntry {
    /// As typed.
    pub text: String,
    /// Why it is asked for.
    pub note: String,
    /// What is saved there; otherwise what is there is opened.
    pub saving: Option<Saving>,
}

impl PathEntry {
    /// Where no file dialog exists: to save this, or to open something.
    pub fn instead_of_a_dialog(saving: Option<Saving>) -> Self {
        Self {
            text: saving.as_ref().map_or_else(String::new, |s| s.name.clone()),
            note: "There is no file dialog on this desktop.".to_owned(),
            saving,
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
    /// Three things to try.
    Welcome,
    /// Whether a run folder shall really be thrown away.
    Delete(PathBuf),
    /// What is still asked of a file of another program.
    Import(ImportEntry),
}

/// The heat map as it lies on the graphics card, and what it was made from.
pub(crate) struct HeatTexture {
    /// The values it shows, row by row.
    pub cells: Vec<Vec<f32>>,
    /// On a dark surface.
    pub dark: bool,
    /// The picture.
    pub texture: egui::TextureHandle,
}

/// All of it.
pub struct UiState {
    /// What runs are trained on.
    pub device: DeviceName,
    /// Density on the slider.
    pub density: Density,
    /// What is asked of the open model: a density a gate, in network order.
    pub asked: Question,
    /// Gates that the slider leaves alone.
    pub locked: BTreeSet<usize>,
    /// The model that `density` was last set for.
    pub opened: Option<Arc<OpenModel>>,
    /// What Train would start.
    pub draft: Experiment,
    /// Where the draft came from: a preset's name or a file's.
    pub preset: String,
    /// The draft as it came.
    pub base: Experiment,
    /// What is half done in its form.
    pub form: FormUi,
    /// What the heat map shows.
    pub heat: HeatValue,
    /// Channels by falling value instead of by number.
    pub(crate) sort_channels: bool,
    pub(crate) heat_texture: Option<HeatTexture>,
    pub(crate) curve_options: CurveOptions,
    /// Which curve stands beside the loss.
    pub beside: SidePlot,
    /// Thinned curves.
    pub curves: Curves,
    /// What the search panels look at.
    pub search: SearchUi,
    /// What the frontier shows.
    pub frontier: FrontierUi,
    /// How validation images are shown.
    pub images: ImageOptions,
    pub(crate) atlas: Option<Atlas>,
    /// The picture of the image that is looked at.
    pub(crate) look_texture: Option<(Arc<Thumbnail>, egui::TextureHandle)>,
    pub(crate) saliency_of: Of,
    pub(crate) model_table: Option<(Arc<OpenModel>, ModelView)>,
    /// Whether it leaves out what has no weights.
    pub(crate) only_layers: bool,
    /// The point of the frontier whose layers are shown instead of the open model's.
    pub pick: Option<Source>,
    /// The layer that was clicked, in whichever panel.
    pub layer: Option<String>,
    /// What the runs panel remembers.
    pub runs: RunsUi,
    /// Where panels are.
    pub layouts: Layouts,
    /// What panels want done once they are drawn.
    pub later: Vec<UiAction>,
    /// What lies over the window, if anything.
    pub overlay: Option<Overlay>,
    /// Notices being shown.
    pub toasts: Toasts,
    /// A path being typed, if any.
    pub path_entry: Option<PathEntry>,
    /// Set when a file dialog is wanted; whoever shows it resets it.
    pub(crate) wants_dialog: bool,
    /// What shall be saved, wherever its user says; whoever asks takes it.
    pub saving: Option<Saving>,
    /// What shall be written where; whoever writes takes it.
    pub writing: Option<(PathBuf, SaveContent)>,
    pub(crate) jobs_seen: usize,
    /// Channels that are active in a smaller share of images can be cut.
    pub rare: f32,
    /// What searches cover, and the trials it was counted from.
    pub volume: (Vec<(RunId, u64)>, Option<VolumeView>),
    /// Whether the heat map shows the chosen layer class by class.
    pub by_class: bool,
    pub(crate) model_shows: ModelTable,
    pub(crate) figure_style: Style,
    /// Set when the window shall close.
    pub(crate) wants_quit: bool,
}

impl UiState {
    /// A fresh window.
    ///
    /// # Errors
    /// The built-in preset cannot be read.
    pub fn new(device: DeviceName) -> anyhow::Result<Self> {
        let preset = PRESETS[0].0;
        let draft = Experiment::load(preset, &[])?;
        Ok(Self {
            device,
            density: Density::percent(FIRST_PERCENT)?,
            asked: Question { densities: Vec::new() },
            locked: BTreeSet::new(),
            opened: None,
            base: draft.clone(),
            draft,
            preset: preset.to_owned(),
            form: FormUi::default(),
            heat: HeatValue::default(),
            sort_channels: false,
            heat_texture: None,
            curve_options: CurveOptions {
                smoothing: 0.6,
                ..CurveOptions::default()
            },
            beside: SidePlot::default(),
            curves: Curves::default(),
            search: SearchUi::default(),
            frontier: FrontierUi::default(),
            images: ImageOptions::default(),
            atlas: None,
            look_texture: None,
            saliency_of: Of::default(),
            model_table: None,
            only_layers: true,
            pick: None,
            layer: None,
            runs: RunsUi::default(),
            layouts: Layouts::default(),
            later: Vec::new(),
            overlay: None,
            toasts: Toasts::default(),
            path_entry: None,
            wants_dialog: false,
            saving: None,
            writing: None,
            jobs_seen: 0,
            rare: 0.01,
            volume: (Vec::new(), None),
            by_class: false,
            model_shows: ModelTable::default(),
            figure_style: Style::default(),
            wants_quit: false,
        })
    }
}

impl UiState {
    /// Takes an experiment as the new draft.
    pub(crate) fn take_draft(&mut self, draft: Experiment, preset: String) {
        self.base = draft.clone();
        self.draft = draft;
        self.preset = preset;
        self.form = FormUi::default();
    }

    /// Takes an experiment as the draft that is a built-in preset with changes.
    ///
    /// # Errors
    /// There is no such preset.
    pub(crate) fn take_changed(&mut self, draft: Experiment, preset: &str) -> anyhow::Result<()> {
        self.take_draft(Experiment::load(preset, &[])?, preset.to_owned());
        self.draft = draft;
        Ok(())
    }

    /// Whether a run is left out of plots.
    pub fn hides(&self, run: &RunState) -> bool {
        let is_gone = run.folder.as_ref().is_some_and(|f| self.runs.gone.contains(f));
        is_gone || self.runs.marks.hidden.contains(&key(run))
    }

    /// The preset's name, or the name of its file.
    pub fn preset_name(&self) -> &str {
        let name = Path::new(&self.preset).file_name().and_then(|n| n.to_str());
        name.unwrap_or(&self.preset)
    }
}
