//! Ctrl-C, SIGTERM and a terminal that is lost: once to drain, twice to stop.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{Exit, STOP};

/// The handlers only raise a flag; everything else happens where the flag is read. Where it is not read, as
/// while indexes are prepared, the second signal ends the process: wardens see to what it started.
pub fn watch() -> std::io::Result<()> {
    let began = Instant::now();
    for signal in [SIGINT, SIGTERM] {
        // SAFETY: all it does is atomic operations and `_exit`, which a signal handler may do.
        unsafe { signal_hook::low_level::register(signal, stop) }?;
    }
    // Under `nohup` a run goes on when its terminal is gone.
    if !is_ignored(SIGHUP) {
        let hang_up = move || {
            if HANG_UP.is_news(began.elapsed()) {
                stop();
            }
        };
        // SAFETY: as above; reading the clock is allowed as well.
        unsafe { signal_hook::low_level::register(SIGHUP, hang_up) }?;
    }
    Ok(())
}

fn stop() {
    if !STOP.escalate() {
        signal_hook::low_level::exit(Exit::Interrupted as i32);
    }
}

/// Whether whoever started this process wanted it to ignore `signal`.
fn is_ignored(signal: i32) -> bool {
    let status = procfs::process::Process::myself().and_then(|process| process.status());
    status.is_ok_and(|status| status.sigign & 1 << (signal - 1) != 0)
}

static HANG_UP: HangUp = HangUp::new();

/// A lost terminal is told more than once: the kernel tells the jobs in its foreground, and so does a shell that
/// ends because of it. Taken for a second signal that would cost what the first is to save.
struct HangUp {
    /// When it was told last, in milliseconds and one more; 0 before that.
    last: AtomicU64,
}

impl HangUp {
    /// Within this time it is still the same.
    const SAME: Duration = Duration::from_millis(500);

    const fn new() -> Self {
        Self { last: AtomicU64::new(0) }
    }

    /// Whether what was told at `now` was not told just before.
    fn is_news(&self, now: Duration) -> bool {
        let now = now.as_millis() as u64 + 1;
        let last = self.last.swap(now, Ordering::Relaxed);
        last == 0 || now.saturating_sub(last) > Self::SAME.as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_terminal_counts_once_however_often_it_is_told() {
        let hang_up = HangUp::new();
        let news = |milliseconds| hang_up.is_news(Duration::from_millis(milliseconds));
        assert_eq!([0, 1, 400, 800].map(news), [true, false, false, false]);
        assert!(news(1_500), "somebody says it again");
    }
}
