//! Every parameter of Workload4, with its default, unit, range and meaning, the presets and the flags.
//!
//! The defaults are the reference's code defaults. A parameter of the reference that its own code never read has no
//! entry here.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::corpus::Queries;
use crate::fault::Fault;
use crate::parameters::{
    About, CORPUS, Flag, Hashed, ParamError, Preset, Range, Reads, Table, Together, Values, parameters,
};
use crate::schedule::Documents;
use crate::text::embed::Ask;
use crate::text::endpoint::{ChatFields, OPTIONAL_PARAMETERS};
use crate::text::stemming::Stemming;

/// Weights of the query types; they sum to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypeWeights {
    pub factual: f64,
    pub analytical: f64,
    pub exploratory: f64,
}

/// Weights of the categories; they sum to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CategoryWeights {
    pub finance: f64,
    pub healthcare: f64,
    pub technology: f64,
    pub general: f64,
}

/// Weights of the reranker's dimensions; they sum to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RerankWeights {
    pub semantic: f64,
    pub freshness: f64,
    pub diversity: f64,
    pub authority: f64,
    pub coverage: f64,
}

/// How text becomes a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbedderKind {
    /// Topic directions, for the synthetic corpus.
    Topic,
    /// Feature hashing with idf, for real text.
    Hash,
    /// An OpenAI-compatible endpoint.
    Http,
}

/// Which documents the databases look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retrieval {
    /// The nearest vectors, in four stages.
    Dense,
    /// The nearest vectors and the best by BM25 over the whole collection, fused once.
    Hybrid,
}

/// What the reranker sorts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RerankBy {
    /// The five dimensions, of which relevance is the raw cosine.
    Dimensions,
    /// The fused score of cosine and BM25.
    Fused,
}

/// Whether a step is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    On,
    Off,
}

impl Switch {
    /// When an endpoint is asked, for a switch that says whether it is asked again.
    #[must_use]
    pub fn ask(self) -> Ask {
        match self {
            Self::On => Ask::Always,
            Self::Off => Ask::Once,
        }
    }
}

/// Each shard is an operator of the graph.
const SHARDS: Range = Range::number("between 1 and 64", |shards| (1.0..=64.0).contains(&shards));
const DIMENSION: Range = Range::number("between 8 and 16384", |dim| (8.0..=16_384.0).contains(&dim));
const WINDOW: Range =
    Range::number("above 0 and at most 86400, a day", |seconds| seconds > 0.0 && seconds <= 86_400.0);
const COSINE_DISTANCE: Range = Range::number("above 0 and below 2", |eps| eps > 0.0 && eps < 2.0);
const TOP_P: Range = Range::number("above 0 and at most 1", |top_p| top_p > 0.0 && top_p <= 1.0);
const FIELD: Range = Range::text("a name of letters, digits and '_'", |field| {
    !field.is_empty() && field.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
});
const OPTIONAL: Range = Range::text("a list of max_tokens, temperature, top_p and seed", |name| {
    OPTIONAL_PARAMETERS.contains(&name)
});
const CONCURRENCY: Range = Range::number("between 1 and 256", |calls| (1.0..=256.0).contains(&calls));
const FAULTS: Range = Range::grammar(|fault| fault.parse::<Fault>().map(drop));

