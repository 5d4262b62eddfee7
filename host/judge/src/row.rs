//! From a line of a results file to a sort key, facts and a finished row.
//!
//! A million lines make this the hottest code of a comparison, so a line is read in place: names
//! are borrowed, numbers are parsed once and their digits copied, and `extra` is copied whole. A
//! line that this reader does not accept at sight goes to [`Record`], which either explains what is
//! wrong or, for older spellings, gives a record that is then read like any other. So there is one
//! definition of what a record may be, and it is not here.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::cells::RowWriter;
use super::facts::{Facts, Metric, Metrics, hash_text, hash_wide};
use super::key;
use bench_record::evidence::{Brief, Verdict};
use bench_record::time::UtcTime;
use bench_record::{self as results, Record, bom, json_style};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    backend: Cow<'a, str>,
    #[serde(borrow)]
    workload: Cow<'a, str>,
    #[serde(borrow)]
    run_id: Cow<'a, str>,
    seed: u64,
    nodes: u32,
    parallelism: u32,
    #[serde(borrow)]
    throughput: &'a RawValue,
    #[serde(borrow, default)]
    latency_p50: Option<&'a RawValue>,
    #[serde(borrow, default)]
    latency_p95: Option<&'a RawValue>,
    #[serde(borrow, default)]
    latency_p99: Option<&'a RawValue>,
    #[serde(borrow)]
    success_rate: &'a RawValue,
    #[serde(borrow)]
    duration_seconds: &'a RawValue,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(default)]
    config_hash: Option<String>,
    /// `metadata` is what the Python version called it. A record with both is left to [`Record`].
    #[serde(borrow, default, alias = "metadata")]
    extra: Option<&'a RawValue>,
    /// The Python version had it outside.
    #[serde(borrow, default)]
    backend_hash: Option<&'a RawValue>,
}

/// Where a line was found.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub source: u32,
    pub name: &'a str,
    pub is_csv: bool,
    pub offset: u64,
}

/// Buffers that one thread uses again for each line.
#[derive(Default)]
pub(crate) struct Parsed {
    pub key: Vec<u8>,
    pub row: RowWriter,
    spliced: String,
    setting: Vec<u8>,
}

impl Parsed {
    /// Reads one line. Afterwards `key` and `row` are those of the line.
    pub fn read(&mut self, line: &[u8], place: Place) -> results::Result<Facts> {
        let line = bom::strip(line);
        if let Some(facts) = std::str::from_utf8(line).ok().and_then(|text| self.at_sight(text, place)) {
            return Ok(facts);
        }
        self.read_record(&Record::from_stored(serde_json::from_slice(line)?)?, place)
    }

    /// Takes a record that was read in another way.
    pub fn read_record(&mut self, record: &Record, place: Place) -> results::Result<Facts> {
        let text = json_style::to_line(record)?;
        self.at_sight(&text, place).ok_or(results::Error::NotAnObject("a record that cannot be compared"))
    }

