//! The order of the input: the same for every backend, on every machine, in any language.
//!
//! `deterministic_shuffle_v1`, in full:
//!
//! 1. **Key**: 32 bytes. The seed as an unsigned 64-bit number, least significant byte first, then
//!    the 24 ASCII bytes `deterministic_shuffle_v1`.
//! 2. **Words**: the ChaCha8 key stream of that key (Bernstein's layout: 64-bit block counter from
//!    0, 64-bit stream number 0), as 32-bit little-endian words in order.
//! 3. **Shuffle**: start from 0, 1, … n - 1. For `i` from `n - 1` down to 1 draw `j` in 0..=i and
//!    swap the items at `i` and `j`.
//! 4. **Draw**: `mask` is the smallest 2^b - 1 that is at least `i`. Take the next word, keep
//!    `word & mask`; while that exceeds `i`, take another. One word per try, none is kept over.
//!
//! The draw rejects instead of reducing, so no order is likelier than another. `shuffle_v1.md` in
//! the documentation repeats this with golden vectors. They and the ones below were printed by a
//! second implementation beside it, `shuffle_v1.py`.
//!
//! This definition never changes. Another order would be called v2.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The name under which the manifest records this definition.
pub const SHUFFLE_VERSION: &str = "v1";

/// Keeps these words apart from those of any other use of the same seed.
const LABEL: &[u8; 24] = b"deterministic_shuffle_v1";

/// The numbers 0 to `n - 1` in the order that `seed` gives.
#[must_use]
pub fn deterministic_shuffle_v1(n: u32, seed: u64) -> Vec<u32> {
    let mut rng = ChaCha8Rng::from_seed(key(seed));
    let mut order: Vec<u32> = (0..n).collect();
    for i in (1..n).rev() {
        let j = draw(&mut rng, i);
        order.swap(i as usize, j as usize);
    }
    order
}

fn key(seed: u64) -> [u8; 32] {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..].copy_from_slice(LABEL);
    key
}

