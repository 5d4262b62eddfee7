//! Memory and CPU of a run's whole process tree, sampled from `/proc` while it goes on.
//!
//! Memory is the proportional set size: pages that workers share (the mapped indexes) count once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use procfs::process::{Process, all_processes};
use serde::{Deserialize, Serialize};

const PERIOD: Duration = Duration::from_millis(200);

/// What a process or a tree of them used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    pub cpu_seconds: f64,
    pub peak_bytes: u64,
    /// Most processes at once.
    pub processes: u64,
}

/// Memory of a tree over time, in bytes.
pub type Course = Vec<(Instant, u64)>;

/// Use of the calling process since it started.
#[must_use]
pub fn own_usage() -> Usage {
    let Ok(process) = Process::myself() else { return Usage::default() };
    let cpu_seconds = process.stat().map_or(0.0, |stat| seconds(stat.utime + stat.stime));
    let peak_kib = process.status().ok().and_then(|status| status.vmhwm).unwrap_or(0);
    Usage { cpu_seconds, peak_bytes: peak_kib * 1024, processes: 1 }
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / procfs::ticks_per_second() as f64
}

/// Watches the tree below a process until it is stopped.
pub struct TreeMonitor {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(Usage, Course)>,
}

impl TreeMonitor {
    /// Watches everything below process `root`, `root` included.
    #[must_use]
    pub fn start(root: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut usage = Usage::default();
            let mut memory = Course::new();
            let mut cpu: HashMap<i32, f64> = HashMap::new();
            while !seen.load(Ordering::Relaxed) {
                memory.extend(sample(root as i32, &mut usage, &mut cpu).map(|bytes| (Instant::now(), bytes)));
                std::thread::park_timeout(PERIOD);
            }
            usage.cpu_seconds = cpu.values().sum();
            (usage, memory)
        });
        Self { stop, thread }
    }

    /// Stops watching.
    #[must_use]
    pub fn finish(self) -> (Usage, Course) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        self.thread.join().unwrap_or_default()
    }
}

/// The memory of the tree now; the rest goes to `usage` and `cpu`.
fn sample(root: i32, usage: &mut Usage, cpu: &mut HashMap<i32, f64>) -> Option<u64> {
    let processes = all_processes().ok()?;
    let stats: Vec<_> = processes.filter_map(|p| p.ok()).filter_map(|p| Some((p.stat().ok()?, p))).collect();
    let mut tree = HashSet::from([root]);
    // Children have later start times but not always higher pids: repeat until nothing is added.
    loop {
        let before = tree.len();
        tree.extend(
            stats
                .iter()
                .filter(|(stat, _)| tree.contains(&stat.ppid))
                .map(|(stat, _)| stat.pid)
                .collect::<Vec<_>>(),
        );
        if tree.len() == before {
            break;
        }
    }
    let mut bytes = 0;
    let mut count = 0;
    for (stat, process) in stats.iter().filter(|(stat, _)| tree.contains(&stat.pid)) {
        count += 1;
        cpu.insert(stat.pid, seconds(stat.utime + stat.stime));
        bytes += proportional_bytes(process).unwrap_or(stat.rss * procfs::page_size());
    }
    usage.peak_bytes = usage.peak_bytes.max(bytes);
    usage.processes = usage.processes.max(count);
    (count > 0).then_some(bytes)
}

fn proportional_bytes(process: &Process) -> Option<u64> {
    let rollup = process.smaps_rollup().ok()?;
    rollup.memory_map_rollup.0.first()?.extension.map.get("Pss").copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_includes_its_children() {
        let mut child = std::process::Command::new("sleep").arg("5").spawn().unwrap();
        let monitor = TreeMonitor::start(std::process::id());
        std::thread::sleep(Duration::from_millis(300));
        let (usage, memory) = monitor.finish();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(usage.processes >= 2 && usage.peak_bytes > 0, "{usage:?}");
        assert_eq!(memory.iter().map(|(_, bytes)| *bytes).max(), Some(usage.peak_bytes));
    }

    #[test]
    fn own_usage_is_measured() {
        assert!(own_usage().peak_bytes > 1 << 20);
    }
}
