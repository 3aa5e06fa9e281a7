//! The network as a strip: each layer a slab, as high as its planes and as wide as its channels, filled as far as they run.
//! Deep networks are folded to blocks. Knows nothing of pixels on a screen: it places slabs in any rectangle.

use super::text;
use event::{Dimension, Site, Steer};
use lab::RunStore;
use measure::Question;
use measure::probe::OpenModel;
use model::{Density, Fractions, Masks, NetSpec, Op, cost};
use record::{RunId, RunState};
use serde::Serialize;
use std::collections::BTreeMap;

/// Slabs that are drawn at most: more layers are folded to blocks.
const MOST: usize = 24;

/// A network as a row of slabs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NetworkView {
    /// Whose it is.
    pub title: String,
    /// `[channels, height, width]` of an image.
    pub input: [usize; 3],
    /// In network order.
    pub slabs: Vec<Slab>,
    /// Slabs whose outputs are added, or whose channels stand side by side: from an earlier one to a later one.
    pub links: Vec<[usize; 2]>,
    /// Classes it tells apart.
    pub classes: usize,
}

/// A layer, or several that are folded to one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Slab {
    /// The layer's name, or what the names of its layers have in common.
    pub name: String,
    /// The layers it stands for.
    pub layers: Vec<String>,
    /// `[channels, height, width]` of its output.
    pub shape: [usize; 3],
    /// Channels of all its layers that run, averaged over images.
    pub running: f64,
    /// Channels of all its layers.
    pub channels: usize,
    /// The same in the network it began as.
    pub began: usize,
    /// MACs per image: now, and with every channel running.
    pub macs: [u64; 2],
    /// Milliseconds of its layers alone, where they were timed.
    pub millis: Option<f64>,
    /// The gate that its edge moves, counted in network order; of a slab that stands for one layer.
    pub gate: Option<usize>,
    /// The group of layers that its edge cuts, by its first layer, where no gate is moved.
    pub group: Option<String>,
    /// The site of a running search that its edge proposes a density for.
    pub site: Option<usize>,
    /// The share that is proposed for it and was not tried yet.
    pub proposed: Option<f64>,
}

/// One image on its way through the network, beside the same image in the whole network. Both go at one slowed-down speed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlayView {
    /// `image 3 (Dress): 0.07 ms here, 0.18 ms in the whole network`.
    pub text: String,
    /// When each slab begins and ends here, as shares of the time that the whole network takes.
    pub here: Vec<[f64; 2]>,
    /// The same in the whole network.
    pub whole: Vec<[f64; 2]>,
    /// By slab: whether each channel runs for this image; empty where no gate chooses.
    pub active: Vec<Vec<bool>>,
}

/// The image that was looked at last, to be played through the open model's slabs; none before one was.
pub fn play(store: &RunStore, view: &NetworkView) -> Option<PlayView> {
    let (look, answer) = (store.look.as_ref()?, store.answer.as_ref()?);
    let sum = |of: usize| view.slabs.iter().map(|s| s.macs[of]).sum::<u64>().max(1) as f64;
    let ms = [answer.latency, answer.dense_latency].map(|l| l.map(|l| l.median_ms));
    // Without measured times, work stands for time.
    let ratio = match ms {
        [Some(now), Some(dense)] => now / dense.max(1e-9),
        _ => sum(0) / sum(1),
    };
    let ways = |of: usize, all: f64| -> Vec<[f64; 2]> {
        let mut at = 0.0;
        let part = |slab: &Slab| {
            let from = at;
            at += all * slab.macs[of] as f64 / sum(of);
            [from, at]
        };
        view.slabs.iter().map(part).collect()
    };
    let title = super::images::look(store)?.title;
    let text = match ms {
        [Some(now), Some(dense)] => {
            format!(
                "{title}: {} here, {} in the whole network",
                text::millis(now),
                text::millis(dense)
            )
        }
        _ => format!("{title}, by work: times are not measured yet"),
    };
    let active = view
        .slabs
        .iter()
        .map(|s| s.gate.and_then(|gate| look.active.get(gate)).cloned());
    Some(PlayView {
        text,
        here: ways(0, ratio.max(0.01)),
        whole: ways(1, 1.0),
        active: active.map(Option::unwrap_or_default).collect(),
    })
}

/// Where a slab stands in a rectangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlabPlace {
    /// Its left edge.
    pub left: f32,
    /// Height above and below the middle.
    pub half_height: f32,
    /// Width of what runs, of what there is, and of what it began as.
    pub widths: [f32; 3],
}

