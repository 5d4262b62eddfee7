//! Did the backends give the same answers?
//!
//! A backend that is fast and wrong is not fast. `output_digest` is equal exactly when every item
//! got the same answer, so equality is one comparison of texts. When it fails, the items files say
//! where: the first items that differ and, since each stage's digest has a column in graph order,
//! the first stage at which they parted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::model::{Collected, Digest, Group};
use bench_record::found::Found;
use bench_record::spreadsheet;
use bench_record::vectors::{self, Apart, Vectors};

/// How many differing items are named.
pub const SHOWN: usize = 5;

/// Columns of an items file before those of the stages.
const FIXED_COLUMNS: usize = 4;

/// Items files beyond this size are not held in memory.
const MOST_BYTES: u64 = 256 << 20;

/// What the answers of one setting's backends say.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Equality {
    /// Index into [`Collected::settings`].
    pub setting: usize,
    /// Per backend, in order: its digests, most frequent first.
    pub backends: Vec<(String, Vec<String>)>,
    /// What follows.
    pub outcome: Outcome,
    /// For each pair of backends that differ, where.
    pub differences: Vec<Difference>,
}

/// Whether answers are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All runs of all backends have one digest.
    Equal,
    /// They do not.
    Differ,
    /// Some runs have no answers, and those that have some agree.
    Unanswered,
    /// Some runs have no digest, and those that have one agree.
    Unknown,
}

/// Where the answers of two backends part.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Difference {
    /// One backend.
    pub first: String,
    /// The other. The same name if a backend contradicts itself.
    pub second: String,
    /// How many items differ, when the items files could be read.
    pub items: Option<u64>,
    /// The first of them.
    pub examples: Vec<Example>,
    /// How far the vectors of their texts are apart, where a service gave them and both kept theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embeddings: Option<Apart>,
    /// Why there are no examples.
    pub note: Option<String>,
}

/// An item with different answers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Example {
    /// Which item.
    pub query_id: String,
    /// The first stage whose output differs, if any stage's does.
    pub stage: Option<String>,
    /// What the first backend answered, in a few words.
    pub first: String,
    /// What the second did.
    pub second: String,
}

impl Equality {
    /// Whether answers differ.
    pub fn differs(&self) -> bool {
        self.outcome == Outcome::Differ
    }

    /// Whether these two may be ranked: nothing says that their answers differ.
    pub fn allows(&self, first: &str, second: &str) -> bool {
        let among = |name: &str| name == first || name == second;
        !self.differences.iter().any(|d| among(&d.first) && among(&d.second))
    }
}

/// Checks every setting that has a digest or more than one backend.
pub fn check(collected: &Collected) -> Vec<Equality> {
    let settings = 0..collected.settings.len();
    settings
        .filter_map(|setting| check_setting(setting, &collected.groups_of(setting).collect::<Vec<_>>()))
        .collect()
}

fn check_setting(setting: usize, groups: &[&Group]) -> Option<Equality> {
    let has_digest = groups.iter().any(|group| !group.digests.is_empty());
    let unanswered = groups.iter().any(|group| group.unanswered > 0);
    let alone = groups.len() < 2 && groups.iter().all(|group| group.records < 2 || group.digests.is_empty());
    if alone && !unanswered {
        return None;
    }
    let mut differences = Vec::new();
    for (place, first) in groups.iter().enumerate() {
        if let Some((one, another)) = contradiction(&first.digests) {
            differences.push(difference((&first.backend, one), (&first.backend, another)));
        }
        for second in &groups[place + 1..] {
            if let Some((mine, theirs)) = parted(&first.digests, &second.digests) {
                differences.push(difference((&first.backend, mine), (&second.backend, theirs)));
            }
        }
    }
    let complete = has_digest && groups.iter().all(|group| group.without_digest == 0);
    let outcome = match (differences.is_empty(), complete) {
        (false, _) => Outcome::Differ,
        (true, _) if unanswered => Outcome::Unanswered,
        (true, true) => Outcome::Equal,
        (true, false) => Outcome::Unknown,
    };
    let backends = groups.iter().map(|group| {
        let mut digests = group.digests.clone();
        digests.sort_by_key(|digest| std::cmp::Reverse(digest.runs));
        (group.backend.clone(), digests.into_iter().map(|digest| digest.text).collect())
    });
    Some(Equality { setting, backends: backends.collect(), outcome, differences })
}

