//! Folders that cannot be used, or have unusual names: named before any work, with what moves them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bench_tests::runtimes::runtimes;
use bench_tests::small_disk::{FILL, on_a_small_disk};
use bench_tests::{bench, digest, eventually, mark, marked, small_run, stderr, succeed};
use tempfile::TempDir;

const NO_ROOM: i32 = 7;

/// A folder that nobody but root can write.
fn read_only() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    folder
}

/// Root may write everywhere, so that somebody else has to try: an account without a name or a home.
fn as_nobody(command: &mut Command) -> &mut Command {
    const NOBODY: u32 = 54321;
    if rustix::process::geteuid().is_root() { command.uid(NOBODY).gid(NOBODY) } else { command }
}

/// A folder for an account like that.
fn anybodys() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

/// One error, and nothing was done before it.
fn refused(output: &Output, place: &Path, mover: &str) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(NO_ROOM), "{said}");
    let (error, remedy) = said.split_once("\n  try: ").expect("there is a remedy");
    assert!(error.starts_with("error: ") && error.contains(place.to_str().unwrap()), "{said}");
    assert!(!error.contains('\n') && !said.contains("preparing"), "{said}");
    assert!(remedy.contains(mover), "{said}");
}

/// Every command that measures, with where it puts its results.
fn measuring(results: &Path) -> Vec<Command> {
    let results = results.to_str().unwrap();
    let quick = ["--quick", "--no-user-plugins"];
    let one = ["--backend", "local", "--output-dir", results];
    let several = ["--backends", "local", "--output-root", results];
    vec![
        bench(&[&["run"], &one[..], &quick].concat()),
        bench(&[&["soak", "--duration", "5"], &one[..], &["--no-user-plugins"]].concat()),
        bench(&[&["capacity", "--slo", "p99=1s"], &one[..], &quick].concat()),
        bench(&[&["pair", "--aa"], &several[..], &quick].concat()),
        bench(&[&["sweep", "--parallelism", "1,2"], &several[..], &quick].concat()),
    ]
}

#[test]
fn a_folder_for_temporary_files_that_is_no_use_is_named_before_any_work() {
    let (here, results, locked) = (TempDir::new().unwrap(), anybodys(), read_only());
    let file = here.path().join("file");
    fs::write(&file, "").unwrap();
    let output = results.path().join("r");
    for place in [here.path().join("gone"), file, locked.path().to_owned()] {
        let mut commands = measuring(&output);
        commands.push(bench(&["backends", "check", "local", "--no-user-plugins"]));
        commands.push(bench(&["backends", "install", "sage", "--no-user-plugins"]));
        for mut command in commands {
            let ended = as_nobody(&mut command).env("TMPDIR", &place).output().unwrap();
            refused(&ended, &place, "TMPDIR");
        }
    }
    assert!(!output.exists());
    // What makes no temporary files does not ask for a place.
    succeed(bench(&["backends", "list", "--no-user-plugins"]).env("TMPDIR", here.path().join("gone")));
}

#[test]
fn a_home_that_cannot_be_written_is_named_with_what_names_another_cache() {
    let (home, results) = (read_only(), anybodys());
    let cache = home.path().join(".cache/bench");
    for mut command in measuring(&results.path().join("r")) {
        command.env("HOME", home.path()).env_remove("BENCH_CACHE_DIR").env_remove("XDG_CACHE_HOME");
        let ended = as_nobody(command.current_dir("/")).output().unwrap();
        refused(&ended, &cache, "--cache-dir or BENCH_CACHE_DIR");
    }
    let mut check = bench(&["backends", "check", "local", "--no-user-plugins"]);
    check.env("HOME", home.path()).env_remove("BENCH_CACHE_DIR").env_remove("XDG_CACHE_HOME");
    refused(&as_nobody(&mut check).output().unwrap(), &cache, "BENCH_CACHE_DIR");
    for words in [
        ["backends", "install", "sage", "--no-user-plugins"],
        ["backends", "trust", "local", "--no-user-plugins"],
    ] {
        let mut command = bench(&words);
        command.env("HOME", home.path()).env_remove("BENCH_DATA_DIR").env_remove("XDG_DATA_HOME");
        let ended = as_nobody(&mut command).output().unwrap();
        refused(&ended, &home.path().join(".local/share/bench"), "BENCH_DATA_DIR");
    }
}

#[test]
fn results_that_cannot_be_written_are_no_surprise_at_the_end() {
    let (here, locked, cache) = (TempDir::new().unwrap(), read_only(), anybodys());
    let file = here.path().join("file");
    fs::write(&file, "").unwrap();
    for place in [locked.path().to_owned(), locked.path().join("below"), file] {
        for mut command in measuring(&place) {
            let ended = as_nobody(command.env("BENCH_CACHE_DIR", cache.path())).output().unwrap();
            refused(&ended, &place, "--output-");
        }
    }
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0, "no index was prepared");
}

