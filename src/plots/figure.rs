//! Figures from views: what the panels show, on paper.
//! Knows nothing of drawing.

use super::chart::{Chart, ChartAxis, DataPoint, Figure, Rule, Series, SeriesKind};
use super::colors::Color;
use event::Verdict;
use record::RunId;
use std::collections::BTreeMap;
use view::curves::{CurveAxis, CurvesView};
use view::frontier::{CostAxis, FrontierPoint, FrontierSeries, FrontierView, PointSource, SeriesKind as FrontierKind};
use view::network::Slab;
use view::parallel::ParallelView;
use view::residuals::ResidualsView;
use view::search::{SearchView, TrialValue};
use view::tournament::TournamentRow;
use view::volume::VolumeView;
use view::{LayersView, NetworkView, SaliencyView, TimesView, TournamentView};

/// An axis of shares in percent.
fn percent(label: &str) -> ChartAxis {
    ChartAxis::new(label).within([0.0, 100.0])
}

fn one(name: &str, chart: Chart) -> Figure {
    Figure {
        name: name.to_owned(),
        panels: vec![chart],
    }
}

/// Places in the palette that somebody chose for runs.
pub type RunColors = BTreeMap<RunId, usize>;

/// A run's color: the open model has the first.
fn color(colors: &RunColors, run: Option<RunId>) -> Color {
    Color::Series(run.map_or(0, |r| colors.get(&r).copied().unwrap_or(r.0 as usize + 1)))
}

/// Accuracy against cost; non-dominated points joined, the others faint, what is measured now as a dark diamond.
pub fn frontier(view: &FrontierView, colors: &RunColors) -> Figure {
    let (each, label) = match view.against {
        CostAxis::Macs => (1e6, "million MACs per image"),
        CostAxis::Params => (1e3, "thousand parameters"),
        CostAxis::Millis => (1.0, "ms per image"),
    };
    let point = |p: &FrontierPoint| {
        let what = match &p.source {
            PointSource::Recorded(d) | PointSource::Epoch(_, d) => format!("density {d}"),
            PointSource::Measured(q) => view::cuts::asked(q),
            PointSource::Trial(_, _, n) => format!("trial {n}"),
        };
        let error = p.spread.map(|sd| sd * 100.0);
        DataPoint {
            error,
            ..DataPoint::at(p.x / each, p.top1 * 100.0).noted(format!("{what}; {} images", p.n))
        }
    };
    let part = |s: &FrontierSeries, beaten: bool| -> Vec<DataPoint> {
        let of_part = s.points.iter().filter(|p| p.is_beaten == beaten);
        of_part.map(point).collect()
    };
    let mut series = Vec::new();
    for s in &view.series {
        let shade = match s.kind {
            FrontierKind::Recorded => Color::Weak,
            FrontierKind::Cut => Color::Series(2),
            FrontierKind::Measured | FrontierKind::Run => color(colors, s.run),
        };
        let new = |kind| Series::new(&s.label, shade, kind).marked(s.mark);
        let beaten = part(s, true);
        if !beaten.is_empty() {
            series.push(new(SeriesKind::Marks).faint().with(beaten));
        }
        series.push(new(SeriesKind::LineAndMarks).with(part(s, false)));
    }
    if let Some(now) = &view.now {
        let now = DataPoint {
            error: Some((now.interval[1] - now.interval[0]) * 50.0),
            ..DataPoint::at(now.x / each, now.top1 * 100.0)
        };
        let now = now.noted("95 % interval");
        series.push(
            Series::new("measured now", Color::Text, SeriesKind::Marks)
                .marked(3)
                .with([now]),
        );
    }
    let dense = view.dense.map(|at| Rule {
        name: "dense".into(),
        is_level: false,
        at: at / each,
    });
    let chart = Chart {
        x: ChartAxis::new(label).including(&[0.0]),
        y: percent(&format!("{}, %", view.quality())),
        series,
        rules: dense.into_iter().collect(),
        strip: None,
    };
    one("frontier", chart)
}

