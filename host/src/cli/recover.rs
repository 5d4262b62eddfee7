//! `bench recover`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::output::{self, say};
use super::plan::{LoadModel, Warmup};
use super::run::dry_run;
use super::runner::Alone;
use super::screen;
use super::{Exit, RunArgs, Stopped};
use bench_campaign::recover::{self, Ended, Recovered, SETTLE, Wish};
use bench_judge::recovery::Verdict;
use bench_measure::loss::is_ours;
use bench_measure::plan::Plan;
use bench_measure::processes::started;
use bench_record::evidence::Victim;
use bench_record::folder::Numbering;
use bench_record::quantity::{LONGEST, count, duration_within, share};
use bench_record::{OutputLock, atomic, lock};
use bench_report as report;
use bench_report::html::{self, curves::Curves};

/// A shorter run has windows in which nothing happens.
const SHORTEST: Duration = Duration::from_secs(3);
/// The artefacts beside the page.
const FILES: [&str; 2] = ["recovery.json", "recovery.csv"];

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kill {
    /// The process of this run that ran the most operators, by SIGKILL.
    Worker,
    /// Of several nodes that the run has on this machine the one with that process, with all that runs there.
    Node,
    /// No process: an operator panics, once, while it has a record of the query at which it is time.
    Operator,
}

/// Flags of `bench recover`: those of `bench run`, and what is killed when.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RecoverArgs {
    /// How long the run with the kill is, about: seconds, or with units as in 90s, 5m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration_within(SHORTEST, LONGEST), allow_hyphen_values = true, help_heading = "Kill")]
    duration: Duration,
    /// Arrivals a second, as a share of what the backend does under a closed load, which two short runs find out; with
    /// --rate that many
    #[arg(long, value_name = "SHARE", default_value = "80%", value_parser = share, allow_hyphen_values = true, help_heading = "Kill")]
    share: f64,
    /// What is killed
    #[arg(long, value_enum, value_name = "WHAT", default_value = "worker", help_heading = "Kill")]
    kill: Kill,
    /// When: once so many of the arrivals are answered. The first fifth settles the backend, and what follows until the
    /// kill says what is usual
    #[arg(long, value_name = "SHARE", default_value = "40%", value_parser = share, allow_hyphen_values = true, help_heading = "Kill")]
    kill_at: f64,
    /// Kill this process of this machine instead, as a worker of a cluster that you run
    #[arg(long, value_name = "PID", value_parser = count::<u32>, allow_hyphen_values = true, help_heading = "Kill")]
    kill_pid: Option<u32>,
    /// The operator that panics with --kill operator [default: the first that has no state]
    #[arg(long, value_name = "NAME", help_heading = "Kill")]
    operator: Option<String>,
    #[command(flatten)]
    pub run: RunArgs,
}

const EXAMPLES: &str = "\
A steady open load; while it goes on, something is killed. The report says how long the throughput was down, until when \
answers were late and what that came to, and what was lost, answered twice or failed. `failed` is what --retries is for: \
0 is the default, and then what was in the killed process may be answered with a failure.

  bench recover --backend ray --retries 2
  bench recover --backend ray --nodes 2 --parallelism 4 --kill node --retries 2 --duration 2m
  bench recover --backend local --kill operator --retries 1
  bench recover --backend dask --backend-option dask_address=tcp://10.0.0.7:8786 --kill-pid 4711

Exit codes: 0 the kill was not felt, or recovered from, and every arrival was answered, once; 10 it was not; 13 the run \
was too short to say, or there was nothing to kill.";

impl RecoverArgs {
    fn check(&self) -> Result<(), Stopped> {
        let no = |text: &str| Err(Stopped::usage(text));
        let run = &self.run;
        if run.num_tasks.is_some() || run.warmup_items.is_some() || run.repeat.is_some() {
            return no(
                "`bench recover` has neither --num-tasks nor --warmup-items nor --repeat: use --duration",
            );
        }
        if run.warmup == Some(Warmup::Auto) {
            return no("`bench recover` lets the first fifth settle: leave --warmup out");
        }
        if run.load == Some(LoadModel::Closed) {
            return no("`bench recover` has an open load: leave --load out, or give a --rate");
        }
        if self.share <= 0.0 {
            return no("--share must be above 0");
        }
        if self.kill_at < SETTLE || self.kill_at >= 1.0 {
            return no("--kill-at must be from 20% to below 100%: the first fifth settles the backend");
        }
        if self.operator.is_some() && self.kill != Kill::Operator {
            return no("--operator belongs to --kill operator: add that, or leave --operator out");
        }
        if self.kill_pid.is_some() && self.kill == Kill::Operator {
            return no("--kill operator kills no process: leave --kill-pid or --kill out");
        }
        run.refuse_views_of_one_run()
    }