    fn at_sight(&mut self, text: &str, place: Place) -> Option<Facts> {
        let line: Line = serde_json::from_str(text).ok()?;
        let mut metrics: Metrics = [
            number(line.throughput)?,
            optional(line.latency_p50)?,
            optional(line.latency_p95)?,
            optional(line.latency_p99)?,
            number(line.success_rate).filter(|share| *share <= 1.0)?,
            number(line.duration_seconds)?,
            f64::NAN,
            f64::NAN,
        ];
        let named = !(line.backend.is_empty() || line.workload.is_empty() || line.run_id.is_empty());
        let hashed = line.config_hash.as_deref() != Some("");
        if !named || !hashed || line.nodes == 0 || line.parallelism == 0 {
            return None;
        }
        let extra = line.extra.map_or("{}", RawValue::get);
        let brief = Brief::of(extra)?;
        let completed = brief.items.and_then(|items| items.completed).filter(|completed| *completed > 0);
        let timed = brief.items.and_then(|items| items.counted()).filter(|timed| *timed > 0);
        let spent = |figure: Option<f64>, items: Option<u64>| {
            let figure = figure.filter(|figure| figure.is_finite() && *figure >= 0.0)?;
            Some(figure * 1e6 / items? as f64)
        };
        metrics[Metric::CpuPerMillion as usize] = spent(brief.cpu_seconds, completed).unwrap_or(f64::NAN);
        metrics[Metric::EnergyPerMillion as usize] = spent(brief.energy_joules, timed).unwrap_or(f64::NAN);
        let time: Timestamp = line.timestamp.parse::<UtcTime>().ok()?.into();
        let backend = shown_name(&line.backend, brief.arm.as_deref());
        self.key.clear();
        let texts = [&*line.workload, &*line.run_id, &*backend];
        key::write(&mut self.key, texts, time.as_microsecond(), place.is_csv, place.source, place.offset);

        self.spliced.clear();
        let extra = match line.backend_hash {
            Some(hash) if brief.backend_hash.is_none() => {
                splice(&mut self.spliced, extra, hash.get());
                self.spliced.as_str()
            }
            _ => extra,
        };
        write_row(&mut self.row, &line, time, extra, place);
        // Pairs with seeds of their own are one setting: that of the seed that theirs were drawn from.
        let drawn = brief.drawn_from.is_some();
        let (seed, config) = match brief.drawn_from {
            Some(from) => (from.seed, Some(from.config_hash)),
            None => (line.seed, line.config_hash.as_deref().map(Cow::Borrowed)),
        };
        self.setting.clear();
        let texts = [&*line.workload, config.as_deref().unwrap_or("\0"), if drawn { "drawn" } else { "" }];
        key::write(&mut self.setting, texts, 0, false, 0, seed);
        self.setting.extend_from_slice(&line.nodes.to_le_bytes());
        self.setting.extend_from_slice(&line.parallelism.to_le_bytes());
        Some(Facts {
            seed,
            input: line.seed,
            drawn,
            nodes: line.nodes,
            parallelism: line.parallelism,
            metrics,
            pair: brief.pair_index,
            items: brief.items.and_then(|items| items.counted()).unwrap_or(0),
            setting: hash_wide(&self.setting),
            digest: brief.output_digest.map(|digest| hash_wide(digest.as_bytes())),
            config: hash_text(config.as_deref()),
            api: hash_text(brief.plugin.and_then(|plugin| plugin.api).as_deref()),
            host: hash_text(brief.host.map(RawValue::get)),
            embedding: hash_text(brief.embedding_endpoint.map(RawValue::get)),
            invalid: brief.validity.and_then(|validity| validity.verdict) == Some(Verdict::Invalid),
            until_known: brief.until_known.unwrap_or(false),
            partial: brief.partial.unwrap_or(false),
            closed: brief.load.and_then(|load| load.model).as_deref() == Some("closed"),
        })
    }
}

fn write_row(row: &mut RowWriter, line: &Line, time: Timestamp, extra: &str, place: Place) {
    row.begin();
    row.text(&line.backend).text(&line.workload).text(&line.run_id);
    row.whole(line.seed).whole(line.nodes.into()).whole(line.parallelism.into());
    row.bare(line.throughput.get());
    for latency in [line.latency_p50, line.latency_p95, line.latency_p99] {
        row.bare(latency.map_or("", |raw| if raw.get() == "null" { "" } else { raw.get() }));
    }
    row.bare(line.success_rate.get()).bare(line.duration_seconds.get());
    if is_canonical(&line.timestamp) {
        row.bare(&line.timestamp);
    } else {
        row.bare(&UtcTime::from(time).to_string());
    }
    row.text(line.config_hash.as_deref().unwrap_or_default()).text(extra).text(place.name);
    row.end();
}

/// The backend, and which of its sides when it runs against itself.
pub(crate) fn shown_name<'a>(backend: &'a str, arm: Option<&str>) -> Cow<'a, str> {
    match arm {
        Some(arm) if !arm.is_empty() => Cow::Owned(format!("{backend} [{arm}]")),
        _ => Cow::Borrowed(backend),
    }
}

/// A number, not negative and finite. Text and everything else is left to [`Record`].
fn number(raw: &RawValue) -> Option<f64> {
    raw.get().parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0)
}

/// NaN for null.
fn optional(raw: Option<&RawValue>) -> Option<f64> {
    match raw {
        None => Some(f64::NAN),
        Some(raw) if raw.get() == "null" => Some(f64::NAN),
        Some(raw) => number(raw),
    }
}

