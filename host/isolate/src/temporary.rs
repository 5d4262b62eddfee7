//! Temporary folders, and whose they are.
//!
//! The warden removes the folders of its call whoever is killed, but for itself. So each folder is locked by those who
//! use it, and the kernel drops the lock with the last of them: what nobody has locked is nobody's, and the next
//! command that comes by removes it.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;

/// How the names of all of them begin. Earlier versions wrote `bench-` and locked nothing: theirs are never touched,
/// for they may be in use.
const PREFIX: &str = "bench_";
/// Folders of links have the number of their process behind this, all others eight hexadecimal digits behind the
/// prefix.
const LINKS: &str = "bench_links_";

/// Where temporary files go: `TMPDIR`, or /tmp. Absolute, because drivers run in directories of their own.
#[must_use]
pub fn temp_dir() -> PathBuf {
    let named = std::env::temp_dir();
    // An empty variable says nothing.
    let named = if named.as_os_str().is_empty() { PathBuf::from("/tmp") } else { named };
    std::path::absolute(&named).unwrap_or(named)
}

/// A path for a call's scratch directory.
#[must_use]
pub fn scratch_path() -> PathBuf {
    temp_dir().join(scratch_name())
}

fn scratch_name() -> String {
    format!("{PREFIX}{}", &drawn()[..8])
}

/// A path for the folder of links of a process; see [`super::load`].
pub(crate) fn links_path(process: u32) -> PathBuf {
    temp_dir().join(format!("{LINKS}{process}"))
}

/// Where scratch directories lie.
fn temporary_places() -> Vec<PathBuf> {
    let short = short_scratch_path().parent().map(Path::to_owned);
    let mut places: Vec<PathBuf> = short.into_iter().chain([temp_dir()]).collect();
    places.dedup();
    places
}

/// A path for a scratch directory that runtimes put sockets into, whose own paths may not exceed 107 bytes. It is not
/// for what takes room: where the user's temporary directory has a long path, or letters that runtimes stumble over,
/// it lies elsewhere.
#[must_use]
pub fn short_scratch_path() -> PathBuf {
    /// With the name of the directory, what a test of `check` adds and what engines add, their sockets still fit.
    const LONGEST: usize = 9;
    let own = temp_dir();
    let places = [own.clone(), "/tmp".into(), "/var/tmp".into(), "/dev/shm".into()];
    let plain = |place: &PathBuf| place.as_os_str().len() <= LONGEST && place.as_os_str().is_ascii();
    places.into_iter().find(|place| plain(place) && may_write(place)).unwrap_or(own).join(scratch_name())
}

fn may_write(folder: &Path) -> bool {
    use rustix::fs::{Access, access};
    access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// Random digits, from the keys the standard library draws for each of its hash maps.
fn drawn() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// A folder that is this process's until it drops it or ends; what a killed one leaves, the next command removes.
#[derive(Debug)]
pub struct Temporary(PathBuf);

impl Temporary {
    /// One among the temporary files.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> io::Result<Self> {
        Self::at(scratch_path())
    }

    /// A hidden one in `place`, which is to become something there. What killed commands left of such is removed.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn beside(place: &Path) -> io::Result<Self> {
        remove_below(place, is_hidden);
        Self::at(place.join(format!(".{}", scratch_name())))
    }

    fn at(path: PathBuf) -> io::Result<Self> {
        make(&path).map(|()| Self(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Keeps it for good, as `path`.
    ///
    /// # Errors
    /// When it cannot be renamed; it is removed then.
    pub fn rename(self, path: &Path) -> io::Result<()> {
        fs::rename(&self.0, path)?;
        // There is nothing left to remove.
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What cannot be removed is left to the next command.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes a folder that is this process's and its children's until they end.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn make(path: &Path) -> io::Result<()> {
    // Whoever clears leftovers may come upon it before it is locked.
    for _ in 0..100 {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            made => made?,
        }
        let Ok(folder) = open(path) else { continue };
        match folder.try_lock() {
            Err(TryLockError::WouldBlock) => continue,
            Ok(()) if folder.metadata()?.nlink() == 0 => continue,
            // Without locks it is nobody's concern but the warden's.
            Ok(()) | Err(TryLockError::Error(_)) => {
                std::mem::forget(folder);
                return Ok(());
            }
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Removes the temporary folders of the user's that are nobody's any more. It is housekeeping: what cannot be removed
/// is left alone.
pub fn remove_leftovers() {
    temporary_places().iter().for_each(|place| remove_below(place, is_ours));
}

fn remove_below(place: &Path, is_meant: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        if !entry.file_name().to_str().is_some_and(&is_meant) {
            continue;
        }
        let Ok(folder) = open(&entry.path()) else { continue };
        let own = folder.metadata().is_ok_and(|folder| folder.uid() == rustix::process::geteuid().as_raw());
        if own && folder.try_lock().is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_ours(name: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    name.strip_prefix(LINKS).is_some_and(number) || is_drawn(name)
}

/// Somebody's own folder may be called like one of ours, but hardly with a dot before it.
fn is_hidden(name: &str) -> bool {
    name.strip_prefix('.').is_some_and(is_drawn)
}

fn is_drawn(name: &str) -> bool {
    let drawn = |text: &str| text.len() == 8 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    name.strip_prefix(PREFIX).is_some_and(drawn)
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    File::options().read(true).custom_flags(flags.bits() as i32).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nobodys_goes_and_what_is_in_use_or_not_of_our_making_stays() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for name in ["bench_0123abcd", "bench_links_12", "bench_mine", "bench-0123abcd", "other"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("file"), "").unwrap();
        }
        std::os::unix::fs::symlink(at("other"), at("bench_00000000")).unwrap();
        make(&at("bench_11111111")).unwrap();
        remove_below(place.path(), is_ours);
        let mut left: Vec<_> =
            fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["bench-0123abcd", "bench_00000000", "bench_11111111", "bench_mine", "other"]);
        assert!(at("other/file").exists());
    }

    #[test]
    fn what_is_to_become_something_is_whole_under_its_name_or_cleared_by_the_next() {
        let place = tempfile::tempdir().unwrap();
        // Of a killed command, and somebody's own.
        for name in [".bench_0123abcd", "bench_0123abcd"] {
            fs::create_dir(place.path().join(name)).unwrap();
        }
        let made = Temporary::beside(place.path()).unwrap();
        fs::write(made.path().join("file"), "").unwrap();
        made.rename(&place.path().join("project")).unwrap();
        drop(Temporary::beside(place.path()).unwrap());
        let mut left: Vec<_> =
            fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["bench_0123abcd", "project"]);
        assert!(place.path().join("project/file").exists());
    }

    #[test]
    fn those_who_make_and_those_who_clear_never_cost_each_other_a_folder() {
        let place = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let clearing = scope.spawn(|| (0..500).for_each(|_| remove_below(place.path(), is_ours)));
            for number in 0..50 {
                let folder = place.path().join(format!("bench_000000{number:02}"));
                make(&folder).unwrap();
                fs::write(folder.join("kept"), "").unwrap();
            }
            clearing.join().unwrap();
        });
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 50);
    }
}
