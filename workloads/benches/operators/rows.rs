//! The formulas, each on records of a real run, and what another implementation should get.

use std::cell::RefCell;
use std::collections::BTreeMap;

use bench_dataflow::frame::{self, Header, Kind, frames};
use bench_workloads::index::Index;
use bench_workloads::open::OpenWorkload;
use bench_workloads::random::stream;
use bench_workloads::text::bm25::{Bm25, DocTerms};
use bench_workloads::text::synthetic::{self, CATEGORY_WEIGHTS, TYPE_WEIGHTS};
use bench_workloads::text::tokens::{for_each_token, term_hash, token_hashes};
use bench_workloads::text::vocabulary::{Category, Part, QueryType, Template, vocabulary};
use bench_workloads::vector::{self, Hit, Quantised};
use bench_workloads::wl4::carried::Carried;
use bench_workloads::wl4::dedup::{Dedup, Vectors};
use bench_workloads::wl4::generate::Texts;
use bench_workloads::wl4::graph_memory::{WalkConfig, walk};
use bench_workloads::wl4::join;
use bench_workloads::wl4::lookup::Lookup;
use bench_workloads::wl4::mmr::Mmr;
use bench_workloads::wl4::records::{
    Batch, Candidates, Deduped, Doc, DocRef, Joined, Query, Ranked, VdbHit, VdbResults,
};
use bench_workloads::wl4::rerank::{Documents, Rerank};
use bench_workloads::wl4::shared::Shared;
use serde_json::{Value, json};

use crate::Failure;
use crate::clock::{Clock, Timing};
use crate::export::Export;
use crate::flow::Flow;
use crate::limits::Limits;
use crate::search::{search, search_batch};

/// One database's half of a query: the frame's bytes and what they say.
type Half = (Vec<u8>, VdbResults);

/// What came along with records: every index is here.
static NONE: Carried<'static> = Carried::nothing();
/// Different inputs per row, taken in turn.
const CASES: usize = 32;
/// Queries that are searched for together.
const TOGETHER: usize = 16;
/// Hits of an exact search.
const TOP_K: usize = 25;
/// Documents appended to the moving window, one before each query.
const APPENDED: u64 = 768;

/// One line of the table.
pub struct Row {
    pub name: &'static str,
    pub timing: Timing,
    /// Bytes that have to be read and products that have to be made for one operation, where that is
    /// what it consists of.
    pub work: Option<(usize, usize)>,
}

impl Row {
    pub fn json(&self, limits: &Limits) -> Value {
        let mut value = self.timing.json();
        value["name"] = self.name.into();
        if let Some((bytes, macs)) = self.work {
            let (least_us, by) = limits.least_us(bytes, macs);
            value["limit"] = json!({"bytes": bytes, "macs": macs, "least_us": least_us, "by": by});
        }
        value
    }
}

/// Everything a row needs.
struct Bench<'a> {
    workload: &'a OpenWorkload,
    shared: &'a Shared,
    flow: &'a Flow,
    lookup: Lookup,
    clock: Clock,
    queries: Vec<Query>,
    dim: usize,
    rows: Vec<Row>,
}

pub fn all(
    workload: &OpenWorkload,
    shared: &Shared,
    flow: &Flow,
    clock: Clock,
    export: &mut Export,
) -> Result<Vec<Row>, Failure> {
    let joined: Vec<(Header, Joined)> = flow.records("graph_memory");
    let mut bench = Bench {
        workload,
        shared,
        flow,
        lookup: Lookup(shared.prepared.clone()),
        clock,
        queries: joined.iter().take(CASES).map(|(_, joined)| joined.query.clone()).collect(),
        dim: shared.params.embedding_dimension as usize,
        rows: Vec::new(),
    };
    bench.common(export)?;
    bench.products();
    bench.moving_join(export)?;
    bench.searches(export);
    bench.graph(export);
    bench.dedup(export, "dedup_60", 30)?;
    bench.dedup(export, "dedup_200", usize::MAX)?;
    bench.rerank(export);
    bench.mmr(export)?;
    bench.bm25(export);
    bench.sources(export);
    bench.embed(export)?;
    bench.merge(export)?;
    bench.batches(export)?;
    bench.generate(export)?;
    Ok(bench.rows)
}

