//! Where the time of a run went, per backend: its stages, waiting, moving and the rest.
//!
//! Bars lie on their side, since names of stages are long. Every part is named in the legend in the
//! order in which it is stacked, and parts are set apart by gaps, so colour is not needed to tell
//! neighbours apart.

use super::axis::{Frame, Scale, tick_text};
use super::canvas::{Anchor, Canvas, Ink, Shape, fit, width_of};
use crate::text::{percent, short};

/// One bar: its name and its seconds per part.
pub struct Row {
    /// The backend, and the setting if there are several.
    pub name: String,
    /// One value per part.
    pub seconds: Vec<f64>,
}

/// Draws rows of stacked parts.
pub fn draw(parts: &[String], rows: &[Row]) -> Canvas {
    const BAR: f64 = 46.0;
    let legend_rows = parts.len().div_ceil(4) as f64;
    let height = 52.0 + 18.0 * legend_rows + BAR * 1.4 * rows.len() as f64 + 74.0;
    let mut canvas = Canvas::new(820.0, height, "Where the time went, per stage");
    let used = canvas.legend(parts, |place| place) as f64;
    canvas.height += 18.0 * (used - legend_rows).max(0.0);
    let frame = Frame { left: 132.0, ..Frame::inside(&canvas, 52.0 + 18.0 * used, 58.0) };
    let total = |row: &Row| row.seconds.iter().sum::<f64>();
    let scale = Scale::from_zero(rows.iter().map(total).fold(0.0, f64::max), frame.left, frame.right);
    frame.draw_x(&mut canvas, &scale, "seconds per run, mean over runs, summed over threads", tick_text);
    for (place, row) in rows.iter().enumerate() {
        let y = frame.top + BAR * (1.4 * place as f64 + 0.2);
        canvas.label(frame.left - 10.0, y + BAR / 2.0 + 4.0, &fit(&row.name, 112.0), Anchor::End, Ink::Text);
        let mut from = 0.0;
        for (part, seconds) in row.seconds.iter().enumerate().filter(|(_, seconds)| **seconds > 0.0) {
            let (left, right) = (scale.at(from), scale.at(from + seconds));
            from += seconds;
            let share = percent(seconds / total(row));
            let title = Some(format!("{}, {}: {} s, {share}", row.name, parts[part], short(*seconds)));
            let width = (right - left - 1.5).max(0.5);
            let ink = Ink::Series(part);
            // Beyond the palette colours come again, paler.
            let opacity = if part < super::svg::SERIES.len() { 0.9 } else { 0.55 };
            canvas.push(Shape::Rect { x: left, y, width, height: BAR, ink, opacity, title });
        }
        let label = format!("{} s", short(total(row)));
        if scale.at(from) + 8.0 + width_of(&label) < canvas.width {
            canvas.label(scale.at(from) + 8.0, y + BAR / 2.0 + 4.0, &label, Anchor::Start, Ink::Text);
        }
    }
    canvas.rule((frame.left, frame.top), (frame.left, frame.bottom), Ink::Axis);
    let described = rows.iter().map(|row| {
        let most =
            row.seconds.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(part, _)| part);
        format!("{}: {} s in all, most of it in {}", row.name, short(total(row)), parts[most])
    });
    canvas.description = described.collect::<Vec<_>>().join("; ") + ".";
    canvas
}
