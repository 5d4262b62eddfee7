//! The one place that opens libraries.
//!
//! Every symbol is bound at once (`RTLD_NOW`): bound at its first use, one that is nowhere would end the process in
//! the middle of a run, or in a constructor before anything can be asked of the plugin. Its own symbols stay its own
//! (`RTLD_LOCAL`): two plugins may well define the same ones.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::ffi::{CString, c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::path::Path;

use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};

use super::image::Image;
use crate::text::shell_word;
use crate::{Error, ErrorKind};

/// An open library. It is never closed: its threads and thread-local destructors may outlive any object of ours.
pub(super) struct Library(ManuallyDrop<Handle>);

impl Library {
    /// Opens a library, whose constructors then run.
    pub(super) fn open(image: &Image) -> Result<Self, Error> {
        let Image { path, file, unsealed } = image;
        // Whoever reads the log of a run is to know that the file itself was opened.
        if let Some(why) = unsealed {
            eprintln!("[bench: {} is loaded from its file, not from sealed memory: {why}]", shell_word(file));
        }
        // SAFETY: constructors do what they like, which is why a process of its own does this.
        match unsafe { Handle::open(Some(path), RTLD_NOW | RTLD_LOCAL) } {
            Ok(handle) => Ok(Self(ManuallyDrop::new(named(handle, file)))),
            Err(error) => {
                let cause = cause_of(&error);
                // A system may run nothing from memory. Where that is not why, the file fails as well.
                match image.itself(&cause).filter(|_| cause.contains("failed to map segment")) {
                    Some(itself) => Self::open(&itself),
                    None => Err(cannot_open(
                        file,
                        &cause.replace(&*path.to_string_lossy(), &file.to_string_lossy()),
                    )),
                }
            }
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

/// What `dlinfo` gives, as far as it is public.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[repr(C)]
struct LinkMap {
    address: usize,
    name: *mut c_char,
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
// SAFETY: the signature is that of the C library that std links on every Linux.
unsafe extern "C" {
    fn dlinfo(handle: *mut c_void, request: c_int, info: *mut c_void) -> c_int;
}

/// Has the loader's list say that the library is `file`: what is opened by another path has no other way to find its
/// place (`dladdr`), and neither have backtraces and debuggers.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn named(handle: Handle, file: &Path) -> Handle {
    const LINK_MAP: c_int = 2;
    let raw = handle.into_raw();
    let mut map: *mut LinkMap = std::ptr::null_mut();
    let name = CString::new(file.as_os_str().as_encoded_bytes());
    // SAFETY: the handle is open, and for this request the answer is a pointer to its entry in the list.
    let found = unsafe { dlinfo(raw, LINK_MAP, (&raw mut map).cast()) } == 0 && !map.is_null();
    if let Ok(name) = name
        && found
    {
        // SAFETY: the entry lives as long as the library, which is for ever, and so does the name. The loader itself
        // only reads it, but for a library that is closed.
        unsafe { (*map).name = name.into_raw() };
    }
    // SAFETY: it is the handle that was taken apart above.
    unsafe { Handle::from_raw(raw) }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn named(handle: Handle, _: &Path) -> Handle {
    handle
}

/// The innermost words of the system's loader: those are the useful ones.
fn cause_of(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// The system's loader refused.
fn cannot_open(path: &Path, cause: &str) -> Error {
    let remedy = mends(path, cause);
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
        let (path, file) = ("libc.so.6".into(), "libc.so.6".into());
        let library = Library::open(&Image { path, file, unsealed: None }).unwrap();
        // SAFETY: nothing is done with the address.
        let found =
            unsafe { (library.symbol::<*const ()>("getpid"), library.symbol::<*const ()>("of_no_library")) };
        assert!(found.0.is_some() && found.1.is_none());
    }
}
