//! Operations of our own, run by this very binary: it is its own runner, hence no test harness.

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::Duration;

use bench_isolate::isolate::{
    Cause, Channel, Directive, Handler, Limits, Notice, Operation, Runner, SUBCOMMAND, Stop, serve,
};
use bench_isolate::load::load;
use bench_isolate::vet::{Vetted, vet};
use bench_isolate::{Error, ErrorKind};
use bench_tests::{PATIENCE, candidates, folder};

/// Behaves as its request says.
struct Act;

impl Operation for Act {
    const NAME: &'static str = "act";
    type Request = String;
    type Reply = String;
    type Event = u32;

    fn subject(_: &String) -> String {
        "the act".into()
    }

    fn execute(request: String, channel: &Channel<u32>) -> Result<String, Error> {
        channel.phase("acting");
        match request.as_str() {
            "count" => (0..1000).for_each(|i| channel.event(i)),
            "wait for drain" => wait(|| channel.is_draining()),
            "wait for cancel" => {
                wait(|| channel.is_cancelled());
                return Err(Error::new(ErrorKind::Cancelled, "cancelled", ""));
            }
            "ignore everything" => wait(|| false),
            "panic" => panic!("in the host's own code"),
            "burn" => return Ok(burn()),
            "many words" => {
                let words = "x".repeat(1 << 20);
                channel.phase(&words);
                return Err(Error::new(ErrorKind::Runtime, words.clone(), words));
            }
            "large" => return Ok("x".repeat(40 << 20)),
            "talk on" => {
                let channel = channel.clone();
                std::thread::spawn(move || {
                    loop {
                        channel.event(0);
                    }
                });
            }
            _ => {}
        }
        Ok(request)
    }
}

/// A shell that has used 300 ms of CPU time when it ends.
const BURNER: &str = "until read -r _ _ _ _ _ _ _ _ _ _ _ _ _ user system _ < /proc/$$/stat
    [ $((user + system)) -ge 30 ]; do :; done";

/// Starts two of them: one that we wait for, and one whose parent ends first. Returns the number of the latter
/// once it is done.
fn burn() -> String {
    let mut waited_for = std::process::Command::new("sh");
    assert!(waited_for.args(["-c", BURNER]).status().expect("sh").success());
    let mut orphaned = std::process::Command::new("sh");
    let orphaned =
        orphaned.args(["-c", "sh -c \"$0\" & echo $!", BURNER]).stderr(std::process::Stdio::null());
    // The orphan holds the other end of this pipe until it ends.
    String::from_utf8_lossy(&orphaned.output().expect("sh").stdout).trim().to_owned()
}

