//! What a search over kept shares decides, and what a vector of shares costs: arithmetic, thousands of times a second.
//!
//! A *site* is one number: the kept share (density) of a group's filters, or of a layer's input channels, columns or single
//! weights. Shares are taken in this order, each of what the ones before it left: filters, channels, columns, weights.
//! A layer keeps rows × columns; columns of input channels that are cut upstream are gone with them, but for those that surgery
//! cannot take out: a dead channel behind a lone norm is a constant, and where that is read with padding it stays.

use super::groups::{ChannelRef, Groups};
use super::saliency;
use super::scope::Scope;
use super::width;
use anyhow::Result;
use event::Site;
use model::Weights;
use model::mask::LayerMask;
use model::spec::{NetSpec, Op};

/// What a network costs once everything masked is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Weights of convolutions and linear layers.
    pub weights: u64,
    /// MACs per image, as [`model::cost`] counts them, gates at density 1.
    pub macs: u64,
    /// All trainable numbers.
    pub params: u64,
}

/// The sites of a network, and all that is needed to count and to choose.
#[derive(Clone, Debug, PartialEq)]
pub struct Sites {
    /// In network order.
    pub list: Vec<Site>,
    pub(crate) scope: Scope,
    /// What widths are multiples of.
    pub(crate) width_multiple: usize,
    pub(crate) spec: NetSpec,
    pub(crate) groups: Groups,
    pub(crate) axes: Vec<ChannelAxis>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) gates: Vec<GateOf>,
}

/// A group as it is counted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ChannelAxis {
    pub site: Option<usize>,
    /// What their number is a multiple of.
    pub(crate) multiple: usize,
    /// Channels that are not masked at the start.
    pub unmasked: Vec<bool>,
    /// By channel, with a site.
    pub scores: Vec<f32>,
    /// Place of each channel in the order of scores; `u32::MAX` if it is masked.
    pub rank: Vec<u32>,
    /// So many of the first in rank are what keeps a reader with masked columns fed; they are never cut.
    pub(crate) pinned: usize,
    /// Biases, γ, β and ρ of each channel.
    pub(crate) params: Vec<u64>,
    /// Channels that surgery leaves in place when they are dead ([`super::surgery`]): behind a norm they are a constant, and a
    /// reader pads with zeros.
    pub(crate) stays: Vec<bool>,
}

/// A convolution or linear layer as it is counted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layer {
    pub node: usize,
    /// By filter, which channel it gives.
    pub rows: Vec<ChannelRef>,
    /// By input channel, which one it is; none where filters do not read all channels.
    pub sources: Option<Vec<ChannelRef>>,
    /// Columns of one input channel; all columns without sources.
    pub block: usize,
    /// What is masked at the start.
    pub mask: LayerMask,
    /// Unmasked columns of each input channel.
    pub unmasked_columns: Vec<usize>,
    /// Input channels that it goes on reading when they are dead.
    pub(crate) held: Vec<bool>,
    /// Scores of its input channels, with a channel site.
    pub(crate) channel_scores: Vec<f32>,
    pub channel: Option<usize>,
    pub column: Option<usize>,
    pub element: Option<usize>,
    pub positions: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GateOf {
    pub gated: Vec<ChannelRef>,
    pub reads: Vec<ChannelRef>,
    /// Features of each channel that it reads.
    pub positions: usize,
    pub plane: u64,
}

/// What a vector of densities leaves of a layer.
pub(crate) struct Left {
    pub rows: Vec<bool>,
    pub channels: Vec<bool>,
    /// Input channels to choose from, and chosen.
    pub(crate) channel_counts: [usize; 2],
    pub(crate) column_counts: [usize; 2],
    pub(crate) weight_counts: [usize; 2],
}

impl Sites {
    /// The network.
    pub fn spec(&self) -> &NetSpec {
        &self.spec
    }

