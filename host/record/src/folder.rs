//! The folder that results go to, before anything is run: whatever would keep a record out of it is found out
//! while no work has been done that could be lost. The lock is tried and given back, so that runs into one folder
//! may go on side by side.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::found::Odd;
use super::lock::LOCKED_FILES;
use super::{Error, OutputLock, Result, atomic, jsonl};

/// The folder of all runs' own folders.
pub const RUNS: &str = "runs";

/// Whether records can be added to `directory`: it is there or can be made, can be locked within `wait` and
/// written, and all that it holds can be read. A folder that is not there is not made.
///
/// # Errors
/// What stands in the way, with file and line.
pub fn check(directory: &Path, wait: Duration) -> Result<()> {
    if !directory.exists() {
        return can_be_made(directory);
    }
    let lock = OutputLock::acquire(directory, wait)?;
    let results = lock.path(jsonl::FILE_NAME);
    if results.exists() {
        // Not only its last line: the CSV is made of all of them.
        jsonl::read(&results)?.try_for_each(|record| record.map(drop))?;
    }
    LOCKED_FILES.iter().try_for_each(|name| atomic::check(&lock.path(name)))?;
    let runs = directory.join(RUNS);
    if runs.symlink_metadata().is_err() {
        return Ok(());
    }
    // It may be a link to a larger disk, but not one to nothing.
    if !runs.is_dir() {
        return Err(Error::io("use", &runs)(Odd::NoFolder.into()));
    }
    // What a killed command had half written for one of its runs.
    let folders = fs::read_dir(&runs).map_err(Error::io("list", &runs))?.flatten();
    folders.for_each(|run| atomic::remove_leftovers(&run.path()));
    can_be_written(&runs)
}

/// Makes a folder for one run that nothing else has: `runs/<name>`, or, where that is taken by an earlier run or
/// by one that goes on beside it, `runs/<name>.2` and so on.
///
/// # Errors
/// When it cannot be made.
pub fn claim(directory: &Path, name: &str) -> Result<PathBuf> {
    let runs = directory.join(RUNS);
    fs::create_dir_all(&runs).map_err(Error::io("create", &runs))?;
    let mut folder = runs.join(name);
    let mut number = 2_u64;
    loop {
        match fs::create_dir(&folder) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
                folder = runs.join(format!("{name}.{number}"));
                number += 1;
            }
            made => return made.map(|()| folder.clone()).map_err(Error::io("create", &folder)),
        }
    }
}

/// How the files of one command are called that lie beside those of an earlier one: `name.json` where nobody has any of
/// them, otherwise all `name.2.json` and so on, so that they are told apart and nothing is overwritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbering(u64);

impl Numbering {
    /// The names as they are.
    pub const NONE: Self = Self(1);

    /// The first under which none of `names` is taken. It holds for as long as the lock does.
    #[must_use]
    pub fn free(lock: &OutputLock, names: &[&str]) -> Self {
        let mut numbering = Self::NONE;
        let taken = |name: &str| lock.path(name).symlink_metadata().is_ok();
        while names.iter().any(|name| taken(&numbering.of(name))) {
            numbering.0 += 1;
        }
        numbering
    }

    /// The name of a file.
    #[must_use]
    pub fn of(self, name: &str) -> String {
        match name.rsplit_once('.') {
            _ if self == Self::NONE => name.to_owned(),
            Some((stem, ending)) => format!("{stem}.{}.{ending}", self.0),
            None => format!("{name}.{}", self.0),
        }
    }
}

fn can_be_made(directory: &Path) -> Result<()> {
    let above = directory.ancestors().find(|above| above.exists()).unwrap_or(Path::new("."));
    if above.is_dir() {
        return can_be_written(above);
    }
    Err(Error::io("create", directory)(io::ErrorKind::NotADirectory.into()))
}

