//! `secateur completions` and `secateur man`: what a shell and `man` know of the commands, made from the arguments themselves.

use super::failure::{Done, OrFail};
use super::output::Json;
use anyhow::Context;
use clap::Command;
use clap_complete::Shell;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};

const NAME: &str = "secateur";

#[derive(clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

#[derive(clap::Args)]
pub(crate) struct ManArgs {
    /// The folder to write pages to: secateur.1, secateur-run.1, …
    to: PathBuf,
    #[command(flatten)]
    json: Json,
}

/// Writes a shell's script for `program`.
pub(crate) fn completions(args: &CompletionsArgs, mut program: Command) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, NAME, &mut script);
    // Whoever closed the pipe has read enough.
    drop(std::io::stdout().write_all(&script));
    Ok(0)
}

/// Writes a page for `program` and each of its commands.
pub(crate) fn man(args: &ManArgs, program: Command) -> Done {
    let cannot = |what: &Path| format!("cannot write to {}", what.display());
    disk::make_folder(&args.to).or_failed()?;
    clap_mangen::generate_to(program, &args.to)
        .with_context(|| cannot(&args.to))
        .or_failed()?;
    let file = args.to.join(format!("{NAME}.1"));
    args.json.say(&json!({ "file": file.to_string_lossy() }), || {
        format!("{}, and a page for each command", file.display())
    });
    Ok(0)
}
