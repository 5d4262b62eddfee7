//! What a backend does when something goes wrong, and what it leaves behind.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::case::Case;
use super::super::probe::{MADE_UP, Twist};
use super::super::trial::Trial;
use super::super::{Area, Run, Surroundings, Test, TestResult, Verdict, require};
use super::availability::{footprint, settled, within};
use super::child;
use super::results::all_right;
use bench_isolate::load::LoadedBackend;
use bench_isolate::{Error, ErrorKind};

pub const TESTS: [Test; 13] = [
    test(
        "unreadable-graph-is-an-error",
        1,
        "A graph that cannot be read ends the run with an error, not with a panic or a crash.",
        no_graph,
    ),
    test(
        "refused-operator-is-an-error",
        1,
        "An operator that cannot be created ends the run with the host's own reason.",
        no_operator,
    ),
    test(
        "failed-source-is-an-error",
        1,
        "When the source fails in mid-stream the run ends with that error and is not reported as a success.",
        no_events,
    ),
    test(
        "failed-sink-is-an-error",
        1,
        "When the sink refuses results the run ends with that error: results that went nowhere are not success.",
        no_emit,
    ),
    test(
        "cancellation-is-prompt",
        1,
        "A cancelled run ends by itself within five seconds: after that the process is killed, and its runtime with it.",
        cancel,
    ),
    test(
        "draining-answers-what-began",
        1,
        "When the stream is cut short everything read so far is answered: a first Ctrl-C must not lose items.",
        drain,
    ),
    test(
        "log-lines-are-readable",
        1,
        "Log lines reach the host with a level from 1 to 5 and a text, so that they can be filtered.",
        logs,
    ),
    test(
        "runs-twice",
        2,
        "One backend object runs twice, with right answers both times and no thread or descriptor left by the first run.",
        run_twice,
    ),
    test(
        "instances-are-independent",
        3,
        "Two backend objects in one process run at the same time, each with its own answers: there is no hidden global.",
        concurrent,
    ),
    test(
        "an-unknown-scheduler-is-no-crash",
        1,
        "A scheduler hint that the backend does not know is ignored or refused by name.",
        scheduler,
    ),
    test(
        "unknown-options-are-no-crash",
        1,
        "Entries of the spec that the backend does not know are ignored: later hosts say more.",
        options,
    ),
    TIDY,
    test(
        "prints-nothing",
        1,
        "Nothing is printed to standard output or error in a run that goes well: what is worth saying goes to the log.",
        quiet,
    ),
];

/// The suite looks at what the process printed.
pub const PRINTS_NOTHING: &str = "prints-nothing";

const TIDY: Test = Test {
    name: "writes-only-to-its-temp-dir",
    area: Area::Behaviour,
    why: "Nothing is written to the home folder, the working directory or beside the plugin: the spec has a temp_dir for that.",
    weight: 1,
    surroundings: Surroundings::Private,
    run: Run::Child(tidy),
};

const fn test(name: &'static str, weight: u32, why: &'static str, run: fn(&Case) -> TestResult) -> Test {
    child(Area::Behaviour, name, weight, why, run)
}

/// A disturbed run must fail, and say why.
fn disturbed(case: &Case, twist: Twist, never: &str) -> TestResult {
    case.with_ready(|backend| {
        let ran = Trial::null(case, 400).twisted(twist).on(case, backend)?;
        if !ran.seen.disturbed {
            return Ok(Verdict::Skipped(never.into()));
        }
        Ok(match ran.account {
            Ok(_) => Verdict::Failed("it reported success".into()),
            Err(error) if error.kind == ErrorKind::Panic => Verdict::Failed(format!("it panicked: {error}")),
            Err(error) if error.message.trim().is_empty() => Verdict::Failed("its error says nothing".into()),
            Err(error) if twist != Twist::NoGraph && !error.message.contains(MADE_UP) => {
                Verdict::Warning(format!("its error does not repeat the host's reason: {error}"))
            }
            Err(_) => Verdict::Success,
        })
    })
}

fn no_graph(case: &Case) -> TestResult {
    disturbed(case, Twist::NoGraph, "it never asks for the graph")
}

fn no_operator(case: &Case) -> TestResult {
    disturbed(case, Twist::NoOperators, "its workers open operators themselves")
}

fn no_events(case: &Case) -> TestResult {
    disturbed(case, Twist::NoEvents(3), "it never asked for a third batch")
}

fn no_emit(case: &Case) -> TestResult {
    disturbed(case, Twist::NoEmit(1), "it never emitted anything")
}

fn cancel(case: &Case) -> TestResult {
    case.with_ready(|backend| {
        let ran = Trial::null(case, 1_000_000).twisted(Twist::Cancel(4)).on(case, backend)?;
        let Some(took) = ran.latency_of_cancellation() else {
            return Ok(Verdict::Failed("it ended before it was cancelled".into()));
        };
        let prompt = within(took, format!("it ended {:.1} s after it was cancelled", took.as_secs_f64()));
        Ok(match &ran.account {
            Ok(_) => Verdict::Failed("it reported a cancelled run as success".into()),
            Err(error) if error.kind != ErrorKind::Cancelled && !matches!(prompt, Verdict::Failed(_)) => {
                Verdict::Warning(format!("its error is not of the kind `cancelled`: {error}"))
            }
            Err(_) => prompt,
        })
    })
}

