//! What the probe says: the model that was opened, and what was measured of it so far. Plain data.
//! Knows nothing of how it is measured.

use crate::Question;
use crate::images::{ClassActivity, ImageDetail, Prediction, Thumbnails};
use crate::pruning::PruningPlan;
use event::LayerState;
use infer::Latency;
use model::checkpoint::ModelHeader;
use model::{Masks, cost};
use record::ModelRef;
use serde::Serialize;
use std::sync::Arc;

/// The model that questions are about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpenModel {
    /// Shown name.
    pub name: String,
    /// Where it came from.
    pub from: ModelRef,
    /// The model without its numbers.
    pub header: ModelHeader,
    /// Cost with nothing gated away.
    pub dense: cost::Cost,
    /// Its static masks.
    #[serde(skip)]
    pub masks: Arc<Masks>,
    /// Whether it is known which images it did not learn from.
    pub knows_split: bool,
}

/// What was measured for a question, so far.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// What was asked.
    pub question: Question,
    /// Images measured.
    pub n: usize,
    /// Of so many.
    pub of: usize,
    /// Of these, classified right.
    pub right: usize,
    /// MACs per image, averaged over the images measured.
    pub macs: u64,
    /// Bytes of weights and of activations read and written for an image, and the peak, from the measured active fractions.
    pub traffic: cost::Cost,
    /// Time for one image.
    pub latency: Option<Latency>,
    /// Layers as measured.
    pub layers: Arc<[LayerState]>,
    /// Time for one image with every channel running; only with the last answer to a question.
    pub dense_latency: Option<Latency>,
    /// Every image, in order; only with the last answer to a question.
    pub seen: Arc<[Prediction]>,
    /// What the model says of each image that was measured so far, in order.
    #[serde(skip)]
    pub said: Arc<[u16]>,
    /// By class: images classified right, and images measured so far.
    #[serde(skip)]
    pub by_class: Arc<[[u32; 2]]>,
    /// How each class uses the channels; only with the last answer to a question.
    pub classes: Arc<[ClassActivity]>,
    /// What a cut leaves; without one, what could be cut.
    pub plan: Option<Arc<PruningPlan>>,
}

impl Answer {
    /// With what the model said of each image so far.
    pub(crate) fn of(self, seen: &[Prediction], classes: usize) -> Self {
        let mut by_class = vec![[0, 0]; classes];
        for one in seen {
            if let Some([right, n]) = by_class.get_mut(usize::from(one.label)) {
                *right += u32::from(one.said == one.label);
                *n += 1;
            }
        }
        Self {
            said: seen.iter().map(|one| one.said).collect(),
            by_class: by_class.into(),
            ..self
        }
    }

    /// Whether all images were measured, and there are any.
    pub fn is_complete(&self) -> bool {
        self.n == self.of && self.of > 0
    }
}

/// What the probe answers.
pub enum Response {
    /// A model was opened.
    Opened(Arc<OpenModel>),
    /// Its validation images were read from this source.
    Images(Arc<Thumbnails>, String),
    /// Its images are not to be had, and why. All that needs none is answered.
    NoImages(String),
    /// A question was answered, better than before.
    Answered(Answer),
    /// Another target was measured in passing, on some of the images.
    Passed(Answer),
    /// An image was looked at.
    Looked(ImageDetail),
    /// It did not work; one line.
    Failed(String),
    /// The open model could not be measured; one line.
    NotMeasured(String),
}
