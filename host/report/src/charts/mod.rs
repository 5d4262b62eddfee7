//! Charts: what is drawn when, from which numbers.
//!
//! The two pictures that the guide promises are always made. The others are made when the data has
//! what they need. All are drawn once ([`canvas`]) and then written as SVG and, for the guide's two,
//! as PNG; the page puts the same SVG inline.

pub mod axis;
pub mod bars;
pub mod canvas;
pub mod curves;
pub mod png;
mod scaling;
pub mod stack;
pub mod svg;

use canvas::Canvas;

use super::Artifact;
use crate::{Error, Result};
use bars::{Bar, Cluster, Subject};
use bench_judge::describe::Estimate;
use bench_judge::model::Totals;
use bench_judge::stats::bootstrap;
use bench_judge::{Metric, Summary};
use bench_record::evidence::Parts;

/// More settings than this do not fit side by side; then all runs of a backend share one bar.
const MOST_SETTINGS: usize = 6;

/// More lines or bars than this cannot be told apart.
const MOST_SERIES: usize = 8;

/// A drawing with its place in the world.
#[derive(Clone, Debug)]
pub struct Chart {
    /// File name without ending.
    pub id: &'static str,
    /// The drawing.
    pub canvas: Canvas,
    /// Whether a PNG is made too.
    pub as_png: bool,
}

/// The charts as files.
pub fn files(charts: &[Chart]) -> Result<Vec<Artifact>> {
    let mut files = Vec::new();
    for chart in charts {
        if chart.as_png {
            let name = format!("{}.png", chart.id);
            let drawn = png::render(&chart.canvas);
            let bytes = drawn.map_err(|reason| Error::Chart { chart: name.clone(), reason })?;
            files.push(Artifact { name, bytes });
        }
        let bytes = svg::render(&chart.canvas, svg::Home::File).into_bytes();
        files.push(Artifact { name: format!("{}.svg", chart.id), bytes });
    }
    Ok(files)
}

/// Every chart that the data allows.
pub fn draw_all(summary: &Summary) -> Vec<Chart> {
    let mut charts = vec![
        Chart { id: "throughput_comparison", canvas: throughput(summary), as_png: true },
        Chart { id: "latency_p95_p99_comparison", canvas: latency(summary), as_png: true },
    ];
    let named: Vec<_> = summary
        .latencies
        .iter()
        .take(MOST_SERIES)
        .map(|latencies| (series_name(summary, latencies.setting, &latencies.backend), latencies))
        .collect();
    if !named.is_empty() {
        charts.push(Chart { id: "latency_ecdf", canvas: curves::ecdf(&named), as_png: false });
        charts.push(Chart { id: "latency_percentiles", canvas: curves::percentiles(&named), as_png: false });
    }
    charts.extend(attribution(summary).map(|canvas| Chart {
        id: "stage_attribution",
        canvas,
        as_png: false,
    }));
    charts.extend(scaling::draw(summary).into_iter().map(|(id, canvas)| Chart { id, canvas, as_png: false }));
    charts
}

/// The backend, with the setting where there are several.
fn series_name(summary: &Summary, setting: usize, backend: &str) -> String {
    if summary.collected.settings.len() == 1 {
        return backend.to_owned();
    }
    format!("{backend}, {}", short_setting(summary, setting))
}

/// What tells a setting from the others, in few words.
pub(crate) fn short_setting(summary: &Summary, setting: usize) -> String {
    let settings = &summary.collected.settings;
    let this = &settings[setting];
    let differs = |part: fn(&bench_judge::model::Setting) -> String| {
        settings.iter().any(|other| part(other) != part(this)).then(|| part(this))
    };
    let parts = [
        differs(|s| s.workload.clone()),
        differs(|s| format!("{} nodes", s.nodes)),
        differs(|s| format!("par. {}", s.parallelism)),
        differs(|s| format!("seed {}", s.seed)),
    ];
    let mut words: Vec<String> = parts.into_iter().flatten().collect();
    if words.is_empty() {
        words.push(this.config_hash.as_deref().unwrap_or("no hash").chars().take(6).collect());
    }
    words.join(" ")
}

