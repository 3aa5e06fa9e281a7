//! `secateur devices`, `presets`, `datasets`: one line each.
//! Knows nothing of what they are used for.

use super::{Done, Json, OrFail};
use crate::data::bundled;
use crate::run::device::DeviceName;
use crate::run::experiment::{Experiment, PRESETS};
use serde_json::json;

pub fn devices(json: Json) -> Done {
    for device in DeviceName::ALL {
        let line = device.probe();
        json.say(&line, || {
            format!(
                "{:8} {:3}  {}",
                device.name(),
                if line.available { "yes" } else { "no" },
                line.detail
            )
        });
    }
    Ok(0)
}

pub fn presets(json: Json) -> Done {
    for (name, text) in PRESETS {
        let e = Experiment::parse(text, &[]).or_failed()?;
        let fact = json!({ "preset": name, "about": e.about, "method": e.method.kind(), "arch": e.model.arch, "width": e.model.width, "data": e.data.source });
        json.say(&fact, || format!("{name:16} {}", e.about));
    }
    Ok(0)
}

pub fn datasets(json: Json) -> Done {
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
            "a folder of pictures: train/<class>/*.{png,jpg,jpeg,webp} and test/<class>/*",
        ),
    ];
    for (kind, what) in kinds {
        json.say(&json!({ "dataset": kind, "bundled": false, "path": what }), || {
            format!("{kind:16} {what}")
        });
    }
    Ok(0)
}
