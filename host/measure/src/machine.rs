//! The machine a run happened on, and what disturbed it meanwhile.

use procfs::{Current, CurrentSI};
use serde::{Deserialize, Serialize};

/// What a result has to be read with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    pub cpu_model: String,
    /// Cores this process may use.
    pub cores: usize,
    pub memory_bytes: u64,
    pub kernel: String,
    pub os: String,
}

/// Bytes that a process of a plugin may take unless the user says otherwise: so that one that leaks ends
/// by its own doing, and not by the system's choice among everybody's processes.
#[must_use]
pub fn default_memory_limit() -> u64 {
    (Profile::read().memory_bytes / 4 * 3).max(1 << 30)
}

impl Profile {
    /// Reads the profile of this machine.
    #[must_use]
    pub fn read() -> Self {
        let cpu = procfs::CpuInfo::current().ok();
        let model = cpu.and_then(|cpu| cpu.model_name(0).map(str::to_owned));
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpu_model: model.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: procfs::Meminfo::current().map_or(0, |memory| memory.mem_total),
            kernel: kernel.trim().to_owned(),
            os: std::env::consts::OS.to_owned(),
        }
    }
}

/// CPU time of the whole machine at one moment, in seconds summed over cores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CpuTimes {
    busy: f64,
    steal: f64,
    total: f64,
}

/// What else the machine did during a run, as shares of all its CPU time (0 to 1).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Disturbance {
    /// Taken by the hypervisor.
    pub steal: f64,
    /// Used by processes that are not part of the run.
    pub others: f64,
}

impl CpuTimes {
    /// Reads `/proc/stat`; `None` where there is none.
    #[must_use]
    pub fn read() -> Option<Self> {
        let stat = procfs::KernelStats::current().ok()?.total;
        let hz = procfs::ticks_per_second() as f64;
        let steal = stat.steal.unwrap_or(0) as f64 / hz;
        let idle = (stat.idle + stat.iowait.unwrap_or(0)) as f64 / hz;
        let busy = (stat.user + stat.nice + stat.system) as f64 / hz
            + (stat.irq.unwrap_or(0) + stat.softirq.unwrap_or(0)) as f64 / hz;
        Some(Self { busy, steal, total: busy + steal + idle })
    }

    /// What happened since `self`, given the CPU seconds that the run itself used.
    #[must_use]
    pub fn until(&self, later: &Self, own_seconds: f64) -> Disturbance {
        let total = (later.total - self.total).max(1e-9);
        Disturbance {
            steal: ((later.steal - self.steal) / total).clamp(0.0, 1.0),
            others: ((later.busy - self.busy - own_seconds) / total).clamp(0.0, 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_names_the_machine() {
        let profile = Profile::read();
        assert!(profile.cores >= 1 && profile.memory_bytes > 0 && !profile.kernel.is_empty());
    }

    #[test]
    fn a_run_that_used_everything_was_not_disturbed() {
        let before = CpuTimes { busy: 10.0, steal: 0.0, total: 20.0 };
        let after = CpuTimes { busy: 18.0, steal: 1.0, total: 30.0 };
        assert_eq!(before.until(&after, 8.0), Disturbance { steal: 0.1, others: 0.0 });
        assert_eq!(before.until(&after, 4.0), Disturbance { steal: 0.1, others: 0.4 });
    }
}
