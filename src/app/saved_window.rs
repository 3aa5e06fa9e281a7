//! What the window remembers from one session to the next: layouts, marks and notes of runs, the size of figures.
//! Written when it changes, also beside another window that writes the same file. Knows nothing of runs' contents.

use super::layout::Layouts;
use super::state::UiState;
use anyhow::{Context, Result};
use disk::write_whole;
use plots::Style;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
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
    /// None if there is no such file.
    ///
    /// # Errors
    /// There is one, and it cannot be read.
    fn read(file: &Path) -> Result<Option<Self>> {
        let bytes = match std::fs::read(file) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.with_context(|| format!("cannot read {}", file.display()))?,
        };
        let read = serde_json::from_slice(&bytes);
        read.map(Some).with_context(|| format!("{} is damaged", file.display()))
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

    /// What this window changed since `base`, put on top of what another window has written.
    fn onto(&self, base: &Self, other: Self) -> Self {
        fn changed<T: Clone + PartialEq>(now: &T, base: &T, other: T) -> T {
            if now == base { other } else { now.clone() }
        }
        Self {
            layouts: changed(&self.layouts, &base.layouts, other.layouts),
            marks: self.marks.onto(&base.marks, other.marks),
            figure_style: changed(&self.figure_style, &base.figure_style, other.figure_style),
            dark: changed(&self.dark, &base.dark, other.dark),
            welcomed: self.welcomed || other.welcomed,
        }
    }
}

/// The file, and what this window knows to be in it.
pub(crate) struct WindowFile {
    path: PathBuf,
    /// As it was read or written last.
    known: SavedWindow,
    /// When anything but marks was looked at last.
    looked: Instant,
    /// Whether it could not be written last.
    failed: bool,
}

/// Marks are written at once, the rest after so long.
const CALM: Duration = Duration::from_secs(1);

impl WindowFile {
    /// The file, and what it holds. One that cannot be read is moved aside; why it could not be is said.
    pub(crate) fn open(path: PathBuf) -> (Self, Option<SavedWindow>, Option<String>) {
        let (read, trouble) = match SavedWindow::read(&path) {
            Ok(read) => (read, None),
            Err(e) => {
                let aside = path.with_extension("json.damaged");
                let moved = std::fs::rename(&path, &aside).is_ok();
                let kept = moved.then(|| format!("; it was kept as {}", aside.display()));
                (None, Some(format!("{e:#}{}", kept.unwrap_or_default())))
            }
        };
        let file = Self {
            path,
            known: read.clone().unwrap_or_default(),
            looked: Instant::now(),
            failed: false,
        };
        (file, read, trouble)
    }

    /// Writes what changed: stars, colors and other marks at once, a note when it is no longer being typed, the rest soon after.
    /// Other windows' changes are kept, and their marks are taken over.
    ///
    /// # Errors
    /// The file cannot be written. It is tried again every second; the error is given once.
    pub(crate) fn keep(&mut self, state: &mut UiState, dark: bool) -> Result<()> {
        let has_time = self.failed || state.runs.noting.is_some() || state.runs.marks == self.known.marks;
        if has_time && self.looked.elapsed() < CALM {
            return Ok(());
        }
        let had_failed = self.failed;
        let written = self.write(state, dark);
        if had_failed { Ok(()) } else { written }
    }