parameters! {
    /// Parameters of Workload4.
    pub struct Params {
        /// Queries in event time.
        query_qps: f64 = 40.0, "per second", Range::RATE;
        /// Documents of the stream in event time.
        doc_qps: f64 = 25.0, "per second", Range::RATE;
        /// Shares of the types of questions.
        query_type_distribution: TypeWeights =
            TypeWeights { factual: 0.40, analytical: 0.35, exploratory: 0.25 }, "", Range::WEIGHTS;
        /// Shares of the categories of questions and documents.
        category_distribution: CategoryWeights =
            CategoryWeights { finance: 0.30, healthcare: 0.25, technology: 0.25, general: 0.20 }, "", Range::WEIGHTS;

        /// Folder of real text; synthetic text without.
        corpus: Option<PathBuf> = None, "", Range::ANY, Hashed::AsDigest;
        /// Judgements of the corpus that rankings are scored by.
        corpus_split: Option<String> = None, "", Range::ANY, Hashed::AsDigest;
        /// Which queries of the corpus are asked.
        corpus_queries: Queries = Queries::All, "", Range::ANY, Hashed::UnlessDefault;
        /// Words of the parts in which documents of the corpus are embedded and searched; null for whole documents.
        chunk_tokens: Option<u32> = None, "words", Range::AT_LEAST_1, Hashed::UnlessDefault;
        /// Words that a part has in common with the one before.
        chunk_overlap: u32 = 0, "words", Range::ANY, Hashed::UnlessDefault;
        /// Synthetic documents of the first vector database.
        vdb1_corpus_size: u32 = 10_000, "documents", Range::AT_LEAST_1;
        /// Synthetic documents of the second vector database.
        vdb2_corpus_size: u32 = 10_000, "documents", Range::AT_LEAST_1;
        /// Parts of each vector database, each searched by an operator of its own.
        vdb_shards: u32 = 1, "", SHARDS;

        /// How text becomes a vector.
        embedder: EmbedderKind = EmbedderKind::Topic, "", Range::ANY;
        /// Length of the vectors.
        embedding_dimension: u32 = 1024, "", DIMENSION;
        /// Texts in one request to an endpoint.
        embedding_batch_size: u32 = 64, "texts", Range::AT_LEAST_1;
        /// OpenAI-compatible endpoint for embeddings.
        embedding_url: Option<String> = None, "", Range::ANY, Hashed::AsServed;
        /// Model that the endpoint is asked for.
        embedding_model: String = "BAAI/bge-large-en-v1.5".to_owned(), "", Range::ANY;
        /// Whether a run asks the endpoint for vectors that are kept from before, as that is part of the work. The
        /// vectors that are used are those that are kept.
        embed_again: Switch = Switch::On, "", Range::ANY, Hashed::UnlessDefault;
        /// What the model behind the endpoint wants before each question, as in "query: ".
        query_prefix: String = String::new(), "", Range::ANY, Hashed::UnlessDefault;
        /// What it wants before each document, as in "passage: ".
        document_prefix: String = String::new(), "", Range::ANY, Hashed::UnlessDefault;
        /// Layers of arithmetic like an encoder's after each embedding; 0 is none.
        encoder_layers: u32 = 0, "", Range::ANY;

        /// Documents this much older than a question still match.
        join_window_seconds: f64 = 60.0, "s", WINDOW;
        /// Least cosine of a match.
        join_threshold: f64 = 0.70, "", Range::FROM_0_TO_1;
        /// Most matches of a question.
        join_max_matches: u32 = 8, "", Range::AT_LEAST_1;

        /// Nodes of the graph memory.
        graph_nodes: u32 = 200, "", Range::AT_LEAST_1;
        /// Most hops of a walk.
        graph_max_depth: u32 = 3, "", Range::ANY;
        /// Most nodes that a walk visits.
        graph_max_nodes: u32 = 200, "", Range::AT_LEAST_1;
        /// Nodes that a walk goes on from at each depth.
        graph_bfs_beam_width: u32 = 10, "", Range::AT_LEAST_1;
        /// Least weight of an edge that is walked.
        graph_edge_weight_threshold: f64 = 0.5, "", Range::FROM_0_TO_1;

        /// Documents that each of the four stages of a search looks at.
        stage_top_k: [u32; 4] = [20, 15, 10, 5], "documents", Range::AT_LEAST_1;
        /// Documents that each stage but the last hands on.
        stage_keep: [u32; 3] = [15, 10, 8], "documents", Range::AT_LEAST_1;
        /// Least cosine of a document in the first stage.
        vdb_filter_threshold: f64 = 0.6, "", Range::FROM_0_TO_1;
        /// How much more each later stage asks for.
        vdb_filter_step: f64 = 0.05, "", Range::FROM_0_TO_1;
        /// Documents that the first vector database answers with.
        vdb1_top_k: u32 = 25, "documents", Range::AT_LEAST_1;
        /// Documents that the second vector database answers with.
        vdb2_top_k: u32 = 25, "documents", Range::AT_LEAST_1;
        /// How soon repetitions of a term stop to count in BM25.
        bm25_k1: f64 = 1.5, "", Range::ABOVE_0;
        /// How much BM25 holds the length of a document against it.
        bm25_b: f64 = 0.75, "", Range::FROM_0_TO_1;
        /// Share of BM25 in the blend with the cosine; null for what suits the encoder.
        bm25_weight: Option<f64> = Some(0.3), "", Range::FROM_0_TO_1;
        /// Whether BM25 takes the rarity of terms from the whole corpus, and not from the candidates.
        bm25_corpus_idf: bool = false, "", Range::ANY;
        /// Which documents a search looks at: the nearest, or also the best by BM25.
        retrieval: Retrieval = Retrieval::Dense, "", Range::ANY, Hashed::UnlessDefault;
        /// How BM25 over the corpus stems words.
        stemmer: Stemming = Stemming::None, "", Range::ANY, Hashed::UnlessDefault;
        /// Documents that are left when both databases are merged.
        merge_top_k: u32 = 30, "documents", Range::AT_LEAST_1;

        /// Whether duplicates are taken out.
        dedup: Switch = Switch::On, "", Range::ANY, Hashed::UnlessDefault;
        /// Distance within which documents are duplicates.
        dbscan_eps: f64 = 0.15, "", COSINE_DISTANCE;
        /// Documents that make a cluster.
        dbscan_min_samples: u32 = 2, "documents", Range::AT_LEAST_1;

        /// What the reranker sorts by.
        rerank_by: RerankBy = RerankBy::Dimensions, "", Range::ANY, Hashed::UnlessDefault;
        /// Documents that are left after the reranker.
        rerank_top_k: u32 = 15, "documents", Range::AT_LEAST_1;
        /// Shares of the reranker's dimensions.
        rerank_score_weights: RerankWeights = RerankWeights {
            semantic: 0.30,
            freshness: 0.20,
            diversity: 0.20,
            authority: 0.15,
            coverage: 0.15,
        }, "", Range::WEIGHTS;
        /// Whether the final ranking trades relevance for variety.
        mmr: Switch = Switch::On, "", Range::ANY, Hashed::UnlessDefault;
        /// Relevance against redundancy: 1 is relevance alone.
        mmr_lambda: f64 = 0.7, "", Range::FROM_0_TO_1;
        /// Documents of the final ranking.
        mmr_final_k: u32 = 10, "documents", Range::AT_LEAST_1;

        /// Questions of one category that close a batch.
        category_batch_size: u32 = 5, "questions", Range::AT_LEAST_1;
        /// How long a batch of one category stays open, in event time.
        category_batch_timeout_ms: u32 = 300, "ms", Range::AT_LEAST_1;
        /// Questions that close a batch over all categories.
        global_batch_size: u32 = 12, "questions", Range::AT_LEAST_1;
        /// How long a batch over all categories stays open, in event time.
        global_batch_timeout_ms: u32 = 800, "ms", Range::ANY;

        /// OpenAI-compatible endpoint for generation; sentences of the context without.
        llm_url: Option<String> = None, "", Range::ANY, Hashed::IfGiven;
        /// Model that the endpoint is asked for.
        llm_model: String = "Qwen/Qwen2.5-3B-Instruct".to_owned(), "", Range::ANY;
        /// Most tokens of an answer.
        llm_max_tokens: u32 = 120, "tokens", Range::AT_LEAST_1;
        /// What the endpoint calls the limit on tokens.
        llm_max_tokens_field: String = ChatFields::default().max_tokens, "", FIELD, Hashed::UnlessDefault;
        /// Fields that the endpoint does not take.
        llm_leave_out: BTreeSet<String> = BTreeSet::new(), "", OPTIONAL, Hashed::UnlessDefault;
        /// Temperature of generation.
        llm_temperature: f64 = 0.7, "", Range::AT_LEAST_0;
        /// Probability that the tokens to choose from add up to.
        llm_top_p: f64 = 0.9, "", TOP_P;
        /// Whether answers come in pieces, so that the time to the first token is known.
        llm_stream: Switch = Switch::Off, "", Range::ANY, Hashed::UnlessDefault;
        /// Longest time to the first token of an answer that counts as good.
        llm_goal_ttft_ms: Option<f64> = None, "ms", Range::ABOVE_0, Hashed::Never;
        /// Longest time for each further token of an answer that counts as good.
        llm_goal_tpot_ms: Option<f64> = None, "ms", Range::ABOVE_0, Hashed::Never;
        /// Service time added to each batch of generation, as a timer.
        llm_latency_ms: u32 = 0, "ms", Range::ANY;
        /// Calls of generation under way at once in the whole run, whatever the parallelism; null for one in each
        /// instance.
        llm_concurrency: Option<u32> = None, "", CONCURRENCY, Hashed::UnlessDefault;
        /// How long a request to an endpoint may take.
        request_timeout_ms: u32 = 30_000, "ms", Range::AT_LEAST_1;
        /// How often a request to an endpoint is tried.
        request_attempts: u32 = 3, "", Range::AT_LEAST_1;
        /// Pause before a request is tried again; it doubles each time.
        request_backoff_ms: u32 = 1_000, "ms", Range::ANY;

        /// How often a failing record of a stateless operator is tried.
        operator_attempts: u32 = 1, "", Range::AT_LEAST_1;
        /// A fault to inject, for tests of backends.
        fault: Option<String> = None, "", FAULTS;
    }
}

