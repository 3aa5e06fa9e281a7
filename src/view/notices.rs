//! What went wrong, in lines that can be copied.
//! Knows nothing of how long a line was shown.

use event::Outcome;
use lab::RunStore;
use record::Status;
use serde::Serialize;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Notice {
    /// Whether something could not be done; otherwise it went on.
    pub is_error: bool,
    /// Who says it.
    pub from: String,
    /// What was said.
    pub text: String,
}

/// The log: each run's lines, oldest run first, then what happened outside runs.
pub fn notices(store: &RunStore) -> Vec<Notice> {
    let mut out = Vec::new();
    for run in &store.runs {
        let from = run.title();
        let line = |is_error: bool, text: String| Notice {
            is_error,
            from: from.clone(),
            text,
        };
        out.extend(run.warnings.iter().map(|w| line(false, w.clone())));
        match run.ending.as_ref() {
            Some(e) if e.outcome == Outcome::Failed => {
                out.push(line(
                    true,
                    e.reason.clone().unwrap_or_else(|| "failed without a reason".into()),
                ));
            }
            Some(e) => {
                let how = Status::from(e.outcome);
                out.push(line(false, format!("{how}; saved in {}", e.run)));
            }
            None if run.status == Status::NotBegun => out.push(line(true, "could not start".into())),
            None => {}
        }
    }
    let failed = store.done.iter().filter_map(|done| done.said.as_ref().err());
    out.extend(failed.map(|text| Notice {
        is_error: true,
        from: "job".into(),
        text: text.clone(),
    }));
    out.extend(store.notices.iter().map(|n| Notice {
        is_error: true,
        from: "workbench".into(),
        text: n.clone(),
    }));
    out
}
