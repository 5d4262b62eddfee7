//! The bytes that were vetted, kept where nobody can change them.
//!
//! A file can be written to in place between a look and the loading, and its times be put back: then its name, its
//! inode and its size say nothing of what is in it. So what was hashed goes into memory of the kernel that is sealed
//! for ever (`memfd_create(2)`), and that is what is loaded. The host makes it, when it vets the file; a runner opens
//! the host's, so that a file is read and hashed once for any number of calls.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Sealed memory, and where other processes of the user find it for as long as this one keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sealed {
    path: PathBuf,
    inode: u64,
    #[serde(skip)]
    _keeper: Option<Arc<OwnedFd>>,
}

/// What is the same memory; who keeps it does not matter.
impl PartialEq for Sealed {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, self.inode) == (&other.path, other.inode)
    }
}

impl Eq for Sealed {}

impl Sealed {
    /// Keeps `bytes` in this process.
    ///
    /// # Errors
    /// When the system has no such memory, or refuses it: before Linux 3.17, under `vm.memfd_noexec=2`, beyond a limit
    /// on the size of files.
    pub(crate) fn of(bytes: &[u8]) -> io::Result<Self> {
        let memory = seal(bytes)?;
        let inode = inode(&memory)?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd()).into();
        Ok(Self { path, inode, _keeper: Some(Arc::new(memory)) })
    }

    /// Opens it, in whichever process.
    ///
    /// # Errors
    /// When it cannot be opened, or something else is there now.
    pub(crate) fn open(&self) -> io::Result<OwnedFd> {
        let memory = OwnedFd::from(File::open(&self.path)?);
        if inode(&memory)? == self.inode && is_sealed(&memory) {
            return Ok(memory);
        }
        Err(io::Error::other(format!("{} is something else now", self.path.display())))
    }
}

fn inode(memory: &impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(memory)?.st_ino)
}

#[cfg(target_os = "linux")]
mod memory {
    use super::*;
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};

    const FOR_EVER: SealFlags =
        SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::SEAL);

    /// Puts `bytes` into memory that can be read and run, and never changed.
    pub(crate) fn seal(bytes: &[u8]) -> io::Result<OwnedFd> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let made = match memfd_create(c"bench-plugin", flags | MemfdFlags::EXEC) {
            // Before Linux 6.3 nobody has to say that it will be run.
            Err(rustix::io::Errno::INVAL) => memfd_create(c"bench-plugin", flags),
            made => made,
        };
        let mut memory = File::from(made?);
        memory.write_all(bytes)?;
        fcntl_add_seals(&memory, FOR_EVER)?;
        Ok(memory.into())
    }

    pub(super) fn is_sealed(memory: &OwnedFd) -> bool {
        fcntl_get_seals(memory).is_ok_and(|seals| seals.contains(FOR_EVER))
    }
}

#[cfg(not(target_os = "linux"))]
mod memory {
    use super::*;

    pub(crate) fn seal(_: &[u8]) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn is_sealed(_: &OwnedFd) -> bool {
        false
    }
}

use memory::is_sealed;
pub(crate) use memory::seal;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_reads_back_and_cannot_be_changed_by_anybody() {
        let sealed = Sealed::of(b"some bytes").unwrap();
        assert_eq!(std::fs::read(&sealed.path).unwrap(), b"some bytes");
        let mut written = File::options().write(true).open(&sealed.path).unwrap();
        assert!(written.write_all(b"other").is_err() && written.set_len(0).is_err());
        assert!(sealed.open().is_ok());
    }

    #[test]
    fn something_else_under_its_number_is_not_taken() {
        let sealed = Sealed::of(b"some bytes").unwrap();
        let other = Sealed::of(b"other bytes").unwrap();
        assert!(Sealed { path: other.path.clone(), ..sealed.clone() }.open().is_err());
        assert!(Sealed { path: "/dev/null".into(), ..sealed.clone() }.open().is_err());
        let travelled: Sealed = serde_json::from_str(&serde_json::to_string(&sealed).unwrap()).unwrap();
        assert!(travelled == sealed && travelled.open().is_ok());
        drop(sealed);
        assert!(travelled.open().is_err(), "it lasts as long as somebody keeps it");
    }
}
