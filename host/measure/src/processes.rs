//! The CPU time of every process of a machine at one moment, and that of the machine itself.
//!
//! A process's time comes from its CPU clock, which the kernel keeps in nanoseconds. It is exact for a
//! process that does not run at that moment, and at most a tick behind for one that does. What a process's
//! finished children used, `/proc/PID/stat` gives in jiffies; so does `/proc/stat` with the machine's time.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use nix::time::{ClockId, clock_getres, clock_gettime};
use nix::unistd::Pid;
use procfs::process::{SmapsRollup, Stat, Status};
use procfs::{FromRead as _, FromReadSI as _, KernelStats, LocalSystemInfo};

/// What `/proc/self/ns/pid` links to where every process of the machine has a number: the kernel's
/// constant for its first namespace.
const FIRST_NAMESPACE: &str = "pid:[4026531836]";

/// Reading all clocks takes no longer than this unless somebody interrupts; then it is done anew, so many
/// times at most.
const QUICK: Duration = Duration::from_millis(1);
const GLANCES: usize = 5;

/// Bit of `SIGCHLD` in a mask of signals.
const SIGCHLD: u64 = 1 << 16;

/// The clocks of a kernel.
pub trait Clocks: Send + Sync {
    /// Monotonic.
    fn now(&self) -> Duration;
    /// CPU time that a process has used, all its threads together, those that ended included. `None` when
    /// there is no such process.
    fn of_process(&self, pid: i32) -> Option<Duration>;
    /// How far the clock of a process that runs may be behind.
    fn tick(&self) -> Duration;
}

/// Those of the kernel that runs us.
pub struct Kernel;

impl Clocks for Kernel {
    fn now(&self) -> Duration {
        clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
    }

    fn of_process(&self, pid: i32) -> Option<Duration> {
        let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).ok()?;
        clock_gettime(clock).ok().map(Duration::from)
    }

    fn tick(&self) -> Duration {
        // The coarse clock moves with the tick.
        let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).ok().map(Duration::from);
        tick.filter(|tick| !tick.is_zero()).unwrap_or(jiffies(1))
    }
}

/// Time of so many jiffies, the unit of `/proc`.
pub fn jiffies(count: u64) -> Duration {
    Duration::from_nanos(count * (1_000_000_000 / procfs::ticks_per_second().max(1)))
}

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    pub parent: i32,
    /// When it started, in jiffies since boot: tells it from a later one with its number.
    pub started: u64,
    /// CPU time it used.
    pub cpu: Duration,
    /// CPU time of the children it has waited for, and theirs.
    pub waited: Duration,
    /// Its first thread ran, or waited for a core.
    pub running: bool,
}

/// The CPU time of the whole machine since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    pub cores: u32,
    /// Also while waiting for a disk. Exact, but for the unit.
    pub idle: Duration,
    /// Taken by the hypervisor.
    pub steal: Duration,
}

/// All processes, by number.
pub type Table = HashMap<i32, Process>;

/// Everything that is known of one moment.
#[derive(Debug, Clone)]
pub struct Reading {
    /// When the last clock was read, on the monotonic clock.
    pub at: Duration,
    /// How long before that the first was.
    pub took: Duration,
    pub tick: Duration,
    pub machine: Option<Machine>,
    pub processes: Table,
    /// Whether no process is hidden from us.
    pub sees_everyone: bool,
}

/// A kernel's view of its processes.
pub struct Proc {
    root: PathBuf,
    clocks: Box<dyn Clocks>,
}

impl Default for Proc {
    fn default() -> Self {
        Self::at("/proc", Kernel)
    }
}

impl Proc {
    /// What is mounted at `root`, with the clocks that belong to it.
    pub fn at(root: impl Into<PathBuf>, clocks: impl Clocks + 'static) -> Self {
        Self { root: root.into(), clocks: Box::new(clocks) }
    }

