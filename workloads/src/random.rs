//! Randomness that any language can reproduce.
//!
//! Every random choice comes from a stream named by (seed, name, index). An item's stream depends on
//! nothing else, so items can be made in any order, on any thread, on any machine, and stay the same.
//!
//! Definition, complete enough to write it again elsewhere:
//! * key = SHA-256 of the bytes `"bench/v1\0"`, then the seed as 8 bytes little-endian, then the name in
//!   UTF-8. It is the 32-byte key of ChaCha with 8 rounds.
//! * Block counter (words 12 and 13) starts at 0. The stream number (words 14 and 15, low word first) is
//!   the index. This is the original layout with a 64-bit counter and a 64-bit nonce.
//! * `next_u32` gives the words of the key stream in order, each read as little-endian.
//! * `below(n)`: mask = the bits of `n - 1` filled downwards with ones; take `next_u32 & mask` until it
//!   is less than `n`. Nothing is drawn when `n` is 0 or 1; the answer is then 0.
//! * `unit`: low = `next_u32`, high = `next_u32`; the top 53 bits of `high << 32 | low`, times 2^-53.
//! * `weighted(w)`: `x = unit * (w[0] + w[1] + ...)`, summed left to right; then subtract the weights
//!   from left to right and give the first index at which `x < w[i]`.
//! * `shuffle`: Fisher-Yates from the back, `i` from the last down to 1 swaps with `below(i + 1)`.
//! * `choose_distinct(n, k)`: Fisher-Yates from the front over 0..n, `j = i + below(n - i)`, first `k`.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// One reproducible sequence of random values.
#[derive(Debug, Clone)]
pub struct Stream(ChaCha8Rng);

/// The stream of item `index` in the sequence `name` under `seed`.
pub fn stream(seed: u64, name: &str, index: u64) -> Stream {
    let key = Sha256::new()
        .chain_update(b"bench/v1\0")
        .chain_update(seed.to_le_bytes())
        .chain_update(name.as_bytes())
        .finalize();
    let mut rng = ChaCha8Rng::from_seed(key.into());
    rng.set_stream(index);
    Stream(rng)
}

impl Stream {
    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// A whole number in `0..n`, every one equally likely. 0 when `n` is 0.
    pub fn below(&mut self, n: u32) -> u32 {
        if n <= 1 {
            return 0;
        }
        let mask = u32::MAX >> (n - 1).leading_zeros();
        loop {
            let value = self.next_u32() & mask;
            if value < n {
                return value;
            }
        }
    }

    /// A number in `[0, 1)` with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        let low = u64::from(self.next_u32());
        let high = u64::from(self.next_u32());
        ((high << 32 | low) >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// An index drawn in proportion to its weight. Weights that are not positive are never drawn.
    /// 0 when there is nothing to draw from.
    pub fn weighted(&mut self, weights: &[f64]) -> usize {
        let total: f64 = weights.iter().filter(|w| **w > 0.0).sum();
        let mut left = self.unit() * total;
        let mut last = 0;
        for (index, &weight) in weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
            if left < weight {
                return index;
            }
            left -= weight;
            last = index;
        }
        last
    }

    /// One of the items, every one equally likely. `None` when there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len() as u32) as usize)
    }

    /// Brings items into a random order, every one equally likely: Fisher-Yates from the back.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u32 + 1) as usize);
        }
    }

    /// `k` different numbers of `0..n`, in random order. All `n` of them when `k` is more.
    pub fn choose_distinct(&mut self, n: u32, k: usize) -> Vec<u32> {
        let mut pool: Vec<u32> = (0..n).collect();
        let k = k.min(pool.len());
        for i in 0..k {
            let j = i + self.below(n - i as u32) as usize;
            pool.swap(i, j);
        }
        pool.truncate(k);
        pool
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_of_a_stream_are_these() {
        let mut stream = stream(42, "queries", 7);
        let words: Vec<u32> = (0..4).map(|_| stream.next_u32()).collect();
        assert_eq!(words, GOLDEN);
    }
    const GOLDEN: [u32; 4] = [1_911_822_112, 3_222_673_512, 1_312_862_408, 3_234_825_730];

    #[test]
    fn seed_name_and_index_each_give_another_stream() {
        let first = |seed, name, index| stream(seed, name, index).next_u32();
        let all = [first(1, "a", 0), first(2, "a", 0), first(1, "b", 0), first(1, "a", 1)];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
    }

    #[test]
    fn a_shuffle_keeps_everything_and_makes_each_order_equally_often() {
        let mut stream = stream(1, "shuffle", 0);
        let mut counts = std::collections::BTreeMap::<[u8; 3], u32>::new();
        for _ in 0..6_000 {
            let mut items = [1, 2, 3];
            stream.shuffle(&mut items);
            *counts.entry(items).or_default() += 1;
        }
        assert!(counts.len() == 6 && counts.values().all(|n| n.abs_diff(1_000) < 150), "{counts:?}");
    }

    #[test]
    fn below_reaches_every_value_equally_often() {
        let mut stream = stream(1, "below", 0);
        let mut counts = [0u32; 5];
        for _ in 0..50_000 {
            counts[stream.below(5) as usize] += 1;
        }
        assert!(counts.iter().all(|c| c.abs_diff(10_000) < 400), "{counts:?}");
    }

    #[test]
    fn below_nothing_is_zero() {
        let mut stream = stream(1, "below", 0);
        assert_eq!((stream.below(0), stream.below(1)), (0, 0));
    }

    #[test]
    fn unit_stays_in_its_interval_with_mean_one_half() {
        let mut stream = stream(1, "unit", 0);
        let values: Vec<f64> = (0..20_000).map(|_| stream.unit()).collect();
        assert!(values.iter().all(|v| (0.0..1.0).contains(v)));
        assert!((values.iter().sum::<f64>() / 20_000.0 - 0.5).abs() < 0.01);
    }

    #[test]
    fn weights_set_the_share_of_each_index() {
        let mut stream = stream(1, "weights", 0);
        let mut counts = [0u32; 4];
        for _ in 0..40_000 {
            counts[stream.weighted(&[0.1, 0.0, 0.6, 0.3])] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!(counts[0].abs_diff(4_000) < 300 && counts[2].abs_diff(24_000) < 600, "{counts:?}");
    }

    #[test]
    fn weights_without_anything_to_draw_give_zero() {
        let mut stream = stream(1, "weights", 0);
        assert_eq!((stream.weighted(&[]), stream.weighted(&[0.0, f64::NAN])), (0, 0));
    }

    #[test]
    fn chosen_numbers_are_distinct_and_capped() {
        let mut chosen = stream(1, "choose", 0).choose_distinct(10, 30);
        chosen.sort_unstable();
        assert_eq!(chosen, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_can_be_picked_from_nothing() {
        assert_eq!(stream(1, "pick", 0).pick::<u8>(&[]), None);
    }
}
