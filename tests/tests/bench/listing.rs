//! Listing plugins, good and bad, through the real binary.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bench_isolate::describe::{Status, list};
use bench_isolate::isolate::{Limits, Remark, Runner, Stop};
use bench_tests::{PATIENCE, bench, candidates, eventually, folder, library, mark, marked};
use tempfile::TempDir;

/// Nothing that ends by itself comes near a limit; what hangs is given up on after ten seconds, beside which every
/// other plugin has to be described in time.
fn runner(hostile: &str, mark: &str) -> Runner {
    let hangs = hostile.ends_with("hang");
    let timeout = if hangs { Duration::from_secs(10) } else { PATIENCE };
    let close_grace = if hangs { Limits::default().close_grace } else { PATIENCE };
    Runner {
        program: bench_tests::bench_path(),
        limits: Limits { memory: Some(256 << 20), close_grace, ..Limits::within(timeout) },
        variables: vec![("HOSTILE".into(), hostile.into()), ("MARK".into(), mark.into())],
        ..Runner::default()
    }
}

fn hostile(wish: &str) -> Status {
    beside_healthy("hostile", wish)
}

/// Lists `healthy` and a library; checks that the first is untouched and that nothing is left.
fn beside_healthy(library: &str, wish: &str) -> Status {
    let folder = folder(&[("healthy", "healthy"), (library, library)]);
    let mark = mark();
    let mut listings = list(&candidates(folder.path()), &runner(wish, &mark), &Stop::new());
    if wish.ends_with(":killwarden") {
        // Nobody is left who could wait: the kernel ends the runner, soon.
        eventually("the runner is gone", || marked(&mark).is_empty());
    }
    assert_eq!(marked(&mark), [""; 0], "{wish}: nothing may be left running");
    assert_eq!(listings.len(), 2);
    assert!(listings[0].is_available(), "{wish}: {:?}", listings[0]);
    listings.remove(1).status
}

fn sentence(wish: &str) -> String {
    match hostile(wish) {
        Status::Failed { failure } => failure.to_string(),
        other => panic!("{wish}: {other:?}"),
    }
}

fn remarks(wish: &str) -> Vec<Remark> {
    match hostile(wish) {
        Status::Described { remarks, .. } => remarks,
        other => panic!("{wish}: {other:?}"),
    }
}

#[test]
fn each_misbehaviour_is_one_sentence_with_plugin_phase_cause_and_remedy() {
    let report = "report this to the plugin's author";
    let cases = [
        ("load:segfault", format!("backend `hostile` crashed with SIGSEGV in `load`; {report}")),
        ("load:exit0", format!("backend `hostile` ended its process in `load` (exit code 0) without an answer; {report}")),
        ("create:panic", format!("backend `hostile` panicked in `create`: hostile on purpose; {report}")),
        ("is_available:abort", format!("backend `hostile` crashed with SIGABRT in `is_available` (its last output: about to abort); {report}")),
        ("is_available:segfault", format!("backend `hostile` crashed with SIGSEGV in `is_available`; {report}")),
        ("is_available:exit7", format!("backend `hostile` ended its process in `is_available` (exit code 7) without an answer; {report}")),
        ("is_available:closefds", format!("backend `hostile` broke the protocol in `is_available`: it closed the descriptor on which its answer was due; {report}")),
        ("is_available:replacefds", format!("backend `hostile` broke the protocol in `is_available`: it closed the descriptor on which its answer was due; {report}")),
        ("is_available:garbage", format!("backend `hostile` broke the protocol in `is_available`: it sent a line that is not a message (expected value at line 1 column 1): garbage; {report}")),
        ("is_available:killgroup", format!("backend `hostile` crashed with SIGTERM in `is_available`; {report}")),
        ("is_available:killwarden", format!("backend `hostile` broke the protocol in `is_available`: the process that watched over it is gone; {report}")),
        ("is_available:hang", "backend `hostile` did not finish `is_available` within 10 s and was killed; allow it more time with --timeout, or report this to the plugin's author".into()),
        ("extension:notjson", format!("backend `hostile` failed in `bench.requirements/1`: its answer to bench.requirements/1 is not JSON: EOF while parsing an object at line 1 column 1; {report}")),
    ];
    for (wish, expected) in cases {
        // What a C library or Rust prints before it dies differs: compare up to it.
        let got = sentence(wish);
        assert!(got.starts_with(&expected), "{wish}\n     got: {got}\nexpected: {expected}");
    }
    for (wish, part) in [
        ("is_available:overflow", "crashed with SIGABRT in `is_available`"),
        (
            "is_available:memory",
            "ran out of memory in `is_available` under a limit of 256 MiB; raise --memory-limit",
        ),
        ("is_available:closehang", "`is_available`"),
    ] {
        assert!(sentence(wish).contains(part), "{wish}: {}", sentence(wish));
    }
}

