//! Scales and the frame that data is drawn into.

use super::canvas::{Anchor, Canvas, Ink, width_of};

/// From data to one direction of the drawing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    is_log: bool,
}

impl Scale {
    /// Evenly from zero to a little above `high`.
    pub fn from_zero(high: f64, from: f64, to: f64) -> Scale {
        let high = if high > 0.0 { high * 1.08 } else { 1.0 };
        Scale { low: 0.0, high, from, to, is_log: false }
    }

    /// By magnitude, around `low` to `high`. Both become positive if they are not.
    pub fn log(low: f64, high: f64, from: f64, to: f64) -> Scale {
        let low = if low > 0.0 { low } else { 1e-3 };
        let high = if high > low * 1.5 { high } else { low * 1.5 };
        Scale { low: low / 1.05, high: high * 1.05, from, to, is_log: true }
    }

    /// Where a value is drawn. What lies outside goes to the edge.
    pub fn at(&self, value: f64) -> f64 {
        let share = if self.is_log {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Round values to mark.
    pub fn ticks(&self) -> Vec<f64> {
        if self.is_log { self.log_ticks() } else { even_ticks(self.high) }
    }

    fn log_ticks(&self) -> Vec<f64> {
        let decades = (self.high / self.low).log10();
        let steps: &[f64] = if decades > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let first = self.low.log10().floor() as i32;
        let last = self.high.log10().ceil() as i32;
        let all = (first..=last).flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
        all.filter(|tick| (self.low..=self.high).contains(tick)).collect()
    }
}

/// About five multiples of 1, 2, 2.5 or 5 times a power of ten.
fn even_ticks(high: f64) -> Vec<f64> {
    let rough = high / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|m| m * power >= rough).unwrap_or(10.0) * power;
    (0..=10).map(|i| f64::from(i) * step).take_while(|tick| *tick <= high).collect()
}

/// A tick's number: no needless digits, thousands as k.
pub fn tick_text(value: f64) -> String {
    let (value, suffix) = match value.abs() {
        v if v >= 1e9 => (value / 1e9, "G"),
        v if v >= 1e6 => (value / 1e6, "M"),
        v if v >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = format!("{value:.4}");
    format!("{}{suffix}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// The rectangle that data is drawn into.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    /// Its left edge.
    pub left: f64,
    /// Its upper edge.
    pub top: f64,
    /// Its right edge.
    pub right: f64,
    /// Its lower edge.
    pub bottom: f64,
}

impl Frame {
    /// Leaves room for titles and ticks. `below` is what the lower side needs.
    pub fn inside(canvas: &Canvas, top: f64, below: f64) -> Frame {
        Frame { left: 84.0, top, right: canvas.width - 24.0, bottom: canvas.height - below }
    }

    /// The vertical axis with its grid and name.
    pub fn draw_y(&self, canvas: &mut Canvas, scale: &Scale, name: &str, text: impl Fn(f64) -> String) {
        for tick in scale.ticks() {
            let y = scale.at(tick);
            canvas.rule((self.left, y), (self.right, y), Ink::Grid);
            canvas.label(self.left - 8.0, y + 4.0, &text(tick), Anchor::End, Ink::Text);
        }
        canvas.turned(22.0, (self.top + self.bottom) / 2.0, name);
        canvas.rule((self.left, self.top), (self.left, self.bottom), Ink::Axis);
    }

    /// The horizontal axis with its grid and name. Labels that would touch are left out.
    pub fn draw_x(&self, canvas: &mut Canvas, scale: &Scale, name: &str, text: impl Fn(f64) -> String) {
        self.draw_x_at(canvas, scale, &scale.ticks(), name, text);
    }

    /// The same with chosen ticks.
    pub fn draw_x_at(
        &self,
        canvas: &mut Canvas,
        scale: &Scale,
        ticks: &[f64],
        name: &str,
        text: impl Fn(f64) -> String,
    ) {
        let mut free_from = f64::NEG_INFINITY;
        for tick in ticks {
            let (x, label) = (scale.at(*tick), text(*tick));
            canvas.rule((x, self.top), (x, self.bottom), Ink::Grid);
            let half = width_of(&label) / 2.0;
            if x - half > free_from {
                canvas.label(x, self.bottom + 18.0, &label, Anchor::Middle, Ink::Text);
                free_from = x + half + 6.0;
            }
        }
        canvas.label((self.left + self.right) / 2.0, self.bottom + 40.0, name, Anchor::Middle, Ink::Text);
        canvas.rule((self.left, self.bottom), (self.right, self.bottom), Ink::Axis);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(even_ticks(108.0), [0.0, 25.0, 50.0, 75.0, 100.0]);
        assert_eq!(even_ticks(1.08), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(Scale::log(1.0, 90.0, 0.0, 1.0).ticks(), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0]);
        assert_eq!([0.0, 1.5, 25_000.0, 2e6].map(tick_text), ["0", "1.5", "25k", "2M"]);
    }

    #[test]
    fn a_scale_stays_inside_its_frame() {
        let scale = Scale::log(1.0, 100.0, 10.0, 20.0);
        assert_eq!((scale.at(0.0), scale.at(1e9)), (10.0, 20.0));
        let flat = Scale::from_zero(0.0, 0.0, 1.0);
        assert!(flat.at(0.5).is_finite());
    }
}
