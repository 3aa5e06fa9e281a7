//! Where Winograd's algorithm is chosen, and that it changes nothing but time.

use super::*;

#[test]
fn wide_networks_by_winograd_agree_with_burn() {
    for name in ["m-cifarnet", "resnet18"] {
        let plain = wide(name);
        let mut models = vec![model(plain.clone(), 3)];
        for form in [Shift::Eq1, Shift::Released] {
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
fn split_channels_and_few_channels_are_computed_directly() {
    if Kernel::best().name() == "reference" {
        return;
    }
    let plain = model(wide("m-cifarnet"), 3);
    let options = Options::default();
    let program = plan::plan(&plain, &options).expect("plans");
    let conv = program.convs().find(|c| c.forms.has_winograd()).expect("wide enough");
    let (channels, filters) = (conv.forms.input().channels, conv.filters());
    let mut lists = conv.forms.lists();
    let all: Vec<u32> = (0..channels as u32).collect();
    let mut kept = conv.kept.clone();
    let mut is_winograd = |channels: &[u32], filters: usize, kept: &kept::Kept| {
        lists.forget();
        conv.forms.list(channels, filters, kept, &mut lists);
        lists.by_winograd()
    };
    assert!(is_winograd(&all, filters, &kept));
    assert!(!is_winograd(&all[..1], 1, &kept));
    let mut mask = LayerMask::whole(filters, channels * 9);
    mask.columns[..9].fill(false);
    kept.set(Some(&mask));
    assert!(is_winograd(&all, filters, &kept), "a whole channel is no obstacle");
    mask.columns[12] = false;
    kept.set(Some(&mask));
    assert!(!is_winograd(&all, filters, &kept));
}