    /// Writes what changed, whatever it is.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&mut self, state: &mut UiState, dark: bool) -> Result<()> {
        self.looked = Instant::now();
        let now = SavedWindow::of(state, dark);
        if now == self.known {
            return Ok(());
        }
        let written = self.merge(&now);
        self.failed = written.is_err();
        let marks = written?;
        state.runs.marks.clone_from(&marks);
        self.known = SavedWindow { marks, ..now };
        Ok(())
    }

    /// Writes it beside what other windows changed. Gives the marks of all.
    fn merge(&self, now: &SavedWindow) -> Result<RunMarks> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        // Two windows read and write one after the other.
        let lock = File::options()
            .create(true)
            .append(true)
            .open(self.path.with_extension("json.lock"));
        let _held = lock.and_then(|file| file.lock().map(|()| file));
        // What another window made unreadable is not worth losing this one's marks.
        let merged = match SavedWindow::read(&self.path).ok().flatten() {
            Some(other) => now.onto(&self.known, other),
            None => now.clone(),
        };
        write_whole(&self.path, &serde_json::to_vec(&merged)?)?;
        Ok(merged.marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::LayoutName;
    use train::device::DeviceName;

    fn fresh() -> UiState {
        UiState::new(DeviceName::Flex).expect("presets")
    }

    #[test]
    fn a_window_is_found_as_it_was_left() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("new").join("window.json");
        let (mut file, read, trouble) = WindowFile::open(path.clone());
        assert_eq!((read, trouble), (None, None));
        let mut state = fresh();
        state.layouts.go(LayoutName::Compare);
        state.runs.marks.notes.insert("a".into(), "good".into());
        file.write(&mut state, true).expect("writes");
        let mut again = fresh();
        let (_, read, _) = WindowFile::open(path.clone());
        let read = read.expect("reads");
        assert_eq!(read, SavedWindow::of(&state, true));
        read.restore(&mut again);
        assert_eq!(
            (again.layouts.now, again.runs.marks),
            (LayoutName::Compare, state.runs.marks)
        );
        std::fs::write(&path, b"{broken").expect("writes");
        let (_, read, trouble) = WindowFile::open(path.clone());
        assert_eq!(read, None);
        assert!(trouble.is_some_and(|t| t.contains("damaged")), "said, and kept");
        let aside = std::fs::read(path.with_extension("json.damaged")).expect("kept");
        assert_eq!(aside, b"{broken");
    }

    #[test]
    fn a_star_is_on_the_disk_before_the_window_closes_and_a_note_when_it_is_written() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("window.json");
        let (mut file, ..) = WindowFile::open(path.clone());
        let mut state = fresh();
        let on_disk = || SavedWindow::read(&path).expect("reads").unwrap_or_default().marks;
        state.runs.marks.stars.insert("a".into());
        file.keep(&mut state, false).expect("writes");
        assert_eq!(on_disk(), state.runs.marks);
        state.runs.noting = Some("a".into());
        state.runs.marks.notes.insert("a".into(), "g".into());
        file.keep(&mut state, false).expect("waits");
        assert!(on_disk().notes.is_empty(), "not at every key");
        state.runs.marks.notes.insert("a".into(), "good".into());
        state.runs.noting = None;
        file.keep(&mut state, false).expect("writes");
        assert_eq!(on_disk(), state.runs.marks);
    }

    #[test]
    fn two_windows_keep_each_others_marks() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("window.json");
        let mut first = fresh();
        let (mut file, ..) = WindowFile::open(path.clone());
        first.runs.marks.stars.insert("both".into());
        file.write(&mut first, false).expect("writes");
        let mut second = fresh();
        let (mut other, read, _) = WindowFile::open(path.clone());
        read.expect("reads").restore(&mut second);
        // The first takes a star away and changes its layout; the second notes, colors and stars something else.
        first.runs.marks.stars.remove("both");
        first.layouts.go(LayoutName::Watch);
        file.write(&mut first, false).expect("writes");
        second.runs.marks.stars.insert("second".into());
        second.runs.marks.notes.insert("b".into(), "slow".into());
        second.runs.marks.colors.insert("b".into(), 3);
        other.write(&mut second, false).expect("writes");
        first.runs.marks.notes.insert("c".into(), "fast".into());
        file.write(&mut first, false).expect("writes");
        let read = SavedWindow::read(&path).expect("reads").expect("there");
        assert_eq!(read.marks, first.runs.marks, "the first has the second's marks, too");
        assert_eq!(read.layouts.now, LayoutName::Watch);
        assert_eq!(Vec::from_iter(&read.marks.stars), ["second"]);
        assert_eq!(read.marks.colors.get("b"), Some(&3));
        assert_eq!(Vec::from_iter(read.marks.notes.values()), ["slow", "fast"]);
    }
}
