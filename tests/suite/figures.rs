//! Figures and reports: drawn from the story's views, and by the command line from run folders.

use crate::story;
use event::{Event, Stamped};
use lab::RunStore;
use plots::{Figure, Style, figure, png, report, svg, table};
use record::folder::RunFolder;
use record::{Experiment, RunId, RunState};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use view::curves::{CurveAxis, CurveOptions, Curves};
use view::frontier::{CostAxis, frontier};
use view::runs::HiddenRuns;
use view::search::{SearchChoice, TrialValue, search};
use view::{layers, parallel, residuals, saliency};

/// Every figure of the story.
fn figures() -> Vec<Figure> {
    let store = story::searched();
    let asked = measure::probe::uniform(8, story::density(50));
    let options = CurveOptions {
        smoothing: 0.6,
        ..CurveOptions::default()
    };
    let chosen = SearchChoice::default();
    vec![
        figure::frontier(
            &frontier(&store, CostAxis::Macs, &HiddenRuns::new()),
            &figure::RunColors::new(),
        ),
        figure::curves(
            &Curves::default().view(&store, options, &HiddenRuns::new()),
            CurveAxis::Steps,
            &figure::RunColors::new(),
        ),
        figure::layers(&layers::layers(&store, &asked).expect("open")),
        figure::saliency(
            &saliency::saliency(&store, saliency::SaliencyScope::All).expect("measured"),
            false,
        ),
        figure::search(
            &search(&store, chosen, TrialValue::Top1).expect("searches"),
            TrialValue::Top1,
        ),
        figure::parallel(&parallel::parallel(&store, chosen).expect("searches")),
        figure::residuals(&residuals::residuals(&store, chosen).expect("said")),
    ]
}

#[test]
fn every_figure_can_be_drawn_and_its_table_has_a_line_a_point() {
    let keep = std::env::var_os("KEEP_FIGURES").map(PathBuf::from);
    for figure in figures() {
        let style = Style {
            dpi: 150.0,
            ..Style::default()
        };
        let drawn = svg::svg(&figure, &style);
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{}", figure.name);
        let image = png::png(&drawn, &style).expect("draws");
        assert!(image.bytes.len() > 2000, "{}", figure.name);
        let csv = table::csv(&figure);
        let heads = figure.panels.len() + (figure.panels.len() - 1);
        assert_eq!(csv.lines().count(), figure.points() + heads, "{}", figure.name);
        if let Some(folder) = &keep {
            std::fs::write(folder.join(format!("{}.png", figure.name)), image.bytes).expect("writes");
            std::fs::write(folder.join(format!("{}.svg", figure.name)), drawn).expect("writes");
        }
    }
}

