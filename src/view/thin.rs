//! A curve of any length as at most two points a column, growing point by point: the smallest and the largest value
//! of each column are kept, so that no spike is lost.
//! Knows nothing of what the curve means.

/// The smallest and the largest point among neighbors, in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Extremes {
    low: [f64; 2],
    high: [f64; 2],
}

impl Extremes {
    fn of(point: [f64; 2]) -> Self {
        Self {
            low: point,
            high: point,
        }
    }

    fn join(&mut self, other: Self) {
        if other.low[1] < self.low[1] {
            self.low = other.low;
        }
        if other.high[1] > self.high[1] {
            self.high = other.high;
        }
    }
}

/// A curve being thinned. Points come with rising x.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Thinner {
    most: usize,
    each: usize,
    in_last: usize,
    columns: Vec<Extremes>,
    last: Option<[f64; 2]>,
}

impl Thinner {
    /// Keeps between `columns` and twice as many columns once there are enough points.
    pub(crate) fn new(columns: usize) -> Self {
        Self {
            most: columns.max(1).saturating_mul(2),
            each: 1,
            in_last: 0,
            columns: Vec::new(),
            last: None,
        }
    }

    /// Adds a point. Values that are not numbers are left out.
    pub(crate) fn push(&mut self, point: [f64; 2]) {
        if !point[1].is_finite() {
            return;
        }
        self.last = Some(point);
        if self.in_last < self.each && self.in_last > 0 {
            self.in_last += 1;
            if let Some(column) = self.columns.last_mut() {
                column.join(Extremes::of(point));
            }
            return;
        }
        if self.columns.len() == self.most {
            self.halve();
        }
        self.columns.push(Extremes::of(point));
        self.in_last = 1;
    }

    /// Joins neighbors. The number of columns is even here, so that all are full.
    fn halve(&mut self) {
        for i in 0..self.columns.len() / 2 {
            let mut joined = self.columns[2 * i];
            joined.join(self.columns[2 * i + 1]);
            self.columns[i] = joined;
        }
        self.columns.truncate(self.columns.len() / 2);
        self.each *= 2;
    }

    /// Whether points were joined.
    pub(crate) fn is_thinned(&self) -> bool {
        self.each > 1
    }

    /// The thinned curve: both extremes of each column by rising x, and the newest point.
    pub(crate) fn points(&self) -> Vec<[f64; 2]> {
        let mut out = Vec::with_capacity(self.columns.len() * 2 + 1);
        for column in &self.columns {
            let (a, b) = if column.low[0] <= column.high[0] {
                (column.low, column.high)
            } else {
                (column.high, column.low)
            };
            out.push(a);
            if a[0] != b[0] {
                out.push(b);
            }
        }
        if let Some(last) = self.last.filter(|last| out.last() != Some(last)) {
            out.push(last);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_curves_are_kept_as_they_are() {
        let mut thin = Thinner::new(4);
        let points: Vec<[f64; 2]> = (0..8).map(|i| [f64::from(i), f64::from(i * i % 5)]).collect();
        points.iter().for_each(|&p| thin.push(p));
        assert_eq!(thin.points(), points);
    }

    #[test]
    fn a_spike_in_a_million_points_stays() {
        let mut thin = Thinner::new(100);
        for i in 0..1_000_000 {
            let y = if i == 777_777 {
                50.0
            } else if i == 123 {
                f64::NAN
            } else {
                1.0
            };
            thin.push([f64::from(i), y]);
        }
        let points = thin.points();
        assert!(points.len() <= 401, "{}", points.len());
        assert!(points.contains(&[777_777.0, 50.0]));
        assert_eq!(points.last(), Some(&[999_999.0, 1.0]));
    }

    proptest! {
        #[test]
        fn extremes_and_order_survive(values in prop::collection::vec(-1e3f64..1e3, 1..500), columns in 1usize..20) {
            let mut thin = Thinner::new(columns);
            for (i, &y) in values.iter().enumerate() {
                thin.push([i as f64, y]);
            }
            let points = thin.points();
            prop_assert!(points.is_sorted_by(|a, b| a[0] < b[0]));
            let range = |ys: &mut dyn Iterator<Item = f64>| ys.fold((f64::MAX, f64::MIN), |(l, h), y| (l.min(y), h.max(y)));
            prop_assert_eq!(range(&mut points.iter().map(|p| p[1])), range(&mut values.iter().copied()));
            prop_assert!(points.len() <= columns * 4 + 1);
        }
    }
}
