//! The ways to compute exact 8-bit inner products, and the choice between them.
//!
//! All are exact, tested against the scalar one at dimensions 1 to 1,100. Measured on one core of an AMD EPYC (Zen 4,
//! AVX-512 VNNI, shared machine, best of 80 or more), 1,024 dimensions, 10,000 rows in the third cache, whose bytes
//! alone take 107 us to read:
//!
//! | kernel | one product, in cache | one query | per query in batches of 16 |
//! |---|---:|---:|---:|
//! | avx512-vnni, here | 13 ns | 115 us | 58 us |
//! | avx2, here | 25 ns | 255 us | 248 us |
//! | numkong 7.8.7 | | 186 us | |
//! | simsimd 6.5.16 | 34 ns | 327 us | 550 us |
//!
//! On a CPU without VNNI (Zen 3): avx2 26 ns, 290 us, 160 to 220 us; numkong 28 ns, 300 us, 320 us; simsimd 77 ns,
//! 840 us, 820 us. No crate is within a tenth of what is here on either, numkong has no share of loads in a batch and
//! took most of ten minutes to compile, so the kernels here are used where they can be, and simsimd elsewhere (it has
//! ones for Arm, with its dot-product instructions). Of the tiles tried with VNNI, 4 x 4 was the fastest for a batch
//! (53 to 57 us; 4 x 2: 98, 2 x 8: 65, 1 x 16: 116, 8 x 2: 85), and for one query rows one after the other (109 us;
//! four at a time: 126; with prefetches: 122 to 141).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(any(target_arch = "x86_64", test))]
mod vnni;

/// Rows, their dimension, the queries, and a place for each product.
type Matrix = fn(&[i8], usize, &[&[i8]], &mut [i32]);

/// A vector, others that lie anywhere, and a place for each product.
type Each = fn(&[i8], &[&[i8]], &mut [i32]);

/// One way to compute inner products. `matrix` gets whole rows, and queries of exactly `dim` values; the vectors of
/// `each` are of one length.
#[derive(Clone, Copy)]
pub struct Kernels {
    pub name: &'static str,
    pub dot: fn(&[i8], &[i8]) -> i32,
    pub matrix: Matrix,
    pub each: Each,
}

/// Plain Rust: the reference the others are tested against.
pub const SCALAR: Kernels =
    Kernels { name: "scalar", dot: scalar_dot, matrix: scalar_matrix, each: scalar_each };

/// The ways that this CPU can run, the fastest first.
pub fn ladder() -> Vec<Kernels> {
    let mut rungs = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        if has!("avx512f") && has!("avx512bw") && has!("avx512vnni") {
            rungs.push(vnni::AVX512);
        }
        if has!("avx2") && has!("avxvnni") {
            rungs.push(vnni::AVX_VNNI);
        }
        if has!("avx2") {
            rungs.push(avx2::KERNELS);
        }
    }
    rungs.extend([SIMSIMD, SCALAR]);
    rungs
}

pub const SIMSIMD: Kernels =
    Kernels { name: "simsimd", dot: simsimd_dot, matrix: simsimd_matrix, each: simsimd_each };

/// Rows of about this many bytes are kept in the cache while all queries pass over them.
const BLOCK_BYTES: usize = 64 * 1024;

fn scalar_dot(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(&x, &y)| i32::from(x) * i32::from(y)).sum()
}

fn scalar_matrix(rows: &[i8], dim: usize, queries: &[&[i8]], out: &mut [i32]) {
    by_blocks(rows, dim, queries, out, scalar_dot);
}

fn scalar_each(vector: &[i8], others: &[&[i8]], out: &mut [i32]) {
    one_by_one(vector, others, out, scalar_dot);
}

/// The crate answers with an `f64` that holds an exact whole number, and `None` for unequal lengths.
fn simsimd_dot(a: &[i8], b: &[i8]) -> i32 {
    <i8 as simsimd::SpatialSimilarity>::dot(a, b).map_or_else(|| scalar_dot(a, b), |product| product as i32)
}

