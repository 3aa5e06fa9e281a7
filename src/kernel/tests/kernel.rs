//! Every kernel against the nested loops, over shapes that straddle tiles and lists of every kind.

use kernel::{
    BatchPlan, ConvCall, ConvPlan, ConvShape, DepthwiseCall, DepthwisePlan, Epilogue, Form, ImagePlanes, Kernel,
    Layout, NarrowPlan, Padding, PlanScratch, Pool, ProductPlan, WeightGradCall, WeightGradPlan, WeightOrder,
    WinogradPlan, reference, transpose_weights,
};
use proptest::prelude::*;

#[path = "kernel/bytes.rs"]
mod bytes;

/// Numbers in [-1, 1) that depend on nothing but the seed.
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// An ascending list out of 0 .. n: empty, single, full or about half.
fn list(n: usize, kind: u8, seed: u64) -> Vec<u32> {
    let dice = numbers(n, seed);
    match kind % 5 {
        0 => Vec::new(),
        1 => vec![(seed % n as u64) as u32],
        2 => (0..n as u32).collect(),
        _ => (0..n as u32).filter(|&i| dice[i as usize] > 0.0).collect(),
    }
}

fn all(n: usize) -> Vec<u32> {
    (0..n as u32).collect()
}

fn packed(layout: &Layout, image: &[f32]) -> Vec<f32> {
    let mut planes = layout.alloc();
    layout.pack(image, &all(layout.channels), &mut planes);
    planes
}

fn unpacked(layout: &Layout, planes: &[f32]) -> Vec<f32> {
    let mut image = vec![0.0; layout.channels * layout.height * layout.width];
    for (i, pixel) in image.iter_mut().enumerate() {
        let (row, x) = (i / layout.width, i % layout.width);
        *pixel = planes[layout.offset(row / layout.height, row % layout.height, x)];
    }
    image
}

/// |a - b| within 1e-5 of the larger of 1 and what was summed.
fn assert_close(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len());
    let size = want.iter().fold(1.0f32, |m, x| m.max(x.abs()));
    for (i, (a, b)) in got.iter().zip(want).enumerate() {
        assert!((a - b).abs() <= 1e-5 * size, "{what}: element {i}: {a} instead of {b}");
    }
}

fn shapes() -> impl Strategy<Value = ConvShape> {
    let kernels =
        prop_oneof![3 => Just([3, 3]), 1 => Just([1, 1]), 1 => Just([5, 5]), 1 => Just([7, 7]), 1 => Just([2, 3])];
    (
        1usize..20,
        1usize..28,
        1usize..20,
        1usize..36,
        kernels,
        1usize..3,
        prop::array::uniform4(0usize..7),
    )
        .prop_map(|(in_channels, filters, h, w, kernel, stride, p)| ConvShape {
            in_channels,
            filters,
            in_h: h.max(kernel[0]),
            in_w: w.max(kernel[1]),
            kernel,
            stride,
            pad: Padding {
                top: p[0] % kernel[0],
                bottom: p[1] % kernel[0],
                left: p[2] % kernel[1],
                right: p[3] % kernel[1],
            },
        })
}

