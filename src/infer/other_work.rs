//! What the machine's processors did besides this program while something was timed, as Linux counts it.
//! Knows nothing of what is timed.

use serde::{Deserialize, Serialize};

/// Ticks of all processors together that are needed to tell shares: 0.2 seconds of one.
const LEAST_TICKS: u64 = 20;
/// Shares that can be seen in a time.
const MANY: f64 = 0.1;
const MANY_STOLEN: f64 = 0.02;

/// Shares of the processors' time, 0 to 1, that this program could not have while something was timed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OtherWork {
    /// What other programs of this machine had.
    pub programs: f64,
    /// What the host of a virtual machine kept or gave to others (steal).
    pub steal: f64,
}

impl OtherWork {
    /// In words, if it is enough to be seen in a time.
    pub fn says(&self) -> Option<String> {
        let percent = |share: f64| format!("{:.0} % of the processors' time", share * 100.0);
        let programs = (self.programs >= MANY).then(|| format!("other programs had {}", percent(self.programs)));
        let steal = (self.steal >= MANY_STOLEN).then(|| format!("the host took {} (steal)", percent(self.steal)));
        let all: Vec<String> = programs.into_iter().chain(steal).collect();
        (!all.is_empty()).then(|| format!("the machine was busy: {}", all.join(", ")))
    }
}

/// A time span in which other work is counted.
#[derive(Clone, Copy, Debug)]
pub struct OtherWorkSpan(Option<Ticks>);

impl OtherWorkSpan {
    /// Begins now.
    pub fn begin() -> Self {
        Self(Ticks::read())
    }

    /// What others had since the beginning; none where the system does not say it, or of too short a span.
    pub fn end(self) -> Option<OtherWork> {
        Ticks::read()?.since(self.0?)
    }
}

/// Ticks until now.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ticks {
    /// Of all processors, whatever they did.
    all: u64,
    /// Of these, idle.
    idle: u64,
    /// Of these, stolen.
    steal: u64,
    /// This program's.
    own: u64,
}

impl Ticks {
    fn read() -> Option<Self> {
        let read = |path| std::fs::read_to_string(path).ok();
        Self::parse(&read("/proc/stat")?, &read("/proc/self/stat")?)
    }

    /// Of the texts of `/proc/stat` and `/proc/self/stat`.
    fn parse(machine: &str, program: &str) -> Option<Self> {
        let line = machine.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Option<Vec<u64>> = line.split_whitespace().map(|n| n.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; what guests had is in the first two already.
        let ticks: [u64; 8] = ticks?.get(..8)?.try_into().ok()?;
        // The name may hold spaces and brackets.
        let mut fields = program.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut next = || fields.next()?.parse::<u64>().ok();
        Some(Self {
            all: ticks.iter().fold(0, |sum: u64, n| sum.saturating_add(*n)),
            idle: ticks[3].saturating_add(ticks[4]),
            steal: ticks[7],
            own: next()?.saturating_add(next()?),
        })
    }

    fn since(self, before: Self) -> Option<OtherWork> {
        // Counters of virtual machines are known to go back a little.
        let of = |field: fn(&Self) -> u64| field(&self).saturating_sub(field(&before));
        let all = of(|t| t.all);
        let share = |ticks: u64| (ticks as f64 / all as f64).min(1.0);
        let known = [of(|t| t.idle), of(|t| t.steal), of(|t| t.own)];
        let programs = known.iter().fold(all, |left, n| left.saturating_sub(*n));
        (all >= LEAST_TICKS).then(|| OtherWork {
            programs: share(programs),
            steal: share(of(|t| t.steal)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded on a virtual machine of two processors, cut after the first lines.
    const BEFORE: &str = "cpu  4705 150 1120 16250 520 0 30 175 0 0\ncpu0 2350 75 560 8125 260 0 15 87 0 0\nintr 114930548 113199788 3\nctxt 1990473\n";
    const AFTER: &str = "cpu  4765 150 1130 16290 520 0 30 265 0 0\ncpu0 2380 75 565 8145 260 0 15 132 0 0\nintr 114930999 113199799 3\nctxt 1990999\n";

    fn own(user: u64, system: u64) -> String {
        format!("4711 (a b) c) R 1 4711 4711 0 -1 4194304 900 0 0 0 {user} {system} 0 0 20 0 3 0 12345 1000 100\n")
    }

    #[test]
    fn shares_are_told_from_recorded_counters() {
        let at = |machine: &str, program: &str| Ticks::parse(machine, program).expect("reads");
        let (before, after) = (at(BEFORE, &own(100, 10)), at(AFTER, &own(128, 12)));
        // 200 ticks: 40 idle, 90 stolen, 30 our own, 40 of others.
        let found = after.since(before).expect("long enough");
        assert_eq!(
            found,
            OtherWork {
                programs: 0.2,
                steal: 0.45
            }
        );
        assert_eq!(
            found.says().as_deref(),
            Some(
                "the machine was busy: other programs had 20 % of the processors' time, the host took 45 % of the processors' time (steal)"
            )
        );
        assert_eq!(OtherWork::default().says(), None);
        assert_eq!(before.since(before), None, "too short to tell");
        assert_eq!(before.since(after), None, "counters that go back");
    }

    #[test]
    fn what_is_no_such_file_says_nothing() {
        let good = own(1, 1);
        for machine in [
            "",
            "cpu\n",
            "cpu  1 2 3\n",
            "cpu  1 2 3 4 5 6 x 8\n",
            "cpu  -1 2 3 4 5 6 7 8\n",
        ] {
            assert_eq!(Ticks::parse(machine, &good), None, "{machine}");
        }
        for program in ["", "4711 (a) R 1", "4711 a R 1 2 3 4 5 6 7 8 9 10 11 12 13 14"] {
            assert_eq!(Ticks::parse(BEFORE, program), None, "{program}");
        }
        let huge = format!("cpu  {0} {0} {0} {0} {0} {0} {0} {0}\n", u64::MAX);
        let huge = Ticks::parse(&huge, &own(u64::MAX, u64::MAX)).expect("reads");
        let small = Ticks::parse(BEFORE, &good).expect("reads");
        let shares = huge.since(small).expect("long enough");
        assert!((0.0..=1.0).contains(&shares.programs) && (0.0..=1.0).contains(&shares.steal));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_says_what_others_do() {
        let span = OtherWorkSpan::begin();
        let began = std::time::Instant::now();
        // Long enough for a processor or many to count twenty ticks.
        while began.elapsed().as_millis() < 300 {
            std::hint::spin_loop();
        }
        let found = span.end().expect("counts");
        assert!(found.programs + found.steal <= 1.0, "{found:?}");
    }
}
