//! Lines: the share of items below a latency, the latency at a percentile, and scaling.
//!
//! Colour never stands alone: every series also has its own dashes, and where lines end apart, its
//! name there.

use super::axis::{Frame, Scale, tick_text};
use super::canvas::{Anchor, Canvas, Ink, Shape, fit, width_of};
use crate::text::short;
use bench_judge::latency::Latencies;
use bench_judge::stats::Interval;

const DASHES: [Option<&str>; 4] = [None, Some("7 3"), Some("2 3"), Some("9 3 2 3")];

/// A named line.
pub struct Series {
    /// The name.
    pub name: String,
    /// Its points, in drawing order.
    pub points: Vec<(f64, f64)>,
    /// Intervals of the points, or none.
    pub intervals: Vec<Option<Interval>>,
}

fn frame_with_legend(canvas: &mut Canvas, names: &[String]) -> Frame {
    let rows = canvas.legend(names, |place| place);
    Frame::inside(canvas, 52.0 + 18.0 * rows as f64, 58.0)
}

fn bounds(latencies: &[(String, &Latencies)]) -> (f64, f64) {
    let values = || latencies.iter().flat_map(|(_, l)| l.curve.iter().map(|point| point.1));
    (values().filter(|v| *v > 0.0).fold(f64::MAX, f64::min), values().fold(0.0, f64::max))
}

/// The empirical distribution: share of items over latency.
pub fn ecdf(latencies: &[(String, &Latencies)]) -> Canvas {
    let mut canvas = Canvas::new(820.0, 440.0, "Latency distribution (ECDF)");
    let names: Vec<String> = latencies.iter().map(|(name, _)| name.clone()).collect();
    let frame = frame_with_legend(&mut canvas, &names);
    let (low, high) = bounds(latencies);
    let x = Scale::log(low, high, frame.left, frame.right);
    let y = Scale::from_zero(1.0 / 1.08, frame.bottom, frame.top);
    frame.draw_y(&mut canvas, &y, "share of items", |tick| format!("{:.0} %", tick * 100.0));
    frame.draw_x(&mut canvas, &x, "latency (ms), logarithmic", tick_text);
    for (series, (name, latencies)) in latencies.iter().enumerate() {
        let mut points = Vec::new();
        let mut height = y.at(0.0);
        // A step at each latency: the share rises where an item is.
        for (share, latency) in &latencies.curve {
            let at = x.at(*latency);
            points.push((at, height));
            height = y.at(*share);
            points.push((at, height));
        }
        line(&mut canvas, points, series, name);
    }
    canvas.description = describe(latencies);
    canvas
}

/// Latency at each percentile, with the tail drawn wide.
pub fn percentiles(latencies: &[(String, &Latencies)]) -> Canvas {
    let mut canvas = Canvas::new(820.0, 440.0, "Latency by percentile");
    let names: Vec<String> = latencies.iter().map(|(name, _)| name.clone()).collect();
    let frame = frame_with_legend(&mut canvas, &names);
    let (low, high) = bounds(latencies);
    let items = latencies.iter().map(|(_, l)| l.items).max().unwrap_or(1) as f64;
    let y = Scale::log(low, high, frame.bottom, frame.top);
    // 1 / (1 - share): 1 is p0, 10 is p90, 100 is p99.
    let x = Scale::log(1.05, items.max(20.0) / 1.05, frame.left, frame.right);
    let ticks: Vec<f64> = [2.0, 4.0, 10.0, 20.0, 100.0, 1e3, 1e4, 1e5, 1e6]
        .into_iter()
        .filter(|tick| *tick <= items.max(20.0))
        .collect();
    frame.draw_y(&mut canvas, &y, "latency (ms), logarithmic", tick_text);
    let percentile = |tick: f64| format!("p{}", tick_text(100.0 - 100.0 / tick));
    frame.draw_x_at(&mut canvas, &x, &ticks, "percentile of items", percentile);
    for (series, (name, latencies)) in latencies.iter().enumerate() {
        let depth = |share: f64| (1.0 / (1.0 - share).max(1e-12)).min(latencies.items as f64);
        let points = latencies.curve.iter().map(|(share, latency)| (x.at(depth(*share)), y.at(*latency)));
        line(&mut canvas, points.collect(), series, name);
    }
    canvas.description = describe(latencies);
    canvas
}

/// A metric over a number such as parallelism, with intervals.
pub fn scaling(title: &str, x_name: &str, y_name: &str, all: &[Series]) -> Canvas {
    let mut canvas = Canvas::new(820.0, 440.0, title);
    let names: Vec<String> = all.iter().map(|series| series.name.clone()).collect();
    let frame = frame_with_legend(&mut canvas, &names);
    let points = || all.iter().flat_map(|series| series.points.iter());
    let tops = all.iter().flat_map(|series| &series.intervals).flatten().map(|interval| interval.high);
    let high = points().map(|point| point.1).chain(tops).fold(0.0, f64::max);
    let y = Scale::from_zero(high, frame.bottom, frame.top);
    let mut ticks: Vec<f64> = points().map(|point| point.0).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    let (first, last) = (ticks.first().copied().unwrap_or(1.0), ticks.last().copied().unwrap_or(1.0));
    let x = Scale::log(first / 1.1, last * 1.1, frame.left, frame.right);
    frame.draw_y(&mut canvas, &y, y_name, tick_text);
    frame.draw_x_at(&mut canvas, &x, &ticks, x_name, tick_text);
    for (number, series) in all.iter().enumerate() {
        let ink = Ink::Series(number);
        line(
            &mut canvas,
            series.points.iter().map(|p| (x.at(p.0), y.at(p.1))).collect(),
            number,
            &series.name,
        );
        for ((at, value), interval) in series.points.iter().zip(&series.intervals) {
            if let Some(interval) = interval {
                let points = vec![(x.at(*at), y.at(interval.low)), (x.at(*at), y.at(interval.high))];
                canvas.push(Shape::Line { points, ink, width: 1.6, dash: None, title: None });
            }
            let title = Some(format!("{} at {}: {}", series.name, tick_text(*at), short(*value)));
            canvas.push(Shape::Dot { x: x.at(*at), y: y.at(*value), radius: 4.0, ink, opacity: 1.0, title });
        }
    }
    let ends = all.iter().enumerate().filter_map(|(number, series)| {
        let (at, value) = *series.points.last()?;
        Some((x.at(at), y.at(value), number, fit(&series.name, 120.0)))
    });
    name_ends(&mut canvas, ends);
    let parts = all.iter().map(|series| {
        let points =
            series.points.iter().map(|(at, value)| format!("{} at {}", short(*value), tick_text(*at)));
        format!("{}: {}", series.name, points.collect::<Vec<_>>().join(", "))
    });
    canvas.description = parts.collect::<Vec<_>>().join("; ") + ".";
    canvas
}