fn forward_reference(shape: &ConvShape, x: &[f32], w: &[f32], filters: &[u32], columns: &[u32]) -> Vec<f32> {
    let (oh, ow) = (shape.out_h(), shape.out_w());
    let mut y = vec![0.0; shape.filters * oh * ow];
    let read = |c: usize, y: usize, x_: usize| x[(c * shape.in_h + y) * shape.in_w + x_];
    for &f in filters {
        for p in 0..oh * ow {
            let at = [f as usize, p / ow, p % ow];
            y[f as usize * oh * ow + p] =
                reference::forward_at(shape, &read, w, columns.iter().map(|&c| c as usize), at);
        }
    }
    y
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn forward_equals_reference(shape in shapes(), next_pad in 0usize..3, next_stride in 1usize..3,
                                kinds in prop::array::uniform3(0u8..5), seed in 0u64..1000, fused in any::<bool>()) {
        let x = numbers(shape.in_channels * shape.in_h * shape.in_w, seed);
        let w = numbers(shape.filters * shape.columns(), seed + 1);
        let filters = list(shape.filters, kinds[0], seed + 2);
        let n = shape.filters;
        let (oh, ow) = (shape.out_h(), shape.out_w());
        let (scale, shift, residual) = (numbers(n, seed + 3), numbers(n, seed + 4), numbers(n * oh * ow, seed + 5));
        let channels = list(shape.in_channels, kinds[1], seed + 6);
        let columns = list(shape.columns(), kinds[2], seed + 7);
        let next = ConvShape {
            in_channels: n, filters: 1, in_h: oh, in_w: ow, kernel: [next_pad + 1; 2], stride: next_stride, pad: Padding::all(next_pad),
        };
        let from_channels: Vec<u32> = channels.iter().flat_map(|&c| (0..shape.taps() as u32).map(move |t| (c, t)))
            .map(|(c, t)| c * shape.taps() as u32 + t).collect();
        for by_channel in [false, true] {
            let columns = if by_channel { &from_channels } else { &columns };
            let mut want = forward_reference(&shape, &x, &w, &filters, columns);
            if fused {
                for &f in &filters {
                    for i in f as usize * oh * ow..(f as usize + 1) * oh * ow {
                        want[i] = (scale[f as usize] * want[i] + shift[f as usize] + residual[i]).clamp(0.0, 0.75);
                    }
                }
            }
            for kernel in Kernel::available() {
                for output in [Layout::contiguous(n, oh, ow), Layout::input(&next)] {
                    let plan = ConvPlan::forward(kernel, &shape, output, Some(output));
                    let planes = packed(plan.input(), &x);
                    let residual = packed(&output, &residual);
                    let mut list = plan.columns();
                    if by_channel { list.set_channels(&channels) } else { list.set_columns(columns) }
                    prop_assert_eq!(list.len(), columns.len());
                    let epilogue = if fused {
                        Epilogue { scale: Some(&scale), shift: Some(&shift), residual: Some(&residual), relu: true, at_most: Some(0.75) }
                    } else {
                        Epilogue::default()
                    };
                    let mut y = output.alloc();
                    plan.run(&ConvCall { input: &planes, weights: &w, columns: &list, filters: &filters, epilogue }, &mut y);
                    let image = unpacked(&output, &y);
                    assert_close(&image, &want, kernel.name());
                    // Only pixels were written: packing them again gives the same buffer, zeros included.
                    prop_assert_eq!(packed(&output, &image), y);
                }
            }
        }
    }

    #[test]
    fn products_of_images_equal_each_alone(shape in shapes(), form in prop_oneof![Just(Form::Positions), Just(Form::Winograd(2)),
                                           Just(Form::Winograd(4))], together in 1usize..6, n in 1usize..8, next_stride in 1usize..3,
                                           kinds in prop::array::uniform2(0u8..5), seed in 0u64..1000, fused in any::<bool>()) {
        let mut shape = shape;
        if form != Form::Positions {
            let pad = Padding { top: shape.pad.top % 3, bottom: shape.pad.bottom % 3, left: shape.pad.left % 3, right: shape.pad.right % 3 };
            shape = ConvShape { kernel: [3, 3], stride: 1, in_h: shape.in_h.max(3), in_w: shape.in_w.max(3), pad, ..shape };
        }
        let w = numbers(shape.filters * shape.columns(), seed + 1);
        let (filters, channels) = (list(shape.filters, kinds[0], seed + 2), list(shape.in_channels, kinds[1], seed + 6));
        let (f, oh, ow) = (shape.filters, shape.out_h(), shape.out_w());
        let (scale, shift) = (numbers(f, seed + 3), numbers(f, seed + 4));
        let next = ConvShape {
            in_channels: f, filters: 1, in_h: oh, in_w: ow, kernel: [2; 2], stride: next_stride, pad: Padding::all(1),
        };
        let output = Layout::input(&next);
        for kernel in Kernel::available() {
            let Some(plan) = ProductPlan::new(kernel, &shape, (form, together), output, Some(output)) else {
                prop_assert_eq!(kernel.name(), "reference");
                continue;
            };
            let direct = ConvPlan::forward(kernel, &shape, output, Some(output));
            let images: Vec<_> = (0..n as u64)
                .map(|i| (packed(direct.input(), &numbers(shape.in_channels * shape.in_h * shape.in_w, seed + 10 + i)),
                          packed(&output, &numbers(f * oh * ow, seed + 30 + i))))
                .collect();
            let epilogue = |residual| if fused {
                Epilogue { scale: Some(&scale), shift: Some(&shift), residual, relu: true, at_most: Some(0.75) }
            } else {
                Epilogue::default()
            };
            let mut columns = direct.columns();
            columns.set_channels(&channels);
            let want: Vec<_> = images.iter().map(|(x, residual)| {
                let mut y = output.alloc();
                direct.run(&ConvCall { input: x, weights: &w, columns: &columns, filters: &filters, epilogue: epilogue(Some(&residual[..])) }, &mut y);
                y
            }).collect();
            let transformed = plan.transform(&w);
            let mut columns = plan.columns();
            columns.set_channels(&channels);
            let mut first: Option<Vec<Vec<f32>>> = None;
            for (threads, apart) in [(1, 0), (3, 0), (3, 3)] {
                let mut scratch = PlanScratch::for_threads(apart);
                plan.make_room(&mut scratch);
                let mut all: Vec<_> = images.iter().map(|(x, residual)| (x, residual, output.alloc())).collect();
                let weights = transformed.as_deref().unwrap_or(&w);
                let call = ConvCall { input: &[], weights, columns: &columns, filters: &filters, epilogue: epilogue(None) };
                let mut pool = Pool::new(threads);
                plan.run((threads > 1).then_some(&mut pool), &call, &mut scratch, &mut all, |image| ImagePlanes {
                    input: &image.0[..], residual: fused.then_some(&image.1[..]), output: &mut image.2[..],
                });
                let got: Vec<_> = all.into_iter().map(|image| image.2).collect();
                if form == Form::Positions {
                    prop_assert!(got == want, "positions have the direct plan's bits: {:?}", kernel);
                }
                for (got, want) in got.iter().zip(&want) {
                    let size = want.iter().fold(1.0f32, |m, x| m.max(x.abs()));
                    for (a, b) in got.iter().zip(want) {
                        prop_assert!((a - b).abs() <= 1e-4 * size, "{:?} {:?}: {} instead of {}", kernel, form, a, b);
                    }
                }
                prop_assert!(first.get_or_insert_with(|| got.clone()) == &got, "threads change no bit");
            }
        }
    }

    #[test]
    fn winograd_is_close_to_reference(shape in shapes(), size in prop_oneof![Just(2usize), Just(4)], next_stride in 1usize..3,
                                      kinds in prop::array::uniform2(0u8..5), seed in 0u64..1000, fused in any::<bool>()) {
        let shape = ConvShape { kernel: [3, 3], stride: 1, in_h: shape.in_h.max(3), in_w: shape.in_w.max(3), pad: Padding {
            top: shape.pad.top % 3, bottom: shape.pad.bottom % 3, left: shape.pad.left % 3, right: shape.pad.right % 3,
        }, ..shape };
        let x = numbers(shape.in_channels * shape.in_h * shape.in_w, seed);
        let w = numbers(shape.filters * shape.columns(), seed + 1);
        let filters = list(shape.filters, kinds[0], seed + 2);
        let channels = list(shape.in_channels, kinds[1], seed + 6);
        let (n, oh, ow) = (shape.filters, shape.out_h(), shape.out_w());
        let (scale, shift, residual) = (numbers(n, seed + 3), numbers(n, seed + 4), numbers(n * oh * ow, seed + 5));
        let columns: Vec<u32> = channels.iter().flat_map(|&c| (0..9).map(move |t| c * 9 + t)).collect();
        let mut want = forward_reference(&shape, &x, &w, &filters, &columns);
        let size_of = want.iter().fold(1.0f32, |m, x| m.max(x.abs()));
        if fused {
            for &f in &filters {
                for i in f as usize * oh * ow..(f as usize + 1) * oh * ow {
                    want[i] = (scale[f as usize] * want[i] + shift[f as usize] + residual[i]).clamp(0.0, 0.75);
                }
            }
        }
        let next = ConvShape { in_channels: n, in_h: oh, in_w: ow, kernel: [2, 2], stride: next_stride, pad: Padding::all(1), ..shape };
        for kernel in Kernel::available() {
            for output in [Layout::contiguous(n, oh, ow), Layout::input(&next)] {
                let Some(plan) = WinogradPlan::with_size(kernel, &shape, size, output, Some(output)) else { continue };
                let mut columns = plan.columns();
                columns.set_channels(&channels);
                let mut planes = packed(plan.input(), &x);
                fill_others(plan.input(), &channels, &mut planes, f32::NAN);
                let residual = packed(&output, &residual);
                let weights = plan.transform(&w);
                let epilogue = Epilogue { scale: Some(&scale), shift: Some(&shift), residual: Some(&residual), relu: true, at_most: Some(0.75) };
                let call = ConvCall {
                    input: &planes, weights: &weights, columns: &columns, filters: &filters,
                    epilogue: if fused { epilogue } else { Epilogue::default() },
                };
                let (mut y, mut y2) = (output.alloc(), output.alloc());
                let mut scratch = plan.scratch();
                plan.run(&call, &mut scratch, &mut y);
                for (got, want) in unpacked(&output, &y).iter().zip(&want) {
                    prop_assert!((got - want).abs() <= 1e-4 * size_of, "{kernel:?}: {got} instead of {want}");
                }
                plan.run_on(&mut Pool::new(2), &call, &mut scratch, &mut y2);
                prop_assert!(y == y2, "{kernel:?}: threads change bits");
                let mut apart = PlanScratch::for_threads(3);
                plan.make_room(&mut apart);
                let mut y3 = output.alloc();
                plan.run_on(&mut Pool::new(3), &call, &mut apart, &mut y3);
                prop_assert!(y == y3, "{kernel:?}: threads with their own buffers change bits");
            }
        }
    }

    #[test]
    fn input_grad_equals_reference(shape in shapes(), kinds in prop::array::uniform2(0u8..5), seed in 0u64..1000, phases in any::<bool>()) {
        let (oh, ow) = (shape.out_h(), shape.out_w());
        let dy = numbers(shape.filters * oh * ow, seed);
        let w = numbers(shape.filters * shape.columns(), seed + 1);
        let mut wt = vec![0.0; w.len()];
        transpose_weights(&shape, &w, &mut wt);
        let filters = list(shape.filters, kinds[0], seed + 2);
        let channels = list(shape.in_channels, kinds[1], seed + 3);
        let taps = shape.taps();
        let columns: Vec<usize> = filters.iter().flat_map(|&f| (0..taps).map(move |t| f as usize * taps + t)).collect();
        let read = |f: usize, y: usize, x: usize| dy[(f * oh + y) * ow + x];
        let mut want = vec![0.0; shape.in_channels * shape.in_h * shape.in_w];
        for &c in &channels {
            for p in 0..shape.in_h * shape.in_w {
                let at = [c as usize, p / shape.in_w, p % shape.in_w];
                want[c as usize * shape.in_h * shape.in_w + p] =
                    reference::input_grad_at(&shape, &read, &wt, columns.iter().copied(), at);
            }
        }
        for kernel in Kernel::available() {
            let output = if phases { Layout::input(&shape) } else { Layout::contiguous(shape.in_channels, shape.in_h, shape.in_w) };
            let plan = ConvPlan::input_grad(kernel, &shape, output);
            let planes = packed(plan.input(), &dy);
            let mut list = plan.columns();
            list.set_channels(&filters);
            let mut dx = output.alloc();
            let epilogue = Epilogue::default();
            plan.run(&ConvCall { input: &planes, weights: &wt, columns: &list, filters: &channels, epilogue }, &mut dx);
            assert_close(&unpacked(&output, &dx), &want, kernel.name());
        }
    }

    #[test]
    fn winograd_input_grad_is_close_to_reference(shape in shapes(), size in prop_oneof![Just(2usize), Just(4)],
                                                 kinds in prop::array::uniform2(0u8..5), seed in 0u64..1000) {
        let shape = ConvShape { kernel: [3, 3], stride: 1, in_h: shape.in_h.max(3), in_w: shape.in_w.max(3), pad: Padding {
            top: shape.pad.top % 3, bottom: shape.pad.bottom % 3, left: shape.pad.left % 3, right: shape.pad.right % 3,
        }, ..shape };
        let (w, dy) = (numbers(shape.filters * shape.columns(), seed + 1), numbers(shape.filters * shape.out_h() * shape.out_w(), seed));
        let (filters, channels) = (list(shape.filters, kinds[0], seed + 2), list(shape.in_channels, kinds[1], seed + 6));
        let back = shape.input_grad().expect("stride 1");
        prop_assert_eq!(Layout::input(&back), Layout::output_grad(&shape));
        let output = Layout::contiguous(shape.in_channels, shape.in_h, shape.in_w);
        let mut transposed = vec![0.0; w.len()];
        transpose_weights(&shape, &w, &mut transposed);
        let dy = packed(&Layout::output_grad(&shape), &dy);
        let run_direct = |kernel: Kernel| {
            let plan = ConvPlan::input_grad(kernel, &shape, output);
            let mut columns = plan.columns();
            columns.set_channels(&filters);
            let mut dx = output.alloc();
            let epilogue = Epilogue::default();
            plan.run(&ConvCall { input: &dy, weights: &transposed, columns: &columns, filters: &channels, epilogue }, &mut dx);
            dx
        };
        let want = run_direct(Kernel::by_name("reference").expect("always there"));
        let size_of = want.iter().fold(1.0f32, |m, x| m.max(x.abs()));
        for kernel in Kernel::available() {
            let Some(plan) = WinogradPlan::with_size(kernel, &back, size, output, None) else { continue };
            let mut weights = vec![f32::NAN; plan.weights_len()];
            plan.transform_on(&mut Pool::new(2), &w, WeightOrder::InputGrad, &mut weights);
            let mut columns = plan.columns();
            columns.set_channels(&filters);
            let mut dx = output.alloc();
            let epilogue = Epilogue::default();
            let call = ConvCall { input: &dy, weights: &weights, columns: &columns, filters: &channels, epilogue };
            plan.run(&call, &mut plan.scratch(), &mut dx);
            for (got, want) in dx.iter().zip(&want) {
                prop_assert!((got - want).abs() <= 1e-4 * size_of, "{kernel:?}: {got} instead of {want}");
            }
        }
    }

    #[test]
    fn weight_grad_equals_reference(shape in shapes(), kinds in prop::array::uniform2(0u8..5), seed in 0u64..1000) {
        let (oh, ow) = (shape.out_h(), shape.out_w());
        let filters = list(shape.filters, kinds[0], seed);
        let channels = list(shape.in_channels, kinds[1], seed + 1);
        let images: Vec<_> = (0..2).map(|i| {
            (numbers(shape.in_channels * shape.in_h * shape.in_w, seed + 2 + i), numbers(shape.filters * oh * ow, seed + 4 + i))
        }).collect();
        let mut want = vec![0.0; shape.filters * shape.columns()];
        for (x, dy) in &images {
            let x = |c: usize, y: usize, x_: usize| x[(c * shape.in_h + y) * shape.in_w + x_];
            let dy = |f: usize, y: usize, x: usize| dy[(f * oh + y) * ow + x];
            for &f in &filters {
                for column in 0..shape.columns() {
                    if channels.contains(&((column / shape.taps()) as u32)) {
                        want[f as usize * shape.columns() + column] += reference::weight_grad_at(&shape, &x, &dy, f as usize, column);
                    }
                }
            }
        }
        for kernel in Kernel::available() {
            let plan = WeightGradPlan::new(kernel, &shape);
            // One scratch for both images; then one each; then one again, filters apart: the same bits.
            let mut scratches = [(); 3].map(|()| plan.scratch());
            let planes: Vec<_> = images.iter()
                .map(|(x, dy)| (packed(&Layout::input(&shape), x), packed(&Layout::output_grad(&shape), dy))).collect();
            let (low, high) = filters.split_at(filters.len() / 2);
            for (i, (input, dy)) in planes.iter().enumerate() {
                plan.run(&WeightGradCall { input, dy, channels: &channels, filters: &filters }, &mut scratches[0]);
                for filters in [low, high] {
                    plan.run(&WeightGradCall { input, dy, channels: &channels, filters }, &mut scratches[1 + i]);
                }
            }
            let (one, two) = scratches.split_at_mut(1);
            let [mut grad, mut parts] = [(); 2].map(|()| vec![9.0; want.len()]);
            plan.finish(&mut Pool::new(1), &mut *one, &mut grad);
            assert_close(&grad, &want, kernel.name());
            plan.finish(&mut Pool::new(2), &mut *two, &mut parts);
            assert_close(&parts, &want, kernel.name());
            // Finishing leaves nothing behind.
            plan.finish(&mut Pool::new(3), two, &mut parts);
            prop_assert!(parts.iter().all(|&v| v == 0.0));
            for filters in [low, high] {
                for (input, dy) in &planes {
                    plan.run(&WeightGradCall { input, dy, channels: &channels, filters }, &mut one[0]);
                }
            }
            plan.finish(&mut Pool::new(2), one, &mut parts);
            prop_assert_eq!(&parts, &grad);
        }
    }
}

