//! Pairs that are killed or stopped, and how they go on.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use bench_tests::following::Following;
use bench_tests::pairs::{files, json, pair, resume, text, tree};
use bench_tests::{bench_path, eventually, folder, mark, marked, records, stderr, succeed};
use bench_workloads::random::{Stream, stream};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

const BACKENDS: [&str; 2] = ["local", "healthy"];

/// A pair in places of its own.
struct Place {
    root: TempDir,
    temporary: TempDir,
    mark: String,
}

impl Place {
    fn new() -> Self {
        Self { root: TempDir::new().unwrap(), temporary: TempDir::new().unwrap(), mark: mark() }
    }

    /// The whole pair: every run says its phases as they begin.
    fn command(&self, plugins: &Path) -> Command {
        let mut command =
            pair(self.root.path(), plugins, "local,healthy", "k", &["--repeat", "2", "--verbose"]);
        command.env("MARK", &self.mark).env("TMPDIR", self.temporary.path());
        command
    }

    fn start(&self, plugins: &Path) -> Following {
        Following::start(&mut self.command(plugins))
    }

    /// The pair, standing still in the middle of a run of `healthy` until the file is there that is returned.
    fn start_and_hold(&self, plugins: &Path) -> (Following, PathBuf) {
        let release = self.root.path().join("release");
        let mut child = Following::start(self.command(plugins).env("HOLD", &release));
        child.until("phase: held");
        (child, release)
    }

    /// Whether the plan is there that a resumed pair needs.
    fn has_begun(&self) -> bool {
        let trees = fs::read_dir(self.root.path().join("run_id=k")).into_iter().flatten().flatten();
        trees.map(|tree| tree.path()).any(|tree| tree.join("plan.json").is_file())
    }

    fn tree(&self) -> PathBuf {
        tree(self.root.path(), "k")
    }

    fn records(&self) -> Vec<Value> {
        let folders = BACKENDS.map(|backend| self.tree().join("backends").join(backend));
        let with = folders.iter().filter(|folder| folder.join("unified_results.jsonl").is_file());
        with.flat_map(|folder| records(folder)).collect()
    }

    fn nothing_is_left(&self) {
        eventually("every process ends", || marked(&self.mark).is_empty());
        let left: Vec<_> = fs::read_dir(self.temporary.path()).unwrap().flatten().collect();
        assert!(left.is_empty(), "left in the temporary folder: {left:?}");
    }

    /// Goes on to the end, and looks at what is there then.
    fn is_completed_by(&self, command: &mut Command, finished: &[Value]) {
        succeed(command.env("MARK", &self.mark).env("TMPDIR", self.temporary.path()));
        self.nothing_is_left();
        let tree = self.tree();
        assert!(tree.join("manifest.json").is_file() && !tree.join("failure_report.json").exists());
        let temporary: Vec<_> = files(&tree).into_iter().filter(|file| is_temporary(file)).collect();
        assert!(temporary.is_empty(), "{temporary:?}");
        let after = self.records();
        assert!(finished.iter().all(|record| after.contains(record)), "a finished run was repeated");
        let place = |record: &Value| {
            (record["backend"].as_str().unwrap().to_owned(), record["extra"]["pair_index"].as_u64().unwrap())
        };
        // A run that was cut short leaves a record that says so, and is done again.
        let places: Vec<_> = after.iter().filter(|record| !is_partial(record)).map(place).collect();
        let different: BTreeSet<_> = places.iter().collect();
        assert_eq!((different.len(), places.len()), (4, 4));
        let csv = |backend| tree.join("backends").join(backend).join("unified_results.csv");
        let rows = BACKENDS.map(|backend| fs::read_to_string(csv(backend)).unwrap().lines().count() - 1);
        assert_eq!(rows.iter().sum::<usize>(), after.len());
    }
}

fn is_partial(record: &Value) -> bool {
    record["extra"]["partial"] == true
}

