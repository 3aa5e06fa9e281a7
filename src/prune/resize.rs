//! Brings a cut model to another size: what was cut comes back from the network it was cut from, or more goes. Results of
//! different methods can then be compared at exactly the same cost.
//!
//! The model is laid over that network. What it kept ranks before what it lost, both by the same score.

use super::groups::{Group, Groups, groups};
use super::scope::Scope;
use super::sites::Sites;
use super::values::conv_groups;
use super::{Score, apply, cut};
use anyhow::{Context, Result, ensure};
use event::{Dimension, Unit};
use model::mask::LayerMask;
use model::spec::Op;
use model::{Array, Checkpoint, Weights};
use std::collections::VecDeque;

/// What was lost keeps so much of its weights where they are ranked: behind all that was kept.
const BEHIND: f32 = 1e-6;

/// A cut model and the network that it was cut from.
#[derive(Clone, Debug)]
pub struct Resize {
    /// What can be decided, of the network: filters, and columns where the model masks any.
    pub sites: Sites,
    /// The model's share of each site.
    pub densities: Vec<f32>,
    /// The network with the model's weights where it has any.
    start: Checkpoint,
    /// Weights that rank what was kept before what was lost.
    order: Weights,
}

impl Resize {
    /// Lays `part`, cut from `whole` and trained since, over it. Sites are counted in `unit` and ranked by `score`.
    ///
    /// # Errors
    /// Networks of other layers, gates, or single weights that are masked.
    pub fn new(whole: &Checkpoint, part: &Checkpoint, unit: Unit, score: Score) -> Result<Self> {
        let (spec, cut) = (whole.spec(), part.spec());
        let names = |c: &Checkpoint| c.spec().nodes.iter().map(|n| n.name.clone()).collect::<Vec<_>>();
        ensure!(
            names(whole) == names(part) && spec.input == cut.input,
            "a model of network {} cannot be laid over one of {}: their layers differ",
            cut.name,
            spec.name
        );
        ensure!(
            !whole.is_gated(),
            "a network with gates cannot be brought to an exact size"
        );
        ensure!(
            part.masks.values().all(|m| m.elements.is_empty()),
            "a model with single weights masked cannot be brought to an exact size; expected filters and columns"
        );
        let laid = Laid {
            groups: groups(spec)?,
            cut: groups(cut)?,
            kept: Vec::new(),
        }
        .find(whole, part)?;
        let mut start = whole.clone();
        let mut order = whole.weights.clone();
        let ranked = order
            .iter_mut()
            .filter(|(n, _)| n.ends_with(".weight") || n.ends_with(".gamma"));
        ranked.for_each(|(_, a)| a.data.iter_mut().for_each(|w| *w *= BEHIND));
        laid.weights(part, &mut start.weights)?;
        laid.weights(part, &mut order)?;
        laid.statistics(part, &mut start)?;
        let mut dimensions = vec![Dimension::Filter];
        if part.masks.values().any(|m| m.columns.contains(&false)) {
            dimensions.push(Dimension::Column);
        }
        let mut sites = Sites::new(whole, &Scope::new(&dimensions, 0.0, unit).by(score))?;
        sites.rank(&order)?;
        let share = |site: &event::Site| {
            let mask = part.mask(&site.name);
            let share = |n: usize, of: usize| n as f32 / of.max(1) as f32;
            let ones = |bits: &[bool]| bits.iter().filter(|b| **b).count();
            match site.dimension {
                // A part of a layer's filters has no mask of its own.
                Dimension::Filter if spec.find(&site.name).is_none() => {
                    let names = laid.groups.list.iter().map(|g| &g.name);
                    let kept = names.zip(&laid.kept).find(|(name, _)| **name == site.name);
                    share(kept.map_or(site.choices, |(_, kept)| kept.len()), site.choices).min(1.0)
                }
                Dimension::Filter => {
                    // Tied filters count as one.
                    let group = laid.groups.list.iter().position(|g| g.name == site.name);
                    let own = |groups: &Groups| -> Vec<bool> {
                        let node = spec.find(&site.name).unwrap_or(0);
                        groups.channels(node).iter().map(|at| Some(at.group) == group).collect()
                    };
                    let kept = mask
                        .filters
                        .iter()
                        .zip(own(&laid.cut))
                        .filter(|(kept, own)| **kept && *own);
                    let channels = group.map_or(1, |g| laid.groups.list[g].channels);
                    let each = ones(&own(&laid.groups)) / channels.max(1);
                    share(kept.count(), site.choices * each.max(1)).min(1.0)
                }
                _ => share(ones(&mask.columns), mask.columns.len()),
            }
        };
        Ok(Self {
            densities: sites.list.iter().map(share).collect(),
            sites,
            start,
            order,
        })
    }

    /// The model at these shares of [`Resize::sites`]. What comes back has the network's weights; norm statistics are to be
    /// measured anew.
    ///
    /// # Errors
    /// Densities that leave nothing of a layer.
    pub fn at(&self, densities: &[f32]) -> Result<Checkpoint> {
        let masks = self.sites.masks(densities, &self.order)?;
        Ok(cut(&apply(&self.start, &masks)?)?.checkpoint)
    }
}

