//! `comparison.csv`: every record that was compared, once, in one order.
//!
//! The guide's fourteen fields, then `extra` as JSON, then the file it came from. Rows are finished
//! while files are read and only copied here, so a million of them cost no memory. Lines end in LF,
//! as pandas writes them.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use bench_record::schema::FIELDS;
use bench_record::{self as results, Error, atomic};

/// Name of the file.
pub const FILE_NAME: &str = "comparison.csv";

/// The column after the record's own.
pub const SOURCE_COLUMN: &str = "source_file";

/// Writes finished rows. The file appears under its name only when it is complete.
///
/// It is not synced to the disk first, as results are: it can be made again from them.
pub struct Writer {
    path: PathBuf,
    file: BufWriter<tempfile::NamedTempFile>,
}

impl Writer {
    pub fn create(folder: &Path) -> results::Result<Writer> {
        let file = atomic::temporary(FILE_NAME, folder).map_err(Error::io("create a file in", folder))?;
        let mut writer =
            Writer { path: folder.join(FILE_NAME), file: BufWriter::with_capacity(256 << 10, file) };
        let names: Vec<_> = FIELDS.iter().map(|field| field.name).chain([SOURCE_COLUMN]).collect();
        writer.row(format!("{}\n", names.join(",")).as_bytes())?;
        Ok(writer)
    }

    pub fn row(&mut self, row: &[u8]) -> results::Result<()> {
        self.file.write_all(row).map_err(Error::io("write", &self.path))
    }

    pub fn finish(self) -> results::Result<File> {
        let path = self.path;
        let file = self.file.into_inner().map_err(|error| Error::io("write", &path)(error.into_error()))?;
        file.persist(&path).map_err(|error| Error::io("replace", &path)(error.error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_absent_until_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(dir.path()).unwrap();
        writer.row(b"x\n").unwrap();
        assert!(!dir.path().join(FILE_NAME).exists());
        writer.finish().unwrap();
        let text = std::fs::read_to_string(dir.path().join(FILE_NAME)).unwrap();
        assert!(text.starts_with("backend,workload,run_id,seed,"), "{text}");
        assert!(text.ends_with(",config_hash,extra,source_file\nx\n"), "{text}");
    }
}
