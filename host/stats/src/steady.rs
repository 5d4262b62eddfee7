//! Where a run has warmed up, and whether it ever does.
//!
//! MSER (White 1997) takes the start for warm-up whose removal leaves the mean of the rest best known: it needs no
//! model, no level of significance and no parameter. Its two faults are known and mended here: one stall in the middle
//! draws the cut behind it, so single values are first brought near their neighbours; and where there is nothing
//! to cut it cuts a little by chance, so what it cuts off must matter.

use super::normal_cdf;
use super::outliers::median;
use super::trend::trend;

/// Fewer values say nothing.
pub const FEWEST: usize = 20;
/// Most values; more would only be noisier.
pub const MOST: usize = 50;
/// A value further from the median is brought back to here, in standard deviations of the usual values.
const USUAL: f64 = 5.0;
/// A value this far from the median of the rest is none of them.
const NEAR: f64 = 3.0;
/// A standard deviation for each median absolute deviation, of a normal distribution.
const OF_MAD: f64 = 1.4826;
/// Least difference between the usual values before the cut and after it.
const DIFFERENT: f64 = 0.15;
/// Least share of all the time that warming up cost.
const MATTERS: f64 = 0.05;
/// Least difference between its halves that makes what is left after the cut two things.
const OTHER: f64 = 0.25;
/// The halves are other things than one another if this is the chance of such ranks.
const SHIFTED: f64 = 0.01;
/// What is left after the cut creeps if this is the chance of such a trend.
const ALPHA: f64 = 0.003;

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Settled {
    /// There are too few values to say.
    TooShort,
    /// It is steady after so many values, 0 where it is from the start.
    After(usize),
    /// It still changes at the end.
    Never,
}

/// Judges how long each of equally many completions took, in their order.
#[must_use]
pub fn settled(times: &[f64]) -> Settled {
    if times.len() < FEWEST {
        return Settled::TooShort;
    }
    let usual = usual(times);
    let most = mser(&usual);
    if changes(&times[most..]) {
        return Settled::Never;
    }
    let cut = unusual(&usual, most);
    let (head, rest) = times.split_at(cut);
    match matters(head, rest) {
        // It reaches as far as anybody looked.
        true if cut == times.len() / 2 => Settled::Never,
        true => Settled::After(cut),
        false => Settled::After(0),
    }
}

/// The same without single values that stand out from their neighbours, and without what is far from the rest. The
/// first is left as it is: it may be all the warm-up there is.
fn usual(times: &[f64]) -> Vec<f64> {
    let of_three = |near: &[f64]| near[0].max(near[1]).min(near[0].min(near[1]).max(near[2]));
    let inner = times.windows(3).map(of_three);
    let ends = (times[0], times[times.len() - 1].min(times[times.len() - 2]));
    let smooth: Vec<f64> = std::iter::once(ends.0).chain(inner).chain(std::iter::once(ends.1)).collect();
    let times = &smooth[..];
    let Some(middle) = median(times) else { return smooth };
    let off: Vec<f64> = times.iter().map(|time| (time - middle).abs()).collect();
    let spread = USUAL * OF_MAD * median(&off).unwrap_or(0.0);
    if spread <= 0.0 {
        return smooth;
    }
    times.iter().map(|time| time.clamp(middle - spread, middle + spread)).collect()
}

/// The cut in the first half after which the mean is best known. Late cuts leave too little to judge them by.
fn mser(times: &[f64]) -> usize {
    let (mut sum, mut squares) = (0.0, 0.0);
    let mut best = (f64::INFINITY, 0);
    // Backwards, so that each cut takes one more value.
    for cut in (0..times.len()).rev() {
        sum += times[cut];
        squares += times[cut] * times[cut];
        let left = (times.len() - cut) as f64;
        let statistic = (squares - sum * sum / left).max(0.0) / (left * left);
        if cut <= times.len() / 2 && statistic <= best.0 {
            best = (statistic, cut);
        }
    }
    best.1
}

/// Of what a cut takes off, the beginning that is slower than the rest, or faster: up to where most values stop to be.
/// Chance takes off some more.
fn unusual(times: &[f64], cut: usize) -> usize {
    let (head, rest) = times.split_at(cut);
    let Some(middle) = median(rest) else { return cut };
    let off: Vec<f64> = rest.iter().map(|time| (time - middle).abs()).collect();
    let far = (NEAR * OF_MAD * median(&off).unwrap_or(0.0)).max(DIFFERENT * middle);
    let longest = |side: f64| {
        let (mut score, mut best) = (0_i32, (0, 0));
        for (time, length) in head.iter().zip(1..) {
            score += if (time - middle) * side > far { 1 } else { -1 };
            best = best.max((score, length));
        }
        best
    };
    longest(1.0).max(longest(-1.0)).1
}

