//! `bench backends install`: done, or not begun. Whoever interrupts it leaves nothing half, and nothing running.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};

use bench_tests::environments::User;
use bench_tests::{eventually, mark, marked, stderr, stdout, succeed};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

/// An installation of `user` that waits for a package from a server that never answers.
struct Waiting {
    install: Child,
    mark: String,
    temporary: TempDir,
    /// Dropped, it would let pip go on.
    _server: TcpListener,
}

fn waiting(user: &User) -> Waiting {
    let (server, mark) = (TcpListener::bind("127.0.0.1:0").unwrap(), mark());
    let temporary = TempDir::new().unwrap();
    let url = format!("tiny @ http://{}/tiny-1.0-py3-none-any.whl", server.local_addr().unwrap());
    let mut install = user.shell(&format!("exec bench backends install driven {}", user.flag()));
    install.env("DRIVEN_REQUIREMENT", url).env("MARK", &mark).env("TMPDIR", temporary.path());
    install.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let install = install.spawn().unwrap();
    // Pip has come as far as the network.
    server.accept().map(std::mem::forget).unwrap();
    Waiting { install, mark, temporary, _server: server }
}

fn info(user: &User) -> String {
    stdout(&succeed(&mut user.shell(&format!("bench backends info driven {}", user.flag()))))
}

#[test]
fn ctrl_c_ends_it_with_a_sentence_and_the_printed_command_does_it_again() {
    let Some(user) = User::new() else { return };
    let waiting = waiting(&user);
    kill_process_group(Pid::from_child(&waiting.install), Signal::INT).unwrap();
    let ended = waiting.install.wait_with_output().unwrap();
    let said = stderr(&ended);
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert!(
        said.contains("error: the installation for 'driven' was stopped; nothing was changed\n"),
        "{said}"
    );
    assert!(!said.contains("Traceback") && !said.contains("KeyboardInterrupt"), "{said}");
    assert_eq!(marked(&waiting.mark), [""; 0]);
    assert_eq!(user.environments(), [""; 0]);
    assert_eq!(fs::read_dir(waiting.temporary.path()).unwrap().count(), 0);
    assert!(info(&user).contains("available  no"));
    let again = said.split_once("try: ").unwrap().1.trim();
    assert_eq!(again, format!("bench backends install driven {}", user.flag()));
    succeed(&mut user.shell(again));
    assert!(info(&user).contains("available  yes"));
}

#[test]
fn a_killed_installation_leaves_nothing_running_and_nothing_that_counts() {
    let Some(user) = User::new() else { return };
    let mut waiting = waiting(&user);
    waiting.install.kill().unwrap();
    waiting.install.wait().unwrap();
    eventually("nothing is left running", || marked(&waiting.mark).is_empty());
    eventually("no temporary file is left", || fs::read_dir(waiting.temporary.path()).unwrap().count() == 0);
    assert_eq!(user.environments().len(), 1, "the half of one");
    // Any command that comes by removes it, and leaves alone what is being installed.
    let mut other = self::waiting(&user);
    assert!(info(&user).contains("available  no"));
    assert_eq!(user.environments().len(), 1, "that of the other installation: {:?}", user.environments());
    other.install.kill().unwrap();
    other.install.wait().unwrap();
    eventually("nothing is left running", || marked(&other.mark).is_empty());
    assert!(info(&user).contains("available  no"));
    assert_eq!(user.environments(), [""; 0]);
    succeed(&mut user.shell(&format!("bench backends install driven {}", user.flag())));
    assert!(info(&user).contains("available  yes"));
    assert_eq!(user.environments().len(), 2, "a link and what it leads to: {:?}", user.environments());
}

#[test]
fn what_was_installed_stays_when_the_next_installation_fails() {
    let Some(user) = User::new() else { return };
    let install = format!("bench backends install driven {}", user.flag());
    succeed(&mut user.shell(&install));
    let failed = user.shell(&install).env("DRIVEN_REQUIREMENT", "no-such-thing==1.0").output().unwrap();
    let said = stderr(&failed);
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(said.contains("error: pip could not install no-such-thing==1.0: ERROR: "), "{said}");
    succeed(&mut user.shell(&user.run()));
    assert_eq!(user.environments().len(), 2, "{:?}", user.environments());
}

#[test]
fn an_environment_whose_python_is_gone_is_called_broken_and_installed_anew() {
    let Some(user) = User::new() else { return };
    succeed(&mut user.shell(&format!("bench backends install driven {}", user.flag())));
    let python = user.venvs().join("driven/bin/python3");
    fs::remove_file(&python).unwrap();
    symlink("/gone/python3", &python).unwrap();
    let run = user.type_in(&user.run());
    let said = stderr(&run);
    assert_eq!(run.status.code(), Some(4), "{said}");
    assert!(said.contains("the managed Python environment of `driven` is broken: "), "{said}");
    assert!(said.contains("leads to /gone/python3, which is not there"), "{said}");
    let remedy = said.split_once("try: ").unwrap().1.trim();
    succeed(&mut user.shell(&format!("{remedy} && {}", user.run())));
}

#[test]
fn a_second_installation_at_the_same_time_is_refused() {
    let Some(user) = User::new() else { return };
    let mut first = waiting(&user);
    let second = user.type_in(&format!("bench backends install driven {}", user.flag()));
    assert!(
        stderr(&second).contains("another installation for 'driven' is under way"),
        "{}",
        stderr(&second)
    );
    kill_process_group(Pid::from_child(&first.install), Signal::INT).unwrap();
    first.install.wait().unwrap();
}

#[test]
fn an_interpreter_that_is_none_is_named_and_nothing_is_left() {
    let Some(user) = User::new() else { return };
    for (python, why) in [
        ("/no/python", "there is no Python interpreter '/no/python'"),
        ("/", "'/' cannot be started"),
        ("true", "'true' is not a Python interpreter"),
    ] {
        let failed =
            user.type_in(&format!("bench backends install driven {} --python {python}", user.flag()));
        let said = stderr(&failed);
        assert!(said.contains(why) && said.contains("name one with --python"), "{said}");
        assert_eq!(user.environments(), [""; 0]);
    }
    succeed(&mut user.shell(&format!("bench backends install driven {} --python python3", user.flag())));
}
