//! Which plugins the user vouches for, by the SHA-256 of their files.
//!
//! Two promises, kept in one file of the user's data directory. *Trusted*: with `--only-trusted`,
//! only files on the list are loaded. *Pinned*: whatever the flags, a backend of this name is loaded
//! from exactly this file content and no other. Both are enforced where a file is vetted, before any
//! of its code runs. The list is no defence against whoever can write it: that is the user.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::demand::Demand;
use super::discover::{BackendName, Candidate};
use super::room;
use super::text::shell_word;
use bench_record::found::{Found, Odd};
use bench_record::{OutputLock, atomic, bom, lock};

/// Name of the file below the data directory.
pub const FILE: &str = "trust.json";
/// Hundreds of thousands of plugins fit.
const LARGEST: u64 = 64 << 20;
/// As `--only-trusted`, for every command.
pub const ONLY_TRUSTED: &str = "BENCH_ONLY_TRUSTED";

/// What the user said about one name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// SHA-256 of trusted files, lower-case hex.
    #[serde(default)]
    pub trusted: Vec<String>,
    /// The only file that is loaded.
    #[serde(default)]
    pub pinned: Option<String>,
}

/// The list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    path: PathBuf,
    entries: BTreeMap<BackendName, Entry>,
}

/// The list cannot be used. Then nothing is loaded: it is there to refuse.
#[derive(Debug, thiserror::Error)]
#[error("the list of trusted plugins {}: {cause}", path.display())]
pub struct TrustError {
    pub path: PathBuf,
    pub cause: String,
    pub trouble: Trouble,
}

/// What is wrong with the list, as far as that decides what mends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// What is there is no list.
    Damaged,
    /// The disk takes no more. What the list says holds.
    Full,
    /// The system does not let us read or write it. What the list says holds.
    Refused,
    /// Another command is at it.
    Busy,
    /// Too many files are open. What the list says holds.
    Crowded,
}

impl Trouble {
    fn of(cause: &io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            // The kind has no name of its own yet.
            _ if [Errno::MFILE, Errno::NFILE]
                .iter()
                .any(|errno| cause.raw_os_error() == Some(errno.raw_os_error())) =>
            {
                Self::Crowded
            }
            _ => Self::Refused,
        }
    }
}

impl TrustError {
    /// What mends it. Removing the list would take back what the user said of plugins, so that is only for one that
    /// nobody can read any more.
    #[must_use]
    pub fn remedy(&self) -> String {
        let folder = shell_word(self.path.parent().unwrap_or(&self.path));
        // Another folder has another list: no answer where there is one already.
        let (kept, elsewhere) = match self.path.symlink_metadata() {
            Ok(_) => ("; the list is as it was", ""),
            Err(_) => ("", ", or set BENCH_DATA_DIR to another one"),
        };
        match self.trouble {
            Trouble::Damaged => format!("mend or remove {}", shell_word(&self.path)),
            Trouble::Full => format!("free some space on the disk of {folder}{elsewhere}{kept}"),
            Trouble::Refused => {
                format!("make {folder} a folder that you may read and write{elsewhere}{kept}")
            }
            Trouble::Crowded => {
                format!("{}{kept}", room::remedy(&self.cause, "").unwrap_or_default())
            }
            Trouble::Busy => "wait for the other command to end, then try again".to_owned(),
        }
    }
}