/// Loss above accuracy.
pub fn curves(view: &CurvesView, along: CurveAxis, colors: &RunColors) -> Figure {
    let below = match along {
        CurveAxis::Steps => "training step",
        CurveAxis::Epochs => "epoch",
        CurveAxis::Seconds => "seconds",
    };
    let line = |name: &str, run: &view::curves::RunCurves, points: &[[f64; 2]], scale: f64| {
        let mut points: Vec<DataPoint> = points.iter().map(|[x, y]| DataPoint::at(*x, y * scale)).collect();
        if let (true, Some(first)) = (run.is_thinned, points.first_mut()) {
            first.note = "thinned: of neighboring steps only the smallest and the largest value".into();
        }
        Series::new(name, color(colors, Some(run.id)), SeriesKind::Line).with(points)
    };
    let both = |out: &mut Vec<Series>, name: &str, run, curve: &view::curves::Curve, scale| {
        if curve.smooth.is_empty() {
            out.push(line(name, run, &curve.raw, scale));
        } else {
            out.push(line("", run, &curve.raw, scale).faint());
            out.push(line(name, run, &curve.smooth, scale));
        }
    };
    let (mut loss, mut top1) = (Vec::new(), Vec::new());
    for run in &view.runs {
        both(&mut loss, &run.label, run, &run.loss, 1.0);
        both(&mut top1, &format!("{}, train", run.label), run, &run.top1, 100.0);
        for (i, valid) in run.valid.iter().enumerate() {
            let name = format!("{}, valid at {}", run.label, valid.density);
            let points = valid.points.iter().map(|[x, y]| DataPoint::at(*x, y * 100.0));
            let marks = Series::new(name, color(colors, Some(run.id)), SeriesKind::Marks);
            top1.push(marks.marked([0, 3, 4][i % 3]).with(points));
        }
    }
    let chart = |y, series| Chart {
        x: ChartAxis::new(below).including(&[0.0]),
        y,
        series,
        rules: Vec::new(),
        strip: None,
    };
    let loss = chart(ChartAxis::new("loss").including(&[0.0]), loss);
    Figure {
        name: "curves".into(),
        panels: vec![loss, chart(percent(&format!("{}, %", view.quality())), top1)],
    }
}

/// Share of channels that run above MACs, layer by layer.
pub fn layers(view: &LayersView) -> Figure {
    let names: Vec<String> = view.rows.iter().map(|r| r.name.clone()).collect();
    let bars = |name: &str, color, of: &dyn Fn(usize) -> f64| {
        Series::new(name, color, SeriesKind::Bars).with((0..view.rows.len()).map(|i| DataPoint::at(i as f64, of(i))))
    };
    let kept = bars("active channels", Color::Series(0), &|i| view.rows[i].kept * 100.0);
    let chart = |y: ChartAxis, series| Chart {
        x: ChartAxis::of_names("layer", names.clone()),
        y: y.including(&[0.0]),
        series,
        rules: Vec::new(),
        strip: None,
    };
    let mut panels = vec![chart(percent("active channels, %"), vec![kept])];
    if view.rows.iter().all(|r| r.macs.is_some()) {
        let macs = |i: usize| view.rows[i].macs.unwrap_or(0) as f64 / 1e6;
        let dense = |i: usize| view.rows[i].macs_dense as f64 / 1e6;
        panels.push(chart(
            ChartAxis::new("million MACs"),
            vec![
                bars("dense", Color::Weak, &dense),
                bars("active", Color::Series(2), &macs),
            ],
        ));
    }
    Figure {
        name: "layers".into(),
        panels,
    }
}

/// The strip of a network: its slabs as they stand in the window, with channels and MACs as data.
pub fn network(view: &NetworkView) -> Figure {
    let names: Vec<String> = view.slabs.iter().map(|s| s.name.clone()).collect();
    let bars = |name: &str, color, of: &dyn Fn(&Slab) -> f64| {
        let points = view
            .slabs
            .iter()
            .enumerate()
            .map(|(i, s)| DataPoint::at(i as f64, of(s)));
        Series::new(name, color, SeriesKind::Bars).with(points)
    };
    let chart = Chart {
        x: ChartAxis::of_names("layer", names),
        y: ChartAxis::new("channels, and MACs per image"),
        series: vec![
            bars("channels that run", Color::Series(0), &|s| s.running),
            bars("channels", Color::Weak, &|s| s.channels as f64),
            bars("MACs", Color::Series(2), &|s| s.macs[0] as f64),
            bars("MACs with every channel", Color::Weak, &|s| s.macs[1] as f64),
        ],
        rules: Vec::new(),
        strip: Some(view.clone()),
    };
    one("network", chart)
}

