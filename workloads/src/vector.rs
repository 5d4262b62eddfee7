//! Vectors whose inner products are exact.
//!
//! A floating-point sum depends on its order, so on CPU, batch size and thread split, and one flipped
//! near-tie would change a run's digest. Stored vectors are therefore 8-bit whole numbers with one scale
//! each. Products are summed in `i32`, where every order gives the same answer, and only the final cosine
//! is an `f64`, made of two correctly rounded operations.
//!
//! The scale itself is not kept: a cosine does not need it.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

mod kernels;

/// No vector is longer: `i32` holds the inner product of 131,071 pairs of -128 x -128.
pub const MAX_DIMENSION: usize = 65_536;

/// A vector rounded to 8 bits, with the square of its length.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Quantised {
    pub dims: Vec<i8>,
    pub norm2: u32,
}

impl Quantised {
    /// Takes 8-bit values as they are and adds the norm.
    pub fn new(dims: Vec<i8>) -> Self {
        let norm2 = norm2(&dims);
        Self { dims, norm2 }
    }

    /// The cosine with another vector of the same dimension.
    pub fn cosine(&self, other: &Quantised) -> f64 {
        cosine(dot(&self.dims, &other.dims), self.norm2, other.norm2)
    }

    pub fn is_zero(&self) -> bool {
        self.norm2 == 0
    }
}

