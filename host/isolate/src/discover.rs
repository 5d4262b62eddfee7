//! Which plugin files exist. Nothing here opens a file, so that a hostile one cannot matter yet.
//!
//! The search path is a value rather than a set of globals: the command line builds it once, tests
//! build their own. The first file of a name wins whatever is wrong with it: falling through to
//! another file of the same name would run code that the user did not expect.

mod address;
mod name;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use address::Address;
pub use name::{BackendName, UnknownBackend};

use super::demand::Demand;
use super::install::data_dir;
use super::text::{one_line, shell_word};

/// Directories besides the built-in ones, separated like `PATH`.
pub const PATH_VARIABLE: &str = "BENCH_PLUGINS_PATH";

const PREFIX: &str = "libbackend_";
const SUFFIX: &str = if cfg!(target_os = "macos") { ".dylib" } else { ".so" };

/// Why a directory is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// `--plugins-dir`.
    Flag,
    /// `BENCH_PLUGINS_PATH`.
    Environment,
    /// `plugins/` beside the executable, or beside its `bin/`.
    Executable,
    /// The user's data directory.
    User,
}

/// Where to look, in order.
#[derive(Debug, Clone, Default)]
pub struct SearchPath {
    places: Vec<Place>,
}

/// A directory to look into.
#[derive(Debug, Clone)]
struct Place {
    directory: PathBuf,
    origin: Origin,
    /// The folder that the user named, where what is looked at was made from it.
    source: Option<PathBuf>,
}

/// A plugin file by its name only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// What users type after `--backend`.
    pub name: BackendName,
    /// The file.
    pub path: PathBuf,
    /// Why its directory was searched.
    pub origin: Origin,
    /// The folder of the engine that the file was packed from just now.
    pub source: Option<PathBuf>,
    /// What the user demands of the file.
    pub demand: Option<Demand>,
}

impl Candidate {
    /// The plugin in the file at `path`, wherever that is.
    ///
    /// # Errors
    /// With what is wrong with the file's name.
    pub fn at(path: &Path) -> Result<Self, &'static str> {
        let stem = path.file_name().and_then(stem).ok_or("it is not libbackend_<name>.so")?;
        Ok(Self {
            name: BackendName::parse(&stem)?,
            path: path.to_owned(),
            origin: Origin::Flag,
            source: None,
            demand: None,
        })
    }

    /// The same, packed from the engine in `folder`.
    #[must_use]
    pub fn packed_from(self, folder: &Path) -> Self {
        Self { source: Some(folder.to_owned()), ..self }
    }

    /// How a command line reaches it.
    #[must_use]
    pub fn address(&self) -> Address {
        Address::of(self)
    }
}

/// What a search came to.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// One file per name, sorted by name.
    pub candidates: Vec<Candidate>,
    /// Files that an earlier directory hides, each with the file that wins.
    pub shadowed: Vec<(Candidate, PathBuf)>,
    /// Files that look like plugins but whose names are not allowed, escaped, with the reason.
    pub misnamed: Vec<(String, &'static str)>,
    /// Directories that could not be read, with the reason.
    pub skipped: Vec<(PathBuf, Origin, String)>,
}

/// A directory the user named cannot be searched.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot search the plugins directory {}: {cause}; create it or correct --plugins-dir",
    shell_word(path)
)]
pub struct Unsearchable {
    /// As the user gave it.
    pub path: PathBuf,
    /// What the system said.
    pub cause: io::Error,
}

impl SearchPath {
    /// The search path of this process: `flags` first, then environment, executable and user.
    #[must_use]
    pub fn of_this_process(flags: &[PathBuf], user_plugins: bool) -> Self {
        let user = data_dir().filter(|_| user_plugins);
        Self::new(
            flags,
            std::env::var_os(PATH_VARIABLE).as_deref(),
            std::env::current_exe().ok().as_deref(),
            user.as_deref(),
        )
    }

