//! How much filters, input channels, columns and single weights matter, from numbers that are already there.
//!
//! Scores of one group or layer can be compared with each other, not with those of another layer (|γ| excepted).
//! Weights that are masked are expected to be zero.

use super::groups::{Group, Place};
use super::values::conv_groups;
use anyhow::{Context, Result, ensure};
use model::spec::{NetSpec, Op};
use model::{Array, Weights};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// What a score is made of. Each is larger for what matters more.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Score {
    /// Σ|w|.
    L1,
    /// ‖w‖₂, which ADMM's projections are by.
    #[default]
    L2,
    /// Mean |γ| of the norms on the axis (Network Slimming, arXiv 1708.06519). Columns and single weights go by [`Score::L2`].
    NormScale,
    /// |Σ w·∂loss/∂w|: how far the loss moves to first order without it. Holds w·∂loss/∂w under the names of the weights. Of a
    /// filter behind norms or gates the sum is over their γ and β, or φ and ρ: they carry its scale, its own weights do not.
    Taylor(Arc<Weights>),
    /// Σ_j ‖w_i − w_j‖₂: filters near the geometric median of all can be replaced by others (FPGM, arXiv 1811.00250).
    /// Columns and single weights go by [`Score::L2`].
    GeometricMedian,
    /// ‖w‖² over all that goes with a channel, its filters, their γ, and the columns that read it, as a share of the group's mean:
    /// comparable between layers (DepGraph, arXiv 2301.12900, equation 5 and what follows it). Columns and single weights go by
    /// [`Score::L2`].
    GroupNorm,
    /// Nothing at all: uniform in [0, 1), by seed.
    Random(u64),
}

/// The score of each channel of a group, over the filters of all its producers together: `[channels]`.
///
/// # Errors
/// A group without norm scales under [`Score::NormScale`], or an array that is missing.
pub fn filters(spec: &NetSpec, weights: &Weights, group: &Group, score: &Score) -> Result<Vec<f32>> {
    match score {
        Score::NormScale => norm_scales(spec, weights, group),
        Score::GeometricMedian => {
            let rows: Result<Vec<WeightRows>> = group
                .producers
                .iter()
                .map(|p| WeightRows::of(spec, weights, p.node))
                .collect();
            Ok(distances(group, &rows?))
        }
        Score::GroupNorm => {
            let norms = group_norms(weights, &coupled(spec, weights, group)?, group.channels)?;
            let mean = norms.iter().sum::<f32>() / norms.len().max(1) as f32;
            Ok(norms.into_iter().map(|v| v / mean.max(f32::MIN_POSITIVE)).collect())
        }
        Score::Random(seed) => Ok(uniform(*seed, group.nodes[0], group.channels)),
        Score::Taylor(products) if scales(spec, group).next().is_some() => {
            let mut sums = vec![0.0; group.channels];
            for (place, what) in scales(spec, group) {
                let Array { shape, data } = array(spec, products, place.node, what)?;
                // φ is [features, channels]; of γ, β and ρ a channel has as many as it has features.
                let columns = if what == "phi" { shape[1] } else { data.len() };
                for row in data.chunks_exact(columns.max(1)) {
                    for (c, sum) in sums.iter_mut().enumerate() {
                        row[place.features(c)].iter().for_each(|v| *sum += v);
                    }
                }
            }
            Ok(score.finish(sums))
        }
        _ => {
            let mut sums = vec![0.0; group.channels];
            for p in &group.producers {
                let rows = WeightRows::of(spec, score.source(weights), p.node)?;
                for (c, sum) in sums.iter_mut().enumerate() {
                    if let Some(f) = p.filter(c) {
                        *sum += rows.row(f).iter().map(|&v| score.term(v)).sum::<f32>();
                    }
                }
            }
            Ok(score.finish(sums))
        }
    }
}

/// An array with entries that go with the channels of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coupled {
    /// The array's name.
    pub name: String,
    /// So many entries that follow each other go with one channel,
    block: usize,
    /// these, in order and then again from the first; none for entries of other groups.
    channels: Vec<Option<usize>>,
}

impl Coupled {
    fn new(name: String, place: &Place, [features, block]: [usize; 2], n: usize) -> Self {
        let mut channels = vec![None; features];
        (0..n).for_each(|c| channels[place.features(c)].fill(Some(c)));
        Self { name, block, channels }
    }

    /// The channel that an entry goes with, if it is of the group.
    pub fn channel(&self, entry: usize) -> Option<usize> {
        self.channels[entry / self.block % self.channels.len()]
    }
}

