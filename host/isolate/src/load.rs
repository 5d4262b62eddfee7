//! Opening a vetted library, in the child process.
//!
//! Everything behind [`LoadedBackend`] may come from another language: the rest of the host knows
//! this trait and nothing of the ABI. It is the ABI alone that decides whether a plugin loads: the version of the API
//! that it was compiled against is told, and never a reason to refuse.

mod c_v1;
mod image;
mod library;
mod rust_v1;

use bench_plugin_api::v1;

use super::vet::{Entry, Vetted};
use super::{Error, ErrorKind};
use image::Image;

/// A backend whose library is open.
pub trait LoadedBackend: Send + Sync {
    /// What it calls itself.
    fn name(&self) -> &str;
    /// The plugin API it was compiled against, by its own account.
    fn api_version(&self) -> &str;
    /// Its own version.
    fn plugin_version(&self) -> &str;
    /// The ABI it speaks, for people: `rust/1` or `c/1`.
    fn abi(&self) -> &'static str;
    /// Whether it can run here and now.
    fn availability(&self) -> v1::Availability;
    /// Runs the workload that `host` offers.
    ///
    /// # Errors
    /// Whatever ended the run early.
    fn run(&self, spec: v1::WorkloadSpec, host: v1::HostBox) -> Result<v1::RunResult, Error>;
    /// Calls an extension; `None` when the plugin has no such thing.
    fn extension(&self, id: &str, request: &str) -> Option<String>;
}

/// Opens a library. `phase` is told before each step that runs code of the plugin.
///
/// # Errors
/// When the file changed since, cannot be opened, speaks another version, cannot create its backend
/// or calls it by another name than its file.
pub fn load(vetted: &Vetted, phase: &dyn Fn(&str)) -> Result<Box<dyn LoadedBackend>, Error> {
    let changed =
        |refusal: super::vet::Refusal| Error::new(ErrorKind::Invalid, refusal.cause(), refusal.remedy());
    vetted.still_the_same().map_err(changed)?;
    let image = Image::of(vetted)?;
    let backend: Box<dyn LoadedBackend> = match vetted.entry {
        Entry::RustV1 => Box::new(rust_v1::RustV1::load(&image, phase)?),
        Entry::CV1 => Box::new(c_v1::CV1::load(&image, phase)?),
    };
    if backend.name() != vetted.name.as_str() {
        let message = format!("its file is named `{}` but it calls itself `{}`", vetted.name, backend.name());
        let remedy =
            format!("rename the file to libbackend_{}, or correct the name in the plugin", backend.name());
        return Err(Error::new(ErrorKind::Invalid, message, remedy));
    }
    Ok(backend)
}

/// What the host makes of text that a C plugin writes in pieces; for fuzzing.
#[doc(hidden)]
pub fn text_of_a_c_plugin<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> String {
    c_v1::text_of(pieces)
}
