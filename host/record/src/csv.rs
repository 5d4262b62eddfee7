//! `unified_results.csv`: the same records for spreadsheets.
//!
//! The file is derived: it is rebuilt whole from the JSONL, so the two cannot drift apart. Rows
//! stream through, so memory does not grow with the file.
//!
//! RFC 4180: CRLF line ends, quotes only where needed. Null is an empty cell. Numbers look as in
//! the JSONL. `extra` is one cell that holds its JSON, so nothing is left out and a row can be read
//! back into an equal record. Text that a spreadsheet would take for a formula is marked as text. Reading goes by
//! column names, so the Python version's files work too.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use ::csv::{
    ErrorKind, Position, ReaderBuilder, StringRecord, StringRecordsIntoIter, Terminator, WriterBuilder,
};
use serde_json::{Map, Value};

use super::schema::{EXTRA_ALIAS, FIELDS, Field, Kind};
use super::{Error, OutputLock, Record, Result, atomic, json_style, jsonl, names, spreadsheet, table};

/// Name of the file inside an output directory.
pub const FILE_NAME: &str = names::CSV;

/// Rebuilds the CSV of the locked directory from its JSONL. Says how many records it holds.
pub fn regenerate(lock: &OutputLock) -> Result<u64> {
    let source = lock.path(jsonl::FILE_NAME);
    let path = lock.path(FILE_NAME);
    let mut rows = 0;
    atomic::write_with(&path, |file| {
        let mut writer = writer(BufWriter::new(file));
        writer.write_record(FIELDS.map(|field| field.name)).map_err(|e| at(e, &path))?;
        // An output directory without results still gets its header.
        if source.exists() {
            for record in jsonl::read(&source)? {
                writer.write_record(cells(&record?)?).map_err(|e| at(e, &path))?;
                rows += 1;
            }
        }
        writer.flush().map_err(Error::io("write", &path))
    })?;
    Ok(rows)
}

/// Opens a CSV of records, ours or the Python version's. They come one at a time.
pub fn read(path: &Path) -> Result<Reader> {
    let file = table::open(path).map_err(Error::io("open", path))?;
    let mut reader = ReaderBuilder::new().from_reader(file);
    let columns = reader.headers().map_err(|e| at(e, path))?.iter().map(column).collect();
    Ok(Reader { path: path.to_path_buf(), columns, rows: reader.into_records() })
}

/// The records of a CSV file, in order. A bad row gives an error with its number.
pub struct Reader {
    path: PathBuf,
    columns: Vec<Column>,
    rows: StringRecordsIntoIter<table::Lines>,
}

impl Iterator for Reader {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = match self.rows.next()? {
            Ok(row) => row,
            Err(error) => return Some(Err(at(error, &self.path))),
        };
        let number = row.position().map_or(0, row_number);
        Some(self.record(&row).map_err(|e| e.at_line(&self.path, number)))
    }
}

impl Reader {
    fn record(&self, row: &StringRecord) -> Result<Record> {
        let mut map = Map::new();
        for (column, cell) in self.columns.iter().zip(row) {
            // Absent rather than null: the schema knows which fields may be absent.
            if !cell.is_empty() {
                map.insert(column.name.clone(), value(column.kind, cell));
            }
        }
        Record::from_stored(Value::Object(map))
    }
}

struct Column {
    name: String,
    kind: Kind,
}

fn column(name: &str) -> Column {
    let known = FIELDS.iter().find(|field: &&Field| field.name == name).map(|field| field.kind);
    let kind = known.unwrap_or(if name == EXTRA_ALIAS { Kind::Object } else { Kind::Text });
    Column { name: name.to_owned(), kind }
}

/// A cell that is not what its column needs stays text. The schema then says what it should be.
fn value(kind: Kind, cell: &str) -> Value {
    let parsed = match kind {
        Kind::Text | Kind::Time => None,
        Kind::Whole(..) => cell.parse::<u64>().ok().map(Value::from),
        Kind::Number | Kind::Share => cell.parse::<f64>().ok().filter(|n| n.is_finite()).map(Value::from),
        Kind::Object => serde_json::from_str(cell).ok(),
    };
    parsed.unwrap_or_else(|| Value::from(spreadsheet::text(cell)))
}