/// A number in 0..=most, each equally likely. `most` is at least 1.
fn draw(rng: &mut impl Rng, most: u32) -> u32 {
    let mask = u32::MAX >> most.leading_zeros();
    loop {
        let candidate = rng.next_u32() & mask;
        if candidate <= most {
            return candidate;
        }
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn shuffled(n: u32, seed: u64) -> Vec<u32> {
        deterministic_shuffle_v1(n, seed)
    }

    fn digest_of_order(n: u32, seed: u64) -> String {
        let text: Vec<_> = shuffled(n, seed).iter().map(u32::to_string).collect();
        hex::encode(Sha256::digest(text.join(" ").as_bytes()))
    }

    #[test]
    fn the_first_words_equal_the_second_implementations() {
        let mut rng = ChaCha8Rng::from_seed(key(42));
        let words: Vec<_> = (0..4).map(|_| rng.next_u32()).collect();
        assert_eq!(words, [4142058026, 3346905166, 2301629783, 2426120845]);
    }

    #[test]
    fn small_orders_equal_the_second_implementations() {
        assert_eq!(shuffled(1, 0), [0]);
        assert_eq!(shuffled(2, 0), [1, 0]);
        assert_eq!(shuffled(10, 7), [2, 5, 6, 3, 4, 8, 9, 1, 0, 7]);
        assert_eq!(shuffled(20, 42), [11, 5, 19, 7, 6, 1, 3, 18, 9, 2, 15, 16, 8, 12, 4, 0, 17, 13, 14, 10]);
    }

    #[test]
    fn all_eight_bytes_of_the_seed_count() {
        assert_eq!(shuffled(10, u64::MAX), [3, 9, 5, 1, 6, 0, 7, 8, 2, 4]);
    }

    #[test]
    fn long_orders_equal_the_second_implementations() {
        assert_eq!(
            digest_of_order(1000, 42),
            "489f24039f9c6c182ce4080674fa7cdd0d472d788ce4daf1449afd97051abc61"
        );
        assert_eq!(
            digest_of_order(100_000, 42),
            "fc5ccedd806e6efecfa3f9f0b1a3f2ab78117005c31afd4eaa9d9c18d319fc4c"
        );
    }

    #[test]
    fn every_item_comes_once() {
        let mut order = shuffled(1000, 1);
        order.sort_unstable();
        assert!(order.into_iter().eq(0..1000));
    }

    #[test]
    fn every_order_is_equally_likely() {
        // 4! orders over 24,000 seeds: about 1,000 each. The standard deviation is 31.
        let mut counts = std::collections::HashMap::new();
        for seed in 0..24_000 {
            *counts.entry(shuffled(4, seed)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 24);
        assert!(counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    /// The Python version drew from a Mersenne Twister. These tests document *its* order, so that
    /// old results can be understood. It is not what we run.
    mod python_version {
        const N: usize = 624;

        struct MersenneTwister {
            state: [u32; N],
            next: usize,
        }

        impl MersenneTwister {
            fn from_word(seed: u32) -> Self {
                let mut state = [0; N];
                state[0] = seed;
                for i in 1..N {
                    let previous: u32 = state[i - 1];
                    state[i] = 1812433253u32.wrapping_mul(previous ^ (previous >> 30)).wrapping_add(i as u32);
                }
                MersenneTwister { state, next: N }
            }

            /// `init_by_array` with one word, as Python seeds it with a small whole number.
            fn new(seed: u32) -> Self {
                let mut mt = Self::from_word(19650218);
                let s = &mut mt.state;
                let mut i = 1;
                for step in 0..2 * N - 1 {
                    let mixed = s[i - 1] ^ (s[i - 1] >> 30);
                    s[i] = if step < N {
                        (s[i] ^ mixed.wrapping_mul(1664525)).wrapping_add(seed)
                    } else {
                        (s[i] ^ mixed.wrapping_mul(1566083941)).wrapping_sub(i as u32)
                    };
                    i += 1;
                    if i == N {
                        s[0] = s[N - 1];
                        i = 1;
                    }
                }
                s[0] = 0x8000_0000;
                mt
            }

            fn next_u32(&mut self) -> u32 {
                if self.next == N {
                    for i in 0..N {
                        let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
                        let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                        self.state[i] = self.state[(i + 397) % N] ^ (y >> 1) ^ odd;
                    }
                    self.next = 0;
                }
                let mut y = self.state[self.next];
                self.next += 1;
                y ^= y >> 11;
                y ^= (y << 7) & 0x9d2c_5680;
                y ^= (y << 15) & 0xefc6_0000;
                y ^ (y >> 18)
            }

            fn below(&mut self, m: u32) -> u32 {
                let bits = u32::BITS - m.leading_zeros();
                loop {
                    let candidate = self.next_u32() >> (32 - bits);
                    if candidate < m {
                        return candidate;
                    }
                }
            }

            fn order(n: u32, seed: u32) -> Vec<u32> {
                let mut rng = Self::new(seed);
                let mut order: Vec<u32> = (0..n).collect();
                for i in (1..n).rev() {
                    let j = rng.below(i + 1);
                    order.swap(i as usize, j as usize);
                }
                order
            }
        }

        #[test]
        fn its_first_words_for_seed_42() {
            let mut rng = MersenneTwister::new(42);
            let words = [rng.next_u32(), rng.next_u32(), rng.next_u32()];
            assert_eq!(words, [2746317213, 478163327, 107420369]);
        }

        #[test]
        fn its_order_of_ten_items_for_seed_7() {
            assert_eq!(MersenneTwister::order(10, 7), [8, 3, 1, 4, 7, 0, 9, 6, 2, 5]);
        }

        #[test]
        fn its_order_of_twenty_items_for_seed_42() {
            assert_eq!(
                MersenneTwister::order(20, 42),
                [19, 5, 14, 4, 9, 13, 15, 18, 6, 12, 17, 10, 1, 11, 2, 16, 7, 8, 0, 3]
            );
        }
    }
}
