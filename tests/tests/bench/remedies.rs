//! What bench says to do about an error does away with it: each remedy is provoked, done as it is printed, and the
//! command that failed then succeeds. Remedies that a test cannot do stand in [`NOT_DONE_HERE`] with the reason.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output};

use bench_tests::environments::User;
use bench_tests::runtimes::runtimes;
use bench_tests::skip::leave_out;
use bench_tests::{folder, staged, stderr, stdout};
use tempfile::TempDir;

/// Somebody with plugins in a folder that has to be named, and a shell.
struct Someone {
    place: TempDir,
    plugins: TempDir,
}

impl Someone {
    fn with(plugins: &[(&str, &str)]) -> Self {
        Self { place: TempDir::new().unwrap(), plugins: folder(plugins) }
    }

    fn shell(&self, script: &str) -> Command {
        let path = std::env::var("PATH").unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).current_dir(self.place.path()).env("NO_COLOR", "1");
        shell.env("PATH", format!("{}:{path}", staged().join("bin").display()));
        shell.env("BENCH_DATA_DIR", self.place.path().join("data"));
        shell.env("BENCH_CACHE_DIR", staged().join("cache"));
        shell.env_remove("BENCH_PLUGINS_PATH").env_remove("RUST_BACKTRACE");
        shell
    }

    fn flag(&self) -> String {
        format!("--plugins-dir {}", self.plugins.path().display())
    }

    fn run(&self, backend: &str) -> String {
        format!("bench run --backend {backend} {} --workload null --num-tasks 20 -o results", self.flag())
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.plugins.path().join(format!("libbackend_{name}.so"))
    }

    /// `command` fails with `code`, the printed remedy is done in the same shell, and `command` succeeds.
    fn mends(&self, command: &str, code: i32, cause: &str) {
        let failed = self.shell(command).output().unwrap();
        let remedy = remedy(&failed, code, cause);
        done(&self.shell(&format!("{} && {command}", remedy)).output().unwrap(), &remedy);
    }
}

/// The command that a failed one prints. What follows it in parentheses is another way.
fn remedy(failed: &Output, code: i32, cause: &str) -> String {
    let said = stderr(failed) + &stdout(failed);
    assert_eq!(failed.status.code(), Some(code), "{said}");
    assert!(said.contains(cause), "{cause}: {said}");
    let line = said.split_once("try: ").expect(&said).1.lines().next().unwrap();
    let command = line.split("    (").next().unwrap();
    // Some say when to run it.
    let command = command.split_once("run: ").map_or(command, |(_, command)| command);
    command.trim().to_owned()
}

fn done(output: &Output, remedy: &str) {
    assert!(output.status.success(), "after `{remedy}`: {}{}", stdout(output), stderr(output));
}

#[test]
fn a_missing_environment_is_installed_for_a_plugin_wherever_it_was_found() {
    let Some(user) = User::new() else { return };
    let failed = user.type_in(&user.run());
    let install = remedy(&failed, 4, "there is no managed Python environment for `driven`");
    assert_eq!(install, format!("bench backends install driven {}", user.flag()));
    // Named in a variable, which may have been set for that one command, the folder is named all the same.
    let named = format!("export BENCH_PLUGINS_PATH={}", user.plugins.path().display());
    let run = "bench run --backend driven --workload null --num-tasks 20 -o results";
    assert_eq!(
        remedy(&user.type_in(&format!("{named}; {run}")), 4, "no managed Python environment"),
        install
    );
    for answer in ["list", "info driven", "info driven --json", "check driven --only every-item-once"] {
        let answer = stdout(&user.type_in(&format!("bench backends {answer} {}", user.flag())));
        let words = answer.split_whitespace().collect::<Vec<&str>>().join(" ");
        assert!(words.contains(&install), "{answer}");
    }
    done(&user.type_in(&format!("{install} && {}", user.run())), &install);
    done(&user.type_in(&format!("{named}; {run}")), &install);
}