    /// Reads everything. Clocks and the machine's time come first and close together; what changes
    /// slowly follows.
    #[must_use]
    pub fn read(&self) -> Reading {
        let pids = self.pids();
        let glance = || {
            let began = self.clocks.now();
            let clocks: Vec<_> = pids.iter().filter_map(|pid| Some((*pid, self.cpu(*pid)?))).collect();
            let machine = self.machine();
            let at = self.clocks.now();
            (at.saturating_sub(began), at, clocks, machine)
        };
        let mut best = glance();
        for _ in 1..GLANCES {
            if best.0 <= QUICK {
                break;
            }
            let next = glance();
            best = if next.0 < best.0 { next } else { best };
        }
        let (took, at, clocks, machine) = best;
        let processes = clocks.into_iter().filter_map(|(pid, cpu)| Some((pid, self.process(pid, cpu)?)));
        Reading {
            at,
            took,
            tick: self.clocks.tick(),
            machine,
            processes: processes.collect(),
            sees_everyone: self.sees_everyone(),
        }
    }

    /// CPU time of a process until now; `None` once it is gone.
    #[must_use]
    pub fn cpu(&self, pid: i32) -> Option<Duration> {
        self.clocks.of_process(pid)
    }

    /// Whether a process has the kernel throw its ended children away: nobody then gets their CPU time.
    #[must_use]
    pub fn ignores_children(&self, pid: i32) -> bool {
        let status = Status::from_file(self.root.join(format!("{pid}/status")));
        status.is_ok_and(|status| status.sigign & SIGCHLD != 0)
    }

    /// Memory of a process, pages that others map as well in proportion.
    #[must_use]
    pub fn bytes(&self, pid: i32) -> Option<u64> {
        let proportional = || {
            let rollup = SmapsRollup::from_file(self.root.join(format!("{pid}/smaps_rollup"))).ok()?;
            rollup.memory_map_rollup.0.first()?.extension.map.get("Pss").copied()
        };
        proportional().or_else(|| Some(self.stat(pid)?.rss * procfs::page_size()))
    }

    fn pids(&self) -> Vec<i32> {
        let entries = std::fs::read_dir(&self.root).into_iter().flatten().filter_map(Result::ok);
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    fn stat(&self, pid: i32) -> Option<Stat> {
        Stat::from_file(self.root.join(format!("{pid}/stat"))).ok()
    }

    fn process(&self, pid: i32, cpu: Duration) -> Option<Process> {
        let stat = self.stat(pid)?;
        let waited = u64::try_from(stat.cutime + stat.cstime).unwrap_or(0);
        Some(Process {
            parent: stat.ppid,
            started: stat.starttime,
            cpu,
            waited: jiffies(waited),
            running: stat.state == 'R',
        })
    }

    fn machine(&self) -> Option<Machine> {
        let stat = KernelStats::from_file(self.root.join("stat"), &LocalSystemInfo).ok()?;
        Some(Machine {
            cores: u32::try_from(stat.cpu_time.len()).ok().filter(|cores| *cores > 0)?,
            idle: jiffies(stat.total.idle + stat.total.iowait.unwrap_or(0)),
            steal: jiffies(stat.total.steal.unwrap_or(0)),
        })
    }

    fn sees_everyone(&self) -> bool {
        let namespace = std::fs::read_link(self.root.join("self/ns/pid"));
        // The mount option `hidepid` hides what others own.
        namespace.is_ok_and(|link| link.as_os_str() == FIRST_NAMESPACE) && self.stat(1).is_some()
    }
}

/// The processes below `root`, `root` included.
#[must_use]
pub fn tree(processes: &Table, root: i32) -> HashSet<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for (pid, process) in processes {
        children.entry(process.parent).or_default().push(*pid);
    }
    let mut found = HashSet::new();
    let mut left: Vec<i32> = processes.contains_key(&root).then_some(root).into_iter().collect();
    while let Some(pid) = left.pop() {
        if found.insert(pid) {
            left.extend(children.remove(&pid).unwrap_or_default());
        }
    }
    found
}

