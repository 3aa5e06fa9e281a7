//! What a search chooses among: the sites with their floors and locks, and the budget that every vector meets.
//! What a vector spends is told by a function.
//!
//! A vector of wishes is met by scaling, never by drawing again: s_i = min(s_max_i, λ·u_i), and λ by bisection, so that
//! every target down to the floors has an answer. Sampling by rejection would not end for high targets.

use anyhow::{Result, bail, ensure};
use event::{Dimension, Site};

/// Wished sparsities below this are taken as this, so that scaling can prune every site in the end.
const LEAST_WISH: f64 = 1e-4;

/// A vector that spends at least this share of the budget needs no scaling.
const NEARLY: f64 = 0.97;

/// Sites with their limits. `floor` and `locks` are as long as `sites`.
#[derive(Clone)]
pub struct Space<'a> {
    /// What is decided.
    pub sites: &'a [Site],
    /// Least density of each site, above 0 and at most 1.
    pub floor: Vec<f32>,
    /// Sites held at a density; they take no part in the guide.
    pub locks: Vec<Option<f32>>,
    /// What must not be exceeded. Infinite: nothing is scaled, and wishes are taken as they are.
    pub budget: f64,
    /// What densities spend, in the budget's unit. Must not fall when a density rises.
    pub spent: &'a dyn Fn(&[f32]) -> f64,
}

