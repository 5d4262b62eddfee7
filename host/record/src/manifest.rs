//! `repro_manifest.json`: what must be equal for two runs to be comparable.
//!
//! The guide fixes the first five keys and that they are flat, because its users compare
//! `config_hash` with a one-line script. What we add comes after them and may be absent. The input
//! plan is named by its digest: the lists themselves can be made again from the seed.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::found::Found;
use super::{Error, OutputLock, Result, atomic, bom, names};

/// Name of the file inside an output directory.
pub const FILE_NAME: &str = names::MANIFEST;

/// A manifest has some hundred bytes.
const LARGEST: u64 = 1 << 20;

/// How to repeat a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "bench reproducibility manifest")]
pub struct ReproManifest {
    /// Seed of every random choice.
    pub seed: u64,
    /// SHA-256 of the configuration, 64 hexadecimal digits. Equal for comparable runs.
    pub config_hash: String,
    /// Number of items processed before timing began.
    pub warmup_items: u64,
    /// Number of items in each batch of the input plan.
    pub parity_batch_size: u64,
    /// Which definition of the deterministic shuffle ordered the input.
    pub deterministic_shuffle_version: String,
    /// How items were chosen, when they were chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling_strategy: Option<String>,
    /// Which items were processed in which order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_plan: Option<InputPlanSummary>,
}

/// An input plan by its digest and sizes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct InputPlanSummary {
    /// SHA-256 of the plan's canonical JSON, 64 hexadecimal digits.
    pub digest: String,
    /// Number of items in the plan: warm-up and timed ones, `num_tasks` in all.
    pub items: u64,
    /// Number of batches that the timed items are split into.
    pub batches: u64,
}

/// Writes the manifest of the locked directory.
pub fn write(lock: &OutputLock, manifest: &ReproManifest) -> Result<()> {
    let mut text = serde_json::to_string_pretty(manifest)?;
    text.push('\n');
    atomic::write(&lock.path(FILE_NAME), text.as_bytes())
}

/// Reads a manifest. Keys it does not know are ignored, so that later versions stay readable.
pub fn read(path: &Path) -> Result<ReproManifest> {
    let text = Found::NAMED.at_most(LARGEST).read(path).map_err(Error::io("read", path))?;
    bom::json(&text).map_err(|error| Error::Json(error).in_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::manifest_schema;
    use std::fs;
    use std::time::Duration;

    fn example() -> ReproManifest {
        ReproManifest {
            seed: 42,
            config_hash: "a3f1".into(),
            warmup_items: 5,
            parity_batch_size: 16,
            deterministic_shuffle_version: "v1".into(),
            sampling_strategy: None,
            input_plan: None,
        }
    }

    fn written(manifest: &ReproManifest) -> (String, ReproManifest) {
        let dir = tempfile::tempdir().unwrap();
        let lock = OutputLock::acquire(dir.path(), Duration::ZERO).unwrap();
        write(&lock, manifest).unwrap();
        let path = lock.path(FILE_NAME);
        (fs::read_to_string(&path).unwrap(), read(&path).unwrap())
    }

    #[test]
    fn the_guides_five_keys_are_flat_and_first() {
        let (text, _) = written(&example());
        let guide = "{\n  \"seed\": 42,\n  \"config_hash\": \"a3f1\",\n  \"warmup_items\": 5,\n  \
                     \"parity_batch_size\": 16,\n  \"deterministic_shuffle_version\": \"v1\"\n}\n";
        assert_eq!(text, guide);
    }

    #[test]
    fn what_we_add_comes_after_and_is_read_back() {
        let plan = InputPlanSummary { digest: "00ff".into(), items: 95, batches: 6 };
        let full =
            ReproManifest { sampling_strategy: Some("all".into()), input_plan: Some(plan), ..example() };
        let (text, back) = written(&full);
        assert_eq!(back, full);
        assert!(text.find("sampling_strategy") > text.find("deterministic_shuffle_version"), "{text}");
    }

    #[test]
    fn a_missing_key_is_named_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        fs::write(&path, r#"{"seed": 42}"#).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("repro_manifest.json") && error.contains("config_hash"), "{error}");
    }

    #[test]
    fn unknown_keys_are_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let mut value = serde_json::to_value(example()).unwrap();
        value["from_the_future"] = 1.into();
        fs::write(&path, value.to_string()).unwrap();
        assert_eq!(read(&path).unwrap(), example());
    }

    #[test]
    fn the_json_schema_requires_the_guides_five_keys() {
        let schema = manifest_schema();
        let required =
            ["seed", "config_hash", "warmup_items", "parity_batch_size", "deterministic_shuffle_version"];
        assert_eq!(schema["required"], serde_json::json!(required));
        assert_eq!(schema["properties"].as_object().unwrap().len(), 7);
    }
}
