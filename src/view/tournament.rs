//! What a tournament has come to: a row a method, and how much each pair of methods differs.

use crate::paired::{PairedT, mcnemar, mean_and_sd, paired_t};
use lab::tournament::Played;
use record::tournament::{DENSE, Tournament};
use serde::Serialize;

/// A tournament's results so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TournamentView {
    /// A row a network, target and method, the most accurate first; dense networks have no target.
    pub rows: Vec<TournamentRow>,
    /// Every pair of methods of a network and target; the first is the more accurate.
    pub pairs: Vec<TournamentPair>,
    /// The method that rows are compared with.
    pub against: String,
    /// Runs that are finished, and all.
    pub runs: [usize; 2],
}

/// One method on one network at one target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TournamentRow {
    /// The network.
    pub network: String,
    /// How many times less.
    pub target: Option<f64>,
    /// The method.
    pub method: String,
    /// Runs: trained networks times seeds.
    pub n: usize,
    /// Mean share of the test images classified right.
    pub test_top1: f64,
    /// Standard deviation over runs; 0 of one.
    pub sd: f64,
    /// MACs per image, the mean.
    pub macs: f64,
    /// Trainable numbers, the mean.
    pub params: f64,
    /// Epochs of training from the dense network on, the mean.
    pub epochs: f64,
    /// Trials of searches, the mean.
    pub trials: f64,
    /// Images that training and trials have read, the mean.
    pub images_seen: f64,
    /// Compared with [`TournamentView::against`]; none for itself.
    pub against: Option<Difference>,
}

/// How two methods differ over runs with the same network and seed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// In accuracy, over runs.
    #[serde(flatten)]
    pub runs: PairedT,
    /// p-value of McNemar's exact test over the images of all these runs.
    pub mcnemar_p: f64,
}

/// Two methods on one network at one target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TournamentPair {
    /// The network.
    pub network: String,
    /// How many times less.
    pub target: f64,
    /// The methods.
    pub pair: [String; 2],
    /// The first less the second.
    #[serde(flatten)]
    pub difference: Difference,
}

