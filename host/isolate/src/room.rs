//! No room: a full disk, a quota, a limit on the size of files, on how many are open, or on processes and threads. The
//! words are the system's, whoever repeats them: so what mends it can be said of a plugin's own failure as well.

use std::io;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

use crate::limits;
use crate::temporary::temp_dir;
use crate::text::shell_word;

const FULL: [&str; 4] = ["No space left on device", "os error 28", "Disk quota exceeded", "os error 122"];
const TOO_LARGE: [&str; 2] = ["File too large", "os error 27"];
const READ_ONLY: [&str; 2] = ["Read-only file system", "os error 30"];
const TOO_MANY_OPEN: [&str; 3] = ["Too many open files", "os error 24", "[Errno 24]"];
const NO_THREAD: [&str; 4] =
    [limits::NO_THREAD, "failed to spawn thread", "spawn worker thread", "can't start new thread"];
/// The system's word for it, which it has for other things as well, and for what it is said.
const AGAIN: [&str; 3] = ["Resource temporarily unavailable", "os error 11", "[Errno 11]"];
const STARTED: [&str; 3] = ["starting ", "process", "thread"];

/// What mends a failure for want of room, if that is what an error, or else the last lines of what
/// was printed, says.
#[must_use]
pub fn remedy(error: &str, printed: &str) -> Option<String> {
    let near_the_end = printed.lines().rev().take(30).collect::<Vec<_>>().join("\n");
    of(error, &temp_dir()).or_else(|| of(&near_the_end, &temp_dir()))
}

/// What mends a failure for a limit of the process (`ulimit`), if that is what an error says.
#[must_use]
pub fn limit(text: &str) -> Option<String> {
    let says = |words: &[&str]| words.iter().any(|words| text.contains(words));
    if says(&TOO_MANY_OPEN) {
        return Some(format!(
            "raise the limit on open files, which is {}: ulimit -n 4096",
            now(Resource::Nofile)
        ));
    }
    let none_started = |line: &str| {
        let says = |words: &[&str]| words.iter().any(|words| line.contains(words));
        says(&NO_THREAD) || says(&AGAIN) && says(&STARTED)
    };
    if text.lines().any(none_started) {
        let (processes, addresses) = (now(Resource::Nproc), now(Resource::As));
        return Some(format!(
            "raise the limit on processes and threads, which is {processes}: ulimit -u 4096    (or that on address \
             space, which is {addresses}: ulimit -v unlimited)"
        ));
    }
    says(&TOO_LARGE).then(|| "raise the limit on the size of files: ulimit -f unlimited".to_owned())
}

/// What mends a failure, where temporary files are made in `folder`.
fn of(text: &str, folder: &Path) -> Option<String> {
    let says = |words: &[&str]| words.iter().any(|words| text.contains(words));
    let shown = shell_word(folder);
    if says(&FULL) {
        return Some(format!(
            "free some space on the disk of {shown}, or set TMPDIR to a folder on another one"
        ));
    }
    let read_only =
        || says(&READ_ONLY).then(|| format!("set TMPDIR to a folder that you may write; it is {shown} now"));
    limit(text).or_else(read_only)
}

fn now(resource: Resource) -> String {
    getrlimit(resource).current.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
}

/// What mends that a temporary file cannot be made.
#[must_use]
pub fn for_temporary_files(cause: &io::Error) -> String {
    let other = || "set TMPDIR to a folder that is there and that you may write".to_owned();
    remedy(&cause.to_string(), "").unwrap_or_else(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_says_that_there_is_no_room_is_told_what_makes_some() {
        let full = "free some space on the disk of /t, or set TMPDIR to a folder on another one";
        for (text, mends) in [
            ("writing: No space left on device (os error 28)", Some(full)),
            ("OSError: [Errno 122] Disk quota exceeded: '/t/x'", Some(full)),
            (
                "File too large (os error 27)",
                Some("raise the limit on the size of files: ulimit -f unlimited"),
            ),
            ("Read-only file system", Some("set TMPDIR to a folder that you may write; it is /t now")),
            ("something else", None),
        ] {
            assert_eq!(of(text, Path::new("/t")).as_deref(), mends, "{text}");
        }
    }

    #[test]
    fn whoever_says_that_a_limit_is_met_is_told_which() {
        for (text, limit) in [
            ("starting /proc/self/exe: Resource temporarily unavailable (os error 11)", Some("ulimit -u")),
            ("RuntimeError: can't start new thread", Some("ulimit -u")),
            (
                "OS can't spawn worker thread: Resource temporarily unavailable (os error 11)",
                Some("ulimit -u"),
            ),
            ("a thread cannot be started", Some("ulimit -u")),
            // A socket that nobody wrote to in time.
            ("reading the answer: Resource temporarily unavailable (os error 11)", None),
            ("trust.json: Too many open files (os error 24)", Some("ulimit -n")),
            ("OSError: [Errno 24] Too many open files: 'x'", Some("ulimit -n")),
        ] {
            let said = of(text, Path::new("/t"));
            assert_eq!(limit.is_some(), said.is_some(), "{text}: {said:?}");
            assert!(said.unwrap_or_default().contains(limit.unwrap_or_default()), "{text}");
        }
    }

    #[test]
    fn what_was_said_long_before_the_end_is_not_the_cause() {
        assert!(remedy("", "No space left on device\nValueError: x\n").is_some());
        assert_eq!(remedy("", &format!("No space left on device\n{}", "another line\n".repeat(40))), None);
    }
}
