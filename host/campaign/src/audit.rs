//! A run again with inputs that its backend does not expect.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::again::Subject;
use super::run::{Failure, Runner, Wanted};
use bench_isolate::isolate::StopLevel;
use bench_judge::audit::{Report, Run, Variant, is_open, judge, overall};
use bench_measure::plan::{Load, Plan, Variation};
use bench_measure::reference::{self, Answers};
use bench_measure::supervise::{Finished, claim_folder};
use bench_measure::workloads::random::{Stream, stream};
use bench_record::evidence::Place;
use bench_record::schema::new_run_id;
use bench_record::{self as results, spreadsheet, table};

/// So many queries say the same when queries are repeated.
const SAME: u32 = 8;
/// Fewest queries of a run that is to say anything of speed.
const FEWEST: u32 = 20;

/// An audit of one subject.
#[derive(Debug)]
pub struct Audit<'a> {
    pub subject: &'a Subject,
    /// Where runs and indexes go; removed by whoever made it.
    pub folder: &'a Path,
    /// Where the other seeds and orders come from.
    pub seed: u64,
    pub rounds: u32,
    /// The operators' library of this bench: answers of another may be others.
    pub workloads_sha256: Option<&'a str>,
}

impl Audit<'_> {
    /// Asks every question until it is answered.
    ///
    /// # Errors
    /// When a run fails, what is right cannot be computed, or the user wants no more.
    pub fn run<R: Runner>(&self, runner: &mut R) -> Result<Report, R::Failure> {
        let recorded = self.recorded(runner)?;
        let mut runs: Vec<Run> = Vec::new();
        for round in 0..self.rounds {
            let open = |variant: &Variant| is_open(&runs, *variant, self.rounds);
            let mut variants: Vec<Variant> = Variant::COMPARED.into_iter().filter(open).collect();
            if variants.is_empty() {
                break;
            }
            variants.push(Variant::AsRecorded);
            self.drawn("audit order", round).shuffle(&mut variants);
            for variant in variants {
                runs.push(self.one(variant, round, runner)?);
            }
        }
        let answers = judge(&runs, recorded, self.rounds);
        let record = &self.subject.record;
        Ok(Report {
            backend: self.subject.backend.clone(),
            workload: record.workload.clone(),
            run_id: record.run_id.clone(),
            config_hash: record.config_hash.clone(),
            seed: self.seed,
            outcome: overall(&answers),
            answers,
            runs,
        })
    }

    fn drawn(&self, what: &str, round: u32) -> Stream {
        stream(self.seed, what, u64::from(round))
    }

    /// What the run is repeated with. All of it as fast as it goes, or speed would be that of the arrivals.
    fn plan(&self, variant: Variant, round: u32) -> Plan {
        let plan = Plan {
            load: Load::Closed,
            repeat: 1,
            cache_dir: self.folder.join("cache"),
            ..self.subject.plan.clone()
        };
        let number = |what| (u64::from(self.drawn(what, round).below(u32::MAX)) << 16) | u64::from(round);
        match variant {
            Variant::AsRecorded => plan,
            Variant::Fewer => {
                let room = plan.num_tasks.saturating_sub(plan.warmup_items + FEWEST).min(plan.num_tasks / 10);
                let fewer = if room == 0 { 0 } else { 1 + self.drawn("fewer", round).below(room) };
                Plan { num_tasks: plan.num_tasks - fewer, ..plan }
            }
            Variant::OtherOrder => {
                let variation = Variation { order: Some(number("order")), ..plan.variation };
                Plan { variation, ..plan }
            }
            Variant::OtherSeed => Plan { seed: number("seed"), ..plan },
            Variant::Repeated => {
                let distinct = Some((plan.num_tasks / SAME).max(1));
                Plan { variation: Variation { order: Some(number("repeated")), distinct }, ..plan }
            }
        }
    }

    /// What is wrong with the answers that were recorded, or why nobody can say.
    fn recorded<R: Runner>(&self, runner: &mut R) -> Result<Result<Option<String>, String>, R::Failure> {
        let evidence = self.subject.record.evidence();
        if evidence.workloads_sha256.as_deref() != self.workloads_sha256 {
            return Ok(Err(
                "it was recorded by another version of bench, whose answers may be others".to_owned()
            ));
        }
        let Some(digest) = evidence.output_digest else {
            return Ok(Err("its record has no digest of its answers".to_owned()));
        };
        let right = self.right(&self.plan(Variant::AsRecorded, 0), runner)?;
        if right.output_digest == digest {
            return Ok(Ok(None));
        }
        let failed = evidence.items.failed.unwrap_or(0);
        if failed != right.failed {
            return Ok(Err(format!("{failed} items failed when it was recorded")));
        }
        Ok(Ok(Some("its answers were not those that bench computes".to_owned())))
    }

    /// What bench itself answers.
    fn right<R: Runner>(&self, plan: &Plan, runner: &mut R) -> Result<Answers, R::Failure> {
        runner.prepare(plan)?;
        let over = || runner.stop().level() > StopLevel::Go;
        match reference::answers(plan, &over) {
            Ok(Some(answers)) => Ok(answers),
            Ok(None) => Err(Failure::interrupted()),
            Err(cause) => {
                let source = io::Error::other(cause.to_string());
                Err(results::Error::io("compute the answers of", self.folder)(source).into())
            }
        }
    }

    fn one<R: Runner>(&self, variant: Variant, round: u32, runner: &mut R) -> Result<Run, R::Failure> {
        if runner.stop().level() > StopLevel::Go {
            return Err(Failure::interrupted());
        }
        let plan = self.plan(variant, round);
        // Before the run: the operators' indexes are then there for both.
        let right = self.right(&plan, runner)?;
        // Nothing tells the backend that this is no run like any other.
        let (run_id, output_dir) = (new_run_id(), self.folder.join("results"));
        let folder = claim_folder(&output_dir, &run_id, &self.subject.backend, 0)?;
        let wanted = Wanted {
            backend: &self.subject.backend,
            plan: &plan,
            run_id: &run_id,
            repeat_index: 0,
            output_dir: &output_dir,
            folder: &folder,
            place: Place::default(),
            label: format!("{}, {}", self.subject.backend, variant.name()),
            to_its_end: false,
            loss: None,
        };
        let finished = runner.run(&wanted, &mut ())?;
        runner.answered(&finished)?;
        if finished.measured.partial {
            return Err(Failure::interrupted());
        }
        let (wrong, unknown) = held_against(&finished, &right);
        let measured = &finished.measured;
        let (seed, items, throughput) = (plan.seed, measured.timed, measured.throughput);
        Ok(Run { round, variant, seed, items, throughput, wrong, unknown })
    }
}

