//! From a checkpoint to a program: which nodes are done in one instruction, in which layouts, with which numbers.
//! Knows nothing of images or threads.

use super::compiled_mask::CompiledMask;
use super::conv::{Conv, Norm};
use super::conv_algorithms::ConvAlgorithms;
use super::gate::Gate;
use super::linear::{Linear, TransposedMatrix};
use super::options::Options;
use super::plane::Window;
use super::program::{Instruction, Operation, Program, Tensor, assign};
use super::shared_layers::MOST_IMAGES;
use anyhow::{Context, Result, ensure};
use kernel::{ConvShape, DepthwisePlan, Layout, Padding};
use model::Precision;
use model::checkpoint::Checkpoint;
use model::resample::plane_taps;
use model::spec::{NetSpec, Op, Shape};
use model::steps::{ConvStep, Step, steps};

/// Compiles a checkpoint that has been checked. Norms are not folded and masks not set yet.
pub(crate) fn plan(checkpoint: &Checkpoint, options: &Options) -> Result<Program> {
    let spec = checkpoint.spec();
    ensure!(
        options.precision != Some(Precision::Int8) || checkpoint.precision() == Precision::Int8,
        "{} has no ranges of its layers' inputs, which int8 needs: quantize it first",
        spec.name
    );
    let shapes = spec.shapes()?;
    let mut planner = Planner {
        checkpoint,
        options,
        consumers: spec.consumers(),
        spec,
        shapes,
        of_node: vec![None; spec.nodes.len()],
        tensors: Vec::new(),
        instructions: Vec::new(),
        fused: vec![false; spec.nodes.len()],
    };
    let input = planner.tensor(0);
    for step in steps(spec) {
        match step {
            Step::Conv(step) => planner.conv(&step)?,
            Step::Node(i) if matches!(spec.nodes[i].op, Op::Outputs { .. }) => {}
            Step::Node(i) => planner.node(i)?,
        }
    }
    let last = spec.nodes.len() - 1;
    let outputs = match &spec.nodes[last] {
        node if matches!(node.op, Op::Outputs { .. }) => &node.inputs[..],
        _ => &[last],
    };
    let outputs: Vec<usize> = outputs.iter().map(|&i| planner.read(i)).collect::<Result<_>>()?;
    let Planner {
        mut tensors,
        instructions,
        ..
    } = planner;
    let slots = assign(&mut tensors, &instructions, (input, &outputs));
    Ok(Program {
        instructions,
        tensors,
        slots,
        input,
        outputs,
    })
}

struct Planner<'a> {
    checkpoint: &'a Checkpoint,
    options: &'a Options,
    spec: &'a NetSpec,
    shapes: Vec<Shape>,
    consumers: Vec<Vec<usize>>,
    /// The tensor that holds each node's value.
    of_node: Vec<Option<usize>>,
    tensors: Vec<Tensor>,
    instructions: Vec<Instruction>,
    /// Nodes that an earlier instruction has already done.
    fused: Vec<bool>,
}