    fn wish(&self, plan: &Plan) -> Result<Wish, Stopped> {
        let named = self.kill_pid.map(|pid| {
            let wrong = is_ours(pid).map(|why| format!("--kill-pid {pid}: {why}"));
            let gone = || format!("--kill-pid {pid}: there is no such process on this machine");
            wrong.map_or_else(|| started(pid).map(|at| (pid, at)).ok_or_else(gone), Err)
        });
        let named = named.transpose().map_err(Stopped::usage)?;
        let what = match self.kill {
            _ if named.is_some() => Victim::Process,
            Kill::Worker => Victim::Worker,
            Kill::Node if plan.nodes < 2 => {
                let text =
                    "--kill node needs several: add --nodes 2, or more, of a backend that can have them";
                return Err(Stopped::usage(text));
            }
            Kill::Node => Victim::Node,
            Kill::Operator => Victim::Operator,
        };
        let (seconds, operator) = (self.duration.as_secs_f64(), self.operator.clone());
        Ok(Wish { seconds, share: self.share, what, at: self.kill_at, named, operator })
    }
}

pub fn recover(args: &RecoverArgs) -> Result<Exit, Stopped> {
    args.check()?;
    let plan = args.run.plan()?;
    let wish = args.wish(&plan)?;
    if args.run.dry_run {
        return dry_run(&args.run, &plan);
    }
    let (alone, mut runner) = Alone::ready(&args.run, plan)?;
    match recover::recover(&alone.trials(), &wish, &mut runner)? {
        Ended::Told(recovered) => show(args, &alone, &recovered),
        Ended::Refused { why, remedy } => Err(Stopped::new(Exit::Usage, why, remedy)),
        Ended::Spared(why) => {
            Err(Stopped::new(Exit::Inconclusive, format!("nothing was killed: {why}"), INSTEAD))
        }
    }
}

const INSTEAD: &str =
    "make an operator panic with --kill operator, or name a worker of a cluster of yours with --kill-pid";

fn show(args: &RecoverArgs, alone: &Alone, recovered: &Recovered) -> Result<Exit, Stopped> {
    let (found, output_dir) = (&recovered.report, &alone.output_dir);
    // What was seen is not lost when it cannot be kept.
    let unkept = |error: bench_record::Error| Stopped {
        rescued: serde_json::to_string_pretty(found).ok(),
        ..error.into()
    };
    let lock = OutputLock::acquire(output_dir, lock::DEFAULT_WAIT).map_err(unkept)?;
    let numbering = Numbering::free(&lock, &[FILES[0], FILES[1], html::FILE_NAME]);
    let names = FILES.map(|name| numbering.of(name));
    let mut files: Vec<PathBuf> = names.iter().map(|name| lock.path(name)).collect();
    let kept = atomic::write_json(&files[0], found)
        .and_then(|()| atomic::write(&files[1], recovered.csv().as_bytes()));
    kept.map_err(unkept)?;
    let (words, grid) = (report::recovery::words(found), report::recovery::grid(found));
    let page = Curves {
        title: &format!("Recovery of {}", found.backend),
        lead: &format!("{}, nodes {}, parallelism {}", found.workload, found.nodes, found.parallelism),
        notes: &words,
        charts: &report::recovery::charts(found),
        grid: &grid,
        files: &names,
    };
    files.extend(report::write_curves(&page, output_dir, numbering)?);
    if args.run.json {
        output::json(found)?;
    } else {
        screen::grid(&grid);
        words.iter().for_each(|line| say!("{line}"));
        files.iter().for_each(|file| screen::path(file));
    }
    Ok(match found.judgement.verdict {
        _ if found.is_clean() => Exit::Ok,
        Verdict::Unknown => Exit::Inconclusive,
        _ => Exit::Regression,
    })
}
