//! The process between host and runner. It must outlive any plugin, so it does as little as it can:
//! wait for the runner or for the host to let go, kill what is left, say what happened.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use serde::{Deserialize, Serialize};

use super::ending::Ending;
use super::{exit, process, wire};
use crate::temporary::{self, links_path};

/// How long killed processes may take to disappear before the warden gives up on them.
const SWEEP: Duration = Duration::from_secs(10);
/// Processes that are named: somebody may have left tens of thousands.
const MOST_NAMES: usize = 256;
/// How often orphans that ended by themselves are collected while the runner works.
const ROUND: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

fn scratch() -> impl Iterator<Item = OsString> {
    process::scratch_variables().map_while(std::env::var_os)
}

/// What the warden says at the end, one line on the lifeline.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    /// How the runner ended.
    pub ending: Ending,
    /// Names of processes that were still there after it.
    pub left_behind: Vec<String>,
    /// `None` when the kernel does not tell, when something could not be ended, or when there were too many
    /// orphans to name.
    pub cpu: Option<CpuTime>,
}

/// The kernel's account of a call's processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuTime {
    /// Of everything below the warden that somebody waited for, and the warden's own.
    pub waited: Duration,
    /// What the warden itself waited for: the runner, and the orphans it adopted.
    pub adopted: Vec<i32>,
}

/// Makes the call's temporary directories.
pub(super) fn make_scratch() -> io::Result<()> {
    scratch().try_for_each(|scratch| temporary::make(Path::new(&scratch)))
}

/// Watches until nothing is left of the runner, then ends the process.
pub(super) fn watch(runner: Pid, lifeline: &OwnedFd) -> ! {
    let mut adopted = Adopted::default();
    let ending = wait_for(runner, lifeline, &mut adopted);
    let Swept { names: left_behind, complete } = sweep(runner, &mut adopted);
    // Only a library that looks for others has made any.
    let _ = std::fs::remove_dir_all(links_path(runner.as_raw_nonzero().get() as u32));
    let cpu = cpu_time(adopted).filter(|_| complete);
    let report = Report { ending, left_behind, cpu };
    // Fails without a host; then there is nobody to tell.
    let _ = wire::line(&report).map(|line| process::write(lifeline, &line));
    if scratch().next().is_some() {
        wait_for_the_host(lifeline);
    }
    // What cannot be removed stays; there is nobody who could be told that.
    scratch().for_each(|scratch| drop(std::fs::remove_dir_all(scratch)));
    exit::end(0)
}

/// All descendants that ended have been waited for, by us or by their parents, and a parent's account
/// includes those of its children. What nobody waits for, the kernel adds to nobody's account.
fn cpu_time(adopted: Adopted) -> Option<CpuTime> {
    let time = |who| {
        let usage = getrusage(who).ok()?;
        let [user, system] = [usage.user_time(), usage.system_time()]
            .map(|time| Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000));
        Some(user + system)
    };
    let waited = time(UsageWho::RUSAGE_CHILDREN)? + time(UsageWho::RUSAGE_SELF)?;
    Some(CpuTime { waited, adopted: adopted.all()? })
}

/// Numbers of children that were waited for.
#[derive(Default)]
struct Adopted(Vec<i32>);

impl Adopted {
    /// So many fit into a report.
    const MOST: usize = 1 << 16;

    fn push(&mut self, pid: Pid) {
        if self.0.len() <= Self::MOST {
            self.0.push(pid.as_raw_nonzero().get());
        }
    }

    fn all(self) -> Option<Vec<i32>> {
        (self.0.len() <= Self::MOST).then_some(self.0)
    }
}

