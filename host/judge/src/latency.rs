//! All latencies of a backend in one setting, pooled over its repeats.
//!
//! They come from the histograms that runs leave behind, or from the items files where there is no
//! histogram. Percentiles of the pool rest on all items of all repeats, so they are supported long
//! before those of a single run. Files that cannot be read are counted, not fatal: a comparison of
//! results that were copied without them is still a comparison.

use std::path::Path;
use std::time::Duration;

use super::kept::Altered;
use super::model::{Collected, Group, Run};
use bench_record::histogram::{self, LatencyHistogram};
use bench_record::table;
use bench_stats::support::Supported;

/// Percentiles that a report prints.
pub const PERCENTILES: [f64; 5] = [0.50, 0.90, 0.95, 0.99, 0.999];

/// Points of a curve that is drawn.
const POINTS: usize = 160;

/// The latencies of one backend in one setting.
#[derive(Clone, Debug)]
pub struct Latencies {
    /// Index into [`Collected::settings`].
    pub setting: usize,
    /// Name of the backend.
    pub backend: String,
    /// Items in the pool.
    pub items: u64,
    /// One per [`PERCENTILES`], in milliseconds.
    pub percentiles: [Option<Supported>; PERCENTILES.len()],
    /// Points (share of items, latency in ms) for drawing, shares ascending.
    pub curve: Vec<(f64, f64)>,
    /// Runs whose latencies could not be read.
    pub unreadable: u64,
}

/// Pools every group that has latencies.
pub fn pooled(collected: &Collected, altered: &[Altered]) -> Vec<Latencies> {
    let groups = collected.groups.iter();
    let pooled = |group: &Group| {
        pool(collected.runs_of(group.setting, &group.backend), group.setting, &group.backend, altered)
    };
    groups.filter_map(pooled).collect()
}

fn pool<'a>(
    runs: impl Iterator<Item = &'a Run>,
    setting: usize,
    backend: &str,
    altered: &[Altered],
) -> Option<Latencies> {
    let mut all = LatencyHistogram::new();
    let mut unreadable = 0;
    for run in runs {
        match of_run(run, altered) {
            Some(found) if all.merge(&found).is_ok() => {}
            Some(_) => unreadable += 1,
            None if names_a_file(run) => unreadable += 1,
            None => {}
        }
    }
    let items = all.len();
    (items > 0).then(|| Latencies {
        setting,
        backend: backend.to_owned(),
        items,
        percentiles: PERCENTILES
            .map(|p| Supported::judge(all.quantile(p).map(|latency| latency.get()), items, p)),
        curve: curve(&all),
        unreadable,
    })
}

fn names_a_file(run: &Run) -> bool {
    run.evidence.latency_histogram.is_some() || run.evidence.items_file.is_some()
}

fn of_run(run: &Run, altered: &[Altered]) -> Option<LatencyHistogram> {
    let file = |name: &Option<String>| {
        run.file(name.as_deref()).filter(|path| !altered.iter().any(|other| other.file == *path))
    };
    let from_histogram = file(&run.evidence.latency_histogram);
    let from_histogram =
        from_histogram.and_then(|path| histogram::whole_items(&histogram::load(&path).ok()?).ok()?);
    from_histogram.or_else(|| from_items(&file(&run.evidence.items_file)?))
}

/// Latencies of the items that succeeded.
fn from_items(path: &Path) -> Option<LatencyHistogram> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(table::open(path).ok()?);
    let header = reader.headers().ok()?.clone();
    let column = |name: &str| header.iter().position(|cell| cell == name);
    let (latency, ok) = (column("latency_ms")?, column("ok"));
    let mut all = LatencyHistogram::new();
    for row in reader.records() {
        let row = row.ok()?;
        let failed = ok.and_then(|ok| row.get(ok)).is_some_and(|ok| matches!(ok, "false" | "False" | "0"));
        let millis = row.get(latency).and_then(|cell| cell.parse::<f64>().ok());
        if let Some(time) =
            millis.and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok()).filter(|_| !failed)
        {
            all.record(time);
        }
    }
    Some(all)
}

/// Shares close in on 1, since that is where latencies are interesting.
fn curve(all: &LatencyHistogram) -> Vec<(f64, f64)> {
    let deepest = (all.len() as f64).log10().max(1.0);
    let share = |step: usize| match step {
        0 => 0.0,
        // From 0 to 0.9 evenly, then each tenth of what is left in as many steps.
        step if step <= POINTS / 2 => 0.9 * step as f64 / (POINTS / 2) as f64,
        step => {
            let along = (step - POINTS / 2) as f64 / (POINTS / 2) as f64;
            1.0 - 10_f64.powf(-(1.0 + along * (deepest - 1.0)))
        }
    };
    let points = (0..=POINTS).map(share).chain([1.0]);
    points.filter_map(|share| Some((share, all.quantile(share)?.get()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{paired, write};
    use crate::{Options, collect};
    use serde_json::json;

    #[test]
    fn a_runs_histogram_is_enough() {
        // As a run leaves it behind: whole items and, beside them, the time since they were emitted.
        let dir = tempfile::tempdir().unwrap();
        let mut records = paired(&[("sage", &[1.0])]);
        records[0]["extra"]["latency_histogram"] = json!("latency.hlog");
        let interval = |tag: &str, millis: std::ops::RangeInclusive<u64>| {
            let mut latencies = LatencyHistogram::new();
            millis.for_each(|ms| latencies.record(Duration::from_millis(ms)));
            let (start, length) = (Duration::ZERO, Duration::from_secs(1));
            histogram::Interval { tag: Some(tag.to_owned()), start, length, latencies }
        };
        let intervals = [interval(histogram::RESPONSE, 1..=100), interval(histogram::SERVICE, 1..=5)];
        let began = std::time::SystemTime::UNIX_EPOCH;
        histogram::save(&dir.path().join("latency.hlog"), began, &intervals).unwrap();
        write(dir.path(), &records);
        let found = pooled(&collect(&[dir.path().into()], &Options::default()).unwrap(), &[]);
        assert_eq!((found[0].items, found[0].unreadable), (100, 0));
        let p50 = found[0].percentiles[0].unwrap().value().unwrap();
        assert!((p50 - 50.0).abs() < 0.1, "{p50}");
    }

    #[test]
    fn items_of_all_repeats_are_pooled_and_failed_ones_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let mut records = paired(&[("sage", &[1.0, 2.0, 3.0])]);
        for (number, record) in records.iter_mut().enumerate() {
            let name = format!("items/{number}.csv");
            record["extra"]["items_file"] = json!(name);
            let rows = (1..=30).map(|i| format!("{i},true,d,{i}.0\n")).collect::<String>();
            std::fs::create_dir_all(dir.path().join("items")).unwrap();
            let text = format!("query_id,ok,digest,latency_ms\n{rows}99,false,,5000\n");
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        records[2]["extra"]["items_file"] = json!("../elsewhere.csv");
        write(dir.path(), &records);
        let found = pooled(&collect(&[dir.path().into()], &Options::default()).unwrap(), &[]);
        assert_eq!((found[0].items, found[0].unreadable), (60, 1));
        let p50 = found[0].percentiles[0].unwrap().value().unwrap();
        assert!((p50 - 15.0).abs() < 0.1, "{p50}");
        assert_eq!(found[0].percentiles[3], Some(Supported::NeedsMore(239)));
        assert!(found[0].curve.is_sorted_by_key(|point| point.0));
        assert!((found[0].curve.last().unwrap().1 - 30.0).abs() < 0.1);
    }
}
