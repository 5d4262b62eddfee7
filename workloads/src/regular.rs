//! Opening files that another process could have made: waiting for nobody, as a FIFO would, without the effects that
//! opening a device may have, and only what is a regular file.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// What is said of everything else.
pub const NOT_REGULAR: &str = "it is not a regular file";

/// Opens a file that the user named, or moved to a larger disk: a link is followed.
///
/// # Errors
/// When it cannot be opened, or is no regular file.
pub fn named(path: &Path) -> io::Result<File> {
    open(File::options().read(true), path, true).map(|(file, _)| file)
}

/// Opens a file of bench's own: what it left there is no link.
///
/// # Errors
/// When it cannot be opened, or is no regular file.
pub fn own(options: &mut OpenOptions, path: &Path) -> io::Result<(File, Metadata)> {
    open(options, path, false)
}

fn open(options: &mut OpenOptions, path: &Path, links: bool) -> io::Result<(File, Metadata)> {
    let judge = |found: &Metadata| match found.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, NOT_REGULAR)),
    };
    // A look before the leap as well: a socket cannot be opened at all, and opening a device does something.
    match if links { path.metadata() } else { path.symlink_metadata() } {
        Ok(before) => judge(&before)?,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(cause),
    }
    let follow = if links { OFlags::empty() } else { OFlags::NOFOLLOW };
    let flags = follow | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = options.custom_flags(flags.bits() as i32).open(path)?;
    let found = file.metadata()?;
    judge(&found)?;
    Ok((file, found))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn what_is_no_regular_file_is_refused_and_not_waited_for() {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "text").unwrap();
        symlink(at("file"), at("link")).unwrap();
        mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        symlink(at("fifo"), at("link to a fifo")).unwrap();
        let own = |name: &str| own(File::options().read(true).write(true), &at(name)).map(drop);
        for odd in ["fifo", "link to a fifo", "."] {
            assert_eq!(named(&at(odd)).unwrap_err().to_string(), NOT_REGULAR, "{odd}");
            assert_eq!(own(odd).unwrap_err().to_string(), NOT_REGULAR, "{odd}");
        }
        assert!(named(&at("file")).is_ok() && named(&at("link")).is_ok() && own("file").is_ok());
        assert_eq!(own("link").unwrap_err().to_string(), NOT_REGULAR);
        assert_eq!(named(&at("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
