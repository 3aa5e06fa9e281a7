//! Masks that come and go on one compiled network, and norms measured under them.

use super::*;

#[test]
fn masked_networks_agree_with_burn_on_zeroed_weights() {
    for name in ["lenet5", "m-cifarnet", "resnet18"] {
        agrees_with_burn(&masked(model(small(name), 3), 4), Density::FULL);
        for form in GateForm::ALL {
            let model = masked(model(zoo::gated(&small(name), form), 3), 4);
            agrees_with_burn(&model, percent(100));
            agrees_with_burn(&model, percent(40));
        }
    }
}

/// Trial masks of every kind for every convolution but the first and every linear layer but the last.
pub(super) fn trial_masks(model: &Checkpoint, seed: u64, with_elements: bool) -> Masks {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let spec = model.spec();
    let mut masks = Masks::new();
    for &i in spec.convs().iter().skip(1).chain(spec.find("hidden").iter()) {
        let name = spec.nodes[i].name.clone();
        let shape = &model.weights[&format!("{name}.weight")].shape;
        let (filters, columns) = (shape[0], shape[1..].iter().product());
        let mut mask = LayerMask::whole(filters, columns);
        let mut draw = |bits: &mut [bool]| bits.iter_mut().for_each(|b| *b = rng.random_bool(0.6));
        match i % 4 {
            0 => draw(&mut mask.filters),
            1 => draw(&mut mask.columns),
            2 => (draw(&mut mask.filters), draw(&mut mask.columns)).1,
            _ if with_elements => {
                mask.elements = vec![true; filters * columns];
                draw(&mut mask.elements);
            }
            _ => continue,
        }
        masks.insert(name, mask);
    }
    masks
}

#[test]
fn set_masks_equals_a_model_with_those_weights_zeroed() {
    let mut specs: Vec<NetSpec> = zoo::KINDS.iter().map(|name| small(name)).collect();
    specs.extend(["m-cifarnet", "resnet18"].map(wide));
    specs.push(mobile());
    let gated = |form| specs.iter().map(move |spec| zoo::gated(spec, form));
    let all: Vec<NetSpec> = (GateForm::ALL.into_iter().flat_map(gated))
        .chain(specs.clone())
        .collect();
    for spec in all {
        let whole = model(spec, 3);
        let x = images(whole.spec(), 3, 9);
        let mut engines = [1, 2].map(|threads| engine(&whole, threads, Kernel::best()));
        for (trial, elements) in [(1, false), (2, true), (0, false), (3, false)] {
            let mut masked = whole.clone();
            if trial > 0 {
                masked.masks = trial_masks(&whole, trial, elements);
            }
            let what = format!("{} trial {trial}", whole.spec().name);
            for density in [percent(100), percent(50)] {
                let mut want = engine(&zeroed(&masked), 1, Kernel::best());
                want.set_density(density);
                let want = want.run(&x).clone();
                let mut compiled = engine(&masked, 1, Kernel::best());
                compiled.set_density(density);
                let same = compiled.run(&x).clone();
                for engine in &mut engines {
                    engine.set_density(density);
                    engine.set_masks(&masked.masks).expect("fits");
                    let got = engine.run(&x);
                    close(&got.logits, &want.logits, &what);
                    assert!(got.macs_conv <= want.macs_conv, "{what}");
                    assert!(*got == same, "{what}: not as compiled with these masks");
                }
            }
        }
    }
}

#[test]
fn masks_of_other_networks_are_refused_and_change_nothing() {
    let whole = model(small("m-cifarnet"), 3);
    let x = images(whole.spec(), 1, 9);
    let mut engine = engine(&whole, 1, Kernel::best());
    engine.set_masks(&trial_masks(&whole, 1, false)).expect("fits");
    let before = engine.run(&x).clone();
    let refused = |engine: &mut Engine, name: &str, mask: LayerMask| {
        let masks = Masks::from([(name.to_owned(), mask)]);
        engine
            .set_masks(&masks)
            .map_err(|e| e.to_string())
            .expect_err("refused")
    };
    let mask = LayerMask::whole(3, 4);
    assert_eq!(
        refused(&mut engine, "conv9", mask.clone()),
        "a mask for conv9, but m-cifarnet has no such convolution or linear layer"
    );
    assert!(refused(&mut engine, "conv1", mask).starts_with("the mask of conv1 is 3×4, expected "));
    assert!(engine.run(&x) == &before);
}

#[test]
fn masked_weights_are_never_read() {
    for clean in [
        masked(model(zoo::gated(&small("m-cifarnet"), Shift::Eq1), 3), 4),
        filter_masked(model(zoo::gated(&wide("m-cifarnet"), Shift::Eq1), 3)),
    ] {
        let mut dirty = clean.clone();
        for (name, mask) in &clean.masks {
            let weight = dirty.weights.get_mut(&format!("{name}.weight")).expect("there");
            for (i, w) in weight.data.iter_mut().enumerate() {
                if !(mask.filters[i / mask.columns.len()] && mask.columns[i % mask.columns.len()]) {
                    *w = f32::NAN;
                }
            }
        }
        let x = images(clean.spec(), 2, 5);
        let [mut a, mut b] = [&clean, &dirty].map(|m| engine(m, 1, Kernel::best()));
        assert!(a.run(&x) == b.run(&x));
    }
}

#[test]
fn norms_measured_anew_are_those_of_the_batch_under_any_masks() {
    let mut specs: Vec<NetSpec> = zoo::KINDS.iter().map(|name| small(name)).collect();
    specs.push(wide("m-cifarnet"));
    for spec in specs {
        let whole = model(spec, 5);
        let (fit, x) = (images(whole.spec(), 7, 3), images(whole.spec(), 7, 3));
        let mut engines = [1, 2].map(|threads| engine(&whole, threads, Kernel::best()));
        for trial in [1, 0, 3] {
            let mut masked = whole.clone();
            if trial > 0 {
                masked.masks = trial_masks(&whole, trial, false);
            }
            let spec = Arc::new(whole.spec().clone());
            let net = Net::new(spec.clone(), &zeroed(&masked).weights, &Device::flex()).expect("fits");
            let [c, h, w] = spec.input;
            let batch = Tensor::from_data(TensorData::new(fit.clone(), [7, c, h, w]), &Device::flex());
            let pass = ForwardOptions {
                groups: &[Vec::new()],
                norms: Norms::Batch(NormStatistics::All),
                dropout: None,
            };
            let want = net.forward(&net.params, batch, &pass).expect("runs").logits;
            let want: Vec<f32> = want.into_data().try_to_vec().expect("floats");
            let logits = engines.each_mut().map(|engine| {
                engine.set_masks(&masked.masks).expect("fits");
                engine.calibrate(&fit);
                engine.run(&x).logits.clone()
            });
            close(&logits[0], &want, &format!("{} trial {trial}", spec.name));
            assert_eq!(logits[0], logits[1], "threads change bits");
        }
        for engine in &mut engines {
            engine.set_masks(&Masks::new()).expect("fits");
            engine.set_density(Density::FULL);
            assert_eq!(
                engine.run(&x),
                self::engine(&whole, 1, Kernel::best()).run(&x),
                "not undone"
            );
        }
    }
}
