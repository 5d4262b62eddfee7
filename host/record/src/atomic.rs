//! Files that are either the old version or the new one, never something between.
//!
//! The new content goes to a temporary name in the same directory, is synced, and then takes the
//! final name by `rename`, which the file system does in one step. The directory is synced last,
//! because the rename itself lives there. A crash leaves at most a hidden `.name.xxxxxx.bench.tmp`
//! beside an intact file, which [`remove_leftovers`] clears.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Error, Result};

const TEMPORARY_SUFFIX: &str = ".bench.tmp";

/// No write takes this long, so an older temporary file belongs to nobody.
const LEFTOVER_AGE: Duration = Duration::from_secs(3600);

/// Replaces the content of `path` by `bytes`.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |file| file.write_all(bytes).map_err(Error::io("write", path)))
}

/// Replaces the content of `path` by whatever `fill` writes. If `fill` fails, `path` stays as it was.
pub fn write_with(path: &Path, fill: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    // A rename would replace a symbolic link itself. People link results to larger disks.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let directory = parent(&target);
    let name = target.file_name().unwrap_or_default().to_string_lossy();

    let mut temporary = tempfile::Builder::new()
        .prefix(&format!(".{name}."))
        .suffix(TEMPORARY_SUFFIX)
        // The umask still applies. The default of 0600 would hide results from colleagues.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(&directory)
        .map_err(Error::io("create a file in", &directory))?;

    if let Ok(existing) = fs::metadata(&target) {
        let mode = existing.permissions();
        temporary.as_file().set_permissions(mode).map_err(Error::io("set the mode of", &target))?;
    }
    fill(temporary.as_file_mut())?;
    temporary.as_file().sync_all().map_err(Error::io("write", &target))?;
    temporary.persist(&target).map_err(|e| Error::io("replace", &target)(e.error))?;
    sync_directory(&directory)
}

/// Whether `path` could be written now. Nothing is.
///
/// # Errors
/// What stands in the way.
pub fn check(path: &Path) -> Result<()> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if target.is_dir() {
        return Err(Error::io("replace", path)(std::io::ErrorKind::IsADirectory.into()));
    }
    let directory = parent(&target);
    tempfile::tempfile_in(&directory).map(drop).map_err(Error::io("create a file in", &directory))
}

/// Removes temporary files that an interrupted process left in `directory`.
///
/// The caller holds the lock under which the files that are `locked` by name are written, so a
/// temporary file of one of those belongs to nobody. Any other may be in use, and goes once it is an
/// hour old. It is housekeeping: a file that cannot be removed is left alone.
pub fn remove_leftovers(directory: &Path, locked: impl Fn(&str) -> bool) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let Some(hidden) = name.strip_prefix('.').and_then(|rest| rest.strip_suffix(TEMPORARY_SUFFIX)) else {
            continue;
        };
        let is_ours = || hidden.rsplit_once('.').is_some_and(|(written_file, _)| locked(written_file));
        if is_ours() || entry.metadata().and_then(|m| m.modified()).is_ok_and(is_leftover) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_leftover(modified: SystemTime) -> bool {
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
    fn leftovers_go_when_they_are_old_or_nobodys() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.json", "b.json", "c.json"] {
            fs::write(dir.path().join(format!(".{name}.123456.bench.tmp")), "x").unwrap();
        }
        let old = File::options().write(true).open(dir.path().join(".a.json.123456.bench.tmp")).unwrap();
        old.set_modified(SystemTime::now() - LEFTOVER_AGE * 2).unwrap();
        remove_leftovers(dir.path(), |name| name == "c.json");
        assert_eq!(names(dir.path()), [".b.json.123456.bench.tmp"]);
    }

    #[test]
    fn other_files_are_never_leftovers() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("c.json"), "x").unwrap();
        fs::write(dir.path().join(".c.json"), "x").unwrap();
        remove_leftovers(dir.path(), |name| name == "c.json");
        assert_eq!(names(dir.path()).len(), 2);
    }
}
