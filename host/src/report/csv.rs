//! `comparison.csv`: every record that was compared, once, in one order.
//!
//! The guide's fourteen fields, then `extra` as JSON, then the file it came from. Rows are finished
//! while files are read and only copied here, so a million of them cost no memory. Lines end in LF,
//! as pandas writes them.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::results::schema::FIELDS;
use crate::results::{self, Error};

/// Name of the file.
pub const FILE_NAME: &str = "comparison.csv";

/// The column after the record's own.
pub const SOURCE_COLUMN: &str = "source_file";

/// Puts one row together. The buffer is used again for the next.
#[derive(Default)]
pub(crate) struct RowWriter(Vec<u8>);

impl RowWriter {
    pub fn begin(&mut self) {
        self.0.clear();
    }

    /// A cell that may need quotes.
    pub fn text(&mut self, text: &str) -> &mut Self {
        let bytes = text.as_bytes();
        let plain = memchr::memchr3(b',', b'"', b'\n', bytes).is_none() && !bytes.contains(&b'\r');
        if plain {
            self.0.extend_from_slice(bytes);
        } else {
            self.0.push(b'"');
            let mut from = 0;
            for quote in memchr::memchr_iter(b'"', bytes) {
                self.0.extend_from_slice(&bytes[from..=quote]);
                self.0.push(b'"');
                from = quote + 1;
            }
            self.0.extend_from_slice(&bytes[from..]);
            self.0.push(b'"');
        }
        self.0.push(b',');
        self
    }

    /// A cell that never needs quotes, such as a number.
    pub fn bare(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(b',');
        self
    }

    pub fn whole(&mut self, mut number: u64) -> &mut Self {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.0.extend_from_slice(&digits[at..]);
        self.0.push(b',');
        self
    }

    pub fn end(&mut self) {
        if let Some(last) = self.0.last_mut() {
            *last = b'\n';
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Writes finished rows. The file appears under its name only when it is complete.
///
/// It is not synced to the disk first, as results are: it can be made again from them.
pub(crate) struct Writer {
    path: PathBuf,
    file: BufWriter<tempfile::NamedTempFile>,
}

impl Writer {
    pub fn create(folder: &Path) -> results::Result<Writer> {
        let file = tempfile::Builder::new()
            .prefix(&format!(".{FILE_NAME}."))
            .suffix(".bench.tmp")
            .permissions(std::fs::Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(Error::io("create a file in", folder))?;
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
    fn cells_are_quoted_when_they_must_be() {
        let mut row = RowWriter::default();
        row.begin();
        row.text("a").text("b,\"c\"").text("d\ne").whole(0).whole(u64::MAX).bare("");
        row.end();
        let text = std::str::from_utf8(row.bytes()).unwrap();
        assert_eq!(text, "a,\"b,\"\"c\"\"\",\"d\ne\",0,18446744073709551615,\n");
    }

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
