//! Turns the sorted stream of runs into [`Collected`].
//!
//! The stream arrives grouped by workload and run, so pairs and mismatches need only the members
//! of the current run. Each limit below bounds one thing that a user, or a hostile file, could make
//! arbitrarily many.

use std::collections::{BTreeSet, HashMap};

use xxhash_rust::xxh3::xxh3_64;

use super::facts::{Facts, Metric};
use super::mismatch::Watch;
use super::model::{Collected, Digest, Group, Pairs, Run, Setting, Totals, inside};
use super::sort::Entry;
use super::sources::Source;
use super::{Options, Result, key};
use bench_record::schema::FIELDS;
use bench_record::{Evidence, spreadsheet};
use serde_json::Map;

const MOST_GROUPS: usize = 1_024;
const MOST_RUNS: usize = 2_000;
const MOST_MEMBERS: usize = 50_000;
const MOST_PAIRS: usize = 10_000;
/// Digests of one input, and of all inputs of a group.
const MOST_DIGESTS: usize = 4;
const MOST_DIGESTS_OF_ALL: usize = 1_024;

/// A run of the current `run_id`.
struct Member {
    group: usize,
    facts: Facts,
}

/// Takes runs one by one.
pub(crate) struct Collector<'a> {
    sources: &'a [Source],
    include_invalid: bool,
    collected: Collected,
    totals: HashMap<u64, Totals>,
    workloads: BTreeSet<String>,
    settings: HashMap<u128, usize>,
    /// By setting and backend, both hashed. Every record asks.
    groups: HashMap<(u128, u64), usize>,
    digests: HashMap<(usize, u64, u128), usize>,
    pairs: HashMap<(usize, usize), Pairs>,
    watch: Watch,
    /// Workload and run of the members, as bytes of the key.
    current: Vec<u8>,
    members: Vec<Member>,
}

impl<'a> Collector<'a> {
    pub fn new(sources: &'a [Source], options: &Options) -> Self {
        Collector {
            sources,
            include_invalid: options.include_invalid,
            collected: Collected { sources: sources.to_vec(), ..Collected::default() },
            totals: HashMap::new(),
            workloads: BTreeSet::new(),
            settings: HashMap::new(),
            groups: HashMap::new(),
            digests: HashMap::new(),
            pairs: HashMap::new(),
            watch: Watch::default(),
            current: Vec::new(),
            members: Vec::new(),
        }
    }

    pub fn take(&mut self, entry: Entry) -> Result<()> {
        let facts = entry.facts();
        let [workload, run, backend] = key::parts(entry.key);
        let together = &entry.key[..workload.len() + run.len() + 2];
        if together != self.current {
            self.end_run();
            self.current.clear();
            self.current.extend_from_slice(together);
        }
        let name = xxh3_64(backend);
        self.total(name, backend, &facts);
        let known = self.groups.get(&(facts.setting, name)).copied();
        let detailed = self.collected.runs.len() < MOST_RUNS;
        let wanted = known.is_none_or(|group| self.new_digest(group, &facts));
        let row = (wanted || detailed || self.watch.wants_texts(&facts)).then(|| Row::read(&entry));
        if let Some(row) = &row {
            self.learn(row, &facts);
        }
        let Some(group) = known.or_else(|| self.new_group(name, backend, &facts)) else {
            self.collected.groups_left_out += 1;
            return Ok(());
        };
        if self.members.len() < MOST_MEMBERS {
            self.members.push(Member { group, facts });
        }
        self.count(group, &facts, row.as_ref(), &entry);
        match row {
            Some(row) if detailed => self.detail(row, &facts, &entry, key::text(backend)),
            _ => self.collected.runs_left_out += 1,
        }
        Ok(())
    }

    pub fn finish(mut self) -> Collected {
        self.end_run();
        let mut collected = self.collected;
        collected.totals = self.totals.into_values().collect();
        collected.totals.sort_by(|a, b| a.backend.cmp(&b.backend));
        collected.workloads = self.workloads.into_iter().collect();
        collected.mismatches = self.watch.finish();
        collected.pairs = self.pairs.into_values().collect();
        order_by_setting(&mut collected);
        collected
    }

    fn total(&mut self, name: u64, backend: &[u8], facts: &Facts) {
        let empty = || Totals { backend: key::text(backend), ..Totals::default() };
        let totals = self.totals.entry(name).or_insert_with(empty);
        totals.records += 1;
        self.collected.closed += u64::from(facts.closed);
        let said =
            |metric: &Metric| facts.answered() || matches!(metric, Metric::SuccessRate | Metric::Duration);
        for metric in Metric::ALL.into_iter().filter(said) {
            totals.metrics[metric as usize].push(facts.metrics[metric as usize]);
        }
    }

