use std::sync::Arc;
use std::time::Duration;

use bench_dataflow::frame::Frame;
use bench_dataflow::graph::{Graph, Node};

use super::batch::{CategoryBatch, GlobalBatch, Trigger};
use super::carried::{Carried, Sender};
use super::cascade::{Cascade, CascadeConfig};
use super::dedup::Dedup;
use super::embed::{Embed, What};
use super::fork::{Arriving, Fork};
use super::fusion::{Fusion, FusionConfig};
use super::generate::{Generate, Texts};
use super::graph::shard_of;
use super::graph_memory::{GraphMemory, WalkConfig};
use super::join::{JoinConfig, SemanticJoin};
use super::lookup::Lookup;
use super::merge::Merge;
use super::mmr::Mmr;
use super::own::Own;
use super::params::{EmbedderKind, Retrieval, Switch};
use super::records::VdbHit;
use super::rerank::Rerank;
use super::shared::{Databases, Shared, bm25};
use super::vdb::{Gather, Search, Shard, Stages, Vdb};
use super::views;
use crate::operator::{Operator, OperatorError};
use crate::text::embed::Prefixed;
use crate::workload::WorkloadError;

/// Texts per call of an embedder that runs here.
const EMBED_BATCH: usize = 16;

/// Creates instance `instance` of the operator at `node`; `None` when there is no such operator. What feeds it in the
/// graph decides what it takes. `own` are shards that follow their operators.
///
/// # Errors
/// When such a shard can be neither opened nor built.
pub fn create(
    shared: &Shared,
    graph: &Graph,
    node: &Node,
    instance: u32,
    judged: bool,
    own: Option<&Own>,
) -> Result<Option<Box<dyn Operator>>, WorkloadError> {
    let p = &shared.params;
    let fed_by = |name: &str| graph.inputs(node.id).any(|edge| graph.nodes[edge.from as usize].name == name);
    let lookup = || Lookup(shared.prepared.clone());
    Ok(Some(match node.name.as_str() {
        "embed_q" => Box::new(embed(shared, What::Queries)),
        "embed_d" => Box::new(embed(shared, What::Docs)),
        "join" => Box::new(join(shared, instance == 0)),
        "graph_memory" => {
            let config = WalkConfig {
                max_depth: p.graph_max_depth,
                max_nodes: p.graph_max_nodes as usize,
                beam: p.graph_bfs_beam_width as usize,
                edge_threshold: p.graph_edge_weight_threshold,
            };
            let (graph, nodes) = (Arc::clone(&shared.graph), Arc::clone(&shared.prepared.nodes));
            Box::new(GraphMemory::new(graph, nodes, config))
        }
        "fork" | "context" => {
            let arriving = if fed_by("graph_memory") {
                Arriving::Enriched
            } else if fed_by("join") {
                Arriving::Joined
            } else {
                Arriving::Query
            };
            Box::new(Fork::new(arriving, graph.output_ports(node.id)))
        }
        "vdb1" => vdb(shared, 0),
        "vdb2" => vdb(shared, 1),
        "merge" | "collect" => {
            let lookup = lookup();
            let id = move |hit: &VdbHit, carried: &Carried<'_>| lookup.doc_id(hit.doc, carried).to_owned();
            Box::new(Merge::new(graph.inputs(node.id).count(), p.merge_top_k as usize, Box::new(id)))
        }
        "dedup" => {
            let dedup = Dedup::new(p.dbscan_eps, p.dbscan_min_samples as usize, lookup()).by(p.rerank_by);
            Box::new(if p.dedup == Switch::On { dedup } else { dedup.off() })
        }
        "rerank" => {
            let weights = p.rerank_score_weights.clone();
            Box::new(Rerank::new(weights, p.rerank_top_k as usize, lookup()).by(p.rerank_by))
        }
        "mmr" => {
            let mmr = Mmr::new(p.mmr_lambda, p.mmr_final_k as usize, lookup()).of(p.rerank_by);
            Box::new(if p.mmr == Switch::On { mmr } else { mmr.off() })
        }
        "category_batch" => {
            let trigger = trigger(p.category_batch_size, p.category_batch_timeout_ms);
            Box::new(CategoryBatch::new(trigger, |frame: &Frame<'_>| -> Result<_, OperatorError> {
                // A ranked query begins with the query itself.
                Ok(views::query(frame)?.category)
            }))
        }
        "global_batch" => Box::new(GlobalBatch::new(trigger(p.global_batch_size, p.global_batch_timeout_ms))),
        "generate" => {
            let latency = Duration::from_millis(p.llm_latency_ms.into());
            let generate = Generate::new(Arc::clone(&shared.generator), lookup(), latency, judged)
                .at_once(shared.slots.clone(), p.operator_attempts);
            Box::new(if fed_by("global_batch") { generate } else { generate.one_by_one() })
        }
        name => {
            let Some((which, shard)) = shard_of(name) else { return Ok(None) };
            match own {
                None => Box::new(Shard::new(search(shared, &shared.prepared.databases, which, shard))),
                Some(own) => {
                    let here = own.shard(shard)?;
                    Box::new(Shard::new(search(shared, &here, which, shard)).with(sender(&here, which)))
                }
            }
        }
    }))
}

