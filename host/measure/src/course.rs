//! When completions came, and from which on a run is steady.

use bench_record::evidence::{Settling, Steady};
use bench_stats::steady::{FEWEST, MOST, Settled, settled};

/// Marks that are kept: enough for as many values as anybody looks at, at any length of a run.
const MARKS: usize = 4096;
/// Fewest completions that make a value.
const LEAST: u64 = 20;
/// Least time of a value on average: below that one sees the machine share its cores out, and nothing else.
const SHORTEST_NS: u64 = 10_000_000;

/// The times of every so-and-so-manieth completion.
#[derive(Debug, Clone)]
pub struct Course {
    stride: u64,
    seen: u64,
    marks: Vec<u64>,
}

impl Default for Course {
    fn default() -> Self {
        Self { stride: 1, seen: 0, marks: Vec::new() }
    }
}

/// What is known of a run beside its completions. Times are monotonic nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct Begun {
    /// When its first query was handed out.
    pub first_ns: u64,
    /// When its first timed one was.
    pub timed_ns: u64,
    /// How long a query usually takes.
    pub usual_ns: u64,
    /// Most queries under way.
    pub at_once: u64,
}

/// Where the warm-up of a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Completions before it.
    pub items: u64,
    /// When the last of them came.
    pub at_ns: u64,
}

impl Cut {
    /// Whether the item that was completed as the so-and-so-manieth, from 0 on, is warm-up.
    #[must_use]
    pub fn takes(self, number: u64) -> bool {
        number < self.items
    }
}

impl Course {
    /// Another completion.
    pub fn take(&mut self, now_ns: u64) {
        self.seen += 1;
        if !self.seen.is_multiple_of(self.stride) {
            return;
        }
        self.marks.push(now_ns);
        if self.marks.len() >= MARKS {
            self.stride *= 2;
            self.marks = self.marks.chunks_exact(2).map(|two| two[1]).collect();
        }
    }

    /// What became of a run, and the cut, where something is to be cut off.
    #[must_use]
    pub fn judge(&self, run: Begun) -> (Steady, Option<Cut>) {
        let Begun { first_ns, timed_ns, usual_ns, at_once } = run;
        // Until the first answers come nothing can: that is no warm-up, unless it takes longer than answers do.
        let began_ns = first_ns.saturating_add(usual_ns);
        let length_ns = self.marks.last().map_or(0, |last| last.saturating_sub(began_ns));
        // Backends answer in batches, of as many as are under way at most.
        let values = (self.seen / at_once.max(LEAST)).min(MOST as u64).min(length_ns / SHORTEST_NS);
        let marks = (self.seen / self.stride).checked_div(values).unwrap_or(1).max(1) as usize;
        let ends: Vec<u64> = self.marks.chunks_exact(marks).map(|group| group[marks - 1]).collect();
        let starts = std::iter::once(&began_ns).chain(&ends);
        let times: Vec<f64> =
            starts.zip(&ends).map(|(start, end)| end.saturating_sub(*start) as f64 / 1e9).collect();
        let (verdict, groups) = match settled(&times) {
            _ if values < FEWEST as u64 => (Settling::TooShort, 0),
            Settled::TooShort => (Settling::TooShort, 0),
            Settled::After(groups) => (Settling::Steady, groups),
            Settled::Never => (Settling::Never, 0),
        };
        let cut = groups.checked_sub(1).and_then(|last| {
            Some(Cut { items: groups as u64 * marks as u64 * self.stride, at_ns: *ends.get(last)? })
        });
        let seconds = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e9;
        let timed = self.marks.last().map_or(0.0, |last| seconds(timed_ns, *last));
        let known = verdict == Settling::Steady;
        let share = |cut: Cut| (seconds(timed_ns, cut.at_ns) / timed.max(f64::MIN_POSITIVE)).min(1.0);
        let steady = Steady {
            verdict,
            warmup_items: known.then(|| cut.map_or(0, |cut| cut.items)),
            warmup_seconds: known.then(|| cut.map_or(0.0, |cut| seconds(first_ns, cut.at_ns))),
            share_of_timed: known.then(|| cut.map_or(0.0, share)),
            item_error: known.then(|| relative_error(&times[groups..])).flatten(),
        };
        (steady, cut)
    }
}

/// The standard error of a mean as a share of it. Groups of so many items are nearly independent of one another, so
/// this holds for items that are not.
fn relative_error(times: &[f64]) -> Option<f64> {
    let error = (bench_stats::variance(times) / times.len() as f64).sqrt();
    Some(error / bench_stats::mean(times)).filter(|share| share.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of so many completions, the first `slow` of which take ten times as long.
    fn course(completions: u64, slow: u64) -> Course {
        let (mut course, mut now) = (Course::default(), 1_000);
        for completion in 0..completions {
            now += if completion < slow { 10_000_000 } else { 1_000_000 };
            course.take(now);
        }
        course
    }

    fn judged(course: &Course, timed_ns: u64) -> (Steady, Option<Cut>) {
        course.judge(Begun { first_ns: 1_000, timed_ns, usual_ns: 0, at_once: 16 })
    }

    #[test]
    fn the_cut_is_where_the_slow_ones_end_however_long_the_run() {
        for completions in [1_000, 10_000, 100_000] {
            let (steady, cut) = judged(&course(completions, completions / 10), 1_000);
            let cut = cut.unwrap();
            let far = cut.items.abs_diff(completions / 10);
            assert!(far <= completions / 50, "{completions}: {cut:?}");
            assert_eq!((steady.verdict, steady.warmup_items), (Settling::Steady, Some(cut.items)));
            // A tenth of the queries, and ten of nineteen parts of the time.
            assert!((steady.share_of_timed.unwrap() - 10.0 / 19.0).abs() < 0.05, "{steady:?}");
        }
    }

    #[test]
    fn of_the_timed_part_only_what_is_timed_counts() {
        let (steady, cut) = judged(&course(1_000, 100), 1_000 + 900_000_000);
        assert!(cut.is_some() && steady.share_of_timed.unwrap() < 0.2, "{steady:?}");
        let (steady, _) = judged(&course(1_000, 100), 1_000 + 1_500_000_000);
        assert_eq!(steady.share_of_timed, Some(0.0));
    }

    #[test]
    fn a_steady_run_has_nothing_to_cut_and_a_short_one_nothing_to_say() {
        let (steady, cut) = judged(&course(1_000, 0), 1_000);
        assert_eq!((steady.verdict, steady.warmup_items, cut), (Settling::Steady, Some(0), None));
        assert!(steady.item_error.is_some_and(|error| error < 1e-6), "all groups take as long: {steady:?}");
        for short in [course(100, 10), Course::default()] {
            let (short, cut) = judged(&short, 1_000);
            assert_eq!((short.verdict, short.warmup_items, cut), (Settling::TooShort, None, None));
        }
    }

    #[test]
    fn until_the_first_answers_come_nothing_warms_up_unless_they_come_late() {
        let mut course = Course::default();
        let first = 200_000_000;
        (0..1_000).for_each(|completion| course.take(first + completion * 1_000_000));
        let begun = |usual_ns| Begun { first_ns: 0, timed_ns: 0, usual_ns, at_once: 16 };
        assert_eq!(course.judge(begun(first)).1, None);
        assert!(course.judge(begun(20_000_000)).1.is_some_and(|cut| cut.items <= 40));
    }
}
