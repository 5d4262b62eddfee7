//! The processes in which a runtime does its work: which they are, and the end of one.
//!
//! Every result carries the thread of each operator that worked on it, so nobody has to know a runtime to find its
//! workers. Only what was started below this very process is ever ended.

use std::process;

use rustix::process::{Pid, Signal, kill_process};

use super::processes::{descends, status_field};

/// What a process is below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// This process.
    Here,
    /// One that this process started, or that those started.
    Below,
    /// Neither: it was not started by this run.
    Elsewhere,
}

/// A worker that was killed, or why there was none to kill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Its process.
    Killed(u32),
    /// Operators run in the plugin's own process.
    InProcess,
    /// Its workers were not started by the plugin.
    NotOurs,
}

/// Kills the process that `thread` belongs to, if this process started it.
pub fn kill_worker(thread: u32) -> Ended {
    let worker = status_field(thread, "Tgid").unwrap_or(thread);
    match place(worker) {
        Place::Here => Ended::InProcess,
        Place::Elsewhere => Ended::NotOurs,
        Place::Below if kill(worker).is_ok() => Ended::Killed(worker),
        Place::Below => Ended::NotOurs,
    }
}

/// Ends a process by the kernel's hand.
pub(super) fn kill(process: u32) -> rustix::io::Result<()> {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    kill_process(pid.ok_or(rustix::io::Errno::SRCH)?, Signal::KILL)
}

pub(super) fn place(worker: u32) -> Place {
    let own = process::id();
    if worker == own {
        Place::Here
    } else if descends(worker, own) {
        Place::Below
    } else {
        Place::Elsewhere
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn sleeping(command: &mut Command) -> Child {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    #[test]
    fn a_child_is_a_worker_and_ends_by_the_kernels_hand() {
        // It waits for its input, and so for nothing.
        let mut child = sleeping(&mut Command::new("cat"));
        assert_eq!(kill_worker(child.id()), Ended::Killed(child.id()));
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
    }

    #[test]
    fn grandchildren_are_below_too() {
        // A shell gives what it starts with `&` no input, and `cat` without input ends at once.
        let mut shell = sleeping(Command::new("sh").args(["-c", "exec 3<&0; cat <&3 & echo $!; wait"]));
        let mut told = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(shell.stdout.take().unwrap()), &mut told)
            .unwrap();
        assert_eq!(kill_worker(told.trim().parse().unwrap()), Ended::Killed(told.trim().parse().unwrap()));
        assert!(shell.wait().unwrap().success());
    }

    #[test]
    fn this_process_and_those_of_others_are_spared() {
        assert_eq!(kill_worker(process::id()), Ended::InProcess);
        assert_eq!(kill_worker(std::os::unix::process::parent_id()), Ended::NotOurs);
        assert_eq!(kill_worker(1), Ended::NotOurs);
        assert_eq!(kill_worker(u32::MAX), Ended::NotOurs);
    }
}
