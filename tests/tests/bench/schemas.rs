//! What is written is what the schemas in `docs/schemas/` and the guide's table say.

use std::fs;
use std::path::{Path, PathBuf};

use bench_tests::pairs::{json, pair, tree};
use bench_tests::{bench, folder, records, stdout, succeed};
use jsonschema::Validator;
use serde_json::Value;
use tempfile::TempDir;

const SCHEMAS: [&str; 8] =
    ["record", "manifest", "pair-manifest", "failure-report", "capacity", "recovery", "engine", "graph"];

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs")
}

fn schema_file(name: &str) -> PathBuf {
    docs().join(format!("schemas/{name}.schema.json"))
}

fn schema(name: &str) -> Validator {
    let options = jsonschema::options().should_validate_formats(true);
    options.build(&json(&schema_file(name))).expect("a valid schema")
}

fn validate(name: &str, document: &Value) {
    let schema = schema(name);
    let wrongs: Vec<String> =
        schema.iter_errors(document).map(|wrong| format!("{}: {wrong}", wrong.instance_path())).collect();
    assert!(wrongs.is_empty(), "{name}: {wrongs:?}\n{document:#}");
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The names in the first column of the guide's table of fields, in order.
fn fields_of_the_guide() -> Vec<String> {
    let guide = fs::read_to_string(docs().join("guide.md")).unwrap();
    let (_, table) = guide.split_once("| field | type | meaning |\n").expect("the table is there");
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let first_cells = rows.map(|row| row.split('|').nth(1).unwrap());
    first_cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned)).collect()
}

#[test]
fn the_schemas_in_the_documentation_are_those_that_bench_prints() {
    for name in SCHEMAS {
        let printed = stdout(&succeed(&mut bench(&["schema", name])));
        let kept = fs::read_to_string(schema_file(name)).unwrap_or_default();
        let file = format!("docs/schemas/{name}.schema.json");
        assert!(printed == kept, "{file} is out of date: target/bench/bin/bench schema {name} > {file}");
    }
}

#[test]
fn the_graph_that_plugins_get_is_as_its_schema_says() {
    for workload in ["wl1", "wl2", "wl3", "wl4", "null"] {
        let described = succeed(&mut bench(&["workloads", "describe", workload, "--format", "json"]));
        validate("graph", &serde_json::from_slice(&described.stdout).unwrap());
    }
}

#[test]
fn every_artefact_of_a_pair_is_as_its_schema_says() {
    let (root, plugins) =
        (TempDir::new().unwrap(), folder(&[("healthy", "healthy"), ("hostile", "hostile")]));
    succeed(&mut pair(root.path(), plugins.path(), "local,healthy", "p", &["--repeat", "2"]));
    let done = tree(root.path(), "p");
    for backend in ["local", "healthy"] {
        let folder = done.join("backends").join(backend);
        let records = records(&folder);
        assert_eq!(records.len(), 2);
        records.iter().for_each(|record| validate("record", record));
        validate("manifest", &json(&folder.join("repro_manifest.json")));
    }
    validate("pair-manifest", &json(&done.join("manifest.json")));
    let mut failing = pair(root.path(), plugins.path(), "local,hostile", "f", &[]);
    assert!(!failing.env("HOSTILE", "run:exit0").output().unwrap().status.success());
    validate("failure-report", &json(&tree(root.path(), "f").join("failure_report.json")));
}

#[test]
fn a_schema_refuses_what_lacks_a_field_or_has_another_type() {
    let root = TempDir::new().unwrap();
    succeed(&mut pair(root.path(), root.path(), "local", "p", &["--aa"]));
    let record = records(&tree(root.path(), "p").join("backends/local")).remove(0);
    let schema = schema("record");
    for field in fields_of_the_guide() {
        let mut without = record.clone();
        without.as_object_mut().unwrap().remove(&field);
        assert!(!schema.is_valid(&without), "{field} may be missing");
        let mut other = record.clone();
        other[&field] = serde_json::json!([]);
        assert!(!schema.is_valid(&other), "{field} may be a list");
    }
    let mut late = record.clone();
    late["timestamp"] = "yesterday".into();
    assert!(schema.is_valid(&record) && !schema.is_valid(&late));
}

#[test]
fn names_and_order_are_those_of_the_guides_table() {
    let root = TempDir::new().unwrap();
    succeed(&mut pair(root.path(), root.path(), "local", "p", &["--aa"]));
    let tree = tree(root.path(), "p");
    let (folder, fields) = (tree.join("backends/local"), fields_of_the_guide());
    assert_eq!(fields.len(), 15);
    assert_eq!(keys(&records(&folder)[0]), fields);
    assert_eq!(keys(&json(&schema_file("record"))["properties"]), fields);
    let header = |file: PathBuf| fs::read_to_string(file).unwrap().lines().next().unwrap().to_owned();
    assert_eq!(header(folder.join("unified_results.csv")), fields.join(","));
    assert_eq!(header(tree.join("comparison/comparison.csv")), fields.join(",") + ",source_file");
    let manifest = json(&folder.join("repro_manifest.json"));
    let first = ["seed", "config_hash", "warmup_items", "parity_batch_size", "deterministic_shuffle_version"];
    assert_eq!(keys(&manifest)[..5], first);
}
