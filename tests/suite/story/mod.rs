//! A store made by hand: an open model with an answer, a finished run and one that works. Nothing in it was measured, so nothing in it changes.

use data::{Normalization, Split};
use event::{
    Dimension, Ending, Event, LayerState, Outcome, Residual, SearchStart, Site, Stamped, Steer, Trial, Unit, Verdict,
};
use infer::{Latency, LayerLatency};
use lab::{JobResult, ModelJob, RunStore};
use measure::images::{ClassActivity, ImageDetail, ImageRef, Prediction, Thumbnail, Thumbnails};
use measure::probe::{Answer, OpenModel, uniform};
use measure::pruning::{PrunedGroup, PruningPlan};
use model::checkpoint::{Metric, ModelHeader, SCHEMA};
use model::spec::Shift;
use model::{Density, Fractions, Masks, NetSpec, cost, zoo};
use record::{Experiment, ModelRef, RunId, RunState};
use std::sync::Arc;

pub(crate) fn density(percent: u32) -> Density {
    Density::percent(percent).expect("a density")
}

pub(crate) fn spec() -> NetSpec {
    let dense = zoo::build("m-cifarnet", [1, 28, 28], 10, 0.5).expect("builds");
    zoo::gated(&dense, Shift::Eq1)
}

/// Falls from 1 toward 0. A fraction, because `exp` differs in its last digit between machines.
fn decay(t: f64) -> f64 {
    1.0 / (1.0 + t * (1.0 + t))
}

/// Accuracy that rises with density and flattens out.
fn top1(d: f64) -> f64 {
    0.934 - 0.06 * decay(3.0 * (d - 0.2))
}

fn nominal_macs(spec: &NetSpec, d: Density) -> u64 {
    let fractions = Fractions::nominal(spec, &vec![d; spec.gates().len()]).expect("fits");
    cost::total(spec, &Masks::new(), &fractions).expect("fits").macs
}

pub(crate) fn open_model() -> OpenModel {
    let spec = spec();
    let grid: Vec<Density> = (4..=20).map(|i| density(i * 5)).collect();
    let metric = |&d: &Density| Metric {
        density: d,
        gates: Vec::new(),
        split: Split::Valid,
        top1: top1(d.as_fraction()) as f32,
        n: 5000,
        macs: nominal_macs(&spec, d),
    };
    let metrics = grid.iter().map(metric).collect();
    let dense = cost::dense(&spec).expect("fits");
    let header = ModelHeader {
        schema: SCHEMA,
        normalization: Normalization {
            mean: vec![0.286],
            std: vec![0.353],
        },
        classes: [
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ]
        .map(String::from)
        .to_vec(),
        method: "fbs".into(),
        data: "fashion-mnist".into(),
        densities: grid,
        gate_densities: Vec::new(),
        width_multiple: 1,
        byte_inputs: Default::default(),
        channels: Default::default(),
        metrics,
        recipe: String::new(),
        spec,
    };
    OpenModel {
        knows_split: true,
        name: "bundled model".into(),
        from: ModelRef::Bundled,
        header,
        dense,
        masks: Arc::default(),
    }
}

/// What could be cut, with nothing cut.
fn plan() -> PruningPlan {
    let spec = spec();
    let shapes = spec.shapes().expect("fits");
    let dense = cost::dense(&spec).expect("fits");
    let group = |conv: usize| {
        let n = shapes[conv][0];
        PrunedGroup {
            name: spec.nodes[conv].name.clone(),
            tied: Vec::new(),
            scores: (0..n).map(|c| 1.0 + (c * 7 % n) as f32 / n as f32).collect(),
            kept: vec![true; n],
        }
    };
    PruningPlan {
        groups: spec.convs().into_iter().map(group).collect(),
        times: 1.0,
        most_times: 180.0,
        macs: dense.macs,
        params: dense.params,
        sensitivity: [0, 8],
    }
}

