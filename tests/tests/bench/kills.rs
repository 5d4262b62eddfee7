//! Commands that are killed at any moment: no file is torn, no record is lost, and the next command finds nothing in
//! its way and leaves nothing of what was half done. `cargo xtask kills` kills more often.

mod victims;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bench_tests::environments::User;
use bench_tests::following::Following;
use bench_tests::pairs::{files, text};
use bench_tests::{bench, eventually, folder, mark, marked, stderr, stdout, succeed};
use serde_json::Value;
use tempfile::TempDir;

use crate::resume::{is_temporary, is_whole, moments};
use victims::{VICTIMS, Victim};

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

impl Place {
    /// With what some of the commands read.
    fn new() -> Self {
        let temporary_folder = || TempDir::new().unwrap();
        let place =
            Self { root: folder(&[]), temporary: temporary_folder(), data: temporary_folder(), mark: mark() };
        let at = |name: &str| place.root.path().join(name);
        fs::rename(folder(&[("healthy", "healthy")]).keep(), at("plugins")).unwrap();
        fs::create_dir(at("packed")).unwrap();
        fs::create_dir(at("corpus")).unwrap();
        fs::write(at("corpus/corpus.jsonl"), "{\"_id\": \"d0\", \"title\": \"t\", \"text\": \"x y\"}\n")
            .unwrap();
        let queries = (0..40).map(|id| format!("{{\"_id\": \"q{id}\", \"text\": \"x {id}\"}}\n"));
        fs::write(at("corpus/queries.jsonl"), queries.collect::<String>()).unwrap();
        // It is unpacked into the cache.
        succeed(Command::new("gzip").arg(at("corpus/corpus.jsonl")));
        let engine = at("engine");
        succeed(&mut bench(&["backends", "new", "engine", "--lang", "python", "--dir", text(&engine)]));
        place
    }

    fn command(&self, victim: &Victim) -> Command {
        let words = victim.words(self.root.path());
        let mut command = bench(&words.iter().map(String::as_str).collect::<Vec<_>>());
        command.env("MARK", &self.mark).env("TMPDIR", self.temporary.path());
        command
            .env("BENCH_DATA_DIR", self.data.path())
            .env("BENCH_CACHE_DIR", self.root.path().join("cache"));
        command
    }

    fn does(&self, victim: &Victim) {
        let ended = self.command(victim).output().unwrap();
        let code = ended.status.code();
        let fine = code.is_some_and(|code| victim.ends.contains(&code));
        assert!(fine, "{} ended with {code:?}: {}", victim.name, stderr(&ended));
    }

    /// Every file that is there, under whatever name.
    fn files(&self) -> Vec<PathBuf> {
        let below = |folder: &TempDir| -> Vec<PathBuf> {
            files(folder.path()).into_iter().map(|file| folder.path().join(file)).collect()
        };
        [below(&self.root), below(&self.data)].concat()
    }

    /// What a command that was killed had only begun.
    fn unfinished(&self) -> Vec<PathBuf> {
        let is_unfinished = |file: &PathBuf| {
            let below = file.strip_prefix(self.root.path()).or(file.strip_prefix(self.data.path())).unwrap();
            let mut names = below.iter().map(|name| name.to_str().unwrap());
            is_temporary(file) || names.any(|name| HALF_DONE.iter().any(|half| name.starts_with(half)))
        };
        self.files().into_iter().filter(is_unfinished).collect()
    }

    /// Of a project; see [`Self::project`].
    fn is_source(&self, file: &Path) -> bool {
        ["engine", "project"].iter().any(|folder| file.starts_with(self.root.path().join(folder)))
    }

    /// The files of the project that `new` makes, if it is there.
    fn project(&self) -> Option<Vec<PathBuf>> {
        let folder = self.root.path().join("project");
        folder.exists().then(|| files(&folder))
    }

    /// The same of one that nobody was killed at.
    fn engine(&self) -> Vec<PathBuf> {
        files(&self.root.path().join("engine"))
    }

    fn records(&self) -> Vec<Value> {
        let results = self.files().into_iter().filter(|file| text(file).ends_with("unified_results.jsonl"));
        let lines = results.flat_map(|file| {
            fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
        });
        lines.map(|line| serde_json::from_str(&line).expect("a line is a record")).collect()
    }
}

/// How the names begin of what is to become an index, a vector file, a corpus, a project.
const HALF_DONE: [&str; 4] = [".unfinished", ".postings-", ".tmp", ".bench_"];

#[test]
fn a_command_that_is_killed_tears_nothing_and_is_in_nobodys_way() {
    let mut random = moments();
    let (run, pin) = (Victim::called("run"), Victim::called("pin"));
    // Where there are fewer than commands, they are others every time.
    let first = random.below(VICTIMS.len() as u32) as usize;
    for number in first..first + kills() {
        let victim = &VICTIMS[number % VICTIMS.len()];
        let place = Place::new();
        // There is something that could be lost.
        place.does(run);
        place.does(pin);
        let before = place.records();
        let phase = victim.phases.get(random.below(victim.phases.len().max(1) as u32) as usize);
        let longest = if phase.is_some() { 30_000 } else { 400_000 };
        let linger = Duration::from_micros(u64::from(random.below(longest)));
        println!("{}, killed {linger:?} into {phase:?}", victim.name);
        let mut child = Following::start(&mut place.command(victim));
        if let Some(phase) = phase {
            child.until(phase);
        }
        std::thread::sleep(linger);
        child.kill().unwrap();
        child.wait().unwrap();
        eventually("no process is left", || marked(&place.mark).is_empty());
        let unfinished = place.unfinished();
        let whole =
            place.files().into_iter().filter(|file| !unfinished.contains(file) && !place.is_source(file));
        whole.for_each(|file| is_whole(&file));
        assert!(place.project().is_none_or(|files| files == place.engine()), "half a project");
        place.does(victim);
        place.does(run);
        let after = place.records();
        assert!(before.iter().all(|record| after.contains(record)), "{}: a record is lost", victim.name);
        let left = place.unfinished();
        assert!(left.is_empty(), "{}: half written and still there: {left:?}", victim.name);
        let left: Vec<_> = fs::read_dir(place.temporary.path()).unwrap().flatten().collect();
        assert!(left.is_empty(), "{}: in the folder for temporary files: {left:?}", victim.name);
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