/// What is written: the values as bytes. The norm follows from them, so a forged one cannot come in.
#[derive(Serialize, Deserialize)]
struct Stored(#[serde(with = "bytes")] Vec<i8>);

impl From<Stored> for Quantised {
    fn from(stored: Stored) -> Self {
        Quantised::new(stored.0)
    }
}

impl From<Quantised> for Stored {
    fn from(vector: Quantised) -> Self {
        Stored(vector.dims)
    }
}

mod bytes {
    use std::fmt;

    use serde::de::{Deserializer, Error, SeqAccess, Visitor};
    use serde::ser::Serializer;

    use super::MAX_DIMENSION;

    pub fn serialize<S: Serializer>(dims: &[i8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytemuck::cast_slice(dims))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i8>, D::Error> {
        deserializer.deserialize_bytes(Bytes)
    }

    struct Bytes;

    impl<'de> Visitor<'de> for Bytes {
        type Value = Vec<i8>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            write!(f, "at most {MAX_DIMENSION} bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<i8>, E> {
            if bytes.len() > MAX_DIMENSION {
                return Err(E::invalid_length(bytes.len(), &self));
            }
            Ok(bytemuck::cast_slice(bytes).to_vec())
        }

        /// Formats without a byte type, such as JSON, write an array of numbers.
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<i8>, A::Error> {
            let mut dims = Vec::new();
            while let Some(byte) = seq.next_element::<u8>()? {
                if dims.len() == MAX_DIMENSION {
                    return Err(A::Error::invalid_length(dims.len() + 1, &self));
                }
                dims.push(byte as i8);
            }
            Ok(dims)
        }
    }
}

/// Rounds to 8 bits: the largest magnitude becomes 127, halves go away from zero.
///
/// The zero vector stays zero. A vector with an infinite or undefined value has no direction: its
/// undefined values become zero. Callers with outside input refuse such vectors first.
pub fn quantise(values: &[f64]) -> Quantised {
    let largest = values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    if largest == 0.0 {
        return Quantised { dims: vec![0; values.len()], norm2: 0 };
    }
    let scale = 127.0 / largest;
    Quantised::new(values.iter().map(|v| round(v * scale)).collect())
}

/// `f64::round` within the range of a dimension, without its call into a library.
fn round(value: f64) -> i8 {
    let value = value.clamp(-127.0, 127.0);
    let whole = value as i32;
    let rest = value - f64::from(whole);
    (whole + i32::from(rest >= 0.5) - i32::from(rest <= -0.5)) as i8
}

/// The square of a vector's length.
pub fn norm2(dims: &[i8]) -> u32 {
    dot(dims, dims) as u32
}

/// The cosine of two vectors from their inner product and squared norms; 0 beside a zero vector.
///
/// One root of the product rather than a product of two roots: `norm2_a * norm2_b` is exact in `f64` up
/// to 2^53, so a vector and its copy score exactly 1, no score exceeds 1, and a threshold of 1 works.
pub fn cosine(dot: i32, norm2_a: u32, norm2_b: u32) -> f64 {
    if norm2_a == 0 || norm2_b == 0 {
        return 0.0;
    }
    f64::from(dot) / (f64::from(norm2_a) * f64::from(norm2_b)).sqrt()
}

/// The cosines of one vector with many, given their inner products and squared norms; `out` is replaced.
///
/// The values of [`cosine`], several at a time: without a branch, and from signed numbers, which no norm exceeds.
pub fn cosines(dots: &[i32], norm2: u32, norms: &[u32], out: &mut Vec<f64>) {
    let signed = |norm2: u32| f64::from(norm2 as i32);
    let norm2 = signed(norm2);
    out.clear();
    out.extend(dots.iter().zip(norms).map(|(&dot, &other)| {
        let square = norm2 * signed(other);
        let cosine = f64::from(dot) / square.sqrt();
        if square == 0.0 { 0.0 } else { cosine }
    }));
}

/// Tells at once which products are too small for a cosine of `least`, without a root or a division.
///
/// It only ever errs by letting a pair through, and by so little that hardly any is: what is let through
/// is then computed exactly, so results do not depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Sieve {
    /// `least^2 * norm2` of the one side, a little lowered; 0 lets everything through.
    floor: f64,
}

impl Sieve {
    pub fn new(least: f64, norm2: u32) -> Self {
        // Far more than the rounding of the few operations on either side.
        const SLACK: f64 = 1.0 - 1e-12;
        let least = least.max(0.0);
        Self { floor: least * least * f64::from(norm2) * SLACK }
    }

    /// Whether the cosine may reach the least, given the inner product and the other side's norm.
    pub fn lets_through(self, dot: i32, norm2: u32) -> bool {
        let dot = f64::from(dot.max(0));
        dot * dot >= self.floor * f64::from(norm2)
    }
}

/// The inner product. Values beyond the shorter of the two count as zero.
pub fn dot(a: &[i8], b: &[i8]) -> i32 {
    let n = a.len().min(b.len());
    (kernels().dot)(&a[..n], &b[..n])
}

/// The inner product of a vector with each of others of its length, wherever they lie; `out` is replaced.
///
/// # Panics
/// When one is of another length.
pub fn dot_each(vector: &[i8], others: &[&[i8]], out: &mut Vec<i32>) {
    assert!(others.iter().all(|other| other.len() == vector.len()), "vectors of one length");
    out.clear();
    out.resize(others.len(), 0);
    (kernels().each)(vector, others, out);
}

/// The inner product of `query` with every row of a matrix stored row by row; `out` is replaced.
pub fn dots(rows: &[i8], dim: usize, query: &[i8], out: &mut Vec<i32>) {
    dots_batch(rows, dim, &[query], out);
}

/// The inner products of many queries with every row: query 0 with all rows, then query 1, and so on.
///
/// Rows are taken in blocks that stay in the cache while all queries pass over them, so a batch reads
/// the matrix from memory once. A query shorter than `dim` is read as if zeros followed; the tail of a
/// longer one, and a last incomplete row, are left out.
pub fn dots_batch(rows: &[i8], dim: usize, queries: &[&[i8]], out: &mut Vec<i32>) {
    out.clear();
    let count = rows.len().checked_div(dim).unwrap_or(0);
    out.resize(count * queries.len(), 0);
    if count == 0 || queries.is_empty() {
        return;
    }
    let mut padded = Vec::new();
    let queries: Vec<&[i8]> = if queries.iter().all(|q| q.len() >= dim) {
        queries.iter().map(|q| &q[..dim]).collect()
    } else {
        padded.resize(queries.len() * dim, 0);
        for (to, from) in padded.chunks_exact_mut(dim).zip(queries) {
            let n = from.len().min(dim);
            to[..n].copy_from_slice(&from[..n]);
        }
        padded.chunks_exact(dim).collect()
    };
    (kernels().matrix)(&rows[..count * dim], dim, &queries, out);
}

/// Which code computes inner products in this process: the first of [`kernel_names`], or the one that `BENCH_SIMD`
/// names.
pub fn kernel_name() -> &'static str {
    kernels().name
}

/// What this CPU has, the fastest first: `avx512-vnni`, `avx-vnni`, `avx2`, `simsimd`, `scalar`.
pub fn kernel_names() -> Vec<&'static str> {
    kernels::ladder().iter().map(|kernels| kernels.name).collect()
}

fn kernels() -> &'static kernels::Kernels {
    static CHOSEN: OnceLock<kernels::Kernels> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let asked = std::env::var("BENCH_SIMD").ok();
        let ladder = kernels::ladder();
        let named = |name: String| ladder.iter().find(|kernels| kernels.name == name);
        // A name that this CPU does not have is no reason to fail: `extra.simd` of the record says what ran.
        *asked.and_then(named).unwrap_or(&ladder[0])
    })
}

