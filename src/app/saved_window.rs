//! What the window remembers from one session to the next: layouts, marks and notes of runs, the size of figures.
//! A file that cannot be read counts as none. Knows nothing of runs' contents.

use super::layout::Layouts;
use super::state::UiState;
use anyhow::{Context, Result};
use disk::write_whole;
use plots::Style;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use view::runs::RunMarks;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SavedWindow {
    layouts: Layouts,
    marks: RunMarks,
    figure_style: Style,
    /// On a dark surface; none follows the system.
    pub(crate) dark: Option<bool>,
    /// Whether the opening card was seen.
    welcomed: bool,
}

/// Its file in the system's folder for settings. None where there is no home.
pub(crate) fn place() -> Option<PathBuf> {
    let of = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let folder = if cfg!(windows) {
        of("APPDATA")
    } else if cfg!(target_os = "macos") {
        of("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        of("XDG_CONFIG_HOME").or_else(|| of("HOME").map(|home| home.join(".config")))
    };
    folder.map(|f| f.join("secateur").join("window.json"))
}

impl SavedWindow {
    pub(crate) fn read(file: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(file).ok()?).ok()
    }

    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        write_whole(file, &serde_json::to_vec(self)?)
    }

    pub(crate) fn of(state: &UiState, dark: bool) -> Self {
        Self {
            layouts: state.layouts.clone(),
            marks: state.runs.marks.clone(),
            figure_style: state.figure_style,
            dark: Some(dark),
            welcomed: true,
        }
    }

    pub(crate) fn restore(self, state: &mut UiState) {
        state.layouts = self.layouts;
        state.runs.marks = self.marks;
        state.figure_style = self.figure_style;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::LayoutName;
    use train::device::DeviceName;

    #[test]
    fn a_window_is_found_as_it_was_left() {
        let dir = tempfile::tempdir().expect("temp dir");
        let file = dir.path().join("new").join("window.json");
        let mut state = UiState::new(DeviceName::Flex).expect("presets");
        state.layouts.go(LayoutName::Compare);
        state.runs.marks.notes.insert("a".into(), "good".into());
        let memory = SavedWindow::of(&state, true);
        memory.write(&file).expect("writes");
        let mut fresh = UiState::new(DeviceName::Flex).expect("presets");
        let read = SavedWindow::read(&file).expect("reads");
        assert_eq!(read, memory);
        read.restore(&mut fresh);
        assert_eq!(
            (fresh.layouts.now, fresh.runs.marks),
            (LayoutName::Compare, state.runs.marks)
        );
        std::fs::write(&file, b"{broken").expect("writes");
        assert_eq!(SavedWindow::read(&file), None);
    }
}
