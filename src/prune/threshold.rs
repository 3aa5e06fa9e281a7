//! Pruning by a threshold: one for all layers, on a score that can be compared between them (|γ| in Network Slimming, arXiv
//! 1708.06519; relative group norms in DepGraph, arXiv 2301.12900), or one on norms for each layer (purification).

use super::groups::{Group, groups};
use super::saliency;
use super::saliency::Score;
use super::sites::best;
use super::width;
use anyhow::{Result, ensure};
use model::mask::LayerMask;
use model::{Checkpoint, Masks};

/// Which of many layers' channels stay if the `remove` smallest magnitudes of all together go: by count, so exactly that many.
/// Every layer keeps its largest, max(1, ⌈floor · its channels⌉) of them. Of equals those of later layers, and in a layer of
/// higher index, go first.
///
/// The authors' code compares with the threshold `sorted[int(total · percent)]` strictly, and so removes one more, and all
/// that equal it.
///
/// # Errors
/// More are to be removed than leaves that in each layer.
pub fn global(layers: &[Vec<f32>], floor: f32, remove: usize) -> Result<Vec<Vec<bool>>> {
    let mut keep: Vec<Vec<bool>> = layers.iter().map(|l| vec![true; l.len()]).collect();
    let mut order = Vec::new();
    for (l, scores) in layers.iter().enumerate() {
        let size = |i: &usize| scores[*i].abs();
        let mut falling: Vec<usize> = (0..scores.len()).collect();
        falling.sort_by(|a, b| size(b).total_cmp(&size(a)));
        order.extend(
            falling
                .into_iter()
                .skip(least(scores.len(), floor))
                .map(|i| (size(&i), l, i)),
        );
    }
    ensure!(
        remove <= order.len(),
        "cannot remove {remove} channels: at most {} of {} can go, since each of {} layers keeps some",
        order.len(),
        layers.iter().map(Vec::len).sum::<usize>(),
        layers.len()
    );
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then((b.1, b.2).cmp(&(a.1, a.2))));
    order[..remove].iter().for_each(|&(_, l, i)| keep[l][i] = false);
    Ok(keep)
}

/// What a layer of so many channels keeps.
fn least(channels: usize, floor: f32) -> usize {
    (f64::from(floor) * channels as f64 - 1e-6).ceil().max(1.0) as usize
}

/// What is at least τ times the mean of all.
pub fn above(scores: &[f32], threshold: f32) -> Vec<bool> {
    let mean = scores.iter().sum::<f32>() / scores.len().max(1) as f32;
    // Not `>=`: what is not a number must stay visible.
    scores
        .iter()
        .map(|s| s.partial_cmp(&(threshold * mean)) != Some(std::cmp::Ordering::Less))
        .collect()
}

struct Scored {
    group: Group,
    /// Its channels that are not masked, and their scores.
    unmasked: Vec<usize>,
    scales: Vec<f32>,
}

fn scored(checkpoint: &Checkpoint, score: &Score) -> Result<Vec<Scored>> {
    let spec = checkpoint.spec();
    let mut found = Vec::new();
    for group in groups(spec)?.list.into_iter().filter(|g| g.fixed.is_none()) {
        let Ok(scores) = saliency::filters(spec, &checkpoint.weights, &group, score) else {
            continue;
        };
        let masks: Vec<LayerMask> = group
            .producers
            .iter()
            .map(|p| checkpoint.mask(&spec.nodes[p.node].name))
            .collect();
        let unmasked: Vec<usize> = (0..group.channels)
            .filter(|&c| {
                let mut filters = masks.iter().zip(&group.producers);
                filters.any(|(m, p)| p.filter(c).is_some_and(|f| m.filters[f]))
            })
            .collect();
        let scales = unmasked.iter().map(|&c| scores[c]).collect();
        found.push(Scored {
            group,
            unmasked,
            scales,
        });
    }
    ensure!(
        !found.is_empty(),
        "network {} has nothing to go by: no norm scales γ, or no channels that can be cut",
        spec.name
    );
    Ok(found)
}

/// What stays of so many channels: at least so many, a multiple, and those of the largest scales.
fn rounded(scales: &[f32], keep: &[bool], (least, multiple): (usize, usize)) -> Vec<bool> {
    let kept = keep.iter().filter(|&&k| k).count();
    let width = width::nearest(kept as f64, least, keep.len(), multiple);
    if width == kept {
        return keep.to_vec();
    }
    let sizes: Vec<f32> = scales.iter().map(|s| s.abs()).collect();
    best(&sizes, &vec![true; keep.len()], width)
}