/// An answer about `n` of 5000 images; `percent` of all channels run in every layer.
pub(crate) fn answer(percent: u32, n: usize) -> Answer {
    let (spec, d) = (spec(), density(percent));
    let shapes = spec.shapes().expect("fits");
    let fractions = Fractions::nominal(&spec, &vec![d; spec.gates().len()]).expect("fits");
    let by_node = cost::by_layer(&spec, &Masks::new(), &fractions).expect("fits");
    let gates = spec.gates();
    let layers = gates.iter().zip(spec.convs()).enumerate().map(|(l, (&gate, conv))| {
        let channels = shapes[conv][0];
        let macs = by_node
            .iter()
            .filter(|c| c.node == gate || c.node == conv)
            .map(|c| c.cost.macs)
            .sum();
        // A spread that looks like one, from nothing but the channel's number.
        let spread = |c: usize| {
            (((c + 64 * l) as u32 + 1)
                .wrapping_mul(2_654_435_761)
                .rotate_left(13)
                .wrapping_mul(2_246_822_519)
                >> 8) as f32
                / (1 << 24) as f32
        };
        let saliency: Vec<f32> = (0..channels).map(|c| 0.05 + 0.6 * spread(c).powi(2)).collect();
        let cut = 1.0 - d.as_fraction() as f32;
        let active = (0..channels)
            .map(|c| ((spread(c) - cut) * 3.0 + 0.5).clamp(0.0, 1.0))
            .collect();
        LayerState {
            name: spec.nodes[conv].name.clone(),
            channels,
            kept: d.of(channels) as f32 / channels as f32,
            macs,
            saliency,
            active,
        }
    });
    let layers = layers.collect();
    let macs = nominal_macs(&spec, d);
    Answer {
        question: uniform(spec.gates().len(), d),
        n,
        of: 5000,
        right: (n as f64 * top1(d.as_fraction())).round() as usize,
        macs,
        traffic: cost::total(&spec, &Masks::new(), &fractions).expect("fits"),
        latency: Some(Latency {
            median_ms: 0.4 + macs as f64 / 4e7,
            p10_ms: 0.35 + macs as f64 / 4e7,
            p90_ms: 0.5 + macs as f64 / 4e7,
            n: 100,
            others: None,
        }),
        layers,
        dense_latency: None,
        seen: Arc::default(),
        said: Arc::default(),
        by_class: Arc::default(),
        classes: Arc::default(),
        plan: Some(Arc::new(plan())),
    }
}

/// What a complete answer says besides: each of 40 images, and how classes use channels.
pub(crate) fn complete(percent: u32) -> Answer {
    let whole = answer(percent, 5000);
    let one = |i: usize| {
        let label = (i % 10) as u16;
        let said = if i % 7 == 3 { (label + 1) % 10 } else { label };
        Prediction {
            label,
            said,
            confidence: 0.35 + 0.6 * ((i * 13) % 11) as f32 / 11.0,
            macs: whole.macs - 10_000 * ((i * 5) % 9) as u64,
            dense: Some(if i % 14 == 3 { label } else { said }),
        }
    };
    let class = |c: usize| ClassActivity {
        n: 500,
        saliency: whole
            .layers
            .iter()
            .map(|l| l.saliency.iter().map(|s| s * (1.0 + c as f32 / 10.0)).collect())
            .collect(),
        active: whole.layers.iter().map(|l| l.active.clone()).collect(),
    };
    Answer {
        dense_latency: Some(Latency {
            median_ms: 1.22,
            p10_ms: 1.1,
            p90_ms: 1.4,
            n: 100,
            others: None,
        }),
        said: (0..40).map(|i| one(i).said).collect(),
        by_class: (0..10).map(|c| [500 - c * 4 - (100 - percent) * c / 4, 500]).collect(),
        seen: (0..40).map(one).collect(),
        classes: (0..10).map(class).collect(),
        ..whole
    }
}

/// Times of the open model's layers: in proportion to their filters.
pub(crate) fn timed() -> JobResult {
    let spec = spec();
    let shapes = spec.shapes().expect("fits");
    let layer = |(i, &conv): (usize, &usize)| {
        let filters = shapes[conv][0];
        let at = (1..=8).map(|k| {
            let median_ms = 0.025 * (i + 1) as f64 * f64::from(k);
            let time = Latency {
                median_ms,
                p10_ms: median_ms,
                p90_ms: median_ms,
                n: 7,
                others: None,
            };
            (filters * k as usize / 8, time)
        });
        LayerLatency {
            name: spec.nodes[conv].name.clone(),
            filters,
            at: at.collect(),
        }
    };
    let times: Vec<LayerLatency> = spec.convs().iter().enumerate().map(layer).collect();
    JobResult {
        times: Some(times.into()),
        ..JobResult::new(ModelJob::Time(ModelRef::Bundled), Ok("Timed 8 layers".into()))
    }
}

