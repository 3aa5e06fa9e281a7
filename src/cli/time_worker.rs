//! `secateur time-worker`: the table of a model's layer times on this machine, for searches on another.
//! `secateur-time-worker` does the same without the rest of the program.

use super::failure::{Done, OrFail};
use super::output::Json;
use anyhow::Context;
use infer::LatencyTable;
use model::Checkpoint;
use std::io::Read;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct TimeWorkerArgs {
    /// A model file; if not given, one is read from stdin
    model: Option<PathBuf>,
    /// Threads that an image is split over; if not given, one a core
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

pub(crate) fn time_worker(args: &TimeWorkerArgs) -> Done {
    let model = match &args.model {
        Some(file) => Checkpoint::load(file).or_bad_input()?,
        None => {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).or_failed()?;
            Checkpoint::from_bytes(&bytes).context("stdin").or_bad_input()?
        }
    };
    let threads = args.threads.map_or_else(record::folder::threads, usize::from);
    let table = LatencyTable::measure(&model, threads, &mut || Ok(())).or_failed()?;
    Json { json: true }.say(&table, String::new);
    Ok(0)
}
