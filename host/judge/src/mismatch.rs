//! Runs that look comparable and are not.
//!
//! Runs of several backends under one workload and `run_id` were meant to be compared. If their
//! seed, nodes, parallelism or `config_hash` differ, or the plugin API or the host, the report says
//! so with all values. Results of separate runs share no `run_id`; then the workload groups them,
//! and a backend's whole set of configurations is compared, so that two equal sweeps agree.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::facts::Facts;
use bench_record::Evidence;

/// Texts of hashes kept, and rows kept. Beyond that they are counted.
const MOST_TEXTS: usize = 20_000;
const MOST_ROWS: usize = 1_000;
const MOST_SHAPES: usize = 16;

/// One place where configurations differ.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Mismatch {
    /// Name of the workload.
    pub workload: String,
    /// The execution, or "(any)" when separate runs were compared.
    pub run_id: String,
    /// How many backends there are.
    pub backend_count: usize,
    /// Names of what differs.
    pub differing: Vec<&'static str>,
    /// Every backend with its values.
    pub detail: String,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Mismatches {
    /// The first ones.
    pub rows: Vec<Mismatch>,
    /// How many more there are.
    pub left_out: u64,
    /// Whether backends share any `run_id`. If not, rows compare whole workloads.
    pub by_run: bool,
}

impl Mismatches {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// What has to be equal, as hashes where it is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Shape {
    seed: u64,
    nodes: u32,
    parallelism: u32,
    config: u64,
    api: u64,
    host: u64,
    embedding: u64,
}

impl From<&Facts> for Shape {
    fn from(facts: &Facts) -> Shape {
        let Facts { seed, nodes, parallelism, config, api, host, embedding, .. } = *facts;
        Shape { seed, nodes, parallelism, config, api, host, embedding }
    }
}

type Shapes = BTreeMap<String, Vec<Shape>>;

/// Gathers shapes while records stream by.
#[derive(Default)]
pub(crate) struct Watch {
    texts: HashMap<u64, String>,
    workloads: BTreeMap<String, Shapes>,
    seen: HashSet<(usize, Shape)>,
    found: Mismatches,
}

impl Watch {
    /// Whether the text behind one of these hashes is wanted.
    pub fn wants_texts(&self, facts: &Facts) -> bool {
        self.texts.len() < MOST_TEXTS
            && [facts.config, facts.api, facts.host, facts.embedding]
                .iter()
                .any(|h| *h != 0 && !self.texts.contains_key(h))
    }

    /// Gives the texts.
    pub fn learn(&mut self, facts: &Facts, config: Option<&str>, evidence: &Evidence) {
        let texts = [
            (facts.config, config.map(str::to_owned)),
            (facts.api, evidence.plugin.api.clone()),
            (facts.host, evidence.host_in_words()),
            (facts.embedding, evidence.embedding_in_words()),
        ];
        for (hash, text) in texts {
            if let Some(text) = text {
                self.texts.insert(hash, text);
            }
        }
    }

    /// Takes all runs of one workload and `run_id`, with their groups and backends.
    ///
    /// Of a million runs nearly all are like the ones before. Those are let through at a glance.
    pub fn run<'a>(
        &mut self,
        workload: impl Fn() -> String,
        run_id: impl Fn() -> String,
        members: impl Iterator<Item = (usize, &'a str, &'a Facts)> + Clone,
    ) {
        let Some((_, first, facts)) = members.clone().next() else { return };
        let shape = Shape::from(facts);
        let several = members.clone().any(|(_, backend, _)| backend != first);
        let differ = members.clone().any(|(_, _, facts)| Shape::from(facts) != shape);
        self.found.by_run |= several;
        for (group, backend, facts) in members.clone() {
            if self.seen.len() < MOST_TEXTS && self.seen.insert((group, facts.into())) {
                add(self.workloads.entry(workload()).or_default(), backend, facts.into());
            }
        }
        if several && differ {
            let mut shapes = Shapes::new();
            members.for_each(|(_, backend, facts)| add(&mut shapes, backend, facts.into()));
            self.report(&workload(), &run_id(), &shapes);
        }
    }

    /// What differs, once all runs were taken.
    pub fn finish(mut self) -> Mismatches {
        let workloads = std::mem::take(&mut self.workloads);
        if !self.found.by_run {
            for (workload, shapes) in &workloads {
                let sets: Vec<_> = shapes.values().map(|list| sorted(list)).collect();
                if sets.windows(2).any(|two| two[0] != two[1]) {
                    self.report(workload, "(any)", shapes);
                }
            }
        }
        self.report_workloads(&workloads);
        self.found
    }

    fn report(&mut self, workload: &str, run_id: &str, shapes: &Shapes) {
        if self.found.rows.len() >= MOST_ROWS {
            self.found.left_out += 1;
            return;
        }
        let all: Vec<Shape> = shapes.values().flatten().copied().collect();
        let differing = differing(&all);
        let text = |hash: u64| match hash {
            0 => "n/a",
            _ => self.texts.get(&hash).map_or("(another)", String::as_str),
        };
        let values = |shape: &Shape| {
            let mut shown = format!(
                "seed={}, nodes={}, parallelism={}, config_hash={}",
                shape.seed,
                shape.nodes,
                shape.parallelism,
                text(shape.config)
            );
            // The guide's four are always shown; these only when they are the point.
            if differing.contains(&"plugin_api") {
                shown += &format!(", plugin_api={}", text(shape.api));
            }
            if differing.contains(&"host") {
                shown += &format!(", host=({})", text(shape.host));
            }
            if differing.contains(&"embedding_endpoint") {
                shown += &format!(", embedding_endpoint=({})", text(shape.embedding));
            }
            shown
        };
        let detail: Vec<String> = shapes
            .iter()
            .map(|(backend, list)| {
                format!("{backend}: {}", list.iter().map(values).collect::<Vec<_>>().join(" / "))
            })
            .collect();
        self.found.rows.push(Mismatch {
            workload: workload.into(),
            run_id: run_id.into(),
            backend_count: shapes.len(),
            differing,
            detail: detail.join("; "),
        });
    }

    /// Backends that ran different workloads cannot be compared on all of them.
    fn report_workloads(&mut self, workloads: &BTreeMap<String, Shapes>) {
        let mut ran: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (workload, shapes) in workloads {
            shapes.keys().for_each(|backend| ran.entry(backend).or_default().push(workload));
        }
        let lists: Vec<_> = ran.values().collect();
        if lists.windows(2).any(|two| two[0] != two[1]) && self.found.rows.len() < MOST_ROWS {
            let detail: Vec<_> =
                ran.iter().map(|(b, list)| format!("{b}: workload={}", list.join(" / "))).collect();
            self.found.rows.push(Mismatch {
                workload: "(several)".into(),
                run_id: "(any)".into(),
                backend_count: ran.len(),
                differing: vec!["workload"],
                detail: detail.join("; "),
            });
        }
    }
}