fn cells(record: &Record) -> Result<Vec<String>> {
    let value = serde_json::to_value(record)?;
    FIELDS.iter().map(|field| cell(&value[field.name])).collect()
}

fn cell(value: &Value) -> Result<String> {
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(spreadsheet::cell(text).into_owned()),
        // Numbers have no spaces and objects are JSON, so both are written as in the JSONL.
        other => json_style::to_line(other),
    }
}

fn writer<W: Write>(output: W) -> ::csv::Writer<W> {
    WriterBuilder::new().terminator(Terminator::CRLF).from_writer(output)
}

/// As a spreadsheet counts: the header is row 1. The crate's own line number is one too low when
/// lines end in CRLF.
fn row_number(position: &Position) -> u64 {
    position.record() + 1
}

fn at(error: ::csv::Error, path: &Path) -> Error {
    let row = error.position().map(row_number);
    let cause = match error.into_kind() {
        ErrorKind::Io(source) => return Error::io("access", path)(source),
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("the row has {len} cells and the header {expected_len}")
        }
        ErrorKind::Utf8 { .. } => "the text is not UTF-8".to_owned(),
        other => format!("{other:?}"),
    };
    match row {
        Some(row) => Error::Csv(cause).at_line(path, row),
        None => Error::Csv(cause).in_file(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::example;
    use crate::units::{Millis, Seconds};
    use std::fs;
    use std::time::Duration;

    fn locked_with(records: &[Record]) -> (tempfile::TempDir, OutputLock, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let lock = OutputLock::acquire(dir.path(), Duration::ZERO).unwrap();
        jsonl::append(&lock, records).unwrap();
        regenerate(&lock).unwrap();
        let path = lock.path(FILE_NAME);
        (dir, lock, path)
    }

    fn read_text(text: &str) -> Vec<Result<Record>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.csv");
        fs::write(&path, text).unwrap();
        read(&path).unwrap().collect()
    }

    #[test]
    fn every_record_survives_the_round_trip() {
        let awkward = Record {
            backend: "a \"b\", c\r\nd".into(),
            run_id: "=1+1".into(),
            latency_p50: None,
            config_hash: None,
            duration_seconds: Seconds::new(1e-7).unwrap(),
            latency_p95: Some(Millis::new(0.1 + 0.2).unwrap()),
            ..example()
        };
        let mut bare = example();
        bare.extra.clear();
        let records = [example(), awkward, bare];
        let (_dir, _lock, path) = locked_with(&records);
        let back: Vec<_> = read(&path).unwrap().map(|record| record.unwrap()).collect();
        assert_eq!(back, records);
    }

    #[test]
    fn a_name_is_no_formula_and_a_number_stays_one() {
        let record = Record { run_id: "=cmd|' /C calc'!A0".into(), backend: "@x".into(), ..example() };
        let (_dir, _lock, path) = locked_with(std::slice::from_ref(&record));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("\r\n'@x,wl4,'=cmd|' /C calc'!A0,42,"), "{text}");
        assert_eq!(read(&path).unwrap().next().unwrap().unwrap(), record);
    }

    #[test]
    fn the_header_is_the_schemas_order_and_lines_end_in_crlf() {
        let (_dir, _lock, path) = locked_with(&[example()]);
        let text = fs::read_to_string(path).unwrap();
        let header = "backend,workload,run_id,seed,nodes,parallelism,throughput,latency_p50,latency_p95,\
                      latency_p99,success_rate,duration_seconds,timestamp,config_hash,extra\r\n";
        assert!(text.starts_with(header), "{text}");
        assert!(text.ends_with("\"\r\n"), "{text}");
    }

    #[test]
    fn null_is_an_empty_cell_and_extra_is_json() {
        let (_dir, _lock, path) = locked_with(&[example()]);
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains("125.0,1.5,2.25,,1.0,0.16,2026-01-31T12:00:00.000000+00:00,a3f1,"), "{text}");
        assert!(text.contains(r#""{""scheduler"": ""fifo"", "#), "{text}");
    }

    #[test]
    fn regenerating_replaces_what_was_there() {
        let (_dir, lock, path) = locked_with(&[example()]);
        fs::write(&path, "scribble").unwrap();
        assert_eq!(regenerate(&lock).unwrap(), 1);
        assert_eq!(read(&path).unwrap().count(), 1);
    }

    #[test]
    fn without_results_there_is_a_header_only() {
        let (_dir, _lock, path) = locked_with(&[]);
        assert_eq!(read(&path).unwrap().count(), 0);
        assert!(fs::read_to_string(path).unwrap().starts_with("backend,"));
    }

    #[test]
    fn a_bad_jsonl_keeps_the_old_csv() {
        let (_dir, lock, path) = locked_with(&[example()]);
        let before = fs::read(&path).unwrap();
        fs::write(lock.path(jsonl::FILE_NAME), "{\n").unwrap();
        assert!(regenerate(&lock).unwrap_err().to_string().contains("unified_results.jsonl:1:"));
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    const PYTHON: &str = "backend,workload,run_id,seed,nodes,parallelism,throughput,latency_p50,latency_p95,\
        latency_p99,success_rate,duration_seconds,timestamp,config_hash,backend_hash\r\n";

    #[test]
    fn the_python_versions_columns_are_understood() {
        let row = "ray,wl4,id,42,1,4,10.5,,,,1.0,2,2026-01-31T12:00:00+00:00,,c04b\r\n";
        let record = read_text(&format!("{PYTHON}{row}")).pop().unwrap().unwrap();
        let marked = read_text(&format!("\u{feff}{PYTHON}{row}")).pop().unwrap().unwrap();
        assert_eq!(marked, record, "a byte order mark is no part of a name");
        assert_eq!(record.extra["backend_hash"], "c04b");
        assert_eq!((record.latency_p50, record.config_hash), (None, None));
    }

    #[test]
    fn a_bad_cell_is_named_with_its_row() {
        let row = "ray,wl4,id,x,1,4,nan,,,,1.0,2,2026-01-31T12:00:00+00:00,,c04b\r\n";
        let error = read_text(&format!("{PYTHON}{row}")).pop().unwrap().unwrap_err().to_string();
        assert!(error.contains("r.csv:2: seed must be a whole number"), "{error}");
        assert!(error.contains("throughput must be a number that is not negative, found the text \"nan\""));
    }

    #[test]
    fn an_empty_cell_of_a_required_field_counts_as_missing() {
        let row = "ray,wl4,id,,1,4,10.5,,,,1.0,2,2026-01-31T12:00:00+00:00,,c04b\r\n";
        let error = read_text(&format!("{PYTHON}{row}")).pop().unwrap().unwrap_err().to_string();
        assert!(error.ends_with("r.csv:2: Missing required fields: seed"), "{error}");
    }

    #[test]
    fn text_in_another_encoding_is_named_with_its_row() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.csv");
        fs::write(&path, [PYTHON.as_bytes(), b"\xff,wl4,id,1,1,4,1,,,,1.0,2,x,,c\r\n"].concat()).unwrap();
        let error = read(&path).unwrap().next().unwrap().unwrap_err().to_string();
        assert!(error.ends_with("r.csv:2: not valid CSV: the text is not UTF-8"), "{error}");
    }

    #[test]
    fn a_short_row_is_named_with_its_row() {
        let error = read_text(&format!("{PYTHON}ray,wl4\r\n")).pop().unwrap().unwrap_err().to_string();
        assert!(error.ends_with("r.csv:2: not valid CSV: the row has 2 cells and the header 15"), "{error}");
    }
}