/// All that goes with the channels of a group: filters, the γ of their norms, and the columns that read them.
///
/// # Errors
/// An array that is missing.
pub fn coupled(spec: &NetSpec, weights: &Weights, group: &Group) -> Result<Vec<Coupled>> {
    let shapes = spec.shapes()?;
    let mut all = Vec::new();
    let mut put = |place: &Place, what: &str, features: usize, block: usize| {
        let name = format!("{}.{what}", spec.nodes[place.node].name);
        all.push(Coupled::new(name, place, [features, block.max(1)], group.channels));
    };
    for p in &group.producers {
        put(
            p,
            "weight",
            shapes[p.node][0],
            WeightRows::of(spec, weights, p.node)?.columns,
        );
    }
    for n in affine_norms(spec, group) {
        put(n, "gamma", array(spec, weights, n.node, "gamma")?.data.len(), 1);
    }
    for reader in &group.consumers {
        let node = &spec.nodes[reader.node];
        let features = shapes[node.inputs[0]][0] / conv_groups(&node.op);
        let columns = WeightRows::of(spec, weights, reader.node)?.columns;
        put(reader, "weight", features, columns / features);
    }
    Ok(all)
}

/// Σ w² over all that goes with each channel: `[channels]` (DepGraph, arXiv 2301.12900, equation 5).
///
/// # Errors
/// An array that is missing.
pub fn group_norms(weights: &Weights, coupled: &[Coupled], channels: usize) -> Result<Vec<f32>> {
    let mut sums = vec![0.0; channels];
    for each in coupled {
        let array = weights
            .get(&each.name)
            .with_context(|| format!("{} is missing", each.name))?;
        for (i, w) in array.data.iter().enumerate() {
            if let Some(c) = each.channel(i) {
                sums[c] += w * w;
            }
        }
    }
    Ok(sums)
}

/// The score of each column of a layer over the `kept` filters (all if `None`): `[columns]`.
///
/// # Errors
/// An array that is missing.
pub fn columns(
    spec: &NetSpec,
    weights: &Weights,
    node: usize,
    kept: Option<&[bool]>,
    score: &Score,
) -> Result<Vec<f32>> {
    let rows = WeightRows::of(spec, score.source(weights), node)?;
    if let Score::Random(seed) = score {
        return Ok(uniform(*seed, spec.nodes.len() + node, rows.columns));
    }
    let mut sums = vec![0.0; rows.columns];
    for (_, row) in rows
        .iter()
        .enumerate()
        .filter(|(f, _)| kept.is_none_or(|kept| kept[*f]))
    {
        for (sum, &v) in sums.iter_mut().zip(row) {
            *sum += score.term(v);
        }
    }
    Ok(score.finish(sums))
}

/// The score of each input channel of a layer, `block` columns a channel, over all filters: `[columns / block]`.
///
/// # Errors
/// An array that is missing.
pub fn channels(spec: &NetSpec, weights: &Weights, node: usize, block: usize, score: &Score) -> Result<Vec<f32>> {
    let rows = WeightRows::of(spec, score.source(weights), node)?;
    if let Score::Random(seed) = score {
        return Ok(uniform(*seed, 2 * spec.nodes.len() + node, rows.columns / block));
    }
    let mut sums = vec![0.0; rows.columns / block];
    for row in rows.iter() {
        for (sum, block) in sums.iter_mut().zip(row.chunks_exact(block)) {
            *sum += block.iter().map(|&v| score.term(v)).sum::<f32>();
        }
    }
    Ok(score.finish(sums))
}

/// The score of each weight of a layer: `[filters, columns]`.
///
/// # Errors
/// An array that is missing.
pub fn elements(spec: &NetSpec, weights: &Weights, node: usize, score: &Score) -> Result<Vec<f32>> {
    let rows = WeightRows::of(spec, score.source(weights), node)?;
    if let Score::Random(seed) = score {
        return Ok(uniform(*seed, 3 * spec.nodes.len() + node, rows.data.len()));
    }
    Ok(rows.data.iter().map(|v| v.abs()).collect())
}

impl Score {
    /// The numbers it is made of.
    fn source<'a>(&'a self, weights: &'a Weights) -> &'a Weights {
        match self {
            Score::Taylor(products) => products,
            _ => weights,
        }
    }

    fn term(&self, v: f32) -> f32 {
        match self {
            Score::L1 => v.abs(),
            Score::Taylor(_) => v,
            _ => v * v,
        }
    }

    fn finish(&self, mut sums: Vec<f32>) -> Vec<f32> {
        for v in &mut sums {
            *v = match self {
                Score::L1 => *v,
                Score::Taylor(_) => v.abs(),
                _ => v.sqrt(),
            };
        }
        sums
    }
}

/// The weight matrix of a layer, `[filters, columns]`.
struct WeightRows<'a> {
    data: &'a [f32],
    columns: usize,
}