/// Channels of each layer in the network that a model began as.
pub type BeganAs = BTreeMap<String, usize>;

impl Slab {
    /// Share of its channels that runs.
    pub fn share(&self) -> f64 {
        self.running / self.channels.max(1) as f64
    }

    /// `40 of 64`.
    pub fn short(&self) -> String {
        let now = self.running.round() as usize;
        let all = self.began.max(self.channels);
        if now == all {
            all.to_string()
        } else {
            format!("{now} of {all}")
        }
    }

    /// Everything about it, a line each.
    pub fn says(&self) -> String {
        let [c, h, w] = self.shape;
        let shape = if h * w == 1 {
            c.to_string()
        } else {
            format!("{c}×{h}×{w}")
        };
        let kept = text::whole_percent(self.share());
        let mut lines = vec![
            match self.layers.len() {
                1 => format!("{}, output {shape}", self.name),
                n => format!("{}, {n} layers, output {shape}", self.name),
            },
            format!("{kept} of {} channels run", self.channels),
            format!("{} of {} MACs", text::count(self.macs[0]), text::count(self.macs[1])),
        ];
        if self.began > self.channels {
            lines.push(format!("{} channels before it was cut", self.began));
        }
        if let Some(ms) = self.millis {
            lines.push(format!("{} alone", text::millis(ms)));
        }
        lines.join("\n")
    }
}

impl NetworkView {
    /// MACs per image now.
    pub fn macs(&self) -> u64 {
        self.slabs.iter().map(|s| s.macs[0]).sum()
    }

    /// Where slabs stand in a rectangle of this size whose middle is at height 0. Areas are not to scale: width and height follow
    /// square roots, so that a layer of 2048 channels and one of 16 can both be seen.
    pub fn places(&self, width: f32, height: f32) -> Vec<SlabPlace> {
        let side = |s: &Slab| (s.shape[1].max(s.shape[2]) as f32).sqrt();
        let wide = |s: &Slab| (s.began.max(s.channels).max(1) as f32 / s.layers.len() as f32).sqrt();
        let n = self.slabs.len().max(1) as f32;
        let highest = self.slabs.iter().map(side).fold(1.0, f32::max);
        let sum: f32 = self.slabs.iter().map(wide).sum();
        // A third of the width is space between slabs.
        let gap = width * 0.34 / n;
        let scale = (width - gap * n).max(1.0) / sum.max(1.0);
        let mut left = gap / 2.0;
        let place = |s: &Slab| {
            let whole = wide(s) * scale;
            let began = s.began.max(s.channels).max(1) as f32;
            let dense = whole * s.channels as f32 / began;
            let at = SlabPlace {
                left,
                half_height: (height / 2.0 * side(s) / highest).max(height * 0.09),
                widths: [dense * s.share() as f32, dense, whole],
            };
            left += whole + gap;
            at
        };
        self.slabs.iter().map(place).collect()
    }
}

/// What is known of a layer.
#[derive(Clone, Copy)]
struct Known {
    share: f64,
    macs: Option<u64>,
}

/// The network of the open model, as far as it was measured; none without one.
pub fn open(store: &RunStore, asked: &Question, began: &BeganAs) -> Option<NetworkView> {
    let open = store.open.as_ref()?;
    let spec = &open.header.spec;
    let nominal = Fractions::nominal(spec, &asked.densities).ok();
    let answer = store.answer.as_ref();
    let known = |i: usize| {
        let name = &spec.nodes[i].name;
        let measured = answer.and_then(|a| a.layers.iter().find(|l| l.name == *name));
        match (measured, &nominal) {
            (Some(layer), _) => Known {
                share: f64::from(layer.kept),
                macs: Some(layer.macs),
            },
            (None, Some(Fractions(share))) => Known {
                share: share[i],
                macs: None,
            },
            (None, None) => Known { share: 1.0, macs: None },
        }
    };
    let mut view = of_spec(open.name.clone(), spec, began, &known)?;
    let times = store.times(&open.from).map_or(&[][..], |times| times);
    for slab in &mut view.slabs {
        let ms = |name: &String| {
            let layer = times.iter().find(|t| t.name == *name)?;
            let width = (layer.filters as f64 * slab.share()).ceil() as usize;
            let step = layer.at.iter().find(|(w, _)| *w >= width).or(layer.at.last())?;
            Some(step.1.median_ms)
        };
        slab.millis = slab.layers.iter().map(ms).sum();
        let groups = answer
            .and_then(|a| a.plan.as_ref())
            .map_or(&[][..], |plan| &plan.groups);
        if let ([layer], None) = (&slab.layers[..], slab.gate) {
            slab.group = groups.iter().find(|g| g.has(layer)).map(|g| g.name.clone());
        }
    }
    Some(view)
}

