//! No room: a full disk, a quota, a limit on the size of files. The words are the system's, whoever repeats them: so
//! what mends it can be said of a plugin's own failure as well.

use std::io;
use std::path::Path;

use crate::temporary::temp_dir;
use crate::text::shell_word;

const FULL: [&str; 4] = ["No space left on device", "os error 28", "Disk quota exceeded", "os error 122"];
const TOO_LARGE: [&str; 2] = ["File too large", "os error 27"];
const READ_ONLY: [&str; 2] = ["Read-only file system", "os error 30"];

/// What mends a failure for want of room for temporary files, if that is what an error, or else the last lines of what
/// was printed, says.
#[must_use]
pub fn remedy(error: &str, printed: &str) -> Option<String> {
    let near_the_end = printed.lines().rev().take(30).collect::<Vec<_>>().join("\n");
    of(error, &temp_dir()).or_else(|| of(&near_the_end, &temp_dir()))
}

/// The same of the files in `folder`.
fn of(text: &str, folder: &Path) -> Option<String> {
    let says = |words: &[&str]| words.iter().any(|words| text.contains(words));
    let shown = shell_word(folder);
    if says(&FULL) {
        return Some(format!(
            "free some space on the disk of {shown}, or set TMPDIR to a folder on another one"
        ));
    }
    if says(&TOO_LARGE) {
        return Some("raise the limit on the size of files: ulimit -f unlimited".to_owned());
    }
    says(&READ_ONLY).then(|| format!("set TMPDIR to a folder that you may write; it is {shown} now"))
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
    fn what_was_said_long_before_the_end_is_not_the_cause() {
        assert!(remedy("", "No space left on device\nValueError: x\n").is_some());
        assert_eq!(remedy("", &format!("No space left on device\n{}", "another line\n".repeat(40))), None);
    }
}
