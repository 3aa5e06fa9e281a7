//! The desktop hears of a long run's end while nobody looks at the window.
//! Knows nothing of toasts, which wait until somebody does.

use event::Outcome;
use lab::RunStore;
use record::RunId;
use std::collections::BTreeSet;
use std::thread::Builder;
use view::runs;

/// Seconds that a run takes before somebody looks elsewhere.
const LONG: f64 = 60.0;

/// The runs that were seen at work.
#[derive(Default)]
pub(crate) struct LiveRuns(BTreeSet<RunId>);

impl LiveRuns {
    /// What a desktop is to say of runs that took long and have ended since this was asked last, a heading and a line each.
    pub(crate) fn ended(&mut self, store: &RunStore) -> Vec<[String; 2]> {
        let mut said = Vec::new();
        for run in &store.runs {
            if !run.status.is_over() {
                self.0.insert(run.id);
                continue;
            }
            let Some(ending) = run.ending.as_ref().filter(|_| self.0.remove(&run.id)) else {
                continue;
            };
            let word = match ending.outcome {
                Outcome::Finished => "finished",
                Outcome::Failed => "failed",
                Outcome::Cancelled => continue,
            };
            if run.elapsed_secs >= LONG {
                let row = runs::row(run);
                let text = ending.reason.clone().unwrap_or(row.detail);
                said.push([format!("{} {word}", row.title), text]);
            }
        }
        said
    }
}

/// Whether somebody may look at the window. All other input is that of the last frame that was shown: of a window that was
/// minimized it still says that it has the focus.
pub(crate) fn is_looked_at(ctx: &egui::Context) -> bool {
    ctx.input(|input| {
        let window = input.viewport();
        window.visible() != Some(false) && window.focused.unwrap_or(input.focused)
    })
}

/// Shows it, and marks the window in the task bar. A desktop without notifications says nothing.
pub(crate) fn show(ctx: &egui::Context, [heading, text]: [String; 2]) {
    let attention = egui::UserAttentionType::Informational;
    ctx.send_viewport_cmd(egui::ViewportCommand::RequestUserAttention(attention));
    let mut notification = notify_rust::Notification::new();
    notification
        .appname("Secateur")
        .icon("secateur")
        .summary(&heading)
        .body(&text);
    // It waits for the desktop.
    let waiting = Builder::new().name("notification".into());
    drop(waiting.spawn(move || drop(notification.show())));
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::{Event, Stamped};
    use record::{Experiment, RunState};
    use std::sync::Arc;

    #[test]
    fn a_window_that_is_minimized_is_not_looked_at_though_its_last_frame_had_the_focus() {
        let ctx = egui::Context::default();
        let looked_at = |minimized: bool, focused: bool| {
            let mut input = egui::RawInput {
                focused: true,
                ..egui::RawInput::default()
            };
            let window = input.viewports.entry(egui::ViewportId::ROOT).or_default();
            (window.minimized, window.focused) = (Some(minimized), Some(focused));
            let mut seen = false;
            ctx.run_ui(input, |ui| seen = is_looked_at(ui.ctx()))
                .textures_delta
                .clear();
            seen
        };
        assert!(looked_at(false, true));
        assert!(!looked_at(true, true));
        assert!(!looked_at(false, false));
    }

    #[test]
    fn the_end_of_a_long_run_that_was_at_work_is_said_once() {
        let experiment = Arc::new(Experiment::load("smoke", &[]).expect("preset"));
        let mut store = RunStore::default();
        store
            .runs
            .extend((0..4).map(|id| RunState::new(RunId(id), experiment.clone())));
        let end = |store: &mut RunStore, run: usize, at: f64, outcome: &str| {
            let ending = format!(r#"{{"outcome":"{outcome}","run":"x"}}"#);
            let event = Event::Ended(serde_json::from_str(&ending).expect("an ending"));
            store.runs[run].apply(&Stamped { seq: 0, at, event });
        };
        // Was over before anybody looked.
        end(&mut store, 0, 300.0, "finished");
        let mut live = LiveRuns::default();
        assert!(live.ended(&store).is_empty());
        end(&mut store, 1, 300.0, "failed");
        end(&mut store, 2, 3.0, "finished");
        end(&mut store, 3, 300.0, "cancelled");
        let said = live.ended(&store);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0][0].ends_with("failed"), "{said:?}");
        assert!(live.ended(&store).is_empty());
    }
}