fn matters(head: &[f64], rest: &[f64]) -> bool {
    let (Some(before), Some(after)) = (median(head), median(rest)) else { return false };
    let cost = (before - after).abs() * head.len() as f64;
    let all = head.iter().chain(rest).sum::<f64>();
    (before - after).abs() > DIFFERENT * after && cost > MATTERS * all
}

/// Whether what is left after the cut creeps, or its second half is another thing than its first.
fn changes(rest: &[f64]) -> bool {
    let points: Vec<(f64, f64)> = (0_u32..).zip(rest).map(|(at, time)| (f64::from(at), *time)).collect();
    let (first, second) = rest.split_at(rest.len() / 2);
    let (Some(found), Some(middle)) = (trend(&points), median(rest)) else { return false };
    let (Some(first), Some(second)) = (median(first), median(second)) else { return false };
    let creeps = found.p_value < ALPHA && (found.slope * rest.len() as f64).abs() > DIFFERENT * middle;
    let other = (first - second).abs() > OTHER * first.min(second);
    creeps || (other && shifted(rest) < SHIFTED)
}

/// The chance that the halves of equals differ as much in their ranks (Mann and Whitney, by the normal distribution).
fn shifted(rest: &[f64]) -> f64 {
    let (first, second) = rest.split_at(rest.len() / 2);
    let above = |value: &f64, other: &f64| f64::from(value > other) + 0.5 * f64::from(value == other);
    let wins: f64 =
        first.iter().map(|value| second.iter().map(|other| above(value, other)).sum::<f64>()).sum();
    let (m, n) = (first.len() as f64, second.len() as f64);
    let z = (wins - m * n / 2.0) / (m * n * (m + n + 1.0) / 12.0).sqrt();
    2.0 * (1.0 - normal_cdf(z.abs()))
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    /// Fifty values around 1, give or take 15 %, each times what `shape` says of a hundred.
    fn series(seed: u64, shape: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut noise = ChaCha8Rng::seed_from_u64(seed);
        let mut unit = move || f64::from(noise.next_u32()) / f64::from(u32::MAX);
        (0..MOST).map(|at| shape(2 * at) * (1.0 + 0.3 * (unit() - 0.5))).collect()
    }

    #[test]
    fn a_slow_start_is_cut_where_it_ends() {
        for seed in 0..50 {
            let found = settled(&series(seed, |at| if at < 12 { 4.0 } else { 1.0 }));
            assert!(matches!(found, Settled::After(6..=10)), "{seed}: {found:?}");
            let fading = settled(&series(seed, |at| 1.0 + 5.0 * (-(at as f64) / 6.0).exp()));
            assert!(matches!(fading, Settled::After(4..=20)), "{seed}: {fading:?}");
        }
    }

    #[test]
    fn a_fast_start_is_warm_up_as_well() {
        let found = settled(&series(1, |at| if at < 15 { 0.4 } else { 1.0 }));
        assert!(matches!(found, Settled::After(7..=11)), "{found:?}");
    }

    #[test]
    fn what_is_steady_from_the_start_has_no_warm_up() {
        let steady = (0..500).filter(|seed| settled(&series(*seed, |_| 1.0)) == Settled::After(0)).count();
        assert!(steady >= 490, "{steady} of 500");
    }

    #[test]
    fn a_stall_on_the_way_is_no_warm_up_and_hides_none() {
        let stall = |at: usize| if at == 30 { 40.0 } else { 1.0 };
        let slow = |at: usize| if at < 8 { 3.0 } else { 1.0 };
        for seed in 0..50 {
            assert_eq!(settled(&series(seed, stall)), Settled::After(0), "{seed}");
            let found = settled(&series(seed, |at| stall(at) * slow(at)));
            assert!(matches!(found, Settled::After(4..=8)), "{seed}: {found:?}");
        }
    }

    #[test]
    fn what_changes_to_the_end_never_settles() {
        for seed in 0..50 {
            assert_eq!(settled(&series(seed, |at| 1.0 + at as f64 / 60.0)), Settled::Never, "{seed}");
            assert_eq!(
                settled(&series(seed, |at| if at < 60 { 3.0 } else { 1.0 })),
                Settled::Never,
                "{seed}"
            );
        }
    }

    #[test]
    fn a_handful_says_nothing() {
        assert_eq!(settled(&[1.0; FEWEST - 1]), Settled::TooShort);
        assert_eq!(settled(&[1.0; FEWEST]), Settled::After(0));
    }

    /// Real runs on two busy cores: milliseconds of each group, and where an eye sees the warm-up end.
    mod marked_by_hand {
        use super::*;

        /// Backend `local`, Workload4, 8,000 queries: none.
        const LOCAL: [f64; 50] = [
            140.2, 180.6, 143.0, 177.9, 121.9, 143.6, 158.7, 206.3, 213.5, 162.0, 180.4, 167.0, 202.4, 185.9,
            199.1, 199.6, 180.9, 153.4, 197.7, 190.2, 222.6, 199.4, 184.0, 180.2, 220.1, 196.3, 166.8, 141.6,
            174.7, 166.1, 190.4, 231.7, 140.7, 191.4, 126.8, 131.5, 197.0, 183.5, 146.1, 162.8, 124.4, 196.3,
            135.3, 163.9, 126.0, 156.0, 165.4, 221.5, 136.4, 96.2,
        ];
        /// The same once more: none.
        const LOCAL_AGAIN: [f64; 50] = [
            74.3, 224.1, 144.3, 134.4, 99.5, 121.3, 120.5, 139.5, 161.5, 125.5, 131.3, 98.8, 128.1, 180.4,
            87.1, 132.1, 144.5, 148.7, 158.6, 268.5, 192.0, 159.5, 104.7, 210.4, 155.7, 163.4, 80.5, 144.2,
            165.5, 119.8, 101.9, 156.6, 172.0, 175.6, 73.2, 128.0, 76.7, 105.0, 106.4, 162.1, 84.8, 155.6,
            74.2, 158.8, 90.8, 112.4, 125.5, 124.7, 94.1, 77.3,
        ];
        /// Backend `local`, 40,000 queries without work: the first group is slow, and costs too little to matter.
        const LOCAL_NULL: [f64; 50] = [
            54.6, 31.7, 16.8, 18.2, 17.1, 17.2, 18.0, 17.0, 17.4, 17.1, 17.2, 17.8, 17.2, 17.2, 16.4, 18.7,
            17.0, 18.2, 17.3, 17.1, 17.6, 17.8, 16.9, 16.7, 17.9, 17.4, 16.5, 18.4, 17.1, 17.0, 17.4, 17.6,
            16.3, 17.6, 17.6, 17.9, 17.9, 17.0, 40.0, 16.9, 18.5, 16.9, 16.9, 17.9, 17.4, 17.5, 17.0, 17.4,
            16.8, 17.4,
        ];
        /// Backend `ray`, 9,000 queries without work, its actors just started: thirteen groups, 0.7 s.
        const RAY_COLD: [f64; 50] = [
            47.8, 52.3, 53.0, 54.3, 42.1, 42.4, 64.9, 52.7, 63.2, 40.5, 53.3, 51.9, 58.9, 43.8, 30.6, 39.1,
            42.9, 35.0, 44.5, 30.5, 58.6, 87.5, 49.1, 37.1, 35.8, 38.6, 45.2, 46.5, 42.7, 41.7, 41.9, 48.0,
            92.1, 49.0, 36.3, 38.2, 26.7, 68.5, 35.1, 41.0, 39.2, 40.6, 39.6, 50.9, 38.5, 24.8, 47.3, 37.0,
            39.1, 26.9,
        ];

        /// Backend `ray` with a task for each call, 3,500 queries: two groups, 0.2 s, until the workers are there.
        const RAY_TASKS: [f64; 27] = [
            135.7, 75.1, 33.4, 32.1, 28.2, 25.6, 28.9, 32.6, 32.9, 52.1, 11.7, 30.1, 35.6, 34.0, 36.1, 38.6,
            63.8, 33.3, 49.5, 38.4, 54.0, 45.7, 48.7, 46.4, 51.1, 49.8, 39.1,
        ];

        #[test]
        fn on_local_there_is_none() {
            for run in [LOCAL, LOCAL_AGAIN, LOCAL_NULL] {
                assert_eq!(settled(&run), Settled::After(0), "{run:?}");
            }
        }

        #[test]
        fn on_a_cold_ray_its_first_second_is_found() {
            assert!(matches!(settled(&RAY_COLD), Settled::After(11..=14)), "{:?}", settled(&RAY_COLD));
            assert_eq!(settled(&RAY_TASKS), Settled::After(2));
        }
    }
}
