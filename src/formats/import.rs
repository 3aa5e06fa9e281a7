//! One file in: a checkpoint out of whatever holds weights, or one line that says what it lacks.
//! Knows nothing of formats' insides.

use super::foreign::ForeignModel;
use super::tensors::Tensors;
use super::{burn_pack, onnx_import, torch_import};
use anyhow::{Context, Result, bail, ensure};
use data::Normalization;
use model::checkpoint::{ModelHeader, SCHEMA, is_model_file};
use model::spec::Shape;
use model::{Checkpoint, Density, torchvision, zoo};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How to import.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// `.pt`, `.pth`, `.safetensors`, `.onnx` or `.bpk`.
    pub file: PathBuf,
    /// Whose weights a state dict holds: one of [`zoo::NAMES`] or [`torchvision::NAMES`]. Another name for an ONNX net, which says its own graph.
    pub arch: Option<String>,
    /// What the class count must be.
    pub classes: Option<usize>,
    /// Shape of an image, where the file does not say it.
    pub input: Option<Shape>,
    /// What is done to pixels/255 before the network, where the file does not say it.
    pub normalization: Option<Normalization>,
}

/// What was imported.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The model, at density 1.
    pub model: Checkpoint,
    /// What its owner should know: what was assumed, what was left out.
    pub notes: Vec<String>,
}

/// Reads a model from another program's file, or one of ours.
///
/// # Errors
/// One line: the file, what is wrong with it (all of it at once), and what was expected.
pub fn import(options: &Import) -> Result<Imported> {
    let file = &options.file;
    if let Some(input) = options.input {
        ensure!(
            input.iter().all(|&n| (1..=1 << 20).contains(&n)),
            "input {input:?}, expected sizes from 1 to 1048576"
        );
    }
    ensure!(file.is_file(), "cannot read {}: no such file", file.display());
    let ending = file
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or("")
        .to_ascii_lowercase();
    let found = match ending.as_str() {
        "onnx" => onnx_import::read(file, options.input).with_context(|| file.display().to_string())?,
        "safetensors" if is_model_file(file).unwrap_or(false) => return ours(Checkpoint::load(file)?, options),
        "bpk" => {
            let bytes = std::fs::read(file)?;
            return ours(
                burn_pack::from_bytes(bytes).with_context(|| file.display().to_string())?,
                options,
            );
        }
        "pt" | "pth" | "safetensors" => state_dict(options)?,
        _ => bail!(
            "{}: expected a name ending in .pt, .pth, .safetensors, .onnx or .bpk",
            file.display()
        ),
    };
    assemble(found, options).with_context(|| file.display().to_string())
}

/// Reads an ONNX network from bytes. `options.file` is its name; external data, which lies in other files, is refused.
///
/// # Errors
/// As [`import`].
pub fn onnx_model(bytes: &[u8], options: &Import) -> Result<Imported> {
    let name = || options.file.display().to_string();
    let found = onnx_import::from_bytes(bytes, None, options.input).with_context(name)?;
    assemble(found, options).with_context(name)
}

fn ours(model: Checkpoint, options: &Import) -> Result<Imported> {
    model
        .check_numbers()
        .with_context(|| options.file.display().to_string())?;
    check_classes(&model, options)?;
    if let Some(arch) = &options.arch {
        let name = &model.spec().name;
        ensure!(
            arch == name,
            "{}: holds {name}, asked for {arch}",
            options.file.display()
        );
    }
    Ok(Imported { model, notes: vec![] })
}

fn state_dict(options: &Import) -> Result<ForeignModel> {
    let known = [&zoo::NAMES[..], &torchvision::NAMES].concat();
    let text = known.join(", ");
    let arch = options.arch.as_deref();
    let arch = arch.with_context(|| {
        format!(
            "{}: weights alone do not say their network; name it with --arch: {text}",
            options.file.display()
        )
    })?;
    let arch = zoo::our_name(arch);
    ensure!(known.contains(&arch), "unknown network {arch}, expected one of {text}");
    let tensors = Tensors::open(&options.file)?;
    let read = torch_import::read(arch, &tensors, options.classes, options.input);
    read.with_context(|| options.file.display().to_string())
}

fn assemble(found: ForeignModel, options: &Import) -> Result<Imported> {
    let ForeignModel {
        mut spec,
        weights,
        stats,
        masks,
        density,
        byte_inputs,
        normalization,
        classes,
        mut notes,
    } = found;
    if let Some(arch) = &options.arch {
        zoo::our_name(arch).clone_into(&mut spec.name);
    }
    let density = density.unwrap_or(Density::FULL);
    let count = spec.classes()?;
    let numbered = || (0..count).map(|i| i.to_string()).collect();
    let classes = classes.filter(|names| names.len() == count).unwrap_or_else(|| {
        if count > 0 {
            notes.push("no class names in the file: classes are numbered".into());
        }
        numbered()
    });
    let normalization = options.normalization.clone().or(normalization).unwrap_or_else(|| {
        notes.push(
            "no normalization in the file: mean 0, deviation 1 (give --mean and --std if it was trained otherwise)"
                .into(),
        );
        Normalization {
            mean: vec![0.0; spec.input[0]],
            std: vec![1.0; spec.input[0]],
        }
    });
    let data = options
        .file
        .file_name()
        .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let model = Checkpoint {
        weights,
        masks,
        stats: BTreeMap::from([(density, stats)]),
        header: ModelHeader {
            schema: SCHEMA,
            spec,
            normalization,
            classes,
            method: "imported".into(),
            data,
            densities: vec![density],
            gate_densities: Vec::new(),
            width_multiple: 1,
            byte_inputs,
            channels: Default::default(),
            metrics: vec![],
            recipe: String::new(),
        },
    };
    model.check()?;
    model.check_numbers()?;
    check_classes(&model, options)?;
    Ok(Imported { model, notes })
}

fn check_classes(model: &Checkpoint, options: &Import) -> Result<()> {
    let count = model.header.classes.len();
    if let Some(asked) = options.classes {
        ensure!(
            asked == count,
            "{}: is for {count} classes, asked for {asked}",
            options.file.display()
        );
    }
    Ok(())
}