    /// Orders filters and channels anew, by these weights: ADMM projects W + U, not what the search began with.
    ///
    /// # Errors
    /// An array that is missing, or a score that a group does not have.
    pub fn rank(&mut self, weights: &Weights) -> Result<()> {
        for (a, (axis, group)) in self.axes.iter_mut().zip(&self.groups.list).enumerate() {
            axis.scores = match axis.site {
                Some(_) => saliency::filters(&self.spec, weights, group, &self.scope.score)?,
                None => vec![0.0; group.channels],
            };
            let mut order: Vec<usize> = (0..group.channels).filter(|&c| axis.unmasked[c]).collect();
            order.sort_by(|&a, &b| axis.scores[b].total_cmp(&axis.scores[a]));
            axis.pinned = if group.least > 1 {
                group.least.min(order.len())
            } else {
                0
            };
            let own = |at: &&ChannelRef| at.group == a;
            let readers = self.layers.iter().filter(|l| l.mask.columns.contains(&false));
            let mut fed_by: Vec<Vec<usize>> = Vec::new();
            for reader in readers {
                let sources = reader.sources.iter().flatten().zip(&reader.unmasked_columns);
                let feeding = sources.filter(|(at, n)| own(at) && **n > 0);
                fed_by.push(feeding.map(|(at, _)| at.channel).collect());
            }
            // Who takes only some of a group's channels must not lose all of them either.
            for (i, _) in (self.spec.nodes.iter().enumerate()).filter(|(_, n)| matches!(n.op, Op::Select { .. })) {
                let taken: Vec<usize> = self
                    .groups
                    .channels(i)
                    .iter()
                    .filter(own)
                    .map(|at| at.channel)
                    .collect();
                if (0..group.channels).any(|c| !taken.contains(&c)) {
                    fed_by.push(taken);
                }
            }
            for fed in fed_by {
                let feeds = |c: &usize| fed.contains(c);
                if let (false, Some(first)) = (order[..axis.pinned].iter().any(feeds), order.iter().position(feeds)) {
                    order[axis.pinned..=first].rotate_right(1);
                    axis.pinned += 1;
                }
            }
            axis.rank = vec![u32::MAX; group.channels];
            order
                .iter()
                .enumerate()
                .for_each(|(place, &c)| axis.rank[c] = place as u32);
        }
        for layer in self.layers.iter_mut().filter(|l| l.channel.is_some()) {
            layer.channel_scores = saliency::channels(&self.spec, weights, layer.node, layer.block, &self.scope.score)?;
        }
        Ok(())
    }

    /// How many each site keeps, in [`Sites::list`]'s order.
    ///
    /// # Panics
    /// Unless there is one density a site (here and in all that takes densities).
    pub fn kept(&self, densities: &[f32]) -> Vec<usize> {
        let counts = self.axis_counts(densities);
        let mut kept = vec![0; self.list.len()];
        for (axis, &n) in self.axes.iter().zip(&counts) {
            axis.site.into_iter().for_each(|s| kept[s] = n);
        }
        for layer in &self.layers {
            let left = self.left(layer, &counts, densities);
            let at = [layer.channel, layer.column, layer.element];
            for (site, [_, n]) in at
                .into_iter()
                .zip([left.channel_counts, left.column_counts, left.weight_counts])
            {
                site.into_iter().for_each(|s| kept[s] = n);
            }
        }
        kept
    }

    /// What is left to be paid.
    pub fn cost(&self, densities: &[f32]) -> Spent {
        let counts = self.axis_counts(densities);
        let mut spent = Spent::default();
        for layer in &self.layers {
            let [_, weights] = self.left(layer, &counts, densities).weight_counts;
            spent.weights += weights as u64;
            spent.macs += weights as u64 * layer.positions;
        }
        spent.params = spent.weights;
        let is_there = |at: ChannelRef| self.keeps(at, &counts) || self.axes[at.group].stays[at.channel];
        for (group, axis) in self.axes.iter().enumerate() {
            let each = axis.params.iter().enumerate();
            let there = each.filter(|&(channel, _)| is_there(ChannelRef { group, channel }));
            spent.params += there.map(|(_, params)| params).sum::<u64>();
        }
        let kept = |channels: &[ChannelRef]| channels.iter().filter(|at| is_there(**at)).count();
        for gate in &self.gates {
            let gated = kept(&gate.gated);
            let predictor = (kept(&gate.reads) * gate.positions * gated) as u64;
            spent.macs += predictor + gated as u64 * gate.plane;
            spent.params += predictor;
        }
        spent
    }

    /// What is left of each convolution and linear layer: its name, filters, and columns that are read.
    pub fn layers_left(&self, densities: &[f32]) -> Vec<(&str, usize, usize)> {
        let counts = self.axis_counts(densities);
        let each = self.layers.iter().map(|layer| {
            let left = self.left(layer, &counts, densities);
            let filters = left.rows.iter().filter(|&&row| row).count();
            (
                self.spec.nodes[layer.node].name.as_str(),
                filters,
                left.column_counts[1],
            )
        });
        each.collect()
    }

