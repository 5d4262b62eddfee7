//! What this machine can do at most: bytes read per second and 8-bit products per second, one core.

use std::hint::black_box;
use std::time::Instant;

use serde_json::{Value, json};

/// Footprints at which reading is probed; a row is held against the one it fits in.
const FOOTPRINTS: [usize; 5] = [16 << 10, 256 << 10, 3 << 19, 10 << 20, 256 << 20];

pub struct Limits {
    /// (bytes of the buffer, bytes per second)
    read: Vec<(usize, f64)>,
    /// Multiply-adds of 8-bit values per second by the widest unit there is, operands in registers.
    macs: f64,
}

impl Limits {
    pub fn probe() -> Self {
        let buffer = vec![1u64; FOOTPRINTS[FOOTPRINTS.len() - 1] / 8];
        let read = FOOTPRINTS.iter().map(|&bytes| (bytes, read_rate(&buffer[..bytes / 8]))).collect();
        Self { read, macs: mac_rate() }
    }

    /// The least time for work that reads `bytes` and multiplies `macs` times, and which of the two
    /// it is that takes so long.
    pub fn least_us(&self, bytes: usize, macs: usize) -> (f64, &'static str) {
        let rate =
            self.read.iter().find(|(size, _)| *size >= bytes).or(self.read.last()).map_or(1.0, |p| p.1);
        let reading = bytes as f64 / rate * 1e6;
        let multiplying = macs as f64 / self.macs * 1e6;
        if reading >= multiplying { (reading, "bytes") } else { (multiplying, "operations") }
    }

    pub fn json(&self) -> Value {
        let read: Vec<Value> = self
            .read
            .iter()
            .map(|(bytes, rate)| json!({"bytes": bytes, "gigabytes_per_second": rate / 1e9}))
            .collect();
        json!({"read": read, "giga_macs_per_second": self.macs / 1e9})
    }
}

/// The best of several passes over `buffer`.
fn read_rate(buffer: &[u64]) -> f64 {
    let passes = ((64 << 20) / size_of_val(buffer)).max(1);
    let best = (0..7).map(|_| {
        let start = Instant::now();
        for _ in 0..passes {
            black_box(sum(black_box(buffer)));
        }
        start.elapsed().as_secs_f64() / passes as f64
    });
    size_of_val(buffer) as f64 / best.fold(f64::MAX, f64::min)
}

#[cfg(target_arch = "x86_64")]
fn sum(buffer: &[u64]) -> u64 {
    #[target_feature(enable = "avx512f")]
    fn widest(buffer: &[u64]) -> u64 {
        lanes(buffer)
    }
    #[target_feature(enable = "avx2")]
    fn wide(buffer: &[u64]) -> u64 {
        lanes(buffer)
    }
    if std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: AVX-512 was detected.
        unsafe { widest(buffer) }
    } else if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: AVX2 was detected.
        unsafe { wide(buffer) }
    } else {
        lanes(buffer)
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn sum(buffer: &[u64]) -> u64 {
    lanes(buffer)
}

/// Independent sums, so that the additions never wait for each other.
#[inline(always)]
fn lanes(buffer: &[u64]) -> u64 {
    let mut sums = [0u64; 64];
    for chunk in buffer.as_chunks::<64>().0 {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum = sum.wrapping_add(*value);
        }
    }
    sums.iter().fold(0, |all, sum| all.wrapping_add(*sum))
}

#[cfg(target_arch = "x86_64")]
fn mac_rate() -> f64 {
    use std::arch::x86_64::*;
    const CHAINS: usize = 6;
    const ROUNDS: usize = 1 << 20;
    /// Each round multiplies and adds in every chain, as an inner product does: 16 pairs at once.
    #[target_feature(enable = "avx2")]
    fn rounds(seed: i16) -> i32 {
        let weight = _mm256_set1_epi16(seed);
        let mut values = [_mm256_set1_epi16(3); CHAINS];
        let mut sums = [_mm256_setzero_si256(); CHAINS];
        for _ in 0..ROUNDS {
            for (sum, value) in sums.iter_mut().zip(&mut values) {
                // The product is the next factor: nothing can be left out or moved out of the loop.
                *value = _mm256_madd_epi16(*value, weight);
                *sum = _mm256_add_epi32(*sum, *value);
            }
        }
        let all = sums.into_iter().fold(_mm256_setzero_si256(), |all, sum| _mm256_add_epi32(all, sum));
        _mm256_extract_epi32::<0>(all)
    }
    /// The same on the widest unit: 64 products at once, whose sums are the next factors.
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn widest_rounds(seed: i16) -> i32 {
        let weight = _mm512_set1_epi8(seed as i8);
        let mut sums = [weight; 2 * CHAINS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, *sum, weight);
            }
        }
        let mut all = 0i32;
        for sum in sums {
            all = all.wrapping_add(_mm512_reduce_add_epi32(sum));
        }
        all
    }
    use std::arch::is_x86_feature_detected as has;
    if has!("avx512f") && has!("avx512vnni") {
        // SAFETY: both were detected.
        return 64.0 * 2.0 * rate((CHAINS * ROUNDS) as f64, || unsafe { widest_rounds(black_box(5)) });
    }
    if has!("avx2") {
        // SAFETY: AVX2 was detected.
        return 16.0 * rate((CHAINS * ROUNDS) as f64, || unsafe { rounds(black_box(5)) });
    }
    kernel_rate()
}

/// How many a second, if one call does `count`: the best of several calls.
fn rate<T>(count: f64, call: impl Fn() -> T) -> f64 {
    let best = (0..7).map(|_| {
        let start = Instant::now();
        black_box(call());
        start.elapsed().as_secs_f64()
    });
    count / best.fold(f64::MAX, f64::min)
}

#[cfg(not(target_arch = "x86_64"))]
fn mac_rate() -> f64 {
    kernel_rate()
}

/// Without a probe for this CPU: our own kernel on data in the first cache.
fn kernel_rate() -> f64 {
    let (rows, mut out) = (vec![1i8; 8 * 1024], Vec::new());
    let queries = [&rows[..1024]; 8];
    let best = (0..7).map(|_| {
        let start = Instant::now();
        for _ in 0..1000 {
            bench_workloads::vector::dots_batch(black_box(&rows), 1024, &queries, &mut out);
        }
        start.elapsed().as_secs_f64() / 1000.0
    });
    (64 * 1024) as f64 / best.fold(f64::MAX, f64::min)
}
