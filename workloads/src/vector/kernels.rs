//! The ways to compute exact 8-bit inner products, and the choice between them.
//!
//! All are exact, tested against the scalar one at dimensions 1 to 1,100. Measured on one core of an AMD
//! EPYC (Zen 3, AVX2, shared machine, best of 40 or more), 1,024 dimensions, 10,000 rows:
//!
//! | kernel | one product, in cache | one query | per query in batches of 16 |
//! |---|---:|---:|---:|
//! | scalar | 243 ns | 2.44 ms | 2.43 ms |
//! | simsimd 6.5.16 | 77 ns | 0.84 ms | 0.82 ms |
//! | numkong 7.8.7 | 28 ns | 0.30 ms | 0.32 ms |
//! | avx2, here | 26 ns | 0.29 ms | 0.16 to 0.22 ms |
//!
//! So the kernel here is used where there is AVX2, and simsimd elsewhere (it has ones for Arm). numkong is as
//! fast for one query, but has no share of loads in a batch, and took most of ten minutes to compile on a busy core. Tiles of 4 x 2 and
//! 3 x 4, and blocks of 16 KiB, were no faster than 2 x 4 in blocks of 64 KiB.

/// Rows, their dimension, the queries, and a place for each product.
type Matrix = fn(&[i8], usize, &[&[i8]], &mut [i32]);

/// One way to compute inner products. `matrix` gets whole rows, and queries of exactly `dim` values.
#[derive(Clone, Copy)]
pub struct Kernels {
    pub name: &'static str,
    pub dot: fn(&[i8], &[i8]) -> i32,
    pub matrix: Matrix,
}

/// Plain Rust: the reference the others are tested against.
pub const SCALAR: Kernels = Kernels { name: "scalar", dot: scalar_dot, matrix: scalar_matrix };

/// The fastest that this CPU can run.
pub fn best() -> Kernels {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        return avx2::KERNELS;
    }
    SIMSIMD
}

pub const SIMSIMD: Kernels = Kernels { name: "simsimd", dot: simsimd_dot, matrix: simsimd_matrix };

/// Rows of about this many bytes are kept in the cache while all queries pass over them.
const BLOCK_BYTES: usize = 64 * 1024;

fn scalar_dot(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(&x, &y)| i32::from(x) * i32::from(y)).sum()
}

fn scalar_matrix(rows: &[i8], dim: usize, queries: &[&[i8]], out: &mut [i32]) {
    by_blocks(rows, dim, queries, out, scalar_dot);
}

/// The crate answers with an `f64` that holds an exact whole number, and `None` for unequal lengths.
fn simsimd_dot(a: &[i8], b: &[i8]) -> i32 {
    <i8 as simsimd::SpatialSimilarity>::dot(a, b).map_or_else(|| scalar_dot(a, b), |product| product as i32)
}

fn simsimd_matrix(rows: &[i8], dim: usize, queries: &[&[i8]], out: &mut [i32]) {
    by_blocks(rows, dim, queries, out, simsimd_dot);
}