#[test]
fn a_cache_that_has_everything_may_be_read_only() {
    let (cache, results) = (anybodys(), anybodys());
    let run = |folder: &str| {
        let mut run = small_run("local", &results.path().join(folder), &[]);
        run.env("BENCH_CACHE_DIR", cache.path());
        succeed(as_nobody(&mut run));
        digest(&results.path().join(folder))
    };
    let first = run("first");
    let mut folders: Vec<PathBuf> =
        fs::read_dir(cache.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.push(cache.path().to_owned());
    let set = |mode| {
        folders
            .iter()
            .for_each(|folder| fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap())
    };
    set(0o555);
    assert_eq!(run("second"), first);
    set(0o777);
}

#[test]
fn temporary_files_may_lie_at_any_path() {
    let here = TempDir::new().unwrap();
    let long = std::iter::repeat_n("a-folder-with-a-rather-long-name", 8).collect::<PathBuf>();
    let all_at_once = Path::new("t\u{fc} with a space").join(&long);
    let base = digest_with("local", here.path());
    for place in [Path::new("t\u{fc}"), Path::new("with a space"), &long, &all_at_once] {
        let temporary = here.path().join(place);
        fs::create_dir_all(&temporary).unwrap();
        assert_eq!(digest_with("local", &temporary), base, "{place:?}");
        // Real runtimes take seconds to start.
        let real: &[_] = if place == all_at_once { &["sage", "dask", "ray"] } else { &[] };
        for backend in real {
            let Some(_alone) = runtimes(&[backend]) else { continue };
            assert_eq!(digest_with(backend, &temporary), base, "{backend} {place:?}");
        }
        assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "{place:?}");
    }
}

fn digest_with(backend: &str, temporary: &Path) -> String {
    let (output, mark) = (TempDir::new().unwrap(), mark());
    succeed(small_run(backend, output.path(), &[]).env("TMPDIR", temporary).env("MARK", &mark));
    eventually("nothing is left", || marked(&mark).is_empty());
    digest(output.path())
}

/// How a command ended for which `folder` is a small disk; nothing where there cannot be one.
fn ended_on_a_small_disk(
    command: &Command,
    folder: &Path,
    size: &str,
    before: &str,
) -> Option<(i32, String)> {
    let ended = on_a_small_disk(command, folder, size, before)?.output().unwrap();
    let said = stderr(&ended);
    assert!(!said.contains("author") && !said.contains("panicked"), "{said}");
    Some((ended.status.code().expect("no signal ends it"), said))
}

#[test]
fn a_full_disk_for_temporary_files_is_told_before_and_in_a_run() {
    let (temp, output) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let run = |more: &[&str]| {
        let mut run = small_run("local", output.path(), &[&["--workload", "null"], more].concat());
        run.env("TMPDIR", temp.path());
        run
    };
    let Some((code, said)) = ended_on_a_small_disk(&run(&[]), temp.path(), "256k", FILL) else { return };
    assert!(
        code == NO_ROOM && said.contains("no room for temporary files in ") && said.contains("TMPDIR"),
        "{said}"
    );
    let many = run(&["--num-tasks", "20000"]);
    let (code, said) = ended_on_a_small_disk(&many, temp.path(), "256k", "true").unwrap();
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("No space left on device") && said.contains("free some space on the disk of "),
        "{said}"
    );
    assert!(said.contains("TMPDIR"), "{said}");
}

#[test]
fn a_full_disk_for_indexes_is_told_with_what_names_another() {
    let (cache, output) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut run = small_run("local", output.path(), &[]);
    run.env("BENCH_CACHE_DIR", cache.path());
    let Some((code, said)) = ended_on_a_small_disk(&run, cache.path(), "64k", "true") else { return };
    assert_eq!(code, NO_ROOM, "{said}");
    assert!(said.contains(cache.path().to_str().unwrap()) && said.contains("No space left"), "{said}");
    assert!(said.contains("--cache-dir"), "{said}");
    let mut check = bench(&["backends", "check", "local", "--no-user-plugins"]);
    check.env("BENCH_CACHE_DIR", cache.path());
    let (code, said) = ended_on_a_small_disk(&check, cache.path(), "64k", "true").unwrap();
    assert!(code == NO_ROOM && said.contains("BENCH_CACHE_DIR"), "{code}: {said}");
}

#[test]
fn a_full_or_locked_data_folder_costs_no_pin_and_its_error_does_not_say_to_remove_any() {
    let data = TempDir::new().unwrap();
    let pins = "{\"ray\":{\"trusted\":[\"aa\"],\"pinned\":\"aa\"}}";
    let mut pin = bench(&["backends", "pin", "local", "--no-user-plugins"]);
    pin.env("BENCH_DATA_DIR", data.path());
    let written = format!("printf %s '{pins}' > trust.json; touch .bench.lock; {FILL}");
    let place = data.path().to_str().unwrap();
    if let Some((code, said)) = ended_on_a_small_disk(&pin, data.path(), "64k", &written) {
        assert_eq!(code, NO_ROOM, "{said}");
        assert!(said.contains("free some space on the disk of ") && said.contains(place), "{said}");
        assert!(!said.contains("remove") && !said.contains("BENCH_DATA_DIR"), "{said}");
    }
    fs::write(data.path().join("trust.json"), pins).unwrap();
    fs::set_permissions(data.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let refused = as_nobody(&mut pin).output().unwrap();
    let said = stderr(&refused);
    assert_eq!(refused.status.code(), Some(NO_ROOM), "{said}");
    assert!(said.contains("a folder that you may read and write; the list is as it was"), "{said}");
    assert!(!said.contains("remove"), "{said}");
    assert_eq!(fs::read_to_string(data.path().join("trust.json")).unwrap(), pins);
}

#[test]
fn a_limit_on_the_size_of_files_is_told_and_no_silent_end() {
    let output = TempDir::new().unwrap();
    let run = small_run("local", output.path(), &["--workload", "null", "--num-tasks", "5000"]);
    let mut limited = Command::new("sh");
    // In blocks of 512 bytes.
    limited.args(["-c", "ulimit -f 300; exec \"$0\" \"$@\""]).arg(run.get_program()).args(run.get_args());
    limited.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = limited.output().unwrap();
    let said = stderr(&ended);
    assert!(matches!(ended.status.code(), Some(1 | NO_ROOM)), "{:?}: {said}", ended.status);
    assert!(said.contains("ulimit -f") && !said.contains("author"), "{said}");
}