    /// The scores of a filter site's channels, falling; empty for sites of other dimensions.
    pub fn scores(&self, site: usize) -> Vec<f32> {
        let axis = self.axes.iter().find(|a| a.site == Some(site));
        let of = |a: &ChannelAxis| {
            let left = a.scores.iter().zip(&a.unmasked).filter(|(_, left)| **left);
            let mut scores: Vec<f32> = left.map(|(s, _)| *s).collect();
            scores.sort_by(|a, b| b.total_cmp(a));
            scores
        };
        axis.map_or_else(Vec::new, of)
    }

    /// What the start costs: every density 1.
    pub fn whole(&self) -> Spent {
        self.cost(&vec![1.0; self.list.len()])
    }

    /// The least there can be, with every site at its floor.
    pub fn least(&self) -> Spent {
        self.cost(&vec![0.0; self.list.len()])
    }

    pub(crate) fn axis_counts(&self, densities: &[f32]) -> Vec<usize> {
        assert_eq!(densities.len(), self.list.len(), "one density a site");
        let unmasked = |a: &ChannelAxis| a.unmasked.iter().filter(|&&b| b).count();
        let count = |a: &ChannelAxis| {
            let n = unmasked(a);
            let pinned = width::at_least(a.pinned, n, a.multiple);
            self.count(a.site, densities, n, a.multiple).max(pinned)
        };
        self.axes.iter().map(count).collect()
    }

    /// How many of `n` a site keeps, as a multiple; all without a site.
    pub(crate) fn count(&self, site: Option<usize>, densities: &[f32], n: usize, multiple: usize) -> usize {
        let Some(site) = site else { return n };
        let of = |share: f64| share * n as f64;
        // In floating point ⌈0.1 · 10⌉ may be 2.
        let least = of(f64::from(self.scope.floor) - 1e-6).ceil() as usize;
        width::nearest(of(f64::from(densities[site])), least, n, multiple)
    }

    pub(crate) fn keeps(&self, at: ChannelRef, counts: &[usize]) -> bool {
        (self.axes[at.group].rank[at.channel] as usize) < counts[at.group]
    }

    pub(crate) fn left(&self, layer: &Layer, counts: &[usize], densities: &[f32]) -> Left {
        let keeps = |at: ChannelRef| self.keeps(at, counts);
        let filters = layer.mask.filters.iter().zip(&layer.rows);
        let rows: Vec<bool> = filters.map(|(&b, &at)| b && keeps(at)).collect();
        let is_read = |q: usize| layer.held[q] || layer.sources.as_ref().is_none_or(|sources| keeps(sources[q]));
        let has_columns = |(q, &n): (usize, &usize)| n > 0 && is_read(q);
        let mut channels: Vec<bool> = layer.unmasked_columns.iter().enumerate().map(has_columns).collect();
        let ones = |bits: &[bool]| bits.iter().filter(|&&b| b).count();
        let n = ones(&channels);
        let chosen = self.count(layer.channel, densities, n, self.width_multiple);
        if chosen < n {
            channels = best(&layer.channel_scores, &channels, chosen);
        }
        let columns: usize = layer
            .unmasked_columns
            .iter()
            .zip(&channels)
            .filter(|(_, keep)| **keep)
            .map(|(n, _)| n)
            .sum();
        let kept_columns = self.count(layer.column, densities, columns, 1);
        let weights = if layer.mask.elements.is_empty() {
            ones(&rows) * kept_columns
        } else {
            layer.elements(&rows, &channels).filter(|&keep| keep).count()
        };
        Left {
            rows,
            channels,
            channel_counts: [n, chosen],
            column_counts: [columns, kept_columns],
            weight_counts: [weights, self.count(layer.element, densities, weights, 1)],
        }
    }
}

impl Layer {
    /// For every weight, whether it is left by the masks of the start, in these rows and input channels.
    pub(crate) fn elements<'a>(&'a self, rows: &'a [bool], channels: &'a [bool]) -> impl Iterator<Item = bool> + 'a {
        let columns = self.mask.columns.len();
        (0..rows.len() * columns).map(move |i| {
            let (f, c) = (i / columns, i % columns);
            rows[f] && channels[c / self.block] && self.mask.keeps(f, c)
        })
    }
}