impl Space<'_> {
    /// Checks lengths, floors, locks, and that the budget can be met.
    ///
    /// # Errors
    /// One line naming the site or the nearest budget that can be met.
    pub fn check(&self) -> Result<()> {
        let n = self.sites.len();
        ensure!(
            self.floor.len() == n && self.locks.len() == n,
            "{n} sites, but {} floors and {} locks",
            self.floor.len(),
            self.locks.len()
        );
        for (site, (floor, lock)) in self.sites.iter().zip(self.floor.iter().zip(&self.locks)) {
            let (name, floor) = (&site.name, *floor);
            ensure!(
                floor > 0.0 && floor <= 1.0,
                "site {name} has a least density of {floor}, expected more than 0 and at most 1"
            );
            if let Some(lock) = *lock {
                ensure!(
                    (floor..=1.0).contains(&lock),
                    "cannot lock site {name} at a density of {lock}, expected {floor} to 1"
                );
            }
        }
        let least = self.least();
        ensure!(
            least <= self.budget,
            "a budget of {} cannot be met: with these floors and locks the smallest possible is {}",
            number(self.budget),
            number(least)
        );
        Ok(())
    }

    /// The least that can be spent: every free site at its floor.
    pub fn least(&self) -> f64 {
        (self.spent)(&self.scaled(&vec![1.0; self.sites.len()], 2.0 / LEAST_WISH))
    }

    /// Whether `densities` respect floors, locks and budget.
    pub fn holds(&self, densities: &[f32]) -> bool {
        densities.len() == self.sites.len()
            && (0..densities.len()).all(|i| match self.locks[i] {
                Some(lock) => densities[i] == lock,
                None => (self.floor[i]..=1.0).contains(&densities[i]),
            })
            && (self.spent)(densities) <= self.budget
    }

    /// Densities for the wished sparsities `u` under the guide (AutoCompress, experience-guided search): within a
    /// dimension, bigger sites are pruned no less than smaller ones, as far as their floors let them. Spends the
    /// budget as exactly as rounding allows and never more.
    ///
    /// # Errors
    /// If `u` is no list of one finite number a site, or the budget cannot be met; the error names the smallest that can.
    pub fn fit(&self, u: &[f32]) -> Result<Vec<f32>> {
        let mut u = u.to_vec();
        self.check_wishes(&u)?;
        self.guide(&mut u);
        self.scale(&u, true)
    }

    /// The same without the guide.
    ///
    /// # Errors
    /// As [`Space::fit`].
    pub(crate) fn fit_free(&self, u: &[f32]) -> Result<Vec<f32>> {
        self.check_wishes(u)?;
        self.scale(u, false)
    }

    /// Densities in these proportions: d_i = min(1, λ·w_i), as many as the budget holds and never more. Shares of what is kept
    /// stay what they were when little is left, where shares of what is pruned ([`Space::fit`]) all come close to 1 and the
    /// smallest kept share, a bottleneck, is left to chance. Guided, bigger sites get the smaller widths.
    ///
    /// # Errors
    /// As [`Space::fit`].
    pub(crate) fn fit_widths(&self, widths: &[f32], guided: bool) -> Result<Vec<f32>> {
        self.check_wishes(widths)?;
        self.check()?;
        let mut widths = widths.to_vec();
        if guided {
            widths.iter_mut().for_each(|w| *w = -*w);
            self.guide(&mut widths);
            widths.iter_mut().for_each(|w| *w = -*w);
        }
        let scaled = |lambda: f64| -> Vec<f32> {
            let density = |(i, &w): (usize, &f32)| {
                let density = (lambda * f64::from(w)).clamp(f64::from(self.floor[i]), 1.0) as f32;
                self.locks[i].unwrap_or(density.max(self.floor[i]))
            };
            widths.iter().enumerate().map(density).collect()
        };
        if self.budget == f64::INFINITY {
            return Ok(scaled(1.0));
        }
        let most = 1.0
            / widths
                .iter()
                .copied()
                .fold(f32::INFINITY, f32::min)
                .max(LEAST_WISH as f32);
        let (mut under, mut over) = (0.0, f64::from(most));
        let within = |lambda: f64| (self.spent)(&scaled(lambda)) <= self.budget;
        if within(over) {
            return Ok(scaled(over));
        }
        while over - under > 1e-9 * over {
            let middle = 0.5 * (over + under);
            *(if within(middle) { &mut under } else { &mut over }) = middle;
        }
        let mut densities = scaled(under);
        self.fill(&mut densities, guided);
        Ok(densities)
    }

    /// Densities in the proportions of these that spend the budget as exactly as whole choices allow. Those that nearly do stay
    /// as they are, but for what still fits.
    ///
    /// # Errors
    /// As [`Space::fit`].
    pub fn exactly(&self, densities: &[f32]) -> Result<Vec<f32>> {
        self.check_wishes(densities)?;
        let spent = (self.spent)(densities);
        let mut exact = if spent <= self.budget && spent > NEARLY * self.budget {
            densities.to_vec()
        } else {
            self.fit_widths(densities, false)?
        };
        // One more choice of everything does not fit, but perhaps two of the smallest.
        loop {
            let before = exact.clone();
            self.fill(&mut exact, false);
            if exact == before {
                return Ok(exact);
            }
        }
    }

    /// One density for all that are free, as far as floors and whole choices let it: the uniform rival.
    ///
    /// # Errors
    /// If the budget cannot be met.
    pub fn uniform(&self) -> Result<Vec<f32>> {
        self.scale(&self.level(), false)
    }

    /// The same wish for all; nothing pruned where there is no budget.
    pub(crate) fn level(&self) -> Vec<f32> {
        vec![if self.budget.is_finite() { 1.0 } else { 0.0 }; self.sites.len()]
    }

    /// A vector made by hand, brought within floors and locks, and pruned further in its own proportions if it spends
    /// too much. Not guided: a person may know better.
    ///
    /// # Errors
    /// If it is no list of one finite number a site, or the budget cannot be met.
    pub fn bring(&self, densities: &[f32]) -> Result<Vec<f32>> {
        self.check_wishes(densities)?;
        let within: Vec<f32> = (0..densities.len())
            .map(|i| self.locks[i].unwrap_or(densities[i].clamp(self.floor[i], 1.0)))
            .collect();
        if (self.spent)(&within) <= self.budget {
            return Ok(within);
        }
        let u: Vec<f32> = within.iter().map(|d| 1.0 - d).collect();
        self.fit_free(&u)
    }

    /// Gives the wishes of each dimension's free sites back in order of size: the least to the smallest.
    pub fn guide(&self, u: &mut [f32]) {
        for sites in self.by_size() {
            let mut wishes: Vec<f32> = sites.iter().map(|&i| u[i]).collect();
            wishes.sort_by(f32::total_cmp);
            for (&i, wish) in sites.iter().zip(wishes) {
                u[i] = wish;
            }
        }
    }

    /// The free sites of each dimension, the smallest first.
    fn by_size(&self) -> Vec<Vec<usize>> {
        let mut dimensions: Vec<Dimension> = self.sites.iter().map(|s| s.dimension).collect();
        dimensions.sort();
        dimensions.dedup();
        let free = |i: &usize| self.locks[*i].is_none();
        dimensions
            .into_iter()
            .map(|dimension| {
                let of = |i: &usize| self.sites[*i].dimension == dimension;
                let mut sites: Vec<usize> = (0..self.sites.len()).filter(free).filter(of).collect();
                sites.sort_by(|&a, &b| self.sites[a].size.total_cmp(&self.sites[b].size));
                sites
            })
            .collect()
    }

    fn check_wishes(&self, u: &[f32]) -> Result<()> {
        let n = self.sites.len();
        ensure!(u.len() == n, "a vector of {} numbers for {n} sites", u.len());
        if let Some(i) = u.iter().position(|v| !v.is_finite()) {
            bail!("{} for site {}, expected a number", u[i], self.sites[i].name);
        }
        Ok(())
    }

    fn scaled(&self, u: &[f32], lambda: f64) -> Vec<f32> {
        (0..u.len())
            .map(|i| {
                let floor = self.floor[i];
                let sparsity = (lambda * f64::from(u[i])).clamp(0.0, 1.0 - f64::from(floor));
                self.locks[i].unwrap_or(((1.0 - sparsity) as f32).max(floor))
            })
            .collect()
    }

    /// The densest vector along the ray λ·u that does not exceed the budget.
    fn along(&self, u: &[f32]) -> Result<Vec<f32>> {
        self.check()?;
        if self.budget == f64::INFINITY {
            return Ok(self.scaled(u, 1.0));
        }
        let u: Vec<f32> = u.iter().map(|u| u.max(LEAST_WISH as f32)).collect();
        let within = |lambda: f64| (self.spent)(&self.scaled(&u, lambda)) <= self.budget;
        let (mut over, mut under) = (0.0, 2.0 / LEAST_WISH);
        if within(over) {
            return Ok(self.scaled(&u, over));
        }
        // Densities are f32: a relative step of 1e-9 in λ moves none of them.
        while under - over > 1e-9 * under {
            let middle = 0.5 * (over + under);
            *(if within(middle) { &mut under } else { &mut over }) = middle;
        }
        Ok(self.scaled(&u, under))
    }

    fn scale(&self, u: &[f32], guided: bool) -> Result<Vec<f32>> {
        let mut densities = self.along(u)?;
        if self.budget.is_finite() {
            self.fill(&mut densities, guided);
        }
        Ok(densities)
    }

    /// Gives back what rounding left of the budget: one more choice to each site that can have it, the smallest first,
    /// so that the guide still holds.
    pub(crate) fn fill(&self, densities: &mut [f32], guided: bool) {
        for sites in self.by_size() {
            for (rank, &i) in sites.iter().enumerate() {
                let before = densities[i];
                let more = (before + self.sites[i].share_of_step()).min(1.0);
                if guided && sites[..rank].iter().any(|&j| densities[j] < more) {
                    continue;
                }
                densities[i] = more;
                if (self.spent)(densities) > self.budget {
                    densities[i] = before;
                }
            }
        }
    }
}