fn drain(case: &Case) -> TestResult {
    case.with_ready(|backend| {
        let ran = Trial::real(case, 120).twisted(Twist::Drain(3)).on(case, backend)?;
        ran.account()?;
        let wrong = ran.wrong(ran.emitted);
        require(wrong.is_none(), || wrong.unwrap_or_default())?;
        require(ran.emitted < 120, || "the stream was not cut short".into())?;
        Ok(Verdict::Success)
    })
}

fn logs(case: &Case) -> TestResult {
    case.with_ready(|backend| {
        let ran = Trial::null(case, 20).on(case, backend)?;
        ran.account()?;
        let odd =
            ran.seen.logs.iter().find(|(level, _, text)| !(1..=5).contains(level) || text.trim().is_empty());
        Ok(match odd {
            Some((level, target, text)) => {
                Verdict::Failed(format!("a line of level {level} from `{target}` says `{text}`"))
            }
            None if ran.seen.logs.is_empty() => {
                Verdict::Skipped("it logs nothing in a run that goes well".into())
            }
            None => Verdict::Success,
        })
    })
}

fn run_twice(case: &Case) -> TestResult {
    case.with_ready(|backend| {
        all_right(case, backend, &Trial::null(case, 50))?;
        settle();
        let before = footprint();
        let mut second = Trial::null(case, 50);
        second.plan.seed ^= 1;
        all_right(case, backend, &second)?;
        let after = settled(before);
        require(after.2 <= before.2, || format!("{} processes are left by a run", after.2))?;
        require(after.0 <= before.0, || format!("each run leaves {} threads", after.0 - before.0))?;
        require(after.1 <= before.1, || format!("each run leaves {} open descriptors", after.1 - before.1))?;
        Ok(Verdict::Success)
    })
}

/// Threads and processes that are just ending are still counted.
fn settle() {
    std::thread::sleep(Duration::from_millis(300));
}

fn concurrent(case: &Case) -> TestResult {
    case.with_ready(|first| {
        let second = case.load()?;
        case.channel.phase("run");
        let mut other = Trial::null(case, 80);
        other.plan.seed ^= 3;
        let (one, two) = std::thread::scope(|scope| {
            let one = scope.spawn(|| all_right(case, first, &Trial::null(case, 120)).map(drop));
            let two = scope.spawn(|| all_right(case, &*second, &other).map(drop));
            (one.join(), two.join())
        });
        case.channel.drop_after_answer(second);
        let panicked = |_| Error::new(ErrorKind::Host, "the check itself panicked", "");
        match (one.map_err(panicked)?, two.map_err(panicked)?) {
            (Err(error), _) | (_, Err(error)) if error.kind == ErrorKind::Unsupported => {
                Ok(Verdict::Warning(format!("it refuses two runs at once: {error}")))
            }
            (one, two) => one.and(two).map(|()| Verdict::Success),
        }
    })
}

/// Right answers, or a refusal that says what it refuses.
pub fn right_or_refused(case: &Case, backend: &dyn LoadedBackend, trial: &Trial) -> Result<bool, Error> {
    match all_right(case, backend, trial) {
        Ok(_) => Ok(true),
        Err(error) if error.kind == ErrorKind::Unsupported => Ok(false),
        Err(error) if error.kind == ErrorKind::Invalid && error.message.contains("scheduler") => Ok(false),
        Err(error) => Err(error),
    }
}

fn scheduler(case: &Case) -> TestResult {
    case.with_ready(|backend| {
        let mut trial = Trial::null(case, 30);
        trial.plan.scheduler = "no such scheduler \u{1f980}".into();
        right_or_refused(case, backend, &trial).map(|_| Verdict::Success)
    })
}

fn options(case: &Case) -> TestResult {
    case.with_ready(|backend| {
        let mut trial = Trial::null(case, 30);
        let entry = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        trial.extra = vec![
            entry("no_such_option", "1"),
            entry("", ""),
            entry("ünïcode", "\u{202e}"),
            entry("long", &"x".repeat(100_000)),
        ];
        right_or_refused(case, backend, &trial).map(|_| Verdict::Success)
    })
}

fn tidy(case: &Case) -> TestResult {
    let places = watched(case);
    let working = case.scratch().join("work");
    std::fs::create_dir_all(&working)
        .and_then(|()| std::env::set_current_dir(&working))
        .map_err(|cause| Error::new(ErrorKind::Host, format!("an empty working directory: {cause}"), ""))?;
    let before = contents(&places);
    let verdict = case.with_ready(|backend| {
        let ran = Trial::null(case, 40).on(case, backend)?;
        ran.account()?;
        Ok(Verdict::Success)
    })?;
    let new: Vec<String> =
        contents(&places).difference(&before).take(5).map(|path| path.display().to_string()).collect();
    require(new.is_empty(), || format!("it wrote {}", new.join(", ")))?;
    Ok(verdict)
}

fn watched(case: &Case) -> [PathBuf; 3] {
    let beside = case.request.plugin.path.parent().unwrap_or(Path::new("/")).to_owned();
    [case.scratch().join("home"), case.scratch().join("work"), beside]
}

/// Everything in these folders, three levels deep.
fn contents(places: &[PathBuf]) -> BTreeSet<PathBuf> {
    fn walk(folder: &Path, depth: u32, found: &mut BTreeSet<PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                walk(&path, depth - 1, found);
            }
            found.insert(path);
        }
    }
    let mut found = BTreeSet::new();
    places.iter().for_each(|place| walk(place, 2, &mut found));
    found
}

fn quiet(case: &Case) -> TestResult {
    case.with_ready(|backend| {
        Trial::null(case, 30).on(case, backend)?.account()?;
        Ok(Verdict::Success)
    })
}