/// One dense layer each of the sizes the engine meets, so that every tile size is used.
const SHAPES: [ConvShape; 4] = [
    ConvShape {
        in_channels: 3,
        filters: 64,
        in_h: 32,
        in_w: 32,
        kernel: [3, 3],
        stride: 1,
        pad: Padding::all(0),
    },
    ConvShape {
        in_channels: 40,
        filters: 49,
        in_h: 8,
        in_w: 8,
        kernel: [3, 3],
        stride: 1,
        pad: Padding::all(1),
    },
    ConvShape {
        in_channels: 37,
        filters: 33,
        in_h: 15,
        in_w: 15,
        kernel: [3, 3],
        stride: 2,
        pad: Padding::all(1),
    },
    ConvShape {
        in_channels: 24,
        filters: 31,
        in_h: 30,
        in_w: 30,
        kernel: [3, 3],
        stride: 2,
        pad: Padding {
            top: 0,
            bottom: 1,
            left: 0,
            right: 1,
        },
    },
];

/// What one kernel makes of a shape: (y, dx, dw), contiguous, lists as given.
fn run_all(
    kernel: Kernel,
    shape: &ConvShape,
    threads: usize,
    filters: &[u32],
    channels: &[u32],
    x: &[f32],
) -> [Vec<f32>; 3] {
    let mut pool = Pool::new(threads);
    let w = numbers(shape.filters * shape.columns(), 2);
    let y_layout = Layout::contiguous(shape.filters, shape.out_h(), shape.out_w());
    let dx_layout = Layout::contiguous(shape.in_channels, shape.in_h, shape.in_w);
    let forward = ConvPlan::forward(kernel, shape, y_layout, None);
    let input = packed(forward.input(), x);
    let mut columns = forward.columns();
    columns.set_channels(channels);
    let mut y = y_layout.alloc();
    let epilogue = Epilogue::default();
    forward.run_on(
        &mut pool,
        &ConvCall {
            input: &input,
            weights: &w,
            columns: &columns,
            filters,
            epilogue,
        },
        &mut y,
    );

    let backward = ConvPlan::input_grad(kernel, shape, dx_layout);
    let dy = packed(backward.input(), &numbers(y.len(), 3));
    let mut wt = vec![0.0; w.len()];
    transpose_weights(shape, &w, &mut wt);
    let mut columns = backward.columns();
    columns.set_channels(filters);
    let mut dx = dx_layout.alloc();
    backward.run_on(
        &mut pool,
        &ConvCall {
            input: &dy,
            weights: &wt,
            columns: &columns,
            filters: channels,
            epilogue,
        },
        &mut dx,
    );

    let plan = WeightGradPlan::new(kernel, shape);
    let mut scratch = plan.scratch();
    plan.run(
        &WeightGradCall {
            input: &input,
            dy: &dy,
            channels,
            filters,
        },
        &mut scratch,
    );
    let mut dw = vec![0.0; w.len()];
    plan.finish(&mut Pool::new(1), [&mut scratch], &mut dw);
    [y, dx, dw]
}

