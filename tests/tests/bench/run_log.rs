//! `run.log` and the words of a failure: what a driver and its runtime printed is there, however a run ends.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bench_tests::runtimes::runtimes;
use bench_tests::skip::{leave_out, skip};
use bench_tests::{children, eventually, folder, mark, marked, small_run, stderr, succeed};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// What the driver of the plugin `driven` and a process of its print before anything else.
const PRINTED: [&str; 3] =
    ["printed to standard output\n", "printed to standard error\n", "printed by a process of the runtime\n"];

/// A run of `driven` that behaves so.
struct Driven {
    output: TempDir,
    _plugins: TempDir,
    mark: String,
    command: Command,
}

impl Driven {
    /// `None` where there is no Python.
    fn new(behave: &str, more: &[&str]) -> Option<Self> {
        if Command::new("python3").arg("--version").output().is_err() {
            skip("there is no python3", "");
            return None;
        }
        let (output, plugins, mark) = (TempDir::new().unwrap(), folder(&[("driven", "driven")]), mark());
        let behave = format!("behave={behave}");
        let mut args = vec!["--workload", "null", "--backend-option", &behave];
        args.extend(["--plugins-dir", plugins.path().to_str().unwrap()]);
        args.extend(more);
        let mut command = small_run("driven", output.path(), &args);
        command.env("BENCH_PYTHON_DRIVEN", "python3").env("MARK", &mark);
        Some(Self { output, _plugins: plugins, mark, command })
    }

    fn log(&self) -> String {
        log(self.output.path())
    }

    /// Starts it and waits until `text` is in its log.
    fn until(&mut self, text: &str) -> Child {
        let child = self.command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually("the driver is under way", || self.log().contains(text));
        child
    }

    fn holds_what_was_printed(&self) {
        let log = self.log();
        PRINTED.iter().for_each(|line| assert!(log.contains(line), "{line}: {log}"));
    }
}

/// The only `run.log` below an output folder; empty as long as there is none.
fn log(output: &Path) -> String {
    let runs = fs::read_dir(output.join("runs")).into_iter().flatten().flatten();
    let logs = runs.filter_map(|run| fs::read(run.path().join("run.log")).ok());
    logs.map(|log| String::from_utf8_lossy(&log).into_owned()).collect()
}

#[test]
fn a_run_that_goes_well_has_what_was_printed_and_said() {
    let Some(mut run) = Driven::new("", &[]) else { return };
    succeed(&mut run.command);
    run.holds_what_was_printed();
    let log = run.log();
    for line in [
        "PHASE start-up: the Driven driver has not answered\n",
        "PHASE steady\n",
        "PHASE drain\n",
        "DEBUG driver: said through the host\n",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert!(!log.contains("log file of the runtime"), "{log}");
}

#[test]
fn a_traceback_is_whole_in_the_log_and_the_error_shows_its_end() {
    let Some(mut run) = Driven::new("raise", &[]) else { return };
    let ended = run.command.output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let said = stderr(&ended);
    assert!(said.contains("failed in `run`: ValueError: a cause in many words"), "{said}");
    assert!(said.contains("whose last line is the very end of it\n"), "{said}");
    run.holds_what_was_printed();
    let log = run.log();
    assert!(
        log.contains("Traceback (most recent call last):\n") && log.contains("raise ValueError(LONG)\n"),
        "{log}"
    );
    assert!(log.contains("\nwhose last line is the very end of it\n"), "{log}");
    assert!(log.contains("/session_1/engine.err]\nwritten to a log file of the runtime\n"), "{log}");
}

#[test]
fn a_cause_with_half_a_character_is_said_and_not_that_it_cannot_be_read() {
    let Some(mut run) = Driven::new("half", &[]) else { return };
    let said = stderr(&run.command.output().unwrap());
    assert!(said.contains(r"failed in `run`: ValueError: cannot open caf\udce9.txt"), "{said}");
    run.holds_what_was_printed();
}

#[test]
fn a_driver_that_ends_by_itself_or_by_force_loses_nothing() {
    for (behave, how) in [("kill", "signal: 9"), ("exit", "exit status: 3")] {
        let Some(mut run) = Driven::new(behave, &[]) else { return };
        let ended = run.command.output().unwrap();
        let said = stderr(&ended);
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains(how) && said.contains("in phase start-up"), "{said}");
        assert!(said.contains("/run.log"), "{said}");
        run.holds_what_was_printed();
        if behave == "exit" {
            assert!(said.contains("(its last output: LookupError: why it exits)"), "{said}");
        }
    }
}

#[test]
fn a_runner_that_is_killed_or_crashes_loses_nothing() {
    for signal in [Signal::KILL, Signal::ABORT] {
        let Some(mut run) = Driven::new("hang", &[]) else { return };
        let child = run.until("PHASE start-up: the engine has not answered\n");
        let [warden] = children(child.id())[..] else { panic!("{:?}", children(child.id())) };
        let [runner] = children(warden)[..] else { panic!("{:?}", children(warden)) };
        kill_process(Pid::from_raw(runner as i32).unwrap(), signal).unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(1));
        run.holds_what_was_printed();
        let log = run.log();
        assert!(log.contains("crashed with SIG"), "{log}");
        assert!(log.contains("/session_1/engine.err]\nwritten to a log file of the runtime\n"), "{log}");
        eventually("no process is left", || marked(&run.mark).is_empty());
    }
}

