//! Where the pictures of a folder lie: which folder is for which split, what the classes are, and which files belong to them.
//! Reads names only.
//!
//! - `train` and `test` may be called `training` and `testing`, in any case; `val`, `valid` or `validation` stands for a `test`
//!   that is not there. Without any of these, the folders with pictures are the classes.
//! - Where no pictures are for the test, every fifth of each class is kept for it.
//! - A class's pictures may lie deeper. Links to folders within a class are not followed, so that nothing is counted twice.
//! - Names that start with a dot, and `__MACOSX`, are passed over.

use super::class_names::few;
use super::picture::{ENDINGS_TEXT, ending, is_picture_name};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Folders within a class are entered up to this depth.
const MAX_DEPTH: usize = 16;

/// Of the pictures of each class, every so-manieth is for the test, if nothing else is.
const TEST_EVERY: usize = 5;

/// A picture file of a class.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PictureFile {
    /// Relative to the data set's folder, with `/`: what messages call it.
    pub name: String,
    pub path: PathBuf,
    pub label: u16,
}

/// Files that are passed over.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Others {
    pub count: usize,
    /// Their endings, with a dot.
    pub endings: BTreeSet<String>,
}

impl Others {
    fn add(&mut self, name: &str) {
        self.count += 1;
        self.endings.extend(ending(name).map(|ending| format!(".{ending}")));
    }

    /// ` (.txt, .xcf)`, or nothing.
    pub(crate) fn endings(&self) -> String {
        if self.endings.is_empty() {
            return String::new();
        }
        let all: Vec<&str> = self.endings.iter().map(String::as_str).collect();
        format!(" ({})", all.join(", "))
    }
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Names of the classes, sorted.
    pub classes: Vec<String>,
    /// Whether pictures lie in folders of classes.
    pub is_labeled: bool,
    /// Class by class, sorted by name.
    pub train: Vec<PictureFile>,
    pub test: Vec<PictureFile>,
    pub others: Others,
    pub notes: Vec<String>,
}

/// A folder within another.
struct Folder {
    /// As messages call it; what is not UTF-8 is replaced.
    name: String,
    path: PathBuf,
}

#[derive(Clone, Copy, PartialEq)]
enum SplitRole {
    Train,
    Test,
    Valid,
}

impl SplitRole {
    fn of(name: &str) -> Option<Self> {
        match name.to_lowercase().as_str() {
            "train" | "training" => Some(Self::Train),
            "test" | "testing" => Some(Self::Test),
            "val" | "valid" | "validation" => Some(Self::Valid),
            _ => None,
        }
    }
}

/// Whether a folder has one of training pictures.
pub(crate) fn has_train(root: &Path) -> bool {
    folders(root).is_ok_and(|folders| folders.iter().any(|f| SplitRole::of(&f.name) == Some(SplitRole::Train)))
}

/// Whether the folders of a folder hold pictures, so that they may be classes.
fn has_classes(root: &Path) -> bool {
    let has_pictures = |folder: &Folder| {
        let mut found = Vec::new();
        let walked = walk(&folder.path, &folder.name, 0, &mut found, &mut Others::default());
        walked.is_ok() && !found.is_empty()
    };
    folders(root).is_ok_and(|folders| folders.iter().any(has_pictures))
}

/// Whether pictures lie in a folder itself.
fn has_pictures(root: &Path) -> bool {
    let is_picture = |entry: &Folder| !entry.path.is_dir() && is_picture_name(&entry.name);
    entries(root).is_ok_and(|entries| entries.iter().any(is_picture))
}

/// What all pictures are where there are no classes.
const UNLABELED: &str = "picture";

/// Whether pictures must lie in folders of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Classes {
    Needed,
    Welcome,
}

/// Whether a folder without one of training pictures may be a data set all the same.
pub(crate) fn may_be_set(root: &Path, classes: Classes) -> bool {
    has_classes(root) || (classes == Classes::Welcome && has_pictures(root))
}