impl Trust {
    /// Reads the list below `data`; one that is not there is empty.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn load(data: &Path) -> Result<Self, TrustError> {
        let path = data.join(FILE);
        let entries = match Found::LEFT.at_most(LARGEST).read(&path) {
            // Below what is no folder there is no list either; whoever wants to write there will be told.
            Err(cause) if matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(BTreeMap::new())
            }
            Err(cause) if Odd::of(&cause).is_some() => Err((cause.to_string(), Trouble::Damaged)),
            Err(cause) => Err((cause.to_string(), Trouble::of(&cause))),
            Ok(bytes) => bom::json(&bytes).map_err(|cause| (cause.to_string(), Trouble::Damaged)),
        };
        match entries {
            Ok(entries) => Ok(Self { path, entries }),
            Err((cause, trouble)) => Err(TrustError { path, cause, trouble }),
        }
    }

    /// Changes the list below `data`, and keeps other commands from changing it meanwhile: each would write what it
    /// read and take back what the others said. Returns where it is, and what `change` did.
    ///
    /// # Errors
    /// When it cannot be read or written, or is damaged; it is then as it was.
    pub fn change<T>(data: &Path, change: impl FnOnce(&mut Self) -> T) -> Result<(PathBuf, T), TrustError> {
        let path = data.join(FILE);
        let _lock = OutputLock::acquire(data, lock::DEFAULT_WAIT).map_err(|cause| unkept(&path, &cause))?;
        let before = Self::load(data)?;
        let mut after = before.clone();
        let done = change(&mut after);
        if after != before {
            after.save()?;
        }
        Ok((path, done))
    }

    /// Tells candidates what they must be.
    pub fn demand(&self, candidates: &mut [Candidate], only_trusted: bool) {
        for candidate in candidates {
            let entry = self.entries.get(&candidate.name);
            let pinned = entry.and_then(|entry| entry.pinned.clone()).map(Demand::Pinned);
            let listed = || Demand::Trusted(entry.map(|entry| entry.trusted.clone()).unwrap_or_default());
            candidate.demand = pinned.or_else(|| only_trusted.then(listed));
        }
    }

    /// What is said about each name.
    pub fn entries(&self) -> impl Iterator<Item = (&BackendName, &Entry)> {
        self.entries.iter()
    }

    /// Puts a file on the list.
    pub fn trust(&mut self, name: &BackendName, sha256: &str) {
        let trusted = &mut self.entries.entry(name.clone()).or_default().trusted;
        if !trusted.iter().any(|known| known == sha256) {
            trusted.push(sha256.to_owned());
        }
    }

    /// Trusts a file, and no other of its name from now on.
    pub fn pin(&mut self, name: &BackendName, sha256: &str) {
        self.trust(name, sha256);
        self.entries.entry(name.clone()).or_default().pinned = Some(sha256.to_owned());
    }

    /// Forgets a name. False when nothing was known of it.
    pub fn forget(&mut self, name: &BackendName) -> bool {
        self.entries.remove(name).is_some()
    }

    fn save(&self) -> Result<(), TrustError> {
        let text = serde_json::to_vec_pretty(&self.entries).map_err(bench_record::Error::from);
        let written = text.and_then(|text| atomic::write(&self.path, &text));
        written.map_err(|cause| unkept(&self.path, &cause))
    }
}

