//! A report: one HTML file with its figures and styles inside, that opens anywhere and asks nothing of the network.
//! Knows nothing of how figures are drawn.

use super::chart::Figure;
use super::figure;
use super::svg::{Style, svg};
use super::xml::escape;
use lab::RunStore;
use record::RunState;
use view::curves::{CurveOptions, Curves};
use view::frontier::{CostAxis, frontier};
use view::runs::HiddenRuns;
use view::search::{SearchChoice, TrialValue, search};
use view::{layers, network, residuals, saliency, text};

const STYLE: &str = "body{font:15px/1.5 Ubuntu,Helvetica,Arial,sans-serif;color:#1b2530;max-width:980px;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.6rem}h2{font-size:1.25rem;margin-top:2.2rem;border-bottom:1px solid #d9dfe5}h3{font-size:1rem}\
table{border-collapse:collapse;margin:.6rem 0}td,th{text-align:left;padding:.2rem .9rem .2rem 0;border-bottom:1px solid #e6eaee;vertical-align:top}\
th{font-weight:600}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}svg{max-width:100%;height:auto}\
figure{margin:1rem 0}figcaption,.weak{color:#5c6875;font-size:.88rem}pre{background:#edf0f3;padding:.8rem;overflow:auto;font-size:.82rem}";

/// All runs of a store beside each other, then each by itself.
pub fn html(store: &RunStore) -> String {
    let names: Vec<String> = store.runs.iter().map(RunState::title).collect();
    let title = format!("Secateur: {}", names.join(", "));
    let mut body = format!("<h1>{}</h1>\n", escape(&title));
    body += "<p class=\"weak\">MACs are multiply–accumulate operations per image. Accuracies are on validation images unless marked as \
             test; test images were read once, at the end of a run. Times were measured on the machine that ran it.</p>\n";
    body += &summary(store);
    let points = frontier(store, CostAxis::Macs, &HiddenRuns::new());
    if !points.series.is_empty() {
        body += &drawn(
            &figure::frontier(&points, &figure::RunColors::new()),
            80.0,
            &format!(
                "{} against MACs; dominated points are faint.",
                text::capital(points.quality())
            ),
        );
    }
    let options = CurveOptions::default();
    let curves = Curves::default().view(store, options, &HiddenRuns::new());
    if !curves.runs.is_empty() {
        let caption = format!("Training: loss and {}.", curves.quality());
        body += &drawn(
            &figure::curves(&curves, options.along, &figure::RunColors::new()),
            110.0,
            &caption,
        );
    }
    for run in &store.runs {
        body += &of_run(store, run);
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        escape(&title)
    )
}

fn drawn(figure: &Figure, height_mm: f64, caption: &str) -> String {
    let style = Style {
        width_mm: 170.0,
        height_mm,
        ..Style::default()
    };
    format!(
        "<figure>\n{}<figcaption>{}</figcaption>\n</figure>\n",
        svg(figure, &style),
        escape(caption)
    )
}

/// Rows of a table; numbers stand on the right.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let is_number = |cell: &str| cell.starts_with(|c: char| c.is_ascii_digit());
    let cells = |tag: &str, row: &mut dyn Iterator<Item = &str>| {
        let each = row.map(|cell| {
            let class = if is_number(cell) { " class=\"n\"" } else { "" };
            format!("<{tag}{class}>{}</{tag}>", escape(cell))
        });
        format!("<tr>{}</tr>\n", each.collect::<String>())
    };
    let mut out = String::from("<table>\n");
    if !head.is_empty() {
        out += &cells("th", &mut head.iter().copied());
    }
    for row in rows {
        out += &cells("td", &mut row.iter().map(String::as_str));
    }
    out + "</table>\n"
}

