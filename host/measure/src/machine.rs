//! The machine a run happened on.

use bench_record::evidence::Host;
use procfs::Current;

/// Bytes that a process of a plugin may take unless the user says otherwise: so that one that leaks ends
/// by its own doing, and not by the system's choice among everybody's processes.
#[must_use]
pub fn default_memory_limit() -> u64 {
    (read().memory_bytes / 4 * 3).max(1 << 30)
}

/// Reads the profile of this machine.
#[must_use]
pub fn read() -> Host {
    let cpu = procfs::CpuInfo::current().ok();
    let model = cpu.and_then(|cpu| cpu.model_name(0).map(str::to_owned));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Host {
        cpu_model: model.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: procfs::Meminfo::current().map_or(0, |memory| memory.mem_total),
        kernel: kernel.trim().to_owned(),
        os: std::env::consts::OS.to_owned(),
    }
}

/// Whether processes of this one get random addresses, as far as the kernel says.
#[must_use]
pub fn random_addresses() -> Option<bool> {
    /// Of `personality(2)`.
    const ADDR_NO_RANDOMIZE: u32 = 0x004_0000;
    let system = std::fs::read_to_string("/proc/sys/kernel/randomize_va_space").ok()?;
    let own = std::fs::read_to_string("/proc/self/personality").ok();
    let own = own.and_then(|text| u32::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    Some(system.trim() != "0" && own & ADDR_NO_RANDOMIZE == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_names_the_machine() {
        let profile = read();
        assert!(profile.cores >= 1 && profile.memory_bytes > 0 && !profile.kernel.is_empty());
    }
}
