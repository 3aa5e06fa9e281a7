//! Convolutions of bytes against whole numbers in nested loops.

use super::{list, numbers, packed, shapes, unpacked};
use kernel::{ByteCall, BytePlan, ConvShape, Epilogue, Kernel, Layout, Padding, PlanScratch, Pool};
use proptest::prelude::*;

/// What a byte convolution means: quantize, multiply whole numbers, scale back.
fn oracle(
    shape: &ConvShape,
    x: &[f32],
    w: &[f32],
    (step, zero): (f32, u8),
    filters: &[u32],
    channels: &[u32],
) -> Vec<f64> {
    let byte = |v: f32| i64::from((v * (1.0 / step) + f32::from(zero)).round_ties_even().clamp(0.0, 255.0) as u8);
    let (oh, ow, taps) = (shape.out_h(), shape.out_w(), shape.taps());
    let mut y = vec![0.0; shape.filters * oh * ow];
    for f in filters.iter().map(|&f| f as usize) {
        let row = &w[f * shape.columns()..][..shape.columns()];
        let most = row.iter().fold(0.0f32, |m, w| m.max(w.abs()));
        let unit = if most > 0.0 { most / 127.0 } else { 1.0 };
        for p in 0..oh * ow {
            let mut sum = 0;
            for (c, t) in channels.iter().flat_map(|&c| (0..taps).map(move |t| (c as usize, t))) {
                let at = [
                    p / ow * shape.stride + t / shape.kernel[1],
                    p % ow * shape.stride + t % shape.kernel[1],
                ];
                let iy = at[0].checked_sub(shape.pad.top).filter(|&i| i < shape.in_h);
                let ix = at[1].checked_sub(shape.pad.left).filter(|&i| i < shape.in_w);
                // Padding is zero, whose byte cancels.
                let (Some(iy), Some(ix)) = (iy, ix) else { continue };
                let weight = i64::from((row[c * taps + t] / unit).round_ties_even() as i8);
                sum += weight * (byte(x[(c * shape.in_h + iy) * shape.in_w + ix]) - i64::from(zero));
            }
            y[f * oh * ow + p] = f64::from(step) * f64::from(unit) * sum as f64;
        }
    }
    y
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn bytes_equal_whole_numbers(shape in shapes(), next_stride in 1usize..3, kinds in prop::array::uniform2(0u8..5),
                                 zero in prop_oneof![Just(0u8), any::<u8>()], seed in 0u64..1000, fused in any::<bool>()) {
        let x = numbers(shape.in_channels * shape.in_h * shape.in_w, seed);
        let w = numbers(shape.filters * shape.columns(), seed + 1);
        let (filters, channels) = (list(shape.filters, kinds[0], seed + 2), list(shape.in_channels, kinds[1], seed + 6));
        let (n, oh, ow) = (shape.filters, shape.out_h(), shape.out_w());
        let (scale, shift, residual) = (numbers(n, seed + 3), numbers(n, seed + 4), numbers(n * oh * ow, seed + 5));
        let step = 1.0 / 180.0;
        let mut want = oracle(&shape, &x, &w, (step, zero), &filters, &channels);
        let size = want.iter().fold(1.0f64, |m, x| m.max(x.abs()));
        if fused {
            for i in filters.iter().flat_map(|&f| f as usize * oh * ow..(f as usize + 1) * oh * ow) {
                let f = i / (oh * ow);
                want[i] = (f64::from(scale[f]) * want[i] + f64::from(shift[f]) + f64::from(residual[i])).clamp(0.0, 0.75);
            }
        }
        let next = ConvShape { in_channels: n, filters: 1, in_h: oh, in_w: ow, kernel: [2; 2], stride: next_stride, pad: Padding::all(1) };
        let output = Layout::input(&next);
        for kernel in Kernel::available() {
            let plan = BytePlan::new(kernel, &shape, output, Some(output)).expect("sums of 32 bits");
            let planes = packed(plan.input(), &x);
            let residual = packed(&output, &residual);
            let weights = plan.pack(&w);
            let mut columns = plan.columns();
            plan.set_channels(&channels, &mut columns);
            let epilogue = if fused {
                Epilogue { scale: Some(&scale), shift: Some(&shift), residual: Some(&residual), relu: true, at_most: Some(0.75) }
            } else {
                Epilogue::default()
            };
            let call = ByteCall { input: &planes, step, zero, weights: &weights, columns: &columns, filters: &filters, epilogue };
            let mut first = None;
            for threads in [1, 3] {
                let (mut scratch, mut y, mut pool) = (PlanScratch::default(), output.alloc(), Pool::new(threads));
                plan.run((threads > 1).then_some(&mut pool), &call, &mut scratch, &mut y);
                for (i, (got, want)) in unpacked(&output, &y).iter().zip(&want).enumerate() {
                    prop_assert!((f64::from(*got) - want).abs() <= 1e-6 * size, "{}: {} is {} instead of {}", kernel.byte_name(), i, got, want);
                }
                prop_assert!(first.get_or_insert_with(|| y.clone()) == &y, "threads change no bit");
            }
        }
    }
}