/// Computes it from all that is finished.
pub fn tournament(tournament: &Tournament, played: &[Played]) -> TournamentView {
    let runs = |heat: &record::tournament::Heat| heat.entries.len() + 1;
    let mut view = TournamentView {
        against: tournament.against.clone(),
        runs: [played.len(), tournament.heats.iter().map(runs).sum()],
        ..TournamentView::default()
    };
    let mut kinds: Vec<(&str, Option<f64>)> = Vec::new();
    for p in played {
        let kind = (p.entry.network.as_str(), p.entry.target);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    for (network, target) in kinds {
        let of_kind = |p: &&Played| p.entry.network == network && p.entry.target == target;
        let of_kind: Vec<&Played> = played.iter().filter(of_kind).collect();
        let mut methods: Vec<(&str, Vec<&Played>)> = Vec::new();
        for p in &of_kind {
            let name = p.entry.method.as_str();
            match methods.iter_mut().find(|m| m.0 == name) {
                Some((_, runs)) => runs.push(p),
                None => methods.push((name, vec![p])),
            }
        }
        methods.sort_by(|a, b| top1(&b.1)[0].total_cmp(&top1(&a.1)[0]));
        let reference = methods.iter().find(|m| m.0 == tournament.against).map(|m| m.1.clone());
        for (method, runs) in &methods {
            let [test_top1, sd] = top1(runs);
            let mean = |of: &dyn Fn(&Played) -> u64| runs.iter().map(|p| of(p) as f64).sum::<f64>() / runs.len() as f64;
            let is_other = *method != tournament.against && *method != DENSE;
            let against = reference.as_ref().filter(|_| is_other);
            view.rows.push(TournamentRow {
                network: network.to_owned(),
                target,
                method: (*method).to_owned(),
                n: runs.len(),
                test_top1,
                sd,
                macs: mean(&|p| p.macs),
                params: mean(&|p| p.params),
                epochs: mean(&|p| p.epochs),
                trials: mean(&|p| p.trials),
                images_seen: mean(&|p| p.images_seen),
                against: against.and_then(|other| difference(runs, other)),
            });
        }
        let Some(target) = target else { continue };
        for (i, (a, of_a)) in methods.iter().enumerate() {
            for (b, of_b) in &methods[i + 1..] {
                view.pairs
                    .extend(difference(of_a, of_b).map(|difference| TournamentPair {
                        network: network.to_owned(),
                        target,
                        pair: [(*a).to_owned(), (*b).to_owned()],
                        difference,
                    }));
            }
        }
    }
    view
}

/// Mean and standard deviation of accuracies.
fn top1(runs: &[&Played]) -> [f64; 2] {
    let all: Vec<f64> = runs.iter().map(|p| p.test_top1()).collect();
    mean_and_sd(&all).unwrap_or_default()
}

/// Over the runs that both have with the same network and seed; none if there are none.
fn difference(a: &[&Played], b: &[&Played]) -> Option<Difference> {
    let key = |p: &Played| (p.entry.dense.clone(), p.entry.seed);
    let pairs = a
        .iter()
        .filter_map(|p| Some((*p, *b.iter().find(|q| key(q) == key(p))?)));
    let pairs: Vec<(&Played, &Played)> = pairs.collect();
    let apart: Vec<f64> = pairs.iter().map(|(p, q)| p.test_top1() - q.test_top1()).collect();
    let mut only = [0, 0];
    for (p, q) in pairs.iter().flat_map(|(p, q)| p.right.iter().zip(&q.right)) {
        only[0] += u64::from(*p && !*q);
        only[1] += u64::from(*q && !*p);
    }
    Some(Difference {
        runs: paired_t(&apart)?,
        mcnemar_p: mcnemar(only),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::Experiment;
    use record::tournament::Entry;
    use std::path::PathBuf;

    /// A run that classifies these of eight images right.
    fn run(method: &str, dense: &str, right: [u8; 8]) -> Played {
        Played {
            entry: Entry {
                network: "net".into(),
                dense: dense.into(),
                method: method.into(),
                target: (method != DENSE).then_some(8.0),
                seed: 0,
                experiment: Experiment::load("smoke", &[]).expect("preset"),
            },
            run: PathBuf::new(),
            valid_top1: None,
            right: right.iter().map(|r| *r == 1).collect(),
            macs: 10,
            params: 20,
            epochs: 3,
            trials: 4,
            images_seen: 500,
        }
    }

    #[test]
    fn methods_are_compared_on_the_same_network_and_the_same_images() {
        let of = Tournament {
            name: "t".into(),
            about: String::new(),
            unit: event::Unit::Macs,
            against: "even".into(),
            heats: Vec::new(),
        };
        let played = [
            run(DENSE, "0", [1; 8]),
            run("even", "0", [1, 1, 0, 0, 0, 0, 0, 0]),
            run("even", "1", [1, 1, 1, 0, 0, 0, 0, 0]),
            run("clever", "0", [1, 1, 1, 1, 0, 0, 0, 0]),
            run("clever", "1", [0, 1, 1, 1, 1, 1, 0, 0]),
            // Without its pair it counts for the mean alone.
            run("clever", "2", [1, 1, 1, 1, 1, 1, 1, 0]),
        ];
        let view = tournament(&of, &played);
        let rows: Vec<(&str, usize)> = view.rows.iter().map(|r| (r.method.as_str(), r.n)).collect();
        assert_eq!(rows, [(DENSE, 1), ("clever", 3), ("even", 2)]);
        assert_eq!((view.rows[0].against, view.rows[2].against), (None, None));
        let clever = view.rows[1].against.expect("compared");
        assert_eq!((clever.runs.n, clever.runs.mean), (2, 0.25));
        // Right alone: 2 and 3 images, against 0 and 1.
        assert_eq!(clever.mcnemar_p, mcnemar([5, 1]));
        assert_eq!(view.pairs.len(), 1);
        assert_eq!(
            (view.pairs[0].pair.clone(), view.pairs[0].difference),
            (["clever".into(), "even".into()], clever)
        );
    }
}