#[test]
fn a_variable_that_names_no_fitting_python_is_unset_and_not_installed_over() {
    let Some(user) = User::new() else { return };
    let folder = user.place.path().display().to_string();
    fs::write(user.place.path().join("text"), "").unwrap();
    let wrongs = [
        ("/nope/python", "BENCH_PYTHON_DRIVEN names /nope/python, which is not there".to_owned()),
        ("no-such-python", "BENCH_PYTHON_DRIVEN names no-such-python, which is not on the PATH".to_owned()),
        (folder.as_str(), format!("BENCH_PYTHON_DRIVEN names {folder}, which is a directory")),
        ("./text", "BENCH_PYTHON_DRIVEN names ./text, which is not executable".to_owned()),
        ("python3", "(named by BENCH_PYTHON_DRIVEN)".to_owned()),
    ];
    let run = user.run();
    let with = |python: &str| format!("export BENCH_PYTHON_DRIVEN={python}");
    for (installed, (python, cause)) in
        [false, true].iter().flat_map(|is| wrongs.iter().map(move |wrong| (is, wrong)))
    {
        let failed = user.type_in(&format!("{}; {run}", with(python)));
        let remedy = remedy(&failed, 4, cause);
        let expected = if *installed {
            "unset BENCH_PYTHON_DRIVEN"
        } else {
            "unset BENCH_PYTHON_DRIVEN; bench backends install driven"
        };
        assert!(remedy.starts_with(expected) && remedy.contains("install") != *installed, "{remedy}");
        // Once is enough to install it.
        if *installed || *python == "python3" {
            done(&user.type_in(&format!("{}; {remedy} && {run}", with(python))), &remedy);
        }
    }
}

#[test]
fn an_environment_that_lost_a_package_or_its_python_is_installed_anew() {
    let Some(user) = User::new() else { return };
    done(&user.type_in(&format!("bench backends install driven {}", user.flag())), "install");
    let packages = fs::read_dir(user.venvs().join("driven/lib")).unwrap().next().unwrap().unwrap().path();
    fs::remove_dir_all(packages.join("site-packages/tiny-1.0.dist-info")).unwrap();
    let install = remedy(&user.type_in(&user.run()), 4, "needs the Python module `tiny`");
    done(&user.type_in(&format!("{install} && {}", user.run())), &install);
    fs::remove_dir_all(user.venvs().join("driven/bin")).unwrap();
    let install = remedy(&user.type_in(&user.run()), 4, "is broken");
    done(&user.type_in(&format!("{install} && {}", user.run())), &install);
}

#[test]
fn what_is_not_trusted_or_not_what_was_pinned_is_vouched_for_by_the_printed_command() {
    let someone = Someone::with(&[("healthy", "healthy")]);
    someone.mends(
        &format!("{} --only-trusted", someone.run("healthy")),
        8,
        "is not on the list of trusted files",
    );
    let pin = format!("bench backends pin healthy {}", someone.flag());
    done(&someone.shell(&pin).output().unwrap(), &pin);
    fs::OpenOptions::new()
        .append(true)
        .open(someone.file("healthy"))
        .map(|mut file| {
            std::io::Write::write_all(&mut file, b"another build").unwrap();
        })
        .unwrap();
    someone.mends(&someone.run("healthy"), 8, "is not the file that was pinned");
}