/// Two answers of one backend to one input.
fn contradiction(digests: &[Digest]) -> Option<(&Digest, &Digest)> {
    let other =
        |one: &Digest| digests.iter().find(|other| other.input == one.input && other.text != one.text);
    digests.iter().find_map(|one| Some((one, other(one)?)))
}

/// Answers of two backends to one input, of which the second never gave the first's.
pub(crate) fn parted<'a>(first: &'a [Digest], second: &'a [Digest]) -> Option<(&'a Digest, &'a Digest)> {
    first.iter().find_map(|mine| {
        let mut theirs = second.iter().filter(|theirs| theirs.input == mine.input).peekable();
        let one = *theirs.peek()?;
        (!theirs.any(|theirs| theirs.text == mine.text)).then_some((mine, one))
    })
}

fn difference(first: (&str, &Digest), second: (&str, &Digest)) -> Difference {
    let mut found = Difference {
        first: first.0.into(),
        second: second.0.into(),
        items: None,
        examples: Vec::new(),
        embeddings: apart(&first.1.items_file, &second.1.items_file),
        note: None,
    };
    match (&first.1.items_file, &second.1.items_file) {
        (Some(a), Some(b)) => match compare_items(a, b) {
            Ok((items, examples)) => {
                found.note = (items == 0).then(|| "the items files agree although the digests do not".into());
                (found.items, found.examples) = (Some(items), examples);
            }
            Err(reason) => found.note = Some(reason),
        },
        _ => found.note = Some("no items file was recorded, so the items cannot be named".into()),
    }
    found
}

/// How far the vectors beside two items files are apart. What is not there, or cannot be read, says nothing here.
fn apart(first: &Option<PathBuf>, second: &Option<PathBuf>) -> Option<Apart> {
    let load =
        |items: &Option<PathBuf>| Vectors::load(&items.as_ref()?.with_file_name(vectors::FILE_NAME)).ok();
    Some(load(first)?.apart(&load(second)?))
}

/// The answers in an items file: per query, its cells from `ok` on without the latency.
struct Items {
    stages: Vec<String>,
    answers: BTreeMap<QueryId, Answer>,
}

/// Numbers in numeric order, before all other names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum QueryId {
    Number(u64),
    Name(String),
}

struct Answer {
    ok: String,
    digest: String,
    stages: Vec<String>,
}

fn read_items(path: &Path) -> Result<Items, String> {
    let failed = |reason: String| format!("the items file {} cannot be read: {reason}", path.display());
    let file = Found::NAMED.at_most(MOST_BYTES).open(path).map_err(|error| failed(error.to_string()))?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
    let header = reader.headers().map_err(|error| failed(error.to_string()))?;
    let stages = header.iter().skip(FIXED_COLUMNS).map(str::to_owned).collect();
    let mut answers = BTreeMap::new();
    for row in reader.records() {
        let row = row.map_err(|error| failed(error.to_string()))?;
        let cell = |place: usize| row.get(place).unwrap_or_default().to_owned();
        let id = spreadsheet::text(row.get(0).unwrap_or_default());
        let id = id.parse().map_or_else(|_| QueryId::Name(id.to_owned()), QueryId::Number);
        let stages = row.iter().skip(FIXED_COLUMNS).map(str::to_owned).collect();
        answers.insert(id, Answer { ok: cell(1), digest: cell(2), stages });
    }
    Ok(Items { stages, answers })
}

fn compare_items(first: &Path, second: &Path) -> Result<(u64, Vec<Example>), String> {
    let (first, second) = (read_items(first)?, read_items(second)?);
    let mut examples = Vec::new();
    let mut count = 0;
    let ids: std::collections::BTreeSet<_> = first.answers.keys().chain(second.answers.keys()).collect();
    for id in ids {
        let (a, b) = (first.answers.get(id), second.answers.get(id));
        let equal = a.zip(b).is_some_and(|(a, b)| a.ok == b.ok && a.digest == b.digest);
        if equal {
            continue;
        }
        count += 1;
        if examples.len() < SHOWN {
            let stage = a.zip(b).and_then(|(a, b)| first_stage(&first.stages, a, &second.stages, b));
            examples.push(Example { query_id: name(id), stage, first: describe(a), second: describe(b) });
        }
    }
    Ok((count, examples))
}

