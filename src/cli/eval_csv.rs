//! What `secateur eval` writes as CSV: logits, and active channels.

use super::eval_images::{EvalImages, GateSetting};
use anyhow::{Context, Result};
use infer::GateOutput;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

pub(crate) struct CsvFile(BufWriter<File>);

impl CsvFile {
    fn create(path: &Path, columns: &str) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut file = BufWriter::new(file);
        writeln!(file, "{columns}")?;
        Ok(Self(file))
    }

    /// A file of logits: one row per image.
    pub(crate) fn of_logits(path: &Path, classes: &[String]) -> Result<Self> {
        let quoted = |class: &String| format!("\"{}\"", class.replace('"', "\"\""));
        let names: Vec<String> = classes.iter().map(quoted).collect();
        Self::create(path, &format!("density,image,label,{}", names.join(",")))
    }

    /// A file of active channels: one row per image and gate.
    pub(crate) fn of_active(path: &Path) -> Result<Self> {
        Self::create(path, "density,image,gate,channels")
    }

    pub(crate) fn write_logits(
        &mut self,
        density: &GateSetting,
        first: usize,
        logits: &[f32],
        eval: &EvalImages,
    ) -> Result<()> {
        let of_classes = eval.model.spec().logits()?;
        let numbers = eval.model.spec().outputs()?.last().map_or(0, |o| o.range.end);
        let rows = logits.chunks_exact(numbers.max(1)).map(|row| &row[of_classes.clone()]);
        for (row, &index) in rows.zip(&eval.indices[first..]) {
            write!(self.0, "{density},{index},{}", eval.images.labels[index as usize])?;
            for v in row {
                write!(self.0, ",{v}")?;
            }
            writeln!(self.0)?;
        }
        Ok(())
    }

    pub(crate) fn write_active(
        &mut self,
        density: &GateSetting,
        first: usize,
        gates: &[GateOutput],
        eval: &EvalImages,
    ) -> Result<()> {
        for gate in gates {
            let name = &eval.model.spec().nodes[gate.node].name;
            for i in 0..gate.active.images() {
                let channels: Vec<String> = gate.active.image(i).iter().map(u32::to_string).collect();
                let (index, channels) = (eval.indices[first + i], channels.join(" "));
                writeln!(self.0, "{density},{index},{name},{channels}")?;
            }
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        Ok(self.0.flush()?)
    }
}
