//! Opening files that another process could have made: a plugin, another command, whoever can write the folder.
//!
//! Opening one must not wait, as a FIFO does for a writer, have no effect of its own, as a device may, and lead
//! nowhere else, as a symbolic link does; and whatever is read must have an end. What was opened is what is judged,
//! so that nothing can be put in its place between a look and the opening.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Which files are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// A symbolic link is followed.
    links: bool,
    /// Whoever it belongs to.
    anybodys: bool,
    /// More bytes than this are refused.
    largest: u64,
}

/// Why a file is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Odd {
    /// Something else than a regular file, with its article.
    #[error("it is {0}, not a regular file")]
    Kind(&'static str),
    /// No folder, where one is needed.
    #[error("it is not a folder")]
    NoFolder,
    /// It belongs to the user with this number.
    #[error("it belongs to user {0}, neither you nor root")]
    Owner(u32),
    /// It is larger than anything that is written there.
    #[error("it has {size} bytes, more than the {largest} that it may have")]
    Size {
        /// Bytes that it has at least.
        size: u64,
        /// Bytes that it may have.
        largest: u64,
    },
}

impl Odd {
    /// The reason in an error of [`Found`], if that is why it is one.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl From<Odd> for io::Error {
    fn from(odd: Odd) -> Self {
        Self::new(io::ErrorKind::InvalidInput, odd)
    }
}

impl Found {
    /// What a process of the user's left where only such a one can write: no link, and the user's or root's.
    pub const LEFT: Self = Self { links: false, anybodys: false, largest: u64::MAX };
    /// What lies in a folder that colleagues may share, under a name that is bench's: no link.
    pub const SHARED: Self = Self { links: false, anybodys: true, largest: u64::MAX };
    /// What the user named, or may have moved to a larger disk: a link is followed, and it may be anybody's.
    pub const NAMED: Self = Self { links: true, anybodys: true, largest: u64::MAX };

    /// The same, of at most `largest` bytes.
    #[must_use]
    pub const fn at_most(self, largest: u64) -> Self {
        Self { largest, ..self }
    }

    /// Opens the file at `path` for reading.
    ///
    /// # Errors
    /// When it cannot be opened, or is not such a file; see [`Odd::of`].
    pub fn open(self, path: &Path) -> io::Result<File> {
        self.open_with(OpenOptions::new().read(true), path)
    }

    /// Opens the file at `path` as `options` say.
    ///
    /// # Errors
    /// As [`Found::open`].
    pub fn open_with(self, options: &mut OpenOptions, path: &Path) -> io::Result<File> {
        if self.links && is_descriptor(path) {
            return options.open(path);
        }
        // A look before the leap as well: opening a device can have effects, a socket cannot be opened at all.
        match if self.links { path.metadata() } else { path.symlink_metadata() } {
            Ok(before) => self.judge(&before)?,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(cause),
        }
        let follow = if self.links { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = follow | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = options.custom_flags(flags.bits() as i32).open(path)?;
        self.judge(&file.metadata()?)?;
        Ok(file)
    }

    /// The whole content of the file at `path`.
    ///
    /// # Errors
    /// As [`Found::open`], or when it cannot be read.
    pub fn read(self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        let mut bytes = Vec::new();
        // It may grow while it is read.
        file.take(self.largest.saturating_add(1)).read_to_end(&mut bytes)?;
        match bytes.len() as u64 {
            size if size > self.largest => Err(Odd::Size { size, largest: self.largest }.into()),
            _ => Ok(bytes),
        }
    }

    fn judge(self, file: &Metadata) -> Result<(), Odd> {
        if let Some(kind) = odd_kind(file) {
            return Err(Odd::Kind(kind));
        }
        let owners = [rustix::process::geteuid().as_raw(), 0];
        if !self.anybodys && !owners.contains(&file.uid()) {
            return Err(Odd::Owner(file.uid()));
        }
        match file.len() {
            size if size > self.largest => Err(Odd::Size { size, largest: self.largest }),
            _ => Ok(()),
        }
    }
}

/// What it is, with its article, when it is no regular file.
#[must_use]
pub fn odd_kind(file: &Metadata) -> Option<&'static str> {
    let kind = file.file_type();
    Some(match () {
        () if kind.is_file() => return None,
        () if kind.is_symlink() => "a symbolic link",
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () if kind.is_block_device() || kind.is_char_device() => "a device",
        () => "something else",
    })
}

