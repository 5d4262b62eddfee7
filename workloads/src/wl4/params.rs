//! Every parameter of Workload4, with its default, its preset and its range.
//!
//! One struct is the only place: the command line's `--set`, `--config` files, presets, validation
//! and the configuration hash all go through its serialised form. The defaults are the reference's
//! code defaults. A parameter of the reference that its own code never read has no entry here.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

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

/// Most shards of a vector database: each is an operator of the graph.
const MOST_SHARDS: u32 = 64;

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

/// Parameters of Workload4. Durations carry their unit in the name; scores are dimensionless.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    pub query_qps: f64,
    pub doc_qps: f64,
    pub query_type_distribution: TypeWeights,
    pub category_distribution: CategoryWeights,

    pub corpus: Option<PathBuf>,
    pub vdb1_corpus_size: u32,
    pub vdb2_corpus_size: u32,
    pub vdb_shards: u32,

    pub embedder: EmbedderKind,
    pub embedding_dimension: u32,
    pub embedding_batch_size: u32,
    pub embedding_url: Option<String>,
    pub embedding_model: String,
    pub encoder_layers: u32,

    pub join_window_seconds: f64,
    pub join_threshold: f64,
    pub join_max_matches: u32,

    pub graph_nodes: u32,
    pub graph_max_depth: u32,
    pub graph_max_nodes: u32,
    pub graph_bfs_beam_width: u32,
    pub graph_edge_weight_threshold: f64,

    pub stage_top_k: [u32; 4],
    pub stage_keep: [u32; 3],
    pub vdb_filter_threshold: f64,
    pub vdb_filter_step: f64,
    pub vdb1_top_k: u32,
    pub vdb2_top_k: u32,
    pub bm25_k1: f64,
    pub bm25_b: f64,
    pub bm25_weight: f64,
    pub bm25_corpus_idf: bool,
    pub merge_top_k: u32,

    pub dbscan_eps: f64,
    pub dbscan_min_samples: u32,

    pub rerank_top_k: u32,
    pub rerank_score_weights: RerankWeights,
    pub mmr_lambda: f64,
    pub mmr_final_k: u32,

    pub category_batch_size: u32,
    pub category_batch_timeout_ms: u32,
    pub global_batch_size: u32,
    pub global_batch_timeout_ms: u32,

    pub llm_url: Option<String>,
    pub llm_model: String,
    pub llm_max_tokens: u32,
    pub llm_temperature: f64,
    pub llm_top_p: f64,
    pub llm_latency_ms: u32,
    pub request_timeout_ms: u32,
    pub request_attempts: u32,
    pub request_backoff_ms: u32,

    pub operator_attempts: u32,
    pub fault: Option<String>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            query_qps: 40.0,
            doc_qps: 25.0,
            query_type_distribution: TypeWeights { factual: 0.40, analytical: 0.35, exploratory: 0.25 },
            category_distribution: CategoryWeights {
                finance: 0.30,
                healthcare: 0.25,
                technology: 0.25,
                general: 0.20,
            },
            corpus: None,
            vdb1_corpus_size: 10_000,
            vdb2_corpus_size: 10_000,
            vdb_shards: 1,
            embedder: EmbedderKind::Topic,
            embedding_dimension: 1024,
            embedding_batch_size: 64,
            embedding_url: None,
            embedding_model: "BAAI/bge-large-en-v1.5".to_owned(),
            encoder_layers: 0,
            join_window_seconds: 60.0,
            join_threshold: 0.70,
            join_max_matches: 8,
            graph_nodes: 200,
            graph_max_depth: 3,
            graph_max_nodes: 200,
            graph_bfs_beam_width: 10,
            graph_edge_weight_threshold: 0.5,
            stage_top_k: [20, 15, 10, 5],
            stage_keep: [15, 10, 8],
            vdb_filter_threshold: 0.6,
            vdb_filter_step: 0.05,
            vdb1_top_k: 25,
            vdb2_top_k: 25,
            bm25_k1: 1.5,
            bm25_b: 0.75,
            bm25_weight: 0.3,
            bm25_corpus_idf: false,
            merge_top_k: 30,
            dbscan_eps: 0.15,
            dbscan_min_samples: 2,
            rerank_top_k: 15,
            rerank_score_weights: RerankWeights {
                semantic: 0.30,
                freshness: 0.20,
                diversity: 0.20,
                authority: 0.15,
                coverage: 0.15,
            },
            mmr_lambda: 0.7,
            mmr_final_k: 10,
            category_batch_size: 5,
            category_batch_timeout_ms: 300,
            global_batch_size: 12,
            global_batch_timeout_ms: 800,
            llm_url: None,
            llm_model: "Qwen/Qwen2.5-3B-Instruct".to_owned(),
            llm_max_tokens: 120,
            llm_temperature: 0.7,
            llm_top_p: 0.9,
            llm_latency_ms: 0,
            request_timeout_ms: 30_000,
            request_attempts: 3,
            request_backoff_ms: 1_000,
            operator_attempts: 1,
            fault: None,
        }
    }
}