pub(crate) fn is_temporary(file: &Path) -> bool {
    let name = file.file_name().unwrap().to_str().unwrap();
    name.starts_with('.') && name.ends_with(".bench_tmp")
}

/// Fails for a file that is not whole. Logs may end anywhere.
pub(crate) fn is_whole(path: &Path) {
    let bytes = fs::read(path).unwrap();
    let shown = path.display();
    let ends_with = |end: &str| assert!(bytes.ends_with(end.as_bytes()), "{shown} is cut short");
    match path.extension().and_then(|ending| ending.to_str()).unwrap_or_default() {
        "jsonl" => {
            ends_with("\n");
            let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            lines.for_each(|line| drop(serde_json::from_slice::<Value>(line).expect("a line is a record")));
        }
        "json" => drop(json(path)),
        "csv" => {
            ends_with("\n");
            csv::Reader::from_reader(&*bytes).records().for_each(|row| drop(row.expect("a whole row")));
        }
        "hlog" => drop(bench_record::histogram::load(path).unwrap()),
        "png" => {
            let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            reader.next_frame(&mut pixels).unwrap();
        }
        "svg" => ends_with("</svg>"),
        "html" => ends_with("</html>\n"),
        "md" => ends_with("\n"),
        "log" => {}
        "xml" => ends_with("</testsuites>\n"),
        "so" => assert!(bytes.starts_with(b"\x7fELF") && bytes.len() > 4096, "{shown} is cut short"),
        // Of a corpus, and of the cache, whose files say by a hash whether they are whole.
        "gz" | "idx" | "post" => assert!(!bytes.is_empty(), "{shown} is empty"),
        _ => assert!(
            [".bench.lock", ".lock"].map(Path::new).iter().any(|name| path.ends_with(name)),
            "{shown}"
        ),
    }
}

/// Moments differ from run to run; `BENCH_TEST_SEED` repeats those of an earlier one.
pub(crate) fn moments() -> Stream {
    let given = std::env::var("BENCH_TEST_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seed = given.unwrap_or_else(|| {
        SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| u64::from(since.subsec_micros()))
    });
    println!("BENCH_TEST_SEED={seed} kills in the same runs again");
    stream(seed, "moments of death", 0)
}

/// What begins in a run of a pair, in order, by its own announcements. Files are written after the last of them and
/// after the comparison is announced, so most of the deaths are there.
const PHASES: [&str; 9] =
    ["load", "open workload", "run", "measure", "write", "write", "write", "write", "write"];
const RUNS: usize = 4;

#[test]
fn a_pair_killed_in_any_phase_has_no_broken_file_and_can_be_resumed() {
    let plugins = folder(&[("healthy", "healthy")]);
    let mut random = moments();
    let mut any = |below: usize| random.below(below as u32) as usize;
    for phase in PHASES {
        let run = any(RUNS);
        is_killed_and_resumed(plugins.path(), &format!("phase: {phase}"), run, any(LINGER));
    }
    for _ in 0..3 {
        is_killed_and_resumed(plugins.path(), "pair phase: compare", 0, any(LINGER));
    }
}

/// The longest time from an announcement to a death, in microseconds: so that it strikes here and there between two
/// of them. Nothing that is looked at depends on how long it takes really.
const LINGER: usize = 30_000;

/// Kills a pair once it announced `phase` in its run number `run`, counted from 0, and resumes it.
fn is_killed_and_resumed(plugins: &Path, phase: &str, run: usize, linger: usize) {
    println!("killed {linger} µs into {phase}, run {run}");
    let place = Place::new();
    let mut child = place.start(plugins);
    (0..=run).for_each(|_| drop(child.until(phase)));
    std::thread::sleep(Duration::from_micros(linger as u64));
    child.kill().unwrap();
    child.wait().unwrap();
    place.nothing_is_left();
    let tree = place.tree();
    for file in files(&tree).iter().filter(|file| !is_temporary(file)) {
        is_whole(&tree.join(file));
    }
    let finished = place.records();
    let at_least = if phase.ends_with("compare") { RUNS } else { run };
    assert!((at_least..=RUNS).contains(&finished.len()), "{} are finished", finished.len());
    place.is_completed_by(&mut resume(place.root.path(), "k"), &finished);
}