/// Where the channels of a cut model stand in the network.
struct Laid {
    groups: Groups,
    /// Of the model.
    cut: Groups,
    /// By group: the place of each of the model's channels.
    kept: Vec<Vec<usize>>,
}

impl Laid {
    fn find(mut self, whole: &Checkpoint, part: &Checkpoint) -> Result<Self> {
        ensure!(
            self.groups.list.len() == self.cut.list.len(),
            "the model's channels belong together otherwise than the network's"
        );
        for (group, of_part) in self.groups.list.iter().zip(&self.cut.list) {
            self.kept.push(places(whole, part, [group, of_part])?);
        }
        Ok(self)
    }

    /// Places of a node's features.
    fn features(&self, node: usize) -> Vec<usize> {
        let positions = self.groups.positions(node);
        // Tied channels of one node are several of one channel here, in their order.
        let mut places: Vec<Vec<VecDeque<usize>>> =
            (self.groups.list.iter().map(|g| vec![VecDeque::new(); g.channels])).collect();
        for (k, at) in self.groups.channels(node).iter().enumerate() {
            places[at.group][at.channel].push_back(k);
        }
        let cut = self.cut.channels(node).iter();
        let kept: Vec<usize> = cut
            .filter_map(|at| places[at.group][self.kept[at.group][at.channel]].pop_front())
            .collect();
        let kept = kept.into_iter();
        kept.flat_map(|c| (0..positions).map(move |p| c * positions + p))
            .collect()
    }

    /// Copies the model's weights, but for those it masks, to where they stand.
    fn weights(&self, part: &Checkpoint, to: &mut Weights) -> Result<()> {
        for (i, node) in part.spec().nodes.iter().enumerate() {
            let rows = self.features(i);
            let arrays: &[&str] = match node.op {
                Op::Conv { .. } | Op::Linear { .. } => &["weight", "bias"],
                Op::Norm { affine: true, .. } | Op::LayerNorm { .. } => &["gamma", "beta"],
                _ => continue,
            };
            for what in arrays {
                let name = format!("{}.{what}", node.name);
                // A cut may fold constants into a bias that the network does not have: training finds it again.
                let (Some(from), Some(to)) = (part.weights.get(&name), to.get_mut(&name)) else {
                    continue;
                };
                let mask = (*what == "weight").then(|| part.mask(&node.name));
                let columns = match &mask {
                    Some(mask) => self.columns(part, i, mask.columns.len()),
                    None => vec![0],
                };
                lay(to, from, (&rows, &columns), mask.as_ref()).with_context(|| format!("{name} does not fit"))?;
            }
        }
        Ok(())
    }

    /// Places of a layer's columns.
    fn columns(&self, part: &Checkpoint, node: usize, n: usize) -> Vec<usize> {
        let from = part.spec().nodes[node].inputs[0];
        if self.groups.sources(part.spec(), node).is_none() {
            return (0..n).collect();
        }
        let mut features = self.features(from);
        features.truncate(features.len() / conv_groups(&part.spec().nodes[node].op));
        let taps = n / features.len().max(1);
        let blocks = features.iter();
        blocks.flat_map(|f| (0..taps).map(move |t| f * taps + t)).collect()
    }

    fn statistics(&self, part: &Checkpoint, to: &mut Checkpoint) -> Result<()> {
        for (i, node) in part.spec().nodes.iter().enumerate() {
            if !matches!(node.op, Op::Norm { .. }) {
                continue;
            }
            for (density, stats) in &mut to.stats {
                let (Some(from), Some(to)) = (
                    part.stats.get(density).and_then(|s| s.get(&node.name)),
                    stats.get_mut(&node.name),
                ) else {
                    continue;
                };
                for (place, (mean, var)) in self.features(i).into_iter().zip(from.mean.iter().zip(&from.var)) {
                    let to = to.mean.get_mut(place).zip(to.var.get_mut(place));
                    let (m, v) = to.with_context(|| format!("the statistics of {} do not fit", node.name))?;
                    (*m, *v) = (*mean, *var);
                }
            }
        }
        Ok(())
    }
}

/// The place of each of the part's channels among those of the whole.
fn places(whole: &Checkpoint, part: &Checkpoint, [group, cut]: [&Group; 2]) -> Result<Vec<usize>> {
    let all = |n: usize| (0..n as u32).collect::<Vec<u32>>();
    let of = |c: &Checkpoint, group: &Group| c.header.channels.get(&group.name).cloned();
    let whole_has = of(whole, group).unwrap_or_else(|| all(group.channels));
    let part_has = of(part, cut).unwrap_or_else(|| whole_has.clone());
    ensure!(
        part_has.len() == cut.channels,
        "{}: the model has {} channels and names {}",
        cut.name,
        cut.channels,
        part_has.len()
    );
    let place = |c: &u32| whole_has.iter().position(|w| w == c);
    let places: Option<Vec<usize>> = part_has.iter().map(place).collect();
    let places = places.filter(|p| p.iter().all(|c| *c < group.channels));
    places.with_context(|| format!("{}: the model has channels that the network does not have", cut.name))
}

