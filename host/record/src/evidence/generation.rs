//! What answers of a language model took.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Millis;

/// Of the timed answers. A figure that is not known is null, and `remarks` say why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Generation {
    /// Answers that a model gave.
    pub answers: u64,
    /// Those that came in pieces.
    pub streamed: u64,
    /// From the question to the first token.
    pub ttft_ms: Option<Percentiles>,
    /// Between one piece of an answer and the next.
    pub between_tokens_ms: Option<Percentiles>,
    /// For each token after the first, a mean for each answer.
    pub tpot_ms: Option<Percentiles>,
    /// From the question to the end of the answer.
    pub answer_ms: Option<Percentiles>,
    /// Tokens of the prompts, as the service counts them.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answers, as the service counts them.
    pub completion_tokens: Option<u64>,
    /// Over the time in which timed queries were answered.
    pub prompt_tokens_per_second: Option<f64>,
    /// The same, of the answers.
    pub completion_tokens_per_second: Option<f64>,
    /// Answers that met the goals, where there are goals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goodput: Option<Goodput>,
    /// What is missing, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// In milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Percentiles {
    /// The mean.
    pub mean: Option<Millis>,
    /// The median.
    pub p50: Option<Millis>,
    /// The 95th percentile.
    pub p95: Option<Millis>,
    /// The 99th percentile.
    pub p99: Option<Millis>,
}

/// Answers that were as quick as wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Goodput {
    /// Longest time to the first token.
    pub ttft_ms: Option<f64>,
    /// Longest time for each further one.
    pub tpot_ms: Option<f64>,
    /// How many were.
    pub answers: u64,
    /// Of them in a second.
    pub per_second: Option<f64>,
}