/// Whether a process was started by another, or by one that was started by it. Asked of the kernel, now.
#[must_use]
pub fn descends(process: u32, from: u32) -> bool {
    let mut process = process;
    while let Some(parent) = status_field(process, "PPid").filter(|parent| *parent > 1) {
        if parent == from {
            return true;
        }
        process = parent;
    }
    false
}

/// The processes that a process started, and those that they started, itself first. Asked of the kernel, now.
#[must_use]
pub fn below(process: u32) -> Vec<u32> {
    let all = Proc::default().pids().into_iter().filter_map(|pid| u32::try_from(pid).ok());
    std::iter::once(process).chain(all.filter(|pid| descends(*pid, process))).collect()
}

/// When a process started, in jiffies since boot: tells it from a later one with its number.
#[must_use]
pub fn started(process: u32) -> Option<u64> {
    Proc::default().stat(i32::try_from(process).ok()?).map(|stat| stat.starttime)
}

/// What a process was started with, or its name where it has no words of its own.
#[must_use]
pub fn command_line(process: u32) -> String {
    let read = |file: &str| std::fs::read(format!("/proc/{process}/{file}")).unwrap_or_default();
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\0', " ").trim().to_owned();
    Some(words(&read("cmdline"))).filter(|words| !words.is_empty()).unwrap_or_else(|| words(&read("comm")))
}

