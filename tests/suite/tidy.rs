//! What Cargo and the compiler cannot hold: no circle of files, one name for one type, views without clocks or files, docs at
//! every head. Which crate may use which is held by Cargo; where unsafe code may stand, by `forbid(unsafe_code)`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A file of a crate, without its tests and comments.
struct Source {
    /// From the crate's folder: `panels/log.rs`.
    path: String,
    /// `["panels", "log"]`; empty for `lib.rs`.
    module: Vec<String>,
    /// As it stands.
    text: String,
    /// Without tests and comments.
    code: String,
}

fn folders() -> Vec<String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut names: Vec<String> = fs::read_dir(src)
        .expect("folder")
        .map(|entry| entry.expect("entry"))
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

/// Every crate with its files.
fn crates() -> Vec<(String, Vec<Source>)> {
    fn walk(root: &Path, dir: &Path, out: &mut Vec<Source>) {
        let mut entries: Vec<_> = fs::read_dir(dir)
            .expect("folder")
            .map(|e| e.expect("entry").path())
            .collect();
        entries.sort();
        for path in entries {
            if path == root.join("tests") {
                continue;
            }
            if path.is_dir() {
                walk(root, &path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("text");
                let path = path
                    .strip_prefix(root)
                    .expect("inside")
                    .to_string_lossy()
                    .replace('\\', "/");
                let mut module: Vec<String> = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
                if module.last().is_some_and(|last| last == "mod" || last == "lib") {
                    module.pop();
                }
                let code = code(&text);
                out.push(Source {
                    path,
                    module,
                    text,
                    code,
                });
            }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = |name: &String| {
        let mut out = Vec::new();
        walk(&src.join(name), &src.join(name), &mut out);
        out
    };
    folders().iter().map(|name| (name.clone(), files(name))).collect()
}

fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let without_comment = |line: &str| line.split("//").next().unwrap_or("").to_owned();
    text.lines().map(without_comment).collect::<Vec<_>>().join("\n")
}

fn complain(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The paths that a `use` tree names: `a::{b, c::d}` gives `a::b` and `a::c::d`.
fn leaves(tree: &str, prefix: &[String], out: &mut Vec<Vec<String>>) {
    let segments = |text: &str| -> Vec<String> {
        let names = text.split("::").map(|s| s.split(" as ").next().unwrap_or("").trim());
        names
            .filter(|s| !s.is_empty() && *s != "self" && *s != "*")
            .map(str::to_owned)
            .collect()
    };
    let Some((head, rest)) = tree.split_once('{') else {
        out.push([prefix.to_vec(), segments(tree)].concat());
        return;
    };
    let prefix = [prefix.to_vec(), segments(head)].concat();
    let body = rest.rsplit_once('}').map_or(rest, |(body, _)| body);
    let (mut depth, mut begin) = (0, 0);
    for (at, c) in body.char_indices().chain([(body.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !body[begin..at].trim().is_empty() {
                    leaves(&body[begin..at], &prefix, out);
                }
                begin = at + 1;
            }
            _ => {}
        }
    }
}

/// What a file names of its own crate. `pub use` is how a crate shows what it holds, not a use of it: it comes apart.
struct Named {
    used: Vec<Vec<String>>,
    shown: Vec<Vec<String>>,
}

fn named(code: &str) -> Named {
    let mut named = Named {
        used: Vec::new(),
        shown: Vec::new(),
    };
    let mut rest = String::new();
    for statement in code.split_inclusive(';') {
        // A `use` ends its statement; before it may stand what ends in a brace.
        let start = statement.match_indices("use ").map(|(at, _)| at).find(|&at| {
            let before = statement[..at]
                .lines()
                .last()
                .filter(|_| !statement[..at].ends_with('\n'));
            before.is_none_or(|text| text.trim().is_empty() || text.trim_start().starts_with("pub"))
        });
        let Some(at) = start else {
            rest.push_str(statement);
            continue;
        };
        let tree = statement[at + 4..].trim_end_matches(';');
        let is_shown = statement[..at].ends_with("pub ") || statement[..at].ends_with("pub(crate) ");
        let to = if is_shown { &mut named.shown } else { &mut named.used };
        leaves(tree, &[], to);
        rest.push_str(&statement[..at]);
    }
    for word in rest.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
        if word.contains("::") {
            named
                .used
                .push(word.split("::").filter(|s| !s.is_empty()).map(str::to_owned).collect());
        }
    }
    named
}

/// A path as modules of the crate, if it is one of them.
fn inside(path: &[String], module: &[String], modules: &BTreeMap<Vec<String>, usize>) -> Option<Vec<String>> {
    let first = path.first()?;
    let (mut base, mut rest) = match first.as_str() {
        "crate" => (Vec::new(), &path[1..]),
        "super" => (module[..module.len().checked_sub(1)?].to_vec(), &path[1..]),
        _ if modules.contains_key(&[module, std::slice::from_ref(first)].concat()) => (module.to_vec(), path),
        _ => return None,
    };
    while rest.first().is_some_and(|s| s == "super") {
        base.pop()?;
        rest = &rest[1..];
    }
    Some([base, rest.to_vec()].concat())
}

/// The files that each file of a crate uses.
fn arrows(files: &[Source]) -> Vec<BTreeSet<usize>> {
    let modules: BTreeMap<Vec<String>, usize> = files.iter().enumerate().map(|(i, f)| (f.module.clone(), i)).collect();
    let named: Vec<Named> = files.iter().map(|f| named(&f.code)).collect();
    let file_of = |path: &[String]| {
        (0..=path.len())
            .rev()
            .find_map(|n| Some((n, *modules.get(&path[..n])?)))
    };
    // Where an item that a module shows comes from.
    let shown_by = |file: usize, item: &String| {
        let paths = named[file].shown.iter().filter(|p| p.last() == Some(item));
        let mut homes = paths.filter_map(|p| inside(p, &files[file].module, &modules));
        homes.find_map(|p| file_of(&p[..p.len() - 1]).map(|(_, home)| home))
    };
    let home = |path: &[String]| {
        let (n, file) = file_of(path)?;
        Some(path.get(n).and_then(|item| shown_by(file, item)).unwrap_or(file))
    };
    let of = |(i, names): (usize, &Named)| {
        let paths = names.used.iter().filter_map(|p| inside(p, &files[i].module, &modules));
        paths.filter_map(|p| home(&p)).filter(|&to| to != i).collect()
    };
    named.iter().enumerate().map(of).collect()
}

#[test]
fn no_file_uses_a_file_that_uses_it() {
    let mut wrong = Vec::new();
    for (name, files) in crates() {
        let arrows = arrows(&files);
        // Files that use nothing that is left, or that nothing left uses, are taken away: what remains are circles and what
        // lies between them.
        let mut left: BTreeSet<usize> = (0..files.len()).collect();
        let is_free = |i: usize, left: &BTreeSet<usize>| {
            arrows[i].is_disjoint(left) || left.iter().all(|&j| !arrows[j].contains(&i))
        };
        while let Some(&free) = left.iter().find(|&&i| is_free(i, &left)) {
            left.remove(&free);
        }
        for &i in &left {
            let uses: Vec<&str> = arrows[i].intersection(&left).map(|&j| files[j].path.as_str()).collect();
            wrong.push(format!("{name}/{} uses {}", files[i].path, uses.join(", ")));
        }
    }
    complain(&wrong);
}

#[test]
fn circles_are_seen() {
    let file = |path: &str, text: &str| Source {
        path: path.into(),
        module: if path == "lib" { vec![] } else { vec![path.into()] },
        text: text.into(),
        code: code(text),
    };
    let files = [
        file("lib", "//! Docs.\nmod a;\nmod b;\npub use b::{Shown, other};\n"),
        file("a", "use crate::{Shown, c};\nfn f() { crate::lone(); }\n"),
        file(
            "b",
            "// use super::c;\nuse super::a::{self, x::Y};\npub struct Shown;\n",
        ),
    ];
    let arrows = arrows(&files);
    assert_eq!(arrows[0], BTreeSet::new(), "showing is not using");
    assert_eq!(arrows[1], BTreeSet::from([0, 2]), "through what lib.rs shows");
    assert_eq!(arrows[2], BTreeSet::from([1]));
}

#[test]
fn a_type_has_a_name_of_its_own_in_its_crate() {
    let mut wrong = Vec::new();
    for (name, files) in crates() {
        let mut homes: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for file in &files {
            for line in file.code.lines() {
                let indent = line.len() - line.trim_start().len();
                let line = line.trim_start();
                let line = line
                    .strip_prefix("pub ")
                    .or(line.strip_prefix("pub(crate) "))
                    .unwrap_or(line);
                let line = line.strip_prefix("unsafe ").unwrap_or(line);
                let Some((kind, rest)) = line.split_once(' ') else {
                    continue;
                };
                if ["struct", "enum", "trait", "union", "type"].contains(&kind) {
                    let end = rest
                        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
                        .unwrap_or(rest.len());
                    // An indented `type` belongs to a trait, and has the trait's name for it; in a macro there is no name.
                    if end > 0 && (kind != "type" || indent == 0) {
                        homes.entry(rest[..end].to_owned()).or_default().push(file.path.clone());
                    }
                }
            }
        }
        for (item, files) in homes.into_iter().filter(|(_, files)| files.len() > 1) {
            wrong.push(format!("{name}: {item} in {}", files.join(", ")));
        }
    }
    complain(&wrong);
}

#[test]
fn no_view_reads_a_clock_or_a_file() {
    let reads = [
        "std::time",
        "Instant",
        "SystemTime",
        "jiff",
        "std::fs",
        "File::",
        "std::env",
        "std::io",
        "std::process",
        "std::thread",
        ".exists()",
        ".is_file()",
        ".is_dir()",
        ".metadata()",
        ".read_dir()",
    ];
    let mut wrong = Vec::new();
    for (_, files) in crates().into_iter().filter(|(name, _)| name == "view") {
        for file in files {
            let found = reads.iter().filter(|word| file.code.contains(**word));
            wrong.extend(found.map(|word| format!("view/{} names {word}", file.path)));
        }
    }
    complain(&wrong);
}

#[test]
fn every_file_says_what_it_is() {
    let mut wrong = Vec::new();
    for (name, files) in crates() {
        for file in files {
            let first = file.text.lines().next().unwrap_or("");
            if !first.starts_with("//! ") {
                wrong.push(format!("{name}/{} begins without docs", file.path));
            }
        }
    }
    complain(&wrong);
}

#[test]
fn a_lib_shows_what_its_files_hold_and_holds_nothing_itself() {
    let mut wrong = Vec::new();
    for (name, files) in crates() {
        let lib = files.iter().find(|f| f.path == "lib.rs").expect("lib.rs");
        if name != "kernel" && !lib.text.contains("#![forbid(unsafe_code)]") {
            wrong.push(format!("{name} does not forbid unsafe code"));
        }
        let holds = ["fn ", "struct ", "enum ", "trait ", "impl ", "const ", "static "];
        // A crate of one file is that file.
        for line in lib.code.lines().filter(|_| files.len() > 1) {
            let item = line
                .strip_prefix("pub ")
                .or(line.strip_prefix("pub(crate) "))
                .unwrap_or(line);
            if holds.iter().any(|word| item.starts_with(word)) {
                wrong.push(format!("{name}/lib.rs holds {line}"));
            }
        }
    }
    complain(&wrong);
}

#[test]
fn colors_are_named_in_one_place() {
    let mut wrong = Vec::new();
    for (_, files) in crates().into_iter().filter(|(name, _)| name == "app") {
        let makes = |f: &&Source| f.path != "theme.rs" && f.code.contains("Color32::from_");
        wrong.extend(
            files
                .iter()
                .filter(makes)
                .map(|f| format!("app/{} makes a color of its own", f.path)),
        );
    }
    complain(&wrong);
}

#[test]
fn files_are_short_enough_to_be_one_thing() {
    let mut wrong = Vec::new();
    for (name, files) in crates() {
        let long = files
            .iter()
            .map(|f| (f, f.code.lines().count()))
            .filter(|(_, lines)| *lines > 600);
        wrong.extend(long.map(|(f, lines)| format!("{name}/{} has {lines} lines without its tests", f.path)));
    }
    complain(&wrong);
}

/// The headings of a page as links name them.
fn anchors(text: &str) -> BTreeSet<String> {
    let is_kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let titles = headings.map(|line| line.trim_start_matches('#').trim_start().to_lowercase());
    titles
        .map(|title| title.chars().filter(is_kept).collect::<String>().replace(' ', "-"))
        .collect()
}

#[test]
fn every_file_and_heading_that_a_page_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wrong = Vec::new();
    for page in ["README.md", "CONTRIBUTING.md", "presets/README.md", "CHANGELOG.md"] {
        let text = fs::read_to_string(root.join(page)).expect("text");
        // A line may end within a link.
        let flat = text.replace('\n', " ");
        let folder = root.join(page).parent().expect("a folder").to_path_buf();
        for target in flat.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            if file.contains("://") {
                continue;
            }
            let file = if file.is_empty() {
                root.join(page)
            } else {
                folder.join(file)
            };
            let has_heading = || fs::read_to_string(&file).is_ok_and(|text| anchors(&text).contains(heading));
            if !file.exists() || !(heading.is_empty() || has_heading()) {
                wrong.push(format!("{page} links to {target}"));
            }
        }
        let in_code = text.split('`').skip(1).step_by(2).flat_map(str::split_whitespace);
        let is_ours = |word: &&str| {
            let starts = ["src/", "tests/", "assets/", "presets/", "screenshots/", ".ci/"];
            let is_a_place = |c: char| c.is_uppercase() || c == '*' || c == '…';
            starts.iter().any(|start| word.starts_with(start)) && !word.contains(is_a_place)
        };
        let paths = in_code
            .map(|word| word.trim_matches(['.', ',', ';', '"']))
            .filter(is_ours);
        wrong.extend(
            paths
                .filter(|path| !root.join(path).exists())
                .map(|path| format!("{page} names {path}")),
        );
    }
    complain(&wrong);
}