/// The defaults for a folder of real text: nothing is cut by a threshold that was made for the synthetic topics,
/// keywords retrieve too and weigh what suits the encoder, and nothing changes the fused order.
const REAL_TEXT: Together = &[
    ("embedder", "hash"),
    ("join_threshold", "0"),
    ("vdb_filter_threshold", "0"),
    ("vdb_filter_step", "0"),
    ("stage_top_k", "[100, 100, 100, 100]"),
    ("stage_keep", "[100, 100, 100]"),
    ("vdb1_top_k", "100"),
    ("vdb2_top_k", "100"),
    ("merge_top_k", "100"),
    ("bm25_corpus_idf", "true"),
    ("bm25_weight", "null"),
    ("retrieval", "hybrid"),
    ("stemmer", "english"),
    ("dedup", "off"),
    ("rerank_by", "fused"),
    ("mmr", "off"),
];

/// The presets of the reference.
const PRESETS: &[Preset] = &[
    Preset { name: "default", tasks: None, sets: &[] },
    Preset {
        name: "light",
        tasks: Some(50),
        sets: &[
            ("query_qps", "20"),
            ("doc_qps", "15"),
            ("join_window_seconds", "30"),
            ("vdb1_top_k", "15"),
            ("vdb2_top_k", "15"),
            ("category_batch_size", "4"),
            ("global_batch_size", "8"),
        ],
    },
    Preset {
        name: "extreme",
        tasks: Some(200),
        sets: &[
            ("query_qps", "50"),
            ("doc_qps", "30"),
            ("join_window_seconds", "90"),
            ("vdb1_top_k", "30"),
            ("vdb2_top_k", "30"),
            ("embedding_batch_size", "128"),
        ],
    },
    Preset {
        name: "cpu_optimized",
        tasks: None,
        sets: &[
            ("query_qps", "30"),
            ("doc_qps", "20"),
            ("join_window_seconds", "40"),
            ("embedding_batch_size", "128"),
        ],
    },
];