fn by_blocks(rows: &[i8], dim: usize, queries: &[&[i8]], out: &mut [i32], dot: fn(&[i8], &[i8]) -> i32) {
    let count = rows.len() / dim;
    let step = (BLOCK_BYTES / dim).max(1);
    for first in (0..count).step_by(step) {
        let last = (first + step).min(count);
        for (query, out) in queries.iter().zip(out.chunks_exact_mut(count)) {
            let block = rows[first * dim..last * dim].chunks_exact(dim);
            for (row, to) in block.zip(&mut out[first..last]) {
                *to = dot(row, query);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    //! Rows widen to 16 bits as they are loaded, `pmaddwd` multiplies and adds pairs into 32 bits. That is
    //! exact for all values, -128 included, unlike the shorter `pmaddubsw`, which saturates. Queries are
    //! widened once, so the inner loop only widens rows, and a tile of rows x queries shares each load.

    use std::arch::x86_64::*;

    use super::{BLOCK_BYTES, Kernels};

    pub(super) const KERNELS: Kernels = Kernels { name: "avx2", dot, matrix };

    /// Values that one step takes.
    const LANES: usize = 16;

    fn dot(a: &[i8], b: &[i8]) -> i32 {
        // SAFETY: `KERNELS` is only chosen after AVX2 was detected.
        unsafe { dot_avx2(a, b) }
    }

    fn matrix(rows: &[i8], dim: usize, queries: &[&[i8]], out: &mut [i32]) {
        let count = rows.len() / dim;
        let step = (BLOCK_BYTES / dim).max(4);
        let mut wide: Vec<i16> = Vec::with_capacity(queries.len().min(8) * dim);
        // Widened queries in groups of eight at most: 16 KiB at 1,024 values, half of a usual L1.
        for (group, out) in queries.chunks(8).zip(out.chunks_mut(count * 8)) {
            wide.clear();
            group.iter().for_each(|query| wide.extend(query.iter().map(|&v| i16::from(v))));
            for first in (0..count).step_by(step) {
                let last = (first + step).min(count);
                // SAFETY: `KERNELS` is only chosen after AVX2 was detected. `rows` holds `count` rows of
                // `dim` values, `last <= count`, `wide` holds whole queries of `dim` values, and `out`
                // holds `count` places for each of them.
                unsafe { block(rows, dim, count, first..last, &wide, out) }
            }
        }
    }

    /// All queries of a group over one block of rows, four queries x two rows at a time.
    ///
    /// SAFETY: as stated in `matrix`.
    #[target_feature(enable = "avx2")]
    unsafe fn block(
        rows: &[i8],
        dim: usize,
        count: usize,
        range: std::ops::Range<usize>,
        wide: &[i16],
        out: &mut [i32],
    ) {
        let queries = wide.len() / dim;
        let mut q = 0;
        while q < queries {
            let width = match queries - q {
                4.. => 4,
                2.. => 2,
                _ => 1,
            };
            let mut r = range.start;
            while r < range.end {
                let left = range.end - r;
                // SAFETY: the tile's rows lie below `range.end` and its queries below `queries`.
                let height = unsafe {
                    let row = rows.as_ptr().add(r * dim);
                    let query = wide.as_ptr().add(q * dim);
                    let to = &mut out[q * count + r..];
                    match (width, left) {
                        (4, 2..) => tile::<2, 4>(row, query, dim, count, to),
                        (4, _) => tile::<1, 4>(row, query, dim, count, to),
                        (2, 4..) => tile::<4, 2>(row, query, dim, count, to),
                        (2, _) => tile::<1, 2>(row, query, dim, count, to),
                        (_, 4..) => tile::<4, 1>(row, query, dim, count, to),
                        _ => tile::<1, 1>(row, query, dim, count, to),
                    }
                };
                r += height;
            }
            q += width;
        }
    }

    /// `R` rows x `Q` queries. Gives `R`.
    ///
    /// SAFETY: `row` points at `R * dim` values, `query` at `Q * dim` widened values.
    #[target_feature(enable = "avx2")]
    unsafe fn tile<const R: usize, const Q: usize>(
        row: *const i8,
        query: *const i16,
        dim: usize,
        stride: usize,
        out: &mut [i32],
    ) -> usize {
        let mut sums = [[_mm256_setzero_si256(); Q]; R];
        let whole = dim - dim % LANES;
        let mut at = 0;
        while at < whole {
            let mut values = [_mm256_setzero_si256(); R];
            for (r, value) in values.iter_mut().enumerate() {
                // SAFETY: `at + LANES <= dim`, so the load stays inside row `r`.
                *value = unsafe { widen(row.add(r * dim + at)) };
            }
            for q in 0..Q {
                // SAFETY: `at + LANES <= dim`, so the load stays inside query `q`.
                let weight = unsafe { _mm256_loadu_si256(query.add(q * dim + at).cast()) };
                for (sums, value) in sums.iter_mut().zip(values) {
                    sums[q] = _mm256_add_epi32(sums[q], _mm256_madd_epi16(value, weight));
                }
            }
            at += LANES;
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (q, sum) in sums.into_iter().enumerate() {
                let mut sum = horizontal(sum);
                for i in whole..dim {
                    // SAFETY: `i < dim`, inside row `r` and query `q`.
                    sum += unsafe { i32::from(*row.add(r * dim + i)) * i32::from(*query.add(q * dim + i)) };
                }
                out[q * stride + r] = sum;
            }
        }
        R
    }

    /// SAFETY: needs AVX2.
    #[target_feature(enable = "avx2")]
    unsafe fn dot_avx2(a: &[i8], b: &[i8]) -> i32 {
        let (mut even, mut odd) = (_mm256_setzero_si256(), _mm256_setzero_si256());
        let (a_steps, a_rest) = a.as_chunks::<{ 2 * LANES }>();
        let (b_steps, b_rest) = b.as_chunks::<{ 2 * LANES }>();
        for (x, y) in a_steps.iter().zip(b_steps) {
            // SAFETY: each array holds 32 bytes, so both loads of 16 stay inside.
            unsafe {
                let (x, y) = (x.as_ptr(), y.as_ptr());
                even = _mm256_add_epi32(even, _mm256_madd_epi16(widen(x), widen(y)));
                odd = _mm256_add_epi32(odd, _mm256_madd_epi16(widen(x.add(LANES)), widen(y.add(LANES))));
            }
        }
        let rest: i32 = a_rest.iter().zip(b_rest).map(|(&x, &y)| i32::from(x) * i32::from(y)).sum();
        horizontal(_mm256_add_epi32(even, odd)) + rest
    }

    /// SAFETY: `from` points at 16 values.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn widen(from: *const i8) -> __m256i {
        // SAFETY: the caller promises 16 readable bytes; the load needs no alignment.
        _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(from.cast()) })
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn horizontal(sum: __m256i) -> i32 {
        let half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
        let quarter = _mm_add_epi32(half, _mm_shuffle_epi32::<0b01_00_11_10>(half));
        let eighth = _mm_add_epi32(quarter, _mm_shuffle_epi32::<0b00_00_00_01>(quarter));
        _mm_cvtsi128_si32(eighth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Stream, stream};

    fn values(random: &mut Stream, n: usize) -> Vec<i8> {
        (0..n).map(|_| (random.below(256) as u8) as i8).collect()
    }

    fn all() -> Vec<Kernels> {
        vec![SIMSIMD, best()]
    }

    #[test]
    fn every_kernel_equals_scalar_at_every_dimension() {
        let mut random = stream(3, "kernels", 0);
        for dim in 1..=1100 {
            let (a, b) = (values(&mut random, dim), values(&mut random, dim));
            for kernels in all() {
                assert_eq!((kernels.dot)(&a, &b), scalar_dot(&a, &b), "{} at {dim}", kernels.name);
            }
        }
    }

    #[test]
    fn every_kernel_is_exact_at_the_extremes() {
        for dim in [1, 16, 31, 32, 1024, 1100, 4096] {
            for (x, y) in [(127, 127), (-127, 127), (-127, -127), (-128, -128), (-128, 127)] {
                let (a, b) = (vec![x; dim], vec![y; dim]);
                for kernels in all() {
                    let expected = i32::from(x) * i32::from(y) * dim as i32;
                    assert_eq!((kernels.dot)(&a, &b), expected, "{} {x} {y} {dim}", kernels.name);
                }
            }
        }
    }

    #[test]
    fn every_matrix_kernel_equals_scalar_for_every_batch_size() {
        let mut random = stream(3, "kernels", 1);
        for (count, dim) in [(1, 1), (3, 17), (67, 64), (130, 1024), (9, 1055)] {
            let rows = values(&mut random, count * dim);
            for batch in 1..20 {
                let queries: Vec<Vec<i8>> = (0..batch).map(|_| values(&mut random, dim)).collect();
                let queries: Vec<&[i8]> = queries.iter().map(Vec::as_slice).collect();
                let mut expected = vec![0; count * batch];
                scalar_matrix(&rows, dim, &queries, &mut expected);
                for kernels in all() {
                    let mut out = vec![0; count * batch];
                    (kernels.matrix)(&rows, dim, &queries, &mut out);
                    assert_eq!(out, expected, "{} {count}x{dim}, batch {batch}", kernels.name);
                }
            }
        }
    }
}