impl<'a> WeightRows<'a> {
    fn of(spec: &NetSpec, weights: &'a Weights, node: usize) -> Result<Self> {
        let Array { shape, data } = array(spec, weights, node, "weight")?;
        let columns = shape.iter().skip(1).product();
        Ok(Self { data, columns })
    }

    fn row(&self, f: usize) -> &'a [f32] {
        &self.data[f * self.columns..][..self.columns]
    }

    fn iter(&self) -> impl Iterator<Item = &'a [f32]> {
        self.data.chunks_exact(self.columns.max(1))
    }
}

fn array<'a>(spec: &NetSpec, weights: &'a Weights, node: usize, what: &str) -> Result<&'a Array> {
    let name = format!("{}.{what}", spec.nodes[node].name);
    weights.get(&name).with_context(|| format!("{name} is missing"))
}

/// What carries the scale of a group's channels: nodes with the names of their arrays.
fn scales<'a>(spec: &'a NetSpec, group: &'a Group) -> impl Iterator<Item = (&'a Place, &'static str)> + 'a {
    let norms = affine_norms(spec, group).flat_map(|n| [(n, "gamma"), (n, "beta")]);
    norms.chain(group.gates.iter().flat_map(|g| [(g, "phi"), (g, "rho")]))
}

fn affine_norms<'a>(spec: &'a NetSpec, group: &'a Group) -> impl Iterator<Item = &'a Place> {
    let is_affine = |p: &&Place| matches!(spec.nodes[p.node].op, Op::Norm { affine: true, .. });
    group.norms.iter().filter(is_affine)
}

fn norm_scales(spec: &NetSpec, weights: &Weights, group: &Group) -> Result<Vec<f32>> {
    let mut sums = vec![0.0; group.channels];
    let mut features = vec![0; group.channels];
    for norm in affine_norms(spec, group) {
        let gamma = &array(spec, weights, norm.node, "gamma")?.data;
        for c in 0..group.channels {
            let own = &gamma[norm.features(c)];
            features[c] += own.len();
            sums[c] += own.iter().map(|g| g.abs()).sum::<f32>();
        }
    }
    ensure!(
        features.iter().all(|&n| n > 0),
        "{}: no norm with a scale stands on its channels",
        group.name
    );
    sums.iter_mut().zip(features).for_each(|(s, n)| *s /= n as f32);
    Ok(sums)
}

/// Σ_j ‖row_i − row_j‖₂, the rows of all producers laid end to end.
fn distances(group: &Group, rows: &[WeightRows]) -> Vec<f32> {
    let mut sums = vec![0.0; group.channels];
    for i in 0..group.channels {
        for j in 0..i {
            let squares = group.producers.iter().zip(rows).map(|(p, rows)| {
                let (Some(a), Some(b)) = (p.filter(i), p.filter(j)) else {
                    return 0.0;
                };
                let pairs = rows.row(a).iter().zip(rows.row(b));
                pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f32>()
            });
            let distance = squares.sum::<f32>().sqrt();
            sums[i] += distance;
            sums[j] += distance;
        }
    }
    sums
}

