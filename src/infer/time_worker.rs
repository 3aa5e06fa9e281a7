//! `secateur-time-worker [THREADS] < MODEL > TABLE`: times a model's layers on this machine. The engine alone: no window, no training.

use infer::LatencyTable;
use std::io::{Read, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let line = format!("secateur-time-worker: {e:#}");
            drop(writeln!(std::io::stderr(), "{}", line.replace('\n', " ")));
            ExitCode::from(2)
        }
    }
}

fn work() -> anyhow::Result<()> {
    let given = std::env::args().nth(1).map(|n| n.parse::<usize>());
    let threads = given.unwrap_or_else(|| Ok(std::thread::available_parallelism().map_or(1, usize::from)));
    let threads = threads.ok().filter(|n| (1..=1024).contains(n));
    let threads = threads.ok_or_else(|| anyhow::anyhow!("expected a number of threads, and a model file on stdin"))?;
    let mut file = Vec::new();
    std::io::stdin().read_to_end(&mut file)?;
    let model = model::Checkpoint::from_bytes(&file)?;
    let table = LatencyTable::measure(&model, threads, &mut || Ok(()))?;
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&table)?)?;
    Ok(())
}
