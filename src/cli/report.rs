//! `secateur report`: one self-contained HTML file about one run or several.
//! Knows nothing of what is in it.

use super::failure::{Done, OrFail};
use super::output::Json;
use super::shown_runs::ShownRuns;
use anyhow::{Result, ensure};
use disk::write_whole;
use plots::report::html;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    runs: ShownRuns,
    /// The .html file to write
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    json: Json,
}

pub(crate) fn report(args: &ReportArgs) -> Done {
    check(&args.to).or_bad_input()?;
    let store = args.runs.open(false).or_bad_input()?;
    let text = html(&store);
    write_whole(&args.to, text.as_bytes()).or_failed()?;
    let file = args.to.to_string_lossy();
    let fact = json!({ "file": file, "runs": store.runs.len(), "bytes": text.len() });
    args.json.say(&fact, || {
        format!("{file}: {} runs, {} bytes", store.runs.len(), text.len())
    });
    Ok(0)
}

fn check(to: &Path) -> Result<()> {
    let is_html = to.extension().is_some_and(|e| e == "html" || e == "htm");
    ensure!(is_html, "--to {}: expected a file that ends in .html", to.display());
    Ok(())
}