const QUICK: Preset = Preset {
    name: "quick",
    tasks: Some(20),
    sets: &[("vdb1_corpus_size", "1000"), ("vdb2_corpus_size", "1000"), ("join_window_seconds", "10")],
};

const FLAGS: &[Flag] = &[
    Flag {
        also: REAL_TEXT,
        ..Flag::new("corpus", "DIR", Reads::Folder, About::Texts, &[CORPUS]).help(
            "Folder in BEIR form (corpus.jsonl, queries.jsonl, qrels/test.tsv, each also as .gz) instead of \
             synthetic text",
        )
    },
    Flag::new("corpus-split", "NAME", Reads::Text, About::Texts, &["corpus_split"])
        .help("Judge by qrels/NAME.tsv of the corpus [default: test, or the first of dev, validation and train]"),
    Flag::new("corpus-queries", "WHICH", Reads::OneOf(&["all", "judged"]), About::Texts, &["corpus_queries"])
        .help("Ask all queries of the corpus, or only those that have a judgement [default: all]"),
    Flag {
        not_with: Some(CORPUS),
        ..Flag::new("corpus-size", "N", Reads::Count, About::Texts, &["vdb1_corpus_size", "vdb2_corpus_size"])
            .help(
                "Synthetic documents in each of the vector databases; 1e6 works, built in a stream and mapped \
                 [default: 10000]",
            )
    },
    Flag::new("corpus-shards", "N", Reads::Count, About::Texts, &["vdb_shards"]).help(
        "Shards of each vector database, searched by an operator each; the answers stay the same [default: 1]",
    ),
    Flag {
        also: &[("embedder", "http")],
        ..Flag::new("embedding-url", "URL", Reads::Text, About::Services, &["embedding_url"])
            .help("OpenAI-compatible endpoint for embeddings, up to /v1; the key comes from OPENAI_API_KEY")
    },
    Flag {
        also: &[("llm_concurrency", "8"), ("llm_stream", "on")],
        ..Flag::new("llm-url", "URL", Reads::Text, About::Services, &["llm_url"])
            .help("OpenAI-compatible endpoint for generation, up to /v1; the key comes from OPENAI_API_KEY")
    },
    Flag::new("llm-concurrency", "N", Reads::Count, About::Services, &["llm_concurrency"]).help(
        "Calls of generation under way at once, in the whole run, whatever the parallelism and the backend \
         [default with --llm-url: 8]",
    ),
    Flag::new("llm-latency-ms", "MS", Reads::Milliseconds, About::Services, &["llm_latency_ms"])
        .help("Service time added to each generation batch, as a timer [default: 0]"),
];

