//! What one run leaves behind: the unified record.
//!
//! The guide fixes fifteen fields and their order. They are stated twice here, and a test keeps
//! the two equal. [`Record`] is for code: it cannot hold a wrong type. [`FIELDS`] is for data that
//! arrives as JSON or CSV: it lets one pass over a value report *every* missing or wrong field,
//! where a derived `Deserialize` would stop at the first and in its own words.
//!
//! Writing is strict: every field must be present. Reading is kind to older files: `metadata` is
//! taken for `extra`, absent latencies and `config_hash` are null, and keys we do not know (such as
//! the Python version's `backend_hash`) are kept inside `extra`.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::evidence::Evidence;
use super::manifest::ReproManifest;
use super::pair::{FailureReport, PairManifest};
use super::time::UtcTime;
use super::units::{Fraction, ItemsPerSecond, Millis, Seconds};
use super::{Error, Result};

/// One run of one workload on one backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Value")]
#[schemars(title = "bench result record")]
pub struct Record {
    /// Name of the backend that ran, such as "sage" or "ray".
    #[schemars(length(min = 1))]
    pub backend: String,
    /// Name of the workload, such as "wl4".
    #[schemars(length(min = 1))]
    pub workload: String,
    /// Identifies this execution. A UUID unless the user chose one; both sides of a pair share it.
    #[schemars(length(min = 1))]
    pub run_id: String,
    /// Seed of every random choice.
    pub seed: u64,
    /// Number of worker nodes.
    #[schemars(range(min = 1))]
    pub nodes: u32,
    /// Parallelism of each operator.
    #[schemars(range(min = 1))]
    pub parallelism: u32,
    /// Items completed per second of the timed phase.
    #[schemars(range(min = 0))]
    pub throughput: ItemsPerSecond,
    /// Median latency in milliseconds, or null when none was measured.
    #[schemars(range(min = 0))]
    pub latency_p50: Option<Millis>,
    /// 95th percentile of latency in milliseconds, or null when none was measured.
    #[schemars(range(min = 0))]
    pub latency_p95: Option<Millis>,
    /// 99th percentile of latency in milliseconds, or null when none was measured.
    #[schemars(range(min = 0))]
    pub latency_p99: Option<Millis>,
    /// Share of items that completed successfully, from 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub success_rate: Fraction,
    /// Wall-clock time of the whole run in seconds.
    #[schemars(range(min = 0))]
    pub duration_seconds: Seconds,
    /// When the run ended, ISO-8601 in UTC.
    pub timestamp: UtcTime,
    /// SHA-256 of the configuration, 64 hexadecimal digits, or null when it is unknown.
    pub config_hash: Option<String>,
    /// Whatever else the backend or the host has to say.
    #[schemars(with = "Evidence")]
    pub extra: Map<String, Value>,
}

/// What a field may hold when it arrives as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text that is not empty.
    Text,
    /// A point in time, as text.
    Time,
    /// A whole number between the two, both included.
    Whole(u64, u64),
    /// A number, not negative.
    Number,
    /// A number from 0 to 1.
    Share,
    /// An object.
    Object,
}

/// A field of the record: its name, what it may hold, and whether null will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its key in JSON and its column in CSV.
    pub name: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// Whether it may be null. Such a field may also be absent when reading.
    pub nullable: bool,
}

const fn required(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, nullable: false }
}

const fn nullable(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, nullable: true }
}

/// The fifteen fields, in the order in which every file has them.
pub const FIELDS: [Field; 15] = [
    required("backend", Kind::Text),
    required("workload", Kind::Text),
    required("run_id", Kind::Text),
    required("seed", Kind::Whole(0, u64::MAX)),
    required("nodes", Kind::Whole(1, u32::MAX as u64)),
    required("parallelism", Kind::Whole(1, u32::MAX as u64)),
    required("throughput", Kind::Number),
    nullable("latency_p50", Kind::Number),
    nullable("latency_p95", Kind::Number),
    nullable("latency_p99", Kind::Number),
    required("success_rate", Kind::Share),
    required("duration_seconds", Kind::Number),
    required("timestamp", Kind::Time),
    nullable("config_hash", Kind::Text),
    required(EXTRA, Kind::Object),
];

pub(crate) const EXTRA: &str = "extra";

