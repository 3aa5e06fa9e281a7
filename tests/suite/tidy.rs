//! The rules of the house: which module may name which, where unsafe code and burn and egui may stand, docs at every head.

use std::fs;
use std::path::{Path, PathBuf};

/// Modules from the bottom up: each may name those before it, and itself.
const ORDER: [&str; 16] = [
    "disk", "kernel", "data", "model", "event", "infer", "prune", "search", "exchange", "train", "methods", "run",
    "view", "export", "cli", "app",
];

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, out: &mut Vec<(PathBuf, String)>) {
        let mut entries: Vec<PathBuf> = fs::read_dir(dir)
            .expect("folder")
            .map(|e| e.expect("entry").path())
            .collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("text");
                out.push((path, text));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut out = Vec::new();
    walk(&root, &mut out);
    out.into_iter()
        .map(|(path, text)| (path.strip_prefix(&root).expect("inside").to_path_buf(), text))
        .collect()
}

fn module(path: &Path) -> String {
    path.components().next().map_or_else(String::new, |c| {
        c.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
    })
}

/// The file without its tests and without comments.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    text.lines()
        .filter(|l| !l.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn arrows_go_one_way() {
    let rank = |name: &str| ORDER.iter().position(|m| *m == name);
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(own) = rank(&module(&path)) else { continue };
        for part in code(&text).split("crate::").skip(1) {
            let name: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if rank(&name).is_some_and(|other| other > own) {
                wrong.push(format!("{} names crate::{name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn libraries_stay_in_their_rooms() {
    let rooms: [(&str, &[&str]); 4] = [
        ("egui", &["app"]),
        (
            "burn::",
            &[
                "model/net.rs",
                "model/conv_step.rs",
                "model/sparse_conv.rs",
                "train",
                "run/device.rs",
                "run/remote.rs",
                "cli/eval.rs",
                "infer/tests.rs",
            ],
        ),
        ("rfd::", &["app"]),
        ("unsafe ", &["kernel"]),
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let name = path.to_string_lossy().replace('\\', "/");
        for (word, allowed) in rooms {
            if code(&text).contains(word) && !allowed.iter().any(|a| name.starts_with(a)) && name != "main.rs" {
                wrong.push(format!("{name} names {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    for (path, text) in sources() {
        assert!(text.starts_with("//! "), "{} has no module docs", path.display());
    }
}

#[test]
fn colors_are_named_in_one_place() {
    for (path, text) in sources() {
        let name = path.to_string_lossy().into_owned();
        if name.starts_with("app") && !name.ends_with("theme.rs") {
            assert!(
                !code(&text).contains("Color32::from_"),
                "{name} makes a color of its own"
            );
        }
    }
}

#[test]
fn files_are_short_enough_to_be_one_thing() {
    let of_code = |(path, _): &(PathBuf, String)| !path.ends_with("tests.rs");
    for (path, text) in sources().into_iter().filter(of_code) {
        let lines = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or("")
            .lines()
            .count();
        assert!(lines <= 600, "{} has {lines} lines without its tests", path.display());
    }
}