fn estimate<'a>(summary: &'a Summary, setting: usize, backend: &str, metric: Metric) -> Option<&'a Estimate> {
    summary.estimates.iter().find(|e| e.setting == setting && e.backend == backend && e.metric == metric)
}

fn bar(summary: &Summary, setting: usize, backend: &str, metric: Metric, series: usize) -> Option<Bar> {
    let estimate = estimate(summary, setting, backend, metric)?;
    let group = summary.collected.groups_of(setting).find(|group| group.backend == backend)?;
    Some(Bar {
        series,
        mean: estimate.mean,
        interval: estimate.interval,
        runs: group.sample(metric).values().to_vec(),
        is_doubtful: estimate.needs_items.is_some(),
    })
}

/// All runs of a backend together, whether they count or not.
fn total_bar(totals: &Totals, metric: Metric, series: usize, summary: &Summary) -> Option<Bar> {
    let sample = &totals.metrics[metric as usize];
    let seed = summary.options.seed;
    Some(Bar {
        series,
        mean: sample.mean()?,
        interval: bootstrap::mean_interval(sample.values(), 0.95, bootstrap::RESAMPLES, seed)
            .filter(|_| sample.is_complete()),
        runs: sample.values().to_vec(),
        is_doubtful: false,
    })
}

/// Where no run counts they are shown all the same, as in the table, but pale.
fn uncounted_bar(totals: &Totals, metric: Metric, series: usize, summary: &Summary) -> Option<Bar> {
    Some(Bar { is_doubtful: true, ..total_bar(totals, metric, series, summary)? })
}

fn backends(summary: &Summary) -> Vec<String> {
    summary.collected.totals.iter().take(MOST_SERIES).map(|totals| totals.backend.clone()).collect()
}

/// Whether one bar per backend says it all, or settings stand side by side.
fn by_setting(summary: &Summary) -> bool {
    (2..=MOST_SETTINGS).contains(&summary.collected.settings.len())
}

fn throughput(summary: &Summary) -> Canvas {
    let metric = Metric::Throughput;
    let names = backends(summary);
    let settings = summary.collected.settings.len();
    let remark = match settings {
        0 | 1 => "Whiskers: 95 % bootstrap interval of the mean. Dots: single runs. Pale: no run counts.".to_owned(),
        n if n <= MOST_SETTINGS => "Whiskers: 95 % bootstrap interval of the mean. Dots: single runs. Only bars of one configuration compare.".into(),
        n => format!("Mean over {n} different configurations: these bars are not comparable one by one."),
    };
    let mut subject = Subject {
        title: "Throughput by backend",
        axis: "items per second",
        unit: "items/s",
        series: Vec::new(),
        remark: Some(remark),
    };
    if by_setting(summary) {
        let clusters: Vec<Cluster> = (0..settings)
            .map(|setting| Cluster {
                name: short_setting(summary, setting),
                bars: names
                    .iter()
                    .enumerate()
                    .filter_map(|(n, b)| bar(summary, setting, b, metric, n))
                    .collect(),
            })
            .collect();
        subject.series = names;
        return bars::draw(&subject, &clusters);
    }
    let one = |(series, name): (usize, &String)| {
        let totals = summary.collected.totals.iter().find(|totals| totals.backend == *name)?;
        let drawn = if settings == 1 { bar(summary, 0, name, metric, series) } else { None };
        let bar = match settings {
            1 => drawn.or_else(|| uncounted_bar(totals, metric, series, summary))?,
            _ => total_bar(totals, metric, series, summary)?,
        };
        Some(Cluster { name: name.clone(), bars: vec![bar] })
    };
    let clusters: Vec<Cluster> = names.iter().enumerate().filter_map(one).collect();
    bars::draw(&subject, &clusters)
}

