//! Products on `vpdpbusd`, which multiplies four pairs of bytes, one unsigned and one signed, and adds them to a
//! 32-bit sum, without saturating.
//!
//! Rows become unsigned by flipping their highest bit, which adds 128 to each value. What that adds to a product is
//! 128 times the sum of the query, whatever the row, and is taken away at the end. Sums wrap, so the end is exact as
//! long as the product itself fits in 32 bits: intermediate ones need not.
//!
//! One text serves every width: 512 bits (AVX-512 VNNI), 256 bits (AVX-VNNI), and in tests a model of the instruction
//! in plain Rust, lane by lane, with which a machine that has neither tests what both are made of.

/// One width of the instruction.
///
/// # Safety of all methods
/// The CPU has what the unit needs, and the caller is compiled for it; pointers have as many readable bytes as are
/// asked for.
trait Unit: Copy {
    /// A register: bytes, or 32-bit sums.
    type Register: Copy;
    /// Bytes in a register.
    const BYTES: usize;
    /// All bits zero.
    unsafe fn zero() -> Self::Register;
    /// `BYTES` bytes.
    unsafe fn load(from: *const i8) -> Self::Register;
    /// `n < BYTES` bytes, and zeros.
    unsafe fn load_first(from: *const i8, n: usize) -> Self::Register;
    /// 128 more in each byte: from signed to unsigned.
    unsafe fn flip(signed: Self::Register) -> Self::Register;
    /// The sums, and to each the four products of its bytes.
    unsafe fn add_products(
        sums: Self::Register,
        unsigned: Self::Register,
        signed: Self::Register,
    ) -> Self::Register;
    /// The sum over the lanes of each of four registers.
    unsafe fn across(sums: [Self::Register; 4]) -> [i32; 4];
}

/// Rows that are summed across together.
const ROWS: usize = 4;
/// Queries that share each load of [`ROWS`] rows: 16 sums, which leaves registers for their operands.
const QUERIES: usize = 4;

// Loops and functions that are always inlined, no closures below: a closure is compiled without the unit's features
// where it is not inlined, and then registers go through memory.

/// `ROWS` rows x `QUERIES` queries: products of flipped rows.
///
/// # Safety
/// As [`Unit`] says; `row` points at `ROWS * dim` values, each of `queries` at `dim`.
#[inline(always)]
unsafe fn tile<U: Unit>(row: *const i8, dim: usize, queries: [*const i8; QUERIES]) -> [[i32; ROWS]; QUERIES] {
    // SAFETY: every load stays inside the `dim` values of its row or query: whole registers while they fit, and then
    // what is left, where a flipped nothing of a row meets a zero of the query.
    unsafe {
        let mut sums = [[U::zero(); ROWS]; QUERIES];
        let mut values = [U::zero(); ROWS];
        let mut at = 0;
        while at + U::BYTES <= dim {
            for (r, value) in values.iter_mut().enumerate() {
                *value = U::flip(U::load(row.add(r * dim + at)));
            }
            for (query, sums) in queries.iter().zip(&mut sums) {
                add_products::<U>(sums, values, U::load(query.add(at)));
            }
            at += U::BYTES;
        }
        if at < dim {
            let left = dim - at;
            for (r, value) in values.iter_mut().enumerate() {
                *value = U::flip(U::load_first(row.add(r * dim + at), left));
            }
            for (query, sums) in queries.iter().zip(&mut sums) {
                add_products::<U>(sums, values, U::load_first(query.add(at), left));
            }
        }
        let mut products = [[0; ROWS]; QUERIES];
        for (products, sums) in products.iter_mut().zip(sums) {
            *products = U::across(sums);
        }
        products
    }
}

/// # Safety
/// As [`Unit`] says.
#[inline(always)]
unsafe fn add_products<U: Unit>(
    sums: &mut [U::Register; ROWS],
    values: [U::Register; ROWS],
    weight: U::Register,
) {
    for (sum, value) in sums.iter_mut().zip(values) {
        // SAFETY: the caller's.
        *sum = unsafe { U::add_products(*sum, value, weight) };
    }
}

/// `ROWS` rows x one query, one row after the other: memory is read in a single stream, which is faster than four.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn strip<U: Unit>(row: *const i8, dim: usize, query: *const i8) -> [i32; ROWS] {
    // SAFETY: as in `tile`.
    unsafe {
        let mut sums = [U::zero(); ROWS];
        for (r, sum) in sums.iter_mut().enumerate() {
            let row = row.add(r * dim);
            let mut at = 0;
            while at + U::BYTES <= dim {
                *sum = U::add_products(*sum, U::flip(U::load(row.add(at))), U::load(query.add(at)));
                at += U::BYTES;
            }
            if at < dim {
                let value = U::flip(U::load_first(row.add(at), dim - at));
                *sum = U::add_products(*sum, value, U::load_first(query.add(at), dim - at));
            }
        }
        U::across(sums)
    }
}

