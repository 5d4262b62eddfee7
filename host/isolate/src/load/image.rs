//! What the system's loader is given: the very bytes that were vetted, under a path that still says whose they are.
//!
//! Sealed memory has no folder. So after loading, the loader's own list gets the path of the file, for `dladdr`,
//! backtraces and debuggers; and a library that looks for others beside itself (`$ORIGIN`) is loaded from a private
//! folder of links: one to the sealed memory under the library's name, the others to its neighbours. The links live as
//! long as the process, and the warden removes them.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::temporary::{self, links_path};
use crate::vet::Vetted;
use crate::{Error, ErrorKind};

/// A library to open.
#[derive(Debug)]
pub(super) struct Image {
    /// What to hand to the loader.
    pub(super) path: PathBuf,
    /// The file that it is of.
    pub(super) file: PathBuf,
    /// Why it is the file itself, where it is.
    pub(super) unsealed: Option<String>,
}

/// Memory of libraries that this process opened, by the hash of their bytes: opened again, a library is the same one.
static OPENED: Mutex<Option<HashMap<String, (OwnedFd, PathBuf)>>> = Mutex::new(None);

impl Image {
    /// The bytes of a vetted file.
    ///
    /// # Errors
    /// When there are none: the file changed since, and what was vetted is nowhere else.
    pub(super) fn of(vetted: &Vetted) -> Result<Self, Error> {
        let file = vetted.path.clone();
        if vetted.by_path {
            return Ok(Self { path: file.clone(), file, unsealed: None });
        }
        match sealed(vetted) {
            Ok(path) => Ok(Self { path, file, unsealed: None }),
            Err(Unsealed::Changed(error)) => Err(error),
            Err(Unsealed::Impossible(cause)) => {
                Ok(Self { path: file.clone(), file, unsealed: Some(cause.to_string()) })
            }
        }
    }

    /// The same from the file itself, for a system that runs nothing from memory.
    pub(super) fn itself(&self, why: &str) -> Option<Self> {
        let sealed = self.path != self.file;
        sealed.then(|| Self {
            path: self.file.clone(),
            file: self.file.clone(),
            unsealed: Some(why.to_owned()),
        })
    }
}

enum Unsealed {
    Changed(Error),
    Impossible(io::Error),
}

impl From<io::Error> for Unsealed {
    fn from(cause: io::Error) -> Self {
        Self::Impossible(cause)
    }
}

fn sealed(vetted: &Vetted) -> Result<PathBuf, Unsealed> {
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let opened = opened.get_or_insert_default();
    if let Some((_, path)) = opened.get(&vetted.sha256) {
        return Ok(path.clone());
    }
    let memory = match vetted.sealed.as_ref().and_then(|sealed| sealed.open().ok()) {
        Some(memory) => memory,
        // The host has none, or it cannot be seen from here.
        None => {
            let refused = |refusal: crate::vet::Refusal| {
                Unsealed::Changed(Error::new(ErrorKind::Invalid, refusal.cause(), refusal.remedy()))
            };
            crate::vet::seal(&vetted.same_bytes().map_err(refused)?)?
        }
    };
    let link = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let path = if vetted.looks_beside { beside(&vetted.path, Path::new(&link))? } else { link.into() };
    opened.insert(vetted.sha256.clone(), (memory, path.clone()));
    Ok(path)
}

/// Makes the folder of links for the library in `file`, whose content is at `content`. Returns its path there.
fn beside(file: &Path, content: &Path) -> io::Result<PathBuf> {
    let folder = links_path(std::process::id());
    temporary::make(&folder)?;
    let (Some(own), Some(name)) = (file.parent(), file.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    symlink(content, folder.join(name))?;
    for neighbour in fs::read_dir(own)? {
        let neighbour = neighbour?.file_name();
        if neighbour != name {
            symlink(own.join(&neighbour), folder.join(&neighbour))?;
        }
    }
    Ok(folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_links_has_the_library_and_its_neighbours() {
        let plugins = tempfile::tempdir().unwrap();
        let file = plugins.path().join("libbackend_x.so");
        for name in ["libbackend_x.so", "libother.so"] {
            fs::write(plugins.path().join(name), name).unwrap();
        }
        let content = plugins.path().join("content");
        fs::write(&content, "what was vetted").unwrap();
        let library = beside(&file, &content).unwrap();
        assert_eq!(fs::read(&library).unwrap(), b"what was vetted");
        assert_eq!(fs::read(library.with_file_name("libother.so")).unwrap(), b"libother.so");
        fs::remove_dir_all(library.parent().unwrap()).unwrap();
    }
}
