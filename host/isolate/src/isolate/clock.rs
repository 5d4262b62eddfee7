//! Whether the clock that this process reads is the kernel's.
//!
//! Reading the time calls no kernel: the C library and Rust run code in a page (the vDSO) that a plugin can overwrite,
//! and then every time in the process is what the plugin likes. The kernel itself can be asked too. It is slower, so
//! the two are compared now and then.

use std::sync::atomic::{AtomicU64, Ordering};

// SAFETY: the signature is that of the C library that std links on every Unix.
unsafe extern "C" {
    fn syscall(number: std::ffi::c_long, ...) -> std::ffi::c_long;
}

/// `CLOCK_MONOTONIC`.
const MONOTONIC: std::ffi::c_long = 1;
/// Readings may differ by so much: the two round differently. Not more, for a reading lies between two of the other.
const SLACK_NS: u64 = 1_000_000;

/// Of `clock_gettime`, where it is known.
const NUMBER: Option<std::ffi::c_long> = if !cfg!(all(target_os = "linux", target_pointer_width = "64")) {
    None
} else if cfg!(target_arch = "x86_64") {
    Some(228)
} else if cfg!(any(target_arch = "aarch64", target_arch = "riscv64")) {
    Some(113)
} else {
    None
};

/// The monotonic clock by the kernel itself.
fn kernel_ns() -> Option<u64> {
    let mut time = [0_i64; 2];
    // SAFETY: on these machines the call writes two numbers of 64 bits to the address it is given.
    let failed = unsafe { syscall(NUMBER?, MONOTONIC, time.as_mut_ptr()) };
    let [seconds, nanos] = time.map(|part| u64::try_from(part).ok());
    (failed == 0).then_some(seconds? * 1_000_000_000 + nanos?)
}

/// Compares a clock with the kernel's.
#[derive(Debug, Default)]
pub struct Clocks {
    calls: AtomicU64,
    wrong: AtomicU64,
}

impl Clocks {
    /// Looks at `clock`, in nanoseconds.
    pub fn compare(&self, clock: impl FnOnce() -> u64) {
        let (before, now, after) = (kernel_ns(), clock(), kernel_ns());
        let Some((before, after)) = before.zip(after) else { return };
        if now + SLACK_NS < before || now > after + SLACK_NS {
            self.wrong.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Looks at it at the first call and every 64th, because each look takes as long as some readings.
    pub fn compare_sometimes(&self, clock: impl FnOnce() -> u64) {
        if self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(64) {
            self.compare(clock);
        }
    }

    /// How often it was not the kernel's.
    #[must_use]
    pub fn wrong(&self) -> u64 {
        self.wrong.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_clock_is_the_kernels_and_one_that_is_slow_or_fast_is_not() {
        let clocks = Clocks::default();
        let right = || kernel_ns().unwrap();
        for _ in 0..1_000 {
            clocks.compare(right);
        }
        assert_eq!(clocks.wrong(), 0);
        clocks.compare(|| right() / 60);
        clocks.compare(|| right() + 1_000_000_000);
        assert_eq!(clocks.wrong(), 2);
    }

    #[test]
    fn now_and_then_is_the_first_call_and_every_64th() {
        let clocks = Clocks::default();
        for _ in 0..129 {
            clocks.compare_sometimes(|| 0);
        }
        assert_eq!(clocks.wrong(), 3);
    }
}