/// All queries with all rows, `ROWS` rows at a time: their 4 KiB (at 1,024 values) stay in the first cache while the
/// queries pass, and the matrix is read once.
///
/// # Safety
/// As [`Unit`] says.
#[inline(always)]
unsafe fn all<U: Unit>(rows: &[i8], dim: usize, queries: &[&[i8]], out: &mut [i32]) {
    let count = rows.len() / dim;
    let whole = count - count % ROWS;
    let mut extra = vec![0; queries.len()];
    for (extra, query) in extra.iter_mut().zip(queries) {
        // SAFETY: the caller's.
        *extra = unsafe { added_by_flipping::<U>(query) };
    }
    let (groups, single) = queries.as_chunks::<QUERIES>();
    for first in (0..whole).step_by(ROWS) {
        let row = rows[first * dim..].as_ptr();
        let mut keep = |q: usize, products: [i32; ROWS]| {
            let to = &mut out[q * count + first..][..ROWS];
            to.iter_mut().zip(products).for_each(|(to, product)| *to = product.wrapping_sub(extra[q]));
        };
        for (group, queries) in groups.iter().enumerate() {
            // SAFETY: `first + ROWS <= count`, and every query has `dim` values; so below.
            let products = unsafe { tile::<U>(row, dim, queries.map(<[i8]>::as_ptr)) };
            products.into_iter().enumerate().for_each(|(q, products)| keep(group * QUERIES + q, products));
        }
        for (q, query) in single.iter().enumerate() {
            // SAFETY: see above.
            keep(groups.len() * QUERIES + q, unsafe { strip::<U>(row, dim, query.as_ptr()) });
        }
    }
    for row in whole..count {
        for (query, out) in queries.iter().zip(out.chunks_exact_mut(count)) {
            // SAFETY: the caller's.
            out[row] = unsafe { one::<U>(&rows[row * dim..][..dim], query) };
        }
    }
}

/// One vector with others, `ROWS` at a time: each load of it serves all of them, and so does what flipping adds.
///
/// # Safety
/// As [`Unit`] says; the vectors are of one length.
#[inline(always)]
unsafe fn each<U: Unit>(vector: &[i8], others: &[&[i8]], out: &mut [i32]) {
    let (dim, weights) = (vector.len(), vector.as_ptr());
    // SAFETY: every load stays inside the `dim` values of its vector.
    unsafe {
        let extra = added_by_flipping::<U>(vector);
        for (others, out) in others.chunks(ROWS).zip(out.chunks_mut(ROWS)) {
            // A place without a vector takes the first one once more.
            let mut group = [others[0].as_ptr(); ROWS];
            for (place, other) in group.iter_mut().zip(others) {
                *place = other.as_ptr();
            }
            let mut sums = [U::zero(); ROWS];
            let mut at = 0;
            while at + U::BYTES <= dim {
                let weight = U::load(weights.add(at));
                for (sum, other) in sums.iter_mut().zip(group) {
                    *sum = U::add_products(*sum, U::flip(U::load(other.add(at))), weight);
                }
                at += U::BYTES;
            }
            if at < dim {
                let weight = U::load_first(weights.add(at), dim - at);
                for (sum, other) in sums.iter_mut().zip(group) {
                    *sum = U::add_products(*sum, U::flip(U::load_first(other.add(at), dim - at)), weight);
                }
            }
            for (to, product) in out.iter_mut().zip(U::across(sums)) {
                *to = product.wrapping_sub(extra);
            }
        }
    }
}