/// What the Python version called `extra`.
pub(crate) const EXTRA_ALIAS: &str = "metadata";

impl Record {
    /// Takes a value that is about to be written. Every field must be present.
    pub fn for_writing(value: Value) -> Result<Record> {
        Record::from_map(object(value)?, true)
    }

    /// Takes a value that was read from a file, perhaps an older one.
    pub fn from_stored(value: Value) -> Result<Record> {
        let mut map = object(value)?;
        if !map.contains_key(EXTRA) {
            let extra = map.shift_remove(EXTRA_ALIAS).unwrap_or_else(|| Value::Object(Map::new()));
            map.insert(EXTRA.into(), extra);
        }
        Record::from_map(map, false)
    }

    /// Checks what the types cannot: empty names, zero nodes, negative times.
    pub fn validate(&self) -> Result<()> {
        match serde_json::to_value(self)? {
            Value::Object(map) => check(&map, true),
            other => Err(Error::NotAnObject(name_of(&other))),
        }
    }

    /// Whether any timed item was answered. Without answers there is nothing to compare, whatever else was
    /// measured.
    #[must_use]
    pub fn has_answers(&self) -> bool {
        self.success_rate.get() > 0.0
    }

    /// What its run found out.
    #[must_use]
    pub fn evidence(&self) -> Evidence {
        Evidence::of(&self.extra)
    }

    fn from_map(mut map: Map<String, Value>, strict: bool) -> Result<Record> {
        check(&map, strict)?;
        let mut record = Record {
            backend: take(&mut map, "backend")?,
            workload: take(&mut map, "workload")?,
            run_id: take(&mut map, "run_id")?,
            seed: take(&mut map, "seed")?,
            nodes: take(&mut map, "nodes")?,
            parallelism: take(&mut map, "parallelism")?,
            throughput: take(&mut map, "throughput")?,
            latency_p50: take(&mut map, "latency_p50")?,
            latency_p95: take(&mut map, "latency_p95")?,
            latency_p99: take(&mut map, "latency_p99")?,
            success_rate: take(&mut map, "success_rate")?,
            duration_seconds: take(&mut map, "duration_seconds")?,
            timestamp: take(&mut map, "timestamp")?,
            config_hash: take(&mut map, "config_hash")?,
            extra: take(&mut map, EXTRA)?,
        };
        // What is left are keys we do not know. An equal key that `extra` already has is the newer one.
        for (key, value) in map {
            record.extra.entry(key).or_insert(value);
        }
        Ok(record)
    }
}

impl TryFrom<Value> for Record {
    type Error = Error;

    fn try_from(value: Value) -> Result<Record> {
        Record::from_stored(value)
    }
}

/// A fresh identifier for an execution.
pub fn new_run_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// JSON Schema (draft 2020-12) of a record as we write it.
pub fn record_schema() -> Value {
    schema_of::<Record>()
}

/// JSON Schema (draft 2020-12) of `repro_manifest.json` as we write it.
pub fn manifest_schema() -> Value {
    schema_of::<ReproManifest>()
}

/// JSON Schema (draft 2020-12) of a pair's `manifest.json`.
pub fn pair_manifest_schema() -> Value {
    schema_of::<PairManifest>()
}

/// JSON Schema (draft 2020-12) of a pair's `failure_report.json`.
pub fn failure_report_schema() -> Value {
    schema_of::<FailureReport>()
}

/// `for_serialize`, because a nullable field is always written, so it is required. How we read what is absent is no
/// part of it.
#[must_use]
pub fn schema_of<T: JsonSchema>() -> Value {
    let without_default = RecursiveTransform(|schema: &mut Schema| drop(schema.remove("default")));
    made::<T>(SchemaSettings::draft2020_12().for_serialize().with_transform(without_default))
}

/// JSON Schema (draft 2020-12) of what people write and we read: what they may leave out is not required.
#[must_use]
pub fn schema_of_input<T: JsonSchema>() -> Value {
    made::<T>(SchemaSettings::draft2020_12().for_deserialize())
}

fn made<T: JsonSchema>(settings: SchemaSettings) -> Value {
    let mut schema: Value = settings.into_generator().into_root_schema_for::<T>().into();
    // A reader wants to know first what this is.
    if let Value::Object(map) = &mut schema {
        for key in ["description", "title", "$schema"] {
            if let Some(value) = map.shift_remove(key) {
                map.shift_insert(0, key.into(), value);
            }
        }
    }
    schema
}

