//! What each key of an experiment means: its unit, its range, its choices.
//! Knows nothing of values; a key without an entry can still be edited.

use model::zoo;
use serde::Serialize;

/// One key, or all keys that end so.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Doc {
    /// The key, or the end of it from a dot on.
    pub key: &'static str,
    /// Behind the number.
    pub unit: &'static str,
    /// Least and most; equal where there is no bound that a field could hold.
    pub range: [f64; 2],
    /// What a text may be; empty for any.
    pub choices: &'static [&'static str],
    /// In a sentence.
    pub help: &'static str,
}

const fn text(key: &'static str, help: &'static str) -> Doc {
    number(key, "", [0.0, 0.0], help)
}

const fn number(key: &'static str, unit: &'static str, range: [f64; 2], help: &'static str) -> Doc {
    Doc {
        key,
        unit,
        range,
        choices: &[],
        help,
    }
}

const fn choice(key: &'static str, choices: &'static [&'static str], help: &'static str) -> Doc {
    Doc {
        choices,
        ..text(key, help)
    }
}

const UNKNOWN: Doc = text("", "");
const SHARE: [f64; 2] = [0.0, 1.0];
const EPOCHS: [f64; 2] = [0.0, 100_000.0];
const RATE: [f64; 2] = [1e-6, 100.0];

/// Longer ends come before shorter ones.
const DOCS: &[Doc] = &[
    text("name", "Short name; run folders carry it. Letters, digits, - and _"),
    text("about", "What it shows, in a sentence"),
    number(
        "seed",
        "",
        [0.0, 1e15],
        "Decides everything random: two runs of one seed say the same",
    ),
    number(
        "checkpoint_secs",
        "s",
        [0.0, 1e6],
        "How much work a crash may cost: how often what the run remembers is written",
    ),
    text(
        "start",
        "A trained model to start from, a file or `bundled`; without one, the dense network is trained first",
    ),
    text(
        "data.source",
        "fashion-mnist (bundled), or a path: IDX, CIFAR, or train/<class>/*.png",
    ),
    number(
        "data.valid",
        "images",
        [0.0, 1e9],
        "Training images set aside for validation; searches and sliders see these",
    ),
    number(
        "data.split_seed",
        "",
        [0.0, 1e15],
        "Chooses the validation images, if not the seed: forks with another seed keep them",
    ),
    number(
        "data.limit",
        "images",
        [0.0, 1e9],
        "Use only so many training images; 0 means all",
    ),
    number(
        "augment.crop_pad",
        "pixels",
        [0.0, 64.0],
        "Added on every side before a window is cut out at random; 0 is off",
    ),
    text("augment.flip", "Mirror every second image, left to right"),
    choice("model.arch", &zoo::NAMES, "The network"),
    number("model.width", "", [0.01, 8.0], "Multiplies every hidden channel count"),
    number(
        "model.dropout",
        "",
        [0.0, 0.99],
        "Replaces the network's own dropout rate",
    ),
    number(
        "train.epochs",
        "epochs",
        [1.0, 100_000.0],
        "Times each training image is seen",
    ),
    number("train.batch", "images", [1.0, 65_536.0], "Images a step"),
    number(
        "train.lr",
        "",
        RATE,
        "Highest learning rate: it rises at first and then falls along a cosine to zero",
    ),
    number(
        "train.warmup",
        "",
        [0.0, 0.99],
        "Share of all steps in which the rate rises",
    ),
    number(
        "train.momentum",
        "",
        [0.0, 0.9999],
        "Momentum of stochastic gradient descent (Nesterov)",
    ),
    number(
        "train.weight_decay",
        "",
        [0.0, 1.0],
        "L2 penalty on the weights of convolutions and linear layers",
    ),
    number(
        "train.label_smoothing",
        "",
        [0.0, 0.99],
        "Share of the target spread evenly over all classes",
    ),
    number(
        "train.clip_norm",
        "",
        [0.0, 1e6],
        "Gradients are scaled down to this norm when they exceed it; 0 means never",
    ),
    number(
        "train.log_every",
        "steps",
        [1.0, 1e9],
        "Steps between two points of the training curve",
    ),
    choice(
        "method.kind",
        &[
            "dense",
            "fbs",
            "densities",
            "slimming",
            "admm",
            "autocompress",
            "amc",
            "uniform",
            "random",
            "greedy",
        ],
        "How the network is pruned; changing it brings that method's own keys",
    ),
    choice(
        "method.shift",
        &["eq1", "released"],
        "Where FBS puts β: π·(norm + β) as the paper, or π·norm + m·β as the authors' code",
    ),
    choice(
        "norm_statistics",
        &["all", "active"],
        "Batch statistics over all images (the paper), or over those in which a channel won (never computes the others)",
    ),
    number(
        "method.dense_start",
        "",
        SHARE,
        "Share of all epochs trained at density 1 before densities fall",
    ),
    text(
        "method.stages",
        "Densities trained one after the other, falling; empty means elastic training of all at once",
    ),
    number(
        "method.draws",
        "",
        [2.0, 64.0],
        "Elastic: parts of a batch, each at its own density; the first two at the largest and the smallest",
    ),
    text(
        "method.grid",
        "Densities that norm statistics are kept for; empty means every 0.05 down to the smallest trained",
    ),
    number(
        "method.calibration",
        "images",
        [0.0, 1e9],
        "Training images that norm statistics are measured on; in a search anew before each trial, or not at all with 0, as the papers do",
    ),
    choice(
        "target.unit",
        &["weights", "macs", "ms"],
        "What is to become less: weights, MACs, or milliseconds on this machine",
    ),
    number(
        "target.times",
        "×",
        [1.0, 10_000.0],
        "How many times less than the model it starts from",
    ),
    choice(
        "method.score",
        &["l1", "l2", "norm-scale", "taylor", "geometric-median", "random"],
        "Which parts a search leaves out first: those of the lowest Σ|w|, ‖w‖₂, |γ|, |Σ w·∂loss/∂w|, distance to the others, or by chance",
    ),
    text(
        "method.locks",
        "Layers that are left alone, e.g. [{ layer = \"conv1\" }]; with `dimension` in that way only, with `density` pruned to that share once",
    ),
    choice(
        "method.reward",
        &["accuracy", "accuracy-guaranteed"],
        "AMC: accuracy within the target, or −error · ln(what is spent) without one",
    ),
    number(
        "method.round",
        "×",
        [1.01, 10_000.0],
        "AutoCompress: each round aims at so many times less than the round before",
    ),
    text(
        "method.dimensions",
        "In which ways, one after the other: filter, channel, column, or element alone",
    ),
    number(
        "method.passes",
        "",
        [1.0, 16.0],
        "Times the whole is repeated; each pass takes its equal share, as a factor",
    ),
    number(
        "purify.passes",
        "",
        [0.0, 16.0],
        "Passes of purification (AutoCompress, phase 2); 0 leaves it out",
    ),
    number(
        "purify.tolerance",
        "",
        SHARE,
        "Accuracy that a pass may lose before it retrains, as a share",
    ),
    number(
        "tolerance",
        "",
        SHARE,
        "Accuracy on validation images that a round may lose, as a share; one that loses more is taken back",
    ),
    number("floor", "", [0.0, 1.0], "Least kept share of a layer"),
    number(
        "images",
        "images",
        [1.0, 1e9],
        "Validation images a trial is measured on",
    ),
    number(
        "method.trials",
        "trials",
        [1.0, 1e6],
        "Vectors of densities that may be measured",
    ),
    number("search.trials", "trials", [1.0, 1e6], "Vectors of densities to measure"),
    number(
        "search.samples",
        "trials",
        [1.0, 1e6],
        "Measured before the first temperature is chosen",
    ),
    number(
        "search.start_acceptance",
        "",
        [0.01, 0.99],
        "Share of bad moves taken at the first temperature",
    ),
    number(
        "search.cooling_floor",
        "",
        [1e-9, 1.0],
        "Last temperature as a share of the first",
    ),
    number(
        "search.step",
        "",
        SHARE,
        "Largest change of a density at the first temperature",
    ),
    number(
        "search.last_step",
        "",
        SHARE,
        "Largest change of a density at the last temperature",
    ),
    number(
        "search.moved",
        "",
        SHARE,
        "Share of the sites that a proposal changes, at least one; 1 as published",
    ),
    number(
        "search.window",
        "trials",
        [1.0, 1e6],
        "Proposals over which acceptance is counted",
    ),
    text(
        "search.guided",
        "Whether bigger sites are pruned no less than smaller ones (AutoCompress's guide)",
    ),
    text(
        "search.first",
        "Densities to measure first, one a site, brought within the budget",
    ),
    number(
        "search.warmup",
        "episodes",
        [0.0, 1e6],
        "AMC: episodes of random actions before the agent is asked",
    ),
    number(
        "search.sigma",
        "",
        [0.0, 10.0],
        "AMC: noise on the first actions of the agent",
    ),
    number(
        "search.decay",
        "",
        [0.0, 1.0],
        "AMC: factor on the noise after each episode",
    ),
    number(
        "search.least",
        "",
        SHARE,
        "AMC: least density of any site, where the budget can be met with it",
    ),
    number(
        "search.replay",
        "episodes",
        [1.0, 1e6],
        "AMC: episodes the agent remembers",
    ),
    number(
        "agent.hidden",
        "units",
        [1.0, 65_536.0],
        "Units of each hidden layer of actor and critic",
    ),
    number("agent.lr_actor", "", RATE, "Learning rate of the actor"),
    number("agent.lr_critic", "", RATE, "Learning rate of the critic"),
    number(
        "agent.tau",
        "",
        SHARE,
        "Share by which the targets follow at each update",
    ),
    number("agent.batch", "", [1.0, 65_536.0], "Transitions an update"),
    number(
        "admm.epochs",
        "epochs",
        EPOCHS,
        "Training towards sparse weights, for each dimension",
    ),
    number(
        "admm.every",
        "epochs",
        [1.0, 1e6],
        "Epochs between two updates of Z and U",
    ),
    number(
        "admm.rho",
        "",
        [0.0, 1e6],
        "ρ, weight of ADMM's penalty (arXiv 1804.03294)",
    ),
    number("admm.growth", "×", [1.0, 1e3], "ρ is multiplied by this at each update"),
    number(
        "sparse.epochs",
        "epochs",
        EPOCHS,
        "Network Slimming: training with the penalty, in each pass",
    ),
    number(
        "retrain.epochs",
        "epochs",
        EPOCHS,
        "Training afterwards, with zeros held",
    ),
    number(
        "lambda",
        "",
        [0.0, 1.0],
        "λ: weight of the penalty on saliencies (FBS) or norm scales (Network Slimming)",
    ),
    number("lr", "", RATE, "Highest learning rate of this part of the training"),
];

/// What is known of a key; an empty entry if nothing is.
pub(crate) fn doc(key: &str) -> &'static Doc {
    let fits = |d: &&Doc| {
        let end = key.strip_suffix(d.key);
        end.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    DOCS.iter().find(fits).unwrap_or(&UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_end_of_a_key_counts() {
        assert_eq!(doc("method.purify.search.trials").key, "search.trials");
        assert_eq!(doc("method.purify.tolerance").key, "purify.tolerance");
        assert_eq!(doc("method.tolerance").key, "tolerance");
        assert_eq!(doc("train.lr").key, "train.lr");
        assert_eq!(doc("method.admm.lr").key, "lr");
        assert_eq!(doc("nothing.known").help, "");
    }
}
