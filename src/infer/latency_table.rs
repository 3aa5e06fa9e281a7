//! What a network's layers cost on one machine: a table that is measured there and can be read elsewhere.
//! Knows nothing of searches, which count by it.

use super::engine::compile;
use super::latency::latency;
use super::layer_latency::{LatencySurface, LayerLatencyOptions, latency_surfaces, timed_width};
use super::options::Options;
use anyhow::{Context, Result, ensure};
use kernel::Kernel;
use model::spec::Op;
use model::{Checkpoint, Density, Fractions, NetSpec};
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// The file format this program reads and writes.
const SCHEMA: u32 = 1;
/// A table has some kilobytes for each layer.
const MOST_BYTES: u64 = 64 << 20;
/// Widths that each layer is timed at, in both directions.
const WIDTHS: usize = 4;
/// Time for each point of a table.
const POINT_TIME: Duration = Duration::from_millis(8);
const NETWORK_TIME: Duration = Duration::from_millis(200);

/// Times of single layers on one machine, and the line from their sum to the measured time of the network: through density 1,
/// and the lowest density of its gates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyTable {
    /// Version of the file.
    #[serde(default)]
    schema: u32,
    /// The machine's name.
    #[serde(default)]
    pub machine: String,
    /// The kernel that ran there.
    #[serde(default)]
    pub kernel: String,
    /// Threads that an image was split over.
    #[serde(default)]
    pub threads: usize,
    surfaces: Vec<LatencySurface>,
    factor: f64,
    /// Milliseconds that do not depend on any layer's width: what gates take to choose channels.
    #[serde(default, rename = "besides")]
    overhead: f64,
}

impl LatencyTable {
    /// Times a model's layers and the whole of it on this machine.
    ///
    /// # Errors
    /// The engine cannot run the model; whatever `check` says, which is asked before each measurement.
    pub fn measure(model: &Checkpoint, threads: usize, check: &mut dyn FnMut() -> Result<()>) -> Result<Self> {
        let options = LayerLatencyOptions {
            widths: WIDTHS,
            budget: POINT_TIME,
            threads,
        };
        let mut table = Self {
            schema: SCHEMA,
            machine: machine(),
            kernel: Kernel::best().name().to_owned(),
            threads,
            surfaces: latency_surfaces(model.spec(), options, check)?,
            factor: 1.0,
            overhead: 0.0,
        };
        let most = Density::FULL;
        let sum = table.ms(&gated_layers(model, &vec![most; model.spec().gates().len()])?);
        if sum <= 0.0 {
            return Ok(table);
        }
        check()?;
        let mut points = [[sum, network_ms(model, threads, &[])?]; 2];
        let least = model.header.densities.first().copied().unwrap_or(most);
        if model.is_gated() && least < most {
            check()?;
            let gates = vec![least; model.spec().gates().len()];
            points[1] = [
                table.ms(&gated_layers(model, &gates)?),
                network_ms(model, threads, &gates)?,
            ];
        }
        (table.factor, table.overhead) = line(points);
        Ok(table)
    }

    /// Reads a table from a file.
    ///
    /// # Errors
    /// One line: no such file, or none that [`LatencyTable::measure`] gave.
    pub fn load(file: &Path) -> Result<Self> {
        let at = || format!("cannot read {}", file.display());
        let mut text = String::new();
        let opened = std::fs::File::open(file).with_context(at)?;
        opened.take(MOST_BYTES).read_to_string(&mut text).with_context(at)?;
        let table: Self =
            serde_json::from_str(&text).with_context(|| format!("{} is not a table of layer times", file.display()))?;
        table.check().with_context(|| format!("table {}", file.display()))?;
        Ok(table)
    }

    fn check(&self) -> Result<()> {
        ensure!(self.schema == SCHEMA, "schema is {}, expected {SCHEMA}", self.schema);
        let is_time = |ms: f64| ms.is_finite() && ms >= 0.0;
        ensure!(
            is_time(self.factor) && is_time(self.overhead),
            "factor or besides is not a time"
        );
        let is_rising = |n: &[usize]| !n.is_empty() && n[0] > 0 && n.windows(2).all(|w| w[0] < w[1]);
        for s in &self.surfaces {
            ensure!(
                s.taps > 0 && is_rising(&s.filters) && is_rising(&s.channels),
                "layer {}: filters or channels do not rise",
                s.name
            );
            ensure!(
                s.filters.len().checked_mul(s.channels.len()) == Some(s.ms.len()) && s.ms.iter().all(|&ms| is_time(ms)),
                "layer {} has {} times, expected one for each of {} × {} widths",
                s.name,
                s.ms.len(),
                s.filters.len(),
                s.channels.len()
            );
        }
        Ok(())
    }