/// A parameter was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// No parameter has this name.
    #[error("unknown parameter '{name}'{}", nearest.as_ref().map(|n| format!(": did you mean '{n}'?")).unwrap_or_default())]
    Unknown { name: String, nearest: Option<String> },
    /// The value does not fit the parameter's type.
    #[error("parameter '{name}': {cause}")]
    Type { name: String, cause: String },
    /// The value is out of range.
    #[error("parameter '{name}' must be {range}, not {value}")]
    Range { name: &'static str, range: &'static str, value: String },
}

impl Params {
    /// The defaults for a folder of real text: nothing is cut by a threshold that was made for the
    /// synthetic topics, and keyword evidence weighs more than the hash embedder's.
    pub fn use_corpus(&mut self, folder: PathBuf) {
        self.corpus = Some(folder);
        self.embedder = EmbedderKind::Hash;
        self.join_threshold = 0.0;
        self.vdb_filter_threshold = 0.0;
        self.vdb_filter_step = 0.0;
        self.stage_top_k = [100; 4];
        self.stage_keep = [100; 3];
        self.vdb1_top_k = 100;
        self.vdb2_top_k = 100;
        self.merge_top_k = 100;
        self.bm25_corpus_idf = true;
        self.bm25_weight = 0.7;
    }

    /// The smoke-test scale of `--quick`.
    pub fn use_quick(&mut self) {
        self.vdb1_corpus_size = 1_000;
        self.vdb2_corpus_size = 1_000;
        self.join_window_seconds = 10.0;
    }

    /// The presets of the reference: `light`, `extreme` and `cpu_optimized`. Their number of tasks
    /// is given by [`preset_tasks`].
    ///
    /// # Errors
    /// When there is no such preset.
    pub fn use_preset(&mut self, preset: &str) -> Result<(), ParamError> {
        match preset {
            "default" => {}
            "light" => {
                (self.query_qps, self.doc_qps, self.join_window_seconds) = (20.0, 15.0, 30.0);
                (self.vdb1_top_k, self.vdb2_top_k) = (15, 15);
                (self.category_batch_size, self.global_batch_size) = (4, 8);
            }
            "extreme" => {
                (self.query_qps, self.doc_qps, self.join_window_seconds) = (50.0, 30.0, 90.0);
                (self.vdb1_top_k, self.vdb2_top_k) = (30, 30);
                self.embedding_batch_size = 128;
            }
            "cpu_optimized" => {
                (self.query_qps, self.doc_qps, self.join_window_seconds) = (30.0, 20.0, 40.0);
                self.embedding_batch_size = 128;
            }
            other => {
                let known = ["default", "light", "extreme", "cpu_optimized"];
                return Err(ParamError::Unknown { name: other.to_owned(), nearest: nearest(other, known) });
            }
        }
        Ok(())
    }

    /// Sets one parameter from JSON. Nested ones are written with a dot:
    /// `rerank_score_weights.semantic`.
    ///
    /// # Errors
    /// When the name is unknown or the value has the wrong type.
    pub fn set(&mut self, name: &str, value: Value) -> Result<(), ParamError> {
        let mut whole = serde_json::to_value(&*self).expect("parameters are plain data");
        let mut slot = &mut whole;
        for part in name.split('.') {
            let known: Vec<String> =
                slot.as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default();
            slot = slot.get_mut(part).ok_or_else(|| ParamError::Unknown {
                name: name.to_owned(),
                nearest: nearest(part, known.iter().map(String::as_str)),
            })?;
        }
        *slot = match value {
            // 40 and 40.0 hash differently, so a float parameter stays a float.
            Value::Number(n) if slot.is_f64() => n.as_f64().into(),
            other => other,
        };
        *self = serde_json::from_value(whole)
            .map_err(|cause| ParamError::Type { name: name.to_owned(), cause: cause.to_string() })?;
        Ok(())
    }

