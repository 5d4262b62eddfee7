//! Removes near-duplicates among what the graph memory and the vector databases found.
//!
//! DBSCAN over cosine distance. A cluster is represented by its best-scored member (the first on
//! ties); noise stays. With `min_samples` 2 every clustered point is a core point, so the clusters
//! are the connected components of the graph of pairs within `eps`: union-find is exact.

use bench_dataflow::frame::Frame;
use petgraph::unionfind::UnionFind;

use crate::operator::{Operator, OperatorError, Output};
use crate::vector::{self, Sieve};
use crate::wl4::carried::{self, Carried};
use crate::wl4::params::RerankBy;
use crate::wl4::records::{Counts, DocRef, VdbHit};
use crate::wl4::views::{self, GraphHitView};

/// Label of a point that belongs to no cluster.
pub const NOISE: usize = usize::MAX;

/// DBSCAN: a label per point, [`NOISE`] for noise. `near(i, j)` tells whether two points are
/// neighbours; a point is its own neighbour.
pub fn dbscan(n: usize, min_samples: usize, mut near: impl FnMut(usize, usize) -> bool) -> Vec<usize> {
    let all = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
    let pairs: Vec<(usize, usize)> = all.filter(|&(i, j)| near(i, j)).collect();
    labels(n, min_samples, &pairs)
}

/// DBSCAN over the pairs of neighbours, each once and in ascending order.
fn labels(n: usize, min_samples: usize, pairs: &[(usize, usize)]) -> Vec<usize> {
    let mut degree = vec![1usize; n];
    for &(i, j) in pairs {
        degree[i] += 1;
        degree[j] += 1;
    }
    let core = |point: usize| degree[point] >= min_samples;
    let mut clusters = UnionFind::<usize>::new(n);
    for &(i, j) in pairs.iter().filter(|(i, j)| core(*i) && core(*j)) {
        clusters.union(i, j);
    }
    let mut labels: Vec<usize> = (0..n).map(|i| if core(i) { clusters.find(i) } else { NOISE }).collect();
    // A border point joins the cluster of its first core neighbour.
    for &(i, j) in pairs {
        for (border, other) in [(i, j), (j, i)] {
            if labels[border] == NOISE && core(other) {
                labels[border] = clusters.find(other);
            }
        }
    }
    labels
}

/// A point: its vector and the square of its length.
type Point<'a> = (&'a [i8], u32);