/// The most channels that [`without_lowest`] can remove.
///
/// # Errors
/// A network that has nothing to go by.
pub fn most(checkpoint: &Checkpoint, score: &Score, floor: f32) -> Result<usize> {
    let can_go = |s: &Scored| s.unmasked.len().saturating_sub(least(s.unmasked.len(), floor));
    Ok(scored(checkpoint, score)?.iter().map(can_go).sum())
}

/// The largest score that goes and the smallest that stays if the `remove` smallest go; what a layer keeps because of its floor
/// counts as neither. `[0, ∞]` where there is none. As the threshold has it, before widths
/// become multiples.
///
/// # Errors
/// As [`without_lowest`].
pub fn scores_at(checkpoint: &Checkpoint, score: &Score, floor: f32, remove: usize) -> Result<[f32; 2]> {
    let scales: Vec<Vec<f32>> = scored(checkpoint, score)?.into_iter().map(|s| s.scales).collect();
    let keep = global(&scales, floor, remove)?;
    let all = || scales.iter().flatten().zip(keep.iter().flatten());
    let cut = all()
        .filter(|(_, keep)| !**keep)
        .map(|(s, _)| s.abs())
        .fold(0.0, f32::max);
    let above = |s: &f32| s.abs() >= cut;
    let kept = all().filter(|(s, keep)| **keep && above(s)).map(|(s, _)| s.abs());
    Ok([cut, kept.fold(f32::INFINITY, f32::min)])
}