#[test]
fn kernels_agree_on_whole_layers() {
    for shape in &SHAPES {
        let x = numbers(shape.in_channels * shape.in_h * shape.in_w, 1);
        let (filters, channels) = (all(shape.filters), all(shape.in_channels));
        let want = run_all(Kernel::by_name("portable").unwrap(), shape, 1, &filters, &channels, &x);
        for kernel in Kernel::available().into_iter().filter(|k| k.name() != "reference") {
            let got = run_all(kernel, shape, 1, &filters, &channels, &x);
            for (got, want) in got.iter().zip(&want) {
                assert_close(got, want, kernel.name());
            }
        }
    }
}

#[test]
fn threads_and_repetition_change_no_bit() {
    for shape in &SHAPES {
        let x = numbers(shape.in_channels * shape.in_h * shape.in_w, 1);
        let (filters, channels) = (list(shape.filters, 3, 8), list(shape.in_channels, 3, 9));
        for kernel in Kernel::available().into_iter().filter(|k| k.name() != "reference") {
            let one = run_all(kernel, shape, 1, &filters, &channels, &x);
            for threads in [1, 2, 3] {
                assert!(
                    one == run_all(kernel, shape, threads, &filters, &channels, &x),
                    "{kernel:?}, {threads} threads"
                );
            }
        }
    }
}