#[test]
fn what_others_may_write_is_closed_to_them_by_the_printed_command() {
    let someone = Someone::with(&[("healthy", "healthy")]);
    fs::set_permissions(someone.file("healthy"), Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(someone.plugins.path(), Permissions::from_mode(0o777)).unwrap();
    someone.mends(&someone.run("healthy"), 8, "can be written by others");
}

#[test]
fn a_plugin_on_a_file_system_without_execution_is_copied_or_the_file_system_mounted_anew() {
    let separate = ["--mount", "--user", "--map-root-user"];
    if !Command::new("unshare").args(separate).arg("true").status().is_ok_and(|status| status.success()) {
        return leave_out("unshare cannot make a mount of its own");
    }
    let someone = Someone::with(&[("healthy", "healthy")]);
    let mount = someone.place.path().join("mounted");
    fs::create_dir(&mount).unwrap();
    let (mount, healthy) = (mount.display(), someone.file("healthy"));
    let run = format!(
        "bench run --backend healthy --plugins-dir {mount} --workload null --num-tasks 20 -o results"
    );
    let prepare =
        format!("mount -t tmpfs -o noexec,mode=755 none {mount} && cp -p {} {mount}", healthy.display());
    let inside = |script: &str| {
        let shell = someone.shell(&format!("{prepare} && {script}"));
        let mut separated = Command::new("unshare");
        separated.args(separate).arg("sh").args(shell.get_args()).current_dir(someone.place.path());
        separated.envs(shell.get_envs().filter_map(|(name, value)| Some((name, value?))));
        separated.output().unwrap()
    };
    let failed = inside(&run);
    let command = remedy(&failed, 8, &format!("lies on {mount}, which is mounted noexec"));
    assert!(!stderr(&failed).contains("build"), "{}", stderr(&failed));
    // Whoever is root already needs no sudo, and may not have it.
    let mend = command.trim_start_matches("sudo ");
    assert_eq!(mend, format!("mount -o remount,exec {mount}"));
    done(&inside(&format!("{mend} && {run}")), mend);
    let elsewhere = format!(
        "mkdir elsewhere && cp -p {mount}/*.so elsewhere && {}",
        run.replace(&format!("{mount}"), "elsewhere")
    );
    done(&inside(&elsewhere), "copy it to a folder on another file system");
}

#[test]
fn a_file_of_somebody_else_is_made_ones_own() {
    let someone = Someone::with(&[("healthy", "healthy")]);
    if std::os::unix::fs::chown(someone.file("healthy"), Some(4711), None).is_err() {
        return leave_out("only root can give a file away");
    }
    let failed = someone.shell(&someone.run("healthy")).output().unwrap();
    let command = remedy(&failed, 8, "belongs to user 4711, neither you nor root");
    let own = command.split_once("sudo ").unwrap().1;
    done(&someone.shell(&format!("{own} && {}", someone.run("healthy"))).output().unwrap(), own);
}

#[test]
fn a_file_of_another_name_is_renamed() {
    let someone = Someone::with(&[("healthy", "other")]);
    let failed = someone.shell(&someone.run("other")).output().unwrap();
    let said = stderr(&failed);
    assert!(said.contains("rename the file to libbackend_healthy"), "{said}");
    fs::rename(someone.file("other"), someone.file("healthy")).unwrap();
    done(&someone.shell(&someone.run("healthy")).output().unwrap(), "rename the file");
}

#[test]
fn commands_that_only_look_do_what_they_are_named_for() {
    let someone = Someone::with(&[("hostile_c", "hostile_c")]);
    let shell = |script: &str| someone.shell(script).output().unwrap();
    let list = remedy(
        &shell(&someone.run("hostil_c")),
        3,
        "there is no backend `hostil_c`; did you mean `hostile_c`?",
    );
    assert_eq!(list, format!("bench backends list {}", someone.flag()));
    assert!(stdout(&shell(&list)).contains("hostile_c"));
    let drops = format!("HOSTILE=run:drop {}", someone.run("hostile_c"));
    let check = remedy(&shell(&drops), 6, "1 queries were never answered");
    let check = check.split(" (see ").next().unwrap().to_owned();
    let checked = shell(&format!("HOSTILE=run:drop {check} --only every-item-once"));
    assert_eq!(checked.status.code(), Some(14), "{}", stdout(&checked));
    assert!(stdout(&checked).contains("queries were never answered"), "{}", stdout(&checked));
    for (command, cause) in [
        ("bench workloads describe wl9", "wl9"),
        ("bench backends check local --only no-such-test", "no test matches --only no-such-test"),
        ("bench backends new 'My Engine'", "a name consists of"),
    ] {
        let command = remedy(&shell(command), 2, cause);
        done(&shell(&command), &command);
    }
}

#[test]
fn the_users_own_mistake_is_mended_as_its_message_says_and_is_nobody_elses() {
    let someone = Someone::with(&[]);
    let local = "bench run --backend local --workload null --num-tasks 20 -o results --nodes 2";
    let installed = std::env::var_os("BENCH_DATA_DIR").unwrap_or_default();
    let alone = runtimes(&["sage", "dask", "ray"]);
    let sage = "bench run --backend sage --workload null --num-tasks 20 -o results";
    let dask = "bench run --backend dask --workload null --num-tasks 20 -o results";
    let ray = "bench run --backend ray --workload null --num-tasks 20 -o results";
    let mistakes = [
        (local.to_owned(), "leave --nodes at 1", "--nodes 2", "--nodes 1"),
        (format!("{sage} --nodes 2"), "Leave --nodes at 1", "--nodes 2", "--nodes 1"),
        (format!("{sage} --scheduler random"), "fifo, load_aware, default", "random", "fifo"),
        (format!("{sage} --backend-option sage_engine=flw"), "flow", "=flw", "=flow"),
        (format!("{dask} --nodes 2"), "dask_address=tcp://HOST:PORT", "--nodes 2", "--nodes 1"),
        (format!("{ray} --backend-option ray_mode=actor"), "actors", "=actor", "=actors"),
        (format!("{ray} --backend-option ray_fusion=chain"), "chains", "=chain", "=chains"),
    ];
    let count = if alone.is_some() { mistakes.len() } else { 1 };
    for (command, advice, wrong, right) in &mistakes[..count] {
        let shell = |script: &str| someone.shell(script).env("BENCH_DATA_DIR", &installed).output().unwrap();
        let failed = shell(command);
        let said = stderr(&failed);
        assert_eq!(failed.status.code(), Some(2), "{said}");
        assert!(said.contains(advice) && !said.contains("author"), "{advice}: {said}");
        done(&shell(&command.replace(wrong, right)), advice);
    }
}

#[test]
fn settings_that_an_error_names_do_away_with_it() {
    let someone = Someone::with(&[("healthy", "healthy")]);
    let run = someone.run("healthy");
    fs::write(someone.place.path().join("file"), "").unwrap();
    let rows = [
        // The command, what its error says, and the command as it says.
        (format!("{run} --timeout 0.001"), "--timeout", format!("{run} --timeout 60")),
        (
            run.replace("-o results", "-o file/below"),
            "name a folder that you may write with --output-dir",
            run.clone(),
        ),
        (
            format!("{run} --plugins-dir nowhere"),
            "create it or correct --plugins-dir",
            format!("mkdir nowhere && {run} --plugins-dir nowhere"),
        ),
        (
            format!("{run} --warmup-items 20"),
            "--warmup-items must be below --num-tasks",
            format!("{run} --warmup-items 2"),
        ),
        (
            "mkdir my_engine; bench backends new my_engine".into(),
            "choose another folder with --dir",
            "bench backends new my_engine --dir elsewhere".into(),
        ),
        (
            "bench compare file".into(),
            "Run the workload again",
            format!("{run}; bench compare results -o compared"),
        ),
    ];
    for (command, says, mended) in rows {
        let failed = someone.shell(&command).output().unwrap();
        assert!(!failed.status.success() && stderr(&failed).contains(says), "{command}: {}", stderr(&failed));
        done(&someone.shell(&mended).output().unwrap(), says);
    }
}

#[test]
fn a_data_directory_that_cannot_be_is_replaced_by_one_that_can() {
    let Some(user) = User::new() else { return };
    fs::write(user.place.path().join("file"), "").unwrap();
    let install = format!("bench backends install driven {}", user.flag());
    let failed = user.type_in(&format!("BENCH_DATA_DIR=file/below {install}"));
    assert!(stderr(&failed).contains("set BENCH_DATA_DIR to a folder that you may"), "{}", stderr(&failed));
    done(&user.type_in(&format!("BENCH_DATA_DIR=folder {install}")), "set BENCH_DATA_DIR");
}

#[test]
fn a_link_to_nothing_among_plugins_is_put_right() {
    let someone = Someone::with(&[("healthy", "healthy")]);
    fs::rename(someone.file("healthy"), someone.plugins.path().join("kept")).unwrap();
    symlink("/nowhere/x", someone.file("healthy")).unwrap();
    let failed = someone.shell(&someone.run("healthy")).output().unwrap();
    assert!(stderr(&failed).contains("check that it exists and that you may read it"), "{}", stderr(&failed));
    fs::rename(someone.plugins.path().join("kept"), someone.file("healthy")).unwrap();
    done(&someone.shell(&someone.run("healthy")).output().unwrap(), "check that it exists");
}

/// Commands of ours that bench can print, and who does them as they are printed.
const COMMANDS: [(&str, &str); 16] = [
    ("bench backends check", "here"),
    ("bench backends info", NOT_DONE_HERE[0].0),
    ("bench backends install", "here"),
    ("bench backends list", "here"),
    ("bench backends list --plugins-dir", "engines.rs: the folder that is printed has the engine"),
    ("bench backends new", "here"),
    ("bench backends pack", "engines.rs: the same folder is packed again, into the same file"),
    ("bench backends pin", "here"),
    ("bench backends trust", "here"),
    ("bench backends check --list", "here"),
    ("bench compare", "no remedy: the command line in the log of a pair's comparison"),
    ("bench pair", "no remedy: the title of a schema"),
    ("bench pair --resume", "resume.rs: the printed command completes the pair"),
    ("bench run", "no remedy: whose flags a configuration file may hold"),
    ("bench sweep --resume", "load.rs: a sweep prints it and is resumed by it"),
    ("bench workloads list", "here"),
];

/// What is printed and not done by a test, and why.
const NOT_DONE_HERE: [(&str, &str); 9] = [
    (
        "see how long it needs: bench backends info NAME --timeout 120",
        "it measures, and takes ten seconds to provoke; `hostile.rs` provokes it",
    ),
    (
        "report this to the plugin's author",
        "said only where the plugin broke its own promises; `hostile.rs` provokes each",
    ),
    ("raise --memory-limit", "what wants memory without end gets none; `hostile.rs` provokes it"),
    (
        "check the limits on processes and descriptors (ulimit -a)",
        "the limits of the test's own user would be at stake",
    ),
    (
        "build the plugin as a `cdylib` and copy that file",
        "`listing.rs` provokes each flaw of a file; the fixtures are what comes of building it right",
    ),
    (
        "link the plugin with the library that defines SYMBOL",
        "`loader.rs` does what can be done without its author",
    ),
    (
        "rebuild the plugin against bench-plugin-api X",
        "`conformance.rs` provokes it; the fixtures are what comes of it",
    ),
    (
        "check the network and http_proxy, https_proxy and PIP_INDEX_URL",
        "a unit test of `install` provokes it; a test must not depend on the machine's network",
    ),
    (
        "make room, or set BENCH_DATA_DIR to a folder on another disk",
        "no test fills a disk; a unit test of `install` provokes it",
    ),
];

/// Every command of ours in a string of the sources is one that this file knows: a new remedy needs its test.
#[test]
fn every_command_that_is_printed_is_known_here() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut printed = BTreeSet::new();
    for folder in ["host", "plugins", "workloads", "plugin-api"] {
        collect(&root.join(folder), &mut printed);
    }
    let known: BTreeSet<String> = COMMANDS.iter().map(|(command, _)| (*command).to_owned()).collect();
    let unknown: Vec<&String> = printed.difference(&known).collect();
    let gone: Vec<&String> = known.difference(&printed).collect();
    assert!(unknown.is_empty() && gone.is_empty(), "unknown: {unknown:?}, gone: {gone:?}");
    assert!(NOT_DONE_HERE.iter().all(|(_, why)| why.len() > 20));
}

