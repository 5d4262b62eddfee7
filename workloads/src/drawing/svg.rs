//! The graph as one SVG file that needs no other.

use std::fmt::Write as _;

use bench_dataflow::graph::{Graph, Role};

use super::{Layout, Place, needs, partition_label};

const BOX: (usize, usize) = (180, 48);
/// From the middle of a box to the middle of the next, across and down.
const PITCH: (usize, usize) = (220, 92);
const MARGIN: usize = 20;

/// Draws `graph`.
#[must_use]
pub fn svg(graph: &Graph) -> String {
    let layout = Layout::of(graph);
    let width = layout.width() * PITCH.0 + 2 * MARGIN;
    let height = layout.layers.len() * PITCH.1 + MARGIN;
    let across = |layer: usize, place: usize| {
        let taken = layout.layers[layer].len() * PITCH.0;
        (width - taken) / 2 + place * PITCH.0 + PITCH.0 / 2
    };
    let down = |layer: usize| MARGIN + layer * PITCH.1;
    let mut out = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" font-family="system-ui, sans-serif">
<title>{}</title>
<style>.bg{{fill:#fff}}.box{{fill:#eef3fb;stroke:#2f5d9b}}.end{{fill:#f4f4f4;stroke:#777}}.edge{{fill:none;stroke:#555;stroke-width:1.5;marker-end:url(#tip)}}.name{{font-size:14px;font-weight:600;fill:#111}}.note{{font-size:10px;fill:#555}}text{{text-anchor:middle}}</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>
<rect class="bg" width="{width}" height="{height}"/>
"##,
        escape(&graph.workload)
    );
    for (i, start) in layout.hops.iter().enumerate() {
        for hop in start.iter().filter(|hop| !matches!(layout.layers[i][hop.from], Place::Waypoint)) {
            edge(&layout, i, hop.from, &across, &down, &mut out, hop);
        }
    }
    for (i, layer) in layout.layers.iter().enumerate() {
        for (place, what) in layer.iter().enumerate() {
            let Place::Node(node) = what else { continue };
            let (x, y) = (across(i, place), down(i));
            let class = if node.role == Role::Operator { "box" } else { "end" };
            let needs = needs(node);
            let lift = if needs.is_empty() { 29 } else { 22 };
            let _ = writeln!(
                out,
                r#"<g><title>{}</title><rect class="{class}" x="{}" y="{y}" width="{}" height="{}" rx="6"/><text class="name" x="{x}" y="{}">{}</text><text class="note" x="{x}" y="{}">{}</text></g>"#,
                escape(&node.summary),
                x - BOX.0 / 2,
                BOX.0,
                BOX.1,
                y + lift,
                escape(&node.name),
                y + 38,
                escape(&needs),
            );
        }
    }
    out.push_str("</svg>\n");
    out
}

/// One edge from its node, through its waypoints, to its node.
fn edge(
    layout: &Layout<'_>,
    mut layer: usize,
    mut place: usize,
    across: &dyn Fn(usize, usize) -> usize,
    down: &dyn Fn(usize) -> usize,
    out: &mut String,
    first: &super::Hop,
) {
    let mut hop = first;
    let mut path = format!("M{} {}", across(layer, place), down(layer) + BOX.1);
    loop {
        let (x0, y0) = (across(layer, place), down(layer) + BOX.1);
        let (x1, y1) = (across(layer + 1, hop.to), down(layer + 1));
        let bend = (y0 + y1) / 2;
        let _ = write!(path, "C{x0} {bend} {x1} {bend} {x1} {y1}");
        (layer, place) = (layer + 1, hop.to);
        if hop.arrives {
            break;
        }
        let _ = write!(path, "V{}", y1 + BOX.1);
        // A waypoint belongs to one edge.
        let Some(next) = layout.hops.get(layer).and_then(|hops| hops.iter().find(|next| next.from == place))
        else {
            break;
        };
        hop = next;
    }
    let _ = writeln!(out, r#"<path class="edge" d="{path}"/>"#);
    let label = partition_label(hop.partition);
    if !label.is_empty() {
        let _ = writeln!(
            out,
            r#"<text class="note" x="{}" y="{}">{label}</text>"#,
            across(layer, place) + if across(layer - 1, first.from) < across(layer, place) { 0 } else { 4 },
            down(layer) - 14
        );
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
