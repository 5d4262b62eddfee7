//! Tests that drive the real runtimes: whether they are installed, and one at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::skip::skip;
use crate::{bench, stderr};

/// Runs take every core they can get, and some tests look at what all processes share (`/dev/shm`).
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The right to drive real runtimes: nobody else does while it is held.
pub fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The right to drive `names`, if all of them are installed. Where one is not, that is a test skipped, and a
/// failure in CI.
#[must_use]
pub fn runtimes(names: &[&str]) -> Option<MutexGuard<'static, ()>> {
    let guard = alone();
    names.iter().all(|name| is_installed(name)).then_some(guard)
}

fn is_installed(runtime: &str) -> bool {
    let dry =
        bench(&["run", "--backend", runtime, "--dry-run", "--no-user-plugins"]).output().expect("it starts");
    if !dry.status.success() {
        skip(&format!("{runtime} is not installed"), &stderr(&dry));
    }
    dry.status.success()
}
