//! Tables of cases, each tried whatever becomes of the others.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Cases under way at once. Most of the time of most of them is spent waiting for processes.
const AT_ONCE: usize = 4;

/// Tries every row, and fails with all that is wrong.
///
/// # Panics
/// When something is.
pub fn all_hold<R: Sync>(rows: &[R], wrong: impl Fn(&R) -> Result<(), String> + Sync) {
    let (next, wrongs) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(what) = wrong(row) {
                        wrongs.lock().expect("nobody panics with it").push(what);
                    }
                }
            });
        }
    });
    let wrongs = wrongs.into_inner().expect("nobody panics with it");
    assert!(wrongs.is_empty(), "{}", wrongs.join("\n\n"));
}