    /// Checks that it is of this network, or of one that it was cut from.
    ///
    /// # Errors
    /// One line: the first layer that the table does not have, or has otherwise.
    pub fn check_fits(&self, spec: &NetSpec) -> Result<()> {
        let shapes = spec.shapes()?;
        for node in &spec.nodes {
            let (Some(&from), Some(filters)) = (node.inputs.first(), timed_width(&node.op)) else {
                continue;
            };
            let (taps, channels) = match node.op {
                Op::Conv { groups: 1, kernel, .. } => (kernel * kernel, shapes[from][0]),
                Op::Conv { kernel, .. } => (kernel * kernel, 1),
                _ => (1, shapes[from][0]),
            };
            let of = self.surfaces.iter().find(|s| s.name == node.name);
            let most = |n: &[usize]| n.last().copied().unwrap_or(0);
            let found = of.map_or("no such layer".to_owned(), |s| {
                format!(
                    "one of {} filters on {} × {}",
                    most(&s.filters),
                    most(&s.channels),
                    s.taps
                )
            });
            ensure!(
                of.is_some_and(|s| s.taps == taps && most(&s.filters) >= filters && most(&s.channels) >= channels),
                "the table of {} is of another network: layer {} has {filters} filters on {channels} × {taps}, the table {found}",
                self.machine,
                node.name
            );
        }
        Ok(())
    }

    /// Milliseconds of layers with so many filters and columns.
    pub fn ms(&self, layers: &[(&str, usize, usize)]) -> f64 {
        self.overhead + layers.iter().map(|layer| self.of_layer(*layer)).sum::<f64>()
    }

    /// Milliseconds of one of them.
    pub fn of_layer(&self, (name, filters, columns): (&str, usize, usize)) -> f64 {
        let surface = self.surfaces.iter().find(|s| s.name == name);
        self.factor * surface.map_or(0.0, |s| s.at(filters, columns))
    }
}

/// Slope and intercept of the line through two points `[sum of layers, measured]`, the first of which is the unpruned network.
/// If the second is the same or within the noise, latency is taken to be proportional: no intercept.
fn line([[sum, whole], [part, less]]: [[f64; 2]; 2]) -> (f64, f64) {
    let slope = (whole - less) / (sum - part);
    if slope > 0.0 && slope * sum <= whole {
        (slope, whole - slope * sum)
    } else {
        (whole / sum, 0.0)
    }
}

/// What gates at these densities leave of each convolution and linear layer: its name, active filters, and active columns.
///
/// # Errors
/// A network whose shapes do not fit.
pub fn gated_layers<'a>(model: &'a Checkpoint, gates: &[Density]) -> Result<Vec<(&'a str, usize, usize)>> {
    let spec = model.spec();
    let shapes = spec.shapes()?;
    let Fractions(active) = Fractions::nominal(spec, gates)?;
    let part = |share: f64, n: usize| (share * n as f64).round() as usize;
    let each = spec.nodes.iter().enumerate().filter_map(|(i, node)| {
        let from = *node.inputs.first()?;
        let (filters, columns) = match node.op {
            Op::Conv {
                filters,
                kernel,
                groups,
                ..
            } => (filters, shapes[from][0] / groups * kernel * kernel),
            Op::Linear { outputs, .. } => (outputs, shapes[from].iter().product()),
            _ => return None,
        };
        Some((
            node.name.as_str(),
            part(active[i], filters),
            part(active[from], columns),
        ))
    });
    Ok(each.collect())
}

/// Median milliseconds of one image, with gates at these densities; at 1 if none are given.
///
/// # Errors
/// The engine cannot run the model.
pub fn network_ms(model: &Checkpoint, threads: usize, gates: &[Density]) -> Result<f64> {
    let options = Options {
        threads,
        batch: 1,
        ..Options::default()
    };
    let mut engine = compile(model, &options)?;
    if !gates.is_empty() {
        engine.set_densities(gates);
    }
    let image = vec![0.5; model.spec().input.iter().product()];
    Ok(latency(&mut engine, &image, NETWORK_TIME).median_ms)
}