/// Layers by channels; each row stretched over the full width.
pub fn saliency(view: &SaliencyView, how_often: bool) -> Figure {
    let names: Vec<String> = view.rows.iter().map(|r| r.name.clone()).collect();
    let widest = view.rows.iter().map(|r| r.saliency.len()).max().unwrap_or(1);
    let row = |(y, row): (usize, &view::saliency::SaliencyRow)| {
        let values = if how_often { &row.active } else { &row.saliency };
        let cells = values.iter().enumerate().map(|(x, &v)| DataPoint {
            value: f64::from(v),
            ..DataPoint::at(x as f64, y as f64)
        });
        Series::new(&row.name, Color::Heat(1.0), SeriesKind::Cells).with(cells)
    };
    let label = if how_often {
        "channel; dark: always active"
    } else {
        "channel; dark: the layer's most salient"
    };
    let chart = Chart {
        x: ChartAxis::of_names(label, vec![String::new(); widest]),
        y: ChartAxis::of_names("", names).downward(),
        series: view.rows.iter().enumerate().map(row).collect(),
        rules: Vec::new(),
        strip: None,
    };
    one("saliency", chart)
}

/// Trials with the best so far, above temperature where there is one.
pub fn search(view: &SearchView, height: TrialValue) -> Figure {
    let (axis, scale) = match height {
        TrialValue::Top1 => (percent(&format!("{}, %", view.quality)), 100.0),
        TrialValue::Reward => (ChartAxis::new("reward"), 1.0),
    };
    let marks = |verdict, name: &str, color, mark| {
        let of_kind = view.marks.iter().filter(|m| m.verdict == verdict);
        Series::new(name, color, SeriesKind::Marks)
            .marked(mark)
            .with(of_kind.map(|m| DataPoint::at(m.number as f64, m.value * scale)))
    };
    let best = view.best_so_far.iter().map(|[x, y]| DataPoint::at(*x, y * scale));
    let line = |name: &str, points: &[[f64; 2]]| {
        Series::new(name, Color::Series(0), SeriesKind::Line).with(points.iter().map(|[x, y]| DataPoint::at(*x, *y)))
    };
    let chart = |y, series| Chart {
        x: ChartAxis::new("trial").including(&[0.0, view.trials[1] as f64]),
        y,
        series,
        strip: None,
        rules: view
            .steered
            .iter()
            .filter(|asked| !asked.is_refused)
            .map(|asked| Rule {
                name: asked.text.clone(),
                is_level: false,
                at: asked.after as f64 - 0.5,
            })
            .collect(),
    };
    let trials = vec![
        marks(Verdict::Rejected, "rejected", Color::Weak, 0).faint(),
        marks(Verdict::Accepted, "accepted", Color::Series(1), 0),
        Series::new("best so far", Color::Series(0), SeriesKind::Line).with(best),
        marks(Verdict::Best, "best", Color::Series(0), 3),
    ];
    let mut panels = vec![chart(axis, trials)];
    if view.temperature.iter().any(|t| t[1] > 0.0) {
        let series = vec![line("temperature", &view.temperature)];
        panels.push(chart(ChartAxis::new("temperature").including(&[0.0]), series));
    }
    Figure {
        name: "search".into(),
        panels,
    }
}

/// Trials as lines over sites; the darker the better.
pub fn parallel(view: &ParallelView) -> Figure {
    let line = |l: &view::parallel::ParallelLine| {
        let points = l.densities.iter().enumerate();
        let points = points.map(|(i, &d)| DataPoint::at(i as f64, f64::from(d)).noted(format!("trial {}", l.number)));
        let color = if l.is_best {
            Color::Series(1)
        } else {
            Color::Heat(0.25 + 0.75 * l.rank)
        };
        let series = Series::new(if l.is_best { "best" } else { "" }, color, SeriesKind::Line).with(points);
        if l.is_best { series } else { series.faint() }
    };
    let chart = Chart {
        x: ChartAxis::of_names("site", view.sites.clone()),
        y: ChartAxis::new("density").including(&[0.0, 1.0]).within([0.0, 1.0]),
        series: view.lines.iter().map(line).collect(),
        rules: Vec::new(),
        strip: None,
    };
    one("trials", chart)
}

