//! The multiple-choice knapsack: of each group one choice, of the greatest value together within a budget. By dynamic
//! programming over the budget, in equal parts.
//! Knows nothing of what is chosen.

/// Parts of the budget. Costs are rounded up to whole parts, so that it is never exceeded.
const PARTS: usize = 4096;

/// One choice of a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// What it costs, not negative.
    pub cost: f64,
    /// What it is worth.
    pub value: f64,
}

/// Which choice of each group; none if even the cheapest ones cost more than the budget.
pub fn knapsack(groups: &[Vec<Choice>], budget: f64) -> Option<Vec<usize>> {
    let parts = |cost: f64| (cost / budget * PARTS as f64 - 1e-9).ceil().max(0.0) as usize;
    // The most that the groups so far are worth within each part of the budget, and the choice of the last one.
    let mut most = vec![0.0; PARTS + 1];
    let mut chosen: Vec<Vec<Option<usize>>> = Vec::new();
    for group in groups {
        let mut next = vec![f64::NEG_INFINITY; PARTS + 1];
        let mut choice = vec![None; PARTS + 1];
        for (i, c) in group.iter().enumerate() {
            for spent in parts(c.cost)..=PARTS {
                let value = most[spent - parts(c.cost)] + c.value;
                if value > next[spent] {
                    (next[spent], choice[spent]) = (value, Some(i));
                }
            }
        }
        most = next;
        chosen.push(choice);
    }
    let mut left = PARTS;
    let mut out = vec![0; groups.len()];
    for (g, group) in groups.iter().enumerate().rev() {
        let i = chosen[g][left]?;
        out[g] = i;
        left -= parts(group[i].cost);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(choices: &[[f64; 2]]) -> Vec<Choice> {
        choices.iter().map(|&[cost, value]| Choice { cost, value }).collect()
    }

    #[test]
    fn the_most_valuable_combination_is_found_and_not_the_greedy_one() {
        // By value for cost the first group's second choice comes first, 3 for 1.5, and leaves no room for 4 for 2.
        let groups = [of(&[[1.0, 1.0], [2.5, 4.0]]), of(&[[1.0, 0.5], [3.0, 4.5]])];
        assert_eq!(knapsack(&groups, 4.0), Some(vec![0, 1]));
        assert_eq!(knapsack(&groups, 3.6), Some(vec![1, 0]));
        assert_eq!(knapsack(&groups, 5.6), Some(vec![1, 1]));
        assert_eq!(knapsack(&groups, 1.9), None);
        assert_eq!(knapsack(&[], 1.0), Some(vec![]));
    }

    proptest! {
        #[test]
        fn no_combination_within_the_budget_is_worth_more(
            groups in prop::collection::vec(prop::collection::vec((1u32..64, 0u32..50), 1..5), 1..5),
            budget in 1u32..256,
        ) {
            // Whole parts, so that rounding takes nothing away.
            let budget = f64::from(budget.next_power_of_two());
            let groups: Vec<Vec<Choice>> = groups
                .into_iter()
                .map(|g| g.into_iter().map(|(c, v)| Choice { cost: f64::from(c), value: f64::from(v) }).collect())
                .collect();
            let mut best: Option<f64> = None;
            let mut all = vec![vec![]];
            for group in &groups {
                all = all.into_iter().flat_map(|a: Vec<usize>| (0..group.len()).map(move |i| [a.clone(), vec![i]].concat())).collect();
            }
            let sums = |choice: &[usize]| {
                let picked = groups.iter().zip(choice).map(|(g, &i)| g[i]);
                picked.fold([0.0, 0.0], |[c, v], p| [c + p.cost, v + p.value])
            };
            for choice in &all {
                let [cost, value] = sums(choice);
                if cost <= budget && best.is_none_or(|b| value > b) {
                    best = Some(value);
                }
            }
            let found = knapsack(&groups, budget).map(|choice| sums(&choice));
            prop_assert_eq!(found.map(|[_, value]| value), best);
            prop_assert!(found.is_none_or(|[cost, _]| cost <= budget));
        }
    }
}