#[test]
fn a_pair_killed_in_mid_run_repeats_that_run_and_no_other() {
    let (place, plugins) = (Place::new(), folder(&[("healthy", "healthy")]));
    let (mut child, _) = place.start_and_hold(plugins.path());
    let before = place.records();
    child.kill().unwrap();
    child.wait().unwrap();
    place.nothing_is_left();
    let finished = place.records();
    assert!(finished == before && finished.iter().all(|record| record["backend"] == "local"), "{finished:?}");
    place.is_completed_by(&mut resume(place.root.path(), "k"), &finished);
}

#[test]
fn a_pair_killed_before_it_has_a_plan_is_no_pair_and_in_nobodys_way() {
    let (place, plugins) = (Place::new(), folder(&[("healthy", "healthy"), ("hostile", "hostile")]));
    // Its first step is to ask the plugins; this one does not answer.
    let announced = TempDir::new().unwrap();
    let mut command = pair(place.root.path(), plugins.path(), "local,hostile", "k", &[]);
    command.env("HOSTILE", "is_available:hang").env("ANNOUNCE", announced.path());
    command.env("MARK", &place.mark).env("TMPDIR", place.temporary.path());
    let mut child = Following::start(&mut command);
    eventually("a plugin is asked", || announced.path().join("hostile").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    place.nothing_is_left();
    assert!(!place.has_begun());
    assert_eq!(resume(place.root.path(), "k").output().unwrap().status.code(), Some(2));
    place.is_completed_by(&mut place.command(plugins.path()), &[]);
}

fn interrupt(child: &Following) {
    kill_process(Pid::from_child(child), Signal::INT).unwrap();
}

#[test]
fn ctrl_c_lets_the_run_end_and_says_how_to_go_on() {
    let (place, plugins) = (Place::new(), folder(&[("healthy", "healthy")]));
    let (mut child, release) = place.start_and_hold(plugins.path());
    let before = place.records().len();
    interrupt(&child);
    child.until("stopping after this run; again to stop now");
    fs::write(release, "").unwrap();
    let output = child.end();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    place.nothing_is_left();
    let tree = place.tree();
    assert!(!tree.join("manifest.json").exists());
    let finished = place.records();
    assert_eq!(finished.len(), before + 1);
    assert!(!finished.iter().any(is_partial));
    let report = json(&tree.join("failure_report.json"));
    assert_eq!((&report["status"], &report["failed"]), (&json!("interrupted"), &json!([])));
    assert_eq!(report["error"], format!("interrupted after {} of 4 runs", finished.len()));
    let command = report["resume"].as_str().unwrap();
    assert_eq!(command, format!("bench pair --resume k --output-root {}", text(place.root.path())));
    assert!(stderr(&output).contains(command), "{}", stderr(&output));
    let mut words = command.split(' ').skip(1);
    place.is_completed_by(Command::new(bench_path()).args(&mut words), &finished);
}

#[test]
fn ctrl_c_twice_ends_the_run_at_once() {
    let (place, plugins) = (Place::new(), folder(&[("healthy", "healthy")]));
    // Nothing lets the run go on: it can only be ended.
    let (mut child, _) = place.start_and_hold(plugins.path());
    let before = place.records().len();
    interrupt(&child);
    child.until("stopping after this run; again to stop now");
    interrupt(&child);
    let output = child.end();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    place.nothing_is_left();
    let finished: Vec<_> = place.records().into_iter().filter(|record| !is_partial(record)).collect();
    assert_eq!(finished.len(), before);
    let report = json(&place.tree().join("failure_report.json"));
    assert_eq!(report["error"], format!("interrupted after {before} of 4 runs"));
    assert!(stderr(&output).contains("bench pair --resume k"), "{}", stderr(&output));
    place.is_completed_by(&mut resume(place.root.path(), "k"), &finished);
}