/// Finds the pictures under `root`, which has a folder for training or classes.
///
/// # Errors
/// No folder of training pictures beside one for tests, no classes, a class without pictures, or one that only the test has.
pub(crate) fn layout(root: &Path, wanted: Classes) -> Result<Layout> {
    let place = root.display();
    let all = folders(root)?;
    let [train, test, valid] = [SplitRole::Train, SplitRole::Test, SplitRole::Valid].map(|role| {
        let mut of_role = all.iter().filter(|f| SplitRole::of(&f.name) == Some(role));
        (of_role.next(), of_role.next())
    });
    for (first, second) in [train, test, valid] {
        if let (Some(first), Some(second)) = (first, second) {
            bail!(
                "{place}: both `{}` and `{}`, expected one of them",
                first.name,
                second.name
            );
        }
    }
    let (train, test, valid) = (train.0, test.0, valid.0);
    let mut layout = Layout {
        classes: Vec::new(),
        is_labeled: true,
        train: Vec::new(),
        test: Vec::new(),
        others: Others::default(),
        notes: Vec::new(),
    };
    let train_place = train.map_or(root, |train| &train.path);
    ensure!(
        train.is_some() || (test.is_none() && valid.is_none()),
        "{place}: no `train` folder, expected train/<class>/*{ENDINGS_TEXT}"
    );
    let has_no_classes = wanted == Classes::Welcome && !has_classes(train_place) && has_pictures(train_place);
    let classes_in = |place: &Path| match has_no_classes {
        true => Ok(vec![Folder {
            name: UNLABELED.to_owned(),
            path: place.to_path_buf(),
        }]),
        false => folders(place),
    };
    layout.is_labeled = !has_no_classes;
    let classes = classes_in(train_place)?;
    ensure!(
        !classes.is_empty(),
        "{}: no class folders, expected train/<class>/*{ENDINGS_TEXT}",
        train_place.display()
    );
    ensure!(
        classes.len() <= usize::from(u16::MAX),
        "{}: {} classes, expected at most {}",
        train_place.display(),
        classes.len(),
        u16::MAX
    );
    layout.classes = classes.iter().map(|class| class.name.clone()).collect();
    let prefix = |folder: Option<&Folder>| folder.map_or_else(String::new, |f| format!("{}/", f.name));
    layout.train = pictures(&classes, &prefix(train), train_place, &mut layout.others)?;
    match (test, valid) {
        (Some(_), Some(valid)) => layout.notes.push(format!(
            "the pictures in `{}` are not used: validation images are drawn from the training images, data.valid says how many",
            valid.name
        )),
        (None, Some(valid)) => layout.notes.push(format!(
            "the pictures in `{}` are the test images, there is no `test`",
            valid.name
        )),
        _ => {}
    }
    match test.or(valid) {
        Some(test) => {
            let found = classes_in(&test.path)?;
            ensure!(
                !found.is_empty(),
                "{}: no class folders, expected {}/<class>/*{ENDINGS_TEXT}",
                test.path.display(),
                test.name
            );
            if let Some(strange) = found.iter().find(|class| !layout.classes.contains(&class.name)) {
                bail!(
                    "{}: a class that `{}` does not have, expected one of {}",
                    strange.path.display(),
                    train.map_or("train", |train| &train.name),
                    few(&layout.classes)
                );
            }
            let in_test = |class: &String| Folder {
                name: class.clone(),
                path: (found.iter().find(|f| f.name == *class))
                    .map_or_else(|| test.path.join(class), |f| f.path.clone()),
            };
            let classes: Vec<Folder> = layout.classes.iter().map(in_test).collect();
            layout.test = pictures(&classes, &prefix(Some(test)), &test.path, &mut layout.others)?;
        }
        None => layout.hold_out(train_place)?,
    }
    Ok(layout)
}

impl Layout {
    /// Keeps some of the training pictures for the test.
    fn hold_out(&mut self, place: &Path) -> Result<()> {
        let all = std::mem::take(&mut self.train);
        for of_class in all.chunk_by(|a, b| a.label == b.label) {
            let class = of_class.first().map_or(0, |picture| usize::from(picture.label));
            ensure!(
                of_class.len() > 1,
                "{}: one picture of `{}` and no `test` folder, expected two or more, of which one is for the test",
                place.display(),
                self.classes[class]
            );
            for (at, picture) in of_class.iter().enumerate() {
                let is_last_of_few = of_class.len() < TEST_EVERY && at + 1 == of_class.len();
                let for_test = at % TEST_EVERY == TEST_EVERY - 1 || is_last_of_few;
                let split = if for_test { &mut self.test } else { &mut self.train };
                split.push(picture.clone());
            }
        }
        self.notes.push(format!(
            "there is no `test` folder: of each class, every {TEST_EVERY}th picture by name is kept for the test"
        ));
        Ok(())
    }
}

/// The pictures of every class, class by class.
fn pictures(classes: &[Folder], prefix: &str, place: &Path, others: &mut Others) -> Result<Vec<PictureFile>> {
    let mut all = Vec::new();
    for (label, class) in (0_u16..).zip(classes) {
        let (mut found, mut passed) = (Vec::new(), Others::default());
        if class.path.is_dir() {
            walk(
                &class.path,
                &format!("{prefix}{}", class.name),
                0,
                &mut found,
                &mut passed,
            )?;
        }
        ensure!(
            !found.is_empty(),
            "{}: class `{}` is empty, expected at least one {ENDINGS_TEXT}{}",
            place.join(&class.name).display(),
            class.name,
            if passed.endings.is_empty() {
                String::new()
            } else {
                format!("; found{}", passed.endings())
            }
        );
        found.sort_unstable();
        all.extend(found.into_iter().map(|picture| PictureFile { label, ..picture }));
        others.count += passed.count;
        others.endings.extend(passed.endings);
    }
    Ok(all)
}

/// The pictures in a folder and deeper.
fn walk(folder: &Path, name: &str, depth: usize, found: &mut Vec<PictureFile>, others: &mut Others) -> Result<()> {
    for entry in entries(folder)? {
        let inner = format!("{name}/{}", entry.name);
        let is_link = entry.path.is_symlink();
        if entry.path.is_dir() {
            if is_link || depth == MAX_DEPTH {
                others.add(&entry.name);
            } else {
                walk(&entry.path, &inner, depth + 1, found, others)?;
            }
        } else if is_picture_name(&entry.name) {
            found.push(PictureFile {
                name: inner,
                path: entry.path,
                label: 0,
            });
        } else {
            others.add(&entry.name);
        }
    }
    Ok(())
}

/// The folders in a folder, sorted by name.
fn folders(folder: &Path) -> Result<Vec<Folder>> {
    let mut folders = entries(folder)?;
    folders.retain(|entry| entry.path.is_dir());
    folders.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    if let Some([twice, _]) = folders.array_windows().find(|[a, b]| a.name == b.name) {
        bail!("{}: two folders are both read as `{}`", folder.display(), twice.name);
    }
    Ok(folders)
}

/// What is in a folder, without what systems leave there.
fn entries(folder: &Path) -> Result<Vec<Folder>> {
    let cannot_read = || format!("{}: cannot be read", folder.display());
    let mut entries = Vec::new();
    for entry in folder.read_dir().with_context(cannot_read)? {
        let entry = entry.with_context(cannot_read)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && name != "__MACOSX" {
            entries.push(Folder {
                name,
                path: entry.path(),
            });
        }
    }
    Ok(entries)
}
