//! `is_available`: every command asks it first, often for many plugins at once.

use std::time::{Duration, Instant};

use bench_isolate::plugin_api::sdk::IS_AVAILABLE_FAILED;

use super::super::case::Case;
use super::super::{Area, Test, TestResult, Verdict, require};
use super::child;
use bench_isolate::offline;

pub const TESTS: [Test; 5] = [
    test(
        "availability-is-quick",
        "is_available answers within a second: a listing of all backends waits for the slowest.",
        quick,
    ),
    test(
        "availability-explains-itself",
        "Ready names the version of the runtime; not ready names what is missing and the command that mends it.",
        explains,
    ),
    test(
        "availability-is-idempotent",
        "Asked ten times, is_available says the same: it looks and changes nothing.",
        idempotent,
    ),
    test(
        "availability-starts-nothing",
        "After is_available there are no more threads, descriptors or processes than before.",
        starts_nothing,
    ),
    test(
        "availability-needs-no-network",
        "Without a network is_available answers the same: users list backends offline.",
        no_network,
    ),
];

const fn test(name: &'static str, why: &'static str, run: fn(&Case) -> TestResult) -> Test {
    child(Area::Availability, name, 1, why, run)
}

fn quick(case: &Case) -> TestResult {
    let backend = case.load()?;
    case.channel.phase("is_available");
    let started = Instant::now();
    backend.availability();
    let took = started.elapsed();
    Ok(within(took, format!("is_available took {:.1} s", took.as_secs_f64())))
}

/// What is said of something that should take a second at most, and took this long.
pub fn within(took: Duration, message: String) -> Verdict {
    match took {
        took if took > Duration::from_secs(5) => Verdict::Failed(message),
        took if took > Duration::from_secs(1) => Verdict::Warning(message),
        _ => Verdict::Success,
    }
}

fn explains(case: &Case) -> TestResult {
    let backend = case.load()?;
    case.channel.phase("is_available");
    let answer = backend.availability();
    let (detail, remedy) = (answer.detail.trim(), answer.remedy.trim());
    require(!detail.starts_with(IS_AVAILABLE_FAILED), || detail.to_owned())?;
    require(!detail.is_empty(), || {
        if answer.available {
            "it is ready and names no version".into()
        } else {
            "it is not ready and does not say why".into()
        }
    })?;
    if !answer.available && remedy.is_empty() {
        return Ok(Verdict::Warning(format!("it is not ready ({detail}) and names nothing that mends it")));
    }
    Ok(Verdict::Success)
}

fn idempotent(case: &Case) -> TestResult {
    let backend = case.load()?;
    case.channel.phase("is_available");
    let first = backend.availability();
    for _ in 0..9 {
        let next = backend.availability();
        require(next == first, || format!("first {:?}, then {:?}", first.detail, next.detail))?;
    }
    Ok(Verdict::Success)
}

/// How many threads, open descriptors and children this process has.
pub fn footprint() -> (usize, usize, usize) {
    let count = |folder: &str| std::fs::read_dir(folder).map_or(0, Iterator::count);
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let children = tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .map(|children| children.split_whitespace().count())
        .sum();
    (count("/proc/self/task"), count("/proc/self/fd"), children)
}

/// The footprint once it is no more than `before`. What is just ending is still counted, so this waits for it; only
/// one that stays makes it wait to the end.
pub fn settled(before: (usize, usize, usize)) -> (usize, usize, usize) {
    const PATIENCE: Duration = Duration::from_secs(5);
    let started = Instant::now();
    loop {
        let now = footprint();
        let fits = now.0 <= before.0 && now.1 <= before.1 && now.2 <= before.2;
        if fits || started.elapsed() > PATIENCE {
            return now;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn starts_nothing(case: &Case) -> TestResult {
    let backend = case.load()?;
    case.channel.phase("is_available");
    // The first call may open what the process keeps, such as a library.
    backend.availability();
    let before = footprint();
    for _ in 0..5 {
        backend.availability();
    }
    let after = settled(before);
    let grew = |before: usize, after: usize, what: &str| {
        require(after <= before, || format!("{} {what} more after five calls", after - before))
    };
    grew(before.0, after.0, "threads")?;
    grew(before.1, after.1, "open descriptors")?;
    grew(before.2, after.2, "processes")?;
    require(after.2 == 0, || format!("{} processes are still running after is_available", after.2))?;
    Ok(Verdict::Success)
}

fn no_network(case: &Case) -> TestResult {
    let backend = case.load()?;
    case.channel.phase("is_available");
    let before = backend.availability();
    if let Err(why) = offline::this_thread() {
        return Ok(Verdict::Skipped(why));
    }
    let after = backend.availability();
    require(before == after, || format!("with a network {:?}, without {:?}", before.detail, after.detail))?;
    Ok(Verdict::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_fine_and_five_are_not() {
        let said = |ms| within(Duration::from_millis(ms), String::new());
        assert!(matches!(said(1_000), Verdict::Success));
        assert!(matches!((said(1_001), said(5_000)), (Verdict::Warning(_), Verdict::Warning(_))));
        assert!(matches!(said(5_001), Verdict::Failed(_)));
    }
}
