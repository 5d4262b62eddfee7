//! A drawing as SVG.
//!
//! Written here rather than by a library, since this text goes into a page: it must escape whatever
//! names hold, carry titles for screen readers, and take its colours from the page. Alone in a file
//! it has fixed colours on white.

use std::fmt::Write;

use super::canvas::{Anchor, Canvas, Ink, Shape};
use crate::junit::escape;

/// Colours of series, apart from each other for the colour-blind too, and 3:1 against white.
pub const SERIES: [&str; 8] =
    ["#0b6bb5", "#c64f00", "#00805e", "#9a4d8f", "#7a6400", "#b3261e", "#3d5a80", "#5b5b5b"];

/// Where the SVG will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home<'a> {
    /// In a file of its own.
    File,
    /// In a page that has classes `ink-…` and gives this unique id.
    Page(&'a str),
}

/// The colour of an ink in a file or PNG.
pub fn colour(ink: Ink) -> &'static str {
    match ink {
        Ink::Text => "#1b1f24",
        Ink::Muted => "#59616b",
        Ink::Grid => "#e1e4e8",
        Ink::Axis => "#3b424a",
        Ink::Series(number) => SERIES[number % SERIES.len()],
    }
}

/// The SVG text.
pub fn render(canvas: &Canvas, home: Home) -> String {
    let (width, height) = (canvas.width, canvas.height);
    let id = if let Home::Page(id) = home { id } else { "chart" };
    let mut out = String::with_capacity(canvas.shapes.len() * 120);
    let size =
        if home == Home::File { format!(" width=\"{width}\" height=\"{height}\"") } else { String::new() };
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\"{size} viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-labelledby=\"{id}-t {id}-d\" font-family=\"DejaVu Sans, Verdana, sans-serif\">\
         <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>",
        escape(&canvas.title),
        escape(&canvas.description)
    );
    if home == Home::File {
        let _ = write!(out, "<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>");
    }
    canvas.shapes.iter().for_each(|shape| mark(&mut out, shape, home));
    out.push_str("</svg>");
    out
}

fn mark(out: &mut String, shape: &Shape, home: Home) {
    let n = |value: f64| (value * 100.0).round() / 100.0;
    let title = |title: &Option<String>| {
        title.as_ref().map(|title| format!("<title>{}</title>", escape(title))).unwrap_or_default()
    };
    let _ = match shape {
        Shape::Rect { x, y, width, height, ink, opacity, title: name } => write!(
            out,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" {}{}>{}</rect>",
            n(*x),
            n(*y),
            n(width.max(0.0)),
            n(height.max(0.0)),
            paint("fill", *ink, home),
            see_through(*opacity),
            title(name)
        ),
        Shape::Line { points, ink, width, dash, title: name } => {
            let points: Vec<String> = points.iter().map(|(x, y)| format!("{},{}", n(*x), n(*y))).collect();
            let dash = dash.map(|dash| format!(" stroke-dasharray=\"{dash}\"")).unwrap_or_default();
            write!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke-width=\"{width}\" {}{dash}>{}</polyline>",
                points.join(" "),
                paint("stroke", *ink, home),
                title(name)
            )
        }
        Shape::Dot { x, y, radius, ink, opacity, title: name } => write!(
            out,
            "<circle cx=\"{}\" cy=\"{}\" r=\"{radius}\" {}{}>{}</circle>",
            n(*x),
            n(*y),
            paint("fill", *ink, home),
            see_through(*opacity),
            title(name)
        ),
        Shape::Text { x, y, text, size, anchor, ink, bold, turned } => {
            let (x, y) = (n(*x), n(*y));
            let anchor = match anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            };
            let bold = if *bold { " font-weight=\"600\"" } else { "" };
            let turn = if *turned { format!(" transform=\"rotate(-90 {x} {y})\"") } else { String::new() };
            write!(
                out,
                "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" text-anchor=\"{anchor}\" {}{bold}{turn}>{}</text>",
                paint("fill", *ink, home),
                escape(text)
            )
        }
    };
}

fn see_through(opacity: f64) -> String {
    if opacity < 1.0 { format!(" opacity=\"{opacity}\"") } else { String::new() }
}

fn paint(property: &str, ink: Ink, home: Home) -> String {
    if home == Home::File {
        return format!("{property}=\"{}\"", colour(ink));
    }
    let name = match ink {
        Ink::Text => "text".to_owned(),
        Ink::Muted => "muted".to_owned(),
        Ink::Grid => "grid".to_owned(),
        Ink::Axis => "axis".to_owned(),
        Ink::Series(number) => format!("s{}", number % SERIES.len()),
    };
    format!("{property}=\"currentColor\" class=\"ink-{name}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_everywhere() {
        let evil = "</text><script>\"&'";
        let mut canvas = Canvas::new(100.0, 50.0, evil);
        canvas.description = evil.into();
        canvas.push(Shape::Dot {
            x: 1.0,
            y: 1.0,
            radius: 2.0,
            ink: Ink::Series(9),
            opacity: 0.5,
            title: Some(evil.into()),
        });
        for home in [Home::File, Home::Page("c1")] {
            let svg = render(&canvas, home);
            assert!(!svg.contains("<script>"), "{svg}");
            assert_eq!(svg.matches("&lt;/text&gt;&lt;script&gt;&quot;&amp;&#39;").count(), 4);
        }
    }

    #[test]
    fn a_page_gives_the_colours() {
        let svg = render(&Canvas::new(100.0, 50.0, "t"), Home::Page("c1"));
        assert!(svg.contains("class=\"ink-text\"") && !svg.contains('#'), "{svg}");
        assert!(svg.contains("role=\"img\"") && svg.contains("aria-labelledby=\"c1-t c1-d\""), "{svg}");
    }
}