#[test]
fn whatever_language_it_is_in_a_listing_says_what_a_run_says() {
    for (library, wish, expected) in [
        ("hostile", "load:panic", "backend `hostile` crashed with SIGABRT in `load`"),
        ("hostile", "load:hang", "backend `hostile` did not finish `load` within 10 s and was killed"),
        ("hostile_c", "load:abort", "backend `hostile_c` crashed with SIGABRT in `load`"),
        ("hostile_c", "load:sigkill", "backend `hostile_c` crashed with SIGKILL in `load`"),
        (
            "hostile_c",
            "create:exit0",
            "backend `hostile_c` ended its process in `create` (exit code 0) without",
        ),
        ("hostile_c", "table:no_run", "backend `hostile_c` failed in `load`: its table lacks `run`"),
        ("hostile_c", "table:abi", "backend `hostile_c` failed in `load`: it speaks C ABI 2, this host 1"),
        (
            "hostile_c",
            "extension:long",
            "backend `hostile_c` failed in `bench.requirements/1`: its answer to",
        ),
        ("hostile_cpp", "create:throw", "backend `hostile_cpp` crashed with SIGABRT in `create`"),
        ("hostile_cpp", "is_available:throw", "backend `hostile_cpp` crashed with SIGABRT in `is_available`"),
    ] {
        match beside_healthy(library, wish) {
            Status::Failed { failure } => {
                assert!(failure.to_string().starts_with(expected), "{wish}: {failure}")
            }
            other => panic!("{library} {wish}: {other:?}"),
        }
    }
}

#[test]
fn what_a_plugin_says_of_itself_has_an_end() {
    let longest = |wish: &str| {
        let folder = folder(&[("healthy", "healthy"), ("hostile_c", "hostile_c")]);
        let listings = list(&candidates(folder.path()), &runner(wish, &mark()), &Stop::new());
        assert!(listings[0].is_available(), "{wish}: {:?}", listings[0]);
        serde_json::to_string(&listings[1].description().expect(wish)).unwrap().len()
    };
    for wish in ["is_available:long", "table:long_version", "load:link_items", "load:fifo_hlog"] {
        assert!(longest(wish) < 20_000, "{wish}: {}", longest(wish));
    }
}

