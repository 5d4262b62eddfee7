//! Whether a file may be loaded at all, decided by reading it and nothing else.
//!
//! `dlopen` runs a library's constructors before anything can be asked of it, so what can be known
//! beforehand is. The whole file is read into memory once: it is hashed and inspected as the same
//! bytes, and a file that is truncated meanwhile cannot fault the host as a memory map would.
//!
//! Who could have written the file matters as much as what is in it. The file and the directory it
//! lies in must belong to the user or root and be writable by nobody else, a group that is theirs alone
//! excepted; behind a symbolic link that goes for both ends. Only the immediate directory is checked, and there a
//! sticky bit is no excuse: it stops others from replacing a plugin but not from adding one. Directories further up are
//! the user's business, so that a plugins folder under `/tmp` works.

mod group;
mod image;
mod mount;
mod refusal;
mod sealed;
#[cfg(test)]
mod tests;

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bench_record::canonical_json::sha256_hex;
use bench_record::found::odd_kind;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

pub use image::{Entry, Flaw, inspect, search_paths};
pub use mount::noexec;
pub use refusal::{Exposed, Refusal};
pub(crate) use sealed::{Sealed, seal};

use super::demand::Demand;
use super::discover::{Address, BackendName, Candidate};

/// Larger files are refused unread. Debug builds of real plugins stay below 100 MiB.
pub const LARGEST: u64 = 512 << 20;
/// The smallest ELF file that could export anything is larger.
pub const SMALLEST: u64 = 64;

/// A file that passed, in the state in which it passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vetted {
    /// Name, from the file's name.
    pub name: BackendName,
    /// The real file, every symbolic link resolved.
    pub path: PathBuf,
    /// SHA-256 in lower-case hex.
    pub sha256: String,
    /// How the library is entered.
    pub entry: Entry,
    /// How a command line reaches it.
    pub address: Address,
    /// Whether it looks for other libraries beside itself.
    pub(crate) looks_beside: bool,
    /// The bytes that were hashed, where the system keeps such.
    pub(crate) sealed: Option<Sealed>,
    /// The file itself is opened.
    pub(crate) by_path: bool,
    identity: Identity,
}

/// What changes when a file is replaced or rewritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Identity {
    fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
        }
    }
}

impl Vetted {
    /// Fails when the file is no longer the one that was vetted.
    ///
    /// # Errors
    /// [`Refusal::Changed`].
    pub fn still_the_same(&self) -> Result<(), Refusal> {
        let now = std::fs::metadata(&self.path).map_err(|cause| unreadable(&self.path, &cause))?;
        if Identity::of(&now) == self.identity {
            Ok(())
        } else {
            Err(Refusal::Changed { path: self.path.clone() })
        }
    }

    /// For a debugger, which knows symbols by files: the file itself is opened, whatever is in it by then.
    #[must_use]
    pub fn by_path(mut self) -> Self {
        self.by_path = true;
        self
    }

    /// The bytes that were vetted, from the file once more.
    ///
    /// # Errors
    /// [`Refusal::Changed`], or when it cannot be read.
    pub(crate) fn same_bytes(&self) -> Result<Vec<u8>, Refusal> {
        let (file, metadata) = open_regular(&self.path)?;
        let bytes = read(&self.path, file, metadata.size())?;
        match sha256_hex(&bytes) == self.sha256 {
            true => Ok(bytes),
            false => Err(Refusal::Changed { path: self.path.clone() }),
        }
    }
}