#[test]
fn skipping_equals_masking() {
    let shape = SHAPES[1];
    let active = list(shape.in_channels, 3, 5);
    let filters = all(shape.filters);
    let x = numbers(shape.in_channels * shape.in_h * shape.in_w, 1);
    let mut masked = x.clone();
    for c in (0..shape.in_channels).filter(|&c| !active.contains(&(c as u32))) {
        masked[c * 64..][..64].fill(0.0);
    }
    for kernel in Kernel::available() {
        let [skipped, ..] = run_all(kernel, &shape, 1, &filters, &active, &x);
        let [dense, ..] = run_all(kernel, &shape, 1, &filters, &all(shape.in_channels), &masked);
        assert_eq!(skipped, dense, "{kernel:?}");
    }
}

#[test]
fn gradients_are_adjoint_to_the_forward_pass() {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    for shape in &SHAPES {
        let x = numbers(shape.in_channels * shape.in_h * shape.in_w, 1);
        for kernel in Kernel::available().into_iter().filter(|k| k.name() != "reference") {
            let [y, dx, dw] = run_all(kernel, shape, 1, &all(shape.filters), &all(shape.in_channels), &x);
            let forward = dot(&y, &numbers(y.len(), 3));
            let size = y.len() as f64;
            assert!((forward - dot(&x, &dx)).abs() < 1e-5 * size, "{kernel:?} {shape:?}");
            assert!(
                (forward - dot(&numbers(dw.len(), 2), &dw)).abs() < 1e-5 * size,
                "{kernel:?} {shape:?}"
            );
        }
    }
}

#[test]
fn planes_of_other_filters_stay() {
    let shape = SHAPES[1];
    let layout = Layout::contiguous(shape.filters, 8, 8);
    let plan = ConvPlan::forward(Kernel::best(), &shape, layout, None);
    let (input, w) = (plan.input().alloc(), vec![1.0; shape.filters * shape.columns()]);
    let mut y = vec![7.0; layout.len()];
    let columns = plan.columns();
    plan.run(
        &ConvCall {
            input: &input,
            weights: &w,
            columns: &columns,
            filters: &[1, 3],
            epilogue: Epilogue::default(),
        },
        &mut y,
    );
    let firsts: Vec<f32> = y.chunks(64).take(5).map(|plane| plane[0]).collect();
    assert_eq!(firsts, [7.0, 0.0, 7.0, 0.0, 7.0]);
    for filter in [1, 3] {
        assert!(y[filter * 64..][..64].iter().all(|&v| v == 0.0));
    }
}

#[test]
fn a_kernel_is_found_by_its_name() {
    for kernel in Kernel::available() {
        assert_eq!(Kernel::by_name(kernel.name()).map(|k| k.name()), Some(kernel.name()));
    }
    assert!(Kernel::by_name("sse9").is_none());
}

