//! Several machines: that they are several, and what a run on them says.
//!
//! What takes longer is `cargo xtask hosts`.

use std::process::{Child, Command, Stdio};

use bench_tests::hosts::Hosts;
use bench_tests::runtimes::runtimes;
use bench_tests::{eventually, marked, records, small_run, stdout, succeed};
use serde_json::Value;
use tempfile::TempDir;

#[test]
fn hosts_have_networks_folders_names_and_clocks_of_their_own() {
    let Some(hosts) = Hosts::start(&[0, 100_000], &[]) else { return };
    let say = |number, script: &str| stdout(&succeed(&mut hosts.on(number, script))).trim().to_owned();
    assert_eq!((say(0, "hostname"), say(1, "hostname")), ("host1".to_owned(), "host2".to_owned()));
    say(0, "echo here > /var/tmp/file");
    assert_eq!(say(1, "ls /var/tmp"), "");
    let clock = |number| say(number, "cut -d. -f1 /proc/uptime").parse::<u64>().unwrap();
    let monotonic = "python3 -c 'import time; print(int(time.monotonic()))'";
    let ahead = say(1, monotonic).parse::<u64>().unwrap() - say(0, monotonic).parse::<u64>().unwrap();
    assert!((99_900..100_900).contains(&ahead) && clock(0) > 0, "{ahead}");
    let listen = "python3 -c 'import socket; s = socket.create_server((\"\", 7000)); print(flush=True)
s.accept()[0].sendall(b\"reached\")'";
    let mut listening = hosts.on(1, listen).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Read::read_exact(listening.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let connect = "python3 -c 'import socket; print(socket.create_connection((\"10.77.0.2\", 7000)).recv(99).decode())'";
    assert_eq!(say(0, connect), "reached");
    listening.wait().unwrap();
}

#[test]
fn nothing_of_hosts_stays_behind_whoever_is_killed() {
    // The kernel does to a test that is killed what it does to a thread that ends.
    let mark = std::thread::spawn(|| {
        let hosts = Hosts::start(&[0, 0], &[])?;
        std::mem::forget(hosts.on(0, "sleep 1000 & setsid sleep 1000").spawn().unwrap());
        let sleep = || marked(&hosts.mark).iter().filter(|line| line.trim() == "sleep 1000").count();
        eventually("two of the machine's processes and two of ours sleep", || sleep() == 4);
        let mark = hosts.mark.clone();
        std::mem::forget(hosts);
        Some(mark)
    });
    let Some(mark) = mark.join().unwrap() else { return };
    eventually("everything ends", || marked(&mark).is_empty());
}

/// A scheduler on the first host, and a worker on each; ends with the hosts.
struct Dask {
    address: String,
    processes: Vec<Child>,
}

const PYTHON: &str = "\"$BENCH_DATA_DIR/venvs/dask/bin/python\" -m distributed.cli.dask_";

impl Dask {
    fn start(hosts: &Hosts, count: usize) -> Self {
        let quiet =
            |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let address = format!("tcp://{}:8786", hosts.host(0).address);
        let scheduler =
            format!("{PYTHON}scheduler --host {} --port 8786 --no-dashboard", hosts.host(0).address);
        let mut processes = vec![quiet(&mut hosts.on(0, &scheduler))];
        for number in 0..count {
            let host = &hosts.host(number).address;
            let worker =
                format!("{PYTHON}worker {address} --host {host} --nthreads 1 --no-nanny --no-dashboard");
            processes.push(quiet(&mut hosts.on(number, &worker)));
        }
        Self { address, processes }
    }
}

impl Drop for Dask {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A small run on the first host, whose results are in `output`.
fn run_there(hosts: &Hosts, backend: &str, output: &std::path::Path, more: &[&str]) -> Command {
    let run = small_run(backend, output, more);
    let words =
        run.get_args().map(|word| format!("'{}'", word.to_str().unwrap())).collect::<Vec<_>>().join(" ");
    hosts.on(0, &format!("bench {words}"))
}

#[test]
fn a_run_on_three_hosts_whose_clocks_are_a_day_apart_is_as_one_on_one_clock() {
    let Some(_alone) = runtimes(&["dask"]) else { return };
    let (output, local) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let Some(hosts) = Hosts::start(&[0, 100_000, 250_000], &[output.path().to_owned()]) else { return };
    let dask = Dask::start(&hosts, 3);
    let flags = ["--parallelism", "3", "--nodes", "3"];
    succeed(&mut small_run("local", local.path(), &flags[..2]));
    let trace = output.path().join("trace.json");
    let option = format!("dask_address={}", dask.address);
    let more = ["--trace", trace.to_str().unwrap(), "--backend-option", &option];
    succeed(&mut run_there(&hosts, "dask", output.path(), &[&flags[..], &more].concat()));
    let record = records(output.path()).remove(0);
    let extra = &record["extra"];
    assert_eq!(extra["output_digest"], records(local.path())[0]["extra"]["output_digest"]);
    assert_eq!(record["nodes"], 3);
    // What was set is what was found.
    let clocks = extra["clocks"].as_array().unwrap();
    let mut ahead: Vec<(&str, f64)> = clocks
        .iter()
        .map(|clock| (clock["hosts"][0].as_str().unwrap(), clock["offset_seconds"].as_f64().unwrap()))
        .collect();
    ahead.sort_by(|a, b| a.1.total_cmp(&b.1));
    let [("host2", second), ("host3", third)] = ahead[..] else { panic!("{clocks:?}") };
    assert!((second - 100_000.0).abs() < 1.0 && (third - 250_000.0).abs() < 1.0, "{clocks:?}");
    assert!(clocks.iter().all(|clock| clock["within_seconds"].as_f64().is_some_and(|within| within < 1.0)));
    // A day in any of it would be a clock's.
    for part in ["operator", "queueing", "transfer", "overhead"] {
        let seconds = extra["attribution"][format!("{part}_seconds")].as_f64().unwrap();
        assert!((0.0..50_000.0).contains(&seconds), "{part}: {seconds}");
    }
    assert!(extra["attribution"]["operator_seconds"].as_f64() > Some(0.0));
    let workers = extra["workers"].as_array().unwrap();
    for host in ["host2", "host3"] {
        assert!(workers.iter().any(|worker| worker["host"] == host), "{workers:?}");
    }
    let codes: Vec<&Value> =
        extra["validity"]["findings"].as_array().unwrap().iter().map(|f| &f["code"]).collect();
    assert!(!codes.contains(&&Value::from("operator_times")), "{codes:?}");
    let trace: Value = serde_json::from_slice(&std::fs::read(&trace).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let times: Vec<f64> = events.iter().filter_map(|event| event["ts"].as_f64()).collect();
    assert!(times.is_sorted() && times[times.len() - 1] < 50_000e6, "{:?}", times.last());
    let names: Vec<&str> = events.iter().filter_map(|event| event["args"]["name"].as_str()).collect();
    assert!(names.iter().any(|name| name.ends_with(" on host3")), "{names:?}");
}