/// What this machine calls itself, and what it is.
fn machine() -> String {
    let said = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let said = said.or_else(|| {
        ["HOSTNAME", "COMPUTERNAME"]
            .iter()
            .find_map(|name| std::env::var(name).ok())
    });
    let name = said.map_or_else(|| "machine".to_owned(), |name| name.trim().to_owned());
    format!("{name} ({}, {})", std::env::consts::ARCH, std::env::consts::OS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{random_model, zoo};

    fn table(name: &str, width: f32) -> (Checkpoint, LatencyTable) {
        let spec = zoo::build(name, [1, 28, 28], 10, width).expect("builds");
        let model = random_model(spec, 1).expect("builds");
        let table = LatencyTable::measure(&model, 1, &mut || Ok(())).expect("times");
        (model, table)
    }

    #[test]
    fn time_is_a_line_through_two_measurements_or_follows_work() {
        // 0.2 ms for choosing channels, half a millisecond for each one of the layers.
        assert_eq!(line([[2.0, 1.2], [0.5, 0.45]]), (0.5, 0.19999999999999996));
        assert_eq!(line([[2.0, 1.2], [2.0, 1.2]]), (0.6, 0.0));
        // Slower with less work, and faster than work can tell.
        assert_eq!(line([[2.0, 1.2], [0.5, 1.3]]), (0.6, 0.0));
        assert_eq!(line([[2.0, 1.2], [0.5, 0.1]]), (0.6, 0.0));
    }

    #[test]
    fn a_closed_gate_leaves_its_layer_fewer_filters_and_the_next_fewer_columns() {
        let spec = zoo::build("lenet5", [1, 28, 28], 10, 1.0).expect("builds");
        let gated = random_model(zoo::gated(&spec, model::spec::Shift::Eq1), 1).expect("builds");
        let mut gates = vec![Density::FULL; gated.spec().gates().len()];
        let whole = gated_layers(&gated, &gates).expect("layers");
        gates[0] = Density::percent(50).expect("a density");
        let half = gated_layers(&gated, &gates).expect("layers");
        let changed: Vec<_> = whole.iter().zip(&half).filter(|(a, b)| a != b).collect();
        let [((first, f0, c0), (_, f1, c1)), ((_, g0, d0), (_, g1, d1))] = changed[..] else {
            panic!("{changed:?}")
        };
        assert_eq!((*first, f1 * 2, c1), ("conv0", *f0, c0));
        assert_eq!((g1, d1 * 2), (g0, *d0));
    }

    #[test]
    fn a_table_is_of_its_network_and_of_what_is_cut_from_it() {
        let (whole, table) = table("lenet5", 0.5);
        table.check_fits(whole.spec()).expect("its own");
        let narrow = zoo::build("lenet5", [1, 28, 28], 10, 0.25).expect("builds");
        table.check_fits(&narrow).expect("a narrower one");
        for (name, width) in [("lenet5", 1.0), ("m-cifarnet", 0.1)] {
            let other = zoo::build(name, [1, 28, 28], 10, width).expect("builds");
            let error = table.check_fits(&other).expect_err("another").to_string();
            assert!(error.contains("is of another network: layer"), "{error}");
        }
    }

    #[test]
    fn a_file_gives_the_same_table_and_a_damaged_one_a_line() {
        let (_, table) = table("lenet5", 0.25);
        assert!(!table.machine.is_empty() && table.ms(&[("conv0", 1, 25)]) > 0.0);
        let dir = tempfile::tempdir().expect("temp dir");
        let file = dir.path().join("table.json");
        let text = serde_json::to_string(&table).expect("writes");
        std::fs::write(&file, &text).expect("writes");
        assert_eq!(LatencyTable::load(&file).expect("reads"), table);
        let damages = [
            (text.replace("\"schema\":1", "\"schema\":9"), "schema is 9, expected 1"),
            (text.replace("\"ms\":[", "\"ms\":[1.0,"), "times, expected one for each"),
            (text.replace("\"factor\":", "\"factor\":-"), "is not a time"),
            ("{}".to_owned(), "is not a table of layer times"),
        ];
        for (damaged, expected) in damages {
            std::fs::write(&file, damaged).expect("writes");
            let error = format!("{:#}", LatencyTable::load(&file).expect_err(expected));
            assert!(error.contains(expected), "{error}");
        }
    }
}
