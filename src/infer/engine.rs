//! A compiled network: densities in, batches of images through, logits and what was really computed out.
//! Knows nothing of labels, accuracy or time.

use super::batch::{Batch, ConvWork, GateOutput};
use super::executor::{CalibrationImage, Executor, ImageOutput};
use super::gate::ActiveSets;
use super::options::Options;
use super::plan;
use super::program::{Instruction, Operation, Program};
use super::shared_layers::SharedLayers;
use super::thread_choice::ThreadChoice;
use anyhow::{Result, bail};
use kernel::{Kernel, Pool};
use model::checkpoint::{Checkpoint, NormStats};
use model::spec::NetSpec;
use model::{Density, Masks, Precision, Weights};
use std::sync::{Barrier, Mutex, PoisonError};

/// A network ready to run.
pub struct Engine {
    pub(crate) program: Program,
    /// All of the model but its weights.
    pub(crate) model: Checkpoint,
    kernel: Kernel,
    pub(crate) pool: Pool,
    pub(crate) executors: Vec<Executor>,
    /// Images side by side, while norms are measured.
    pub(crate) calibration_images: Vec<CalibrationImage>,
    pub(crate) images: Vec<Mutex<ImageOutput>>,
    split: ThreadChoice,
    shared: Option<SharedLayers>,
    batch: Batch,
}

/// Compiles a checkpoint: every gate at density 1, buffers for `options.threads` images at once, results for `options.batch`.
///
/// # Errors
/// Parts that do not fit each other, or a gate that is not on a convolution with a norm.
pub fn compile(checkpoint: &Checkpoint, options: &Options) -> Result<Engine> {
    checkpoint.check()?;
    let program = plan::plan(checkpoint, options)?;
    let model = Checkpoint {
        header: checkpoint.header.clone(),
        weights: Weights::new(),
        masks: Masks::new(),
        stats: checkpoint.stats.clone(),
    };
    let mut pool = Pool::new(options.threads);
    // Threads allocate as they start, so wait for all of them.
    let barrier = Barrier::new(pool.threads());
    pool.run(pool.threads(), &|_, _| {
        barrier.wait();
    });
    let out = ImageOutput::new(&program);
    let n = options.batch.max(1);
    let classes = out.logits.len();
    let gates = program
        .convs()
        .filter_map(|c| c.gate.as_ref().map(|g| (g.node, c.filters())));
    let batch = Batch {
        logits: Vec::with_capacity(n * classes),
        gates: gates
            .map(|(node, c)| GateOutput {
                node,
                saliency: Vec::with_capacity(n * c),
                active: ActiveSets::with_room(c, n),
            })
            .collect(),
        layers: program
            .convs()
            .map(|c| ConvWork {
                node: c.node,
                ..ConvWork::default()
            })
            .collect(),
        ..Batch::default()
    };
    let mut engine = Engine {
        executors: (0..pool.threads()).map(|_| Executor::new(&program)).collect(),
        // Not `vec![_; n]`: a clone keeps no spare room.
        images: (0..n).map(|_| Mutex::new(ImageOutput::new(&program))).collect(),
        split: ThreadChoice::default(),
        shared: SharedLayers::new(&program, n),
        program,
        model,
        kernel: options.kernel,
        pool,
        calibration_images: Vec::new(),
        batch,
    };
    let threads = engine.pool.threads();
    engine.executors[0].split_over(&engine.program, threads);
    engine.set_density(Density::FULL);
    engine.set_masks(&checkpoint.masks)?;
    Ok(engine)
}

impl Engine {
    /// Sets the density of every gate. Norms take the statistics kept for it, or the blend of its neighbors'.
    pub fn set_density(&mut self, density: Density) {
        let stats = self.model.stats_at(density);
        let gates = self.model.spec().gates().len();
        self.set(&vec![density; gates], |_| &stats);
    }

    /// Sets the density of each gate, in network order. A norm takes the statistics for its own gate's density;
    /// one without a gate those for the last gate before it (or the first of all).
    ///
    /// # Panics
    /// Unless there is one density per gate.
    pub fn set_densities(&mut self, per_gate: &[Density]) {
        assert_eq!(per_gate.len(), self.model.spec().gates().len(), "one density per gate");
        let stats: Vec<NormStats> = match per_gate {
            [] => vec![self.model.stats_at(Density::FULL)],
            _ => per_gate.iter().map(|&d| self.model.stats_at(d)).collect(),
        };
        self.set(per_gate, |gate| &stats[gate]);
    }

