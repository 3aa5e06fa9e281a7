//! Makes weights better: the training loop, the optimizer, and all that names burn, from devices to layers.
//!
//! Entry points: [`fit`] trains as a [`TrainingPlan`] says, [`net::Net`] is a network on burn, [`sparse_conv`] its fast layer,
//! [`device::DeviceName`] a device by its name. [`Ctx`] is what every pruning method is given, [`StageMemory`] what a killed run
//! goes on from. Knows nothing of pruning methods, files or windows.
#![forbid(unsafe_code)]

pub mod backward;
mod calibrate;
mod config;
mod context;
mod conv_step;
pub mod device;
mod evaluate;
mod fake_bytes;
mod finite;
mod first_order;
mod fit;
mod layer;
mod layer_seconds;
pub mod net;
mod norm_statistics;
pub mod norms;
pub mod optimizer;
mod oracle;
mod plan;
mod planes;
#[cfg(feature = "remote")]
mod proxy;
#[cfg(feature = "remote")]
pub mod remote;
pub mod saliency_bound;
#[cfg(feature = "remote")]
pub mod serve;
pub mod sparse_conv;
mod stage_memory;
mod teacher;
mod trial_farm;

pub use config::TrainConfig;
pub use context::{Ctx, Protected, RunHooks, TrainingData};
pub use evaluate::{finish, validate};
pub use first_order::first_order;
pub use fit::{fit, tune};
pub use layer_seconds::LayerSeconds;
pub use norm_statistics::NormStatistics;
pub use oracle::{Oracle, OracleShare};
pub use plan::{Penalty, TrainingPlan};
pub use stage_memory::{NoMemory, Snapshot, StageMemory};
pub use teacher::{OWN, SoftTargets, ask, check_teacher, label};
pub use trial_farm::{Judged, MeasureTrial, SharedTrials, TrialBatch, TrialFarm};
