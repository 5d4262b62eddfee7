//! Folders that a command is about to write to, looked at before it does anything else: whoever waited for an
//! index or an installation does not want to hear at the end that there was no room for what came of it.

use std::io::{self, Write as _};
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{Exit, Stopped};
use bench_isolate::isolate::temp_dir;
use bench_isolate::room;
use bench_isolate::text::shell_word;

/// Whether temporary files can be made.
pub fn temporary() -> Result<(), Stopped> {
    let folder = temp_dir();
    let wrong = |why: &dyn std::fmt::Display| {
        let limit = room::limit(&why.to_string());
        let text = format!("there is no room for temporary files in {}: {why}", shell_word(&folder));
        // Said only where it helps.
        let plain = Path::new("/tmp");
        let elsewhere = match folder != plain && tempfile::tempfile_in(plain).is_ok() {
            true => "export TMPDIR=/tmp, or another folder that is there and that you may write",
            false => "set TMPDIR to a folder that is there and that you may write",
        };
        Stopped::new(Exit::Output, text, limit.unwrap_or_else(|| elsewhere.to_owned()))
    };
    if folder.to_str().is_none() {
        return Err(wrong(&"the path is not UTF-8, as runtimes and plugins get it"));
    }
    // Looking at it would not tell of a full disk, nor would an empty file.
    let tried = tempfile::tempfile_in(&folder).and_then(|mut file| file.write_all(&[0; 1 << 16]));
    tried.map_err(|cause| wrong(&cause))
}

/// Whether results can be put into `folder`, which `flag` names. Nothing is made: a command that fails for
/// another reason is to leave nothing behind.
pub fn output(folder: &Path, flag: &str) -> Result<(), Stopped> {
    kept("results", folder, &format!("name a folder that you may write with {flag}"))
}

/// Whether environments can be made in `folder`, which is below the user's data directory.
pub fn environments(folder: &Path) -> Result<(), Stopped> {
    kept("environments", folder, "set BENCH_DATA_DIR to a folder that you may write")
}

fn kept(what: &str, folder: &Path, remedy: &str) -> Result<(), Stopped> {
    writable(folder).map_err(|cause| {
        let text = format!("{what} cannot be written to {}: {cause}", shell_word(folder));
        Stopped::new(Exit::Output, text, remedy)
    })
}

/// Whether `folder` can be written, or made where it is not there yet.
fn writable(folder: &Path) -> io::Result<()> {
    let folder = std::path::absolute(folder)?;
    for place in folder.ancestors() {
        match place.metadata() {
            Ok(found) if !found.is_dir() => return Err(io::ErrorKind::NotADirectory.into()),
            Ok(_) => return Ok(accessat(CWD, place, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?),
            // Nobody could make a folder where a link points to nothing.
            Err(cause) if cause.kind() != io::ErrorKind::NotFound || place.is_symlink() => return Err(cause),
            Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_folder_that_can_be_made_is_as_good_as_one_that_is_there_and_is_not_made() {
        let here = tempfile::tempdir().unwrap();
        let folder = here.path().join("a/b");
        writable(&folder).unwrap();
        assert!(!here.path().join("a").exists());
        writable(here.path()).unwrap();
    }

    #[test]
    fn a_file_or_a_link_to_nothing_in_the_way_is_said() {
        let here = tempfile::tempdir().unwrap();
        std::fs::write(here.path().join("file"), "").unwrap();
        for place in ["file", "file/below"] {
            let cause = writable(&here.path().join(place)).unwrap_err();
            assert_eq!(cause.kind(), io::ErrorKind::NotADirectory, "{place}");
        }
        symlink("/nonexistent/x", here.path().join("link")).unwrap();
        assert_eq!(writable(&here.path().join("link")).unwrap_err().kind(), io::ErrorKind::NotFound);
        let stopped = output(&here.path().join("file"), "--output-dir").unwrap_err();
        assert_eq!((stopped.exit, stopped.remedy.ends_with("--output-dir")), (Exit::Output, true));
    }
}
