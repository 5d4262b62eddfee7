//! One writer per output directory.
//!
//! The lock is an advisory `flock` on `.bench.lock`. The kernel drops it when the holder dies, so
//! there is no stale lock to clean up; the empty file stays, because removing it would race.
//!
//! It is held while files are written, not while a workload runs. That takes milliseconds, so a
//! second process waits a little rather than fail. Readers need no lock: every file they can see
//! is whole.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::found::Found;
use super::{Error, Result, atomic, names};

/// Name of the lock file inside an output directory.
pub const LOCK_FILE: &str = ".bench.lock";

/// Long enough for another process to copy a very large results file.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(10);

/// Files that are only ever written under the lock.
pub(super) const LOCKED_FILES: [&str; 3] = [names::JSONL, names::CSV, names::MANIFEST];

const RETRY_EVERY: Duration = Duration::from_millis(20);

/// The right to write into one output directory, until dropped.
#[derive(Debug)]
pub struct OutputLock {
    directory: PathBuf,
    // Closing the file releases the lock.
    _file: File,
}

impl OutputLock {
    /// Takes the lock of `directory`, which is created when absent. Gives up after `wait`.
    pub fn acquire(directory: &Path, wait: Duration) -> Result<OutputLock> {
        let started = Instant::now();
        let may_wait = || {
            let left = started.elapsed() < wait;
            if left {
                std::thread::sleep(RETRY_EVERY);
            }
            left
        };
        Self::try_while(directory, may_wait)?
            .ok_or_else(|| Error::Locked { directory: directory.to_path_buf(), waited: wait })
    }

    /// Takes the lock once it is free; nothing when it is not and `may_wait`, which does the waiting, says no.
    fn try_while(directory: &Path, mut may_wait: impl FnMut() -> bool) -> Result<Option<OutputLock>> {
        fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        let path = directory.join(LOCK_FILE);
        let options = &mut File::options();
        let file = Found::SHARED.open_with(options.create(true).truncate(false).write(true), &path);
        let file = file.map_err(Error::io("open", &path))?;

        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if may_wait() => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(source)) => return Err(Error::io("lock", &path)(source)),
            }
        }
        atomic::remove_leftovers(directory);
        Ok(Some(OutputLock { directory: directory.to_path_buf(), _file: file }))
    }

    /// The directory that may be written.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_writer_is_refused_with_the_directory_named() {
        let dir = tempfile::tempdir().unwrap();
        let _held = OutputLock::acquire(dir.path(), Duration::ZERO).unwrap();
        let error = OutputLock::acquire(dir.path(), Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, Error::Locked { .. }));
        assert!(error.to_string().contains(&*dir.path().to_string_lossy()), "{error}");
    }

    #[test]
    fn dropping_the_lock_releases_it() {
        let dir = tempfile::tempdir().unwrap();
        drop(OutputLock::acquire(dir.path(), Duration::ZERO).unwrap());
        OutputLock::acquire(dir.path(), Duration::ZERO).unwrap();
    }

    #[test]
    fn a_waiting_writer_gets_its_turn() {
        let dir = tempfile::tempdir().unwrap();
        let mut held = Some(OutputLock::acquire(dir.path(), Duration::ZERO).unwrap());
        let mut waits = 0;
        let mut until_the_second_wait = || {
            waits += 1;
            if waits == 2 {
                held.take();
            }
            true
        };
        assert!(OutputLock::try_while(dir.path(), &mut until_the_second_wait).unwrap().is_some());
        assert_eq!(waits, 2);
    }

    #[test]
    fn a_lock_file_that_is_none_is_named_and_neither_waited_for_nor_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOCK_FILE);
        let refused = || OutputLock::acquire(dir.path(), Duration::ZERO).unwrap_err().to_string();
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
            .unwrap();
        assert!(refused().ends_with(".bench.lock: it is a FIFO, not a regular file"), "{}", refused());
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert!(refused().contains("it is a symbolic link"), "{}", refused());
        assert!(!dir.path().join("elsewhere").exists());
    }

    #[test]
    fn what_a_killed_writer_left_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let leftover = dir.path().join(".unified_results.jsonl.123456.bench_tmp");
        fs::write(&leftover, "half a li").unwrap();
        OutputLock::acquire(dir.path(), Duration::ZERO).unwrap();
        assert!(!leftover.exists());
    }

    #[test]
    fn the_output_directory_is_created() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        OutputLock::acquire(&deep, Duration::ZERO).unwrap();
        assert!(deep.join(LOCK_FILE).exists());
    }
}
