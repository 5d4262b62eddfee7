//! Throughput over parallelism or nodes, when the results have more than one of either.
//!
//! A line joins runs that differ in nothing else that we know of but the `config_hash`, which
//! contains the very number that varies.

use std::collections::{BTreeMap, BTreeSet};

use super::canvas::Canvas;
use super::curves::{self, Series};
use super::{MOST_SERIES, estimate};
use bench_judge::model::Setting;
use bench_judge::stats::Interval;
use bench_judge::{Metric, Summary};

/// A point: where, how high, and its interval.
type Point = (u32, f64, Option<Interval>);

type Count = fn(&Setting) -> u32;

/// The charts with their ids.
pub fn draw(summary: &Summary) -> Vec<(&'static str, Canvas)> {
    let parallelism: Count = |setting| setting.parallelism;
    let nodes: Count = |setting| setting.nodes;
    let chart = |id, name: &str, along: Count, fixed: Count| {
        let series = lines(summary, along, fixed);
        let title = format!("Throughput over {name}");
        (!series.is_empty()).then(|| (id, curves::scaling(&title, name, "items per second", &series)))
    };
    let over_parallelism = chart("throughput_over_parallelism", "parallelism", parallelism, nodes);
    let over_nodes = chart("throughput_over_nodes", "nodes", nodes, parallelism);
    over_parallelism.into_iter().chain(over_nodes).collect()
}

fn lines(summary: &Summary, along: Count, fixed: Count) -> Vec<Series> {
    let mut lines: BTreeMap<(&str, &str, u32, u64), Vec<Point>> = BTreeMap::new();
    for group in &summary.collected.groups {
        let setting = &summary.collected.settings[group.setting];
        let Some(found) = estimate(summary, group.setting, &group.backend, Metric::Throughput) else {
            continue;
        };
        let key = (group.backend.as_str(), setting.workload.as_str(), fixed(setting), setting.seed);
        lines.entry(key).or_default().push((along(setting), found.mean, found.interval));
    }
    // Two configurations at one place would make a line that goes up and down at once.
    let is_line = |points: &Vec<Point>| {
        let places: BTreeSet<u32> = points.iter().map(|point| point.0).collect();
        places.len() > 1 && places.len() == points.len()
    };
    let several = summary.collected.workloads.len() > 1;
    lines
        .into_iter()
        .filter(|(_, points)| is_line(points))
        .take(MOST_SERIES)
        .map(|((backend, workload, _, _), mut points)| {
            points.sort_by_key(|point| point.0);
            Series {
                name: if several { format!("{backend}, {workload}") } else { backend.to_owned() },
                points: points.iter().map(|point| (f64::from(point.0), point.1)).collect(),
                intervals: points.iter().map(|point| point.2).collect(),
            }
        })
        .collect()
}
