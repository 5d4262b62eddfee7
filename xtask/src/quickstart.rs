//! The first thing a stranger runs.

use std::process::Command;

use crate::Done;
use crate::cargo::{run, target};
use crate::stage::{Profile, stage};

/// Stages everything, then runs Workload4 on each backend and shows where the files are.
///
/// # Errors
/// When something does not build, install or run.
pub fn quickstart(backends: &[String]) -> Done {
    let staged = stage(Profile::Release)?;
    let bench = staged.join("bin/bench");
    for backend in backends.iter().filter(|backend| *backend != "local") {
        run(Command::new(&bench).args(["backends", "install", backend]))?;
    }
    for backend in backends {
        let output = target().join("quickstart").join(backend);
        println!(
            "\nWorkload4 on `{backend}`: {} run --backend {backend} --num-tasks 500 --output-dir {}",
            bench.display(),
            output.display()
        );
        run(Command::new(&bench)
            .args(["run", "--backend", backend, "--num-tasks", "500", "--output-dir"])
            .arg(&output))?;
    }
    if backends.len() > 1 {
        compare_records(backends)?;
    }
    println!("\nNext: {} --help, {} backends list", bench.display(), bench.display());
    Ok(())
}

/// The last record of each backend must have the same configuration and the same answers.
fn compare_records(backends: &[String]) -> Done {
    let mut seen = Vec::new();
    for backend in backends {
        let path = target().join("quickstart").join(backend).join("unified_results.jsonl");
        let text = std::fs::read_to_string(&path).map_err(|cause| format!("{}: {cause}", path.display()))?;
        let last = text.lines().last().unwrap_or_default();
        let record: serde_json::Value =
            serde_json::from_str(last).map_err(|cause| format!("{}: {cause}", path.display()))?;
        seen.push((backend, record["config_hash"].clone(), record["extra"]["output_digest"].clone()));
    }
    let (_, hash, digest) = &seen[0];
    for (backend, other_hash, other_digest) in &seen {
        println!("{backend:<8} config_hash {other_hash} output_digest {other_digest}");
        if other_hash != hash || other_digest != digest {
            return Err(format!("`{backend}` disagrees with `{}`", seen[0].0));
        }
    }
    Ok(())
}