/// Copies a matrix's entries, but for those that a mask leaves out, to these rows and columns of another.
fn lay(to: &mut Array, from: &Array, (rows, columns): (&[usize], &[usize]), mask: Option<&LayerMask>) -> Result<()> {
    let width = to.data.len() / to.shape.first().copied().unwrap_or(1).max(1);
    ensure!(
        from.data.len() == rows.len() * columns.len()
            && rows.iter().all(|r| (r + 1) * width <= to.data.len())
            && columns.iter().all(|c| *c < width),
        "it has {} numbers",
        from.data.len()
    );
    for (i, v) in from.data.iter().enumerate() {
        let (r, c) = (i / columns.len(), i % columns.len());
        if mask.is_none_or(|m| m.keeps(r, c)) {
            to.data[rows[r] * width + columns[c]] = *v;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{random_model, zoo};

    fn of(arch: &str) -> Checkpoint {
        random_model(zoo::build(arch, [3, 32, 32], 4, 0.1).expect("builds"), 1).expect("builds")
    }

    /// Cut to half in every way of `dimensions`, and shaken as training does.
    fn trained_half(whole: &Checkpoint, dimensions: &[Dimension]) -> Checkpoint {
        let sites = Sites::new(whole, &Scope::new(dimensions, 0.0, Unit::Macs)).expect("sites");
        let masks = sites
            .masks(&vec![0.5; sites.list.len()], &whole.weights)
            .expect("masks");
        let mut part = cut(&apply(whole, &masks).expect("applies")).expect("cuts").checkpoint;
        let shaken = part.weights.values_mut().flat_map(|a| &mut a.data);
        shaken.for_each(|w| *w *= 1.5);
        part
    }

    #[test]
    fn a_model_laid_over_its_network_and_left_at_its_size_is_itself() {
        for (arch, dimensions) in [
            ("m-cifarnet", &[Dimension::Filter][..]),
            ("resnet18", &[Dimension::Filter]),
            ("lenet5", &[Dimension::Filter]),
            ("vgg16", &[Dimension::Filter, Dimension::Column]),
        ] {
            let whole = of(arch);
            let part = trained_half(&whole, dimensions);
            let resize = Resize::new(&whole, &part, Unit::Macs, Score::L2).expect("fits");
            let same = resize.at(&resize.densities).expect("cuts");
            assert_eq!(same.header.channels, part.header.channels, "{arch}");
            assert_eq!(same.masks, part.masks, "{arch}");
            assert_eq!(same.weights, part.weights, "{arch}");
        }
    }

    #[test]
    fn what_is_lost_comes_back_with_the_weights_of_the_network_and_what_was_kept_stays() {
        let whole = of("m-cifarnet");
        let part = trained_half(&whole, &[Dimension::Filter]);
        let resize = Resize::new(&whole, &part, Unit::Macs, Score::L2).expect("fits");
        let more: Vec<f32> = resize.densities.iter().map(|d| d * 1.5).collect();
        let larger = resize.at(&more).expect("cuts");
        for (name, kept) in &part.header.channels {
            let now = larger.header.channels.get(name);
            assert!(now.is_none_or(|now| kept.iter().all(|c| now.contains(c))), "{name}");
        }
        let first = |c: &Checkpoint| -> Vec<(u32, f32)> {
            let array = c.weight("conv0");
            let n = array.shape[0];
            let all: Vec<u32> = (0..n as u32).collect();
            let ids = c.header.channels.get("conv0").unwrap_or(&all);
            ids.iter()
                .zip(array.data.chunks(array.data.len() / n))
                .map(|(i, row)| (*i, row[0]))
                .collect()
        };
        let (whole_rows, part_rows) = (first(&whole), first(&part));
        for (channel, w) in first(&larger) {
            let of_part = part_rows.iter().find(|(c, _)| *c == channel);
            assert_eq!(w, of_part.unwrap_or(&whole_rows[channel as usize]).1, "{channel}");
        }
        let less: Vec<f32> = resize.densities.iter().map(|d| d * 0.5).collect();
        let smaller = resize.at(&less).expect("cuts");
        for (name, kept) in &smaller.header.channels {
            assert!(kept.iter().all(|c| part.header.channels[name].contains(c)), "{name}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let text = |whole: &Checkpoint, part: &Checkpoint| {
            let refused = Resize::new(whole, part, Unit::Macs, Score::L2).map(|_| ());
            refused.expect_err("refused").to_string()
        };
        assert!(text(&of("vgg16"), &of("m-cifarnet")).ends_with("their layers differ"));
        let whole = of("m-cifarnet");
        let mut part = trained_half(&whole, &[Dimension::Filter]);
        part.header.channels.get_mut("conv1").expect("cut")[0] = 999;
        assert_eq!(
            text(&whole, &part),
            "conv1: the model has channels that the network does not have"
        );
        part.header.channels.get_mut("conv1").expect("cut").pop();
        assert!(text(&whole, &part).starts_with("conv1: the model has "));
    }
}
