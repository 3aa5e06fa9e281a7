//! What the engine promises about memory: after `compile`, nothing is allocated.
#![expect(unsafe_code, reason = "a counting global allocator")]

use data::Normalization;
use infer::{Options, compile};
use kernel::Kernel;
use model::checkpoint::{Checkpoint, ModelHeader, Moments, SCHEMA};
use model::mask::LayerMask;
use model::spec::{NetSpec, Op, Shift};
use model::{Density, Masks, weights, zoo};
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: everything is handed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

fn model(spec: NetSpec, masks: Masks) -> Checkpoint {
    let shapes = spec.shapes().expect("shapes");
    let norms = (0..spec.nodes.len()).filter(|&i| matches!(spec.nodes[i].op, Op::Norm { .. }));
    let unit = |i: usize| Moments {
        mean: vec![0.1; shapes[i][0]],
        var: vec![1.0; shapes[i][0]],
    };
    let stats = norms.map(|i| (spec.nodes[i].name.clone(), unit(i))).collect();
    Checkpoint {
        weights: weights::init(&spec, 1).expect("init"),
        masks,
        stats: BTreeMap::from([(Density::FULL, stats)]),
        header: ModelHeader {
            schema: SCHEMA,
            normalization: Normalization {
                mean: vec![0.0; spec.input[0]],
                std: vec![1.0; spec.input[0]],
            },
            classes: (0..10).map(|i| i.to_string()).collect(),
            method: "none".into(),
            data: "none".into(),
            densities: vec![Density::FULL],
            gate_densities: Vec::new(),
            width_multiple: 1,
            byte_inputs: Default::default(),
            channels: Default::default(),
            metrics: vec![],
            recipe: String::new(),
            spec,
        },
    }
}

/// One test in this binary: others would allocate beside it.
#[test]
fn runs_allocate_nothing_after_compile() {
    let net = |name: &str| zoo::build(name, [3, 32, 32], 10, 0.1).expect("builds");
    // Wide enough for Winograd's algorithm.
    let wide = zoo::build("m-cifarnet", [3, 32, 32], 10, 0.5).expect("builds");
    let [filters, columns] = [6, 54];
    let odd = |n: usize| (0..n).map(|i| i % 3 > 0).collect::<Vec<_>>();
    let masks = Masks::from([(
        "conv1".into(),
        LayerMask {
            filters: odd(filters),
            columns: odd(columns),
            ..LayerMask::default()
        },
    )]);
    let models = [
        model(net("m-cifarnet"), Masks::new()),
        model(zoo::gated(&net("m-cifarnet"), Shift::Eq1), masks),
        model(zoo::gated(&net("resnet18"), Shift::Released), Masks::new()),
        model(net("vgg16"), Masks::new()),
        model(net("lenet5"), Masks::new()),
        model(zoo::gated(&wide, Shift::Eq1), Masks::new()),
    ];
    let pixels: Vec<f32> = (0..4 * 3 * 32 * 32).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect();
    let none = Masks::new();
    for model in &models {
        for (threads, winograd) in [(1, true), (2, true), (1, false), (2, false)] {
            let mut engine = compile(
                model,
                &Options {
                    kernel: Kernel::best(),
                    threads,
                    batch: 4,
                    winograd,
                    precision: None,
                },
            )
            .expect("compiles");
            engine.set_density(Density::percent(50).expect("valid"));
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            for n in [4, 1, 3, 4] {
                engine.run(&pixels[..n * 3 * 32 * 32]);
            }
            // A search's trial takes no memory either.
            for masks in [&model.masks, &none, &model.masks] {
                engine.set_masks(masks).expect("fits");
                engine.run(&pixels[..4 * 3 * 32 * 32]);
            }
            let after = ALLOCATIONS.load(Ordering::Relaxed);
            assert_eq!(after - before, 0, "{} on {threads} threads", model.spec().name);
        }
    }
}
