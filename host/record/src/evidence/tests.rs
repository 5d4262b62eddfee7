use serde_json::{Value, json};

use super::*;
use crate::schema::record_schema;
use crate::{Record, json_style};

/// Records as `bench` wrote them, a line each: with judgements, with failed items, of an open load, of a pair, a
/// sweep and a search.
const GOLD: &str = include_str!("gold.jsonl");

fn of(extra: &Value) -> Evidence {
    Evidence::of(extra.as_object().unwrap())
}

fn gold() -> impl Iterator<Item = (&'static str, Record)> {
    GOLD.lines().map(|line| (line, serde_json::from_str(line).unwrap()))
}

#[test]
fn what_a_run_wrote_comes_back_to_the_byte() {
    for (line, record) in gold() {
        let evidence = record.evidence();
        assert!(evidence.rest.is_empty(), "{:?} is not known", evidence.rest);
        let again = Record { extra: evidence.into_extra(), ..record };
        assert_eq!(json_style::to_line(&again).unwrap(), line);
    }
    assert_eq!(gold().count(), 6);
}

#[test]
fn what_only_some_runs_say_comes_back_too() {
    let extra = json!({
        "items_file": null, "latency_histogram": null,
        "embedding_endpoint": {"model": "m", "fingerprint": "00ff"},
        "unwritten": ["the trace: no space left"], "remarks": ["slow_to_close", {"left_behind": ["sleep"]}],
        "backend_account": {"elapsed_seconds": 1.0, "items_processed": 3, "metrics": {"ray": {"mode": "a"}}},
    });
    let again = of(&extra).into_extra();
    for (key, value) in extra.as_object().unwrap() {
        assert_eq!(again[key], *value, "{key}");
    }
}

#[test]
fn keys_that_are_not_known_are_kept() {
    let evidence = of(&json!({"scheduler": "fifo", "gpu": {"model": "x"}, "note": 3}));
    assert_eq!(Value::from(evidence.rest), json!({"gpu": {"model": "x"}, "note": 3}));
}

#[test]
fn the_python_versions_record_has_evidence_too() {
    let evidence = of(&json!({"scheduler": "fifo", "backend_hash": "7e5d", "items": {"completed": 90}}));
    assert_eq!((evidence.backend_hash.as_deref(), evidence.items.counted()), (Some("7e5d"), Some(90)));
    assert_eq!((evidence.partial, evidence.is_invalid(), evidence.host_in_words()), (false, false, None));
}

#[test]
fn what_has_another_type_is_ignored_and_the_rest_is_read() {
    let odd = json!({
        "pair_index": "x", "items": 3, "validity": [], "host": "h", "operators": null, "repeats": -1,
        "effective_config": "none", "sweep": {"point": "first", "repeat": 0}, "workers": [[]], "load": {"model": "burst"},
    });
    assert_eq!(of(&odd), Evidence::default());
    let evidence = of(&json!({
        "partial": "no", "arm": "a", "trial": 3,
        "items": {"timed": "many", "completed": 5},
        "operators": {"join": {"records": "x", "busy_seconds": 0.5}, "fork": {"records": 2}},
        "attribution": {"operator_seconds": 1, "stages": []},
        "disturbance": {"others": 0.5, "steal": "much", "resolution": {"others": 0.1}},
        "host": {"kernel": "6.1", "cores": "two"},
        "validity": {"verdict": "INVALID", "findings": [{"code": "steal", "message": 1}, "x"], "by": "hand"},
    }));
    assert_eq!((evidence.partial, evidence.place.arm.as_deref()), (false, Some("a")));
    assert_eq!(evidence.items.counted(), Some(5));
    assert_eq!(evidence.operators["join"], OperatorTime { records: 0, busy_seconds: Some(0.5) });
    assert_eq!(evidence.operators.get_index(1).unwrap().0, "fork");
    assert_eq!(evidence.attribution.as_ref().unwrap().all.operator_seconds, 1.0);
    assert_eq!((evidence.disturbance.others, evidence.disturbance.steal), (Some(0.5), None));
    assert_eq!(evidence.host_in_words().as_deref(), Some("cores two, kernel 6.1"));
    assert!(evidence.is_invalid());
    assert_eq!(evidence.validity.findings, [Finding { code: "steal".into(), ..Finding::default() }]);
}

/// The part that a comparison reads of a million records has one meaning, whichever way it is read.
#[test]
fn the_brief_says_what_the_evidence_says() {
    let others = [
        json!({}),
        json!({"items": {"completed": 5}, "load": {"model": "burst"}, "validity": {"verdict": "INVALID"}}),
        json!({"pair_index": "x", "partial": true, "arm": "b", "plugin": {"api": "1.0"}, "backend_hash": "7e5d"}),
        json!({"items": {"timed": 9, "failed": "some"}, "load": {"model": "closed"}, "output_digest": "d"}),
    ];
    for extra in gold().map(|(_, record)| Value::from(record.extra)).chain(others) {
        let (text, evidence) = (extra.to_string(), of(&extra));
        let brief = Brief::of(&text).unwrap();
        assert_eq!(brief.pair_index, evidence.place.pair_index);
        assert_eq!(brief.partial.unwrap_or(false), evidence.partial);
        assert_eq!(brief.arm.as_deref(), evidence.place.arm.as_deref());
        assert_eq!(brief.output_digest.as_deref(), evidence.output_digest.as_deref());
        assert_eq!(brief.items.unwrap_or_default().counted(), evidence.items.counted());
        assert_eq!(brief.plugin.unwrap_or_default().api.as_deref(), evidence.plugin.api.as_deref());
        assert_eq!(brief.validity.unwrap_or_default().verdict, evidence.validity.verdict);
        let closed = |model: Option<&str>| model == Some("closed");
        let model = brief.load.unwrap_or_default().model;
        assert_eq!(closed(model.as_deref()), closed(evidence.load.map(|load| load.name())));
        assert_eq!(brief.backend_hash.is_some(), extra.get("backend_hash").is_some());
    }
    assert!(Brief::of("[]").is_none());
}

#[test]
fn the_schema_names_what_runs_say_in_their_order() {
    let schema = record_schema();
    let known: Vec<&String> = schema["$defs"]["Evidence"]["properties"].as_object().unwrap().keys().collect();
    for (_, record) in gold() {
        let mut rest = known.iter();
        assert!(record.extra.keys().all(|key| rest.any(|known| *known == key)), "{known:?}");
    }
    assert_eq!(schema["$defs"]["Evidence"].get("required"), None);
    assert_eq!(schema["$defs"]["Evidence"]["additionalProperties"], json!(true));
}
