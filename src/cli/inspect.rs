//! `secateur inspect`: what is in a model file, layer by layer.
//! Knows nothing of running it.

use super::failure::{Done, OrFail};
use super::output::Json;
use model::{Checkpoint, Fractions, Op, Precision, cost};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct InspectArgs {
    /// A model file
    model: PathBuf,
    #[command(flatten)]
    json: Json,
}

pub(crate) fn inspect(args: &InspectArgs) -> Done {
    let model = Checkpoint::load(&args.model).or_bad_input()?;
    let spec = model.spec();
    let shapes = spec.shapes().or_bad_input()?;
    let layers = cost::by_layer(spec, &model.masks, &Fractions::dense(spec)).or_bad_input()?;
    for layer in layers {
        let node = &spec.nodes[layer.node];
        let [input, output] = [shapes[node.inputs[0]], shapes[layer.node]];
        let (kernel, stride, groups) = match node.op {
            Op::Conv {
                kernel, stride, groups, ..
            } => (Some(kernel), Some(stride), Some(groups)),
            _ => (None, None, None),
        };
        let (filters, columns) = match (&node.op, model.masks.get(&node.name)) {
            (Op::Conv { .. }, Some(m)) => (
                Some(m.filters.iter().filter(|&&b| b).count()),
                Some(m.columns.iter().filter(|&&b| b).count()),
            ),
            (
                &Op::Conv {
                    filters,
                    kernel,
                    groups,
                    ..
                },
                None,
            ) => (Some(filters), Some(input[0] / groups * kernel * kernel)),
            (&Op::Linear { outputs, .. }, _) => (Some(outputs), Some(input[0])),
            _ => (None, None),
        };
        let precision = matches!(node.op, Op::Conv { .. }).then(|| match model.header.byte_inputs.get(&node.name) {
            Some(_) => Precision::Int8,
            None => Precision::F32,
        });
        let fact = json!({
            "name": node.name, "kind": node.op.kind(), "in": input[0], "out": output[0], "kernel": kernel, "stride": stride, "groups": groups, "hw": [output[1], output[2]],
            "macs": layer.cost.macs, "params": layer.cost.params, "filters_kept": filters, "columns_kept": columns,
            "precision": precision,
        });
        let size = |v: Option<usize>| v.map_or_else(|| "–".to_owned(), |v| v.to_string());
        args.json.say(&fact, || {
            format!(
                "{:24} {:8} {:>5} → {:<5} {:>3}×{:<3} MACs {:>12} params {:>9} filters {:>5} columns {:>6}{}",
                node.name,
                node.op.kind(),
                input[0],
                output[0],
                output[1],
                output[2],
                layer.cost.macs,
                layer.cost.params,
                size(filters),
                size(columns),
                if precision == Some(Precision::Int8) {
                    " int8"
                } else {
                    ""
                }
            )
        });
    }
    let total = cost::total(spec, &model.masks, &Fractions::dense(spec)).or_bad_input()?;
    let h = &model.header;
    let metrics: Vec<Value> = h.metrics.iter().map(|m| json!(m)).collect();
    let fact = json!({
        "total": true, "name": spec.name, "method": h.method, "data": h.data, "classes": h.classes, "densities": h.densities,
        "macs": total.macs, "macs_conv": total.macs_conv, "params": total.params, "peak_bytes": total.peak_bytes, "metrics": metrics,
    });
    args.json.say(&fact, || {
        let densities: Vec<String> = h.densities.iter().map(ToString::to_string).collect();
        format!(
            "{}: {} on {}; {} MACs, {} parameters; densities {}",
            spec.name,
            h.method,
            h.data,
            total.macs,
            total.params,
            densities.join(", ")
        )
    });
    Ok(0)
}
