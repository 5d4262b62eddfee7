//! Parameters of a workload, in one table: of each the name, unit, range, meaning and default.
//!
//! Everything else is read off it: `--set`, configuration files, flags, presets, checks and the hash of the
//! configuration. A workload has them as a struct, which `parameters!` makes together with the table;
//! everybody else has [`Values`], and needs to know no name.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::text::endpoint::Served;

/// The parameter that names a folder of real text, where a workload has one.
pub const CORPUS: &str = "corpus";
/// The parameter that says how the words of a corpus are stemmed, where a workload has one.
pub const STEMMER: &str = "stemmer";
/// The parameter that injects a fault, see [`crate::fault`].
pub const FAULT: &str = "fault";
/// The parameter that says how often a failing record is tried.
pub const ATTEMPTS: &str = "operator_attempts";
/// What stands for the digest of a corpus where there is none.
const SYNTHETIC: &str = "synthetic";
/// The parameters that say what a good answer of a language model is, in milliseconds: to the first token, and for each
/// further one.
pub const GOAL_TTFT: &str = "llm_goal_ttft_ms";
pub const GOAL_TPOT: &str = "llm_goal_tpot_ms";
/// What stands for the model behind an endpoint in the hash of the configuration.
const SERVED: &str = "embedding_served";

/// What the parameters of a run are, in the order of their table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Values(Map<String, Value>);

/// One parameter.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    pub name: &'static str,
    /// In a sentence.
    pub meaning: &'static str,
    /// Empty for what is counted, and for what is no number.
    pub unit: &'static str,
    pub range: Range,
    pub default: fn() -> Value,
    pub hashed: Hashed,
}

/// How a parameter enters the hash of the configuration: what is done counts, and not where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashed {
    AsItIs,
    /// Younger than the first recorded hashes: where it changes nothing, it is no part of them.
    UnlessDefault,
    /// It says how results are judged.
    Never,
    /// Whether it is given, and not what it is.
    IfGiven,
    /// What the endpoint serves stands for it.
    AsServed,
    /// The digest of the corpus stands for it.
    AsDigest,
}

/// A parameter was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// No parameter has this name.
    #[error("unknown parameter '{name}'{}", nearest.as_ref().map(|n| format!(": did you mean '{n}'?")).unwrap_or_default())]
    Unknown { name: String, nearest: Option<String> },
    /// No preset has this name.
    #[error("there is no preset '{name}', there are {known}{}", nearest.as_ref().map(|n| format!(": did you mean '{n}'?")).unwrap_or_default())]
    Preset { name: String, nearest: Option<String>, known: String },
    /// The value does not fit the parameter's type.
    #[error("parameter '{name}': {cause}")]
    Type { name: String, cause: String },
    /// The value is out of range.
    #[error("parameter '{name}' must be {range}, not {value}")]
    Range { name: &'static str, range: &'static str, value: String },
    /// Values that are not those of the workload.
    #[error("parameters of the workload: {0}")]
    Unread(String),
}

/// The work of a run cannot be done again from its record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAgain {
    #[error("a service did part of its work, and may answer otherwise by now")]
    OfAService,
    #[error(transparent)]
    Param(#[from] ParamError),
}

/// What a parameter may be.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// In words, after "must be".
    pub says: &'static str,
    rule: Rule,
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    /// Whatever its type holds.
    Any,
    /// A number, or each of a list.
    Number(fn(f64) -> bool),
    /// An object of shares.
    Weights,
    /// A text, or each of a list.
    Text(fn(&str) -> bool),
    /// A text that says itself what is wrong with it.
    Grammar(fn(&str) -> Result<(), String>),
}

impl Range {
    pub const ANY: Self = Self { says: "", rule: Rule::Any };
    pub const ABOVE_0: Self = Self::number("above 0", |value| value > 0.0);
    pub const AT_LEAST_0: Self = Self::number("at least 0", |value| value >= 0.0);
    pub const AT_LEAST_1: Self = Self::number("at least 1", |value| value >= 1.0);
    pub const FROM_0_TO_1: Self = Self::number("between 0 and 1", |value| (0.0..=1.0).contains(&value));
    pub const RATE: Self =
        Self::number("above 0 and at most 1000000 per second", |value| value > 0.0 && value <= 1e6);
    pub const WEIGHTS: Self = Self { says: "weights between 0 and 1 that sum to 1", rule: Rule::Weights };

