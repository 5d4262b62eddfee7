//! The commands that write something, as they are killed.

use std::path::Path;

use bench_tests::pairs::text;

/// A command, what it announces before it does something, and how it may end where nobody kills it.
pub struct Victim {
    pub name: &'static str,
    /// Its words; [`ROOT`] is the folder for all that it reads and writes.
    words: &'static str,
    /// On standard error. What announces nothing is killed at any moment.
    pub phases: &'static [&'static str],
    pub ends: &'static [i32],
}

const ROOT: &str = "@";

impl Victim {
    pub fn words(&self, root: &Path) -> Vec<String> {
        self.words.split_whitespace().map(|word| word.replace(ROOT, text(root))).collect()
    }

    /// The one with this name.
    pub fn called(name: &str) -> &'static Self {
        VICTIMS.iter().find(|victim| victim.name == name).expect("it is in the table")
    }
}

/// What a run announces; most is written after the last of them.
const RUN: &[&str] = &["phase: load", "phase: run", "phase: measure", "phase: write", "phase: write"];
/// Without a preparation.
const INDEX: &[&str] = &["preparing vdb1", "preparing vdb2", "preparing window", "phase: write"];
const CORPUS: &[&str] = &["not judged", "preparing vdb", "preparing vdb.english.post", "phase: write"];
const NONE: &[&str] = &[];
/// What a machine that has much to do may come to.
const SEARCHED: &[i32] = &[0, 1, 10];

const fn victim(
    name: &'static str,
    words: &'static str,
    phases: &'static [&'static str],
    ends: &'static [i32],
) -> Victim {
    Victim { name, words, phases, ends }
}

/// `run` and `pin` are also what is done before and after each.
pub const VICTIMS: [Victim; 19] = [
    victim(
        "run",
        "run --backend local --no-user-plugins --quick --workload null --verbose -o @/out",
        RUN,
        &[0],
    ),
    victim(
        "index",
        "run --backend local --no-user-plugins --quick --workload wl1 --verbose -o @/out --cache-dir @/cache",
        INDEX,
        &[0],
    ),
    victim(
        "corpus",
        "run --backend local --no-user-plugins --corpus @/corpus --workload wl1 --verbose -o @/out \
         --cache-dir @/cache",
        CORPUS,
        &[0],
    ),
    victim("audit", "audit @/out --no-user-plugins --rounds 4 --verbose", RUN, &[0, 13, 15]),
    victim(
        "recover",
        "recover --backend local --no-user-plugins --quick --workload null --kill operator --duration 3s --verbose \
         -o @/out",
        RUN,
        &[0, 1, 10, 13],
    ),
    victim(
        "capacity",
        "capacity --backend local --slo p90=30s --trial 1 --precision 0.5 --no-user-plugins --quick --workload null \
         --verbose -o @/out",
        RUN,
        SEARCHED,
    ),
    victim(
        "pair",
        "pair --backends local,healthy --plugins-dir @/plugins --no-user-plugins --quick --workload null --verbose \
         --output-root @/out",
        RUN,
        &[0],
    ),
    victim(
        "sweep",
        "sweep --backends local --parallelism 1,2 --no-user-plugins --quick --workload null --verbose \
         --output-root @/out",
        RUN,
        &[0],
    ),
    victim(
        "soak",
        "soak --backend local --duration 1s --no-user-plugins --quick --workload null --verbose -o @/out",
        RUN,
        SEARCHED,
    ),
    victim("compare", "compare @/out -o @/report", NONE, &[0]),
    victim("check", "backends check local --no-user-plugins --only answers-are-right", NONE, &[0]),
    victim("verify", "verify @/out @/out", NONE, &[0]),
    victim("gate", "gate --baseline @/out @/out --junit @/junit.xml", NONE, &[0, 12, 13]),
    victim("pin", "backends pin local --no-user-plugins", NONE, &[0]),
    victim("trust", "backends trust healthy --plugins-dir @/plugins --no-user-plugins", NONE, &[0]),
    victim("untrust", "backends untrust local", NONE, &[0]),
    victim("list", "backends list --plugins-dir @/plugins --no-user-plugins", NONE, &[0]),
    victim("pack", "backends pack @/engine -o @/packed", NONE, &[0]),
    // The second time it is there.
    victim("new", "backends new mine --lang python --dir @/project", NONE, &[0, 2]),
];