/// One product, of vectors of the same length.
///
/// # Safety
/// As [`Unit`] says.
#[inline(always)]
unsafe fn one<U: Unit>(a: &[i8], b: &[i8]) -> i32 {
    let (dim, a, b) = (a.len().min(b.len()), a.as_ptr(), b.as_ptr());
    // SAFETY: every load stays inside the first `dim` values of either.
    unsafe {
        let ones = U::flip(U::zero());
        // Two chains, so that one need not wait for the other; behind them, what flipping adds to each.
        let [mut even, mut odd, mut more_even, mut more_odd] = [U::zero(); 4];
        let mut at = 0;
        while at + 2 * U::BYTES <= dim {
            let (x, y) = (U::load(a.add(at)), U::load(b.add(at)));
            even = U::add_products(even, U::flip(x), y);
            more_even = U::add_products(more_even, ones, y);
            let (x, y) = (U::load(a.add(at + U::BYTES)), U::load(b.add(at + U::BYTES)));
            odd = U::add_products(odd, U::flip(x), y);
            more_odd = U::add_products(more_odd, ones, y);
            at += 2 * U::BYTES;
        }
        if at + U::BYTES <= dim {
            let (x, y) = (U::load(a.add(at)), U::load(b.add(at)));
            even = U::add_products(even, U::flip(x), y);
            more_even = U::add_products(more_even, ones, y);
            at += U::BYTES;
        }
        if at < dim {
            let (x, y) = (U::load_first(a.add(at), dim - at), U::load_first(b.add(at), dim - at));
            odd = U::add_products(odd, U::flip(x), y);
            more_odd = U::add_products(more_odd, ones, y);
        }
        let [even, odd, more_even, more_odd] = U::across([even, odd, more_even, more_odd]);
        even.wrapping_add(odd).wrapping_sub(more_even).wrapping_sub(more_odd)
    }
}