    /// A number, or a list of numbers, for each of which `holds`.
    #[must_use]
    pub const fn number(says: &'static str, holds: fn(f64) -> bool) -> Self {
        Self { says, rule: Rule::Number(holds) }
    }

    /// A text, or a list of texts, for each of which `holds`.
    #[must_use]
    pub const fn text(says: &'static str, holds: fn(&str) -> bool) -> Self {
        Self { says, rule: Rule::Text(holds) }
    }

    /// A text that `reads`, or says why not.
    #[must_use]
    pub const fn grammar(reads: fn(&str) -> Result<(), String>) -> Self {
        Self { says: "", rule: Rule::Grammar(reads) }
    }

    fn check(&self, name: &'static str, value: &Value) -> Result<(), ParamError> {
        let refused = |value: String| Err(ParamError::Range { name, range: self.says, value });
        match (self.rule, value) {
            (Rule::Any, _) | (_, Value::Null) => Ok(()),
            (Rule::Number(holds), value) => {
                let outside = each(value).iter().find(|value| !value.as_f64().is_some_and(holds));
                outside.map_or(Ok(()), |value| refused(shown(value)))
            }
            (Rule::Weights, value) => {
                let weights = value.as_object().into_iter().flat_map(Map::values).filter_map(Value::as_f64);
                let weights: Vec<f64> = weights.collect();
                let sum = weights.iter().sum::<f64>();
                let fine =
                    (sum - 1.0).abs() <= 1e-6 && weights.iter().all(|weight| (0.0..=1.0).contains(weight));
                if fine { Ok(()) } else { refused(sum.to_string()) }
            }
            (Rule::Text(holds), value) => {
                let texts: Vec<&str> = each(value).iter().filter_map(Value::as_str).collect();
                if texts.iter().all(|text| holds(text)) { Ok(()) } else { refused(texts.join(", ")) }
            }
            (Rule::Grammar(reads), value) => reads(value.as_str().unwrap_or_default())
                .map_err(|cause| ParamError::Type { name: name.to_owned(), cause }),
        }
    }
}

/// The values of a list, or the only one.
fn each(value: &Value) -> &[Value] {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice)
}

/// A number as people write it.
fn shown(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if value.is_f64() => number.to_string(),
        _ => value.to_string(),
    }
}

/// Parameters that are set together: names, and values as `--set` takes them.
pub type Together = &'static [(&'static str, &'static str)];

/// A scale that has a name.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    pub name: &'static str,
    /// The number of tasks that goes with it, where one does.
    pub tasks: Option<u32>,
    pub sets: Together,
}

/// A flag of `bench run` that stands for parameters.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Without the dashes.
    pub name: &'static str,
    /// What its value is called in `--help`.
    pub value: &'static str,
    pub help: &'static str,
    pub reads: Reads,
    pub about: About,
    /// Parameters that get its value.
    pub sets: &'static [&'static str],
    /// What is set with it.
    pub also: Together,
    /// A flag that it does not go with.
    pub not_with: Option<&'static str>,
}

impl Flag {
    /// A flag without help, that goes with any other.
    #[must_use]
    pub const fn new(
        name: &'static str,
        value: &'static str,
        reads: Reads,
        about: About,
        sets: &'static [&'static str],
    ) -> Self {
        Self { name, value, help: "", reads, about, sets, also: &[], not_with: None }
    }

    #[must_use]
    pub const fn help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }
}

/// How the value of a flag is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    Text,
    Count,
    Milliseconds,
    /// A folder that is there. Where one is named, its defaults come before those of a file.
    Folder,
    OneOf(&'static [&'static str]),
}

/// What a flag is about, in the order of `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    Texts,
    /// What answers from outside.
    Services,
}

/// All that there is to say about a workload's parameters.
pub struct Table {
    pub rows: &'static [Parameter],
    pub presets: &'static [Preset],
    /// The scale of a smoke test.
    pub quick: Preset,
    /// The same in a few words.
    pub quick_says: &'static str,
    pub flags: &'static [Flag],
    /// A parameter as an example of `--set`.
    pub example: &'static str,
    /// One that changes the graph.
    pub graph_example: &'static str,
    /// What two of them must be to each other.
    pub relations: fn(&Values) -> Result<(), ParamError>,
    /// Reads the values as the workload does, and gives them as it writes them.
    pub read: fn(&Values) -> Result<Values, ParamError>,
}