/// Commands in the string literals of Rust and Python files below `folder`, but for their tests.
fn collect(folder: &Path, printed: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name().into_string().unwrap();
        if path.is_dir() && !["target", "tests", "benches", "examples", "testdata"].contains(&name.as_str()) {
            collect(&path, printed);
        } else if name.ends_with(".rs") && name != "tests.rs" || name.ends_with(".py") {
            let text = fs::read_to_string(&path).unwrap();
            let product = text.split("#[cfg(test)]").next().unwrap();
            product
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .flat_map(by_campaign)
                .for_each(|line| commands(&line, printed));
        }
    }
}

/// What resumes a campaign is printed in one place, by the campaign's name.
fn by_campaign(line: &str) -> Vec<String> {
    const ANY: &str = "bench {} --resume";
    if !line.contains(ANY) {
        return vec![line.to_owned()];
    }
    ["pair", "sweep"].map(|name| line.replace(ANY, &format!("bench {name} --resume"))).into()
}

fn commands(line: &str, printed: &mut BTreeSet<String>) {
    const GROUPS: [&str; 2] = ["backends", "workloads"];
    const ALONE: [&str; 6] = ["pair", "sweep", "compare", "verify", "gate", "run"];
    for (at, _) in line.match_indices("bench ") {
        // Inside quotes, at the beginning or after a space; between backticks a command is only mentioned.
        let before = line[..at].chars().next_back();
        let inside = line[..at].matches('"').count() % 2 == 1 && before.is_none_or(|c| "\" ".contains(c));
        let mut words = line[at + 6..].split(|c: char| !(c.is_ascii_lowercase() || c == '-'));
        let (Some(first), second) = (words.next(), words.next().unwrap_or_default()) else { continue };
        let third = words.next().unwrap_or_default();
        if !inside {
            continue;
        }
        let command = match second {
            _ if GROUPS.contains(&first) && !second.is_empty() => {
                let flag = if third.starts_with("--") { format!(" {third}") } else { String::new() };
                format!("bench {first} {second}{flag}")
            }
            flag if ALONE.contains(&first) && flag.starts_with("--") => format!("bench {first} {flag}"),
            _ if ALONE.contains(&first) => format!("bench {first}"),
            _ => continue,
        };
        printed.insert(command);
    }
}
