//! The machine a run happened on.

use procfs::Current;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_names_the_machine() {
        let profile = Profile::read();
        assert!(profile.cores >= 1 && profile.memory_bytes > 0 && !profile.kernel.is_empty());
    }
}