/// 128 times the sum of a vector: what it gains when the other one is flipped.
///
/// # Safety
/// As [`Unit`] says.
#[inline(always)]
unsafe fn added_by_flipping<U: Unit>(vector: &[i8]) -> i32 {
    let (dim, vector) = (vector.len(), vector.as_ptr());
    // SAFETY: every load stays inside the `dim` values.
    unsafe {
        let ones = U::flip(U::zero());
        // Two chains, so that one need not wait for the other.
        let [mut even, mut odd] = [U::zero(); 2];
        let mut at = 0;
        while at + 2 * U::BYTES <= dim {
            even = U::add_products(even, ones, U::load(vector.add(at)));
            odd = U::add_products(odd, ones, U::load(vector.add(at + U::BYTES)));
            at += 2 * U::BYTES;
        }
        if at + U::BYTES <= dim {
            even = U::add_products(even, ones, U::load(vector.add(at)));
            at += U::BYTES;
        }
        if at < dim {
            odd = U::add_products(odd, ones, U::load_first(vector.add(at), dim - at));
        }
        let [even, odd, ..] = U::across([even, odd, U::zero(), U::zero()]);
        even.wrapping_add(odd)
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{AVX_VNNI, AVX512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::super::Kernels;
    use super::{Unit, all, each, one};

    /// 512 bits; needs AVX-512 F, BW and VNNI.
    pub const AVX512: Kernels =
        Kernels { name: "avx512-vnni", dot: dot_512, matrix: matrix_512, each: each_512 };
    /// 256 bits; needs AVX2 and AVX-VNNI.
    pub const AVX_VNNI: Kernels =
        Kernels { name: "avx-vnni", dot: dot_256, matrix: matrix_256, each: each_256 };

    fn dot_512(a: &[i8], b: &[i8]) -> i32 {
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        fn wide(a: &[i8], b: &[i8]) -> i32 {
            // SAFETY: compiled for the unit.
            unsafe { one::<Wide>(a, b) }
        }
        // SAFETY: `AVX512` is only chosen after its features were detected.
        unsafe { wide(a, b) }
    }

    fn matrix_512(rows: &[i8], dim: usize, queries: &[&[i8]], out: &mut [i32]) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        fn wide(rows: &[i8], dim: usize, queries: &[&[i8]], out: &mut [i32]) {
            // SAFETY: compiled for the unit.
            unsafe { all::<Wide>(rows, dim, queries, out) }
        }
        // SAFETY: `AVX512` is only chosen after its features were detected.
        unsafe { wide(rows, dim, queries, out) }
    }

    fn dot_256(a: &[i8], b: &[i8]) -> i32 {
        #[target_feature(enable = "avx2,avxvnni")]
        fn half(a: &[i8], b: &[i8]) -> i32 {
            // SAFETY: compiled for the unit.
            unsafe { one::<Half>(a, b) }
        }
        // SAFETY: `AVX_VNNI` is only chosen after its features were detected.
        unsafe { half(a, b) }
    }

    fn matrix_256(rows: &[i8], dim: usize, queries: &[&[i8]], out: &mut [i32]) {
        #[target_feature(enable = "avx2,avxvnni")]
        fn half(rows: &[i8], dim: usize, queries: &[&[i8]], out: &mut [i32]) {
            // SAFETY: compiled for the unit.
            unsafe { all::<Half>(rows, dim, queries, out) }
        }
        // SAFETY: `AVX_VNNI` is only chosen after its features were detected.
        unsafe { half(rows, dim, queries, out) }
    }

    fn each_512(vector: &[i8], others: &[&[i8]], out: &mut [i32]) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        fn wide(vector: &[i8], others: &[&[i8]], out: &mut [i32]) {
            // SAFETY: compiled for the unit.
            unsafe { each::<Wide>(vector, others, out) }
        }
        // SAFETY: `AVX512` is only chosen after its features were detected.
        unsafe { wide(vector, others, out) }
    }

    #[derive(Clone, Copy)]
    struct Wide;

    impl Unit for Wide {
        type Register = __m512i;
        const BYTES: usize = 64;

        #[inline(always)]
        unsafe fn zero() -> __m512i {
            // SAFETY: the caller is compiled for the unit, here and below.
            unsafe { _mm512_setzero_si512() }
        }

        #[inline(always)]
        unsafe fn load(from: *const i8) -> __m512i {
            // SAFETY: 64 readable bytes; needs no alignment.
            unsafe { _mm512_loadu_si512(from.cast()) }
        }

        #[inline(always)]
        unsafe fn load_first(from: *const i8, n: usize) -> __m512i {
            // SAFETY: bytes that are masked out are not read.
            unsafe { _mm512_maskz_loadu_epi8((1u64 << n) - 1, from) }
        }

        #[inline(always)]
        unsafe fn flip(signed: __m512i) -> __m512i {
            // SAFETY: see `zero`.
            unsafe { _mm512_xor_si512(signed, _mm512_set1_epi8(i8::MIN)) }
        }

        #[inline(always)]
        unsafe fn add_products(sums: __m512i, unsigned: __m512i, signed: __m512i) -> __m512i {
            // SAFETY: see `zero`.
            unsafe { _mm512_dpbusd_epi32(sums, unsigned, signed) }
        }

        #[inline(always)]
        unsafe fn across(sums: [__m512i; 4]) -> [i32; 4] {
            // SAFETY: see `zero`.
            unsafe {
                let mut halves = [_mm256_setzero_si256(); 4];
                for (half, sum) in halves.iter_mut().zip(sums) {
                    *half =
                        _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum));
                }
                across_256(halves)
            }
        }
    }

    fn each_256(vector: &[i8], others: &[&[i8]], out: &mut [i32]) {
        #[target_feature(enable = "avx2,avxvnni")]
        fn half(vector: &[i8], others: &[&[i8]], out: &mut [i32]) {
            // SAFETY: compiled for the unit.
            unsafe { each::<Half>(vector, others, out) }
        }
        // SAFETY: `AVX_VNNI` is only chosen after its features were detected.
        unsafe { half(vector, others, out) }
    }

    #[derive(Clone, Copy)]
    struct Half;

    impl Unit for Half {
        type Register = __m256i;
        const BYTES: usize = 32;

        #[inline(always)]
        unsafe fn zero() -> __m256i {
            // SAFETY: the caller is compiled for the unit, here and below.
            unsafe { _mm256_setzero_si256() }
        }

        #[inline(always)]
        unsafe fn load(from: *const i8) -> __m256i {
            // SAFETY: 32 readable bytes; needs no alignment.
            unsafe { _mm256_loadu_si256(from.cast()) }
        }

        #[inline(always)]
        unsafe fn load_first(from: *const i8, n: usize) -> __m256i {
            let mut bytes = [0i8; 32];
            // SAFETY: `n` readable bytes, fewer than 32.
            unsafe {
                std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), n);
                Self::load(bytes.as_ptr())
            }
        }

        #[inline(always)]
        unsafe fn flip(signed: __m256i) -> __m256i {
            // SAFETY: see `zero`.
            unsafe { _mm256_xor_si256(signed, _mm256_set1_epi8(i8::MIN)) }
        }

        #[inline(always)]
        unsafe fn add_products(sums: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i {
            // SAFETY: see `zero`.
            unsafe { _mm256_dpbusd_avx_epi32(sums, unsigned, signed) }
        }

        #[inline(always)]
        unsafe fn across(sums: [__m256i; 4]) -> [i32; 4] {
            // SAFETY: see `zero`.
            unsafe { across_256(sums) }
        }
    }

    /// Four sums at once: three rounds of additions of neighbours, as a transposition would bring them together.
    ///
    /// # Safety
    /// The caller is compiled for AVX2.
    #[inline(always)]
    unsafe fn across_256(sums: [__m256i; 4]) -> [i32; 4] {
        // SAFETY: the caller is compiled for AVX2.
        unsafe {
            let [a, b, c, d] = sums;
            let pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
            let all = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs));
            let mut out = [0; 4];
            _mm_storeu_si128(out.as_mut_ptr().cast(), all);
            out
        }
    }
}

#[cfg(test)]
pub mod model;
