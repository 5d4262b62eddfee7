//! Pairs that are killed or stopped, and how they go on.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime};

use bench_tests::pairs::{files, json, pair, resume, text, tree};
use bench_tests::{bench_path, eventually, folder, mark, marked, records, stderr, succeed};
use bench_workloads::random::stream;
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

    fn start(&self, plugins: &Path, more: &[&str]) -> Child {
        let mut command = pair(self.root.path(), plugins, "local,healthy", "k", &["--repeat", "2"]);
        command.args(more).env("MARK", &self.mark).env("TMPDIR", self.temporary.path());
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
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
    fn is_completed_by(&self, command: &mut std::process::Command, finished: &[Value]) {
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

fn is_temporary(file: &Path) -> bool {
    let name = file.file_name().unwrap().to_str().unwrap();
    name.starts_with('.') && name.ends_with(".bench.tmp")
}

/// Fails for a file that is not whole. Logs may end anywhere.
fn is_whole(path: &Path) {
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
        _ => assert_eq!(path.file_name().unwrap(), ".bench.lock", "{shown}"),
    }
}

/// Moments differ from run to run; `BENCH_TEST_SEED` repeats those of an earlier one.
fn seed() -> u64 {
    let given = std::env::var("BENCH_TEST_SEED").ok().map(|seed| seed.parse().expect("a number"));
    given.unwrap_or_else(|| {
        SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| u64::from(since.subsec_micros()))
    })
}

#[test]
fn a_pair_killed_at_any_moment_has_no_broken_file_and_can_be_resumed() {
    let plugins = folder(&[("healthy", "healthy")]);
    let undisturbed = Place::new();
    let started = Instant::now();
    let output = undisturbed.start(plugins.path(), &[]).wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    undisturbed.nothing_is_left();
    let (whole, seed) = (started.elapsed(), seed());
    let mut random = stream(seed, "moments of death", 0);
    let mut moments: Vec<Duration> = (0..20).map(|_| whole.mul_f64(random.unit())).collect();
    moments.sort();
    println!("a pair takes {whole:?}; BENCH_TEST_SEED={seed} kills it after {moments:?}");
    let mut finished_before = BTreeSet::new();
    for moment in moments {
        println!("killed after {moment:?}");
        let place = Place::new();
        let mut child = place.start(plugins.path(), &[]);
        std::thread::sleep(moment);
        // Fails when it has ended just now, which is a moment too.
        let _ = child.kill();
        child.wait().unwrap();
        place.nothing_is_left();
        if !place.has_begun() {
            // There is nothing to resume, and nothing in the way of the same command.
            assert_eq!(resume(place.root.path(), "k").output().unwrap().status.code(), Some(2));
            let mut again = pair(place.root.path(), plugins.path(), "local,healthy", "k", &["--repeat", "2"]);
            place.is_completed_by(&mut again, &[]);
            continue;
        }
        let tree = place.tree();
        for file in files(&tree).iter().filter(|file| !is_temporary(file)) {
            is_whole(&tree.join(file));
        }
        let finished = place.records();
        finished_before.insert(finished.len());
        place.is_completed_by(&mut resume(place.root.path(), "k"), &finished);
    }
    assert!(finished_before.len() > 1, "every kill came before the first run's end: {finished_before:?}");
}

/// Starts a pair whose runs take this long, and waits until the first is under way.
fn under_way(place: &Place, plugins: &Path, rate: &str) -> Child {
    let child = place.start(plugins, &["--load", "open", "--rate", rate]);
    eventually("a run is under way", || {
        place.has_begun() && files(&place.tree()).iter().any(|file| file.ends_with("run.log"))
    });
    std::thread::sleep(Duration::from_millis(500));
    child
}

fn interrupt(child: &Child) {
    kill_process(Pid::from_child(child), Signal::INT).unwrap();
}

#[test]
fn ctrl_c_lets_the_run_end_and_says_how_to_go_on() {
    let (place, plugins) = (Place::new(), folder(&[("healthy", "healthy")]));
    let child = under_way(&place, plugins.path(), "10");
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    place.nothing_is_left();
    let tree = place.tree();
    assert!(!tree.join("manifest.json").exists());
    let finished = place.records();
    assert_eq!(finished.len(), 1);
    assert!(!is_partial(&finished[0]));
    let report = json(&tree.join("failure_report.json"));
    assert_eq!((&report["status"], &report["failed"]), (&json!("interrupted"), &json!([])));
    assert_eq!(report["error"], "interrupted after 1 of 4 runs");
    let command = report["resume"].as_str().unwrap();
    assert_eq!(command, format!("bench pair --resume k --output-root {}", text(place.root.path())));
    assert!(stderr(&output).contains(command), "{}", stderr(&output));
    let mut words = command.split(' ').skip(1);
    place.is_completed_by(std::process::Command::new(bench_path()).args(&mut words), &finished);
}

#[test]
fn ctrl_c_twice_ends_the_run_at_once() {
    let (place, plugins) = (Place::new(), folder(&[("healthy", "healthy")]));
    // A run takes four seconds.
    let child = under_way(&place, plugins.path(), "5");
    interrupt(&child);
    std::thread::sleep(Duration::from_millis(300));
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    place.nothing_is_left();
    assert!(place.records().iter().all(is_partial));
    let report = json(&place.tree().join("failure_report.json"));
    assert_eq!(report["error"], "interrupted after 0 of 4 runs");
    assert!(stderr(&output).contains("bench pair --resume k"), "{}", stderr(&output));
    place.is_completed_by(&mut resume(place.root.path(), "k"), &[]);
}
