//! Rows widen to 16 bits as they are loaded, `pmaddwd` multiplies and adds pairs into 32 bits. That is
//! exact for all values, -128 included, unlike the shorter `pmaddubsw`, which saturates. Queries are
//! widened once, so the inner loop only widens rows, and a tile of rows x queries shares each load.

use std::arch::x86_64::*;

use super::{BLOCK_BYTES, Kernels, one_by_one};

pub const KERNELS: Kernels = Kernels { name: "avx2", dot, matrix, each };

/// Values that one step takes.
const LANES: usize = 16;

fn dot(a: &[i8], b: &[i8]) -> i32 {
    // SAFETY: `KERNELS` is only chosen after AVX2 was detected.
    unsafe { dot_avx2(a, b) }
}

fn each(vector: &[i8], others: &[&[i8]], out: &mut [i32]) {
    one_by_one(vector, others, out, dot);
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