    /// Remembers the texts behind hashes that are new.
    fn learn(&mut self, row: &Row, facts: &Facts) {
        self.workloads.insert(row.cell("workload").to_owned());
        let from = row.evidence.place.drawn_from.as_ref().map(|from| from.config_hash.as_str());
        let config = from.or_else(|| Some(row.cell("config_hash")).filter(|hash| !hash.is_empty()));
        self.watch.learn(facts, config, &row.evidence);
        if !self.settings.contains_key(&facts.setting) && self.collected.settings.len() < MOST_GROUPS {
            self.settings.insert(facts.setting, self.collected.settings.len());
            self.collected.settings.push(Setting {
                workload: row.cell("workload").to_owned(),
                nodes: facts.nodes,
                parallelism: facts.parallelism,
                seed: facts.seed,
                config_hash: config.map(str::to_owned),
                drawn: facts.drawn,
            });
        }
    }

    fn new_group(&mut self, name: u64, backend: &[u8], facts: &Facts) -> Option<usize> {
        let setting = *self.settings.get(&facts.setting)?;
        if self.groups.len() >= MOST_GROUPS {
            return None;
        }
        let group = self.collected.groups.len();
        self.collected.groups.push(Group { setting, backend: key::text(backend), ..Group::default() });
        self.groups.insert((facts.setting, name), group);
        Some(group)
    }

    fn new_digest(&self, group: usize, facts: &Facts) -> bool {
        let is_new = |digest| !self.digests.contains_key(&(group, facts.input, digest));
        facts.digest.is_some_and(is_new) && has_room(&self.collected.groups[group], facts.input)
    }

    fn count(&mut self, index: usize, facts: &Facts, row: Option<&Row>, entry: &Entry) {
        let group = &mut self.collected.groups[index];
        group.records += 1;
        group.invalid += u64::from(facts.invalid);
        group.partial += u64::from(facts.partial);
        group.unanswered += u64::from(!facts.partial && !facts.answered());
        if facts.items > 0 {
            group.items = Some(group.items.map_or(facts.items, |least| least.min(facts.items)));
        }
        if is_usable(facts, self.include_invalid) {
            group.metrics.iter_mut().zip(facts.metrics).for_each(|(sample, value)| sample.push(value));
        }
        // An older record may have a digest of no answers at all, and two of those would be equal.
        if facts.partial || !facts.answered() {
            return;
        }
        let Some(digest) = facts.digest else {
            group.without_digest += 1;
            return;
        };
        let key = (index, facts.input, digest);
        if let Some(known) = self.digests.get(&key) {
            group.digests[*known].runs += 1;
        } else if let Some(row) = row
            && has_room(group, facts.input)
        {
            self.digests.insert(key, group.digests.len());
            let folder = self.sources[key::source(entry.key) as usize].folder();
            group.digests.push(Digest {
                text: row.evidence.output_digest.clone().unwrap_or_default(),
                input: facts.input,
                runs: 1,
                items_file: row.evidence.items_file.as_deref().and_then(|name| inside(folder, name)),
            });
        } else if group.digests.len() >= MOST_DIGESTS_OF_ALL {
            // What is not kept is not compared.
            group.without_digest += 1;
        }
    }

    fn detail(&mut self, row: Row, facts: &Facts, entry: &Entry, backend: String) {
        let source = &self.sources[key::source(entry.key) as usize];
        self.collected.runs.push(Run {
            backend,
            run_id: row.cell("run_id").to_owned(),
            setting: self.settings.get(&facts.setting).copied().unwrap_or_default(),
            timestamp: row.cell("timestamp").to_owned(),
            metrics: facts.metrics,
            // Of two thousand runs this would be most of the memory.
            evidence: Evidence { effective_config: Map::new(), rest: Map::new(), ..row.evidence },
            folder: source.folder().to_path_buf(),
            source: source.path.clone(),
        });
    }

    /// Pairs and mismatches of the run whose members are complete.
    fn end_run(&mut self) {
        let mut members = std::mem::take(&mut self.members);
        let groups = &self.collected.groups;
        let text = |part: usize| key::text(key::parts(&self.current)[part]);
        let shapes = members.iter().map(|m| (m.group, groups[m.group].backend.as_str(), &m.facts));
        self.watch.run(|| text(0), || text(1), shapes);
        if members.len() > 1 {
            self.pair_up(&members);
        }
        members.clear();
        self.members = members;
    }

