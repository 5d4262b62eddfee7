//! Files of the cache that are not whole yet, and what killed commands left of such.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::regular;

/// How their names begin. Earlier versions wrote `.index-` and locked nothing: theirs may be in use.
const UNFINISHED: &str = ".unfinished-";

/// A file in `folder` that is to become another, by [`keep`]. Its lock says that somebody writes it; the kernel drops
/// that with the process. What killed commands left there is removed.
///
/// # Errors
/// When it cannot be made.
pub fn file(folder: &Path) -> io::Result<NamedTempFile> {
    remove_leftovers(folder);
    loop {
        let made = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder)?;
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

/// Gives a file that is whole its name, and replaces what was there; both are on the disk then.
///
/// # Errors
/// When it cannot be written or renamed.
pub fn keep(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// It is housekeeping: what cannot be removed is left alone.
fn remove_leftovers(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(UNFINISHED)) {
            let Ok((file, _)) = regular::own(File::options().read(true), &entry.path()) else { continue };
            if file.try_lock().is_ok() {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_writes_any_more_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at(".unfinished-killed"), "half").unwrap();
        std::fs::write(at("vdb.idx"), "whole").unwrap();
        std::os::unix::fs::symlink(at("vdb.idx"), at(".unfinished-link")).unwrap();
        let written = file(folder.path()).unwrap();
        keep(file(folder.path()).unwrap(), &at("vdb.idx")).unwrap();
        assert!(std::fs::read(at("vdb.idx")).unwrap().is_empty());
        assert!(written.path().exists() && at("vdb.idx").exists() && at(".unfinished-link").is_symlink());
        assert!(!at(".unfinished-killed").exists());
    }
}
