//! Bars for long work: what is being done, how fast, and what is left. On a terminal only, and never beside `--json`.
//! Knows nothing of the work.

use super::output::{BARS, Json};
use event::{Event, Stamped};
use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use std::fmt::Write;
use std::time::Duration;

const REDRAW: Duration = Duration::from_millis(200);
/// A bar of a share is cut in so many.
const PARTS: f32 = 1000.0;

/// A bar over `n` of something, e.g. images: rate and time left follow.
pub(crate) fn counted(json: Json, n: u64, unit: &str) -> ProgressBar {
    let style = format!("{{msg}} {{wide_bar:.cyan/black}} {{human_pos}} of {{human_len}} {unit}{{rate}}{{left}}");
    shown(json, ProgressBar::new(n), &style)
}

/// A bar over a share of something.
pub(crate) fn share(json: Json) -> ProgressBar {
    let bar = ProgressBar::new(PARTS as u64);
    shown(json, bar, "{msg} {wide_bar:.cyan/black} {percent} %{left}")
}

/// A sign of life for work whose length is not known.
pub(crate) fn spinner(json: Json, text: String) -> ProgressBar {
    let bar = shown(json, ProgressBar::new_spinner(), "{spinner} {msg} {elapsed:.dim}");
    bar.set_message(text);
    bar
}

/// Moves a bar to a share, which never falls.
pub(crate) fn reach(bar: &ProgressBar, share: f32) {
    bar.set_position(bar.position().max((share.clamp(0.0, 1.0) * PARTS) as u64));
}

fn shown(json: Json, bar: ProgressBar, style: &str) -> ProgressBar {
    if json.json {
        return ProgressBar::hidden();
    }
    let bar = BARS.add(bar);
    if let Ok(style) = ProgressStyle::with_template(style) {
        let style = style.with_key("rate", |state: &ProgressState, to: &mut dyn Write| {
            let _ = to.write_str(&rate(state.per_sec()));
        });
        let style = style.with_key("left", |state: &ProgressState, to: &mut dyn Write| {
            let _ = to.write_str(&left(state.pos(), state.eta()));
        });
        bar.set_style(style.progress_chars("━━─"));
    }
    bar.enable_steady_tick(REDRAW);
    bar
}

/// How many a second; nothing before there is one.
fn rate(per_sec: f64) -> String {
    match per_sec {
        rate if rate >= 10.0 => format!(", {rate:.0}/s"),
        rate if rate > 0.0 => format!(", {rate:.1}/s"),
        _ => String::new(),
    }
}

/// The time left; nothing before it can be told.
fn left(position: u64, eta: Duration) -> String {
    if position == 0 {
        return String::new();
    }
    format!(", {} left", HumanDuration(eta))
}

/// The bar of a run, moved by its events.
pub(crate) struct RunBar {
    bar: ProgressBar,
    phase: String,
    planned: u64,
    /// Steps and seconds when the rate was last taken.
    last: Option<(u64, f64)>,
}

impl RunBar {
    pub(crate) fn new(json: Json) -> Self {
        Self {
            bar: share(json),
            phase: String::new(),
            planned: 0,
            last: None,
        }
    }

    pub(crate) fn see(&mut self, stamped: &Stamped) {
        match &stamped.event {
            Event::Started { steps, .. } => self.planned = *steps,
            Event::Phase { name, progress } => {
                name.clone_into(&mut self.phase);
                self.bar.set_message(name.clone());
                reach(&self.bar, *progress);
            }
            Event::Step { step, .. } => {
                let rate = self.last.filter(|(before, at)| step > before && stamped.at > *at);
                let rate = rate.map(|(before, at)| (step - before) as f64 / (stamped.at - at));
                self.last = Some((*step, stamped.at));
                if let Some(rate) = rate {
                    self.bar.set_message(format!("{}, {rate:.1} steps/s", self.phase));
                }
                if self.planned > 0 {
                    reach(&self.bar, *step as f32 / self.planned as f32);
                }
            }
            Event::Trial(trial) => self.bar.set_message(format!("{}, trial {}", self.phase, trial.number)),
            Event::Ended(_) => self.bar.finish_and_clear(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_times_are_said_once_they_are_known() {
        assert_eq!(
            (rate(0.0), rate(2.34), rate(708.2)),
            (String::new(), ", 2.3/s".into(), ", 708/s".into())
        );
        assert_eq!(left(0, Duration::ZERO), "");
        assert_eq!(left(5, Duration::from_secs(72)), ", 72 seconds left");
    }

    #[test]
    fn a_run_moves_its_bar_and_beside_json_there_is_none() {
        let mut bar = RunBar {
            bar: ProgressBar::hidden(),
            phase: String::new(),
            planned: 200,
            last: None,
        };
        bar.bar.set_length(PARTS as u64);
        let mut see = |at: f64, event: Event| {
            bar.see(&Stamped { seq: 0, at, event });
            (bar.bar.position(), bar.bar.message())
        };
        let phase = |name: &str, progress: f32| Event::Phase {
            name: name.into(),
            progress,
        };
        let step = |step: u64| Event::Step {
            step,
            loss: 1.0,
            top1: 0.5,
            lr: 0.1,
        };
        assert_eq!(see(0.0, phase("epoch 1 of 2", 0.1)), (100, "epoch 1 of 2".into()));
        assert_eq!(see(1.0, step(10)).0, 100, "it never falls");
        assert_eq!(see(3.0, step(50)), (250, "epoch 1 of 2, 20.0 steps/s".into()));
        assert_eq!(see(4.0, phase("retraining", 0.5)), (500, "retraining".into()));
        assert!(share(Json { json: true }).is_hidden());
    }
}