/// Small layers: every stride, planes shorter and longer than a vector, lists with gaps.
fn small_shapes() -> Vec<ConvShape> {
    let pads = [
        Padding::all(0),
        Padding::all(1),
        Padding {
            top: 0,
            bottom: 1,
            left: 0,
            right: 1,
        },
    ];
    let mut shapes = Vec::new();
    for (i, in_h) in [3, 7, 8, 13].into_iter().enumerate() {
        for stride in [1, 2] {
            shapes.push(ConvShape {
                in_channels: 5,
                filters: 6,
                in_h,
                in_w: in_h + i % 2,
                kernel: [3, 3],
                stride,
                pad: pads[(i + stride) % 3],
            });
        }
    }
    shapes
}

/// Fills all of the planes that are not listed, padding too.
fn fill_others(layout: &Layout, listed: &[u32], planes: &mut [f32], value: f32) {
    let first = layout.offset(0, 0, 0);
    for c in (0..layout.channels).filter(|&c| !listed.contains(&(c as u32))) {
        let [start, end] = [c, c + 1].map(|c| layout.offset(c, 0, 0) - first);
        planes[start..end].fill(value);
    }
}

#[test]
fn only_listed_planes_are_read() {
    let (channels, filters) = ([0, 2, 3], [1, 2, 5]);
    for shape in small_shapes() {
        for kernel in Kernel::available() {
            let y_layout = Layout::contiguous(shape.filters, shape.out_h(), shape.out_w());
            let dx_layout = Layout::contiguous(shape.in_channels, shape.in_h, shape.in_w);
            let forward = ConvPlan::forward(kernel, &shape, y_layout, None);
            let backward = ConvPlan::input_grad(kernel, &shape, dx_layout);
            let weight_grad = WeightGradPlan::new(kernel, &shape);
            let run = |others: f32| {
                let mut x = packed(forward.input(), &numbers(dx_layout.len(), 1));
                let mut dy = packed(backward.input(), &numbers(y_layout.len(), 2));
                fill_others(forward.input(), &channels, &mut x, others);
                fill_others(backward.input(), &filters, &mut dy, others);
                let w = numbers(shape.filters * shape.columns(), 3);
                let (mut y, mut dx, mut dw) = (y_layout.alloc(), dx_layout.alloc(), vec![0.0; w.len()]);
                for (plan, input, output, read, written) in [
                    (&forward, &x, &mut y, &channels, &filters),
                    (&backward, &dy, &mut dx, &filters, &channels),
                ] {
                    let mut columns = plan.columns();
                    columns.set_channels(read);
                    plan.run(
                        &ConvCall {
                            input,
                            weights: &w,
                            columns: &columns,
                            filters: written,
                            epilogue: Epilogue::default(),
                        },
                        output,
                    );
                }
                let mut scratch = weight_grad.scratch();
                let call = WeightGradCall {
                    input: &x,
                    dy: &dy,
                    channels: &channels,
                    filters: &filters,
                };
                weight_grad.run(&call, &mut scratch);
                weight_grad.finish(&mut Pool::new(1), [&mut scratch], &mut dw);
                [y, dx, dw]
            };
            assert_eq!(run(0.0), run(f32::NAN), "{kernel:?} {shape:?}");
        }
    }
}

#[test]
fn only_pixels_of_listed_filters_are_written() {
    let filters = [1, 2, 5];
    for shape in small_shapes() {
        for (next_pad, next_stride) in [(0, 1), (1, 1), (1, 2), (2, 1)] {
            let next = ConvShape {
                in_channels: shape.filters,
                filters: 1,
                in_h: shape.out_h(),
                in_w: shape.out_w(),
                kernel: [next_pad + 1; 2],
                stride: next_stride,
                pad: Padding::all(next_pad),
            };
            let layout = Layout::input(&next);
            for kernel in Kernel::available() {
                let plan = ConvPlan::forward(kernel, &shape, layout, None);
                let x = packed(plan.input(), &numbers(shape.in_channels * shape.in_h * shape.in_w, 1));
                let w = numbers(shape.filters * shape.columns(), 3);
                let mut columns = plan.columns();
                columns.set_channels(&all(shape.in_channels));
                let call = ConvCall {
                    input: &x,
                    weights: &w,
                    columns: &columns,
                    filters: &filters,
                    epilogue: Epilogue::default(),
                };
                let mut clean = layout.alloc();
                plan.run(&call, &mut clean);
                let mut y = vec![7.0; layout.len()];
                plan.run(&call, &mut y);
                assert_eq!(unpacked(&layout, &y)[0], 7.0, "filter 0 is not listed");
                // Padding of a listed filter may be written, but only with the zero it holds.
                let mut others = clean.clone();
                fill_others(&layout, &filters, &mut others, 7.0);
                let slack = layout.offset(layout.channels, 0, 0) - layout.offset(0, 0, 0);
                for (i, (&got, &want)) in y.iter().zip(&others).enumerate() {
                    let untouched = got == 7.0 && want == 0.0;
                    assert!(got == want || untouched, "{kernel:?} {shape:?}: {got} at {i}");
                    assert!(i < slack || got == 7.0, "{kernel:?} {shape:?}: wrote behind the planes");
                }
                let positions = shape.out_h() * shape.out_w();
                for f in filters.map(|f| f as usize * positions) {
                    let [want, got] = [&clean, &y].map(|y| unpacked(&layout, y)[f..f + positions].to_vec());
                    assert_eq!(want, got, "{kernel:?} {shape:?}");
                }
            }
        }
    }
}