fn simsimd_matrix(rows: &[i8], dim: usize, queries: &[&[i8]], out: &mut [i32]) {
    by_blocks(rows, dim, queries, out, simsimd_dot);
}

fn simsimd_each(vector: &[i8], others: &[&[i8]], out: &mut [i32]) {
    one_by_one(vector, others, out, simsimd_dot);
}

fn one_by_one(vector: &[i8], others: &[&[i8]], out: &mut [i32], dot: fn(&[i8], &[i8]) -> i32) {
    out.iter_mut().zip(others).for_each(|(out, other)| *out = dot(vector, other));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Stream, stream};

    fn values(random: &mut Stream, n: usize) -> Vec<i8> {
        (0..n).map(|_| (random.below(256) as u8) as i8).collect()
    }

    /// Every rung that this CPU has, and the model of the instruction behind those that it may lack.
    fn all() -> Vec<Kernels> {
        let mut all = ladder();
        all.push(vnni::model::MODEL);
        let had: Vec<&str> = all.iter().map(|kernels| kernels.name).collect();
        println!("tested here: {}", had.join(", "));
        all
    }

    #[test]
    fn every_kernel_equals_scalar_at_every_dimension() {
        let (all, mut random) = (all(), stream(3, "kernels", 0));
        for dim in 1..=1100 {
            let (a, b) = (values(&mut random, dim), values(&mut random, dim));
            for kernels in &all {
                assert_eq!((kernels.dot)(&a, &b), scalar_dot(&a, &b), "{} at {dim}", kernels.name);
            }
        }
    }

    #[test]
    fn every_kernel_is_exact_at_the_extremes() {
        let all = all();
        // The last is the longest that there is: sums of flipped values pass 2^31 on the way there.
        for dim in [1, 16, 31, 32, 1024, 1100, 4096, crate::vector::MAX_DIMENSION] {
            for (x, y) in [(127, 127), (-127, 127), (-127, -127), (-128, -128), (-128, 127)] {
                let (a, b) = (vec![x; dim], vec![y; dim]);
                for kernels in &all {
                    let expected = i32::from(x) * i32::from(y) * dim as i32;
                    assert_eq!((kernels.dot)(&a, &b), expected, "{} {x} {y} {dim}", kernels.name);
                }
            }
        }
    }

    #[test]
    fn every_kernel_for_scattered_vectors_equals_scalar() {
        let (all, mut random) = (all(), stream(3, "kernels", 2));
        for (count, dim) in [(0, 5), (1, 1), (3, 17), (4, 768), (7, 64), (9, 1055), (5, 63), (8, 127)] {
            let vector = values(&mut random, dim);
            let others: Vec<Vec<i8>> = (0..count).map(|_| values(&mut random, dim)).collect();
            let others: Vec<&[i8]> = others.iter().map(Vec::as_slice).collect();
            let expected: Vec<i32> = others.iter().map(|other| scalar_dot(&vector, other)).collect();
            for kernels in &all {
                let mut out = vec![0; count];
                (kernels.each)(&vector, &others, &mut out);
                assert_eq!(out, expected, "{} {count}x{dim}", kernels.name);
            }
        }
    }

    #[test]
    fn every_matrix_kernel_equals_scalar_for_every_batch_size() {
        let (all, mut random) = (all(), stream(3, "kernels", 1));
        for (count, dim) in [(1, 1), (3, 17), (67, 64), (130, 1024), (9, 1055), (5, 63), (8, 127)] {
            let rows = values(&mut random, count * dim);
            for batch in 1..20 {
                let queries: Vec<Vec<i8>> = (0..batch).map(|_| values(&mut random, dim)).collect();
                let queries: Vec<&[i8]> = queries.iter().map(Vec::as_slice).collect();
                let mut expected = vec![0; count * batch];
                scalar_matrix(&rows, dim, &queries, &mut expected);
                for kernels in &all {
                    let mut out = vec![0; count * batch];
                    (kernels.matrix)(&rows, dim, &queries, &mut out);
                    assert_eq!(out, expected, "{} {count}x{dim}, batch {batch}", kernels.name);
                }
            }
        }
    }
}
