//! How AMC (arXiv 1802.03494) keeps an episode within its budget: an action is limited so that what is not decided yet can
//! still make up for it.

use super::space::Space;

/// The largest density that a site may have, with `densities` decided before it and all sites after it at their floors or
/// locks; at least its floor. Equals the paper's algorithm where spending is a sum over layers, and the released code's
/// form where the densities of neighbors multiply; the budget may be in any unit.
pub(crate) fn densest(space: &Space, densities: &[f32], site: usize) -> f32 {
    let mut vector = densities.to_vec();
    for (later, density) in vector.iter_mut().enumerate().skip(site + 1) {
        *density = space.locks[later].unwrap_or(space.floor[later]);
    }
    let mut within = |density: f32| {
        vector[site] = density;
        (space.spent)(&vector) <= space.budget
    };
    if within(1.0) {
        return 1.0;
    }
    let (mut under, mut over) = (space.floor[site], 1.0f32);
    while over - under > 1e-6 {
        let middle = 0.5 * (under + over);
        *(if within(middle) { &mut under } else { &mut over }) = middle;
    }
    under
}

/// The accuracy-guaranteed reward R_FLOPs = −error · ln(MACs): no budget, but less work is worth accuracy.
pub fn reward_macs(top1: f32, macs: f64) -> f32 {
    (-(1.0 - f64::from(top1)) * macs.ln()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::sites;

    fn near(got: f64, expected: f64) -> bool {
        (got - expected).abs() < 2e-6
    }

    /// The paper's algorithm: the sparsity applied where `action` was asked for, in a sum of `weights` of which the share
    /// `target` must go, with `reduced` gone before layer `at` and no layer pruned by more than `most`.
    fn sparsity_by_sum(weights: &[f64], at: usize, reduced: f64, target: f64, most: f64, action: f64) -> f64 {
        let all: f64 = weights.iter().sum();
        let rest: f64 = weights[at + 1..].iter().sum();
        let duty = target * all - most * rest - reduced;
        action.min(most).max(duty / weights[at])
    }

    /// The released code's form: the density applied where `action` was asked for, if `this` is what the layer and its
    /// neighbor spend for each unit of it, `other` what all others spend with the undecided at `least`.
    fn density_by_neighbors(target: f64, other: f64, this: f64, least: f64, action: f64) -> f64 {
        action.min((target - other) / this).max(least)
    }

    fn space<'a>(sites: &'a [event::Site], spent: &'a dyn Fn(&[f32]) -> f64) -> Space<'a> {
        Space {
            sites,
            floor: vec![0.2; sites.len()],
            locks: vec![None; sites.len()],
            budget: 300.0,
            spent,
        }
    }

    #[test]
    fn in_a_sum_it_is_the_papers_algorithm_and_reduces_exactly_half() {
        let weights = [100.0, 300.0, 200.0];
        let sites = sites(&weights);
        let sum = |d: &[f32]| f64::from(100.0 * d[0] + 300.0 * d[1] + 200.0 * d[2]);
        let space = space(&sites, &sum);
        let (mut reduced, mut densities) = (0.0, vec![1.0; 3]);
        for (at, (action, expected)) in [(0.2, 0.2), (0.3, 0.4), (0.9, 0.8)].into_iter().enumerate() {
            let sparsity = sparsity_by_sum(&weights, at, reduced, 0.5, 0.8, action);
            densities[at] = densest(&space, &densities, at).min(1.0 - action as f32).max(0.2);
            assert!(
                near(sparsity, expected) && near(1.0 - f64::from(densities[at]), expected),
                "{densities:?}"
            );
            reduced += sparsity * weights[at];
        }
        assert!(near(reduced, 300.0));
    }

    #[test]
    fn with_neighbors_coupled_it_is_the_released_codes_form() {
        let sites = sites(&[100.0, 300.0]);
        let coupled = |d: &[f32]| f64::from(100.0 * d[0] + 300.0 * d[0] * d[1] + 200.0 * d[1]);
        let space = space(&sites, &coupled);
        let first = density_by_neighbors(300.0, 0.2 * 200.0, 100.0 + 0.2 * 300.0, 0.2, 0.9);
        assert_eq!((first, densest(&space, &[1.0, 1.0], 0)), (0.9, 1.0));
        let second = density_by_neighbors(300.0, 100.0 * first, 300.0 * first + 200.0, 0.2, 0.9);
        assert!(near(second, 0.446_809), "{second}");
        assert!(near(f64::from(densest(&space, &[0.9, 1.0], 1)), second));
        assert!(near(100.0 * first + 300.0 * first * second + 200.0 * second, 300.0));
        assert_eq!(density_by_neighbors(300.0, 290.0, 200.0, 0.2, 0.9), 0.2);
    }

    #[test]
    fn what_comes_later_is_counted_at_its_lock() {
        let sites = sites(&[100.0, 300.0]);
        let spent = |d: &[f32]| f64::from(100.0 * d[0] + 300.0 * d[1]);
        let mut space = space(&sites, &spent);
        space.locks[1] = Some(0.9);
        assert!(near(f64::from(densest(&space, &[1.0, 1.0], 0)), 0.3));
    }

    #[test]
    fn the_accuracy_guaranteed_reward_is_the_papers() {
        assert!((reward_macs(0.705, 285e6) + 5.743_06).abs() < 1e-5);
    }
}