/// All of it.
pub static TABLE: Table = Table {
    rows: Params::ROWS,
    presets: PRESETS,
    quick: QUICK,
    quick_says: "1,000-document indexes, a 10 s window",
    flags: FLAGS,
    example: "mmr_lambda=0.5",
    graph_example: "vdb_shards=3",
    relations,
    read: |values| Ok(Values::of(&values.read::<Params>()?)),
};

fn relations(values: &Values) -> Result<(), ParamError> {
    let params: Params = values.read()?;
    let (category, global) = (params.category_batch_timeout_ms, params.global_batch_timeout_ms);
    if category >= global {
        let (name, range) = ("category_batch_timeout_ms", "below global_batch_timeout_ms");
        return Err(ParamError::Range { name, range, value: category.to_string() });
    }
    if params.ranks_over_corpus() && !params.bm25_corpus_idf {
        let (name, range) = ("bm25_corpus_idf", "true with retrieval = \"hybrid\" or a stemmer");
        return Err(ParamError::Range { name, range, value: "false".into() });
    }
    if params.embedding_url.is_some() != (params.embedder == EmbedderKind::Http) {
        let (name, range) = ("embedding_url", "given with embedder = \"http\" and only then");
        return Err(ParamError::Range { name, range, value: "the present value".into() });
    }
    if let Some(words) = params.chunk_tokens
        && (params.corpus.is_none() || params.retrieval != Retrieval::Hybrid)
    {
        let (name, range) = ("chunk_tokens", "given with a corpus and retrieval = \"hybrid\", and only then");
        return Err(ParamError::Range { name, range, value: words.to_string() });
    }
    if params.chunk_overlap > 0 && params.chunk_tokens.is_none_or(|words| params.chunk_overlap >= words) {
        let (name, range) = ("chunk_overlap", "below chunk_tokens");
        return Err(ParamError::Range { name, range, value: params.chunk_overlap.to_string() });
    }
    for (name, prefix) in [("query_prefix", params.query_prefix), ("document_prefix", params.document_prefix)]
    {
        if !prefix.is_empty() && params.embedder != EmbedderKind::Http {
            return Err(ParamError::Range {
                name,
                range: "given with an embedding_url and only then",
                value: prefix,
            });
        }
    }
    Ok(())
}

impl Params {
    /// The stream of documents. The window is full when the first query comes.
    #[must_use]
    pub fn documents(&self) -> Documents {
        Documents { qps: self.doc_qps, prefill: (self.join_window_seconds * self.doc_qps).floor() as u64 }
    }

    /// Weights of the query types.
    #[must_use]
    pub fn types(&self) -> [f64; 3] {
        let types = &self.query_type_distribution;
        [types.factual, types.analytical, types.exploratory]
    }

    /// Weights of the categories.
    #[must_use]
    pub fn categories(&self) -> [f64; 4] {
        let categories = &self.category_distribution;
        [categories.finance, categories.healthcare, categories.technology, categories.general]
    }

    /// Share of BM25 where it is fused with the cosine. What the hash embedder knows BM25 knows better; a trained
    /// encoder knows other things.
    #[must_use]
    pub fn keyword_share(&self) -> f64 {
        self.bm25_weight.unwrap_or(match self.embedder {
            EmbedderKind::Hash => 0.9,
            EmbedderKind::Http => 0.5,
            EmbedderKind::Topic => 0.3,
        })
    }

