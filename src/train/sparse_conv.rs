//! The training layer as one burn operation with its own backward pass, so that training through burn's autodiff skips
//! inactive channels, and norm, gate and ReLU cost no extra passes over memory. For the `flex` backend;
//! other devices compute the whole layer and mask it ([`crate::conv_step`]).
//! Knows nothing of networks.

use crate::layer::{ForwardState, LayerCall, LayerGrads, LayerPlan, OutputGradients};
use crate::layer_seconds::LayerSeconds;
use crate::norm_statistics::{BatchMoments, NormStatistics};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Dispatch, Flex, TensorMetadata, backend_extension, tensor::FloatTensor};
use burn::tensor::{Tensor, TensorData};
use burn_flex::FlexTensor;
use kernel::{ConvShape, Kernel, Pool};
use model::checkpoint::Moments;
use model::mask::Active;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// All of a layer but its tensors.
#[derive(Clone, Debug)]
pub struct SparseArgs {
    /// The convolution's node, to say where time goes.
    pub layer: usize,
    /// The convolution.
    pub shape: ConvShape,
    /// Equal groups of images.
    pub groups: usize,
    /// Over which images statistics are taken.
    pub kind: NormStatistics,
    /// Added to the variance.
    pub eps: f32,
    /// Whether ReLU ends the layer.
    pub relu: bool,
    /// Input channels that may be non-zero; `None` means all.
    pub active_in: Option<Arc<Active>>,
    /// Active filters; `None` means all.
    pub active_out: Option<Arc<Active>>,
}

/// The plane means of a layer's output, known from its forward pass, and the way back for their gradient.
/// A gate reads them through [`plane_means`] at no cost: the gradient is added while the layer's own backward pass
/// reads its planes anyway, instead of being spread over a tensor of the output's size.
#[derive(Clone, Debug, Default)]
pub struct PlaneMeans {
    /// Where the forward pass leaves what the backward pass and the caller need.
    saved: Arc<Mutex<ForwardState>>,
    /// Where the next gate leaves the gradient of the means.
    mean_grad: Arc<Mutex<Vec<f32>>>,
}

impl SparseArgs {
    fn call<'a>(&'a self, x: &'a [f32], weight: &'a [f32], scale: &'a [f32], shift: &'a [f32]) -> LayerCall<'a> {
        let image = self.shape.in_channels * self.shape.in_h * self.shape.in_w;
        LayerCall {
            x,
            weight,
            scale,
            shift,
            n: x.len() / image,
            groups: self.groups,
            kind: self.kind,
            eps: self.eps,
            relu: self.relu,
            active_in: self.active_in.as_deref(),
            active_out: self.active_out.as_deref(),
        }
    }
}

/// Plans and threads of this OS thread: all tensor work of a run stays on one.
struct ThreadPlans {
    kernel: Kernel,
    pool: Pool,
    plans: HashMap<ConvShape, LayerPlan>,
    buffers: BufferPool,
    seconds: BTreeMap<usize, LayerSeconds>,
}

impl ThreadPlans {
    fn new(kernel: Kernel, threads: usize) -> Self {
        Self {
            kernel,
            pool: Pool::new(threads),
            plans: HashMap::new(),
            buffers: BufferPool::default(),
            seconds: BTreeMap::new(),
        }
    }
}

/// Memory of tensors that are no longer read: new pages cost more than what is computed into them.
#[derive(Default)]
struct BufferPool(Vec<Vec<f32>>);

impl BufferPool {
    /// Most buffers held: those of a step of a deep network. The oldest go first.
    const MOST: usize = 256;

    /// Memory of this length that may hold anything.
    fn take(&mut self, len: usize) -> Vec<f32> {
        let at = self.0.iter().rposition(|v| v.len() == len);
        at.map_or_else(|| vec![0.0; len], |i| self.0.swap_remove(i))
    }

    fn put(&mut self, memory: Vec<f32>) {
        if self.0.len() == Self::MOST {
            self.0.remove(0);
        }
        self.0.push(memory);
    }

    /// Takes a tensor's memory, unless the tensor is shared.
    fn put_tensor(&mut self, tensor: FlexTensor) {
        if tensor.is_unique()
            && let Ok(memory) = tensor.into_data().try_into_vec::<f32>()
        {
            self.put(memory);
        }
    }
}