/// Stages are matched by name, in the first file's order.
fn first_stage(names: &[String], a: &Answer, other_names: &[String], b: &Answer) -> Option<String> {
    let differs = |(place, name): &(usize, &String)| {
        let other = other_names.iter().position(|other| other == *name).and_then(|at| b.stages.get(at));
        a.stages.get(*place) != other
    };
    names.iter().enumerate().find(differs).map(|(_, name)| name.clone())
}

fn name(id: &QueryId) -> String {
    match id {
        QueryId::Number(number) => number.to_string(),
        QueryId::Name(name) => name.clone(),
    }
}

fn describe(answer: Option<&Answer>) -> String {
    const DIGITS: usize = 12;
    match answer {
        None => "missing".into(),
        Some(answer) if matches!(answer.ok.as_str(), "false" | "False" | "0") => "failed".into(),
        Some(answer) => answer.digest.chars().take(DIGITS).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{paired, write};
    use crate::{Options, collect};
    use serde_json::json;

    const HEAD: &str = "query_id,ok,digest,latency_ms,join,rerank\n";

    fn checked(sage: &str, ray: &str, digests: [&str; 2]) -> Vec<Equality> {
        let dir = tempfile::tempdir().unwrap();
        let mut records = paired(&[("sage", &[1.0]), ("ray", &[1.0])]);
        for (record, (digest, items)) in records.iter_mut().zip(digests.iter().zip([sage, ray])) {
            record["extra"]["output_digest"] = json!(digest);
            let name = format!("items-{}.csv", record["backend"].as_str().unwrap());
            std::fs::write(dir.path().join(&name), format!("{HEAD}{items}")).unwrap();
            record["extra"]["items_file"] = json!(name);
        }
        write(dir.path(), &records);
        check(&collect(&[dir.path().into()], &Options::default()).unwrap())
    }

    #[test]
    fn equal_digests_are_equal() {
        let equality = &checked("", "", ["d", "d"])[0];
        assert_eq!(equality.outcome, Outcome::Equal);
        assert!(equality.allows("sage", "ray"));
    }

    #[test]
    fn the_first_differing_items_and_stages_are_named() {
        let sage = "2,true,aa,1,j,r\n10,true,bb,1,j,r\n11,true,cc,1,j,r\n12,false,,1,,\n";
        let ray = "2,true,aa,9,j,r\n10,true,b2,1,j,X\n11,true,c2,1,X,X\n13,true,dd,1,j,r\n";
        let equality = &checked(sage, ray, ["d", "e"])[0];
        assert!(equality.differs() && !equality.allows("ray", "sage"));
        let difference = &equality.differences[0];
        assert_eq!((difference.first.as_str(), difference.items), ("ray", Some(4)));
        let shown: Vec<_> =
            difference.examples.iter().map(|e| (e.query_id.as_str(), e.stage.as_deref())).collect();
        assert_eq!(shown, [("10", Some("rerank")), ("11", Some("join")), ("12", None), ("13", None)]);
        assert_eq!((&*difference.examples[2].first, &*difference.examples[2].second), ("missing", "failed"));
    }

    #[test]
    fn without_a_digest_nothing_is_known_and_ranking_is_allowed() {
        let mut records = paired(&[("sage", &[1.0]), ("ray", &[1.0])]);
        records[0]["extra"] = json!({});
        let equality = &check(&crate::testing::collected(&records))[0];
        assert_eq!(equality.outcome, Outcome::Unknown);
        assert!(equality.allows("sage", "ray"));
    }

    #[test]
    fn a_backend_that_contradicts_itself_differs_and_says_why_it_has_no_items() {
        let mut records = paired(&[("sage", &[1.0, 2.0])]);
        records[1]["extra"]["output_digest"] = json!("other");
        let equality = &check(&crate::testing::collected(&records))[0];
        let difference = &equality.differences[0];
        assert_eq!((difference.first.as_str(), difference.second.as_str()), ("sage", "sage"));
        assert!(difference.note.as_deref().unwrap().contains("no items file"));
    }
}
