//! What a backend takes more of each time that it is created.

use std::time::{Duration, Instant};

use super::super::case::Case;
use super::super::growth::{Growth, TURNS_PER_LOOK, Taken, watch};
use super::super::{Area, Test, TestResult, Verdict};
use super::availability::footprint;
use super::child;
use bench_isolate::Error;
use bench_isolate::load::LoadedBackend;

pub const TESTS: [Test; 1] = [child(
    Area::Behaviour,
    "create-and-drop-do-not-grow",
    1,
    "Created and dropped over and over, the backend comes to take no more memory, threads or descriptors: what a runtime \
     sets up once is not held against it.",
    create_drop,
)];

/// How often a look that found more is repeated, because what is just ending is still counted.
const LOOKS: u32 = 15;

fn create_drop(case: &Case) -> TestResult {
    case.channel.phase("create and drop");
    let deadline = Instant::now() + case.request.time / 2;
    let mut last = taken();
    let look = || -> Result<Taken, Error> {
        for _ in 0..TURNS_PER_LOOK {
            let backend: Box<dyn LoadedBackend> = bench_isolate::load::load(&case.request.plugin, &|_| {})?;
            drop(backend);
        }
        let mut now = taken();
        for _ in 0..LOOKS {
            if now.threads <= last.threads && now.descriptors <= last.descriptors {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
            now = taken();
        }
        last = now;
        Ok(now)
    };
    Ok(match watch(look, || Instant::now() >= deadline)? {
        Growth::Ended => Verdict::Success,
        Growth::Steady(what) => Verdict::Failed(what),
        Growth::Unknown(looks) => Verdict::Skipped(format!(
            "{} times took all the time there was, too few to tell: see --timeout",
            looks * TURNS_PER_LOOK
        )),
    })
}

fn taken() -> Taken {
    let (threads, descriptors, _) = footprint();
    Taken { threads, descriptors, bytes: resident() }
}

/// Bytes of physical memory of this process.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}
