//! Whether one image is split over all threads or left to one: whichever was faster lately on this machine.
//! Knows nothing of what is timed.
//!
//! A few layers of microseconds each gain little from a second core, and lose much while that core is worth nothing, as one of a
//! virtual machine may be from one second to the next. So both ways are tried now and then.
//!
//! ```text
//! try both ways for a short turn
//! loop: take the faster for a long turn; try the slower again for a short one
//! ```

use std::time::Instant;

/// Images of a short turn. The first wakes the other threads and counts for nothing.
const SHORT: u32 = 4;

/// Images of a long turn if both ways are equally fast; the slower the other, the more.
const LONG: f32 = 256.0;

/// Remembers how long both ways take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ThreadChoice {
    /// Seconds per image on one thread and on all; none until tried.
    secs: [Option<f32>; 2],
    /// Place in `secs` of the way of this turn.
    way: usize,
    /// Images of this turn that are to come.
    left: u32,
    is_long: bool,
    is_first: bool,
}

impl ThreadChoice {
    /// Runs one image the way that is due, told whether to split it, and takes in how long that took.
    pub(crate) fn time(&mut self, run: impl FnOnce(bool)) {
        let (is_split, start) = (self.next(), Instant::now());
        run(is_split);
        self.learn(start.elapsed().as_secs_f32());
    }

    fn next(&mut self) -> bool {
        if self.left == 0 {
            self.turn();
        }
        self.left -= 1;
        self.way == 1
    }

    fn learn(&mut self, secs: f32) {
        if std::mem::take(&mut self.is_first) {
            return;
        }
        let known = &mut self.secs[self.way];
        *known = Some(match *known {
            None => secs,
            // Whatever held up one image, it is not believed to be twice as slow at once.
            Some(before) if self.is_long => before + (secs.min(2.0 * before) - before) / 4.0,
            Some(before) => before.min(secs),
        });
    }

    fn turn(&mut self) {
        let untried = self.secs.iter().rposition(Option::is_none);
        let [one, all] = self.secs.map(Option::unwrap_or_default);
        let (faster, ratio) = if all <= one { (1, one / all) } else { (0, all / one) };
        self.is_long = untried.is_none() && !self.is_long;
        (self.way, self.left) = if self.is_long {
            (faster, (LONG * ratio.min(4.0)) as u32)
        } else {
            (untried.unwrap_or(1 - faster), SHORT)
        };
        if !self.is_long {
            (self.secs[self.way], self.is_first) = (None, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images that were split, of so many, if one thread and all take so long.
    fn splits(split: &mut ThreadChoice, images: u32, [one, all]: [f32; 2]) -> u32 {
        (0..images)
            .map(|_| {
                let is_split = split.next();
                split.learn(if is_split { all } else { one });
                u32::from(is_split)
            })
            .sum()
    }

    #[test]
    fn the_faster_way_is_taken_and_the_other_tried_now_and_then() {
        let mut split = ThreadChoice::default();
        assert_eq!(splits(&mut split, 8, [2.0, 1.0]), 4, "both are tried");
        assert_eq!(splits(&mut split, 512, [2.0, 1.0]), 512);
        assert_eq!(splits(&mut split, 4, [2.0, 1.0]), 0, "is it still slower?");
        assert_eq!(splits(&mut split, 512, [2.0, 1.0]), 512);
    }

    #[test]
    fn it_follows_a_machine_that_changes() {
        let mut split = ThreadChoice::default();
        splits(&mut split, 2000, [1.9, 1.6]);
        splits(&mut split, 2000, [1.9, 4.5]);
        assert!(splits(&mut split, 2000, [1.9, 4.5]) <= 20, "mostly on one");
        splits(&mut split, 2000, [1.9, 1.6]);
        assert!(splits(&mut split, 2000, [1.9, 1.6]) >= 1900, "mostly on all");
    }

    #[test]
    fn one_image_that_was_held_up_changes_nothing() {
        let mut split = ThreadChoice::default();
        splits(&mut split, 8 + 511, [2.0, 1.0]);
        assert!(split.next(), "the last of a long turn");
        split.learn(1000.0);
        assert_eq!(splits(&mut split, 4 + 400, [2.0, 1.0]), 400);
    }
}