#[test]
fn a_figure_is_as_large_as_was_asked_for_whatever_its_resolution() {
    let style = Style {
        width_mm: 84.0,
        height_mm: 50.0,
        ..Style::default()
    };
    let drawn = svg::svg(&figures()[0], &style);
    assert!(drawn.contains(r#"width="84mm" height="50mm""#), "{}", &drawn[..200]);
    let at = |dpi| png::pixels(&drawn, &Style { dpi, ..style }).expect("draws").size;
    assert_eq!((at(100.0), at(300.0)), ([331, 197], [992, 591]));
}

/// Curves of a run with these steps, and this name.
fn curves_of(name: &str, steps: impl Iterator<Item = (u64, f32)>) -> Figure {
    let experiment = Experiment::load("smoke", &[]).expect("preset");
    let mut store = RunStore::default();
    for i in 0..40 {
        let mut run = RunState::new(RunId(i), Arc::new(experiment.clone()));
        run.called = Some(format!("{name} {}", "m".repeat(i as usize * 3)));
        store.runs.push(run);
    }
    for (seq, (step, loss)) in steps.enumerate() {
        let (seq, top1) = (seq as u64, if step > 100 { 1.0 } else { 0.9 });
        let event = Event::Step {
            step,
            loss,
            top1,
            lr: 0.1,
        };
        store.runs.iter_mut().for_each(|run| {
            run.apply(&Stamped {
                seq,
                at: seq as f64,
                event: event.clone(),
            });
        });
    }
    let view = Curves::default().view(&store, CurveOptions::default(), &HiddenRuns::new());
    figure::curves(&view, CurveAxis::Steps, &figure::RunColors::new())
}

#[test]
fn nothing_of_a_figure_lies_beyond_its_edges() {
    let keep = std::env::var_os("KEEP_FIGURES").map(PathBuf::from);
    let wide = [(0, 2.5), (10_000_000, 0.1)];
    let huge = [(0, 2.5), (50, 3.4e38), (100, 1e30), (150, f32::NAN), (200, 2.0)];
    let cases = [
        ("wide", curves_of("plain", wide.into_iter())),
        ("huge", curves_of("Wwwww </text> 実験 🚀 \u{1b}[31m", huge.into_iter())),
        ("one", curves_of("x", [(1, 1.0)].into_iter())),
    ];
    for (case, figure) in cases {
        for (width_mm, font_pt) in [(84.0, 8.0), (120.0, 8.0), (60.0, 11.0)] {
            let style = Style {
                width_mm,
                height_mm: 90.0,
                font_pt,
                dpi: 100.0,
                ..Style::default()
            };
            let drawn = svg::svg(&figure, &style);
            assert!(!drawn.contains("NaN") && !drawn.contains("inf\""), "{case}");
            // Fonts differ: none of this page's text reaches its last column.
            let image = png::pixels(&drawn, &style).expect("draws");
            let [w, h] = image.size;
            let inked = |x: usize| (0..h).any(|y| image.rgba[(y * w + x) * 4] < 200);
            assert!(!inked(w - 1) && !inked(0), "{case} at {width_mm} mm");
            let longest = drawn
                .split("</text>")
                .filter_map(|t| t.rsplit('>').next())
                .map(str::len)
                .max();
            assert!(longest.is_some_and(|n| n < 160), "{case}: {longest:?}");
            if let Some(folder) = &keep {
                let file = png::png(&drawn, &style).expect("draws");
                std::fs::write(folder.join(format!("{case}-{width_mm}.png")), file.bytes).expect("writes");
            }
        }
    }
    // Accuracy ends at 100 %.
    let drawn = svg::svg(&curves_of("x", [(0, 1.0), (200, 1.0)].into_iter()), &Style::default());
    assert!(
        drawn.contains(">100</text>") && !drawn.contains(">102</text>"),
        "{drawn}"
    );
}

#[test]
fn a_table_has_every_step_unless_it_is_thinned_and_says_so() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut folder = RunFolder::create(dir.path(), &Experiment::load("smoke", &[]).expect("preset")).expect("creates");
    let steps = 20_000;
    for seq in 0..steps {
        let event = Event::Step {
            step: seq + 1,
            loss: (seq % 97) as f32,
            top1: 0.5,
            lr: 0.1,
        };
        folder.append(&Stamped { seq, at: 0.0, event }).expect("writes");
    }
    let name = folder.name();
    let to = dir.path().join("c.csv");
    let csv = |more: &[&str]| {
        let args = ["figure", &name, "--plot", "curves", "--to", &to.to_string_lossy()].map(str::to_owned);
        let args: Vec<&str> = args.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let (code, _, err) = secateur(&args, dir.path());
        assert_eq!(code, 0, "{err}");
        std::fs::read_to_string(&to).expect("written")
    };
    let all = csv(&[]);
    assert_eq!(all.matches("\nrun 1 smoke,").count(), steps as usize);
    assert_eq!(all.matches("\n\"run 1 smoke, train\",").count(), steps as usize);
    assert!(!all.contains("thinned"));
    let few = csv(&["--thin", "400"]);
    let rows = few.matches("\nrun 1 smoke,").count();
    assert!((200..=401).contains(&rows) && few.contains(",thinned: "), "{rows}");
}

/// Names of all elements of an HTML or SVG text, and of their attributes.
fn markup(html: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for tag in html.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("a tag ends");
        // Attributes' values stand in quotes.
        for (i, part) in tag.split('"').step_by(2).enumerate() {
            let words = part.split_whitespace();
            out.extend(
                words
                    .map(|w| w.trim_matches(['/', '=', '!']).to_lowercase())
                    .skip(usize::from(i > 0 && part.is_empty())),
            );
        }
    }
    out.remove("");
    out
}

#[test]
fn hostile_names_stay_text_in_a_report() {
    let plain = markup(&report::html(&story::searched()));
    let mut store = story::searched();
    let hostile = "\"><script>alert(1)</script><img src=x onerror=alert(1)>' onload='x </style></title></svg>&lt;\u{0}\u{1b}\u{202e}";
    for run in &mut store.runs {
        run.called = Some(hostile.into());
        run.warnings.push(hostile.into());
        let mut experiment = (*run.experiment).clone();
        experiment.about = hostile.into();
        experiment.data.source = hostile.into();
        run.experiment = Arc::new(experiment);
        if let Some(ending) = &mut run.ending {
            ending.reason = Some(hostile.into());
        }
        for (_, layers) in &mut run.layers {
            let named = layers.iter().cloned().map(|mut layer| {
                layer.name = hostile.into();
                layer
            });
            *layers = named.collect();
        }
    }
    let html = report::html(&store);
    assert!(html.contains("&lt;script&gt;") && !html.contains("<script"));
    assert!(!html.contains(['\u{0}', '\u{202e}']));
    // Titles of shortened text are all that such names may add.
    let added: Vec<String> = markup(&html)
        .difference(&plain)
        .filter(|w| *w != "title")
        .cloned()
        .collect();
    assert_eq!(added, [""; 0]);
}

