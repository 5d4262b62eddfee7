//! Prints the table of docs/statistics.md on pairs that are looked at one by one:
//! `cargo run --release -p bench-stats --example watching`.
//!
//! Each cell is of the same simulated campaigns of up to 60 pairs: how many ended with a difference, and how many pairs
//! they took on average. A fixed design looks once, after the pairs that find 10 % at that spread with a power of 0.8.
//! The group-sequential design flips all signs of what was seen so far, as the fixed test does, and spends its 5 % over
//! the looks like Pocock's (Lan and DeMets 1983).

use bench_stats::verdict::{Question, pairs_needed};
use bench_stats::{normal_quantile, paired, sequential};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const CAMPAIGNS: usize = 2_000;
const LONGEST: usize = 60;
const ALPHA: f64 = 0.05;
const FLIPS: usize = 1_000;
const FEWEST: usize = 6;

fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (f64::from(rng.next_u32()) + 0.5) / 4_294_967_296.0
}

/// After how many pairs the wealth of the bets refutes equality.
fn by_bets(differences: &[f64]) -> Option<usize> {
    (FEWEST..=LONGEST).find(|pairs| {
        let found = &differences[..*pairs];
        sequential::p_value(found) < ALPHA
            && sequential::interval(found, ALPHA / 2.0).is_some_and(|interval| !interval.contains(0.0))
    })
}

/// After how many pairs the signs are further out than what may still be spent.
fn by_flips(differences: &[f64], signs: &[Vec<f64>]) -> Option<usize> {
    // The first is what was observed.
    let mut sums = vec![0.0_f64; FLIPS];
    let mut alive: Vec<usize> = (0..FLIPS).collect();
    let mut spent = 0;
    for (index, difference) in differences.iter().enumerate() {
        for (sum, signs) in sums.iter_mut().zip(signs) {
            *sum += signs[index] * difference.abs();
        }
        sums[0] = differences[..=index].iter().sum();
        let time = (index + 1) as f64 / LONGEST as f64;
        let budget = ALPHA * (1.0 + (std::f64::consts::E - 1.0) * time).ln();
        let more = ((budget * FLIPS as f64) as usize).saturating_sub(spent);
        if index + 1 < FEWEST || more == 0 {
            continue;
        }
        alive.sort_by(|a, b| sums[*b].abs().total_cmp(&sums[*a].abs()));
        let limit = sums[alive[more]].abs() + 1e-12;
        let out = alive.partition_point(|flip| sums[*flip].abs() > limit);
        if alive[..out].contains(&0) {
            return Some(index + 1);
        }
        alive.drain(..out);
        spent += out;
    }
    None
}

fn cell(ends: &[Option<usize>]) -> String {
    let found = ends.iter().flatten().count() as f64 / ends.len() as f64;
    let pairs = ends.iter().map(|end| end.unwrap_or(LONGEST)).sum::<usize>() as f64 / ends.len() as f64;
    format!("{:.1} %, {pairs:.1}", found * 100.0)
}

fn main() {
    println!("| spread of one log-ratio | slowdown | fixed | bets | exact flips, spent as Pocock's |");
    println!("|---|---|---|---|---|");
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let signs: Vec<Vec<f64>> = (0..FLIPS)
        .map(|_| (0..LONGEST).map(|_| if rng.next_u32() & 1 == 0 { 1.0 } else { -1.0 }).collect())
        .collect();
    for deviation in [0.05, 0.05 * 2.0_f64.sqrt()] {
        let question = Question { alpha: ALPHA, margin: 0.05, comparisons: 1, higher_is_better: true };
        let fixed = pairs_needed(deviation, 1.1_f64.ln(), &question) as usize;
        for slowdown in [0.0_f64, 0.05, 0.10, 0.20, 0.50] {
            let (mut once, mut bets, mut flips) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..CAMPAIGNS {
                let noise = |rng: &mut ChaCha8Rng| deviation * normal_quantile(uniform(rng));
                let differences: Vec<f64> =
                    (0..LONGEST).map(|_| slowdown.ln_1p() + noise(&mut rng)).collect();
                once.push((paired::sign_flip(&differences[..fixed], 1) < ALPHA).then_some(fixed));
                bets.push(by_bets(&differences));
                flips.push(by_flips(&differences, &signs));
            }
            let found = once.iter().flatten().count() as f64 / CAMPAIGNS as f64;
            println!(
                "| {:.1} % | {:.0} % | {:.1} %, {fixed} | {} | {} |",
                deviation * 100.0,
                slowdown * 100.0,
                found * 100.0,
                cell(&bets),
                cell(&flips)
            );
        }
    }
}