/// A number of `/proc/<thread>/status`; nothing where there is no such thread.
#[must_use]
pub fn status_field(thread: u32, name: &str) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().parse().ok()
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A `/proc` in a folder, with its clocks.
    #[derive(Clone)]
    pub(crate) struct MadeUp(Arc<Inner>);

    struct Inner {
        folder: tempfile::TempDir,
        now: Mutex<Duration>,
        /// How long somebody interrupts before the clock is looked at next, and after that.
        interruptions: Mutex<Vec<Duration>>,
        clocks: Mutex<HashMap<i32, Duration>>,
    }

    pub(crate) fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    impl Clocks for MadeUp {
        fn now(&self) -> Duration {
            if let Some(by) = self.0.interruptions.lock().unwrap().pop() {
                self.later(by);
            }
            *self.0.now.lock().unwrap()
        }

        fn of_process(&self, pid: i32) -> Option<Duration> {
            self.0.clocks.lock().unwrap().get(&pid).copied()
        }

        fn tick(&self) -> Duration {
            ms(4)
        }
    }

    impl MadeUp {
        /// A machine whose every process is to be seen, with `init` alone on it.
        pub fn new() -> Self {
            let made = Self(Arc::new(Inner {
                folder: tempfile::tempdir().unwrap(),
                now: Mutex::new(ms(1_000_000)),
                interruptions: Mutex::default(),
                clocks: Mutex::default(),
            }));
            made.machine(2, 1_000, 0);
            made.namespace(FIRST_NAMESPACE);
            made.process(1, 0, 'S', 0, 0);
            made
        }

        pub fn proc(&self) -> Proc {
            Proc::at(self.0.folder.path(), self.clone())
        }

        pub fn read(&self) -> Reading {
            self.proc().read()
        }

        pub fn later(&self, by: Duration) {
            *self.0.now.lock().unwrap() += by;
        }

        pub fn namespace(&self, of: &str) {
            let link = self.0.folder.path().join("self/ns/pid");
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(of, link).unwrap();
        }

        /// Idle and stolen time since boot.
        pub fn machine(&self, cores: u32, idle_ms: u64, steal_ms: u64) {
            // Part of it waits for a disk; the time of guests is in that of the user already.
            let line = format!("5 0 5 {} {} 0 0 {} 3 0", idle_ms / 10 - 100, 100, steal_ms / 10);
            let cores: String = (0..cores).map(|core| format!("cpu{core} {line}\n")).collect();
            let text = format!("cpu  {line}\n{cores}intr 0\nctxt 1\nbtime 1\nprocesses 1\n");
            fs::write(self.0.folder.path().join("stat"), text).unwrap();
        }

        /// Makes a process or changes it: its parent, state, CPU time, and that of children waited for.
        pub fn process(&self, pid: i32, parent: i32, state: char, cpu_ms: u64, waited_ms: u64) {
            let folder = self.0.folder.path().join(pid.to_string());
            fs::create_dir_all(&folder).unwrap();
            let zeros = ["0"; 9].join(" ");
            let rest = ["0"; 28].join(" ");
            let line = format!(
                "{pid} (a (b) c) {state} {parent} {zeros} 0 0 {} 0 20 0 1 0 {} 0 3 {rest}",
                waited_ms / 10,
                1_000 + pid
            );
            fs::write(folder.join("stat"), line).unwrap();
            self.0.clocks.lock().unwrap().insert(pid, ms(cpu_ms));
        }

        /// Has a process throw its children away.
        pub fn ignores_children(&self, pid: i32) {
            let real = fs::read_to_string("/proc/self/status").unwrap();
            let lines = real.lines().map(|line| match line.split_once('\t') {
                Some(("SigIgn:", _)) => "SigIgn:\t0000000000010000",
                _ => line,
            });
            let text = lines.collect::<Vec<_>>().join("\n");
            fs::write(self.0.folder.path().join(format!("{pid}/status")), text).unwrap();
        }

        pub fn ends(&self, pid: i32) {
            fs::remove_dir_all(self.0.folder.path().join(pid.to_string())).unwrap();
            self.0.clocks.lock().unwrap().remove(&pid);
        }
    }

    #[test]
    fn a_reading_has_every_process_and_the_machine() {
        let made = MadeUp::new();
        made.machine(4, 1_230, 20);
        made.process(20, 1, 'R', 345, 70);
        let reading = made.read();
        assert_eq!(reading.machine, Some(Machine { cores: 4, idle: ms(1_230), steal: ms(20) }));
        let expected = Process { parent: 1, started: 1_020, cpu: ms(345), waited: ms(70), running: true };
        assert_eq!(reading.processes[&20], expected);
        assert!(reading.sees_everyone && reading.processes.len() == 2);
    }

    #[test]
    fn a_reading_that_was_interrupted_is_done_anew_and_the_quickest_counts() {
        let made = MadeUp::new();
        // Looked at before and after each of five glances; the last of these comes first.
        *made.0.interruptions.lock().unwrap() = [9, 0, 2, 0, 8, 0, 20, 0, 30, 0].map(ms).to_vec();
        assert_eq!(made.read().took, ms(2));
        *made.0.interruptions.lock().unwrap() = [9, 0, 0, 0].map(ms).to_vec();
        assert_eq!(made.read().took, ms(0));
        assert_eq!(made.0.interruptions.lock().unwrap().len(), 2, "one glance was enough");
    }

    #[test]
    fn a_container_and_hidden_processes_are_noticed() {
        let made = MadeUp::new();
        made.namespace("pid:[4026532200]");
        assert!(!made.read().sees_everyone);
        let made = MadeUp::new();
        made.ends(1);
        assert!(!made.read().sees_everyone);
    }

    #[test]
    fn a_tree_has_grandchildren_but_no_strangers() {
        let made = MadeUp::new();
        made.process(10, 1, 'S', 0, 0);
        // A number may come round: a child's can be lower than its parent's.
        made.process(9, 10, 'S', 0, 0);
        made.process(30, 9, 'S', 0, 0);
        made.process(40, 1, 'S', 0, 0);
        assert_eq!(tree(&made.read().processes, 10), HashSet::from([10, 9, 30]));
        assert!(tree(&made.read().processes, 99).is_empty());
    }

    #[test]
    fn this_machine_can_be_read() {
        let reading = Proc::default().read();
        let us = reading.processes[&i32::try_from(std::process::id()).unwrap()];
        assert!(us.cpu > Duration::ZERO);
        assert!(reading.machine.is_some_and(|machine| machine.cores >= 1 && machine.idle > Duration::ZERO));
        assert!((ms(1)..=ms(10)).contains(&reading.tick), "{:?}", reading.tick);
    }
}