/// The largest sums: all weights and bytes at their ends, where instructions that saturate would show.
#[test]
fn the_largest_sums_of_bytes_are_whole() {
    let shape = ConvShape {
        in_channels: 64,
        filters: 3,
        in_h: 4,
        in_w: 20,
        kernel: [3, 3],
        stride: 1,
        pad: Padding::all(1),
    };
    let (x, mut w) = (vec![255.0; 64 * 80], vec![1.0; 3 * shape.columns()]);
    w[shape.columns()..2 * shape.columns()].fill(-1.0);
    let output = Layout::contiguous(3, 4, 20);
    let (filters, channels): (Vec<u32>, Vec<u32>) = ((0..3).collect(), (0..64).collect());
    let want = oracle(&shape, &x, &w, (1.0, 0), &filters, &channels);
    for kernel in Kernel::available() {
        let plan = BytePlan::new(kernel, &shape, output, None).expect("sums of 32 bits");
        let (planes, weights, mut columns) = (packed(plan.input(), &x), plan.pack(&w), plan.columns());
        for channels in [&channels[..], &channels[..1]] {
            plan.set_channels(channels, &mut columns);
            let epilogue = Epilogue::default();
            let call = ByteCall {
                input: &planes,
                step: 1.0,
                zero: 0,
                weights: &weights,
                columns: &columns,
                filters: &filters,
                epilogue,
            };
            let mut y = output.alloc();
            plan.run(None, &call, &mut PlanScratch::default(), &mut y);
            let share = channels.len() as f64 / 64.0;
            for (got, want) in y.iter().zip(&want) {
                assert!(
                    (f64::from(*got) - want * share).abs() <= 1e-6 * want.abs(),
                    "{}: {got} for {want}",
                    kernel.byte_name()
                );
            }
        }
    }
    // 255 · 127 a column: 32 bits hold 66,311 of them.
    let deep = ConvShape {
        in_channels: 66_312,
        kernel: [1, 1],
        pad: Padding::default(),
        ..shape
    };
    assert!(BytePlan::new(Kernel::best(), &deep, output, None).is_none());
}

/// Only listed planes are read, and a number that is none stays visible.
#[test]
fn strange_numbers_show_in_bytes_if_they_are_read() {
    let shape = ConvShape {
        in_channels: 6,
        filters: 2,
        in_h: 5,
        in_w: 7,
        kernel: [3, 3],
        stride: 2,
        pad: Padding::all(1),
    };
    let output = Layout::contiguous(2, shape.out_h(), shape.out_w());
    let w = numbers(2 * shape.columns(), 1);
    let (step, _) = kernel::signed_bytes(&[1.0, f32::NAN, 2.0]);
    assert!(
        step.is_nan(),
        "a weight that is none shows in all that its filter gives"
    );
    for kernel in Kernel::available() {
        let plan = BytePlan::new(kernel, &shape, output, None).expect("sums of 32 bits");
        let mut planes = packed(plan.input(), &numbers(6 * 35, 2));
        planes[plan.input().offset(2, 1, 1)] = f32::NAN;
        let (weights, mut columns) = (plan.pack(&w), plan.columns());
        // By groups, then by rows; with the strange one, then without.
        for (channels, is_strange) in [
            (&[0, 1, 2, 3][..], true),
            (&[0, 1, 3][..], false),
            (&[2][..], true),
            (&[4][..], false),
        ] {
            plan.set_channels(channels, &mut columns);
            let epilogue = Epilogue {
                relu: true,
                ..Epilogue::default()
            };
            let call = ByteCall {
                input: &planes,
                step: 0.01,
                zero: 9,
                weights: &weights,
                columns: &columns,
                filters: &[0, 1],
                epilogue,
            };
            let mut y = output.alloc();
            plan.run(None, &call, &mut PlanScratch::default(), &mut y);
            assert_eq!(
                y.iter().any(|v| v.is_nan()),
                is_strange,
                "{} {channels:?}",
                kernel.byte_name()
            );
        }
    }
}
