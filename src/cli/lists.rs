//! `secateur devices`, `presets`, `runs`, `datasets`: one line each.
//! Knows nothing of what they are used for.

use super::failure::{Done, OrFail};
use super::output::{Json, remark};
use data::bundled;
use record::experiment::{Experiment, PRESETS};
use record::folder::is_written;
use record::{RunId, Status, replay};
use serde_json::json;
use std::path::Path;
use train::device::DeviceName;

pub(crate) fn devices(json: Json) -> Done {
    for device in DeviceName::LOCAL {
        let line = device.probe();
        json.say(&line, || {
            format!(
                "{:8} {:3}  {}",
                device.to_string(),
                if line.available { "yes" } else { "no" },
                line.detail
            )
        });
    }
    Ok(0)
}

pub(crate) fn presets(json: Json) -> Done {
    let width = PRESETS.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, text) in PRESETS {
        let e = Experiment::parse(text, &[]).or_failed()?;
        let fact = json!({ "preset": name, "about": e.about, "method": e.method.kind(), "arch": e.model.arch, "width": e.model.width, "data": e.data.source });
        json.say(&fact, || format!("{name:width$}  {}", e.about));
    }
    Ok(0)
}

pub(crate) fn runs(folder: &Path, json: Json) -> Done {
    for path in replay::list(folder).or_failed()? {
        let run = match replay::replay(RunId(0), &path) {
            Ok(run) => run,
            Err(e) => {
                // One broken folder must not hide the others.
                remark(&format!("{e:#}"));
                continue;
            }
        };
        let state = match (is_written(&path), &run.held_by) {
            (true, None) => Status::Running,
            (true, Some(_)) => Status::Paused,
            (false, _) => run.status,
        };
        let ending = run.ending.as_ref();
        let name = path
            .file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let fact = json!({
            "run": path.to_string_lossy(), "preset": run.experiment.name, "method": run.experiment.method.kind(), "seed": run.experiment.seed,
            "state": state, "progress": run.progress(), "elapsed_secs": run.elapsed_secs, "events": run.events,
            "valid_top1": ending.and_then(|e| e.valid_top1), "test_top1": ending.and_then(|e| e.test_top1),
            "macs": ending.and_then(|e| e.macs), "params": ending.and_then(|e| e.params),
            "paused_by": run.held_by.as_ref().filter(|_| state == Status::Paused),
        });
        json.say(&fact, || format!("{state:12} {:3.0} %  {name}", run.progress() * 100.0));
    }
    Ok(0)
}

pub(crate) fn datasets(json: Json) -> Done {
    let fact = json!({ "dataset": bundled::NAME, "bundled": true, "train": 60_000, "test": 10_000, "classes": bundled::CLASSES.len(), "shape": [1, 28, 28] });
    json.say(&fact, || {
        format!(
            "{:16} bundled: 60,000 + 10,000 images of 1×28×28, {} classes",
            bundled::NAME,
            bundled::CLASSES.len()
        )
    });
    let kinds = [
        ("idx", "a folder of IDX files, raw or .gz"),
        ("cifar", "a CIFAR-10 or CIFAR-100 binary folder, or its .tar.gz"),
        (
            "images",
            "a folder of pictures: train/<class>/*.{png,jpg,webp,bmp,gif,tif} and test/<class>/*, or <class>/* alone",
        ),
    ];
    for (kind, what) in kinds {
        json.say(&json!({ "dataset": kind, "bundled": false, "path": what }), || {
            format!("{kind:16} {what}")
        });
    }
    Ok(0)
}
