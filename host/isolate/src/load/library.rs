//! The one place that opens libraries.
//!
//! Every symbol is bound at once (`RTLD_NOW`): bound at its first use, one that is nowhere would end the process in
//! the middle of a run, or in a constructor before anything can be asked of the plugin. Its own symbols stay its own
//! (`RTLD_LOCAL`): two plugins may well define the same ones.

use std::mem::ManuallyDrop;
use std::path::Path;

use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};

use crate::text::shell_word;
use crate::{Error, ErrorKind};

/// An open library. It is never closed: its threads and thread-local destructors may outlive any object of ours.
pub(super) struct Library(ManuallyDrop<Handle>);

impl Library {
    /// Opens the library at `path`, whose constructors then run.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        // SAFETY: constructors do what they like, which is why a process of its own does this.
        match unsafe { Handle::open(Some(path), RTLD_NOW | RTLD_LOCAL) } {
            Ok(handle) => Ok(Self(ManuallyDrop::new(handle))),
            Err(error) => Err(cannot_open(path, &error)),
        }
    }

    /// The address of the symbol `name`, as a `T`; `None` when it is not exported.
    ///
    /// # Safety
    /// `T` is a pointer to what the library has under that name.
    pub(super) unsafe fn symbol<T: Copy>(&self, name: &str) -> Option<T> {
        // SAFETY: as this function's contract.
        unsafe { self.0.get::<T>(name) }.ok().map(|symbol| *symbol)
    }
}

/// The system's loader refused; its innermost words are the useful ones.
fn cannot_open(path: &Path, error: &dyn std::error::Error) -> Error {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let cause = cause.to_string();
    let remedy = mends(path, &cause);
    Error::new(ErrorKind::Incompatible, format!("the system cannot open it: {cause}"), remedy)
}

/// What mends what the loader complains of.
fn mends(path: &Path, cause: &str) -> String {
    let after = |words: &str| cause.split_once(words).map(|(_, rest)| rest);
    // Up to the end of a symbol's or a library's name.
    let name = |text: &str| text.split([',', ':', ' ', '\n']).next().unwrap_or_default().to_owned();
    if let Some(symbol) = after("undefined symbol: ").map(name) {
        let list = shell_word(path);
        return format!(
            "link the plugin with the library that defines {symbol}, and build it again (ldd -r {list} lists all that it lacks)"
        );
    }
    if cause.contains("cannot open shared object file") {
        let library = name(cause);
        return format!("install the library {library}, or name its folder in LD_LIBRARY_PATH");
    }
    if after("version `").is_some() && cause.contains("not found") {
        return "build the plugin on this machine, or on one whose libraries are no newer".to_owned();
    }
    if cause.contains("failed to map segment") {
        let library = name(cause);
        return format!("raise --memory-limit, or move {library} from a file system that is mounted noexec");
    }
    "build the plugin again, on this machine".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_complaint_of_the_loader_has_what_mends_it() {
        for (cause, remedy) in [
            ("/p/libbackend_x.so: undefined symbol: of_no_library", "defines of_no_library, and build"),
            ("/p/libbackend_x.so: undefined symbol: other, version FOO_2", "defines other, and build"),
            (
                "libfoo.so.1: cannot open shared object file: No such file or directory",
                "install the library libfoo.so.1, or",
            ),
            (
                "/lib/libc.so.6: version `GLIBC_2.99' not found (required by /p/libbackend_x.so)",
                "build the plugin on this machine, or on one whose libraries are no newer",
            ),
            ("libfoo.so: failed to map segment from shared object", "move libfoo.so from a file system"),
            ("/p/x.so: cannot enable executable stack", "build the plugin again"),
        ] {
            let found = mends(Path::new("/p/libbackend_x.so"), cause);
            assert!(found.contains(remedy), "{cause}: {found}");
        }
    }

    #[test]
    fn what_is_not_exported_is_not_found() {
        let library = Library::open(Path::new("libc.so.6")).unwrap();
        // SAFETY: nothing is done with the address.
        let found =
            unsafe { (library.symbol::<*const ()>("getpid"), library.symbol::<*const ()>("of_no_library")) };
        assert!(found.0.is_some() && found.1.is_none());
    }
}