/// Of the candidates the `n` of highest score, of equals those of lower index.
pub(crate) fn best(scores: &[f32], candidates: &[bool], n: usize) -> Vec<bool> {
    let mut order: Vec<usize> = (0..candidates.len()).filter(|&i| candidates[i]).collect();
    let by_score = |&a: &usize, &b: &usize| scores[b].total_cmp(&scores[a]).then(a.cmp(&b));
    if n > 0 && n < order.len() {
        order.select_nth_unstable_by(n - 1, by_score);
    }
    let mut keep = vec![false; candidates.len()];
    order.into_iter().take(n).for_each(|i| keep[i] = true);
    keep
}

#[cfg(test)]
mod tests {
    use super::super::{apply, cut};
    use super::*;
    use event::Dimension;
    use model::cost::Fractions;
    use model::mask::Masks;
    use model::spec::{Op, Shift};
    use model::toy::{conv, node};
    use model::{Checkpoint, cost, random_model, zoo};
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn scope(dimensions: &[Dimension]) -> Scope {
        Scope {
            dimensions: dimensions.to_vec(),
            floor: 0.0,
            ..Scope::default()
        }
    }

    fn net(name: &str) -> NetSpec {
        zoo::build(name, [3, 16, 16], 4, 0.06).expect("builds")
    }

    /// image(4) → a: 8×4×3×3 → b: 8×8×3×3 → classifier
    fn pair() -> NetSpec {
        NetSpec {
            name: "pair".into(),
            input: [4, 5, 5],
            nodes: vec![
                node("x", Op::Input, &[]),
                node("a", conv(8, 3, 1, false), &[0]),
                node("b", conv(8, 3, 1, false), &[1]),
                node("pool", Op::GlobalAvgPool, &[2]),
                node("flat", Op::Flatten, &[3]),
                node(
                    "last",
                    Op::Linear {
                        outputs: 2,
                        bias: false,
                    },
                    &[4],
                ),
            ],
        }
    }

    #[test]
    fn a_pruned_pair_counts_rows_times_columns_that_are_still_fed() {
        let model = random_model(pair(), 1).expect("builds");
        let sites = Sites::new(&model, &scope(&[Dimension::Filter, Dimension::Column])).expect("sites");
        let names: Vec<(&str, Dimension, usize)> = sites
            .list
            .iter()
            .map(|s| (s.name.as_str(), s.dimension, s.choices))
            .collect();
        use Dimension::{Column, Filter};
        assert_eq!(
            names,
            [("a", Filter, 8), ("a", Column, 36), ("b", Filter, 8), ("b", Column, 72)]
        );
        // 4 of 8 filters, 18 of 36 columns; 6 of 8 filters, 24 of the 36 columns that are left.
        let densities = [0.5, 0.5, 0.75, 2.0 / 3.0];
        assert_eq!(sites.kept(&densities), [4, 18, 6, 24]);
        let classifier = 2 * 6;
        assert_eq!(
            sites.layers_left(&densities),
            [("a", 4, 18), ("b", 6, 24), ("last", 2, 6)]
        );
        assert_eq!(sites.cost(&densities).weights, 72 + 144 + classifier);
        assert_eq!(sites.cost(&densities).macs, (72 + 144) * 25 + classifier);
        assert_eq!(sites.whole().weights, 864 + 16);
        assert_eq!(
            sites.list.iter().map(|s| s.size).collect::<Vec<_>>(),
            [288.0 * 25.0, 288.0 * 25.0, 576.0 * 25.0, 576.0 * 25.0]
        );
        let masks = sites.masks(&densities, &model.weights).expect("masks");
        assert_eq!((masks["a"].count(), masks["b"].count()), (72, 144));
    }

