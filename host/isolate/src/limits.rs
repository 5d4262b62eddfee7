//! Limits of the process (`ulimit`) that are too small for bench.
//!
//! Most of them are met where something fails, and [`crate::room`] says what mends it. Two cannot be answered by any
//! code of ours once they are met, a stack that overflows and an allocation that fails, so they are looked at before.
//! And threads that cannot be started are a panic in the standard library and in dependencies: what such a panic says
//! is told as the error that it is.

use std::any::Any;
use std::panic;

use rustix::process::{Resource, getrlimit};

/// Bytes of a stack that are enough for every command, in a build with debug information too.
const STACK: u64 = 1 << 20;
/// Bytes of address space below which not even the plugins can be looked at.
const ADDRESSES: u64 = 512 << 20;

/// What is too little for any command, as a cause and what mends it.
///
/// # Errors
/// When there is something.
pub fn enough() -> Result<(), (String, String)> {
    for (what, flag, resource, least, usual) in [
        ("stack", 's', Resource::Stack, STACK, "8192"),
        ("address space", 'v', Resource::As, ADDRESSES, "unlimited"),
    ] {
        if let Some(limit) = getrlimit(resource).current.filter(|limit| *limit < least) {
            let (has, needs) = (limit >> 10, least >> 10);
            return Err((
                format!("the limit on the {what} is {has} KiB (ulimit -{flag}), and bench needs {needs}"),
                format!("ulimit -{flag} {usual}"),
            ));
        }
    }
    Ok(())
}

/// What the standard library and Tokio say in a panic where they cannot start a thread.
const PANICS: [&str; 2] = ["failed to spawn thread", "can't spawn worker thread"];

/// What is said of it.
pub const NO_THREAD: &str = "a thread cannot be started";

/// What a panic says, if it is that a thread could not be started.
#[must_use]
pub fn no_thread(panic: &(dyn Any + Send)) -> Option<String> {
    let said =
        panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied())?;
    PANICS.iter().any(|words| said.contains(words)).then(|| NO_THREAD.to_owned())
}

/// Keeps panics of that kind from printing anything: whoever catches them says what they mean.
pub fn quiet() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if no_thread(info.payload()).is_none() {
            usual(info);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_panic_for_want_of_a_thread_is_told_as_one() {
        let said = |panic: Box<dyn Any + Send>| no_thread(&*panic);
        let lacking = Some(NO_THREAD.to_owned());
        assert_eq!(said(Box::new("failed to spawn thread: Os { code: 11 }".to_owned())), lacking);
        assert_eq!(said(Box::new("OS can't spawn worker thread: Resource temporarily unavailable")), lacking);
        assert_eq!(said(Box::new("index out of bounds")), None);
        assert_eq!(said(Box::new(7)), None);
    }

    #[test]
    fn what_a_test_runs_under_is_enough() {
        assert_eq!(enough(), Ok(()));
    }
}