    fn set<'a>(&mut self, per_gate: &[Density], stats: impl Fn(usize) -> &'a NormStats) {
        let mut gate = 0;
        for instruction in &mut self.program.instructions {
            match &mut instruction.operation {
                Operation::Conv(conv) => {
                    let filters = conv.filters();
                    if let Some(own) = &mut conv.gate {
                        gate = own.index;
                        own.k = per_gate[gate].of(filters);
                    }
                    if let Some(norm) = &conv.norm {
                        [conv.scale, conv.shift] = norm.fold(&stats(gate)[&norm.name]);
                    }
                }
                Operation::Norm { norm, scale, shift, .. } => [*scale, *shift] = norm.fold(&stats(gate)[&norm.name]),
                _ => {}
            }
        }
        self.refold();
    }

    /// Sets the static masks, in place of those before (at first the checkpoint's); none are none. A masked filter's
    /// channel is absent, as if [`model::mask::kept_entries`] had zeroed its numbers, and layers that read it go
    /// without its columns. Nothing is compiled and no weights are copied, except those of a layer with `elements`.
    ///
    /// # Errors
    /// A mask for a layer that does not exist, or of another size; then the masks stay as they were.
    pub fn set_masks(&mut self, masks: &Masks) -> Result<()> {
        let nodes = &self.model.spec().nodes;
        let layers = || self.program.instructions.iter().filter_map(Instruction::mask);
        for (name, mask) in masks {
            let Some((_, compiled)) = layers().find(|l| nodes[l.0].name == *name) else {
                bail!(
                    "a mask for {name}, but {} has no such convolution or linear layer",
                    self.spec().name
                );
            };
            compiled.check(name, mask)?;
        }
        for instruction in &mut self.program.instructions {
            let Some((node, _)) = instruction.mask() else { continue };
            let mask = masks.get(&nodes[node].name);
            let elements = mask.map_or(&[][..], |mask| &mask.elements);
            match &mut instruction.operation {
                Operation::Conv(conv) => {
                    conv.mask.set(mask);
                    conv.algorithms.set_mask(&conv.mask, elements);
                }
                Operation::Linear(linear) => {
                    linear.mask.set(mask);
                    linear.mask_weights(elements);
                }
                _ => {}
            }
        }
        self.refold();
        Ok(())
    }

    /// Runs images, `[n, c, h, w]` normalized, n at most `options.batch`. Allocates nothing.
    /// Few images are split inside their layers, if that is faster here; more are shared out whole. The bits are the same.
    ///
    /// # Panics
    /// If `images` is not a whole number of images, or too many.
    pub fn run(&mut self, images: &[f32]) -> &Batch {
        let size: usize = self.model.spec().input.iter().product();
        let n = images.len() / size;
        assert!(
            images.len().is_multiple_of(size),
            "{} numbers are not a multiple of an image's {size}",
            images.len()
        );
        assert!(
            n <= self.images.len(),
            "{n} images, at most {} were planned",
            self.images.len()
        );
        let (program, outs) = (&self.program, &self.images);
        let out = |i: usize| outs[i].lock().unwrap_or_else(PoisonError::into_inner);
        let image = |i: usize| &images[i * size..][..size];
        if let Some(shared) = &mut self.shared {
            shared.run(program, &mut self.pool, &mut self.executors, images, &outs[..n]);
        } else if n < self.pool.threads() {
            for i in 0..n {
                let (executor, pool) = (&mut self.executors[0], &mut self.pool);
                self.split
                    .time(|is_split| executor.run(program, image(i), &mut out(i), is_split.then_some(pool)));
            }
        } else {
            let work = |i: usize, executor: &mut Executor| executor.run(program, image(i), &mut out(i), None);
            self.pool.run_with(&mut self.executors, n, &work);
        }
        self.gather(n);
        &self.batch
    }

    pub(crate) fn batch(&self) -> &Batch {
        &self.batch
    }

    pub(crate) fn batch_size(&self) -> usize {
        self.images.len()
    }

    /// After folded numbers or masks have changed.
    pub(crate) fn refold(&mut self) {
        self.executors.iter_mut().for_each(|w| w.refold(&self.program));
        self.split = ThreadChoice::default();
    }

    fn gather(&mut self, n: usize) {
        let Batch {
            n: images,
            logits,
            gates,
            layers,
            macs,
            macs_conv,
        } = &mut self.batch;
        *images = n;
        (*macs, *macs_conv) = (0, 0);
        logits.clear();
        for gate in &mut *gates {
            gate.saliency.clear();
            gate.active.clear();
        }
        layers.iter_mut().for_each(|l| {
            *l = ConvWork {
                node: l.node,
                ..ConvWork::default()
            }
        });
        for out in &mut self.images[..n] {
            let out = out.get_mut().unwrap_or_else(PoisonError::into_inner);
            logits.extend_from_slice(&out.logits);
            for (gate, (saliency, computed)) in gates.iter_mut().zip(&out.gates) {
                gate.saliency.extend_from_slice(saliency);
                gate.active.push(computed);
            }
            for (layer, (cost, computed)) in layers.iter_mut().zip(&out.convs) {
                layer.macs += cost.conv + cost.gate;
                layer.computed += computed;
                *macs += cost.conv + cost.gate;
                *macs_conv += cost.conv;
            }
            *macs += out.linear;
            *macs_conv += out.linear;
        }
    }

    /// The network.
    pub fn spec(&self) -> &NetSpec {
        self.model.spec()
    }

    /// The kernel that runs.
    pub fn kernel_name(&self) -> &'static str {
        self.kernel.name()
    }

    /// What its convolutions multiply.
    pub fn precision(&self) -> Precision {
        if self.program.convs().any(|conv| conv.algorithms.is_bytes()) {
            Precision::Int8
        } else {
            Precision::F32
        }
    }

    /// The names of the convolutions that multiply floats all the same.
    pub fn float_layers(&self) -> Vec<&str> {
        let nodes = &self.model.spec().nodes;
        let floats = self.program.convs().filter(|conv| !conv.algorithms.is_bytes());
        floats.map(|conv| &nodes[conv.node].name[..]).collect()
    }
}