    #[test]
    fn the_best_are_kept_and_columns_are_scored_in_rows_that_stay() {
        let mut model = random_model(pair(), 1).expect("builds");
        let set = |model: &mut Checkpoint, name: &str, f: &dyn Fn(usize) -> f32| {
            let data = &mut model.weights.get_mut(name).expect("there").data;
            data.iter_mut().enumerate().for_each(|(i, w)| *w = f(i));
        };
        // Filters 2 and 5 are strong. Column 7 is strong in a weak filter only, columns 3 and 4 in strong ones.
        set(&mut model, "a.weight", &|i| match (i / 36, i % 36) {
            (0, 7) => 3.0,
            (2, 3) | (5, 4) => 2.5,
            (2 | 5, _) => 1.0,
            _ => 0.01,
        });
        let sites = Sites::new(&model, &scope(&[Dimension::Filter, Dimension::Column])).expect("sites");
        let masks = sites
            .masks(&[0.25, 2.0 / 36.0, 1.0, 1.0], &model.weights)
            .expect("masks");
        let set = |bits: &[bool]| (0..bits.len()).filter(|&i| bits[i]).collect::<Vec<_>>();
        assert_eq!(
            (set(&masks["a"].filters), set(&masks["a"].columns)),
            (vec![2, 5], vec![3, 4])
        );
        // b's columns of dead channels go, since b has a column site; the others all stay.
        assert_eq!(set(&masks["b"].columns), (18..27).chain(45..54).collect::<Vec<_>>());
        assert!(!masks.contains_key("last"));
    }

    #[test]
    fn floors_hold_and_shares_round() {
        let model = random_model(pair(), 1).expect("builds");
        let with = |floor| {
            Sites::new(
                &model,
                &Scope {
                    floor,
                    ..scope(&[Dimension::Filter])
                },
            )
            .expect("sites")
        };
        assert_eq!(with(0.0).kept(&[0.0, 0.56]), [1, 4]);
        assert_eq!(with(0.1).kept(&[-3.0, f32::NAN]), [1, 1]);
        assert_eq!(with(0.25).kept(&[0.1, 9.0]), [2, 8]);
        assert_eq!(with(0.26).least().weights, 3 * 36 + 9 * 9 + 2 * 3);
        let text = Sites::new(
            &model,
            &Scope {
                floor: 1.5,
                ..Scope::default()
            },
        )
        .expect_err("floor")
        .to_string();
        assert_eq!(text, "floor 1.5, expected 0 to 1");
    }

    #[test]
    fn tied_layers_are_one_site_and_gates_none() {
        let model = random_model(net("resnet18"), 2).expect("builds");
        let sites = Sites::new(&model, &scope(&[Dimension::Filter])).expect("sites");
        assert_eq!(sites.list[0].name, "stem");
        assert_eq!(sites.list[0].tied, ["stage1.0.conv2", "stage1.1.conv2"]);
        assert_eq!(sites.list.len(), 8 + 4, "a group a stage, and one inside each block");
        let text = Sites::new(&model, &scope(&[Dimension::Gate]))
            .expect_err("gates")
            .to_string();
        assert!(text.starts_with("gates have densities of their own"), "{text}");
        let text = Sites::new(&model, &scope(&[])).expect_err("nothing").to_string();
        assert_eq!(text, "network resnet18 has nothing to prune in []");
    }

    #[test]
    fn what_is_masked_is_no_choice_and_stays_masked() {
        let mut start = random_model(net("m-cifarnet"), 3).expect("builds");
        let mut mask = LayerMask::whole(4, 36);
        mask.filters[1] = false;
        mask.columns[..18].fill(false);
        start.masks.insert("conv1".into(), mask.clone());
        let sites = Sites::new(&start, &scope(&[Dimension::Filter, Dimension::Column])).expect("sites");
        let site = |name: &str, dimension| {
            let is = |s: &Site| s.name == name && s.dimension == dimension;
            sites.list.iter().position(is).expect("there")
        };
        assert_eq!(sites.list[site("conv1", Dimension::Filter)].choices, 3);
        assert_eq!(sites.list[site("conv1", Dimension::Column)].choices, 18);
        // conv2 reads the three channels that are left.
        assert_eq!(sites.list[site("conv2", Dimension::Column)].choices, 27);
        assert_eq!(
            sites
                .masks(&vec![1.0; sites.list.len()], &start.weights)
                .expect("masks")["conv1"],
            mask
        );
        let mut elements = LayerMask::whole(4, 36);
        elements.elements = (0..144).map(|i| i % 3 > 0).collect();
        start.masks.insert("conv1".into(), elements);
        let text = Sites::new(&start, &scope(&[Dimension::Column]))
            .expect_err("elements")
            .to_string();
        assert_eq!(
            text,
            "conv1: single weights are masked, so columns can no longer be chosen"
        );
        let sites = Sites::new(&start, &scope(&[Dimension::Element])).expect("sites");
        assert_eq!(sites.list[1].choices, 96);
    }

