//! Every parameter of Workload4, with its default, its preset and its range.
//!
//! One struct is the only place: the command line's `--set`, `--config` files, presets, validation
//! and the configuration hash all go through its serialised form. The defaults are the reference's
//! code defaults. A parameter of the reference that its own code never read has no entry here.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::corpus::Queries;
use crate::text::endpoint::{ChatFields, OPTIONAL_PARAMETERS, Served};

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
    pub corpus_split: Option<String>,
    pub corpus_queries: Queries,
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
    pub llm_max_tokens_field: String,
    pub llm_leave_out: BTreeSet<String>,
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
            corpus_split: None,
            corpus_queries: Queries::All,
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
            llm_max_tokens_field: ChatFields::default().max_tokens,
            llm_leave_out: BTreeSet::new(),
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

    /// Sets one parameter from JSON. Nested ones are written with a dot, `rerank_score_weights.semantic`, or
    /// as an object of those that change.
    ///
    /// # Errors
    /// When the name is unknown or the value has the wrong type.
    pub fn set(&mut self, name: &str, value: Value) -> Result<(), ParamError> {
        let mut whole = serde_json::to_value(&*self).expect("parameters are plain data");
        let slot = name.split('.').try_fold(&mut whole, |slot, part| member(slot, part, name))?;
        put(slot, value, name)?;
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

    /// As [`Params::set`], from the text of `--set name=value`: JSON, a list or a table as TOML writes it
    /// within a line, or else a string.
    ///
    /// # Errors
    /// As [`Params::set`].
    pub fn set_text(&mut self, name: &str, text: &str) -> Result<(), ParamError> {
        let value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(json) if text.starts_with(['{', '[']) => inline_toml(text).ok_or_else(|| {
                let cause = format!("{text} is neither JSON ({json}) nor an inline table of TOML");
                ParamError::Type { name: name.to_owned(), cause }
            })?,
            Err(_) => Value::String(text.to_owned()),
        };
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
        let field = &self.llm_max_tokens_field;
        let plain = !field.is_empty() && field.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        check("llm_max_tokens_field", plain, "a name of letters, digits and '_'", field)?;
        let known = |name: &String| OPTIONAL_PARAMETERS.contains(&name.as_str());
        let left_out = self.llm_leave_out.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let optional = "a list of max_tokens, temperature, top_p and seed";
        check("llm_leave_out", self.llm_leave_out.iter().all(known), optional, left_out)?;
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
    /// is done, not what it is, so they are left out; `corpus_digest` stands for the corpus, and what the
    /// endpoint serves for the model behind it.
    #[must_use]
    pub fn fingerprint(&self, corpus_digest: Option<&str>, served: Option<&Served>) -> Value {
        let mut value = serde_json::to_value(self).expect("parameters are plain data");
        let defaults = serde_json::to_value(Self::default()).expect("parameters are plain data");
        let fields = value.as_object_mut().expect("parameters are an object");
        for place in ["embedding_url", "corpus", "corpus_split"] {
            fields.remove(place);
        }
        // Younger than the first recorded hashes: where they change nothing, they are no part of them.
        for younger in ["corpus_queries", "llm_max_tokens_field", "llm_leave_out"] {
            if fields.get(younger) == defaults.get(younger) {
                fields.remove(younger);
            }
        }
        fields.insert("corpus".into(), corpus_digest.map_or("synthetic".into(), Into::into));
        fields.insert("llm_url".into(), self.llm_url.is_some().into());
        if let Some(served) = served {
            fields.insert("embedding_served".into(), served.fingerprint.to_string().into());
        }
        value
    }

    /// How the parameters of a chat are sent.
    #[must_use]
    pub fn chat_fields(&self) -> ChatFields {
        ChatFields { max_tokens: self.llm_max_tokens_field.clone(), leave_out: self.llm_leave_out.clone() }
    }
}

/// The member of an object, by its name.
fn member<'a>(object: &'a mut Value, part: &str, name: &str) -> Result<&'a mut Value, ParamError> {
    let known: Vec<String> = object.as_object().into_iter().flat_map(|o| o.keys().cloned()).collect();
    object.get_mut(part).ok_or_else(|| ParamError::Unknown {
        name: name.to_owned(),
        nearest: nearest(part, known.iter().map(String::as_str)),
    })
}

/// Puts a value in place of another one; of an object only the members that are given change.
fn put(slot: &mut Value, value: Value, name: &str) -> Result<(), ParamError> {
    match value {
        Value::Object(members) if slot.is_object() => {
            for (part, value) in members {
                let name = format!("{name}.{part}");
                put(member(slot, &part, &name)?, value, &name)?;
            }
        }
        // 40 and 40.0 hash differently, so a float parameter stays a float.
        Value::Number(n) if slot.is_f64() => *slot = n.as_f64().into(),
        // A list may be written as on a command line.
        Value::String(text) if slot.is_array() => {
            let item = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
            let items = text.split(',').map(str::trim).filter(|text| !text.is_empty());
            *slot = items.map(item).collect();
        }
        other => *slot = other,
    }
    Ok(())
}

