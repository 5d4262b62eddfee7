//! Files that are either the old version or the new one, never something between.
//!
//! The new content goes to a temporary name in the same directory, is synced, and then takes the
//! final name by `rename`, which the file system does in one step. The directory is synced last,
//! because the rename itself lives there. A crash leaves at most a hidden `.name.xxxxxx.bench_tmp`
//! beside an intact file, which [`remove_leftovers`] clears. Whoever writes such a file holds a lock on it, which the
//! kernel drops with its process: so a file is known to be nobody's without a guess by its age.

use std::fs::{self, File, Metadata, Permissions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;

use super::found::{self, Found, Odd};
use super::{Error, Result};

const TEMPORARY_SUFFIX: &str = ".bench_tmp";
/// How the names of earlier versions end, which locked nothing: their files may be in use though no lock says so.
const UNLOCKED_SUFFIX: &str = ".bench.tmp";

/// No write takes this long, so an older temporary file belongs to nobody, where there are no locks.
const LEFTOVER_AGE: Duration = Duration::from_secs(3600);

/// Replaces the content of `path` by `bytes`.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |file| file.write_all(bytes).map_err(Error::io("write", path)))
}

/// Replaces the content of `path` by whatever `fill` writes. If `fill` fails, `path` stays as it was.
pub fn write_with(path: &Path, fill: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    refuse_odd(path)?;
    // A rename would replace a symbolic link itself. People link results to larger disks.
    replace(&fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf()), fill)
}

/// The same of a file that nobody but bench has reason to make, as those in a run's own folder: a link that somebody
/// put there is replaced and not followed.
///
/// # Errors
/// When it cannot be written.
pub fn write_own_with(path: &Path, fill: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    if !path.is_symlink() {
        refuse_odd(path)?;
    }
    replace(path, fill)
}

fn replace(target: &Path, fill: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let directory = parent(target);
    // Where no lock is taken nobody else would.
    remove_leftovers(&directory);
    let name = target.file_name().unwrap_or_default().to_string_lossy();

    let mut temporary = temporary(&name, &directory).map_err(Error::io("create a file in", &directory))?;
    // A link's own mode says nothing.
    if let Some(existing) = fs::symlink_metadata(target).ok().filter(Metadata::is_file) {
        let mode = existing.permissions();
        temporary.as_file().set_permissions(mode).map_err(Error::io("set the mode of", target))?;
    }
    fill(temporary.as_file_mut())?;
    temporary.as_file().sync_all().map_err(Error::io("write", target))?;
    temporary.persist(target).map_err(|e| Error::io("replace", target)(e.error))?;
    sync_directory(&directory)
}

/// A file of our own in `directory`, to be renamed to `name` when it is whole.
///
/// # Errors
/// When it cannot be made.
pub fn temporary(name: &str, directory: &Path) -> std::io::Result<NamedTempFile> {
    loop {
        let made = tempfile::Builder::new()
            .prefix(&format!(".{name}."))
            .suffix(TEMPORARY_SUFFIX)
            // The umask still applies. The default of 0600 would hide results from colleagues.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory)?;
        // Whoever clears leftovers may have come upon it before it was locked, and have removed it.
        let ours = match made.as_file().try_lock() {
            Ok(()) => made.as_file().metadata()?.nlink() > 0,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(_)) => true,
        };
        if ours {
            return Ok(made);
        }
    }
}

/// Whether `path` could be written now. Nothing is.
///
/// # Errors
/// What stands in the way.
pub fn check(path: &Path) -> Result<()> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    refuse_odd(path)?;
    let directory = parent(&target);
    tempfile::tempfile_in(&directory).map(drop).map_err(Error::io("create a file in", &directory))
}

/// Only a regular file is replaced. Where `/dev/null` or a FIFO was, everybody else would find a file: root may do so.
fn refuse_odd(path: &Path) -> Result<()> {
    match fs::metadata(path).ok().as_ref().and_then(found::odd_kind) {
        Some(kind) => Err(Error::io("replace", path)(Odd::Kind(kind).into())),
        None => Ok(()),
    }
}

/// Removes temporary files in `directory` that belong to nobody any more. It is housekeeping: a file that cannot be
/// removed is left alone.
pub fn remove_leftovers(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // Ours have the name of the file that they were to become, and six letters.
        let ends_with = |suffix| {
            name.strip_prefix('.')
                .and_then(|rest| rest.strip_suffix(suffix))
                .is_some_and(|hidden| hidden.contains('.'))
        };
        let (locked, unlocked) = (ends_with(TEMPORARY_SUFFIX), ends_with(UNLOCKED_SUFFIX));
        if !locked && !unlocked {
            continue;
        }
        let Ok(file) = Found::SHARED.open(&entry.path()) else { continue };
        let is_old = || file.metadata().and_then(|found| found.modified()).is_ok_and(is_old);
        let nobodys = match file.try_lock() {
            Ok(()) => locked || is_old(),
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(_)) => is_old(),
        };
        if nobodys {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_old(modified: SystemTime) -> bool {
    modified.elapsed().is_ok_and(|age| age > LEFTOVER_AGE)
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory).and_then(|d| d.sync_all()).map_err(Error::io("sync", directory))
}