fn add(shapes: &mut Shapes, backend: &str, shape: Shape) {
    if !shapes.contains_key(backend) {
        shapes.insert(backend.to_owned(), Vec::new());
    }
    if let Some(list) = shapes.get_mut(backend)
        && list.len() < MOST_SHAPES
        && !list.contains(&shape)
    {
        list.push(shape);
    }
}

fn sorted(list: &[Shape]) -> Vec<Shape> {
    let mut list = list.to_vec();
    list.sort_unstable();
    list
}

type Part = fn(&Shape) -> u64;

fn differing(shapes: &[Shape]) -> Vec<&'static str> {
    let differs = |part: Part| shapes.windows(2).any(|two| part(&two[0]) != part(&two[1]));
    let parts: [(&'static str, Part); 7] = [
        ("seed", |s| s.seed),
        ("nodes", |s| s.nodes.into()),
        ("parallelism", |s| s.parallelism.into()),
        ("config_hash", |s| s.config),
        ("plugin_api", |s| s.api),
        ("host", |s| s.host),
        ("embedding_endpoint", |s| s.embedding),
    ];
    parts.into_iter().filter(|(_, part)| differs(*part)).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{collected, record};
    use serde_json::{Value, json};

    fn found(records: &[Value]) -> Mismatches {
        collected(records).mismatches
    }

    #[test]
    fn a_matched_pair_has_none() {
        assert!(found(&[record("sage", "1", 0), record("ray", "1", 1)]).is_empty());
        assert!(found(&[record("sage", "1", 0), record("ray", "2", 1)]).is_empty());
    }

    #[test]
    fn one_run_id_with_two_seeds_is_a_row_with_both_values() {
        let mut other = record("sage", "1", 1);
        other["seed"] = json!(7);
        let mismatches = found(&[record("ray", "1", 0), other]);
        let row = &mismatches.rows[0];
        assert_eq!((row.run_id.as_str(), row.backend_count, row.differing.clone()), ("1", 2, vec!["seed"]));
        assert_eq!(
            row.detail,
            "ray: seed=42, nodes=1, parallelism=4, config_hash=a3f1; \
             sage: seed=7, nodes=1, parallelism=4, config_hash=a3f1"
        );
    }

    #[test]
    fn separate_runs_are_compared_by_workload() {
        let mut other = record("sage", "2", 1);
        other["parallelism"] = json!(8);
        let mismatches = found(&[record("ray", "1", 0), other]);
        assert!(!mismatches.by_run);
        assert_eq!((mismatches.rows[0].run_id.as_str(), mismatches.rows.len()), ("(any)", 1));
    }

    #[test]
    fn plugin_api_and_host_are_named_when_they_differ() {
        let mut ray = record("ray", "1", 0);
        ray["extra"] = json!({"plugin": {"api": "1.0"}, "host": {"cores": 2}});
        let mut sage = record("sage", "1", 1);
        sage["extra"] = json!({"plugin": {"api": "1.1"}, "host": {"cores": 4}});
        let row = &found(&[ray, sage]).rows[0];
        assert_eq!(row.differing, ["plugin_api", "host"]);
        assert!(row.detail.contains("plugin_api=1.1, host=(cores 4)"), "{}", row.detail);
    }

    #[test]
    fn another_model_behind_the_embedding_endpoint_is_named() {
        let served =
            |fingerprint: &str| json!({"embedding_endpoint": {"model": "m", "fingerprint": fingerprint}});
        let (mut ray, mut sage) = (record("ray", "1", 0), record("sage", "1", 1));
        ray["extra"] = served("00ff");
        sage["extra"] = served("ff00");
        let row = &found(&[ray, sage]).rows[0];
        assert_eq!(row.differing, ["embedding_endpoint"]);
        assert!(row.detail.contains("embedding_endpoint=(fingerprint ff00, model m)"), "{}", row.detail);
    }

    #[test]
    fn different_workloads_are_a_row_of_their_own() {
        let mut other = record("sage", "1", 1);
        other["workload"] = json!("wl1");
        let mismatches = found(&[record("ray", "1", 0), other]);
        assert_eq!(mismatches.rows[0].detail, "ray: workload=wl4; sage: workload=wl1");
    }
}
