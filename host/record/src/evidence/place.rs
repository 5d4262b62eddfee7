//! Where in a campaign a run belongs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A run's place in a campaign; nothing for a run of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Place {
    /// Which pair of a paired run this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pair_index: Option<u64>,
    /// Which side this is, when one backend runs against itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arm: Option<String>,
    /// The pairs went on until their verdict was known, so that their number is no accident.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub until_known: bool,
    /// It came after the pairs, under an open load of one rate for all backends, for its latency.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub equal_rate: bool,
    /// What its seed was drawn from, where each pair has its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drawn_from: Option<DrawnFrom>,
    /// What was arranged otherwise than for its neighbours, so that no verdict hangs on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// Which run of a sweep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sweep: Option<SweepPlace>,
    /// Which trial of a search for capacity, or of a soak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialPlace>,
}

/// The configuration of a campaign whose seeds vary. Its first pair has this very one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrawnFrom {
    /// The seed.
    pub seed: u64,
    /// The `config_hash` with that seed.
    pub config_hash: String,
}

/// What changes nothing of the work and may change its speed all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Layout {
    /// Bytes that were added to the environment, which move the stack.
    pub environment_bytes: u32,
    /// Which run of its pair it was, from 0 on.
    pub turn: u32,
    /// Whether the kernel put memory at random addresses. Null where it does not say.
    pub random_addresses: Option<bool>,
}

/// A run's place in a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SweepPlace {
    /// Number of the point in the plan.
    pub point: usize,
    /// Which repeat of it.
    pub repeat: u32,
}

/// A run's place in a search.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrialPlace {
    /// What it was to show.
    pub phase: String,
    /// Which run of the search it is.
    pub index: u32,
}