    /// Whether BM25 needs the inverted index of the whole collection.
    #[must_use]
    pub fn ranks_over_corpus(&self) -> bool {
        self.retrieval == Retrieval::Hybrid || self.stemmer != Stemming::None
    }

    /// Whether anything depends on what is counted over the whole of a vector database.
    #[must_use]
    pub fn asks_the_collection(&self) -> bool {
        self.bm25_corpus_idf || self.embedder == EmbedderKind::Hash || self.chunk_tokens.is_some()
    }

    /// How the parameters of a chat are sent.
    #[must_use]
    pub fn chat_fields(&self) -> ChatFields {
        ChatFields { max_tokens: self.llm_max_tokens_field.clone(), leave_out: self.llm_leave_out.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::{GOAL_TPOT, GOAL_TTFT};

    /// The defaults with this set.
    fn with(name: &str, text: &str) -> Values {
        let mut values = TABLE.defaults();
        TABLE.set_text(&mut values, name, text).unwrap();
        values
    }

    fn refused(name: &str, text: &str) -> String {
        TABLE.set_text(&mut TABLE.defaults(), name, text).unwrap_err().to_string()
    }

    fn out_of_range(name: &str, text: &str) -> String {
        TABLE.validate(&with(name, text)).unwrap_err().to_string()
    }

    fn params(values: &Values) -> Params {
        values.read().unwrap()
    }

    #[test]
    fn the_defaults_are_valid_and_those_of_the_struct() {
        let defaults = TABLE.defaults();
        assert_eq!(TABLE.validate(&defaults), Ok(()));
        assert_eq!(defaults, Values::of(&Params::default()));
    }

    #[test]
    fn presets_and_flags_set_parameters_that_there_are() {
        for preset in TABLE.presets.iter().chain([&TABLE.quick]) {
            let mut values = TABLE.defaults();
            TABLE.set_together(&mut values, preset.sets).unwrap();
            assert_eq!(TABLE.validate(&values), Ok(()), "{}", preset.name);
        }
        let mut values = TABLE.defaults();
        for flag in TABLE.flags {
            assert!(flag.sets.iter().all(|name| values.get(name).is_some()), "{}", flag.name);
            TABLE.set_together(&mut values, flag.also).unwrap();
        }
    }

    #[test]
    fn a_parameter_is_set_by_name_and_keeps_its_type() {
        assert_eq!(with("query_qps", "20").get("query_qps").unwrap().to_string(), "20.0");
        assert_eq!(params(&with("rerank_score_weights.semantic", "0.5")).rerank_score_weights.semantic, 0.5);
        assert_eq!(params(&with("llm_model", "tiny")).llm_model, "tiny");
    }

    #[test]
    fn a_table_changes_the_members_that_it_names_in_either_notation() {
        for text in [
            r#"{"semantic": 0.4, "coverage": 0.05}"#,
            "{semantic = 0.4, coverage = 0.05}",
            r#"{ "semantic"=0.4, coverage=0.05 }"#,
        ] {
            let values = with("rerank_score_weights", text);
            let weights = params(&values).rerank_score_weights;
            assert_eq!((weights.semantic, weights.freshness, weights.coverage), (0.4, 0.2, 0.05), "{text}");
            TABLE.validate(&values).unwrap();
        }
        let mut values = with("category_distribution", r#"{"finance": 1, "healthcare": 0}"#);
        TABLE.set_text(&mut values, "category_distribution.technology", "0").unwrap();
        TABLE.set_text(&mut values, "category_distribution", "{general = 0}").unwrap();
        TABLE.validate(&values).unwrap();
        // Whole numbers or not, the same weights are the same configuration.
        assert_eq!(values.get("category_distribution.finance").unwrap().to_string(), "1.0");
    }

    #[test]
    fn a_list_is_written_as_json_as_toml_or_with_commas() {
        for text in ["[30, 20, 15, 10]", "[30, 20, 15, 10,]", "30,20, 15,10"] {
            assert_eq!(params(&with("stage_top_k", text)).stage_top_k, [30, 20, 15, 10], "{text}");
        }
        for text in [r#"["seed", "top_p"]"#, "['seed', 'top_p']", "seed,top_p"] {
            let values = with("llm_leave_out", text);
            TABLE.validate(&values).unwrap();
            assert_eq!(params(&values).llm_leave_out, ["seed", "top_p"].map(str::to_owned).into(), "{text}");
        }
    }

    #[test]
    fn a_wrong_table_names_what_is_wrong() {
        for (text, why) in [
            (
                "{semantik = 0.4}",
                "unknown parameter 'rerank_score_weights.semantik': did you mean 'semantic'?",
            ),
            ("{semantic: 0.4}", "parameter 'rerank_score_weights': {semantic: 0.4} is neither JSON ("),
            ("{semantic = 'much'}", "parameter 'rerank_score_weights': invalid type: string \"much\""),
            ("[1, 2]", "parameter 'rerank_score_weights': "),
            ("0.4", "parameter 'rerank_score_weights': "),
        ] {
            let error = refused("rerank_score_weights", text);
            assert!(error.starts_with(why), "{text}: {error}");
        }
        let error = out_of_range("rerank_score_weights", "{semantic = 0.9}");
        assert!(error.contains("weights between 0 and 1 that sum to 1, not "), "{error}");
        let error = out_of_range("llm_leave_out", "seed,model");
        assert!(error.starts_with("parameter 'llm_leave_out' must be a list of "), "{error}");
        assert!(error.ends_with(", not model, seed"), "{error}");
    }

    #[test]
    fn an_unknown_name_suggests_the_nearest() {
        assert_eq!(refused("mmr_lamda", "0.5"), "unknown parameter 'mmr_lamda': did you mean 'mmr_lambda'?");
        let error = TABLE.preset("extrem").unwrap_err().to_string();
        let expected = "there is no preset 'extrem', there are default, light, extreme, cpu_optimized: did you mean 'extreme'?";
        assert_eq!(error, expected);
    }

    #[test]
    fn a_value_of_the_wrong_type_names_the_parameter() {
        assert!(refused("mmr_final_k", "many").starts_with("parameter 'mmr_final_k': invalid type"));
    }

    #[test]
    fn every_row_with_a_range_refuses_what_is_outside_and_names_itself() {
        let outside =
            ["-1", "0", "3", "0.5", "1e9", "no fault", "a b", "{finance = 2, factual = 2, semantic = 2}"];
        for row in TABLE.rows.iter().filter(|row| !row.range.says.is_empty()) {
            let named = outside.iter().any(|text| {
                let mut values = TABLE.defaults();
                let set = TABLE.set_text(&mut values, row.name, text);
                let set = set.or_else(|_| TABLE.set_text(&mut values, row.name, &[*text; 4].join(",")));
                let set = set.or_else(|_| TABLE.set_text(&mut values, row.name, &[*text; 3].join(",")));
                let members = ["{finance = 2}", "{factual = 2}", "{semantic = 2}"];
                let set = set.or_else(|_| {
                    members.iter().find_map(|text| TABLE.set_text(&mut values, row.name, text).ok()).ok_or(())
                });
                let error =
                    set.ok().and_then(|()| TABLE.validate(&values).err()).map(|error| error.to_string());
                let start = format!("parameter '{}' must be {}, not ", row.name, row.range.says);
                error.is_some_and(|error| error.starts_with(&start))
            });
            assert!(named, "{}", row.name);
        }
    }

    #[test]
    fn out_of_range_values_are_refused_with_the_range() {
        assert_eq!(
            out_of_range("dbscan_eps", "2.5"),
            "parameter 'dbscan_eps' must be above 0 and below 2, not 2.5"
        );
        assert!(out_of_range("query_qps", "1e36").contains("at most 1000000 per second"));
        assert!(out_of_range("stage_keep", "3,0,1").ends_with("'stage_keep' must be at least 1, not 0"));
        assert!(out_of_range("category_batch_timeout_ms", "900").contains("below global_batch_timeout_ms"));
        assert!(out_of_range("fault", "burn").starts_with("parameter 'fault': 'burn' is not a fault"));
    }

    #[test]
    fn keywords_that_retrieve_know_the_whole_corpus() {
        for (name, text) in [("retrieval", "hybrid"), ("stemmer", "english")] {
            let mut values = with(name, text);
            let error = TABLE.validate(&values).unwrap_err().to_string();
            assert!(error.starts_with("parameter 'bm25_corpus_idf' must be true with "), "{error}");
            TABLE.set_text(&mut values, "bm25_corpus_idf", "true").unwrap();
            assert_eq!(TABLE.validate(&values), Ok(()));
        }
    }

    #[test]
    fn the_share_of_bm25_suits_the_encoder_where_none_is_given() {
        let share = |embedder: &str, weight: &str| {
            let mut values = with("embedder", embedder);
            TABLE.set_text(&mut values, "bm25_weight", weight).unwrap();
            params(&values).keyword_share()
        };
        assert!(share("hash", "null") > share("http", "null"));
        assert_eq!(share("hash", "0.25"), 0.25);
        assert_eq!(Params::default().keyword_share(), 0.3);
    }

    #[test]
    fn parts_are_those_of_a_corpus_and_overlap_by_less_than_their_length() {
        assert!(out_of_range("chunk_tokens", "200").contains("must be given with a corpus"));
        assert!(out_of_range("chunk_overlap", "1").contains("'chunk_overlap' must be below chunk_tokens"));
        let mut values = with("corpus", "/a/corpus");
        for (name, text) in [
            ("bm25_corpus_idf", "true"),
            ("retrieval", "hybrid"),
            ("chunk_tokens", "200"),
            ("chunk_overlap", "199"),
        ] {
            TABLE.set_text(&mut values, name, text).unwrap();
        }
        assert_eq!(TABLE.validate(&values), Ok(()));
        TABLE.set_text(&mut values, "chunk_overlap", "200").unwrap();
        assert!(TABLE.validate(&values).is_err());
    }

    #[test]
    fn only_a_model_behind_an_endpoint_has_prefixes() {
        let error = out_of_range("query_prefix", "query: ");
        assert_eq!(
            error,
            "parameter 'query_prefix' must be given with an embedding_url and only then, not query: "
        );
    }

    #[test]
    fn where_the_work_is_done_is_not_part_of_its_fingerprint() {
        let at = |folder: &str, digest| TABLE.fingerprint(&with("corpus", folder), Some(digest), None);
        assert_eq!(at("/a/corpus", "d1"), at("/another/place", "d1"));
        assert_ne!(at("/a/corpus", "d1"), at("/a/corpus", "d2"));
    }

    #[test]
    fn parameters_that_came_later_change_the_fingerprint_only_where_they_change_the_work() {
        let base = TABLE.fingerprint(&TABLE.defaults(), None, None);
        for (name, text) in [
            ("corpus_queries", "judged"),
            ("llm_leave_out", "seed"),
            ("llm_max_tokens_field", "n"),
            ("retrieval", "hybrid"),
            ("stemmer", "english"),
            ("dedup", "off"),
            ("rerank_by", "fused"),
            ("mmr", "off"),
            ("llm_concurrency", "8"),
            ("embed_again", "off"),
            ("llm_stream", "on"),
            ("chunk_tokens", "200"),
            ("chunk_overlap", "20"),
            ("query_prefix", "query: "),
            ("document_prefix", "passage: "),
        ] {
            assert!(base.get(name).is_none(), "{name}");
            assert!(TABLE.fingerprint(&with(name, text), None, None).get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn goals_change_no_work() {
        let base = TABLE.fingerprint(&TABLE.defaults(), None, None);
        for name in [GOAL_TTFT, GOAL_TPOT] {
            assert_eq!(TABLE.fingerprint(&with(name, "250"), None, None), base);
        }
    }

    #[test]
    fn another_model_behind_an_endpoint_is_another_work() {
        use crate::text::endpoint::Served;
        let served = |fingerprint: &str| Served {
            model: Some("m".into()),
            dimension: 1024,
            fingerprint: fingerprint.parse().unwrap(),
        };
        let of = |served: &Served| TABLE.fingerprint(&TABLE.defaults(), None, Some(served));
        let one = of(&served("00000000000000ff"));
        assert_ne!(one, of(&served("ff00000000000000")));
        assert_eq!(one, of(&Served { model: None, ..served("00000000000000ff") }));
    }

    #[test]
    fn every_working_parameter_is_part_of_the_fingerprint() {
        let base = TABLE.fingerprint(&TABLE.defaults(), None, None);
        for (name, text) in [("mmr_lambda", "0.6"), ("dbscan_eps", "0.2"), ("graph_max_depth", "2")] {
            assert_ne!(TABLE.fingerprint(&with(name, text), None, None), base, "{name}");
        }
    }
}