/// What is wrong with the answers of a run, or why they say nothing.
fn held_against(finished: &Finished, right: &Answers) -> (Option<String>, Option<String>) {
    let measured = &finished.measured;
    if measured.output_digest.as_ref() == Some(&right.output_digest) {
        return (None, None);
    }
    match first_wrong(&finished.folder.join("items.csv"), &right.digests) {
        Ok(Some((count, first))) => {
            let which =
                if count == 1 { "the answer".to_owned() } else { format!("{count} answers, the first") };
            (Some(format!("{which} to {first}, not what bench computes")), None)
        }
        _ if measured.failed != right.failed => (None, Some(format!("{} items failed", measured.failed))),
        Ok(None) => (Some("the answers are not to the queries that were asked".to_owned()), None),
        Err(cause) => (None, Some(format!("its items cannot be read: {cause}"))),
    }
}

/// How many answers are wrong, and the first query of one.
fn first_wrong(items: &Path, right: &HashMap<String, [u8; 32]>) -> io::Result<Option<(usize, String)>> {
    let mut rows = csv::ReaderBuilder::new().flexible(true).from_reader(table::open(items)?);
    let mut found: Option<(usize, String)> = None;
    for row in rows.records() {
        let row = row.map_err(io::Error::other)?;
        let (id, ok) = (spreadsheet::text(row.get(0).unwrap_or_default()), row.get(1) == Some("true"));
        let digest = right.get(id).map(hex::encode);
        if ok && digest.as_deref() != row.get(2) {
            found.get_or_insert((0, id.to_owned())).0 += 1;
        }
    }
    Ok(found)
}