fn wait(condition: impl Fn() -> bool) {
    while !condition() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a plugin on the test kit's host: what the real run will do with the real one.
struct Run;

impl Operation for Run {
    const NAME: &'static str = "run";
    type Request = Vetted;
    type Reply = u64;
    type Event = ();

    fn subject(vetted: &Vetted) -> String {
        format!("backend `{}`", vetted.name)
    }

    fn execute(vetted: Vetted, channel: &Channel<()>) -> Result<u64, Error> {
        let backend = load(&vetted, &|phase| channel.phase(phase))?;
        channel.phase("run");
        let spec = bench_plugin_api::v1::WorkloadSpec {
            name: "upper".into(),
            total_items: 0,
            parallelism: 1,
            scheduler_name: "default".into(),
            extra: vec![].into(),
        };
        let result = backend.run(spec, no_host())?;
        channel.drop_after_answer(backend);
        Ok(result.items_processed)
    }
}

/// A host object whose every method fails: enough for a plugin that misbehaves before it asks.
fn no_host() -> bench_plugin_api::v1::HostBox {
    use abi_stable::sabi_trait::TD_Opaque;
    use abi_stable::std_types::{ROption, RResult, RSlice, RStr, RString, RVec};
    use bench_plugin_api::v1::{BackendError, ERROR_INVALID, Host, Host_TO, OperatorBox};
    struct Nothing;
    fn no<T>() -> RResult<T, BackendError> {
        RResult::RErr(BackendError { kind: ERROR_INVALID, message: "no".into(), remedy: "".into() })
    }
    impl Host for Nothing {
        fn graph(&self) -> RString {
            "{}".into()
        }
        fn operator(&self, _: u32, _: u32, _: u32) -> RResult<OperatorBox, BackendError> {
            no()
        }
        fn next_events(&self, _: u32) -> RResult<ROption<RVec<u8>>, BackendError> {
            no()
        }
        fn emit(&self, _: RSlice<'_, u8>) -> RResult<(), BackendError> {
            no()
        }
        fn progress(&self, _: RStr<'_>, _: RStr<'_>) {}
        fn log(&self, _: u8, _: RStr<'_>, _: RStr<'_>) {}
        fn is_cancelled(&self) -> bool {
            false
        }
        fn extension(&self, _: RStr<'_>, _: RStr<'_>) -> ROption<RString> {
            ROption::RNone
        }
    }
    Host_TO::from_value(Nothing, TD_Opaque)
}

fn act(what: &str, watch: &mut dyn FnMut(Notice<'_, u32>) -> Directive) -> Result<String, Cause> {
    act_within(PATIENCE, what, watch)
}

/// An act that gets `grace` once it is told to stop, and no limit otherwise.
fn act_within(
    grace: Duration,
    what: &str,
    watch: &mut dyn FnMut(Notice<'_, u32>) -> Directive,
) -> Result<String, Cause> {
    let limits = Limits { cancel_grace: grace, ..Limits::default() };
    let answer = Runner::with(limits).call::<Act>(what.into(), watch, &Stop::new());
    answer.map(|answer| answer.reply).map_err(|failure| failure.cause)
}

fn cpu_time_is_that_of_children_and_orphans() {
    let limits = Limits::within(Duration::from_secs(300));
    let answer = Runner::with(limits).call::<Act>("burn".into(), &mut |_| Directive::Continue, &Stop::new());
    let answer = answer.unwrap();
    let cpu = answer.cpu.expect("the kernel tells");
    assert!(cpu.waited >= Duration::from_millis(600), "{cpu:?}");
    assert!(cpu.adopted.contains(&answer.reply.parse().unwrap()), "{} of {cpu:?}", answer.reply);
}

fn events_arrive_whole_and_in_order() {
    let (mut seen, mut phases) = (Vec::new(), Vec::new());
    let reply = act("count", &mut |notice| {
        match notice {
            Notice::Event(event) => seen.push(event),
            Notice::Phase(name) => phases.push(name),
            Notice::Started(_) | Notice::Failed(_) => {}
        }
        Directive::Continue
    });
    assert_eq!(reply.unwrap(), "count");
    assert_eq!((seen, phases), ((0..1000).collect(), vec!["acting".to_owned()]));
}

fn a_drain_is_told_and_the_answer_still_comes() {
    let drain = &mut |notice: Notice<'_, u32>| {
        if matches!(notice, Notice::Phase(_)) { Directive::Drain } else { Directive::Continue }
    };
    assert_eq!(act("wait for drain", drain).unwrap(), "wait for drain");
}

fn a_kill_is_first_a_request_and_then_a_fact() {
    let kill = &mut |notice: Notice<'_, u32>| {
        if matches!(notice, Notice::Phase(_)) { Directive::Kill } else { Directive::Continue }
    };
    // One that listens is not killed, however long it takes: the error is its own.
    assert_eq!(act("wait for cancel", kill), Err(Cause::Stopped));
    // Nothing but the kill ends one that does not.
    let grace = Duration::from_millis(200);
    assert_eq!(act_within(grace, "ignore everything", kill), Err(Cause::Stopped));
}

fn a_panic_of_our_own_is_an_error_of_the_host() {
    match act("panic", &mut |_| Directive::Continue) {
        Err(Cause::Plugin(error)) => assert_eq!(error.kind, ErrorKind::Host),
        other => panic!("{other:?}"),
    }
}

fn an_answer_beyond_the_limit_is_a_violation() {
    match act("large", &mut |_| Directive::Continue) {
        Err(Cause::Protocol(what)) => assert!(what.contains("more than 33554432 bytes"), "{what}"),
        other => panic!("{:?}", other.map(|reply| reply.len())),
    }
}

fn what_a_failure_says_has_an_end_in_every_part_of_it() {
    let told = Runner::default().call::<Act>("many words".into(), &mut |_| Directive::Continue, &Stop::new());
    let failure = told.unwrap_err();
    assert!(failure.phase.starts_with("xxx") && failure.phase.len() < 400, "{}", failure.phase.len());
    let Cause::Plugin(error) = &failure.cause else { panic!("{failure}") };
    assert!(error.message.ends_with("bytes are left out here]") && error.remedy.len() < 66 << 10);
}

fn threads_that_talk_on_do_not_spoil_the_answer() {
    for _ in 0..20 {
        assert_eq!(act("talk on", &mut |_| Directive::Continue).unwrap(), "talk on");
    }
}

fn an_operation_that_the_binary_lacks_is_named() {
    let runner = Runner { program: bench_tests::bench_path(), ..Runner::default() };
    let failure = runner.call::<Act>("count".into(), &mut |_| Directive::Continue, &Stop::new()).unwrap_err();
    assert!(failure.to_string().contains("no operation `act`"), "{failure}");
}

fn misbehaviour_in_run_is_reported_as_such() {
    let folder = folder(&[("hostile", "hostile")]);
    let vetted = vet(&candidates(folder.path())[0]).unwrap();
    for (wish, part) in [
        ("run:exit0", "ended its process in `run` (exit code 0) without an answer"),
        ("run:panic", "panicked in `run`: hostile on purpose"),
        ("run:segfault", "crashed with SIGSEGV in `run`"),
        ("run:hang", "did not finish `run` within 10 s"),
    ] {
        let limit = if wish == "run:hang" { Duration::from_secs(10) } else { PATIENCE };
        let mut runner = Runner::with(Limits::within(limit));
        runner.variables = vec![("HOSTILE".into(), wish.into())];
        let failure =
            runner.call::<Run>(vetted.clone(), &mut |_| Directive::Continue, &Stop::new()).unwrap_err();
        assert!(failure.to_string().contains(part), "{wish}: {failure}");
    }
}

fn a_file_that_changed_after_vetting_is_not_loaded() {
    let folder = folder(&[("healthy", "healthy")]);
    let vetted = vet(&candidates(folder.path())[0]).unwrap();
    std::fs::copy(bench_tests::library("hostile"), &vetted.path).unwrap();
    let failure =
        Runner::default().call::<Run>(vetted, &mut |_| Directive::Continue, &Stop::new()).unwrap_err();
    assert!(failure.to_string().contains("changed while it was being checked"), "{failure}");
}

/// Rewrites a file in place and puts its time back: nothing that the system tells of it is any different.
fn rewrite(path: &std::path::Path, bytes: &[u8]) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let before = file.metadata().unwrap();
    let mut bytes = bytes.to_vec();
    assert!(bytes.len() as u64 <= before.len(), "the other library is not larger");
    // What is behind the end of a library is of no meaning to anybody.
    bytes.resize(before.len() as usize, 0);
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
}

