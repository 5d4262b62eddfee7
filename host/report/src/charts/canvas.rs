//! A drawing as a list of shapes, before it is SVG or PNG.
//!
//! Both must show the same, a picture in a page must follow its light or dark colours, and every
//! mark should have a title that a mouse or a screen reader finds. So charts draw in *inks* that
//! name a purpose, and [`super::svg`] and [`super::png`] give them colours.

/// What a mark is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Titles and numbers.
    Text,
    /// Remarks.
    Muted,
    /// Lines behind the data.
    Grid,
    /// The lines that carry ticks, and whiskers.
    Axis,
    /// Data of one series.
    Series(usize),
}

/// Which end of a text its position is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The text begins there.
    Start,
    /// The text is centred there.
    Middle,
    /// The text ends there.
    End,
}

/// A mark. Positions and sizes are in pixels, from the upper left corner; a `title` is what a mouse
/// or a screen reader finds.
#[allow(missing_docs)] // The fields are those of the SVG elements.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A filled rectangle.
    Rect { x: f64, y: f64, width: f64, height: f64, ink: Ink, opacity: f64, title: Option<String> },
    /// A line through points.
    Line { points: Vec<(f64, f64)>, ink: Ink, width: f64, dash: Option<&'static str>, title: Option<String> },
    /// A filled circle.
    Dot { x: f64, y: f64, radius: f64, ink: Ink, opacity: f64, title: Option<String> },
    /// Text on a baseline; upright, or turned to be read from the right.
    Text { x: f64, y: f64, text: String, size: f64, anchor: Anchor, ink: Ink, bold: bool, turned: bool },
}

/// A drawing.
#[derive(Clone, Debug, PartialEq)]
pub struct Canvas {
    /// In pixels.
    pub width: f64,
    /// In pixels.
    pub height: f64,
    /// What it shows, in a few words.
    pub title: String,
    /// What it says, in a sentence or two, for those who do not see it.
    pub description: String,
    /// Drawn in this order.
    pub shapes: Vec<Shape>,
}

/// Size of ordinary text.
pub const SIZE: f64 = 13.0;

impl Canvas {
    /// An empty drawing with its title on top.
    pub fn new(width: f64, height: f64, title: &str) -> Self {
        let mut canvas =
            Canvas { width, height, title: title.into(), description: String::new(), shapes: Vec::new() };
        canvas.push_text(16.0, 28.0, title, 17.0, Anchor::Start, Ink::Text, true);
        canvas
    }

    /// Adds a mark.
    pub fn push(&mut self, shape: Shape) {
        self.shapes.push(shape);
    }

    /// Ordinary text.
    pub fn label(&mut self, x: f64, y: f64, text: &str, anchor: Anchor, ink: Ink) {
        self.push_text(x, y, text, SIZE, anchor, ink, false);
    }

    /// A remark in small text.
    pub fn remark(&mut self, x: f64, y: f64, text: &str) {
        self.push_text(x, y, text, 11.5, Anchor::Start, Ink::Muted, false);
    }

    /// A thin line.
    pub fn rule(&mut self, from: (f64, f64), to: (f64, f64), ink: Ink) {
        self.push(Shape::Line { points: vec![from, to], ink, width: 1.0, dash: None, title: None });
    }

    /// Text along the vertical axis.
    pub fn turned(&mut self, x: f64, y: f64, text: &str) {
        let text = clean(text);
        let (size, anchor, ink) = (SIZE, Anchor::Middle, Ink::Text);
        self.push(Shape::Text { x, y, text, size, anchor, ink, bold: false, turned: true });
    }

    #[expect(clippy::too_many_arguments)]
    fn push_text(&mut self, x: f64, y: f64, text: &str, size: f64, anchor: Anchor, ink: Ink, bold: bool) {
        self.push(Shape::Text { x, y, text: clean(text), size, anchor, ink, bold, turned: false });
    }

    /// Names with their colours, in a row under the title. Says how many rows it took.
    pub fn legend(&mut self, names: &[String], series: impl Fn(usize) -> usize) -> usize {
        const SWATCH: f64 = 12.0;
        let (mut x, mut rows) = (16.0, 1);
        for (place, name) in names.iter().enumerate() {
            let name = fit(name, 180.0);
            let wide = SWATCH + 6.0 + width_of(&name) + 18.0;
            if x + wide > self.width && x > 16.0 {
                (x, rows) = (16.0, rows + 1);
            }
            let y = 50.0 + (rows - 1) as f64 * 18.0;
            let ink = Ink::Series(series(place));
            let (width, height) = (SWATCH, SWATCH);
            self.push(Shape::Rect { x, y: y - 11.0, width, height, ink, opacity: 1.0, title: None });
            self.label(x + SWATCH + 6.0, y, &name, Anchor::Start, Ink::Text);
            x += wide;
        }
        rows
    }
}

/// About how wide a text is. The bundled font's letters are 0.6 of its size on average.
pub fn width_of(text: &str) -> f64 {
    text.chars().map(|c| if c.is_ascii() { 0.6 } else { 1.0 }).sum::<f64>() * SIZE
}

/// A text cut to a width, with an ellipsis if need be.
pub fn fit(text: &str, width: f64) -> String {
    let text = clean(text);
    if width_of(&text) <= width {
        return text;
    }
    let mut cut = String::new();
    for letter in text.chars() {
        if width_of(&cut) + 2.0 * SIZE * 0.6 > width {
            break;
        }
        cut.push(letter);
    }
    cut.trim_end().to_owned() + "…"
}

/// One line. A `$` would be read as a formula by the library that draws PNG, so it gets a twin that
/// looks the same.
fn clean(text: &str) -> String {
    super::super::terminal::clean(text).replace('$', "＄")
}