impl Values {
    /// Those of a workload's own struct.
    ///
    /// # Panics
    /// When it is not plain data: that is a mistake in the workload.
    #[must_use]
    pub fn of(params: &impl Serialize) -> Self {
        match serde_json::to_value(params).expect("parameters are plain data") {
            Value::Object(values) => Self(values),
            other => panic!("{other} is no object of parameters"),
        }
    }

    /// As the workload's own struct.
    ///
    /// # Errors
    /// When they are another workload's.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ParamError> {
        T::deserialize(&self.0).map_err(|cause| ParamError::Unread(cause.to_string()))
    }

    /// What a parameter is now; nothing for a name that is not known. The parts of one have its name before a dot.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        let mut parts = name.split('.');
        let first = self.0.get(parts.next()?)?;
        parts.try_fold(first, |slot, part| slot.get(part))
    }

    /// How often a failing record is tried.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        let attempts = self.get(ATTEMPTS).and_then(Value::as_u64);
        attempts.and_then(|attempts| attempts.try_into().ok()).unwrap_or(1)
    }
}

impl Table {
    /// The flags that give the address of a service, each with the parameter that holds it.
    #[must_use]
    pub fn services(&self) -> Vec<(&'static str, &'static str)> {
        let addresses = self.flags.iter().filter(|flag| flag.about == About::Services && flag.value == "URL");
        addresses.filter_map(|flag| Some((flag.name, *flag.sets.first()?))).collect()
    }

    /// What holds where nothing is said.
    #[must_use]
    pub fn defaults(&self) -> Values {
        Values(self.rows.iter().map(|row| (row.name.to_owned(), (row.default)())).collect())
    }

    /// Sets one parameter from JSON. Nested ones are written with a dot, `weights.first`, or as an object of those
    /// that change.
    ///
    /// # Errors
    /// When the name is unknown or the value has the wrong type.
    pub fn set(&self, values: &mut Values, name: &str, value: Value) -> Result<(), ParamError> {
        let mut whole = Value::Object(values.0.clone());
        let slot = name.split('.').try_fold(&mut whole, |slot, part| member(slot, part, name))?;
        put(slot, value, name)?;
        let Value::Object(whole) = whole else { unreachable!("a member was set, and not the whole") };
        *values = (self.read)(&Values(whole)).map_err(|error| match error {
            ParamError::Unread(cause) => ParamError::Type { name: name.to_owned(), cause: in_words(&cause) },
            other => other,
        })?;
        Ok(())
    }