/// The masks without the `remove` channels of lowest score of all that can be cut; those of the start stay.
/// Where widths are multiples, each layer's is the one nearest to what the threshold leaves it.
///
/// # Errors
/// More than can go, or a network that has nothing to go by.
pub fn without_lowest(checkpoint: &Checkpoint, score: &Score, floor: f32, remove: usize) -> Result<Masks> {
    let spec = checkpoint.spec();
    let found = scored(checkpoint, score)?;
    let scales: Vec<Vec<f32>> = found.iter().map(|s| s.scales.clone()).collect();
    let keep = global(&scales, floor, remove)?;
    let mut masks = checkpoint.masks.clone();
    for (
        Scored {
            group,
            unmasked,
            scales,
        },
        keep,
    ) in found.iter().zip(keep)
    {
        let multiple = group.multiple(checkpoint.header.width_multiple);
        let keep = rounded(scales, &keep, (group.least, multiple));
        let dead: Vec<usize> = unmasked
            .iter()
            .zip(keep)
            .filter(|(_, keep)| !keep)
            .map(|(&c, _)| c)
            .collect();
        for p in group.producers.iter().filter(|_| !dead.is_empty()) {
            let name = &spec.nodes[p.node].name;
            let mask = masks.entry(name.clone()).or_insert_with(|| checkpoint.mask(name));
            dead.iter()
                .filter_map(|&c| p.filter(c))
                .for_each(|f| mask.filters[f] = false);
        }
    }
    Ok(masks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::zoo;

    const GAMMA: [f32; 10] = [0.9, -0.02, 0.3, 0.05, 0.0, 0.6, -0.4, 0.01, 0.2, 0.75];

    fn bits(keep: &[bool]) -> Vec<u8> {
        keep.iter().map(|&b| u8::from(b)).collect()
    }

    #[test]
    fn exactly_so_many_go_as_are_asked_for() {
        let keep = |n| bits(&global(&[GAMMA.to_vec()], 0.0, n).expect("fits")[0]);
        assert_eq!(keep(4), [1, 0, 1, 0, 0, 1, 1, 0, 1, 1]);
        assert_eq!(keep(5), [1, 0, 1, 0, 0, 1, 1, 0, 0, 1]);
        assert_eq!(keep(9), [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(keep(0), [1; 10]);
    }

    #[test]
    fn no_layer_is_emptied_and_ties_keep_the_first() {
        let keep = global(&[vec![1.0, 2.0], vec![0.1, 0.1, 0.1]], 0.0, 3).expect("fits");
        assert_eq!(keep, [vec![false, true], vec![true, false, false]]);
        let keep = global(&[vec![0.5, 0.5], vec![0.5, 0.5]], 0.0, 1).expect("fits");
        assert_eq!(keep, [[true, true], [true, false]]);
        let text = global(&[vec![1.0, 2.0], vec![0.1]], 0.0, 2)
            .expect_err("too many")
            .to_string();
        assert_eq!(
            text,
            "cannot remove 2 channels: at most 1 of 3 can go, since each of 2 layers keeps some"
        );
    }

    #[test]
    fn a_layer_of_small_scales_keeps_its_share() {
        let layers = [vec![1.0, -2.0, 3.0, 4.0], vec![0.1, -0.3, 0.2, 0.05]];
        let keep = |floor, remove| -> Vec<Vec<u8>> {
            let kept = global(&layers, floor, remove).expect("fits");
            kept.iter().map(|layer| bits(layer)).collect()
        };
        assert_eq!(keep(0.0, 3), [[1, 1, 1, 1], [0, 1, 0, 0]]);
        assert_eq!(keep(0.5, 3), [[0, 1, 1, 1], [0, 1, 1, 0]]);
        assert_eq!(keep(0.51, 2), [[0, 1, 1, 1], [1, 1, 1, 0]]);
        assert!(global(&layers, 0.5, 5).is_err());
    }

    #[test]
    fn small_shares_of_the_mean_go() {
        assert_eq!(above(&[1.0, 2.0, 3.0, 0.5, 3.5], 0.5), [true, true, true, false, true]);
        assert_eq!(above(&[1.0, 1.0], 1.0), [true, true]);
        assert_eq!(above(&[f32::NAN, 1.0], 1.0), [true, true]);
        assert!(above(&[], 1.0).is_empty());
    }

    #[test]
    fn the_scales_on_both_sides_of_the_threshold_leave_out_what_a_floor_keeps() {
        let spec = zoo::build("m-cifarnet", [3, 16, 16], 4, 0.06).expect("builds");
        let mut model = model::random_model(spec, 1).expect("builds");
        let norms = model.weights.iter_mut().filter(|(name, _)| name.ends_with(".gamma"));
        for ((_, gamma), base) in norms.zip([0.01, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]) {
            gamma
                .data
                .iter_mut()
                .zip(0..)
                .for_each(|(g, i)| *g = base + 0.1 * i as f32);
        }
        // Two of the first layer's four stay by the floor; 0.01 and 0.11 go.
        let [cut, kept] = scores_at(&model, &Score::NormScale, 0.5, 2).expect("fits");
        assert!((cut - 0.11).abs() < 1e-6 && (kept - 0.21).abs() < 1e-6, "{cut} {kept}");
        assert_eq!(scores_at(&model, &Score::NormScale, 0.5, 0).expect("fits")[0], 0.0);
    }

    #[test]
    fn slimming_masks_the_smallest_scales_of_all_groups() {
        let spec = zoo::build("resnet18", [3, 16, 16], 4, 0.05).expect("builds");
        let mut model = model::random_model(spec, 1).expect("builds");
        for (name, array) in &mut model.weights {
            if name.ends_with("gamma") {
                array.data.fill(1.0);
            }
        }
        // stem and the second convolutions of stage 1 are one group: the mean of their three.
        model.weights.get_mut("stem.norm.gamma").expect("there").data[1] = 0.1;
        model.weights.get_mut("stage1.0.conv1.norm.gamma").expect("there").data[2] = -0.2;
        let masks = without_lowest(&model, &Score::NormScale, 0.0, 2).expect("fits");
        let all = most(&model, &Score::NormScale, 0.0).expect("scales");
        assert!(
            without_lowest(&model, &Score::NormScale, 0.0, all).is_ok()
                && without_lowest(&model, &Score::NormScale, 0.0, all + 1).is_err()
        );
        let names: Vec<&str> = masks.keys().map(String::as_str).collect();
        assert_eq!(names, ["stage1.0.conv1", "stage1.0.conv2", "stage1.1.conv2", "stem"]);
        assert_eq!(masks["stem"].filters, [true, false, true]);
        assert_eq!(masks["stage1.0.conv2"], masks["stage1.1.conv2"]);
        assert_eq!(masks["stage1.0.conv1"].filters, [true, true, false]);
        let again = without_lowest(&Checkpoint { masks, ..model }, &Score::NormScale, 0.0, 1).expect("fits");
        let dead = |name: &str| again[name].filters.iter().filter(|&&b| !b).count();
        assert_eq!(
            again
                .values()
                .map(|m| m.filters.iter().filter(|&&b| !b).count())
                .sum::<usize>(),
            5,
            "{}",
            dead("stem")
        );
    }
}
