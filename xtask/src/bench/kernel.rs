//! What the kernel says that a command used.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// CPU time of a command.
pub struct Account {
    /// Seconds of everything that it started, without itself.
    pub below: f64,
    /// Nothing is missing: not what nobody waited for either.
    pub is_complete: bool,
}

impl Account {
    /// Runs a command to its end, and returns what it printed.
    ///
    /// # Errors
    /// When it does not start, or fails.
    pub fn of(command: &mut Command) -> Result<(Self, Vec<u8>), String> {
        let shown = format!("{command:?}").replace('"', "");
        let failed = |cause: String| format!("{shown}: {cause}");
        let cgroup = Cgroup::make();
        let mut command = match &cgroup {
            Some(cgroup) => cgroup.enter(command),
            None => again(command, command.get_program().to_owned(), &[]),
        };
        let before = children();
        let child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
        let mut child = child.map_err(|cause| failed(cause.to_string()))?;
        let mut printed = Vec::new();
        if let Some(stdout) = &mut child.stdout {
            std::io::Read::read_to_end(stdout, &mut printed).map_err(|cause| failed(cause.to_string()))?;
        }
        // Ended but not waited for, it still has a clock, which is of itself alone.
        let pid = Pid::from_raw(child.id() as i32);
        let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        let own = ClockId::pid_cpu_clock_id(pid).and_then(clock_gettime).map(Duration::from);
        let own = own.map_err(|cause| failed(cause.to_string()))?.as_secs_f64();
        let status = child.wait().map_err(|cause| failed(cause.to_string()))?;
        if !status.success() {
            return Err(failed(status.to_string()));
        }
        let counted = cgroup.as_ref().and_then(Cgroup::seconds);
        let all = counted.unwrap_or(children() - before);
        Ok((Self { below: all - own, is_complete: counted.is_some() }, printed))
    }
}

/// CPU seconds of all that this process has waited for.
fn children() -> f64 {
    getrusage(UsageWho::RUSAGE_CHILDREN).map_or(0.0, |usage| {
        let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        seconds(usage.user_time()) + seconds(usage.system_time())
    })
}

/// The same command under another program.
fn again(command: &Command, program: std::ffi::OsString, first: &[std::ffi::OsString]) -> Command {
    let mut same = Command::new(program);
    same.args(first).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => same.env(name, value),
            None => same.env_remove(name),
        };
    }
    same
}

/// A group of our own in the second version's hierarchy: it counts everything that was ever in it.
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// `None` where we may not make one.
    pub fn make() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?.split(' ').nth(4)?;
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let ours = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let path = PathBuf::from(mount).join(ours).join(format!("bench-host-{}", std::process::id()));
        fs::create_dir(&path).ok()?;
        Some(Self(path))
    }

    /// The command, which enters the group before it begins.
    fn enter(&self, command: &Command) -> Command {
        let script = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
        let first = ["-c".into(), script.into(), self.0.clone().into(), command.get_program().to_owned()];
        again(command, "sh".into(), &first)
    }

    fn seconds(&self) -> Option<f64> {
        let stat = fs::read_to_string(self.0.join("cpu.stat")).ok()?;
        let micros: f64 = stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?.parse().ok()?;
        Some(micros / 1e6)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Fails while something lives in it; then it stays, and hurts nobody.
        let _ = fs::remove_dir(&self.0);
    }
}
