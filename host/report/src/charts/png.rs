//! A drawing as PNG.
//!
//! The only file that knows kuva. It is young, so its version is pinned and nothing but its raster
//! backend is used: shapes in, bytes out. It brings its own font (DejaVu Sans, under the permissive
//! Bitstream Vera licence), so a machine without any fonts draws the same picture.

use kuva::backend::raster::RasterBackend;
use kuva::render::render::{Primitive, Scene, TextAnchor};

use super::canvas::{Anchor, Canvas, Shape};
use super::svg::colour;

/// Pixels per unit of the drawing, for sharp text on dense screens.
const SCALE: f32 = 2.0;

/// The bytes of the file.
pub fn render(canvas: &Canvas) -> Result<Vec<u8>, String> {
    let mut scene = Scene::new(canvas.width, canvas.height);
    canvas.shapes.iter().for_each(|shape| scene.add(primitive(shape)));
    RasterBackend { scale: SCALE }.render_scene(&scene)
}

fn primitive(shape: &Shape) -> Primitive {
    match shape {
        Shape::Rect { x, y, width, height, ink, opacity, .. } => Primitive::Rect {
            x: *x,
            y: *y,
            width: width.max(0.0),
            height: height.max(0.0),
            fill: colour(*ink).into(),
            stroke: None,
            stroke_width: None,
            opacity: (*opacity < 1.0).then_some(*opacity),
        },
        Shape::Line { points, ink, width, dash, .. } => match points.as_slice() {
            [(x1, y1), (x2, y2)] => Primitive::Line {
                x1: *x1,
                y1: *y1,
                x2: *x2,
                y2: *y2,
                stroke: colour(*ink).into(),
                stroke_width: *width,
                stroke_dasharray: dash.map(str::to_owned),
            },
            _ => Primitive::PolyLine {
                points: points.clone(),
                stroke: colour(*ink).into(),
                stroke_width: *width,
                stroke_dasharray: dash.map(str::to_owned),
            },
        },
        Shape::Dot { x, y, radius, ink, opacity, .. } => Primitive::Circle {
            cx: *x,
            cy: *y,
            r: *radius,
            fill: colour(*ink).into(),
            fill_opacity: (*opacity < 1.0).then_some(*opacity),
            stroke: None,
            stroke_width: None,
        },
        Shape::Text { x, y, text, size, anchor, ink, bold, turned } => Primitive::Text {
            x: *x,
            y: *y,
            content: text.clone(),
            size: size.round() as u32,
            anchor: match anchor {
                Anchor::Start => TextAnchor::Start,
                Anchor::Middle => TextAnchor::Middle,
                Anchor::End => TextAnchor::End,
            },
            rotate: turned.then_some(-90.0),
            bold: *bold,
            color: Some(colour(*ink).into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::canvas::Ink;
    use super::*;

    #[test]
    fn text_leaves_ink_on_the_picture_without_any_system_font() {
        let blank = render(&Canvas { shapes: Vec::new(), ..Canvas::new(200.0, 60.0, "") }).unwrap();
        let mut canvas = Canvas::new(200.0, 60.0, "");
        canvas.label(10.0, 40.0, "sage ü 99", Anchor::Start, Ink::Text);
        let drawn = render(&canvas).unwrap();
        assert!(drawn.starts_with(b"\x89PNG") && drawn.len() > blank.len() + 300);
    }
}
