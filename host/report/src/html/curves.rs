//! `report.html` of a sweep, a search for capacity, a soak or a recovery: curves, and the numbers they are drawn from.

use serde::Serialize;

use super::{Figure, figure, fill, tables};
use crate::Result;
use crate::charts::Chart;
use crate::{Artifact, Grid};

/// Name of the template.
pub(super) const TEMPLATE: &str = "curves.html";

/// The page.
pub struct Curves<'a> {
    pub title: &'a str,
    /// What was run, in a line.
    pub lead: &'a str,
    /// What to know when reading the curves.
    pub notes: &'a [String],
    pub charts: &'a [Chart],
    pub grid: &'a Grid,
    /// Further files in the same folder.
    pub files: &'a [String],
}

#[derive(Serialize)]
struct Context<'a> {
    title: &'a str,
    lead: &'a str,
    notes: &'a [String],
    charts: Vec<Figure>,
    table: tables::Table,
    files: Vec<&'a str>,
}

impl Curves<'_> {
    /// The page, with the charts in it.
    ///
    /// # Errors
    /// When the template cannot be filled in.
    pub fn render(&self) -> Result<Artifact> {
        fill(
            TEMPLATE,
            Context {
                title: self.title,
                lead: self.lead,
                notes: self.notes,
                charts: self.charts.iter().map(figure).collect(),
                table: tables::plain(self.grid),
                files: self.files.iter().map(String::as_str).collect(),
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charts::curves::over_time;

    #[test]
    fn a_page_of_curves_holds_them_their_numbers_and_no_foreign_markup() {
        let canvas = over_time("memory (MiB) over time", "memory (MiB)", &[(1.0, 5.0), (2.0, 6.0)]);
        let charts = [Chart { id: "soak_memory", canvas, as_png: false }];
        let grid = Grid {
            caption: "Windows".into(),
            columns: &["backend", "MiB#"],
            rows: vec![vec!["<b>evil</b>".into(), "6.5".into()]],
        };
        let notes = ["a note & more".to_owned()];
        let files = ["soak.json".to_owned()];
        let page =
            Curves { title: "Soak", lead: "l", notes: &notes, charts: &charts, grid: &grid, files: &files };
        let page = String::from_utf8(page.render().unwrap().bytes).unwrap();
        assert!(page.starts_with("<!doctype html>\n<html lang=\"en\">") && page.ends_with("</html>\n"));
        assert_eq!((page.matches("<svg ").count(), page.matches("<script").count()), (1, 1));
        assert!(page.contains("data-sort=\"6.5\"") && page.contains("a note &amp; more"));
        assert!(page.contains("&lt;b&gt;evil") && !page.contains("<b>"));
    }
}
