//! Parses arguments and hands over to the command line or the window; nothing else.

use secateur::{app, cli};
use std::process::ExitCode;

fn main() -> ExitCode {
    let done = match cli::main() {
        cli::Next::Exit(code) => return code,
        cli::Next::Window(what, place) => app::open(app::OpenOptions { what, place }),
        cli::Next::BenchFrame(seconds, rate, json) => app::bench_frame(seconds, f64::from(rate)).map(|times| {
            json.say(&times, || {
                format!(
                    "frame {:.2} ms, 99 % below {:.2} ms, {} frames, {} events",
                    times.p50_ms, times.p99_ms, times.frames, times.events
                )
            });
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            cli::complain(1, &format!("{e:#}"));
            ExitCode::FAILURE
        }
    }
}