/// A healthy plugin, made so long that the hostile one fits into its file.
fn roomy() -> (tempfile::TempDir, Vetted) {
    let folder = folder(&[("healthy", "healthy")]);
    let path = candidates(folder.path())[0].path.clone();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let needed = std::fs::metadata(bench_tests::library("hostile")).unwrap().len();
    file.set_len(needed.max(file.metadata().unwrap().len())).unwrap();
    let vetted = vet(&candidates(folder.path())[0]).unwrap();
    (folder, vetted)
}

fn a_file_that_is_rewritten_in_place_never_runs_other_bytes_than_those_that_were_hashed() {
    let (_folder, vetted) = roomy();
    rewrite(&vetted.path, &std::fs::read(bench_tests::library("hostile")).unwrap());
    vetted.still_the_same().expect("the system tells of no change");
    // What is in the file now would end its process as soon as it is loaded.
    let variables = vec![("HOSTILE".into(), "load:exit7".into())];
    let runner = Runner { variables, ..Runner::default() };
    let failure = runner.call::<Run>(vetted, &mut |_| Directive::Continue, &Stop::new()).unwrap_err();
    // The healthy one came as far as to ask its host, which knows nothing.
    assert!(failure.to_string().contains("failed in `run`"), "{failure}");
}

fn where_there_is_no_sealed_memory_a_rewritten_file_is_refused() {
    let (_folder, vetted) = roomy();
    // As if the host's could not be seen from the runner.
    let mut travelled = serde_json::to_value(&vetted).unwrap();
    travelled["sealed"] = serde_json::Value::Null;
    let unsealed: Vetted = serde_json::from_value(travelled).unwrap();
    let run = |vetted: &Vetted| {
        Runner::default().call::<Run>(vetted.clone(), &mut |_| Directive::Continue, &Stop::new()).unwrap_err()
    };
    assert!(run(&unsealed).to_string().contains("failed in `run`"));
    rewrite(&vetted.path, &std::fs::read(bench_tests::library("hostile")).unwrap());
    assert!(run(&unsealed).to_string().contains("changed while it was being checked"));
}