impl Planner<'_> {
    /// Gives node `i` a tensor in the layout its first convolution reads.
    fn tensor(&mut self, i: usize) -> usize {
        let layout = self.reader(i).unwrap_or_else(|| self.contiguous(i));
        self.tensor_in(i, layout)
    }

    fn contiguous(&self, i: usize) -> Layout {
        let [c, h, w] = self.shapes[i];
        Layout::contiguous(c, h, w)
    }

    fn tensor_in(&mut self, i: usize, layout: Layout) -> usize {
        self.tensors.push(Tensor { layout, slot: 0 });
        self.of_node[i] = Some(self.tensors.len() - 1);
        self.tensors.len() - 1
    }

    /// The layout of the first convolution that reads node `i`, through nodes that change nothing.
    fn reader(&self, i: usize) -> Option<Layout> {
        self.consumers[i].iter().find_map(|&j| match self.spec.nodes[j].op {
            Op::Conv { groups, .. } if groups > 1 && groups == self.shapes[i][0] => {
                Some(DepthwisePlan::layout(self.options.kernel, &self.shape(j)))
            }
            Op::Conv { .. } => Some(Layout::input(&self.shape(j))),
            Op::Dropout { .. } => self.reader(j),
            _ => None,
        })
    }

    fn read(&self, i: usize) -> Result<usize> {
        self.of_node[i].with_context(|| format!("node {} is read before it is computed", self.spec.nodes[i].name))
    }

    /// A convolution as the kernels have it, but for its groups.
    fn shape(&self, conv: usize) -> ConvShape {
        let node = &self.spec.nodes[conv];
        let Op::Conv {
            filters,
            kernel,
            stride,
            pad,
            ..
        } = node.op
        else {
            unreachable!("a conv step begins with a convolution")
        };
        let [in_channels, in_h, in_w] = self.shapes[node.inputs[0]];
        let pad: Padding = pad.into();
        // A longer stride goes nowhere either, and inputs are laid out in as many phases as it has steps.
        let longest = (in_h + pad.top + pad.bottom).max(in_w + pad.left + pad.right) + 1 - kernel;
        ConvShape {
            in_channels,
            filters,
            in_h,
            in_w,
            kernel: [kernel, kernel],
            stride: stride.min(longest),
            pad,
        }
    }

    /// Images that come at once with the same channels: gates give each its own.
    fn shared_images(&self) -> usize {
        if self.spec.gates().is_empty() {
            self.options.batch.clamp(1, MOST_IMAGES)
        } else {
            1
        }
    }

    fn array(&self, node: usize, what: &str) -> Result<Vec<f32>> {
        let name = format!("{}.{what}", self.spec.nodes[node].name);
        Ok(self
            .checkpoint
            .weights
            .get(&name)
            .with_context(|| format!("{name} is missing"))?
            .data
            .clone())
    }

    fn norm(&self, node: usize) -> Result<Norm> {
        let Op::Norm { eps, affine } = self.spec.nodes[node].op else {
            unreachable!("a norm is a norm")
        };
        let affine = if affine {
            Some([self.array(node, "gamma")?, self.array(node, "beta")?])
        } else {
            None
        };
        Ok(Norm {
            name: self.spec.nodes[node].name.clone(),
            eps,
            affine,
        })
    }

    fn gate(&self, node: usize, form: model::spec::GateForm) -> Result<Gate> {
        let filters = self.shapes[node][0];
        Ok(Gate {
            kernel: self.options.kernel,
            node,
            index: self.spec.gates().iter().position(|&g| g == node).unwrap_or(0),
            form,
            phi: TransposedMatrix {
                outputs: filters,
                data: self.array(node, "phi")?,
            },
            rho: self.array(node, "rho")?,
            beta: self.array(node, "beta")?,
            k: filters,
        })
    }

    fn conv(&mut self, step: &ConvStep) -> Result<()> {
        let node = &self.spec.nodes[step.conv];
        let Op::Conv {
            filters,
            kernel,
            groups,
            ..
        } = node.op
        else {
            unreachable!("a conv step begins with a convolution")
        };
        let shape = self.shape(step.conv);
        ensure!(
            step.gate.is_none() || step.norm.is_some(),
            "node {}: a gate on a convolution without a norm",
            node.name
        );
        let mut input = self.read(step.input)?;
        let mut most = step.relu.then_some(f32::INFINITY);
        let mut end = step.output;
        let mut sum = None;
        if most.is_none() {
            // Only ReLU6 is not part of the step.
            let relu = self.relu_after(end);
            sum = self.sum_after(end);
            if let Some((relu, at)) = relu {
                (end, most) = (relu, Some(at));
                self.fused[relu] = true;
            } else if let Some(sum) = &sum {
                (end, most) = (sum.end, sum.most);
            }
        }
        let residual = sum.as_ref().map(|s| (s.other, self.tensors[s.other].layout));
        if let Some(sum) = &sum {
            self.fused[sum.add] = true;
            self.fused[sum.end] = true;
        }
        let output = self.tensor(end);
        let weight = self.array(step.conv, "weight")?;
        let (layout, added) = (self.tensors[output].layout, residual.map(|r| r.1));
        let byte_input = match self.options.precision.unwrap_or(self.checkpoint.precision()) {
            Precision::Int8 => self.checkpoint.header.byte_inputs.get(&node.name),
            Precision::F32 => None,
        };
        let algorithms = if let Some(&input) = byte_input.filter(|_| groups == 1) {
            ConvAlgorithms::of_bytes(self.options.kernel, (&shape, input), weight, layout, added)
        } else if groups == 1 {
            let options = (self.options.kernel, self.options.winograd, self.shared_images());
            ConvAlgorithms::new(options, &shape, weight, layout, added)
        } else {
            ConvAlgorithms::grouped(self.options.kernel, (&shape, groups), weight, layout, added)
        };
        if self.tensors[input].layout != *algorithms.input() {
            self.tensors.push(Tensor {
                layout: *algorithms.input(),
                slot: 0,
            });
            let to = self.tensors.len() - 1;
            self.push(step.conv, input, to, Operation::Repack);
            input = to;
        }
        // As in training, a norm makes a bias before it void.
        let bias = match node.op {
            Op::Conv { bias: true, .. } if step.norm.is_none() => self.array(step.conv, "bias")?,
            _ => vec![0.0; filters],
        };
        let conv = Conv {
            node: step.conv,
            index: self.spec.convs().iter().position(|&c| c == step.conv).unwrap_or(0),
            input,
            output,
            residual,
            mask: CompiledMask::whole(filters, self.shapes[step.input][0] / groups, kernel * kernel),
            norm: step.norm.map(|n| self.norm(n)).transpose()?,
            gate: step.gate.map(|(gate, form)| self.gate(gate, form)).transpose()?,
            most,
            scale: vec![1.0; filters],
            shift: bias,
            algorithms,
        };
        self.push(step.conv, input, output, Operation::Conv(Box::new(conv)));
        Ok(())
    }

    /// A residual sum that can be done while node `i` is stored: its only reader is an Add whose other side has been computed.
    fn sum_after(&self, i: usize) -> Option<Sum> {
        let [add] = self.consumers[i][..] else { return None };
        let Op::Add = self.spec.nodes[add].op else { return None };
        let [a, b] = self.spec.nodes[add].inputs[..] else {
            return None;
        };
        let other = self.of_node[if a == i { b } else { a }].filter(|_| a != b)?;
        let relu = self.relu_after(add);
        Some(Sum {
            add,
            other,
            most: relu.map(|r| r.1),
            end: relu.map_or(add, |r| r.0),
        })
    }

    /// The ReLU that alone reads node `i`, and what it cuts off above.
    fn relu_after(&self, i: usize) -> Option<(usize, f32)> {
        let [next] = self.consumers[i][..] else {
            return None;
        };
        match self.spec.nodes[next].op {
            Op::Relu => Some((next, f32::INFINITY)),
            Op::Relu6 => Some((next, 6.0)),
            _ => None,
        }
    }

    fn node(&mut self, i: usize) -> Result<()> {
        if self.fused[i] {
            return Ok(());
        }
        let node = &self.spec.nodes[i];
        let first = self.read(node.inputs.first().copied().unwrap_or(0))?;
        let mut end = i;
        let operation = match node.op {
            Op::Dropout { .. } => {
                self.of_node[i] = Some(first);
                return Ok(());
            }
            Op::Add => {
                let relu = self.relu_after(i);
                relu.iter().for_each(|r| self.fused[r.0] = true);
                end = relu.map_or(i, |r| r.0);
                Operation::Add {
                    other: self.read(node.inputs[1])?,
                    most: relu.map(|r| r.1),
                }
            }
            Op::MaxPool { kernel, stride, pad } => Operation::MaxPool(Window { kernel, stride, pad }),
            Op::AvgPool { kernel, stride, pad } => Operation::AvgPool(Window { kernel, stride, pad }),
            Op::Mul => Operation::Multiply {
                by: self.read(node.inputs[1])?,
            },
            Op::Activation { function } => Operation::Activate(function),
            Op::Concat => Operation::Concat {
                others: node.inputs[1..].iter().map(|&j| self.read(j)).collect::<Result<_>>()?,
            },
            Op::Select { ref channels } => Operation::Select {
                channels: channels.clone(),
            },
            Op::ZeroPad { pad } => Operation::Place {
                top: pad.top,
                left: pad.left,
                stride: 1,
            },
            Op::Spread { stride } => Operation::Place {
                top: 0,
                left: 0,
                stride,
            },
            Op::Upsample { scale } => Operation::Upsample { scale },
            Op::Resize {
                size,
                scale,
                coordinates,
                interpolation,
            } => {
                let [_, h, w] = self.shapes[node.inputs[0]];
                let [rows, columns] = plane_taps([h, w], size, scale, coordinates, interpolation);
                Operation::Resize { rows, columns }
            }
            Op::LayerNorm { eps } => Operation::LayerNorm {
                eps,
                gamma: self.array(i, "gamma")?,
                beta: self.array(i, "beta")?,
            },
            Op::Lrn {
                size,
                alpha,
                beta,
                bias,
            } => Operation::Lrn {
                size,
                alpha,
                beta,
                bias,
            },
            Op::GlobalAvgPool => Operation::Mean,
            Op::Relu => Operation::Relu { most: f32::INFINITY },
            Op::Relu6 => Operation::Relu { most: 6.0 },
            Op::Norm { .. } => {
                let c = self.shapes[i][0];
                Operation::Norm {
                    norm: self.norm(i)?,
                    scale: vec![1.0; c],
                    shift: vec![0.0; c],
                }
            }
            Op::Flatten => Operation::Flatten,
            Op::Linear { outputs, bias } => {
                let weight = self.array(i, "weight")?;
                let bias = if bias { Some(self.array(i, "bias")?) } else { None };
                Operation::Linear(Box::new(Linear {
                    kernel: self.options.kernel,
                    node: i,
                    mask: CompiledMask::whole(outputs, self.shapes[node.inputs[0]][0], 1),
                    matrix: TransposedMatrix::transposed(&weight, outputs),
                    masked: None,
                    bias,
                }))
            }
            Op::Gate { .. } => anyhow::bail!(
                "node {}: a gate that does not follow a convolution it reads the input of",
                node.name
            ),
            Op::Conv { .. } | Op::Input | Op::Outputs { .. } => unreachable!("{} is not a step of its own", node.name),
        };
        let to = match node.op {
            Op::Linear { .. } => self.tensor_in(i, self.contiguous(i)),
            _ => self.tensor(end),
        };
        self.push(i, first, to, operation);
        Ok(())
    }

    fn push(&mut self, node: usize, from: usize, to: usize, operation: Operation) {
        self.instructions.push(Instruction {
            node,
            from,
            to,
            operation,
        });
    }
}

/// A residual sum folded into a convolution.
struct Sum {
    add: usize,
    other: usize,
    most: Option<f32>,
    end: usize,
}