/// `2026-01-31T12:00:00.000000+00:00`, which needs no rewriting.
fn is_canonical(text: &str) -> bool {
    text.len() == 32 && text.as_bytes()[10] == b'T' && text.as_bytes()[19] == b'.' && text.ends_with("+00:00")
}

fn splice(out: &mut String, extra: &str, hash: &str) {
    let body = extra.trim_end().strip_suffix('}').unwrap_or(extra).trim_end();
    out.push_str(body);
    out.push_str(if body.ends_with('{') { "\"backend_hash\": " } else { ", \"backend_hash\": " });
    out.push_str(hash);
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use bench_record::testing::example_value;
    use serde_json::{Value, json};

    const PLACE: Place = Place { source: 0, name: "a/r.jsonl", is_csv: false, offset: 0 };

    fn read(value: &Value) -> results::Result<(Facts, String)> {
        let mut parsed = Parsed::default();
        let facts = parsed.read(value.to_string().as_bytes(), PLACE)?;
        Ok((facts, String::from_utf8(parsed.row.bytes().to_vec()).unwrap()))
    }

    fn extra_cell(row: &str) -> Value {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(row.as_bytes());
        let cells = reader.records().next().unwrap().unwrap();
        assert_eq!((cells.len(), &cells[15]), (16, "a/r.jsonl"));
        serde_json::from_str(&cells[14]).unwrap()
    }

    #[test]
    fn a_record_becomes_facts_and_a_row() {
        let (facts, row) = read(&example_value()).unwrap();
        assert_eq!((facts.seed, facts.nodes, facts.parallelism), (42, 1, 4));
        assert_eq!(facts.metrics[0], 125.0);
        assert!(facts.metrics[3].is_nan());
        assert!(row.starts_with(
            "sage,wl4,7f2c,42,1,4,125.0,1.5,2.25,,1.0,0.16,2026-01-31T12:00:00.000000+00:00,a3f1,"
        ));
        assert_eq!(extra_cell(&row), example_value()["extra"]);
    }

    #[test]
    fn the_python_versions_record_is_read_too() {
        let mut value = example_value();
        let extra = value.as_object_mut().unwrap().shift_remove("extra").unwrap();
        value["metadata"] = extra.clone();
        value["backend_hash"] = json!("7e5d");
        value["timestamp"] = json!("2026-01-31T13:00:00+01:00");
        let (_, row) = read(&value).unwrap();
        assert!(row.contains(",2026-01-31T12:00:00.000000+00:00,"), "{row}");
        let cell = extra_cell(&row);
        assert_eq!((&cell["backend_hash"], &cell["note"]), (&json!("7e5d"), &extra["note"]));
        value["metadata"] = json!({});
        assert_eq!(extra_cell(&read(&value).unwrap().1), json!({"backend_hash": "7e5d"}));
    }

    #[test]
    fn unknown_keys_end_up_in_extra() {
        let mut value = example_value();
        value["surprise"] = json!([1]);
        assert_eq!(extra_cell(&read(&value).unwrap().1)["surprise"], json!([1]));
    }

    #[test]
    fn a_bad_record_is_refused_in_the_words_of_the_schema() {
        let mut value = example_value();
        value["seed"] = json!("42");
        assert!(read(&value).unwrap_err().to_string().starts_with("seed must be a whole number"));
        value["seed"] = json!(1);
        value["success_rate"] = json!(1.5);
        assert!(read(&value).unwrap_err().to_string().starts_with("success_rate must be"));
    }

    #[test]
    fn odd_types_inside_extra_do_not_matter() {
        let mut value = example_value();
        value["extra"] = json!({"pair_index": "x", "partial": true, "validity": {"verdict": "INVALID"}});
        let (facts, _) = read(&value).unwrap();
        assert_eq!((facts.pair, facts.partial, facts.invalid), (None, true, true));
    }

    #[test]
    fn the_setting_is_what_was_run_and_not_by_whom() {
        let mut other = example_value();
        other["backend"] = json!("ray");
        other["run_id"] = json!("elsewhere");
        let setting = |value: &Value| read(value).unwrap().0.setting;
        assert_eq!(setting(&example_value()), setting(&other));
        other["seed"] = json!(43);
        assert_ne!(setting(&example_value()), setting(&other));
    }
}
