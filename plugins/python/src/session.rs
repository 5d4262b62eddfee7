//! A session of processes, and how to end all of it.
//!
//! A runtime's helpers leave their process group and outlive their parents, but they stay in the
//! session they were started in. The leader is not reaped before the others are gone: as long as it
//! is a zombie its number cannot be given to a stranger.

use std::fs;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// Between looks at processes that were told to end.
const PAUSE: Duration = Duration::from_millis(10);
/// What processes other than the leader get after SIGTERM.
const HELPERS_GRACE: Duration = Duration::from_secs(1);
/// What the kernel gets after SIGKILL.
const KERNEL_GRACE: Duration = Duration::from_secs(5);

/// The session that `leader` opened.
pub struct Session {
    leader: Child,
    ended: Option<ExitStatus>,
}

impl Session {
    /// `leader` must have called `setsid`.
    pub fn new(leader: Child) -> Self {
        Self { leader, ended: None }
    }

    /// Waits for the leader to end by itself.
    pub fn wait(&self, patience: Duration) -> bool {
        self.ended.is_some() || within(patience, || self.leader_is_gone())
    }

    /// Ends every process of the session, the leader first so that it can clean up after itself.
    /// Returns how the leader ended, if it did; does nothing the second time.
    pub fn end(&mut self, grace: Duration) -> Option<ExitStatus> {
        if self.ended.is_some() {
            return self.ended;
        }
        if !self.leader_is_gone() {
            signal(self.leader.id(), Signal::TERM);
            self.wait(grace);
        }
        self.signal_all(Signal::TERM);
        within(HELPERS_GRACE, || self.members().is_empty());
        // Again and again, because a process may fork between the look and the kill.
        let empty = within(KERNEL_GRACE, || {
            self.signal_all(Signal::KILL);
            self.members().is_empty()
        });
        if !empty {
            tracing::warn!(session = self.leader.id(), "processes of the session survived SIGKILL");
        }
        // A leader that even SIGKILL did not end must not hold up the report.
        self.ended = self.leader.try_wait().ok().flatten();
        self.ended
    }

    fn leader_is_gone(&self) -> bool {
        let Some(leader) = Pid::from_raw(self.leader.id() as i32) else { return true };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        !matches!(waitid(WaitId::Pid(leader), options), Ok(None))
    }

    fn signal_all(&self, what: Signal) {
        self.members().into_iter().for_each(|member| signal(member, what));
    }

    /// Processes of the session that are not dead already.
    fn members(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| session_of(*pid) == Some(self.leader.id())).collect()
    }
}

/// The session of a living process.
fn session_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, even parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(2)?.parse().ok()
}

fn signal(pid: u32, what: Signal) {
    if let Some(pid) = Pid::from_raw(pid as i32) {
        // It may have ended in the meantime, which is what was wanted.
        let _ = kill_process(pid, what);
    }
}

/// Looks until `done` or the time is up; whether it was done.
fn within(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    use super::*;

    fn session(script: &str) -> Session {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        // SAFETY: setsid is async-signal-safe.
        unsafe { command.pre_exec(|| Ok(rustix::process::setsid().map(|_| ())?)) };
        Session::new(command.spawn().unwrap())
    }

    /// Ends a test that hangs.
    const PATIENCE: Duration = Duration::from_secs(300);

    #[test]
    fn every_process_of_the_session_ends_even_one_that_ignores_sigterm() {
        let place = tempfile::tempdir().unwrap();
        let deaf = place.path().join("deaf");
        let script = "(trap '' TERM; : > DEAF; while :; do sleep 1; done) & (sleep 60 &) ; sleep 60";
        let mut session = session(&script.replace("DEAF", deaf.to_str().unwrap()));
        assert!(
            within(PATIENCE, || deaf.exists() && session.members().len() >= 4),
            "{:?}",
            session.members()
        );
        assert!(!session.wait(Duration::ZERO));
        assert!(session.end(Duration::from_millis(100)).is_some_and(|status| !status.success()));
        assert!(session.members().is_empty());
    }

    #[test]
    fn a_leader_that_ended_leaves_its_helpers_to_be_ended() {
        let mut session = session("sleep 60 & exit 3");
        assert!(session.wait(PATIENCE));
        assert_eq!(session.members().len(), 1);
        assert_eq!(session.end(Duration::ZERO).and_then(|status| status.code()), Some(3));
        assert!(session.members().is_empty());
    }
}