#[test]
fn winograd_is_advised_where_it_saves_work() {
    let shape = |channels: usize, size: usize, stride: usize| ConvShape {
        in_channels: channels,
        filters: channels,
        in_h: size,
        in_w: size,
        kernel: [3, 3],
        stride,
        pad: Padding::all(1),
    };
    let best = |shape: ConvShape, active: usize| WinogradPlan::best_size(Kernel::best(), &shape, [active; 2]);
    if Kernel::best().name() == "avx512" {
        assert_eq!(best(shape(64, 30, 1), 64), Some(4));
        assert_eq!(
            best(shape(192, 8, 1), 192),
            Some(2),
            "four tiles of 4×4 would fill a quarter of a vector"
        );
        assert_eq!(best(shape(96, 7, 1), 24), None, "transforms outweigh so few products");
    }
    assert_eq!(best(shape(64, 30, 2), 64), None);
    assert_eq!(best(shape(1, 28, 1), 1), None);
    let reference = Kernel::by_name("reference").unwrap();
    assert_eq!(WinogradPlan::best_size(reference, &shape(64, 30, 1), [64; 2]), None);
}

#[test]
fn batches_of_small_planes_equal_the_reference() {
    let shape = |in_channels, filters, size, kernel, stride, pad| ConvShape {
        in_channels,
        filters,
        in_h: size,
        in_w: size,
        kernel: [kernel; 2],
        stride,
        pad: Padding::all(pad),
    };
    let shapes = [
        shape(80, 20, 2, 3, 1, 1),
        shape(64, 9, 8, 3, 2, 1),
        shape(72, 72, 4, 1, 2, 0),
        shape(64, 4, 4, 3, 1, 1),
    ];
    for shape in shapes {
        let (p, q) = (shape.out_h() * shape.out_w(), shape.in_h * shape.in_w);
        let n = 48;
        let x = numbers(n * shape.in_channels * q, 1);
        let w = numbers(shape.filters * shape.columns(), 2);
        let dy = numbers(n * shape.filters * p, 3);
        let (mut y, mut dx, mut dw) = (Vec::new(), Vec::new(), vec![0.0; w.len()]);
        let columns = all(shape.columns());
        let mut wt = vec![0.0; w.len()];
        transpose_weights(&shape, &w, &mut wt);
        for (x, dy) in x.chunks(shape.in_channels * q).zip(dy.chunks(shape.filters * p)) {
            y.extend(forward_reference(&shape, x, &w, &all(shape.filters), &columns));
            let x = |c: usize, y: usize, x_: usize| x[(c * shape.in_h + y) * shape.in_w + x_];
            let dy = |f: usize, y: usize, x: usize| dy[f * p + y * shape.out_w() + x];
            for at in 0..shape.in_channels * q {
                let at = [at / q, at % q / shape.in_w, at % shape.in_w];
                let columns = 0..shape.filters * shape.taps();
                dx.push(reference::input_grad_at(&shape, &dy, &wt, columns, at));
            }
            for (i, dw) in dw.iter_mut().enumerate() {
                *dw += reference::weight_grad_at(&shape, &x, &dy, i / shape.columns(), i % shape.columns());
            }
        }
        for kernel in Kernel::available() {
            let Some(mut plan) = BatchPlan::new(kernel, &shape) else {
                assert_eq!(kernel.name(), "reference");
                continue;
            };
            let mut first = None;
            for threads in [1, 3, 1] {
                let pool = &mut Pool::new(threads);
                let [mut to_y, mut to_dx, mut to_dw] = [&y, &dx, &dw].map(|v| vec![9.0; v.len()]);
                plan.forward(pool, n, &x, &w, &mut to_y);
                plan.weight_grad(pool, n, &x, &dy, &mut to_dw);
                plan.input_grad(pool, &w, &mut to_dx);
                assert_close(&to_y, &y, kernel.name());
                assert_close(&to_dx, &dx, kernel.name());
                assert_close(&to_dw, &dw, kernel.name());
                let all = (to_y, to_dx, to_dw);
                assert!(
                    *first.get_or_insert_with(|| all.clone()) == all,
                    "{kernel:?}: threads change bits"
                );
            }
        }
    }
}

/// A depthwise kernel without its input.
#[derive(Clone, Copy, Debug)]
struct DepthwiseShape {
    multiplier: usize,
    kernel: [usize; 2],
    stride: usize,
    pad: [usize; 4],
}

fn depthwise_shapes() -> impl Strategy<Value = DepthwiseShape> {
    let sizes = (
        1usize..4,
        prop::array::uniform2(1usize..6),
        1usize..4,
        prop::array::uniform4(0usize..7),
    );
    sizes.prop_map(|(multiplier, kernel, stride, pad)| DepthwiseShape {
        multiplier,
        kernel,
        stride,
        pad,
    })
}

/// Kinds of lists, whether there is a residual, threads, a seed.
type DepthwiseDraws = ([u8; 3], bool, usize, u64);

fn depthwise_draws() -> impl Strategy<Value = DepthwiseDraws> {
    (prop::array::uniform3(0u8..5), any::<bool>(), 1usize..4, 0u64..1000)
}