/// `shift_remove` keeps the order of what stays; `remove` would not.
fn take<T: DeserializeOwned>(map: &mut Map<String, Value>, name: &str) -> Result<T> {
    Ok(serde_json::from_value(map.shift_remove(name).unwrap_or(Value::Null))?)
}

fn object(value: Value) -> Result<Map<String, Value>> {
    match value {
        Value::Object(map) => Ok(map),
        other => Err(Error::NotAnObject(name_of(&other))),
    }
}

/// Reports all that is missing, or else all that is wrong. Not both: a record that lacks fields
/// was made by a program that does not know the schema, and one clear list is the better answer.
fn check(map: &Map<String, Value>, strict: bool) -> Result<()> {
    let absent = |field: &&Field| !map.contains_key(field.name) && (strict || !field.nullable);
    let missing: Vec<_> = FIELDS.iter().filter(absent).map(|field| field.name).collect();
    if !missing.is_empty() {
        return Err(Error::MissingFields(missing));
    }
    let wrong: Vec<_> = FIELDS.iter().filter_map(|field| complaint(field, map.get(field.name))).collect();
    if wrong.is_empty() { Ok(()) } else { Err(Error::WrongFields(wrong)) }
}

fn complaint(field: &Field, value: Option<&Value>) -> Option<String> {
    let value = value.unwrap_or(&Value::Null);
    if field.nullable && value.is_null() {
        return None;
    }
    let expected = match field.kind {
        Kind::Text if value.as_str().is_some_and(|text| !text.is_empty()) => return None,
        Kind::Text => "text that is not empty".to_owned(),
        Kind::Time if value.as_str().is_some_and(|text| text.parse::<UtcTime>().is_ok()) => return None,
        Kind::Time => "an ISO-8601 time".to_owned(),
        Kind::Whole(min, max) if value.as_u64().is_some_and(|n| (min..=max).contains(&n)) => return None,
        Kind::Whole(min, max) => format!("a whole number from {min} to {max}"),
        Kind::Number if value.as_f64().is_some_and(|n| n >= 0.0) => return None,
        Kind::Number => "a number that is not negative".to_owned(),
        Kind::Share if value.as_f64().is_some_and(|n| (0.0..=1.0).contains(&n)) => return None,
        Kind::Share => "a number from 0 to 1".to_owned(),
        Kind::Object if value.is_object() => return None,
        Kind::Object => "an object".to_owned(),
    };
    let or_null = if field.nullable { " or null" } else { "" };
    Some(format!("{} must be {expected}{or_null}, found {}", field.name, describe(value)))
}

