//! Where the time of one image goes, instruction by instruction.
//! Knows nothing of how the parts are shown.

use super::engine::Engine;
use super::latency::quantiles;
use super::program::Operation;
use serde::{Deserialize, Serialize};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// One instruction of a compiled network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerTime {
    /// The node it begins with; norms, ReLU and sums that follow may be part of it.
    pub name: String,
    /// What it does, convolutions by their algorithm.
    pub operation: String,
    /// Milliseconds of one image; half of the runs were faster.
    pub median_ms: f64,
    /// MACs of one image.
    pub macs: u64,
}

/// Times every instruction of one image, `[c, h, w]` normalized, for about `budget`. Layers are split over all threads.
///
/// # Panics
/// If `image` is not one image.
pub fn layer_times(engine: &mut Engine, image: &[f32], budget: Duration) -> Vec<LayerTime> {
    assert_eq!(image.len(), engine.spec().input.iter().product::<usize>(), "one image");
    let Engine {
        program,
        executors,
        images,
        pool,
        model,
        ..
    } = engine;
    let executor = &mut executors[0];
    let out = images[0].get_mut().unwrap_or_else(PoisonError::into_inner);
    let mut times = vec![Vec::new(); program.instructions.len()];
    let start = Instant::now();
    let mut linear = 0;
    while times.iter().any(|t| t.len() < 3) || start.elapsed() < budget {
        executor.load(program, image);
        out.linear = 0;
        for (instruction, times) in program.instructions.iter().zip(&mut times) {
            let at = Instant::now();
            executor.step(program, instruction, out, (pool.threads() > 1).then_some(&mut *pool));
            times.push(at.elapsed().as_secs_f64() * 1e3);
        }
        linear = out.linear;
    }
    let layers = program.instructions.iter().zip(&mut times);
    layers
        .map(|(instruction, times)| LayerTime {
            name: model.spec().nodes[instruction.node].name.clone(),
            operation: instruction.operation.name().to_owned(),
            median_ms: quantiles(times).median_ms,
            macs: match &instruction.operation {
                Operation::Conv(conv) => out.convs[conv.index].0.conv + out.convs[conv.index].0.gate,
                Operation::Linear(_) => linear,
                _ => 0,
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Options, compile};
    use super::*;

    #[test]
    fn parts_add_up_to_the_whole() {
        let spec = model::zoo::build("resnet18", [3, 16, 16], 10, 0.1).expect("builds");
        let model = model::random_model(spec, 1).expect("builds");
        let mut engine = compile(&model, &Options::default()).expect("compiles");
        let image = vec![0.5; 3 * 16 * 16];
        let whole = engine.run(&image).macs;
        let layers = layer_times(&mut engine, &image, Duration::ZERO);
        assert_eq!(layers.iter().map(|l| l.macs).sum::<u64>(), whole);
        assert!(layers.iter().all(|l| l.median_ms >= 0.0 && !l.name.is_empty()));
        assert_eq!(layers.last().map(|l| l.operation.as_str()), Some("linear"));
    }
}
