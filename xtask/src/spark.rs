//! `cargo xtask spark`: a third party's engine, tried as one would: packed, installed, compared and checked.
//!
//! It is a task and no test because Spark has 456 MB, needs a Java, and the suite starts it some fifty times.

use std::process::Command;

use serde_json::Value;

use crate::Done;
use crate::bench::cache_dir;
use crate::cargo::{root, run, target};
use crate::stage::{Profile, pack, stage};

/// Seconds for each check: what the example's README says.
const TIMEOUT: &str = "300";

/// Packs `plugins/examples/spark`, installs Spark below `target/`, compares its answers with those of `local` and runs
/// the conformance suite.
///
/// # Errors
/// When something does not build, install, run or conform, or the answers differ.
pub fn spark() -> Done {
    let staged = stage(Profile::Release)?;
    let plugins = target().join("spark");
    pack(&staged, &root().join("plugins/examples/spark"), &plugins)?;
    let bench = || {
        let mut command = Command::new(staged.join("bin/bench"));
        command.env("BENCH_DATA_DIR", target().join("bench-data")).env("BENCH_CACHE_DIR", cache_dir());
        command
    };
    run(bench().args(["backends", "install", "spark", "--plugins-dir"]).arg(&plugins))?;
    let mut expected = String::new();
    for backend in ["local", "spark"] {
        let mut ran = bench();
        ran.args([
            "run",
            "--quick",
            "--json",
            "--parallelism",
            "2",
            "--timeout",
            TIMEOUT,
            "--no-user-plugins",
        ]);
        ran.args(["--backend", backend, "--plugins-dir"]).arg(&plugins);
        ran.arg("--output-dir").arg(plugins.join("results"));
        let output = ran.output().map_err(|cause| cause.to_string())?;
        if !output.status.success() {
            return Err(format!("{backend}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let records: Value = serde_json::from_slice(&output.stdout).map_err(|cause| cause.to_string())?;
        let digest = records[0]["extra"]["output_digest"].as_str().unwrap_or_default().to_owned();
        println!("{backend:<6} output_digest {digest}, {} items/s", records[0]["throughput"]);
        match expected.as_str() {
            "" => expected = digest,
            known if known == digest => {}
            known => {
                return Err(format!("the answers of Spark are {digest} where those of local are {known}"));
            }
        }
    }
    run(bench().args(["backends", "check", "--timeout", TIMEOUT]).arg(plugins.join("libbackend_spark.so")))
}
