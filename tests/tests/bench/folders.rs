//! The folder that results go to: tried before any work is done, shared by commands, and no record is ever lost.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex};

use bench_tests::pairs::{files, json, pair, resume, text, tree};
use bench_tests::{bench, eventually, folder, records, small_run, stderr, stdout, succeed};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::service::{Asked, Reply, Service};

const RESULTS: &str = "unified_results.jsonl";

fn quick_run(output: &Path, more: &[&str]) -> Command {
    let mut command =
        bench(&["run", "--backend", "local", "--no-user-plugins", "--quick", "--workload", "wl1"]);
    command.arg("--output-dir").arg(output).args(more);
    command
}

/// What lies in `runs/`.
fn runs(output: &Path) -> Vec<String> {
    let entries = fs::read_dir(output.join("runs")).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Types what an error says to try, up to where it explains itself.
fn try_remedy(said: &str) {
    let remedy = said.lines().find_map(|line| line.trim().strip_prefix("try: ")).expect(said);
    let command = remedy.split("    (").next().unwrap();
    succeed(Command::new("sh").args(["-euc", command]));
}

#[test]
fn two_commands_with_one_run_id_keep_both_runs() {
    let output = TempDir::new().unwrap();
    for seed in ["1", "2"] {
        succeed(&mut quick_run(output.path(), &["--run-id", "ci-1", "--repeat", "2", "--seed", seed]));
    }
    let mut open = quick_run(output.path(), &["--run-id", "ci-1", "--load", "open", "--rate", "50"]);
    succeed(&mut open);
    let all = ["ci-1-local-0", "ci-1-local-0.2", "ci-1-local-0.3", "ci-1-local-1", "ci-1-local-1.2"];
    assert_eq!(runs(output.path()), all);
    let records = records(output.path());
    let of = |key: &str| -> BTreeSet<PathBuf> {
        records.iter().map(|record| output.path().join(record["extra"][key].as_str().unwrap())).collect()
    };
    for files in [of("items_file"), of("latency_histogram")] {
        assert!(files.len() == 5 && files.iter().all(|file| file.is_file()), "{files:?}");
    }
    // Each record's items are its own: another seed, other answers.
    let rows = |record: &Value| {
        fs::read(output.path().join(record["extra"]["items_file"].as_str().unwrap())).unwrap()
    };
    assert_ne!(rows(&records[0]), rows(&records[2]));
}

#[test]
fn commands_side_by_side_with_one_run_id_keep_both_runs() {
    let output = TempDir::new().unwrap();
    let start = || quick_run(output.path(), &["--run-id", "ci"]).stdout(Stdio::null()).spawn().unwrap();
    let both = [start(), start()];
    for mut child in both {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!((runs(output.path()).len(), records(output.path()).len()), (2, 2));
}

/// What lies in a folder, each file with its content, but for the records, which are added to.
fn kept(output: &Path) -> Vec<(String, Vec<u8>)> {
    let files = files(output).into_iter().filter(|file| !text(file).contains("unified_results"));
    let files = files.filter(|file| !text(file).contains("manifest"));
    files.map(|file| (text(&file).to_owned(), fs::read(output.join(&file)).unwrap())).collect()
}

#[test]
fn what_an_earlier_command_found_out_is_never_overwritten() {
    let output = TempDir::new().unwrap();
    let common = ["--backend", "local", "--no-user-plugins", "--quick", "--workload", "null", "--output-dir"];
    let capacity = ["capacity", "--slo", "p90=30s", "--trial", "1", "--precision", "0.5"];
    let soak = ["soak", "--duration", "1s"];
    let mut before = kept(output.path());
    for (command, made) in [
        (&capacity[..], &["capacity.json", "report.html"][..]),
        (&soak, &["soak.2.json", "soak.2.csv", "report.2.html"]),
        (&capacity, &["capacity.3.json", "report.3.html"]),
        (&soak, &["soak.4.json", "soak.4.csv", "report.4.html"]),
    ] {
        let ended = bench(&[command, &common, &[text(output.path())]].concat()).output().unwrap();
        // What it found of this machine is not what this is about.
        assert!(matches!(ended.status.code(), Some(0 | 1 | 10)), "{command:?}: {}", stderr(&ended));
        let after = kept(output.path());
        let lost: Vec<_> = before.iter().filter(|file| !after.contains(file)).map(|file| &file.0).collect();
        assert!(lost.is_empty(), "{command:?} changed {lost:?}");
        for file in made {
            assert!(output.path().join(file).is_file(), "{command:?}: {file}");
            assert!(stdout(&ended).contains(file), "{command:?}: {}", stdout(&ended));
        }
        let page = fs::read_to_string(output.path().join(made[made.len() - 1])).unwrap();
        assert!(page.contains(&format!("href=\"{}\"", made[0])), "{command:?} links to what it wrote");
        before = after;
    }
}

#[test]
fn a_resumed_pair_leaves_the_runs_of_its_records_alone() {
    let (root, plugins) = (TempDir::new().unwrap(), folder(&[("healthy", "healthy")]));
    succeed(&mut pair(root.path(), plugins.path(), "local,healthy", "p", &[]));
    let results = tree(root.path(), "p").join("backends/local");
    let first = records(&results).remove(0);
    // As if the user had stopped it.
    let cut =
        fs::read_to_string(results.join(RESULTS)).unwrap().replace("\"partial\": false", "\"partial\": true");
    fs::write(results.join(RESULTS), cut).unwrap();
    let items = results.join(first["extra"]["items_file"].as_str().unwrap());
    fs::write(&items, "of the first run").unwrap();
    succeed(&mut resume(root.path(), "p"));
    let second = records(&results).pop().unwrap();
    assert_ne!(first["extra"]["items_file"], second["extra"]["items_file"]);
    assert_eq!(fs::read_to_string(items).unwrap(), "of the first run");
}

/// A folder with one record, and a file that was then spoilt.
fn spoilt(spoil: impl Fn(&Path)) -> TempDir {
    let output = TempDir::new().unwrap();
    succeed(&mut quick_run(output.path(), &[]));
    spoil(output.path());
    output
}

fn append(output: &Path, text: &str) {
    let old = fs::read_to_string(output.join(RESULTS)).unwrap();
    fs::write(output.join(RESULTS), format!("{old}{text}")).unwrap();
}

#[test]
fn results_that_cannot_be_read_are_named_before_the_run_and_the_remedy_works() {
    let torn = spoilt(|output| append(output, "{\"backend\": \"sage\", \"work"));
    let middle = spoilt(|output| {
        let good = fs::read_to_string(output.join(RESULTS)).unwrap();
        append(output, &format!("{{\"backend\": \"sage\"}}\n{good}"));
    });
    for output in [torn, middle] {
        let before = fs::read(output.path().join(RESULTS)).unwrap();
        let refused = quick_run(output.path(), &[]).output().unwrap();
        assert_eq!(refused.status.code(), Some(7), "{}", stderr(&refused));
        assert!(stderr(&refused).contains("unified_results.jsonl:2: "), "{}", stderr(&refused));
        assert_eq!(runs(output.path()).len(), 1, "nothing ran");
        assert_eq!(fs::read(output.path().join(RESULTS)).unwrap(), before);
        try_remedy(&stderr(&refused));
        assert_eq!(fs::read(output.path().join(format!("{RESULTS}.bak"))).unwrap(), before);
        succeed(&mut quick_run(output.path(), &[]));
    }
    let marked = spoilt(|output| {
        let text = fs::read_to_string(output.join(RESULTS)).unwrap();
        fs::write(output.join(RESULTS), format!("\u{feff}{text}")).unwrap();
    });
    succeed(&mut quick_run(marked.path(), &[]));
    succeed(&mut bench(&["compare", text(marked.path()), "-o", text(&marked.path().join("report"))]));
}

/// Puts something into the place of a file.
fn put(kind: &str, path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    if path.exists() {
        fs::rename(path, path.with_extension("kept")).unwrap();
    }
    match kind {
        "a FIFO" => mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap(),
        "a directory" => fs::create_dir(path).unwrap(),
        "a device" => std::os::unix::fs::symlink("/dev/null", path).unwrap(),
        "a symbolic link" => std::os::unix::fs::symlink(path.with_file_name("elsewhere"), path).unwrap(),
        other => panic!("{other}"),
    }
}

#[test]
fn what_stands_in_the_place_of_a_file_is_named_and_neither_waited_for_nor_followed() {
    for (file, kind) in [
        (".bench.lock", "a FIFO"),
        (".bench.lock", "a directory"),
        (".bench.lock", "a symbolic link"),
        (RESULTS, "a FIFO"),
        (RESULTS, "a directory"),
        (RESULTS, "a device"),
        ("unified_results.csv", "a FIFO"),
        ("unified_results.csv", "a directory"),
        ("repro_manifest.json", "a FIFO"),
        ("repro_manifest.json", "a device"),
    ] {
        let output = spoilt(|output| put(kind, &output.join(file)));
        let refused = quick_run(output.path(), &[]).output().unwrap();
        let said = stderr(&refused);
        assert_eq!(refused.status.code(), Some(7), "{file}, {kind}: {said}");
        assert!(said.contains(&format!("{file}: it is {kind}, not a regular file")), "{said}");
        assert_eq!(runs(output.path()).len(), 1, "nothing ran");
        assert!(!output.path().join("elsewhere").exists(), "nothing was made behind a link");
        try_remedy(&said);
        succeed(&mut quick_run(output.path(), &[]));
        let compared =
            bench(&["compare", text(&output.path().join(format!("{RESULTS}.odd")))]).output().unwrap();
        assert!(file != RESULTS || matches!(compared.status.code(), Some(2 | 7)), "{}", stderr(&compared));
    }
}

#[test]
fn what_stands_in_the_place_of_the_folder_of_runs_is_named_before_anything_runs() {
    for kind in ["a FIFO", "a device", "a symbolic link"] {
        let output = spoilt(|output| put(kind, &output.join("runs")));
        let refused = quick_run(output.path(), &[]).output().unwrap();
        let said = stderr(&refused);
        assert_eq!(refused.status.code(), Some(7), "{kind}: {said}");
        assert!(said.contains("runs: it is not a folder"), "{said}");
        assert!(!output.path().join("elsewhere").exists(), "nothing was made behind a link");
        try_remedy(&said);
        succeed(&mut quick_run(output.path(), &[]));
    }
}

/// Files without end that take no room: a table of results, and what lies beside a record.
#[test]
fn a_file_without_end_is_refused_in_one_sentence_before_it_is_read() {
    for (file, refuses) in [
        (RESULTS, &["run", "compare", "verify", "gate", "audit"][..]),
        ("items.csv", &["compare", "verify"]),
        ("latency.hlog", &["compare", "verify"]),
    ] {
        let output = spoilt(|output| {
            let path = files(output).into_iter().find(|path| path.ends_with(file)).unwrap();
            let file = fs::File::options().write(true).truncate(true).open(output.join(path)).unwrap();
            file.set_len(1 << 40).unwrap();
        });
        let (here, report) = (text(output.path()), text(&output.path().join("report")).to_owned());
        for command in refuses {
            let words: &[&str] = match *command {
                "run" => &["run", "--backend", "local", "--no-user-plugins", "--quick", "-o", here],
                "compare" => &["compare", here, "-o", &report],
                "verify" => &["verify", here, here],
                "gate" => &["gate", "--baseline", here, here],
                _ => &["audit", here, "--no-user-plugins"],
            };
            let refused = bench(words).output().unwrap();
            let said = stdout(&refused) + &stderr(&refused);
            assert!(matches!(refused.status.code(), Some(2 | 7 | 12 | 13)), "{file}, {command}: {said}");
            let (named, why) = (said.contains(file), said.contains("it has 1099511627776 bytes, more than"));
            assert!(named && why, "{file}, {command}: {said}");
        }
    }
}

#[test]
fn files_beside_a_record_that_were_changed_are_noticed() {
    let output = TempDir::new().unwrap();
    succeed(&mut quick_run(output.path(), &[]));
    let record = records(output.path()).remove(0);
    let report = output.path().join("report");
    let compare = || bench(&["compare", text(output.path()), "-o", text(&report)]).output().unwrap();
    let verify = || bench(&["verify", text(output.path()), text(output.path())]).output().unwrap();
    assert_eq!((compare().status.code(), verify().status.code()), (Some(0), Some(0)));
    for (key, change) in [
        ("items_file", (|bytes| [bytes, b"q,true,00,1.000\n"].concat()) as fn(&[u8]) -> Vec<u8>),
        ("items_file", |bytes| String::from_utf8_lossy(bytes).replacen(",true,", ",false,", 1).into_bytes()),
        ("latency_histogram", |_| b"\xff\x00 garbage".to_vec()),
        ("latency_histogram", |bytes| bytes[..bytes.len() / 2].to_vec()),
    ] {
        let file = output.path().join(record["extra"][key].as_str().unwrap());
        let before = fs::read(&file).unwrap();
        fs::write(&file, change(&before)).unwrap();
        let (compared, verified) = (compare(), verify());
        assert_eq!((compared.status.code(), verified.status.code()), (Some(12), Some(13)), "{key}");
        for said in
            [stdout(&compared), stdout(&verified), fs::read_to_string(report.join("summary.md")).unwrap()]
        {
            let name = file.file_name().unwrap().to_str().unwrap();
            assert!(said.contains(name) && said.contains("is not as the run wrote it"), "{said}");
        }
        fs::write(&file, before).unwrap();
    }
    assert_eq!((compare().status.code(), verify().status.code()), (Some(0), Some(0)));
}

#[test]
fn a_folder_that_takes_no_results_is_named_before_anything_runs() {
    let place = TempDir::new().unwrap();
    let file = place.path().join("file");
    fs::write(&file, "").unwrap();
    let occupied = spoilt(|output| {
        fs::remove_file(output.join("unified_results.csv")).unwrap();
        fs::create_dir(output.join("unified_results.csv")).unwrap();
    });
    let common = ["--backend", "local", "--no-user-plugins", "--quick", "--workload", "wl1"];
    let capacity = ["capacity", "--slo", "p99=1s", "--output-dir"];
    let soak = ["soak", "--duration", "1s", "--output-dir"];
    for output in [file.as_path(), &file.join("below"), Path::new("/proc/nowhere"), occupied.path()] {
        for command in [&["run", "--output-dir"][..], &capacity, &soak] {
            let refused = bench(&[command, &[text(output)], &common].concat()).output().unwrap();
            assert_eq!(
                refused.status.code(),
                Some(7),
                "{command:?} {}: {}",
                output.display(),
                stderr(&refused)
            );
        }
    }
    assert_eq!(runs(occupied.path()).len(), 1, "nothing ran");
    for (command, flags) in [("pair", "local,healthy"), ("sweep", "local")] {
        let plugins = folder(&[("healthy", "healthy")]);
        let words = [command, "--backends", flags, "--output-root", text(&file), "--quick", "--plugins-dir"];
        let refused = bench(&words).arg(plugins.path()).output().unwrap();
        assert_eq!(refused.status.code(), Some(7), "{command}: {}", stderr(&refused));
    }
    let nowhere = place.path().join("no/such/trace.json");
    let refused = quick_run(&place.path().join("new"), &["--trace", text(&nowhere)]).output().unwrap();
    assert_eq!(refused.status.code(), Some(7), "{}", stderr(&refused));
    // Nobody's folder was made for nothing.
    assert!(!place.path().join("new").exists());
}

/// Whether the endpoint may answer.
static GATE: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

fn answer_when_told(_: &Asked) -> Reply {
    let (told, changed) = &GATE;
    drop(changed.wait_while(told.lock().unwrap(), |told| !*told).unwrap());
    (200, json!({"choices": [{"message": {"content": "An answer."}}]}).to_string())
}

#[test]
fn a_record_that_the_results_do_not_take_is_printed_and_kept_beside() {
    let output = spoilt(|_| ());
    let url = Service::start(answer_when_told).url();
    let command = ["--llm-url", &url, "--run-id", "late"];
    let child =
        small_run("local", output.path(), &command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap();
    eventually("the run is under way", || runs(output.path()).contains(&"late-local-0".to_owned()));
    append(output.path(), "{\"torn");
    *GATE.0.lock().unwrap() = true;
    GATE.1.notify_all();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(7), "{}", stderr(&ended));
    assert!(stderr(&ended).contains("unified_results.jsonl:2: "), "{}", stderr(&ended));
    let kept = output.path().join("runs/late-local-0/record.json");
    let record = json(&kept);
    assert_eq!((&record["success_rate"], &record["run_id"]), (&json!(1.0), &json!("late")));
    let said = stdout(&ended);
    let printed: Value = serde_json::from_str(&said[said.find("\n{\n").expect(&said)..]).unwrap();
    assert_eq!(printed, record);
    // As the message says: mended, and then added.
    let refused = quick_run(output.path(), &[]).output().unwrap();
    try_remedy(&stderr(&refused));
    let add = stderr(&ended).lines().find_map(|line| Some(line.split_once("then: ")?.1.to_owned())).unwrap();
    succeed(Command::new("sh").args(["-euc", &add]));
    assert_eq!(records(output.path()).pop().unwrap(), record);
    succeed(&mut quick_run(output.path(), &[]));
    assert_eq!(records(output.path()).len(), 3);
}
