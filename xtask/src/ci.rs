//! What a change has to pass.

use crate::Done;
use crate::cargo::{cargo, run};
use crate::stage::{Profile, stage};

/// Builds everything that tests load, and runs all of them.
///
/// # Errors
/// When something does not build or a test fails.
pub fn test(rest: &[String]) -> Done {
    let staged = stage(Profile::Dev)?;
    run(&mut cargo(["build", "--package", "backend-healthy", "--package", "backend-hostile"]))?;
    run(cargo(["test", "--workspace"]).args(rest).env("BENCH_STAGED", &staged))
}
