//! Exact search of an index, as an operator does it for a block of rows: every row is scored, the best are kept.

use bench_workloads::index::Index;
use bench_workloads::vector::{Hit, Quantised, best_cosines, dots_batch};

/// The `k` rows nearest to the query, best first.
pub fn search(index: &Index, query: &Quantised, k: usize) -> Vec<Hit> {
    search_batch(index, &[query], k).pop().unwrap_or_default()
}

/// The same for many queries. A batch reads the index once for all of them.
pub fn search_batch(index: &Index, queries: &[&Quantised], k: usize) -> Vec<Vec<Hit>> {
    let dims: Vec<&[i8]> = queries.iter().map(|q| q.dims.as_slice()).collect();
    let mut products = Vec::new();
    dots_batch(index.rows(), index.dim(), &dims, &mut products);
    let norms = index.norms();
    let score_all = |(at, query): (usize, &&Quantised)| {
        best_cosines(&products[at * norms.len()..][..norms.len()], norms, query.norm2, k)
    };
    queries.iter().enumerate().map(score_all).collect()
}
