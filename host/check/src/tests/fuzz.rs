//! Random specs, from the seed that the suite prints.

use std::time::Instant;

use bench_measure::workloads::random::{self, Stream};
use serde_json::json;

use super::super::case::Case;
use super::super::probe::Twist;
use super::super::trial::Trial;
use super::super::{Area, Test, TestResult, Verdict};
use super::behaviour::right_or_refused;
use super::child;
use bench_isolate::Error;

pub const TESTS: [Test; 2] = [
    child(
        Area::Fuzz,
        "random-specs",
        3,
        "Whatever the counts, sizes, hints and options, a run gives right answers or refuses by name; the seed repeats it.",
        specs,
    ),
    child(
        Area::Fuzz,
        "random-extensions",
        1,
        "Whatever is asked of extensions, the plugin answers or declines, and lives; the seed repeats it.",
        extensions,
    ),
];

/// Most specs that are tried; a slow runtime gets through fewer in its time.
const SPECS: u64 = 24;

fn specs(case: &Case) -> TestResult {
    case.with_ready(|backend| {
        let started = Instant::now();
        for round in 0..SPECS {
            // A third of the time, so that the last one, however slow, still ends in it.
            if round > 0 && started.elapsed() > case.request.time / 3 {
                break;
            }
            let trial = spec(case, &mut random::stream(case.seed(), "specs", round));
            if let Err(error) = right_or_refused(case, backend, &trial) {
                let spec = json!({
                    "round": round,
                    "num_tasks": trial.plan.num_tasks,
                    "parallelism": trial.plan.parallelism,
                    "parity_batch_size": trial.plan.parity_batch_size,
                    "max_in_flight": trial.plan.max_in_flight,
                    "scheduler": trial.plan.scheduler,
                    "shuffled": trial.twist == Twist::Shuffle,
                    "options": trial.extra,
                });
                return Err(Error { message: format!("{error} (with {spec})"), ..error });
            }
        }
        Ok(Verdict::Success)
    })
}

fn spec(case: &Case, random: &mut Stream) -> Trial {
    let items = [0, 1, 2, 15, 16, 17, 100, 257][random.below(8) as usize];
    let mut trial = Trial::null(case, items).parallel(1 + random.below(9));
    trial.plan.seed = u64::from(random.next_u32());
    trial.plan.parity_batch_size = 1 + random.below(40);
    trial.plan.max_in_flight = trial.plan.parity_batch_size + 1 + random.below(64);
    trial.plan.scheduler = ["fifo", "load_aware", "default"][random.below(3) as usize].into();
    if random.below(3) == 0 {
        trial.plan.scheduler = text(random, 20);
    }
    if random.below(2) == 0 {
        trial.twist = Twist::Shuffle;
    }
    // A prefix of its own, so that no setting of the plugin is hit by accident.
    trial.extra =
        (0..random.below(4)).map(|_| (format!("fuzz_{}", text(random, 10)), text(random, 200))).collect();
    trial
}

/// Up to `longest` characters, from planes where mistakes live.
fn text(random: &mut Stream, longest: u32) -> String {
    let planes = [(0x20, 0x5f), (0x00, 0x20), (0xa0, 0x100), (0x2020, 0x50), (0x1f300, 0x100)];
    (0..random.below(longest + 1))
        .filter_map(|_| {
            let (first, count) = planes[random.below(planes.len() as u32) as usize];
            char::from_u32(first + random.below(count))
        })
        .collect()
}

fn extensions(case: &Case) -> TestResult {
    let backend = case.load()?;
    case.channel.phase("extension");
    let mut random = random::stream(case.seed(), "extensions", 0);
    for _ in 0..200 {
        let id = match random.below(3) {
            0 => "bench.requirements/1".to_owned(),
            1 => format!("bench.{}/{}", text(&mut random, 12), random.below(5)),
            _ => text(&mut random, 40),
        };
        // Any answer will do.
        let _ = backend.extension(&id, &text(&mut random, 300));
    }
    Ok(Verdict::Success)
}
