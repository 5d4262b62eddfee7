//! `bench backends pack`: the folder of a Python engine becomes one library.
//!
//! The library is a copy of the one that ships with bench, in which the reserved section is overwritten with what
//! [`read`] found in the folder. What comes out depends on the folder and on that library alone.

mod files;
mod kept;
mod manifest;

use std::path::{Path, PathBuf};

use bench_engine_package::{FILE, Package, section};
use bench_isolate::text::shell_word;
use object::read::{Object as _, ObjectSection as _};

pub use kept::kept;

/// The file that ships with bench, below `lib/`.
pub const LIBRARY: &str = "libbench_python_engine.so";

/// An engine could not be packed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct PackError {
    /// What is wrong, and where.
    pub message: String,
    /// What mends it; may be empty.
    pub remedy: String,
    /// Something could not be written, rather than the folder being wrong.
    pub is_output: bool,
}

impl PackError {
    fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: remedy.into(), is_output: false }
    }

    fn output(path: &Path, cause: &dyn std::fmt::Display, remedy: &str) -> Self {
        let message = format!("cannot write {}: {cause}", shell_word(path));
        Self { message, remedy: remedy.to_owned(), is_output: true }
    }
}

/// An engine that fits into a library.
#[derive(Debug, Clone, PartialEq)]
pub struct Engine {
    /// What it is made of.
    pub package: Package,
    section: Vec<u8>,
}

/// Whether `folder` is one of an engine.
#[must_use]
pub fn is_engine(folder: &Path) -> bool {
    folder.join(FILE).symlink_metadata().is_ok()
}

/// Reads the engine in `folder`.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn read(folder: &Path) -> Result<Engine, PackError> {
    let manifest = manifest::read(folder)?;
    let files = files::read(folder, &manifest)?;
    let package = Package { manifest, files };
    let section = section::of(&package).map_err(|_| files::too_large(folder, &package.files))?;
    Ok(Engine { package, section })
}

impl Engine {
    /// What its file has to be called.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("libbackend_{}.so", self.package.manifest.name)
    }

    /// Bytes of its sources.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.package.files.values().map(Vec::len).sum()
    }

    /// The plugin: the library in the file `shipped` with this engine in it.
    ///
    /// # Errors
    /// When that file cannot be read, or is not the library that ships with this bench.
    pub fn library(&self, shipped: &Path) -> Result<Vec<u8>, PackError> {
        let stage = "stage bench again (cargo xtask stage), or unpack its archive again";
        let wrong = |why: &dyn std::fmt::Display| {
            PackError::new(format!("{} cannot be used to pack engines: {why}", shell_word(shipped)), stage)
        };
        let mut library = std::fs::read(shipped).map_err(|cause| wrong(&cause))?;
        let place = reserved(&library).map_err(|why| wrong(&why))?;
        library[place].copy_from_slice(&self.section);
        Ok(library)
    }
}

/// Where the reserved section lies in the bytes of the library.
fn reserved(library: &[u8]) -> Result<std::ops::Range<usize>, String> {
    let file = object::File::parse(library).map_err(|cause| cause.to_string())?;
    let found = file.section_by_name(section::NAME).and_then(|found| found.file_range());
    let (start, size) = found.ok_or("it has no section for an engine")?;
    let range = start as usize..(start + size) as usize;
    match library.get(range.clone()) {
        Some(bytes) if bytes == section::empty() => Ok(range),
        Some(bytes) if bytes.len() == section::SIZE => Err("there is an engine in it already".to_owned()),
        _ => Err("its section for an engine is of another bench".to_owned()),
    }
}

/// Writes a plugin so that it can be loaded: others may not change it, whatever the umask.
///
/// # Errors
/// When it cannot be written. What was there before then still is.
pub fn write(path: &Path, library: &[u8]) -> Result<(), PackError> {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    let written = bench_record::atomic::write_with(path, |file| {
        let io = bench_record::Error::io("write", path);
        let mode = std::fs::Permissions::from_mode(0o755);
        file.write_all(library).and_then(|()| file.set_permissions(mode)).map_err(io)
    });
    written.map_err(|cause| PackError {
        message: cause.to_string(),
        remedy: "name a file that you may write with -o".to_owned(),
        is_output: true,
    })
}

/// Where the plugin of `engine` goes when the user names `given`, or nothing.
///
/// # Errors
/// When the file that is named is not called as a plugin of this engine must be.
pub fn output(engine: &Engine, given: Option<&Path>) -> Result<PathBuf, PackError> {
    let name = engine.file_name();
    match given {
        None => Ok(PathBuf::from(name)),
        Some(folder) if folder.is_dir() => Ok(folder.join(name)),
        Some(file) if file.file_name().is_some_and(|given| *given == *name) => Ok(file.to_owned()),
        Some(file) => {
            let message = format!(
                "{} is not what the plugin of this engine must be called: users type `{}`, and find it by its file",
                shell_word(file),
                engine.package.manifest.name
            );
            Err(PackError::new(message, format!("-o {}", shell_word(&file.with_file_name(name)))))
        }
    }
}

#[cfg(test)]
mod tests;
