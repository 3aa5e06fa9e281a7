//! Networks of bytes.

use super::*;
use crate::RangeRule;
use model::Precision;

/// The model that computes in bytes, its ranges from some images of its own.
fn quantized(model: &Checkpoint, rule: RangeRule) -> Checkpoint {
    crate::quantized(model, &images(model.spec(), 4, 5), rule, &[]).expect("finite")
}

fn off(got: &[f32], want: &[f32]) -> f32 {
    let square = |of: &dyn Fn(usize) -> f32| (0..want.len()).map(|i| of(i) * of(i)).sum::<f32>();
    (square(&|i| got[i] - want[i]) / square(&|i| want[i])).sqrt()
}

#[test]
fn a_network_of_bytes_says_nearly_what_floats_say() {
    for name in ["lenet5", "m-cifarnet", "resnet18", "vgg16"] {
        for spec in [small(name), zoo::gated(&small(name), GateForm::default())] {
            let floats = model(spec, 3);
            // A histogram of so few numbers says nothing of entropy: that rule is tried on a trained model.
            for rule in [RangeRule::MinMax, RangeRule::DEFAULT] {
                let bytes = quantized(&floats, rule);
                let x = images(floats.spec(), 4, 5);
                let mut engines = [engine(&floats, 1, Kernel::best()), engine(&bytes, 1, Kernel::best())];
                assert_eq!(
                    engines.each_ref().map(Engine::precision),
                    [Precision::F32, Precision::Int8]
                );
                assert!(engines[1].float_layers().is_empty());
                for density in [percent(100), percent(40)] {
                    engines.iter_mut().for_each(|e| e.set_density(density));
                    let [want, got] = engines.each_mut().map(|e| e.run(&x).clone());
                    let off = off(&got.logits, &want.logits);
                    let what = format!("{} {rule:?} at {density}: off by {off}", floats.spec().name);
                    // Gates may choose other channels: what is near their threshold moves.
                    let most = if bytes.is_gated() { 0.3 } else { 0.06 };
                    assert!(off > 0.0 && off < most, "{what}");
                    assert_eq!(got.macs.abs_diff(want.macs) * 50 / want.macs, 0, "{what}: other MACs");
                }
            }
        }
    }
}

/// What training computes, number by number: whole numbers as floats, and convolutions of those.
#[test]
fn training_computes_the_same_bytes() {
    for name in ["lenet5", "m-cifarnet", "resnet18"] {
        let bytes = quantized(&model(small(name), 3), RangeRule::DEFAULT);
        let x = images(bytes.spec(), 3, 9);
        let spec = Arc::new(bytes.spec().clone());
        let device = Device::flex();
        let mut net = Net::new(spec.clone(), &bytes.weights, &device).expect("fits");
        net.set_bytes(&bytes.header.byte_inputs);
        let [c, h, w] = spec.input;
        let pixels = Tensor::from_data(TensorData::new(x.clone(), [3, c, h, w]), &device);
        let options = ForwardOptions {
            groups: &[vec![]],
            norms: Norms::Stored(&bytes.stats_at(Density::FULL)),
            dropout: None,
        };
        let want = net.forward(&net.params, pixels, &options).expect("runs");
        let want = want.logits.into_data().try_to_vec::<f32>().expect("floats");
        let got = engine(&bytes, 1, Kernel::best()).run(&x).logits.clone();
        // A last bit may choose another byte.
        assert!(off(&got, &want) < 0.01, "{name}: {}", off(&got, &want));
    }
}

#[test]
fn kernels_threads_batches_and_masks_change_nothing_of_bytes() {
    let gated = |name: &str| zoo::gated(&small(name), GateForm::default());
    for spec in [small("resnet18"), gated("m-cifarnet"), mobile()] {
        let bytes = quantized(&model(spec, 3), RangeRule::DEFAULT);
        let x = images(bytes.spec(), 5, 9);
        let size = x.len() / 5;
        let mut first = engine(&bytes, 1, Kernel::best());
        let is_mobile = bytes.spec().name == mobile().name;
        assert_eq!(
            first.float_layers().is_empty(),
            !is_mobile,
            "depthwise layers stay floats"
        );
        first.set_density(percent(40));
        let want = first.run(&x).clone();
        for threads in [2, 3] {
            let mut other = engine(&bytes, threads, Kernel::best());
            other.set_density(percent(40));
            assert!(*other.run(&x) == want, "{threads} threads");
            let alone: Vec<f32> = x.chunks(size).flat_map(|x| other.run(x).logits.clone()).collect();
            assert_eq!(alone, want.logits);
        }
        for kernel in Kernel::available() {
            let mut other = engine(&bytes, 1, kernel);
            other.set_density(percent(40));
            let got = other.run(&x);
            // A last bit may choose another byte, and so another channel.
            assert!(off(&got.logits, &want.logits) < 0.05, "{kernel:?}");
        }
        let mut cut = bytes.clone();
        cut.masks = super::masks::trial_masks(&bytes, 1, true);
        let mut zeros = engine(&zeroed(&cut), 1, Kernel::best());
        let mut masked = engine(&bytes, 1, Kernel::best());
        masked.set_masks(&cut.masks).expect("fits");
        let [got, zeros] = [&mut masked, &mut zeros].map(|e| e.run(&x).logits.clone());
        assert!(off(&got, &zeros) < 0.02, "{}", off(&got, &zeros));
        masked.set_masks(&Masks::new()).expect("fits");
        masked.set_density(percent(40));
        assert!(*masked.run(&x) == want, "masks leave nothing behind");
    }
}

#[test]
fn what_cannot_be_bytes_is_refused_by_name() {
    let floats = model(small("lenet5"), 3);
    let options = Options {
        precision: Some(Precision::Int8),
        ..Options::default()
    };
    let error = compile(&floats, &options).err().expect("refused").to_string();
    assert!(error.contains("quantize it first"), "{error}");
    let mut strange = floats.clone();
    let name = strange.spec().nodes[strange.spec().convs()[0]].name.clone();
    strange
        .weights
        .get_mut(&format!("{name}.weight"))
        .expect("there")
        .data
        .fill(f32::MAX);
    let mut engine = compile(&strange, &Options::default()).expect("compiles");
    let x = images(strange.spec(), 1, 5);
    let error = engine
        .byte_inputs(&x, &[percent(100)], RangeRule::MinMax)
        .expect_err("refused");
    let next = &strange.spec().nodes[strange.spec().convs()[1]].name;
    assert!(
        format!("{error:#}").starts_with(&format!("{next} cannot be computed in int8")),
        "{error:#}"
    );
    let mut unknown = quantized(&floats, RangeRule::DEFAULT);
    let input = *unknown.header.byte_inputs.values().next().expect("some");
    unknown.header.byte_inputs.insert("nobody".into(), input);
    assert!(
        compile(&unknown, &Options::default())
            .err()
            .expect("refused")
            .to_string()
            .contains("nobody")
    );
}