/// Small pictures for the images of [`complete`].
pub(crate) fn strip() -> Thumbnails {
    let thumb = |i: usize| Thumbnail {
        size: [28, 28],
        rgb: (0..28 * 28)
            .flat_map(|p| {
                let (x, y) = (p % 28, p / 28);
                let inside = (x - 14_i32).pow(2) + (y - 14_i32).pow(2) < 30 + 12 * (i as i32 % 10);
                [if inside { 220u8 } else { 20 }; 3]
            })
            .collect(),
    };
    Thumbnails {
        thumbs: (0..40).map(thumb).collect(),
        labels: (0..40).map(|i| i % 10).collect(),
        is_labeled: true,
        numbers: (0..40).map(|i| 100 + i).collect(),
    }
}

/// Image 3 looked at: gated and dense disagree.
pub(crate) fn look() -> ImageDetail {
    let answer = answer(50, 5000);
    let spread = |most: usize| -> Vec<f32> { (0..10).map(|c| if c == most { 0.64 } else { 0.04 }).collect() };
    ImageDetail {
        picture: ImageRef::Valid(3),
        label: Some(3),
        image: Arc::new(strip().thumbs[3].clone()),
        gated: spread(4),
        dense: spread(3),
        saliency: answer.layers.iter().map(|l| l.saliency.clone()).collect(),
        active: answer
            .layers
            .iter()
            .map(|l| (0..l.channels).map(|c| c % 2 == 0).collect())
            .collect(),
        macs: answer.macs,
    }
}

/// The story with everything that is known of images.
pub(crate) fn with_images() -> RunStore {
    let mut store = store();
    store.answered(complete(50));
    store.strip = Some(Arc::new(strip()));
    store.look = Some(look());
    store
}

/// A run's events as its log would hold them, up to `steps` of 120.
pub(crate) fn events(steps: u64) -> Vec<Event> {
    events_at_pace(steps, 1.0)
}

/// The same of a run that learns at another pace.
pub(crate) fn events_at_pace(steps: u64, pace: f64) -> Vec<Event> {
    let spec = Arc::new(spec());
    let dense = cost::dense(&spec).expect("fits");
    let mut out = vec![
        Event::Started {
            spec: spec.clone(),
            dense,
            steps: 120,
            images: [8000, 2000, 10_000],
            agreement: false,
        },
        Event::Warning {
            text: "class 3: 1 picture could not be read and was left out".into(),
        },
    ];
    for step in (2..=steps).step_by(2) {
        if (step - 2) % 40 == 0 {
            out.push(Event::Phase {
                name: format!("epoch {} of 3", step / 40 + 1),
                progress: (step - 2) as f32 / 120.0,
            });
        }
        let (t, wobble) = (step as f64 / 120.0, ((step * 29) % 17) as f64 / 17.0 - 0.5);
        let (loss, right) = (
            0.3 + 2.0 * decay(5.0 * pace * t) + 0.15 * wobble,
            0.9 - 0.78 * decay(6.0 * pace * t) - 0.03 * wobble,
        );
        out.push(Event::Step {
            step,
            loss: loss as f32,
            top1: right as f32,
            lr: (0.1 * (1.0 - t)) as f32,
        });
        if step % 40 == 0 {
            for percent in [100, 50, 25] {
                let d = density(percent);
                let top1 = (top1(d.as_fraction()) - 0.3 * decay(5.0 * pace * t)) as f32;
                out.push(Event::Epoch {
                    epoch: (step / 40) as u32,
                    split: Split::Valid,
                    density: d,
                    gates: Vec::new(),
                    loss: 0.4,
                    top1,
                    macs: nominal_macs(&spec, d),
                    n: 2000,
                });
            }
        }
    }
    out
}

/// How a finished run ends.
pub(crate) fn finished() -> Event {
    Event::Ended(Ending {
        outcome: Outcome::Finished,
        reason: None,
        good: None,
        bad_input: false,
        run: "runs/20260101T000000Z_smoke_0001".into(),
        model: Some("runs/20260101T000000Z_smoke_0001/models/smoke.safetensors".into()),
        valid_top1: Some(0.913),
        test_top1: Some(0.908),
        macs: Some(20_000_000),
        macs_dense: Some(21_000_000),
        params: Some(300_000),
        params_dense: Some(298_000),
    })
}

/// Adds a run of these events, half a second apart.
pub(crate) fn add_run(store: &mut RunStore, name: &str, events: &[Event]) {
    let id = RunId(store.runs.len() as u32);
    let mut experiment = Experiment::load("smoke", &[]).expect("preset");
    experiment.name = name.into();
    store.runs.push(RunState::new(id, Arc::new(experiment)));
    for (seq, event) in events.iter().enumerate() {
        store.apply(
            id,
            &Stamped {
                seq: seq as u64,
                at: seq as f64 * 0.5,
                event: event.clone(),
            },
        );
    }
}

