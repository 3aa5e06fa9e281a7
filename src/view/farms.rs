//! Farms that are at work on runs of the folder: how far they are, and each of their tasks.

use super::text;
use lab::RunStore;
use record::farm_status::{FarmStatus, TaskState};
use serde::Serialize;
use std::path::PathBuf;

/// A farm.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FarmView {
    /// Its name.
    pub title: String,
    /// How many of its tasks are where, and whose they are.
    pub detail: String,
    /// The share of it that is done.
    pub progress: f32,
    /// Where its files are.
    pub folder: PathBuf,
    /// Whether somebody follows it who can stop it.
    pub can_stop: bool,
    /// Its tasks, those at work first.
    pub rows: Vec<FarmRow>,
}

/// A task of a farm.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FarmRow {
    /// Its number.
    pub title: String,
    /// Where it is.
    pub state: &'static str,
    /// What it does, on which machine; or what its scheduler complains of.
    pub detail: String,
    /// The share of it that is done.
    pub progress: f32,
    /// Whether something is wrong with it.
    pub is_bad: bool,
    /// Its run folder.
    pub run: Option<PathBuf>,
}

/// All farms that are at work.
pub fn farms(store: &RunStore) -> Vec<FarmView> {
    store.farms.iter().map(farm).collect()
}

fn farm(farm: &FarmStatus) -> FarmView {
    let of = |state: TaskState| farm.tasks.iter().filter(|task| task.state == state).count();
    let mut parts = vec![format!(
        "{} of {} {}s finished",
        of(TaskState::Finished),
        farm.tasks.len(),
        farm.word
    )];
    for (state, word) in [
        (TaskState::Running, "at work"),
        (TaskState::Waiting, "waiting"),
        (TaskState::Failed, "failed"),
        (TaskState::Lost, "lost"),
    ] {
        if of(state) > 0 {
            parts.push(format!("{} {word}", of(state)));
        }
    }
    let left = if farm.is_followed {
        ""
    } else {
        "; nobody follows it: the command that began it goes on with it"
    };
    let share = farm
        .tasks
        .iter()
        .map(|task| if task.state.is_over() { 1.0 } else { task.progress });
    let mut rows: Vec<(usize, FarmRow)> = farm.tasks.iter().enumerate().map(|(n, _)| (n, row(farm, n))).collect();
    let order = |n: usize| match farm.tasks[n].state {
        TaskState::Failed | TaskState::Lost => 0,
        TaskState::Running => 1,
        TaskState::Waiting => 2,
        TaskState::Finished => 3,
    };
    rows.sort_by_key(|(n, _)| (order(*n), *n));
    FarmView {
        title: farm.name(),
        detail: format!("{}; job {} of {}{left}", parts.join(", "), farm.job, farm.engine),
        progress: share.sum::<f32>() / farm.tasks.len().max(1) as f32,
        folder: farm.folder.clone(),
        can_stop: farm.is_followed,
        rows: rows.into_iter().map(|(_, row)| row).collect(),
    }
}

fn row(farm: &FarmStatus, n: usize) -> FarmRow {
    let task = &farm.tasks[n];
    let is_bad = matches!(task.state, TaskState::Failed | TaskState::Lost);
    let said = if is_bad {
        task.error.clone().unwrap_or_default()
    } else {
        task.phase.clone()
    };
    let worker = task.worker.as_ref().map(|worker| format!("worker {worker}"));
    let is_at_work = task.state == TaskState::Running;
    let share = is_at_work.then(|| text::whole_percent(f64::from(task.progress)));
    let parts = [Some(said), share, worker]
        .into_iter()
        .flatten()
        .filter(|part| !part.is_empty());
    FarmRow {
        title: format!("{} {n}", text::capital(&farm.word)),
        state: task.state.word(),
        detail: parts.collect::<Vec<_>>().join(" · "),
        progress: if task.state.is_over() { 1.0 } else { task.progress },
        is_bad,
        run: task.run.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::farm_status::FarmTaskStatus;

    #[test]
    fn a_farm_says_how_far_it_is_and_what_is_wrong_first() {
        let task = |state, phase: &str, progress| FarmTaskStatus {
            state,
            phase: phase.into(),
            progress,
            worker: Some("2".into()),
            ..FarmTaskStatus::default()
        };
        let lost = FarmTaskStatus {
            error: Some("exit code 3".into()),
            ..task(TaskState::Lost, "epoch 1 of 2", 0.2)
        };
        let tasks = vec![
            task(TaskState::Finished, "", 1.0),
            task(TaskState::Running, "epoch 1 of 2", 0.25),
            task(TaskState::Waiting, "", 0.0),
            lost,
        ];
        let status = FarmStatus {
            engine: "hq".into(),
            job: "7".into(),
            word: "run".into(),
            tasks,
            folder: "/runs/farms/seeds-1".into(),
            is_followed: true,
        };
        let view = farm(&status);
        assert_eq!(
            view.detail,
            "1 of 4 runs finished, 1 at work, 1 waiting, 1 lost; job 7 of hq"
        );
        assert_eq!(
            (view.title.as_str(), view.progress, view.can_stop),
            ("seeds-1", 0.5625, true)
        );
        let rows: Vec<(&str, &str)> = view
            .rows
            .iter()
            .map(|row| (row.title.as_str(), row.detail.as_str()))
            .collect();
        assert_eq!(rows[0], ("Run 3", "exit code 3 · worker 2"));
        assert_eq!(rows[1], ("Run 1", "epoch 1 of 2 · 25 % · worker 2"));
    }
}