/// Large numbers whole, small ones with four decimals; rounded up, so that a least stays one that can be met.
fn number(value: f64) -> String {
    if value.abs() >= 1000.0 {
        format!("{:.0}", value.ceil())
    } else {
        format!("{}", (value * 1e4).ceil() / 1e4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{site, sites};
    use proptest::prelude::*;

    /// Σ size · density, as for columns of independent layers.
    fn linear(sites: &[Site]) -> impl Fn(&[f32]) -> f64 + '_ {
        |d| sites.iter().zip(d).map(|(s, d)| s.size * f64::from(*d)).sum()
    }

    fn space<'a>(sites: &'a [Site], budget: f64, spent: &'a dyn Fn(&[f32]) -> f64) -> Space<'a> {
        Space {
            sites,
            floor: vec![1e-6; sites.len()],
            locks: vec![None; sites.len()],
            budget,
            spent,
        }
    }

    #[test]
    fn widths_keep_their_proportions_however_deep_the_cut() {
        let sites: Vec<Site> = sites(&[1.0, 1.0, 1.0])
            .into_iter()
            .map(|s| Site { choices: 10_000, ..s })
            .collect();
        let spent = linear(&sites);
        for share in [0.5, 0.05, 0.005] {
            let space = space(&sites, share * 3.0, &spent);
            let d = space.fit_widths(&[0.1, 0.2, 0.4], false).expect("fits");
            assert!(
                (d[1] / d[0] - 2.0).abs() < 0.03 && (d[2] / d[0] - 4.0).abs() < 0.06,
                "{share}: {d:?}"
            );
            assert!(space.holds(&d) && spent(&d) > 0.99 * share * 3.0, "{d:?}");
        }
        // What would be more than all goes to the others.
        let space = space(&sites, 1.5, &spent);
        let d = space.fit_widths(&[0.01, 0.01, 1.0], false).expect("fits");
        assert!(d[2] == 1.0 && (d[0] - 0.25).abs() < 1e-3, "{d:?}");
    }

    #[test]
    fn too_much_and_too_little_come_to_exactly_the_budget_in_their_proportions() {
        let sites: Vec<Site> = sites(&[1.0, 2.0, 4.0])
            .into_iter()
            .map(|s| Site { choices: 50, ..s })
            .collect();
        let whole = |d: &[f32]| d.iter().map(|d| (d * 50.0).round() / 50.0).collect::<Vec<f32>>();
        let spent = |d: &[f32]| linear(&sites)(&whole(d));
        let space = space(&sites, 1.4, &spent);
        for widths in [[0.04, 0.08, 0.04], [0.4, 0.8, 0.4], [0.16, 0.32, 0.16]] {
            let d = whole(&space.exactly(&widths).expect("fits"));
            // One more choice of the smallest site costs 0.02.
            assert!(spent(&d) <= 1.4 && spent(&d) > 1.4 - 0.021, "{d:?}");
            assert!(
                (d[1] / d[0] - 2.0).abs() < 0.5 && (d[2] / d[0] - 1.0).abs() < 0.35,
                "{d:?}"
            );
        }
        let nearly = [0.18, 0.2, 0.2];
        assert_eq!(whole(&space.exactly(&nearly).expect("fits"))[1..], [0.2, 0.2]);
    }

    #[test]
    fn guided_widths_go_to_sites_by_size_and_locks_hold() {
        let sites = sites(&[3.0, 1.0, 2.0]);
        let spent = linear(&sites);
        let mut space = space(&sites, 3.0, &spent);
        let d = space.fit_widths(&[0.9, 0.2, 0.5], true).expect("fits");
        assert!(d[1] >= d[2] && d[2] >= d[0], "{d:?}");
        space.locks[1] = Some(0.125);
        let d = space.fit_widths(&[0.9, 0.2, 0.5], false).expect("fits");
        assert!(d[1] == 0.125 && space.holds(&d), "{d:?}");
    }

    #[test]
    fn wishes_go_to_sites_by_size_and_are_scaled_to_the_budget() {
        let sites = sites(&[1728.0, 36864.0, 73728.0]);
        let spent = linear(&sites);
        let space = space(&sites, 0.5 * 112_320.0, &spent);
        let mut u = vec![0.5, 0.1, 0.3];
        space.guide(&mut u);
        assert_eq!(u, [0.1, 0.3, 0.5]);
        let removed: f64 = sites
            .iter()
            .zip(&u)
            .map(|(s, u)| (s.size * f64::from(*u)).floor())
            .sum();
        assert_eq!(removed, 48_095.0);
        let densities = space.fit(&[0.5, 0.1, 0.3]).unwrap();
        for (d, s) in densities.iter().zip([0.116_769, 0.350_307, 0.583_844]) {
            assert!((1.0 - d - s).abs() < 2e-5, "{densities:?}");
        }
        assert!((spent(&densities) - 56_160.0).abs() < 0.1);
    }

    #[test]
    fn a_rate_that_would_pass_one_stops_at_the_floor_and_the_others_give_more() {
        let sites = sites(&[100.0, 1000.0, 10000.0]);
        let spent = linear(&sites);
        let legal = space(&sites, 0.1 * 11_100.0, &spent).fit(&[0.1, 0.4, 0.6]).unwrap();
        assert!((1.0 - legal[2] - 0.935_1).abs() < 1e-3, "{legal:?}");
        let spread = space(&sites, 0.02 * 11_100.0, &spent).fit(&[0.01, 0.1, 0.9]).unwrap();
        assert_eq!(spread[2], 1e-6);
        assert!((spent(&spread) - 222.0).abs() < 0.5, "{spread:?}");
    }

    #[test]
    fn no_wishes_at_all_still_meet_the_budget() {
        let sites = sites(&[10.0, 20.0]);
        let spent = linear(&sites);
        let densities = space(&sites, 15.0, &spent).fit(&[0.0, 0.0]).unwrap();
        assert!((spent(&densities) - 15.0).abs() < 1e-4, "{densities:?}");
    }

    #[test]
    fn what_cannot_be_met_names_what_can() {
        let sites = sites(&[100.0, 300.0]);
        let spent = linear(&sites);
        let mut space = space(&sites, 90.0, &spent);
        space.floor = vec![0.25, 0.25];
        let text = space.fit(&[0.5, 0.5]).unwrap_err().to_string();
        assert!(text.contains("budget of 90 ") && text.ends_with(" 100"), "{text}");
        space.budget = 100.0;
        assert_eq!(space.fit(&[0.1, 0.9]).unwrap(), [0.25, 0.25]);
        space.locks[0] = Some(1.0);
        assert!(space.fit(&[0.1, 0.9]).unwrap_err().to_string().ends_with(" 175"));
        space.budget = f64::NAN;
        assert!(space.fit(&[0.1, 0.9]).is_err());
    }

    #[test]
    fn bad_vectors_and_locks_are_refused_by_name() {
        let sites = sites(&[100.0, 300.0]);
        let spent = linear(&sites);
        let mut space = space(&sites, 200.0, &spent);
        assert!(space.fit(&[0.5]).is_err());
        assert!(space.fit(&[0.5, f32::NAN]).unwrap_err().to_string().contains("site s1"));
        space.locks[1] = Some(0.0);
        assert!(space.check().unwrap_err().to_string().contains("site s1"));
    }

    #[test]
    fn uniform_is_one_density_but_for_floors_and_locks() {
        let sites = sites(&[100.0, 100.0, 100.0, 100.0]);
        let spent = linear(&sites);
        let mut space = space(&sites, 200.0, &spent);
        space.floor[0] = 0.75;
        space.locks[3] = Some(1.0);
        let densities = space.uniform().unwrap();
        assert_eq!((densities[0], densities[3]), (0.75, 1.0));
        assert!((densities[1] - 0.125).abs() < 1e-6 && densities[1] == densities[2]);
    }

    #[test]
    fn what_is_made_by_hand_is_left_alone_or_pruned_in_proportion() {
        let sites = sites(&[100.0, 300.0]);
        let spent = linear(&sites);
        let mut space = space(&sites, 200.0, &spent);
        assert_eq!(space.bring(&[0.1, 0.5]).unwrap(), [0.1, 0.5]);
        let less = space.bring(&[0.5, 0.75]).unwrap();
        assert!((less[0] - 0.2).abs() < 1e-4 && (less[1] - 0.6).abs() < 1e-4, "{less:?}");
        space.floor[0] = 0.3;
        assert_eq!(space.bring(&[0.1, 0.5]).unwrap(), [0.3, 0.5]);
    }

    #[test]
    fn without_a_budget_wishes_are_taken_as_they_are() {
        let sites = sites(&[100.0, 300.0]);
        let spent = linear(&sites);
        let densities = space(&sites, f64::INFINITY, &spent).fit(&[0.5, 0.0]).unwrap();
        assert_eq!(densities, [1.0, 0.5]);
    }

    fn any_sites() -> impl Strategy<Value = Vec<Site>> {
        let dimension = prop_oneof![Just(Dimension::Filter), Just(Dimension::Column)];
        let one = (1u32..200, 1usize..40, dimension);
        proptest::collection::vec(one, 1..9).prop_map(|all| {
            let make = |(i, (size, choices, dimension))| Site {
                choices,
                dimension,
                ..site(i, f64::from(size))
            };
            all.into_iter().enumerate().map(make).collect()
        })
    }

    proptest! {
        #[test]
        fn every_fit_is_guided_within_limits_and_on_the_budget(
            sites in any_sites(),
            wishes in proptest::collection::vec(0.0f32..1.0, 9),
            floors in proptest::collection::vec(0.02f32..0.4, 9),
            locked in proptest::collection::vec(0usize..4, 9),
            target in 0.0f64..1.0,
        ) {
            let n = sites.len();
            // Whole choices, rounded up, as pruning does it.
            let kept = |i: usize, d: f32| (f64::from(d) * sites[i].choices as f64 - 1e-4).ceil() / sites[i].choices as f64;
            let spent = |d: &[f32]| -> f64 { (0..n).map(|i| sites[i].size * kept(i, d[i])).sum() };
            let mut space = space(&sites, f64::MAX, &spent);
            space.floor = floors[..n].to_vec();
            space.locks = locked[..n].iter().map(|l| (*l == 0).then_some(0.5)).collect();
            let (least, most) = (space.least(), (space.spent)(&space.scaled(&vec![0.0; n], 1.0)));
            space.budget = least + target * (most - least);
            let d = space.fit(&wishes[..n]).unwrap();

            prop_assert!(spent(&d) <= space.budget && space.holds(&d));
            for i in 0..n {
                for j in 0..n {
                    let pair = space.locks[i].is_none() && space.locks[j].is_none() && sites[i].dimension == sites[j].dimension;
                    if pair && sites[i].size < sites[j].size {
                        prop_assert!(d[i] >= d[j] || d[j] == space.floor[j], "{d:?}");
                    }
                }
            }
            // What is left could not pay for one more choice of everything that is not whole.
            let all: Vec<f32> = (0..n)
                .map(|i| space.locks[i].unwrap_or((d[i] + 1.0 / sites[i].choices as f32).min(1.0)))
                .collect();
            prop_assert!(all == d || spent(&all) > space.budget, "{d:?} {} of {}", spent(&d), space.budget);
        }
    }
}