/// Writes `value` as indented JSON, whole or not at all.
///
/// # Errors
/// When it cannot be encoded or written.
pub fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    write_with(path, |file| file.write_all(text.as_bytes()).map_err(Error::io("write", path)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_a_killed_writer_left_beside_a_file_goes_with_the_next_write() {
        let dir = tempfile::tempdir().unwrap();
        let leftover = dir.path().join(".plugin.so.123456.bench_tmp");
        fs::write(&leftover, "half").unwrap();
        let busy = temporary("plugin.so", dir.path()).unwrap();
        write(&dir.path().join("plugin.so"), b"whole").unwrap();
        assert!(!leftover.exists() && busy.path().exists());
    }

    #[test]
    fn a_link_in_the_place_of_a_file_of_benchs_own_is_replaced_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (dir.path().join("items.csv"), dir.path().join("elsewhere"));
        for linked in ["precious", "nothing"] {
            if linked == "precious" {
                fs::write(&elsewhere, linked).unwrap();
            }
            std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
            let fill = |file: &mut File| file.write_all(b"new").map_err(Error::io("write", &path));
            write_own_with(&path, fill).unwrap();
            assert!(!path.is_symlink() && fs::read(&path).unwrap() == b"new");
            assert_eq!(
                fs::read_to_string(&elsewhere).ok(),
                (linked == "precious").then(|| linked.to_owned())
            );
            fs::remove_file(&path).unwrap();
            let _ = fs::remove_file(&elsewhere);
        }
    }

    #[test]
    fn a_write_leaves_only_the_named_file() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("a.json"), b"one").unwrap();
        write(&dir.path().join("a.json"), b"two").unwrap();
        assert_eq!(names(dir.path()), ["a.json"]);
        assert_eq!(fs::read(dir.path().join("a.json")).unwrap(), b"two");
    }

    #[test]
    fn a_failed_fill_keeps_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write(&path, b"old").unwrap();
        let failed = write_with(&path, |file| {
            file.write_all(b"half of the ne").unwrap();
            Err(Error::NoItems)
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["a.json"]);
    }

    #[test]
    fn what_is_no_file_is_neither_replaced_nor_its_link() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let dir = tempfile::tempdir().unwrap();
        let (fifo, link) = (dir.path().join("fifo"), dir.path().join("link"));
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        std::os::unix::fs::symlink(&fifo, &link).unwrap();
        for path in [&fifo, &link] {
            for refused in [check(path), write(path, b"one")] {
                let said = refused.unwrap_err().to_string();
                assert!(said.ends_with("it is a FIFO, not a regular file"), "{said}");
            }
        }
        let kind = |path: &Path| fs::symlink_metadata(path).unwrap().file_type();
        assert!(found::odd_kind(&fs::metadata(&fifo).unwrap()).is_some() && kind(&link).is_symlink());
        assert_eq!(names(dir.path()).len(), 2);
    }

    #[test]
    fn an_existing_mode_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write(&path, b"1").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        write(&path, b"2").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_symbolic_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        write(&real, b"1").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write(&link, b"2").unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"2");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = write(Path::new("/nonexistent/place/a.json"), b"").unwrap_err();
        assert!(error.to_string().contains("/nonexistent/place"), "{error}");
    }

    #[test]
    fn what_nobody_writes_any_more_goes_and_what_is_being_written_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".a.json.123456.bench_tmp"), "half").unwrap();
        let path = dir.path().join("b.json");
        write_with(&path, |file| {
            remove_leftovers(dir.path());
            assert_eq!(names(dir.path()).len(), 1, "{:?}", names(dir.path()));
            file.write_all(b"whole").map_err(Error::io("write", &path))
        })
        .unwrap();
        assert_eq!(
            (names(dir.path()), fs::read(&path).unwrap()),
            (vec!["b.json".to_owned()], b"whole".to_vec())
        );
    }

    #[test]
    fn what_an_earlier_version_writes_without_a_lock_goes_only_when_nobody_can_be_writing_it() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new] = [".a.json.123456.bench.tmp", ".b.json.123456.bench.tmp"].map(|n| dir.path().join(n));
        [&old, &new].into_iter().for_each(|path| fs::write(path, "half").unwrap());
        let two_hours_ago = SystemTime::now() - 2 * LEFTOVER_AGE;
        File::options().append(true).open(&old).unwrap().set_modified(two_hours_ago).unwrap();
        remove_leftovers(dir.path());
        assert_eq!(names(dir.path()), [".b.json.123456.bench.tmp"]);
    }

    #[test]
    fn writers_and_those_who_clear_never_cost_each_other_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..300).for_each(|_| remove_leftovers(dir.path())));
                scope.spawn(|| (0..100).for_each(|_| write(&path, b"whole").unwrap()));
            }
        });
        remove_leftovers(dir.path());
        assert_eq!(
            (names(dir.path()), fs::read(&path).unwrap()),
            (vec!["a.json".to_owned()], b"whole".to_vec())
        );
    }

    #[test]
    fn a_leftover_that_is_no_file_is_neither_opened_nor_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (fifo, link) = (dir.path().join(".a.1.bench_tmp"), dir.path().join(".b.1.bench_tmp"));
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
            .unwrap();
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        remove_leftovers(dir.path());
        assert_eq!(names(dir.path()).len(), 2);
    }

    #[test]
    fn other_files_are_never_leftovers() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["c.json", ".c.json", "c.json.123456.bench_tmp", ".bench_tmp"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        remove_leftovers(dir.path());
        assert_eq!(names(dir.path()).len(), 4);
    }
}
