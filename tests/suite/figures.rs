//! Figures and reports: drawn from the story's views, and by the command line from run folders.

use crate::story;
use event::Stamped;
use plots::{Figure, Style, figure, png, report, svg, table};
use record::Experiment;
use record::folder::RunFolder;
use std::path::{Path, PathBuf};
use std::process::Command;
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
        assert!(image.len() > 2000, "{}", figure.name);
        let csv = table::csv(&figure);
        let heads = figure.panels.len() + (figure.panels.len() - 1);
        assert_eq!(csv.lines().count(), figure.points() + heads, "{}", figure.name);
        if let Some(folder) = &keep {
            std::fs::write(folder.join(format!("{}.png", figure.name)), image).expect("writes");
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
        .map(|(i, _)| &html[i..(i + 40).min(html.len())])
        .collect();
    assert!(
        links.iter().all(|l| l.starts_with("http://www.w3.org/2000/svg")),
        "{links:?}"
    );
    assert!(!html.contains("<script") && !html.contains("src="));
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