/// The host reads results from the temporary directories until it closes the lifeline, or is killed. A
/// lifeline that was only let go of does not count.
fn wait_for_the_host(lifeline: &OwnedFd) {
    loop {
        // No event is asked for, so that only the two that come unasked end it: hang-up and error.
        let mut descriptors = [PollFd::new(lifeline, PollFlags::empty())];
        match poll(&mut descriptors, None) {
            Ok(_) if !descriptors[0].revents().is_empty() => return,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

fn wait_for(runner: Pid, lifeline: &OwnedFd, adopted: &mut Adopted) -> Ending {
    let exit = runner_descriptor(runner);
    let mut held = true;
    loop {
        match reap(runner, adopted) {
            Reaped { found: Some(ending), .. } => return ending,
            // Someone else took it: nobody will ever know how it ended.
            Reaped { childless: true, .. } => return Ending::Exit(exit::CHANNEL_LOST),
            Reaped { .. } => {}
        }
        let mut descriptors: Vec<PollFd<'_>> = exit.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        if held {
            descriptors.push(PollFd::new(lifeline, PollFlags::IN));
        }
        let round = if exit.is_some() { ROUND } else { Timespec { tv_sec: 0, tv_nsec: 5_000_000 } };
        // An interrupted or failed wait costs one turn of the loop.
        let _ = poll(&mut descriptors, Some(&round));
        let let_go = held && descriptors.last().is_some_and(|fd| !fd.revents().is_empty());
        if let_go {
            held = false;
            // The runner is not reaped yet, so the id is still its own.
            let _ = kill_process(runner, Signal::KILL);
        }
    }
}

#[cfg(target_os = "linux")]
fn runner_descriptor(runner: Pid) -> Option<OwnedFd> {
    // Kernels before 5.3 have none; the loop then looks every few milliseconds.
    rustix::process::pidfd_open(runner, rustix::process::PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn runner_descriptor(_: Pid) -> Option<OwnedFd> {
    None
}

struct Reaped {
    /// How the runner ended, when it was among them.
    found: Option<Ending>,
    /// No child is left, dead or alive.
    childless: bool,
}

/// Collects every child that has ended.
fn reap(runner: Pid, adopted: &mut Adopted) -> Reaped {
    let mut found = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                adopted.push(pid);
                if pid == runner {
                    found = ending(status);
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return Reaped { found, childless: false },
            Err(_) => return Reaped { found, childless: true },
        }
    }
}

fn ending(status: WaitStatus) -> Option<Ending> {
    let signal = status.terminating_signal().map(Ending::Signal);
    signal.or(status.exit_status().map(Ending::Exit))
}

struct Swept {
    /// What was still there.
    names: Vec<String>,
    /// Nothing is any more.
    complete: bool,
}

/// Kills everything below until no child is left, and returns the names of what was there. Only
/// direct children are killed: their ids cannot be reused before we reap them, and theirs become
/// ours as soon as they are dead.
fn sweep(runner: Pid, adopted: &mut Adopted) -> Swept {
    let mut names = Vec::new();
    let mut killed = HashSet::new();
    let deadline = Instant::now() + SWEEP;
    let complete = loop {
        if reap(runner, adopted).childless {
            break true;
        }
        if Instant::now() >= deadline {
            break false;
        }
        for (pid, name) in children(runner).unwrap_or_default() {
            // Fails only for one that has ended just now.
            let _ = kill_process(pid, Signal::KILL);
            if killed.insert(pid) && names.len() < MOST_NAMES {
                names.push(name);
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    names.sort();
    if killed.len() > names.len() {
        names.push(format!("and {} more", killed.len() - names.len()));
    }
    Swept { names, complete }
}

/// Living processes whose parent we are.
#[cfg(target_os = "linux")]
fn children(_: Pid) -> io::Result<Vec<(Pid, String)>> {
    let us = rustix::process::getpid().as_raw_nonzero().get();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Processes come and go while the directory is read.
        let Ok(stat) = std::fs::read(format!("/proc/{pid}/stat")) else { continue };
        let stat = String::from_utf8_lossy(&stat);
        if let (Some((name, state, parent)), Some(pid)) = (parse_stat(&stat), Pid::from_raw(pid))
            && parent == us
            && state != "Z"
        {
            found.push((pid, name.to_owned()));
        }
    }
    Ok(found)
}

/// Name, state and parent of a line of `/proc/PID/stat`. The name may contain anything, also
/// spaces and parentheses.
#[cfg(target_os = "linux")]
fn parse_stat(stat: &str) -> Option<(&str, &str, i32)> {
    let (head, tail) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let mut fields = tail.split_whitespace();
    Some((name, fields.next()?, fields.next()?.parse().ok()?))
}

/// Without a subreaper, what stayed in the runner's process group is all that can be found.
#[cfg(not(target_os = "linux"))]
fn children(runner: Pid) -> io::Result<Vec<(Pid, String)>> {
    rustix::process::kill_process_group(runner, Signal::KILL)?;
    Ok(Vec::new())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_have_any_name() {
        assert_eq!(parse_stat("12 (a) S 1) (b) R 34 12"), Some(("a) S 1) (b", "R", 34)));
        assert_eq!(parse_stat(""), None);
        assert_eq!(parse_stat(")("), None);
    }
}
