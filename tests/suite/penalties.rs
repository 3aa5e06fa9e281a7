//! What is taken from gradients and added to them, on a real network and real images: first-order scores against finite
//! differences, and an ADMM that pulls at nothing.

use data::{Augment, Normalization, Splits, batch};
use event::Cancelled;
use infer::{EvalMetrics, Options};
use methods::{AdmmSchedule, AdmmState, Ranking};
use model::spec::{GateForm, Subsample};
use model::{Checkpoint, Density, NetSpec, Weights, zoo};
use prune::{Scope, Score, Sites, groups, saliency};
use std::cell::Cell;
use train::{Ctx, NoMemory, Penalty, RunHooks, TrainConfig, TrainingData, TrainingPlan, first_order, fit};

/// Works on few bundled images, with a narrow network.
fn with_ctx<T>(work: impl FnOnce(&mut Ctx) -> T) -> T {
    with_images(150, work)
}

/// Trains on as many images.
fn with_images<T>(images: usize, work: impl FnOnce(&mut Ctx) -> T) -> T {
    let dataset = data::open("fashion-mnist", &data::Reading::default(), &mut |_| Ok(())).expect("bundled");
    let mut splits: Splits = data::split(&dataset, 0, data::Amount::Count(50));
    splits.train = data::spread(&splits.train, images);
    let spec: NetSpec = zoo::build("m-cifarnet", [1, 28, 28], 10, 0.06).expect("builds");
    let train = TrainConfig {
        epochs: 2,
        batch: 50,
        lr: 0.05,
        ..TrainConfig::default()
    };
    let mut ctx = Ctx {
        seed: 3,
        data: TrainingData {
            dataset: &dataset,
            splits: &splits,
            augment: Augment::default(),
            normalization: Normalization::of(&dataset.train),
            protected: Vec::new(),
        },
        spec,
        train,
        start: None,
        teacher: None,
        device: train::device::DeviceName::Flex.open().expect("opens"),
        latency_table: None,
        threads: 1,
        recipe: String::new(),
        steps: 6,
        done: [0, 0],
        run: RunHooks {
            check: &|| Ok::<(), Cancelled>(()),
            min_top1: &Cell::new(0.0),
            keep: &|_| Ok(String::new()),
            steer: &Vec::new,
            memory: &NoMemory,
            farm: None,
            emit: &mut |_| Ok(()),
        },
    };
    work(&mut ctx)
}

fn dense(ctx: &mut Ctx) -> Checkpoint {
    let plan = TrainingPlan::plain("dense", ctx.spec.clone(), ctx.train.clone());
    fit(ctx, "training", &plan, None, None).expect("trains")
}

#[test]
fn an_admm_without_rho_is_plain_training() {
    with_ctx(|ctx| {
        let model = dense(ctx);
        let sites = Sites::new(&model, &Scope::default()).expect("sites");
        let train = |ctx: &mut Ctx, pull: Option<&mut dyn Penalty>| {
            let plan = TrainingPlan::plain("admm", model.spec().clone(), ctx.train.clone());
            ctx.done = [0, 0];
            fit(ctx, "again", &plan, Some(&model), pull).expect("trains").weights
        };
        let plain = train(ctx, None);
        let pulled = |rho: f32| {
            // One update, so that the learning rate falls once.
            let how = AdmmSchedule {
                rho,
                epochs: 2,
                updates: 1,
                ..AdmmSchedule::default()
            };
            let halves = vec![0.5; sites.list.len()];
            let training = (&TrainConfig::default(), 3);
            AdmmState::new(sites.clone(), halves, &model.weights, &how, training).expect("projects")
        };
        // Zero would mean: as the schedule needs it.
        assert_eq!(train(ctx, Some(&mut pulled(f32::from_bits(1)))), plain);
        // The same with something to pull is another training.
        assert_ne!(train(ctx, Some(&mut pulled(0.1))), plain);
    });
}

#[test]
fn every_ranking_is_its_own_score() {
    with_ctx(|ctx| {
        let model = dense(ctx);
        let mut score = |ranking: Ranking| ranking.score(ctx, "ranking", &model).expect("scores");
        assert_eq!(score(Ranking::L1), Score::L1);
        assert_eq!(score(Ranking::L2), Score::L2);
        assert_eq!(score(Ranking::NormScale), Score::NormScale);
        assert_eq!(score(Ranking::GeometricMedian), Score::GeometricMedian);
        assert_eq!(score(Ranking::Random), Score::Random(3));
        let Score::Taylor(products) = score(Ranking::Taylor) else {
            panic!("not first order")
        };
        assert_eq!(*products, first_order(ctx, &model, 1024).expect("scores"));
    });
}

