//! `bench run --backend dask` on the real Dask: answers, faults, and what is left behind.
//!
//! Needs `bench backends install dask`; says so and passes where Dask is missing, unless
//! `BENCH_REQUIRE_RUNTIMES` is set, as it is in CI.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::MutexGuard;

use bench_tests::following::Following;
use bench_tests::runtimes::runtimes;
use bench_tests::{eventually, mark, marked, records, shared_memory, small_run, stderr, stdout, succeed};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

fn dask() -> Option<MutexGuard<'static, ()>> {
    runtimes(&["dask"])
}

/// The record of a run that ends well.
fn record(backend: &str, more: &[&str]) -> Value {
    let output = TempDir::new().unwrap();
    succeed(&mut small_run(backend, output.path(), more));
    records(output.path()).remove(0)
}

#[test]
fn the_answers_are_those_of_local() {
    let Some(_alone) = dask() else { return };
    for workload in ["wl4", "null"] {
        for batch in ["1", "16"] {
            let shards = if batch == "1" { "1" } else { "3" };
            let flags = ["--parallelism", "2", "--parity-batch-size", batch, "--corpus-shards", shards];
            let flags = [&["--workload", workload][..], &flags].concat();
            let (local, dask) = (record("local", &flags), record("dask", &flags));
            assert_eq!(dask["extra"]["output_digest"], local["extra"]["output_digest"], "{flags:?}");
            assert_eq!(dask["extra"]["items"]["completed"], 120);
            assert_eq!(dask["config_hash"], local["config_hash"]);
            assert_eq!(dask["extra"]["backend_account"]["metrics"]["dask"]["workers"], 2);
        }
    }
}

#[test]
fn a_record_that_an_operator_refuses_fails_alone() {
    let Some(_alone) = dask() else { return };
    let fault = ["--set", "fault=raise:vdb1:7"];
    let (local, dask) = (record("local", &fault), record("dask", &fault));
    assert_eq!(dask["extra"]["output_digest"], local["extra"]["output_digest"]);
    assert_eq!(dask["extra"]["items"]["failed"], 1);
}

#[test]
fn a_worker_that_dies_costs_nothing_with_retries() {
    let Some(_alone) = dask() else { return };
    let right = record("local", &[]);
    for operator in ["vdb1", "category_batch"] {
        let dask = record("dask", &["--retries", "2", "--set", &format!("fault=exit:{operator}:40")]);
        assert_eq!(dask["extra"]["output_digest"], right["extra"]["output_digest"], "{operator}");
        assert_eq!(dask["extra"]["items"]["completed"], 120);
        let metrics = &dask["extra"]["backend_account"]["metrics"]["dask"];
        assert_eq!(metrics["lost_workers"], 1, "{metrics:#}");
        assert!(metrics["lost_calls"]["restored"].as_u64() > Some(0), "{metrics:#}");
    }
}

#[test]
fn a_worker_that_dies_ends_the_run_without_retries_with_the_reason() {
    let Some(_alone) = dask() else { return };
    for operator in ["vdb1", "category_batch"] {
        let output = TempDir::new().unwrap();
        let fault = format!("fault=exit:{operator}:40");
        let run = small_run("dask", output.path(), &["--set", &fault]).output().unwrap();
        assert_eq!(run.status.code(), Some(1), "{}", stderr(&run));
        assert!(stderr(&run).contains("failed in Dask"), "{}", stderr(&run));
        assert!(stderr(&run).contains("give --retries 1 or more"), "{}", stderr(&run));
    }
}

#[test]
fn more_nodes_than_this_machine_need_a_cluster() {
    let Some(_alone) = dask() else { return };
    let output = TempDir::new().unwrap();
    let run = small_run("dask", output.path(), &["--nodes", "2"]).output().unwrap();
    assert_eq!(run.status.code(), Some(2), "{}", stderr(&run));
    assert!(stderr(&run).contains("Leave --nodes at 1") && stderr(&run).contains("dask_address=tcp://"));
}

/// Waits for so many workers, then says which plugins the scheduler has.
const PLUGINS: &str = "
import sys
from distributed import Client

with Client(sys.argv[1]) as client:
    client.wait_for_workers(int(sys.argv[2]))
    print(client.run_on_scheduler(lambda dask_scheduler: [*dask_scheduler.plugins, *dask_scheduler.worker_plugins]))
";

/// A scheduler and two workers on this machine, as a user starts them; end with this.
struct Cluster {
    address: String,
    processes: Vec<Child>,
    _folder: TempDir,
}

