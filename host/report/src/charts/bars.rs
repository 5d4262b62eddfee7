//! Bars with intervals and, where there are few runs, every run as a dot.
//!
//! A bar alone hides whether it stands for one lucky run. So the whisker is the 95 % interval of the
//! mean, the dots are the runs, and without three runs there is no whisker.

use super::axis::{Frame, Scale, tick_text};
use super::canvas::{Anchor, Canvas, Ink, Shape, fit, width_of};
use crate::text::short;
use bench_judge::stats::Interval;

/// Dots beyond this number are a smear.
const MOST_DOTS: usize = 40;

/// A bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// Index of its series.
    pub series: usize,
    /// Its height.
    pub mean: f64,
    /// Interval of the mean.
    pub interval: Option<Interval>,
    /// Every run.
    pub runs: Vec<f64>,
    /// Drawn pale: the number is there and should not be relied on.
    pub is_doubtful: bool,
}

/// Bars that stand together over one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// The name.
    pub name: String,
    /// One place per series; a series may be absent.
    pub bars: Vec<Bar>,
}

/// What the chart is about.
pub struct Subject<'a> {
    /// Its title.
    pub title: &'a str,
    /// Name and unit of the vertical axis.
    pub axis: &'a str,
    /// Unit for the titles of bars.
    pub unit: &'a str,
    /// Names of the series.
    pub series: Vec<String>,
    /// A remark at the bottom.
    pub remark: Option<String>,
}

/// Draws clusters of bars.
pub fn draw(subject: &Subject, clusters: &[Cluster]) -> Canvas {
    let mut canvas = Canvas::new(820.0, 440.0, subject.title);
    let all = || clusters.iter().flat_map(|cluster| &cluster.bars);
    if all().next().is_none() {
        canvas.label(410.0, 220.0, "nothing was measured", Anchor::Middle, Ink::Muted);
        canvas.description = "Nothing was measured.".into();
        return canvas;
    }
    let has_legend = subject.series.len() > 1;
    let rows = if has_legend { canvas.legend(&subject.series, |place| place) } else { 0 };
    let frame = Frame::inside(&canvas, 52.0 + 18.0 * rows as f64, 62.0);
    let top = |bar: &Bar| {
        let dots =
            if bar.runs.len() <= MOST_DOTS { bar.runs.iter().copied().fold(0.0, f64::max) } else { 0.0 };
        bar.interval.map_or(bar.mean, |i| i.high).max(dots).max(bar.mean)
    };
    let scale = Scale::from_zero(all().map(top).fold(0.0, f64::max), frame.bottom, frame.top);
    frame.draw_y(&mut canvas, &scale, subject.axis, tick_text);
    let slot = (frame.right - frame.left) / clusters.len() as f64;
    let places = clusters.iter().map(|cluster| cluster.bars.len()).max().unwrap_or(1).max(1);
    let wide = (slot * 0.72 / places as f64).min(96.0);
    for (place, cluster) in clusters.iter().enumerate() {
        let middle = frame.left + slot * (place as f64 + 0.5);
        // "backend, setting" goes on two lines where bars stand close.
        let lines = match cluster.name.split_once(", ") {
            Some((upper, lower)) if width_of(&cluster.name) > slot - 8.0 => vec![upper, lower],
            _ => vec![cluster.name.as_str()],
        };
        for (number, line) in lines.into_iter().enumerate() {
            let y = frame.bottom + 18.0 + 15.0 * number as f64;
            canvas.label(middle, y, &fit(line, slot - 8.0), Anchor::Middle, Ink::Text);
        }
        let first = middle - wide * cluster.bars.len() as f64 / 2.0;
        for (number, bar) in cluster.bars.iter().enumerate() {
            let name = if has_legend {
                format!("{}, {}", cluster.name, subject.series.get(bar.series).map_or("", String::as_str))
            } else {
                cluster.name.clone()
            };
            one(&mut canvas, bar, &scale, (first + wide * number as f64, wide), &name, subject.unit);
        }
    }
    canvas.rule((frame.left, frame.bottom), (frame.right, frame.bottom), Ink::Axis);
    if let Some(remark) = &subject.remark {
        canvas.remark(16.0, canvas.height - 12.0, remark);
    }
    canvas.description = describe(subject, clusters);
    canvas
}

fn one(canvas: &mut Canvas, bar: &Bar, scale: &Scale, (left, wide): (f64, f64), name: &str, unit: &str) {
    let (top, bottom) = (scale.at(bar.mean), scale.at(0.0));
    let (x, width) = (left + wide * 0.06, wide * 0.88);
    let middle = left + wide / 2.0;
    let ink = Ink::Series(bar.series);
    let opacity = if bar.is_doubtful { 0.35 } else { 0.85 };
    let title = Some(format!("{name}: {}", number(bar, unit)));
    canvas.push(Shape::Rect { x, y: top, width, height: bottom - top, ink, opacity, title });
    if (2..=MOST_DOTS).contains(&bar.runs.len()) {
        for (index, run) in bar.runs.iter().enumerate() {
            // Spread over the middle of the bar, always in the same way.
            let aside = ((index as f64 * 0.618_034).fract() - 0.5) * width * 0.5;
            let (x, y, ink) = (middle + aside, scale.at(*run), Ink::Axis);
            canvas.push(Shape::Dot { x, y, radius: 2.4, ink, opacity: 0.55, title: None });
        }
    }
    let mut label_at = top;
    if let Some(interval) = bar.interval {
        let (high, low) = (scale.at(interval.high), scale.at(interval.low));
        let cap = (width * 0.14).min(9.0);
        for (from, to) in [
            ((middle, high), (middle, low)),
            ((middle - cap, high), (middle + cap, high)),
            ((middle - cap, low), (middle + cap, low)),
        ] {
            canvas.push(Shape::Line {
                points: vec![from, to],
                ink: Ink::Axis,
                width: 2.0,
                dash: None,
                title: None,
            });
        }
        label_at = high.min(top);
    }
    let highest = bar.runs.iter().copied().filter(|_| bar.runs.len() <= MOST_DOTS).fold(bar.mean, f64::max);
    label_at = label_at.min(scale.at(highest) - 2.0);
    let label = short(bar.mean);
    if width_of(&label) <= wide * 1.15 {
        canvas.label(middle, label_at - 7.0, &label, Anchor::Middle, Ink::Text);
    }
}

fn number(bar: &Bar, unit: &str) -> String {
    let interval = bar.interval.map_or(String::new(), |interval| {
        format!(", 95 % interval {} to {}", short(interval.low), short(interval.high))
    });
    let doubtful = if bar.is_doubtful { ", not to be relied on" } else { "" };
    format!("{} {unit}{interval}{doubtful}", short(bar.mean))
}

fn describe(subject: &Subject, clusters: &[Cluster]) -> String {
    const MOST: usize = 12;
    let bars = clusters.iter().flat_map(|cluster| cluster.bars.iter().map(move |bar| (cluster, bar)));
    let parts = bars.take(MOST).map(|(cluster, bar)| {
        let series = subject.series.get(bar.series).filter(|name| **name != cluster.name);
        let series = series.map_or(String::new(), |name| format!(" {name}"));
        format!("{}{series}: {}", cluster.name, number(bar, subject.unit))
    });
    parts.collect::<Vec<_>>().join("; ") + "."
}