/// Σ w·∂loss/∂w is the slope of the loss as weights are scaled, with norms over each batch.
#[test]
fn first_order_scores_are_how_the_loss_moves() {
    with_ctx(|ctx| {
        let model = dense(ctx);
        ctx.train.batch = 20;
        let products = first_order(ctx, &model, 50).expect("scores");
        let indices = data::spread(&ctx.data.splits.train, 50);
        // The engine's loss over the same batches; norms are measured on each.
        let loss = |weights: &Weights| -> f64 {
            let of = |chunk: &[u32]| {
                let mut pixels = Vec::new();
                batch::fill(
                    &ctx.data.dataset.train,
                    chunk,
                    None,
                    &ctx.data.normalization,
                    &mut pixels,
                );
                let mut model = model.clone();
                model.weights.clone_from(weights);
                let options = Options {
                    batch: 20,
                    ..Options::default()
                };
                let mut engine = infer::compile(&model, &options).expect("compiles");
                engine.calibrate(&pixels);
                let mut metrics = EvalMetrics::new(model.spec());
                metrics.add(engine.run(&pixels), &batch::labels(&ctx.data.dataset.train, chunk));
                f64::from(metrics.loss()) * chunk.len() as f64
            };
            indices.chunks(20).map(of).sum::<f64>() / indices.len() as f64
        };
        let slope = |scale: &dyn Fn(&mut Weights, f32)| {
            let at = |by: f32| {
                let mut weights = model.weights.clone();
                scale(&mut weights, by);
                loss(&weights)
            };
            (at(1.02) - at(0.98)) / 0.04
        };
        let near = |got: f64, measured: f64, what: &str| {
            let off = (got - measured).abs();
            assert!(off < 0.03 * measured.abs().max(0.05), "{what}: {got} for {measured}");
        };
        for name in [
            "classifier.weight",
            "conv7.norm.gamma",
            "conv4.norm.gamma",
            "conv7.norm.beta",
        ] {
            let sum: f64 = products[name].data.iter().map(|&p| f64::from(p)).sum();
            let whole = |weights: &mut Weights, by: f32| {
                weights
                    .get_mut(name)
                    .expect("there")
                    .data
                    .iter_mut()
                    .for_each(|w| *w *= by);
            };
            near(sum, slope(&whole), name);
        }
        // A filter behind a norm: its score is the slope as its channel is scaled, though its own weights move nothing.
        let spec = model.spec();
        let groups = groups(spec).expect("groups");
        let group = groups.list.iter().find(|g| g.name == "conv4").expect("there");
        let score = Score::Taylor(std::sync::Arc::new(products.clone()));
        let scores = saliency::filters(spec, &model.weights, group, &score).expect("scores");
        let most = (0..scores.len())
            .max_by(|&a, &b| scores[a].total_cmp(&scores[b]))
            .expect("filters");
        for c in [0, most] {
            let channel = |weights: &mut Weights, by: f32| {
                for name in ["conv4.norm.gamma", "conv4.norm.beta"] {
                    weights.get_mut(name).expect("there").data[c] *= by;
                }
            };
            near(
                f64::from(scores[c]),
                slope(&channel).abs(),
                &format!("conv4, filter {c}"),
            );
        }
        assert!(scores[most] > 0.01, "too flat to tell: {scores:?}");
    });
}

/// Thirteen gates in a row once left a network whose losses with stored statistics were beyond any number.
#[test]
fn gates_on_a_deep_network_do_not_run_away() {
    with_images(640, |ctx| {
        let form = GateForm {
            subsample: Subsample::ScaleFree,
            ..GateForm::default()
        };
        let spec = zoo::gated(&zoo::build("vgg16", [1, 28, 28], 10, 0.25).expect("builds"), form);
        ctx.train = TrainConfig {
            batch: 32,
            lr: 0.1,
            ..ctx.train.clone()
        };
        let half = Density::percent(50).expect("valid");
        let plan = TrainingPlan {
            densities: &|step, _| match step {
                0..2 => vec![Density::FULL],
                _ => vec![Density::FULL, half],
            },
            grid: vec![half],
            calibration: 128,
            ..TrainingPlan::plain("fbs", spec, ctx.train.clone())
        };
        let model = fit(ctx, "training", &plan, None, None).expect("trains");
        let mut engine = infer::compile(&model, &Options::default()).expect("compiles");
        let gates = model.spec().gates().len();
        engine.set_densities(&vec![half; gates]);
        let images = &ctx.data.splits.valid[..50];
        let pixels = ctx.data.pixels(data::Split::Valid, images);
        let mut metrics = EvalMetrics::new(model.spec());
        metrics.add(engine.run(&pixels), &batch::labels(&ctx.data.dataset.train, images));
        assert!(metrics.loss() < 4.0, "{}", metrics.loss());
        // Gates of plain means would raise the brightness to a power of two for each gate.
        let mut largest = |brightness: f32| {
            let pixels: Vec<f32> = pixels.iter().map(|v| v * brightness).collect();
            let logits = engine.run(&pixels).logits.iter().map(|v| v.abs());
            logits.fold(0.0, |most: f32, v| if v > most || v.is_nan() { v } else { most })
        };
        let (bright, brighter) = (largest(1e3), largest(1e6));
        assert!(brighter < 1.1e3 * bright, "{bright} {brighter}");
    });
}