/// A pipe that the user's shell holds open, as in `bench compare <(zcat results.jsonl.gz)`: nobody else made it.
fn is_descriptor(path: &Path) -> bool {
    path.parent().is_some_and(|folder| folder == Path::new("/dev/fd") || folder == Path::new("/proc/self/fd"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    /// A folder with one of everything.
    fn place() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "four").unwrap();
        symlink(at("file"), at("link")).unwrap();
        symlink("/nowhere/x", at("broken")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        drop(std::os::unix::net::UnixListener::bind(at("socket")).unwrap());
        dir
    }

    fn said(found: Found, path: &Path) -> String {
        found.read(path).map_or_else(|error| error.to_string(), |bytes| format!("{} bytes", bytes.len()))
    }

    #[test]
    fn only_a_regular_file_is_opened_and_everything_else_is_named_without_waiting() {
        let dir = place();
        for (name, left, named) in [
            ("file", "4 bytes", "4 bytes"),
            ("link", "it is a symbolic link, not a regular file", "4 bytes"),
            ("fifo", "it is a FIFO, not a regular file", "it is a FIFO, not a regular file"),
            ("socket", "it is a socket, not a regular file", "it is a socket, not a regular file"),
            ("folder", "it is a directory, not a regular file", "it is a directory, not a regular file"),
        ] {
            let path = dir.path().join(name);
            assert_eq!((&*said(Found::LEFT, &path), &*said(Found::NAMED, &path)), (left, named));
        }
        assert_eq!(said(Found::NAMED, Path::new("/dev/null")), "it is a device, not a regular file");
        assert_eq!(Found::LEFT.open(&dir.path().join("gone")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn nothing_is_made_through_a_link_or_written_into_a_fifo() {
        let dir = place();
        let make = |name: &str| {
            let path = dir.path().join(name);
            Found::SHARED.open_with(OpenOptions::new().write(true).create(true), &path).map(drop)
        };
        assert!(make("new").is_ok() && dir.path().join("new").is_file());
        for name in ["link", "broken", "fifo"] {
            assert!(Odd::of(&make(name).unwrap_err()).is_some(), "{name}");
        }
    }

    #[test]
    fn a_file_may_have_so_many_bytes_and_no_more() {
        let dir = place();
        let file = dir.path().join("file");
        assert_eq!(said(Found::LEFT.at_most(4), &file), "4 bytes");
        let cause = "it has 4 bytes, more than the 3 that it may have";
        assert_eq!(said(Found::LEFT.at_most(3), &file), cause);
        // What has no size and no end.
        let endless = Found { links: true, anybodys: true, largest: 10 };
        assert!(said(endless, Path::new("/proc/self/status")).contains("more than the 10"));
    }

    #[test]
    fn somebody_elses_file_is_not_one_of_ours() {
        let dir = place();
        let file = dir.path().join("file");
        if std::os::unix::fs::chown(&file, Some(12_345), None).is_err() {
            eprintln!("skipped: only root can give a file away");
            return;
        }
        assert_eq!(said(Found::LEFT, &file), "it belongs to user 12345, neither you nor root");
        assert_eq!(said(Found::NAMED, &file), "4 bytes");
    }

    #[test]
    fn a_pipe_that_the_shell_holds_open_is_read() {
        let (read, write) = io::pipe().unwrap();
        io::Write::write_all(&mut &write, b"piped").unwrap();
        drop(write);
        let path = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&read));
        assert_eq!(said(Found::NAMED, Path::new(&path)), "5 bytes");
    }
}
