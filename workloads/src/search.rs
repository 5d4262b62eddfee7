//! Exact search of an index: every row is scored, the best are kept.
//!
//! At the sizes of this workload an exact search is fast enough, and only an exact one gives the same
//! answer everywhere. Scores are cosines; equal ones go by row.

use crate::index::Index;
use crate::vector::{Quantised, TopK, best_cosines, cosine, dot, dots_batch};

pub use crate::vector::Hit;

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

/// The best `k` among some rows; rows that the index lacks are left out.
pub fn search_among(index: &Index, query: &Quantised, rows: &[u32], k: usize) -> Vec<Hit> {
    let mut top = TopK::new(k);
    for &row in rows.iter().filter(|row| (**row as usize) < index.len()) {
        let product = dot(index.row(row as usize), &query.dims);
        top.offer(Hit { row, score: cosine(product, query.norm2, index.norm2(row as usize)) });
    }
    top.into_sorted()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{DocMeta, IndexDoc, build};
    use crate::text::embed::{Embedder, TopicEmbedder};
    use crate::text::synthetic::{CATEGORY_WEIGHTS, TYPE_WEIGHTS, VDB1, doc, query};
    use crate::text::vocabulary::Category;

    const DIM: usize = 256;

    fn index(texts: impl IntoIterator<Item = String>) -> (tempfile::TempDir, Index) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        let docs = texts.into_iter().enumerate().map(|(i, text)| IndexDoc {
            id: i.to_string().into(),
            text: text.into(),
            meta: DocMeta::plain(Category::General, ""),
        });
        build(&path, DIM, "", docs, &TopicEmbedder::new(DIM, 1.0, 0)).unwrap();
        let index = Index::open(&path).unwrap();
        (folder, index)
    }

    fn synthetic() -> (tempfile::TempDir, Index) {
        index((0..500).map(|i| doc(42, VDB1, i, &CATEGORY_WEIGHTS).text))
    }

    fn queries(n: u64) -> Vec<Quantised> {
        let texts: Vec<String> =
            (0..n).map(|i| query(42, i, &TYPE_WEIGHTS, &CATEGORY_WEIGHTS).text).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        TopicEmbedder::new(DIM, 1.0, 0).embed(&texts).unwrap()
    }

    #[test]
    fn the_best_rows_are_those_of_a_full_sort() {
        let (_folder, index) = synthetic();
        for query in queries(20) {
            let score = |row: usize| cosine(dot(index.row(row), &query.dims), index.norm2(row), query.norm2);
            let mut all: Vec<Hit> = (0..500).map(|row| Hit { row, score: score(row as usize) }).collect();
            all.sort_by(Hit::best_first);
            assert_eq!(search(&index, &query, 25), all[..25]);
        }
    }

    #[test]
    fn a_batch_gives_what_its_queries_give_alone() {
        let (_folder, index) = synthetic();
        let queries = queries(19);
        let batch = search_batch(&index, &queries.iter().collect::<Vec<_>>(), 10);
        for (query, hits) in queries.iter().zip(batch) {
            assert_eq!(search(&index, query, 10), hits);
        }
    }

    #[test]
    fn a_search_among_all_rows_is_a_search() {
        let (_folder, index) = synthetic();
        let rows: Vec<u32> = (0..500).rev().collect();
        for query in queries(5) {
            assert_eq!(search_among(&index, &query, &rows, 10), search(&index, &query, 10));
        }
    }

    #[test]
    fn a_search_among_some_rows_finds_only_those() {
        let (_folder, index) = synthetic();
        let hits = search_among(&index, &queries(1)[0], &[7, 3, 9_999], 10);
        let mut rows: Vec<u32> = hits.iter().map(|h| h.row).collect();
        rows.sort_unstable();
        assert_eq!(rows, [3, 7]);
    }

    #[test]
    fn equal_scores_go_by_row() {
        let (_folder, index) = index(["pear", "apple", "apple", "apple"].map(String::from));
        let query = &TopicEmbedder::new(DIM, 1.0, 0).embed(&["apple"]).unwrap()[0];
        let hits = search(&index, query, 2);
        assert_eq!(hits, [Hit { row: 1, score: 1.0 }, Hit { row: 2, score: 1.0 }]);
    }

    #[test]
    fn fewer_rows_than_asked_for_are_all_there() {
        let (_folder, index) = index(["apple".to_owned()]);
        assert_eq!(search(&index, &queries(1)[0], 9).len(), 1);
        assert!(search(&index, &queries(1)[0], 0).is_empty());
    }
}
