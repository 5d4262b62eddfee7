//! Inputs and results as files that any language reads.

use std::fs;
use std::path::{Path, PathBuf};

use bytemuck::NoUninit;
use serde_json::{Map, Value, json};

use crate::Failure;

/// Writes `meta.json` and one raw little-endian file per array.
pub struct Export {
    folder: PathBuf,
    arrays: Map<String, Value>,
    facts: Map<String, Value>,
}

impl Export {
    pub fn new(folder: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned(), arrays: Map::new(), facts: Map::new() })
    }

    /// An array of `width` columns; `dtype` as numpy writes it, for example `<i1`.
    pub fn array<T: NoUninit>(
        &mut self,
        name: &str,
        dtype: &str,
        width: usize,
        values: &[T],
    ) -> Result<(), Failure> {
        let file = format!("{name}.bin");
        fs::write(self.folder.join(&file), bytemuck::cast_slice::<T, u8>(values))?;
        let rows = values.len() / width.max(1);
        self.arrays.insert(name.to_owned(), json!({"file": file, "dtype": dtype, "shape": [rows, width]}));
        Ok(())
    }

    /// Anything else: parameters, cases, expected results.
    pub fn fact(&mut self, name: &str, value: Value) {
        self.facts.insert(name.to_owned(), value);
    }

    pub fn finish(self) -> Result<(), Failure> {
        let meta = json!({"arrays": self.arrays, "facts": self.facts});
        fs::write(self.folder.join("meta.json"), serde_json::to_vec(&meta)?)?;
        Ok(())
    }
}