/// A run's network: at the newest trial of a search that works, else as its layers were last measured.
pub fn of_run(store: &RunStore, id: RunId) -> Option<NetworkView> {
    let run = store.run(id)?;
    let spec = run.spec.as_ref()?;
    let trial = trial_shares(run);
    let layers = run
        .layers_at(Density::FULL)
        .or_else(|| run.layers.last().map(|(_, l)| l));
    let known = |i: usize| {
        let name = spec.nodes[i].name.as_str();
        if let Some(trial) = &trial {
            let share = trial.get(name).copied().unwrap_or(1.0);
            return Known { share, macs: None };
        }
        match layers.and_then(|l| l.iter().find(|l| l.name == name)) {
            // A layer that was cut has fewer channels than the network that the run began with.
            Some(layer) => {
                let all = spec.shapes().map_or(layer.channels, |s| s[i][0]);
                let share = f64::from(layer.kept) * layer.channels as f64 / all.max(1) as f64;
                Known {
                    share: share.min(1.0),
                    macs: Some(layer.macs),
                }
            }
            None => Known { share: 1.0, macs: None },
        }
    };
    let title = match (&trial, run.searches.last().and_then(|s| s.trials.last())) {
        (Some(_), Some(point)) => format!("{}, trial {}", run.title(), point.trial.number),
        _ => run.title(),
    };
    let mut view = of_spec(title, spec, &BeganAs::new(), &known)?;
    // The sliders are the open model's.
    view.slabs.iter_mut().for_each(|slab| slab.gate = None);
    if let Some(search) = run
        .searches
        .last()
        .filter(|s| run.is_live() && s.measured < s.start.trials)
    {
        let orders = store.orders.iter().rev().filter(|(of, _)| *of == id);
        let proposed = orders.filter_map(|(_, order)| match order {
            Steer::Propose { densities } => Some(densities),
            _ => None,
        });
        let proposed = proposed.into_iter().next();
        for slab in &mut view.slabs {
            let [layer] = &slab.layers[..] else { continue };
            let cuts = |site: &Site| {
                let is_whole = matches!(site.dimension, Dimension::Filter | Dimension::Gate);
                is_whole && (site.name == *layer || site.tied.contains(layer))
            };
            slab.site = search.start.sites.iter().position(cuts);
            let next = slab.site.and_then(|site| proposed?.get(site));
            slab.proposed = next.map(|&d| f64::from(d)).filter(|d| (d - slab.share()).abs() > 0.005);
        }
    }
    Some(view)
}

/// The share of channels that each layer keeps in the newest trial of a run's last search, if the run is still there.
fn trial_shares(run: &RunState) -> Option<BTreeMap<&str, f64>> {
    use event::Dimension::{Channel, Column, Element, Filter, Gate};
    let search = run.searches.last()?;
    let trial = &search.trials.last()?.trial;
    let mut shares = BTreeMap::new();
    for (site, &d) in search.start.sites.iter().zip(trial.densities.iter()) {
        match site.dimension {
            Filter | Gate => {
                let layers = std::iter::once(&site.name).chain(&site.tied);
                shares.extend(layers.map(|layer| (layer.as_str(), f64::from(d))));
            }
            Channel | Column | Element => {}
        }
    }
    (!shares.is_empty()).then_some(shares)
}

/// Channels of the layers of the dense network that a model's recipe builds, if the model says how it was made.
pub fn began_as(open: &OpenModel) -> BeganAs {
    let Some(spec) = super::model::origin(open) else {
        return BeganAs::new();
    };
    let Ok(shapes) = spec.shapes() else {
        return BeganAs::new();
    };
    let layers = spec.nodes.iter().enumerate().filter(|(_, node)| is_layer(&node.op));
    layers.map(|(i, node)| (node.name.clone(), shapes[i][0])).collect()
}

fn is_layer(op: &Op) -> bool {
    matches!(op, Op::Conv { .. } | Op::Linear { .. })
}

