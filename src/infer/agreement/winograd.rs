//! Where Winograd's algorithm is chosen, and that it changes nothing but time.

use super::*;
use crate::program::Operation;

#[test]
fn wide_networks_by_winograd_agree_with_burn() {
    for name in ["m-cifarnet", "resnet18"] {
        let plain = wide(name);
        let mut models = vec![model(plain.clone(), 3)];
        for form in GateForm::ALL {
            let gated = model(zoo::gated(&plain, form), 3);
            models.extend([gated.clone(), filter_masked(gated)]);
        }
        for model in &models {
            if Kernel::best().name() != "reference" {
                assert!(winograd_convs(model, &Options::default()) >= 3, "{name}");
            }
            agrees_with_burn(model, percent(100));
            agrees_with_burn(model, percent(40));
        }
    }
}

#[test]
fn winograd_counts_the_macs_of_the_convolution() {
    let model = model(zoo::gated(&wide("m-cifarnet"), Shift::Eq1), 3);
    let x = images(model.spec(), 2, 4);
    let [mut a, mut b] = [engine(&model, 1, Kernel::best()), direct_engine(&model)];
    // Gates at 1 let every channel through, so that both choose the same.
    let (a, b) = (a.run(&x), b.run(&x));
    assert_eq!((a.macs, a.macs_conv, &a.layers), (b.macs, b.macs_conv, &b.layers));
}

#[test]
fn the_reference_and_who_asks_for_it_have_no_winograd() {
    let options = Options::default();
    let direct = Options {
        winograd: false,
        ..options
    };
    let reference = Options {
        kernel: Kernel::by_name("reference").expect("always there"),
        ..options
    };
    let net = model(wide("m-cifarnet"), 3);
    assert_eq!(winograd_convs(&net, &direct), 0);
    assert_eq!(winograd_convs(&net, &reference), 0);
}

#[test]
fn few_channels_and_what_is_masked_in_part_are_computed_directly_unless_it_is_zero() {
    if Kernel::best().name() == "reference" {
        return;
    }
    let plain = model(wide("m-cifarnet"), 3);
    let options = Options {
        batch: 1,
        ..Options::default()
    };
    let mut program = plan::plan(&plain, &options).expect("plans");
    let mut convs = program.instructions.iter_mut().filter_map(|a| match &mut a.operation {
        Operation::Conv(conv) => Some(conv),
        _ => None,
    });
    let conv = convs.find(|c| c.algorithms.is_by_tiles()).expect("wide enough");
    let name = &plain.spec().nodes[conv.node].name;
    let weights = &plain.weights[&format!("{name}.weight")].data;
    let (channels, filters) = (conv.algorithms.input().channels, conv.filters());
    let all: Vec<u32> = (0..channels as u32).collect();
    let is_winograd = |conv: &mut conv::Conv, channels: &[u32], filters: usize, mask: &LayerMask| {
        conv.mask.set(Some(mask));
        conv.algorithms.set_mask(&conv.mask, &mask.elements);
        let mut lists = conv.algorithms.lists();
        conv.algorithms.list((channels, false), filters, &conv.mask, &mut lists);
        lists.by_winograd()
    };
    let mut mask = LayerMask::whole(filters, channels * 9);
    assert!(is_winograd(conv, &all, filters, &mask));
    assert!(!is_winograd(conv, &all[..1], 1, &mask));
    mask.columns[..9].fill(false);
    assert!(
        is_winograd(conv, &all, filters, &mask),
        "a whole channel changes nothing"
    );
    mask.columns[12] = false;
    assert!(!is_winograd(conv, &all, filters, &mask), "one column of a channel");
    let mut single = LayerMask::whole(filters, channels * 9);
    single.elements = vec![true; weights.len()];
    single.elements[4] = false;
    assert!(!is_winograd(conv, &all, filters, &single), "a single weight");

    let mut zeroed = weights.clone();
    zeroed.iter_mut().skip(12).step_by(channels * 9).for_each(|w| *w = 0.0);
    zeroed[4] = 0.0;
    let [input, output] = [conv.algorithms.input(), conv.algorithms.output()].map(|l| [l.channels, l.height, l.width]);
    assert_eq!(input[1..], output[1..], "a convolution of stride 1");
    let shape = kernel::ConvShape {
        in_channels: channels,
        filters,
        in_h: input[1],
        in_w: input[2],
        kernel: [3, 3],
        stride: 1,
        pad: kernel::Padding::all(1),
    };
    let layout = *conv.algorithms.output();
    conv.algorithms = conv_algorithms::ConvAlgorithms::new((Kernel::best(), true, 1), &shape, zeroed, layout, None);
    assert!(is_winograd(conv, &all, filters, &mask), "zeros may be read");
    assert!(is_winograd(conv, &all, filters, &single), "zeros may be read");
    // Few columns are cheaper one by one, though whole channels would be right.
    mask.columns.fill(false);
    mask.columns.iter_mut().step_by(9).for_each(|column| *column = true);
    let sparse = weights
        .iter()
        .enumerate()
        .map(|(i, &w)| if i % 9 == 0 { w } else { 0.0 })
        .collect();
    conv.algorithms = conv_algorithms::ConvAlgorithms::new((Kernel::best(), true, 1), &shape, sparse, layout, None);
    assert!(!is_winograd(conv, &all, filters, &mask));
}

#[test]
fn models_pruned_in_part_agree_by_winograd_with_burn_and_count_what_lives() {
    let mut pruned = model(wide("m-cifarnet"), 3);
    for node in pruned.spec().convs() {
        let name = pruned.spec().nodes[node].name.clone();
        let Some(array) = pruned.weights.get_mut(&format!("{name}.weight")) else {
            continue;
        };
        let (filters, columns) = (array.shape[0], array.data.len() / array.shape[0]);
        let mut mask = LayerMask::whole(filters, columns);
        // Every seventh column is gone.
        for (i, w) in array.data.iter_mut().enumerate().filter(|(i, _)| i % columns % 7 == 3) {
            (*w, mask.columns[i % columns]) = (0.0, false);
        }
        pruned.masks.insert(name, mask);
    }
    agrees_with_burn(&pruned, percent(100));
    let x = images(pruned.spec(), 2, 4);
    let [mut a, mut b] = [engine(&pruned, 1, Kernel::best()), direct_engine(&pruned)];
    let (a, b) = (a.run(&x), b.run(&x));
    assert_eq!((a.macs, a.macs_conv), (b.macs, b.macs_conv));
    assert_ne!(a.logits, b.logits, "one of them by Winograd's algorithm");
}

#[test]
fn images_that_share_their_weights_have_the_bits_of_each_alone_and_of_any_number_of_threads() {
    let mut net = model(wide("resnet18"), 3);
    for masked in [false, true] {
        if masked {
            net = filter_masked(net);
        }
        agrees_with_burn(&net, percent(100));
        let x = images(net.spec(), 8, 5);
        let size = x.len() / 8;
        let mut one = engine(&net, 1, Kernel::best());
        let all = one.run(&x).clone();
        for threads in [2, 3] {
            assert_eq!(engine(&net, threads, Kernel::best()).run(&x).logits, all.logits);
        }
        for (i, image) in x.chunks(size).enumerate() {
            let batch = one.run(image);
            assert_eq!(
                batch.logits[..],
                all.logits[i * batch.logits.len()..][..batch.logits.len()]
            );
            assert_eq!(batch.macs * 8, all.macs);
        }
    }
}