    /// The search path of a process with these flags, environment, executable and data directory.
    #[must_use]
    pub fn new(
        flags: &[PathBuf],
        variable: Option<&OsStr>,
        executable: Option<&Path>,
        user_data: Option<&Path>,
    ) -> Self {
        let mut directories: Vec<(PathBuf, Origin)> =
            flags.iter().map(|path| (path.clone(), Origin::Flag)).collect();
        // An empty entry means the current directory in PATH. Not here: too easy by accident.
        let listed = variable.map(std::env::split_paths).into_iter().flatten();
        let listed = listed.filter(|path| !path.as_os_str().is_empty());
        directories.extend(listed.map(|path| (path, Origin::Environment)));
        if let Some(folder) = executable.and_then(Path::parent) {
            let root = match folder.parent() {
                Some(root) if folder.file_name() == Some(OsStr::new("bin")) => root,
                _ => folder,
            };
            directories.push((root.join("plugins"), Origin::Executable));
        }
        directories.extend(user_data.map(|data| (data.join("plugins"), Origin::User)));
        let place = |(directory, origin)| Place { directory, origin, source: None };
        Self { places: directories.into_iter().map(place).collect() }
    }

    /// The same with each folder that the user named replaced by what `packed` makes of it; what it makes nothing of
    /// stays.
    ///
    /// # Errors
    /// The first of `packed`.
    pub fn with_packed<E>(mut self, packed: impl Fn(&Path) -> Result<Option<PathBuf>, E>) -> Result<Self, E> {
        let named = |place: &&mut Place| matches!(place.origin, Origin::Flag | Origin::Environment);
        for place in self.places.iter_mut().filter(named) {
            if let Some(directory) = packed(&place.directory)? {
                place.source = Some(std::mem::replace(&mut place.directory, directory));
            }
        }
        Ok(self)
    }

    /// The directories, in the order they are searched.
    pub fn directories(&self) -> impl Iterator<Item = (&Path, Origin)> {
        self.places.iter().map(|place| (place.directory.as_path(), place.origin))
    }

    /// Searches.
    ///
    /// # Errors
    /// When a directory given with `--plugins-dir` cannot be read. Others are noted and skipped;
    /// a missing default is not worth a note.
    pub fn survey(&self) -> Result<Survey, Unsearchable> {
        let mut survey = Survey::default();
        let mut winners: BTreeMap<BackendName, Candidate> = BTreeMap::new();
        let mut searched: Vec<PathBuf> = Vec::new();
        for place in &self.places {
            let Place { directory, origin, .. } = place;
            // The same directory twice, by whatever way, must not shadow itself.
            let real = directory.canonicalize().unwrap_or_else(|_| directory.clone());
            if searched.contains(&real) {
                continue;
            }
            match plugin_files(directory) {
                Ok(files) => files.into_iter().for_each(|file| survey.place(&mut winners, file, place)),
                Err(cause) if *origin == Origin::Flag => {
                    return Err(Unsearchable { path: directory.clone(), cause });
                }
                Err(cause) if cause.kind() == io::ErrorKind::NotFound && *origin != Origin::Environment => {}
                Err(cause) => survey.skipped.push((directory.clone(), *origin, cause.to_string())),
            }
            searched.push(real);
        }
        survey.candidates = winners.into_values().collect();
        Ok(survey)
    }
}

impl Survey {
    fn place(&mut self, winners: &mut BTreeMap<BackendName, Candidate>, path: PathBuf, place: &Place) {
        let stem = path.file_name().and_then(stem).unwrap_or_default();
        match BackendName::parse(&stem) {
            Err(reason) => self.misnamed.push((one_line(&path.to_string_lossy()), reason)),
            Ok(name) => {
                let (origin, source) = (place.origin, place.source.clone());
                let candidate = Candidate { name: name.clone(), path, origin, source, demand: None };
                match winners.get(&name) {
                    Some(winner) => self.shadowed.push((candidate, winner.path.clone())),
                    None => drop(winners.insert(name, candidate)),
                }
            }
        }
    }

    /// The candidate called `name`.
    ///
    /// # Errors
    /// With the names there are, and the one most like it.
    pub fn find(&self, name: &str) -> Result<&Candidate, UnknownBackend> {
        let found = self.candidates.iter().find(|candidate| candidate.name.as_str() == name);
        found.ok_or_else(|| UnknownBackend::new(name, self.candidates.iter().map(|c| c.name.as_str())))
    }
}

/// Entries of `directory` that are named like plugins, in a fixed order.
fn plugin_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        if stem(&name).is_some() {
            files.push(directory.join(name));
        }
    }
    files.sort();
    Ok(files)
}

/// What stands between the prefix and the suffix. Bytes that are not UTF-8 become U+FFFD, which no
/// name may contain, so such a file is reported and never loaded.
fn stem(file: &OsStr) -> Option<String> {
    let name = file.to_string_lossy();
    Some(name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.to_owned())
}
