//! Commands that are killed at any moment: no file is torn, no record is lost, and the next command finds nothing in
//! its way and leaves nothing of what was half done. `cargo xtask kills` kills more often.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bench_tests::environments::User;
use bench_tests::following::Following;
use bench_tests::pairs::{files, text};
use bench_tests::{bench, eventually, mark, marked, stderr, stdout, succeed};
use serde_json::Value;
use tempfile::TempDir;

use crate::resume::{is_temporary, is_whole, moments};

/// How many there are, over all commands but `install`.
fn kills() -> usize {
    std::env::var("BENCH_KILLS").map_or(6, |number| number.parse().expect("a number"))
}

/// How many installations are killed.
fn killed_installations() -> usize {
    kills().div_ceil(VICTIMS.len())
}

/// Where one command and those after it work.
struct Place {
    root: TempDir,
    temporary: TempDir,
    data: TempDir,
    mark: String,
}

/// A command, what it announces before it does something, and how it may end where nobody kills it.
struct Victim {
    words: fn(&Path) -> Vec<String>,
    phases: &'static [&'static str],
    ends: &'static [i32],
}

const QUICK: &str = "--no-user-plugins --quick --workload null --verbose";
const RUN: &[&str] = &["phase: load", "phase: run", "phase: measure", "phase: write", "phase: write"];

fn words(text: &str, folder: &[(&str, PathBuf)]) -> Vec<String> {
    let mut all: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    folder.iter().for_each(|(flag, path)| all.extend([(*flag).to_owned(), path.display().to_string()]));
    all.retain(|word| !word.is_empty());
    all
}

const VICTIMS: [Victim; 6] = [
    Victim {
        words: |root| words(&format!("run --backend local {QUICK}"), &[("-o", root.join("out"))]),
        phases: RUN,
        ends: &[0],
    },
    Victim {
        words: |root| {
            words(
                &format!("sweep --backends local --parallelism 1,2 {QUICK}"),
                &[("--output-root", root.join("out"))],
            )
        },
        phases: RUN,
        ends: &[0],
    },
    Victim {
        words: |root| {
            let search = "capacity --backend local --slo p90=30s --trial 1 --precision 0.5";
            words(&format!("{search} {QUICK}"), &[("-o", root.join("out"))])
        },
        phases: RUN,
        ends: &[0, 1, 10],
    },
    Victim {
        words: |root| {
            words(&format!("soak --backend local --duration 1s {QUICK}"), &[("-o", root.join("out"))])
        },
        phases: RUN,
        ends: &[0, 1, 10],
    },
    Victim {
        words: |root| words("compare", &[("", root.join("out")), ("-o", root.join("report"))]),
        phases: &[],
        ends: &[0],
    },
    Victim { words: |_| words("backends pin local --no-user-plugins", &[]), phases: &[], ends: &[0] },
];

impl Place {
    fn new() -> Self {
        let folder = || TempDir::new().unwrap();
        Self { root: folder(), temporary: folder(), data: folder(), mark: mark() }
    }

    fn command(&self, victim: &Victim) -> Command {
        let words = (victim.words)(self.root.path());
        let mut command = bench(&words.iter().map(String::as_str).collect::<Vec<_>>());
        command.env("MARK", &self.mark).env("TMPDIR", self.temporary.path());
        command.env("BENCH_DATA_DIR", self.data.path());
        command
    }

    fn does(&self, victim: &Victim) {
        let ended = self.command(victim).output().unwrap();
        let code = ended.status.code();
        let fine = code.is_some_and(|code| victim.ends.contains(&code));
        assert!(fine, "{:?} ended with {code:?}: {}", (victim.words)(self.root.path()), stderr(&ended));
    }

    /// Every file that is there under its own name.
    fn files(&self) -> Vec<PathBuf> {
        let below = |folder: &TempDir| -> Vec<PathBuf> {
            files(folder.path()).into_iter().map(|file| folder.path().join(file)).collect()
        };
        [below(&self.root), below(&self.data)].concat()
    }

    fn records(&self) -> Vec<Value> {
        let results = self.files().into_iter().filter(|file| text(file).ends_with("unified_results.jsonl"));
        let lines = results.flat_map(|file| {
            fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
        });
        lines.map(|line| serde_json::from_str(&line).expect("a line is a record")).collect()
    }
}

#[test]
fn a_command_that_is_killed_tears_nothing_and_is_in_nobodys_way() {
    let mut random = moments();
    for number in 0..kills() {
        let victim = &VICTIMS[number % VICTIMS.len()];
        let place = Place::new();
        // There is something that could be lost.
        place.does(&VICTIMS[0]);
        place.does(&VICTIMS[5]);
        let before = place.records();
        let linger = Duration::from_micros(u64::from(random.below(30_000)));
        let phase = victim.phases.get(random.below(victim.phases.len().max(1) as u32) as usize);
        println!("{:?}, killed {linger:?} into {phase:?}", (victim.words)(Path::new("…")));
        let mut child = Following::start(&mut place.command(victim));
        if let Some(phase) = phase {
            child.until(phase);
        }
        std::thread::sleep(linger);
        child.kill().unwrap();
        child.wait().unwrap();
        eventually("no process is left", || marked(&place.mark).is_empty());
        let whole = place.files().into_iter().filter(|file| !is_temporary(file));
        whole.for_each(|file| is_whole(&file));
        place.does(victim);
        place.does(&VICTIMS[0]);
        let after = place.records();
        assert!(before.iter().all(|record| after.contains(record)), "a record is lost");
        let left: Vec<_> = place.files().into_iter().filter(|file| is_temporary(file)).collect();
        assert!(left.is_empty(), "half written and still there: {left:?}");
        let left: Vec<_> = fs::read_dir(place.temporary.path()).unwrap().flatten().collect();
        assert!(left.is_empty(), "in the folder for temporary files: {left:?}");
    }
}

/// What an installation says before it does something.
const INSTALLS: [&str; 4] = [
    "creating a virtual environment",
    "Processing ",
    "Installing collected packages",
    "Successfully installed",
];

#[test]
fn an_installation_that_is_killed_is_whole_or_none_and_the_next_command_clears_the_half_of_one() {
    let mut random = moments();
    for _ in 0..killed_installations() {
        let Some(user) = User::new() else { return };
        let (mark, temporary) = (mark(), TempDir::new().unwrap());
        let install = format!("exec bench backends install driven {}", user.flag());
        let shell = |script: &str| {
            let mut shell = user.shell(script);
            shell.env("MARK", &mark).env("TMPDIR", temporary.path());
            shell
        };
        let phase = INSTALLS[random.below(INSTALLS.len() as u32) as usize];
        let linger = Duration::from_micros(u64::from(random.below(100_000)));
        println!("an installation, killed {linger:?} into {phase:?}");
        let mut child = Following::start(&mut shell(&install));
        child.until(phase);
        std::thread::sleep(linger);
        child.kill().unwrap();
        child.wait().unwrap();
        eventually("no process is left", || marked(&mark).is_empty());
        let info = stdout(&succeed(&mut shell(&format!("bench backends info driven {}", user.flag()))));
        let installed = info.contains("available  yes");
        let left = user.environments();
        assert_eq!(left.len(), if installed { 2 } else { 0 }, "{left:?}, and it says: {info}");
        let left: Vec<_> = fs::read_dir(temporary.path()).unwrap().flatten().collect();
        assert!(left.is_empty(), "in the folder for temporary files: {left:?}");
        succeed(&mut shell(&install));
        succeed(&mut shell(&user.run()));
        assert_eq!(user.environments().len(), 2, "a link and what it leads to: {:?}", user.environments());
    }
}