fn can_be_written(folder: &Path) -> Result<()> {
    tempfile::tempfile_in(folder).map(drop).map_err(Error::io("create a file in", folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::example;

    fn checked(directory: &Path) -> std::result::Result<(), String> {
        check(directory, Duration::ZERO).map_err(|error| error.to_string())
    }

    /// A folder with two records, of which the file is then changed.
    fn changed(change: impl Fn(&str) -> String) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        crate::save(dir.path(), &[example(), example()]).unwrap();
        let path = dir.path().join(jsonl::FILE_NAME);
        fs::write(&path, change(&fs::read_to_string(&path).unwrap())).unwrap();
        dir
    }

    #[test]
    fn a_folder_that_can_be_made_is_fine_and_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(checked(&dir.path().join("a/b")), Ok(()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(checked(dir.path()), Ok(()));
    }

    #[test]
    fn below_a_file_or_where_nothing_may_be_made_there_is_no_folder() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        for folder in [dir.path().join("file"), dir.path().join("file/below"), "/proc/nowhere".into()] {
            assert!(checked(&folder).is_err(), "{}", folder.display());
        }
    }

    #[test]
    fn any_line_that_is_no_record_is_named() {
        let torn = changed(|text| format!("{text}{}", &text[..60]));
        assert!(checked(torn.path()).unwrap_err().contains("unified_results.jsonl:3: not valid JSON"));
        let first = changed(|text| text.replacen("\"seed\"", "\"sowing\"", 1));
        assert!(checked(first.path()).unwrap_err().contains(":1: Missing required fields: seed"));
        let marked = changed(|text| format!("\u{feff}{text}"));
        assert_eq!(checked(marked.path()), Ok(()));
    }

    #[test]
    fn what_a_killed_run_had_half_written_is_cleared() {
        let dir = changed(str::to_owned);
        let run = claim(dir.path(), "r-local-0").unwrap();
        fs::write(run.join(".items.csv.123456.bench_tmp"), "query_id,o").unwrap();
        fs::write(run.join("run.log"), "why").unwrap();
        assert_eq!(checked(dir.path()), Ok(()));
        let left: Vec<_> = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["run.log"]);
    }

    #[test]
    fn a_folder_in_the_place_of_a_file_is_named() {
        let dir = changed(str::to_owned);
        fs::remove_file(dir.path().join("unified_results.csv")).unwrap();
        fs::create_dir(dir.path().join("unified_results.csv")).unwrap();
        assert!(checked(dir.path()).unwrap_err().contains("cannot replace"));
    }

    #[test]
    fn somebody_elses_lock_is_waited_for_and_our_own_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let held = OutputLock::acquire(dir.path(), Duration::ZERO).unwrap();
        assert!(checked(dir.path()).unwrap_err().contains("in use by another bench process"));
        drop(held);
        assert_eq!((checked(dir.path()), checked(dir.path())), (Ok(()), Ok(())));
    }

    #[test]
    fn files_of_one_command_have_one_number_and_take_nobodys_name() {
        let dir = tempfile::tempdir().unwrap();
        let lock = OutputLock::acquire(dir.path(), Duration::ZERO).unwrap();
        let names = || {
            let numbering = Numbering::free(&lock, &["a.json", "b.html"]);
            ["a.json", "b.html", "c"].map(|name| numbering.of(name))
        };
        assert_eq!(names(), ["a.json", "b.html", "c"]);
        fs::write(dir.path().join("b.html"), "").unwrap();
        assert_eq!(names(), ["a.2.json", "b.2.html", "c.2"]);
        // Whatever it is that has the name.
        fs::create_dir(dir.path().join("a.2.json")).unwrap();
        std::os::unix::fs::symlink("/nowhere/x", dir.path().join("a.3.json")).unwrap();
        assert_eq!(names(), ["a.4.json", "b.4.html", "c.4"]);
    }

    #[test]
    fn no_two_runs_have_one_folder() {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<String> = std::thread::scope(|scope| {
            let claims: Vec<_> =
                (0..4).map(|_| scope.spawn(|| claim(dir.path(), "ci-local-0").unwrap())).collect();
            let mut names: Vec<_> = claims
                .into_iter()
                .map(|claim| claim.join().unwrap().file_name().unwrap().to_str().unwrap().to_owned())
                .collect();
            names.sort();
            names
        });
        assert_eq!(names, ["ci-local-0", "ci-local-0.2", "ci-local-0.3", "ci-local-0.4"]);
    }
}
