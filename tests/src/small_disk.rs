//! A file system that is soon full, seen by one command only.

use std::path::Path;
use std::process::Command;

use crate::skip::leave_out;

/// `command`, for which `size` bytes (as mount reads them: `64k`) can be put into `folder`, and of which the shell does
/// `before` in there first. `None` where nobody may mount anything.
#[must_use]
pub fn on_a_small_disk(command: &Command, folder: &Path, size: &str, before: &str) -> Option<Command> {
    let apart: &[&str] =
        if rustix::process::geteuid().is_root() { &["--mount"] } else { &["--map-root-user", "--mount"] };
    let script = r#"mount -t tmpfs -o size="$1" tmpfs "$0" || exit 199
        (cd "$0" && eval "$2") || exit 198
        shift 2
        exec "$@""#;
    let can =
        Command::new("unshare").args(apart).args(["mount", "-t", "tmpfs", "tmpfs"]).arg(folder).status();
    if !can.is_ok_and(|status| status.success()) {
        leave_out("unshare cannot mount a file system");
        return None;
    }
    let mut shell = Command::new("unshare");
    shell.args(apart).args(["sh", "-c", script]).arg(folder).args([size, before]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    Some(shell)
}

/// Uses up what room there is.
pub const FILL: &str = "head -c 100000000 /dev/zero > filled 2>/dev/null; true";