/// Decides whether `candidate` may be loaded.
///
/// # Errors
/// With the first reason not to.
pub fn vet(candidate: &Candidate) -> Result<Vetted, Refusal> {
    let given = candidate.path.as_path();
    let path = given.canonicalize().map_err(|cause| unreadable(given, &cause))?;
    // The path travels to the child as JSON.
    if path.to_str().is_none() {
        return Err(Refusal::PathNotText { path });
    }
    let before = directory_of(given);
    let before = before.canonicalize().map_err(|cause| unreadable(before, &cause))?;
    let mut directories = vec![before, directory_of(&path).to_owned()];
    directories.dedup();
    // All of them, so that one command mends what others can write.
    let mut exposed = Vec::new();
    for directory in &directories {
        let metadata = std::fs::metadata(directory).map_err(|cause| unreadable(directory, &cause))?;
        exposed.extend(exposure(directory, &metadata)?);
    }
    let (file, metadata) = open_regular(&path)?;
    exposed.extend(exposure(&path, &metadata)?);
    if !exposed.is_empty() {
        return Err(Refusal::WritableByOthers { places: exposed });
    }
    if let Some(mount) = noexec(&path) {
        return Err(Refusal::NoExec { path, mount });
    }
    let bytes = read(&path, file, metadata.size())?;
    let entry = inspect(&bytes).map_err(|flaw| Refusal::Image { path: path.clone(), flaw })?;
    let sha256 = sha256_hex(&bytes);
    if let Some(demand) = candidate.demand.as_ref().filter(|demand| !demand.met_by(&sha256)) {
        let (name, pinned) = (candidate.name.clone(), matches!(demand, Demand::Pinned(_)));
        return Err(Refusal::Untrusted { path, name, sha256, pinned });
    }
    let (name, address) = (candidate.name.clone(), candidate.address());
    // Without it a runner reads the file again, and compares.
    let sealed = Sealed::of(&bytes).ok();
    let looks_beside =
        search_paths(&bytes).is_ok_and(|paths| paths.iter().any(|path| path.contains("ORIGIN")));
    let identity = Identity::of(&metadata);
    Ok(Vetted { name, path, sha256, entry, address, looks_beside, sealed, by_path: false, identity })
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Opens without ever waiting: a FIFO would wait for a writer, so it is opened non-blocking, and
/// what was opened is what is judged.
fn open_regular(path: &Path) -> Result<(File, Metadata), Refusal> {
    // Opening a device can have effects of its own, hence a look before the leap as well.
    let before = std::fs::metadata(path).map_err(|cause| unreadable(path, &cause))?;
    regular(path, &before)?;
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags as i32).open(path);
    let file = file.map_err(|cause| unreadable(path, &cause))?;
    let metadata = file.metadata().map_err(|cause| unreadable(path, &cause))?;
    regular(path, &metadata)?;
    Ok((file, metadata))
}

fn regular(path: &Path, metadata: &Metadata) -> Result<(), Refusal> {
    match odd_kind(metadata) {
        None => Ok(()),
        Some(is) => Err(Refusal::NotAFile { path: path.to_owned(), is }),
    }
}

/// Fails when it belongs to somebody else; otherwise what lets others write it.
fn exposure(path: &Path, metadata: &Metadata) -> Result<Option<Exposed>, Refusal> {
    const EVERYBODY: u32 = 0o002;
    const GROUP: u32 = 0o020;
    let (us, root) = (rustix::process::geteuid().as_raw(), 0);
    if ![us, root].contains(&metadata.uid()) {
        return Err(Refusal::ForeignOwner { path: path.to_owned(), owner: metadata.uid() });
    }
    let mode = metadata.mode() & 0o7777;
    let by_group = mode & GROUP != 0 && !group::is_of_one(path, metadata.gid(), &[us, root]);
    Ok((mode & EVERYBODY != 0 || by_group).then(|| Exposed { path: path.to_owned(), mode }))
}

fn read(path: &Path, file: File, size: u64) -> Result<Vec<u8>, Refusal> {
    if !(SMALLEST..=LARGEST).contains(&size) {
        return Err(Refusal::Size { path: path.to_owned(), bytes: size });
    }
    let mut bytes = Vec::with_capacity(size as usize);
    // One byte more than expected, to notice a file that grows; never more, however it grows.
    let read = file.take(size + 1).read_to_end(&mut bytes).map_err(|cause| unreadable(path, &cause))?;
    if read as u64 != size {
        return Err(Refusal::Changed { path: path.to_owned() });
    }
    Ok(bytes)
}

fn unreadable(path: &Path, cause: &io::Error) -> Refusal {
    Refusal::Unreadable { path: path.to_owned(), cause: cause.to_string() }
}