thread_local! {
    static PLANS: RefCell<Option<ThreadPlans>> = const { RefCell::new(None) };
    static STOPPING: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// Once `flag` is true, layers on this OS thread return zeros at once: a training step in flight ends within one layer's time.
/// Whoever set the flag must not use the output.
pub fn stop_when(flag: Arc<AtomicBool>) {
    STOPPING.set(Some(flag));
}

fn is_stopping() -> bool {
    STOPPING.with_borrow(|flag| flag.as_ref().is_some_and(|f| f.load(Ordering::Relaxed)))
}

/// Where the time of the layers computed on this OS thread went since the last call, by the convolution's node.
pub fn take_seconds() -> BTreeMap<usize, LayerSeconds> {
    PLANS.with_borrow_mut(|plans| {
        plans
            .as_mut()
            .map(|p| std::mem::take(&mut p.seconds))
            .unwrap_or_default()
    })
}

/// Gives the memory of gradients that are no longer read to the layers computed on this OS thread.
pub fn recycle(gradients: crate::optimizer::Gradients) {
    PLANS.with_borrow_mut(|plans| {
        let Some(plans) = plans else { return };
        gradients.into_values().for_each(|memory| plans.buffers.put(memory));
    });
}

/// Chooses kernel and threads for layers computed on this OS thread from now on.
pub fn configure(kernel: Kernel, threads: usize) {
    PLANS.set(Some(ThreadPlans::new(kernel, threads)));
}

fn with_plan<R>(args: &SparseArgs, work: impl FnOnce(&mut LayerPlan, &mut Pool, &mut BufferPool) -> R) -> R {
    PLANS.with_borrow_mut(|plans| {
        let plans = plans.get_or_insert_with(|| {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            ThreadPlans::new(Kernel::best(), threads)
        });
        let kernel = plans.kernel;
        let plan = plans
            .plans
            .entry(args.shape)
            .or_insert_with(|| LayerPlan::new(kernel, args.shape));
        let result = work(plan, &mut plans.pool, &mut plans.buffers);
        *plans.seconds.entry(args.layer).or_default() += std::mem::take(&mut plan.seconds);
        result
    })
}

/// The operation, as burn dispatches it.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait SparseBackend: burn::backend::Backend {
    /// relu(scale · norm(conv(x)) + shift).
    fn sparse_layer(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        args: SparseArgs,
        means: PlaneMeans,
    ) -> FloatTensor<Self>;

    /// The plane means of `x`, `[n, c]`.
    fn plane_means(x: FloatTensor<Self>, means: PlaneMeans) -> FloatTensor<Self>;
}

/// Runs a layer on the `flex` device: `x` `[n, c, h, w]`, `weight` `[filters, c, k, k]`, `scale` and `shift` `[1 or n, filters]`.
pub fn run(
    x: Tensor<4>,
    weight: Tensor<4>,
    scale: Tensor<2>,
    shift: Tensor<2>,
    args: SparseArgs,
) -> (Tensor<4>, BatchMoments, Option<PlaneMeans>) {
    let means = PlaneMeans::default();
    let (filters, relu) = (args.shape.filters, args.relu);
    let y = Dispatch::sparse_layer(
        x.into_dispatch(),
        weight.into_dispatch(),
        scale.into_dispatch(),
        shift.into_dispatch(),
        args,
        means.clone(),
    );
    let moments = {
        let saved = lock(&means.saved);
        let last = saved.mean.len() - filters;
        let moments = Moments {
            mean: saved.mean[last..].to_vec(),
            var: saved.var[last..].to_vec(),
        };
        (moments, saved.count[last..].to_vec())
    };
    // Without ReLU a plane's mean is not that of its magnitudes.
    (Tensor::from_dispatch(y), moments, relu.then_some(means))
}

/// Mean of each plane of `x`, `[n, c]`. `means` must come from the layer that gave `x`, and `x` must also be read by an
/// operation that gives it a gradient in the ordinary way (a gate's convolution does), or its layer's backward pass never runs.
pub(crate) fn plane_means(x: Tensor<4>, means: PlaneMeans) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::plane_means(x.into_dispatch(), means))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn floats(tensor: &FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() {
        tensor.clone()
    } else {
        tensor.to_contiguous()
    }
}

fn slice(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice::<f32>().unwrap_or(&[])
}

fn tensor(data: Vec<f32>, shape: impl Into<Vec<usize>>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(data, shape.into()))
}

impl SparseBackend for Flex {
    fn sparse_layer(
        x: FlexTensor,
        weight: FlexTensor,
        scale: FlexTensor,
        shift: FlexTensor,
        args: SparseArgs,
        means: PlaneMeans,
    ) -> FlexTensor {
        let [x, weight, scale, shift] = [&x, &weight, &scale, &shift].map(floats);
        let call = args.call(slice(&x), slice(&weight), slice(&scale), slice(&shift));
        let shape = [call.n, args.shape.filters, args.shape.out_h(), args.shape.out_w()];
        let len = shape.iter().product();
        let (out, saved) = if is_stopping() {
            let none = vec![0.0; args.groups * args.shape.filters];
            let saved = ForwardState {
                y: Vec::new(),
                mean: none.clone(),
                var: none.clone(),
                count: none,
                out_mean: vec![0.0; call.n * args.shape.filters],
            };
            (vec![0.0; len], saved)
        } else {
            with_plan(&args, |plan, pool, buffers| {
                let (mut out, y) = (buffers.take(len), buffers.take(len));
                let saved = plan.forward(pool, &call, &mut out, y);
                (out, saved)
            })
        };
        *lock(&means.saved) = saved;
        tensor(out, shape)
    }