    /// What a parameter is now; nothing for a name that is not known.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<Value> {
        let whole = serde_json::to_value(self).expect("parameters are plain data");
        name.split('.').try_fold(&whole, |slot, part| slot.get(part)).cloned()
    }

    /// As [`Params::set`], from the text of `--set name=value`: JSON where it is JSON, else a string.
    ///
    /// # Errors
    /// As [`Params::set`].
    pub fn set_text(&mut self, name: &str, text: &str) -> Result<(), ParamError> {
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        self.set(name, value)
    }

    /// Checks every range.
    ///
    /// # Errors
    /// The first parameter out of range.
    pub fn validate(&self) -> Result<(), ParamError> {
        let positive = |name, value: f64| check(name, value > 0.0 && value.is_finite(), "above 0", value);
        let unit = |name, value: f64| check(name, (0.0..=1.0).contains(&value), "between 0 and 1", value);
        let count = |name, value: u32| check(name, value >= 1, "at least 1", value);
        let sums = |name, sum: f64, all: &[f64]| {
            let fine = (sum - 1.0).abs() <= 1e-6 && all.iter().all(|weight| (0.0..=1.0).contains(weight));
            check(name, fine, "weights between 0 and 1 that sum to 1", sum)
        };
        let rate = |name, value: f64| {
            check(name, value > 0.0 && value <= 1e6, "above 0 and at most 1000000 per second", value)
        };
        rate("query_qps", self.query_qps)?;
        rate("doc_qps", self.doc_qps)?;
        let t = &self.query_type_distribution;
        let types = [t.factual, t.analytical, t.exploratory];
        sums("query_type_distribution", types.iter().sum(), &types)?;
        let c = &self.category_distribution;
        let categories = [c.finance, c.healthcare, c.technology, c.general];
        sums("category_distribution", categories.iter().sum(), &categories)?;
        count("vdb1_corpus_size", self.vdb1_corpus_size)?;
        count("vdb2_corpus_size", self.vdb2_corpus_size)?;
        let shards = self.vdb_shards;
        check("vdb_shards", (1..=MOST_SHARDS).contains(&shards), "between 1 and 64", shards)?;
        let dimension = self.embedding_dimension;
        check("embedding_dimension", (8..=16_384).contains(&dimension), "between 8 and 16384", dimension)?;
        count("embedding_batch_size", self.embedding_batch_size)?;
        let window = self.join_window_seconds;
        let day = window > 0.0 && window <= 86_400.0;
        check("join_window_seconds", day, "above 0 and at most 86400, a day", window)?;
        unit("join_threshold", self.join_threshold)?;
        count("join_max_matches", self.join_max_matches)?;
        count("graph_nodes", self.graph_nodes)?;
        count("graph_max_nodes", self.graph_max_nodes)?;
        count("graph_bfs_beam_width", self.graph_bfs_beam_width)?;
        unit("graph_edge_weight_threshold", self.graph_edge_weight_threshold)?;
        for value in self.stage_top_k.iter().chain(&self.stage_keep) {
            count("stage_top_k and stage_keep", *value)?;
        }
        unit("vdb_filter_threshold", self.vdb_filter_threshold)?;
        unit("vdb_filter_step", self.vdb_filter_step)?;
        count("vdb1_top_k", self.vdb1_top_k)?;
        count("vdb2_top_k", self.vdb2_top_k)?;
        positive("bm25_k1", self.bm25_k1)?;
        unit("bm25_b", self.bm25_b)?;
        unit("bm25_weight", self.bm25_weight)?;
        count("merge_top_k", self.merge_top_k)?;
        let eps = self.dbscan_eps;
        check("dbscan_eps", eps > 0.0 && eps < 2.0, "above 0 and below 2", eps)?;
        count("dbscan_min_samples", self.dbscan_min_samples)?;
        count("rerank_top_k", self.rerank_top_k)?;
        let w = &self.rerank_score_weights;
        let weights = [w.semantic, w.freshness, w.diversity, w.authority, w.coverage];
        sums("rerank_score_weights", weights.iter().sum(), &weights)?;
        unit("mmr_lambda", self.mmr_lambda)?;
        count("mmr_final_k", self.mmr_final_k)?;
        count("category_batch_size", self.category_batch_size)?;
        count("category_batch_timeout_ms", self.category_batch_timeout_ms)?;
        count("global_batch_size", self.global_batch_size)?;
        check(
            "category_batch_timeout_ms",
            self.category_batch_timeout_ms < self.global_batch_timeout_ms,
            "below global_batch_timeout_ms",
            self.category_batch_timeout_ms,
        )?;
        count("llm_max_tokens", self.llm_max_tokens)?;
        check("llm_temperature", self.llm_temperature >= 0.0, "at least 0", self.llm_temperature)?;
        let top_p = self.llm_top_p;
        check("llm_top_p", top_p > 0.0 && top_p <= 1.0, "above 0 and at most 1", top_p)?;
        count("request_timeout_ms", self.request_timeout_ms)?;
        count("request_attempts", self.request_attempts)?;
        count("operator_attempts", self.operator_attempts)?;
        let has_url = self.embedding_url.is_some() == (self.embedder == EmbedderKind::Http);
        check("embedding_url", has_url, "given with embedder = \"http\" and only then", "the present value")?;
        if let Some(fault) = &self.fault {
            let parsed: Result<crate::fault::Fault, _> = fault.parse();
            parsed.map_err(|cause| ParamError::Type { name: "fault".into(), cause })?;
        }
        Ok(())
    }

    /// The parameters as they enter the configuration hash: endpoints and paths say where the work
    /// is done, not what it is, so they are left out; `corpus_digest` stands for the corpus.
    #[must_use]
    pub fn fingerprint(&self, corpus_digest: Option<&str>) -> Value {
        let mut value = serde_json::to_value(self).expect("parameters are plain data");
        let fields = value.as_object_mut().expect("parameters are an object");
        for place in ["embedding_url", "corpus"] {
            fields.remove(place);
        }
        fields.insert("corpus".into(), corpus_digest.map_or("synthetic".into(), Into::into));
        fields.insert("llm_url".into(), self.llm_url.is_some().into());
        value
    }
}

