//! The command line: arguments in, one JSON object or one readable line a fact out.
//!
//! [`main`] reads the arguments and works, or says that the window is wanted: opening it is left to the program.
//! To add a command, add a variant to `args.rs`, an arm to `dispatch.rs`, and a file with its name.
//!
//! Exit codes: 0 done, 1 the work failed, 2 wrong usage or bad input, 130 stopped by Ctrl-C.
//! Knows nothing of egui.

#![forbid(unsafe_code)]
// They panic where nobody reads: see `output.rs`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod bars;
mod bench;
mod dispatch;
mod eval;
mod eval_burn;
mod eval_csv;
mod eval_images;
mod eval_oracle;
mod export;
mod failure;
mod farm;
mod farm_engine;
mod farm_plan;
mod farm_task;
mod farm_trials;
mod figure;
mod import;
mod inspect;
mod lists;
mod manual;
mod output;
mod progress;
mod quantize;
mod report;
mod run;
mod serve;
mod shown_runs;
mod signal;
mod time_worker;
mod tournament;

pub use bench::FrameArgs;
pub use dispatch::{Next, main};
pub use failure::complain;
pub use output::Json;