fn embed(shared: &Shared, what: What) -> Embed {
    let batch = match shared.params.embedder {
        EmbedderKind::Http => shared.params.embedding_batch_size as usize,
        EmbedderKind::Topic | EmbedderKind::Hash => EMBED_BATCH,
    };
    let prefix = match what {
        What::Queries => &shared.params.query_prefix,
        What::Docs => &shared.params.document_prefix,
    };
    Embed::new(Prefixed::over(Arc::clone(&shared.embedder), prefix), what, batch)
}

fn join(shared: &Shared, keeps_doc_spans: bool) -> SemanticJoin {
    let p = &shared.params;
    let config = JoinConfig {
        window_ns: (p.join_window_seconds * 1e9).round() as i64,
        threshold: p.join_threshold,
        max_matches: p.join_max_matches as usize,
        dim: p.embedding_dimension as usize,
    };
    let window = &shared.prepared.window;
    let documents = p.documents();
    let docs = (0..window.len())
        .map(|row| (window.id(row), documents.time_ns(row as u64), window.row(row), window.norm2(row)));
    SemanticJoin::new(config, docs, keeps_doc_spans)
}

/// A vector database, or the place where its shards meet. The query rides with the first one.
fn vdb(shared: &Shared, which: u8) -> Box<dyn Operator> {
    let documents = &shared.prepared.databases.vdb[usize::from(which)];
    let (stages, carries) = (stages(shared, which), which == 0);
    match documents.count() {
        1 => Box::new(Vdb::new(search(shared, &shared.prepared.databases, which, 0), stages, carries)),
        shards => Box::new(Gather::new(shards as usize, stages, carries)),
    }
}

/// The search of one shard.
fn search(shared: &Shared, databases: &Databases, which: u8, shard: u32) -> Search {
    let (p, at) = (&shared.params, usize::from(which));
    let search = Search::new(&databases.vdb[at], shard, p.stage_top_k[0] as usize * shared.parts);
    match &databases.keywords {
        Some(keywords) if p.retrieval == Retrieval::Hybrid => search.with_keywords(Arc::clone(&keywords[at])),
        _ => search,
    }
}

fn sender(databases: &Databases, which: u8) -> Sender {
    let (at, keywords) = (usize::from(which), databases.keywords.as_ref());
    Sender::new(which, Arc::clone(&databases.vdb[at]), keywords.map(|keywords| Arc::clone(&keywords[at])))
}

/// What is made of what the search of a database found.
fn stages(shared: &Shared, which: u8) -> Stages {
    let (p, at) = (&shared.params, usize::from(which));
    let databases = &shared.prepared.databases;
    let keywords = databases.keywords.as_ref().map(|keywords| Arc::clone(&keywords[at]));
    match keywords {
        Some(keywords) if p.retrieval == Retrieval::Hybrid => {
            let config = FusionConfig {
                breadth: p.stage_top_k[0] as usize,
                cut: p.vdb_filter_threshold,
                top_k: top_k(shared, which),
                keyword_share: p.keyword_share(),
                in_parts: p.chunk_tokens.is_some(),
            };
            Stages::Hybrid(Fusion::new(which, Arc::clone(&databases.vdb[at]), keywords, config))
        }
        keywords => Stages::Dense(cascade(shared, which).with_keywords(keywords)),
    }
}

fn top_k(shared: &Shared, which: u8) -> usize {
    (if which == 0 { shared.params.vdb1_top_k } else { shared.params.vdb2_top_k }) as usize
}

fn cascade(shared: &Shared, which: u8) -> Cascade {
    let p = &shared.params;
    let config = CascadeConfig {
        stage_top_k: p.stage_top_k,
        stage_keep: p.stage_keep,
        cut: p.vdb_filter_threshold,
        cut_step: p.vdb_filter_step,
        top_k: top_k(shared, which),
        bm25: bm25(p),
        bm25_weight: p.keyword_share(),
        corpus_idf: p.bm25_corpus_idf,
    };
    Cascade::new(which, Arc::clone(&shared.prepared.databases.vdb[usize::from(which)]), config)
}

fn trigger(size: u32, timeout_ms: u32) -> Trigger {
    Trigger { size: size as usize, timeout_ns: i64::from(timeout_ms) * 1_000_000 }
}