/// The nodes that a candidate's walk visited, and their relevance.
fn nodes_of(case: &Candidates) -> Vec<(u32, f64)> {
    case.enriched.graph.iter().map(|hit| (hit.node, hit.relevance)).collect()
}

fn vector_of(query: &Query) -> &Quantised {
    query.embedding.as_ref().expect("a query past its embedder")
}

impl Bench<'_> {
    fn push(&mut self, name: &'static str, timing: Timing, work: Option<(usize, usize)>) {
        eprintln!("  {name}: {:.2} us", timing.median_us);
        self.rows.push(Row { name, timing, work });
    }

    /// What several rows share.
    fn common(&self, export: &mut Export) -> Result<(), Failure> {
        let prepared = &self.shared.prepared;
        let p = &self.shared.params;
        export.array("window", "<i1", self.dim, prepared.window.rows())?;
        export.array("index", "<i1", self.dim, prepared.databases.vdb[0].shard(0).rows())?;
        export.array("nodes", "<i1", self.dim, prepared.nodes.rows())?;
        let queries: Vec<i8> =
            self.queries.iter().flat_map(|query| vector_of(query).dims.iter().copied()).collect();
        export.array("queries", "<i1", self.dim, &queries)?;
        export.fact("params", serde_json::to_value(p)?);
        export.fact("query_texts", self.queries.iter().map(|query| query.text.as_str()).collect());
        Ok(())
    }

    /// The bare products of a still window and of a whole index.
    fn products(&mut self) {
        let prepared = self.shared.prepared.clone();
        for (name, index) in
            [("product_window", &prepared.window), ("product_index", prepared.databases.vdb[0].shard(0))]
        {
            let mut dots = Vec::new();
            let queries = &self.queries;
            let timing = self.clock.time(CASES, |case| {
                vector::dots(index.rows(), index.dim(), &vector_of(&queries[case]).dims, &mut dots);
                dots[0]
            });
            let macs = index.len() * index.dim();
            self.push(name, timing, Some((macs, macs)));
        }
    }

    /// The join, as an engine calls it: one more document, then a query over the window.
    fn moving_join(&mut self, export: &mut Export) -> Result<(), Failure> {
        let p = &self.shared.params;
        let node = self.workload.graph().node("join").ok_or("no join")?.id;
        let prefill = self.shared.prepared.window.len() as u64;
        let texts: Vec<synthetic::SyntheticDoc> = (0..APPENDED)
            .map(|k| synthetic::doc(42, synthetic::WINDOW, prefill + k, &CATEGORY_WEIGHTS))
            .collect();
        let views: Vec<&str> = texts.iter().map(|doc| doc.text.as_str()).collect();
        let vectors = self.shared.embedder.embed(&views)?;
        let mut operations = Vec::new();
        for (k, (text, vector)) in (0..APPENDED).zip(texts.iter().zip(&vectors)) {
            let event_time_ns = p.documents().time_ns(prefill + k);
            let header = |port, seq| Header {
                port,
                kind: Kind::Data,
                seq,
                key: seq,
                event_time_ns,
                watermark_ns: event_time_ns,
            };
            let doc = Doc {
                id: format!("d_{:06}", prefill + k),
                text: text.text.clone(),
                category: text.category,
                embedding: Some(vector.clone()),
            };
            let mut query = self.queries[k as usize % CASES].clone();
            query.docs_before = prefill + k + 1;
            let mut batch = Vec::new();
            frame::push(&mut batch, header(join::DOCS, prefill + k), &postcard::to_stdvec(&doc)?, b"");
            frame::push(&mut batch, header(join::QUERIES, k), &postcard::to_stdvec(&query)?, b"");
            operations.push(batch);
        }
        let mut samples = Vec::new();
        let mut expected: Vec<Value> = Vec::new();
        for round in 0..4 {
            let mut instance = self.workload.operator(node, 0, 1)?;
            let mut output = Vec::new();
            for batch in &operations {
                output.clear();
                let start = std::time::Instant::now();
                instance.process(batch, &mut output)?;
                samples.push(start.elapsed().as_secs_f64() * 1e6);
                if round == 0 {
                    let frame = frames(&output).next().ok_or("the join kept its query back")??;
                    let joined: Joined = postcard::from_bytes(frame.body)?;
                    let ids: Vec<&str> = joined.matches.iter().map(|hit| hit.doc_id.as_str()).collect();
                    let scores: Vec<f64> = joined.matches.iter().map(|hit| hit.similarity).collect();
                    expected.push(json!({"ids": ids, "scores": scores, "mean": joined.semantic_score}));
                }
            }
        }
        let appended: Vec<i8> = vectors.iter().flat_map(|vector| vector.dims.iter().copied()).collect();
        export.array("appended", "<i1", self.dim, &appended)?;
        let times: Vec<i64> = (0..prefill + APPENDED).map(|k| p.documents().time_ns(k)).collect();
        export.array("doc_times", "<i8", 1, &times)?;
        export.fact("join", expected.into());
        let macs = prefill as usize * self.dim;
        self.push("join_moving", Timing::of(samples), Some((macs, macs)));
        Ok(())
    }

    fn searches(&mut self, export: &mut Export) {
        let index = std::sync::Arc::clone(self.shared.prepared.databases.vdb[0].shard(0));
        let queries: Vec<Quantised> = self.queries.iter().map(|query| vector_of(query).clone()).collect();
        let expected: Vec<Value> = queries.iter().map(|query| hits(&search(&index, query, TOP_K))).collect();
        export.fact("search", json!({"top_k": TOP_K, "together": TOGETHER, "expected": expected}));
        let macs = index.len() * index.dim();
        let timing = self.clock.time(CASES, |case| search(&index, &queries[case], TOP_K));
        self.push("search_1", timing, Some((macs, macs)));
        let groups: Vec<Vec<&Quantised>> =
            queries.chunks_exact(TOGETHER).map(|group| group.iter().collect()).collect();
        let timing = self.clock.time(groups.len(), |group| search_batch(&index, &groups[group], TOP_K));
        self.push("search_16", timing.per(TOGETHER), Some((macs / TOGETHER, macs)));
    }

    fn graph(&mut self, export: &mut Export) {
        let nodes: &Index = &self.shared.prepared.nodes;
        let p = &self.shared.params;
        let config = WalkConfig {
            max_depth: p.graph_max_depth,
            max_nodes: p.graph_max_nodes as usize,
            beam: p.graph_bfs_beam_width as usize,
            edge_threshold: p.graph_edge_weight_threshold,
        };
        let (mut dots, mut similarity) = (Vec::new(), Vec::new());
        let mut recall = |query: &Quantised| {
            vector::dots(nodes.rows(), nodes.dim(), &query.dims, &mut dots);
            vector::cosines(&dots, query.norm2, nodes.norms(), &mut similarity);
            walk(&self.shared.graph, &similarity, config)
        };
        let expected: Vec<Value> = (self.queries.iter())
            .map(|query| {
                let walk = recall(vector_of(query));
                let path = |at| {
                    let mut path = Vec::new();
                    walk.path(at, &mut path);
                    path
                };
                json!({
                    "nodes": walk.visits.iter().map(|visit| visit.node).collect::<Vec<_>>(),
                    "depths": walk.visits.iter().map(|visit| visit.depth).collect::<Vec<_>>(),
                    "relevance": walk.visits.iter().map(|visit| visit.relevance).collect::<Vec<_>>(),
                    "paths": (0..walk.visits.len()).map(path).collect::<Vec<_>>(),
                })
            })
            .collect();
        let edges: Vec<Vec<(u32, f64)>> = (0..nodes.len() as u32)
            .map(|node| {
                let (targets, weights) =
                    (self.shared.graph.neighbors_slice(node), self.shared.graph.edges_slice(node));
                targets.iter().copied().zip(weights.iter().copied()).collect()
            })
            .collect();
        export.fact("graph", json!({"edges": edges, "expected": expected}));
        let queries = &self.queries;
        let timing = self.clock.time(CASES, |case| recall(vector_of(&queries[case])));
        let macs = nodes.len() * nodes.dim();
        self.push("graph_bfs", timing, Some((macs, macs)));
    }

    /// Candidates of real queries, with at most `most_nodes` of what the graph memory recalled.
    fn dedup(&mut self, export: &mut Export, name: &'static str, most_nodes: usize) -> Result<(), Failure> {
        let p = &self.shared.params;
        let mut cases: Vec<Candidates> =
            self.flow.records::<Candidates>("dedup").into_iter().map(|(_, record)| record).collect();
        cases.truncate(CASES);
        cases.iter_mut().for_each(|case| case.enriched.graph.truncate(most_nodes));
        let points = cases.iter().map(|case| case.enriched.graph.len() + case.hits.len()).collect::<Vec<_>>();
        let dedup = Dedup::new(p.dbscan_eps, p.dbscan_min_samples as usize, self.lookup.clone());
        let mut all: Vec<i8> = Vec::new();
        let mut facts = Vec::new();
        for case in &cases {
            let nodes = case.enriched.graph.iter().map(|hit| (self.lookup.node(hit.node).0, hit.relevance));
            let docs = case.hits.iter().map(|hit| (self.lookup.doc(hit.doc, &NONE).0, hit.score));
            let (rows, scores): (Vec<&[i8]>, Vec<f64>) = nodes.chain(docs).unzip();
            rows.iter().for_each(|row| all.extend_from_slice(row));
            let nodes = nodes_of(case);
            let kept = dedup.kept(&nodes, &case.hits, &NONE);
            let (keep_nodes, keep_docs) = kept.keep.split_at(nodes.len());
            let stay = |keep: &[bool]| {
                keep.iter().enumerate().filter(|(_, keep)| **keep).map(|(i, _)| i).collect::<Vec<_>>()
            };
            let docs = stay(keep_docs);
            facts.push(json!({
                "scores": scores,
                "nodes": nodes.iter().map(|(node, _)| *node).collect::<Vec<_>>(),
                "docs": case.hits.iter().map(|hit| key(hit.doc)).collect::<Vec<_>>(),
                "expected": {
                    "nodes": stay(keep_nodes).into_iter().map(|i| nodes[i].0).collect::<Vec<_>>(),
                    "docs": docs.iter().map(|&i| key(case.hits[i].doc)).collect::<Vec<_>>(),
                    "clustered": docs.iter().map(|&i| kept.clustered[nodes.len() + i]).collect::<Vec<_>>(),
                    "clusters": kept.clusters,
                    "removed": kept.keep.iter().filter(|keep| !**keep).count(),
                },
            }));
        }
        export.array(name, "<i1", self.dim, &all)?;
        export.fact(name, facts.into());
        let timing = self.clock.time_made(
            cases.len(),
            |i| (nodes_of(&cases[i]), &cases[i].hits),
            |(nodes, hits)| dedup.kept(&nodes, hits, &NONE),
        );
        let pairs = points.iter().map(|n| n * n.saturating_sub(1) / 2).sum::<usize>() / points.len().max(1);
        let bytes = points.iter().sum::<usize>() / points.len().max(1) * self.dim;
        self.push(name, timing, Some((bytes, pairs * self.dim)));
        Ok(())
    }

    /// 50 real hits of one query, every third of them in a cluster.
    fn rerank(&mut self, export: &mut Export) {
        let p = &self.shared.params;
        let records: Vec<(Header, Deduped)> = self.flow.records("rerank");
        let mut cases: Vec<(i64, Deduped)> = Vec::new();
        for (header, mut record) in records.into_iter().take(CASES) {
            record.hits = (0..2u8)
                .flat_map(|vdb| {
                    let index = self.shared.prepared.databases.vdb[usize::from(vdb)].shard(0);
                    let found = search(index, vector_of(&record.enriched.joined.query), 25);
                    found.into_iter().map(move |hit| VdbHit {
                        doc: DocRef { vdb, row: hit.row },
                        score: hit.score,
                        rerank: None,
                        stage: 1,
                    })
                })
                .collect();
            record.clustered = (0..record.hits.len()).map(|i| i % 3 == 0).collect();
            cases.push((header.event_time_ns, record));
        }
        let rerank =
            Rerank::new(p.rerank_score_weights.clone(), p.rerank_top_k as usize, self.lookup.clone());
        let facts: Vec<Value> = cases
            .iter()
            .map(|(now_ns, case)| {
                let docs: Vec<Value> = case
                    .hits
                    .iter()
                    .zip(&case.clustered)
                    .map(|(hit, clustered)| {
                        let facts = self.lookup.facts(hit.doc, &NONE);
                        json!({
                            "key": key(hit.doc),
                            "score": hit.score,
                            "clustered": clustered,
                            "timestamp_s": facts.timestamp_s,
                            "citations": facts.citations,
                            "centrality": facts.centrality,
                            "source": facts.source,
                            "text": self.lookup.doc_text(hit.doc, &NONE),
                        })
                    })
                    .collect();
                let question = &case.enriched.joined.query.text;
                let ranked = rerank.rank(question, &case.hits, &case.clustered, *now_ns, &NONE);
                json!({
                    "now_s": *now_ns as f64 / 1e9,
                    "query": case.enriched.joined.query.text,
                    "docs": docs,
                    "expected": ranked.iter().map(|doc| (key(doc.doc), doc.score)).collect::<Vec<_>>(),
                })
            })
            .collect();
        export.fact("rerank_50", facts.into());
        let timing = self.clock.time(cases.len(), |i| {
            let (now_ns, case) = &cases[i];
            rerank.rank(&case.enriched.joined.query.text, &case.hits, &case.clustered, *now_ns, &NONE)
        });
        self.push("rerank_50", timing, None);
    }

    fn mmr(&mut self, export: &mut Export) -> Result<(), Failure> {
        let p = &self.shared.params;
        let ranked: Vec<Ranked> = (self.flow.records::<Ranked>("mmr").into_iter())
            .map(|(_, record)| record)
            .filter(|record| record.ranked.len() == 15)
            .take(CASES)
            .collect();
        if ranked.is_empty() {
            return Err("no query of the run ranked 15 documents".into());
        }
        let mmr = Mmr::new(p.mmr_lambda, p.mmr_final_k as usize, self.lookup.clone());
        let mut all: Vec<i8> = Vec::new();
        let mut facts = Vec::new();
        for case in &ranked {
            case.ranked.iter().for_each(|doc| all.extend_from_slice(self.lookup.doc(doc.doc, &NONE).0));
            let docs: Vec<u64> = case.ranked.iter().map(|doc| key(doc.doc)).collect();
            let relevance: Vec<f64> = case.ranked.iter().map(|doc| doc.breakdown.semantic).collect();
            let chosen: Vec<u64> = mmr.choose(&case.ranked, &NONE).iter().map(|doc| key(doc.doc)).collect();
            facts.push(json!({"docs": docs, "relevance": relevance, "expected": chosen}));
        }
        export.array("mmr_15", "<i1", self.dim, &all)?;
        export.fact("mmr_15", facts.into());
        let timing = self.clock.time(ranked.len(), |i| mmr.choose(&ranked[i].ranked, &NONE));
        // Nine times the similarity of what is left to what was just chosen: 14 + 13 + ... + 6.
        self.push("mmr_15", timing, Some((15 * self.dim, 90 * self.dim)));
        Ok(())
    }

    fn bm25(&mut self, export: &mut Export) {
        let index = std::sync::Arc::clone(self.shared.prepared.databases.vdb[0].shard(0));
        let bm25 = Bm25::default();
        let mut facts = Vec::new();
        let mut cases: Vec<(Vec<u64>, Vec<Hit>)> = Vec::new();
        for query in &self.queries {
            let found = search(&index, vector_of(query), 20);
            let terms = token_hashes(&query.text);
            let docs: Vec<DocTerms<'_>> = found.iter().map(|hit| index.doc_terms(hit.row as usize)).collect();
            let expected = bm25_blend(&bm25, &terms, &docs, &found);
            let texts: Vec<&str> = found.iter().map(|hit| index.text(hit.row as usize)).collect();
            facts.push(json!({
                "query": query.text,
                "texts": texts,
                "scores": found.iter().map(|hit| hit.score).collect::<Vec<_>>(),
                "expected": expected,
            }));
            cases.push((terms, found));
        }
        export.fact("bm25_20", facts.into());
        let timing = self.clock.time(cases.len(), |i| {
            let (terms, found) = &cases[i];
            let docs: Vec<DocTerms<'_>> = found.iter().map(|hit| index.doc_terms(hit.row as usize)).collect();
            bm25_blend(&bm25, terms, &docs, found)
        });
        self.push("bm25_20", timing, None);
    }

    /// Making a question and a document.
    fn sources(&mut self, export: &mut Export) {
        let words = vocabulary();
        let template = |template: &Template| {
            let parts: Vec<Value> = template
                .parts
                .iter()
                .map(|part| match part {
                    Part::Text(text) => json!(["text", text]),
                    Part::Signature(n) => json!(["signature", n]),
                    Part::Filler(n) => json!(["filler", n]),
                })
                .collect();
            let of = template.query_type.map(QueryType::as_str);
            json!({"category": template.category.as_str(), "type": of, "parts": parts})
        };
        let topics: Vec<Value> = words
            .topics
            .iter()
            .map(|topic| json!({"category": topic.category.as_str(), "terms": topic.terms}))
            .collect();
        export.fact(
            "vocabulary",
            json!({
                "categories": Category::ALL.map(Category::as_str),
                "category_weights": CATEGORY_WEIGHTS,
                "types": QueryType::ALL.map(QueryType::as_str),
                "type_weights": TYPE_WEIGHTS,
                "topics": topics,
                "filler": words.filler,
                "queries": words.queries.iter().map(template).collect::<Vec<_>>(),
                "documents": words.documents.iter().map(template).collect::<Vec<_>>(),
            }),
        );
        let timing = self
            .clock
            .time(1000, |item| synthetic::query(42, item as u64, &TYPE_WEIGHTS, &CATEGORY_WEIGHTS).text);
        self.push("generate_query", timing, None);
        let timing = self
            .clock
            .time(1000, |item| synthetic::doc(42, synthetic::VDB1, item as u64, &CATEGORY_WEIGHTS).text);
        self.push("generate_doc", timing, None);
    }

    fn embed(&mut self, export: &mut Export) -> Result<(), Failure> {
        let questions: Vec<String> = self.queries.iter().map(|query| query.text.clone()).collect();
        let docs: Vec<String> = (0..CASES as u64)
            .map(|item| synthetic::doc(42, synthetic::VDB1, item, &CATEGORY_WEIGHTS).text)
            .collect();
        // Hashes stand in the file, because no other language has to bring the same hash function.
        let mut words: BTreeMap<String, Value> = BTreeMap::new();
        for text in questions.iter().chain(&docs) {
            for_each_token(text, |word| {
                let hash = term_hash(word);
                let sign = if hash >> 63 == 0 { 1 } else { -1 };
                let place = hash % self.dim as u64;
                words.insert(word.to_owned(), json!([place, sign, vocabulary().topic_of(hash)]));
            });
        }
        let directions: Vec<Value> = (0..vocabulary().topics.len() as u64)
            .map(|topic| {
                let mut random = stream(0, "topic direction", topic);
                let places = random.choose_distinct(self.dim as u32, 64);
                let signs: Vec<i32> =
                    places.iter().map(|_| if random.below(2) == 0 { 1 } else { -1 }).collect();
                json!({"places": places, "signs": signs})
            })
            .collect();
        export.fact("embed", json!({"words": words, "directions": directions, "docs": docs}));
        let embedder = std::sync::Arc::clone(&self.shared.embedder);
        for (name, texts) in [("embed_query", &questions), ("embed_doc", &docs)] {
            let views: Vec<&str> = texts.iter().map(String::as_str).collect();
            let vectors = embedder.embed(&views)?;
            let dims: Vec<i8> = vectors.iter().flat_map(|vector| vector.dims.iter().copied()).collect();
            export.array(name, "<i1", self.dim, &dims)?;
            let timing = self.clock.time(texts.len(), |i| embedder.embed(&views[i..=i]));
            self.push(name, timing, None);
        }
        Ok(())
    }

    /// The merge as an engine calls it: both halves of a query, one after the other.
    fn merge(&mut self, export: &mut Export) -> Result<(), Failure> {
        let node = self.workload.graph().node("merge").ok_or("no merge")?.id;
        let mut halves: BTreeMap<u64, [Option<Half>; 2]> = BTreeMap::new();
        for batch in self.flow.batches("merge") {
            for frame in frames(batch) {
                let frame = frame?;
                let mut bytes = Vec::new();
                frame::push(&mut bytes, frame.header, frame.body, frame.spans);
                let record = postcard::from_bytes(frame.body)?;
                halves.entry(frame.header.seq).or_default()[usize::from(frame.header.port)] =
                    Some((bytes, record));
            }
        }
        let merged: BTreeMap<u64, Candidates> = (self.flow.records::<Candidates>("dedup").into_iter())
            .map(|(header, record)| (header.seq, record))
            .collect();
        let hit = |hit: &VdbHit| json!([key(hit.doc), hit.score, hit.rerank]);
        let mut facts = Vec::new();
        let mut cases: Vec<Vec<u8>> = Vec::new();
        for (seq, [one, two]) in halves.into_iter().take(CASES) {
            let (Some((mut bytes, one)), Some((more, two))) = (one, two) else { continue };
            bytes.extend_from_slice(&more);
            cases.push(bytes);
            facts.push(json!({
                "one": one.hits.iter().map(hit).collect::<Vec<_>>(),
                "two": two.hits.iter().map(hit).collect::<Vec<_>>(),
                "expected": merged[&seq].hits.iter().map(|hit| key(hit.doc)).collect::<Vec<_>>(),
            }));
        }
        export.fact("merge", facts.into());
        let instance = RefCell::new(self.workload.operator(node, 0, 1)?);
        let timing = self.clock.time(cases.len(), |i| {
            let mut output = Vec::with_capacity(16 << 10);
            instance.borrow_mut().process(&cases[i], &mut output).map(|()| output)
        });
        self.push("merge", timing, None);
        Ok(())
    }

    /// Category and global batches as an engine calls them, over the whole run; per query.
    fn batches(&mut self, export: &mut Export) -> Result<(), Failure> {
        let graph = self.workload.graph();
        let id = |name: &str| graph.node(name).map(|node| node.id).ok_or("no such node");
        let line = [id("category_batch")?, id("global_batch")?];
        let inputs = self.flow.batches("category_batch");
        let items: Vec<Value> = (self.flow.records::<Ranked>("category_batch").iter())
            .map(|(header, record)| {
                let category = record.enriched.joined.query.category.as_str();
                json!([header.seq, header.event_time_ns, category])
            })
            .collect();
        let expected: Vec<Value> = (self.flow.records::<Batch>("generate").iter())
            .map(|(_, batch)| {
                let seqs = frames(&batch.items).filter_map(Result::ok).map(|item| item.header.seq);
                json!({"id": batch.id, "items": seqs.collect::<Vec<_>>()})
            })
            .collect();
        export.fact("batches", json!({"items": items, "expected": expected}));
        let make = |_: usize| self.workload.chain(&line, 0, 1).expect("two operators in a line");
        let timing = self.clock.time_made(1, make, |mut chain| {
            let mut output = Vec::with_capacity(1 << 20);
            for batch in inputs {
                chain.process(batch, &mut output).expect("a batch");
            }
            chain.finish(&mut output).expect("finished once");
            output.len()
        });
        self.push("batches", timing.per(crate::QUERIES as usize), None);
        Ok(())
    }

    fn generate(&mut self, export: &mut Export) -> Result<(), Failure> {
        let mut cases: Vec<(String, Vec<&str>)> = Vec::new();
        let records: Vec<(Header, Ranked)> = self.flow.records("category_batch");
        for (_, record) in records.iter().take(CASES) {
            let graph = record.enriched.graph.iter().take(2).map(|hit| self.lookup.node_text(hit.node));
            let docs = record.ranked.iter().take(3).map(|doc| self.lookup.doc_text(doc.doc, &NONE));
            cases.push((record.enriched.joined.query.text.clone(), graph.chain(docs).collect()));
        }
        let generator = std::sync::Arc::clone(&self.shared.generator);
        let mut facts = Vec::new();
        for (question, context) in &cases {
            let answer = generator.generate(question, context)?;
            facts.push(json!({"question": question, "context": context, "expected": answer.text}));
        }
        export.fact("generate", facts.into());
        let timing = self.clock.time(cases.len(), |i| generator.generate(&cases[i].0, &cases[i].1));
        self.rows.push(Row { name: "generate", timing, work: None });
        Ok(())
    }
}

fn bm25_blend(bm25: &Bm25, terms: &[u64], docs: &[DocTerms<'_>], found: &[Hit]) -> Vec<f64> {
    use bench_workloads::text::bm25::{blend, normalise};
    let mut keywords = bm25.among_candidates(terms, docs);
    normalise(&mut keywords);
    keywords.iter().zip(found).map(|(keyword, hit)| blend(hit.score, *keyword, 0.3)).collect()
}

fn hits(found: &[Hit]) -> Value {
    let (rows, scores): (Vec<u32>, Vec<f64>) = found.iter().map(|hit| (hit.row, hit.score)).unzip();
    json!({"rows": rows, "scores": scores})
}

/// A document as one number that sorts as the reference does.
fn key(doc: DocRef) -> u64 {
    u64::from(doc.vdb) << 32 | u64::from(doc.row)
}
