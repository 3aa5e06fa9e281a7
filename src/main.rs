//! Parses arguments and hands over to the command line or the window; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    let done = match cli::main() {
        cli::Next::Exit(code) => return code,
        cli::Next::Window(what, workspace) => app::open(app::OpenOptions { what, workspace }),
        cli::Next::BenchFrame(frame, json) => app::bench_frame(&app::FrameLoad {
            arch: frame.arch,
            input: frame.input,
            width: frame.width,
            seconds: frame.seconds,
            events_per_second: f64::from(frame.events_per_second),
        })
        .map(|times| {
            json.say(&times, || {
                let idle = times.idle_cpu_share.map_or_else(String::new, |s| format!(", idle {:.2} % of a core", s * 100.0));
                let memory = times.resident_mb.map_or_else(String::new, |[a, b]| format!(", {a:.0} to {b:.0} MB"));
                format!(
                    "frame {:.2} ms, 99 % below {:.2} ms; with painting {:.2} ms, 99 % below {:.2} ms; {} frames, {} events, {} points, {} trials; first frame after {:.0} ms{idle}{memory}",
                    times.p50_ms, times.p99_ms, times.painted_p50_ms, times.painted_p99_ms, times.frames, times.events, times.points, times.trials, times.first_frame_ms
                )
            });
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => cli::complain(1, &format!("{e:#}")),
    }
}
