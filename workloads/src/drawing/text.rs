//! The graph in box-drawing characters, with a table of its operators below.

use std::fmt::Write as _;

use bench_dataflow::graph::{Graph, Partition, Role};

use super::{Layout, Place, needs, partition_label};

const UP: u8 = 1;
const DOWN: u8 = 2;
const LEFT: u8 = 4;
const RIGHT: u8 = 8;
/// Columns between two boxes.
const GAP: usize = 3;

/// Lines by the directions they lead in.
const LINES: [char; 16] = [' ', '╵', '╷', '│', '╴', '┘', '┐', '┤', '╶', '└', '┌', '├', '─', '┴', '┬', '┼'];

/// Draws `graph`.
#[must_use]
pub fn text(graph: &Graph) -> String {
    let layout = Layout::of(graph);
    // An even number of columns beside the middle one, so that every box has a middle.
    let inner = (layout.names().map(|name| name.chars().count()).max().unwrap_or(0) + 2) | 1;
    let pitch = inner + 2 + GAP;
    let whole = layout.width() * pitch;
    let middle = |layer: usize, place: usize| {
        let taken = layout.layers[layer].len() * pitch;
        (whole - taken) / 2 + place * pitch + pitch / 2
    };
    let mut out = String::new();
    for (i, layer) in layout.layers.iter().enumerate() {
        let above = i.checked_sub(1).map_or(&[][..], |above| &layout.hops[above]);
        let below = layout.hops.get(i).map_or(&[][..], Vec::as_slice);
        for part in 0..3 {
            let mut line = vec![' '; whole + pitch];
            for (place, what) in layer.iter().enumerate() {
                let at = middle(i, place);
                let Place::Node(node) = what else {
                    line[at] = '│';
                    continue;
                };
                let (start, end) = (at - inner / 2 - 1, at + inner / 2 + 1);
                match part {
                    1 => {
                        (line[start], line[end]) = ('│', '│');
                        let label: Vec<char> = node.name.chars().collect();
                        let first = at - label.len() / 2;
                        line[first..first + label.len()].copy_from_slice(&label);
                    }
                    _ => {
                        line[start..=end].fill('─');
                        (line[start], line[end]) = if part == 0 { ('┌', '┐') } else { ('└', '┘') };
                        let leaves = below.iter().any(|hop| hop.from == place);
                        let enters = above.iter().any(|hop| hop.to == place);
                        match part {
                            0 if enters => line[at] = '▼',
                            2 if leaves => line[at] = '┬',
                            _ => {}
                        }
                    }
                }
            }
            push(&mut out, &line);
        }
        if !below.is_empty() {
            let mut mask = vec![0u8; whole + pitch];
            for hop in below {
                let (from, to) = (middle(i, hop.from), middle(i + 1, hop.to));
                mask[from] |= UP;
                mask[to] |= DOWN;
                let (left, right) = (from.min(to), from.max(to));
                for column in left..right {
                    mask[column] |= RIGHT;
                    mask[column + 1] |= LEFT;
                }
            }
            let line: Vec<char> = mask.iter().map(|directions| LINES[usize::from(*directions)]).collect();
            push(&mut out, &line);
        }
    }
    out.push('\n');
    table(graph, &mut out);
    out
}

fn push(out: &mut String, line: &[char]) {
    let text: String = line.iter().collect();
    out.push_str(text.trim_end());
    out.push('\n');
}

fn table(graph: &Graph, out: &mut String) {
    let width = graph.nodes.iter().map(|node| node.name.len()).max().unwrap_or(0);
    for node in graph.nodes.iter() {
        let mut facts = needs(node);
        for edge in graph.inputs(node.id).filter(|edge| edge.partition != Partition::Any) {
            let from = &graph.nodes[edge.from as usize].name;
            let label = format!("{} from {from}", partition_label(edge.partition));
            facts = if facts.is_empty() { label } else { format!("{facts}, {label}") };
        }
        let facts = if facts.is_empty() || node.role != Role::Operator {
            String::new()
        } else {
            format!(" ({facts})")
        };
        let _ = writeln!(out, "{:width$}  {}{facts}", node.name, node.summary);
    }
}
