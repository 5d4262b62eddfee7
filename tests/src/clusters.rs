//! Clusters of runtimes on several hosts, and runs that join them. They end with the hosts.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::hosts::Hosts;
use crate::{eventually, small_run, succeed};

/// Starts something there that ends with the host.
fn start(hosts: &Hosts, number: usize, script: &str) {
    let script = format!("{script} >/dev/null 2>&1");
    std::mem::forget(hosts.on(number, &script).spawn().expect("nsenter is there"));
}

/// A scheduler on the host `on`, and a worker there and on each of `more`; ends with the hosts.
#[must_use]
pub fn dask(hosts: &Hosts, on: usize, more: &[usize]) -> String {
    let python = "exec \"$BENCH_DATA_DIR/venvs/dask/bin/python\" -m distributed.cli.dask_";
    let address = hosts.host(on).address.as_str();
    start(hosts, on, &format!("{python}scheduler --host {address} --port 8786 --no-dashboard"));
    let connect = format!("python3 -c 'import socket; socket.create_connection((\"{address}\", 8786))'");
    let listens = || hosts.on(on, &connect).stderr(Stdio::null()).status().is_ok_and(|done| done.success());
    eventually("the scheduler listens", listens);
    for number in [on].iter().chain(more) {
        let host = &hosts.host(*number).address;
        let worker = "--nthreads 1 --no-nanny --no-dashboard";
        start(hosts, *number, &format!("{python}worker tcp://{address}:8786 --host {host} {worker}"));
    }
    let workers = more.len() + 1;
    let all = format!(
        "client = Client(\"tcp://{address}:8786\"); client.wait_for_workers({workers}); client.close()"
    );
    let python = "\"$BENCH_DATA_DIR/venvs/dask/bin/python\"";
    succeed(&mut hosts.on(on, &format!("{python} -c 'from distributed import Client; {all}'")));
    format!("dask_address=tcp://{address}:8786")
}

/// Ray's head on the host `on`, and a node on each of `more`; ends with the hosts.
#[must_use]
pub fn ray(hosts: &Hosts, on: usize, more: &[usize], environment: &str) -> String {
    let address = format!("{}:6379", hosts.host(on).address);
    for number in [on].iter().chain(more) {
        let part = if *number == on {
            "--head --port 6379 --include-dashboard=false".to_owned()
        } else {
            format!("--address {address}")
        };
        let host = &hosts.host(*number).address;
        let small = "--num-cpus 2 --object-store-memory 100000000 --disable-usage-stats";
        let ray = "\"$BENCH_DATA_DIR/venvs/ray/bin/ray\" start";
        let quiet = "RAY_ENABLE_UV_RUN_RUNTIME_ENV=0";
        succeed(
            &mut hosts
                .on(*number, &format!("{environment} {quiet} {ray} {part} --node-ip-address {host} {small}")),
        );
    }
    format!("ray_address={address}")
}

/// A small run on the first host, whose results are in `output`.
#[must_use]
pub fn run_there(hosts: &Hosts, backend: &str, output: &Path, more: &[&str]) -> Command {
    let run = small_run(backend, output, more);
    let words: Vec<String> = run
        .get_args()
        .map(|word| format!("'{}'", word.to_str().expect("words of a test are text")))
        .collect();
    hosts.on(0, &format!("exec bench {}", words.join(" ")))
}
