//! Which files to read.
//!
//! A folder is searched for the two file names of the guide. Where a folder has both, only the
//! JSONL is read: the CSV is derived from it and has nothing more. A file that is named outright is
//! always read, whatever it is called, by its ending. Symbolic links to folders are followed when
//! named and not when found, so a search always ends.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::{Error, Result};
use bench_record::{self as results, csv, jsonl, table};

/// How a results file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One record per line. Preferred when a run is in both.
    Jsonl,
    /// One record per row.
    Csv,
}

/// A results file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it is, as the user wrote the beginning of it.
    pub path: PathBuf,
    /// How it is written.
    pub format: Format,
}

impl Source {
    /// The folder that paths inside its records start from.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

/// All results files under `paths`, each once, in a fixed order.
pub fn find(paths: &[PathBuf]) -> Result<Vec<Source>> {
    let mut seen = BTreeSet::new();
    let mut sources = Vec::new();
    for path in paths {
        let metadata = fs::metadata(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::MissingPath(path.clone()),
            _ => results::Error::Io { action: "look at", path: path.clone(), source }.into(),
        })?;
        let mut found = Vec::new();
        if metadata.is_dir() {
            search(path, &mut found)?;
        } else {
            let is_csv = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
            let format = if is_csv { Format::Csv } else { Format::Jsonl };
            found.push(Source { path: path.clone(), format });
        }
        // A folder given twice, or a folder and another inside it, is read once.
        sources.extend(found.into_iter().filter(|source| {
            seen.insert(fs::canonicalize(&source.path).unwrap_or_else(|_| source.path.clone()))
        }));
    }
    if sources.is_empty() { Err(Error::NothingFound(paths.to_vec())) } else { Ok(sources) }
}

fn search(folder: &Path, found: &mut Vec<Source>) -> Result<()> {
    let failed = |source| results::Error::Io { action: "list", path: folder.to_path_buf(), source };
    let mut entries =
        fs::read_dir(folder).map_err(failed)?.collect::<std::io::Result<Vec<_>>>().map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let is_file = |name: &str| folder.join(name).is_file();
    if is_file(jsonl::FILE_NAME) {
        found.push(Source { path: folder.join(jsonl::FILE_NAME), format: Format::Jsonl });
    } else if is_file(csv::FILE_NAME) {
        found.push(Source { path: folder.join(csv::FILE_NAME), format: Format::Csv });
    }
    for entry in entries {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            search(&entry.path(), found)?;
        }
    }
    Ok(())
}

/// The number of the line that begins at `offset`. Counted only when a line is at fault.
pub(crate) fn line_number(path: &Path, offset: u64) -> u64 {
    let Ok(file) = table::FOUND.open(path) else { return 1 };
    let before = BufReader::new(file.take(offset)).split(b'\n');
    before.map_while(std::result::Result::ok).count() as u64 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    #[test]
    fn folders_are_searched_and_the_jsonl_is_preferred() {
        let dir = tempfile::tempdir().unwrap();
        touch(&dir.path().join("b/sage/unified_results.jsonl"));
        touch(&dir.path().join("b/sage/unified_results.csv"));
        touch(&dir.path().join("a/unified_results.csv"));
        touch(&dir.path().join("a/other.csv"));
        let found = find(&[dir.path().to_path_buf(), dir.path().join("b")]).unwrap();
        let names: Vec<_> =
            found.iter().map(|s| s.path.strip_prefix(dir.path()).unwrap().to_path_buf()).collect();
        assert_eq!(names, [PathBuf::from("a/unified_results.csv"), "b/sage/unified_results.jsonl".into()]);
    }

    #[test]
    fn a_missing_path_and_an_empty_folder_are_errors_that_name_it() {
        let dir = tempfile::tempdir().unwrap();
        let missing = find(&[dir.path().join("nowhere")]).unwrap_err().to_string();
        assert!(missing.ends_with("nowhere does not exist"), "{missing}");
        let empty = find(&[dir.path().to_path_buf()]).unwrap_err().to_string();
        assert!(empty.contains(dir.path().to_str().unwrap()), "{empty}");
    }

    #[test]
    fn a_file_named_outright_is_taken_by_its_ending() {
        let dir = tempfile::tempdir().unwrap();
        touch(&dir.path().join("x.CSV"));
        touch(&dir.path().join("x.log"));
        let found = find(&[dir.path().join("x.CSV"), dir.path().join("x.log")]).unwrap();
        assert_eq!([found[0].format, found[1].format], [Format::Csv, Format::Jsonl]);
    }
}
