//! The part of the evidence that a comparison needs of every record, read in place.
//!
//! A million records are read this way: nothing is copied, and what is not needed is skipped.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Evidence, Items, Verdict};

/// Some keys of [`Evidence`], with the same meaning.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Brief<'a> {
    /// Which pair of a paired run this is.
    pub pair_index: Option<u64>,
    /// Whether pairs went on until their verdict was known.
    pub until_known: Option<bool>,
    /// What its seed was drawn from.
    #[serde(borrow)]
    pub drawn_from: Option<DrawnFrom<'a>>,
    /// Whether the run was cut short.
    pub partial: Option<bool>,
    /// Which side this is, when one backend runs against itself.
    #[serde(borrow)]
    pub arm: Option<Cow<'a, str>>,
    /// Proof of the answers.
    #[serde(borrow)]
    pub output_digest: Option<Cow<'a, str>>,
    /// Counts of items.
    pub items: Option<Items>,
    /// CPU time of the run.
    pub cpu_seconds: Option<f64>,
    /// Energy of the machine meanwhile.
    pub energy_joules: Option<f64>,
    /// The plugin that ran.
    #[serde(borrow)]
    pub plugin: Option<Plugin<'a>>,
    /// The host, as it was written.
    #[serde(borrow)]
    pub host: Option<&'a RawValue>,
    /// What the embedding endpoint served, as it was written.
    #[serde(borrow)]
    pub embedding_endpoint: Option<&'a RawValue>,
    /// The verdict on the run.
    pub validity: Option<Validity>,
    /// How items arrived.
    #[serde(borrow)]
    pub load: Option<Load<'a>>,
    /// Whether there is a `backend_hash`.
    pub backend_hash: Option<IgnoredAny>,
}

/// As [`super::DrawnFrom`].
#[derive(Clone, Debug, Deserialize)]
pub struct DrawnFrom<'a> {
    /// The seed.
    pub seed: u64,
    /// The `config_hash` with it.
    #[serde(borrow)]
    pub config_hash: Cow<'a, str>,
}

/// As [`super::Plugin`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Plugin<'a> {
    /// Version of the plugin API that it was built for.
    #[serde(borrow)]
    pub api: Option<Cow<'a, str>>,
}

/// As [`super::Validity`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Validity {
    /// The verdict.
    pub verdict: Option<Verdict>,
}

/// As [`super::Load`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Load<'a> {
    /// Its name.
    #[serde(borrow)]
    pub model: Option<Cow<'a, str>>,
}

impl<'a> Brief<'a> {
    /// Reads the JSON of an `extra`. `None` when it is no object. Where somebody gave a known key another type,
    /// the rest is still read, at more cost.
    #[must_use]
    pub fn of(extra: &'a str) -> Option<Self> {
        if !extra.starts_with('{') {
            return None;
        }
        let carefully = || serde_json::from_str(extra).ok().map(|map| Self::of_map(&map));
        serde_json::from_str(extra).ok().or_else(carefully)
    }

    fn of_map(map: &Map<String, Value>) -> Self {
        let evidence = Evidence::of(map);
        Self {
            pair_index: evidence.place.pair_index,
            until_known: Some(evidence.place.until_known),
            drawn_from: evidence
                .place
                .drawn_from
                .map(|from| DrawnFrom { seed: from.seed, config_hash: from.config_hash.into() }),
            partial: Some(evidence.partial),
            arm: evidence.place.arm.map(Cow::Owned),
            output_digest: evidence.output_digest.map(Cow::Owned),
            items: Some(evidence.items),
            cpu_seconds: evidence.cpu_seconds,
            energy_joules: evidence.energy_joules,
            plugin: Some(Plugin { api: evidence.plugin.api.map(Cow::Owned) }),
            host: None,
            embedding_endpoint: None,
            validity: Some(Validity { verdict: evidence.validity.verdict }),
            load: Some(Load { model: evidence.load.map(|load| load.name().into()) }),
            backend_hash: map.contains_key("backend_hash").then_some(IgnoredAny),
        }
    }
}