fn unkept(path: &Path, cause: &bench_record::Error) -> TrustError {
    let trouble = match cause {
        bench_record::Error::Io { source, .. } => Trouble::of(source),
        bench_record::Error::Locked { .. } => Trouble::Busy,
        _ => Trouble::Refused,
    };
    TrustError { path: path.to_owned(), cause: cause.to_string(), trouble }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discover::Origin;

    fn candidate(name: &str) -> Candidate {
        let name = BackendName::parse(name).unwrap();
        Candidate { name, path: "x".into(), origin: Origin::Flag, source: None, demand: None }
    }

    #[test]
    fn a_list_reads_back_and_one_that_is_not_there_is_empty() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(Trust::load(data.path()).unwrap().entries().count(), 0);
        let name = BackendName::parse("ray").unwrap();
        Trust::change(data.path(), |trust| trust.trust(&name, "aa")).unwrap();
        Trust::change(data.path(), |trust| trust.pin(&name, "bb")).unwrap();
        let again = Trust::load(data.path()).unwrap();
        assert_eq!(
            again.entries[&name],
            Entry { trusted: vec!["aa".into(), "bb".into()], pinned: Some("bb".into()) }
        );
    }

    #[test]
    fn too_many_open_files_are_no_fault_of_the_list() {
        let error = io::Error::from_raw_os_error(Errno::MFILE.raw_os_error());
        let (trouble, cause) = (Trouble::of(&error), error.to_string());
        let remedy = TrustError { path: "/nowhere/trust.json".into(), cause, trouble }.remedy();
        assert!(remedy.contains("ulimit -n") && !remedy.contains("trust.json"), "{remedy}");
    }

    #[test]
    fn what_several_commands_say_at_once_is_all_kept() {
        let data = tempfile::tempdir().unwrap();
        let names: Vec<BackendName> =
            (0..16).map(|number| BackendName::parse(&format!("b{number}")).unwrap()).collect();
        std::thread::scope(|scope| {
            for name in &names {
                scope.spawn(|| Trust::change(data.path(), |trust| trust.pin(name, "aa")).unwrap());
            }
        });
        assert_eq!(Trust::load(data.path()).unwrap().entries().count(), names.len());
    }

    #[test]
    fn a_damaged_list_trusts_nobody() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join(FILE), "{\"ray\": {\"trusted\": \"all\"}}").unwrap();
        assert!(Trust::load(data.path()).is_err());
        // Nor is it replaced by a new one.
        let name = BackendName::parse("ray").unwrap();
        assert!(
            Trust::change(data.path(), |trust| trust.pin(&name, "aa")).unwrap_err().trouble
                == Trouble::Damaged
        );
        assert!(Trust::load(data.path()).is_err());
    }

    #[test]
    fn what_stands_in_the_place_of_the_list_trusts_nobody_and_is_not_waited_for() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join(FILE);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let error = Trust::load(data.path()).unwrap_err();
        assert!(error.to_string().ends_with("trust.json: it is a FIFO, not a regular file"), "{error}");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(Trust::load(data.path()).unwrap_err().cause.contains("symbolic link"));
    }

    #[test]
    fn a_list_that_cannot_be_written_is_never_to_be_removed() {
        for (trouble, mends) in [
            (Trouble::Full, "free some space on the disk of '/data dir'"),
            (Trouble::Refused, "make '/data dir' a folder that you may read and write"),
            (Trouble::Busy, "wait for the other command"),
        ] {
            let error = TrustError { path: "/data dir/trust.json".into(), cause: "why".into(), trouble };
            let remedy = error.remedy();
            assert!(remedy.starts_with(mends) && !remedy.contains("remove"), "{remedy}");
            let data = tempfile::tempdir().unwrap();
            std::fs::write(data.path().join(FILE), "{}").unwrap();
            let remedy = TrustError { path: data.path().join(FILE), ..error }.remedy();
            assert!(!remedy.contains("BENCH_DATA_DIR"), "another list has other pins: {remedy}");
        }
    }

    #[test]
    fn a_pin_holds_always_and_the_list_only_when_asked_for() {
        let data = tempfile::tempdir().unwrap();
        let mut trust = Trust::load(data.path()).unwrap();
        trust.pin(&BackendName::parse("pinned").unwrap(), "aa");
        trust.trust(&BackendName::parse("listed").unwrap(), "bb");
        let mut all = [candidate("pinned"), candidate("listed"), candidate("other")];
        trust.demand(&mut all, false);
        assert_eq!(all[0].demand, Some(Demand::Pinned("aa".into())));
        assert_eq!((&all[1].demand, &all[2].demand), (&None, &None));
        trust.demand(&mut all, true);
        let met = |candidate: &Candidate, sha: &str| {
            candidate.demand.as_ref().is_none_or(|demand| demand.met_by(sha))
        };
        assert!(met(&all[0], "aa") && !met(&all[0], "bb") && met(&all[1], "bb") && !met(&all[2], "aa"));
    }
}