/// The best `k` cosines: of a query with rows, given their inner products and squared norms.
pub fn best_cosines(products: &[i32], norms: &[u32], query_norm2: u32, k: usize) -> Vec<Hit> {
    let mut top = TopK::new(k);
    let mut sieve = Sieve::new(0.0, query_norm2);
    for ((row, &product), &norm2) in (0u32..).zip(products).zip(norms) {
        if !sieve.lets_through(product, norm2) {
            continue;
        }
        top.offer(Hit { row, score: cosine(product, query_norm2, norm2) });
        if let Some(worst) = top.worst() {
            sieve = Sieve::new(worst.score, query_norm2);
        }
    }
    top.into_sorted()
}

/// A row and its score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    pub row: u32,
    pub score: f64,
}

impl Hit {
    /// Best first: the higher score, then the lower row.
    pub fn best_first(&self, other: &Hit) -> std::cmp::Ordering {
        other.score.total_cmp(&self.score).then(self.row.cmp(&other.row))
    }
}

/// Keeps the best `k` of the hits offered to it, whatever the order they come in.
#[derive(Debug, Clone)]
pub struct TopK {
    k: usize,
    /// A heap with the worst kept hit on top.
    kept: std::collections::BinaryHeap<Worst>,
}

#[derive(Debug, Clone, Copy)]
struct Worst(Hit);

impl Ord for Worst {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.best_first(&other.0)
    }
}
impl PartialOrd for Worst {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Worst {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Worst {}

impl TopK {
    pub fn new(k: usize) -> Self {
        Self { k, kept: std::collections::BinaryHeap::with_capacity(k.min(4096)) }
    }

    pub fn offer(&mut self, hit: Hit) {
        if self.kept.len() < self.k {
            self.kept.push(Worst(hit));
        } else if let Some(mut worst) = self.kept.peek_mut()
            && hit.best_first(&worst.0).is_lt()
        {
            *worst = Worst(hit);
        }
    }

    /// The hit that the next better one replaces; `None` while there is room.
    pub fn worst(&self) -> Option<Hit> {
        (self.kept.len() >= self.k).then(|| self.kept.peek().map(|worst| worst.0)).flatten()
    }