fn of_spec(title: String, spec: &NetSpec, began: &BeganAs, known: &dyn Fn(usize) -> Known) -> Option<NetworkView> {
    let shapes = spec.shapes().ok()?;
    let dense = cost::by_layer(spec, &Masks::new(), &Fractions::dense(spec)).ok()?;
    let layers: Vec<usize> = (0..spec.nodes.len()).filter(|&i| is_layer(&spec.nodes[i].op)).collect();
    // The layers that each node's channels come from.
    let mut sources: Vec<Vec<usize>> = Vec::with_capacity(spec.nodes.len());
    for (i, node) in spec.nodes.iter().enumerate() {
        let own = match node.op {
            _ if is_layer(&node.op) => vec![i],
            Op::Gate { .. } => sources[node.inputs[0]].clone(),
            _ => {
                let mut all: Vec<usize> = node.inputs.iter().flat_map(|&from| sources[from].clone()).collect();
                all.sort_unstable();
                all.dedup();
                all
            }
        };
        sources.push(own);
    }
    let gates = spec.gates();
    let gate_of = |layer: usize| gates.iter().position(|&g| sources[g] == [layer]);
    let read = |layer: usize| {
        let from = &sources[spec.nodes[layer].inputs[0]];
        let shares = from.iter().map(|&l| known(l).share);
        if from.is_empty() {
            1.0
        } else {
            shares.sum::<f64>() / from.len() as f64
        }
    };
    let slab = |layer: usize| {
        let node = &spec.nodes[layer];
        let now = known(layer);
        // A gate's own work counts with its layer's, as it does where layers are measured.
        let own = |at: usize| dense.iter().filter(|l| l.node == at).map(|l| l.cost.macs).sum::<u64>();
        let gate = gate_of(layer);
        let whole = own(layer) + gate.map_or(0, |g| own(gates[g]));
        let macs = now
            .macs
            .unwrap_or_else(|| (whole as f64 * now.share * read(layer)) as u64);
        let channels = shapes[layer][0];
        Slab {
            name: node.name.clone(),
            layers: vec![node.name.clone()],
            shape: shapes[layer],
            running: channels as f64 * now.share,
            channels,
            began: began.get(&node.name).copied().unwrap_or(channels).max(channels),
            macs: [macs, whole],
            millis: None,
            gate,
            group: None,
            site: None,
            proposed: None,
        }
    };
    let whole: Vec<Slab> = layers.iter().map(|&l| slab(l)).collect();
    let groups = fold(spec, &layers);
    let mut place = BTreeMap::new();
    for (s, group) in groups.iter().enumerate() {
        place.extend(group.iter().map(|&l| (layers[l], s)));
    }
    let mut links = Vec::new();
    for (i, node) in spec.nodes.iter().enumerate() {
        if node.inputs.len() < 2 || matches!(node.op, Op::Gate { .. }) {
            continue;
        }
        // The last layer before each of the inputs, and the one that ends here.
        let ends: Vec<usize> = node
            .inputs
            .iter()
            .filter_map(|&from| sources[from].iter().max().copied())
            .collect();
        let Some(&last) = sources[i].iter().max() else { continue };
        for end in ends.into_iter().filter(|&end| end != last) {
            let link = [place[&end], place[&last]];
            if link[0] < link[1] && !links.contains(&link) {
                links.push(link);
            }
        }
    }
    Some(NetworkView {
        title,
        input: shapes[0],
        slabs: groups
            .iter()
            .map(|group| merge(group.iter().map(|&l| &whole[l])))
            .collect(),
        links,
        classes: spec.classes().ok()?,
    })
}

/// Layers in groups, by their places: each alone if they are few, else by what their names have in common, else by sums, else in
/// equal parts.
fn fold(spec: &NetSpec, layers: &[usize]) -> Vec<Vec<usize>> {
    let alone = (0..layers.len()).map(|l| vec![l]).collect::<Vec<_>>();
    if layers.len() <= MOST {
        return alone;
    }
    let parts = |l: usize| spec.nodes[layers[l]].name.split(['.', '/']).count();
    let deepest = (0..layers.len()).map(parts).max().unwrap_or(1);
    for depth in (1..deepest).rev() {
        let head = |l: usize| {
            let parts: Vec<&str> = spec.nodes[layers[l]].name.split(['.', '/']).collect();
            parts[..depth.min(parts.len())].join(".")
        };
        let groups = runs(layers.len(), |a, b| head(a) == head(b));
        if (4..=MOST).contains(&groups.len()) {
            return groups;
        }
    }
    let sums: Vec<usize> = (0..spec.nodes.len())
        .filter(|&i| matches!(spec.nodes[i].op, Op::Add))
        .collect();
    let block = |l: usize| sums.partition_point(|&sum| sum < layers[l]);
    let groups = runs(layers.len(), |a, b| block(a) == block(b));
    if (4..=MOST).contains(&groups.len()) {
        return groups;
    }
    let each = layers.len().div_ceil(MOST);
    runs(layers.len(), |a, b| a / each == b / each)
}

