//! What the window makes of a path that was chosen, typed or dropped.

use super::panel_name::PanelName;
use super::state::{Draft, Overlay, UiState};
use super::{import, layout};
use lab::{Command, jobs};
use measure::images::ImageRef;
use record::{Experiment, ModelRef};
use std::path::{Path, PathBuf};

/// Measures the open model on the images of a folder, or of a data set by its name.
pub(crate) fn use_images(path: &Path, state: &UiState) -> Command {
    Command::UseImages(path.to_string_lossy().into_owned(), state.slider.asked.clone())
}

/// Whether a folder is one of a run.
fn is_run(folder: &Path) -> bool {
    ["config.toml", "events.jsonl", "manifest.json"]
        .iter()
        .any(|name| folder.join(name).is_file())
}

/// Lists a run folder among the runs, measures the open model on the images of another folder, takes a preset file as the draft, measures an image, asks how to import another
/// program's file, or opens a model.
pub fn open_path(path: PathBuf, state: &mut UiState) -> Option<Command> {
    if path.is_dir() && !is_run(&path) && state.seen.model.is_some() {
        return Some(use_images(&path, state));
    }
    if path.is_dir() {
        return Some(Command::OpenRun(path));
    }
    let kind = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    match kind.as_deref() {
        Some("toml") => {
            let text = path.to_string_lossy();
            match Experiment::load(&text, &[]) {
                Ok(experiment) => state.draft = Draft::new(experiment, text.into_owned()),
                Err(e) => state.toasts.fail(&e),
            }
            None
        }
        Some("png" | "jpg" | "jpeg" | "webp") => {
            layout::show(&mut state.layouts.tree, PanelName::Images);
            Some(Command::Look(ImageRef::File(path)))
        }
        _ if jobs::is_foreign(&path) => {
            state.overlay = Some(Overlay::Import(import::entry(path)));
            None
        }
        _ => Some(Command::Open(ModelRef::File(path))),
    }
}
