//! What a change has to pass.

use std::path::Path;

use crate::Done;
use crate::cargo::{cargo, root, run, target};
use crate::stage::{Profile, place, stage};

/// Builds everything that tests load, and runs all of them.
///
/// # Errors
/// When something does not build or a test fails.
pub fn test(rest: &[String]) -> Done {
    let staged = stage(Profile::Dev)?;
    fixtures(&staged)?;
    run(cargo(["test", "--workspace"]).args(rest).env("BENCH_STAGED", &staged))
}

/// Builds the plugins of `tests/plugins/` into the staged folder.
fn fixtures(staged: &Path) -> Done {
    run(&mut cargo(["build", "--package", "backend-healthy", "--package", "backend-hostile"]))?;
    // Not a member of the workspace: it claims the name of one that is.
    let stranger = root().join("tests/plugins/stranger/Cargo.toml");
    let own = target().join("stranger");
    run(cargo(["build", "--manifest-path"]).arg(stranger).arg("--target-dir").arg(&own))?;
    for (name, built) in [("healthy", target()), ("hostile", target()), ("stranger", own)] {
        let file = format!("libbackend_{name}.so");
        place(&built.join("debug").join(&file), &staged.join("fixtures").join(&file))?;
    }
    Ok(())
}