fn latency(summary: &Summary) -> Canvas {
    let metrics = [Metric::LatencyP95, Metric::LatencyP99];
    let settings = summary.collected.settings.len();
    let mut clusters = Vec::new();
    if by_setting(summary) || settings == 1 {
        for group in summary.collected.groups.iter().take(MOST_SERIES * 2) {
            let drawn = metrics.iter().enumerate();
            let totals = summary.collected.totals.iter().find(|totals| totals.backend == group.backend);
            let totals = totals.filter(|_| settings == 1);
            let any = |(n, m): (usize, &Metric)| {
                let counted = bar(summary, group.setting, &group.backend, *m, n);
                counted.or_else(|| uncounted_bar(totals?, *m, n, summary))
            };
            let bars = drawn.filter_map(any).collect();
            clusters.push(Cluster { name: series_name(summary, group.setting, &group.backend), bars });
        }
    } else {
        for totals in summary.collected.totals.iter().take(MOST_SERIES) {
            let drawn = metrics.iter().enumerate();
            let bars = drawn.filter_map(|(n, m)| total_bar(totals, *m, n, summary)).collect();
            clusters.push(Cluster { name: totals.backend.clone(), bars });
        }
    }
    let doubtful = clusters.iter().flat_map(|cluster| &cluster.bars).any(|bar| bar.is_doubtful);
    let remark = if doubtful {
        "Pale bars: too few items for this percentile, or no run that counts. Whiskers: 95 % interval of the mean."
    } else {
        "Whiskers: 95 % bootstrap interval of the mean over runs. Dots: single runs."
    };
    let title = match summary.collected.closed {
        0 => "Latency by backend: p95 and p99",
        _ => "Latency by backend: p95 and p99 (closed load: in flight / throughput)",
    };
    let subject = Subject {
        title,
        axis: "milliseconds",
        unit: "ms",
        series: vec!["p95".into(), "p99".into()],
        remark: Some(remark.into()),
    };
    bars::draw(&subject, &clusters)
}

/// Mean seconds per stage, then what is not stages. `None` when no run tells.
fn attribution(summary: &Summary) -> Option<Canvas> {
    let collected = &summary.collected;
    let mut parts: Vec<String> = Vec::new();
    for operator in collected.runs.iter().flat_map(|run| run.evidence.operators.keys()) {
        if !parts.contains(operator) && parts.len() < 12 {
            parts.push(operator.clone());
        }
    }
    let stages = parts.len();
    // With stages known, what operators took together is not a part of its own.
    let others = usize::from(stages > 0)..Parts::NAMES.len();
    parts.extend(others.clone().map(|part| Parts::NAMES[part].to_owned()));
    let mut rows = Vec::new();
    for group in collected.groups.iter().take(MOST_SERIES) {
        let runs: Vec<_> = collected.runs_of(group.setting, &group.backend).collect();
        let mean = |value: &dyn Fn(&bench_judge::model::Run) -> Option<f64>| {
            let values: Vec<f64> = runs.iter().filter_map(|run| value(run)).filter(|v| *v > 0.0).collect();
            if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
        };
        let stage = |name: &String| {
            mean(&|run| run.evidence.operators.get(name).and_then(|operator| operator.busy_seconds))
        };
        let mut seconds: Vec<f64> = parts[..stages].iter().map(stage).collect();
        seconds.extend(
            others
                .clone()
                .map(|part| mean(&|run| Some(run.evidence.attribution.as_ref()?.all.seconds()[part]))),
        );
        if seconds.iter().sum::<f64>() > 0.0 {
            rows.push(stack::Row { name: series_name(summary, group.setting, &group.backend), seconds });
        }
    }
    (!rows.is_empty()).then(|| stack::draw(&parts, &rows))
}
