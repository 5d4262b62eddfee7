//! What people look at: one file per format.
//!
//! Every format gets the same [`Summary`] and words things with [`text`], so the terminal, the
//! Markdown and the page cannot contradict each other. Names in a summary come from third parties
//! and may hold anything. Each format escapes for itself, at the last moment, and nothing in a
//! summary is ever taken as markup.

#![forbid(unsafe_code)]

pub mod capacity;
pub mod charts;
pub mod csv;
mod error;
pub mod html;
pub mod junit;
pub mod markdown;
pub mod recovery;
pub mod soak;
pub mod sweep;
pub mod terminal;
pub mod text;

use std::io::Write;
use std::path::{Path, PathBuf};

pub use error::{Error, Result};

use bench_judge::{Options, Summary};
use bench_record::folder::Numbering;
use bench_record::{self as results, atomic};

/// Compares all results under `paths` and writes every report into `output_dir`.
///
/// # Errors
/// When there is nothing to compare, or a file cannot be read or written.
pub fn compare(paths: &[PathBuf], output_dir: &Path, options: &Options) -> Result<Summary> {
    std::fs::create_dir_all(output_dir).map_err(results::Error::io("create", output_dir))?;
    atomic::remove_leftovers(output_dir);
    let mut table = csv::Writer::create(output_dir)?;
    let collected = bench_judge::collect_rows(paths, output_dir, options, |row| table.row(row))?;
    table.finish()?;
    let mut summary = bench_judge::summarize(collected, options);
    write_all(&mut summary, output_dir)?;
    Ok(summary)
}

/// A file of a report.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    /// Its name inside the output directory.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// A format.
pub trait Report {
    /// The files that say what `summary` says.
    fn render(&self, summary: &Summary) -> Result<Vec<Artifact>>;
}

/// A table of text, for the terminal and for a page. Columns whose names end in `#` hold numbers.
pub struct Grid {
    /// What it shows.
    pub caption: String,
    /// Names.
    pub columns: &'static [&'static str],
    /// Cells.
    pub rows: Vec<Vec<String>>,
}

/// Writes a page of curves, and each curve as a file of its own, under the names that `numbering` gives them. Returns
/// where they are, the page first.
pub fn write_curves(
    page: &html::curves::Curves<'_>,
    folder: &Path,
    numbering: Numbering,
) -> Result<Vec<PathBuf>> {
    let mut artifacts = vec![page.render()?];
    artifacts.extend(charts::files(page.charts)?);
    artifacts.iter_mut().for_each(|artifact| artifact.name = numbering.of(&artifact.name));
    artifacts.iter().try_for_each(|artifact| write(folder, artifact))?;
    Ok(artifacts.iter().map(|artifact| folder.join(&artifact.name)).collect())
}

/// Writes every format into `folder` and notes the names in the summary, so that formats that come
/// later can list them.
pub fn write_all(summary: &mut Summary, folder: &Path) -> Result<()> {
    let charts = charts::draw_all(summary);
    let pictures = charts::files(&charts)?;
    summary.artifacts = [markdown::FILE_NAME, csv::FILE_NAME, html::FILE_NAME].map(str::to_owned).to_vec();
    summary.artifacts.extend(pictures.iter().map(|artifact| artifact.name.clone()));
    let mut artifacts = pictures;
    artifacts.extend(html::Page(&charts).render(summary)?);
    artifacts.extend(markdown::Markdown.render(summary)?);
    artifacts.iter().try_for_each(|artifact| Ok(write(folder, artifact)?))
}

/// Under a temporary name first, so that no reader sees half a file. Not synced to the disk: a
/// report can be made again from its results.
fn write(folder: &Path, artifact: &Artifact) -> results::Result<()> {
    let path = folder.join(&artifact.name);
    let made = atomic::temporary(&artifact.name, folder);
    let mut file = made.map_err(results::Error::io("create a file in", folder))?;
    file.write_all(&artifact.bytes).map_err(results::Error::io("write", &path))?;
    file.persist(&path).map_err(|error| results::Error::io("replace", &path)(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bench_judge::testing::{paired, write as write_records};

    #[test]
    fn every_artifact_is_written() {
        let (input, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write_records(input.path(), &paired(&[("sage", &[20.0, 30.0]), ("ray", &[10.0, 10.0])]));
        let summary =
            compare(&[input.path().into()], &output.path().join("new"), &Options::default()).unwrap();
        for name in ["summary.md", "comparison.csv", "report.html", "throughput_comparison.png"] {
            assert!(summary.artifacts.iter().any(|a| a == name), "{:?}", summary.artifacts);
        }
        for name in &summary.artifacts {
            assert!(output.path().join("new").join(name).metadata().unwrap().len() > 0, "{name}");
        }
        // Nothing else: temporary files are gone.
        assert_eq!(std::fs::read_dir(output.path().join("new")).unwrap().count(), summary.artifacts.len());
    }
}