#[test]
fn a_panic_that_the_sdk_contains_is_the_reason_for_not_being_available() {
    match hostile("is_available:panic") {
        Status::Described { description, .. } => {
            assert_eq!(description.availability.detail, "is_available failed: panic: hostile on purpose");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn processes_that_outlive_the_plugin_are_killed_and_named() {
    assert_eq!(remarks("is_available:outlive"), [Remark::LeftBehind(vec!["sleep".into()])]);
    assert_eq!(remarks("is_available:children"), [Remark::LeftBehind(vec!["sleep".to_owned(); 50])]);
}

#[test]
fn bad_manners_after_the_answer_do_not_cost_the_answer() {
    assert_eq!(remarks("drop:hang"), [Remark::SlowToClose]);
    assert!(matches!(remarks("drop:segfault")[..], [Remark::EndedBadly(_)]));
    assert_eq!(remarks("nothing"), []);
}

#[test]
fn a_flood_of_output_neither_blocks_nor_fills_the_memory() {
    // One that blocked would be ended by the time limit, one that hoarded by that of memory.
    assert_eq!(remarks("is_available:flood"), []);
}

#[test]
fn another_layout_is_refused_in_one_sentence() {
    let folder = folder(&[("stranger", "stranger")]);
    let listing = list(&candidates(folder.path()), &runner("", &mark()), &Stop::new()).remove(0);
    let (cause, _) = listing.trouble().unwrap();
    assert_eq!(
        cause,
        "failed in `load`: its types are laid out differently: mismatched type, expected RResult, found u32 in `new_runner.returns`"
    );
}

#[test]
fn a_plugin_must_be_called_what_its_file_is_called() {
    let folder = folder(&[("healthy", "other")]);
    let listing = list(&candidates(folder.path()), &runner("", &mark()), &Stop::new()).remove(0);
    let (cause, remedy) = listing.trouble().unwrap();
    assert!(cause.contains("its file is named `other` but it calls itself `healthy`"), "{cause}");
    assert!(remedy.contains("libbackend_healthy"), "{remedy}");
}

#[test]
fn a_description_says_everything_about_a_plugin() {
    let folder = folder(&[("healthy", "healthy")]);
    let listing = list(&candidates(folder.path()), &runner("", &mark()), &Stop::new()).remove(0);
    let json = serde_json::to_value(&listing).unwrap();
    let description = listing.description().unwrap();
    assert_eq!(description.plugin_version, "0.3.1");
    assert_eq!((description.abi.as_str(), description.sha256.len()), ("rust/1", 64));
    assert_eq!(description.requirements, Some(serde_json::json!({"python": ["nothing"]})));
    assert_eq!(json["status"], "described");
    assert_eq!(json["description"]["availability"]["available"], true);
}

/// A runner without a time limit, whose plugins leave a file in `announced` when they are called.
fn patient(hostile: &str, mark: &str, announced: &TempDir) -> Runner {
    let mut runner = Runner { limits: Limits::default(), ..runner(hostile, mark) };
    runner.variables.push(("ANNOUNCE".into(), announced.path().into()));
    runner
}

#[test]
fn many_that_hang_keep_nobody_else_from_being_described() {
    let names: Vec<String> = (0..8).map(|i| format!("a{i}")).collect();
    let mut plugins: Vec<(&str, &str)> = names.iter().map(|name| ("hostile", name.as_str())).collect();
    plugins.push(("healthy", "healthy"));
    let (folder, announced, mark) = (folder(&plugins), TempDir::new().unwrap(), mark());
    let (runner, stop) = (patient("create:hang", &mark, &announced), Stop::new());
    let listings = std::thread::scope(|scope| {
        let listings = scope.spawn(|| list(&candidates(folder.path()), &runner, &stop));
        // The last in line has its turn though all before it hang, each with its warden.
        eventually("the healthy one is called", || announced.path().join("healthy").exists());
        eventually("it is done, and the others hang", || marked(&mark).len() == 2 * names.len());
        stop.escalate();
        stop.escalate();
        listings.join().unwrap()
    });
    let (healthy, hanging) = listings.split_last().unwrap();
    assert!(healthy.is_available(), "{healthy:?}");
    for listing in hanging {
        assert_eq!(listing.trouble().unwrap().0, "was stopped by the user in `create`");
    }
}

#[test]
fn stopping_twice_ends_a_listing() {
    let (folder, announced) = (folder(&[("hostile", "hostile")]), TempDir::new().unwrap());
    let (runner, stop) = (patient("is_available:hang", &mark(), &announced), Stop::new());
    let listing = std::thread::scope(|scope| {
        scope.spawn(|| {
            eventually("it hangs", || announced.path().join("hostile").exists());
            stop.escalate();
            stop.escalate();
        });
        list(&candidates(folder.path()), &runner, &stop).remove(0)
    });
    assert_eq!(listing.trouble().unwrap().0, "was stopped by the user in `is_available`");
}

#[test]
fn a_host_that_is_killed_leaves_nothing_behind() {
    let folder = folder(&[("hostile", "hostile")]);
    let mark = mark();
    let mut host = Command::new(bench_tests::bench_path())
        .args(["backends", "list", "--timeout", "3600", "--no-user-plugins", "--plugins-dir"])
        .arg(folder.path())
        .env("HOSTILE", "is_available:hang")
        .env("MARK", &mark)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("host, warden and runner exist", || marked(&mark).len() == 3);
    host.kill().unwrap();
    host.wait().unwrap();
    eventually("nothing is left", || marked(&mark).is_empty());
}

/// Makes a file that looks like the plugin `bad`.
type Make = fn(&Path);

/// A copy of a good plugin, changed.
fn changed(to: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(library("healthy")).unwrap();
    change(&mut bytes);
    fs::write(to, bytes).unwrap();
    fs::set_permissions(to, Permissions::from_mode(0o755)).unwrap();
}

/// Each file, and the reason and remedy that the list gives for it.
const FILES: [(Make, &str, &str); 10] = [
    (
        |to| changed(to, |bytes| bytes.truncate(bytes.len() / 2)),
        "damaged or cut short",
        "copy or build it again",
    ),
    (|to| changed(to, |bytes| bytes[18] = 243), "built for Riscv64", "on, or for, this machine"),
    (|to| changed(to, |bytes| bytes.fill(b'x')), "it is not an ELF file", "build the plugin as a `cdylib`"),
    (|to| changed(to, |bytes| bytes.truncate(10)), "has 10 bytes", "build or copy it again"),
    (
        |to| assert!(fs::copy(bench_tests::staged().join("lib/libbench_workloads.so"), to).is_ok()),
        "exports no entry of a bench plugin",
        "in C `bench_backend_entry_v1`",
    ),
    (|to| fs::create_dir(to).unwrap(), "is a directory", "put the plugin's library there, or remove it"),
    (
        |to| assert!(Command::new("mkfifo").arg(to).status().unwrap().success()),
        "is a FIFO",
        "put the plugin's library there, or remove it",
    ),
    (
        |to| {
            changed(to, |_| {});
            fs::set_permissions(to, Permissions::from_mode(0o777)).unwrap();
        },
        "can be written by others (mode 0777)",
        "run: chmod go-w",
    ),
    (
        |to| {
            let elsewhere = to.with_file_name("elsewhere");
            fs::create_dir(&elsewhere).unwrap();
            fs::set_permissions(&elsewhere, Permissions::from_mode(0o777)).unwrap();
            changed(&elsewhere.join("x"), |_| {});
            std::os::unix::fs::symlink(elsewhere.join("x"), to).unwrap();
        },
        "elsewhere can be written by others",
        "run: chmod go-w",
    ),
    (|to| std::os::unix::fs::symlink("/nowhere/x", to).unwrap(), "cannot be read", "check that it exists"),
];

#[test]
fn files_that_must_not_be_loaded_are_refused_with_reason_and_remedy_and_the_others_are_listed() {
    for (make, reason, remedy) in FILES {
        let folder = folder(&[("healthy", "healthy")]);
        make(&folder.path().join("libbackend_bad.so"));
        let listings = list(&candidates(folder.path()), &runner("", &mark()), &Stop::new());
        let (cause, mends) = listings[0].trouble().unwrap();
        assert!(cause.contains(reason), "{reason}: {cause}");
        assert!(mends.contains(remedy), "{remedy}: {mends}");
        assert!(!cause.contains('\n'), "{cause}");
        assert!(matches!(listings[0].status, Status::Refused { .. }), "{reason}: nothing of it ran");
        assert!(listings[1].is_available(), "{reason}");
    }
}

#[test]
fn a_folder_that_others_may_write_to_is_refused_and_other_folders_are_listed() {
    let (good, open) = (folder(&[("healthy", "healthy")]), folder(&[("hostile", "hostile")]));
    fs::set_permissions(open.path(), Permissions::from_mode(0o777)).unwrap();
    let mut all = candidates(good.path());
    all.extend(candidates(open.path()));
    let listings = list(&all, &runner("", &mark()), &Stop::new());
    assert!(listings[0].is_available());
    let (cause, remedy) = listings[1].trouble().unwrap();
    assert!(cause.contains("can be written by others (mode 0777)"), "{cause}");
    assert_eq!(remedy, format!("run: chmod go-w {}", open.path().display()));
    assert!(matches!(listings[1].status, Status::Refused { .. }));
}

#[test]
fn names_that_could_fool_a_shell_or_a_terminal_are_left_out_with_a_warning() {
    let folder = folder(&[("healthy", "healthy")]);
    for name in ["libbackend_a b.so", "libbackend_\u{1b}[2J.so", "libbackend_..so", "libbackend_$(id).so"] {
        fs::copy(library("healthy"), folder.path().join(name)).unwrap();
    }
    let plugins = folder.path().to_str().unwrap();
    let output =
        bench(&["backends", "list", "--no-user-plugins", "--plugins-dir", plugins]).output().unwrap();
    let warned = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success());
    assert_eq!(warned.matches("is left out: a name consists of a-z, 0-9 and _ only").count(), 4, "{warned}");
    assert!(!warned.contains('\u{1b}'), "{warned:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("healthy"));
}

#[test]
fn of_two_plugins_with_one_name_the_first_wins_and_the_other_is_named() {
    let (first, second) = (folder(&[("healthy", "healthy")]), folder(&[("hostile", "healthy")]));
    let (one, two) = (first.path().to_str().unwrap(), second.path().to_str().unwrap());
    let args =
        ["backends", "info", "healthy", "--no-user-plugins", "--plugins-dir", one, "--plugins-dir", two];
    let output = bench(&args).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains(one));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is hidden by"));
}

#[test]
fn the_hidden_subcommand_refuses_to_be_used_by_hand() {
    let output = Command::new(bench_tests::bench_path()).arg("__runner").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("internal command"));
}
