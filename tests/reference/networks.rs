//! What tests/networks_agree.sh asks of the library: the logits of a model (all outputs, as other programs see them), and the model at half of its MACs without training.
//!
//! ```text
//! networks logits MODEL PIXELS LOGITS    pixels and logits as raw float32, images [c, h, w] one after the other
//! networks halve MODEL TO MULTIPLE       widths are multiples of so many
//! ```

use anyhow::{Context, Result, bail};
use event::{Dimension, Unit};
use infer::{Options, compile};
use model::spec::Op;
use model::{Checkpoint, Head};
use prune::{Scope, Score, Sites, apply, cut};
use std::path::Path;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["logits", model, pixels, to] => logits(&Checkpoint::load(Path::new(model))?, pixels, to),
        ["halve", model, to, multiple] => halve(&Checkpoint::load(Path::new(model))?, Path::new(to), multiple.parse()?),
        _ => bail!("logits MODEL PIXELS LOGITS, or halve MODEL TO MULTIPLE"),
    }
}

fn logits(model: &Checkpoint, pixels: &str, to: &str) -> Result<()> {
    let bytes = std::fs::read(pixels).with_context(|| pixels.to_owned())?;
    let numbers: Vec<f32> = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let mut engine = compile(model, &Options::default())?;
    let image = model.spec().input.iter().product();
    let outputs = model.spec().outputs()?;
    let heads = match model.spec().nodes.last().map(|n| &n.op) {
        Some(Op::Outputs { heads }) => heads.clone(),
        _ => outputs.iter().map(|o| Head::plain(&o.name, &o.shape)).collect(),
    };
    let mut out = Vec::new();
    for image in numbers.chunks_exact(image) {
        let all = &engine.run(image).logits;
        for (output, parts) in outputs.iter().zip(heads.chunk_by(|_, next| next.joins.is_some())) {
            let arranged = Head::joined(parts, &all[output.range.clone()]);
            out.extend(arranged.iter().flat_map(|v| v.to_le_bytes()));
        }
    }
    Ok(std::fs::write(to, out)?)
}

/// The same share of filters everywhere, the largest for which at most half of the MACs are left.
fn halve(model: &Checkpoint, to: &Path, multiple: usize) -> Result<()> {
    let mut model = model.clone();
    model.header.width_multiple = multiple;
    let model = &model;
    let scope = Scope::new(&[Dimension::Filter], 0.05, Unit::Macs).by(Score::L1);
    let sites = Sites::new(model, &scope)?;
    let whole = sites.whole().macs;
    let at = |share: i32| vec![share as f32 / 256.0; sites.list.len()];
    let fits = |share: &i32| 2 * sites.cost(&at(*share)).macs <= whole;
    let densities = at((1..=256).rev().find(fits).unwrap_or(1));
    let done = cut(&apply(model, &sites.masks(&densities, &model.weights)?)?)?;
    println!(
        "{} of {whole} MACs in {} groups",
        sites.cost(&densities).macs,
        sites.list.len()
    );
    done.notes.iter().for_each(|note| eprintln!("{note}"));
    done.checkpoint.save(to)
}
