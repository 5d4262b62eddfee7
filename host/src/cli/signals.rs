//! Ctrl-C, SIGTERM and a terminal that is lost: once to drain, twice to stop. The first is answered at once: with a
//! line, or, where nothing is under way that could be finished, with the end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{Exit, STOP};
use bench_isolate::isolate::StopLevel;

/// The handlers only raise a flag; everything else happens where the flag is read. Where it is not read the second
/// signal ends the process, and where nothing would be finished, as while indexes are prepared, the first one does:
/// wardens see to what it started.
pub fn watch() -> std::io::Result<()> {
    let began = Instant::now();
    for signal in [SIGINT, SIGTERM] {
        // SAFETY: all it does is atomic operations, `write` and `_exit`, which a signal handler may do.
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
    let interrupted = || signal_hook::low_level::exit(Exit::Interrupted as i32);
    if AT_ONCE.load(Ordering::Relaxed) > 0 {
        say("interrupted: the same command goes on from what is prepared\n");
        interrupted();
    }
    let first = STOP.level() == StopLevel::Go;
    if !STOP.escalate() {
        interrupted();
    }
    if first {
        say("stopping: what is under way is finished first; once more, and it is not\n");
    }
}

/// On standard error. A line that cannot be written is not needed either.
fn say(line: &str) {
    let _ = rustix::io::write(std::io::stderr(), line.as_bytes());
}

/// How many steps go on that the first signal ends.
static AT_ONCE: AtomicU64 = AtomicU64::new(0);

/// As long as this is held, there is nothing to be finished, and the first signal ends the process.
pub struct AtOnce(());

impl AtOnce {
    /// From now on.
    #[must_use]
    pub fn begin() -> Self {
        AT_ONCE.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for AtOnce {
    fn drop(&mut self) {
        AT_ONCE.fetch_sub(1, Ordering::Relaxed);
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
