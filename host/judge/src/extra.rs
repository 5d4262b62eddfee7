//! What a comparison understands of a record's `extra`.
//!
//! Everything is optional, since records come from older versions, from the Python version and from
//! third parties. Whatever has another type than expected is ignored rather than refused: `extra`
//! belongs to its backend, and a comparison must not fail over it.

use serde_json::{Map, Value};

/// A remark of the validity check about one run.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct RunFinding {
    /// Short name, such as "late_generator".
    pub code: String,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub mend: String,
}

/// A share of the machine's CPU time while queries were timed, and how far from the truth it can be.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Share {
    /// 0 to 1.
    pub share: f64,
    /// As much too high or too low.
    pub within: f64,
}

/// Work and time of one operator.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct OperatorTime {
    /// Its name in the workload's graph.
    pub name: String,
    /// Records it handled.
    pub records: u64,
    /// Seconds it was busy, over all threads.
    pub busy_seconds: f64,
}

/// The parts of where an item's time went, in seconds.
pub const ATTRIBUTION: [&str; 4] =
    ["operator_seconds", "queueing_seconds", "transfer_seconds", "overhead_seconds"];

/// The understood part of `extra`.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Extra {
    /// The scheduler's name.
    pub scheduler: Option<String>,
    /// Which repeat of the run this is.
    pub repeat_index: Option<u64>,
    /// Which pair of a paired run this is.
    pub pair_index: Option<u64>,
    /// Which side this is, when one backend runs against itself.
    pub arm: Option<String>,
    /// Whether the run did not finish.
    pub partial: bool,
    /// How events arrived: "closed" or "open".
    pub load: Option<String>,
    /// Items in the timed phase.
    pub timed: Option<u64>,
    /// Items that failed.
    pub failed: Option<u64>,
    /// Proof of the answers.
    pub output_digest: Option<String>,
    /// Where the answers of each item are, relative to the record.
    pub items_file: Option<String>,
    /// Where all latencies are, relative to the record.
    pub latency_histogram: Option<String>,
    /// Operators, in the workload's order.
    pub operators: Vec<OperatorTime>,
    /// Seconds per part of [`ATTRIBUTION`].
    pub attribution: [Option<f64>; ATTRIBUTION.len()],
    /// Version of the plugin API that the plugin was built for.
    pub plugin_api: Option<String>,
    /// The host as canonical text.
    pub host: Option<String>,
    /// What the embedding endpoint served, as text, where there was one.
    pub embedding: Option<String>,
    /// What other processes used, where that was measured over the timed queries. The next as well.
    pub others: Option<Share>,
    /// What the hypervisor took.
    pub steal: Option<Share>,
    /// "VALID" or "INVALID", when it was judged.
    pub verdict: Option<String>,
    /// Why.
    pub findings: Vec<RunFinding>,
}

impl Extra {
    /// Reads what it can.
    pub fn from_map(extra: &Map<String, Value>) -> Extra {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let get = |path: &[&str]| {
            path[1..].iter().try_fold(extra.get(path[0])?, |value: &Value, key| value.get(key))
        };
        let count = |path: &[&str]| get(path).and_then(Value::as_u64);
        let number = |path: &[&str]| get(path).and_then(Value::as_f64);
        let share = |name: &str| {
            // Versions that state no window counted the run's own last moments as others'.
            number(&["disturbance", "window_seconds"])?;
            let within = number(&["disturbance", "resolution", name])?;
            Some(Share { share: number(&["disturbance", name])?, within })
        };
        Extra {
            scheduler: get(&["scheduler"]).and_then(text),
            repeat_index: count(&["repeat_index"]),
            pair_index: count(&["pair_index"]),
            arm: get(&["arm"]).and_then(text),
            partial: get(&["partial"]).and_then(Value::as_bool).unwrap_or(false),
            load: get(&["load", "model"]).and_then(text),
            timed: count(&["items", "timed"]).or_else(|| count(&["items", "completed"])),
            failed: count(&["items", "failed"]),
            output_digest: get(&["output_digest"]).and_then(text),
            items_file: get(&["items_file"]).and_then(text),
            latency_histogram: get(&["latency_histogram"]).and_then(text),
            operators: get(&["operators"]).and_then(Value::as_object).map(operators).unwrap_or_default(),
            attribution: ATTRIBUTION.map(|part| get(&["attribution", part]).and_then(Value::as_f64)),
            plugin_api: get(&["plugin", "api"]).and_then(text),
            embedding: get(&["embedding_endpoint"]).filter(|served| served.is_object()).map(object_text),
            host: get(&["host"]).filter(|host| host.is_object()).map(object_text),
            others: share("others"),
            steal: share("steal"),
            verdict: get(&["validity", "verdict"]).and_then(text),
            findings: get(&["validity", "findings"])
                .and_then(Value::as_array)
                .map(|list| findings(list))
                .unwrap_or_default(),
        }
    }

    /// Whether the run was judged and found wanting.
    pub fn is_invalid(&self) -> bool {
        self.verdict.as_deref() == Some("INVALID")
    }
}

/// Keys in order, so that two descriptions of one thing are equal.
fn object_text(value: &Value) -> String {
    let Some(map) = value.as_object() else { return value.to_string() };
    let mut pairs: Vec<_> = map.iter().collect();
    pairs.sort_by_key(|(key, _)| key.as_str());
    let shown = pairs.iter().map(|(key, value)| match value {
        Value::String(text) => format!("{key} {text}"),
        other => format!("{key} {other}"),
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn operators(map: &Map<String, Value>) -> Vec<OperatorTime> {
    map.iter()
        .map(|(name, value)| OperatorTime {
            name: name.clone(),
            records: value.get("records").and_then(Value::as_u64).unwrap_or(0),
            busy_seconds: value.get("busy_seconds").and_then(Value::as_f64).unwrap_or(0.0).max(0.0),
        })
        .collect()
}

fn findings(list: &[Value]) -> Vec<RunFinding> {
    let text =
        |finding: &Value, key: &str| finding.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    list.iter()
        .map(|finding| RunFinding {
            code: text(finding, "code"),
            message: text(finding, "message"),
            mend: text(finding, "mend"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_there_is_read() {
        let value = json!({
            "pair_index": 3, "partial": true, "items": {"timed": 90}, "plugin": {"api": "1.2"},
            "host": {"kernel": "6.1", "cores": 2}, "operators": {"join": {"records": 5, "busy_seconds": 0.5}},
            "attribution": {"operator_seconds": 1.0},
            "validity": {"verdict": "INVALID", "findings": [{"code": "steal", "message": "m", "mend": "x"}]},
        });
        let extra = Extra::from_map(value.as_object().unwrap());
        assert_eq!((extra.pair_index, extra.timed, extra.partial), (Some(3), Some(90), true));
        assert_eq!(extra.host.as_deref(), Some("cores 2, kernel 6.1"));
        assert_eq!((extra.operators[0].name.as_str(), extra.attribution[0]), ("join", Some(1.0)));
        assert!(extra.is_invalid() && extra.findings[0].code == "steal");
    }

    #[test]
    fn other_types_are_ignored() {
        let value = json!({"pair_index": "x", "items": 3, "validity": [], "host": "h", "operators": null});
        assert_eq!(Extra::from_map(value.as_object().unwrap()), Extra::default());
    }
}
