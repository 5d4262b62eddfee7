//! Removes near-duplicates among what the graph memory and the vector databases found.
//!
//! DBSCAN over cosine distance. A cluster is represented by its best-scored member (the first on
//! ties); noise stays. With `min_samples` 2 every clustered point is a core point, so the clusters
//! are the connected components of the graph of pairs within `eps`: union-find is exact.

use bench_dataflow::frame::Frame;
use petgraph::unionfind::UnionFind;

use crate::operator::{Operator, OperatorError, Output, decode};
use crate::vector;
use crate::wl4::records::{Candidates, Deduped, DocRef};

/// Label of a point that belongs to no cluster.
pub const NOISE: usize = usize::MAX;

/// DBSCAN: a label per point, [`NOISE`] for noise. `near(i, j)` tells whether two points are
/// neighbours; a point is its own neighbour.
pub fn dbscan(n: usize, min_samples: usize, mut near: impl FnMut(usize, usize) -> bool) -> Vec<usize> {
    let mut pairs = Vec::new();
    let mut degree = vec![1usize; n];
    for i in 0..n {
        for j in i + 1..n {
            if near(i, j) {
                pairs.push((i, j));
                degree[i] += 1;
                degree[j] += 1;
            }
        }
    }
    let core = |point: usize| degree[point] >= min_samples;
    let mut clusters = UnionFind::<usize>::new(n);
    for &(i, j) in pairs.iter().filter(|(i, j)| core(*i) && core(*j)) {
        clusters.union(i, j);
    }
    let mut labels: Vec<usize> = (0..n).map(|i| if core(i) { clusters.find(i) } else { NOISE }).collect();
    // A border point joins the cluster of its first core neighbour.
    for &(i, j) in &pairs {
        for (border, other) in [(i, j), (j, i)] {
            if labels[border] == NOISE && core(other) {
                labels[border] = clusters.find(other);
            }
        }
    }
    labels
}

/// What is left of `n` points: the noise and one representative of each cluster.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    /// Whether each point stays.
    pub keep: Vec<bool>,
    /// Whether each point belongs to a cluster.
    pub clustered: Vec<bool>,
    /// Clusters with at least two members.
    pub clusters: usize,
}

/// Chooses the representatives. Fewer points than `min_samples` stay unchanged.
#[must_use]
pub fn representatives(labels: &[usize], scores: &[f64]) -> Kept {
    let n = labels.len();
    let mut best: Vec<Option<usize>> = vec![None; n];
    let mut size = vec![0usize; n];
    for (point, &label) in labels.iter().enumerate().filter(|(_, label)| **label != NOISE) {
        size[label] += 1;
        let better = best[label].is_none_or(|champion| scores[point] > scores[champion]);
        if better {
            best[label] = Some(point);
        }
    }
    // With min_samples 1 a lone point is a cluster of its own: for the output that is noise.
    let clustered: Vec<bool> = labels.iter().map(|&label| label != NOISE && size[label] >= 2).collect();
    let keep = (0..n).map(|point| !clustered[point] || best[labels[point]] == Some(point)).collect();
    Kept { keep, clustered, clusters: size.iter().filter(|size| **size >= 2).count() }
}

/// Looks up the vector of a document or of a node of the graph memory.
pub trait Vectors: Send {
    fn doc(&self, doc: DocRef) -> (&[i8], u32);
    fn node(&self, node: u32) -> (&[i8], u32);
}

/// The dedup operator.
pub struct Dedup<V> {
    eps: f64,
    min_samples: usize,
    vectors: V,
}

impl<V: Vectors> Dedup<V> {
    pub fn new(eps: f64, min_samples: usize, vectors: V) -> Self {
        Self { eps, min_samples, vectors }
    }