/// A metric over the seconds of a run.
pub fn over_time(title: &str, y_name: &str, points: &[(f64, f64)]) -> Canvas {
    let mut canvas = Canvas::new(820.0, 320.0, title);
    let frame = Frame::inside(&canvas, 52.0, 58.0);
    let last = points.last().map_or(1.0, |point| point.0);
    let high = points.iter().map(|point| point.1).fold(0.0, f64::max);
    let x = Scale::from_zero(last / 1.08, frame.left, frame.right);
    let y = Scale::from_zero(high, frame.bottom, frame.top);
    frame.draw_y(&mut canvas, &y, y_name, tick_text);
    frame.draw_x(&mut canvas, &x, "seconds since the first arrival", tick_text);
    line(&mut canvas, points.iter().map(|p| (x.at(p.0), y.at(p.1))).collect(), 0, title);
    let ends = [points.first(), points.last()].map(|point| point.map_or("n/a".into(), |p| short(p.1)));
    canvas.description = format!("{title}: from {} to {}.", ends[0], ends[1]);
    canvas
}

/// Lines over the seconds of a run, which may have gaps where a value is not a number, and moments with a name.
pub fn events_over_time(title: &str, y_name: &str, lines: &[Series], moments: &[(f64, &str)]) -> Canvas {
    let mut canvas = Canvas::new(820.0, 380.0, title);
    let names: Vec<String> = lines.iter().map(|line| line.name.clone()).collect();
    let frame = frame_with_legend(&mut canvas, &names);
    let points = || lines.iter().flat_map(|line| &line.points);
    let last = points().map(|point| point.0).fold(0.0, f64::max);
    let high = points().map(|point| point.1).fold(0.0, f64::max);
    let x = Scale::from_zero(last / 1.08, frame.left, frame.right);
    let y = Scale::from_zero(high, frame.bottom, frame.top);
    frame.draw_y(&mut canvas, &y, y_name, tick_text);
    frame.draw_x(&mut canvas, &x, "seconds since the first arrival", tick_text);
    for (number, (at, name)) in moments.iter().enumerate() {
        let (at, title) = (x.at(*at), Some(format!("{name} at {} s", short(*at))));
        let points = vec![(at, frame.top), (at, frame.bottom)];
        canvas.push(Shape::Line { points, ink: Ink::Text, width: 1.4, dash: Some("3 3"), title });
        canvas.label(at + 4.0, frame.top + 12.0 + 15.0 * number as f64, name, Anchor::Start, Ink::Text);
    }
    for (number, series) in lines.iter().enumerate() {
        for part in series.points.split(|point| point.1.is_nan()).filter(|part| !part.is_empty()) {
            let points = part.iter().map(|point| (x.at(point.0), y.at(point.1)));
            line(&mut canvas, points.collect(), number, &series.name);
        }
    }
    let moments: Vec<String> =
        moments.iter().map(|(at, name)| format!("{name} at {} s", short(*at))).collect();
    canvas.description = format!("{title}: at most {}. {}.", short(high), moments.join(", "));
    canvas
}

fn line(canvas: &mut Canvas, points: Vec<(f64, f64)>, series: usize, name: &str) {
    let (ink, dash) = (Ink::Series(series), DASHES[series % DASHES.len()]);
    canvas.push(Shape::Line { points, ink, width: 2.4, dash, title: Some(name.to_owned()) });
}

/// Names at the ends of lines, where there is room and no other name.
fn name_ends(canvas: &mut Canvas, ends: impl Iterator<Item = (f64, f64, usize, String)>) {
    const APART: f64 = 15.0;
    let mut taken: Vec<f64> = Vec::new();
    for (x, y, series, name) in ends {
        let is_free = taken.iter().all(|other| (other - y).abs() > APART);
        if is_free && x + 8.0 + width_of(&name) < canvas.width {
            canvas.label(x + 8.0, y + 4.0, &name, Anchor::Start, Ink::Series(series));
            taken.push(y);
        }
    }
}

fn describe(latencies: &[(String, &Latencies)]) -> String {
    let parts = latencies.iter().map(|(name, latencies)| {
        let median = latencies.percentiles[0].and_then(|p| p.value()).map_or("n/a".into(), short);
        let p95 = latencies.percentiles[2].and_then(|p| p.value()).map_or("n/a".into(), short);
        format!("{name}: {} items, median {median} ms, p95 {p95} ms", latencies.items)
    });
    parts.collect::<Vec<_>>().join("; ") + "."
}