impl Cluster {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("scheduler.json");
        let data = std::env::var_os("BENCH_DATA_DIR").unwrap();
        let python = Path::new(&data).join("venvs/dask/bin/python");
        let start = |module: &str, more: &[&str]| {
            let mut command = Command::new(&python);
            command.args(["-m", &format!("distributed.cli.dask_{module}"), "--scheduler-file"]).arg(&file);
            command.args(more).current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        };
        let scheduler = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", ":0"];
        let mut processes = vec![start("scheduler", &scheduler)];
        let told = || serde_json::from_slice::<Value>(&fs::read(&file).unwrap_or_default()).is_ok();
        eventually("the scheduler listens", told);
        let address = serde_json::from_slice::<Value>(&fs::read(&file).unwrap()).unwrap()["address"].clone();
        let worker = ["--nthreads", "1", "--no-nanny", "--no-dashboard"];
        processes.extend((0..2).map(|_| start("worker", &worker)));
        Self { address: address.as_str().unwrap().to_owned(), processes, _folder: folder }
    }

    /// Waits for so many workers. The names of all plugins that the scheduler has.
    fn plugins(&self, workers: &str) -> String {
        let python = Path::new(&std::env::var_os("BENCH_DATA_DIR").unwrap()).join("venvs/dask/bin/python");
        stdout(&succeed(Command::new(python).args(["-B", "-c", PLUGINS, &self.address, workers])))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

#[test]
fn a_cluster_of_one_machine_is_one_node_however_many_workers_it_has() {
    let Some(_alone) = dask() else { return };
    let cluster = Cluster::start();
    let option = format!("dask_address={}", cluster.address);
    let joined = record("dask", &["--backend-option", &option]);
    assert_eq!(joined["nodes"], 1);
    let nodes = joined["extra"]["backend_account"]["metrics"]["nodes"].as_object().unwrap();
    let [node] = nodes.values().collect::<Vec<_>>()[..] else { panic!("{nodes:?}") };
    assert!(node["calls"].as_u64() > Some(0), "{node}");
    let workers: Vec<u64> = cluster.processes[1..].iter().map(|worker| u64::from(worker.id())).collect();
    for process in node["processes"].as_array().unwrap() {
        assert!(workers.contains(&process.as_u64().unwrap()), "{node} where {workers:?} were started");
    }
    let output = TempDir::new().unwrap();
    let run =
        small_run("dask", output.path(), &["--nodes", "2", "--backend-option", &option]).output().unwrap();
    assert_eq!(run.status.code(), Some(2), "{}", stderr(&run));
    assert!(
        stderr(&run).contains("2 nodes were asked for, and the workers of the cluster at"),
        "{}",
        stderr(&run)
    );
}

#[test]
fn of_a_cluster_without_nannies_another_worker_takes_over() {
    let Some(_alone) = dask() else { return };
    let mut cluster = Cluster::start();
    let before = cluster.plugins("2");
    let option = format!("dask_address={}", cluster.address);
    let output = TempDir::new().unwrap();
    let open = ["--load", "open", "--rate", "60", "--num-tasks", "300", "--retries", "3", "--verbose"];
    let joined = [&open[..], &["--backend-option", &option]].concat();
    let mut run = Following::start(&mut small_run("dask", output.path(), &joined));
    run.until("/300 items");
    cluster.processes[1].kill().unwrap();
    let ended = run.end();
    assert!(ended.status.success(), "{}", stderr(&ended));
    assert!(stderr(&ended).contains("was lost and is made anew"), "{}", stderr(&ended));
    let dask = records(output.path()).remove(0);
    // The answers are those of any load.
    let local = record("local", &["--num-tasks", "300"]);
    assert_eq!(dask["extra"]["output_digest"], local["extra"]["output_digest"]);
    assert_eq!(dask["extra"]["items"]["failed"], 0);
    let metrics = &dask["extra"]["backend_account"]["metrics"];
    assert_eq!((&metrics["dask"]["workers"], &metrics["dask"]["lost_workers"]), (&1.into(), &1.into()));
    let [node] = metrics["nodes"].as_object().unwrap().values().collect::<Vec<_>>()[..] else {
        panic!("{metrics:#}")
    };
    let dead = u64::from(cluster.processes[1].id());
    assert!(node["processes"].as_array().unwrap().contains(&dead.into()), "{node}");
    assert_eq!(cluster.plugins("1"), before, "nothing of the run stays on the scheduler");
}

/// Holds the versions of a cluster, which Dask tells of it, against those of the driver; then those of a worker that has another.
const VERSIONS: &str = "
import asyncio, sys
sys.path[:0] = sys.argv[1:]
from driver import check_versions
from distributed import Client

async def main():
    async with Client(processes=False, dashboard_address=None, asynchronous=True) as client:
        found = await client.get_versions()
        check_versions(found, 'tcp://there:8786')
        next(iter(found['workers'].values()))['packages']['distributed'] = '2026.1.0'
        try:
            check_versions(found, 'tcp://there:8786')
        except Exception as refusal:
            print(refusal, refusal.remedy)

asyncio.run(main())
";

#[test]
fn a_cluster_of_another_version_is_refused_with_both() {
    let Some(_alone) = dask() else { return };
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    let python = Path::new(&std::env::var_os("BENCH_DATA_DIR").unwrap()).join("venvs/dask/bin/python");
    let mut told = Command::new(python);
    told.args(["-B", "-c", VERSIONS]).args([plugins.join("dask"), plugins.join("python")]);
    let told = stdout(&succeed(&mut told));
    assert!(told.contains("inproc://") && told.contains("has Dask 2026.1.0 on Python 3."), "{told}");
    assert!(told.contains("set BENCH_PYTHON_DASK to its python"), "{told}");
}

#[test]
fn whoever_ends_the_run_nothing_stays_behind() {
    let Some(_alone) = dask() else { return };
    for signal in [Signal::KILL, Signal::INT] {
        let (output, temporary, mark) = (TempDir::new().unwrap(), TempDir::new().unwrap(), mark());
        let hours = ["--load", "open", "--rate", "20", "--num-tasks", "1000000", "--verbose"];
        let mut command = small_run("dask", output.path(), &hours);
        command.env("MARK", &mark).env("TMPDIR", temporary.path());
        let shared = shared_memory();
        let mut child = Following::start(&mut command);
        child.until("phase: steady");
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert!(!child.end().status.success());
        eventually("every process ends", || marked(&mark).is_empty());
        eventually("the temporary folder is empty", || is_empty(temporary.path()));
        assert!(shared_memory().is_subset(&shared), "{signal:?}");
    }
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}