    /// Deduplicates one query's candidates: the graph results first, as in the reference.
    pub fn apply(&self, candidates: Candidates) -> Deduped {
        let Candidates { mut enriched, mut hits, mut counts } = candidates;
        let retrieved = hits.iter().map(|hit| hit.doc).collect();
        let graph = &enriched.graph;
        let points: Vec<(&[i8], u32)> = (graph.iter().map(|hit| self.vectors.node(hit.node)))
            .chain(hits.iter().map(|hit| self.vectors.doc(hit.doc)))
            .collect();
        let scores: Vec<f64> =
            graph.iter().map(|hit| hit.relevance).chain(hits.iter().map(|hit| hit.score)).collect();
        let labels = if points.len() < self.min_samples {
            vec![NOISE; points.len()]
        } else {
            dbscan(points.len(), self.min_samples, |i, j| {
                let ((a, norm_a), (b, norm_b)) = (points[i], points[j]);
                1.0 - vector::cosine(vector::dot(a, b), norm_a, norm_b) <= self.eps
            })
        };
        let kept = representatives(&labels, &scores);
        let nodes = enriched.graph.len();
        let mut index = 0..;
        enriched.graph.retain(|_| index.next().is_some_and(|i: usize| kept.keep[i]));
        let mut clustered = Vec::with_capacity(hits.len());
        let mut index = nodes..;
        hits.retain(|_| {
            let i = index.next().unwrap_or_default();
            if kept.keep[i] {
                clustered.push(kept.clustered[i]);
            }
            kept.keep[i]
        });
        counts.clusters_found = kept.clusters as u32;
        counts.duplicates_removed = kept.keep.iter().filter(|keep| !**keep).count() as u32;
        Deduped { enriched, hits, clustered, retrieved, counts }
    }
}

impl<V: Vectors> Operator for Dedup<V> {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        for input in inputs {
            output.emit(*input, 0, &self.apply(decode(input)?))?;
        }
        Ok(())
    }

    fn batch_limit(&self) -> usize {
        16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    /// Connected components by repeated relabelling: slow and obviously right.
    fn components(n: usize, near: impl Fn(usize, usize) -> bool) -> Vec<usize> {
        let mut label: Vec<usize> = (0..n).collect();
        for _ in 0..n {
            for i in 0..n {
                for j in 0..n {
                    if i != j && near(i, j) {
                        let low = label[i].min(label[j]);
                        (label[i], label[j]) = (low, low);
                    }
                }
            }
        }
        label
    }

    #[test]
    fn with_two_samples_clusters_are_connected_components() {
        for round in 0..50 {
            let n = 30;
            let mut random = random::stream(7, "dbscan", round);
            let near: Vec<bool> = (0..n * n).map(|_| random.unit() < 0.04).collect();
            let near = |i: usize, j: usize| near[i.min(j) * n + i.max(j)];
            let labels = dbscan(n, 2, near);
            let expected = components(n, near);
            for i in 0..n {
                let alone = (0..n).all(|j| i == j || !near(i, j));
                assert_eq!(labels[i] == NOISE, alone);
                for j in 0..n {
                    let together = labels[i] == labels[j] && labels[i] != NOISE;
                    assert_eq!(together, expected[i] == expected[j] && !alone, "{round}: {i} {j}");
                }
            }
        }
    }

    #[test]
    fn a_border_point_joins_but_does_not_connect() {
        // 0-1-2 form a core with 3 samples; 3 hangs on 2; 4 hangs on 3 only.
        let edges = [(0, 1), (1, 2), (0, 2), (2, 3), (3, 4)];
        let labels = dbscan(5, 4, |i, j| edges.contains(&(i, j)));
        assert_eq!(labels[0], labels[2]);
        assert_eq!((labels[3] == labels[2], labels[4]), (true, NOISE));
    }

    #[test]
    fn a_distance_of_exactly_eps_is_near() {
        // cos((3,4),(1,0)) = 0.6, so the distance is 0.4 exactly at eps = 1 - 0.6.
        let eps = 1.0 - 0.6;
        let labels = dbscan(2, 2, |_, _| 1.0 - vector::cosine(3, 25, 1) <= eps);
        assert_eq!(labels[0], labels[1]);
        assert_ne!(labels[0], NOISE);
    }

    #[test]
    fn the_best_score_represents_and_the_first_wins_a_tie() {
        let kept = representatives(&[0, 0, NOISE, 0], &[0.5, 0.9, 0.1, 0.9]);
        assert_eq!(kept.keep, [false, true, true, false]);
        assert_eq!((kept.clusters, kept.clustered), (1, vec![true, true, false, true]));
    }

    #[test]
    fn nothing_in_gives_nothing_out() {
        assert!(representatives(&dbscan(0, 2, |_, _| true), &[]).keep.is_empty());
    }
}