#[test]
fn a_killed_host_leaves_the_log_as_it_was() {
    let Some(mut run) = Driven::new("hang", &[]) else { return };
    let mut child = run.until(PRINTED[2]);
    child.kill().unwrap();
    child.wait().unwrap();
    run.holds_what_was_printed();
    eventually("no process is left", || marked(&run.mark).is_empty());
}

#[test]
fn a_run_that_the_user_stops_loses_nothing() {
    let Some(mut run) = Driven::new("hang later", &[]) else { return };
    let child = RefCell::new(run.until("printed in the stream"));
    let ended = RefCell::new(None);
    // Signals that come at once are one: again until the second was seen.
    eventually("the run ends", || {
        let _ = kill_process(Pid::from_child(&child.borrow()), Signal::INT);
        *ended.borrow_mut() = child.borrow_mut().try_wait().unwrap();
        ended.borrow().is_some()
    });
    assert_eq!(ended.into_inner().and_then(|status| status.code()), Some(130));
    run.holds_what_was_printed();
    eventually("no process is left", || marked(&run.mark).is_empty());
}

#[test]
fn a_time_out_says_what_was_waited_for_and_loses_nothing() {
    for (behave, place) in
        [("hang", "in start-up: the engine has not answered for "), ("hang later", "in steady: none of ")]
    {
        let Some(mut run) = Driven::new(behave, &["--timeout", "15"]) else { return };
        let ended = run.command.output().unwrap();
        let said = stderr(&ended);
        assert_eq!(ended.status.code(), Some(5), "{said}");
        assert!(
            said.contains("did not finish `run` within 15 s and was killed, ") && said.contains(place),
            "{said}"
        );
        run.holds_what_was_printed();
        assert!(run.log().contains("written to a log file of the runtime\n"), "{}", run.log());
    }
}

#[test]
fn a_flood_keeps_its_beginning_and_its_end() {
    let Some(mut run) = Driven::new("flood", &[]) else { return };
    let ended = run.command.output().unwrap();
    assert!(stderr(&ended).contains("ValueError: after the flood"), "{}", stderr(&ended));
    run.holds_what_was_printed();
    let log = run.log();
    assert!(
        log.contains("[bench: the log may have no more than this")
            && log.contains(" bytes are left out here]\n")
    );
    assert!(log.contains("line 1199999 of a flood") && log.contains("ValueError: after the flood\n"));
    assert!((64 << 20..65 << 20).contains(&log.len()), "{}", log.len());
}

#[test]
fn a_refusal_is_the_users_to_mend_and_no_fault_of_the_plugin() {
    let Some(mut run) = Driven::new("refuse", &[]) else { return };
    let ended = run.command.output().unwrap();
    let said = stderr(&ended);
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(said.contains("there is no such thing: choose this or that"), "{said}");
    assert!(!said.contains("author"), "{said}");
}

/// A run of a real runtime that fails: what it said, and its log.
fn failing(command: &mut Command, output: &Path, code: i32) -> (String, String) {
    let ended = command.output().unwrap();
    let said = stderr(&ended);
    assert_eq!(ended.status.code(), Some(code), "{said}");
    (said, log(output))
}

#[test]
fn a_worker_of_dask_that_exits_is_in_the_log() {
    let Some(_alone) = runtimes(&["dask"]) else { return };
    let output = TempDir::new().unwrap();
    let mut run = small_run("dask", output.path(), &["--set", "fault=exit:rerank:5"]);
    let (said, log) = failing(&mut run, output.path(), 1);
    assert!(said.contains("failed in `run`: the run failed in Dask: "), "{said}");
    assert!(
        log.contains("PHASE steady\n") && log.contains("[bench: backend `dask` failed in `run`: "),
        "{log}"
    );
}

#[test]
fn an_operator_that_hangs_in_sage_is_timed_out_with_the_phase() {
    let Some(_alone) = runtimes(&["sage"]) else { return };
    let output = TempDir::new().unwrap();
    let mut run = small_run("sage", output.path(), &["--set", "fault=hang:rerank:5", "--timeout", "40"]);
    let (said, log) = failing(&mut run, output.path(), 5);
    assert!(
        said.contains("within 40 s and was killed, in steady: ") || said.contains("killed, in drain: "),
        "{said}"
    );
    assert!(said.contains(" items are answered, the last one ") || said.contains("none of "), "{said}");
    assert!(
        log.contains("PHASE steady\n") && log.contains("[bench: backend `sage` did not finish `run`"),
        "{log}"
    );
}

#[test]
fn ray_without_a_network_is_timed_out_with_what_it_waited_for_and_said() {
    let Some(_alone) = runtimes(&["ray"]) else { return };
    let separate = ["--user", "--map-root-user", "--net"];
    if !Command::new("unshare").args(separate).arg("true").status().is_ok_and(|status| status.success()) {
        return leave_out("unshare cannot take the network away");
    }
    let output = TempDir::new().unwrap();
    let run = small_run("ray", output.path(), &["--timeout", "25"]);
    let mut offline = Command::new("unshare");
    offline.args(separate).arg(run.get_program()).args(run.get_args());
    offline.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let (said, log) = failing(&mut offline, output.path(), 5);
    assert!(said.contains("within 25 s and was killed, in start-up: Ray has not answered for "), "{said}");
    assert!(log.contains("Failed to connect to GCS"), "{log}");
    assert!(log.contains("/logs/gcs_server.out]\n"), "what Ray wrote itself: {log}");
}
