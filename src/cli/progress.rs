//! What people read while a run works: a line for each event that matters.

use super::output::{Json, remark};
use event::{Event, Outcome, Residual, Stamped, Verdict};

/// Says an event: as it is logged for programs, otherwise in words on stderr. `quality` is what accuracies are called, as the run's
/// beginning has it.
pub(crate) fn say(json: Json, stamped: &Stamped, quality: &mut &'static str) {
    if json.json {
        json.say(stamped, String::new);
        return;
    }
    if let Event::Started { agreement, .. } = &stamped.event {
        *quality = if *agreement { "agreement" } else { "top-1" };
    }
    tell(stamped, quality);
    if let Event::Ended(e) = &stamped.event
        && e.outcome == Outcome::Finished
    {
        let top1 = |x: Option<f32>| x.map_or_else(|| "–".into(), percent);
        let line = || {
            format!(
                "{}\nvalid {quality} {}, test {quality} {}",
                e.model.as_deref().unwrap_or(&e.run),
                top1(e.valid_top1),
                top1(e.test_top1)
            )
        };
        json.say(&(), line);
    }
}

/// Says an event in words, on stderr; accuracies are called `quality`.
pub(crate) fn tell(stamped: &Stamped, quality: &str) {
    for line in text(&stamped.event, quality).iter().flat_map(|text| text.lines()) {
        remark(&format!("{:7.1} s  {line}", stamped.at));
    }
}

fn percent(x: f32) -> String {
    format!("{:.2} %", x * 100.0)
}

fn millions(n: u64) -> f64 {
    n as f64 / 1e6
}

fn text(event: &Event, quality: &str) -> Option<String> {
    Some(match event {
        Event::Started {
            spec,
            dense,
            steps,
            images: [train, valid, test],
            ..
        } => format!(
            "{}: {:.1} M MACs, {:.2} M parameters; {steps} steps; {train} / {valid} / {test} images",
            spec.name,
            millions(dense.macs),
            millions(dense.params)
        ),
        Event::Phase { name, .. } => name.clone(),
        Event::Step { step, loss, top1, .. } if step % 100 == 0 => {
            format!("step {step}: loss {loss:.4}, {quality} {}", percent(*top1))
        }
        Event::Epoch {
            split,
            density,
            gates,
            top1,
            macs,
            n,
            ..
        } => {
            let density = if gates.is_empty() {
                format!("density {density}")
            } else {
                "the densities found".to_owned()
            };
            format!(
                "{} at {density}: {quality} {} of {n}, {:.2} M MACs",
                split.name(),
                percent(*top1),
                millions(*macs)
            )
        }
        Event::Kept { model, .. } => format!("checkpoint {model}"),
        Event::Search(s) => format!("search {}: {} sites, {} trials", s.name, s.sites.len(), s.trials),
        Event::Trial(t) if t.verdict == Verdict::Best => format!(
            "trial {}: {quality} {}, {:.2} M MACs, {:.3} M parameters",
            t.number,
            percent(t.top1),
            millions(t.macs),
            millions(t.params)
        ),
        Event::Residuals { update, rho, layers } => {
            let most = |of: fn(&Residual) -> f32| layers.iter().map(of).fold(0.0, f32::max);
            let (primal, dual) = (most(|l| l.value), most(|l| l.moved));
            format!(
                "ADMM update {update}: ‖W − Z‖ / ‖W‖ at most {primal:.3}, Z moved by at most {dual:.3}, ρ {rho:.2e}"
            )
        }
        Event::Steered(steer) => format!("steered: {steer:?}"),
        Event::Refused { steer, why } => format!("steering refused: {steer:?}: {why}"),
        Event::Resumed { from, mended } => {
            let repairs: String = mended.iter().map(|text| format!("repaired: {text}\n")).collect();
            format!("{repairs}resumed from event {from}")
        }
        Event::Forked { from, at, changes, .. } => {
            let changes = match &changes[..] {
                [] => "no changes".to_owned(),
                changes => changes.join(", "),
            };
            format!("forked from {from} at event {at}, with {changes}")
        }
        Event::Stalled { text } => text.clone(),
        Event::Paused { by } => format!("paused by {by}: it goes on when they say so or are gone; Ctrl-C stops it"),
        Event::Unpaused { by } => format!("goes on: {by}"),
        Event::Warning { text } => format!("warning: {text}"),
        Event::Note { text } => format!("note: {text}"),
        Event::Ended(e) if e.outcome == Outcome::Cancelled => {
            format!("stopped; `secateur resume {}` continues it", e.run)
        }
        Event::Ended(_) | Event::Step { .. } | Event::Layers { .. } | Event::Trial(_) => return None,
    })
}
