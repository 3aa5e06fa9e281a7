//! Parses arguments and hands over to the command line or the window; nothing else.

use secateur::{app, cli};
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::main() {
        cli::Next::Exit(code) => code,
        cli::Next::Window(what, place) => match app::open(app::OpenOptions { what, place }) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                cli::complain(1, &format!("{e:#}"));
                ExitCode::FAILURE
            }
        },
    }
}
