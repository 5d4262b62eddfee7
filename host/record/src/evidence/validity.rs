//! Whether a run may be read as a measurement.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The verdict on a run, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Validity {
    /// Null when the run was not judged.
    pub verdict: Option<Verdict>,
    /// What there is to say against it.
    pub findings: Vec<Finding>,
}

impl Validity {
    /// Whatever is found makes a run INVALID.
    #[must_use]
    pub fn of(findings: Vec<Finding>) -> Self {
        let verdict = if findings.is_empty() { Verdict::Valid } else { Verdict::Invalid };
        Self { verdict: Some(verdict), findings }
    }
}

/// From when on a run was steady, by its completions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Steady {
    /// What became of it.
    pub verdict: Settling,
    /// Items that were completed before. Null where it is not known to be steady.
    pub warmup_items: Option<u64>,
    /// Seconds from the first item to there.
    pub warmup_seconds: Option<f64>,
    /// How much of the timed part, as it was planned, lies before.
    pub share_of_timed: Option<f64>,
    /// How far the throughput of what follows is uncertain by its items alone: the standard error of the mean time of
    /// a group of them, as a share of it.
    #[serde(default)]
    pub item_error: Option<f64>,
}

/// Whether a run settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Settling {
    /// There are too few completions to say.
    TooShort,
    /// It is steady, from the start or after its warm-up.
    Steady,
    /// It still changes at the end.
    Never,
}

/// In a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// It may be read as a measurement.
    Valid,
    /// It may not.
    Invalid,
}

/// One reason to doubt a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Finding {
    /// Short name, such as "late_generator".
    pub code: String,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub mend: String,
}
