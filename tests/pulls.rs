//! What is taken from gradients and added to them, on a real network and real images: first-order scores against finite
//! differences, and an ADMM that pulls at nothing.

use secateur::data::{self, Augment, Normalization, Splits, batch};
use secateur::event::Cancelled;
use secateur::infer::{self, Options, Tally};
use secateur::methods::admm::{Admm, Pulled};
use secateur::model::{Checkpoint, NetSpec, Weights, zoo};
use secateur::prune::{Scope, Sites};
use secateur::train::memory::Forgetful;
use secateur::train::{Ctx, Plan, Pull, TrainConfig, first_order, fit};

/// Works on few bundled images, with a narrow network.
fn with_ctx<T>(work: impl FnOnce(&mut Ctx) -> T) -> T {
    let dataset = data::open("fashion-mnist", &mut |_| Ok(())).expect("bundled");
    let mut splits: Splits = data::split(&dataset, 0, 50).expect("splits");
    splits.train = data::spread(&splits.train, 150);
    let spec: NetSpec = zoo::build("m-cifarnet", [1, 28, 28], 10, 0.06).expect("builds");
    let train = TrainConfig {
        epochs: 2,
        batch: 50,
        lr: 0.05,
        ..TrainConfig::default()
    };
    let mut ctx = Ctx {
        seed: 3,
        normalization: Normalization::of(&dataset.train),
        data: &dataset,
        splits: &splits,
        augment: Augment::default(),
        spec,
        train,
        start: None,
        device: secateur::run::device::DeviceName::Flex.open().expect("opens"),
        threads: 1,
        recipe: String::new(),
        steps: 6,
        done: [0, 0],
        check: &|| Ok::<(), Cancelled>(()),
        least: 0.0,
        keep: &|_| Ok(String::new()),
        steer: &Vec::new,
        memory: &Forgetful,
        emit: &mut |_| Ok(()),
    };
    work(&mut ctx)
}

fn dense(ctx: &mut Ctx) -> Checkpoint {
    let plan = Plan::plain("dense", ctx.spec.clone(), ctx.train.clone());
    fit(ctx, "training", &plan, None, None).expect("trains")
}

#[test]
fn an_admm_without_rho_is_plain_training() {
    with_ctx(|ctx| {
        let model = dense(ctx);
        let sites = Sites::new(&model, &Scope::default()).expect("sites");
        let train = |ctx: &mut Ctx, pull: Option<&mut dyn Pull>| {
            let plan = Plan::plain("admm", model.spec().clone(), ctx.train.clone());
            ctx.done = [0, 0];
            fit(ctx, "again", &plan, Some(&model), pull).expect("trains").weights
        };
        let plain = train(ctx, None);
        let pulled = |rho: f32| {
            let how = Admm { rho, ..Admm::default() };
            let halves = vec![0.5; sites.list.len()];
            Pulled::new(sites.clone(), halves, &model.weights, &how).expect("projects")
        };
        assert_eq!(train(ctx, Some(&mut pulled(0.0))), plain);
        // The same with something to pull is another training.
        assert_ne!(train(ctx, Some(&mut pulled(0.1))), plain);
    });
}

#[test]
fn first_order_scores_are_how_the_loss_moves() {
    with_ctx(|ctx| {
        let model = dense(ctx);
        let products = first_order(ctx, &model, 50).expect("scores");
        assert_eq!(
            products.keys().collect::<Vec<_>>(),
            model.weights.keys().collect::<Vec<_>>()
        );
        // Σ w·∂loss/∂w of an array is the slope of the loss as all of it is scaled. The last layer's loss is measured by the
        // engine, whose norms are those that training left, over the same images: all of them are one batch.
        let indices = data::spread(&ctx.splits.train, 50);
        let mut pixels = Vec::new();
        batch::fill(&ctx.data.train, &indices, None, &ctx.normalization, &mut pixels);
        let batch_norms = |weights: &Weights| {
            let mut model = model.clone();
            model.weights.clone_from(weights);
            let options = Options {
                batch: 50,
                ..Options::default()
            };
            let mut engine = infer::compile(&model, &options).expect("compiles");
            engine.calibrate(&pixels);
            let mut tally = Tally::new(model.spec());
            tally.add(
                engine.run(&pixels),
                batch::labels(&ctx.data.train, &indices).into_iter(),
            );
            f64::from(tally.loss())
        };
        let scaled = |name: &str, by: f32| {
            let mut weights = model.weights.clone();
            weights
                .get_mut(name)
                .expect("an array")
                .data
                .iter_mut()
                .for_each(|w| *w *= by);
            batch_norms(&weights)
        };
        let mut steep = 0;
        for name in [
            "classifier.weight",
            "conv7.norm.gamma",
            "conv4.norm.gamma",
            "conv7.norm.beta",
        ] {
            let Some(array) = products.get(name) else {
                panic!("no {name} among {:?}", products.keys())
            };
            let slope: f64 = array.data.iter().map(|&p| f64::from(p)).sum();
            let measured = (scaled(name, 1.01) - scaled(name, 0.99)) / 0.02;
            assert!(
                (slope - measured).abs() < 0.02 * measured.abs().max(0.05),
                "{name}: {slope} for {measured}"
            );
            steep += usize::from(measured.abs() > 0.02);
        }
        assert!(steep >= 2, "all too flat to tell");
    });
}