fn summary(store: &RunStore) -> String {
    let share = |top1: Option<f32>| top1.map_or_else(|| "–".into(), |t| text::percent(f64::from(t)));
    let of = |now: Option<u64>, before: Option<u64>| match (now, before) {
        (Some(now), Some(before)) => format!("{} of {}", text::count(now), text::count(before)),
        (Some(now), None) => text::count(now),
        _ => "–".into(),
    };
    let row = |run: &RunState| {
        let share = |top1: Option<f32>| match run.agreement {
            true => format!("{} agreement", share(top1)),
            false => share(top1),
        };
        let ending = run.ending.as_ref();
        vec![
            run.title(),
            run.experiment.method.kind().to_owned(),
            run.experiment.model.arch.clone(),
            run.experiment.seed.to_string(),
            run.status.to_string(),
            share(ending.and_then(|e| e.valid_top1)),
            share(ending.and_then(|e| e.test_top1)),
            of(
                ending.and_then(|e| e.macs),
                ending.and_then(|e| e.macs_dense).or(run.dense.map(|d| d.macs)),
            ),
            of(
                ending.and_then(|e| e.params),
                ending.and_then(|e| e.params_dense).or(run.dense.map(|d| d.params)),
            ),
            text::clock(run.elapsed_secs),
        ]
    };
    let rows: Vec<Vec<String>> = store.runs.iter().map(row).collect();
    let head = [
        "run",
        "method",
        "network",
        "seed",
        "state",
        "valid",
        "test",
        "MACs",
        "parameters",
        "time",
    ];
    table(&head, &rows)
}

fn of_run(store: &RunStore, run: &RunState) -> String {
    let mut out = format!("<h2>{}</h2>\n", escape(&run.title()));
    out += &format!("<p>{}</p>\n", escape(&run.experiment.about));
    for warning in &run.warnings {
        out += &format!("<p class=\"weak\">Warning: {}</p>\n", escape(warning));
    }
    if let Some(reason) = run.ending.as_ref().and_then(|e| e.reason.as_ref()) {
        out += &format!("<p>Reason: {}</p>\n", escape(reason));
    }
    out += &measured(run);
    for i in 0..run.searches.len() {
        let chosen = SearchChoice {
            run: Some(run.id),
            search: Some(i),
            trial: None,
        };
        let Some(view) = search(store, chosen, TrialValue::Top1) else {
            continue;
        };
        out += &format!("<h3>{}</h3>\n", escape(&format!("Search: {}", view.names[i])));
        for fact in &view.facts {
            out += &format!("<p class=\"weak\">{}</p>\n", escape(&fact.text));
        }
        out += &drawn(
            &figure::search(&view, TrialValue::Top1),
            100.0,
            "Trials, and the best so far.",
        );
        let rows = view.sites.iter().map(|s| {
            let share = |d: f32| format!("{:.2}", d);
            vec![s.label.clone(), s.choices.to_string(), share(s.best), s.tied.join(", ")]
        });
        out += &table(
            &["site", "choices", "best density", "tied to"],
            &rows.collect::<Vec<_>>(),
        );
    }
    if !run.residuals.is_empty() {
        let figure = figure::residuals(&residuals::of_run(run));
        out += &drawn(
            &figure,
            70.0,
            "ADMM: distance of the weights from their pruned targets.",
        );
    }
    if let Some(view) = network::of_run(store, run.id) {
        out += &drawn(
            &figure::network(&view),
            45.0,
            "The network: height by planes, width by channels, filled as far as they run.",
        );
    }
    if let Some((density, said)) = run.layers.last() {
        if let Some(view) = layers::of_run(run, *density) {
            out += &drawn(&figure::layers(&view), 90.0, &format!("Layers at density {density}."));
        }
        if let Some(view) = saliency::of_layers(said, 0) {
            out += &drawn(&figure::saliency(&view, false), 70.0, "Mean saliency of channels.");
        }
    }
    let settings = run.experiment.to_toml().unwrap_or_default();
    out + &format!("<h3>Settings</h3>\n<pre>{}</pre>\n", escape(&settings))
}

/// What was measured last, by density.
fn measured(run: &RunState) -> String {
    let last = run.epochs.iter().map(|e| e.epoch).max();
    let rows = run.epochs.iter().filter(|e| Some(e.epoch) == last).map(|e| {
        vec![
            e.split.name().to_owned(),
            e.density.to_string(),
            text::percent(f64::from(e.top1)),
            text::loss(e.loss),
            text::count(e.macs),
            text::grouped(e.n as u64),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    table(&["split", "density", "top-1", "loss", "MACs", "images"], &rows)
}
