//! The panels by name.

use serde::{Deserialize, Serialize};

/// A panel of the window.
#[expect(missing_docs, reason = "their words explain them")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PanelName {
    Density,
    Network,
    Frontier,
    Layers,
    Saliency,
    Search,
    Sites,
    Parallel,
    Residuals,
    Volume,
    Training,
    Experiment,
    Model,
    Images,
    Flips,
    Runs,
    Compare,
    Log,
}

impl PanelName {
    /// All, in the order of the menu.
    pub const ALL: [Self; 18] = [
        Self::Density,
        Self::Network,
        Self::Layers,
        Self::Saliency,
        Self::Images,
        Self::Flips,
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
        Self::Compare,
        Self::Log,
    ];

    pub(crate) fn title(self) -> &'static str {
        self.words().0
    }

    /// What it shows, in a sentence.
    pub(crate) fn about(self) -> &'static str {
        self.words().1
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Density => (
                "Density",
                "The sliders for density and target, and what is measured where they stand",
            ),
            Self::Network => (
                "Network",
                "The network as a strip: how much of each layer runs, and where its work is",
            ),
            Self::Frontier => ("Frontier", "Accuracy against cost of models, runs and trials"),
            Self::Layers => ("Layers", "How much of each layer runs, and what it costs"),
            Self::Saliency => ("Saliency", "Which channels matter, and how often each was active"),
            Self::Search => ("Search", "The trials of a search as they arrive"),
            Self::Sites => (
                "Sites",
                "The densities that a search chooses, site by site; drag one to propose it, tick it to hold it",
            ),
            Self::Parallel => (
                "Trials over sites",
                "Each trial as a line over the sites (parallel coordinates)",
            ),
            Self::Residuals => ("Residuals", "How close ADMM's weights are to their pruned targets"),
            Self::Volume => (
                "Hypervolume",
                "How much of the frontier each search covers, against the images its trials ran",
            ),
            Self::Training => (
                "Training",
                "The settings people change most, and the curves of all runs",
            ),
            Self::Experiment => (
                "Experiment",
                "Every setting of the preset; copy it as a command or save it as a preset of your own",
            ),
            Self::Model => (
                "Model",
                "The network as a table: shapes, costs, and layers that are cut together",
            ),
            Self::Images => (
                "Images",
                "Validation images: the computation each one took, and what the model predicts",
            ),
            Self::Flips => (
                "What breaks first",
                "Images whose answer changed when a slider moved, how each class fares, and what searches must keep",
            ),
            Self::Runs => ("Runs", "The runs of this session and earlier ones"),
            Self::Compare => (
                "Table of runs",
                "Runs side by side: accuracy, cost, time, how far each is from a pinned one, and the settings that differ",
            ),
            Self::Log => ("Log", "All warnings and errors"),
        }
    }
}