    fn pair_up(&mut self, members: &[Member]) {
        let mut order: Vec<usize> = members.iter().map(|member| member.group).collect();
        order.sort_unstable();
        // Without a pair's number, a run_id is a pair if it has one run of each side.
        let single = order.windows(2).all(|two| two[0] != two[1]);
        let place = |member: &Member| {
            let pair = member.facts.pair.or(single.then_some(0))?;
            Some((self.collected.groups[member.group].setting, pair))
        };
        let mut placed: Vec<_> = members.iter().filter_map(|m| Some((place(m)?, m))).collect();
        placed.sort_by_key(|(place, _)| *place);
        for sides in placed.chunk_by(|a, b| a.0 == b.0) {
            for (number, (_, first)) in sides.iter().enumerate() {
                let others = sides[number + 1..].iter().filter(|(_, second)| second.group != first.group);
                others.for_each(|(_, second)| self.pair(first, second));
            }
        }
    }

    fn pair(&mut self, first: &Member, second: &Member) {
        let groups = &self.collected.groups;
        let (a, b) = (&groups[first.group], &groups[second.group]);
        let (first, second, a, b) =
            if a.backend <= b.backend { (first, second, a, b) } else { (second, first, b, a) };
        let pairs = self.pairs.entry((first.group, second.group)).or_insert_with(|| Pairs {
            setting: a.setting,
            first: a.backend.clone(),
            second: b.backend.clone(),
            log_ratios: Default::default(),
            unusable: 0,
            until_known: false,
        });
        pairs.until_known |= first.facts.until_known || second.facts.until_known;
        let usable = |member: &Member| is_usable(&member.facts, self.include_invalid);
        if !usable(first) || !usable(second) || first.facts.input != second.facts.input {
            pairs.unusable += 1;
            return;
        }
        for (list, metric) in pairs.log_ratios.iter_mut().zip(Metric::ALL) {
            let value = |member: &Member| member.facts.metrics[metric as usize];
            let ratio = (value(first) / value(second)).ln();
            if ratio.is_finite() && list.len() < MOST_PAIRS {
                list.push(ratio);
            }
        }
    }
}

/// Whether another digest of this input can be kept.
fn has_room(group: &Group, input: u64) -> bool {
    group.digests.len() < MOST_DIGESTS_OF_ALL
        && group.digests.iter().filter(|digest| digest.input == input).count() < MOST_DIGESTS
}

/// Whether a run's numbers may decide anything.
fn is_usable(facts: &Facts, include_invalid: bool) -> bool {
    !facts.partial && facts.answered() && (include_invalid || !facts.invalid)
}

/// A finished row, taken apart again. Only done for what is kept.
struct Row {
    cells: csv::StringRecord,
    evidence: Evidence,
}

impl Row {
    fn read(entry: &Entry) -> Row {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(entry.row);
        let mut cells = csv::StringRecord::new();
        // We wrote the row ourselves a moment ago; if it could not be read, it would read as empty.
        let _ = reader.read_record(&mut cells);
        let extra = cells.get(FIELDS.len() - 1).and_then(|text| serde_json::from_str(text).ok());
        Row { evidence: extra.map(|extra| Evidence::of(&extra)).unwrap_or_default(), cells }
    }

    fn cell(&self, name: &str) -> &str {
        let place = FIELDS.iter().position(|field| field.name == name);
        spreadsheet::text(place.and_then(|place| self.cells.get(place)).unwrap_or_default())
    }
}

/// Settings in their natural order, and everything that points at them.
fn order_by_setting(collected: &mut Collected) {
    let mut order: Vec<usize> = (0..collected.settings.len()).collect();
    order.sort_by(|a, b| collected.settings[*a].cmp(&collected.settings[*b]));
    let mut place = vec![0; order.len()];
    order.iter().enumerate().for_each(|(new, old)| place[*old] = new);
    collected.settings.sort();
    collected.groups.iter_mut().for_each(|group| group.setting = place[group.setting]);
    collected.groups.sort_by(|a, b| (a.setting, &a.backend).cmp(&(b.setting, &b.backend)));
    collected.pairs.iter_mut().for_each(|pairs| pairs.setting = place[pairs.setting]);
    collected.pairs.sort_by(|a, b| (a.setting, &a.first, &a.second).cmp(&(b.setting, &b.first, &b.second)));
    collected.runs.iter_mut().for_each(|run| run.setting = place.get(run.setting).copied().unwrap_or(0));
}