/// One stream for each thing that is scored, so that scores do not depend on the order in which they are asked for.
fn uniform(seed: u64, stream: usize, n: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream as u64);
    (0..n).map(|_| rng.random::<f32>()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::groups;
    use super::*;
    use model::toy::{conv, node};

    /// image(1) → a (2 filters of 2×2) → norm → sum with b (2 filters) → c
    fn tied() -> (NetSpec, Weights) {
        let spec = NetSpec {
            name: "tied".into(),
            input: [1, 2, 2],
            nodes: vec![
                node("x", Op::Input, &[]),
                node("a", conv(2, 2, 0, false), &[0]),
                node("norm", Op::Norm { eps: 0.0, affine: true }, &[1]),
                node("b", conv(2, 2, 0, false), &[0]),
                node("sum", Op::Add, &[2, 3]),
                node("c", conv(1, 1, 0, false), &[4]),
            ],
        };
        let array = |shape: &[usize], data: &[f32]| Array {
            shape: shape.to_vec(),
            data: data.to_vec(),
        };
        let weights = Weights::from([
            (
                "a.weight".into(),
                array(&[2, 1, 2, 2], &[3.0, 0.0, 0.0, 0.0, 1.0, 1.0, -1.0, 1.0]),
            ),
            (
                "b.weight".into(),
                array(&[2, 1, 2, 2], &[0.0, -4.0, 0.0, 0.0, 2.0, 0.0, 2.0, 0.0]),
            ),
            ("c.weight".into(), array(&[1, 2, 1, 1], &[0.5, -2.0])),
            ("norm.gamma".into(), array(&[2], &[-0.5, 0.25])),
            ("norm.beta".into(), array(&[2], &[0.0, 0.0])),
        ]);
        (spec, weights)
    }

    fn of_group(score: &Score) -> Vec<f32> {
        let (spec, weights) = tied();
        let groups = groups(&spec).expect("groups");
        filters(&spec, &weights, &groups.list[1], score).expect("scores")
    }

    #[test]
    fn filters_of_a_group_are_scored_together() {
        assert_eq!(of_group(&Score::L1), [7.0, 8.0]);
        assert_eq!(of_group(&Score::L2), [5.0, 12.0f32.sqrt()]);
        assert_eq!(of_group(&Score::NormScale), [0.5, 0.25]);
        // (3,0,0,0 | 0,-4,0,0) and (1,1,-1,1 | 2,0,2,0): 4+1+1+1 + 4+16+4 = 31.
        assert_eq!(of_group(&Score::GeometricMedian), [31.0f32.sqrt(); 2]);
    }

    #[test]
    fn all_that_goes_with_a_channel_counts_as_a_share_of_the_group() {
        // a: 9 and 4, b: 16 and 8, γ: 1/4 and 1/16, the columns of c: 1/4 and 4.
        let sums = [25.5f32, 16.0625];
        let mean = (sums[0] + sums[1]) / 2.0;
        assert_eq!(of_group(&Score::GroupNorm), sums.map(|s| s / mean));
        let (spec, weights) = tied();
        let groups = groups(&spec).expect("groups");
        let all = coupled(&spec, &weights, &groups.list[1]).expect("arrays");
        let channels = |name: &str, n: usize| {
            let of = all.iter().find(|c| c.name == name).expect(name);
            (0..n).filter_map(|i| of.channel(i)).collect::<Vec<_>>()
        };
        assert_eq!(channels("a.weight", 8), [0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(
            (channels("c.weight", 2), channels("norm.gamma", 2)),
            (vec![0, 1], vec![0, 1])
        );
    }

    #[test]
    fn behind_a_norm_its_scale_and_shift_tell_what_a_filter_does() {
        let (spec, mut products) = tied();
        let mut put = |name: &str, data: [f32; 2]| products.get_mut(name).expect("there").data = data.to_vec();
        put("norm.gamma", [0.5, -3.0]);
        put("norm.beta", [1.0, 1.0]);
        let groups = groups(&spec).expect("groups");
        let score = Score::Taylor(Arc::new(products));
        let (_, weights) = tied();
        assert_eq!(
            filters(&spec, &weights, &groups.list[1], &score).expect("scores"),
            [1.5, 2.0]
        );
    }

    #[test]
    fn first_order_terms_may_cancel() {
        let (_, weights) = tied();
        let products = weights.iter().map(|(name, a)| {
            let ones = Array::filled(&a.shape, 1.0);
            (name.clone(), if name == "a.weight" { a.clone() } else { ones })
        });
        let (spec, own) = tied();
        let groups = groups(&spec).expect("groups");
        let score = Score::Taylor(Arc::new(products.collect()));
        assert_eq!(filters(&spec, &own, &groups.list[2], &score).expect("scores"), [2.0]);
        let (spec, weights) = tied();
        let columns = columns(&spec, &weights, 1, None, &Score::Taylor(Arc::new(weights.clone()))).expect("scores");
        assert_eq!(columns, [4.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn columns_and_blocks_count_the_filters_that_live() {
        let (spec, weights) = tied();
        let columns = |live: Option<&[bool]>| columns(&spec, &weights, 3, live, &Score::L1).expect("scores");
        assert_eq!(columns(None), [2.0, 4.0, 2.0, 0.0]);
        assert_eq!(columns(Some(&[false, true])), [2.0, 0.0, 2.0, 0.0]);
        assert_eq!(
            channels(&spec, &weights, 3, 4, &Score::L2).expect("scores"),
            [24.0f32.sqrt()]
        );
        assert_eq!(elements(&spec, &weights, 5, &Score::L2).expect("scores"), [0.5, 2.0]);
    }

    #[test]
    fn random_scores_follow_the_seed_and_nothing_else() {
        assert_eq!(of_group(&Score::Random(1)), of_group(&Score::Random(1)));
        assert_ne!(of_group(&Score::Random(1)), of_group(&Score::Random(2)));
    }

    #[test]
    fn a_group_without_scales_is_named() {
        let (spec, weights) = tied();
        let groups = groups(&spec).expect("groups");
        let text = filters(&spec, &weights, &groups.list[2], &Score::NormScale)
            .expect_err("none")
            .to_string();
        assert_eq!(text, "c: no norm with a scale stands on its channels");
    }
}