/// Time of each layer by its width.
pub fn times(view: &TimesView) -> Figure {
    let line = |(i, row): (usize, &view::times::TimesRow)| {
        let points = row.steps.iter().map(|(w, ms)| DataPoint::at(*w as f64, *ms));
        Series::new(&row.name, Color::Series(i), SeriesKind::LineAndMarks).with(points)
    };
    let chart = Chart {
        x: ChartAxis::new("filters").including(&[0.0]),
        y: ChartAxis::new("ms per image").including(&[0.0]),
        series: view.rows.iter().enumerate().map(line).collect(),
        rules: Vec::new(),
        strip: None,
    };
    one("times", chart)
}

/// A line a method, and faint ones around it where seeds differ.
pub fn volume(view: &VolumeView, colors: &RunColors) -> Figure {
    let series = view.lines.iter().flat_map(|line| {
        let new = |which: usize| {
            let points = line.after.iter();
            let points = points.map(move |(images, a)| DataPoint::at(*images as f64, a[which] * 100.0));
            let name = if which == 1 { line.label.as_str() } else { "" };
            Series::new(name, color(colors, Some(line.run)), SeriesKind::Line).with(points)
        };
        let differ = line.after.iter().any(|(_, a)| a[0] < a[2]);
        let band = [0, 2]
            .into_iter()
            .filter(move |_| differ)
            .map(move |which| new(which).faint());
        band.chain([new(1)]).collect::<Vec<_>>()
    });
    let chart = Chart {
        x: ChartAxis::new("images evaluated in trials").including(&[0.0]),
        y: percent("hypervolume, % of the box").including(&[0.0]),
        series: series.collect(),
        rules: Vec::new(),
        strip: None,
    };
    one("hypervolume", chart)
}

/// A line a layer.
pub fn residuals(view: &ResidualsView) -> Figure {
    let line = |(i, row): (usize, &view::residuals::ResidualRow)| {
        let points = row.points.iter().map(|[x, y]| DataPoint::at(*x, *y));
        Series::new(&row.layer, Color::Series(i), SeriesKind::Line).with(points)
    };
    let chart = Chart {
        x: ChartAxis::new("ADMM update").including(&[0.0]),
        y: ChartAxis::new("‖W − Z‖ / ‖W‖").including(&[0.0]),
        series: view.rows.iter().enumerate().map(line).collect(),
        rules: Vec::new(),
        strip: None,
    };
    one("residuals", chart)
}

/// A panel a network: the accuracy of each method, a mark a target, with the spread over runs.
pub fn tournament(view: &TournamentView) -> Figure {
    let mut networks: Vec<&str> = view.rows.iter().map(|r| r.network.as_str()).collect();
    networks.dedup();
    let panel = |network: &&str| {
        let rows = || view.rows.iter().filter(|r| r.network == **network);
        let mut methods: Vec<String> = rows()
            .filter(|r| r.target.is_some())
            .map(|r| r.method.clone())
            .collect();
        methods.sort();
        methods.dedup();
        let mut targets: Vec<f64> = rows().filter_map(|r| r.target).collect();
        targets.dedup();
        let point = |row: &TournamentRow| {
            let place = methods.iter().position(|m| *m == row.method)?;
            Some(DataPoint {
                error: (row.n > 1).then_some(row.sd * 100.0),
                ..DataPoint::at(place as f64, row.test_top1 * 100.0).noted(format!("{} runs", row.n))
            })
        };
        let series = targets.iter().enumerate().map(|(i, target)| {
            let of_target = rows().filter(|r| r.target == Some(*target)).filter_map(point);
            Series::new(format!("{target}×"), Color::Series(i), SeriesKind::Marks)
                .marked(i)
                .with(of_target)
        });
        let series = series.collect();
        let dense = rows().find(|r| r.target.is_none());
        Chart {
            x: ChartAxis::of_names(*network, methods.clone()),
            y: percent("test accuracy, %"),
            series,
            rules: dense
                .map(|r| Rule {
                    name: "dense".into(),
                    is_level: true,
                    at: r.test_top1 * 100.0,
                })
                .into_iter()
                .collect(),
            strip: None,
        }
    };
    Figure {
        name: "tournament".into(),
        panels: networks.iter().map(panel).collect(),
    }
}