fn describe(value: &Value) -> String {
    const SHOWN: usize = 40;
    match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.chars().count() > SHOWN => {
            let start: String = text.chars().take(SHOWN).collect();
            format!("text that starts with {start:?}")
        }
        Value::String(text) => format!("the text {text:?}"),
        other => name_of(other).to_owned(),
    }
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{example, example_value};
    use serde_json::json;

    fn without(names: &[&str]) -> Value {
        let mut value = example_value();
        for name in names {
            value.as_object_mut().unwrap().shift_remove(*name);
        }
        value
    }

    fn with(name: &str, replacement: Value) -> Value {
        let mut value = example_value();
        value[name] = replacement;
        value
    }

    fn keys(value: &Value) -> Vec<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    fn field_names() -> Vec<&'static str> {
        FIELDS.iter().map(|field| field.name).collect()
    }

    #[test]
    fn a_record_has_the_guides_fields_in_the_guides_order() {
        let guide = "backend workload run_id seed nodes parallelism throughput latency_p50 latency_p95 \
                     latency_p99 success_rate duration_seconds timestamp config_hash extra";
        assert_eq!(field_names().join(" "), guide);
        assert_eq!(keys(&serde_json::to_value(example()).unwrap()), field_names());
    }

    #[test]
    fn missing_fields_are_all_named_in_schema_order() {
        let value = without(&["config_hash", "seed", "latency_p99", "extra"]);
        let error = Record::for_writing(value).unwrap_err();
        assert_eq!(error.to_string(), "Missing required fields: seed, latency_p99, config_hash, extra");
    }

    #[test]
    fn null_is_allowed_for_latencies_and_config_hash_only() {
        for field in FIELDS {
            let result = Record::for_writing(with(field.name, Value::Null));
            assert_eq!(result.is_ok(), field.nullable, "{}", field.name);
        }
    }

    #[test]
    fn wrong_types_are_all_named_with_what_was_found() {
        let mut value = with("seed", json!("42"));
        value["success_rate"] = json!(1.5);
        value["latency_p50"] = json!(-1);
        value["timestamp"] = json!("yesterday");
        value["extra"] = json!([]);
        let error = Record::for_writing(value).unwrap_err().to_string();
        assert_eq!(
            error,
            "seed must be a whole number from 0 to 18446744073709551615, found the text \"42\"; \
             latency_p50 must be a number that is not negative or null, found -1; \
             success_rate must be a number from 0 to 1, found 1.5; \
             timestamp must be an ISO-8601 time, found the text \"yesterday\"; \
             extra must be an object, found an array"
        );
    }

    #[test]
    fn a_whole_number_with_a_point_is_not_whole() {
        assert!(Record::for_writing(with("nodes", json!(1.0))).is_err());
        assert!(Record::for_writing(with("nodes", json!(0))).is_err());
    }

    #[test]
    fn a_whole_number_is_also_a_number() {
        let record = Record::for_writing(with("throughput", json!(3))).unwrap();
        assert_eq!(record.throughput.get(), 3.0);
    }

    #[test]
    fn the_typed_record_is_validated_too() {
        let mut record = example();
        record.backend = String::new();
        record.latency_p50 = Some(Millis::new(-2.0).unwrap());
        let error = record.validate().unwrap_err().to_string();
        assert!(error.contains("backend must be text that is not empty"), "{error}");
        assert!(error.contains("latency_p50 must be a number that is not negative"), "{error}");
    }

    #[test]
    fn reading_takes_metadata_for_extra() {
        let mut value = without(&["extra"]);
        value["metadata"] = json!({"a": 1});
        assert_eq!(json!(Record::from_stored(value).unwrap().extra), json!({"a": 1}));
    }

    #[test]
    fn writing_does_not() {
        let mut value = without(&["extra"]);
        value["metadata"] = json!({});
        assert_eq!(Record::for_writing(value).unwrap_err().to_string(), "Missing required fields: extra");
    }

    #[test]
    fn reading_allows_an_older_record_to_lack_what_may_be_null() {
        let record = Record::from_stored(without(&["config_hash", "latency_p99", "extra"])).unwrap();
        assert_eq!((record.config_hash, record.latency_p99), (None, None));
        assert!(record.extra.is_empty());
    }

    #[test]
    fn unknown_keys_are_kept_inside_extra() {
        let mut value = with("extra", json!({"b": 1}));
        value["backend_hash"] = json!("7e5d");
        value["b"] = json!("older");
        let record = Record::from_stored(value).unwrap();
        assert_eq!(json!(record.extra), json!({"b": 1, "backend_hash": "7e5d"}));
    }

    #[test]
    fn something_else_than_an_object_is_refused() {
        let error = Record::from_stored(json!([1])).unwrap_err().to_string();
        assert_eq!(error, "expected a JSON object, found an array");
    }

    #[test]
    fn run_ids_differ() {
        assert_ne!(new_run_id(), new_run_id());
        assert_eq!(new_run_id().len(), 36);
    }

    #[test]
    fn the_json_schema_lists_and_requires_every_field_in_order() {
        let schema = record_schema();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(keys(&schema["properties"]), field_names());
        assert_eq!(schema["required"], json!(field_names()));
        assert_eq!(keys(&schema)[..3], ["$schema", "title", "description"]);
    }

    #[test]
    fn the_json_schema_describes_every_field_and_its_unit() {
        let schema = record_schema();
        for field in FIELDS {
            assert!(schema["properties"][field.name]["description"].is_string(), "{}", field.name);
        }
        assert_eq!(schema["properties"]["throughput"]["unit"], "items/s");
        assert_eq!(schema["properties"]["latency_p99"]["unit"], "ms");
        assert_eq!(schema["properties"]["latency_p99"]["type"], json!(["number", "null"]));
        assert_eq!(schema["properties"]["duration_seconds"]["unit"], "s");
    }
}