fn depthwise_is_the_reference(
    [channels, h, w]: [usize; 3],
    DepthwiseShape {
        multiplier,
        kernel,
        stride,
        pad,
    }: DepthwiseShape,
    (kinds, with_residual, threads, seed): DepthwiseDraws,
) -> Result<(), TestCaseError> {
    let [top, bottom, left, right] = pad;
    let shape = ConvShape {
        in_channels: channels,
        filters: channels * multiplier,
        in_h: if h + top + bottom < kernel[0] { kernel[0] } else { h },
        in_w: if w + left + right < kernel[1] { kernel[1] } else { w },
        kernel,
        stride,
        pad: Padding {
            top,
            bottom,
            left,
            right,
        },
    };
    let (n, oh, ow) = (shape.filters, shape.out_h(), shape.out_w());
    let x = numbers(channels * shape.in_h * shape.in_w, seed);
    let weights = numbers(n * shape.taps(), seed + 1);
    let (scale, shift, residual) = (
        numbers(n, seed + 3),
        numbers(n, seed + 4),
        numbers(n * oh * ow, seed + 5),
    );
    let (active, filters) = (list(channels, kinds[0], seed + 6), list(n, kinds[1], seed + 7));
    let taps = list(shape.taps(), kinds[2], seed + 8);
    // As a convolution of all channels whose other weights are zero.
    let mut whole = vec![0.0; n * shape.columns()];
    for f in 0..n {
        let at = f * shape.columns() + f / multiplier * shape.taps();
        whole[at..at + shape.taps()].copy_from_slice(&weights[f * shape.taps()..][..shape.taps()]);
    }
    let columns: Vec<u32> = active
        .iter()
        .flat_map(|&c| taps.iter().map(move |&t| c * shape.taps() as u32 + t))
        .collect();
    let mut want = forward_reference(&shape, &x, &whole, &filters, &columns);
    for &f in &filters {
        for i in f as usize * oh * ow..(f as usize + 1) * oh * ow {
            let added = if with_residual { residual[i] } else { 0.0 };
            want[i] = (scale[f as usize] * want[i] + shift[f as usize] + added).clamp(0.0, 0.75);
        }
    }
    for kernel in Kernel::available() {
        let next = ConvShape {
            in_channels: n,
            filters: 1,
            in_h: oh,
            in_w: ow,
            kernel: [3, 3],
            stride: 2,
            pad: Padding::all(1),
        };
        for output in [Layout::contiguous(n, oh, ow), Layout::input(&next)] {
            let plan = DepthwisePlan::new(kernel, &shape, output, with_residual.then_some(output));
            let mut planes = packed(plan.input(), &x);
            for c in (0..channels as u32).filter(|c| !active.contains(c)) {
                for y in 0..shape.in_h {
                    for x in 0..shape.in_w {
                        planes[plan.input().offset(c as usize, y, x)] = f32::NAN;
                    }
                }
            }
            let residual = packed(&output, &residual);
            let made = plan.taps(&taps);
            let call = DepthwiseCall {
                input: &planes,
                weights: &weights,
                taps: &made,
                channels: &active,
                filters: &filters,
                epilogue: Epilogue {
                    scale: Some(&scale),
                    shift: Some(&shift),
                    residual: with_residual.then_some(&residual),
                    relu: true,
                    at_most: Some(0.75),
                },
            };
            let mut y = output.alloc();
            let read = plan.run(&call, &mut y);
            let reading = filters
                .iter()
                .filter(|&&f| active.contains(&(f / multiplier as u32)))
                .count();
            prop_assert_eq!(read, reading * taps.len());
            assert_close(&unpacked(&output, &y), &want, kernel.name());
            let mut split = output.alloc();
            plan.run_on(&mut Pool::new(threads), &call, &mut split);
            prop_assert_eq!(&split, &y, "bits on {} threads", threads);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn depthwise_equals_reference(channels in 1usize..12, size in prop::array::uniform2(1usize..40), shape in depthwise_shapes(),
                                  drawn in depthwise_draws()) {
        depthwise_is_the_reference([channels, size[0], size[1]], shape, drawn)?;
    }

    /// More channels than the widest vector has lanes.
    #[test]
    fn depthwise_over_planes_of_few_positions_equals_reference(
        channels in 1usize..70, size in prop::array::uniform2(1usize..4), shape in depthwise_shapes(), drawn in depthwise_draws(),
    ) {
        let (mut shape, [h, w]) = (shape, size);
        shape.pad = shape.pad.map(|n| n % 3);
        depthwise_is_the_reference([channels, h, w], shape, drawn)?;
    }

    #[test]
    fn narrow_planes_give_the_bits_of_the_direct_plan(
        shape in shapes(), size in prop::array::uniform2(1usize..7), filters in 1usize..90, kinds in prop::array::uniform2(0u8..5),
        stride in 1usize..4, threads in 1usize..4, seed in 0u64..1000, with_residual in any::<bool>(),
    ) {
        let shape = ConvShape {
            in_h: size[0].max(shape.kernel[0]), in_w: size[1].max(shape.kernel[1]), filters, stride, ..shape
        };
        let (n, oh, ow) = (shape.filters, shape.out_h(), shape.out_w());
        let x = numbers(shape.in_channels * shape.in_h * shape.in_w, seed);
        let w = numbers(n * shape.columns(), seed + 1);
        let (scale, shift, residual) = (numbers(n, seed + 3), numbers(n, seed + 4), numbers(n * oh * ow, seed + 5));
        let (rows, columns) = (list(n, kinds[0], seed + 6), list(shape.columns(), kinds[1], seed + 7));
        let next = ConvShape { in_channels: n, filters: 1, in_h: oh, in_w: ow, kernel: [3, 3], stride: 1, pad: Padding::all(1) };
        for kernel in Kernel::available() {
            for output in [Layout::contiguous(n, oh, ow), Layout::input(&next)] {
                let plan = ConvPlan::forward(kernel, &shape, output, Some(output));
                let Some(narrow) = NarrowPlan::new(&plan) else { continue };
                let (planes, residual) = (packed(plan.input(), &x), packed(&output, &residual));
                let mut made = plan.columns();
                made.set_columns(&columns);
                let call = ConvCall {
                    input: &planes, weights: &w, columns: &made, filters: &rows,
                    epilogue: Epilogue {
                        scale: Some(&scale), shift: Some(&shift), residual: with_residual.then_some(&residual[..]),
                        relu: true, at_most: Some(0.75),
                    },
                };
                let (mut direct, mut y, mut split) = (output.alloc(), output.alloc(), output.alloc());
                plan.run(&call, &mut direct);
                let panels = narrow.pack(&w);
                let call = ConvCall { weights: &panels, ..call };
                narrow.run(&call, &mut y);
                narrow.run_on(&mut Pool::new(threads), &call, &mut split);
                let bits = |v: &[f32]| unpacked(&output, v).iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                prop_assert_eq!(bits(&direct), bits(&y), "{}", kernel.name());
                prop_assert_eq!(bits(&split), bits(&y), "bits on {} threads", threads);
            }
        }
    }
}
