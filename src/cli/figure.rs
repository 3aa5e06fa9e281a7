//! `secateur figure`: one figure of one run or several.
//! Knows nothing of how it is drawn.

use super::failure::{Done, OrFail};
use super::output::{Json, remark};
use super::shown_runs::ShownRuns;
use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use disk::write_whole;
use lab::RunStore;
use model::Density;
use plots::{Figure, Style, figure, png, svg, table};
use record::RunState;
use serde_json::json;
use std::path::{Path, PathBuf};
use view::curves::{COLUMNS, CurveAxis, CurveOptions, Curves};
use view::frontier::{CostAxis, FrontierSeries, PointSource, every_point, frontier};
use view::runs::HiddenRuns;
use view::search::{SearchChoice, TrialValue, every_trial, search};
use view::volume::volume;
use view::{layers, saliency};

#[derive(clap::Args)]
pub(crate) struct FigureArgs {
    #[command(flatten)]
    runs: ShownRuns,
    /// What to plot
    #[arg(long)]
    plot: Plot,
    /// The file to write: .svg, .png or .csv
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Names of the runs in the figure, in their order
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    names: Vec<String>,
    /// Frontier: only models, without the trials of searches
    #[arg(long)]
    no_trials: bool,
    /// Frontier: the cost that accuracy is plotted against
    #[arg(long, default_value = "macs")]
    against: CostArg,
    /// Layers and saliency: the density to show; the one measured last if not given
    #[arg(long)]
    density: Option<Density>,
    /// Curves: smoothing, from 0 to below 1
    #[arg(long, default_value_t = 0.0)]
    smoothing: f64,
    /// Curves: draw or list about this many points per curve, those of the smallest and the largest values; a CSV lists every
    /// step if this is not given
    #[arg(long, value_name = "POINTS")]
    thin: Option<usize>,
    /// Width in millimeters
    #[arg(long, default_value_t = Style::default().width_mm)]
    width_mm: f64,
    /// Height in millimeters
    #[arg(long, default_value_t = Style::default().height_mm)]
    height_mm: f64,
    /// Size of text in points
    #[arg(long, default_value_t = Style::default().font_pt)]
    font_pt: f64,
    /// Resolution of a PNG in dots per inch
    #[arg(long, default_value_t = Style::default().dpi)]
    dpi: f64,
    /// Colors for a dark background
    #[arg(long)]
    dark: bool,
    #[command(flatten)]
    json: Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum Plot {
    /// Accuracy against cost
    Frontier,
    /// Loss and accuracy over steps
    Curves,
    /// Active channels and MACs of each layer
    Layers,
    /// Mean saliency of each channel, layer by layer
    Saliency,
    /// Trials of the newest search
    Search,
    /// Hypervolume of the searches over the trials spent
    Hypervolume,
}

#[derive(Clone, Copy, ValueEnum)]
enum CostArg {
    /// MACs per image
    Macs,
    /// Parameters
    Params,
    /// Milliseconds per image
    Ms,
}

pub(crate) fn figure(args: &FigureArgs) -> Done {
    let every_step = args.thin.is_none() && kind(&args.to) == "csv";
    let mut store = args.runs.open(every_step).or_bad_input()?;
    call(&mut store, &args.names).or_bad_input()?;
    let style = style(args).or_bad_input()?;
    let drawn = draw(args, &store, every_step).or_bad_input()?;
    let points = drawn.points();
    let (bytes, undrawn) = encode(&drawn, &style, &args.to)?;
    if let Some(undrawn) = undrawn {
        remark(&undrawn);
    }
    write_whole(&args.to, &bytes).or_failed()?;
    let file = args.to.to_string_lossy();
    let fact = json!({ "file": file, "points": points, "bytes": bytes.len() });
    args.json.say(&fact, || format!("{file}: {points} points"));
    Ok(0)
}

/// Gives the runs their names.
fn call(store: &mut RunStore, names: &[String]) -> Result<()> {
    ensure!(
        names.is_empty() || names.len() == store.runs.len(),
        "--names has {}, expected one for each of {} runs",
        names.len(),
        store.runs.len()
    );
    for (run, name) in store.runs.iter_mut().zip(names) {
        run.called = Some(name.clone());
    }
    Ok(())
}

fn style(args: &FigureArgs) -> Result<Style> {
    for (name, value, most) in [
        ("--width-mm", args.width_mm, 2000.0),
        ("--height-mm", args.height_mm, 2000.0),
        ("--font-pt", args.font_pt, 200.0),
        ("--dpi", args.dpi, 2400.0),
    ] {
        ensure!(value >= 1.0 && value <= most, "{name} is {value}, expected 1 to {most}");
    }
    ensure!(
        (0.0..1.0).contains(&args.smoothing),
        "--smoothing is {}, expected at least 0 and less than 1",
        args.smoothing
    );
    Ok(Style {
        width_mm: args.width_mm,
        height_mm: args.height_mm,
        font_pt: args.font_pt,
        dpi: args.dpi,
        dark: args.dark,
    })
}

fn draw(args: &FigureArgs, store: &RunStore, every_step: bool) -> Result<Figure> {
    let what = match args.plot {
        Plot::Frontier => {
            let against = match args.against {
                CostArg::Macs => CostAxis::Macs,
                CostArg::Params => CostAxis::Params,
                CostArg::Ms => CostAxis::Millis,
            };
            let read = if every_step { every_point } else { frontier };
            let mut view = read(store, against, &HiddenRuns::new());
            let tried = |s: &FrontierSeries| s.points.iter().all(|p| matches!(p.source, PointSource::Trial(..)));
            view.series.retain(|s| !(args.no_trials && tried(s)));
            figure::frontier(&view, &figure::RunColors::new())
        }
        Plot::Curves => {
            let options = CurveOptions {
                along: CurveAxis::Steps,
                smoothing: args.smoothing,
                // A column has two points, and there are up to twice as many.
                columns: (!every_step).then(|| args.thin.map_or(COLUMNS, |points| (points / 4).max(1))),
            };
            figure::curves(
                &Curves::default().view(store, options, &HiddenRuns::new()),
                options.along,
                &figure::RunColors::new(),
            )
        }
        Plot::Layers => {
            let (run, density) = last_layers(args, store)?;
            figure::layers(&layers::of_run(run, density).context("the run says nothing of its network")?)
        }
        Plot::Saliency => {
            let (run, density) = last_layers(args, store)?;
            let said = run
                .layers_at(density)
                .with_context(|| format!("{} measured no layers at density {density}", run.title()))?;
            let view = saliency::of_layers(said, 0);
            figure::saliency(
                &view.context("the network has no gates, so channels have no saliency")?,
                false,
            )
        }
        Plot::Search => {
            let read = if every_step { every_trial } else { search };
            let view = read(store, SearchChoice::default(), TrialValue::Top1);
            figure::search(&view.context("none of these runs has searched")?, TrialValue::Top1)
        }
        Plot::Hypervolume => figure::volume(
            &volume(store).context("none of these runs has searched")?,
            &figure::RunColors::new(),
        ),
    };
    ensure!(what.points() > 0, "these runs have no points for this plot");
    Ok(what)
}

/// The run whose layers are shown, and at which density: the newest that said any.
fn last_layers<'a>(args: &FigureArgs, store: &'a RunStore) -> Result<(&'a RunState, Density)> {
    let run = store.runs.iter().rfind(|r| !r.layers.is_empty());
    let run = run.or(store.runs.last()).context("no run")?;
    let last = run.layers.last().map(|(density, _)| *density);
    Ok((run, args.density.or(last).unwrap_or(Density::FULL)))
}

/// A file's ending in small letters.
fn kind(file: &Path) -> String {
    file.extension()
        .map_or_else(String::new, |e| e.to_string_lossy().to_lowercase())
}

/// The file's bytes, and what could not be drawn.
fn encode(figure: &Figure, style: &Style, to: &Path) -> Done<(Vec<u8>, Option<String>)> {
    match kind(to).as_str() {
        "svg" => Ok((svg::svg(figure, style).into_bytes(), None)),
        "csv" => Ok((table::csv(figure).into_bytes(), None)),
        "png" => {
            let file = png::png(&svg::svg(figure, style), style).or_bad_input()?;
            Ok((file.bytes, file.undrawn))
        }
        _ => unknown(to).or_bad_input(),
    }
}

fn unknown<T>(to: &Path) -> Result<T> {
    bail!("--to {}: expected a file that ends in .svg, .png or .csv", to.display())
}