    fn plane_means(x: FlexTensor, means: PlaneMeans) -> FlexTensor {
        let shape = x.shape().to_vec();
        tensor(lock(&means.saved).out_mean.clone(), [shape[0], shape[1]])
    }
}

#[derive(Clone, Debug)]
struct SavedForBackward {
    /// x, weight, scale and shift, contiguous.
    inputs: [FlexTensor; 4],
    args: SparseArgs,
    means: PlaneMeans,
}

#[derive(Debug)]
struct LayerBackward;

impl Backward<Flex, 4> for LayerBackward {
    type State = SavedForBackward;

    fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let dout = floats(&grads.consume::<Flex>(&ops.node));
        let SavedForBackward { inputs, args, means } = ops.state;
        let [x, weight, scale, shift] = inputs;
        let [px, pw, ps, pb] = ops.parents;
        let dims = |t: &FlexTensor| t.shape().to_vec();
        let zeros = |t: &FlexTensor| vec![0.0f32; t.shape().num_elements()];
        let (mut dw, mut ds, mut db) = (Vec::new(), zeros(&scale), zeros(&shift));
        let saved = std::mem::take(&mut *lock(&means.saved));
        // A forward pass that was cut short has no backward pass.
        if is_stopping() || saved.y.is_empty() {
            dw = zeros(&weight);
            if let Some(node) = px {
                grads.register::<Flex>(node.id, tensor(zeros(&x), dims(&x)));
            }
        } else {
            with_plan(&args, |plan, pool, buffers| {
                let call = args.call(slice(&x), slice(&weight), slice(&scale), slice(&shift));
                // All of it is written.
                dw = buffers.take(call.weight.len());
                let mut dx = px.as_ref().map(|_| buffers.take(call.x.len()));
                let mean_grad = std::mem::take(&mut *lock(&means.mean_grad));
                let back = OutputGradients {
                    grad: slice(&dout),
                    mean_grad: &mean_grad,
                };
                let to = LayerGrads {
                    x: dx.as_deref_mut(),
                    weight: &mut dw,
                    scale: &mut ds,
                    shift: &mut db,
                };
                plan.backward(pool, &call, back, &saved, to);
                buffers.put(saved.y);
                buffers.put_tensor(dout);
                if let (Some(node), Some(dx)) = (px, dx) {
                    grads.register::<Flex>(node.id, tensor(dx, dims(&x)));
                    // The input was another layer's output.
                    buffers.put_tensor(x);
                }
            });
        }
        for (node, data, like) in [(pw, dw, &weight), (ps, ds, &scale), (pb, db, &shift)] {
            let Some(node) = node else { continue };
            grads.register::<Flex>(node.id, tensor(data, dims(like)));
        }
    }
}

impl<C: CheckpointStrategy> SparseBackend for Autodiff<Flex, C> {
    fn sparse_layer(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        args: SparseArgs,
        means: PlaneMeans,
    ) -> FloatTensor<Self> {
        let (x, guard_x) = x.into_parts();
        let (weight, guard_w) = weight.into_parts();
        let (scale, guard_s) = scale.into_parts();
        let (shift, guard_b) = shift.into_parts();
        // Contiguous once, here: forward and backward read the same copy.
        let inputs = [&x, &weight, &scale, &shift].map(floats);
        let [x, weight, scale, shift] = inputs.clone();
        let out = Flex::sparse_layer(x, weight, scale, shift, args.clone(), means.clone());
        let guards = [guard_x, guard_w, guard_s, guard_b];
        match LayerBackward.prepare::<C>(guards).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(SavedForBackward { inputs, args, means }, out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn plane_means(x: FloatTensor<Self>, means: PlaneMeans) -> FloatTensor<Self> {
        let (x, guard) = x.into_parts();
        let mean_grad = means.mean_grad.clone();
        let out = Flex::plane_means(x, means);
        match MeansBackward.prepare::<C>([guard]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(mean_grad, out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}

/// Hands its gradient to the layer that gave the planes, whose own backward pass comes later, as its node lies below.
#[derive(Debug)]
struct MeansBackward;

impl Backward<Flex, 1> for MeansBackward {
    type State = Arc<Mutex<Vec<f32>>>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let grad = floats(&grads.consume::<Flex>(&ops.node));
        let mut sum = lock(&ops.state);
        sum.resize(slice(&grad).len(), 0.0);
        sum.iter_mut().zip(slice(&grad)).for_each(|(sum, g)| *sum += g);
    }
}