#[test]
fn a_report_is_one_file_that_asks_nothing_of_the_network() {
    let html = report::html(&story::searched());
    for words in [
        "run 1 smoke",
        "run 3 autocompress",
        "Search: round 1",
        "<svg",
        "[train]",
        "test",
    ] {
        assert!(html.contains(words), "{words}");
    }
    let links: Vec<&str> = html
        .match_indices("http")
        .filter(|(i, _)| !html[*i..].starts_with("http-equiv"))
        .map(|(i, _)| &html[i..(i + 40).min(html.len())])
        .collect();
    assert!(
        links.iter().all(|l| l.starts_with("http://www.w3.org/2000/svg")),
        "{links:?}"
    );
    assert!(!html.contains("<script") && !html.contains("src="));
    // Even if some did: a browser runs nothing and loads nothing.
    assert!(html.contains("default-src 'none'"));
    assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
}

/// A run folder with the story's third run in it.
fn folder(runs: &Path) -> String {
    let experiment = Experiment::load("smoke", &[]).expect("preset");
    let mut folder = RunFolder::create(runs, &experiment).expect("creates");
    let said = [story::events(80), story::searching(30), vec![story::finished()]].concat();
    for (seq, event) in said.into_iter().enumerate() {
        folder
            .append(&Stamped {
                seq: seq as u64,
                at: seq as f64,
                event,
            })
            .expect("writes");
    }
    folder.name()
}

/// Exit code, the last line of standard output as JSON, standard error.
fn secateur(args: &[&str], runs: &Path) -> (i32, serde_json::Value, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_secateur"))
        .args(args)
        .arg("--runs")
        .arg(runs)
        .output()
        .expect("runs");
    let stdout = String::from_utf8_lossy(&out.stdout);
    let fact = stdout.lines().last().and_then(|l| serde_json::from_str(l).ok());
    (
        out.status.code().unwrap_or(-1),
        fact.unwrap_or_default(),
        String::from_utf8_lossy(&out.stderr).into_owned(),
    )
}

#[test]
fn the_command_line_draws_from_a_run_folder_by_path_or_name() {
    let dir = tempfile::tempdir().expect("temp dir");
    let name = folder(dir.path());
    let path = dir.path().join(&name);
    let path = path.to_string_lossy();
    for (plot, kind, run) in [
        ("frontier", "svg", name.as_str()),
        ("frontier", "png", &path),
        ("curves", "csv", &name),
        ("search", "svg", &path),
        ("layers", "svg", &name),
    ] {
        let to = dir.path().join(format!("{plot}.{kind}"));
        let to = to.to_string_lossy();
        let (code, fact, err) = secateur(&["figure", run, "--plot", plot, "--to", &to, "--json"], dir.path());
        assert_eq!(code, 0, "{plot} {kind}: {err}");
        assert_eq!(fact["file"], to.as_ref());
        assert!(fact["points"].as_u64().is_some_and(|n| n > 5), "{fact}");
        let written = std::fs::metadata(to.as_ref()).expect("written");
        assert!(written.len() > 200);
    }
    let to = dir.path().join("named.csv");
    let csv = to.to_string_lossy();
    let named = ["figure", &name, "--plot", "frontier", "--names", "ours", "--to", &csv];
    let (code, _, err) = secateur(&named, dir.path());
    let all = std::fs::read_to_string(&to).expect("written");
    assert!(
        code == 0 && all.contains("\nours,") && all.contains("trial 0;") && !all.contains("run 1"),
        "{err}\n{all}"
    );
    let (code, _, err) = secateur(&[&named[..], &["--no-trials"]].concat(), dir.path());
    let models = std::fs::read_to_string(&to).expect("written");
    assert!(
        code == 0 && models.lines().count() < all.lines().count(),
        "{err}\n{models}"
    );
    assert!(
        all.starts_with("series") && models.lines().all(|l| all.contains(l)),
        "{models}"
    );
    let to = dir.path().join("r.html");
    let (code, fact, err) = secateur(&["report", &name, "--to", &to.to_string_lossy(), "--json"], dir.path());
    assert_eq!((code, &fact["runs"]), (0, &serde_json::json!(1)), "{err}");
}

#[test]
fn what_cannot_be_drawn_is_bad_input_and_says_why() {
    let dir = tempfile::tempdir().expect("temp dir");
    let name = folder(dir.path());
    let to = |file: &str| dir.path().join(file).to_string_lossy().into_owned();
    let cases = [
        (
            vec!["figure", "gone", "--plot", "curves", "--to"],
            to("a.svg"),
            "no run folder gone",
        ),
        (
            vec!["figure", &name, "--plot", "curves", "--to"],
            to("a.gif"),
            ".svg, .png or .csv",
        ),
        (
            vec!["figure", &name, "--plot", "saliency", "--to"],
            to("a.svg"),
            "measured no layers",
        ),
        (
            vec!["figure", &name, "--plot", "curves", "--names", "a,b", "--to"],
            to("a.svg"),
            "expected one for each of 1 runs",
        ),
        (vec!["report", &name, "--to"], to("a.txt"), ".html"),
    ];
    for (mut args, file, expected) in cases {
        args.push(&file);
        let (code, _, err) = secateur(&args, dir.path());
        assert!(
            code == 2 && err.contains(expected) && err.lines().count() == 1,
            "{code} {err}"
        );
        assert!(!Path::new(&file).exists());
    }
}