/// Neighbors that belong together.
fn runs(n: usize, together: impl Fn(usize, usize) -> bool) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for l in 0..n {
        match groups.last_mut() {
            Some(group) if together(group[group.len() - 1], l) => group.push(l),
            _ => groups.push(vec![l]),
        }
    }
    groups
}

fn merge<'a>(slabs: impl Iterator<Item = &'a Slab> + Clone) -> Slab {
    let all: Vec<&Slab> = slabs.collect();
    let (first, last) = (all[0], all[all.len() - 1]);
    if all.len() == 1 {
        return first.clone();
    }
    let common = first
        .name
        .split_inclusive(['.', '/'])
        .zip(last.name.split_inclusive(['.', '/']))
        .take_while(|(a, b)| a == b)
        .map(|(a, _)| a);
    let common: String = common.collect();
    let name = match common.trim_end_matches(['.', '/']) {
        "" => format!("{}…{}", first.name, last.name),
        common => common.to_owned(),
    };
    let sum = |of: &dyn Fn(&Slab) -> u64| all.iter().map(|s| of(s)).sum::<u64>();
    Slab {
        name,
        layers: all.iter().flat_map(|s| s.layers.clone()).collect(),
        shape: last.shape,
        running: all.iter().map(|s| s.running).sum(),
        channels: all.iter().map(|s| s.channels).sum(),
        began: all.iter().map(|s| s.began).sum(),
        macs: [sum(&|s| s.macs[0]), sum(&|s| s.macs[1])],
        millis: None,
        gate: None,
        group: None,
        site: None,
        proposed: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::zoo;

    fn drawn(name: &str, share: f64) -> NetworkView {
        let spec = zoo::build(name, [3, 32, 32], 10, 0.25).expect("builds");
        let known = |_: usize| Known { share, macs: None };
        of_spec(name.into(), &spec, &BeganAs::new(), &known).expect("fits")
    }

    #[test]
    fn a_shallow_network_has_a_slab_a_layer_and_a_deep_one_a_slab_a_block() {
        let shallow = drawn("m-cifarnet", 1.0);
        assert!(shallow.slabs.iter().all(|s| s.layers.len() == 1) && shallow.links.is_empty());
        let resnet = drawn("resnet18", 1.0);
        assert_eq!((resnet.slabs.len(), resnet.links.len()), (21, 8), "{:?}", resnet.links);
        for name in zoo::NAMES {
            let view = drawn(name, 1.0);
            assert!(
                (4..=MOST).contains(&view.slabs.len()) || name == "lenet5",
                "{name}: {}",
                view.slabs.len()
            );
            let spec = zoo::build(name, [3, 32, 32], 10, 0.25).expect("builds");
            let dense = cost::dense(&spec).expect("counts");
            assert_eq!(view.macs(), dense.macs, "{name}: every layer is in one slab");
            for [from, to] in view.links {
                assert!(from < to && to < view.slabs.len(), "{name}");
            }
        }
    }

    #[test]
    fn slabs_stand_side_by_side_and_are_filled_as_far_as_they_run() {
        let half = drawn("resnet18", 0.5);
        let places = half.places(1000.0, 120.0);
        for (i, at) in places.iter().enumerate() {
            let [runs, dense, began] = at.widths;
            assert!((runs - dense * 0.5).abs() < 1e-3 && dense <= began + 1e-3);
            assert!(at.half_height <= 60.001 && at.half_height > 10.0);
            if let Some(next) = places.get(i + 1) {
                assert!(at.left + began < next.left);
            }
        }
        let last = places[places.len() - 1];
        assert!(last.left + last.widths[2] < 1000.0);
        // Both what a layer writes and what it reads are halved.
        let dense: u64 = half.slabs.iter().map(|s| s.macs[1]).sum();
        assert!(half.macs() < dense * 27 / 100, "{} of {dense}", half.macs());
    }
}