    /// The kept hits, best first.
    pub fn into_sorted(self) -> Vec<Hit> {
        self.kept.into_sorted_vec().into_iter().map(|w| w.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::stream;

    fn hit(row: u32, score: f64) -> Hit {
        Hit { row, score }
    }

    #[test]
    fn the_largest_magnitude_becomes_127() {
        assert_eq!(quantise(&[0.5, -1.0, 0.0]).dims, [64, -127, 0]);
    }

    #[test]
    fn halves_are_rounded_away_from_zero() {
        assert_eq!(
            quantise(&[127.0, 0.5, -0.5, 1.5, -2.5, 0.49999999999999994]).dims,
            [127, 1, -1, 2, -3, 0]
        );
    }

    #[test]
    fn scaling_a_vector_changes_nothing() {
        let values = [0.3, -0.7, 0.11, 0.0];
        assert_eq!(quantise(&values), quantise(&values.map(|v| v * 4.0)));
    }

    #[test]
    fn the_zero_vector_stays_zero_and_has_cosine_zero() {
        let zero = quantise(&[0.0, 0.0]);
        assert!(zero.is_zero());
        assert_eq!(zero.cosine(&quantise(&[1.0, 0.0])), 0.0);
    }

    #[test]
    fn undefined_and_infinite_values_do_not_panic() {
        assert_eq!(quantise(&[f64::NAN, 1.0]).dims, [0, 127]);
        assert_eq!(quantise(&[f64::INFINITY, 1.0]).dims, [0, 0]);
        assert_eq!(quantise(&[1e-310, -1e-310]).dims, [127, -127]);
    }

    #[test]
    fn a_vector_and_its_copy_have_cosine_exactly_one() {
        let mut random = stream(9, "vectors", 0);
        for _ in 0..500 {
            let values: Vec<f64> = (0..1024).map(|_| random.unit() - 0.5).collect();
            let vector = quantise(&values);
            assert_eq!(vector.cosine(&vector.clone()), 1.0);
        }
    }

    #[test]
    fn many_cosines_are_those_of_one_by_one() {
        let mut random = stream(9, "vectors", 5);
        let mut norms: Vec<u32> = (0..100).map(|_| random.below(1 << 30)).collect();
        norms.extend([0, 1, 1 << 30]);
        let dots: Vec<i32> = norms.iter().map(|&norm2| random.below(norm2.max(1)) as i32 - 1_000).collect();
        let dots: Vec<i32> =
            dots.iter().zip(&norms).map(|(&dot, &norm2)| if norm2 == 0 { 0 } else { dot }).collect();
        let mut out = Vec::new();
        for norm2 in [0, 1, 16_129, 1 << 30] {
            cosines(&dots, norm2, &norms, &mut out);
            let expected = dots.iter().zip(&norms).map(|(&dot, &other)| cosine(dot, norm2, other));
            assert!(out.iter().copied().eq(expected));
        }
    }

    #[test]
    fn a_batch_equals_its_queries_one_by_one() {
        let mut random = stream(9, "vectors", 1);
        let rows: Vec<i8> = (0..50 * 32).map(|_| random.below(255) as u8 as i8).collect();
        let queries: Vec<&[i8]> = rows.chunks(32).take(5).collect();
        let (mut batch, mut single, mut all) = (Vec::new(), Vec::new(), Vec::new());
        dots_batch(&rows, 32, &queries, &mut batch);
        for query in queries {
            dots(&rows, 32, query, &mut single);
            all.extend_from_slice(&single);
        }
        assert_eq!(batch, all);
    }

    #[test]
    fn odd_shapes_are_read_as_if_padded() {
        let mut out = Vec::new();
        dots(&[1, 2, 3, 4, 5], 2, &[1], &mut out);
        assert_eq!(out, [1, 3]);
        dots(&[1, 2, 3, 4], 2, &[1, 1, 9], &mut out);
        assert_eq!(out, [3, 7]);
        dots(&[1, 2], 0, &[1], &mut out);
        assert!(out.is_empty());
        assert_eq!(dot(&[2, 3], &[5]), 10);
    }

    #[test]
    fn the_best_hits_win_and_ties_go_to_the_lower_row() {
        let mut top = TopK::new(3);
        for h in [hit(5, 0.5), hit(1, 0.2), hit(4, 0.9), hit(2, 0.5), hit(3, 0.5)] {
            top.offer(h);
        }
        assert_eq!(top.into_sorted(), [hit(4, 0.9), hit(2, 0.5), hit(3, 0.5)]);
    }

    #[test]
    fn the_order_of_offers_does_not_matter() {
        let mut random = stream(9, "vectors", 2);
        let mut hits: Vec<Hit> = (0..200).map(|row| hit(row, f64::from(random.below(20)))).collect();
        let best = |hits: &[Hit]| {
            let mut top = TopK::new(17);
            hits.iter().for_each(|h| top.offer(*h));
            top.into_sorted()
        };
        let forward = best(&hits);
        hits.reverse();
        assert_eq!(best(&hits), forward);
    }

    #[test]
    fn the_sieve_never_holds_back_what_reaches_the_least() {
        let mut random = stream(9, "vectors", 3);
        for _ in 0..20_000 {
            let (a, b) = (random.below(1 << 24), random.below(1 << 24));
            let dot = random.below(1 << 24) as i32 - (1 << 22);
            let score = cosine(dot, a, b);
            assert!(Sieve::new(score, a).lets_through(dot, b), "{dot} {a} {b}");
            if score > 0.0 {
                assert!(!Sieve::new(score * 1.000_001, a).lets_through(dot, b), "{dot} {a} {b}");
            }
        }
        assert!(Sieve::new(-1.0, 5).lets_through(-5, 5));
    }

    #[test]
    fn the_best_cosines_are_those_of_a_full_sort() {
        let mut random = stream(9, "vectors", 4);
        for k in [0, 1, 7, 400] {
            let products: Vec<i32> = (0..300).map(|_| random.below(400) as i32 - 100).collect();
            let norms: Vec<u32> = (0..300).map(|_| random.below(5) * 100).collect();
            let mut all: Vec<Hit> = (0..300)
                .map(|row| hit(row, cosine(products[row as usize], 900, norms[row as usize])))
                .collect();
            all.sort_by(Hit::best_first);
            all.truncate(k);
            assert_eq!(best_cosines(&products, &norms, 900, k), all);
        }
    }

    #[test]
    fn the_best_of_none_are_none() {
        let mut top = TopK::new(0);
        top.offer(hit(1, 1.0));
        assert!(top.into_sorted().is_empty());
    }

    #[test]
    fn a_vector_survives_json_and_postcard() {
        let vector = quantise(&[0.1, -0.9, 0.4]);
        let json = serde_json::to_string(&vector).unwrap();
        assert_eq!(serde_json::from_str::<Quantised>(&json).unwrap(), vector);
        let bytes = postcard::to_stdvec(&vector).unwrap();
        assert_eq!(bytes.len(), 4);
        assert_eq!(postcard::from_bytes::<Quantised>(&bytes).unwrap(), vector);
    }

    #[test]
    fn an_overlong_vector_is_refused() {
        let bytes = postcard::to_stdvec(&Quantised::new(vec![1; MAX_DIMENSION + 1])).unwrap();
        assert!(postcard::from_bytes::<Quantised>(&bytes).is_err());
    }
}