fn what_is_printed_goes_to_the_log() {
    let folder = folder(&[("hostile", "hostile")]);
    let vetted = vet(&candidates(folder.path())[0]).unwrap();
    let log = folder.path().join("log");
    let mut runner = Runner { log: Some(log.clone()), ..Runner::default() };
    runner.variables = vec![("HOSTILE".into(), "run:flood".into())];
    runner.call::<Run>(vetted, &mut |_| Directive::Continue, &Stop::new()).unwrap();
    let length = std::fs::metadata(log).unwrap().len();
    assert!(length > 64 << 20 && length < 65 << 20, "{length}");
}

fn main() -> ExitCode {
    let argument = std::env::args().nth(1).unwrap_or_default();
    if argument == SUBCOMMAND {
        serve(&[Handler::of::<Act>(), Handler::of::<Run>()]);
    }
    macro_rules! tests {
        ($($test:ident),* $(,)?) => { [$((stringify!($test), $test as fn())),*] };
    }
    let tests = tests![
        events_arrive_whole_and_in_order,
        a_drain_is_told_and_the_answer_still_comes,
        a_kill_is_first_a_request_and_then_a_fact,
        a_panic_of_our_own_is_an_error_of_the_host,
        an_answer_beyond_the_limit_is_a_violation,
        what_a_failure_says_has_an_end_in_every_part_of_it,
        threads_that_talk_on_do_not_spoil_the_answer,
        an_operation_that_the_binary_lacks_is_named,
        misbehaviour_in_run_is_reported_as_such,
        a_file_that_changed_after_vetting_is_not_loaded,
        a_file_that_is_rewritten_in_place_never_runs_other_bytes_than_those_that_were_hashed,
        where_there_is_no_sealed_memory_a_rewritten_file_is_refused,
        what_is_printed_goes_to_the_log,
        cpu_time_is_that_of_children_and_orphans,
    ];
    let mut failed = 0;
    for (name, test) in tests.into_iter().filter(|(name, _)| name.contains(argument.as_str())) {
        let passed = catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += u32::from(!passed);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