fn inline_toml(text: &str) -> Option<Value> {
    let table: toml::Table = toml::from_str(&format!("value = {text}")).ok()?;
    serde_json::to_value(table.get("value")?).ok()
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
    fn a_table_changes_the_members_that_it_names_in_either_notation() {
        for text in [
            r#"{"semantic": 0.4, "coverage": 0.05}"#,
            "{semantic = 0.4, coverage = 0.05}",
            r#"{ "semantic"=0.4, coverage=0.05 }"#,
        ] {
            let mut params = Params::default();
            params.set_text("rerank_score_weights", text).unwrap();
            let weights = &params.rerank_score_weights;
            assert_eq!((weights.semantic, weights.freshness, weights.coverage), (0.4, 0.2, 0.05), "{text}");
            params.validate().unwrap();
        }
        let mut params = Params::default();
        params.set_text("category_distribution", r#"{"finance": 1, "healthcare": 0}"#).unwrap();
        params.set_text("category_distribution.technology", "0").unwrap();
        params.set_text("category_distribution", "{general = 0}").unwrap();
        params.validate().unwrap();
        // Whole numbers or not, the same weights are the same configuration.
        assert_eq!(
            serde_json::to_value(&params.category_distribution).unwrap()["finance"].to_string(),
            "1.0"
        );
    }

    #[test]
    fn a_list_is_written_as_json_as_toml_or_with_commas() {
        for text in ["[30, 20, 15, 10]", "[30, 20, 15, 10,]", "30,20, 15,10"] {
            let mut params = Params::default();
            params.set_text("stage_top_k", text).unwrap();
            assert_eq!(params.stage_top_k, [30, 20, 15, 10], "{text}");
        }
        for text in [r#"["seed", "top_p"]"#, "['seed', 'top_p']", "seed,top_p"] {
            let mut params = Params::default();
            params.set_text("llm_leave_out", text).unwrap();
            params.validate().unwrap();
            assert_eq!(params.llm_leave_out, ["seed", "top_p"].map(str::to_owned).into(), "{text}");
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
            let error = Params::default().set_text("rerank_score_weights", text).unwrap_err().to_string();
            assert!(error.starts_with(why), "{text}: {error}");
        }
        let mut params = Params::default();
        params.set_text("rerank_score_weights", "{semantic = 0.9}").unwrap();
        assert!(
            params
                .validate()
                .unwrap_err()
                .to_string()
                .contains("weights between 0 and 1 that sum to 1, not ")
        );
        params = Params::default();
        params.set_text("llm_leave_out", "model").unwrap();
        assert!(params.validate().unwrap_err().to_string().starts_with("parameter 'llm_leave_out' must be"));
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
        assert_eq!(here.fingerprint(Some("d1"), None), there.fingerprint(Some("d1"), None));
        assert_ne!(here.fingerprint(Some("d1"), None), here.fingerprint(Some("d2"), None));
    }

    #[test]
    fn parameters_that_came_later_change_the_fingerprint_only_where_they_change_the_work() {
        let base = Params::default().fingerprint(None, None);
        for (name, text) in
            [("corpus_queries", "judged"), ("llm_leave_out", "seed"), ("llm_max_tokens_field", "n")]
        {
            assert!(base.get(name).is_none(), "{name}");
            let mut params = Params::default();
            params.set_text(name, text).unwrap();
            assert!(params.fingerprint(None, None).get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn another_model_behind_an_endpoint_is_another_work() {
        let served = |fingerprint: &str| Served {
            model: Some("m".into()),
            dimension: 1024,
            fingerprint: fingerprint.parse().unwrap(),
        };
        let params = Params::default();
        let one = params.fingerprint(None, Some(&served("00000000000000ff")));
        assert_ne!(one, params.fingerprint(None, Some(&served("ff00000000000000"))));
        let renamed = Served { model: None, ..served("00000000000000ff") };
        assert_eq!(one, params.fingerprint(None, Some(&renamed)));
    }

    #[test]
    fn every_working_parameter_is_part_of_the_fingerprint() {
        let base = Params::default().fingerprint(None, None);
        for (name, text) in [("mmr_lambda", "0.6"), ("dbscan_eps", "0.2"), ("graph_max_depth", "2")] {
            let mut params = Params::default();
            params.set_text(name, text).unwrap();
            assert_ne!(params.fingerprint(None, None), base, "{name}");
        }
    }
}