    #[test]
    fn projecting_goes_by_its_argument() {
        let model = random_model(pair(), 1).expect("builds");
        let sites = Sites::new(&model, &scope(&[Dimension::Filter])).expect("sites");
        let mut z = model.weights.clone();
        let a = &mut z.get_mut("a.weight").expect("there").data;
        a.iter_mut().enumerate().for_each(|(i, w)| *w = (i / 36 % 3) as f32);
        let masks = sites.project(&[0.25, 1.0], &mut z).expect("projects");
        assert_eq!(
            masks["a"].filters,
            [false, false, true, false, false, true, false, false]
        );
        assert_eq!(z["a.weight"].data.iter().filter(|w| **w != 0.0).count(), 72);
        assert_eq!(z["b.weight"], model.weights["b.weight"]);
    }

    #[test]
    fn thresholds_become_densities() {
        let mut model = random_model(pair(), 1).expect("builds");
        let a = &mut model.weights.get_mut("a.weight").expect("there").data;
        // Norms 6, 12, …, 48: mean 27.
        a.iter_mut().enumerate().for_each(|(i, w)| *w = (i / 36 + 1) as f32);
        let sites = Sites::new(&model, &scope(&[Dimension::Filter])).expect("sites");
        let densities = sites.densities_above(&[0.8, 0.0], &model.weights).expect("densities");
        assert_eq!(sites.kept(&densities), [5, 8], "24, 30, … are above 21.6");
        let all = sites.densities_above(&[100.0, 0.0], &model.weights).expect("densities");
        assert_eq!(sites.kept(&all), [1, 8]);
    }

    fn dimensions() -> impl Strategy<Value = Vec<Dimension>> {
        use Dimension::{Channel, Column, Element, Filter};
        prop::sample::subsequence(vec![Filter, Channel, Column, Element], 1..=4)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
        #[test]
        fn counted_is_what_is_cut(
            name in prop::sample::select(zoo::KINDS.to_vec()),
            gated: bool,
            dimensions in dimensions(),
            seed: u64,
            again: bool,
        ) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let shares: Vec<f32> = (0..300).map(|_| rng.random_range(0.0..1.2)).collect();
            let mut spec = zoo::build(name, [3, 32, 32], 4, 0.06).expect("builds");
            if gated {
                spec = zoo::gated(&spec, Shift::Eq1);
            }
            let mut start = random_model(spec, 5).expect("builds");
            if again {
                // A second round starts from what the first left.
                let sites = Sites::new(&start, &scope(&[Dimension::Filter, Dimension::Column])).expect("sites");
                let masks = sites.masks(&shares[150..150 + sites.list.len()], &start.weights).expect("masks");
                start = apply(&start, &masks).expect("applies");
            }
            let sites = Sites::new(&start, &scope(&dimensions)).expect("sites");
            let densities = &shares[..sites.list.len()];
            let masks = sites.masks(densities, &start.weights).expect("masks");
            let kept = sites.kept(densities);
            for (site, kept) in sites.list.iter().zip(kept) {
                prop_assert!((1..=site.choices).contains(&kept));
            }
            let applied = apply(&start, &masks).expect("applies");
            let spent = sites.cost(densities);
            let weights: u64 = applied.masks.values().map(|m| m.count() as u64).sum();
            let whole = |spec: &NetSpec, masks: &Masks| cost::total(spec, masks, &Fractions::dense(spec)).expect("cost");
            let unmasked = start.weights.iter().filter(|(n, _)| n.ends_with(".weight") && !applied.masks.contains_key(n.trim_end_matches(".weight")));
            prop_assert_eq!(weights + unmasked.map(|(_, a)| a.data.len() as u64).sum::<u64>(), spent.weights);
            if !dimensions.contains(&Dimension::Channel) && !dimensions.contains(&Dimension::Element) && !dimensions.contains(&Dimension::Column) && !again {
                let cut = cut(&applied).expect("cuts");
                let cost = whole(cut.checkpoint.spec(), &cut.checkpoint.masks);
                prop_assert_eq!((cost.macs, cost.params), (spent.macs, spent.params), "{:?}", cut.notes);
            }
        }
    }
}
