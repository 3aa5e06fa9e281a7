//! Memory that plans need while they run and may share. Knows nothing of what they compute.

use super::aligned::Aligned;
use super::pool::Pool;
use super::product_form::ImageAddress;

/// Most threads that transform their inputs themselves.
const MOST_APART: usize = 4;

/// What plans put down while they run: transformed inputs and products of one block, or inputs as bytes. Plans that run one
/// after the other may share it.
#[derive(Clone, Debug, Default)]
pub struct PlanScratch {
    pub(crate) inputs: Aligned,
    pub(crate) products: Aligned,
    /// Images that are multiplied together.
    pub(crate) images: Vec<ImageAddress>,
    /// By thread, where each has its own.
    pub(crate) own: Vec<OwnBuffers>,
    pub(crate) bytes: ByteScratch,
}

/// Buffers that no other thread touches, and which block's inputs they hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnBuffers {
    pub inputs: Aligned,
    pub products: Aligned,
    pub held: Option<usize>,
}

impl PlanScratch {
    /// With buffers for each of a few threads, so that none waits for lines that another has written: each transforms the inputs
    /// that it multiplies. More threads would repeat too much and share what they transform.
    pub fn for_threads(threads: usize) -> Self {
        let own = if threads <= MOST_APART { threads } else { 0 };
        Self {
            own: vec![OwnBuffers::default(); own],
            ..Self::default()
        }
    }

    /// Whether each thread of the pool has its own buffers.
    pub(crate) fn is_apart(&self, pool: &Pool) -> bool {
        pool.threads() > 1 && self.own.len() >= pool.threads()
    }

    /// Panics unless it holds so many floats.
    pub(crate) fn check(&self, [inputs, products]: [usize; 2]) {
        assert!(
            self.inputs.len() >= inputs && self.products.len() >= products,
            "scratch too short"
        );
    }

    /// Holds so many floats and images from now on.
    pub(crate) fn make_room(&mut self, [inputs, products]: [usize; 2], images: usize) {
        if self.inputs.len() < inputs {
            self.inputs = Aligned::zeros(inputs);
        }
        if self.products.len() < products {
            self.products = Aligned::zeros(products);
        }
        for own in &mut self.own {
            if own.inputs.len() < self.inputs.len() {
                own.inputs = Aligned::zeros(self.inputs.len());
            }
            if own.products.len() < self.products.len() {
                own.products = Aligned::zeros(self.products.len());
            }
        }
        self.images.clear();
        self.images.reserve(images);
    }
}

/// Quantized inputs and folded epilogues.
#[derive(Clone, Debug, Default)]
pub(crate) struct ByteScratch {
    pub planes: Vec<f32>,
    pub zeros: Vec<f32>,
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}
