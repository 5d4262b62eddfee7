//! Limits of the shell (`ulimit`) that are too small for bench: each is an error that names the limit, and never a
//! panic, a wait without end or the end of the process.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use bench_tests::bench;
use bench_tests::following::Following;
use bench_tests::rows::all_hold;
use bench_tests::skip::skip;
use tempfile::TempDir;

/// A flag of `ulimit`, and values.
const LIMITS: [(&str, &[u32]); 6] = [
    // The kernel counts all processes and threads of the user.
    ("u", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12]),
    ("n", &[4, 6, 8, 10, 12]),
    ("v", &[50_000, 200_000, 300_000]),
    ("f", &[0, 1, 8]),
    ("s", &[128, 512]),
    ("l", &[0]),
];

const COMMANDS: [&[&str]; 3] = [
    &["run", "--backend", "local", "--no-user-plugins", "--quick", "--workload", "null", "-o", "results"],
    &["backends", "list", "--no-user-plugins"],
    &["backends", "check", "local", "--no-user-plugins", "--only", "every-item-once"],
];

#[test]
fn a_limit_that_is_too_small_is_named_and_nothing_panics_or_waits_for_ever() {
    if !rustix::process::geteuid().is_root() {
        skip("only root can be a user without other processes", "");
        return;
    }
    let mut rows = Vec::new();
    for (flag, values) in LIMITS {
        let commands = values.iter().flat_map(|value| COMMANDS.map(|words| (flag, *value, words)));
        rows.extend(commands.zip(rows.len() as u32..).map(|(row, number)| (number, row)));
    }
    all_hold(&rows, |(number, (flag, value, words))| {
        let place = TempDir::new().unwrap();
        fs::set_permissions(place.path(), Permissions::from_mode(0o777)).unwrap();
        let command = bench(words);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -{flag} {value}; exec \"$0\" \"$@\"")]);
        shell.arg(command.get_program()).args(command.get_args()).current_dir(place.path());
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.env_remove("BENCH_PLUGINS_PATH").env_remove("RUST_BACKTRACE");
        shell
            .env("BENCH_DATA_DIR", place.path().join("data"))
            .env("BENCH_CACHE_DIR", place.path().join("cache"));
        // Each somebody else, or they would count as each other's.
        shell.env("TMPDIR", "/tmp").uid(61_000 + number).gid(61_000);
        let ended = Following::start(&mut shell).end();
        let said = String::from_utf8_lossy(&ended.stderr);
        let told = said.contains("error: ") && said.contains("try: ") && said.contains("ulimit -");
        match ended.status.code() {
            _ if said.contains("panicked at") => {}
            Some(0) => return Ok(()),
            Some(code) if code < 100 && told => return Ok(()),
            _ => {}
        }
        Err(format!("ulimit -{flag} {value}: {words:?}: {:?}\n{said}", ended.status))
    });
}