/// The pairs of points whose cosine distance is at most `eps`, in ascending order.
///
/// Most points are nothing like each other, and that shows early. The products of the first quarter of the
/// dimensions are made for all pairs at once, in tiles; what is left of two vectors can add no more than
/// the product of its lengths. Only pairs that may still be near are multiplied out.
fn near_pairs(points: &[Point<'_>], eps: f64) -> Vec<(usize, usize)> {
    /// Points whose products with all others are made together.
    const TILE: usize = 8;
    let dim = points.iter().map(|(dims, _)| dims.len()).min().unwrap_or(0);
    let head = if dim < 64 { dim } else { (dim / 4).next_multiple_of(16) };
    let mut heads: Vec<i8> = Vec::with_capacity(points.len() * head);
    points.iter().for_each(|(dims, _)| heads.extend_from_slice(&dims[..head]));
    let bounds = Bounds::new(points, &heads, head, eps);
    let (mut products, mut may) = (Vec::new(), Vec::with_capacity(points.len()));
    let (mut left, mut tails, mut rest) = (Vec::with_capacity(points.len()), Vec::new(), Vec::new());
    let mut near = Vec::new();
    for first in (0..points.len()).step_by(TILE) {
        let tile: Vec<&[i8]> = heads[first * head..].chunks_exact(head.max(1)).take(TILE).collect();
        vector::dots_batch(&heads[first * head..], head, &tile, &mut products);
        let others = points.len() - first;
        for (i, products) in (first..).zip(products.chunks_exact(others)) {
            let (a, norm_a) = points[i];
            let products = &products[i + 1 - first..];
            bounds.may_be_near(i, products, &mut may);
            left.clear();
            find(&may, &mut left);
            tails.clear();
            tails.extend(left.iter().map(|&j| &points[i + 1 + j].0[head..dim]));
            vector::dot_each(&a[head..dim], &tails, &mut rest);
            let sieve = Sieve::new(1.0 - eps, norm_a);
            for (&j, rest) in left.iter().zip(&rest) {
                let (product, j) = (products[j] + rest, i + 1 + j);
                let norm_b = points[j].1;
                if sieve.lets_through(product, norm_b) && 1.0 - vector::cosine(product, norm_a, norm_b) <= eps
                {
                    near.push((i, j));
                }
            }
        }
    }
    near
}

/// What the products of the first dimensions leave open.
///
/// In 32 bits, so that a plain machine compares four pairs at once: they only decide what is looked at exactly.
struct Bounds {
    /// Lengths of what follows the first dimensions.
    tails: Vec<f32>,
    /// Lengths of the whole.
    lengths: Vec<f32>,
    /// Least cosine of what is near, and a little less.
    least: f32,
}

impl Bounds {
    fn new(points: &[Point<'_>], heads: &[i8], head: usize, eps: f64) -> Self {
        /// Far more than the rounding of a bound, which is some 2^-24 of the lengths.
        const SLACK: f64 = 1e-5;
        let length = |norm2: u32| f64::from(norm2).sqrt() as f32;
        let heads = (0..points.len()).map(|i| vector::norm2(&heads[i * head..][..head]));
        Self {
            tails: points.iter().zip(heads).map(|((_, norm2), head)| length(norm2 - head)).collect(),
            lengths: points.iter().map(|(_, norm2)| length(*norm2)).collect(),
            least: (1.0 - eps - SLACK) as f32,
        }
    }

    /// Whether point `i` may be near, 0 or 1, to each of the points behind it, whose first products are `products`.
    fn may_be_near(&self, i: usize, products: &[i32], may: &mut Vec<u8>) {
        let (tail, floor) = (self.tails[i], self.least * self.lengths[i]);
        let others = self.tails[i + 1..].iter().zip(&self.lengths[i + 1..]);
        may.clear();
        may.extend(
            products.iter().zip(others).map(|(&product, (&other, &length))| {
                u8::from(product as f32 + tail * other >= floor * length)
            }),
        );
    }
}

/// Appends the places of what is not 0, of which there is little, to `found`.
fn find(flags: &[u8], found: &mut Vec<usize>) {
    let (eights, last) = flags.as_chunks::<8>();
    let eights = eights.iter().map(|flags| u64::from_le_bytes(*flags));
    for (at, mut flags) in eights.enumerate().filter(|(_, flags)| *flags != 0) {
        while flags != 0 {
            found.push(8 * at + flags.trailing_zeros() as usize / 8);
            // Each flag is its byte's lowest bit.
            flags &= flags - 1;
        }
    }
    let first = flags.len() - last.len();
    found.extend((first..).zip(last).filter(|(_, flag)| **flag != 0).map(|(at, _)| at));
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

/// Scores and relevance lie between -1 and 1.
const BELOW_EVERY_DOCUMENT: f64 = 4.0;

/// Looks up the vector of a document or of a node of the graph memory.
pub trait Vectors: Send {
    fn doc<'a>(&'a self, doc: DocRef, carried: &'a Carried<'_>) -> (&'a [i8], u32);
    fn node(&self, node: u32) -> (&[i8], u32);
}

/// The dedup operator.
pub struct Dedup<V> {
    /// Absent where everything stays.
    eps: Option<f64>,
    /// What the best of a cluster is by.
    by: RerankBy,
    min_samples: usize,
    vectors: V,
}

impl<V: Vectors> Dedup<V> {
    pub fn new(eps: f64, min_samples: usize, vectors: V) -> Self {
        Self { eps: Some(eps), by: RerankBy::Dimensions, min_samples, vectors }
    }

    /// Lets the best by another score stand for a cluster.
    #[must_use]
    pub fn by(self, by: RerankBy) -> Self {
        Self { by, ..self }
    }

    /// Keeps everything.
    #[must_use]
    pub fn off(self) -> Self {
        Self { eps: None, ..self }
    }

    /// Which of one query's points stay: the nodes of the graph first, as in the reference.
    #[must_use]
    pub fn kept(&self, graph: &[(u32, f64)], hits: &[VdbHit], carried: &Carried<'_>) -> Kept {
        let points: Vec<Point<'_>> = (graph.iter().map(|(node, _)| self.vectors.node(*node)))
            .chain(hits.iter().map(|hit| self.vectors.doc(hit.doc, carried)))
            .collect();
        let score = |hit: &VdbHit| match self.by {
            RerankBy::Dimensions => hit.score,
            RerankBy::Fused => hit.merged_score(),
        };
        // The memory of a real corpus is made of its own documents: one that it recalls is no reason to drop that
        // document from the ranking, so there a document stands for a cluster that has one.
        let node = |relevance: f64| match self.by {
            RerankBy::Dimensions => relevance,
            RerankBy::Fused => relevance - BELOW_EVERY_DOCUMENT,
        };
        let scores: Vec<f64> =
            graph.iter().map(|(_, relevance)| node(*relevance)).chain(hits.iter().map(score)).collect();
        let labels = match self.eps {
            Some(eps) if points.len() >= self.min_samples => {
                labels(points.len(), self.min_samples, &near_pairs(&points, eps))
            }
            _ => vec![NOISE; points.len()],
        };
        representatives(&labels, &scores)
    }

    /// From encoded [`Candidates`](super::records::Candidates) to an encoded [`Deduped`](super::records::Deduped), and
    /// what stands behind.
    fn apply<'a>(&self, input: &Frame<'a>) -> Result<(Vec<u8>, &'a [u8]), OperatorError> {
        let seq = input.header.seq;
        let (source, rest) = views::enriched(seq, input.body)?;
        let (hits, rest) = views::taken::<Vec<VdbHit>>(seq, rest)?;
        let (counts, behind) = views::taken::<Counts>(seq, rest)?;
        let graph: Vec<GraphHitView<'_>> = source.hits().collect();
        let nodes: Vec<(u32, f64)> = graph.iter().map(|hit| (hit.node, hit.relevance)).collect();
        let kept = self.kept(&nodes, &hits, &Carried::read(seq, behind)?);
        let (keep_nodes, keep_hits) = kept.keep.split_at(nodes.len());
        let stay = |keep: &[bool]| keep.iter().filter(|keep| **keep).count();
        let mut body = Vec::with_capacity(input.body.len() + 4 * hits.len());
        body.extend_from_slice(source.joined());
        body = views::append(body, &stay(keep_nodes))?;
        for (hit, _) in graph.iter().zip(keep_nodes).filter(|(_, keep)| **keep) {
            body.extend_from_slice(hit.bytes);
        }
        body = views::append(body, &stay(keep_hits))?;
        for (hit, _) in hits.iter().zip(keep_hits).filter(|(_, keep)| **keep) {
            body = views::append(body, hit)?;
        }
        let clustered = kept.clustered[nodes.len()..].iter().zip(keep_hits).filter(|(_, keep)| **keep);
        let clustered: Vec<bool> = clustered.map(|(clustered, _)| *clustered).collect();
        let retrieved: Vec<DocRef> = hits.iter().map(|hit| hit.doc).collect();
        let counts = Counts {
            clusters_found: kept.clusters as u32,
            duplicates_removed: (kept.keep.len() - stay(&kept.keep)) as u32,
            ..counts
        };
        Ok((views::append(body, &(clustered, retrieved, counts))?, behind))
    }
}

impl<V: Vectors> Operator for Dedup<V> {
    fn process(&mut self, inputs: &[Frame<'_>], output: &mut Output<'_>) -> Result<(), OperatorError> {
        for input in inputs {
            let (record, behind) = self.apply(input)?;
            carried::emit(output, *input, record, behind)?;
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
    fn the_near_pairs_are_those_of_all_products() {
        for (round, dim) in [(0, 8), (1, 64), (2, 100), (3, 1024)] {
            let mut random = random::stream(7, "near pairs", round);
            let mut base = vec![vec![0i8; dim]; 5];
            base.iter_mut().skip(1).flatten().for_each(|d| *d = random.below(255) as u8 as i8);
            let vectors: Vec<Vec<i8>> = (0..37)
                .map(|i| {
                    let mut vector = base[i % 5].clone();
                    let changes = random.below(dim as u32 / 2);
                    for _ in 0..changes {
                        vector[random.below(dim as u32) as usize] = random.below(255) as u8 as i8;
                    }
                    vector
                })
                .collect();
            let points: Vec<Point<'_>> = vectors.iter().map(|v| (v.as_slice(), vector::norm2(v))).collect();
            for eps in [0.0001, 0.15, 0.4, 1.0, 1.7] {
                let mut expected = Vec::new();
                for i in 0..points.len() {
                    for j in i + 1..points.len() {
                        let ((a, norm_a), (b, norm_b)) = (points[i], points[j]);
                        if 1.0 - vector::cosine(vector::dot(a, b), norm_a, norm_b) <= eps {
                            expected.push((i, j));
                        }
                    }
                }
                assert_eq!(near_pairs(&points, eps), expected, "{dim} {eps}");
            }
        }
        assert!(near_pairs(&[], 0.15).is_empty());
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

    /// Rows of unit vectors, for documents and nodes alike.
    struct Units;

    impl Vectors for Units {
        fn doc<'a>(&'a self, doc: DocRef, _: &'a Carried<'_>) -> (&'a [i8], u32) {
            self.node(doc.row)
        }

        fn node(&self, node: u32) -> (&[i8], u32) {
            const UNITS: [[i8; 3]; 3] = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
            (&UNITS[node as usize], 1)
        }
    }

    #[test]
    fn a_document_of_a_corpus_is_not_dropped_for_what_the_memory_recalls_of_it() {
        let hit = |row, score| VdbHit { doc: DocRef { vdb: 0, row }, score, rerank: Some(score), stage: 4 };
        // The memory recalls documents 0 and 2, better than they were found, and document 1 was found twice.
        let (nodes, hits) = ([(0, 0.9), (2, 0.9)], [hit(0, 0.5), hit(1, 0.4), hit(1, 0.3)]);
        let dedup = Dedup::new(0.15, 2, Units);
        assert_eq!(dedup.kept(&nodes, &hits, &Carried::nothing()).keep, [true, true, false, true, false]);
        let fused = dedup.by(RerankBy::Fused);
        assert_eq!(fused.kept(&nodes, &hits, &Carried::nothing()).keep, [false, true, true, true, false]);
    }

    #[test]
    fn nothing_in_gives_nothing_out() {
        assert!(representatives(&dbscan(0, 2, |_, _| true), &[]).keep.is_empty());
    }
}
