//! Several machines: that they are several, and what a run on them says.
//!
//! What takes longer is `cargo xtask hosts`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use bench_tests::clusters::{dask, ray, run_there};
use bench_tests::following::Following;
use bench_tests::hosts::Hosts;
use bench_tests::runtimes::runtimes;
use bench_tests::{eventually, marked, records, small_run, stderr, stdout, succeed};
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

/// Runs on three hosts, of which the first has bench and no other has its library or an index.
fn is_as_on_one_clock(backend: &str, cluster: impl Fn(&Hosts) -> String) {
    let (output, local) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let Some(hosts) = Hosts::start(&[0, 100_000, 250_000], &[output.path().to_owned()]) else { return };
    let option = cluster(&hosts);
    let flags = ["--parallelism", "3", "--nodes", "3"];
    succeed(&mut small_run("local", local.path(), &flags[..2]));
    let trace = output.path().join("trace.json");
    let more = ["--trace", trace.to_str().unwrap(), "--backend-option", &option];
    succeed(&mut run_there(&hosts, backend, output.path(), &[&flags[..], &more].concat()));
    let record = records(output.path()).remove(0);
    let extra = &record["extra"];
    assert_eq!(extra["output_digest"], records(local.path())[0]["extra"]["output_digest"]);
    assert_eq!(record["nodes"], 3);
    // What was set is what was found.
    let clocks = extra["clocks"].as_array().unwrap();
    let ahead = |clock: &Value| {
        (clock["hosts"][0].as_str().unwrap().to_owned(), clock["offset_seconds"].as_f64().unwrap())
    };
    let mut ahead: Vec<(String, f64)> = clocks.iter().map(ahead).collect();
    ahead.sort_by(|a, b| a.1.total_cmp(&b.1));
    let [(second, by), (third, by_more)] = &ahead[..] else { panic!("{clocks:?}") };
    assert_eq!((second.as_str(), third.as_str()), ("host2", "host3"));
    assert!((by - 100_000.0).abs() < 1.0 && (by_more - 250_000.0).abs() < 1.0, "{clocks:?}");
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
    let machines = extra["machines"].as_array().unwrap();
    let used = |machine: &Value| machine["cpu_seconds"].as_f64().unwrap();
    let hosts_named: Vec<&str> = machines.iter().map(|machine| machine["host"].as_str().unwrap()).collect();
    assert_eq!(hosts_named, ["host1", "host2", "host3"]);
    assert!(machines.iter().all(|machine| used(machine) > 0.0), "{machines:?}");
    // The driver, on the first, is the kernel's to account for.
    assert!(extra["cpu_seconds"].as_f64().unwrap() > machines.iter().map(used).sum());
    assert_eq!(extra["memory_peak_bytes"], Value::Null);
    // They are hosts of one kernel, which does not tell one's processes to another.
    assert_eq!(extra["disturbance"]["others"], Value::Null);
    assert!(extra["unknown"]["memory_peak_bytes"].is_string(), "{}", extra["unknown"]);
    let codes: Vec<&Value> =
        extra["validity"]["findings"].as_array().unwrap().iter().map(|finding| &finding["code"]).collect();
    assert!(!codes.contains(&&Value::from("operator_times")), "{codes:?}");
    let trace: Value = serde_json::from_slice(&std::fs::read(&trace).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let times: Vec<f64> = events.iter().filter_map(|event| event["ts"].as_f64()).collect();
    assert!(times.is_sorted() && times[times.len() - 1] < 50_000e6, "{:?}", times.last());
    let names: Vec<&str> = events.iter().filter_map(|event| event["args"]["name"].as_str()).collect();
    assert!(names.iter().any(|name| name.ends_with(" on host3")), "{names:?}");
    // What the first run left in the workers, a library that they have loaded among it, is in nobody's way.
    let again = TempDir::new_in(output.path()).unwrap();
    succeed(&mut run_there(&hosts, backend, again.path(), &[&flags[..], &more[2..]].concat()));
    assert_eq!(records(again.path())[0]["extra"]["output_digest"], extra["output_digest"]);
    // Each has built its own indexes, in its own home.
    for number in 0..3 {
        let indexes = stdout(&succeed(&mut hosts.on(number, "find /mnt/home -name 'vdb1.idx' | wc -l")));
        assert_eq!(indexes.trim(), "1", "on host {number}");
    }
}

#[test]
fn a_run_on_three_hosts_whose_clocks_are_a_day_apart_is_as_one_on_one_clock() {
    let Some(_alone) = runtimes(&["dask"]) else { return };
    is_as_on_one_clock("dask", |hosts| dask(hosts, 0, &[1, 2]));
}

#[test]
#[ignore = "takes a while: cargo xtask hosts"]
fn so_is_one_on_ray() {
    let Some(_alone) = runtimes(&["ray"]) else { return };
    is_as_on_one_clock("ray", |hosts| ray(hosts, 0, &[1, 2], "RAY_AUTH_MODE=disabled"));
}

/// The names of the shards that a host has an index of.
fn shards_on(hosts: &Hosts, number: usize) -> Vec<String> {
    let files =
        stdout(&succeed(&mut hosts.on(number, "find /mnt/home -name 'vdb*.idx' -printf '%f\\n' | sort")));
    files.lines().map(str::to_owned).collect()
}

/// The names of these shards of both databases.
fn shards(numbers: &[u32], of: u32) -> Vec<String> {
    let names = |database: &str| {
        numbers.iter().map(|number| format!("{database}.{number}-of-{of}.idx")).collect::<Vec<_>>()
    };
    [names("vdb1"), names("vdb2")].concat()
}

/// A run on three hosts with empty caches.
fn each_shard_is_on_its_host(backend: &str, parallelism: &str, cluster: impl Fn(&Hosts) -> String) {
    let (output, local) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let Some(hosts) = Hosts::start(&[0, 0, 0], &[output.path().to_owned()]) else { return };
    let option = cluster(&hosts);
    let flags = ["--parallelism", parallelism, "--corpus-shards", "4", "--set", "bm25_corpus_idf=true"];
    succeed(&mut small_run("local", local.path(), &flags));
    let more = ["--nodes", "3", "--backend-option", &option];
    succeed(&mut run_there(&hosts, backend, output.path(), &[&flags[..], &more].concat()));
    let (record, expected) = (records(output.path()).remove(0), records(local.path()).remove(0));
    assert_eq!(record["extra"]["output_digest"], expected["extra"]["output_digest"]);
    assert_eq!((&record["nodes"], &record["extra"]["items"]["failed"]), (&3.into(), &0.into()));
    for (host, own) in [(0, &[0, 3][..]), (1, &[1]), (2, &[2])] {
        assert_eq!(shards_on(&hosts, host), shards(own, 4), "host {host}");
    }
}

#[test]
fn each_shard_is_on_its_host_alone_and_the_answers_are_those_of_one_machine() {
    let Some(_alone) = runtimes(&["dask"]) else { return };
    each_shard_is_on_its_host("dask", "3", |hosts| dask(hosts, 0, &[1, 2]));
}

#[test]
#[ignore = "takes a while: cargo xtask hosts"]
fn so_is_it_on_ray() {
    let Some(_alone) = runtimes(&["ray"]) else { return };
    each_shard_is_on_its_host("ray", "1", |hosts| ray(hosts, 0, &[1, 2], "RAY_AUTH_MODE=disabled"));
}

#[test]
#[ignore = "takes a while: cargo xtask hosts"]
fn a_host_that_vanishes_without_a_word_costs_dask_nothing_with_retries() {
    vanishes_without_a_word(&[]);
}

#[test]
#[ignore = "takes a while: cargo xtask hosts"]
fn a_shard_whose_host_vanishes_is_built_anew_on_another() {
    let Some(hosts) = vanishes_without_a_word(&["--corpus-shards", "3"]) else { return };
    assert_eq!((shards_on(&hosts, 0), shards_on(&hosts, 1)), (shards(&[0, 2], 3), shards(&[1], 3)));
}

/// The third of three hosts, in mid-stream.
fn vanishes_without_a_word(more: &[&str]) -> Option<Hosts> {
    let _alone = runtimes(&["dask"])?;
    let (output, local) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let hosts = Hosts::start(&[0, 100_000, 250_000], &[output.path().to_owned()])?;
    let option = dask(&hosts, 0, &[1, 2]);
    succeed(&mut small_run("local", local.path(), &[&["--num-tasks", "300"], more].concat()));
    let flags = ["--parallelism", "3", "--nodes", "3", "--retries", "3", "--backend-option", &option];
    let load = ["--load", "open", "--rate", "30", "--num-tasks", "300", "--verbose"];
    let mut run =
        Following::start(&mut run_there(&hosts, "dask", output.path(), &[&flags[..], &load, more].concat()));
    run.until("/300 items");
    // Nobody hears of it that its processes end.
    succeed(&mut hosts.on(2, "ip link set eth0 down; kill -KILL -1 || true"));
    let ended = run.end();
    assert!(ended.status.success(), "{}", stderr(&ended));
    let record = records(output.path()).remove(0);
    assert_eq!(record["extra"]["output_digest"], records(local.path())[0]["extra"]["output_digest"]);
    assert_eq!((&record["nodes"], &record["extra"]["items"]["failed"]), (&3.into(), &0.into()));
    let metrics = &record["extra"]["backend_account"]["metrics"];
    assert_eq!((&metrics["dask"]["workers"], &metrics["dask"]["lost_workers"]), (&2.into(), &1.into()));
    assert_eq!(metrics["nodes"]["host3"]["alive"], false, "{metrics:#}");
    assert!(metrics["nodes"]["host3"]["calls"].as_u64() > Some(0), "{metrics:#}");
    Some(hosts)
}

/// What a run comes to that cannot be: exit code, and words of its error.
struct Ending {
    what: &'static str,
    backend: &'static str,
    flags: Vec<String>,
    code: i32,
    words: Vec<String>,
}

/// Tries all, and fails with those that end otherwise. How long each took is shown.
fn all_end_so(endings: &[Ending], run: impl Fn(&Ending, &Path) -> Command) {
    let mut wrong = Vec::new();
    for ending in endings {
        let (output, began) = (TempDir::new().unwrap(), Instant::now());
        let ended = run(ending, output.path()).output().unwrap();
        let (seconds, said) = (began.elapsed().as_secs(), stderr(&ended));
        println!("{seconds:>3} s  {}", ending.what);
        let tells = ending.words.iter().all(|word| said.contains(word));
        if ended.status.code() != Some(ending.code)
            || !tells
            || output.path().join("unified_results.jsonl").exists()
        {
            wrong.push(format!(
                "{}: {}, expected {} and {:?}\n{said}",
                ending.what, ended.status, ending.code, ending.words
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn ending(what: &'static str, backend: &'static str, address: &str, code: i32, words: &[&str]) -> Ending {
    let flags = vec!["--backend-option".to_owned(), format!("{backend}_address={address}")];
    Ending { what, backend, flags, code, words: words.iter().map(|word| (*word).to_owned()).collect() }
}

#[test]
fn an_address_where_no_cluster_is_ends_the_run_with_what_is_there() {
    let Some(_alone) = runtimes(&["dask", "ray"]) else { return };
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let web = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at_web = web.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for connection in web.incoming().flatten() {
            use std::io::{Read as _, Write as _};
            let _ = (&connection).read(&mut [0; 256]);
            let _ = (&connection).write_all(b"HTTP/1.1 404 Not Found\r\n\r\n");
        }
    });
    let tcp = |address: &str| format!("tcp://{address}");
    let endings = [
        ending(
            "Ray, a port where nobody listens",
            "ray",
            &closed,
            4,
            &["Ray's head cannot be reached at", "refused", "ray start --head"],
        ),
        ending(
            "Dask, a port where nobody listens",
            "dask",
            &tcp(&closed),
            4,
            &["Dask's scheduler cannot be reached at", "refused"],
        ),
        ending("Ray, a web server", "ray", &at_web, 4, &["a web server answers at", "and not Ray's head"]),
        ending(
            "Dask, a web server",
            "dask",
            &tcp(&at_web),
            4,
            &["a web server answers at", "and not Dask's scheduler"],
        ),
    ];
    all_end_so(&endings, |ending, output| {
        let flags: Vec<&str> = ending.flags.iter().map(String::as_str).collect();
        small_run(ending.backend, output, &flags)
    });
}

/// Takes every place for tasks of a cluster, and says so.
const TAKE_RAY: &str = "RAY_AUTH_MODE=disabled \"$BENCH_DATA_DIR/venvs/ray/bin/python\" -c '
import ray, sys, time
ray.init(address=sys.argv[1], log_to_driver=False)
@ray.remote(num_cpus=1)
class Busy:
    def here(self): return 1
busy = [Busy.remote() for _ in range(int(ray.cluster_resources()[\"CPU\"]))]
ray.get([one.here.remote() for one in busy])
print(\"taken\", flush=True)
time.sleep(1000)' ";
const TAKE_DASK: &str = "\"$BENCH_DATA_DIR/venvs/dask/bin/python\" -c '
import sys, time
from distributed import Client
client = Client(sys.argv[1])
workers = list(client.scheduler_info(n_workers=-1)[\"workers\"])
busy = [client.submit(time.sleep, 1000, workers=[one], pure=False) for one in workers]
while not all(client.processing().values()): time.sleep(0.1)
print(\"taken\", flush=True)
time.sleep(1000)' ";

fn take(hosts: &Hosts, script: &str, address: &str) -> std::process::Child {
    let mut taking =
        hosts.on(0, &format!("exec env {script} {address}")).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(taking.stdout.take().unwrap()), &mut line)
        .unwrap();
    assert_eq!(line, "taken\n");
    taking
}

#[test]
#[ignore = "takes a while: cargo xtask hosts"]
fn a_cluster_that_cannot_be_used_ends_the_run_with_the_cause() {
    let Some(_alone) = runtimes(&["dask", "ray"]) else { return };
    let shared = TempDir::new().unwrap();
    let Some(hosts) = Hosts::start(&[0, 0, 0], &[shared.path().to_owned()]) else { return };
    let there = |environment: &'static str| {
        let (hosts, shared) = (&hosts, shared.path());
        move |ending: &Ending, _: &Path| {
            let output = TempDir::with_suffix_in("", shared).unwrap().keep();
            let flags: Vec<&str> = ending.flags.iter().map(String::as_str).collect();
            let run = small_run(ending.backend, &output, &flags);
            let words: Vec<String> =
                run.get_args().map(|word| format!("'{}'", word.to_str().unwrap())).collect();
            hosts.on(0, &format!("{environment} bench {}", words.join(" ")))
        }
    };
    let open = "RAY_AUTH_MODE=disabled";
    drop(ray(&hosts, 1, &[2], open));
    let head = "10.77.0.2:6379";
    all_end_so(
        &[ending(
            "Ray, from a machine that is no node",
            "ray",
            head,
            4,
            &["this machine is no node of the Ray cluster", "ray start --address=10.77.0.2:6379"],
        )],
        there(open),
    );
    let join = format!(
        "{open} \"$BENCH_DATA_DIR/venvs/ray/bin/ray\" start --address {head} --node-ip-address 10.77.0.1 --num-cpus 2 --object-store-memory 100000000"
    );
    succeed(&mut hosts.on(0, &join));
    let nodes = |mut ending: Ending, count: &str| {
        ending.flags.extend(["--nodes".to_owned(), count.to_owned()]);
        ending
    };
    let dask_address = dask(&hosts, 0, &[1]).replace("dask_address=", "");
    let endings = [
        nodes(
            ending(
                "Ray, more nodes than there are",
                "ray",
                head,
                2,
                &["5 nodes were asked for", "has 3 that can run", "--nodes at 3"],
            ),
            "5",
        ),
        nodes(
            ending(
                "Dask, more nodes than there are",
                "dask",
                &dask_address,
                2,
                &[
                    "5 nodes were asked for, and the workers of the cluster at",
                    "are on 2 (host1, host2): --nodes 2",
                ],
            ),
            "5",
        ),
    ];
    all_end_so(&endings, there(open));
    let mut taking = take(&hosts, TAKE_RAY, head);
    all_end_so(
        &[ending(
            "Ray, all CPUs taken",
            "ray",
            head,
            4,
            &["no task has started on", "all its CPUs are taken", "0 of 6 are free"],
        )],
        there(open),
    );
    taking.kill().unwrap();
    taking.wait().unwrap();
    let mut taking = take(&hosts, TAKE_DASK, &dask_address);
    all_end_so(
        &[ending(
            "Dask, all threads taken",
            "dask",
            &dask_address,
            4,
            &["no task has started on 1 of the 1 workers", "tasks of others"],
        )],
        there(open),
    );
    taking.kill().unwrap();
    taking.wait().unwrap();
    let token = "RAY_AUTH_MODE=token RAY_AUTH_TOKEN=0123456789abcdef0123456789abcdef0123456789";
    succeed(&mut hosts.on(0, "\"$BENCH_DATA_DIR/venvs/ray/bin/ray\" stop --force"));
    drop(ray(&hosts, 0, &[], token));
    all_end_so(
        &[ending(
            "Ray, without its token",
            "ray",
            "10.77.0.1:6379",
            4,
            &["does not accept the token", "RAY_AUTH_TOKEN_PATH"],
        )],
        there(open),
    );
}

/// Where the time of a run on two hosts went that are so far apart, on an idle engine.
fn attribution_at(milliseconds: u32) -> Option<Value> {
    let output = TempDir::new().unwrap();
    let hosts = Hosts::far(&[0, 100_000], &[output.path().to_owned()], milliseconds)?;
    let option = ray(&hosts, 0, &[1], "RAY_AUTH_MODE=disabled");
    let load = ["--workload", "null", "--load", "open", "--rate", "10", "--num-tasks", "100"];
    let flags =
        ["--parity-batch-size", "1", "--nodes", "2", "--parallelism", "2", "--backend-option", &option];
    succeed(&mut run_there(&hosts, "ray", output.path(), &[&load[..], &flags].concat()));
    Some(records(output.path()).remove(0)["extra"]["attribution"].clone())
}

#[test]
#[ignore = "takes a while: cargo xtask hosts"]
fn twenty_milliseconds_between_hosts_are_transfer_and_no_queueing() {
    let Some(_alone) = runtimes(&["ray"]) else { return };
    let Some((near, far)) = attribution_at(0).zip(attribution_at(20)) else { return };
    let seconds = |run: &Value, part: &str| run[part].as_f64().unwrap();
    let more = |part: &str| seconds(&far, part) - seconds(&near, part);
    let parts = ["operator_seconds", "queueing_seconds", "transfer_seconds", "overhead_seconds"];
    let way: f64 = parts.into_iter().map(more).sum();
    println!("the way took {way} s more: {near} {far}");
    assert!(way > 100.0 * 0.02, "one way at least for each query");
    assert!(more("transfer_seconds") > 0.75 * way && more("queueing_seconds") < 0.25 * way, "{near} {far}");
}

#[test]
#[ignore = "takes a while: cargo xtask hosts"]
fn compiled_graphs_run_on_a_cluster_that_is_joined_and_leave_no_semaphores() {
    let Some(_alone) = runtimes(&["ray"]) else { return };
    let (output, local) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let Some(hosts) = Hosts::start(&[0], &[output.path().to_owned()]) else { return };
    let option = ray(&hosts, 0, &[], "RAY_AUTH_MODE=disabled");
    let flags = ["--backend-option", &option, "--backend-option", "ray_mode=compiled"];
    succeed(&mut run_there(&hosts, "ray", output.path(), &flags));
    succeed(&mut small_run("local", local.path(), &[]));
    let digest = |folder: &Path| records(folder)[0]["extra"]["output_digest"].clone();
    assert_eq!(digest(output.path()), digest(local.path()));
    let semaphores =
        stdout(&succeed(&mut hosts.on(0, "ls /dev/shm | grep -c '^sem.hdr\\|^sem.obj' || true")));
    assert_eq!(semaphores.trim(), "0");
}

#[test]
fn nothing_of_a_run_stays_on_a_dask_scheduler() {
    let Some(_alone) = runtimes(&["dask"]) else { return };
    let output = TempDir::new().unwrap();
    let Some(hosts) = Hosts::start(&[0], &[output.path().to_owned()]) else { return };
    let option = dask(&hosts, 0, &[]);
    let plugins = || {
        let ask = "\"$BENCH_DATA_DIR/venvs/dask/bin/python\" -c '
from distributed import Client
client = Client(\"tcp://10.77.0.1:8786\")
print(client.run_on_scheduler(lambda dask_scheduler: [
    name for name in [*dask_scheduler.plugins, *dask_scheduler.worker_plugins] if \"bench\" in name or len(name) == 32
]))'";
        stdout(&succeed(&mut hosts.on(0, ask))).trim().to_owned()
    };
    let flags = ["--backend-option", &option];
    succeed(&mut run_there(&hosts, "dask", output.path(), &flags));
    assert_eq!(plugins(), "[]");
}