/// Number of tasks that goes with a preset, where it has one.
#[must_use]
pub fn preset_tasks(preset: &str) -> Option<u64> {
    match preset {
        "light" => Some(50),
        "extreme" => Some(200),
        _ => None,
    }
}

fn check(
    name: &'static str,
    fine: bool,
    range: &'static str,
    value: impl ToString,
) -> Result<(), ParamError> {
    if fine { Ok(()) } else { Err(ParamError::Range { name, range, value: value.to_string() }) }
}

fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let scored = known.into_iter().map(|known| (strsim::jaro_winkler(name, known), known));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.75).then(|| best.1.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Params::default().validate(), Ok(()));
    }

    #[test]
    fn a_parameter_is_set_by_name_and_keeps_its_type() {
        let mut params = Params::default();
        params.set_text("query_qps", "20").unwrap();
        params.set_text("rerank_score_weights.semantic", "0.5").unwrap();
        params.set_text("llm_model", "tiny").unwrap();
        assert_eq!((params.query_qps, params.rerank_score_weights.semantic), (20.0, 0.5));
        assert_eq!(serde_json::to_value(&params).unwrap()["query_qps"].to_string(), "20.0");
    }

    #[test]
    fn an_unknown_name_suggests_the_nearest() {
        let error = Params::default().set_text("mmr_lamda", "0.5").unwrap_err();
        assert_eq!(error.to_string(), "unknown parameter 'mmr_lamda': did you mean 'mmr_lambda'?");
    }

    #[test]
    fn a_value_of_the_wrong_type_names_the_parameter() {
        let error = Params::default().set_text("mmr_final_k", "many").unwrap_err();
        assert!(error.to_string().starts_with("parameter 'mmr_final_k':"), "{error}");
    }

    #[test]
    fn out_of_range_values_are_refused_with_the_range() {
        let mut params = Params::default();
        params.set_text("dbscan_eps", "2.5").unwrap();
        assert_eq!(
            params.validate().unwrap_err().to_string(),
            "parameter 'dbscan_eps' must be above 0 and below 2, not 2.5"
        );
        let mut params = Params::default();
        params.set_text("query_qps", "1e36").unwrap();
        assert!(params.validate().unwrap_err().to_string().contains("at most 1000000 per second"));
        let mut params = Params::default();
        params.set_text("category_batch_timeout_ms", "900").unwrap();
        assert!(params.validate().unwrap_err().to_string().contains("below global_batch_timeout_ms"));
    }

    #[test]
    fn where_the_work_is_done_is_not_part_of_its_fingerprint() {
        let mut here = Params::default();
        here.use_corpus("/a/corpus".into());
        let mut there = Params::default();
        there.use_corpus("/another/place".into());
        assert_eq!(here.fingerprint(Some("d1")), there.fingerprint(Some("d1")));
        assert_ne!(here.fingerprint(Some("d1")), here.fingerprint(Some("d2")));
    }

    #[test]
    fn every_working_parameter_is_part_of_the_fingerprint() {
        let base = Params::default().fingerprint(None);
        for (name, text) in [("mmr_lambda", "0.6"), ("dbscan_eps", "0.2"), ("graph_max_depth", "2")] {
            let mut params = Params::default();
            params.set_text(name, text).unwrap();
            assert_ne!(params.fingerprint(None), base, "{name}");
        }
    }
}