/// The whole story: model, answer at 0.5, a finished run and one that works.
pub(crate) fn store() -> RunStore {
    let mut store = RunStore {
        open: Some(Arc::new(open_model())),
        answer: Some(answer(50, 5000)),
        ..RunStore::default()
    };
    let mut first = events(120);
    first.push(finished());
    add_run(&mut store, "smoke", &first);
    add_run(&mut store, "wide", &events_at_pace(84, 0.5));
    store
}

/// A search over the convolutions of [`spec`], of so many trials: warm at first, cold at the end.
pub(crate) fn searching(trials: u64) -> Vec<Event> {
    let spec = spec();
    let by_node = cost::by_layer(&spec, &Masks::new(), &Fractions::dense(&spec)).expect("fits");
    let macs = |conv: usize| by_node.iter().find(|c| c.node == conv).map_or(0, |c| c.cost.macs);
    let convs = spec.convs();
    let shapes = spec.shapes().expect("fits");
    let site = |&conv: &usize| Site {
        name: spec.nodes[conv].name.clone(),
        dimension: Dimension::Filter,
        size: macs(conv) as f64,
        choices: shapes[conv][0],
        step: 1,
        tied: Vec::new(),
    };
    let sites: Vec<Site> = convs.iter().map(site).collect();
    let whole: f64 = sites.iter().map(|s| s.size).sum();
    let mut out = vec![Event::Search(Arc::new(SearchStart {
        held: Vec::new(),
        name: "round 1".into(),
        sites: sites.clone(),
        unit: Unit::Macs,
        budget: whole * 0.8,
        whole,
        trials: 120,
        images: 2000,
    }))];
    let (mut stands, mut best) = (-1.0, -1.0);
    for number in 0..trials {
        let t = number as f64 / 120.0;
        // Numbers that look random, the same everywhere.
        let noise = |i: usize| {
            let mut h = (number * 8 + i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            h = (h ^ (h >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            (h >> 40) as f64 / (1 << 24) as f64 - 0.5
        };
        let density = |i: usize| {
            // Held from the fortieth trial on.
            if i == 0 && number >= 40 {
                return 1.0;
            }
            let good = 0.45 + 0.07 * ((i * 5) % 8) as f64;
            (good + noise(i) * 0.6 * (1.0 - 0.8 * t)).clamp(0.1, 1.0)
        };
        let densities: Vec<f32> = (0..sites.len()).map(|i| density(i) as f32).collect();
        let spent: f64 = sites.iter().zip(&densities).map(|(s, &d)| s.size * f64::from(d)).sum();
        let far: f64 = (0..sites.len()).map(|i| noise(i).powi(2)).sum::<f64>() * (1.0 - 0.8 * t);
        let top1 = 0.915 - 0.06 * far;
        let temperature = 0.02 * decay(6.0 * t);
        let verdict = match top1 {
            r if r > best => Verdict::Best,
            r if r > stands - 1.5 * temperature => Verdict::Accepted,
            _ => Verdict::Rejected,
        };
        if verdict != Verdict::Rejected {
            stands = top1;
        }
        best = best.max(top1);
        out.push(Event::Trial(Trial {
            number,
            densities: densities.into(),
            spent,
            macs: spent as u64,
            params: (300_000.0 * spent / whole) as u64,
            top1: top1 as f32,
            reward: top1 as f32,
            temperature: temperature as f32,
            acceptance: (0.45 * decay(5.0 * t)) as f32,
            verdict,
        }));
    }
    out
}

/// ADMM's way over the first four convolutions, so many updates of it.
pub(crate) fn residuals(updates: u32) -> Vec<Event> {
    let layer = |update: u32, i: u32| Residual {
        layer: format!("conv{i}"),
        dimension: Dimension::Filter,
        value: ((0.2 + 0.1 * f64::from(i)) * decay(0.4 * f64::from(update))) as f32,
        moved: 0.0,
    };
    let said = |update: u32| Event::Residuals {
        update,
        rho: 0.01,
        layers: (0..4).map(|i| layer(update, i)).collect(),
    };
    (1..=updates).map(said).collect()
}

/// The story with a third run that searches: 80 of 120 trials, steered twice.
pub(crate) fn searched() -> RunStore {
    let mut store = store();
    let mut said = searching(80);
    said.insert(41, Event::Steered(Steer::Lock { site: 0, density: 1.0 }));
    said.insert(62, Event::Steered(Steer::Reheat));
    said.extend(residuals(12));
    let started = events(0);
    add_run(&mut store, "autocompress", &[started, said].concat());
    store
}