    /// As [`Table::set`], from the text of `--set name=value`: JSON, a list or a table as TOML writes it
    /// within a line, or else a string.
    ///
    /// # Errors
    /// As [`Table::set`].
    pub fn set_text(&self, values: &mut Values, name: &str, text: &str) -> Result<(), ParamError> {
        let value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(json) if text.starts_with(['{', '[']) => inline_toml(text).ok_or_else(|| {
                let cause = format!("{text} is neither JSON ({json}) nor an inline table of TOML");
                ParamError::Type { name: name.to_owned(), cause }
            })?,
            Err(_) => Value::String(text.to_owned()),
        };
        self.set(values, name, value)
    }

    /// Sets several.
    ///
    /// # Errors
    /// As [`Table::set`].
    pub fn set_together(&self, values: &mut Values, all: Together) -> Result<(), ParamError> {
        all.iter().try_for_each(|(name, text)| self.set_text(values, name, text))
    }

    /// The preset of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn preset(&self, name: &str) -> Result<&'static Preset, ParamError> {
        let names = || self.presets.iter().map(|preset| preset.name);
        self.presets.iter().find(|preset| preset.name == name).ok_or_else(|| ParamError::Preset {
            name: name.to_owned(),
            nearest: nearest(name, names()),
            known: names().collect::<Vec<_>>().join(", "),
        })
    }

    /// Sets what a flag with this value stands for.
    ///
    /// # Errors
    /// As [`Table::set`].
    pub fn set_flag(&self, values: &mut Values, flag: &Flag, value: &Value) -> Result<(), ParamError> {
        flag.sets.iter().try_for_each(|name| self.set(values, name, value.clone()))?;
        self.set_together(values, flag.also)
    }

    /// Checks every range.
    ///
    /// # Errors
    /// The first parameter out of range.
    pub fn validate(&self, values: &Values) -> Result<(), ParamError> {
        self.rows
            .iter()
            .try_for_each(|row| row.range.check(row.name, values.get(row.name).unwrap_or(&Value::Null)))?;
        (self.relations)(values)
    }

    /// The parameters as they enter the hash of the configuration. `corpus_digest` stands for the corpus, and what
    /// the endpoint serves for the model behind it.
    #[must_use]
    pub fn fingerprint(
        &self,
        values: &Values,
        corpus_digest: Option<&str>,
        served: Option<&Served>,
    ) -> Value {
        let mut fields = values.0.clone();
        let hashed = |how| self.rows.iter().filter(move |row| row.hashed == how);
        for row in hashed(Hashed::AsServed).chain(hashed(Hashed::AsDigest)).chain(hashed(Hashed::Never)) {
            fields.remove(row.name);
        }
        for row in hashed(Hashed::UnlessDefault) {
            if fields.get(row.name) == Some(&(row.default)()) {
                fields.remove(row.name);
            }
        }
        fields.insert(CORPUS.into(), corpus_digest.map_or(SYNTHETIC.into(), Into::into));
        for row in hashed(Hashed::IfGiven) {
            let is_given = fields.get(row.name).is_some_and(|value| !value.is_null());
            fields.insert(row.name.into(), is_given.into());
        }
        if let Some(served) = served {
            fields.insert(SERVED.into(), served.fingerprint.to_string().into());
        }
        Value::Object(fields)
    }

    /// The parameters that a fingerprint is of, but for the place of the corpus: of that it has only the digest.
    ///
    /// # Errors
    /// When it is another workload's, or part of the work was done by a service, whose answers are nobody's to repeat.
    pub fn of_fingerprint(&self, fields: &Map<String, Value>) -> Result<(Values, Option<String>), NotAgain> {
        let mut values = self.defaults();
        if fields.contains_key(SERVED) {
            return Err(NotAgain::OfAService);
        }
        for row in self.rows {
            match (row.hashed, fields.get(row.name)) {
                (Hashed::AsItIs | Hashed::UnlessDefault, Some(value)) => {
                    self.set(&mut values, row.name, value.clone())?;
                }
                (Hashed::IfGiven, Some(Value::Bool(true))) => return Err(NotAgain::OfAService),
                _ => {}
            }
        }
        let corpus = fields.get(CORPUS).and_then(Value::as_str).filter(|digest| *digest != SYNTHETIC);
        Ok((values, corpus.map(str::to_owned)))
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

/// What is wrong with a value, with kinds of values in place of the types of a program.
fn in_words(cause: &str) -> String {
    let Some((what, expected)) = cause.split_once("expected ") else { return cause.to_owned() };
    let kind = match expected.split(' ').next().unwrap_or_default() {
        "f32" | "f64" => "a number",
        "u8" | "u16" | "u32" | "u64" | "usize" | "i64" => "a whole number",
        "struct" => "an object with its members, as in {\"name\": 0.5}",
        _ => expected,
    };
    format!("{what}expected {kind}")
}

fn inline_toml(text: &str) -> Option<Value> {
    let table: toml::Table = toml::from_str(&format!("value = {text}")).ok()?;
    serde_json::to_value(table.get("value")?).ok()
}

fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // Capitals and hyphens are how names are written elsewhere.
    let name = name.to_lowercase().replace('-', "_");
    let scored = known.into_iter().map(|known| (strsim::jaro_winkler(&name, known), known));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.75).then(|| best.1.to_owned())
}

/// A struct of parameters and the table of its rows, `ROWS`. A row is a meaning, a name, a type, a default, a unit, a
/// range and, where it is not [`Hashed::AsItIs`], how it is hashed.
macro_rules! parameters {
    (
        $(#[$about:meta])*
        pub struct $params:ident {
            $(
                $(#[doc = $meaning:literal])+
                $name:ident: $type:ty = $default:expr, $unit:literal, $range:expr $(, $hashed:expr)?;
            )+
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $params {
            $($(#[doc = $meaning])+ pub $name: $type,)+
        }

        impl Default for $params {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl $params {
            /// What there is to say about each.
            pub const ROWS: &'static [$crate::parameters::Parameter] = &[$(
                $crate::parameters::Parameter {
                    name: stringify!($name),
                    meaning: concat!($($meaning),+).trim_ascii_start(),
                    unit: $unit,
                    range: $range,
                    default: || {
                        let default: $type = $default;
                        ::serde_json::to_value(default).expect("a default is plain data")
                    },
                    hashed: [$($hashed,)? $crate::parameters::Hashed::AsItIs][0],
                },
            )+];
        }
    };
}
pub(crate) use parameters;
