//! What the window itself remembers: selection, layout, drafts. Nothing that the store could tell; it may be thrown away at any time.
//! Knows nothing of files or threads.

use super::toasts::Toasts;
use crate::model::Density;
use crate::run::Experiment;
use crate::run::device::DeviceName;
use crate::run::experiment::PRESETS;
use crate::run::probe::OpenModel;
use crate::view::Curves;
use crate::view::curves::CurveOptions;
use egui_tiles::{Container, Linear, LinearDir, Tabs, Tile, TileId, Tiles, Tree};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Density asked for when a model opens, in percent.
pub const FIRST_PERCENT: u32 = 50;

/// A panel of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Panel {
    /// The slider and what is measured at its density.
    Density,
    /// Accuracy against MACs.
    Frontier,
    /// Layers side by side.
    Layers,
    /// Channels of all layers.
    Saliency,
    /// Settings and curves.
    Training,
    /// Runs of this session.
    Runs,
    /// What went wrong.
    Log,
}

impl Panel {
    /// Its title.
    pub fn title(self) -> &'static str {
        match self {
            Panel::Density => "Density",
            Panel::Frontier => "Frontier",
            Panel::Layers => "Layers",
            Panel::Saliency => "Saliency",
            Panel::Training => "Training",
            Panel::Runs => "Runs",
            Panel::Log => "Log",
        }
    }
}

/// What the cells of the heat map show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Heat {
    /// Mean saliency.
    #[default]
    Saliency,
    /// How often each channel was active.
    Active,
}

/// Which curve stands beside the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Beside {
    /// Accuracy.
    #[default]
    Accuracy,
    /// Learning rate.
    Rate,
}

/// A path being typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathEntry {
    /// As typed.
    pub text: String,
    /// Why it is asked for.
    pub note: String,
}

/// The heat map as it lies on the graphics card, and what it was made from.
pub struct HeatTexture {
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
    /// The model that `density` was last set for.
    pub opened: Option<Arc<OpenModel>>,
    /// What Train would start.
    pub draft: Experiment,
    /// Where the draft came from: a preset's name or a file's.
    pub preset: String,
    /// The draft as it came.
    pub base: Experiment,
    /// What the heat map shows.
    pub heat: Heat,
    /// Channels by falling value instead of by number.
    pub sort_channels: bool,
    /// The heat map's picture.
    pub heat_texture: Option<HeatTexture>,
    /// How curves are shown.
    pub curve_options: CurveOptions,
    /// Which curve stands beside the loss.
    pub beside: Beside,
    /// Thinned curves.
    pub curves: Curves,
    /// Where panels are.
    pub tree: Tree<Panel>,
    /// Notices being shown.
    pub toasts: Toasts,
    /// A path being typed, if any.
    pub path_entry: Option<PathEntry>,
    /// Set when a file dialog is wanted; whoever shows it resets it.
    pub wants_dialog: bool,
    /// Set when the window shall close.
    pub wants_quit: bool,
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
            opened: None,
            base: draft.clone(),
            draft,
            preset: preset.to_owned(),
            heat: Heat::default(),
            sort_channels: false,
            heat_texture: None,
            curve_options: CurveOptions {
                smoothing: 0.6,
                ..CurveOptions::default()
            },
            beside: Beside::default(),
            curves: Curves::default(),
            tree: layout(),
            toasts: Toasts::default(),
            path_entry: None,
            wants_dialog: false,
            wants_quit: false,
        })
    }
}

impl UiState {
    /// Takes an experiment as the new draft.
    pub fn take_draft(&mut self, draft: Experiment, preset: String) {
        self.base = draft.clone();
        self.draft = draft;
        self.preset = preset;
    }
}

/// Panels as they stand at first: density over layers on the left, the frontier beside training above saliency on the right.
pub fn layout() -> Tree<Panel> {
    let mut tiles = Tiles::default();
    let mut tabs = |panels: &[Panel]| -> TileId {
        let panes: Vec<TileId> = panels.iter().map(|&p| tiles.insert_pane(p)).collect();
        let mut tabs = Tabs::new(panes.clone());
        tabs.active = panes.first().copied();
        tiles.insert_new(Tile::Container(Container::Tabs(tabs)))
    };
    let [density, layers] = [tabs(&[Panel::Density]), tabs(&[Panel::Layers])];
    let [frontier, training] = [
        tabs(&[Panel::Frontier]),
        tabs(&[Panel::Training, Panel::Runs, Panel::Log]),
    ];
    let saliency = tabs(&[Panel::Saliency]);
    let mut split = |dir: LinearDir, children: [TileId; 2], first: f32| -> TileId {
        tiles.insert_new(Tile::Container(Container::Linear(Linear::new_binary(
            dir, children, first,
        ))))
    };
    let left = split(LinearDir::Vertical, [density, layers], 0.46);
    let top = split(LinearDir::Horizontal, [frontier, training], 0.5);
    let right = split(LinearDir::Vertical, [top, saliency], 0.58);
    let root = split(LinearDir::Horizontal, [left, right], 0.28);
    Tree::new(egui::Id::unique("panels"), root, tiles)
}
